"""What a plan does at GitHub, entry by entry, and what may be done of it when: without GitHub or OpenTofu."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cf_infra import github_files, github_parts, plan, project
from cf_infra.access import AccessList, Control, Policy, access_text
from cf_infra.github_files import ACCESS, RUNNERS
from cf_infra.github_parts import APP, FILE, GROUP, VARIABLE, Divider

CLASSES = {"cirun-gpu": "gpu"}
ADDRESS = f'module.file.{FILE}.this["{ACCESS}"]'


def access(*entries: tuple[str, str], **roles: str) -> AccessList:
    """A list with these (repository, label) entries; `roles` by repository, admin if not told."""
    repositories = dict.fromkeys(repository for repository, _ in entries)
    labels = dict.fromkeys(label for _, label in entries)
    return AccessList(
        policies=[Policy(id=f"{r}-policy", repo=r, roles=[roles.get(r, "admin")]) for r in repositories],
        access_control=[
            Control(resource=label, policies=[f"{r}-policy" for r, other in entries if other == label])
            for label in labels
        ],
    )


def text(*entries: tuple[str, str], **roles: str) -> str:
    return access_text(access(*entries, **roles))


def change(kind: str, index: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    actions = ["create"] if before is None else ["delete"] if after is None else ["update"]
    modules = {FILE: "file", GROUP: "runner-group", VARIABLE: "variable", APP: "app-access"}
    return {
        "address": f'module.{modules[kind]}.{kind}.this["{index}"]',
        "mode": "managed",
        "type": kind,
        "index": index,
        "change": {"actions": actions, "before": before, "after": after, **more},
    }


def divider(**names: int) -> Divider:
    numbers = {number: name for name, number in names.items()}
    return Divider(numbers, CLASSES, lambda sort, name, repository: [f"{repository}/gpu"])


def summary(*changes: dict[str, Any]) -> plan.PlanSummary:
    shown = {"format_version": "1.2", "resource_changes": list(changes)}
    return plan.summarise(shown, "access", {}, {}, divider(one=1, two=2))


def whats(*changes: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.action, item.what) for item in summary(*changes).items]


def file(before: str | None, after: str | None, **more: Any) -> dict[str, Any]:
    sides = [None if side is None else {"content": side} for side in (before, after)]
    return change(FILE, ACCESS, *sides, **more)


def test_a_list_counts_by_its_entries() -> None:
    old = text(("one", "cirun-gpu"), ("two", "cirun-gpu"))
    new = text(("two", "cirun-gpu"), ("three", "other"), two="write")
    assert whats(file(old, new)) == [
        ("delete", "access list: one may use cirun-gpu (policy one-policy)"),
        ("create", "access list: three may use other (policy three-policy)"),
        ("update", "access list: two may use cirun-gpu (policy two-policy)"),
    ]
    items = summary(file(old, new)).items
    assert items[0].grants == ("one/gpu",) and items[1].grants == ("three/other",)
    assert items[0].address == f"{ADDRESS}#one/cirun-gpu/one-policy"


def test_another_request_in_the_same_file_changes_nothing_of_this_one() -> None:
    """The hashes of an entry are the same, whatever else the file has."""
    alone = summary(file(text(), text(("one", "cirun-gpu"))))
    busy = summary(file(text(("two", "x")), text(("two", "x"), ("one", "cirun-gpu"))))
    assert alone.hashes == busy.hashes and alone.review_digest == busy.review_digest
    other = summary(file(text(), text(("one", "cirun-gpu"), one="write")))
    assert other.hashes != alone.hashes


def test_what_the_entries_do_not_tell_is_told_of_the_file() -> None:
    same = text(("one", "cirun-gpu"))
    assert whats(file(same, same + "# a remark\n")) == [("update", f"file {ACCESS}; changes: content")]
    assert [action for action, _ in whats(file(None, same))] == ["create", "create"]
    adopted = file(text(("two", "x")), same, importing={"id": "x"})
    assert ("update", f"adopt file {ACCESS}; changes: content") in whats(adopted)
    broken = whats(file("policies: nobody\n", same))
    assert broken == [("update", f"file {ACCESS}; changes: content")]


def test_a_selection_counts_by_its_repositories() -> None:
    before, after = {"selected_repository_ids": [1]}, {"selected_repository_ids": [2, 77]}
    assert whats(change(GROUP, "cf-gpu", before, after)) == [
        ("delete", "runner group cf-gpu: one"),
        ("create", "runner group cf-gpu: repository 77"),
        ("create", "runner group cf-gpu: two"),
    ]
    more = whats(change(VARIABLE, "CF", {**before, "value": "a"}, {**after, "value": "b"}))
    assert ("update", "variable CF; changes: selected_repository_ids, value") in more


def test_somebody_elses_changes_are_told() -> None:
    drift = [
        file(text(("one", "cirun-gpu")), text(("two", "cirun-gpu"))),
        change(GROUP, "cf-gpu", {"etag": "1", "name": "cf-gpu"}, {"etag": "2", "name": "cf-gpu"}),
        change(VARIABLE, "CF", {"value": "a"}, {"value": "b"}),
        change(APP, "one", {"repository": "one"}, None),
    ]
    shown = {"resource_drift": drift}
    assert github_parts.foreign_changes(shown, divider()) == [
        "added: access list: two may use cirun-gpu (policy two-policy)",
        "repository of the app one was taken away",
        "taken away: access list: one may use cirun-gpu (policy one-policy)",
        "variable CF: value was changed",
    ]
    assert len(github_parts.foreign_changes(shown, divider(), files=False)) == 2


def test_pairs_of_the_list_before_and_after() -> None:
    shown = {"resource_changes": [file(text(("one", "cirun-gpu")), text(("two", "other")))]}
    assert github_parts.listed_pairs(shown, CLASSES) == ({"one/gpu"}, {"two/other"})


# ------------------------------------------------------------------------------------------ in two steps


def values(files: dict[str, str], *repositories: str) -> dict[str, Any]:
    return {
        "repository": ".cirun",
        "files": files,
        "runner_groups": {"g": {"public": True, "repositories": list(repositories)}},
        "secrets": {"S": list(repositories)},
        "variables": {"V": {"value": "v", "repositories": list(repositories)}},
    }


def test_the_first_step_gives_nobody_anything() -> None:
    now = values({ACCESS: text(("one", "a"), ("two", "a")), RUNNERS: "old"}, "one", "two")
    wanted = values({ACCESS: text(("two", "a"), ("three", "a")), RUNNERS: "new"}, "two", "three")
    wanted["secrets"]["NEW"] = ["two"]
    left = github_files.narrowed(wanted, now)
    assert [row[:2] for row in github_files.rows(github_parts.listed(left["files"][ACCESS]) or access())] == [
        ("two", "a")
    ]
    assert left["files"][RUNNERS] == "old"
    assert left["runner_groups"]["g"]["repositories"] == left["secrets"]["S"] == ["two"]
    assert left["variables"]["V"]["repositories"] == ["two"] and "NEW" not in left["secrets"]


def test_there_is_no_first_step_where_nobody_loses_anything() -> None:
    now = values({ACCESS: text(("one", "a")) + "# theirs\n"}, "one")
    wanted = values({ACCESS: text(("one", "a"), ("two", "a"))}, "one", "two")
    assert github_files.narrowed(wanted, now) == github_files.narrowed(now, now)


def test_of_an_app_as_well() -> None:
    now = {"installation": "1", "repositories": ["keep", "one"]}
    wanted = {"installation": "1", "repositories": ["keep", "two"]}
    assert github_files.narrowed(wanted, now)["repositories"] == ["keep"]


def test_what_is_withheld_is_in_no_list() -> None:
    files = {ACCESS: text(("one", "cirun-gpu"), ("two", "cirun-gpu"), ("one", "b")), RUNNERS: "new"}
    left = github_files.withheld_files(files, {RUNNERS: "old"}, {"one/gpu"}, CLASSES)
    listed = github_parts.listed(left[ACCESS])
    assert listed is not None
    assert {row[:2] for row in github_files.rows(listed)} == {("two", "cirun-gpu"), ("one", "b")}
    assert left[RUNNERS] == "old"
    assert RUNNERS not in github_files.withheld_files(files, {}, {"one/gpu"}, CLASSES)
    assert github_files.withheld_files({}, {}, {"one/gpu"}, CLASSES) == {}


SAVED = [
    ("f#one/a", "delete", "gone"),
    ("f#two/a", "update", "two"),
    ("f#three/a", "create", "three"),
    ("g", "create", "group"),
]


@pytest.mark.parametrize(
    ("hashes", "beyond"),
    [
        ([("f#one/a", "delete", "gone")], []),
        ([("f#two/a", "delete", "gone")], []),
        ([("f#two/a", "create", "two")], []),
        ([("f", "update", "whatever the rest of it is")], []),
        ([("f#two/a", "create", "somebody else")], ["f#two/a"]),
        ([("f#three/a", "create", "more")], ["f#three/a"]),
        ([("f#three/a", "delete", "gone")], ["f#three/a"]),
        ([("f#four/a", "create", "four"), ("h", "delete", "x")], ["f#four/a", "h"]),
        ([("g", "create", "another")], ["g"]),
        ([("g", "update", "group")], ["g"]),
    ],
)
def test_a_step_does_nothing_beyond_the_saved_plan(
    hashes: list[tuple[str, str, str]], beyond: list[str]
) -> None:
    assert plan.beyond(hashes, SAVED) == beyond


def test_a_selection_belongs_to_the_grants_of_its_resources() -> None:
    folder = project.read(Path(__file__).parent / "golden" / "github", date(2026, 6, 1))
    resolved = folder.resolved()
    stack = resolved.stacks["access"]
    found = github_files.grants_of(stack, resolved, "secret", "STAGING_TOKEN", "llama.cpp-feedstock")
    assert found == ["llama.cpp-feedstock/cpu-large", "llama.cpp-feedstock/gpu-large"]
    assert github_files.grants_of(stack, resolved, "secret", "ANOTHER", "llama.cpp-feedstock") == []


def test_what_is_kept_at_github() -> None:
    stacks = project.read(Path(__file__).parent / "golden" / "github", date(2026, 6, 1)).inventory.stacks
    assert {name for name, stack in stacks.items() if github_files.is_ours(stack)} == {"access", "namespace"}
