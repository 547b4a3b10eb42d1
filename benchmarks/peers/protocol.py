"""The loop of a peer's program: a JSON request a line in, a JSON reply a line out."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Operation = Callable[..., dict[str, Any]]


def serve(operations: Mapping[str, Operation]) -> None:
    """Answer requests until the input ends.

    A request ``{"do": NAME, …}`` calls ``operations[NAME]`` with its other fields. Whatever the
    peer itself prints goes to standard error, so that replies stay alone on standard output.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = operations[request.pop("do")](**request)
        except Exception as error:  # noqa: BLE001 - it is the reply; the harness raises it
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
