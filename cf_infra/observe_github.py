"""Looks at the organisation for an audit: few requests however many repositories there are, and none that changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from pydantic import ValidationError

from cf_infra import github_many
from cf_infra.declared import Declared
from cf_infra.diagnostics import Failure
from cf_infra.github import Github, Repository, Selection
from cf_infra.github_many import Change, Found, Place
from cf_infra.model import Kind
from cf_infra.observed import (
    Chosen,
    NotAsked,
    SeenApp,
    SeenFile,
    SeenGithub,
    SeenLists,
    SeenPeople,
    SeenRepository,
    Selected,
    Somebody,
    Version,
)
from cf_infra.resolve import followers

ACCESS, RUNNERS = ".access.yml", ".cirun.global.yml"
OWN = ".cirun.yml"
VERSIONS = 30
"""Versions of a list that are looked at for the age of a difference; an older one has the age of the oldest of them."""
Say = Callable[[str], None]
T = TypeVar("T")
_RAW = re.compile(
    r"https://raw\.githubusercontent\.com/([\w.-]+)/([\w.-]+)/(?:refs/heads/)?([\w.-]+)/([\w./-]+)"
)


@dataclass
class Look:
    """One look at an organisation. What the token may not see is in `not_asked`, by name."""

    github: Github
    declared: Declared
    say: Say
    not_asked: list[NotAsked]
    silent: list[str] = field(default_factory=list)

    def lists(self) -> SeenLists:
        """Cirun's two lists with their history."""
        owner, name = self.declared.organisation, self.declared.repository
        self.say(f"the lists of {owner}/{name}")
        places = [Place(owner, name, ACCESS), Place(owner, name, RUNNERS)]
        now = github_many.files(self.github, places)
        if not now:
            why = "There is no such repository, or the token may not see it."
            fix = f"# make it, or name another in the stack of kind github\ngh repo view {owner}/{name}"
            self.not_asked.append(NotAsked(place=f"{owner}/{name}/", why=why, fix=fix))
            return SeenLists(where=f"{owner}/{name}/")
        history = github_many.changes(self.github, places, VERSIONS) if now else {}
        access, runners = (self._file(place, now.get(place), history.get(place, [])) for place in places)
        return SeenLists(where=f"{owner}/{name}/", access=access, runners=runners)

    def _file(self, place: Place, found: Found | None, history: list[Change]) -> SeenFile:
        if found is None or not history:
            return SeenFile()
        now = found.content
        if found.truncated:
            whole = self.github.file(place.name, place.path)
            now = whole.content.decode("utf-8", "replace") if whole is not None else None
        older = [Place(place.owner, place.name, place.path, change.sha) for change in history[1:]]
        # Files that are too large to be told whole have no history here: the age is that of the last change.
        texts = {} if found.truncated else github_many.files(self.github, older)
        contents = [now, *(texts[one].content if one in texts else None for one in older)]
        kept = contents[:1] if found.truncated else contents
        return SeenFile(
            versions=[
                Version(content=text, when=change.when, by=change.by) if text is not None else None
                for text, change in zip(kept, history, strict=False)
            ]
        )

    def repositories(self, names: Iterable[str]) -> dict[str, SeenRepository]:
        """Each by the name that is asked for: is it there, what is it called, has it runners of its own."""
        owner = self.declared.organisation
        places = [Place(owner, name, OWN) for name in sorted(set(names))]
        self.say(f"{len(places)} repositories, {github_many.AT_ONCE} in one request")
        found = github_many.files(self.github, places, self.say)
        own = [place for place in places if place in found and found[place].content is not None]
        last = github_many.changes(self.github, own) if own else {}
        return {
            place.name: _repository(found.get(place), next(iter(last.get(place, ())), None))
            for place in places
        }

    def selections(self) -> list[Selected]:
        """Runner groups, and the secrets and variables that follow grants."""
        self.say("runner groups, secrets and variables")
        github, wanted = self.github, _followed(self.declared)
        found: list[Selected] = []
        for group in self._listed("runner group", "runner groups", github.runner_groups):
            chosen = None
            if group.visibility == "selected":
                chosen = github.group_repositories(group.id) if ("runner group", group.name) in wanted else []
            found.append(
                Selected(
                    id=group.id,
                    sort="runner group",
                    name=group.name,
                    visibility=group.visibility,
                    default=group.default,
                    repositories=_chosen(chosen),
                    public=group.allows_public_repositories,
                )
            )
        sorts = (("secret", github.secrets, github.secret_repositories),)
        for sort, ask, ask_one in (*sorts, ("variable", github.variables, github.variable_repositories)):
            names = {name for of, name in wanted if of == sort}
            there = self._listed(sort, f"{sort}s", ask) if names else []
            found += [_selected(sort, one, ask_one) for one in there if one.name in names]
        return found

    def _listed(self, sort: str, what: str, ask: Callable[[], list[T]]) -> list[T]:
        """A list, or a note that it could not be asked for."""
        try:
            return ask()
        except Failure as failure:
            self._note(sort, f"github:{self.declared.organisation} {what}", failure)
            return []

    def _note(self, sort: str, place: str, failure: Failure) -> None:
        first = failure.diagnostics[0]
        if first.code not in ("token-lacks-scope", "not-at-github"):
            raise failure
        self.not_asked.append(NotAsked(place=place, why=first.detail, fix=f"# {first.hint}"))
        self.silent.append(sort)

    def apps(self) -> dict[str, SeenApp]:
        """The installations that stacks of kind app name."""
        wanted = [
            stack.app
            for stack in self.declared.inventory.stacks.values()
            if stack.kind is Kind.APP and stack.app
        ]
        if not wanted:
            return {}
        self.say("apps")
        there = {one.id: one for one in self._listed("app", "apps", self.github.installations)}
        found: dict[str, SeenApp] = {}
        for app in wanted:
            one = there.get(app.installation)
            if one is None:
                continue
            chosen: list[Repository] = []
            if one.repository_selection == "selected":
                try:
                    chosen = self.github.installation_repositories(one.id)
                except Failure as failure:
                    self._note(str(one.id), f"github:{self.declared.organisation} app {app.vendor}", failure)
                    continue
            found[str(one.id)] = SeenApp(
                selection=one.repository_selection, since=one.updated_at, repositories=_chosen(chosen) or []
            )
        return found

    def people(self, addresses: Iterable[str], before: Mapping[str, list[Somebody]]) -> dict[str, SeenPeople]:
        """The lists of people at these addresses, read where they are kept; `before`: as the last audit saw them."""
        places = {address: place for address in sorted(set(addresses)) if (place := place_of(address))}
        found = github_many.files(self.github, list(places.values())) if places else {}
        last = github_many.changes(self.github, list(found)) if found else {}
        result: dict[str, SeenPeople] = {}
        for address in sorted(set(addresses)):
            place = places.get(address)
            old = before.get(address)
            if place is None:
                why = "it is not at raw.githubusercontent.com, and a token is sent nowhere else."
                result[address] = SeenPeople(why=why, before=old)
                continue
            file, change = found.get(place), next(iter(last.get(place, ())), None)
            people = people_of(file.content) if file is not None and file.content is not None else None
            result[address] = SeenPeople(
                people=people,
                before=old,
                since=change.when if change else "",
                by=change.by if change else "",
                why="" if people is not None else _why(file),
            )
        return result

    def organisation(
        self, names: Iterable[str], addresses: Iterable[str], before: Mapping[str, list[Somebody]]
    ) -> SeenGithub:
        """Everything beside the lists."""
        return SeenGithub(
            repositories=self.repositories(names),
            selections=self.selections(),
            apps=self.apps(),
            people=self.people(addresses, before),
            silent=self.silent,
        )


