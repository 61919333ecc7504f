"""`history`: who had what when, from the journals that lie here; and whether these are whole. Asks no network."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cf_infra import had, journal, project
from cf_infra.catalog import Catalog, catalog
from cf_infra.diagnostics import Diagnostic
from cf_infra.had import Asked, Period
from cf_infra.journal_file import Journal, broken, journals
from cf_infra.keyprovider import command_environment
from cf_infra.model import Grant
from cf_infra.parse import GRANTS
from cf_infra.selection import ENDING, Entries
from cf_infra.yaml12 import LIMIT_GRANTS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What was found, for JSON and for people."""

    data: dict[str, Any]
    text: str
    markdown: str
    diagnostics: list[Diagnostic] = field(default_factory=list)


def history(root: Path, name: str, resource: str, today: date, say: Say) -> Outcome:
    """The periods of a feedstock or repository. A journal that is broken counts up to its first broken line."""
    events, faults = [], []
    for own in journals(root, say):
        found = own.read()
        events += found.events
        faults += [broken(own.state, found)] if found.why else []
    offers = catalog(project.read(root, today).inventory.stacks)
    wanted = {resource, *(o.runner_class for o in offers.offers(resource))} if resource else set()
    periods = had.periods(events, (name, f"{name}{ENDING}"), wanted)
    at = cache(lambda commit: _grants_at(root, commit))
    told = [replace(one, asked=_asked(one, at, offers)) for one in periods]
    data = {"feedstock": name, "periods": [one.as_json() for one in told]}
    return Outcome(data, had.terminal(name, told), had.markdown(name, told), faults)


def verify(root: Path, say: Say) -> Outcome:
    """Whether each journal is whole."""
    rows, faults = [], []
    for own in journals(root, say):
        found = own.read()
        faults += [broken(own.state, found)] if found.why else []
        rows.append(_row(own, found))
    lines = [_line(row) for row in rows] or ["There is no journal yet: the first plan begins one."]
    return Outcome({"journals": rows}, "\n".join(lines), "\n".join(f"- {line}" for line in lines), faults)


def _row(own: Journal, found: journal.Read) -> dict[str, Any]:
    return {
        "journal": own.name,
        "whole": not found.why,
        "lines": found.head.lines,
        "digest": found.head.digest,
        "first_broken_line": found.line or None,
        "torn_bytes": len(found.torn),
    }


def _line(row: Mapping[str, Any]) -> str:
    if not row["whole"]:
        return f"{row['journal']}: BROKEN at line {row['first_broken_line']}"
    torn = f", and {row['torn_bytes']} bytes of a run that was killed" if row["torn_bytes"] else ""
    return f"{row['journal']}: whole, {row['lines']} lines{torn}\n  {row['digest']}"


# ------------------------------------------------------------------------------------------------------- git


def _asked(one: Period, at: Callable[[str], bytes], offers: Catalog) -> Asked:
    """What grants.yaml of the period's commit said, if git has the very file that was applied."""
    if not one.begun.commit or not one.begun.grants:
        return Asked()
    raw = at(one.begun.commit)
    if journal.digest(raw) != one.begun.grants:
        return Asked()
    repository, _, resource = one.grant.partition("/")
    for entry in Entries(raw).select(repository.removesuffix(ENDING)).entries:
        try:
            grant = Grant.model_validate(entry.value)
        except ValidationError:
            continue
        own = grant.repository.lower() == repository.lower()
        if own and any(_means(name, resource, offers) for name in grant.resources):
            return Asked(grant.request or "", grant.requested_by or "", tuple(grant.approved_by))
    return Asked()


def _means(name: str, resource: str, offers: Catalog) -> bool:
    return name == resource or any(o.runner_class == resource for o in offers.offers(name))


def _grants_at(root: Path, commit: str) -> bytes:
    """grants.yaml of a commit; empty where git does not have it."""
    if re.fullmatch(r"[0-9a-f]{40,64}", commit) is None:
        return b""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "show", f"{commit}:./{GRANTS}"],
            env=command_environment(os.environ),
            capture_output=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 and len(done.stdout) <= LIMIT_GRANTS else b""
