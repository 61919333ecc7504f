"""The values of credentials that no cloud makes for us: derived from the stack's key, or put into a variable by people.

Derived values are never random: the same key, name and generation give the same value, so nothing need be stored to
deliver it again or to prove it later.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import orjson

from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.model import CREDENTIAL_KEYS, Credential, CredentialKind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Fields = dict[str, str]
Made = tuple[Fields, frozenset[str]]
"""What a login consists of by name, and the names of those parts that no output may show."""

DERIVED = frozenset(
    {
        CredentialKind.DRONE_RPC_SECRET,
        CredentialKind.DRONE_TOKEN,
        CredentialKind.SECRET,
        CredentialKind.SSH_KEY,
    }
)
"""The kinds whose value we make ourselves."""
BY_PEOPLE = frozenset(
    {
        CredentialKind.GITHUB_APP_KEY,
        CredentialKind.GITHUB_TOKEN,
        CredentialKind.S3_KEY,
        CredentialKind.AWS_ACCESS_KEY,
    }
)
"""The kinds whose value only people can make: `source` says where they put it."""
SECRET_FIELDS = frozenset(
    """
    rpc_secret token value private_key password application_credential_secret secret_access_key session_token
    """.split()
)
"""The fields that no output may show, whatever kind they belong to."""
LARGEST_SOURCE = 48 << 10
"""Bytes of a value that somebody made: no sink takes more."""


def fields(
    kind: CredentialKind, key: bytes, name: str, generation: str, credential: Credential | None = None
) -> Made:
    """One generation of a credential that we make, from the stack's key; what else `credential` says of the login.

    A role has no value at all: only `credential` says which it is. Raises ValueError for kinds that others make.
    """
    found = _DERIVE[kind](_derived(key, kind, name, generation), name) if kind in DERIVED else {}
    if not found and kind is not CredentialKind.AWS_ROLE:
        raise ValueError(f"a credential of kind {kind} is not derived. This is a bug in cf-infra.")
    return _with(found, credential)


def own_fields(credential: Credential) -> Fields:
    """What the stack file itself says of a login: whose it is, where; nothing secret."""
    values = {key: getattr(credential, key) for key in CREDENTIAL_KEYS.get(credential.kind, ())}
    return {key: str(value) for key, value in values.items() if value is not None}


def _with(found: Fields, credential: Credential | None) -> Made:
    whole = {**(own_fields(credential) if credential else {}), **found}
    return whole, SECRET_FIELDS & whole.keys()


# ------------------------------------------------------------------------------------------------- derived


def _derived(key: bytes, kind: CredentialKind, name: str, generation: str) -> bytes:
    """32 bytes that only the holder of the stack's key can make; other kinds and passwords have other labels."""
    return hmac.digest(key, f"cf-infra {kind} 1\0{name}\0{generation}".encode(), "sha256")


def _rpc_secret(seed: bytes, _name: str) -> Fields:
    return {"rpc_secret": seed.hex()}


def _drone_token(seed: bytes, _name: str) -> Fields:
    return {"token": seed[:16].hex()}


def _secret(seed: bytes, _name: str) -> Fields:
    return {"value": urlsafe_b64encode(seed).rstrip(b"=").decode()}


def _ssh_key(seed: bytes, name: str) -> Fields:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(seed)
    comment = f"cf-infra-{name}"
    return {"private_key": _openssh(seed, key, comment), "public_key": public_line(key, comment)}


_DERIVE: dict[CredentialKind, Callable[[bytes, str], Fields]] = {
    CredentialKind.DRONE_RPC_SECRET: _rpc_secret,
    CredentialKind.DRONE_TOKEN: _drone_token,
    CredentialKind.SECRET: _secret,
    CredentialKind.SSH_KEY: _ssh_key,
}


def public_line(key: Ed25519PrivateKey, comment: str) -> str:
    """The line of an authorized_keys file."""
    return f"ssh-ed25519 {b64encode(_public_blob(key)).decode()} {comment}"


