"""What a launcher tells the person who called it."""

from __future__ import annotations


class LaunchFailed(Exception):
    """Ranks could not be started, or one of them failed; says which and why.

    ``code`` is what the command exits with: that of the rank whose error this is.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
