"""What the measurements are held against. An aim that is missed is written down as missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.harness import Line


@dataclass(frozen=True)
class Aim:
    """A bound on the value or the ratio of one metric."""

    bench: str
    metric: str
    of: Literal["value", "ratio"]
    sign: Literal[">=", "<="]
    bound: float

    def applies(self, line: Line) -> bool:
        """Whether ``line`` is what this aim is about."""
        return line.bench == self.bench and line.metric == self.metric

    def met(self, line: Line) -> bool:
        """Whether the aim is reached; a line without the ratio in question does not reach it."""
        found = line.value if self.of == "value" else line.ratio
        if found is None:
            return False
        return found >= self.bound if self.sign == ">=" else found <= self.bound

    def __str__(self) -> str:
        sign = "at least" if self.sign == ">=" else "at most"
        return f"{sign} {self.bound:g}{' ×' if self.of == 'ratio' else ''}"


_FLA = "flash-linear-attention"
_BESIDE_FLOOR_AND_PEER = tuple(
    aim
    for shape in ("8 × 8K × 64 heads", "1 × 64K × 64 heads")
    for aim in (
        Aim("lightning", f"forward, {shape}", "ratio", "<=", 1.2),
        Aim("lightning", f"forward, {shape}: {_FLA}", "ratio", ">=", 2.5),
        Aim("lightning", f"backward, {shape}", "ratio", "<=", 1.8),
        Aim("lightning", f"backward, {shape}: {_FLA}", "ratio", ">=", 3),
    )
)

_IMAGE_PATH = "decode, hygiene, hashes and shards"

AIMS = (
    Aim("scan", "signals and signatures", "value", ">=", 25),
    Aim(
        "scan",
        "rules and signatures, its own words, every rule on every document",
        "ratio",
        ">=",
        100,
    ),
    Aim(
        "scan",
        "rules and signatures, whitespace words, every rule on every document",
        "ratio",
        ">=",
        20,
    ),
    Aim("reward", "scan and student", "value", ">=", 20),
    Aim("reward", "scan, student and network", "value", ">=", 5),
    Aim("reward_gpu", "cascade", "value", ">=", 200_000),
    Aim("extract", "read", "ratio", ">=", 0.9),
    Aim("chain", "scan, decide and dedup", "value", ">=", 8),
    Aim("chain", "whole chain", "ratio", ">=", 0.8),
    Aim("quickstart", "cold build", "value", "<=", 240),
    Aim("quickstart", "peak PSS of the process tree", "value", "<=", 4000),
    Aim("memory", "peak PSS of the process tree, the larger set", "ratio", "<=", 1.10),
    Aim("determinism", "different logical roots", "value", "<=", 1),
    Aim("determinism", "builds that lost or doubled a document", "value", "<=", 0),
    # Kernels on an H200.
    *_BESIDE_FLOOR_AND_PEER,
    Aim("lightning", "forward, 1 × 1M × 8 heads", "ratio", "<=", 1.25),
    Aim("lightning", "forward, 1 × 1M × 8 heads, no decay", "ratio", "<=", 1.6),
    Aim(
        "lightning",
        "forward: time per token and head, the most over the least, from 8K to 1M",
        "value",
        "<=",
        1.05,
    ),
    Aim(
        "lightning",
        "backward: time per token and head, the most over the least, from 8K to 1M",
        "value",
        "<=",
        1.05,
    ),
    Aim("lightning", "memory of forward and backward, 8 × 8K × 64 heads", "ratio", "<=", 1.1),
    Aim("lightning", "memory of forward and backward, 1 × 1M × 8 heads", "ratio", "<=", 1.1),
    Aim("token_mixer", "token mixer, forward, 8 × 8K × 64 heads", "ratio", "<=", 1.5),
    *(Aim("decode", f"decode-{batch}", "ratio", "<=", 1.2) for batch in (1, 8, 64, 512)),
    # The trainer.
    Aim("images", f"{_IMAGE_PATH}, JPEG of 816 x 612", "value", ">=", 150),
    Aim("images", f"{_IMAGE_PATH}, JPEG of 816 x 612", "ratio", ">=", 1),
    Aim("images", "decode, hygiene and hashes, JPEG of 816 x 612", "ratio", ">=", 1),
    Aim("trainer/plan", "interleaving, 1M sequences", "ratio", ">=", 10),
    *(
        Aim("trainer/plan_scale", f"{packing}{metric}", "value", "<=", bound)
        for packing in ("stream", "whole")
        for metric, bound in (
            (": open and seek, not in memory: longest", 50),
            (": in order", 0.2),
            (": range reads, steps of 8192 sequences", 1),
            (", one component, 64 MB together: range reads, steps of 8192 sequences", 1),
        )
    ),
    *(
        Aim("trainer/reading", f"{place}, steps of 100 ms: waited, of the time", "value", "<=", 1)
        for place in ("disk", "S3 on loopback")
    ),
    Aim("trainer/quickstart", "one stage, make train STAGE=text_8k MODEL=tiny", "value", "<=", 180),
    Aim(
        "trainer/quickstart",
        "four stages, make train STAGE=text_1m MODEL=tiny CHAIN=1",
        "value",
        "<=",
        900,
    ),
    # Of the 16 that a node has to each GPU, what feeds twice what it takes.
    *(
        Aim("trainer/pictures", f"{name}: cores that bring twice as many", "value", "<=", 16)
        for name in (
            "2 tiles of images of 336²",
            "5 tiles of images of 672²",
            "10 tiles of images of 1008²",
            "1 tile of images of 672²",
        )
    ),
    *(
        Aim(
            "trainer/agreement",
            f"{what} beside {judge}, the worst of all",
            "value",
            "<=",
            bound,
        )
        for judge in ("transformers", "the reference")
        for what, bound in (("logits", 1e-5), ("gradients", 1e-4))
    ),
    *(
        Aim(
            "trainer/agreement",
            f"{what} from float64, ours, the worst of all",
            "value",
            "<=",
            bound,
        )
        for what, bound in (("logits", 1e-5), ("gradients", 1e-4))
    ),
)


def aim_of(line: Line) -> Aim | None:
    """The aim that a line is held against, if there is one."""
    return next((aim for aim in AIMS if aim.applies(line)), None)
