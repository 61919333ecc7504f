"""`apply --reviewed`: which saved plans merged reviews cover, and what else waits for a person to accept just it.

GitHub says what was merged since a stack's last whole apply, what was commented there and who approved; git says what
each of these changed. Without GitHub the records come from files, and whoever runs the command vouches for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cf_infra import approvals, deploy, head_plans, keys, review_record, reviewed
from cf_infra.approving import Approving, Changes
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import read_regular
from cf_infra.github import Github, github
from cf_infra.journal_file import Journal
from cf_infra.names import is_sandbox
from cf_infra.plan import Hash
from cf_infra.project import Folder
from cf_infra.record import Record
from cf_infra.review_record import ReviewRecord
from cf_infra.reviewed import Merged, Verdict
from cf_infra.revision import Repository
from cf_infra.touched import Touched

Say = Callable[[str], None]
LARGEST = 1 << 20
"""Bytes of a file with a saved comment."""
PLACE = "GITHUB_REPOSITORY"
"""The variable of a workflow that names its repository."""
TAKES = ("delete", "replace")
"""Actions that take something away."""
OF_FILES = ("list:", "cirun:")
"""Addresses of what is done beside OpenTofu because of what the files say: their own rows are judged."""

Plans = Callable[[str], Mapping[str, Sequence[Hash]] | None]
"""A commit -> by stack what its files would do today, without asking any cloud; None if nobody can tell."""


@dataclass(frozen=True)
class Asked:
    """What the command line said. `accept`: by stack the digest of what a person accepts; `reviews`: saved comments."""

    since: str | None = None
    accept: Mapping[str, str] = field(default_factory=dict)
    reviews: Sequence[Path] = ()
    repository: str | None = None


# ----------------------------------------------------------------------------------------------------- keys


def review_keys(folder: Folder, clouds: Sequence[str]) -> keys.Ring:
    """What records are signed with. Where all is in the sandbox on this machine, that one's own key will do.

    Raises Failure("no-key").
    """
    if clouds and all(map(is_sandbox, clouds)):
        sources = keys.Sources(keys.KeyFile(keys.sandbox_key_file(os.environ)), create=True)
    else:
        sources = deploy.shared_key_sources(folder.inventory.settings.state)
    return keys.review_keys(sources, folder.root)


# ------------------------------------------------------------------------------------------- the record


@dataclass(frozen=True)
class Compared:
    """What a review compared: `base` and `head` are commits, the head perhaps GitHub's own try to merge."""

    base: str
    head: str


def record_of(
    folder: Folder,
    place: tuple[str, int, str],
    sides: Compared,
    plans: Mapping[str, tuple[str, Sequence[Hash]]],
    clouds: Sequence[str] = (),
) -> str:
    """The hidden line for a comment: what the plans of a head show, and what its files touch.

    `place`: OWNER/NAME, the pull request's number, and its head; `plans`: by stack the review digest and the rows, of
    the day of `folder`. Raises Failure("no-key").
    """
    repository, number, head = place
    git = Repository(folder.root)
    change = Changes(git).between(git.parted(sides.base, sides.head) or sides.base, sides.head)
    stacks = {name: (digest, list(rows)) for name, (digest, rows) in plans.items()}
    for name, touching in change.stacks.items():
        digest, known = stacks.get(name, ("", []))
        stacks[name] = (digest, [*known, *touching])
    ring = review_keys(folder, clouds)
    today = folder.today.isoformat()
    made = review_record.made(repository, number, sides.base, head, today, stacks, ring.current)
    return review_record.sealed(made, ring.fingerprint)


# ----------------------------------------------------------------------------------------- what was merged


