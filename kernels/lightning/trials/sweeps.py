"""The check of the sweep's kernels: ``hopper``, ``hopper_gradients`` and ``portable``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch

from kernels.lightning import (
    hopper,
    hopper_device,
    hopper_gradients,
    pieces,
    pieces_device,
    portable,
    silu_device,
)
from kernels.lightning.operands import Operands
from kernels.lightning.pieces import Pieces
from kernels.lightning.trials import inputs, reference
from kernels.sentinel import Candidate, Finding, Guarded, Kernel, Output, judge, surrounded

NO_STATE, PLAIN, TURNED = 0, 1, 2
"""States to start from: none; with contiguous values; read transposed, with contiguous keys."""
LONG = 2**30
"""Tokens: so many that a kernel takes its largest tile."""


class Sweep(NamedTuple):
    """What the compiled code of a sweep depends on.

    ``initial``: states of the sequences; ``carried``: those at cuts, where sequences have more than
    one piece. ``tokens`` and ``heads``: :func:`.inputs.kind` of their number. ``shared``: heads
    share operands. ``tile``: its tokens. ``activated``: of a, b and c. ``through``: the output is
    multiplied by SiLU' of a preactivation.
    """

    K: int
    V: int
    dtype: torch.dtype
    out: torch.dtype
    reverse: bool
    packed: bool
    initial: int
    carried: int
    final: bool
    tokens: int
    heads: int
    shared: bool
    tile: int
    activated: tuple[bool, bool, bool] = (False, False, False)
    through: bool = False


def hopper_candidate(
    operand: Operands,
    cut: Pieces,
    reverse: bool,
    initial: torch.Tensor | None,
    carried: torch.Tensor | None,
    final: torch.Tensor | None,
) -> Candidate:
    """One launch of :func:`kernels.lightning.hopper.sweep` with these arguments."""
    settings = _settings(operand, cut, reverse, initial, carried, final, hopper.TILE)
    return Candidate(HOPPER, settings)


def gradients_candidate(
    dv: Operands,
    cut: Pieces,
    initial: torch.Tensor | None,
    carried: torch.Tensor | None,
    final: torch.Tensor | None,
) -> Candidate:
    """One launch of :func:`kernels.lightning.hopper_gradients.gradients`.

    ``dv``: (k, q, do, dv), of which this is the sweep.
    """
    settings = _settings(dv, cut, True, initial, carried, final, hopper_gradients.BLOCK)
    return Candidate(GRADIENTS, settings)


def portable_candidate(
    operand: Operands,
    cut: Pieces,
    reverse: bool,
    initial: torch.Tensor | None,
    carried: torch.Tensor | None,
    final: torch.Tensor | None,
) -> Candidate:
    """One launch of :func:`kernels.lightning.portable.sweep` with these arguments."""
    a, c = operand.a, operand.c
    longest = min(cut.layout.tokens, cut.segment)
    silu = any(operand.activated)
    tile = _tile(a.shape[3], c.shape[3], a.element_size(), longest, silu)
    settings = _settings(operand, cut, reverse, initial, carried, final, tile)
    return Candidate(PORTABLE, settings)


def _settings(
    operand: Operands,
    cut: Pieces,
    reverse: bool,
    initial: torch.Tensor | None,
    carried: torch.Tensor | None,
    final: torch.Tensor | None,
    tile: int,
) -> Sweep:
    a, c, out = operand.a, operand.c, operand.out
    _, tokens, heads, packed = cut.layout
    _, _, a_heads, key_size = a.shape
    _, _, c_heads, value_size = c.shape
    return Sweep(
        key_size,
        value_size,
        a.dtype,
        out.dtype,
        reverse,
        packed,
        _lying(initial),
        _lying(carried),
        final is not None,
        inputs.kind(tokens),
        inputs.kind(heads),
        not a_heads == c_heads == heads,
        tile,
        operand.activated,
        operand.preactivation is not None,
    )


def _lying(states: torch.Tensor | None) -> int:
    if states is None:
        return NO_STATE
    return PLAIN if states.stride(3) == 1 else TURNED


@functools.lru_cache(4096)
def _tile(key_size: int, value_size: int, itemsize: int, longest: int, activated: bool) -> int:
    return portable.tiles(key_size, value_size, itemsize, longest, activated=activated).tokens


def check(
    settings: Sweep,
    device: torch.device,
    *,
    launch: Callable[..., None],
    tiles: int,
    pair: bool = False,
) -> Finding:
    """Judge ``launch`` on a small batch.

    It is called as ``launch(operands, slopes, pieces, reverse=, scale=, initial=, carried=,
    final=)``, with one operand, or with the ``pair`` of dv and dk.

    Args:
        tiles: of a segment; more than the kernel has in flight.
    """
    s = settings
    heads = s.heads  # 1, 8 and 16 are numbers of their own kind
    # The kernel takes a small tile where no sequence is longer than that.
    longest = _tile(s.K, s.V, s.dtype.itemsize, LONG, any(s.activated))
    one_tile = not s.carried and s.tile < longest
    segment = s.tile if one_tile else -(-tiles * s.tile // pieces.TILE) * pieces.TILE
    batch = inputs.batch(
        s.tile, segment,
        heads=heads, packed=s.packed, is_cut=bool(s.carried), tokens=s.tokens, device=device,
    )  # fmt: skip
    draw, slopes = inputs.Draw(device), inputs.slopes(heads, device)

    def operand(size: int, may_share: bool) -> torch.Tensor:
        count = heads // 2 if may_share and s.shared and heads > 1 else heads
        drawn = draw(batch.rows, batch.tokens, count, size, dtype=s.dtype)
        # All of a lone token's output is one product, (a · b) c. Where a and b are orthogonal by
        # chance, their rounding is all of it: they are given a common part.
        return drawn.add_(1) if batch.tokens == 1 else drawn

    # k and v may be shared by heads: b and c of forward sweeps, a of reverse ones.
    a, b, c = operand(s.K, s.reverse), operand(s.K, not s.reverse), operand(s.V, not s.reverse)
    read = [(a, b, c)]
    activated = [s.activated]
    if pair:  # (k, q, do) -> dv and (v, do, q) -> dk
        read.append((operand(s.V, s.reverse), c, b))
        activated.append((s.activated[0], s.activated[2], s.activated[1]))
    before: list[torch.Tensor | None] = [None] * len(read)
    if s.through:  # of a pair dv's is v, and dk's is k
        before = [read[1][0], a] if pair else [operand(s.V, s.reverse)]
    state = None
    if s.initial:
        state = draw(batch.pieces.layout.sequences, heads, s.K, s.V)
    outputs: list[Output] = []
    operands: list[Operands] = []
    initial = carried = final = None
    limit = inputs.LIMITS[s.dtype]
    for n, one in enumerate(read):
        start = None if state is None else state.mT if n else state
        walked = reference.walk(
            *one, slopes, batch.host,
            reverse=s.reverse, scale=inputs.SCALE, initial=start,
            activated=activated[n], preactivation=before[n],
        )  # fmt: skip
        out = Guarded(walked.out.shape, s.out, device)
        outputs.append(Output(f"out {n}" if pair else "out", out, walked.out, limit, 2))
        operands.append(Operands(*one, out.view, activated[n], before[n]))
        if n == 0:
            initial, carried = _laid(state, s.initial), _laid(walked.carried, s.carried)
            if s.final:
                final = Guarded(walked.final.shape, torch.float32, device)
                outputs.append(Output("final", final, walked.final, limit, 1))

    def run() -> None:
        launch(
            operands, slopes, batch.pieces,
            reverse=s.reverse, scale=inputs.SCALE, initial=initial, carried=carried,
            final=None if final is None else final.view,
        )  # fmt: skip

    return judge(run, outputs)


def _laid(states: torch.Tensor | None, lying: int) -> torch.Tensor | None:
    """float32 states that lie as they are to be read, in NaN."""
    if states is None or lying == NO_STATE:
        return None
    states = states.float()
    return surrounded(states.mT).mT if lying == TURNED else surrounded(states)


def _hopper(operands: Sequence[Operands], *rest: Any, **named: Any) -> None:
    (one,) = operands
    _one(hopper.sweep, one, *rest, **named)


def _gradients(operands: Sequence[Operands], *rest: Any, reverse: bool, **named: Any) -> None:
    assert reverse
    (k, q, do, dv, *_), (v, _, _, dk, *_) = operands
    activation = operands[0].preactivation is not None
    hopper_gradients.gradients(q, k, v, do, dv, dk, *rest, **named, activation=activation)


def _portable(operands: Sequence[Operands], *rest: Any, **named: Any) -> None:
    (one,) = operands
    _one(portable.sweep, one, *rest, **named)


def _one(sweep: Callable[..., None], one: Operands, *rest: Any, **named: Any) -> None:
    sweep(
        one.a, one.b, one.c, one.out, *rest, **named,
        activated=one.activated, preactivation=one.preactivation,
    )  # fmt: skip


def _sources(*modules: Any) -> tuple[str, ...]:
    return (
        *(str(x.__file__) for x in (*modules, pieces, pieces_device, inputs, reference)),
        __file__,
    )


HOPPER = Kernel(
    "lightning.hopper",
    functools.partial(check, launch=_hopper, tiles=hopper.STAGES + 2),
    _sources(hopper, hopper_device),
)
GRADIENTS = Kernel(
    "lightning.hopper_gradients",
    functools.partial(check, launch=_gradients, tiles=hopper_gradients.STAGES + 3, pair=True),
    _sources(hopper_gradients, hopper, hopper_device),
)
PORTABLE = Kernel(
    "lightning.portable",
    functools.partial(check, launch=_portable, tiles=3),
    _sources(portable, silu_device),
)


def candidates(device: torch.device) -> Iterator[Candidate]:
    """What forward and backward launch for common sizes: dense and packed, whole and cut.

    In bfloat16 with heads of 128 also with SiLU.

    Those of the portable kernel, which takes the place of the others, on every GPU.
    """
    bf16, every = torch.bfloat16, tuple(product((False, True), repeat=3))
    some = ((False, False, False), (False, True, True), (True, True, False))
    if torch.cuda.get_device_capability(device) == (9, 0):
        for size, modes in ((64, some), (128, every)):
            for mode in modes:
                for settings in _launches(size, bf16, hopper.TILE, *mode):
                    yield Candidate(HOPPER, settings)
        size = hopper_gradients.HEAD_SIZE
        for (packed, cut, states), activation in product(every, (False, True)):
            _, _, dv, _ = _four(size, bf16, hopper.TILE, packed, cut, states, activation)
            yield Candidate(GRADIENTS, dv)
    sizes = ((bf16, 64), (bf16, 128), (bf16, 256), (torch.float16, 128), (torch.float32, 128))
    for dtype, size in sizes:
        tile = _tile(size, size, dtype.itemsize, LONG, False)  # SiLU takes the same of such sizes
        for mode in every if (dtype, size) == (bf16, 128) else some:
            for settings in _launches(size, dtype, tile, *mode):
                yield Candidate(PORTABLE, settings)


def _launches(
    size: int, dtype: torch.dtype, tile: int, packed: bool, cut: bool, states: bool
) -> Iterator[Sweep]:
    """Of o, dq, dv and dk, each once."""
    common = (dtype, size) == (torch.bfloat16, 128)
    found: dict[Sweep, None] = {}
    for activation in (False, True) if common else (False,):
        found |= dict.fromkeys(_four(size, dtype, tile, packed, cut, states, activation))
    yield from found


def _four(
    size: int,
    dtype: torch.dtype,
    tile: int,
    packed: bool,
    cut: bool,
    states: bool,
    activation: bool,
) -> tuple[Sweep, Sweep, Sweep, Sweep]:
    """o, dq, dv and dk; with ``activation`` as :mod:`kernels.lightning.sweep` has their SiLU."""
    o = Sweep(
        size, size, dtype, dtype, False, packed, PLAIN if states else NO_STATE,
        PLAIN if cut else NO_STATE, states and not cut, 16, 16, False, tile,
    )  # fmt: skip
    turned = {PLAIN: TURNED, NO_STATE: NO_STATE}
    dq = o._replace(initial=turned[o.initial], carried=turned[o.carried], final=False)
    dv, dk = o._replace(reverse=True), dq._replace(reverse=True)
    if activation:
        o = o._replace(activated=(True, True, True))
        dq = dq._replace(activated=(False, True, True), through=True)
        dv = dv._replace(activated=(True, True, False), through=True)
        dk = dk._replace(activated=(True, False, True), through=True)
    return o, dq, dv, dk
