"""What an audit saw, as frozen values: made by the shell from what the places answer, or read from a test's file.

`None` for a place or a list means that it was not asked; what is not there at all is empty.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field

from cf_infra.model import Frozen


class Version(Frozen):
    """A file at one of its commits. `by`: the login of who made it, empty where GitHub does not know."""

    content: str
    when: str = ""
    by: str = ""


class SeenFile(Frozen):
    """A file now and before, newest first; a version that is `None` took it away. No versions: it is not there."""

    versions: list[Version | None] = Field(default_factory=list)

    @property
    def content(self) -> str | None:
        """What it says now."""
        return self.versions[0].content if self.versions and self.versions[0] is not None else None


class SeenRepository(Frozen):
    """A repository that was asked for by a name: its number, what it is called now (OWNER/NAME, empty: not there).

    `own_runners`: its `.cirun.yml`, with the hash by which GitHub knows it, and when it was changed last.
    """

    id: int | None = None
    full_name: str = ""
    archived: bool = False
    own_runners: str | None = None
    own_sha: str = ""
    own_since: str = ""
    own_by: str = ""


class Chosen(Frozen):
    """A repository in a selection."""

    id: int
    name: str


class Selected(Frozen):
    """A runner group, secret or variable. `repositories`: None where its visibility is not `selected`.

    `value` is a variable's; `public`: whether a group lets public repositories in.
    """

    id: int | None = None
    sort: str
    name: str
    visibility: str
    default: bool = False
    since: str = ""
    repositories: list[Chosen] | None = None
    value: str | None = None
    public: bool | None = None


class SeenApp(Frozen):
    """An installation of a GitHub App."""

    selection: str
    since: str = ""
    repositories: list[Chosen] = Field(default_factory=list)


class Somebody(Frozen):
    """A person of a list."""

    github: str
    id: int


class SeenPeople(Frozen):
    """A list of people at an address: now, and as the last audit saw it (None: there was none).

    `people` is None where it cannot be read; `why` says so.
    """

    people: list[Somebody] | None = None
    before: list[Somebody] | None = None
    since: str = ""
    by: str = ""
    why: str = ""


class SeenLists(Frozen):
    """Cirun's two lists, as they stand in the organisation or in local copies; None: not looked at."""

    where: str
    access: SeenFile | None = None
    runners: SeenFile | None = None


class SeenGithub(Frozen):
    """The organisation. Repositories by the name that was asked for, apps by installation, people by address.

    `silent`: what could not be asked: `runner group`, `secret`, `variable`, `app`, or the number of an installation.
    """

    repositories: dict[str, SeenRepository] = Field(default_factory=dict)
    selections: list[Selected] = Field(default_factory=list)
    apps: dict[str, SeenApp] = Field(default_factory=dict)
    people: dict[str, SeenPeople] = Field(default_factory=dict)
    silent: list[str] = Field(default_factory=list)


class SeenCirun(Frozen):
    """Cirun itself. `activated`: OWNER/NAME. `access`: the list that it reads, as .access.yml; None: it has none."""

    activated: list[str] = Field(default_factory=list)
    access: str | None = None


class SeenServer(Frozen):
    """A server with our marks."""

    id: str
    name: str
    grant: str
    status: str
    created: str = ""


class SeenLogin(Frozen):
    """A user or an application credential with our marks."""

    id: str
    name: str
    sort: str
    since: str = ""


class SeenFlavor(Frozen):
    """A flavor of ours and the projects that may use it; None: all may. `runner_class`: by the inventory."""

    id: str
    name: str
    runner_class: str
    projects: list[str] | None


class SeenCloud(Frozen):
    """What a stack has at its cloud."""

    cloud: str
    servers: list[SeenServer] = Field(default_factory=list)
    logins: list[SeenLogin] = Field(default_factory=list)
    flavors: list[SeenFlavor] = Field(default_factory=list)


class Left(Frozen):
    """What the last apply of a stack left, by its inventory: ids; empty where it was never applied."""

    applied_at: str = ""
    servers: list[str] = Field(default_factory=list)
    logins: list[str] = Field(default_factory=list)
    project: str | None = None


class NotAsked(Frozen):
    """A place that could not be asked, why, and what to do."""

    place: str
    why: str
    fix: str = ""


class Observed(Frozen):
    """Everything that an audit saw."""

    lists: SeenLists | None = None
    github: SeenGithub | None = None
    cirun: SeenCirun | None = None
    clouds: dict[str, SeenCloud] = Field(default_factory=dict)
    left: dict[str, Left] = Field(default_factory=dict)
    credentials: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)
    """By stack what the ledger says of its credentials (credential_report.rows)."""
    clock: date | None = None
    """The real day, on which logins are tried, whatever day is pretended."""
    not_asked: list[NotAsked] = Field(default_factory=list)
