"""A request as its handler sees it, what a handler gives back, and the table of handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.github.shapes import Shapes
from tests.github.state import (
    ROLES,
    Issue,
    Repository,
    RunnerGroup,
    Secret,
    Selection,
    State,
    Team,
    Token,
    Variable,
)

DOCUMENTATION = "https://docs.github.com/rest"


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A list that is shown in pages; `key`: where it stands in an object, beside `total_count` and `more`."""

    items: Sequence[Any]
    show: Callable[[Any], Any]
    key: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


class Refusal(Exception):
    """An error in GitHub's form."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = error(status, message, headers)


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error as GitHub writes it."""
    value = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
    return Answer(status, value, headers or {})


def missing() -> Refusal:
    """What is not there, or not to be seen: GitHub tells neither from the other."""
    return Refusal(404, "Not Found")


@dataclass(frozen=True)
class Need:
    """What a token must have for an operation: an OAuth scope, or a fine-grained permission with its level."""

    scope: str = ""
    permission: str = ""
    level: str = "read"
    #: An OAuth scope is enough; fine-grained tokens cannot do it at all.
    classic_only: bool = False


@dataclass(frozen=True)
class Call:
    """One request: decoded, known to the description, allowed by the token."""

    state: State
    shapes: Shapes
    token: Token | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    #: What GET /rate_limit tells the holder of a token.
    limits: Callable[[str], Any] = lambda token: None

    @property
    def viewer(self) -> int | None:
        """The id of whose token it is."""
        return self.token.user if self.token else None

    def organization(self) -> None:
        """Refuse another organisation than ours."""
        if self.path["org"].lower() != self.state.organization.lower():
            raise missing()

    def repository(self, least: str = "read") -> Repository:
        """The repository of the path; refused below the role `least`, as if it were not there."""
        owner, name = self.path["owner"], self.path["repo"]
        found = self.state.repository(owner, name)
        if found is None or not self.sees(found):
            raise missing()
        if least != "read":
            role = self.state.role(found, self.viewer) if self.viewer is not None else "read"
            if ROLES.index(role) < ROLES.index(least):
                raise missing()
            if found.archived:
                raise Refusal(403, "Repository was archived so is read-only.")
        return found

    def sees(self, repository: Repository) -> bool:
        """Whether the token may know of it."""
        if not repository.private:
            return True
        if self.token is None or self.state.role(repository, self.token.user) == "none":
            return False
        return self.token.scopes is None or "repo" in self.token.scopes

    def user(self, name: str = "username") -> int:
        """The id of the user in the path."""
        found = self.state.user(self.path[name])
        if found is None:
            raise missing()
        return found.id

    def team(self) -> Team:
        """The team of the path."""
        self.organization()
        team = self.state.teams.get(self.path["team_slug"].lower())
        if team is None:
            raise missing()
        return team

    def group(self) -> RunnerGroup:
        """The runner group of the path."""
        self.organization()
        found = self.state.groups.get(int(self.path["runner_group_id"]))
        if found is None:
            raise missing()
        return found

    def selection(self) -> Selection:
        """The runner group, secret or variable of the path."""
        if "runner_group_id" in self.path:
            return self.group()
        return self.secret() if "secret_name" in self.path else self.variable()

    def secret(self) -> Secret:
        """The secret of the path."""
        self.organization()
        found = self.state.secrets.get(self.path["secret_name"].upper())
        if found is None:
            raise missing()
        return found

    def variable(self) -> Variable:
        """The variable of the path."""
        self.organization()
        found = self.state.variables.get(self.path["name"].upper())
        if found is None:
            raise missing()
        return found

    def issue(self, name: str = "issue_number", least: str = "read") -> tuple[Repository, Issue]:
        """The issue or pull request of the path."""
        repository = self.repository(least)
        found = repository.issues.get(int(self.path[name]))
        if found is None or (name == "pull_number" and found.pull is None):
            raise missing()
        return repository, found


Handler = Callable[[Call], "Answer | Page"]
HANDLERS: dict[tuple[str, str], tuple[Handler, Need]] = {}


def serves(method: str, path: str, scope: str = "", permission: str = "", classic_only: bool = False) -> Any:
    """Enter a handler for an operation; `permission` is needed with `write` unless the operation only reads."""
    level = "read" if method == "GET" else "write"

    def enter(handler: Handler) -> Handler:
        HANDLERS[(method, path)] = (handler, Need(scope, permission, level, classic_only))
        return handler

    return enter
