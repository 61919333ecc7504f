"""What a plan does at GitHub, entry by entry: which repository gets or loses what, and what somebody else changed.

Pure. A list file counts by its entries, a selection by its repositories, so that one request more in the same file
changes nothing of what was said of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cf_infra.access import AccessList, read_access
from cf_infra.diagnostics import Failure
from cf_infra.github_files import ACCESS, Row, key_of_row, rows
from cf_infra.plan import Part, Parts

FILE = "github_repository_file"
GROUP = "github_actions_runner_group"
SECRET = "github_actions_organization_secret_repositories"
VARIABLE = "github_actions_organization_variable"
APP = "github_app_installation_repository"
SORTS = {GROUP: "runner group", SECRET: "secret", VARIABLE: "variable"}
"""Resources that have a selection of repositories, and what people call them."""
_TELLS = {
    FILE: ("content",),
    GROUP: ("selected_repository_ids", "name", "visibility", "allows_public_repositories"),
    SECRET: ("selected_repository_ids",),
    VARIABLE: ("selected_repository_ids", "value", "visibility"),
    APP: ("repository",),
}
"""What counts of them when somebody else changes it; the rest are marks of GitHub's own."""

Grants = Callable[[str, str, str], list[str]]
"""(sort, name, repository) -> the grants for which it is there."""


@dataclass(frozen=True)
class Divider:
    """Divides changes into parts. `names`: repositories by id; `classes`: runner classes by label."""

    names: Mapping[int, str]
    classes: Mapping[str, str]
    grants: Grants

    def __call__(self, change: Mapping[str, Any]) -> Parts | None:
        """The parts of a resource change of a plan; None where it has none."""
        told = change["change"]
        before, after = told.get("before") or {}, told.get("after") or {}
        if change["type"] == FILE and change.get("index") == ACCESS:
            return self._entries(before.get("content"), after.get("content"))
        if change["type"] in SORTS:
            return self._selection(change["type"], str(change.get("index")), before, after)
        return None

    def _entries(self, before: str | None, after: str | None) -> Parts | None:
        old, new = listed(before), listed(after)
        if old is None or new is None:
            return None
        found = [
            Part("/".join(row), action, entry_words(row), (key_of_row(row, self.classes),), policy)
            for row, action, policy in differences(old, new)
        ]
        return Parts(tuple(found), frozenset(["content"])) if found else None

    def _selection(
        self, kind: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Parts | None:
        old = {int(i) for i in before.get("selected_repository_ids") or ()}
        new = {int(i) for i in after.get("selected_repository_ids") or ()}
        found = [
            self._repository(kind, name, repository, "create" if repository in new else "delete")
            for repository in sorted(old ^ new)
        ]
        return Parts(tuple(found), frozenset(["selected_repository_ids"])) if found else None

    def _repository(self, kind: str, name: str, repository_id: int, action: str) -> Part:
        repository = self.names.get(repository_id, f"repository {repository_id}")
        grants = tuple(self.grants(SORTS[kind], name, repository))
        return Part(repository, action, f"{SORTS[kind]} {name}: {repository}", grants, repository)


def entry_words(row: Row) -> str:
    """An entry of the access list for people."""
    repository, label, policy = row
    return f"access list: {repository} may use {label} (policy {policy})"


def listed(content: str | None) -> AccessList | None:
    """The list that a file holds; empty where there is none, None where it cannot be read."""
    try:
        return read_access(content.encode(), ACCESS) if content else AccessList()
    except Failure:
        return None


def differences(old: AccessList, new: AccessList) -> Iterator[tuple[Row, str, Any]]:
    """(entry, create, update or delete, what it says), sorted. A policy's name says nothing of what it allows."""
    before, after = rows(old), rows(new)
    for row in sorted(before.keys() | after.keys()):
        if row not in after:
            yield row, "delete", None
        elif before.get(row) != after[row]:
            action = "update" if row in before else "create"
            yield row, action, after[row].model_dump(mode="json", exclude={"id"})


def foreign_changes(shown: Mapping[str, Any], divide: Divider, files: bool = True) -> list[str]:
    """What somebody else changed since our last apply, in words, from a plan's `resource_drift`.

    `files`: False where people merge what we propose, so that their changes are ours.
    """
    found: list[str] = []
    for change in shown.get("resource_drift") or ():
        ours = change.get("type") in _TELLS and change.get("mode") == "managed"
        if ours and (files or change["type"] != FILE):
            found += _foreign(change, divide)
    return sorted(found)


def _foreign(change: Mapping[str, Any], divide: Divider) -> Iterable[str]:
    told = change["change"]
    before, after = told.get("before") or {}, told.get("after") or {}
    what = f"{_SORT_NAMES[change['type']]} {change.get('index')}"
    if not after:
        yield f"{what} was taken away"
        return
    parts = divide(change)
    words = {"create": "added", "delete": "taken away", "update": "changed"}
    for part in parts.parts if parts else ():
        yield f"{words[part.action]}: {part.what}"
    covered = parts.attributes if parts else frozenset()
    for name in _TELLS[change["type"]]:
        if name not in covered and before.get(name) != after.get(name):
            yield f"{what}: {name} was changed"


_SORT_NAMES = {FILE: "file", APP: "repository of the app", **SORTS}


def listed_pairs(shown: Mapping[str, Any], classes: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The pairs of the access list before and after the plan, by the plan's own values."""
    before: set[str] = set()
    after: set[str] = set()
    for change in shown.get("resource_changes") or ():
        if change.get("type") == FILE and change.get("index") == ACCESS:
            for side, found in (("before", before), ("after", after)):
                values = change["change"].get(side) or {}
                entries = listed(values.get("content")) or AccessList()
                found |= {key_of_row(row, classes) for row in rows(entries)}
    return before, after
