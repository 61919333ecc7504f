"""Rules of credentials: which kinds stand at which stack, what belongs to which, and which sinks take them.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cf_infra.diagnostics import Diagnostic, some
from cf_infra.making import BY_PEOPLE
from cf_infra.model import (
    CREDENTIAL_KEYS,
    AgeSink,
    CirunSink,
    CommandSink,
    Credential,
    CredentialKind,
    DroneEnvSink,
    DroneSecretSink,
    GithubSecretSink,
    Kind,
    SinkSettings,
)
from cf_infra.parse import SETTINGS
from cf_infra.rule import View, meant, stack_fault

_C = CredentialKind
_CLOUD = frozenset({_C.SSH_KEY, _C.SECRET, _C.S3_KEY})
_DRONE = frozenset({_C.DRONE_RPC_SECRET, _C.DRONE_TOKEN, _C.SECRET})
_AWS = frozenset({_C.AWS_ACCESS_KEY, _C.AWS_ROLE})
_GITHUB = frozenset({_C.GITHUB_APP_KEY, _C.GITHUB_TOKEN, _C.SECRET})
KINDS_AT: dict[Kind, frozenset[CredentialKind]] = {
    Kind.OPENSTACK: _CLOUD | _DRONE | {_C.APPLICATION_CREDENTIAL, _C.USER},
    Kind.AWS: _CLOUD | _DRONE | _AWS,
    Kind.GITHUB: _GITHUB | {_C.S3_KEY},
    Kind.APP: _GITHUB,
    Kind.DRONE: _DRONE | {_C.SSH_KEY},
    Kind.CIRUN: _CLOUD | _AWS | {_C.USER},
}
"""The kinds of credentials that a stack of a kind may have."""

_NEEDS: dict[CredentialKind, tuple[str, ...]] = {
    _C.DRONE_TOKEN: ("username",),
    _C.GITHUB_APP_KEY: ("app_id",),
    _C.S3_KEY: ("bucket",),
    _C.AWS_ROLE: ("role_arn",),
}
_EXAMPLES = {
    "username": "username: cf-infra   (the machine user at the Drone server)",
    "app_id": "app_id: 123456   (on the app's page in GitHub's settings)",
    "bucket": "bucket: cf-infra-state   (the canary puts an object there and deletes it)",
    "role_arn": "role_arn: arn:aws:iam::123456789012:role/NAME",
    "source": "source: env NAME   (the variable that has it when plan and apply run)",
}


def _credentials(view: View) -> Iterator[tuple[str, str, Credential]]:
    for stack_name, stack in view.inventory.stacks.items():
        for name, credential in stack.credentials.items():
            yield stack_name, name, credential


def credentials_fit_the_stack(view: View) -> Iterator[Diagnostic]:
    """Ensure a stack has only credentials that mean something at its kind."""
    for stack_name, stack in view.inventory.stacks.items():
        for name, credential in stack.credentials.items():
            known = KINDS_AT[stack.kind]
            if credential.kind not in known:
                yield stack_fault(
                    "credential-does-not-fit",
                    stack_name,
                    ("credentials", name, "kind"),
                    f"not at a stack of kind {stack.kind}",
                    f"Stacks of kind {stack.kind} have: {', '.join(sorted(known))}.",
                    "put it into the file of the stack that it opens",
                )


def credentials_are_complete(view: View) -> Iterator[Diagnostic]:
    """Ensure a credential has the keys of its kind and no others; what people make has a source."""
    for stack, name, credential in _credentials(view):
        kind, here = credential.kind, ("credentials", name)
        for key, why in _missing(credential, view.inventory.stacks[stack].kind).items():
            yield stack_fault("missing-key", stack, here, f"needs `{key}`", why, _EXAMPLES[key], on_key=True)
        own = CREDENTIAL_KEYS.get(kind, ())
        others = {key for keys in CREDENTIAL_KEYS.values() for key in keys} - set(own)
        for key in sorted(k for k in others if getattr(credential, k) is not None):
            has = f"It has: {', '.join(own)}." if own else "It has no keys of its own."
            yield stack_fault(
                "credential-does-not-fit",
                stack,
                (*here, key),
                f"not with kind {kind}",
                f"`{key}` belongs to other kinds than {kind}. {has}",
                f"delete `{key}`",
                on_key=True,
            )
        if kind is CredentialKind.AWS_ROLE and credential.source is not None:
            yield stack_fault(
                "credential-does-not-fit",
                stack,
                (*here, "source"),
                "a role has no key",
                "A role is assumed with a token that each job gets anew; there is nothing to keep anywhere.",
                "delete `source`",
                on_key=True,
            )


def _missing(credential: Credential, stack: Kind) -> dict[str, str]:
    kind = credential.kind
    found = {
        key: f"Credentials of kind {kind} need `{key}`."
        for key in _NEEDS.get(kind, ())
        if getattr(credential, key) is None
    }
    if kind in BY_PEOPLE and credential.source is None:
        found["source"] = (
            f"Only people can make credentials of kind {kind}: it must be said where they put it."
        )
    if kind is CredentialKind.USER and stack is Kind.CIRUN and credential.source is None:
        found["source"] = "We make nothing at a stack of kind cirun: its user is made by people."
    reads = CREDENTIAL_KEYS[CredentialKind.GITHUB_TOKEN]
    if kind is CredentialKind.GITHUB_TOKEN and all(getattr(credential, key) is None for key in reads):
        found["repository"] = f"Its canary needs something to read: one of {', '.join(reads)}."
    return found


_EXAMPLES["repository"] = "repository: .cirun   (or selection: NAME OF A SECRET, or installation: NUMBER)"


def credentials_go_where_settings_allow(view: View) -> Iterator[Diagnostic]:
    """Ensure the addresses at which a credential is tried are on hosts that the settings allow: they get to see it."""
    if SETTINGS in view.inventory.unread:
        return
    allowed = view.inventory.settings.credential_hosts
    for stack, name, credential in _credentials(view):
        for key in ("server", "endpoint"):
            address = getattr(credential, key)
            if address is not None and urlsplit(address).netloc not in allowed:
                yield stack_fault(
                    "bad-value",
                    stack,
                    ("credentials", name, key),
                    "host is not allowed",
                    f"A login is tried there, so operators must know it. settings.yaml allows: {some(allowed)}.",
                    "ask an operator to add the host to `credential_hosts` in settings.yaml",
                )


_OURS = re.compile(r"(?:ACTIONS|AWS|CF_INFRA|CIRUN|GITHUB|OS|SSH|TF|TOFU|XDG)_.*|GH_TOKEN|HOME|PATH|USER")
"""Variables that this program, OpenTofu, its providers or the system read: none is anybody's login to deliver."""


