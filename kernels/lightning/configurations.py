"""The launches of lightning attention's kernels, for the compile check of all kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from kernels.lightning import (
    carry,
    hopper,
    hopper_device,
    hopper_gradients,
    pieces_device,
    portable,
)
from kernels.lightning.known_spills import Spilled, spilled
from kernels.triton_support import next_power_of_2

if TYPE_CHECKING:
    from kernels.artefacts import Configuration

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_LONG = 1 << 20
"""Tokens of a sequence that is longer than any tile."""
_NONE = Spilled({}, {})
_SWEEP_SPILLS = Spilled({90: 124}, {90: 18})
"""Of the sweep for Hopper at 128 x 128, whose groups share all registers of a multiprocessor: none
without a state and without SiLU. Here and below the more of Triton 3.6.0 and 3.7.1, and a tenth."""
_NARROW_SPILLS = Spilled({90: 124}, {90: 1})
"""Outside its loop, where SiLU' is multiplied in."""
_GRADIENTS_SPILLS = Spilled({90: 728}, {90: 80})
"""Of the sweep for both dv and dk, which has two products more under way: most where a final state
is written, and 180 bytes without a state and without SiLU."""


class _Ends(NamedTuple):
    """Which states a sweep reads and writes: the kernels' INITIAL, CARRIED and FINAL."""

    initial: bool = False
    carried: bool = False
    final: bool = False

    @property
    def name(self) -> str:
        return "".join(f"-{name}" for name, given in self._asdict().items() if given)


_NO_ENDS, _BOTH_ENDS = _Ends(), _Ends(initial=True, final=True)
_ENDS = (
    _NO_ENDS,
    _Ends(final=True),
    _Ends(carried=True),
    _Ends(initial=True),
    _Ends(initial=True, carried=True),
    _BOTH_ENDS,
)
"""All that ``passes.py`` launches: where something is cut the carry has written final states."""


class _Form(NamedTuple):
    """What SiLU is applied to in a sweep."""

    name: str
    reverse: bool
    activated: tuple[bool, bool, bool]
    through: bool


_FORMS = (
    _Form("", False, (False, False, False), False),
    _Form("-silu", False, (True, True, True), False),
    _Form("-silu-dq", False, (False, True, True), True),
    _Form("-silu-dv", True, (True, True, False), True),
    _Form("-silu-dk", True, (True, False, True), True),
)
"""None, and those of o, dq, dv and dk."""
_REVERSE = _FORMS[0]._replace(reverse=True)


def configurations() -> Iterator[Configuration]:
    """The sweep in both forms, the states at cuts, and the table of a packed row."""
    yield from _portable()
    yield from _hopper()
    yield from _carry()
    yield _configuration(
        "lightning-pieces",
        pieces_device.piece_table,
        {"cu": "*i64", "table": "*i32"},
        {"BLOCK": 128},
        expects_tensor_cores=False,
    )


def _portable() -> Iterator[Configuration]:
    sizes = ((64, 64), (96, 96), (128, 128), (256, 256), (128, 64))
    for (key_size, value_size), kind, reverse in product(sizes, _DTYPES, (False, True)):
        yield _sweep(key_size, value_size, kind, reverse)
    for reverse, packed, ends in product((False, True), (False, True), _ENDS):
        if packed or any(ends):
            yield _sweep(128, 128, "bf16", reverse, packed=packed, ends=ends)
    for activation in _FORMS[1:]:
        yield _sweep(128, 128, "bf16", activation.reverse, activation=activation)
    for longest, kind in product((16, 32), _DTYPES):
        yield _sweep(128, 128, kind, False, longest=longest)
    for kind in ("bf16", "fp16"):
        yield _sweep(128, 128, kind, True, shared=True)
    yield _sweep(128, 128, "bf16", True, shared=True, activation=_FORMS[3])


def _sweep(
    key_size: int,
    value_size: int,
    kind: str,
    reverse: bool,
    *,
    packed: bool = False,
    ends: _Ends = _NO_ENDS,
    longest: int = _LONG,
    shared: bool = False,
    activation: _Form = _FORMS[0],
) -> Configuration:
    dtype = _DTYPES[kind]
    tile = portable.tiles(
        key_size, value_size, dtype.itemsize, longest, activated=any(activation.activated)
    )
    dot, precision = portable.arithmetic(dtype)
    name = f"lightning-{'reverse' if reverse else 'forward'}-{key_size}x{value_size}-{kind}"
    name += ("-packed" if packed else "") + ends.name + ("-shared" if shared else "")
    name += activation.name
    through: dict[str, Any] = dict.fromkeys(("through", "p_b", "p_t", "p_h", "p_group"))
    if activation.through:
        through = {} if shared else _ungrouped("p_group")
    return _configuration(
        name + (f"-of-{longest}" if longest < _LONG else ""),
        portable._sweep,
        {
            **dict.fromkeys("abc", f"*{kind}"),
            # dk and dv of shared heads are summed in float32, and of bfloat16 only then.
            "out": "*fp32" if shared and kind == "fp16" else f"*{kind}",
            **({"through": f"*{kind}"} if activation.through else {}),
            "table": "*i32" if packed else "*fp32",
        },
        {
            "K": key_size,
            "V": value_size,
            "BK": next_power_of_2(max(key_size, 16)),
            "BV": tile.columns,
            "C": tile.tokens,
            "PACKED": packed,
            "REVERSE": reverse,
            **_states(ends),
            **dict(zip(("SILU_A", "SILU_B", "SILU_C"), activation.activated, strict=True)),
            "THROUGH": activation.through,
            "DOT": dot,
            "PRECISION": precision,
            "STAGES": tile.stages,
            **through,
            **({} if shared else _ungrouped("a_group", "b_group", "c_group")),
            **_contiguous(ends, transposed=False),
        },
        warps=tile.warps,
        expects_tensor_cores=dtype != torch.float32,
        spills=spilled("sweep", kind, next_power_of_2(key_size)),
    )


