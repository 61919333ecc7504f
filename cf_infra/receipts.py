"""The proof that what was revoked is gone: after the apply each place is asked itself, and the answer is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from cf_infra.deployment import Deployment, InventoryFile, now
from cf_infra.diagnostics import Diagnostic
from cf_infra.files import write
from cf_infra.record import Record
from cf_infra.surroundings import Check, Surroundings


@dataclass(frozen=True)
class Place:
    """Where something was, and when it was seen to be gone."""

    place: str
    checked_at: str


@dataclass(frozen=True)
class Receipt:
    """For one grant, or one retired login: where it is gone from, where it still is, what is to be done by hand."""

    grant: str
    gone_from: list[Place] = field(default_factory=list)
    manual: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def faults(self) -> list[Diagnostic]:
        """What is still there, as errors."""
        return [
            Diagnostic(
                "still-there",
                detail=f"`{self.grant}` was revoked, and the cloud still has {place}.",
                hint="run plan and apply again; if it stays, ask the cloud's operators",
            )
            for place in self.left
        ]

    def as_json(self) -> dict[str, object]:
        """The form of the contract."""
        return {"grant": self.grant, "gone_from": [asdict(p) for p in self.gone_from], "manual": self.manual}


def prove(
    around: Surroundings,
    deployment: Deployment,
    connection: Any,
    before: InventoryFile,
    after: InventoryFile,
    saved: Record,
) -> list[Receipt]:
    """A receipt for each grant that had something before and has it no more; also written to the state folder."""
    checks = around.checks(connection, before, after)
    found = [_receipt(grant, places, around.by_hand) for grant, places in checks.items()]
    if found:
        _save(deployment, found, saved)
    return found


def _receipt(grant: str, checks: list[Check], by_hand: Callable[[Iterable[str]], list[str]]) -> Receipt:
    gone, left = [], []
    for place, is_there in checks:
        if is_there():
            left.append(place)
        else:
            gone.append(Place(place, now().isoformat()))
    return Receipt(grant, gone, by_hand([grant]), left)


def _save(deployment: Deployment, found: list[Receipt], saved: Record) -> None:
    written = now()
    data = {
        "stack": saved.stack,
        "cloud": saved.cloud,
        "head": saved.head,
        "written_at": written.isoformat(),
        "receipts": [{**receipt.as_json(), "left": receipt.left} for receipt in found],
    }
    name = f"{written:%Y%m%dT%H%M%SZ}-{saved.plan_digest[:8]}.json"
    write(
        deployment.state / "receipts" / name,
        orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
    )