def sources_are_of_one_credential(view: View) -> Iterator[Diagnostic]:
    """Ensure a stack file cannot have the operators' own logins delivered, nor those of another credential."""
    settings = view.inventory.settings
    ours = {settings.github.token.removeprefix("env ")}
    for found in settings.sinks.values():
        ours |= {found.token.removeprefix("env ")} if isinstance(found, DroneSecretSink) else set()
        ours |= set(found.variables) if isinstance(found, CommandSink) else set()
    first: dict[str, str] = {}
    for stack, name, credential in _credentials(view):
        variable = (credential.source or "").removeprefix("env ")
        if not variable:
            continue
        other = first.setdefault(variable, f"{stack}/{name}")
        if variable in ours or _OURS.fullmatch(variable):
            why = f"{variable} is a variable that cf-infra, OpenTofu or the system use themselves."
        elif other != f"{stack}/{name}":
            why = f"{variable} has `{other}` already; what is in it would be delivered in two places."
        else:
            continue
        yield stack_fault(
            "bad-value",
            stack,
            ("credentials", name, "source"),
            "not for this",
            why,
            f"take a variable of its own:\nsource: env {f'login_{stack}_{name}'.upper().replace('-', '_')}",
        )


def sinks_are_there(view: View) -> Iterator[Diagnostic]:
    """Ensure every sink that a stack file names is described in settings.yaml, or needs no description."""
    if SETTINGS in view.inventory.unread:
        return
    known = sorted(view.inventory.settings.all_sinks)
    for stack, name, credential in _credentials(view):
        for position, sink in enumerate(credential.deliver):
            if sink not in known:
                yield stack_fault(
                    "unknown-sink",
                    stack,
                    ("credentials", name, "deliver", position),
                    "no such sink",
                    f"settings.yaml describes the sinks; a stack file only names them. There are: {some(known, sink)}.",
                    meant(sink, known, "ask an operator to add it to `sinks` in settings.yaml"),
                )


