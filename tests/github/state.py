"""What the stand-in knows, as plain values: tests build it, change it as people would on the website, and read it.

Everything has a number that stays; names change. Times come from the `clock` of the state, in seconds since 1970.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.leaks import WATCH

#: Roles of a repository, weakest first.
ROLES = ("none", "read", "triage", "write", "maintain", "admin")


def digest(kind: str, data: bytes) -> str:
    """Return the SHA-1 that git gives to an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass
class User:
    """A person, a bot, or an owner of repositories elsewhere."""

    id: int
    login: str
    kind: str = "User"


@dataclass
class Commit:
    """A commit with all files as they are after it."""

    sha: str
    files: Mapping[str, bytes]
    message: str
    author: int | None
    author_name: str
    author_email: str
    when: float
    parents: tuple[str, ...] = ()


@dataclass
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    author: int
    body: str
    created: float
    updated: float


@dataclass
class Review:
    """A review of a pull request: APPROVED, CHANGES_REQUESTED, COMMENTED or DISMISSED, of a commit."""

    id: int
    author: int
    state: str
    commit: str
    submitted: float


@dataclass
class Pull:
    """The part of an issue that is a pull request."""

    head: str
    base: str
    merged_at: float | None = None
    merge_sha: str | None = None
    merger: int | None = None
    #: The head as it was merged, where its branch is gone or was moved since.
    head_sha: str | None = None
    reviews: list[Review] = field(default_factory=list)


@dataclass
class Issue:
    """An issue; with `pull`, a pull request."""

    id: int
    number: int
    title: str
    body: str | None
    author: int
    created: float
    state: str = "open"
    comments: dict[int, Comment] = field(default_factory=dict)
    pull: Pull | None = None
    updated: float | None = None


@dataclass
class Repository:
    """A repository; `branches` name commits."""

    id: int
    owner: int
    name: str
    private: bool = False
    archived: bool = False
    default_branch: str = "main"
    created: float = 0.0
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    #: Role by user id.
    collaborators: dict[int, str] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    #: Whether there may be issues at all: a repository's setting.
    has_issues: bool = True
    #: Trees that no commit has yet, by hash.
    trees: dict[str, Mapping[str, bytes]] = field(default_factory=dict)

    def commit_at(self, ref: str) -> Commit | None:
        """The commit that a branch (also refs/heads/NAME) or a SHA names."""
        name = ref.removeprefix("refs/heads/")
        return self.commits.get(self.branches.get(name, ref))

    def history(self, ref: str) -> list[Commit]:
        """The commits from `ref` back to the first, along first parents."""
        found: list[Commit] = []
        commit = self.commit_at(ref)
        while commit:
            found.append(commit)
            commit = self.commits.get(commit.parents[0]) if commit.parents else None
        return found


@dataclass
class Team:
    """A team; roles by user id, permissions by repository id."""

    id: int
    slug: str
    members: dict[int, str] = field(default_factory=dict)
    repositories: dict[int, str] = field(default_factory=dict)


@dataclass
class Selection:
    """Which repositories see something: `all`, `private` or those `selected`."""

    visibility: str = "all"
    selected: set[int] = field(default_factory=set)


@dataclass
class RunnerGroup(Selection):
    """An Actions runner group."""

    id: int = 0
    name: str = ""
    default: bool = False
    allows_public: bool = False
    restricted_to_workflows: bool = False
    workflows: list[str] = field(default_factory=list)


@dataclass
class Secret(Selection):
    """An organisation's Actions secret; its value as it came, sealed."""

    name: str = ""
    encrypted_value: str = ""
    key_id: str = ""
    created: float = 0.0
    updated: float = 0.0


@dataclass
class Variable(Selection):
    """An organisation's Actions variable."""

    name: str = ""
    value: str = ""
    created: float = 0.0
    updated: float = 0.0


@dataclass
class Installation:
    """A GitHub App in the organisation. `selection`: `all` or `selected`."""

    id: int
    app_id: int
    slug: str
    selection: str = "selected"
    repositories: set[int] = field(default_factory=set)
    created: float = 0.0


@dataclass
class App:
    """A GitHub App: its bot, and the public half of its private key."""

    id: int
    slug: str
    user: int
    key: Any = field(repr=False)
    created: float = 0.0


