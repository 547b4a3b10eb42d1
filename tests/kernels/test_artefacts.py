"""What the kernels compile to for three GPUs: no spills, shared memory that fits, tensor cores.

Kernels are built in processes of their own: this one may have been told to interpret them.
The report around a build is tested here, without one.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

from kernels import artefacts  # noqa: E402
from kernels.artefacts import (  # noqa: E402
    CAPABILITIES,
    SHARED_LIMIT,
    Configuration,
    Resources,
    faults,
    loop_spills,
    read,
)

ROOT = Path(__file__).resolve().parents[2]
REPRESENTATIVE = (
    "cross-entropy-gradient-bf16",
    "cross-entropy-statistics-bf16",
    "experts.collect.weighted.bf16.9216",
    "experts.place.32",
    "experts.swiglu.backward.bf16.9216",
    "lightning-decode-128x128-1-bf16",
    "lightning-forward-128x128-bf16",
    "lightning-hopper-forward-128x128",
    "lightning-hopper-forward-128x128-silu",
    "lightning-hopper-gradients-packed-carried",
    "lightning-hopper-gradients-silu",
    "lightning-hopper-reverse-64x128-initial-final",
    "lightning-own-forward-128-bf16",
    "lightning-pieces",
    "lightning-reverse-64x64-fp16",
    "lightning-scan-reverse-packed-initial-final",
    "norm-gate-bf16-8192-backward",
    "norm-gate-bf16-8192-forward",
    "norms-column-sums",
    "rms-norm-bf16-20480-backward",
    "rotary-bf16-64-of-128",
)
"""Launches of every kernel, and of what makes it another: a carried state, a last pass."""
FEWER = (
    "cross-entropy-gradient-bf16",
    "experts.swiglu.backward.bf16.9216",
    "lightning-decode-128x128-1-bf16",
    "lightning-forward-128x128-bf16",
    "lightning-own-forward-128-bf16",
    "norm-gate-bf16-8192-forward",
    "rms-norm-bf16-20480-backward",
    "rotary-bf16-64-of-128",
)
"""One or two launches of every operator."""
BUILT = {80: FEWER, 90: REPRESENTATIVE, 100: FEWER}


def build(capability: int, *names: str) -> list[dict[str, Any]]:
    """The rows of the report, after a look at what each must have."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "kernels.artefacts", *names]
    done = subprocess.run(
        [*command, "--json", "--capability", str(capability)],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    broken = {row["name"]: row["faults"] for row in rows if row["faults"]}
    version = triton.__version__
    assert not broken, f"Triton {version}, sm_{capability}: {broken}"
    assert done.returncode == 0, done.stderr[-2000:]
    assert {row["triton"] for row in rows} == {version}
    for row in rows:
        assert row["capability"] == capability
        assert row["registers"] > 0
        assert row["shared_bytes"] <= SHARED_LIMIT[capability]
    return rows


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_representative_kernels_keep_their_promises(capability: int) -> None:
    names = BUILT[capability]
    rows = {row["name"]: row for row in build(capability, *names)}
    assert set(rows) == set(names)
    matrix = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}[capability]
    assert rows["lightning-forward-128x128-bf16"]["matrix"] == matrix
    assert rows["lightning-own-forward-128-bf16"]["matrix"] == matrix
    # Rows and states are read 16 bytes a thread at a time.
    for name in ("lightning-decode-128x128-1-bf16", "norm-gate-bf16-8192-forward"):
        assert rows[name]["wide_loads"] >= 4, name
    for name in (name for name in names if "hopper" in name):
        assert rows[name]["matrix"] == "HGMMA"
        assert rows[name]["tile_loads"] > 0


@pytest.mark.long
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_keeps_its_promises(capability: int) -> None:
    assert len(build(capability)) > 200


def test_every_kernel_that_is_launched_is_in_the_report() -> None:
    every = list(artefacts.every_configuration())
    names = [one.name for one in every]
    assert len(names) == len(set(names))
    assert set(REPRESENTATIVE) | set(FEWER) <= set(names)
    # Of the Python function inside: what wraps it differs when kernels are interpreted.
    functions = [one.function.fn for one in every]
    assert launched_kernels() == {(fn.__module__, fn.__name__) for fn in functions}


@cache
def launched_kernels() -> frozenset[tuple[str, str]]:
    """``(module, function)`` of every ``kernel[grid](…)`` in the room."""
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "kernels").rglob("*.py")}
    defined: dict[str, list[str]] = {}
    for path, tree in trees.items():
        for top in tree.body:
            if isinstance(top, ast.FunctionDef) and any(
                ast.unparse(one) in ("triton.jit", "gluon.jit") for one in top.decorator_list
            ):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                defined.setdefault(top.name, []).append(module)
    found = set()
    for path, tree in trees.items():
        here = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)):
                continue
            name = ast.unparse(node.func.value).split(".")[-1]
            modules = [module for module in defined.get(name, []) if module == here]
            modules = modules or defined.get(name, [])
            assert len(modules) < 2, f"{here}: {name} may be any of {modules}"
            found |= {(module, name) for module in modules}
    return frozenset(found)


def test_a_launch_is_found_where_a_kernel_is_called_with_a_grid() -> None:
    assert ("kernels.lightning.portable", "_sweep") in launched_kernels()
    assert ("kernels.lightning.hopper", "_sweep") in launched_kernels()
    assert ("kernels.lightning.decode_device", "decode_kernel") in launched_kernels()


