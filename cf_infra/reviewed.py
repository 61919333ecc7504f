"""What of a stack's plan merged reviews cover, what time alone did, and what waits for a person, with the reason.

Pure. A row of a plan, or of what its files touch, is covered by a review that saw the very same row, of the head that
was merged, with all approvals that the rules ask for. `plan.beyond` is more generous, for the two steps of one apply:
against a review, a part that was to change may not go, and a whole resource may not change because a part of it may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from cf_infra.approvals import missing
from cf_infra.diagnostics import Diagnostic, some
from cf_infra.plan import SHOWN_AT_MOST, Hash
from cf_infra.review_record import ReviewRecord


@dataclass(frozen=True)
class Merged:
    """A pull request that was merged since. `record`: what its comment says that a review saw.

    `why`: why that does not count, in words; empty if it does. `approvals`: rows of approvals.py, None where nobody
    was asked because a person vouches for it. `applied`: the grants that it touches, by stack.
    """

    pull: str
    head: str
    record: ReviewRecord | None
    why: str = ""
    approvals: Sequence[Mapping[str, Any]] | None = None
    merger: str | None = None
    applied: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def saw(self, stack: str, row: Hash) -> bool:
        """Did its review see this row?"""
        return self.record is not None and self.record.has(stack, row)

    def lacks(self, stack: str) -> list[str]:
        """The approvals that are missing for a stack, in words."""
        return missing(self.approvals or (), stack)


@dataclass(frozen=True)
class Asked:
    """One stack's saved plan, and what is known of what happened since its last whole apply.

    `rows`: what the plan does, `files`: what its files touch, `astray`: what it removes that is in no state; `words`:
    what people call an address. `time`: what the
    files that were applied last would do today; `offline`: what the plan does without asking the cloud. None: nobody
    could tell. `never`: why nothing can be covered at all, in words.
    """

    stack: str
    review_digest: str
    rows: Sequence[Hash]
    files: Sequence[Hash] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    astray: Sequence[Hash] = ()
    time: Collection[tuple[str, ...]] | None = None
    offline: Collection[tuple[str, ...]] | None = None
    never: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a stack may be applied. `waits`: rows {address, action, what, why}; `by`: the pull requests that cover.

    `digest`: what a person accepts who accepts all that waits.
    """

    stack: str
    digest: str
    waits: tuple[dict[str, str], ...]
    by: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The form that scripts read."""
        return {"waits": [dict(one) for one in self.waits], "reviews": list(self.by), "digest": self.digest}

    def diagnostic(self) -> Diagnostic:
        """What to say of a stack that waits."""
        listed = [f"- {one['what']}: {one['why']}" for one in self.waits[:SHOWN_AT_MOST]]
        rest = len(self.waits) - len(listed)
        listed += [f"- and {rest} more"] * (rest > 0)
        detail = f"`{self.stack}` is not applied; nothing of it was begun:\n" + "\n".join(listed)
        hint = "read what the plan does; whoever may approve it accepts just this, and nothing that comes later:\n"
        hint += f"cf-infra plan {self.stack} && cf-infra apply {self.stack} --reviewed --accept {self.stack}={self.digest}"
        return Diagnostic("waits-for-review", detail=detail, hint=hint)


def judge(asked: Asked, merged: Sequence[Merged], accepted: str | None = None) -> Verdict:
    """What waits; nothing if a person accepted just this. Raises nothing: another digest than `accepted` waits, too."""
    waits: list[dict[str, str]] = []
    waiting: list[Hash] = []
    by: dict[str, None] = {}
    for row, is_file in [*((r, False) for r in asked.rows), *((r, True) for r in asked.files)]:
        found = [one for one in merged if one.saw(asked.stack, row)]
        good = [one for one in found if not one.why and not one.lacks(asked.stack)]
        if good and not asked.never:
            by |= dict.fromkeys(one.pull for one in good)
        elif not (asked.time is not None and not is_file and not asked.never and tuple(row) in asked.time):
            waiting.append(row)
            waits.append(_waits(asked, row, is_file, found, merged))
    for row in asked.astray:
        waiting.append(row)
        waits.append(_told(asked, row, asked.never or CLOUD))
    digest = _digest(asked, [row for row in waiting if row in asked.files or row in asked.astray])
    if accepted is not None and accepted == digest:
        waits = []
    return Verdict(asked.stack, digest, tuple(waits), tuple(by))


CLOUD = "since the review: it comes of what is at the cloud, and not of the files"


def _digest(asked: Asked, files: list[Hash]) -> str:
    """The plan's review digest; where something waits that it does not count, of both."""
    if not files:
        return asked.review_digest
    said = [asked.review_digest, sorted([list(row) for row in files])]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


def _waits(
    asked: Asked, row: Hash, is_file: bool, found: Sequence[Merged], merged: Sequence[Merged]
) -> dict[str, str]:
    return _told(asked, row, _why(asked, row, is_file, found, merged))


def _told(asked: Asked, row: Hash, why: str) -> dict[str, str]:
    address, action, _ = row
    what = asked.words.get(address, f"{action} {address}")
    return {"address": address, "action": action, "what": what, "why": why}


def _why(asked: Asked, row: Hash, is_file: bool, found: Sequence[Merged], merged: Sequence[Merged]) -> str:
    if asked.never:
        return asked.never
    for one in found:
        if one.why:
            return f"{one.pull} shows it, but {one.why}"
        if lacking := one.lacks(asked.stack):
            return f"{one.pull} shows it, but an approval is missing: {'; '.join(lacking)}"
    if not is_file and asked.offline is not None and tuple(row) not in asked.offline:
        return CLOUD
    unread = [f"of {one.pull} {one.why}" for one in merged if one.why]
    return "no review covers it" + (f" ({some(unread)})" if unread else "")


def of_files(address: str, action: str) -> str:
    """What people call a row of the files."""
    sort, _, name = address.partition(":")
    verb = {"create": "given", "delete": "taken away", "update": "changed"}[action]
    return {"grant": f"grant {name} {verb}", "user": f"person of users/{name} {verb}"}.get(sort, f"{name} {verb}")


def plain(rows: Iterable[Hash]) -> frozenset[tuple[str, ...]]:
    """Rows of a plan as a set."""
    return frozenset(tuple(row) for row in rows)
