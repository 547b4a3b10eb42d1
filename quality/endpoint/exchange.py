"""One HTTP exchange: a response, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from quality.endpoint.failures import (
    ConnectionCut,
    EndpointError,
    InvalidResponse,
    RateLimited,
    Rejected,
    ServerFault,
    TooSlow,
    Unreachable,
)
from quality.endpoint.settings import Endpoint

_PIECE = 1 << 16
_WRONG_KEY = (401, 402, 403)
_WRONG_PLACE = (404, 405)
_TRY_AGAIN = (408, 409, 425)


def open_session(endpoint: Endpoint) -> aiohttp.ClientSession:
    """A session with as many connections as questions under way."""
    headers = {"Content-Type": "application/json"}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    return aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=endpoint.concurrency),
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout),
    )


async def exchange(session: aiohttp.ClientSession, endpoint: Endpoint, body: bytes) -> bytes:
    """Send one request; returns the body of a response of status 200.

    Raises
    ------
    Interrupted
        If no complete response came, or one that says to try again.
    Rejected
        If the server takes requests, but not this one.
    InvalidResponse
        If the response is larger than any answer.
    EndpointError
        If no other request would fare better: wrong key, wrong address, a redirect.
    """
    address = endpoint.address()
    try:
        async with session.post(address, data=body, allow_redirects=False) as response:
            found = await _read(response, endpoint.largest_answer)
            status, headers = response.status, response.headers
    except aiohttp.ClientConnectorError as error:
        raise Unreachable(f"{address}: {error.os_error.strerror or error}") from error
    except TimeoutError as error:
        raise TooSlow(f"found no complete answer in {endpoint.timeout:g} s") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ConnectionCut(f"{type(error).__name__}: {str(error)[:200]}") from error
    _judge(status, headers, found, address)
    return found


async def _read(response: aiohttp.ClientResponse, largest: int) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(_PIECE):
        size += len(piece)
        if size > largest:
            raise InvalidResponse(f"found over {largest:,} bytes, expected at most as many")
        pieces.append(piece)
    return b"".join(pieces)


def _judge(status: int, headers: Mapping[str, str], body: bytes, address: str) -> None:
    said = " ".join(body.decode("utf-8", "replace").split())[:200]
    if status == 200:
        return
    if status == 429:
        raise RateLimited(f"found HTTP 429: {said}", _retry_after(headers))
    if status >= 500 or status in _TRY_AGAIN:
        raise ServerFault(f"found HTTP {status}: {said}", _retry_after(headers))
    if status in _WRONG_KEY:
        raise EndpointError(
            f"{address}: found HTTP {status} ({said}), expected a key that the server takes and"
            " that has credit; name the environment variable that holds it"
        )
    if status in _WRONG_PLACE:
        raise EndpointError(
            f"{address}: found HTTP {status} ({said}), expected chat completions there and a model"
            " that the server has; check the URL (it ends before /chat/completions) and the name"
        )
    if 400 <= status < 500:
        raise Rejected(f"found HTTP {status}: {said}")
    raise EndpointError(
        f"{address}: found HTTP {status}, expected an answer;"
        f" give the URL that it leads to: {headers.get('Location', 'none is named')}"
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110, 10.2.3); None if there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
