"""What a decode step refuses, and that it refuses it before its launch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.lightning.decode import lightning_decode
from tests.kernels.tensors.decode_cases import CPU, DEVICE, case, indices


@pytest.mark.parametrize(
    ("read", "written", "message"),
    [
        ([0, 0], None, "page 0 written twice, by row 0 and row 1"),
        ([0, 3], None, "page 3 in row 1, expected below 3"),
        ([0, 1], [2, 3], "page 3 in row 1, expected below 3"),
        ([0, 1], [2, 2], "page 2 written twice"),
        ([0, 1], [2, 0], "page 0 read by row 0 and written by row 1"),
    ],
)
def test_pages_that_clash_raise_on_the_cpu(
    read: list[int], written: list[int] | None, message: str
) -> None:
    x = case(2, pages=3, device=CPU)
    start = x.states.clone()
    write = None if written is None else indices(*written, device=CPU)
    with pytest.raises(ValueError, match=message):
        lightning_decode(*x, state_index=indices(*read, device=CPU), write_index=write)
    assert torch.equal(x.states, start)


def _bad() -> dict[str, tuple[type[Exception], str, dict[str, Any]]]:
    """Changed arguments of a good call and what they raise."""
    x = case(2, None, 2, 2, 16, 32)
    y = case(2, 9, 2, 2, 16, 32)
    z = case(2, None, 2, 2, 300, 32)
    flat = torch.zeros(2, 2, 32, 16, device=DEVICE).transpose(2, 3)
    return {
        "dtypes": (TypeError, "one dtype", {"k": x.k.bfloat16()}),
        "float64": (TypeError, "one dtype", {n: getattr(x, n).double() for n in "qkv"}),
        "states": (TypeError, "expected float32", {"states": x.states.half()}),
        "slopes": (TypeError, "expected float32", {"slopes": x.slopes.double()}),
        "rank": (ValueError, "three dimensions", {"k": x.k[0]}),
        "flat": (ValueError, "three dimensions", {"q": x.q[0]}),
        "mixed": (ValueError, "four dimensions", {"q": x.q[:, None]}),
        "sizes": (ValueError, r"k \[B, T, Hk, K\]", {"k": x.k[..., :8]}),
        "rows": (ValueError, r"v \[B, T, Hk, V\]", {"v": x.v[:1]}),
        "heads": (ValueError, "multiple", {"q": torch.cat([x.q, x.q[:, :1]], 1)}),
        "large": (ValueError, "1 to 256", {"q": z.q, "k": z.k}),
        "tokens": (ValueError, "1 to 8", {"q": y.q, "k": y.k, "v": y.v}),
        "pages": (ValueError, r"\[pages, 2, 16, 32\]", {"states": x.states[:, :1]}),
        "dense": (ValueError, "contiguous", {"states": flat}),
        "expanded": (ValueError, "expanded", {"states": x.states[:1].expand(2, -1, -1, -1)}),
        "count": (ValueError, "without state_index", {"states": x.states[:1]}),
        "slope": (ValueError, r"slopes \(1,\)", {"slopes": x.slopes[:1]}),
        "index": (ValueError, "state_index", {"state_index": indices(0)}),
        "float": (TypeError, "int32 or int64", {"state_index": torch.zeros(2, device=DEVICE)}),
        "where": (ValueError, "move it", {"state_index": torch.zeros(2, device="meta").int()}),
        "write": (ValueError, "write_index", {"write_index": indices(0)}),
        "out": (ValueError, "another out", {"out": x.v[:, :1]}),
        "strided": (ValueError, "strided", {"out": x.v.mT.contiguous().mT}),
        "activation": (ValueError, "activation='gelu'", {"activation": "gelu"}),
        "device": (ValueError, "several devices", {"slopes": x.slopes.to("meta")}),
        "gradient": (ValueError, "gradients", {"v": x.v.clone().requires_grad_()}),
    }


@pytest.mark.parametrize("name", list(_bad()))
def test_bad_input_raises_before_a_launch(name: str) -> None:
    error, message, changes = _bad()[name]
    x = case(2, None, 2, 2, 16, 32)
    start = x.states.clone()
    with pytest.raises(error, match=message):
        lightning_decode(**{**x._asdict(), **changes})
    assert torch.equal(x.states, start)
