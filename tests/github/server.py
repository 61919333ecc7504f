"""The stand-in on a free port of 127.0.0.1, under both prefixes: `/api/v3` as GitHub Enterprise has it, and none.

    with Standin(State("conda-forge")) as github:
        github.state.add_token("token-of-a-test", "operator", scopes=["repo", "admin:org"])
        ...
        github.url, github.log, github.fail_next(502)

Leaving the block raises AssertionError if a request or an answer was not as GitHub describes its API.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

from tests.github.call import Answer
from tests.github.service import Request, Service
from tests.github.state import State

PREFIX = "/api/v3"
Answering = Callable[[Request], tuple[Answer, float]]


class Listener:
    """Something that answers requests, on a free port of 127.0.0.1."""

    def __init__(self, answer: Answering, failed: Callable[[str], None], prefix: str, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.answer, self._server.failed, self._server.prefix = answer, failed, prefix
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Listening:
    """A stand-in as a context: it listens inside, and says in the end what was not as it should be."""

    _listener: Listener

    def check(self) -> None:
        """Raise AssertionError if anything went wrong in it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        if kind is None:
            self.check()


class Standin(Service, Listening):
    """GitHub, listening."""

    def __init__(self, state: State | None = None, port: int = 0) -> None:
        super().__init__(state or State())
        self._listener = Listener(self.answer, self.violations.append, PREFIX, port)

    @property
    def url(self) -> str:
        """The address, without a slash at its end; the API is right below it, and below /api/v3."""
        return self._listener.url


class _Server(ThreadingHTTPServer):
    answer: Answering
    failed: Callable[[str], None]
    prefix: str
    daemon_threads = True
    request_queue_size = 128  # fifty logins come at once
    block_on_close = False  # a client that holds its connection open does not hold the test

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up; anything else is a fault of the stand-in, and is recorded."""
        if not isinstance(fault := sys.exception(), OSError):
            self.failed(f"the stand-in failed: {fault!r}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: the second of two would wait for the other side's delayed acknowledgement (40 ms).
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        html = f"http://{self.headers.get('Host')}"
        prefix = self.server.prefix if self.path.startswith(f"{self.server.prefix}/") else ""
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command, self.path.removeprefix(prefix), headers, body, f"{html}{prefix}", html
        )
        answer, delay = self.server.answer(request)
        time.sleep(delay)
        if answer.status == 0:
            self.close_connection = True
            return
        data = b""
        if isinstance(answer.value, bytes):
            data = answer.value
        elif answer.value is not None:
            data = json.dumps(answer.value).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **answer.headers}.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if answer.status not in (204, 304):
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: the log is in the service."""