@dataclass
class Token:
    """Whose it is and what it may: OAuth scopes (classic) or permissions by name, `read` or `write` (fine-grained).

    `app`: an app that logged in as itself; `installation`: a token of an app's installation.
    """

    user: int
    scopes: frozenset[str] | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    app: int | None = None
    installation: int | None = None


@dataclass
class State:
    """One organisation and whatever is around it."""

    organization: str = "conda-forge"
    clock: Callable[[], float] = time.time
    users: dict[int, User] = field(default_factory=dict)
    owners: set[int] = field(default_factory=set)
    members: set[int] = field(default_factory=set)
    repositories: dict[int, Repository] = field(default_factory=dict)
    #: Where a repository once was: (owner id, name in lower case) to its id.
    moved: dict[tuple[int, str], int] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    groups: dict[int, RunnerGroup] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    #: By the token itself: the only place of the stand-in that holds one.
    tokens: dict[str, Token] = field(default_factory=dict, repr=False)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))

    def __post_init__(self) -> None:
        self.organization_id = self.add_user(self.organization, kind="Organization").id
        self.groups[1] = RunnerGroup("all", id=1, name="Default", default=True)

    def number(self) -> int:
        """A number that nothing else has."""
        return next(self._numbers)

    # ------------------------------------------------------------------------------------------------- users

    def add_user(self, login: str, kind: str = "User", user_id: int | None = None) -> User:
        """Somebody who did not exist."""
        user = User(user_id if user_id is not None else self.number(), login, kind)
        self.users[user.id] = user
        return user

    def user(self, login: str) -> User | None:
        """By login, which compares case-insensitively; a login that was given up is nobody's."""
        return next((user for user in self.users.values() if user.login.lower() == login.lower()), None)

    def add_member(self, login: str, owner: bool = False) -> User:
        """A member of the organisation, made if need be."""
        user = self.user(login) or self.add_user(login)
        self.members.add(user.id)
        if owner:
            self.owners.add(user.id)
        return user

    def add_token(
        self,
        value: str,
        login: str,
        scopes: Iterable[str] | None = None,
        permissions: Mapping[str, str] | None = None,
    ) -> None:
        """A token of somebody: classic with `scopes`, else fine-grained with `permissions`."""
        user = self.user(login) or self.add_user(login)
        classic = frozenset(scopes) if scopes is not None else None
        WATCH.knows(f"the token of {login}", value)
        self.tokens[value] = Token(user.id, classic, permissions or {})

    # ------------------------------------------------------------------------------------------ repositories

    def add_repository(
        self,
        name: str,
        owner: str = "",
        files: Mapping[str, str | bytes] | None = None,
        private: bool = False,
        repository_id: int | None = None,
    ) -> Repository:
        """A repository with one commit, of the organisation unless `owner` says otherwise."""
        login = owner or self.organization
        holder = self.user(login) or self.add_user(login)
        repository = Repository(
            repository_id if repository_id is not None else self.number(),
            holder.id,
            name,
            private,
            created=self.clock(),
        )
        self.repositories[repository.id] = repository
        self.moved.pop((holder.id, name.lower()), None)  # a new one in an old place takes the place
        self.commit(repository, files or {"README.md": f"# {name}\n"}, "Initial commit")
        return repository

    def repository(self, owner: str, name: str) -> Repository | None:
        """The repository that is at this place now."""
        holder = self.user(owner)
        return next(
            (
                one
                for one in self.repositories.values()
                if holder and one.owner == holder.id and one.name.lower() == name.lower()
            ),
            None,
        )

    def moved_from(self, owner: str, name: str) -> Repository | None:
        """The repository that was at this place before it was renamed or transferred."""
        holder = self.user(owner)
        return self.repositories.get(self.moved.get((holder.id, name.lower()), -1)) if holder else None

    def move(self, repository: Repository, name: str = "", owner: str = "") -> None:
        """Rename it, transfer it, or both; who is transferred loses what the organisation had selected."""
        self.moved[(repository.owner, repository.name.lower())] = repository.id
        repository.name = name or repository.name
        if owner:
            repository.owner = (self.user(owner) or self.add_user(owner)).id
            for selection in (*self.groups.values(), *self.secrets.values(), *self.variables.values()):
                selection.selected.discard(repository.id)
            for installation in self.installations.values():
                installation.repositories.discard(repository.id)
        self.moved.pop((repository.owner, repository.name.lower()), None)

    def remove(self, repository: Repository) -> None:
        """Delete a repository, with every selection of it."""
        self.move(repository, owner="ghost")
        del self.repositories[repository.id]
        self.moved = {place: moved for place, moved in self.moved.items() if moved != repository.id}

    def commit(
        self,
        repository: Repository,
        files: Mapping[str, str | bytes | None],
        message: str,
        branch: str = "",
        author: int | None = None,
        signature: tuple[str, str] | None = None,
    ) -> Commit:
        """Write files (None removes one) to a branch, a new one from the default branch.

        `signature`: name and address of the author.
        """
        branch = branch or repository.default_branch
        before = repository.commit_at(branch) or repository.commit_at(repository.default_branch)
        tree = dict(before.files) if before else {}
        for path, content in files.items():
            if content is None:
                tree.pop(path, None)
            else:
                tree[path] = content.encode() if isinstance(content, str) else content
        parents = (before.sha,) if before else ()
        commit = self.commit_of(repository, tree, message, parents, author, signature)
        repository.branches[branch] = commit.sha
        return commit

    def commit_of(
        self,
        repository: Repository,
        tree: Mapping[str, bytes],
        message: str,
        parents: tuple[str, ...],
        author: int | None = None,
        signature: tuple[str, str] | None = None,
    ) -> Commit:
        """A commit that no branch names yet."""
        login = self.users[author].login if author is not None else "somebody"
        name, email = signature or (login, f"{login}@users.noreply.github.com")
        listed = "".join(f"{path} {digest('blob', data)}\n" for path, data in sorted(tree.items()))
        text = f"{repository.id} {self.number()} {parents} {message} {listed}"
        commit = Commit(
            digest("commit", text.encode()), tree, message, author, name, email, self.clock(), parents
        )
        repository.commits[commit.sha] = commit
        return commit

    def role(self, repository: Repository, user: int) -> str:
        """The strongest role that somebody has, from wherever it comes."""
        roles = [repository.collaborators.get(user, "none")]
        if repository.owner == user or (repository.owner == self.organization_id and user in self.owners):
            roles.append("admin")
        if repository.owner == self.organization_id and user in self.members:
            roles.append("read")
        roles += [
            team.repositories[repository.id]
            for team in self.teams.values()
            if user in team.members and repository.id in team.repositories
        ]
        if not repository.private:
            roles.append("read")
        return max(roles, key=ROLES.index)

    def add_issue(self, repository: Repository, login: str, title: str, body: str | None) -> Issue:
        """An issue that somebody opened."""
        author = self.user(login) or self.add_user(login)
        made = Issue(self.number(), len(repository.issues) + 1, title, body, author.id, self.clock())
        repository.issues[made.number] = made
        return made

    def review(self, pull: Pull, login: str, state: str, commit: str) -> Review:
        """Somebody looks at a pull request."""
        author = self.user(login) or self.add_user(login)
        made = Review(self.number(), author.id, state, commit, self.clock())
        pull.reviews.append(made)
        return made

    # ------------------------------------------------------------------------------------------ organisation

    def add_team(self, slug: str, *logins: str) -> Team:
        """A team of the organisation with these members."""
        team = Team(self.number(), slug, {self.add_member(login).id: "member" for login in logins})
        self.teams[slug] = team
        return team

    def add_installation(
        self, slug: str, *repositories: Repository, selection: str = "selected"
    ) -> Installation:
        """A GitHub App, installed."""
        installation = Installation(
            self.number(), self.number(), slug, selection, {one.id for one in repositories}, self.clock()
        )
        self.installations[installation.id] = installation
        return installation

    def add_app(self, installation: Installation, key: Any) -> App:
        """The app of an installation, with the public key that its statements are held against."""
        bot = self.add_user(f"{installation.slug}[bot]", "Bot")
        app = App(installation.app_id, installation.slug, bot.id, key, self.clock())
        self.apps[app.id] = app
        return app

    def owned(self) -> list[Repository]:
        """The organisation's repositories in order of their names."""
        found = (one for one in self.repositories.values() if one.owner == self.organization_id)
        return sorted(found, key=lambda one: one.name.lower())


def stamp(seconds: float) -> str:
    """Return a time as GitHub writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
