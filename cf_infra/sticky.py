"""One comment at a pull request that says what it will do, written anew each time its head moves.

What is read of the pull request are two commits of this clone's objects; everything else is the trusted side's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cf_infra import project, review_report, reviewing
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import read_root
from cf_infra.github import Github, Pull, github, marked
from cf_infra.model import Settings
from cf_infra.reviewing import Reviewed, Sides
from cf_infra.revision import Repository

MARKER = "cf-infra review"
PLACE = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9-]{0,49})/([A-Za-z0-9._-]{1,100})#)?([1-9][0-9]{0,9})")
"""OWNER/REPOSITORY#NUMBER, or the number alone."""
Say = Callable[[str], None]


class Beside(Protocol):
    """What a comment carries beside the review. `place`: OWNER/NAME."""

    def approvals(self, client: Github, place: str, pull: Pull, sides: Sides) -> list[dict[str, Any]] | None:
        """How approvals stand; None if nobody can tell."""
        ...

    def record(self, place: str, pull: Pull, sides: Sides, reviewed: Reviewed) -> str:
        """The hidden record of what was reviewed; empty for none."""
        ...


@dataclass(frozen=True)
class Place:
    """A repository of the organisation that settings.yaml names."""

    owner: str
    repository: str


@dataclass(frozen=True)
class Options:
    """What is wanted. `head`: the commit that the caller believes to be the newest; `base`: the trusted side."""

    review: reviewing.Options
    place: Place
    head: str | None = None
    base: str = "HEAD"
    dry_run: bool = False


@dataclass(frozen=True)
class Said:
    """What was said of one pull request. `comment`: the id of the comment; None if nothing was posted."""

    pull: int
    head: str
    reviewed: Reviewed
    text: str
    comment: int | None

    def as_json(self) -> dict[str, Any]:
        """The form of `comment --format json`."""
        return {"pull": self.pull, "head": self.head, "comment": self.comment, "review": self.reviewed.value}


def place_of(text: str, repository: str | None) -> tuple[Place, int]:
    """Which pull request `text` means; a number alone is one of `repository`, OWNER/NAME. Raises Failure("usage")."""
    found = PLACE.fullmatch(text)
    if found is None:
        raise _usage(f"PULL must be OWNER/REPOSITORY#NUMBER or a number, not {text[:100]!r}.")
    place = Place(found[1], found[2]) if found[1] else repository_of(repository)
    return place, int(found[3])


def repository_of(text: str | None) -> Place:
    """The repository OWNER/NAME. Raises Failure("usage")."""
    found = PLACE.fullmatch(f"{text or ''}#1")
    if not text or found is None or not found[1]:
        raise _usage("It is not said which repository is meant.")
    return Place(found[1], found[2])


def _usage(detail: str) -> Failure:
    hint = (
        "cf-infra comment conda-forge/REPOSITORY#12\ncf-infra comment 12 --repository conda-forge/REPOSITORY"
    )
    return Failure(Diagnostic("usage", detail=detail, hint=hint))


def comment(options: Options, number: int, say: Say, beside: Beside | None = None) -> Said:
    """Review a pull request and say it there. Raises Failure; then nothing was posted."""
    commenting = _Commenting(options, say, beside)
    try:
        return commenting.comment(number)
    finally:
        commenting.github.close()


def waiting(options: Options, say: Say, beside: Beside | None = None) -> tuple[list[Said], list[Diagnostic]]:
    """Comment every open pull request whose newest head has no comment of ours. One that fails stops no other."""
    commenting = _Commenting(options, say, beside)
    said, faults = [], []
    try:
        for pull in commenting.waiting():
            try:
                said.append(commenting.comment(pull.number))
            except Failure as failure:
                note = f"At pull request {pull.number}: "
                faults += [replace(d, detail=note + d.detail) for d in failure.diagnostics]
    finally:
        commenting.github.close()
    return said, faults


