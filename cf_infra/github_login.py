"""How GitHub is reached: by settings.yaml, with a token that no file of ours and no output ever holds."""

from __future__ import annotations

from dataclasses import dataclass

from cf_infra.github import Github, token_of
from cf_infra.model import Settings
from cf_infra.rest import Say, Token, is_local


@dataclass(frozen=True)
class GithubLogin:
    """Where, for which organisation, with which token."""

    api: str
    organisation: str
    token: Token

    @property
    def is_local(self) -> bool:
        """Is it a stand-in on this machine?"""
        return is_local(self.api)

    def environment(self) -> dict[str, str]:
        """What the provider reads. It adds `api/v3/` itself where the address is not GitHub's own."""
        base = self.api.rstrip("/").removesuffix("/api/v3")
        return {"GITHUB_TOKEN": self.token.value, "GITHUB_BASE_URL": f"{base}/"}

    def client(self, say: Say) -> Github:
        """GitHub, asked beside OpenTofu."""
        return Github(self.api, self.organisation, self.token, say=say)


def github_login(settings: Settings) -> GithubLogin:
    """The login that settings.yaml describes. Raises Failure("no-token")."""
    return GithubLogin(settings.github.api, settings.organisation, token_of(settings))
