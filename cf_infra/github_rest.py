"""GitHub's REST API, as far as plan and apply ask it beside OpenTofu: who we are, what is there, what is gone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_login import GithubLogin

TIMEOUT = 30.0
"""Seconds that GitHub may take for one answer."""
PATIENCE = 300.0
"""Seconds of waiting for a limit or a failing service, all together, before a request is given up."""
ACCEPT = "application/vnd.github+json"
VERSION = "2022-11-28"
Say = Callable[[str], None]


class Github:
    """One login. Methods raise Failure: login-refused, cloud-silent, cloud-refused, token-lacks-scope."""

    def __init__(self, login: GithubLogin, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
        self._login = login
        self._say = say
        self._sleep = sleep
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would put another login in the place of the token
        self._session.headers.update(
            {
                "Authorization": f"Bearer {login.token}",
                "Accept": ACCEPT,
                "X-GitHub-Api-Version": VERSION,
                "User-Agent": "cf-infra",
            }
        )
        host = urlsplit(login.api).hostname or ""
        own = host == "api.github.com" or host.endswith(".ghe.com")
        self._base = login.api if own else f"{login.api}/api/v3"

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def organisation(self) -> dict[str, Any]:
        """The organisation. Raises Failure("not-at-github") if the token may not see it."""
        name = self._login.organisation
        found = self.get(f"/orgs/{quote(name)}")
        if found is None:
            detail = f"GitHub knows no organisation `{name}`, or {self._login.variable} may not see it."
            raise Failure(
                Diagnostic("not-at-github", detail=detail, hint="see `organisation` in settings.yaml")
            )
        return dict(found)

    def repository(self, name: str) -> dict[str, Any] | None:
        """A repository of the organisation as it is called now; None if there is none. Redirects are followed."""
        found = self.get(f"/repos/{quote(self._login.organisation)}/{quote(name)}")
        return dict(found) if found is not None else None

    def file(self, repository: str, path: str) -> tuple[str, str] | None:
        """(hash, content) of a file of the default branch; None where there is none."""
        found = self.get(
            f"/repos/{quote(self._login.organisation)}/{quote(repository)}/contents/{quote(path)}"
        )
        if not isinstance(found, dict):
            return None
        if found.get("encoding") == "none":
            raise Failure(self._refused(path, "the file is larger than 1 MB, and its content is not told"))
        content = base64.b64decode(found.get("content") or "").decode("utf-8", "replace")
        return str(found["sha"]), content

    def all(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """All pages of a list that stands under `key`."""
        page = 1
        while True:
            found = self.get(path, per_page=100, page=page)
            rows = (found or {}).get(key) or []
            yield from rows
            if len(rows) < 100:
                return
            page += 1

    def get(self, path: str, **query: int) -> Any:
        """What is there; None for 404, which is also GitHub's answer for what a token may not see."""
        answer = self._patiently(path, query)
        if answer.status_code == 404:
            return None
        try:
            return answer.json()
        except ValueError:
            raise Failure(self._refused(path, "the answer is no JSON")) from None

    def _patiently(self, path: str, query: dict[str, int]) -> requests.Response:
        waited = 0.0
        while True:
            answer = self._once(path, query)
            pause = _pause(answer, waited)
            if pause is None:
                return self._good(path, answer)
            if waited + pause > PATIENCE:
                detail = f"{path}: {answer.status_code} again and again, for {waited:.0f} seconds."
                raise Failure(Diagnostic("cloud-silent", detail=detail, hint="try again later"))
            self._say(f"GitHub answers {answer.status_code}: waiting {pause:.0f} seconds")
            self._sleep(pause)
            waited += pause

    def _once(self, path: str, query: dict[str, int]) -> requests.Response:
        try:
            return self._session.get(self._base + path, params=query, timeout=TIMEOUT)
        except requests.RequestException as error:
            detail = f"{self._login.api} does not answer: {type(error).__name__}."
            raise Failure(
                Diagnostic("cloud-silent", detail=detail, hint="check the network, and githubstatus.com")
            ) from None

    def _good(self, path: str, answer: requests.Response) -> requests.Response:
        if answer.status_code in (200, 404):
            return answer
        if answer.status_code == 401:
            detail = f"GitHub does not take the token in {self._login.variable}."
            raise Failure(
                Diagnostic("login-refused", detail=detail, hint="make a new one; see docs/operations.md")
            )
        if answer.status_code == 403:
            raise Failure(self._forbidden(path, answer))
        raise Failure(self._refused(path, f"status {answer.status_code}"))

    def _forbidden(self, path: str, answer: requests.Response) -> Diagnostic:
        wanted = answer.headers.get("X-Accepted-OAuth-Scopes") or answer.headers.get(
            "X-Accepted-GitHub-Permissions"
        )
        has = answer.headers.get("X-OAuth-Scopes")
        detail = f"The token in {self._login.variable} may not read {path}."
        if wanted:
            detail += f" That needs {wanted}" + (
                f"; the token has {has or 'none'}." if has is not None else "."
            )
        return Diagnostic("token-lacks-scope", detail=detail, hint="docs/operations.md lists what is needed")

    def _refused(self, path: str, why: str) -> Diagnostic:
        return Diagnostic("cloud-refused", detail=f"GitHub, {path}: {why}.", hint="see githubstatus.com")


def _pause(answer: requests.Response, waited: float) -> float | None:
    """Seconds to wait before another try; None for an answer that counts."""
    limited = answer.status_code in (403, 429)
    if limited and (after := answer.headers.get("Retry-After", "")).isdecimal():
        return max(1.0, float(after))
    if limited and answer.headers.get("X-RateLimit-Remaining") == "0":
        return max(1.0, float(answer.headers.get("X-RateLimit-Reset") or 0) - time.time())
    return max(1.0, waited) if answer.status_code >= 500 else None