class _Commenting:
    """GitHub, the clone, and the settings of the trusted side."""

    def __init__(self, options: Options, say: Say, beside: Beside | None) -> None:
        self.options, self.say, self._beside = options, say, beside
        root = options.review.root
        inventory = project.from_files(root, read_root(root), options.review.today).inventory
        self.settings: Settings = inventory.settings
        if options.place.owner.lower() != self.settings.organisation.lower():
            detail = f"The repository is one of {options.place.owner}, and settings.yaml is for "
            raise _usage(f"{detail}{self.settings.organisation}.")
        self.github: Github = github(self.settings, say)
        token = self.github.service.token.value
        self._secrets = reviewing.secrets_of(self.settings, inventory.stacks.values(), token)
        self._clone = Repository(root)
        self._default = ""

    def waiting(self) -> list[Pull]:
        """The open pull requests that have no comment of ours about their newest head."""
        name = self.options.place.repository
        found = self.github.open_pulls(name, self.default())
        return [pull for pull in found if not self._has_comment(pull)]

    def _has_comment(self, pull: Pull) -> bool:
        own = self.github.own_comments(self.options.place.repository, pull.number, MARKER)
        return bool(own) and _head_line(pull.head.sha) in own[0].body

    def default(self) -> str:
        """The default branch, which alone decides what holds."""
        if not self._default:
            found = self.github.repository(self.options.place.repository)
            self._default = found.default_branch if found else ""
        return self._default

    def comment(self, number: int) -> Said:
        pull = self._pull(number, self.options.head)
        self.say(f"pull request {number}: looking at {pull.head.sha[:12]}")
        place = self.options.place
        about: dict[str, Any] = {"repository": f"{place.owner}/{place.repository}", "number": number}
        sides, name = self._sides(pull), about["repository"]
        standing = self._beside.approvals(self.github, name, pull, sides) if self._beside else None
        reviewed = reviewing.made(self.options.review, sides, self.say, self._secrets, about, standing)
        footer = self._footer(name, pull, sides, reviewed)
        room = review_report.LIMIT - len(marked(MARKER)) - 1
        text = review_report.markdown(reviewed.value, room, footer)
        if self.options.dry_run:
            return Said(number, pull.head.sha, reviewed, text, None)
        self._pull(number, pull.head.sha)
        made = self.github.comment(place.repository, number, MARKER, text)
        return Said(number, pull.head.sha, reviewed, text, made)

    def _pull(self, number: int, head: str | None) -> Pull:
        """The pull request, if it is open, for the default branch, and at the head that we mean."""
        place = self.options.place
        name = f"{place.owner}/{place.repository}#{number}"
        pull = self.github.pull_by_number(place.repository, number)
        if pull is None:
            hint = "look whether the number is one of a pull request, and what the token may see"
            raise Failure(Diagnostic("not-at-github", detail=f"There is no pull request {name}.", hint=hint))
        if pull.state != "open":
            hint = "a comment is for those who decide; what was merged, apply tells"
            raise Failure(Diagnostic("pull-refused", detail=f"{name} is closed.", hint=hint))
        if pull.base.ref != self.default():
            detail = f"{name} goes into another branch than {self.default()}, the default one."
            raise Failure(
                Diagnostic("pull-refused", detail=detail, hint="have it go into the default branch")
            )
        if head is not None and pull.head.sha != head:
            detail = f"{name} is at {pull.head.sha[:12]} now, and {head[:12]} was looked at."
            again = "nothing to do: the run for the newer head says it, or run it again:"
            hint = f"{again}\ncf-infra comment {name}"
            raise Failure(Diagnostic("head-moved", detail=detail, hint=hint))
        return pull

    def _sides(self, pull: Pull) -> Sides:
        """What is compared: what merging would do, as far as the clone has it.

        GitHub's own try to merge is used if its parents are a commit of ours and this very head. A head that comes from
        our newest commit is itself what merging gives. Any other one is compared with where it parted, and not planned:
        what others got since would count as taken away.
        """
        base, head = self._clone.commit(self.options.base), self._head(pull)
        if self._clone.is_ancestor(base, head):
            return Sides(base, head)
        merged = pull.merge_commit_sha
        parents = self._clone.parents(merged) if merged else []
        if merged and parents[1:] == [head] and self._clone.is_ancestor(parents[0], base):
            return Sides(parents[0], merged)
        parted = self._clone.parted(base, head)
        if parted is None:
            detail = f"The clone shows no commit from which both {base[:12]} and {head[:12]} come."
            raise Failure(
                Diagnostic(
                    "bad-revision", detail=detail, hint="get more of the history:\ngit fetch --unshallow"
                )
            )
        why = "the head lacks the newest commits of the default branch; update the branch, then it is planned"
        return Sides(parted, head, why)

    def _head(self, pull: Pull) -> str:
        try:
            return self._clone.commit(pull.head.sha)
        except Failure:
            detail = f"The newest commit, {pull.head.sha}, is not in this clone, and nothing is fetched."
            refs = f"refs/pull/{pull.number}/head refs/pull/{pull.number}/merge"
            hint = f"fetch it, which runs nothing of it:\ngit fetch origin {refs}"
            raise Failure(Diagnostic("bad-revision", detail=detail, hint=hint)) from None

    def _footer(self, name: str, pull: Pull, sides: Sides, reviewed: Reviewed) -> str:
        lines = [_head_line(pull.head.sha)]
        lines += [self._beside.record(name, pull, sides, reviewed)] if self._beside is not None else []
        return "\n".join(filter(None, lines))


def _head_line(sha: str) -> str:
    return f"<!-- cf-infra head {sha} -->"
