"""Who must approve what, and who did: each rule with the people who try to get around it."""

from __future__ import annotations

from typing import Any

import pytest
from test_reviewed import LISTS, OWN, entry, folder

from cf_infra import approvals
from cf_infra.approvals import Review, Said, missing, needs, rows, teams_of
from cf_infra.model import Inventory
from cf_infra.parse import parse
from cf_infra.touched import Touched, touched

HEAD, OLD = "b" * 40, "a" * 40
SETTINGS = """\
version: 1
operators: [olga, peter, "renovate[bot]"]
approvals:
  default: [conda-forge/core, zoe]
  stacks: {lab: [carol, dave]}
  required: 1
"""
TEAMS = {"conda-forge/core": ["Ann", "bob"]}
GPU = entry("one", "gpu-large")
CPU = entry("two", "cpu-dedicated")


def inventory(settings: str = SETTINGS, **users: str) -> Inventory:
    files = {f"users/{name}.json": text.encode() for name, text in users.items()}
    return parse({**folder([]).files, "settings.yaml": settings.encode(), **files}).inventory


def given(*entries: str, **more: Any) -> Touched:
    return touched(folder([]), folder(entries, **more))


def reviews(*said: tuple[str, str, str]) -> tuple[Review, ...]:
    return tuple(Review(login, state, commit) for login, state, commit in said)


def approved(*logins: str, commit: str = HEAD) -> tuple[Review, ...]:
    return reviews(*((login, approvals.APPROVED, commit) for login in logins))


def found(
    change: Touched, said: Said, inv: Inventory | None = None, destroys: bool = False, teams: Any = TEAMS
) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in rows(inv or inventory(), change, said, teams, destroys)}


def lacking(change: Touched, said: Said, inv: Inventory | None = None, **more: Any) -> list[str]:
    return [what for what, row in found(change, said, inv, **more).items() if row["missing"]]


def said(*approving: Review, author: str = "somebody", merger: str | None = None, **more: Any) -> Said:
    return Said(author, HEAD, tuple(approving), merger, **more)


# ------------------------------------------------------------------------------------------ what is needed


def test_a_grant_needs_those_of_the_file_and_those_of_the_donor_whom_settings_name() -> None:
    assert [(n.what, n.stack, n.needed, n.by) for n in needs(inventory(), given(GPU))] == [
        ("grants.yaml", None, 1, ("conda-forge/core", "zoe")),
        ("stack lab", "lab", 1, ("carol", "dave")),
    ]
    assert [n.what for n in needs(inventory(), given(CPU))] == ["grants.yaml"], "guest's people are not named"


def test_without_a_word_in_settings_the_operators_approve() -> None:
    plain = inventory("version: 1\noperators: [olga, peter]\n")
    assert [(n.what, n.by) for n in needs(plain, given(GPU))] == [("grants.yaml", ("olga", "peter"))]
    nobody = inventory("version: 1\n")
    row = found(given(GPU), said(*approved("ann")), nobody)["grants.yaml"]
    assert row["missing"] == 1 and "nobody, for the files name nobody" in row["why"]


def test_each_file_has_its_people_as_codeowners_says() -> None:
    change = Touched(
        files=frozenset(["stacks/guest.yaml", "stacks/lab.yaml", "users/lab-terms.json", "settings.yaml",
                         "overrides.yaml", "modules/", ".github/workflows/apply.yml", "cf_infra/cli.py"])
    )  # fmt: skip
    assert {n.what: n.by for n in needs(inventory(), change)} == {
        ".github/workflows/apply.yml, cf_infra/cli.py, modules/, overrides.yaml, settings.yaml": (
            "olga",
            "peter",
        ),
        "stacks/guest.yaml": ("olga", "peter"),
        "stacks/lab.yaml": ("carol", "dave", "olga", "peter"),
        "users/lab-terms.json": ("carol", "dave"),
    }


EXTRA = (
    SETTINGS
    + """\
  extra:
    gpu: {by: [gina, hugo]}
    destroy: {required: 2}
    org_wide: {by: [conda-forge/core], required: 2}
"""
)


