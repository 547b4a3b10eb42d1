"""One table on the screen, and the same results as lines of a results file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import Line, commit
from benchmarks.kernels.clock import Timing

_COLUMNS = (
    ("benchmark", 14),
    ("case", 52),
    ("form", 30),
    ("ms", -9),
    ("in a row", -9),
    ("/ floor", -7),
    ("ours is", -9),
    ("GB/s", -6),
    ("TFLOP/s", -7),
)
FLOOR = "floor"


class Table:
    """Prints rows as they come; appends their lines to ``sink`` unless it is None.

    A row is one form of one case: ours, a peer's, or the floor. Bytes are those that no version can
    save, so GB/s compare forms; operations are those of the cheapest way of computing it.
    """

    def __init__(self, sink: Path | None, *, quiet: bool = False) -> None:
        self.sink = sink
        self.quiet = quiet
        self.lines: list[Line] = []
        self._bench = ""

    def begin(self, bench: str, machine: str, multiprocessors: int) -> None:
        """Start the run of one benchmark; its first line names the machine."""
        if not self._bench:
            self._print([name for name, _ in _COLUMNS])
        self._bench = bench
        self.add(f"machine: {machine}", multiprocessors, "multiprocessors")

    def add(
        self,
        metric: str,
        value: float,
        unit: str,
        peer: str | None = None,
        ratio: float | None = None,
    ) -> None:
        """One line that is no row: a fact about the run, or a figure of several rows."""
        line = Line(self._bench, metric, value, unit, peer, ratio, 1, commit())
        self.lines.append(line)
        if self.sink is not None:
            with self.sink.open("a", encoding="utf-8") as sink:
                sink.write(line.to_json() + "\n")

    def figure(
        self, metric: str, value: float, unit: str, peer: str | None = None, ratio: float = 0.0
    ) -> None:
        """One line that is shown as well."""
        self.add(metric, value, unit, peer, ratio if peer else None)
        text = f"{value:.4g} {unit}" + (f", {ratio:.3g} x {peer}" if peer else "")
        self._print([self._bench, metric, text])

    def rows(
        self,
        case: str,
        ours: Timing,
        *,
        floor: Timing | None = None,
        peers: Mapping[str, Timing | str] | None = None,
        moved: float = 0.0,
        operations: float = 0.0,
    ) -> None:
        """Our form, each peer's (or why it has no time), and the floor of one case.

        ``moved`` bytes and ``operations`` are of one call.
        """
        peers = peers or {}
        forms: dict[str, Timing | str] = {"ours": ours, **peers}
        if floor is not None:
            forms[FLOOR] = floor
        for form, timing in forms.items():
            if isinstance(timing, str):
                self._print([self._bench, case, f"{form}: {timing}"])
                continue
            self._print(
                [
                    self._bench,
                    case,
                    form,
                    f"{timing.alone:.4f}",
                    f"{timing.sustained:.4f}",
                    f"{timing.alone / floor.alone:.2f}" if floor else "",
                    f"{timing.alone / ours.alone:.2f} x" if form in peers else "",
                    f"{moved / timing.alone / 1e6:.0f}" if moved else "",
                    f"{operations / timing.alone / 1e9:.1f}" if operations else "",
                ]
            )
        self._lines_of(case, ours, floor, peers, moved, operations)

    def _lines_of(
        self,
        case: str,
        ours: Timing,
        floor: Timing | None,
        peers: Mapping[str, Timing | str],
        moved: float,
        operations: float,
    ) -> None:
        if floor is None:
            self.add(case, ours.alone, "ms")
        else:
            self.add(case, ours.alone, "ms", FLOOR, ours.alone / floor.alone)
            row = ours.sustained / floor.sustained
            self.add(f"{case}, many in a row", ours.sustained, "ms", FLOOR, row)
        for name, timing in peers.items():
            if not isinstance(timing, str):
                faster = timing.alone / ours.alone
                self.add(f"{case}: {name}", 1e3 / ours.alone, "calls/s", name, faster)
        if moved:
            self.add(f"{case}, bytes", moved / ours.alone / 1e6, "GB/s")
        if operations:
            self.add(f"{case}, operations", operations / ours.alone / 1e9, "TFLOP/s")

    def _print(self, cells: list[str]) -> None:
        if not self.quiet:
            widths = [width for _, width in _COLUMNS]
            pairs = zip(cells, widths, strict=False)
            text = "  ".join(f"{c:<{w}}" if w > 0 else f"{c:>{-w}}" for c, w in pairs)
            print(text.rstrip(), flush=True)
