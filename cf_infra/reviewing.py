"""The shell of a review: two revisions are compared and planned, and what is known of secrets is masked by value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from cf_infra import comparing, head_plans
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.mask import Masker
from cf_infra.model import Settings, Stack
from cf_infra.review import review

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sides:
    """What is reviewed: two folders or revisions. `unplannable`: why it cannot be planned; empty if it can."""

    base: str
    head: str
    unplannable: str = ""


@dataclass(frozen=True)
class Options:
    """What is wanted of a review. `approved`: a maintainer approved this head, so its stack files are planned."""

    root: Path
    today: date
    plan: bool = False
    approved: bool = False
    clouds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reviewed:
    """The value, what is to be said beside it, and the hashes of what is planned by stack."""

    value: dict[str, Any]
    diagnostics: list[Diagnostic]
    known: list[Diagnostic]
    hashes: dict[str, list[list[str]]]


def made(
    options: Options,
    sides: Sides,
    say: Say,
    secrets: Iterable[str] = (),
    pull: Mapping[str, Any] | None = None,
    approvals: Sequence[Mapping[str, Any]] | None = None,
) -> Reviewed:
    """The review of what `sides.head` changes. Faults of a head are a part of it; nothing is raised for them.

    With `options.plan` the stacks are planned without asking any cloud (see head_plans.py).
    """
    diff, told, known = _compared(options, sides)
    plans = _planned(options, sides, say) if diff is not None and options.plan else None
    new = [d for d in plans.diagnostics if d not in [*told, *known]] if plans else []
    told += new
    value = review(
        diff,
        plans=plans.plans if plans else (),
        unplanned=plans.unplanned if plans else _nothing_planned(options, sides, diff),
        diagnostics=[d.as_json() for d in told],
        overrides=plans.overrides if plans else (),
        approvals=approvals,
        pull=pull,
    )
    hashes = {row["stack"]: row["hashes"] for row in plans.plans} if plans else {}
    masked: dict[str, Any] = Masker(secrets).value(value)
    return Reviewed(masked, told, known, hashes)


def _compared(
    options: Options, sides: Sides
) -> tuple[dict[str, Any] | None, list[Diagnostic], list[Diagnostic]]:
    """What `diff` says; None with the faults that keep it from saying anything."""
    try:
        done = comparing.compare(options.root, sides.base, sides.head, options.today)
    except Failure as failure:
        return None, list(failure.diagnostics), []
    names = {"base": done.base.as_json(), "head": done.head.as_json()}
    return {**names, **done.difference.as_json()}, list(done.diagnostics), done.known


def _planned(options: Options, sides: Sides, say: Say) -> head_plans.HeadPlans | None:
    """The head's plans; where nothing at all can be planned the reason stands among the diagnostics."""
    if sides.unplannable:
        return None
    nobody: dict[str, str | None] = {"name": "", "commit": None}
    try:
        return head_plans.plans(
            options.root,
            sides.base,
            sides.head,
            options.today,
            say,
            stacks_approved=options.approved,
            clouds=options.clouds,
        )
    except Failure as failure:
        why = failure.diagnostics[0]
        rows = [{"stack": "all of them", "why": f"{why.code}: {why.detail or why.summary}"}]
        return head_plans.HeadPlans(nobody, nobody, [], rows, list(failure.diagnostics))


def _nothing_planned(options: Options, sides: Sides, diff: object) -> list[dict[str, Any]]:
    if diff is None or not (options.plan and sides.unplannable):
        return []
    return [{"stack": "all of them", "why": sides.unplannable}]


def secrets_of(settings: Settings, stacks: Iterable[Stack], token: str = "") -> list[str]:
    """Values that must stand in no comment: the login of this run, and what variables hand over as credentials."""
    names = {c.source.removeprefix("env ") for s in stacks for c in s.credentials.values() if c.source}
    names |= {settings.github.token.removeprefix("env ")}
    return [value for value in (token, *(os.environ.get(name, "") for name in sorted(names))) if value]