def _hopper() -> Iterator[Configuration]:
    for key_size, groups, packed, ends in product((64, 128), (1, 2), (False, True), _ENDS):
        # dq starts from transposed states, and so does dk; neither has a final one.
        starts = ends.initial or ends.carried
        forms = (False, True) if starts and not ends.final else (False,)
        together = key_size == groups * hopper.COLUMNS == hopper_gradients.HEAD_SIZE
        for transposed in forms:
            yield _hopper_sweep(key_size, groups, packed, ends, transposed)
            if not together:
                yield _hopper_sweep(key_size, groups, packed, ends, transposed, _REVERSE)
                continue
            if not transposed:
                yield _hopper_sweep(key_size, groups, packed, ends, False, _FORMS[1])
            if transposed or not (starts or ends.final):
                yield _hopper_sweep(key_size, groups, packed, ends, transposed, _FORMS[2])
        if together:
            yield _hopper_gradients(packed, ends, silu=False)
            yield _hopper_gradients(packed, ends, silu=True)
    packed_states = (True, _BOTH_ENDS)
    for key_size, groups, form in product((64, 128), (1, 2), _FORMS[1:]):
        if key_size != groups * hopper.COLUMNS or key_size != hopper_gradients.HEAD_SIZE:
            for packed, ends in ((False, _NO_ENDS), packed_states):
                yield _hopper_sweep(key_size, groups, packed, ends, False, form)


def _hopper_sweep(
    key_size: int,
    groups: int,
    packed: bool,
    ends: _Ends,
    transposed: bool,
    form: _Form = _FORMS[0],
) -> Configuration:
    wide, narrow = (_descriptor(hopper.TILE, size) for size in (key_size, hopper.COLUMNS))
    widest = key_size == groups * hopper.COLUMNS == 128
    name = f"lightning-hopper-{'reverse' if form.reverse else 'forward'}-"
    name += f"{key_size}x{groups * hopper.COLUMNS}" + ("-packed" if packed else "") + ends.name
    return _configuration(
        name + ("-transposed" if transposed else "") + form.name,
        hopper._sweep,
        {
            "a": wide,
            "b": wide,
            "c": narrow,
            "through": narrow,
            "out": narrow,
            "out_base": "*bf16",
            "table": "*i32" if packed else "*fp32",
        },
        {
            "C": hopper.TILE,
            "K": key_size,
            "BV": hopper.COLUMNS,
            "GROUPS": groups,
            "STAGES": hopper.STAGES,
            "REACH": hopper_device.REACH,
            "PACKED": packed,
            "REVERSE": form.reverse,
            **_states(ends),
            "SILU": hopper.silu_bits(form.activated),
            "THROUGH": form.through,
            "CONSUMER_REGISTERS": hopper.CONSUMER_REGISTERS,
            "PREPARER_REGISTERS": hopper.PREPARER_REGISTERS,
            "PRODUCER_REGISTERS": hopper.PRODUCER_REGISTERS,
            **_ungrouped("a_group", "b_group", "c_group", "through_group"),
            **_contiguous(ends, transposed),
        },
        expects_tensor_cores=True,
        spills=_SWEEP_SPILLS if widest else _NARROW_SPILLS,
        capabilities=(90,),
    )


def _hopper_gradients(packed: bool, ends: _Ends, *, silu: bool) -> Configuration:
    block = _descriptor(hopper_gradients.BLOCK, hopper_gradients.BLOCK)
    return _configuration(
        "lightning-hopper-gradients"
        + ("-packed" if packed else "")
        + ends.name
        + ("-silu" if silu else ""),
        hopper_gradients._gradients,
        {
            **dict.fromkeys(("q", "k", "v", "do", "dv", "dk"), block),
            **dict.fromkeys(("dv_base", "dk_base"), "*bf16"),
            "table": "*i32" if packed else "*fp32",
        },
        {
            "C": hopper_gradients.BLOCK,
            "STAGES": hopper_gradients.STAGES,
            "REACH": hopper_device.REACH,
            "PACKED": packed,
            **_states(ends),
            "SILU": silu,
            "CONSUMER_REGISTERS": hopper_gradients.CONSUMER_REGISTERS,
            "PREPARER_REGISTERS": hopper_gradients.PREPARER_REGISTERS,
            "PRODUCER_REGISTERS": hopper_gradients.PRODUCER_REGISTERS,
            **_ungrouped("group"),
            **_contiguous(ends, transposed=False),
        },
        expects_tensor_cores=True,
        spills=_GRADIENTS_SPILLS,
        capabilities=(90,),
    )


