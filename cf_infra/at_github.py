"""A stack of kind github or app at GitHub: what deploy.py asks of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import orjson

from cf_infra import github_look, github_parts, proposal
from cf_infra.access import AccessList, read_access
from cf_infra.compile import compile_access
from cf_infra.deployment import Deployment, InventoryFile, load_proven, resources
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github import Github, Repository
from cf_infra.github_files import (
    ACCESS,
    RUNNERS,
    grants_of,
    key_of_row,
    lists,
    narrowed,
    rows,
    values,
    withheld_files,
)
from cf_infra.github_login import GithubLogin
from cf_infra.github_parts import APP, FILE, GROUP, SECRET, SORTS, VARIABLE, Divider
from cf_infra.material import Material
from cf_infra.model import Delivery, GithubAccess, Kind
from cf_infra.plan import Divide
from cf_infra.project import CLOUD_VALUES, Folder
from cf_infra.record import Record
from cf_infra.resolve import Resolved, ResolvedStack, followers
from cf_infra.surroundings import JSON, Check, Found
from cf_infra.tofu import Tofu

Say = Callable[[str], None]
SHOWN_AT_MOST = 8
TRIES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between questions whether something is gone: GitHub's lists follow its writes a little later."""


@dataclass(frozen=True)
class AtGithub:
    """An organisation at GitHub, or a vendor's app in it."""

    folder: Folder
    deployment: Deployment
    stack: ResolvedStack
    login: GithubLogin
    say: Say

    @property
    def where(self) -> str:
        """The organisation."""
        return f"github:{self.login.organisation}"

    @property
    def github(self) -> GithubAccess:
        """What the stack keeps at the organisation."""
        return self.stack.stack.github or GithubAccess()

    @property
    def direct(self) -> bool:
        """Are Cirun's lists resources of OpenTofu?"""
        return self.folder.inventory.settings.access_delivery is Delivery.DIRECT

    # A run asks these for each entry; nothing changes them while it lasts.
    @cached_property
    def _resolved(self) -> Resolved:
        return self.folder.resolved()

    @cached_property
    def _pairs(self) -> frozenset[str]:
        """Those that have access now or had it after the last proven apply."""
        proven = load_proven(self.deployment.state)
        return frozenset({*self.stack.access, *(proven.access if proven is not None else ())})

    def environment(self) -> dict[str, str]:
        """Token and address, for the provider."""
        return self.login.environment()

    def secrets(self) -> dict[str, object]:
        """The token is the only one, and OpenTofu never has it for a value."""
        return {}

    def hidden(self) -> Iterable[str]:
        """The token."""
        return [self.login.token.value]

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder as it must be."""
        folder = self.folder
        return compile_access(self.stack, self._resolved, folder.inventory, folder.modules())

    def lists(self) -> dict[str, bytes]:
        """All of them are files of the stack's folder."""
        return {}

    def connected(self) -> AbstractContextManager[Any]:
        """A client; the first question shows whether its token is taken."""
        return closing(self.login.client(self.say))

    def identity(self, connection: Github) -> str:
        """The organisation's number at this GitHub: a name can be taken over, a number cannot."""
        return f"{self.login.api}/{connection.account().id}"

    # ------------------------------------------------------------------------------------------- plan

    def values(self) -> JSON:
        """What the stack must have, as OpenTofu is told."""
        return values(self.stack, self._resolved, self.folder.inventory, self.direct)

    def look(self, connection: Github, state: Mapping[str, Any], destroy: bool) -> Found:
        """What is there and in no state, the numbers of repositories, and what nobody declared."""
        looked = github_look.Look(connection, self.login, self.values(), _known(state), destroy)
        if self.stack.stack.kind is Kind.APP:
            found = looked.app()
        else:
            found = looked.organisation() if self.direct else self._proposing(connection, looked, destroy)
        kept: JSON = {n: found.values[n] for n in ("repository_ids", "absent") if n in found.values}
        return replace(found, learned={**found.learned, **kept})

    def _proposing(self, connection: Github, looked: github_look.Look, destroy: bool) -> Found:
        """As a look, with what a pull request would do to the lists."""
        wanted = {} if destroy else self._lists()
        looked.see(self.github.repository, (ACCESS, RUNNERS))
        found, classes = looked.organisation(), self._classes()
        before = github_look.access_list(connection, self.github.repository)
        after = read_access(wanted[ACCESS], ACCESS) if wanted else AccessList()
        parts = proposal.parts(connection, self.github.repository, wanted, classes)
        asked = ((path, connection.file(self.github.repository, path)) for path in (ACCESS, RUNNERS))
        there = {path: file.content.decode("utf-8", "replace") for path, file in asked if file is not None}
        return replace(
            found,
            items=[*found.items, *(part.as_json() for part in parts)],
            parts=parts,
            pairs=(proposal.pairs(before, classes), proposal.pairs(after, classes)),
            learned={"lists": {path: raw.decode() for path, raw in wanted.items()}, "there": there},
        )

    def _lists(self) -> dict[str, bytes]:
        return lists(self._resolved, self.folder.inventory)

    def owners(self) -> dict[str, tuple[str, ...]]:
        """Repositories of an app belong to their grants."""
        found: dict[str, list[str]] = {}
        for key in sorted(self._pairs):
            address = f'module.app-access.{APP}.this["{key.partition("/")[0]}"]'
            found.setdefault(address, []).append(key)
        return {address: tuple(keys) for address, keys in found.items()}

    def divide(self) -> Divide:
        """Lists by entries, selections by repositories."""
        return self._divider()

    def _divider(self) -> Divider:
        names = {number: name for name, number in self._ids().items() if number is not None}
        return Divider(names, self._classes(), self._grants)

    def _classes(self) -> dict[str, str]:
        return self._resolved.catalog.class_of

    def _grants(self, sort: str, name: str, repository: str) -> list[str]:
        resolved, known = self._resolved, self._pairs
        return [key for key in grants_of(self.stack, resolved, sort, name, repository) if key in known]

    def _ids(self) -> dict[str, int | None]:
        """Repositories' numbers as the plan learned them."""
        try:
            found = orjson.loads((self.deployment.build / CLOUD_VALUES).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return dict(found.get("repository_ids") or {})

    def beside(self, destroy: bool) -> list[JSON]:
        """Nothing is done beside OpenTofu."""
        del destroy
        return []

    def findings(self, shown: Mapping[str, Any]) -> list[Diagnostic]:
        """What somebody else changed since our last apply."""
        changed = github_parts.foreign_changes(shown, self._divider(), self.direct)
        if not changed:
            return []
        more = len(changed) - SHOWN_AT_MOST
        listed = "\n".join(
            [f"- {words}" for words in changed[:SHOWN_AT_MOST]] + [f"- and {more} more"] * (more > 0)
        )
        detail = (
            f"Since the last apply of `{self.stack.name}` somebody else changed at {self.where}:\n{listed}"
        )
        hint = "an apply makes it what grants.yaml says; to keep a change, put it into grants.yaml and plan again"
        return [Diagnostic("changed-by-others", detail=detail, hint=hint)]

    def pairs(self, shown: Mapping[str, Any]) -> tuple[set[str], set[str]]:
        """The entries of the access list before and after."""
        return github_parts.listed_pairs(shown, self._classes())

    def by_hand(self, grants: Iterable[str]) -> list[str]:
        """What the vendor's programs cannot take back, and pull requests that wait."""
        app, ended = self.stack.stack.app, list(grants)
        if app is None:
            waits = proposal.load(self.deployment) if self._proposes else proposal.Pending()
            text = f"merge {waits.url}: until then the access list opens"
            return [f"{text} {grant}" for grant in ended if grant in waits.still]
        return [f"{app.vendor}: {step} ({grant})" for grant in ended for step in app.by_hand]

    def words(self) -> dict[str, str]:
        """Files and selections by their names."""
        found = {
            f'module.file.{FILE}.this["{name}"]': f"file {name}" for name in self.values().get("files", ())
        }
        modules = {"runner group": ("runner-group", GROUP), "secret": ("secret-access", SECRET)}
        modules["variable"] = ("variable", VARIABLE)
        for sort, name, _ in followers(self.stack.stack):
            module, kind = modules[sort]
            found[f'module.{module}.{kind}.this["{name}"]'] = f"{sort} {name}"
        return found

    # ------------------------------------------------------------------------------------------ apply

    def unchanged(self, connection: Github, saved: Record) -> None:
        """Ensure the lists are those that the plan saw: nobody's edit is overwritten unseen."""
        for path, now in self.seen(connection, saved).items():
            if now != saved.seen[path]:
                detail = (
                    f"Somebody changed {path} at {self.where} after the plan of `{self.stack.name}` was made."
                )
                hint = f"make a new plan, which shows the change:\ncf-infra plan {self.stack.name}"
                raise Failure(Diagnostic("stale-plan", detail=detail, hint=hint))

    def less(self, connection: Github, state: Mapping[str, Any]) -> JSON | None:
        """The values without anything that is not there now; None if nobody loses anything."""
        now = self._now(state)
        if now.get("files"):
            found = {path: connection.file(self.github.repository, path) for path in now["files"]}
            now["files"] = {path: file.content.decode() for path, file in found.items() if file is not None}
        left = narrowed(self.values(), now)
        return left if left != narrowed(now, now) else None

    def _now(self, state: Mapping[str, Any]) -> JSON:
        """What the state has, in the form of the stack's values."""
        names = {number: name for name, number in self._ids().items() if number is not None}
        now: JSON = {**self.values(), "files": {}, "runner_groups": {}, "secrets": {}, "variables": {}}
        if self.stack.stack.kind is Kind.APP:
            return {
                **self.values(),
                "repositories": sorted(name for kind, name in _known(state) if kind == APP),
            }
        for resource in resources(state.get("values") or {}):
            kind, name, told = resource["type"], str(resource.get("index", "")), resource["values"]
            chosen = [names.get(i, str(i)) for i in told.get("selected_repository_ids") or ()]
            if kind == FILE:
                now["files"][name] = told["content"]
            elif kind == GROUP:
                now["runner_groups"][name] = {
                    "public": told["allows_public_repositories"],
                    "repositories": chosen,
                }
            elif kind == SECRET:
                now["secrets"][name] = chosen
            elif kind == VARIABLE:
                now["variables"][name] = {"value": told["value"], "repositories": chosen}
        return now

    def withholding(self, keys: Iterable[str], state: Mapping[str, Any]) -> JSON:
        """The values without what pairs of a stack that failed would newly get."""
        gone, now = set(keys), self._now(state)
        access = {key: ends for key, ends in self.stack.access.items() if key not in gone}
        folder = self.folder
        stack = replace(self.stack, access=access)
        left = values(stack, self._resolved, folder.inventory, self.direct)
        if "files" in left:
            left["files"] = withheld_files(left["files"], now["files"], gone, self._classes())
        return left

    def seen(self, connection: Github, saved: Record) -> dict[str, str]:
        """The hashes of the lists."""
        found = {path: connection.file(self.github.repository, path) for path in saved.seen}
        return {path: file.sha if file else "" for path, file in found.items()}

    def take_back(self, destroy: bool) -> None:
        """Lists are OpenTofu's here; `less` is what goes before machines do."""

    def clear(self, connection: Any, saved: Record, state: Callable[[], Mapping[str, Any]]) -> None:
        """Give runner groups back what the state says they have: the provider does not look at it again."""
        if not saved.strays:
            return
        known = _known(state())
        for group in connection.runner_groups():
            mine = known.get((GROUP, group.name))
            if f"{GROUP}/{group.name}" in saved.strays and mine is not None:
                self.say(f"undoing what somebody else did to the runner group {group.name}")
                connection.regroup(group.id, [int(i) for i in mine.get("selected_repository_ids") or ()])

    def faults(self, connection: Any) -> list[Diagnostic]:
        """The provider tells what GitHub said."""
        del connection
        return []

    @property
    def _proposes(self) -> bool:
        return self.stack.stack.kind is Kind.GITHUB and not self.direct

    def give(self, tofu: Tofu, after: InventoryFile) -> list[Diagnostic]:
        """Propose the lists, where they go by pull request."""
        del tofu
        if not self._proposes:
            return []
        wanted = {path: raw.decode() for path, raw in self._lists().items()}
        withheld = self.stack.access.keys() - after.access.keys()
        if withheld:
            with self.connected() as github:
                now = github.file(self.github.repository, RUNNERS)
            known = {RUNNERS: now.content.decode()} if now else {}
            wanted = withheld_files(wanted, known, set(withheld), self._classes())
        return self._propose({path: text.encode() for path, text in wanted.items()})

    def _propose(self, wanted: Mapping[str, bytes]) -> list[Diagnostic]:
        with self.connected() as github:
            return proposal.propose(github, self.deployment, self.github.repository, wanted, self._classes())

    def materials(self, tofu: Tofu, after: InventoryFile) -> list[Material]:
        """GitHub makes no logins for us."""
        del tofu, after
        return []

    def settle(self) -> tuple[list[str], JSON] | None:
        """Nothing at GitHub comes from the master key."""
        return None

    def withdraw(self) -> None:
        """Propose that the lists go, where they came by pull request."""
        if self._proposes:
            self._propose({})

    def holds(self, state: Mapping[str, Any]) -> list[JSON]:
        """Who is named in lists, groups, selections and at the app, by the state."""
        names = {number: name for name, number in self._ids().items() if number is not None}
        found = []
        for resource in resources(state.get("values") or {}):
            found += self._held(resource, names) if resource.get("mode") == "managed" else []
        return sorted(found, key=lambda row: (row["place"], row["name"], row["repository"]))

    def _held(self, resource: Mapping[str, Any], names: Mapping[int, str]) -> list[JSON]:
        kind, name, told = resource["type"], str(resource.get("index", "")), resource["values"]
        if kind == FILE and name == ACCESS:
            entries = rows(github_parts.listed(told.get("content")) or AccessList())
            return [
                _row(
                    "access list",
                    label,
                    repository,
                    [key_of_row((repository, label, policy), self._classes())],
                )
                for repository, label, policy in entries
            ]
        if kind == APP:
            grants = [key for key in sorted(self._pairs) if key.partition("/")[0] == name]
            return [_row("app", str(told["installation_id"]), name, grants)]
        if kind not in SORTS:
            return []
        selected = [names.get(i, str(i)) for i in told.get("selected_repository_ids") or ()]
        return [_row(SORTS[kind], name, r, self._grants(SORTS[kind], name, r)) for r in selected]

    # ----------------------------------------------------------------------------------------- proof

    def checks(
        self, connection: Github, before: InventoryFile, after: InventoryFile
    ) -> dict[str, list[Check]]:
        """For each grant that ended, every place that named its repository and should not any more."""
        there = {_place(row) for row in after.holds}
        ended = set(before.access.keys() - after.access.keys())
        ask = Ask(connection, self.github.repository)
        found = self._proposed(ask, ended) if self._proposes else {}
        for row in before.holds:
            if _place(row) in there:
                continue
            place, name, repository = _place(row)
            for grant in sorted(ended.intersection(row["grants"])) or [repository]:
                label = f"{place}, {name}" if place == "access list" else f"{place} {name}"
                found.setdefault(grant, []).append((label, partial(ask.still, place, name, repository)))
        return found

    def _proposed(self, ask: Ask, ended: set[str]) -> dict[str, list[Check]]:
        """The access list's part, where people merge it: what waits is told by `by_hand`, the rest is asked."""
        waits, catalog = proposal.load(self.deployment), self._resolved.catalog
        found: dict[str, list[Check]] = {}
        for grant in sorted({*ended, *waits.settled}):
            repository, _, resource = grant.partition("/")
            labels = {o.offer.label or resource for o in catalog.offers(resource)} or {resource}
            found[grant] = (
                []
                if grant in waits.still
                else [
                    (f"access list, {label}", partial(ask.still, "access list", label, repository))
                    for label in sorted(labels)
                ]
            )
        return found


def _row(place: str, name: str, repository: str, grants: list[str]) -> JSON:
    return {"place": place, "name": name, "repository": repository, "grants": grants}


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["place"], row["name"], row["repository"]


def _known(state: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What the state has, by (type, index)."""
    return {
        (r["type"], str(r.get("index", ""))): r["values"]
        for r in resources(state.get("values") or {})
        if r.get("mode") == "managed"
    }


class Ask:
    """Asks GitHub itself whether a repository is still named somewhere; each list is fetched once a try."""

    def __init__(self, connection: Github, repository: str) -> None:
        self._github = connection
        self._repository = repository
        self.named = cache(self._read)

    def still(self, place: str, name: str, repository: str) -> bool:
        """Is it there? Asked again for some seconds before the answer is yes."""
        for pause in (*TRIES, None):
            if repository.lower() not in self.named(place, name):
                return False
            if pause is not None:
                time.sleep(pause)
                self.named.cache_clear()
        return True

    def _read(self, place: str, name: str) -> frozenset[str]:
        """The repositories that are named there now, in small letters."""
        return frozenset(repository.lower() for repository in self._names(place, name))

    def _names(self, place: str, name: str) -> Iterable[str]:
        if place == "access list":
            listed = github_look.access_list(self._github, self._repository)
            return [repository for repository, label, _ in rows(listed) if label == name]
        return [repository.name for repository in self._selected(place, name)]

    def _selected(self, place: str, name: str) -> Iterable[Repository]:
        try:
            if place == "app":
                return self._github.installation_repositories(int(name))
            if place == "secret":
                return self._github.secret_repositories(name)
            if place == "variable":
                return self._github.variable_repositories(name)
            groups = [group.id for group in self._github.runner_groups() if group.name == name]
            return self._github.group_repositories(groups[0]) if groups else ()
        except Failure as failure:
            if [fault.code for fault in failure.diagnostics] != ["not-at-github"]:
                raise
            return ()  # the whole place is gone