def test_gpus_taking_away_and_what_holds_for_all_need_further_eyes() -> None:
    inv = inventory(EXTRA)
    assert [n.what for n in needs(inv, given(GPU))][2:] == ["GPUs of lab"]
    assert [n.what for n in needs(inv, given(CPU))] == ["grants.yaml"]
    gone = touched(folder([CPU]), folder([]))
    row = found(gone, said(*approved("zoe")), inv)["taking away"]
    assert (row["needed"], row["given"], row["missing"], row["by"]) == (2, 1, 1, ["conda-forge/core", "zoe"])
    assert not lacking(gone, said(*approved("zoe", "ann")), inv)
    assert lacking(given(CPU), said(*approved("zoe")), inv, destroys=True) == ["taking away"], (
        "a plan replaces"
    )


@pytest.mark.parametrize(
    ("name", "is_wide"),
    [
        ("settings.yaml", True),
        ("modules/", True),
        (".github/CODEOWNERS", True),
        ("stacks/lab.yaml", False),
        ("stacks/lists.yaml", True),
        ("users/lab-terms.json", False),
        ("grants.yaml", False),
    ],
)
def test_what_holds_for_the_whole_organisation(name: str, is_wide: bool) -> None:
    files = {**folder([]).files, "stacks/lists.yaml": LISTS.encode(), "stacks/guest.yaml": OWN.encode()}
    inv = parse({**files, "settings.yaml": EXTRA.encode()}).inventory
    whats = [n.what for n in needs(inv, Touched(files=frozenset([name])))]
    assert ("a change for the whole organisation" in whats) == is_wide


def test_teams_that_must_be_asked_for() -> None:
    assert teams_of(inventory(EXTRA.replace("[gina, hugo]", "[lab/Admins]".lower()))) == [
        "conda-forge/core",
        "lab/admins",
    ]


# ------------------------------------------------------------------------------------------- who approved


def test_members_of_a_team_and_the_merger_approve() -> None:
    row = found(given(CPU), said(*approved("ann")))["grants.yaml"]
    assert (row["given"], row["approvers"], row["missing"], row["why"]) == (1, ["ann"], 0, "")
    row = found(given(CPU), said(merger="BOB"))["grants.yaml"]
    assert row["approvers"] == ["BOB"] and not row["missing"], "the merge is the approval"
    both = found(
        given(CPU),
        said(*approved("bob"), merger="BOB"),
        inventory(SETTINGS.replace("required: 1", "required: 2")),
    )
    assert both["grants.yaml"]["missing"] == 1, "one person is one, by whatever letters"


def test_who_is_not_meant_approves_nothing() -> None:
    row = found(given(CPU), said(*approved("mallory"), merger="mallory"))["grants.yaml"]
    assert row["missing"] == 1 and row["given"] == 0
    assert row["why"] == "still needs 1 of conda-forge/core, zoe; mallory, who merged it, is none of them"


def test_an_admin_who_merges_over_missing_approvals_is_told() -> None:
    assert missing(rows(inventory(), given(GPU), said(merger="ann"), TEAMS)) == [
        "stack lab: still needs 1 of carol, dave; ann, who merged it, is none of them"
    ]
    assert missing(rows(inventory(), given(GPU), said(merger="ann"), TEAMS), "guest") == []


def test_nobody_approves_what_they_asked_for() -> None:
    for author, asked in (("zoe", ""), ("cf-bot[bot]", "zoe"), ("cf-bot[bot]", "ZOE")):
        change = given(CPU.replace("somebody", asked) if asked else CPU)
        row = found(change, said(*approved("zoe"), author=author, merger="zoe"))["grants.yaml"]
        assert row["missing"] == 1
        assert row["why"].endswith("zoe asked for it; zoe, who merged it, asked for it")


def test_a_former_login_is_the_same_person() -> None:
    users = '{"users": [{"github": "zoe", "id": 7, "formerly": ["zo"]}]}'
    inv = inventory(**{"lab-terms": users})
    assert lacking(given(CPU), said(*approved("zoe"), author="zo"), inv) == ["grants.yaml"]
    assert not lacking(given(CPU), said(*approved("zoe")), inv)


