"""As much of an OpenStack as a login needs: Keystone's tokens and Nova's list of flavors. The real one is sandbox/."""

from __future__ import annotations

import json
from typing import Any

from tests.github.call import Answer
from tests.github.server import Listener, Listening
from tests.github.service import Request


class KeystoneStandin(Listening):
    """Knows users by name and password, and application credentials by id and secret."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.credentials: dict[str, str] = {}
        self.flavors = 3
        self.delay = 0.0
        #: The status of the list of flavors.
        self.compute = 200
        self.asked: list[Any] = []
        self._failures: list[str] = []
        self._listener = Listener(self._answer, self._failures.append, "")

    @property
    def auth_url(self) -> str:
        return f"{self._listener.url}/identity/v3"

    def check(self) -> None:
        assert self._failures == []

    def _answer(self, request: Request) -> tuple[Answer, float]:
        return self._done(request), self.delay

    def _done(self, request: Request) -> Answer:
        path = request.target.partition("?")[0].rstrip("/")
        if path == "/identity/v3":
            links = [{"rel": "self", "href": f"{self.auth_url}/"}]
            return Answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})
        if path == "/identity/v3/auth/tokens":
            return self._token(json.loads(request.body)["auth"])
        if path == "/compute/v2.1":
            links = [{"rel": "self", "href": f"{self._listener.url}/compute/v2.1/"}]
            one = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": links}
            return Answer(200, {"version": one})
        if path == "/compute/v2.1/flavors":
            found = [{"id": str(n), "name": f"f{n}", "links": []} for n in range(self.flavors)]
            return Answer(self.compute, {"flavors": found})
        return Answer(404, {"error": {"message": "not here", "code": 404}})

    def _token(self, auth: Any) -> Answer:
        identity = auth["identity"]
        self.asked.append(identity)
        if identity["methods"] == ["password"]:
            user = identity["password"]["user"]
            if self.users.get(user["name"]) != user["password"]:
                return Answer(401, {"error": {"message": "no", "code": 401}})
        else:
            given = identity["application_credential"]
            if given["id"] not in self.credentials:
                return Answer(404, {"error": {"message": "Could not find it", "code": 404}})
            if self.credentials[given["id"]] != given["secret"]:
                return Answer(401, {"error": {"message": "no", "code": 401}})
        endpoint = {
            "interface": "public",
            "region": "RegionOne",
            "region_id": "RegionOne",
            "url": f"{self._listener.url}/compute/v2.1",
            "id": "e",
        }
        token = {
            "methods": identity["methods"],
            "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p1", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "member"}],
            "catalog": [{"type": "compute", "name": "nova", "id": "c", "endpoints": [endpoint]}],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2099-01-01T00:00:00.000000Z",
        }
        return Answer(201, {"token": token}, {"X-Subject-Token": "token-of-the-stand-in"})
