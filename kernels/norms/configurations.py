"""The launches of the norms' kernels, for the compile check of all kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kernels.norms import tiles

if TYPE_CHECKING:
    from kernels.artefacts import Configuration

# Several rows a program, the widest rows that each pass holds in registers, and beyond. (6144 has
# the tiles of 8192.)
_WIDTHS = {"bf16": (128, 8192, 16384, 20480), "fp32": (8192, 16384)}
_NUMBERS = {
    "rows": "i32",
    "width": "i32",
    "full_width": "i32",
    "x_stride": "i32",
    "residual_stride": "i32",
    "gate_stride": "i32",
    "dy_stride": "i32",
    "dtotal_stride": "i32",
    "count": "i32",
    "alpha": "fp32",
    "eps": "fp32",
}


def configurations() -> Iterator[Configuration]:
    """RMSNorm, SRMSNorm and the residual form, forward and backward; and the sum of the parts."""
    from kernels.norms import device

    yield from variant("srms-norm")
    yield from variant("rms-norm", gain=True)
    yield from variant("add-rms-norm", gain=True, residual=True)
    yield _configuration(
        "norms-column-sums",
        device.column_sums,
        {"parts": "*fp32", "out": "*bf16"},
        tiles.Tile(tiles.SUM_ROWS, tiles.SUM_COLUMNS, tiles.SUM_WARPS),
    )


def variant(
    name: str,
    *,
    gain: bool = False,
    gate: bool = False,
    residual: bool = False,
    across_ranks: bool = False,
) -> Iterator[Configuration]:
    """Every launch of one variant; with ``across_ranks`` all its reductions are passes apart."""
    from kernels.norms import device

    for kind, widths in _WIDTHS.items():
        value = f"*{kind}"
        operands = {
            **dict.fromkeys(("x", "y", "dy", "dx"), value),
            **dict.fromkeys(("squares", "moments"), "*fp32"),
            **dict.fromkeys(
                ("residual", "total", "dtotal", "dresidual"), value if residual else None
            ),
            **dict.fromkeys(("gate", "dgate"), value if gate else None),
            "gain": value if gain else None,
            "dgain_parts": "*fp32" if gain else None,
        }
        for width in widths:
            called = f"{name}-{kind}-{width}"
            walking = tiles.reduced_rows(width)
            apart = across_ranks or width > tiles.WIDEST_FORWARD
            if apart:
                yield _configuration(f"{called}-squares", device.row_squares, operands, walking)
            yield _configuration(
                f"{called}-forward",
                device.forward,
                {
                    **operands,
                    "squares_in": "*fp32" if apart else None,
                    "squares_out": None if apart else "*fp32",
                    **(dict.fromkeys(("residual", "total")) if apart else {}),
                },
                tiles.strips(width) if apart else tiles.whole_rows(width),
            )
            apart = across_ranks or width > tiles.WIDEST_BACKWARD
            if apart:
                yield _configuration(f"{called}-moments", device.row_moments, operands, walking)
            yield _configuration(
                f"{called}-backward",
                device.backward,
                {**operands, "moments": "*fp32" if apart else None},
                tiles.strips(width) if apart else tiles.whole_rows(width),
                {"STAGES": tiles.BACKWARD_STAGES},
            )


def _configuration(
    name: str,
    function: Any,
    operands: Mapping[str, str | None],
    tile: tiles.Tile,
    more: dict[str, int] | None = None,
) -> Configuration:
    """One launch: of ``operands`` those that the kernel has; what is None is compiled away."""
    from kernels.artefacts import Configuration

    constexprs: dict[str, Any] = {"ROWS": tile.rows, "COLUMNS": tile.columns, **(more or {})}
    signature = {}
    for parameter in function.arg_names:
        if parameter in constexprs:
            continue
        kind = operands[parameter] if parameter in operands else _NUMBERS[parameter]
        if kind is None:
            constexprs[parameter] = None
        else:
            signature[parameter] = kind
    return Configuration(
        name=name,
        function=function,
        signature=signature,
        constexprs=constexprs,
        num_warps=tile.warps,
        num_stages=3,
        expects_tensor_cores=False,
    )
