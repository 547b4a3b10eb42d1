"""The model as it generates: prompts at once, then a token of every row a step.

A lightning layer keeps one state of fixed size per row, whatever was read; only the softmax layers
keep keys and values. Weights have the released names (``trainer/convert``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch.nn import functional

from kernels.experts import grouped_experts
from kernels.lightning import lightning_attention_qkv, lightning_decode
from kernels.lightning.slopes import alibi_slopes
from kernels.norm_gate import norm_gate
from kernels.norms import rms_norm
from kernels.rotary import rotary
from trainer.generation.vision_encoder import VisionEncoder
from trainer.models.recipe import ModelRecipe
from trainer.vision.images import Images

Weights = Mapping[str, torch.Tensor]
SCORED = 4096
"""Tokens whose logits are held at once while text is scored."""


@dataclass
class Memory:
    """What a batch of rows has read.

    ``lengths``: tokens of each row, int64 ``[B]``. ``states``: per lightning layer float32
    ``[B, H, d, d]``, of a size that does not grow. ``keys`` and ``values``: per softmax layer
    ``[B, room, kv_heads, d]``; ``room`` doubles when a row passes it.
    """

    lengths: torch.Tensor
    states: dict[int, torch.Tensor] = field(default_factory=dict)
    keys: dict[int, torch.Tensor] = field(default_factory=dict)
    values: dict[int, torch.Tensor] = field(default_factory=dict)

    def bytes(self) -> int:
        """Memory that is held."""
        held = (*self.states.values(), *self.keys.values(), *self.values.values())
        return sum(x.numel() * x.element_size() for x in held)


class Decoder:
    """A model that reads prompts and then writes a token at a time.

    No token is dropped: capacity belongs to training (MiniMax-01's released code is dropless).
    Experts, attention and states are those of training, so a prompt read at once and one read token
    by token agree up to rounding.

    Args:
        recipe: the model's sizes.
        weights: released names to tensors, all of one dtype, on one device.
        rope_base: of the stage that the weights come from.
        vision: what makes features of images, of a model that is shown some.
    """

    def __init__(
        self,
        recipe: ModelRecipe,
        weights: Weights,
        rope_base: float,
        vision: VisionEncoder | None = None,
    ) -> None:
        self.recipe, self.weights, self.rope_base = recipe, weights, rope_base
        self.vision = vision
        head = weights["lm_head.weight"]
        self.device, self.dtype = head.device, head.dtype
        self._experts = [self._stacked(layer) for layer in range(recipe.layers)]
        self._slopes = {
            layer: alibi_slopes(recipe.heads, layer, recipe.layers).to(self.device)
            for layer in range(recipe.layers)
            if recipe.mixer_of(layer) == "lightning"
        }

    @torch.no_grad()
    def prefill(
        self, prompts: Sequence[torch.Tensor], images: Images | None = None
    ) -> tuple[Memory, torch.Tensor]:
        """Read prompts of any lengths in one pass, packed.

        Args:
            prompts: int64 ``[T_b]`` each, none empty.
            images: what the prompts show, in their order: at the places of the image's id, of
                which there are as many as the images have features.

        Returns:
            What was read, and the logits ``[B, V]`` of each prompt's next token.

        Raises:
            ValueError: a prompt without tokens, or images without their places.
        """
        memory, hidden, ends = self._read(prompts, images)
        return memory, self._logits(hidden[ends - 1])

    @torch.no_grad()
    def score(
        self, prompts: Sequence[torch.Tensor], images: Images | None = None
    ) -> list[torch.Tensor]:
        """Log-probabilities ``[T_b - 1]``, float32, of each prompt's tokens from the second on.

        ``images`` as for :meth:`prefill`; those of an image's places mean nothing.
        """
        _, hidden, ends = self._read(prompts, images)
        found, start = [], 0
        for prompt, end in zip(prompts, ends.tolist(), strict=True):
            rows, targets = hidden[start : end - 1], prompt[1:].to(self.device)
            parts = [
                -functional.cross_entropy(self._logits(h).float(), t, reduction="none")
                for h, t in zip(
                    torch.split(rows, SCORED), torch.split(targets, SCORED), strict=True
                )
            ]
            found.append(torch.cat(parts))
            start = end
        return found

    @torch.no_grad()
    def step(self, memory: Memory, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token of every row.

        Args:
            memory: changed in place.
            tokens: int64 ``[B]``.

        Returns:
            Logits ``[B, V]`` of the next tokens.
        """
        x = functional.embedding(tokens, self.weights["model.embed_tokens.weight"])
        for layer in range(self.recipe.layers):
            mix = self._decode_lightning if layer in self._slopes else self._decode_softmax
            x = self._block(layer, x, mix(layer, self._normed(layer, "input", x), memory))
        memory.lengths += 1
        return self._logits(rms_norm(x, self.weights["model.norm.weight"], self.recipe.norm_eps))

    def _read(
        self, prompts: Sequence[torch.Tensor], images: Images | None
    ) -> tuple[Memory, torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(p) for p in prompts], dtype=torch.int64)
        if not len(lengths) or int(lengths.min()) < 1:
            raise ValueError(
                f"found prompts of {lengths.tolist()} tokens, expected one or more each"
            )
        ends = lengths.cumsum(0).to(self.device)
        boundaries = functional.pad(ends, (1, 0)).to(torch.int32)
        memory = Memory(lengths.to(self.device))
        tokens = torch.cat([p.to(self.device) for p in prompts])
        x = functional.embedding(tokens, self.weights["model.embed_tokens.weight"])
        if images is not None and images.plans:
            x = self._shown(x, tokens, images)
        for layer in range(self.recipe.layers):
            mix = self._read_lightning if layer in self._slopes else self._read_softmax
            normed = self._normed(layer, "input", x)
            x = self._block(layer, x, mix(layer, normed, boundaries, memory))
        return memory, rms_norm(x, self.weights["model.norm.weight"], self.recipe.norm_eps), ends

    def _shown(self, x: torch.Tensor, tokens: torch.Tensor, images: Images) -> torch.Tensor:
        """The embedded prompts with the features of images in their places."""
        if self.vision is None:
            raise ValueError(
                f"images: found {len(images.plans)} for model {self.recipe.name}, expected none: "
                "its recipe has no vision block"
            )
        features = self.vision.features(images)
        image_token = self.vision.image_token
        assert image_token is not None, "who shows images knows their id"
        places = tokens.eq(image_token).nonzero().squeeze(1)
        if len(places) != len(features):
            raise ValueError(
                f"images: found {len(places)} places of the image token {image_token} and "
                f"{len(features)} features (newlines included), expected as many"
            )
        return x.index_copy(0, places, features.to(x.dtype))

    def _block(self, layer: int, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The residual of the mixer and the experts of a block; x ``[N, h]``."""
        recipe = self.recipe
        post = recipe.residual == "deepnorm"
        alpha = recipe.residual_weight
        x = alpha * (self._normed(layer, "input", x) if post else x) + mixed
        normed = self._normed(layer, "post_attention", x)
        return alpha * (normed if post else x) + self._mixture(layer, normed)

    def _normed(self, layer: int, which: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights[f"model.layers.{layer}.{which}_layernorm.weight"]
        return rms_norm(x, weight, self.recipe.norm_eps)

    def _weight(self, layer: int, name: str) -> torch.Tensor:
        return self.weights[f"model.layers.{layer}.self_attn.{name}.weight"]

    def _mixture(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        experts = self.recipe.experts
        gate = self.weights[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
        scores = torch.softmax(x.float() @ gate.float().T, -1)
        chosen, index = scores.topk(experts.top_k, -1)
        chosen = chosen / chosen.sum(-1, keepdim=True)
        gate_up, down = self._experts[layer]
        y, _ = grouped_experts(x, index, chosen, gate_up, down)
        return y

    def _stacked(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``[E, 2F, h]`` and ``[E, h, F]`` of a layer's experts."""
        name = f"model.layers.{layer}.block_sparse_moe.experts"
        each = range(self.recipe.experts.count)
        w1, w2, w3 = (
            torch.stack([self.weights[f"{name}.{e}.w{n}.weight"] for e in each]) for n in (1, 2, 3)
        )
        return torch.cat([w1, w3], 1), w2

    def _finish_lightning(self, layer: int, x: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        gate = x @ self._weight(layer, "output_gate").T
        norm = self._weight(layer, "norm")
        y = norm_gate(o, gate, norm, self.recipe.mixer_norm_eps)
        return y @ self._weight(layer, "out_proj").T

    def _read_lightning(
        self, layer: int, x: torch.Tensor, boundaries: torch.Tensor, memory: Memory
    ) -> torch.Tensor:
        recipe = self.recipe
        qkv = (x @ self._weight(layer, "qkv_proj").T).view(1, len(x), recipe.heads, -1)
        o, memory.states[layer] = lightning_attention_qkv(
            qkv, self._slopes[layer],
            output_final_state=True, cu_seqlens=boundaries, activation="silu",
        )  # fmt: skip
        return self._finish_lightning(layer, x, o[0])

    def _decode_lightning(self, layer: int, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        recipe = self.recipe
        qkv = (x @ self._weight(layer, "qkv_proj").T).view(len(x), recipe.heads, -1)
        q, k, v = torch.split(qkv, recipe.head_dim, -1)
        o = lightning_decode(
            q, k, v, memory.states[layer], self._slopes[layer], activation="silu"
        )  # fmt: skip
        return self._finish_lightning(layer, x, o)

    def _projected(self, layer: int, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q ``[N, H, d]``, k and v ``[N, kv_heads, d]``."""
        size = self.recipe.head_dim
        return tuple(
            (x @ self._weight(layer, f"{name}_proj").T).view(len(x), -1, size) for name in "qkv"
        )

    def _read_softmax(
        self, layer: int, x: torch.Tensor, boundaries: torch.Tensor, memory: Memory
    ) -> torch.Tensor:
        recipe = self.recipe
        q, k, v = self._projected(layer, x)
        q, k = (
            y[0]
            for y in rotary(
                q[None], k[None],
                rotary_dim=recipe.rotary_dim, base=self.rope_base, cu_seqlens=boundaries,
            )
        )  # fmt: skip
        ends = boundaries.tolist()
        room = max(b - a for a, b in pairwise(ends))
        keys = k.new_zeros(len(memory.lengths), room, *k.shape[1:])
        values = torch.zeros_like(keys)
        found = []
        for row, (start, end) in enumerate(pairwise(ends)):
            keys[row, : end - start], values[row, : end - start] = k[start:end], v[start:end]
            found.append(_attend(q[start:end], k[start:end], v[start:end], causal=True))
        memory.keys[layer], memory.values[layer] = keys, values
        return torch.cat(found).flatten(1) @ self._weight(layer, "o_proj").T

    def _decode_softmax(self, layer: int, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        recipe = self.recipe
        q, k, v = self._projected(layer, x)
        at = memory.lengths
        q, k = (
            y[:, 0]
            for y in rotary(
                q[:, None], k[:, None],
                rotary_dim=recipe.rotary_dim, base=self.rope_base, positions=at[:, None],
            )
        )  # fmt: skip
        if int(at.max()) >= memory.keys[layer].shape[1]:
            for kept in (memory.keys, memory.values):
                kept[layer] = functional.pad(kept[layer], (0, 0, 0, 0, 0, kept[layer].shape[1]))
        rows = torch.arange(len(x), device=self.device)
        memory.keys[layer][rows, at], memory.values[layer][rows, at] = k, v
        seen = torch.arange(memory.keys[layer].shape[1], device=self.device) <= at[:, None]
        o = functional.scaled_dot_product_attention(
            q[:, :, None], memory.keys[layer].transpose(1, 2), memory.values[layer].transpose(1, 2),
            attn_mask=seen[:, None, None], enable_gqa=True,
        )  # fmt: skip
        return o[:, :, 0].flatten(1) @ self._weight(layer, "o_proj").T

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        head = self.weights["lm_head.weight"]
        if self.recipe.fp32_head:
            return hidden.float() @ head.float().T
        return hidden @ head.T


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Softmax attention of one sequence: q ``[T, H, d]``, k and v ``[T, kv_heads, d]``."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    shared = q.dtype in (torch.bfloat16, torch.float16) or not q.is_cuda
    if not shared:
        # In float32 a GPU shares keys only where it holds all T x T weights of every head at once.
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    o = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=shared)
    return o[0].transpose(0, 1)
