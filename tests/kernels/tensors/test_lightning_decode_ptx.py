"""The compiled decode step moves its state in 16-byte accesses, each float once each way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia")

# A process of its own: under the interpreter there is nothing to compile.
COMPILE = """
import json, re
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from kernels.lightning.decode import decode_tile
from kernels.lightning.decode_device import decode_kernel as kernel

found = {}
for K, V in ((64, 64), (96, 96), (128, 128), (256, 64)):
    block, columns, warps = decode_tile(K, V)
    values = {"TOKENS": 1, "K": K, "V": V, "K_BLOCK": block, "COLUMNS": columns, "SILU": True}
    values |= {"INDEXED": True, "FORKED": False, "write_pages": None}
    kinds = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(values, "constexpr")
    kinds |= dict.fromkeys(("q", "k", "v", "out"), "*bf16")
    kinds |= {"states": "*fp32", "slopes": "*fp32", "read_pages": "*i32", "scale": "fp32"}
    place = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    # What a launch finds out about its arguments: addresses and strides divisible by 16.
    strides = ("state_page", "state_head")
    sixteen = [name for name, kind in kinds.items() if kind[0] == "*" or name in strides]
    source = ASTSource(
        fn=kernel,
        signature=kinds,
        constexprs={place[name]: value for name, value in values.items()},
        attrs={place[name]: [["tt.divisibility", 16]] for name in sixteen},
    )
    target = GPUTarget("cuda", 90, 32)
    ptx = compile(source, target=target, options={"num_warps": warps, "num_stages": 1}).asm["ptx"]
    count = lambda pattern: len(re.findall(pattern, ptx))
    found[f"{K}x{V}"] = {
        "floats": block * columns // (32 * warps),
        "loads": count(r"ld\\.global\\S*\\.v4\\.b32"),
        "stores": count(r"st\\.global\\S*\\.v4\\.b32"),
        "narrow": count(r"st\\.global\\S*(?<!v4)\\.b32"),
    }
print(json.dumps(found))
"""


def test_states_move_in_16_byte_accesses() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    printed = subprocess.run(
        [sys.executable, "-c", COMPILE],
        cwd=Path(__file__).resolve().parents[3],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    for size, counts in json.loads(printed.stdout).items():
        assert counts["floats"] == 16, size
        assert counts["loads"] == counts["stores"] == 4, (size, counts)
        assert counts["narrow"] == 0, (size, counts)
