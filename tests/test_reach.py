"""What a person can reach, and how credentials are told."""

from __future__ import annotations

from datetime import date
from typing import Any

from cf_infra import credential_report, credentials, reach
from cf_infra.credentials import History, Proof, Seen, Sent
from cf_infra.model import Inventory
from cf_infra.parse import parse

DAY = date(2026, 6, 1)
FILES = {
    "grants.yaml": """
version: 1
grants:
  - {feedstock: a, resources: [job], reason: r, request: "https://github.com/x/y/pull/1", granted: 2026-01-01,
     users: [Mallory, bob], approved_by: [mallory]}
  - {feedstock: b, resources: [job], reason: r, request: "https://github.com/x/y/pull/2", granted: 2026-01-01,
     users: [bob]}
""",
    "users/lab-terms.json": '{"users": [{"github": "mallory", "id": 7}, {"github": "bob", "id": 8}]}',
    "settings.yaml": """
version: 1
operators: [bob, MALLORY]
state:
  holders: [Mallory, bob]
  recovery:
    - {name: safe, recipient: age1n7zzgnpvrp8laqfx6ktr0xhfhcy3kfdfhpx9rmg6ds4egm4e5dwsv9x0ks, holders: [mallory]}
sinks:
  vault: {kind: command, command: [op, item, edit], holders: [mallory]}
  other: {kind: command, command: [op, item, edit], holders: [bob]}
""",
    "stacks/lab.yaml": """
version: 1
kind: openstack
rights: member
cloud: lab
donor: {name: Lab, contacts: [bob, mallory]}
images: {u: {name: ubuntu}}
credentials:
  robot: {kind: application_credential, deliver: [vault]}
  hidden: {kind: application_credential, deliver: [other]}
  given: {kind: user, source: env GIVEN, deliver: [other]}
offers: {job: {flavor: m1, image: u, via: cirun, mode: on-demand, label: lab-job}}
""",
}


def inventory() -> Inventory:
    return parse({name: text.encode() for name, text in FILES.items()}).inventory


def test_everything_that_somebody_can_reach_most_dangerous_first() -> None:
    found = [(row.what, row.file, row.credential) for row in reach.reach(inventory(), "MALLORY")]
    assert found[:2] == [
        ("the master key of all states", "settings.yaml", None),
        ("the recovery key `safe`", "settings.yaml", None),
    ]
    assert found[2:] == [
        ("lab/robot (can read it in vault)", "stacks/lab.yaml", "lab/robot"),
        ("lab/given (makes it)", "stacks/lab.yaml", "lab/given"),
        ("plan and apply", "settings.yaml", None),
        ("jobs on what needs the terms of `lab-terms`", "users/lab-terms.json", None),
        ("jobs of a-feedstock on job", "grants.yaml", None),
        ("approved a-feedstock on job", "grants.yaml", None),
        ("speaks for the donor of `lab`", "stacks/lab.yaml", None),
    ]
    assert all(row.end for row in reach.reach(inventory(), "mallory"))


def test_nobody_can_reach_nothing() -> None:
    assert reach.reach(inventory(), "stranger") == []


# ---------------------------------------------------------------------------------------------- how it is told


def rows(known: dict[str, History], day: date = DAY) -> list[dict[str, Any]]:
    return credential_report.rows("lab", inventory().stacks["lab"], day, known)


def test_a_credential_before_anything_was_done() -> None:
    first = rows({})[0]
    assert (first["credential"], first["proven"], first["works"], first["delivered"]) == (
        "robot",
        None,
        None,
        [],
    )
    (line,) = credential_report.lines([first])
    assert line == f"  login robot/{first['generation']}: not proven yet, next {first['next']}"
    assert credential_report.faults("lab", [first], DAY) == []


def test_a_credential_in_its_overlap_and_one_that_does_not_work() -> None:
    stack = inventory().stacks["lab"]
    number = credentials.period_of("lab", "robot", stack.credentials["robot"], DAY)
    first = credentials.begins("lab", "robot", stack.credentials["robot"], number)
    history = History(
        (Proof(str(number - 1), date(2026, 1, 1), "k", "f"), Proof(str(number), first, "k", "g")),
        (),
        (Sent("vault", "the command op", str(number), "then", "g"),),
        Seen(str(number), "now", works=True, said="logged in, sees 5 flavors"),
    )
    row = rows({"robot": history}, first)[0]
    assert credential_report.lines([row]) == [
        f"  login robot/{number}, beside {number - 1}: proven {first}, next {row['next']}",
        "    last login: logged in, sees 5 flavors (now)",
        f"    {number} delivered to the command op (then)",
    ]
    broken = {
        "robot": History(
            history.proven, (), history.sent, Seen(str(number), "now", works=False, said="refused")
        )
    }
    found = rows(broken, first)[:1]
    assert "DOES NOT WORK" in credential_report.lines(found)[0]
    (fault,) = credential_report.faults("lab", found, first)
    assert (fault.code, fault.severity) == ("canary-failed", "error")
    assert fault.hint is not None and fault.hint.endswith("cf-infra revoke-now lab/robot")


def test_what_only_others_can_renew_is_told_before_two_more_runs() -> None:
    given = inventory().stacks["lab"].credentials["given"]
    number = credentials.period_of("lab", "given", given, DAY)
    end = credentials.begins("lab", "given", given, number + 1)
    known = {"given": History((Proof(str(number), DAY, "k", "f"),))}
    told = {}
    for days in (3, 2, 0, -1):
        day = date.fromordinal(end.toordinal() - days)
        found = credential_report.faults(
            "lab", [r for r in rows(known, day) if r["credential"] == "given"], day
        )
        told[days] = [fault.detail.partition("ends ")[2].partition(",")[0] for fault in found]
    assert told == {3: [], 2: ["in 2 days"], 0: ["today"], -1: ["1 day ago"]}