def test_only_the_last_review_of_the_merged_head_counts() -> None:
    for states, is_enough in (
        ([("zoe", "APPROVED", OLD)], False),
        ([("zoe", "APPROVED", HEAD), ("zoe", "COMMENTED", HEAD)], True),
        ([("zoe", "APPROVED", HEAD), ("zoe", "DISMISSED", HEAD)], False),
        ([("zoe", "APPROVED", HEAD), ("zoe", "CHANGES_REQUESTED", HEAD)], False),
        ([("zoe", "CHANGES_REQUESTED", OLD), ("Zoe", "APPROVED", HEAD)], True),
        ([("zoe", "APPROVED", OLD), ("zoe", "APPROVED", HEAD)], True),
        ([("zoe", "PENDING", HEAD)], False),
    ):
        assert (not lacking(given(CPU), said(*reviews(*states)))) == is_enough, states
    row = found(given(CPU), said(*approved("zoe", commit=OLD)))["grants.yaml"]
    assert row["why"].endswith(f"zoe approved the head {OLD[:12]}")


def test_who_asked_for_changes_and_merges_all_the_same_has_not_approved() -> None:
    against = reviews(("zoe", "CHANGES_REQUESTED", HEAD))
    assert lacking(given(CPU), said(*against, merger="zoe")) == ["grants.yaml"]


def test_bots_approve_nothing() -> None:
    team = {"conda-forge/core": ["helper", "app[bot]"]}
    bots = (Review("helper", "APPROVED", HEAD, bot=True), Review("app[bot]", "APPROVED", HEAD))
    assert lacking(given(CPU), said(*bots), teams=team) == ["grants.yaml"]
    assert lacking(given(CPU), said(merger="helper", merger_is_bot=True), teams=team) == ["grants.yaml"]
    assert lacking(given(CPU), said(merger="app[bot]"), teams=team) == ["grants.yaml"]


def test_a_team_that_cannot_be_asked_approves_nothing_and_is_said() -> None:
    row = found(given(CPU), said(*approved("ann")), teams={"conda-forge/core": None})["grants.yaml"]
    assert row["missing"] == 1 and row["why"].endswith("who is in conda-forge/core could not be asked")
    assert not lacking(given(CPU), said(*approved("zoe")), teams={})


def test_two_logins_in_collusion_pass_where_one_is_asked_for_and_not_where_the_group_is_named() -> None:
    """Nobody can tell two logins of one person; so a rule names who may approve, and not only how many."""
    assert lacking(given(GPU), said(*approved("second-login"), author="first-login", merger="second-login")) == [
        "grants.yaml", "stack lab"
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- veto


def test_a_donor_who_asks_for_changes_holds_back_what_is_theirs() -> None:
    against = reviews(("carol", "CHANGES_REQUESTED", OLD))
    both = given(GPU, CPU)
    good = (*approved("zoe", "dave"), *against)
    found_rows = rows(inventory(), both, said(*good), TEAMS)
    assert missing(found_rows, "lab") == [
        "no objection of the donor of lab: carol asked for changes, and has not approved or been dismissed since"
    ]
    assert missing(found_rows, "guest") == []
    assert approvals.approvers(found_rows) == ["dave", "zoe"]
    again = (*good, *approved("carol"))
    assert not missing(rows(inventory(), both, said(*again), TEAMS))
    dismissed = (*good, *reviews(("carol", "DISMISSED", OLD)))
    assert not missing(rows(inventory(), both, said(*dismissed), TEAMS))


def test_a_veto_is_for_contacts_and_can_be_switched_off() -> None:
    against = (*approved("zoe", "carol"), *reviews(("dave", "CHANGES_REQUESTED", HEAD)))
    assert not lacking(given(GPU), said(*against)), "dave may approve, and is no contact"
    off = inventory(SETTINGS + "  veto: false\n")
    against = (*approved("zoe", "dave"), *reviews(("carol", "CHANGES_REQUESTED", HEAD)))
    assert not lacking(given(GPU), said(*against), off)
    assert lacking(given(GPU), said(*against)) == ["no objection of the donor of lab"]
