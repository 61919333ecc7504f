"""A GitHub App as itself: who it is, and with a token of its installation which repositories it has."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from cf_infra.diagnostics import Failure
from cf_infra.github import VERSION, Name, One, Shown, base_address
from cf_infra.rest import Say, Service, Token

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}


class _App(Shown):
    slug: Name


class _Installed(Shown):
    id: int


class _InstallationToken(Shown):
    token: str


class _Repositories(Shown):
    total_count: int
    repository_selection: str = ""


class _Client:
    """Methods raise Failure: token-refused, service-silent, service-refused, service-answer."""

    def __init__(self, api: str, token: Token, say: Say) -> None:
        self.service = Service("GitHub", base_address(api), token, _HEADERS, say=say)

    def close(self) -> None:
        """End the connections."""
        self.service.close()

    def _one(self, model: type[One], method: str, path: str, body: Any = None) -> One:
        value = self.service.ask(method, path, body, repeat=method == "GET").value
        try:
            return model.model_validate(value)
        except ValidationError:
            shown = self.service.request_name(method, path)
            raise Failure(self.service.unusable(shown, "not as GitHub describes it")) from None


class AppClient(_Client):
    """An app that logs in with a statement signed by its private key."""

    def __init__(self, api: str, organisation: str, token: Token, say: Say = lambda _text: None) -> None:
        super().__init__(api, token, say)
        self._api, self._organisation, self._say = api, organisation, say

    def slug(self) -> str:
        """What the app is called in addresses."""
        return self._one(_App, "GET", "/app").slug

    def installation(self) -> int:
        """The number of its installation in the organisation."""
        return self._one(_Installed, "GET", f"/orgs/{quote(self._organisation, safe='')}/installation").id

    def as_installation(self, number: int) -> InstallationClient:
        """The same app with what the organisation lets it do, by a token that holds for an hour."""
        made = self._one(_InstallationToken, "POST", f"/app/installations/{number}/access_tokens")
        return InstallationClient(self._api, Token(made.token, "the installation's token"), self._say)


class InstallationClient(_Client):
    """An app's installation, with its own short-lived token."""

    def selection(self) -> tuple[int, str]:
        """How many repositories it has, and whether they are `all` or `selected`."""
        found = self._one(_Repositories, "GET", "/installation/repositories?per_page=1")
        return found.total_count, found.repository_selection or "selected"

    def revoke(self) -> None:
        """End the token that this client has."""
        self.service.ask("DELETE", "/installation/token", good=(204, 401))
