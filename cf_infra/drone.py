"""A Drone server's REST API, as far as credentials need it: whose token it is, and secrets of a namespace.

Requests and answers: https://docs.drone.io/api/overview and the server's own `handler/api` (1.10). The stages of jobs
are asked for under /rpc/v2 with the RPC secret, which the default build has and the open-source build has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github import Shown
from cf_infra.rest import Answer, Refused, Say, Service, Token, token_from_variable


class DroneUser(Shown):
    """Whose token it is."""

    login: str
    admin: bool = False
    machine: bool = False


class Drone:
    """One server with one token. Methods raise Failure: token-refused, service-silent, service-refused, -answer."""

    def __init__(self, server: str, token: Token, say: Say = lambda _text: None, **more: Any) -> None:
        self.service = Service("Drone", server, token, {}, say=say, pause=_pause, **more)

    @classmethod
    def from_variable(
        cls, server: str, variable: str, environ: Mapping[str, str], say: Say = lambda _text: None
    ) -> Drone:
        """With the token of a variable. Raises Failure("no-token")."""
        return cls(server, token_from_variable(variable, environ), say)

    def close(self) -> None:
        """End the connections."""
        self.service.close()

    def user(self) -> DroneUser:
        """Whose token it is."""
        value = self.service.ask("GET", "/api/user").value
        try:
            return DroneUser.model_validate(value)
        except ValidationError:
            shown = self.service.request_name("GET", "/api/user")
            raise Failure(self.service.unusable(shown, "not as Drone describes a user")) from None

    def put_secret(self, namespace: str, name: str, value: str, pull_requests: bool = False) -> None:
        """Have a secret of a namespace hold this value."""
        where, flags = f"/api/secrets/{_part(namespace)}", {"pull_request": pull_requests}
        if not self._patched(f"{where}/{_part(name)}", {"data": value, **flags}):
            try:
                self.service.ask("POST", where, {"name": name, "data": value, **flags}, repeat=False)
            except Failure as failure:
                # The answer may have been lost alone: a name is there once, so a second POST would be refused.
                silent = failure.diagnostics[0].code == "service-silent"
                if not silent or not self._patched(f"{where}/{_part(name)}", {"data": value, **flags}):
                    raise

    def _patched(self, path: str, body: Mapping[str, Any]) -> bool:
        """False if there is no such secret."""
        try:
            self.service.ask("PATCH", path, dict(body))
        except Refused as refused:
            if refused.answer.status == 404:
                return False
            raise
        return True

    def remove_secret(self, namespace: str, name: str) -> None:
        """Remove a secret of a namespace; one that is gone is no fault."""
        self.service.ask("DELETE", f"/api/secrets/{_part(namespace)}/{_part(name)}", good=(204, 404))


def ping_rpc(server: str, secret: str, say: Say = lambda _text: None, **more: Any) -> None:
    """Log in as a runner does before it asks for work. Raises Failure like Drone's methods."""
    service = Service(
        "Drone", server, Token(secret, "the RPC secret"), {"X-Drone-Token": secret}, say=say, **more
    )
    try:
        service.ask("POST", "/rpc/v2/ping", good=(200, 204))
    except Refused as refused:
        if refused.answer.status == 404:
            detail = (
                f"{server} has no /rpc/v2: it is an open-source build, which runners cannot use, or no Drone."
            )
            raise Failure(Diagnostic("service-refused", detail=detail)) from None
        raise
    finally:
        service.close()


def _pause(answer: Answer) -> float | None:
    return 60.0 if answer.status == 429 else None


def _part(name: str) -> str:
    return quote(name, safe="")
