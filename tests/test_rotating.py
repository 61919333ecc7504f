"""`rotate`, `revoke-now` and `status` of credentials that no cloud makes; tests/e2e/test_rotation.py has the others."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from roots import Ran, Runner, write_root

from cf_infra import credentials
from cf_infra.journal_file import Journal
from cf_infra.model import Credential

GIVEN = "env CF_TEST_GIVEN"
STACK = """\
version: 1
kind: github
donor: {name: Somebody, contacts: [carol]}
github: {}
"""
CIRUN = f"""\
version: 1
kind: cirun
donor: {{name: Somebody, contacts: [carol, dave]}}
credentials:
  hook: {{kind: secret, rotate_every: 30d, overlap: 2d, deliver: [vault]}}
  given: {{kind: secret, rotate_every: 30d, overlap: 2d, deliver: [file], source: {GIVEN}}}
offers:
  job: {{via: cirun, mode: on-demand, label: other-job, cirun: {{cloud: aws, instance_type: g}}}}
"""
TWIN = CIRUN.replace("other-job", "twin-job").replace("  job:", "  twin:").replace(GIVEN, "env CF_TEST_TWIN")
GIVEN_VALUE = "given-by-carol-0001"


class World:
    """A folder with credentials, a vault that is a file, and commands in this process."""

    def __init__(self, root: Path, run: Runner) -> None:
        self.root, self.run = root, run
        self.vault = root.parent / "vault.json"
        self.number = credentials.period_of("other", "hook", HOOK, date(2026, 6, 1))
        self.first = credentials.begins("other", "hook", HOOK, self.number)
        self.sink("shutil.copyfileobj(sys.stdin, open(sys.argv[1], 'w'))")
        write_root(root, {"grants.yaml": b"version: 1\ngrants: []\n", "stacks/other.yaml": CIRUN.encode()})

    def sink(self, what: str) -> None:
        """What the vault's command does with what it gets."""
        argv = [sys.executable, "-c", f"import shutil, sys; {what}", str(self.vault)]
        text = json.dumps(
            {"version": 1, "sinks": {"vault": {"kind": "command", "command": argv, "holders": ["eve"]}}}
        )
        write_root(self.root, {"settings.yaml": text.encode()})

    def __call__(self, *words: str, day: int = 0) -> Ran:
        today = (self.first + timedelta(days=day)).isoformat()
        return self.run(*words, "--root", str(self.root), "--today", today)

    def json(self, *words: str, day: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self(*words, "--format", "json", day=day).json()
        return found

    def row(self, answer: dict[str, Any], name: str = "hook") -> dict[str, Any]:
        (stack,) = answer["stacks"]
        (row,) = (row for row in stack["credentials"] if row["credential"] == name)
        return dict(row)


HOOK = Credential.model_validate({"kind": "secret", "rotate_every": "30d", "overlap": "2d"})


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(key))
    monkeypatch.setenv(GIVEN.removeprefix("env "), GIVEN_VALUE)
    return World(tmp_path / "root", Runner(capsys))


def codes(answer: dict[str, Any]) -> list[str]:
    return [d["code"] for d in answer["diagnostics"]]


def test_a_turn_without_any_cloud(world: World) -> None:
    ran = world("rotate")
    assert ran.code == 0, ran.err
    assert f"login hook/{world.number}: proven {world.first}" in ran.out
    first = world.vault.read_text()
    assert json.loads(first)["value"] not in ran.out + ran.err
    delivered = world.root / ".state" / "other" / "delivered" / "given.json"
    assert json.loads(delivered.read_text()) == {"value": GIVEN_VALUE}
    assert delivered.stat().st_mode & 0o777 == 0o600
    assert GIVEN_VALUE not in ran.out + ran.err
    world("rotate", day=29)
    assert world.vault.read_text() == first, "the same value until its period is over"
    assert world.row(world.json("rotate", day=30))["generation"] == str(world.number + 1)
    assert world.vault.read_text() != first


def test_status_tells_of_stacks_that_provision_nothing(world: World) -> None:
    assert "Nothing is applied yet" in world("status").out
    world("rotate")
    ran = world("status")
    assert ran.code == 0 and f"login hook/{world.number}: proven {world.first}" in ran.out
    assert world.row(world.json("status"))["delivered"][0]["sink"] == "vault"


