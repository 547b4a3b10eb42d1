"""What lightning attention refuses, and that it refuses it before a launch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.lightning import api, check_boundaries, checks, lightning_attention, reference
from tests.kernels.tensors.attention_cases import DEVICE, case


def _arguments(tokens: Any = 9) -> dict[str, Any]:
    x = case(tokens, H=4, Hk=2, K=16, V=32)
    return {
        "q": x.q,
        "k": x.k,
        "v": x.v,
        "slopes": x.slopes,
        "initial_state": x.initial,
        "cu_seqlens": x.boundaries,
    }


def _bad() -> dict[str, tuple[type[Exception], str, dict[str, Any]]]:
    """Changed arguments of a good call and what they raise."""
    x, three = _arguments(), case(9, H=3)
    q, k, v, slopes, initial = (x[n] for n in ("q", "k", "v", "slopes", "initial_state"))
    ends = torch.tensor([0, 4, 9], device=DEVICE)
    two = case(9, B=2, H=4, Hk=2)
    return {
        "device": (ValueError, "slopes on meta .* move it there", {"slopes": slopes.to("meta")}),
        "state elsewhere": (
            ValueError,
            "initial_state on meta",
            {"initial_state": initial.to("meta")},
        ),
        "rank of q": (ValueError, r"q \[9, 4, 16\].*\[B, T, heads", {"q": q[0]}),
        "rank of v": (ValueError, r"v \[1, 1, 9, 2, 32\]", {"v": v[None]}),
        "dtypes": (TypeError, "k of torch.bfloat16 and q of torch.float32", {"k": k.bfloat16()}),
        "float64": (TypeError, "q of torch.float64", {"q": q.double()}),
        "integers": (TypeError, "v of torch.int64", {"v": v.long()}),
        "tokens": (ValueError, r"expected \[B, T, H, K\]", {"k": k[:, 1:], "v": v[:, 1:]}),
        "tokens of v": (ValueError, r"expected \[B, T, H, K\]", {"v": v[:, 1:]}),
        "rows": (ValueError, r"expected \[B, T, H, K\]", {"q": two.q}),
        "heads of v": (ValueError, r"expected \[B, T, H, K\]", {"v": v[:, :, :1]}),
        "sizes": (ValueError, r"expected \[B, T, H, K\]", {"k": v}),
        "multiple": (ValueError, "3 heads of q and 2 of k and v", {"q": three.q}),
        "no heads": (ValueError, "4 heads of q and 0", {"k": k[:, :, :0], "v": v[:, :, :0]}),
        "slopes": (ValueError, r"slopes \[3\]; expected .*\[4\]", {"slopes": slopes[:3]}),
        "slopes' dtype": (TypeError, "expected float32", {"slopes": slopes.double()}),
        "boundaries' dtype": (TypeError, "int32 or int64", {"cu_seqlens": ends.float()}),
        "boundaries' rank": (ValueError, r"\[N \+ 1\]", {"cu_seqlens": ends[None]}),
        "no sequences": (ValueError, r"N >= 1", {"cu_seqlens": ends[:1]}),
        "packed rows": (
            ValueError,
            "batch of 2; .* pack sequences along T",
            {"q": two.q, "k": two.k, "v": case(9, B=2, Hk=2).v, "cu_seqlens": ends},
        ),
        "state": (
            ValueError,
            r"initial_state \[1, 4, 16, 16\]; expected \[1, 4, 16, 32\]",
            {"initial_state": initial[..., :16]},
        ),
        "state of sequences": (ValueError, r"expected \[2, 4, 16, 32\]", {"cu_seqlens": ends}),
        "activation": (
            ValueError,
            "activation='relu', expected None or 'silu'",
            {"activation": "relu"},
        ),
        "state's dtype": (TypeError, "expected float32", {"initial_state": initial.bfloat16()}),
    }


@pytest.mark.parametrize("form", ["triton", "plain"])
@pytest.mark.parametrize("name", list(_bad()))
def test_bad_input_raises_before_a_launch(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launched(*_: Any, **__: Any) -> None:
        raise AssertionError("launched")

    monkeypatch.setattr(api, "forward", launched)
    monkeypatch.setattr(reference, "chunked", launched)
    if form == "plain":
        for module in (api, checks):
            monkeypatch.setattr(module, "runs_triton", lambda _: False)
    error, message, changes = _bad()[name]
    with pytest.raises(error, match=message):
        lightning_attention(**{**_arguments(), **changes})


@pytest.mark.parametrize(("K", "V", "name"), [(24, 32, "q and k"), (16, 512, "v"), (8, 8, "q")])
def test_head_sizes_that_no_kernel_takes(K: int, V: int, name: str) -> None:
    x = case(3, H=1, K=K, V=V)
    with pytest.raises(ValueError, match=f"head size .* of {name}.*pad with zeros"):
        lightning_attention(*x[:4])


WRONG = [
    ([1, 9], "from 1 to 9"),
    ([0, 8], "from 0 to 8; .* T=9"),
    ([0, 10], "from 0 to 10"),
    ([0, 5, 3, 9], "falling behind entry 1"),
    ([0, -1, 9], "falling behind entry 0"),
]


@pytest.mark.parametrize(("ends", "message"), WRONG)
def test_boundaries_that_fall_or_do_not_cover(ends: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_boundaries(torch.tensor(ends, device=DEVICE), 9)


@pytest.mark.parametrize("ends", [[0, 9], [0, 0, 9, 9], [0, 4, 4, 9]])
def test_boundaries_that_are_right(ends: list[int]) -> None:
    check_boundaries(torch.tensor(ends, device=DEVICE), 9)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="on a GPU boundaries are not read by the host")
@pytest.mark.parametrize("form", ["triton", "plain"])
def test_a_cpu_checks_boundaries_in_every_call(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "plain":
        for module in (api, checks):
            monkeypatch.setattr(module, "runs_triton", lambda _: False)
    for ends, _ in WRONG:
        changed = {"cu_seqlens": torch.tensor(ends), "initial_state": None}
        with pytest.raises(ValueError, match="found cu_seqlens from"):
            lightning_attention(**{**_arguments(), **changed})
