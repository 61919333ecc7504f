"""Who of a donor's people has access: what the lists name, and what the address of a list is worth."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roots import TODAY, Runner, read_folder, write_root
from test_properties import DAYS

from cf_infra import access, project
from cf_infra.diagnostics import Failure
from cf_infra.model import Terms, UsersFile
from cf_infra.people import HAS_ACCESS, Standing, maintainers, standing, terms_of, with_access

BASE = read_folder(Path(__file__).parent / "explain" / "_base")
DAY = date.fromisoformat(TODAY)


def people(*users: dict[str, object]) -> UsersFile:
    return UsersFile.model_validate({"users": [{"id": n, **user} for n, user in enumerate(users, 1)]})


def terms(version: str | None = None, grace_until: str | None = None) -> Terms:
    return Terms.model_validate({"users": "x", "version": version, "grace_until": grace_until})


# --------------------------------------------------------------------------------------------- who has access


@pytest.mark.parametrize(
    ("accepted", "version", "grace", "today", "stands"),
    [
        (None, None, None, "2026-06-01", Standing.GOOD),
        ("2025-01-01", None, None, "2026-06-01", Standing.GOOD),
        (None, "2026-03-01", None, "2026-06-01", Standing.UNRECORDED),
        (None, "2026-03-01", "2026-09-01", "2026-08-31", Standing.UNRECORDED),
        (None, "2026-03-01", "2026-09-01", "2026-09-01", Standing.LAPSED),
        ("2025-01-01", "2026-03-01", None, "2030-01-01", Standing.GRACE),
        ("2025-01-01", "2026-03-01", "2026-09-01", "2026-02-28", Standing.GOOD),
        ("2025-01-01", "2026-03-01", "2026-09-01", "2026-03-01", Standing.GRACE),
        ("2025-01-01", "2026-03-01", "2026-09-01", "2026-08-31", Standing.GRACE),
        ("2025-01-01", "2026-03-01", "2026-09-01", "2026-09-01", Standing.LAPSED),
        ("2026-03-01", "2026-03-01", "2026-09-01", "2026-09-01", Standing.GOOD),
        ("2027-01-01", "2026-03-01", "2026-09-01", "2026-09-01", Standing.GOOD),
    ],
)
def test_standing(accepted: str, version: str, grace: str, today: str, stands: Standing) -> None:
    everybody = people(
        {"github": "a", "terms": accepted}, {"github": "b", "bot": {"owner": "A", "until": "2099-01-01"}}
    )
    for user in everybody.users:  # a bot stands where its owner does
        assert standing(user, everybody, terms(version, grace), date.fromisoformat(today)) is stands


def test_a_bot_ends_with_its_delegation_and_without_an_owner() -> None:
    everybody = people(
        {"github": "a"},
        {"github": "b", "bot": {"owner": "a", "until": "2026-06-01"}},
        {"github": "c", "bot": {"owner": "nobody", "until": "2099-01-01"}},
        {"github": "d", "bot": {"owner": "b", "until": "2099-01-01"}},
        {"github": "e", "bot": {"owner": "e", "until": "2099-01-01"}},
    )
    before, on = (
        [u.github for u in with_access(everybody, terms(), DAY - timedelta(days=n))] for n in (1, 0)
    )
    assert before == ["a", "b"] and on == ["a"]


@given(st.none() | DAYS, st.none() | DAYS, st.none() | DAYS, DAYS)
def test_time_alone_gives_nobody_access_back(
    accepted: date | None, version: date | None, grace: date | None, day: date
) -> None:
    """As days go by, somebody who lost access does not get it again; and without a grace's end nobody loses it."""
    everybody = people({"github": "a", "terms": accepted and accepted.isoformat()})
    of_donor = terms(version and version.isoformat(), grace and grace.isoformat())
    has = [
        standing(everybody.users[0], everybody, of_donor, day + timedelta(days=n)) in HAS_ACCESS
        for n in range(99)
    ]
    assert has == sorted(has, reverse=True)
    assert all(has) or grace is not None


