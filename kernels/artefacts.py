"""What the kernels compile to, on a machine without a GPU.

``python -m kernels.artefacts`` builds every kernel as it is launched for sm_80, sm_90 and sm_100
with the assembler that ships in Triton, and prints registers, spills, shared memory, matrix
instructions and wide loads. What breaks a kernel's promise stands under its line, and the exit
status is then 1.

Not under ``TRITON_INTERPRET=1``: what is interpreted is not compiled.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

CAPABILITIES = (80, 90, 100)
"""A100; H100 and H200; B200."""
SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory that one program may have (CUDA programming guide, capabilities)."""
OPERATORS = (
    "kernels.cross_entropy",
    "kernels.experts.configurations",
    "kernels.lightning.configurations",
    "kernels.lightning.decode",
    "kernels.norm_gate.configurations",
    "kernels.norms.configurations",
    "kernels.rotary.configurations",
)
"""Modules with a function ``configurations()``."""

_ALIGNED = re.compile(r"(^|_)(stride|width|columns|batch|token|head|page)$")
_MATRIX = re.compile(r"(?<![\w.])(HMMA|IMMA|DMMA|HGMMA|UTC\w*MMA)\b")
_SPILL = re.compile(r"(?<![\w.])(LDL|STL)\b")
_LABEL = re.compile(r"\s*(\.L\w+):")
_BRANCH = re.compile(r"(@\S+\s+)?\bBRA\b.*\((\.L\w+)\)")


@dataclass(frozen=True)
class Configuration:
    """One launch of one kernel, and what its compiled form must be like.

    ``function``: a ``triton.jit`` or ``gluon.jit`` function. ``signature``: the type of each
    run-time argument, as Triton writes it (``*bf16``, ``i32``); ``constexprs``: the value of every
    other one. ``expects_tensor_cores``: there must be matrix instructions, or none.
    ``max_spill_bytes``: the most that ptxas may report as spilled, stores and loads added up;
    ``max_loop_spills``: the most instructions among them in every turn of a loop that multiplies;
    either may be given by capability, and is then 0 for those left out.
    ``aligned``: the integers that are multiples of 16 in the launches that matter, for which Triton
    compiles code of its own; when left out, those that are named as a stride or a width. Pointers
    are multiples of 16 bytes. ``capabilities``: built for these.
    """

    name: str
    function: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    num_warps: int
    num_stages: int
    expects_tensor_cores: bool
    max_spill_bytes: int | Mapping[int, int] = 0
    max_loop_spills: int | Mapping[int, int] = 0
    aligned: Collection[str] | None = None
    capabilities: tuple[int, ...] = CAPABILITIES


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes.

    ``registers`` a thread (of a kernel that divides its warps: before they trade any).
    ``spill_bytes`` are stores and loads as ptxas counts them, ``loop_spills`` the instructions
    among them in a loop with matrix instructions (:func:`loop_spills`). ``shared_bytes`` a program.
    ``matrix`` is the kind of matrix instruction (HMMA, HGMMA, UTCHMMA; empty for none) and
    ``matrix_count`` how many there are. ``loads`` counts loads from global memory, ``wide_loads``
    those of 16 bytes a thread, ``tile_loads`` those of the copy engine (TMA). ``serialized`` are
    ptxas' warnings (C7510, C7514) that Hopper's matrix instructions wait for each other;
    ``waits`` counts its remarks that it added a wait (C7517).
    """

    name: str
    capability: int
    registers: int
    stack_bytes: int
    spill_bytes: int
    loop_spills: int
    shared_bytes: int
    matrix: str
    matrix_count: int
    loads: int
    wide_loads: int
    tile_loads: int
    serialized: tuple[str, ...]
    waits: int


def compile(configuration: Configuration, capability: int) -> Resources:  # noqa: A001
    """Build one configuration for one GPU and read what came of it. Not cached: about a second.

    Raises:
        ValueError: an argument of the kernel that the configuration does not name, or a name that
            the kernel does not have.
        RuntimeError: under the interpreter, or when ptxas does not say what it used to.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    if triton.knobs.runtime.interpret:
        raise RuntimeError("found TRITON_INTERPRET=1, expected none: it compiles nothing")
    log = io.StringIO()
    with triton.knobs.nvidia.scope(), triton.knobs.compilation.scope(), redirect_stdout(log):
        triton.knobs.nvidia.dump_ptxas_log = True
        triton.knobs.compilation.always_compile = True
        built = triton.compile(
            _source(configuration),
            target=GPUTarget("cuda", capability, 32),
            options={
                "num_warps": configuration.num_warps,
                "num_stages": configuration.num_stages,
            },
        )
    listing = disassemble(built.asm["cubin"])
    return read(
        configuration.name, capability, log.getvalue(), listing, shared=built.metadata.shared
    )


