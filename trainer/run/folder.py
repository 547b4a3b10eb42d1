"""A run's own folder: where checkpoints, plans and metrics go."""

from __future__ import annotations

from pathlib import Path


def local_folder(text: str) -> Path:
    """A folder of this machine's file systems.

    Raises
    ------
    ValueError
        If it is a URI: a run writes checkpoints by renaming folders, and maps its plan's files.
    """
    if "://" in text:
        raise ValueError(
            f"found {text!r}, expected a local folder: a run's checkpoints, plans and metrics are "
            "written to a file system (only --corpus may be a URI); name a folder, and copy it to "
            "the object store when the run has ended"
        )
    return Path(text)
