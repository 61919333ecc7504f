"""How GitHub is reached: its address, the organisation, and a token that is in the environment and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Settings

API = "GITHUB_API_URL"
"""The variable that names another address of the API, as on GitHub's own runners; it comes before settings.yaml."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class GithubLogin:
    """Where, for which organisation, with which token. The token is not shown by `repr`."""

    api: str
    organisation: str
    variable: str
    token: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Is it a stand-in on this machine?"""
        return urlsplit(self.api).hostname in _LOOPBACK

    def environment(self) -> dict[str, str]:
        """What the provider reads. It adds `api/v3/` itself where the address is not GitHub's own."""
        return {"GITHUB_TOKEN": self.token, "GITHUB_BASE_URL": f"{self.api}/"}


def github_login(settings: Settings, environ: Mapping[str, str] | None = None) -> GithubLogin:
    """The login that settings.yaml describes. Raises Failure: no-token, bad-value."""
    environ = os.environ if environ is None else environ
    variable = settings.github.token.removeprefix("env ")
    token = environ.get(variable, "").strip()
    if not re.fullmatch(r"[!-~]+", token):
        why = "is empty or not set" if not token else "holds what no token has"
        detail = f"{variable} {why}: settings.yaml names it as the place of GitHub's token."
        raise Failure(
            Diagnostic("no-token", detail=detail, hint=f"export {variable}=..., see docs/operations.md")
        )
    api = (environ.get(API) or settings.github.api).rstrip("/").removesuffix("/api/v3")
    login = GithubLogin(api, settings.organisation, variable, token)
    if urlsplit(api).scheme != "https" and not login.is_local:
        detail = f"{API} is {api}: a token is sent over https only, or to this machine."
        raise Failure(Diagnostic("usage", detail=detail, hint=f"unset {API}, or name an https address"))
    return login
