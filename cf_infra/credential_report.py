"""A stack's credentials as they stand: which generations live, who has them, do they work, when is the next due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from cf_infra import credentials
from cf_infra.credentials import UNKNOWN, History
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Credential, Stack

SOON = 2
"""Days: a credential that ends before the next two daily runs is a finding."""


def rows(name: str, stack: Stack, today: date, known: Mapping[str, History]) -> list[dict[str, Any]]:
    """One row for each credential of a stack, in the order of its file."""
    return [
        _row(name, credential, declared, today, known.get(credential, UNKNOWN))
        for credential, declared in stack.credentials.items()
    ]


def _row(stack: str, name: str, credential: Credential, today: date, history: History) -> dict[str, Any]:
    here = credentials.live(stack, name, credential, today, None, history)
    label = here[-1].label
    if credential.source is not None and history.proven:
        label = max((proof.generation for proof in history.proven), key=credentials.order)
    proof, seen = history.proof(label), history.seen
    turns = credentials.begins(stack, name, credential, credentials.order(label)[0] + 1)
    return {
        "credential": name,
        "kind": credential.kind.value,
        "generation": label,
        "live": [g.label for g in here] if credential.source is None else [label],
        "proven": proof.on.isoformat() if proof is not None else None,
        "works": seen.works if seen is not None else None,
        "seen_at": seen.at if seen is not None else None,
        "said": seen.said if seen is not None else None,
        "next": turns.isoformat(),
        "by": "us" if credential.source is None else "others",
        "delivered": [
            {"sink": s.sink, "place": s.place, "generation": s.generation, "at": s.at} for s in history.sent
        ],
        "withdrawn": list(history.withdrawn),
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
        told += [f"    {s['generation']} delivered to {s['place']} ({s['at']})" for s in row["delivered"]]
    return told


def faults(stack: str, found: Iterable[Mapping[str, Any]], today: date) -> list[Diagnostic]:
    """What is broken, and what ends before the next two daily runs."""
    told = []
    for row in found:
        name = row["credential"]
        place: dict[str, Any] = {"file": f"stacks/{stack}.yaml", "path": ("credentials", name)}
        if row["works"] is False:
            detail = f"The last login with `{name}` of `{stack}` failed: {row['said']}"
            hint = f"make and prove another one:\ncf-infra revoke-now {stack}/{name}"
            told.append(Diagnostic("canary-failed", detail=detail, hint=hint, label="does not work", **place))
        left = (date.fromisoformat(row["next"]) - today).days
        if row["proven"] is not None and row["by"] == "others" and left <= SOON:
            when = f"in {left} days" if left > 0 else "today" if left == 0 else f"{-left} days ago"
            detail = f"The period of `{name}` of `{stack}` ends {when}, and only others can make a new one."
            told.append(Diagnostic("rotation-due", detail=detail, label="wants a new one", **place))
    return told