def _source(configuration: Configuration) -> Any:
    from triton.compiler import ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource

    function = configuration.function
    constexprs, kinds = configuration.constexprs, configuration.signature
    given = {name: kind for name, kind in kinds.items() if kind != "constexpr"} | dict(constexprs)
    if set(given) != set(function.arg_names):
        wrong = sorted(set(given) ^ set(function.arg_names))
        raise ValueError(
            f"{configuration.name}: found {', '.join(wrong)} named by the configuration or by the "
            "kernel alone, expected every argument in both"
        )
    signature, attributes = {}, {}
    for place, name in enumerate(function.arg_names):
        kind = "constexpr" if name in constexprs else kinds[name]
        signature[name] = kind
        if kind.startswith("*") or (kind in ("i32", "i64") and _is_aligned(configuration, name)):
            attributes[(place,)] = [["tt.divisibility", 16]]
    make = GluonASTSource if function.is_gluon() else ASTSource
    return make(fn=function, signature=signature, constexprs=dict(constexprs), attrs=attributes)


def _is_aligned(configuration: Configuration, name: str) -> bool:
    if configuration.aligned is None:
        return _ALIGNED.search(name) is not None
    return name in configuration.aligned


def disassemble(cubin: bytes) -> str:
    """The machine instructions, with labels."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [triton.knobs.nvidia.nvdisasm.path, "-c", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def read(name: str, capability: int, log: str, listing: str, *, shared: int) -> Resources:
    """Resources from the log of ``ptxas -v`` and the listing of ``nvdisasm -c``.

    Raises:
        RuntimeError: when the log does not say what it used to.
    """
    frame = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log
    )
    used = re.search(r"Used (\d+) registers", log)
    if frame is None or used is None:
        raise RuntimeError(
            f"{name}: found no registers or spills in the log of ptxas: {log[:500]!r}"
        )
    kinds = [found.group(1) for found in map(_MATRIX.search, listing.splitlines()) if found]
    loads = re.findall(r"(?<![\w.])LDG(?:STS)?\.\S+", listing)
    return Resources(
        name=name,
        capability=capability,
        registers=int(used.group(1)),
        stack_bytes=int(frame.group(1)),
        spill_bytes=int(frame.group(2)) + int(frame.group(3)),
        loop_spills=loop_spills(listing),
        shared_bytes=shared,
        matrix="+".join(sorted(set(kinds))),
        matrix_count=len(kinds),
        loads=len(loads),
        wide_loads=sum(".128" in load for load in loads),
        tile_loads=len(re.findall(r"(?<![\w.])UTMALDG\b", listing)),
        serialized=tuple(re.findall(r"wgmma\S* instructions are serialized[^\n]*", log)),
        waits=log.count("warpgroup.wait is injected"),
    )


def loop_spills(listing: str) -> int:
    """Accesses to spilled values in every turn of the innermost loops with matrix instructions.

    A loop is what lies between a label and a later branch to it. What a condition may jump over is
    left out when it has no matrix instruction, such as the clearing of a ragged tile.
    """
    lines = listing.splitlines()
    labels = {found.group(1): n for n, line in enumerate(lines) if (found := _LABEL.match(line))}
    matrix = [_MATRIX.search(line) is not None for line in lines]
    loops: list[tuple[int, int]] = []
    aside: set[int] = set()
    for number, line in enumerate(lines):
        branch = _BRANCH.search(line)
        target = labels.get(branch.group(2)) if branch else None
        if branch is None or target is None:
            continue
        if target < number and any(matrix[target:number]):
            loops.append((target, number))
        elif target > number and branch.group(1) and not any(matrix[number:target]):
            aside.update(range(number, target))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    turn = {n for begin, end in inner for n in range(begin, end)} - aside
    return sum(_SPILL.search(lines[n]) is not None for n in turn)


def faults(configuration: Configuration, found: Resources) -> list[str]:
    """What breaks the configuration's promises, in words; empty when nothing does."""
    wrong = []
    most = _most(configuration.max_spill_bytes, found.capability)
    if found.spill_bytes > most:
        wrong.append(f"{found.spill_bytes} B spilled, at most {most}")
    most = _most(configuration.max_loop_spills, found.capability)
    if found.loop_spills > most:
        wrong.append(f"{found.loop_spills} accesses to spills in a matrix loop, at most {most}")
    limit = SHARED_LIMIT[found.capability]
    if found.shared_bytes > limit:
        wrong.append(f"{found.shared_bytes} B of shared memory, at most {limit}")
    if configuration.expects_tensor_cores and not found.matrix:
        wrong.append("no matrix instruction, expected some")
    if not configuration.expects_tensor_cores and found.matrix:
        wrong.append(f"{found.matrix_count} {found.matrix}, expected no matrix instruction")
    return wrong + list(found.serialized)


