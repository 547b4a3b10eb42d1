"""Compiled inner loops over buffers, beside plain references. Nothing else lives here.

Numba caches compiled code by each function's own file and would go on using code that was inlined
from another file before that one changed. So compiled code is kept in a folder named after the
contents of all files that Numba compiles or inlines: another version of any has a cache of its own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba

NUMBA_PACKAGES = ("html", "text")
"""Beside the modules of this folder, what Numba compiles; the other packages are Triton's."""


def _cache_folder() -> Path:
    """The cache folder of this version of the package: beside it, or the user's if read-only."""
    here = Path(__file__).resolve().parent
    digest = hashlib.blake2b(digest_size=8)
    files = [
        *here.glob("*"),
        *(path for name in NUMBA_PACKAGES for path in (here / name).glob("*")),
    ]
    for file in sorted(path for path in files if path.suffix in (".py", ".txt")):
        digest.update(file.relative_to(here).as_posix().encode() + b"\0" + file.read_bytes())
    name = f"numba-{digest.hexdigest()}"
    beside = here / "__pycache__"
    try:
        beside.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=beside):
            return beside / name
    except OSError:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(home) / "leyden" / name


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(_cache_folder())
