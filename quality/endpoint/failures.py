"""What can go wrong between a question and its answer.

Three kinds, by what is done about them: the exchange failed and is tried again (``Interrupted``),
the server answered but not as asked (``BadAnswer``: paid for, kept, asked again a few times), or
the question will never be answered (``Final``). ``EndpointError`` ends the run: no question would
fare better.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar


class EndpointError(RuntimeError):
    """Why a run stops; what was answered until then is kept and is not asked again."""


class Failure(Exception):
    """Why there is no answer: ``reason`` is a key of ``REASONS``, ``detail`` what was found."""

    reason: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.reason}: {detail}")
        self.detail = detail


class Interrupted(Failure):
    """The exchange failed; ``wait`` is how long (seconds) the server asks to be left alone."""

    def __init__(self, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.wait = wait


class RateLimited(Interrupted):
    """HTTP 429."""

    reason = "rate-limited"


class ServerFault(Interrupted):
    """HTTP 5xx, or 408 and 409."""

    reason = "server-fault"


class TooSlow(Interrupted):
    """No complete answer within the time limit."""

    reason = "too-slow"


class ConnectionCut(Interrupted):
    """The connection ended before the answer did, or what came is no HTTP."""

    reason = "connection-cut"


class Unreachable(Interrupted):
    """No connection: the name does not resolve, or nothing listens."""

    reason = "unreachable"


class BadAnswer(Failure):
    """An answer came, and it is of no use; another one may be."""


class InvalidResponse(BadAnswer):
    """The body is no chat completion."""

    reason = "invalid-response"


class InvalidJson(BadAnswer):
    """The answer is not JSON."""

    reason = "invalid-json"


class SchemaMismatch(BadAnswer):
    """The answer is JSON of another shape than asked for."""

    reason = "schema-mismatch"


class AnswerCut(BadAnswer):
    """The answer reached the limit of its tokens before it was complete."""

    reason = "answer-cut"


class Final(Failure):
    """Asking again would bring the same."""


class Refused(Final):
    """The model, or a filter behind it, declines."""

    reason = "refused"


class Rejected(Final):
    """The server does not take the question: HTTP 4xx, for example longer than the context."""

    reason = "rejected"


class Unusable(Final):
    """The question could not be put: an image of it cannot be used."""

    reason = "unusable"


NOT_ASKED = "not-asked"

REASONS = MappingProxyType(
    {
        **{
            kind.reason: " ".join((kind.__doc__ or "").split())
            for kind in (
                RateLimited,
                ServerFault,
                TooSlow,
                ConnectionCut,
                Unreachable,
                InvalidResponse,
                InvalidJson,
                SchemaMismatch,
                AnswerCut,
                Refused,
                Rejected,
                Unusable,
            )
        },
        NOT_ASKED: "The cap on cost was reached before.",
    }
)
"""Every reason why a question has no answer, and its meaning."""
