"""Pixels as they are decoded, made into what a vision tower takes, on the device that has them."""

from __future__ import annotations

import torch
from torch import Tensor

from vl_data.pixels import CLIP_MEAN, CLIP_STD


def normalised(tiles: Tensor) -> Tensor:
    """uint8 ``[n, s, s, 3]`` to float32 ``[n, 3, s, s]``, ``(v / 255 - mean) / std`` by channel.

    Bit for bit ``vl_data.pixels.normalise`` on any device: each step rounds as IEEE 754 says.
    Divisors are tensors, for by a number a GPU multiplies with its inverse.
    """
    mean, std, most = (
        upload(torch.tensor(values, dtype=torch.float32)[:, None, None], tiles.device)
        for values in (CLIP_MEAN, CLIP_STD, (255.0,))
    )
    return tiles.permute(0, 3, 1, 2).to(torch.float32).div(most).sub_(mean).div_(std)


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device. A GPU is not waited for: what it reads is pinned."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