def test_stacks_tell_the_terms_together() -> None:
    inventory = project.from_files(Path(), BASE, DAY).inventory
    stacks = dict(inventory.stacks)
    lab = stacks["lab"]
    alone = lab.donor.model_copy(update={"terms": Terms(users="lab-terms")})
    stacks["a-lab"] = lab.model_copy(update={"donor": alone})
    assert terms_of(stacks, "lab-terms") == lab.donor.terms
    assert terms_of(stacks, "others") == Terms(users="others")


# ------------------------------------------------------------------------------------------- what is exported


def policy(files: dict[str, bytes], day: date) -> access.Policy | None:
    """The policy of pytorch-cpu on a day."""
    folder = project.from_files(Path(), files, day)
    listed = access.export_access(folder.resolved(), folder.inventory)
    return next((p for p in listed.policies if p.repo == "pytorch-cpu-feedstock"), None)


def with_people(*users: dict[str, object], url: bool) -> dict[str, bytes]:
    lab = BASE["stacks/lab.yaml"]
    if not url:
        lab = lab.replace(b', url: "https://example.org/people.json"', b"")
    raw = orjson.dumps({"users": [{"id": n, **user} for n, user in enumerate(users, 1)]})
    return {**BASE, "stacks/lab.yaml": lab, "users/lab-terms.json": raw}


OLD, NEW = {"github": "old", "terms": "2025-01-01"}, {"github": "new", "terms": "2026-03-01"}


def test_who_lost_access_is_not_exported() -> None:
    files = with_people(OLD, NEW, url=False)
    before, on = policy(files, date(2026, 8, 31)), policy(files, date(2026, 9, 1))
    assert before is not None and on is not None
    assert (before.users, on.users) == (["old", "new"], ["new"])


def test_an_address_that_lists_somebody_without_access_is_not_exported() -> None:
    """Cirun would read who has lost access from there."""
    files = with_people(OLD, NEW, url=True)
    before, on = policy(files, date(2026, 8, 31)), policy(files, date(2026, 9, 1))
    assert before is not None and on is not None
    assert (before.users_from_json, before.users) == ("https://example.org/people.json", [])
    assert (on.users_from_json, on.users) == (None, ["new"])


def test_without_anybody_left_there_is_no_policy() -> None:
    """A policy with a role and without users would be open to everybody who has the role."""
    for url in (False, True):
        assert policy(with_people(OLD, url=url), date(2026, 9, 1)) is None
    assert policy(with_people(url=False), date(2026, 6, 1)) is None


def test_users_who_are_named_stay_when_nobody_of_the_terms_is_left() -> None:
    files = with_people(OLD, url=True)
    files["grants.yaml"] = files["grants.yaml"].replace(
        b"    terms: lab-terms\n  - feed", b"    terms: lab-terms\n    users: [bob]\n  - feed"
    )
    found = policy(files, date(2026, 9, 1))
    assert found is not None and (found.users, found.users_from_json) == (["bob"], None)


# ------------------------------------------------------------------------------------------------ maintainers


def test_maintainers_are_compared_without_case_and_ending() -> None:
    found = maintainers(b'{"NumPy-feedstock": ["Alice"], "x": []}', "m.json")
    assert found == {"numpy": frozenset({"alice"}), "x": frozenset()}


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"a": "b"}', b'{"a": [1]}', b'{"a": null}', b"\xff", b'{"\xff": []}']
)
def test_what_is_no_list_of_maintainers_is_refused(raw: bytes) -> None:
    with pytest.raises(Failure) as failure:
        maintainers(raw, "m.json")
    assert [d.code for d in failure.value.diagnostics] == ["bad-maintainers-file"]


def test_a_list_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_root(tmp_path / "root", BASE)
    for command in (["check"], ["explain", "numpy", "gpu-large"]):
        ran = Runner(capsys)(*command, "--root", str(root), "--maintainers", str(tmp_path / "none.json"))
        assert ran.code == 1 and "not-found" in ran.err
