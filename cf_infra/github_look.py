"""A look around at GitHub before a plan: what is there and in no state, which repositories have which number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cf_infra import github_parts
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.github_files import ACCESS
from cf_infra.github_login import GithubLogin
from cf_infra.github_parts import APP, FILE, GROUP, SECRET, VARIABLE
from cf_infra.github_rest import Github
from cf_infra.surroundings import JSON, Found

WRITE_DELAY = 1000
"""Milliseconds between two writes of the provider: GitHub asks for one second."""


@dataclass
class Look:
    """One look. `wanted` are the stack's values, `known` what the state has: (type, index)."""

    github: Github
    login: GithubLogin
    wanted: Mapping[str, Any]
    known: set[tuple[str, str]]
    destroy: bool
    adopt: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    told: list[Diagnostic] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    def organisation(self) -> Found:
        """Of a stack of kind github. Raises Failure where something must be made by hand first."""
        self._files()
        self._runner_groups()
        self._secrets()
        self._variables()
        return self._found({"repository_ids": self._ids(self._followed())})

    def app(self) -> Found:
        """Of a stack of kind app."""
        number = self.wanted["installation"]
        path = f"/user/installations/{number}/repositories"
        listed = self.github.get(path, per_page=1)
        if listed is None:
            raise Failure(self._no_installation(number))
        if listed.get("repository_selection") == "all":
            raise Failure(self._all_repositories(number))
        there = {str(row["name"]) for row in self.github.all(path, "repositories")}
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
        return Found(values=values, notes=self.notes, seen=self.seen, told=self.told)

    def _adopt(self, sort: str, kind: str, name: str, import_id: str, note: str) -> None:
        if (kind, name) not in self.known and not self.destroy:
            self.adopt.setdefault(sort, {})[name] = import_id
            self.notes.append(f"{note}: apply adopts it")

    # ---------------------------------------------------------------------------------- what is there

    def _files(self) -> None:
        repository = self.wanted["repository"]
        if self.wanted["files"] and self.github.repository(repository) is None:
            raise Failure(self._no_repository(repository))
        for path in self.wanted["files"]:
            found = self.github.file(repository, path)
            self.seen[path] = found[0] if found else ""
            if found is None:
                continue
            if path == ACCESS and github_parts.listed(found[1]) is None:
                raise Failure(unreadable(repository))
            self._adopt("files", FILE, path, f"{repository}:{path}:", f"{path} is in {repository} already")

    def _runner_groups(self) -> None:
        names = self.wanted["runner_groups"]
        for row in self._listed("runner-groups", "runner_groups") if names else ():
            if row["name"] in names:
                note = f"runner group {row['name']} is there already"
                self._adopt("runner_groups", GROUP, row["name"], str(row["id"]), note)

    def _secrets(self) -> None:
        names = self.wanted["secrets"]
        there = {row["name"]: row for row in self._listed("secrets", "secrets")} if names else {}
        for name in names:
            if name not in there or there[name].get("visibility") != "selected":
                raise Failure(self._no_secret(name, there.get(name)))
            self._adopt("secrets", SECRET, name, name, f"secret {name} has a selection already")

    def _variables(self) -> None:
        names = self.wanted["variables"]
        for row in self._listed("variables", "variables") if names else ():
            if row["name"] in names:
                note = f"variable {row['name']} is there already"
                self._adopt("variables", VARIABLE, row["name"], row["name"], note)

    def _listed(self, path: str, key: str) -> Iterable[JSON]:
        return self.github.all(f"/orgs/{quote(self.login.organisation)}/actions/{path}", key)

    def _followed(self) -> set[str]:
        names: set[str] = set()
        for part in ("runner_groups", "variables"):
            names.update(*(entry["repositories"] for entry in self.wanted[part].values()))
        return names.union(*self.wanted["secrets"].values())

    # ----------------------------------------------------------------------------------- repositories

    def _ids(self, names: Iterable[str]) -> dict[str, int | None]:
        """The number of each; None for what is not there, or is called otherwise now: that gets nothing."""
        found: dict[str, int | None] = {}
        for name in sorted(names):
            row = self.github.repository(name)
            now = f"{row['owner']['login']}/{row['name']}" if row else ""
            same = now.lower() == f"{self.login.organisation}/{name}".lower()
            found[name] = int(row["id"]) if row and same else None
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

    def _no_secret(self, name: str, row: JSON | None) -> Diagnostic:
        why = f"is for {row['visibility']} repositories" if row else "is not there"
        detail = f"The organisation's secret {name} {why}. Its value does not go through OpenTofu."
        hint = f"make it so; the command asks for the value:\ngh secret set {name} --org {self.login.organisation} "
        return Diagnostic("not-at-github", detail=detail, hint=hint + "--visibility selected")

    def _no_installation(self, number: str) -> Diagnostic:
        detail = f"GitHub shows no installation {number} of an app to the owner of the token in {self.login.variable}."
        hint = "the number is in the address of the app's page in the organisation's settings;\n"
        hint += "the token must be of an owner"
        return Diagnostic("not-at-github", detail=detail, hint=hint)

    def _all_repositories(self, number: str) -> Diagnostic:
        detail = f"Installation {number} is for all repositories, so every one of them has access, with a grant or not."
        hint = "choose `Only select repositories` on the app's page in the organisation's settings"
        return Diagnostic("not-at-github", detail=detail, hint=hint)

    def _undeclared(self, number: str, names: list[str]) -> Diagnostic:
        detail = f"Installation {number} has repositories that no grant names and that we did not add: {some(names)}."
        hint = "grant it in grants.yaml, or take it away on the app's page in the organisation's settings"
        return Diagnostic("undeclared", detail=detail, hint=hint)


def unreadable(repository: str) -> Diagnostic:
    """The access list at GitHub breaks the rules of its format, so nobody can say who would lose what."""
    detail = f"{ACCESS} in {repository} cannot be read as an access list, so what a plan would take away is not known."
    hint = "mend it there; this says what is wrong with it:\ncf-infra import access .access.yml"
    return Diagnostic("bad-access-list", detail=detail, hint=hint)