def test_a_sink_that_fails_is_told_without_the_value(world: World) -> None:
    world("rotate")
    world.sink("sys.exit('no: ' + sys.stdin.read())")
    answer = world("rotate", day=30)
    assert answer.code == 1 and "error[undelivered]" in answer.err
    told = world.json("rotate", day=30)
    assert "undelivered" in codes(told) and told["stacks"][0]["failed"]
    assert world.row(told)["live"] == [str(world.number), str(world.number + 1)]
    world.sink("open(sys.argv[1], 'w').write(sys.stdin.read())")
    assert world("rotate", day=30).code == 0
    value = json.loads(world.vault.read_text())["value"]
    assert value not in answer.out + answer.err


def test_a_value_that_others_make_is_asked_for_and_told_when_it_is_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world("rotate").code == 0
    number = credentials.period_of("other", "given", HOOK, world.first)
    end = credentials.begins("other", "given", HOOK, number + 1)
    late = (end - world.first).days + 1
    answer = world.json("rotate", day=late)
    assert codes(answer) == ["rotation-due"]
    (told,) = answer["diagnostics"]
    assert told["severity"] == "warning" and (told["file"], told["line"]) == ("stacks/other.yaml", 6)
    assert f"carol or dave makes a new one, due since {end}; put it into CF_TEST_GIVEN" in told["detail"]
    assert f"by hand: carol or dave makes a new one, due since {end}" in world("status", day=late).out
    monkeypatch.setenv("CF_TEST_GIVEN", "given-by-carol-0002")
    assert codes(world.json("rotate", day=late)) == []
    monkeypatch.delenv("CF_TEST_GIVEN")
    answer = world.json("rotate", day=late)
    assert codes(answer) == ["not-tried"], "it stays as it is, and somebody is told"


def test_a_value_that_was_never_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CF_TEST_GIVEN")
    answer = world("rotate")
    assert answer.code == 1 and "error[no-source]" in answer.err and "carol" in answer.err
    assert world.vault.exists(), "the others are turned all the same"


def test_revoked_now_and_again(world: World) -> None:
    world("rotate")
    first = world.vault.read_text()
    ran = world("revoke-now", "hook", "--yes")
    assert ran.code == 0, ran.err
    assert f"other/hook, generation {world.number} (secret)" in ran.err
    assert f"other/hook: {world.number} is revoked, {world.number}.1 took its place" in ran.out
    second = world.vault.read_text()
    assert second != first
    answer = world.json("revoke-now", "other/hook", "--yes")
    (receipt,) = answer["stacks"][0]["receipts"]
    assert (receipt["withdrawn"], receipt["replaced_by"]) == ([f"{world.number}.1"], f"{world.number}.2")
    assert world.vault.read_text() not in (first, second)
    kept = sorted((world.root / ".state" / "other" / "receipts").glob("*-revoked.json"))
    assert kept and json.loads(kept[-1].read_text())["revoked"][0]["credential"] == "other/hook"
    told = Journal(world.root / ".state" / "other", print).read().events
    own = [(e["event"], e["generations"]) for e in told if e["event"].startswith("revok")]
    gone = ([str(world.number)], [f"{world.number}.1"])
    assert own == [("revoking", gone[0]), ("revoked", gone[0]), ("revoking", gone[1]), ("revoked", gone[1])]
    assert told[-1]["replaced_by"] == f"{world.number}.2"


def test_a_revocation_that_failed_goes_on(world: World) -> None:
    world("rotate")
    before = world.vault.read_text()
    world.sink("sys.exit(1)")
    assert world("revoke-now", "hook", "--yes").code == 1
    assert world.vault.read_text() == before
    assert world.row(world.json("status"))["live"] == [str(world.number), f"{world.number}.1"]
    world.sink("open(sys.argv[1], 'w').write(sys.stdin.read())")
    ran = world("revoke-now", "hook", "--yes")
    assert ran.code == 0 and f"going on with the revocation of {world.number}" in ran.err
    assert f"{world.number}.1 took its place" in ran.out, "not one more"


