"""A checkpoint asked as a process: ``python -m trainer likelihood``, by its front door.

The trainer is a room above this one, so it is not imported; requests and answers are files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from quality.reward.labeler.errors import LabelerFailed

TRAINER = (sys.executable, "-m", "trainer")
_LOOK_EVERY = 0.5
_END_WITHIN = 20.0
_SAID = 2000
"""Characters of an unexpected end that are shown."""


def run_likelihood(
    options: Sequence[str],
    answers: Path,
    watch: Callable[[int], None],
    command: Sequence[str] = TRAINER,
) -> None:
    """Run the command to its end.

    Parameters
    ----------
    options : of ``likelihood``, without ``--json`` and ``--out``
    answers : the file that answers are added to
    watch : told now and then how many lines it has gained

    Raises
    ------
    LabelerFailed
        If the process fails, with what it said. If this one is interrupted, it is ended too.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        words = [*command, "likelihood", *options, "--out", str(answers), "--json"]
        place = answers.stat().st_size if answers.exists() else 0
        gained = -1 if place == 0 else 0  # the first line of all is no answer
        # A session of its own: a terminal's Ctrl-C is for the labeler, which then ends it.
        process = subprocess.Popen(words, stdout=out, stderr=err, start_new_session=True)
        try:
            ended = False
            while not ended:
                try:
                    process.wait(_LOOK_EVERY)
                    ended = True
                except subprocess.TimeoutExpired:
                    pass
                lines, place = _lines(answers, place)
                gained += lines
                watch(max(0, gained))
        finally:
            _end(process)
        if process.returncode:
            out.seek(0)
            err.seek(0)
            raise LabelerFailed(_why(process.returncode, out.read(), err.read()))


def _lines(path: Path, start: int) -> tuple[int, int]:
    """Ends of lines from a place on, and the place after what was read."""
    found = 0
    if path.exists():
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(1 << 20):
                found += piece.count(b"\n")
                start += len(piece)
    return found, start


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _why(code: int, out: bytes, err: bytes) -> str:
    """What the trainer says was wrong, or the end of what it wrote before it broke."""
    try:
        said = orjson.loads(out.splitlines()[-1])["error"]
        return f"python -m trainer likelihood: {said}"
    except (orjson.JSONDecodeError, IndexError, KeyError, TypeError):
        last = err.decode("utf-8", "replace").strip()[-_SAID:]
        return f"python -m trainer likelihood: found exit code {code}, expected 0; it said:\n{last}"
