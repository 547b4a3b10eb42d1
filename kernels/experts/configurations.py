"""What the compile check builds without a GPU: the kernels at the tiles and dtypes that are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .tiles import WARPS, ZERO_BLOCK, order_tile, row_tile

if TYPE_CHECKING:
    from kernels.artefacts import Configuration

WIDTHS = (256, 9216)
"""A width below the widest tile, and MiniMax-Text-01's expert width, which takes the widest."""
EXPERTS = (8, 32, 256)
CHOICES = 2


def configurations() -> Iterator[Configuration]:
    """Every kernel for float32, float16 and bfloat16. None multiplies matrices or may spill."""
    from kernels.artefacts import Configuration

    from . import device

    def make(
        name: str, function: Any, types: Mapping[str, str], constants: Mapping[str, Any]
    ) -> Configuration:
        signature = {
            argument: "constexpr" if argument in constants else types.get(argument, "i32")
            for argument in function.arg_names
        }
        # Triton 3.7.1 spills 8 to 16 bytes in three of these, 3.6.0 in none.
        return Configuration(
            name,
            function,
            signature,
            dict(constants),
            WARPS,
            3,
            expects_tensor_cores=False,
            max_spill_bytes=16,
        )

    for experts in EXPERTS:
        order = order_tile(experts)
        slots = {"BLOCK": order.slots, "COLUMNS": order.columns}
        types = {"index": "*i64", "counts": "*i32", "begins": "*i32", "row_of": "*i32"}
        types["offsets"] = "*i32"
        scanned = {"ROWS": order.scanned, "COLUMNS": order.columns}
        yield make(f"experts.count.{experts}", device.count_kernel, types, slots)
        yield make(f"experts.scan.{experts}", device.scan_kernel, types, scanned)
        yield make(f"experts.place.{experts}", device.place_kernel, types, slots)
    for dtype in ("fp32", "fp16", "bf16"):
        rows = dict.fromkeys(
            ("x", "y", "spread", "collected", "d_collected", "d_y", "gate_up", "hidden", "weights"),
            f"*{dtype}",
        )
        rows |= dict.fromkeys(("d_hidden", "d_gate_up"), f"*{dtype}")
        per_slot = (
            "values",
            "spread_values",
            "collected_values",
            "d_weights",
            "scales",
            "d_scales",
        )
        rows |= dict.fromkeys(per_slot, "*fp32") | {"row_of": "*i32", "offsets": "*i32"}
        for width in WIDTHS:
            tile = row_tile(width)
            end = f"{dtype}.{width}"
            tokens = {"CHOICES": CHOICES, "TOKENS": tile.rows, "BLOCK": tile.columns}
            spread = tokens | {"VALUES": True}
            swiglu = {"ROWS": tile.rows, "BLOCK": tile.columns, "SCALES": True}
            weighted = rows | {"weights": "*fp32"}
            yield make(f"experts.spread.{end}", device.spread_kernel, rows, spread)
            for weights in (False, True):
                name = f"experts.collect{'.weighted' if weights else ''}.{end}"
                constants = tokens | {"VALUES": not weights, "WEIGHTS": weights}
                yield make(name, device.collect_kernel, weighted, constants)
            yield make(
                f"experts.collect.weighted.backward.{end}",
                device.weighted_backward_kernel,
                weighted,
                tokens,
            )
            yield make(f"experts.swiglu.{end}", device.swiglu_kernel, rows, swiglu)
            yield make(
                f"experts.swiglu.backward.{end}", device.swiglu_backward_kernel, rows, swiglu
            )
        yield make(
            f"experts.zero_empty.{dtype}", device.zero_empty_kernel, rows, {"BLOCK": ZERO_BLOCK}
        )
