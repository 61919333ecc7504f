"""The proof that what was revoked is gone: after the apply each place is asked itself, and the answer is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

import orjson

from cf_infra.deployment import Deployment, now
from cf_infra.diagnostics import Diagnostic
from cf_infra.files import write
from cf_infra.record import Record
from cf_infra.surroundings import Check, Unanswered


@dataclass(frozen=True)
class Place:
    """Where something was, and when it was seen to be gone."""

    place: str
    checked_at: str


@dataclass(frozen=True)
class Receipt:
    """For one grant, or one retired login: where it is gone from, where it still is, what is to be done by hand.

    `unknown`: places that did not answer, with the reason.
    """

    grant: str
    gone_from: list[Place] = field(default_factory=list)
    manual: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def faults(self) -> list[Diagnostic]:
        """What is still there, or may be, as errors."""
        return [
            Diagnostic(
                "not-proven",
                detail=f"`{self.grant}` was revoked, and nothing proves that this is gone: {place}",
                hint="mend the reason, then plan and apply again:\ncf-infra plan && cf-infra apply",
            )
            for place in self.unknown
        ] + [
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
    checks: Mapping[str, list[Check]],
    by_hand: Callable[[Iterable[str]], list[str]],
    deployment: Deployment,
    saved: Record,
) -> list[Receipt]:
    """A receipt for each grant that had something before and has it no more; also written to the state folder."""
    found = [_receipt(grant, places, by_hand) for grant, places in checks.items()]
    if found:
        _save(deployment, found, saved)
    return found


def _receipt(grant: str, checks: list[Check], by_hand: Callable[[Iterable[str]], list[str]]) -> Receipt:
    gone, left, unknown = [], [], []
    for place, is_there in checks:
        try:
            there = is_there()
        except Unanswered as silent:
            unknown.append(f"{place} ({silent})")
            continue
        if there:
            left.append(place)
        else:
            gone.append(Place(place, now().isoformat()))
    return Receipt(grant, gone, by_hand([grant]), left, unknown)


def _save(deployment: Deployment, found: list[Receipt], saved: Record) -> None:
    written = now()
    data = {
        "stack": saved.stack,
        "cloud": saved.cloud,
        "head": saved.head,
        "written_at": written.isoformat(),
        "receipts": [
            {**receipt.as_json(), "left": receipt.left, "unknown": receipt.unknown} for receipt in found
        ],
    }
    name = f"{written:%Y%m%dT%H%M%SZ}-{saved.plan_digest[:8]}.json"
    write(
        deployment.state / "receipts" / name,
        orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
    )
