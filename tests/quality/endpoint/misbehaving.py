"""A server of chat completions on loopback that misbehaves as told."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["Handler", dict[str, Any]], None]


def text_of(payload: dict[str, Any]) -> str:
    """What the last message of a request says."""
    content = payload["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


class Server(ThreadingHTTPServer):
    """``acts`` are used up, one a request, by the text of its last message; then ``usual``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, usual: Act) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.usual = usual
        self.acts: dict[str, list[Act]] = {}
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self) -> Counter[str]:
        """How often each text was asked."""
        return Counter(map(text_of, self.requests))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        server = self.server
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.times.append(time.monotonic())
            server.requests.append(payload)
            server.headers.append(dict(self.headers) | {"path": self.path})
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            acts = server.acts.get(text_of(payload))
            act = acts.pop(0) if acts else server.usual
        try:
            act(self, payload)
        finally:
            with server.lock:
                server.in_flight -= 1

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Quiet."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def completion(content: Any, usage: tuple[int, int] | None = (10, 5), **choice: Any) -> bytes:
    """The body of a chat completion; every one has the same id."""
    message = {"role": "assistant", "content": content} | choice.pop("message", {})
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return json.dumps(body).encode()


def says(content: Any, usage: tuple[int, int] | None = (10, 5), **choice: Any) -> Act:
    """Answer this."""
    return lambda handler, _: handler.send(200, completion(content, usage, **choice))


def status(code: int, body: bytes = b"no", **headers: str) -> Act:
    """Answer with a status."""
    return lambda handler, _: handler.send(code, body, **headers)


def slow(seconds: float, then: Act) -> Act:
    """Let the client wait."""

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        time.sleep(seconds)
        then(handler, payload)

    return act


def cut(handler: Handler, _: dict[str, Any]) -> None:
    """Promise an answer, send half of it and hang up."""
    body = completion('{"word": "half"}')
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True


@contextmanager
def serving(usual: Act) -> Iterator[Server]:
    """A server that runs until the block ends."""
    server = Server(usual)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