class Merges:
    """The merged pull requests by commit of the default branch, each looked at once.

    `takes_away`: whether any of the plans that are to be applied takes away what a record shows.
    """

    def __init__(
        self,
        changes: Changes,
        place: str,
        client: Github,
        ring: keys.Ring,
        takes_away: Callable[[ReviewRecord], bool],
        say: Say,
    ) -> None:
        self._changes, self._git, self._place, self._client = changes, changes.git, place, client
        self._keys, self._takes_away, self._say = ring.by_fingerprint(), takes_away, say
        self._numbers: dict[str, tuple[int, ...]] = {}
        self._found: dict[int, Merged] = {}
        self._approving = Approving(client, place)

    def of(self, commits: Sequence[str]) -> list[Merged]:
        """Those by which the commits came, in their order. Raises Failure if GitHub cannot be asked."""
        by_pull: dict[int, list[str]] = {}
        for commit in commits:
            for number in self._of_commit(commit):
                by_pull.setdefault(number, []).append(commit)
        for number, its in by_pull.items():
            if number not in self._found:
                self._found[number] = self._look(number, its)
        return [self._found[number] for number in by_pull]

    def _of_commit(self, commit: str) -> tuple[int, ...]:
        if commit not in self._numbers:
            found = self._client.brought(self._place, commit)
            self._numbers[commit] = tuple(one.number for one in found if one.merged_at is not None)
        return self._numbers[commit]

    def _look(self, number: int, commits: Sequence[str]) -> Merged:
        name = f"{self._place}#{number}"
        self._say(f"looking at the review of {name}")
        pull = self._client.whole_pull(self._place, number)
        if pull is None or not pull.merged:
            return Merged(name, "", None, "GitHub does not know it as merged")
        record, why = self._record(number, pull.head.sha)
        change, before = self._touched(commits), self._git.parents(commits[0])
        rules = self._changes.at((before or commits)[0]).inventory
        rows = self._approving.rows(pull, change, rules, record is not None and self._takes_away(record))
        merger = pull.merged_by.login if pull.merged_by is not None else None
        return Merged(name, pull.head.sha, record, why, rows, merger, grants_of(change))

    def _record(self, number: int, head: str) -> tuple[ReviewRecord | None, str]:
        """What was reviewed of this head, by the first record that counts; or why none does, of the first at all."""
        found: list[tuple[ReviewRecord | None, str]] = []
        for text in self._client.own_texts(self._place, number, review_record.BEGIN):
            one = review_record.opened(text, self._keys)
            found.append((None, one) if isinstance(one, str) else (one, one.other(self._place, number, head)))
            if not found[-1][1]:
                return found[-1]
        return found[0] if found else (None, "it has no comment of ours with a record of what was reviewed")

    def _touched(self, commits: Sequence[str]) -> Touched:
        """What its commits on the default branch did: after a squash or a rebase its own are not there."""
        whole = Touched()
        for commit in commits:
            for before in self._git.parents(commit)[:1]:
                whole = whole.joined(self._changes.between(before, commit))
        return whole


def grants_of(change: Touched) -> dict[str, list[str]]:
    """By stack the keys of the grants that a change touches."""
    return {
        name: sorted({row[0].removeprefix("grant:") for row in rows if row[0].startswith("grant:")})
        for name, rows in change.stacks.items()
    }


def from_files(paths: Sequence[Path], ring: keys.Ring) -> list[Merged]:
    """The records of saved comments. Raises Failure("bad-review") for one that is none of ours."""
    found, faults = [], []
    for path in paths:
        try:
            text = read_regular(path, LARGEST, str(path)).decode("utf-8", "replace")
        except FileNotFoundError:
            text = ""
        opened = review_record.opened(text, ring.by_fingerprint())
        if isinstance(opened, str):
            detail = f"It holds no review: {opened}."
            hint = (
                "save the whole comment of cf-infra at the pull request, as its author sees it when editing"
            )
            faults.append(Diagnostic("bad-review", file=str(path), detail=detail, hint=hint))
        else:
            found.append(Merged(f"{opened.repository}#{opened.pull}", opened.head, opened))
    if faults:
        raise Failure(*faults)
    return found


# -------------------------------------------------------------------------------------------------- the gate