def sinks_take_the_kind(view: View) -> Iterator[Diagnostic]:
    """Ensure a sink can do something with the kind of credential that it gets."""
    for stack, name, credential in _credentials(view):
        for position, sink in enumerate(credential.deliver):
            found = view.inventory.settings.all_sinks.get(sink)
            taken = _taken(found) if found else None
            if found and taken is not None and credential.kind not in taken:
                yield stack_fault(
                    "sink-does-not-fit",
                    stack,
                    ("credentials", name, "deliver", position),
                    f"takes no {credential.kind}",
                    f"A sink of kind {found.kind} takes: {', '.join(sorted(taken))}.",
                    f"deliver it to another sink, or have another kind:\nkind: {sorted(taken)[0]}",
                )


def _taken(sink: SinkSettings) -> frozenset[CredentialKind] | None:
    """The kinds that a sink takes; None if any."""
    if isinstance(sink, CirunSink):
        return frozenset({CredentialKind.USER})
    if isinstance(sink, DroneEnvSink):
        return frozenset({CredentialKind.DRONE_RPC_SECRET, CredentialKind.DRONE_TOKEN})
    return None


def sinks_hold_one(view: View) -> Iterator[Diagnostic]:
    """Ensure no two credentials take turns in a place that holds one: each apply would replace the other's."""
    first: dict[tuple[str, ...], str] = {}
    for stack, name, credential in _credentials(view):
        for position, sink in enumerate(credential.deliver):
            found = view.inventory.settings.all_sinks.get(sink)
            place = _single_place(found, name, credential.kind) if found else None
            if found is None or place is None:
                continue
            other = first.setdefault(place, f"{stack}/{name}")
            if other != f"{stack}/{name}":
                yield stack_fault(
                    "sink-does-not-fit",
                    stack,
                    ("credentials", name, "deliver", position),
                    f"has `{other}`",
                    f"This sink holds one credential, and `{other}` is delivered there: they would replace each other.",
                    _way_out(found),
                )


def _single_place(found: SinkSettings, name: str, kind: CredentialKind) -> tuple[str, ...] | None:
    """What tells one place that holds one credential from others; None where every credential has its own."""
    match found:
        case CirunSink():
            return None if found.several else ("cirun",)
        case GithubSecretSink():
            return ("github", found.name or name.upper().replace("-", "_"))
        case DroneSecretSink():
            return ("drone", found.server, found.namespace, found.name or name.replace("-", "_"))
        case DroneEnvSink():
            return ("drone-env", found.file, kind)
        case AgeSink():
            return None if found.file is None else ("age", found.file)
        case CommandSink():
            return None
    return None


def _way_out(found: SinkSettings) -> str:
    if isinstance(found, CirunSink):
        return (
            "Cirun has one login for each kind of cloud; if it gave your account several, an operator may say so in\n"
            "settings.yaml:\nsinks: {cirun: {kind: cirun, several: true}}"
        )
    return "deliver one of them to another sink, or give the sinks in settings.yaml different places"
