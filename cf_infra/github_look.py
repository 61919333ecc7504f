"""A look around at GitHub before a plan: what is there and in no state, which repositories have which number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cf_infra import github_parts
from cf_infra.access import AccessList
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.github import Github, RunnerGroup
from cf_infra.github_files import ACCESS
from cf_infra.github_login import GithubLogin
from cf_infra.github_parts import APP, FILE, GROUP, SECRET, VARIABLE
from cf_infra.surroundings import JSON, Found

LISTED_FROM = 300
"""So many names are looked up by listing the organisation's repositories: 30,000 of them are 300 pages."""
WRITE_DELAY = 1000
"""Milliseconds between two writes of the provider: GitHub asks for one second."""


@dataclass
class Look:
    """One look. `wanted` are the stack's values, `known` what the state has, by (type, index)."""

    github: Github
    login: GithubLogin
    wanted: Mapping[str, Any]
    known: Mapping[tuple[str, str], Mapping[str, Any]]
    destroy: bool
    adopt: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    told: list[Diagnostic] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    items: list[JSON] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def organisation(self) -> Found:
        """Of a stack of kind github. Raises Failure where something must be made by hand first."""
        self._files()
        self._runner_groups()
        self._secrets()
        self._variables()
        kept = {} if self.destroy else self.kept
        return self._found({"repository_ids": self._ids(followed(self.wanted)), "kept_files": kept})

    def app(self) -> Found:
        """Of a stack of kind app."""
        number = int(self.wanted["installation"])
        selection = next(
            (a.repository_selection for a in self.github.installations() if a.id == number), None
        )
        if selection is None:
            raise Failure(self._no_installation(number))
        if selection == "all":
            raise Failure(self._all_repositories(number))
        there = {repository.name for repository in self.github.installation_repositories(number)}
        wanted = set(self.wanted["repositories"])
        for name in sorted(wanted & there):
            self._adopt(
                "repositories", APP, name, f"{number}:{name}", f"{name} is chosen for the app already"
            )
        ours = {name for kind, name in self.known if kind == APP}
        if undeclared := sorted(there - wanted - ours):
            self.told.append(self._undeclared(number, undeclared))
        absent = [name for name, found in self._ids(wanted - there).items() if found is None]
        return self._found({"absent": sorted(absent)})

    def _found(self, values: JSON) -> Found:
        delay = 1 if self.login.is_local else WRITE_DELAY
        values |= {
            "organisation": self.login.organisation,
            "adopt": {} if self.destroy else self.adopt,
            "write_delay_ms": delay,
        }
        return Found(
            values=values,
            items=self.items,
            notes=self.notes,
            strays=self.strays,
            seen=self.seen,
            told=self.told,
            gone=self.gone,
        )

    def _adopt(self, sort: str, kind: str, name: str, import_id: str, note: str) -> None:
        if (kind, name) not in self.known and not self.destroy:
            self.adopt.setdefault(sort, {})[name] = import_id
            self.notes.append(f"{note}: apply adopts it")

    # ---------------------------------------------------------------------------------- what is there

    def _files(self) -> None:
        repository = self.wanted["repository"]
        for path in self.see(repository, self.wanted["files"]):
            note = f"{path} is in {repository} already"
            self._adopt("files", FILE, path, f"{repository}:{path}:", note)

    def see(self, repository: str, paths: Collection[str]) -> list[str]:
        """Note how these files are; return those that are there. Raises Failure where the list cannot be read."""
        if paths and self.github.repository(repository) is None:
            raise Failure(self._no_repository(repository))
        for path in paths:
            found = self.github.file(repository, path)
            self.seen[path] = found.sha if found else ""
            if path == ACCESS:
                access_list(self.github, repository)
            if found is not None and path not in self.wanted["files"] and (FILE, path) in self.known:
                self.kept[path] = found.content.decode("utf-8", "replace")
        return [path for path in paths if self.seen[path]]

    def _runner_groups(self) -> None:
        names = self.wanted["runner_groups"]
        mine = {name: str(told["id"]) for (kind, name), told in self.known.items() if kind == GROUP}
        groups = self.github.runner_groups() if names or mine else []
        numbers = {str(group.id) for group in groups}
        for name in sorted(name for name, number in mine.items() if number not in numbers):
            self._lost(name)
        for group in groups:
            if group.name in names:
                note = f"runner group {group.name} is there already"
                self._adopt("runner_groups", GROUP, group.name, str(group.id), note)
                self._regrouped(group)

    def _lost(self, name: str) -> None:
        """A group of the state that was deleted: no plan would notice, and no apply could change or delete it."""
        self.gone.append(f'module.runner-group.{GROUP}.this["{name}"]')
        self.known = {key: told for key, told in self.known.items() if key != (GROUP, name)}
        if name in self.wanted["runner_groups"] and not self.destroy:
            detail = f"Somebody else deleted the runner group {name} at GitHub."
            hint = "an apply makes it what grants.yaml says; runners that were in it have to be added anew"
            self.told.append(Diagnostic("changed-by-others", detail=detail, hint=hint))

    def _regrouped(self, group: RunnerGroup) -> None:
        """What somebody else did to a group's repositories: the provider never looks at them again by itself.

        An apply gives the group what the state says before OpenTofu goes on from there.
        """
        mine = self.known.get((GROUP, group.name))
        if mine is None or self.destroy:
            return
        had = {int(number) for number in mine.get("selected_repository_ids") or ()}
        there = {repository.id: repository.name for repository in self.github.group_repositories(group.id)}
        for number in sorted(had ^ there.keys()):
            who = there.get(number) or f"repository {number}"
            did, action = ("added", "delete") if number in there else ("taken away", "create")
            what = f"runner group {group.name}: {who}, {did} by somebody else"
            address = f"stray:{GROUP}/{group.name}#{number}"
            self.items.append({"address": address, "action": action, "what": what, "grants": []})
            self.notes.append(f"{what}: apply undoes it")
        if had != there.keys():
            self.strays.append(f"{GROUP}/{group.name}")

    def _secrets(self) -> None:
        names = self.wanted["secrets"]
        there = {secret.name: secret.visibility for secret in self.github.secrets()} if names else {}
        for name in names:
            if there.get(name) != "selected":
                raise Failure(self._no_secret(name, there.get(name)))
            self._adopt("secrets", SECRET, name, name, f"secret {name} has a selection already")

    def _variables(self) -> None:
        names = self.wanted["variables"]
        for variable in self.github.variables() if names else ():
            if variable.name in names:
                note = f"variable {variable.name} is there already"
                self._adopt("variables", VARIABLE, variable.name, variable.name, note)
                self._empty_selection(variable.name)

    def _empty_selection(self, name: str) -> None:
        """The provider looks at a variable's repositories only where it knows of some."""
        if self.wanted["variables"][name]["repositories"]:
            return
        if found := [repository.name for repository in self.github.variable_repositories(name)]:
            detail = f"Variable {name} is for repositories without a grant: {some(found)}."
            hint = "take them away in the organisation's settings, Secrets and variables, Actions"
            self.told.append(Diagnostic("undeclared", detail=detail, hint=hint))

    # ----------------------------------------------------------------------------------- repositories

    def _ids(self, names: Iterable[str]) -> dict[str, int | None]:
        """The number of each; None for what is not there, or is called otherwise now: that gets nothing."""
        found: dict[str, int | None] = {}
        wanted = sorted(names)
        listed = {r.name: r for r in self.github.repositories()} if len(wanted) >= LISTED_FROM else {}
        for name in wanted:
            row = listed.get(name) or self.github.repository(name)
            now = row.full_name if row else ""
            same = now.lower() == f"{self.login.organisation}/{name}".lower()
            found[name] = row.id if row and same else None
            if found[name] is None:
                self.told.append(self._unknown(name, now))
        return found

    def _unknown(self, name: str, now: str) -> Diagnostic:
        if now:
            detail = f"`{name}` is called {now} now. It gets nothing under the old name."
            return Diagnostic(
                "no-repository", detail=detail, hint="write its new name into grants.yaml, if that is meant"
            )
        detail = f"{self.login.organisation} has no repository `{name}`, or the token may not see it. It gets nothing."
        return Diagnostic(
            "no-repository", detail=detail, hint="mend the name in grants.yaml, or remove the entry"
        )

    # ------------------------------------------------------------------------------ what has to be made

    def _no_repository(self, name: str) -> Diagnostic:
        detail = f"{self.login.organisation} has no repository `{name}` for Cirun's lists, or the token may not see it."
        hint = f"make it first:\ngh repo create {self.login.organisation}/{name} --public --add-readme"
        return Diagnostic("not-at-github", detail=detail, hint=hint)

    def _no_secret(self, name: str, visibility: str | None) -> Diagnostic:
        why = f"is for {visibility} repositories" if visibility else "is not there"
        detail = f"The organisation's secret {name} {why}. Its value does not go through OpenTofu."
        hint = f"make it so; the command asks for the value:\ngh secret set {name} --org {self.login.organisation} "
        return Diagnostic("not-at-github", detail=detail, hint=hint + "--visibility selected")

    def _no_installation(self, number: int) -> Diagnostic:
        who = f"the owner of the token that {self.login.token.named} gives"
        detail = f"GitHub shows no installation {number} of an app to {who}."
        hint = "the number is in the address of the app's page in the organisation's settings;\n"
        hint += "the token must be of an owner"
        return Diagnostic("not-at-github", detail=detail, hint=hint)

    def _all_repositories(self, number: int) -> Diagnostic:
        detail = f"Installation {number} is for all repositories, so every one of them has access, with a grant or not."
        hint = "choose `Only select repositories` on the app's page in the organisation's settings"
        return Diagnostic("not-at-github", detail=detail, hint=hint)

    def _undeclared(self, number: int, names: list[str]) -> Diagnostic:
        detail = f"Installation {number} has repositories that no grant names and that we did not add: {some(names)}."
        hint = "grant it in grants.yaml, or take it away on the app's page in the organisation's settings"
        return Diagnostic("undeclared", detail=detail, hint=hint)


def followed(wanted: Mapping[str, Any]) -> set[str]:
    """The names of all repositories that are selected for anything."""
    names: set[str] = set()
    for part in ("runner_groups", "variables"):
        names.update(*(entry["repositories"] for entry in wanted[part].values()))
    return names.union(*wanted["secrets"].values())


def access_list(github: Github, repository: str) -> AccessList:
    """The access list at GitHub; empty where there is none. Raises Failure("bad-access-list")."""
    found = github.file(repository, ACCESS)
    listed = github_parts.listed(found.content.decode("utf-8", "replace") if found else None)
    if listed is None:
        raise Failure(unreadable(repository))
    return listed


def unreadable(repository: str) -> Diagnostic:
    """The access list at GitHub breaks the rules of its format, so nobody can say who would lose what."""
    detail = f"{ACCESS} in {repository} cannot be read as an access list, so what a plan would take away is not known."
    hint = "mend it there; this says what is wrong with it:\ncf-infra import access .access.yml"
    return Diagnostic("bad-access-list", detail=detail, hint=hint)
