"""Permissions of overrides.yaml at a plan: which ones hold, which one a plan needs, which ones none needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from cf_infra.deployment import now
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Inventory
from cf_infra.parse import OVERRIDES
from cf_infra.project import Folder
from cf_infra.record import Record


def _day(today: date) -> date:
    """A permission that has ended stays ended, whatever day is pretended."""
    return max(today, now().date())


def valid(inventory: Inventory, today: date) -> dict[str, int]:
    """Stack -> the number that may be taken away there."""
    return {o.stack: o.destroy for o in inventory.overrides.overrides if _day(today) <= o.until}


def told(saved: Record) -> str:
    """The permission that a plan needs and has, in words."""
    if saved.allowed_by == OVERRIDES:
        return f"uses the override of {OVERRIDES}: {saved.allowed} may be taken away"
    return f"uses --allow-destroy: {saved.allowed} may be taken away"


def unused(folder: Folder, today: date, planned: Mapping[str, Record]) -> list[Diagnostic]:
    """A warning for each permission that holds and that the plan of its stack does not need.

    One with the wrong number is named by the plan's refusal, and one of a stack that was not planned by none.
    """
    found = []
    for index, one in enumerate(folder.inventory.overrides.overrides):
        saved = planned.get(one.stack)
        if saved is None or _day(today) > one.until or saved.refusals:
            continue
        used = saved.allowed == one.destroy and saved.allowed_by == OVERRIDES
        if not used:
            detail = f"No plan of `{one.stack}` needs this: it takes away nothing that a limit refuses."
            if saved.allowed:
                detail = f"`{one.stack}` takes away {saved.allowed}, as {saved.allowed_by} allows, and not by this."
            hint = "take the entry away, so that it allows nothing later"
            path = ("overrides", index, "destroy")
            found.append(
                Diagnostic(
                    "override-unused", file=OVERRIDES, path=path, label="unused", detail=detail, hint=hint
                )
            )
    return found
