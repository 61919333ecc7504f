"""What a saved plan was made from, kept beside it without secrets, so that apply can tell whether it still holds."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import write
from cf_infra.keyprovider import command_environment, derive

VERSION = 2


@dataclass(frozen=True)
class Record:
    """One saved plan. `refusals` are diagnostics of code too-many-deletes as (detail, hint).

    `learned`: what the plan learned of its place; the apply keeps it for plans that ask nobody. `allowed`: what a limit
    refuses and an allowance of `allowed_by` lets through; 0 if no limit was in the way. `mac`: over all the rest, by
    the stack's key, so that what is judged is what was planned.
    """

    stack: str
    cloud: str
    own: bool
    today: str
    clock: str
    head: str
    inputs: dict[str, str]
    compiled: str
    review_digest: str
    plan_digest: str
    summary: dict[str, Any]
    refusals: list[list[str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    remove: list[list[str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    destroy: bool = False
    seen: dict[str, str] = field(default_factory=dict)
    manual: list[str] = field(default_factory=list)
    hashes: list[list[str]] = field(default_factory=list)
    credentials: list[dict[str, Any]] = field(default_factory=list)
    allowed: int = 0
    allowed_by: str = ""
    learned: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION
    mac: str = ""

    @property
    def day(self) -> date:
        """The day that the plan was made for."""
        return date.fromisoformat(self.today)

    @property
    def made(self) -> date:
        """The day on which it was made, by the clock."""
        return date.fromisoformat(self.clock)


def save(deployment: Deployment, record: Record) -> None:
    """Write the record beside the plan."""
    write(
        deployment.record,
        orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
    )


def signed(record: Record, key: bytes) -> Record:
    """The record with its signature. `key`: the stack's."""
    return replace(record, mac=_mac(record, key))


def is_signed(record: Record, key: bytes) -> bool:
    """Is it as it was saved, by somebody who has the stack's key?"""
    return hmac.compare_digest(record.mac, _mac(record, key))


def _mac(record: Record, key: bytes) -> str:
    said = orjson.dumps(asdict(replace(record, mac="")), option=orjson.OPT_SORT_KEYS)
    return hmac.digest(derive(key, "cf-infra saved plan 1"), said, "sha256").hex()


def load(build: Path, stack: str) -> Record:
    """The record of the saved plan of a stack. Raises Failure("no-plan" or "stale-plan")."""
    path = build / stack / "plan" / "record.json"
    again = f"cf-infra plan {stack}"
    if not path.is_file() or not (path.parent / "tofu.plan").is_file():
        raise Failure(
            Diagnostic(
                "no-plan",
                detail=f"`{stack}` has no saved plan.",
                hint=f"make one, read it, apply it:\n{again}",
            )
        )
    try:
        data = orjson.loads(path.read_bytes())
        if data.get("version") != VERSION or data.get("stack") != stack:
            raise ValueError
        return Record(**data)
    except (ValueError, TypeError, AttributeError):
        detail = f"{path.name} of `{stack}` is damaged, or was made by another version of cf-infra."
        raise Failure(Diagnostic("stale-plan", detail=detail, hint=f"make a new one:\n{again}")) from None


def discard(deployment: Deployment) -> None:
    """The plan is used up, or its time is over."""
    deployment.plan.unlink(missing_ok=True)
    deployment.record.unlink(missing_ok=True)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """A hash for each input file, to name the one that changed."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def head(root: Path) -> str:
    """The commit that a root folder stands at; empty where there is no git or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--verify", "-q", "HEAD"],
            env=command_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def changed(record: Record, inputs: Mapping[str, str], compiled: str, head_now: str) -> str | None:
    """What is different from when the plan was made, in words; None if nothing is."""
    if record.head != head_now:
        return f"the commit was {record.head[:12] or 'none'} and is {head_now[:12] or 'none'}"
    if record.compiled != compiled:
        names = [n for n in sorted({*record.inputs, *inputs}) if record.inputs.get(n) != inputs.get(n)]
        return f"{', '.join(names) or 'modules/'} changed since"
    return None
