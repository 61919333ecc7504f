"""GitHub's REST API, as far as access is looked at and proposed there: who is who, who has what, files, pull requests.

Every answer is checked for the few fields that are used. Operations and limits: https://docs.github.com/rest.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.model import Settings
from cf_infra.rest import (
    BACKOFF,
    PATIENCE,
    Answer,
    Refused,
    Say,
    Service,
    Steps,
    Token,
    token_from_command,
    token_from_variable,
)

VERSION = "2022-11-28"
OWN_HOST = "api.github.com"
PAGE = 100
MOST_PAGES = 1000
"""No list of an organisation is longer: what goes on beyond is no list but a loop."""
LONGEST_COMMENT = 65_536
"""Characters of a comment's body that GitHub takes."""
FOLDED = "*This is said in another comment of this conversation, which is kept up to date.*"
"""What is left of a comment of ours that stands beside another one, as when two runs began at once."""
CUT = "\n\n(The rest did not fit into a comment.)"
SECONDARY = 60.0
"""Seconds to wait at a secondary limit that names none: "wait for at least one minute" (docs/rest, best practices)."""
IMPLIED = {
    "repo": {"public_repo", "repo:status", "repo_deployment", "repo:invite", "security_events"},
    "admin:org": {"write:org", "read:org"},
    "write:org": {"read:org"},
    "user": {"read:user", "user:email", "user:follow"},
}
"""OAuth scopes that bring others (docs: scopes for OAuth apps)."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._\[\]-]{1,120}$")]
FullName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,50}/[A-Za-z0-9._-]{1,120}$")]
Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,2000}$")]


class Shown(BaseModel):
    """A part of an answer: the fields that are used, each of its type and form; others are not looked at."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Account(Shown):
    """A person or a bot: the number stays, the login may change."""

    id: int
    login: Name
    type: str = "User"


class Repository(Shown):
    """A repository as it is called now."""

    id: int
    name: Name
    full_name: FullName
    private: bool
    archived: bool = False
    default_branch: str = ""


class RunnerGroup(Shown):
    """An Actions runner group; its repositories are asked for apart."""

    id: int
    name: str
    visibility: str
    default: bool
    allows_public_repositories: bool


class Selection(Shown):
    """A secret or a variable of the organisation: `all`, `private` or `selected` repositories see it."""

    name: Name
    visibility: str
    value: str | None = None
    updated_at: str = ""


class SecretsKey(Shown):
    """The public key of the organisation's secrets."""

    key_id: str
    key: str

    def raw(self) -> bytes:
        """The key itself. Raises ValueError."""
        return base64.b64decode(self.key, validate=True)


class Installation(Shown):
    """A GitHub App of the organisation; it has `all` or `selected` repositories."""

    id: int
    app_slug: Name
    repository_selection: str
    updated_at: str = ""


class Side(Shown):
    """One side of a pull request."""

    ref: str
    sha: Sha


class Pull(Shown):
    """A pull request. `merge_commit_sha`: of an open one GitHub's own try to merge it, if it made one."""

    number: int
    html_url: Address
    state: str
    title: str
    body: str | None = None
    head: Side
    base: Side
    merge_commit_sha: Sha | None = None


class Brought(Shown):
    """A pull request as a commit names it. `merged_at`: None if it was not merged."""

    number: int
    merged_at: str | None = None


class WholePull(Shown):
    """One pull request, with what came of it."""

    number: int
    state: str
    user: Account | None = None
    head: Side
    base: Side
    merged: bool = False
    merged_by: Account | None = None
    merge_commit_sha: Sha | None = None


class Review(Shown):
    """A review of a pull request. `commit_id`: the head that it was made of; None if that is gone."""

    id: int
    user: Account | None = None
    state: Name
    commit_id: str | None = None


class Comment(Shown):
    """A comment of an issue or a pull request."""

    id: int
    body: str = ""
    user: Account | None = None


class _Author(Shown):
    date: str


class _Inner(Shown):
    message: str
    committer: _Author


class Commit(Shown):
    """A commit: when, by whom (None: nobody whom GitHub knows), with which message."""

    sha: Sha
    html_url: Address
    commit: _Inner
    author: Account | None = None

    @property
    def when(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.commit.committer.date)