@dataclass
class Gate:
    """Decides for each saved plan. `plans`: see Plans; `folder`: the root folder as it is now."""

    folder: Folder
    asked: Asked
    plans: Plans
    say: Say
    told: list[Diagnostic] = field(default_factory=list)
    covering: dict[str, list[Merged]] = field(default_factory=dict)
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    _touched: dict[tuple[str, str], Touched] = field(default_factory=dict)

    @cached_property
    def changes(self) -> Changes:
        """What commits change."""
        return Changes(self.git)

    @cached_property
    def git(self) -> Repository:
        """The repository that the root folder is in. Raises Failure("bad-revision")."""
        return Repository(self.folder.root)

    def judge(self, saved: Mapping[str, Record]) -> dict[str, Verdict]:
        """What waits of each plan. Raises Failure if a review cannot be asked for, or another digest is accepted."""
        strange = sorted(self.asked.accept.keys() - saved.keys())
        if strange:
            detail = f"`{strange[0]}` has no saved plan, so there is nothing to accept."
            hint = f"make one, read it, accept just that:\ncf-infra plan {strange[0]}"
            raise Failure(Diagnostic("no-plan", detail=detail, hint=hint))
        ring = review_keys(self.folder, [row.cloud for row in saved.values()])
        merges = self._merges(ring, saved)
        found = {name: self._one(row, ring, merges) for name, row in sorted(saved.items())}
        wrong = [name for name, digest in self.asked.accept.items() if found[name].digest != digest]
        if wrong:
            raise Failure(*(_other_digest(found[name], self.asked.accept[name]) for name in wrong))
        return found

    def _merges(self, ring: keys.Ring, saved: Mapping[str, Record]) -> Merges | None:
        if self.asked.reviews:
            return None
        settings = self.folder.inventory.settings
        place = self.asked.repository or os.environ.get(PLACE) or settings.github.repository
        if place is None or re.fullmatch(r"[A-Za-z0-9-]{1,50}/[A-Za-z0-9._-]{1,100}", place) is None:
            detail = "Nobody says which repository at GitHub this folder is, so nobody can be asked what was reviewed."
            hint = "write it into settings.yaml:\ngithub: {repository: OWNER/NAME}\n"
            hint += "or name a saved comment:\ncf-infra apply --reviewed --review FILE"
            raise Failure(Diagnostic("usage", detail=detail, hint=hint))
        taking = [(n, (a, b, c)) for n, one in saved.items() for a, b, c in one.hashes if b in TAKES]

        def takes_away(record: ReviewRecord) -> bool:
            return any(record.has(name, row) for name, row in taking)

        return Merges(self.changes, place, github(settings, self.say), ring, takes_away, self.say)

    def _one(self, saved: Record, ring: keys.Ring, merges: Merges | None) -> Verdict:
        since, never = self._since(saved)
        files = self._between(since, saved.head).stacks.get(saved.stack, []) if since else []
        rows: list[Hash] = [(a, b, c) for a, b, c in saved.hashes]
        beside = _astray(saved)
        words = {i["address"]: i["what"] for i in saved.summary["items"]}
        words |= reviewed.of_files(files)
        asked = reviewed.Asked(
            saved.stack, saved.review_digest, rows, files, words, beside, never=never, compiled=saved.compiled
        )
        merged = self._merged(saved, since, ring, merges) if not never else []
        verdict = reviewed.judge(asked, merged)
        planned = {row[0] for row in rows}
        if not never and any(wait["address"] in planned for wait in verdict.waits):
            asked = replace(asked, time=self._rows(since, saved), offline=self._rows(saved.head, saved))
            verdict = reviewed.judge(asked, merged)
        self.covering[saved.stack] = [one for one in merged if one.pull in verdict.by]
        if verdict.waits and self.asked.accept.get(saved.stack) == verdict.digest:
            self.accepted[saved.stack] = (verdict.digest, len(verdict.waits))
            return replace(verdict, waits=())
        return verdict

    def _between(self, since: str, until: str) -> Touched:
        if (since, until) not in self._touched:
            self._touched[since, until] = self.changes.between(since, until)
        return self._touched[since, until]

    def _merged(self, saved: Record, since: str, ring: keys.Ring, merges: Merges | None) -> list[Merged]:
        if merges is None:
            return from_files(self.asked.reviews, ring)
        return merges.of(self.git.line(since, saved.head))

    def _since(self, saved: Record) -> tuple[str, str]:
        """The commit of the last whole apply; or why there is none that can be reckoned from."""
        deployment = Deployment(self.folder.root, saved.stack, saved.cloud, saved.own)
        known = last_commit(deployment, self.say) or self.asked.since
        if not known:
            return "", "nothing of this stack was applied from a commit yet, so nobody knows what is new"
        if not saved.head:
            return "", "the root folder stands at no commit"
        if not self._is_committed(saved.head):
            return "", "the root folder has changes that are in no commit"
        try:
            since = self.git.commit(known)
        except Failure:
            return "", f"the commit that was applied last, {known[:12]}, is not in this clone"
        if not self.git.is_ancestor(since, saved.head):
            return "", f"the commit that was applied last, {known[:12]}, is none that this one comes from"
        return since, ""

    def _is_committed(self, head: str) -> bool:
        """Is the root folder just what its commit says?"""
        return self.git.read(head).files == self.folder.files and self.git.is_clean("modules")

    def _rows(self, commit: str, saved: Record) -> frozenset[tuple[str, ...]] | None:
        found = self.plans(commit)
        return None if found is None else reviewed.plain(found.get(saved.stack, ()))

    def approved(self, saved: Record) -> None:
        """Write into the journal of a stack whose reviews and which person let it be applied."""
        deployment = Deployment(self.folder.root, saved.stack, saved.cloud, saved.own)
        own = Journal(deployment.state, self.say)
        if saved.stack in self.accepted:
            digest, rows = self.accepted[saved.stack]
            own.note("accepted", plan_digest=saved.plan_digest, digest=digest, rows=rows)
        for one in self.covering.get(saved.stack, ()):
            given = one.approvals or ()
            own.note(
                "approved",
                pull=one.pull,
                head=one.head,
                plan_digest=saved.plan_digest,
                grants=list(one.applied.get(saved.stack, ())),
                approvers=approvals.approvers(given),
                merger=one.merger,
                rules=[f"{row['what']}: {row['given']} of {row['needed']}"[:200] for row in given],
            )