def place_of(address: str) -> Place | None:
    """The file at GitHub that an address shows; None for every other address."""
    match = _RAW.fullmatch(address)
    return Place(match[1], match[2], match[4], match[3]) if match else None


def people_of(text: str) -> list[Somebody] | None:
    """The people of a list, None if it is no such list. Somebody without a number counts as number 0."""
    try:
        rows = orjson.loads(text)["users"]
        return [Somebody(github=str(row["github"])[:60], id=row.get("id") or 0) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None


def _why(file: Found | None) -> str:
    if file is None or file.content is None:
        return "there is no such file, or the token may not see it."
    return "it is no list of people."


def _repository(found: Found | None, change: Change | None) -> SeenRepository:
    if found is None:
        return SeenRepository()
    return SeenRepository(
        id=found.id,
        full_name=found.full_name,
        archived=found.archived,
        own_runners=found.content,
        own_sha=found.sha,
        own_since=change.when if change else "",
        own_by=change.by if change else "",
    )


def _followed(declared: Declared) -> set[tuple[str, str]]:
    stacks = (stack for stack in declared.inventory.stacks.values() if stack.kind is Kind.GITHUB)
    return {(sort, name) for stack in stacks for sort, name, _ in followers(stack)}


def _selected(sort: str, one: Selection, ask: Callable[[str], list[Repository]]) -> Selected:
    chosen = ask(one.name) if one.visibility == "selected" else None
    return Selected(
        sort=sort,
        name=one.name,
        visibility=one.visibility,
        since=one.updated_at,
        repositories=_chosen(chosen),
        value=one.value,
    )


def _chosen(found: Iterable[Repository] | None) -> list[Chosen] | None:
    return None if found is None else [Chosen(id=one.id, name=one.name) for one in found]