class File(Shown):
    """A file at some commit. `sha` is git's hash of its content."""

    sha: Sha
    content: bytes


class _Contents(Shown):
    type: str
    sha: Sha
    content: str = ""
    encoding: str = ""


class _Blob(Shown):
    content: str
    encoding: str


class _Permission(Shown):
    role_name: str = ""
    permission: str


class _Target(Shown):
    sha: Sha


class _Ref(Shown):
    object: _Target


One = TypeVar("One", bound=BaseModel)


def github(
    settings: Settings, say: Say = lambda _text: None, environ: Mapping[str, str] | None = None
) -> Github:
    """GitHub as settings.yaml describes it. Raises Failure("no-token")."""
    return Github(settings.github.api, settings.organisation, token_of(settings, environ), say=say)


def token_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Token:
    """The token from where settings.yaml says. Raises Failure("no-token")."""
    login = settings.github
    if login.token_command is not None:
        return token_from_command(login.token_command, settings.command_variables)
    return token_from_variable(login.token.removeprefix("env "), environ)


def base_address(api: str) -> str:
    """Where the REST API begins: GitHub's own host as it is, another one with /api/v3, as its documentation says."""
    found = urlsplit(api.rstrip("/"))
    own = found.hostname == OWN_HOST or (found.hostname or "").endswith(".ghe.com")
    return found.geturl() if own or found.path else f"{found.geturl()}/api/v3"