CONFIGURATION = Configuration("one", None, {}, {}, 4, 3, expects_tensor_cores=True)
GOOD = Resources(
    name="one",
    capability=90,
    registers=255,
    stack_bytes=0,
    spill_bytes=0,
    loop_spills=0,
    shared_bytes=SHARED_LIMIT[90],
    matrix="HGMMA",
    matrix_count=8,
    loads=1,
    wide_loads=1,
    tile_loads=0,
    serialized=(),
    waits=0,
)


def test_promises_are_held_against_what_was_built() -> None:
    assert faults(CONFIGURATION, GOOD) == []
    for change, text in (
        ({"spill_bytes": 8}, "8 B spilled, at most 0"),
        ({"loop_spills": 2}, "2 accesses to spills in a matrix loop, at most 0"),
        ({"shared_bytes": SHARED_LIMIT[90] + 1}, "232449 B of shared memory, at most 232448"),
        ({"matrix": "", "matrix_count": 0}, "no matrix instruction, expected some"),
        ({"serialized": ("wgmma are serialized",)}, "wgmma are serialized"),
    ):
        assert faults(CONFIGURATION, replace(GOOD, **change)) == [text]
    none = replace(CONFIGURATION, expects_tensor_cores=False)
    assert faults(none, GOOD) == ["8 HGMMA, expected no matrix instruction"]
    smaller = replace(GOOD, capability=80)
    assert faults(CONFIGURATION, smaller) == ["232448 B of shared memory, at most 166912"]


def test_spills_may_be_allowed_for_one_gpu() -> None:
    allowed = replace(CONFIGURATION, max_spill_bytes={80: 16}, max_loop_spills={80: 2})
    spilled = replace(GOOD, spill_bytes=16, loop_spills=2, shared_bytes=0)
    assert faults(allowed, replace(spilled, capability=80)) == []
    assert len(faults(allowed, spilled)) == 2


LOG = """ptxas info    : 11 bytes gmem
ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized \
due to ill formed pipeline stage in the function 'f'
ptxas info    : (C7517) warpgroup.wait is injected in around line 7 by compiler
ptxas info    : Function properties for f
    24 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 168 registers, used 3 barriers, 24 bytes cumulative stack size
"""
LISTING = """
 STL [R1], R9 ;
.L_x_1:
 LDG.E.128 R4, desc[UR4][R2.64] ;
 LDGSTS.E.BYPASS.128 [R5], desc[UR4][R2.64] ;
 @P0 BRA `(.L_x_2) ;
 LDL R7, [R1] ;
.L_x_2:
 HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], RZ ;
 LDL.LU R8, [R1+0x4] ;
 @P1 BRA `(.L_x_1) ;
.L_x_3:
 LDL R9, [R1] ;
 UTMALDG.2D [UR8], [UR4] ;
 LDG.E R4, desc[UR4][R2.64] ;
 BRA `(.L_x_3) ;
"""


def test_the_log_and_the_listing_are_read() -> None:
    found = read("f", 90, LOG, LISTING, shared=1024)
    assert (found.registers, found.stack_bytes, found.spill_bytes) == (168, 24, 28)
    assert (found.matrix, found.matrix_count, found.shared_bytes) == ("HGMMA", 1, 1024)
    assert (found.loads, found.wide_loads, found.tile_loads) == (3, 2, 1)
    assert "ill formed pipeline stage" in found.serialized[0]
    assert found.waits == 1
    with pytest.raises(RuntimeError, match="f: found no registers or spills"):
        read("f", 90, "", LISTING, shared=0)


def test_only_spills_of_every_turn_of_a_matrix_loop_count() -> None:
    # Not the one before the loop, nor the one that a branch jumps over, nor the other loop's.
    assert loop_spills(LISTING) == 1
    assert loop_spills(LISTING.replace("HGMMA.64x64x16.F32.BF16", "FADD")) == 0


def test_a_name_that_fits_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert artefacts.main(["no-such-kernel"]) == 1
    assert "found no kernel called no-such-kernel" in capsys.readouterr().err


def test_a_kernel_that_breaks_a_promise_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(CONFIGURATION, name="other", expects_tensor_cores=False)
    monkeypatch.setattr(artefacts, "every_configuration", lambda: (CONFIGURATION, other))
    monkeypatch.setattr(artefacts, "compile", lambda one, _: replace(GOOD, name=one.name))
    assert artefacts.main(["one", "--capability", "90"]) == 0
    assert "1 kernels built, 0 broken" in capsys.readouterr().out
    assert artefacts.main(["--capability", "90"]) == 1
    told = capsys.readouterr().out
    assert "8 HGMMA, expected no matrix instruction" in told
    assert "2 kernels built, 1 broken" in told


def test_an_argument_left_out_is_named() -> None:
    one = next(iter(artefacts.every_configuration()))
    signature = {name: kind for name, kind in one.signature.items() if name != "targets"}
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        with pytest.raises(ValueError, match="found targets named by the configuration or by the "):
            artefacts.compile(replace(one, signature=signature), 90)


def test_nothing_is_compiled_under_the_interpreter() -> None:
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = True
        with pytest.raises(RuntimeError, match="found TRITON_INTERPRET=1"):
            artefacts.compile(CONFIGURATION, 90)
