"""A stack's credentials as they stand: which generations live, who has them, do they work, when is the next due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from cf_infra import credentials
from cf_infra.credentials import UNKNOWN, History
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Credential, CredentialKind, Stack

SOON = 2
"""Days: a credential that ends before the next two daily runs is a finding."""
ENDED_BY_CLOUD = (CredentialKind.APPLICATION_CREDENTIAL,)
"""The kinds that a cloud ends by itself, if nobody retires them."""


def rows(name: str, stack: Stack, today: date, known: Mapping[str, History]) -> list[dict[str, Any]]:
    """One row for each credential of a stack, in the order of its file."""
    return [
        _row(name, credential, declared, today, known.get(credential, UNKNOWN), stack.donor.contacts)
        for credential, declared in stack.credentials.items()
    ]


def _row(
    stack: str, name: str, credential: Credential, today: date, history: History, contacts: Sequence[str]
) -> dict[str, Any]:
    here = credentials.live(stack, name, credential, today, None, history)
    label = here[-1].label
    if credential.source is not None and history.proven:
        label = max((proof.generation for proof in history.proven), key=credentials.order)
    proof, seen = history.proof(label), history.seen
    last = max((p.generation for p in history.proven), key=credentials.order, default=None)
    ends = (
        {g.label: g.expires for g in here}
        if credential.kind in ENDED_BY_CLOUD and not credential.source
        else {}
    )

    by_hand = credentials.by_hand(stack, name, credential, today, history, contacts)

    def turns(of: str) -> str:
        return credentials.begins(stack, name, credential, credentials.order(of)[0] + 1).isoformat()

    return {
        "credential": name,
        "kind": credential.kind.value,
        "generation": label,
        "live": [g.label for g in here] if credential.source is None else [label],
        "proven": proof.on.isoformat() if proof is not None else None,
        "works": seen.works if seen is not None else None,
        "seen_at": seen.at if seen is not None else None,
        "said": seen.said if seen is not None else None,
        "next": turns(label),
        "proven_label": last,
        "turns": turns(last) if last is not None else None,
        "expires": ends[last].isoformat() if last in ends else None,
        "by": "us" if credential.source is None else "others",
        "delivered": [
            {"sink": s.sink, "place": s.place, "generation": s.generation, "at": s.at} for s in history.sent
        ],
        "withdrawn": list(history.withdrawn),
        "by_hand": [step.what for step in by_hand] if credential.source is not None else [],
    }


def lines(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """The same for a terminal of 80 columns."""
    told = []
    for row in found:
        state = "not proven yet" if row["proven"] is None else f"proven {row['proven']}"
        if row["works"] is False:
            state = "DOES NOT WORK"
        others = [label for label in row["live"] if label != row["generation"]]
        beside = f", beside {', '.join(others)}" if others else ""
        told.append(f"  login {row['credential']}/{row['generation']}{beside}: {state}, next {row['next']}")
        if row["said"]:
            told.append(f"    last login: {row['said']} ({row['seen_at']})")
        told += [f"    by hand: {step}" for step in row["by_hand"]]
        told += [f"    {s['generation']} delivered to {s['place']} ({s['at']})" for s in row["delivered"]]
    return told


def broken(row: Mapping[str, Any], today: date) -> str:
    """Why a credential does not work; empty if it does, as far as is known."""
    if row["works"] is False:
        return f"The last login with it failed: {row['said']}"
    if row["expires"] is not None and date.fromisoformat(row["expires"]) <= today:
        return f"The cloud has ended it on {row['expires']}, and no other one was proven."
    return ""


def late(row: Mapping[str, Any], today: date) -> str:
    """Why a credential should have a successor by now; empty if all is well."""
    if row["proven_label"] is None:
        return ""
    left = (date.fromisoformat(row["turns"]) - today).days
    if row["by"] == "others":
        return f"Its period ends {_when(left)}, and only others can make a new one." if left <= SOON else ""
    ends = (date.fromisoformat(row["expires"]) - today).days if row["expires"] is not None else SOON + 1
    if ends <= SOON:
        return f"The cloud ends it {_when(ends)}, and no other one is proven."
    return f"Its successor was due {_when(left)}, and is not proven." if left < 0 else ""


def _when(days: int) -> str:
    text = f"{abs(days)} day{'s' * (abs(days) != 1)}"
    return f"in {text}" if days > 0 else "today" if days == 0 else f"{text} ago"


def faults(stack: str, found: Iterable[Mapping[str, Any]], today: date) -> list[Diagnostic]:
    """What does not work (errors), and what ends before two more daily runs (warnings)."""
    told = []
    for row in found:
        name = row["credential"]
        place: dict[str, Any] = {"file": f"stacks/{stack}.yaml", "path": ("credentials", name)}
        if why := broken(row, today):
            hint = f"make and prove another one:\ncf-infra revoke-now {stack}/{name}"
            detail = f"`{name}` of `{stack}`: {why}"
            told.append(Diagnostic("canary-failed", detail=detail, hint=hint, label="does not work", **place))
        elif why := late(row, today):
            detail = f"`{name}` of `{stack}`: {why}"
            told.append(Diagnostic("rotation-due", detail=detail, label="wants a new one", **place))
    return told
