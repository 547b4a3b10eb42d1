"""Inputs of lightning attention, all its results, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import strategies as st

from kernels.lightning import carry, lightning_attention, pieces
from kernels.lightning.reference import recurrence
from kernels.lightning.slopes import alibi_slopes, linear_slopes, no_decay
from tests.kernels.tensors.numerics import TOLERANCE

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORGOTTEN = 2.0**-24
"""Of sums of numbers near 1, what has decayed to this may be rounded away."""
FEW_ROWS = 64

Results = dict[str, torch.Tensor]


class Case(NamedTuple):
    """The arguments of a call."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    slopes: torch.Tensor
    initial: torch.Tensor | None
    boundaries: torch.Tensor | None
    scale: float
    activation: str | None = None

    def __repr__(self) -> str:
        """Short enough to read when a test fails."""
        ends = None if self.boundaries is None else self.boundaries.tolist()
        return (
            f"q {list(self.q.shape)} of {self.q.dtype}, v {list(self.v.shape)}, boundaries {ends}, "
            f"slopes {self.slopes.tolist()}, scale {self.scale}, "
            f"initial {self.initial is not None}, activation {self.activation}"
        )


def case(
    tokens: int | Sequence[int] = 33,
    B: int = 1,
    H: int = 2,
    Hk: int | None = None,
    K: int = 16,
    V: int = 32,
    *,
    dtype: torch.dtype = torch.float32,
    slopes: torch.Tensor | None = None,
    initial: bool = True,
    scale: float = 1.0,
    activation: str | None = None,
    seed: int = 0,
    device: torch.device = DEVICE,
) -> Case:
    """Normal numbers; ``tokens`` of each row, or of each document of one packed row."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    boundaries, states = None, B
    if not isinstance(tokens, int):
        ends = [0, *accumulate(tokens)]
        boundaries = torch.tensor(ends, dtype=torch.int32, device=device)
        tokens, states = ends[-1], len(ends) - 1
    kv_heads = H if Hk is None else Hk
    q, k, v = (
        normal(B, tokens, heads, size).to(dtype)
        for heads, size in ((H, K), (kv_heads, K), (kv_heads, V))
    )
    slopes = (alibi_slopes(H, 0, 80) if slopes is None else slopes).to(device)
    state = normal(states, H, K, V) if initial else None
    return Case(q, k, v, slopes, state, boundaries, scale, activation)


def kinds_of_slopes(heads: int) -> dict[str, torch.Tensor]:
    """Slopes of every kind that a model has, and some that none has."""
    return {
        "alibi": alibi_slopes(heads, 0, 80),
        "alibi, late": alibi_slopes(heads, 78, 80),
        "linear": linear_slopes(heads, 0, 80),
        "none": no_decay(heads),
        "fast": torch.full((heads,), 0.92),
        "tiny": torch.full((heads,), 4e-8),
        "mixed": torch.linspace(0.0, 30.0, heads),
    }


EDGES = (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129)
"""Lengths around those of tiles."""


@st.composite
def cases(draw: st.DrawFn, longest: int = 129, sizes: Sequence[int] = (16, 32, 64, 96)) -> Case:
    """Batches and packed rows of up to ``longest`` tokens a sequence."""
    shared, group = draw(st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 3)]))
    heads = shared * group
    B, tokens = 1, draw(st.sampled_from([t for t in (0, *EDGES) if t <= longest]))
    packed: list[int] = []
    if draw(st.booleans()):
        short = st.sampled_from([t for t in (0, 0, *EDGES) if t <= min(longest, 65)])
        packed = draw(st.lists(short, min_size=1, max_size=4))
    else:
        B = draw(st.integers(1, 2))
    return case(
        packed or tokens,
        B,
        heads,
        shared,
        draw(st.sampled_from(sizes)),
        draw(st.sampled_from(sizes)),
        dtype=draw(st.sampled_from(DTYPES)),
        slopes=draw(st.sampled_from(list(kinds_of_slopes(heads).values()))),
        initial=draw(st.booleans()),
        scale=draw(st.sampled_from([1.0, -0.3, 0.125])),
        activation=draw(st.sampled_from([None, "silu"])),
        seed=draw(st.integers(0, 99)),
    )


def outcome(
    x: Case,
    of: str = "both",
    form: Callable[..., Any] = lightning_attention,
    cotangents: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Results:
    """Outputs, final states and the gradients that ``of`` (o, state or both) gives each input."""
    leaves = {"q": x.q, "k": x.k, "v": x.v}
    if x.initial is not None:
        leaves["initial"] = x.initial
    leaves = {name: y.detach().requires_grad_() for name, y in leaves.items()}
    options: dict[str, Any] = {"cu_seqlens": x.boundaries, "scale": x.scale}
    if x.activation is not None:
        options["activation"] = x.activation
    if form is lightning_attention:
        options["output_final_state"] = True
    o, state = form(
        leaves["q"],
        leaves["k"],
        leaves["v"],
        x.slopes,
        initial_state=leaves.get("initial"),
        **options,
    )
    do, d_state = cotangents or random_cotangents(x)
    pairs = {"o": [(o, do)], "state": [(state, d_state)], "both": [(o, do), (state, d_state)]}[of]
    pairs = [(y, dy) for y, dy in pairs if y.requires_grad]  # a constant, if there is no token
    gradients = (
        torch.autograd.grad(
            [y for y, _ in pairs],
            list(leaves.values()),
            [dy.to(y.dtype) for y, dy in pairs],
            materialize_grads=True,
        )
        if pairs
        else [torch.zeros_like(y) for y in leaves.values()]
    )
    found = {"o": o.detach(), "state": state.detach()}
    return found | {f"d{name}": y for name, y in zip(leaves, gradients, strict=True)}


def random_cotangents(x: Case, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """For o in the inputs' dtype, and for the final states."""
    generator = torch.Generator(x.q.device).manual_seed(seed)
    B, T, H, K = x.q.shape
    states = B if x.boundaries is None else len(x.boundaries) - 1
    V = x.v.shape[3]
    do = torch.randn((B, T, H, V), generator=generator, device=x.q.device).to(x.q.dtype)
    return do, torch.randn((states, H, K, V), generator=generator, device=x.q.device)


