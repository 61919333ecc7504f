"""Issues of GitHub, and pull requests of one commit: what requests, renewals and the daily issue are made with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from cf_infra.diagnostics import Failure
from cf_infra.github import (
    OWN_HOST,
    Account,
    Github,
    Name,
    Pull,
    Sha,
    Shown,
    _is_ours,
    _path,
    fitting,
    token_of,
)
from cf_infra.model import Settings
from cf_infra.rest import Refused, Say, Steps

LONGEST_TITLE = 256
NO_ISSUES = (403, 404, 410)
"""Statuses of a repository that takes no issue: read only, not there, issues switched off (docs/rest/issues)."""


class Place(Shown):
    """A repository, and whether it takes issues."""

    id: int
    name: Name
    full_name: str
    archived: bool = False
    has_issues: bool = True


class Issue(Shown):
    """An issue, or a pull request as one."""

    number: int
    title: str
    body: str | None = None
    state: str
    html_url: str
    created_at: str
    user: Account | None = None
    pull_request: dict[str, Any] | None = None


class ChangedFile(Shown):
    """A file that a pull request changes."""

    filename: str
    status: str


class _Tree(Shown):
    sha: Sha


class _Commit(Shown):
    sha: Sha
    message: str
    tree: _Tree


@dataclass(frozen=True)
class Proposed:
    """The pull request, and why its branch was left as it is (empty: it is as we want it)."""

    pull: Pull
    kept: str = ""


def desk(settings: Settings, say: Say) -> Desk:
    """GitHub as settings.yaml describes it. Raises Failure("no-token")."""
    return Desk(settings.github.api, settings.organisation, token_of(settings), say=say)


def own_repository(settings: Settings, environ: Mapping[str, str] | None = None) -> str:
    """The name of the repository that this folder is a clone of: the workflow's own, else `github.repository`.

    Empty where nobody says, or where it is not the organisation's.
    """
    told = (
        (os.environ if environ is None else environ).get("GITHUB_REPOSITORY")
        or settings.github.repository
        or ""
    )
    owner, _, name = told.partition("/")
    is_own = owner.lower() == settings.organisation.lower() and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name)
    return name if is_own else ""


def web_of(api: str) -> str:
    """Where people see what the API tells: https://github.com for GitHub's own."""
    found = urlsplit(api)
    return "https://github.com" if found.hostname == OWN_HOST else f"https://{found.netloc}"