def _public_blob(key: Ed25519PrivateKey) -> bytes:
    return _strings(b"ssh-ed25519", key.public_key().public_bytes_raw())


def _openssh(seed: bytes, key: Ed25519PrivateKey, comment: str) -> str:
    """The private key in OpenSSH's own form, without a passphrase (openssh-portable, PROTOCOL.key).

    Written here because libraries put random check numbers into it: the same key would be another file each time.
    """
    check = hmac.digest(seed, b"cf-infra openssh check 1", "sha256")[:4]
    pair = seed + key.public_key().public_bytes_raw()
    inner = check + check + _public_blob(key) + _strings(pair, comment.encode())
    inner += bytes(range(1, 1 + -len(inner) % 8))
    outer = b"openssh-key-v1\0" + _strings(b"none", b"none", b"") + struct.pack(">I", 1)
    text = b64encode(outer + _strings(_public_blob(key), inner)).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


def _strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


# ------------------------------------------------------------------------------------------- made by people


def from_source(
    credential: Credential,
    environ: Mapping[str, str],
    *,
    stack: str,
    name: str,
    contacts: Sequence[str] = (),
    due: date | None = None,
) -> Made:
    """The login that somebody put into the variable of `source`: a JSON object, or the value alone where there is one.

    Raises Failure: no-source with who can make it and until when, bad-source if it is something else. Never shows it.
    """
    variable = (credential.source or "").removeprefix("env ")
    raw = environ.get(variable, "").strip()
    if not raw:
        raise Failure(_missing(stack, name, variable, contacts, due))
    try:
        found = _read(credential, raw)
    except ValueError as fault:
        raise Failure(_unusable(credential, stack, name, variable, str(fault))) from None
    return _with(found, credential)


def _missing(stack: str, name: str, variable: str, contacts: Sequence[str], due: date | None) -> Diagnostic:
    people = some(sorted(contacts)) if contacts else "nobody whom the stack file names"
    until = f" It is due on {due}." if due else ""
    return Diagnostic(
        "no-source",
        file=f"stacks/{stack}.yaml",
        path=("credentials", name, "source"),
        label="is empty or not set",
        detail=f"`{name}` of `{stack}` is made by people, and the variable {variable} has nothing.{until} "
        f"Who can make it: {people}.",
        hint="put it there in a way that your shell does not remember:\n"
        f"read -rs {variable} && export {variable}",
    )


def _unusable(credential: Credential, stack: str, name: str, variable: str, why: str) -> Diagnostic:
    return Diagnostic(
        "bad-source",
        file=f"stacks/{stack}.yaml",
        path=("credentials", name, "source"),
        label="holds something else",
        detail=f"What the variable {variable} holds is no {credential.kind}: {why}. It is not shown.",
        hint=f"it must be {_FORMS[credential.kind]}",
    )


_FORMS: dict[CredentialKind, str] = {
    CredentialKind.APPLICATION_CREDENTIAL: "a JSON object with auth_url, application_credential_id and "
    "application_credential_secret",
    CredentialKind.USER: "a JSON object with auth_url, username, password, project_id and domain_id",
    CredentialKind.DRONE_RPC_SECRET: "the secret alone, of at least 16 characters",
    CredentialKind.DRONE_TOKEN: "the token alone, 32 hexadecimal digits",
    CredentialKind.SECRET: "the value alone",
    CredentialKind.SSH_KEY: "an ed25519 private key in OpenSSH's form, without a passphrase",
    CredentialKind.GITHUB_APP_KEY: "the private key in PEM form as GitHub gives it",
    CredentialKind.GITHUB_TOKEN: "the token alone",
    CredentialKind.S3_KEY: "a JSON object with access_key_id and secret_access_key",
    CredentialKind.AWS_ACCESS_KEY: "a JSON object with access_key_id and secret_access_key, or what "
    "`aws iam create-access-key` prints",
}
_OBJECTS: dict[CredentialKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    CredentialKind.APPLICATION_CREDENTIAL: (
        ("auth_url", "application_credential_id", "application_credential_secret"),
        ("network", "region"),
    ),
    CredentialKind.USER: (
        ("auth_url", "username", "password", "project_id", "domain_id"),
        ("network", "region"),
    ),
    CredentialKind.S3_KEY: (("access_key_id", "secret_access_key"), ()),
    CredentialKind.AWS_ACCESS_KEY: (("access_key_id", "secret_access_key"), ("session_token",)),
}
"""By kind the fields that a JSON object must have, and those that it may have."""
_AS_AWS = {
    "AccessKeyId": "access_key_id",
    "SecretAccessKey": "secret_access_key",
    "SessionToken": "session_token",
}