def _descriptor(rows: int, columns: int) -> str:
    """The type of a tile's TMA descriptor, as Gluon writes it in a signature."""
    from triton.experimental.gluon import language as gl

    shape = [rows, columns]
    layout = gl.NVMMASharedLayout.get_default_for(shape, gl.bfloat16)
    return f"tensordesc<bf16{shape},{layout!r}>"


def _carry() -> Iterator[Configuration]:
    plain = product((64, 96, 128, 256), _DTYPES, (False, True), (False,))
    for size, kind, reverse, silu in chain(
        plain, product((128,), ("bf16",), (False, True), (True,))
    ):
        packed = reverse  # either way of cutting is built, without twice the builds
        dtype = _DTYPES[kind]
        dot, precision = portable.arithmetic(dtype)
        direction = f"{'reverse' if reverse else 'forward'}-{size}-{kind}"
        wide = next_power_of_2(size)
        columns = 32 if wide > 128 else min(wide, 128 if dtype.itemsize == 2 else 64)
        yield _configuration(
            f"lightning-own-{direction}" + ("-silu" if silu else ""),
            carry._own,
            {
                "b": f"*{kind}",
                "c": f"*{kind}",
                "own": "*fp32",
                "table": "*i32" if packed else "*fp32",
            },
            {
                "K": size,
                "V": size,
                "BK": wide,
                "BV": columns,
                "C": 64 if dtype.itemsize == 2 else 16,
                "PACKED": packed,
                "REVERSE": reverse,
                "LAST": False,
                "BITS": carry.HORIZON_BITS,
                "SILU_B": silu,
                "SILU_C": silu and not reverse,
                "DOT": dot,
                "PRECISION": precision,
                "STAGES": 3 if dtype.itemsize == 2 else 1,
                **_ungrouped("b_group", "c_group"),
            },
            warps=8 if columns == 128 else 4,
            expects_tensor_cores=dtype != torch.float32,
            spills=spilled("own", kind, wide),
        )
    for packed, reverse, ends in product((False, True), (False, True), (_NO_ENDS, _BOTH_ENDS)):
        name = f"lightning-scan-{'reverse' if reverse else 'forward'}{'-packed' if packed else ''}"
        yield _configuration(
            name + ends.name,
            carry._scan,
            {
                "own": "*fp32",
                "states": "*fp32",
                "table": "*i32" if packed else "*fp32",
                "cu": "*i64" if packed else "*fp32",
            },
            {
                "K": 128,
                "V": 128,
                "BLOCK": 1024,
                "PACKED": packed,
                "REVERSE": reverse,
                "INITIAL": ends.initial,
                "FINAL": ends.final,
                "BITS": carry.HORIZON_BITS,
                **_contiguous(ends, transposed=False),
                **({"e_v": 1} if ends.final else {}),
            },
            expects_tensor_cores=False,
            spills=spilled("scan", "fp32", 128),
        )


def _ungrouped(*names: str) -> dict[str, int]:
    """A launch without shared heads passes ones, which Triton compiles in."""
    return dict.fromkeys(names, 1)


def _states(ends: _Ends) -> dict[str, bool]:
    """The arguments that say which states there are."""
    return {"INITIAL": ends.initial, "CARRIED": ends.carried, "FINAL": ends.final}


def _contiguous(ends: _Ends, transposed: bool) -> dict[str, int]:
    """So it does with the innermost stride of each state."""
    inner = "k" if transposed else "v"
    ones = (f"i_{inner}" * ends.initial, f"s_{inner}" * ends.carried, "f_v" * ends.final)
    return dict.fromkeys(filter(None, ones), 1)


def _configuration(
    name: str,
    function: Any,
    kinds: Mapping[str, str],
    constexprs: Mapping[str, Any],
    *,
    expects_tensor_cores: bool,
    warps: int = 4,
    spills: Spilled = _NONE,
    capabilities: tuple[int, ...] | None = None,
) -> Configuration:
    """``kinds`` of what is not a float32 state, slope or int32; strides are multiples of 16."""
    from kernels.artefacts import CAPABILITIES, Configuration

    states = ("slopes", "initial", "carried", "final", "ends")
    usual = {**dict.fromkeys(states, "*fp32"), "scale": "fp32", **kinds}
    signature = {
        argument: usual.get(argument, "i32")
        for argument in function.arg_names
        if argument not in constexprs
    }
    return Configuration(
        name=name,
        function=function,
        signature=signature,
        constexprs=constexprs,
        num_warps=warps,
        num_stages=3,
        expects_tensor_cores=expects_tensor_cores,
        max_spill_bytes=spills.max_bytes,
        max_loop_spills=spills.max_in_loops,
        aligned=[a for a in signature if a[-2:] in ("_b", "_t", "_h", "_n", "_k", "_v")],
        capabilities=CAPABILITIES if capabilities is None else capabilities,
    )