def _most(allowed: int | Mapping[int, int], capability: int) -> int:
    return allowed if isinstance(allowed, int) else allowed.get(capability, 0)


def every_configuration() -> Iterator[Configuration]:
    """The launches of all operators."""
    for module in OPERATORS:
        yield from importlib.import_module(module).configurations()


def builds(
    names: Sequence[str], capabilities: Collection[int]
) -> Iterator[tuple[Configuration, int]]:
    """What to build: configurations whose name fits one of ``names`` (shell patterns), by GPU."""
    for configuration in every_configuration():
        if not names or any(fnmatchcase(configuration.name, name) for name in names):
            for capability in configuration.capabilities:
                if capability in capabilities:
                    yield configuration, capability


_COLUMNS = (
    ("kernel", 50),
    ("sm", -4),
    ("registers", -9),
    ("spilled B", -9),
    ("shared B", -9),
    ("matrix", 13),
    ("loads", -5),
    ("16 B", -5),
    ("TMA", -4),
)


def _row(cells: Sequence[object]) -> str:
    return "  ".join(
        f"{cell!s:<{width}}" if width > 0 else f"{cell!s:>{-width}}"
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when a promise is broken or nothing is called so."""
    parser = argparse.ArgumentParser(prog="python -m kernels.artefacts", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of configurations; may hold * and ?"
    )
    parser.add_argument(
        "--capability", nargs="+", type=int, default=list(CAPABILITIES), choices=CAPABILITIES
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    chosen = parser.parse_args(arguments)
    import triton

    if not chosen.json:
        print(f"Triton {triton.__version__}")
        print(_row([title for title, _ in _COLUMNS]))
    built = broken = 0
    for configuration, capability in builds(chosen.names, chosen.capability):
        found = compile(configuration, capability)
        wrong = faults(configuration, found)
        built += 1
        broken += bool(wrong)
        if chosen.json:
            print(json.dumps({"triton": triton.__version__, **asdict(found), "faults": wrong}))
        else:
            matrix = f"{found.matrix_count} {found.matrix}" if found.matrix else ""
            numbers = (found.registers, found.spill_bytes, found.shared_bytes, matrix)
            loads = (found.loads, found.wide_loads, found.tile_loads)
            print(_row((found.name, capability, *numbers, *loads)))
            for text in wrong:
                print(f"    {text}")
        sys.stdout.flush()
    if not built:
        print(f"found no kernel called {' or '.join(chosen.names)}", file=sys.stderr)
    elif not chosen.json:
        print(f"{built} kernels built, {broken} broken")
    return int(broken > 0 or not built)


if __name__ == "__main__":
    sys.exit(main())
