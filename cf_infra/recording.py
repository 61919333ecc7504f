"""What goes into the journal when something is planned and applied: who gets or loses what, and what proved it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cf_infra import journal
from cf_infra.deployment import Deployment, load_inventory, load_proven
from cf_infra.diagnostics import Failure
from cf_infra.journal_file import Journal
from cf_infra.parse import GRANTS
from cf_infra.process import Interrupted
from cf_infra.receipts import Receipt
from cf_infra.record import Record

Say = Callable[[str], None]
Access = Mapping[str, str | None]


@dataclass
class Applying:
    """What an apply has to tell at its end; whoever applies fills it in."""

    changes: int = 0
    receipts: Sequence[Receipt] = ()


def planned(deployment: Deployment, saved: Record, say: Say) -> None:
    """A plan was saved."""
    counts = {name: int(saved.summary[name]) for name in ("add", "change", "replace", "destroy")}
    Journal(deployment.state, say).note("planned", **_of(saved), **counts, refused=bool(saved.refusals))


@contextmanager
def applying(deployment: Deployment, saved: Record, say: Say, part: str = "whole") -> Iterator[Applying]:
    """The begin of an apply, and its end however it ends. Raises Failure("broken-journal") before anything is done."""
    own, before, told = Journal(deployment.state, say), _proven(deployment), Applying()
    own.note("apply-begun", **_of(saved), part=part)
    if saved.allowed and part == "whole":
        own.note("override-used", destroy=saved.allowed, source=saved.allowed_by)

    def end(result: str, codes: Sequence[str]) -> None:
        changed = _changed(before, _proven(deployment), deployment) if part == "whole" else _NOTHING
        own.note(
            "apply-ended",
            **_of(saved),
            **changed,
            part=part,
            result=result,
            codes=sorted(set(codes)),
            changes=told.changes,
            receipts=[_receipt(one) for one in told.receipts],
        )

    try:
        yield told
    except BaseException as stopped:
        found = stopped.diagnostics if isinstance(stopped, (Failure, Interrupted)) else []
        interrupted = isinstance(stopped, (KeyboardInterrupt, Interrupted))
        try:
            end("interrupted" if interrupted else "failed", [d.code for d in found])
        except Failure as failure:
            found.extend(failure.diagnostics)
        raise
    end("done", ())


def forgotten(deployment: Deployment, say: Say) -> None:
    """The place itself was made anew: what was there is gone with it."""
    Journal(deployment.state, say).note("forgotten")


_NOTHING: dict[str, list[Any]] = {"gained": [], "changed": [], "lost": [], "unsure": []}


def _of(saved: Record) -> dict[str, Any]:
    return {
        "cloud": journal.shortened(saved.cloud),
        "plan_digest": saved.plan_digest,
        "review_digest": saved.review_digest,
        "commit": saved.head,
        "grants": saved.inputs.get(GRANTS, ""),
    }


def _proven(deployment: Deployment) -> Access:
    found = load_proven(deployment.state)
    return found.access if found is not None else {}


def _changed(before: Access, after: Access, deployment: Deployment) -> dict[str, list[Any]]:
    """What a proven apply changed; `unsure` is what one that was not proven may have given or taken."""
    left = load_inventory(deployment.state)
    perhaps = left.access if left is not None else after
    return {
        "gained": [{"grant": k, "ends": v} for k, v in sorted(after.items()) if k not in before],
        "changed": [
            {"grant": k, "ends": v} for k, v in sorted(after.items()) if k in before and before[k] != v
        ],
        "lost": sorted(before.keys() - after.keys()),
        "unsure": sorted(perhaps.keys() ^ after.keys()),
    }


def _receipt(one: Receipt) -> dict[str, Any]:
    return {
        "grant": journal.shortened(one.grant),
        "gone_from": [
            {"place": journal.shortened(p.place), "checked_at": p.checked_at} for p in one.gone_from
        ],
        "left": len(one.left) + len(one.unknown),
        "by_hand": len(one.manual),
    }