class Desk(Github):
    """GitHub with issues."""

    _me: tuple[Account | None] | None = None

    def viewer(self) -> Account | None:
        """Whose token it is, asked once."""
        if self._me is None:
            self._me = (super().viewer(),)
        return self._me[0]

    # ------------------------------------------------------------------------------------------------- issues

    def place(self, name: str) -> Place | None:
        """A repository, under the name that it has now."""
        return self._one(Place, self._repo(name))

    def issue(self, repository: str, number: int) -> Issue | None:
        """An issue or a pull request."""
        return self._one(Issue, f"{self._repo(repository)}/issues/{number}")

    def open_issues(self, repository: str) -> list[Issue]:
        """The open issues of a repository that are no pull requests, oldest first."""
        path = f"{self._repo(repository)}/issues?state=open"
        found = self._must(self._list(Issue, path), f"The issues of {self.organisation}/{repository}")
        return sorted((one for one in found if one.pull_request is None), key=lambda one: one.number)

    def own_issues(self, repository: str, marker: str, since: str = "") -> list[Issue] | None:
        """Issues that we made and whose text begins with the hidden `marker`, oldest first; None: it takes no issues.

        `since`: only those that changed since then (ISO 8601). Somebody else's issue with the marker is none of ours.
        """
        me = self.viewer()
        query = {
            "state": "all",
            **({"creator": me.login} if me else {}),
            **({"since": since} if since else {}),
        }
        try:
            found = self._list(Issue, f"{self._repo(repository)}/issues?{urlencode(query)}")
        except Refused as refused:
            if refused.answer.status in NO_ISSUES:
                return None
            raise
        if found is None:
            return None
        own = [
            one
            for one in found
            if one.pull_request is None
            and (one.body or "").startswith(f"<!-- {marker}")
            and one.user is not None
            and _is_ours(one.user, me)
        ]
        return sorted(own, key=lambda one: one.number)

    def open_issue(self, repository: str, marker: str, title: str, body: str) -> Issue | None:
        """A new issue whose text begins with the marker; None if the repository takes none."""
        path = f"{self._repo(repository)}/issues"

        def find() -> Issue | None:
            own = self.own_issues(repository, marker) or []
            return next((one for one in own if one.state == "open"), None)

        try:
            made = self._make(find, path, {"title": title[:LONGEST_TITLE], "body": fitting(body)})
        except Refused as refused:
            if refused.answer.status in NO_ISSUES:
                return None
            raise
        return made if isinstance(made, Issue) else self._parsed(Issue, made, path)

    def change_issue(self, repository: str, number: int, **values: Any) -> None:
        """Give an issue another title, text or state."""
        if "body" in values:
            values["body"] = fitting(values["body"])
        self._send("PATCH", f"{self._repo(repository)}/issues/{number}", values)

    # ------------------------------------------------------------------------------------------ pull requests

    def changed_files(self, repository: str, number: int) -> list[ChangedFile]:
        """What a pull request changes."""
        path = f"{self._repo(repository)}/pulls/{number}/files"
        return self._must(self._list(ChangedFile, path), f"The pull request {number} of {repository}")

    def pull_at(self, repository: str, number: int) -> Pull | None:
        """A pull request by number."""
        return self._one(Pull, f"{self._repo(repository)}/pulls/{number}")

    def own_pulls(self, repository: str, branches: str) -> Iterator[OfSomebody]:
        """Open pull requests from branches of the repository itself whose names begin so."""
        found = self._list(OfSomebody, f"{self._repo(repository)}/pulls?state=open")
        for one in self._must(found, f"The pull requests of {self.organisation}/{repository}"):
            at = one.head.repo
            is_own = at is not None and at.full_name.lower() == f"{self.organisation}/{repository}".lower()
            if is_own and one.head.ref.startswith(branches):
                yield one

    def tip(self, repository: str, branch: str = "") -> tuple[str, str]:
        """The name of a branch (the default one) and its last commit. Raises Failure("not-at-github")."""
        name = branch or self._default_branch(repository)
        found = self._tip(repository, name)
        if found is None:
            raise Failure(self._not_there(f"The branch {name} of {self.organisation}/{repository}"))
        return name, found

    def propose_commit(
        self,
        repository: str,
        branch: str,
        base: tuple[str, str],
        files: Mapping[str, bytes],
        words: tuple[str, str],
        trailer: str,
    ) -> Proposed:
        """Have one pull request from `branch` with one commit of these files on top of `base` (name and commit).

        The branch moves in one step from one whole state to the next. `trailer`: the last line of our commits'
        messages; where somebody else's commit is the last one, the branch stays as it is.
        """
        into, start = base
        title, body = words
        pull = self._open_pull(repository, branch, into)
        there = self._tip(repository, branch)
        with Steps() as steps:
            if pull is not None and there is not None and not self._is_ours_still(repository, there, trailer):
                why = "Somebody changed its branch by hand, so it is left as it is."
                return Proposed(pull, why)
            if (
                there is None
                or pull is None
                or any(self._differs(repository, path, branch, content) for path, content in files.items())
            ):
                made = self._commit(repository, start, files, f"{title}\n\n{trailer}")
                self._move(repository, branch, there, made)
                steps.done.append(f"the branch {branch} of {repository} has it")
            return Proposed(self._told(repository, pull, branch, into, title, body))

    def _is_ours_still(self, repository: str, sha: str, trailer: str) -> bool:
        found = self._one(_Commit, f"{self._repo(repository)}/git/commits/{sha}")
        return found is not None and found.message.rstrip().endswith(trailer)

    def _commit(self, repository: str, start: str, files: Mapping[str, bytes], message: str) -> str:
        git = f"{self._repo(repository)}/git"
        before = self._one(_Commit, f"{git}/commits/{start}")
        if before is None:
            raise Failure(self._not_there(f"The commit {start} of {self.organisation}/{repository}"))
        rows = [
            {"path": path, "mode": "100644", "type": "blob", "content": content.decode()}
            for path, content in sorted(files.items())
        ]
        # Objects that nothing names are no harm: these may be sent twice.
        tree = self._parsed(
            _Tree, self._send("POST", f"{git}/trees", {"base_tree": before.tree.sha, "tree": rows}), git
        )
        body = {"message": message, "tree": tree.sha, "parents": [start]}
        return self._parsed(_Commit, self._send("POST", f"{git}/commits", body), git).sha

    def _move(self, repository: str, branch: str, there: str | None, made: str) -> None:
        refs = f"{self._repo(repository)}/git/refs"
        if there is None:
            self._make(
                lambda: self._tip(repository, branch), refs, {"ref": f"refs/heads/{branch}", "sha": made}
            )
        else:
            self._send("PATCH", f"{refs}/heads/{_path(branch)}", {"sha": made, "force": True})


class _At(Shown):
    full_name: str


class _Head(Shown):
    ref: str
    sha: Sha
    repo: _At | None = None


class OfSomebody(Pull):
    """A pull request, with the repository that it comes from; None: it is gone."""

    head: _Head  # type: ignore[assignment]
    created_at: str