def _astray(saved: Record) -> list[Hash]:
    """What an apply removes because it is in no state: nobody's files say so, so only a person can tell."""
    found = {address for address, _, _ in saved.hashes}
    return [
        (item["address"], item["action"], "")
        for item in saved.summary["items"]
        if item["address"] not in found and not item["address"].startswith(OF_FILES)
    ]


def _other_digest(found: Verdict, given: str) -> Diagnostic:
    detail = f"`{found.stack}` would do something else than what was accepted: it has {found.digest}, not {given[:64]}."
    hint = f"make the plan anew and read it:\ncf-infra plan {found.stack}"
    return Diagnostic("other-digest", detail=detail, hint=hint)


def last_commit(deployment: Deployment, say: Say) -> str:
    """The commit of the last whole apply that was done; empty if the journal has none."""
    found = ""
    for event in Journal(deployment.state, say).read().events:
        if event["event"] == "apply-ended" and event["part"] == "whole" and event["result"] == "done":
            found = event["commit"]
    return str(found)


def planner(folder: Folder, saved: Mapping[str, Record], say: Say) -> Plans:
    """Plans of what commits have, each made once, without asking any cloud."""
    known: dict[str, Mapping[str, Sequence[Hash]] | None] = {}
    clouds = {name: row.cloud for name, row in saved.items() if not row.own}

    def of(commit: str) -> Mapping[str, Sequence[Hash]] | None:
        if commit not in known:
            known[commit] = _plans(folder, commit, clouds, say)
        return known[commit]

    return of


def _plans(
    folder: Folder, commit: str, clouds: Mapping[str, str], say: Say
) -> Mapping[str, Sequence[Hash]] | None:
    say(f"planning what the files of {commit[:12]} mean today, without a cloud")
    try:
        found = head_plans.plans(folder.root, commit, commit, folder.today, say, clouds=clouds)
    except Failure as failure:
        first = failure.diagnostics[0]
        say(f"nobody can tell what time alone did: {first.detail or first.code}")
        return None
    return {str(row["stack"]): [(a, b, c) for a, b, c in row["hashes"]] for row in found.plans}
