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
from cf_infra.review_record import ReviewRecord, is_listed


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
        """Did its review see this row? A part that it saw change may come anew: a run was stopped after it went."""
        if self.record is None:
            return False
        address, action, value = row
        again = action == "create" and "#" in address and self.record.has(stack, (address, "update", value))
        return again or self.record.has(stack, row)

    def was_too_much(self, stack: str) -> bool:
        """Did its record not keep what the review saw of a stack?"""
        found = self.record.stacks.get(stack) if self.record is not None else None
        return found is not None and found.marks is None

    def counts(self, stack: str, row: Hash) -> bool:
        """Did its review see this row, and may it be done?"""
        return not self.why and self.saw(stack, row) and not self.lacks(stack)

    def lacks(self, stack: str) -> list[str]:
        """The approvals that are missing for a stack, in words."""
        return missing(self.approvals or (), stack)


@dataclass(frozen=True)
class Asked:
    """One stack's saved plan, and what is known of what happened since its last whole apply.

    `rows`: what the plan does, `files`: what its files touch, `astray`: what it removes that is in no state; `words`:
    what people call an address. `time`: what the
    files that were applied last would do today; `offline`: what the plan does without asking the cloud. None: nobody
    could tell. `never`: why nothing can be covered at all, in words; `compiled` stands for all that the files give.
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
    compiled: str = ""


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
        lines = list(dict.fromkeys(f"- {one['what']}: {one['why']}" for one in self.waits))
        listed = lines[:SHOWN_AT_MOST]
        rest = len(lines) - len(listed)
        listed += [f"- and {rest} more"] * (rest > 0)
        detail = f"`{self.stack}` is not applied; nothing of it was begun:\n" + "\n".join(listed)
        hint = "read what the plan does; whoever may approve it accepts just this, and nothing that comes later:\n"
        name = self.stack
        hint += f"cf-infra plan {name} && cf-infra apply {name} --reviewed --accept {name}={self.digest}"
        return Diagnostic("waits-for-review", detail=detail, hint=hint)


def judge(asked: Asked, merged: Sequence[Merged]) -> Verdict:
    """What waits of a plan, each row with the reason."""
    waits: list[dict[str, str]] = []
    waiting: list[Hash] = []
    by: dict[str, None] = {}

    def covered(row: Hash) -> bool:
        good = [] if asked.never else [one for one in merged if one.counts(asked.stack, row)]
        by.update(dict.fromkeys(one.pull for one in good))
        return bool(good)

    files = [row for row in asked.files if not covered(row)]
    for row in asked.rows:
        if not covered(row) and not _follows(asked, row, not files):
            waiting.append(row)
            waits.append(_told(asked, row, _why(asked, row, merged)))
    for row in files:
        waiting.append(row)
        waits.append(_told(asked, row, _why(asked, row, merged, is_file=True)))
    for row in asked.astray:
        waiting.append(row)
        waits.append(_told(asked, row, asked.never or CLOUD))
    digest = _digest(asked, [row for row in waiting if row in asked.files or row in asked.astray])
    return Verdict(asked.stack, digest, tuple(waits), tuple(by))


CLOUD = "since the review: it comes of what is at the cloud, and not of the files"


def _digest(asked: Asked, files: list[Hash]) -> str:
    """The plan's review digest; where something waits that it does not count, of both."""
    if not files and not asked.never:
        return asked.review_digest
    said = [asked.review_digest, sorted([list(row) for row in files])]
    said += [asked.compiled] if asked.never else []
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


def _follows(asked: Asked, row: Hash, files_are_covered: bool) -> bool:
    """Is it time's alone, or a policy that is numbered anew because of what was reviewed?"""
    if asked.never:
        return False
    if asked.time is not None and tuple(row) in asked.time:
        return True
    renumbered = files_are_covered and asked.offline is not None and tuple(row) in asked.offline
    return renumbered and is_listed(row[0])


def _told(asked: Asked, row: Hash, why: str) -> dict[str, str]:
    address, action, _ = row
    what = asked.words.get(address, f"{action} {address}")
    return {"address": address, "action": action, "what": what, "why": why}


def _why(asked: Asked, row: Hash, merged: Sequence[Merged], is_file: bool = False) -> str:
    if asked.never:
        return asked.never
    for one in (one for one in merged if one.saw(asked.stack, row)):
        if one.why:
            return f"{one.pull} shows it, but {one.why}"
        if lacking := one.lacks(asked.stack):
            return f"{one.pull} shows it, but an approval is missing: {'; '.join(lacking)}"
    if not is_file and asked.offline is not None and tuple(row) not in asked.offline:
        return CLOUD
    large = [one.pull for one in merged if one.was_too_much(asked.stack)]
    if large:
        return f"the review of {some(large)} showed too much for its record, so nobody can compare"
    unread = [f"of {one.pull} {one.why}" for one in merged if one.why]
    return "no review covers it" + (f" ({some(unread)})" if unread else "")


def of_files(rows: Iterable[Hash]) -> dict[str, str]:
    """What people call the rows of files, by address; an entry that became another one is two rows, and changed."""
    actions: dict[str, set[str]] = {}
    for address, action, _ in rows:
        actions.setdefault(address, set()).add(action)
    return {address: _of_file(address, done) for address, done in actions.items()}


def _of_file(address: str, actions: set[str]) -> str:
    sort, _, name = address.partition(":")
    verb = {"create": "given", "delete": "taken away"}.get("".join(actions), "changed")
    return {"grant": f"grant {name} {verb}", "user": f"person of users/{name} {verb}"}.get(
        sort, f"{name} {verb}"
    )


def plain(rows: Iterable[Hash]) -> frozenset[tuple[str, ...]]:
    """Rows of a plan as a set."""
    return frozenset(tuple(row) for row in rows)
