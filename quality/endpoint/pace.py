"""When the next request may go: rate limits, and pauses that the server asks for."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Requests and tokens a minute, evenly spread; None is no limit."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._per_request = 60 / requests if requests else 0.0
        self._per_token = 60 / tokens if tokens else 0.0
        self._next = 0.0
        self._closed = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait until a request of about so many tokens may go."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + max(self._per_request, self._per_token * tokens)
        while (until := max(start, self._closed)) > (now := time.monotonic()):
            await asyncio.sleep(until - now)

    def pause(self, seconds: float) -> None:
        """Let no request go for some time."""
        self._closed = max(self._closed, time.monotonic() + seconds)
