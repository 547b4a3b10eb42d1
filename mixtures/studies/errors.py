"""What can be wrong with a study, in words for the person who wrote it."""

from __future__ import annotations


class StudyError(Exception):
    """A study, its folder or a table of outside runs cannot be used as it is."""