def _read(credential: Credential, raw: str) -> Fields:
    """The fields in a variable's text. Raises ValueError with the reason, which holds nothing of the text."""
    if len(raw.encode()) > LARGEST_SOURCE:
        raise ValueError(f"it has more than {LARGEST_SOURCE >> 10} KB")
    if credential.kind in _OBJECTS:
        return _object(raw, *_OBJECTS[credential.kind])
    return _SINGLE[credential.kind](raw)


def _object(raw: str, needed: tuple[str, ...], more: tuple[str, ...]) -> Fields:
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    if isinstance(value, dict) and isinstance(value.get("AccessKey"), dict):
        value = {key: text for key, text in value["AccessKey"].items() if key in _AS_AWS}
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    found: dict[str, Any] = {_AS_AWS.get(str(key)) or str(key): text for key, text in value.items()}
    missing = [key for key in needed if not found.get(key)]
    if missing:
        raise ValueError(f"it lacks {some(missing)}")
    if strange := sorted(found.keys() - {*needed, *more}):
        # A key may be a value that slipped: only how many there are is told.
        raise ValueError(f"it has {len(strange)} more fields than {some([*needed, *more])}")
    if not all(isinstance(text, str) and _ONE_LINE.fullmatch(text) for text in found.values()):
        raise ValueError("each field must be a text of one line")
    return found


_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")


def _single(field: str, pattern: str, why: str) -> Callable[[str], Fields]:
    def read(raw: str) -> Fields:
        if not re.fullmatch(pattern, raw):
            raise ValueError(why)
        return {field: raw}

    return read


def _private_key(raw: str) -> Fields:
    """A GitHub App's key. Its line ends may be written as in JSON: some stores keep variables in one line."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = raw.replace("\\n", "\n") + "\n"
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        raise ValueError("it is no private key in PEM form, or has a passphrase") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("GitHub's apps have RSA keys, and this is another one")
    return {"private_key": text}


def _own_ssh_key(raw: str) -> Fields:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    text = raw.replace("\\n", "\n") + "\n"
    try:
        key = load_ssh_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it is no private key in OpenSSH's form, or has a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is another key than ed25519")
    return {"private_key": text, "public_key": public_line(key, "cf-infra")}


_SINGLE: dict[CredentialKind, Callable[[str], Fields]] = {
    CredentialKind.DRONE_RPC_SECRET: _single(
        "rpc_secret", r"[!-~]{16,256}", "it has blanks or less than 16 characters"
    ),
    CredentialKind.DRONE_TOKEN: _single("token", r"[0-9a-f]{32}", "it is not 32 hexadecimal digits"),
    CredentialKind.SECRET: _single(
        "value", r"(?s)[^\x00]{8,}", "it has a zero byte or less than 8 characters"
    ),
    CredentialKind.SSH_KEY: _own_ssh_key,
    CredentialKind.GITHUB_APP_KEY: _private_key,
    CredentialKind.GITHUB_TOKEN: _single("token", r"[!-~]{20,1024}", "it has blanks or is too short"),
}
