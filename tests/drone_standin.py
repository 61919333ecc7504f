"""A stand-in for a Drone server that can fail as one asks it to; tests/test_drone.py asks the real server the same."""

from __future__ import annotations

import json
from typing import Any

from tests.github.call import Answer
from tests.github.server import Listener, Listening
from tests.github.service import Request


class DroneStandin(Listening):
    """One admin's token, the RPC secret and the secrets of namespaces."""

    def __init__(self) -> None:
        self.token = "0123456789abcdef0123456789abcdef"
        self.rpc_secret = "rpc-secret-of-a-test"
        self.user = {"id": 1, "login": "robot", "admin": True, "machine": True}
        self.secrets: dict[tuple[str, str], tuple[str, bool]] = {}
        self.log: list[str] = []
        #: Statuses that come instead of the next answers, or only as their answer; 0 loses the connection.
        self.faults: list[int] = []
        self.late: list[int] = []
        self._failures: list[str] = []
        self._listener = Listener(self._answer, self._failures.append, "")

    @property
    def url(self) -> str:
        return self._listener.url

    def check(self) -> None:
        assert self._failures == []

    def _answer(self, request: Request) -> tuple[Answer, float]:
        self.log.append(f"{request.method} {request.target}")
        if self.faults:
            return Answer(self.faults.pop(0), {"message": "refused"}), 0.0
        answer = self._done(request)
        if self.late and request.method == "POST":
            answer = Answer(self.late.pop(0), {"message": "done all the same"})
        return answer, 0.0

    def _done(self, request: Request) -> Answer:
        if request.target.startswith("/rpc/v2/"):
            right = request.headers.get("x-drone-token") == self.rpc_secret
            return Answer(200) if right else Answer(401)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, {"message": "Unauthorized"})
        if (request.method, request.target) == ("GET", "/api/user"):
            return Answer(200, self.user)
        parts = request.target.split("/")[3:]
        body: dict[str, Any] = json.loads(request.body) if request.body else {}
        return self._secret(request.method, parts, body)

    def _secret(self, method: str, parts: list[str], body: dict[str, Any]) -> Answer:
        key = (parts[0], parts[1] if len(parts) > 1 else body["name"])
        if method == "POST":
            if key in self.secrets:
                return Answer(500, {"message": "UNIQUE constraint failed"})
            self.secrets[key] = (body["data"], body["pull_request"])
            return Answer(200, {"name": key[1]})
        if key not in self.secrets:
            return Answer(404, {"message": "sql: no rows in result set"})
        if method == "PATCH":
            self.secrets[key] = (body["data"], body["pull_request"])
            return Answer(200, {"name": key[1]})
        del self.secrets[key]
        return Answer(204)