def test_what_others_made_is_ended_by_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world("rotate")
    ran = world("revoke-now", "given", "--yes")
    assert ran.code == 0 and "by hand: carol or dave ends the old one and makes another" in ran.out
    still = "CF_TEST_GIVEN still has the revoked value. It is not delivered."
    assert still in world("rotate").err
    monkeypatch.setenv("CF_TEST_GIVEN", "given-by-carol-0002")
    assert still not in world("rotate").err
    delivered = world.root / ".state" / "other" / "delivered" / "given.json"
    assert json.loads(delivered.read_text()) == {"value": "given-by-carol-0002"}


def test_what_a_person_can_reach_is_listed_and_replaced(world: World) -> None:
    world("rotate")
    first = world.vault.read_text()
    ran = world("revoke-now", "--person", "Eve", "--yes")
    assert ran.code == 0 and "Eve can reach:" in ran.err and "other/hook (can read it in vault)" in ran.err
    assert world.vault.read_text() != first
    ran = world("revoke-now", "--person", "nobody", "--yes")
    assert ran.code == 0 and ran.out == "nobody can reach nothing here.\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nothing"], 1, "There is no credential `nothing`. There are: other/hook, other/given."),
        (["other/hok"], 1, "cf-infra revoke-now other/hook"),
        (["--stack", "none"], 1, "There is no stacks/none.yaml"),
        ([], 64, "One of NAME, --stack and --person says what is revoked."),
        (["hook", "--stack", "other"], 64, "One of NAME, --stack and --person"),
        (["hook"], 64, "there is no terminal to ask at"),
    ],
)
def test_what_is_not_revoked(world: World, words: list[str], code: int, says: str) -> None:
    world("rotate")
    before = world.vault.read_text()
    ran = world("revoke-now", *words, *([] if words == ["hook"] else ["--yes"]))
    assert (ran.code, says in ran.err) == (code, True), f"{shlex.join(words)}: {ran.code}\n{ran.err}"
    assert world.vault.read_text() == before


def test_a_name_that_several_have(world: World) -> None:
    write_root(world.root, {"stacks/twin.yaml": TWIN.encode()})
    ran = world("revoke-now", "hook", "--yes")
    assert (
        ran.code == 1 and "cf-infra revoke-now other/hook\n" in ran.err and "revoke-now twin/hook" in ran.err
    )


def test_a_stack_that_was_never_applied_or_has_none(world: World) -> None:
    write_root(world.root, {"stacks/access.yaml": STACK.encode()})
    ran = world("rotate", "access")
    assert ran.code == 0 and "access: has no credentials" in ran.err
    with_one = STACK + "credentials: {hook: {kind: secret, deliver: [file], source: env CF_TEST_ACCESS}}\n"
    write_root(world.root, {"stacks/access.yaml": with_one.encode()})
    ran = world("rotate", "access")
    assert ran.code == 1 and "cf-infra plan access && cf-infra apply access" in ran.err
    assert world("rotate").code == 0, "unnamed, it is passed over in words"


def test_what_a_person_reaches_in_a_stack_that_was_never_applied_is_passed_over(world: World) -> None:
    with_one = STACK + "credentials: {hook: {kind: secret, deliver: [file], source: env CF_TEST_ACCESS}}\n"
    write_root(world.root, {"stacks/access.yaml": with_one.encode()})
    world("rotate", "other")
    first = world.vault.read_text()
    ran = world("revoke-now", "--person", "eve", "--yes")
    assert ran.code == 0 and world.vault.read_text() != first
    ran = world("revoke-now", "--person", "carol", "--yes")
    assert ran.code == 0 and "access/hook (makes it)" in ran.err and "other/given: " in ran.out
    assert "nothing of access was ever applied, so there is nothing to replace" in ran.err
    ran = world("revoke-now", "--stack", "access", "--yes")
    assert ran.code == 1 and "error[not-applied]" in ran.err, "asked for by name, it is a mistake"


def test_a_damaged_ledger_stops_and_says_so(world: World) -> None:
    world("rotate")
    (world.root / ".state" / "other" / "credentials.json").write_text("{")
    ran = world("rotate", day=30)
    assert ran.code == 1 and "error[unreadable]" in ran.err and "Traceback" not in ran.err