class Github:
    """GitHub for one organisation with one token.

    Methods raise Failure: token-refused, token-lacks-scope, not-at-github, rate-limited, service-silent,
    service-refused, service-answer. None as an answer means: not there, or not to be seen by this token.
    """

    def __init__(
        self,
        api: str,
        organisation: str,
        token: Token,
        *,
        say: Say = lambda _text: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE,
    ) -> None:
        self.organisation = organisation
        self._clock = clock
        self._secondary = 0
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        self.service = Service(
            "GitHub",
            base_address(api),
            token,
            headers,
            say=say,
            pause=self._pause,
            clock=clock,
            sleep=sleep,
            patience=patience,
        )

    def close(self) -> None:
        """End the connections."""
        self.service.close()

    def account(self) -> Account:
        """The organisation itself. Raises Failure("not-at-github") if the token may not see it."""
        found = self._one(Account, f"/orgs/{_part(self.organisation)}")
        if found is None:
            raise Failure(self._not_there(f"The organisation `{self.organisation}`"))
        return found

    # -------------------------------------------------------------------------------------------------- people

    def viewer(self) -> Account | None:
        """Whose token it is; None for an app's, which is nobody's."""
        return self._one(Account, "/user", none=(403, 404))

    def user(self, login: str) -> Account | None:
        """Somebody by login. A login that was given up is not forwarded, and may be somebody else's by now."""
        return self._one(Account, f"/users/{_part(login)}")

    def user_by_id(self, number: int) -> Account | None:
        """Somebody by number, whatever the login is now."""
        return self._one(Account, f"/user/{number}")

    def team_members(self, slug: str) -> list[Account]:
        """Who is in a team of the organisation. Raises Failure("not-at-github") if there is no such team."""
        path = self._org(f"teams/{_part(slug)}/members")
        return self._must(self._list(Account, path), f"The team `{slug}` of {self.organisation}")

    def is_in_team(self, slug: str, login: str) -> bool:
        """Whether somebody is in a team of the organisation."""
        return self._get(self._org(f"teams/{_part(slug)}/memberships/{_part(login)}")) is not None

    # -------------------------------------------------------------------------------------------- repositories

    def repositories(self) -> list[Repository]:
        """All repositories of the organisation that the token may see, 100 for a request."""
        found = self._list(Repository, self._org("repos"))
        return self._must(found, f"The organisation `{self.organisation}`")

    def repository(self, name: str) -> Repository | None:
        """A repository of the organisation; one that was renamed or moved is found, under its new name."""
        return self._one(Repository, self._repo(name))

    def repository_by_id(self, number: int) -> Repository | None:
        """A repository by number, wherever it is now."""
        return self._one(Repository, f"/repositories/{number}")

    def role(self, repository: str, login: str) -> str | None:
        """Somebody's role there: admin, maintain, write, triage, read, none, or one of the organisation's own."""
        found = self._one(_Permission, f"{self._repo(repository)}/collaborators/{_part(login)}/permission")
        return (found.role_name or found.permission) if found else None

    def file(self, repository: str, path: str, ref: str = "") -> File | None:
        """A file, of the default branch unless `ref` names another commit; None also for a folder."""
        query = f"?{urlencode({'ref': ref})}" if ref else ""
        address = f"{self._repo(repository)}/contents/{_path(path)}{query}"
        value = self._get(address)
        if value is None or isinstance(value, list):
            return None
        found = self._parsed(_Contents, value, address)
        if found.type != "file":
            return None
        text, encoding = found.content, found.encoding
        if encoding == "none":  # above 1 MB
            blob = self._one(_Blob, f"{self._repo(repository)}/git/blobs/{found.sha}")
            text, encoding = (blob.content, blob.encoding) if blob else ("", "none")
        try:
            if encoding != "base64":
                raise ValueError
            return File(sha=found.sha, content=base64.b64decode("".join(text.split()), validate=True))
        except (binascii.Error, ValueError):
            raise Failure(self._unusable(address, "the file's content is not base64")) from None

    def history(self, repository: str, path: str, most: int = PAGE) -> list[Commit]:
        """The commits that changed a file of the default branch, newest first, at most so many."""
        query = {"path": path, "per_page": min(most, PAGE)}
        found: list[Commit] = []
        for page in self._pages(f"{self._repo(repository)}/commits?{urlencode(query)}") or ():
            found += [self._parsed(Commit, one, repository) for one in self._rows(page, "", path)]
            if len(found) >= most:
                break
        return found[:most]

    # ---------------------------------------------------------------------------------------- Actions and apps

    def runner_groups(self) -> list[RunnerGroup]:
        """The organisation's runner groups."""
        found = self._list(RunnerGroup, self._org("actions/runner-groups"), "runner_groups")
        return self._must(found, f"The runner groups of {self.organisation}")

    def group_repositories(self, group: int) -> list[Repository]:
        """The repositories that a runner group is for, where its visibility is `selected`."""
        path = self._org(f"actions/runner-groups/{group}/repositories")
        return self._must(self._list(Repository, path, "repositories"), f"The runner group {group}")

    def regroup(self, group: int, repositories: Collection[int]) -> None:
        """Have a runner group be for just these repositories, by number."""
        path = self._org(f"actions/runner-groups/{group}/repositories")
        self._send("PUT", path, {"selected_repository_ids": sorted(repositories)})

    def secrets(self) -> list[Selection]:
        """The organisation's Actions secrets, by name; GitHub shows no value."""
        return self._selections("secrets")

    def secret(self, name: str) -> Selection | None:
        """One secret of the organisation, without its value; None if it is not there."""
        return self._one(Selection, self._org(f"actions/secrets/{_part(name)}"))

    def secrets_key(self) -> SecretsKey:
        """What values of the organisation's secrets are sealed with."""
        found = self._one(SecretsKey, self._org("actions/secrets/public-key"))
        if found is None:
            raise Failure(self._not_there(f"The public key for secrets of {self.organisation}"))
        return found

    def unusable_key(self) -> Diagnostic:
        """What to tell about a public key that is none."""
        return self._unusable(self._org("actions/secrets/public-key"), "there is no usable key in the answer")

    def put_secret(self, name: str, body: Mapping[str, Any]) -> None:
        """Make a secret of the organisation or change it; the value in `body` is sealed."""
        self._send("PUT", self._org(f"actions/secrets/{_part(name)}"), dict(body))

    def remove_secret(self, name: str) -> None:
        """Remove a secret of the organisation; one that is gone is no fault."""
        self.service.ask("DELETE", self._org(f"actions/secrets/{_part(name)}"), good=(204, 404))

    def variables(self) -> list[Selection]:
        """The organisation's Actions variables."""
        return self._selections("variables")

    def secret_repositories(self, name: str) -> list[Repository]:
        """The repositories that see a secret, where its visibility is `selected`."""
        return self._selected("secrets", name)

    def variable_repositories(self, name: str) -> list[Repository]:
        """The repositories that see a variable, where its visibility is `selected`."""
        return self._selected("variables", name)

    def _selections(self, kind: str) -> list[Selection]:
        found = self._list(Selection, self._org(f"actions/{kind}"), kind)
        return self._must(found, f"The {kind} of {self.organisation}")

    def _selected(self, kind: str, name: str) -> list[Repository]:
        path = self._org(f"actions/{kind}/{_part(name)}/repositories")
        return self._must(self._list(Repository, path, "repositories"), f"`{name}` among the {kind}")

    def installations(self) -> list[Installation]:
        """The GitHub Apps in the organisation."""
        found = self._list(Installation, self._org("installations"), "installations")
        return self._must(found, f"The apps of {self.organisation}")

    def installation_repositories(self, installation: int) -> list[Repository]:
        """The repositories that an app has; only classic tokens may ask this."""
        path = f"/user/installations/{installation}/repositories"
        return self._must(self._list(Repository, path, "repositories"), f"The installation {installation}")

    # --------------------------------------------------------------------------------------------- what changes

    def propose(
        self,
        repository: str,
        branch: str,
        files: Mapping[str, bytes | None],
        title: str,
        body: str,
        base: str = "",
    ) -> Pull | None:
        """Have a pull request from `branch` that gives these files (None: removes one); None if they are so already.

        What is there is used: a second run changes nothing, and one that broke off goes on. A branch of that name
        without an open pull request begins anew at `base` (the default branch). Failures tell what was done before.
        """
        into = base or self._default_branch(repository)
        pull = self._open_pull(repository, branch, into)
        wanted = {
            path: content for path, content in files.items() if self._differs(repository, path, into, content)
        }
        if not wanted and pull is None:
            return None
        with Steps() as steps:
            if pull is None:
                self._begin(repository, branch, into)
                steps.done.append(f"the branch {branch} of {repository} begins at {into}")
            for path, content in files.items():
                if self._write(repository, path, content, branch, title):
                    steps.done.append(f"{path} is on the branch {branch}")
            return self._told(repository, pull, branch, into, title, body)

    def _default_branch(self, repository: str) -> str:
        found = self.repository(repository)
        if found is None or not found.default_branch:
            raise Failure(self._not_there(f"The repository {self.organisation}/{repository}"))
        return found.default_branch

    def _differs(self, repository: str, path: str, ref: str, content: bytes | None) -> bool:
        found = self.file(repository, path, ref)
        return (found.content if found else None) != content

    def _open_pull(self, repository: str, branch: str, into: str) -> Pull | None:
        query = urlencode({"state": "open", "head": f"{self.organisation}:{branch}", "base": into})
        found = self._list(Pull, f"{self._repo(repository)}/pulls?{query}")
        # GitHub ignores a `head` that it does not understand, and answers with all of them.
        return next((one for one in found or () if one.head.ref == branch), None)

    def _begin(self, repository: str, branch: str, into: str) -> None:
        start, there = self._tip(repository, into), self._tip(repository, branch)
        if start is None:
            raise Failure(self._not_there(f"The branch {into} of {self.organisation}/{repository}"))
        refs = f"{self._repo(repository)}/git/refs"
        if there is None:
            self._make(
                lambda: self._tip(repository, branch), refs, {"ref": f"refs/heads/{branch}", "sha": start}
            )
        elif there != start:
            self._send("PATCH", f"{refs}/heads/{_path(branch)}", {"sha": start, "force": True})

    def _tip(self, repository: str, branch: str) -> str | None:
        found = self._one(_Ref, f"{self._repo(repository)}/git/ref/heads/{_path(branch)}")
        return found.object.sha if found else None

    def _write(self, repository: str, path: str, content: bytes | None, branch: str, message: str) -> bool:
        """Give a file of a branch this content (None: remove it). False if it had it.

        Raises Failure("changed-meanwhile") if somebody else wrote between our reading and our writing.
        """
        before = self.file(repository, path, branch)
        if (before.content if before else None) == content:
            return False
        body: dict[str, Any] = {"message": message, "branch": branch}
        if before is not None:
            body["sha"] = before.sha
        if content is not None:
            body["content"] = base64.b64encode(content).decode()
        method = "DELETE" if content is None else "PUT"
        address = f"{self._repo(repository)}/contents/{_path(path)}"
        try:
            self._send(method, address, body)
        except Refused as refused:
            # 409: another hash than ours, 422: a file where none was, 404: none where one was. All three also come of
            # our own first try, if only its answer was lost.
            if refused.answer.status not in (404, 409, 422):
                raise
            if self._differs(repository, path, branch, content):
                raise self._meanwhile(path, branch, refused) from None
        return True

    def _meanwhile(self, path: str, branch: str, refused: Refused) -> Failure:
        if refused.answer.status != 409:
            return refused
        detail = f"{path} on {branch} of {self.organisation} is not as it was a moment ago."
        hint = "look at what was written there, and run the same command again"
        return Failure(Diagnostic("changed-meanwhile", detail=detail, hint=hint))

    def _told(
        self, repository: str, pull: Pull | None, branch: str, into: str, title: str, body: str
    ) -> Pull:
        pulls, text = f"{self._repo(repository)}/pulls", fitting(body)
        if pull is None:
            wanted = {"title": title, "body": text, "head": branch, "base": into}
            made = self._make(lambda: self._open_pull(repository, branch, into), pulls, wanted)
            return made if isinstance(made, Pull) else self._parsed(Pull, made, pulls)
        if (pull.title, pull.body or "") == (title, text):
            return pull
        changed = self._send("PATCH", f"{pulls}/{pull.number}", {"title": title, "body": text})
        return self._parsed(Pull, changed, pulls)

    def pull(self, repository: str, branch: str) -> Pull | None:
        """The open pull request from a branch into the default branch; None if there is none."""
        return self._open_pull(repository, branch, self._default_branch(repository))

    def brought(self, repository: str, commit: str) -> list[Brought]:
        """The pull requests that a commit came by. `repository` and those below: OWNER/NAME, wherever it is."""
        path = f"/repos/{_path(repository)}/commits/{_part(commit)}/pulls"
        return self._must(self._list(Brought, path), f"The commit {commit[:12]} of {repository}")

    def whole_pull(self, repository: str, number: int) -> WholePull | None:
        """One pull request of any repository."""
        return self._one(WholePull, f"/repos/{_path(repository)}/pulls/{number}")

    def reviews(self, repository: str, number: int) -> list[Review]:
        """The reviews of a pull request, oldest first."""
        path = f"/repos/{_path(repository)}/pulls/{number}/reviews"
        return self._must(self._list(Review, path), f"The pull request {repository}#{number}")

    def own_texts(self, repository: str, number: int, part: str) -> list[str]:
        """The comments at a pull request that have `part` and are ours, or a bot's, oldest first.

        A workflow comments as GitHub's own bot, and applies with another token: a signature has to say which are ours.
        """
        path = f"/repos/{_path(repository)}/issues/{number}/comments"
        found = self._must(self._list(Comment, path), f"The pull request {repository}#{number}")
        marked = [one for one in found if part in one.body]
        me = self.viewer() if marked else None
        return [one.body for one in marked if one.user and (one.user.type == "Bot" or _is_ours(one.user, me))]

    def close_pull(self, repository: str, number: int) -> None:
        """Close a pull request; its branch stays."""
        self._send("PATCH", f"{self._repo(repository)}/pulls/{number}", {"state": "closed"})

    def pull_by_number(self, repository: str, number: int) -> Pull | None:
        """A pull request, open or not; None if there is none of that number."""
        return self._one(Pull, f"{self._repo(repository)}/pulls/{number}")

    def open_pulls(self, repository: str, base: str) -> list[Pull]:
        """All open pull requests into a branch, the oldest first."""
        query = urlencode({"state": "open", "base": base, "sort": "created", "direction": "asc"})
        found = self._list(Pull, f"{self._repo(repository)}/pulls?{query}")
        return self._must(found, f"The repository {self.organisation}/{repository}")

    def comment(self, repository: str, number: int, marker: str, body: str) -> int:
        """Have one comment of ours with `marker` (a hidden line) and this text; return its id.

        The oldest of ours is changed, one that was made beside it is folded, and one that somebody removed is made
        anew. Somebody else's comment that has the marker is left alone.
        """
        hidden = marked(marker)
        text = fitting(f"{hidden}\n{body}")
        issue = f"{self._repo(repository)}/issues/{number}"
        own = self.own_comments(repository, number, marker)
        for other in own[1:]:
            self._changed(repository, other, FOLDED)
        for first in own[:1]:
            if first.body == text or self._changed(repository, first, text):
                return first.id
        known = {one.id for one in own}

        def new() -> Comment | None:
            found = self.own_comments(repository, number, marker)
            return next((one for one in found if one.id not in known), None)

        made = self._make(new, f"{issue}/comments", {"body": text})
        return made.id if isinstance(made, Comment) else self._parsed(Comment, made, issue).id

    def _changed(self, repository: str, comment: Comment, text: str) -> bool:
        """Give a comment another text; False if it is gone."""
        try:
            self._send("PATCH", f"{self._repo(repository)}/issues/comments/{comment.id}", {"body": text})
        except Refused as refused:
            if refused.answer.status != 404:
                raise
            return False
        return True

    def own_comments(self, repository: str, number: int, marker: str) -> list[Comment]:
        """Our comments that begin with `marker`, the oldest first."""
        issue = f"{self._repo(repository)}/issues/{number}"
        found = self._must(
            self._list(Comment, f"{issue}/comments"), f"{self.organisation}/{repository}#{number}"
        )
        ours = [one for one in found if one.body.startswith(marked(marker))]
        me = self.viewer() if ours else None
        return sorted((c for c in ours if c.user and _is_ours(c.user, me)), key=lambda c: c.id)

    # ----------------------------------------------------------------------------------------------- one request

    def _pause(self, answer: Answer) -> float | None:
        """Seconds until a limit allows the next request (docs/rest: rate limits); None for another refusal."""
        after = answer.headers.get("Retry-After", "")
        if after.isdecimal():
            return max(1.0, float(after[:9]))
        if answer.headers.get("X-RateLimit-Remaining") == "0":
            reset = answer.headers.get("X-RateLimit-Reset", "")
            return max(1.0, float(reset[:12]) - self._clock() + 1.0) if reset.isdecimal() else SECONDARY
        if answer.status == 429 or "secondary rate limit" in answer.words:
            self._secondary += 1  # documented: wait longer each time, and give up in the end
            return float(SECONDARY * 2 ** (self._secondary - 1))
        return None

    def _get(self, path: str, none: Collection[int] = (404,)) -> Any:
        """What is there; None for the statuses in `none`, unless they mean that the token lacks a scope."""
        try:
            return self.service.ask("GET", path).value
        except Refused as refused:
            if lacking := self._lacking(refused.answer):
                raise Failure(self._lacks(path, lacking, refused.answer)) from None
            if refused.answer.status in none:
                return None
            raise

    def _send(self, method: str, path: str, body: Any, repeat: bool = True) -> Any:
        try:
            return self.service.ask(method, path, body, repeat=repeat).value
        except Refused as refused:
            if lacking := self._lacking(refused.answer):
                raise Failure(self._lacks(path, lacking, refused.answer)) from None
            raise

    def _make(self, find: Callable[[], Any], path: str, body: Any) -> Any:
        """What POST makes. If an answer is lost, `find` tells whether it was made: nothing is made twice."""
        for last in (*(False for _ in BACKOFF), True):
            try:
                return self._send("POST", path, body, repeat=False)
            except Failure as failure:
                if last or failure.diagnostics[0].code != "service-silent":
                    raise
                if (found := find()) is not None:
                    return found
        raise AssertionError("unreachable")

    def _lacking(self, answer: Answer) -> str:
        """The scopes or permissions that would have helped, as GitHub names them; empty if it was not for them."""
        if answer.status not in (403, 404):
            return ""
        accepted = answer.headers.get("X-Accepted-OAuth-Scopes")
        having = answer.headers.get("X-OAuth-Scopes")
        if accepted and having is not None:
            has = _words(having)
            has = has.union(*(IMPLIED.get(scope, set()) for scope in has))
            return "" if _words(accepted) & has else accepted
        if answer.status == 403 and "Resource not accessible" in answer.words:
            return (
                answer.headers.get("X-Accepted-GitHub-Permissions") or "more than this kind of token can have"
            )
        return ""

    def _lacks(self, path: str, wanted: str, answer: Answer) -> Diagnostic:
        has = answer.headers.get("X-OAuth-Scopes")
        having = "" if has is None else f"; it has {has or 'none'}"
        # What stands in a header is as little to be trusted as the rest: names only.
        shown = re.sub(r"[^\w:=,;. -]", "", f"needs {wanted}{having}")[:200]
        what = self.service.request_name("", path)
        detail = f"{what}: the token that {self.service.token.named} gives lacks what this {shown}."
        return Diagnostic(
            "token-lacks-scope", detail=detail, hint="see docs/github.md for what a token needs"
        )

    def _not_there(self, what: str) -> Diagnostic:
        return Diagnostic(
            "not-at-github",
            detail=f"{what} is not at GitHub, or the token that {self.service.token.named} gives may not see it.",
            hint="GitHub does not say which of the two: look with your own login, and at the token's permissions",
        )

    def _unusable(self, path: str, why: str) -> Diagnostic:
        return self.service.unusable(self.service.request_name("GET", path), why)

    def _one(self, model: type[One], path: str, none: Collection[int] = (404,)) -> One | None:
        value = self._get(path, none)
        return None if value is None else self._parsed(model, value, path)

    def _must(self, found: list[One] | None, what: str) -> list[One]:
        if found is None:
            raise Failure(self._not_there(what))
        return found

    def _list(self, model: type[One], path: str, key: str = "") -> list[One] | None:
        """All pages of a list, 100 entries each; None if it is not there."""
        mark = "&" if "?" in path else "?"
        pages = self._pages(f"{path}{mark}per_page={PAGE}")
        if pages is None:
            return None
        return [self._parsed(model, one, path) for page in pages for one in self._rows(page, key, path)]

    def _pages(self, path: str) -> Iterator[Any] | None:
        try:
            first = self.service.ask("GET", path)
        except Refused as refused:
            if lacking := self._lacking(refused.answer):
                raise Failure(self._lacks(path, lacking, refused.answer)) from None
            if refused.answer.status == 404:
                return None
            raise
        return self._onward(first, path)

    def _onward(self, answer: Answer, path: str) -> Iterator[Any]:
        for _ in range(MOST_PAGES):
            yield answer.value
            following = re.search(r'<([^<>\s]+)>;\s*rel="next"', answer.headers.get("Link", ""))
            if following is None:
                return
            answer = self.service.ask("GET", following[1])
        raise Failure(self._unusable(path, f"the list has more than {MOST_PAGES} pages"))

    def _rows(self, page: Any, key: str, path: str) -> list[Any]:
        rows = page.get(key) if key and isinstance(page, dict) else page
        if not isinstance(rows, list):
            raise Failure(self._unusable(path, "there is no list in the answer"))
        return rows

    def _parsed(self, model: type[One], value: Any, path: str) -> One:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            places = {
                ".".join(map(str, one["loc"])) or "all of it" for one in error.errors(include_input=False)
            }
            raise Failure(
                self._unusable(path, f"not as GitHub describes it: {some(sorted(places))}")
            ) from None

    def _org(self, rest: str) -> str:
        return f"/orgs/{_part(self.organisation)}/{rest}"

    def _repo(self, name: str) -> str:
        return f"/repos/{_part(self.organisation)}/{_part(name)}"


def marked(marker: str) -> str:
    """The hidden line by which we know a comment of ours again."""
    return f"<!-- {marker} -->"


def fitting(text: str) -> str:
    """The text as far as it fits a comment or a pull request, cut at the end of a line."""
    if len(text) <= LONGEST_COMMENT:
        return text
    return text[: LONGEST_COMMENT - len(CUT)].rpartition("\n")[0] + CUT


def _is_ours(author: Account, viewer: Account | None) -> bool:
    # An app's token cannot ask who it is; what bots wrote is then taken for ours, what people wrote never.
    return author.id == viewer.id if viewer else author.type == "Bot"


def _part(name: str) -> str:
    """One part of a path, which reaches nothing else: a slash is a part of the name, and `..` is a name that is not."""
    return quote(name if name not in ("", ".", "..") else f"{name}%", safe="")


def _path(path: str) -> str:
    """A path below another one, or the name of a branch."""
    return "/".join(map(_part, path.split("/")))


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",")} - {""}