def exact(x: Case, of: str = "both", form: Callable[..., Any] = recurrence) -> Results:
    """The same in float64, of the same rounded numbers, by the definition.

    What SiLU makes of numbers of 16 bits is rounded to 16 bits too: of a few tokens, whose terms
    may cancel, that alone can be more than the tolerance.
    """
    if x.activation == "silu" and x.q.dtype != torch.float32:
        return plain_formula(x, of, partial(_of_rounded_silu, form, x.q.dtype))
    return plain_formula(x, of, form)


def _of_rounded_silu(
    form: Callable[..., Any], dtype: torch.dtype, *tensors: torch.Tensor, **options: Any
) -> Any:
    """``form`` of SiLU of q, k and v, rounded to ``dtype``; its gradient is that of SiLU."""
    assert options.pop("activation") == "silu"
    *qkv, slopes = tensors
    exactly = [torch.nn.functional.silu(x) for x in qkv]
    rounded = [y + (y.to(dtype).to(y.dtype) - y).detach() for y in exactly]
    return form(*rounded, slopes, **options)


def plain_formula(x: Case, of: str = "both", form: Callable[..., Any] = recurrence) -> Results:
    """As :func:`exact`, of SiLU that is not rounded."""
    wide = x._replace(
        q=x.q.double(),
        k=x.k.double(),
        v=x.v.double(),
        initial=None if x.initial is None else x.initial.double(),
    )
    return outcome(wide, of, form, random_cotangents(x))


def near(found: Results, expected: Results, dtype: torch.dtype) -> None:
    """Each result within the tolerance of ``dtype``, in the dtype it should have."""
    for name, wanted in expected.items():
        y = found[name]
        assert y.shape == wanted.shape, name
        assert y.dtype == (torch.float32 if name in ("state", "dinitial") else dtype), name
        if not wanted.numel():
            continue
        norm = wanted.square().mean().sqrt().clamp_min(FORGOTTEN)
        error = ((y.double() - wanted).square().mean().sqrt() / norm).item()
        assert error <= limit(dtype, wanted), f"{name}: {error:.2e}"


def limit(dtype: torch.dtype, wanted: torch.Tensor) -> float:
    """Relative RMS error allowed in a result that should be ``wanted [.., size]``.

    In bfloat16 a row may hang on one score, rounded by up to 2^-8: over few rows that is no mean.
    """
    rows = wanted.numel() // wanted.shape[-1]
    return TOLERANCE[dtype] * (2 if dtype == torch.bfloat16 and rows < FEW_ROWS else 1)


def same(found: Results, expected: Results) -> None:
    """Bit for bit."""
    for name, wanted in expected.items():
        assert torch.equal(found[name], wanted), name


@contextmanager
def cut_every(tokens: int, part: int = 16) -> Iterator[None]:
    """Sequences are cut at every multiple of ``tokens``, itself a multiple of 16.

    What a piece of a batch adds to the state is summed in parts of ``part`` tokens.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "TILE", 16)
        patch.setattr(pieces, "SHORTEST_SEGMENT", tokens)
        patch.setattr(pieces, "WAVES_WANTED", 10**9)
        patch.setattr(carry, "PART", part)
        yield
