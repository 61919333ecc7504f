"""Logins at GitHub and Drone, for canaries."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import closing

import orjson

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.drone import Drone, ping_rpc
from cf_infra.github import Github
from cf_infra.github_app import AppClient
from cf_infra.model import Settings
from cf_infra.rest import Say, Token

VALID = 540
"""Seconds that our statement of being an app holds; GitHub takes 600 at most."""
SKEW = 60
"""Seconds that our clock may be ahead of GitHub's (docs.github.com, "Generating a JSON Web Token")."""


def github_token(fields: Mapping[str, str], settings: Settings, say: Say) -> str:
    """Read the selection of repositories that the token is for: of a secret, an app, or one repository itself."""
    token = Token(fields["token"], "the delivered credential")
    with closing(Github(settings.github.api, settings.organisation, token, say=say)) as client:
        if name := fields.get("selection"):
            return _secret_seen(client, name)
        if number := fields.get("installation"):
            return f"sees {_count(len(client.installation_repositories(int(number))))} of the app {number}"
        name = fields["repository"]
        if client.repository(name) is None:
            detail = f"It does not see the repository {settings.organisation}/{name}."
            raise Failure(Diagnostic("not-at-github", detail=detail))
        return f"sees the repository {settings.organisation}/{name}"


def _secret_seen(client: Github, name: str) -> str:
    found = client.secret(name)
    if found is None:
        raise Failure(Diagnostic("not-at-github", detail=f"It does not see the organisation secret {name}."))
    if found.visibility != "selected":
        return f"sees the secret {name}, which is for {found.visibility} repositories"
    return f"sees {_count(len(client.secret_repositories(name)))} of the secret {name}"


def _count(number: int) -> str:
    return f"{number} repositor{'y' if number == 1 else 'ies'}"


def github_app(fields: Mapping[str, str], settings: Settings, say: Say) -> str:
    """Be the app: who it is, its installation in the organisation, and with a token of that its repositories.

    The token of the installation is revoked again.
    """
    token = Token(app_token(fields["app_id"], fields["private_key"], time.time()), "the app's key")
    with closing(AppClient(settings.github.api, settings.organisation, token, say=say)) as app:
        slug = app.slug()
        installed = app.installation()
        with closing(app.as_installation(installed)) as client:
            try:
                count, selection = client.selection()
            finally:
                client.revoke()
    return f"is the app {slug}, sees {_count(count)} ({selection})"


def app_token(app: str, pem: str, now: float) -> str:
    """The signed statement that a GitHub App logs in with (a JSON Web Token, RS256). Raises Failure("bad-source")."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Failure(Diagnostic("bad-source", detail="It is no RSA key in PEM form."))
    claims = {"iat": int(now) - SKEW, "exp": int(now) + VALID, "iss": app}
    parts = [_encoded(orjson.dumps(part)) for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_encoded(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def drone_token(fields: Mapping[str, str], say: Say) -> str:
    """Ask the server whose token it is."""
    with closing(Drone(fields["server"], Token(fields["token"], "the delivered credential"), say)) as drone:
        user = drone.user()
    if (wanted := fields.get("username")) and user.login.lower() != wanted.lower():
        detail = f"The token is another user's than {wanted}'s."
        raise Failure(Diagnostic("service-answer", detail=detail))
    return f"logged in as {user.login}{', an admin' * user.admin}"


def drone_rpc(fields: Mapping[str, str], say: Say) -> str:
    """Say hello as a runner does."""
    ping_rpc(fields["server"], fields["rpc_secret"], say)
    return "the server takes it from runners"
