"""A GitHub App as itself: its signed statement (a JSON Web Token), and the tokens of its installations.

The form of the statement, and what is wrong with one: docs.github.com, "Generating a JSON Web Token for a GitHub App".
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from tests.github.call import Answer, Call, Page, Refusal, missing, serves
from tests.github.shapes import stamp
from tests.github.state import Installation, State, Token

LONGEST = 600
HOUR = 3600


def app_of(state: State, statement: str) -> Token:
    """Who signed a statement. Refusal where GitHub would not take it."""
    try:
        head, claims, signature = statement.split(".")
        told = json.loads(_decoded(claims))
        if json.loads(_decoded(head)) != {"alg": "RS256", "typ": "JWT"}:
            raise Refusal(401, "A JSON web token could not be decoded")
        app = state.apps.get(int(told["iss"]))
        if app is None:
            raise Refusal(404, "Integration not found")
        app.key.verify(_decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
    except (ValueError, KeyError, InvalidSignature):
        raise Refusal(401, "A JSON web token could not be decoded") from None
    now = state.clock()
    if told["exp"] > now + LONGEST:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    if told["exp"] <= now or told["iat"] > now:
        raise Refusal(401, "'Issued at' claim ('iat') or 'exp' does not fit the time")
    return Token(app.user, permissions={}, app=app.id)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _app(call: Call) -> Any:
    if call.token is None or call.token.app is None:
        raise Refusal(401, "A JSON web token could not be decoded")
    return call.state.apps[call.token.app]


@serves("GET", "/app")
def app(call: Call) -> Answer:
    """Who the app is."""
    return Answer(200, call.shapes.app(_app(call)))


@serves("GET", "/orgs/{org}/installation")
def installation(call: Call) -> Answer:
    """Its installation in the organisation."""
    found = _app(call)
    call.organization()
    return Answer(200, call.shapes.installation(_own(call, lambda one: one.app_id == found.id)))


def _own(call: Call, fits: Any) -> Installation:
    found = next((one for one in call.state.installations.values() if fits(one)), None)
    if found is None:
        raise missing()
    return found


@serves("POST", "/app/installations/{installation_id}/access_tokens")
def access_token(call: Call) -> Answer:
    """A token of an installation, for an hour."""
    made_by, number = _app(call), int(call.path["installation_id"])
    found = _own(call, lambda one: one.id == number and one.app_id == made_by.id)
    value = f"ghs_{secrets.token_hex(18)}"
    call.state.tokens[value] = Token(made_by.user, permissions={"metadata": "read"}, installation=found.id)
    expires = stamp(call.state.clock() + HOUR)
    return Answer(
        201,
        {"token": value, "expires_at": expires, "repository_selection": found.selection, "permissions": {}},
    )


def _installed(call: Call) -> Installation:
    if call.token is None or call.token.installation is None:
        raise Refusal(403, "You must authenticate with an installation access token")
    return call.state.installations[call.token.installation]


@serves("GET", "/installation/repositories")
def repositories(call: Call) -> Page:
    """The repositories that the installation has."""
    found = _installed(call)
    owned = [one for one in call.state.owned() if found.selection == "all" or one.id in found.repositories]
    return Page(owned, call.shapes.repository, "repositories", {"repository_selection": found.selection})


@serves("DELETE", "/installation/token")
def revoke(call: Call) -> Answer:
    """End the token that this is asked with."""
    _installed(call)
    call.state.tokens = {value: one for value, one in call.state.tokens.items() if one is not call.token}
    return Answer(204)
