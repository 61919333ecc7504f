"""Cirun's API: which repositories it is active for, which access list it reads, which clouds it is connected to.

Requests and answers are those of Cirun's published client (PyPI `cirun` 0.31) and of its README; there is no other
description. Answers that it does not show are handed on as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.github import FullName, One, Shown
from cf_infra.rest import PATIENCE, Answer, Refused, Say, Service, token_from_variable

API = "https://api.cirun.io/api/v1"
ENDPOINT, KEY = "CIRUN_API_ENDPOINT", "CIRUN_API_KEY"
"""The variables that Cirun's own client reads."""
_SAFE = re.compile(
    r"https://[A-Za-z0-9.-]+(:\d+)?(/[\w./-]*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[\w./-]*)?"
)

Label = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]


class Activation(Shown):
    """A repository that Cirun knows, by owner and name, and whether it makes runners for it."""

    repository: FullName
    active: bool
    private: bool = False


class _Repositories(Shown):
    repos: list[Activation]


class _Activated(Shown):
    name: FullName
    active: bool


class _AccessControl(Shown):
    access_yml: dict[str, Any]


class Change(BaseModel):
    """A repository gets or loses resources; sent as Cirun's own client sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    resources: list[Label]
    action: Literal["add", "remove"] = "add"
    policy_args: dict[str, bool] | None = None
    teams: list[str] | None = None
    users: list[str] | None = None
    roles: list[str] | None = None
    users_from_json: str | None = None


def address(environ: Mapping[str, str]) -> str:
    """Where Cirun is asked."""
    return environ.get(ENDPOINT, "") or API


class Cirun:
    """Cirun with one key. Methods raise Failure: token-refused, service-silent, service-refused, service-answer."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        say: Say = lambda _text: None,
        sleep: Callable[[float], None] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        environ = os.environ if environ is None else environ
        base = address(environ)
        if not _SAFE.fullmatch(base):
            detail = f"{ENDPOINT} is no https address, nor one on this machine: the key is not sent there."
            raise Failure(Diagnostic("usage", detail=detail, hint=f"unset {ENDPOINT}"))
        more: dict[str, Any] = {} if sleep is None else {"sleep": sleep}
        token = token_from_variable(KEY, environ)
        self.service = Service("Cirun", base, token, {}, say=say, pause=_pause, patience=patience, **more)

    def close(self) -> None:
        """End the connections."""
        self.service.close()

    def repositories(self) -> list[Activation]:
        """All repositories that Cirun knows."""
        return self._asked(_Repositories, "GET", "/repo").repos

    def active(self) -> frozenset[str]:
        """OWNER/NAME, in small letters, of those that it makes runners for."""
        return frozenset(one.repository.lower() for one in self.repositories() if one.active)

    def switch_off(self, repository: str) -> None:
        """Have Cirun make no runners for OWNER/NAME any more, if it does, and ask it again.

        Raises Failure("still-there") if it says that it is off, and lists it as active all the same.
        """
        if repository.lower() not in self.active():
            return
        self.activate(repository, active=False)
        if repository.lower() in self.active():
            detail = f"Cirun said that it is off for {repository}, and lists it as active all the same."
            raise Failure(
                Diagnostic("still-there", detail=detail, hint="look at its page of repositories, at cirun.io")
            )

    def activate(self, repository: str, active: bool = True) -> None:
        """Have Cirun make runners for OWNER/NAME, or no longer."""
        found = self._asked(_Activated, "POST", "/repo", {"repository": repository, "active": active})
        if (found.name.lower(), found.active) != (repository.lower(), active):
            raise Failure(
                self._unusable("POST", "/repo", "it tells of another repository or state than was asked for")
            )

    def access_list(self, organisation: str) -> dict[str, Any] | None:
        """The organisation's .access.yml as Cirun reads it, as data; None if it has none."""
        try:
            return self._asked(_AccessControl, "GET", "/access-control", {"org": organisation}).access_yml
        except Refused as refused:
            if refused.answer.status == 404:
                return None
            raise

    def propose(self, organisation: str, changes: Sequence[Change]) -> None:
        """Have Cirun open a pull request in ORG/.cirun that changes its access list.

        It is sent once: if the answer is lost, look there before it is sent again.
        """
        body = {"org": organisation, "repository_resource_access": [one.model_dump() for one in changes]}
        self.service.ask("PUT", "/access-control", body, repeat=False)

    def clouds(self) -> Any:
        """The clouds that Cirun is connected to. Its client does not show their form: JSON as it came."""
        return self.service.ask("GET", "/cloud-connect").value

    def connect(self, cloud: str, credentials: Mapping[str, str]) -> None:
        """Have Cirun make machines at a kind of cloud with this login; the one that it had there is replaced."""
        self.service.ask("POST", "/cloud-connect", {"cloud": cloud, "credentials": dict(credentials)})

    def _asked(self, model: type[One], method: str, path: str, body: Any = None) -> One:
        value = self.service.ask(method, path, body).value
        try:
            return model.model_validate(value)
        except ValidationError as error:
            places = {
                ".".join(map(str, one["loc"])) or "all of it" for one in error.errors(include_input=False)
            }
            raise Failure(
                self._unusable(method, path, f"not in Cirun's form: {some(sorted(places))}")
            ) from None

    def _unusable(self, method: str, path: str, why: str) -> Diagnostic:
        return self.service.unusable(self.service.request_name(method, path), why)


def _pause(answer: Answer) -> float | None:
    after = answer.headers.get("Retry-After", "")
    return max(1.0, float(after[:9])) if after.isdecimal() else 60.0 if answer.status == 429 else None
