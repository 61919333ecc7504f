"""Bus factor: who can use or renew what, case by case.

tests/holders/NAME/ is a root folder; expected.txt, expected.md and expected.json are what `status --keys` says of it.
A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from accept import expect
from roots import TODAY, Runner, read_folder, write_root

from cf_infra import holders, project

CASES = Path(__file__).parent / "holders"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())


def files_of(name: str) -> dict[str, bytes]:
    return {n: raw for n, raw in read_folder(CASES / name).items() if not n.startswith("expected.")}


def held_in(name: str) -> list[holders.Held]:
    folder = project.from_files(CASES / name, files_of(name), date.fromisoformat(TODAY))
    assert [d for d in folder.diagnostics if d.severity == "error"] == []
    return holders.holders(folder.inventory)


@pytest.mark.parametrize("name", NAMES)
def test_who_can_do_what(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, test = Runner(capsys), f"tests/test_holders.py -k 'test_who_can_do_what and {name}'"
    write_root(tmp_path, files_of(name))
    for form, ending in (("text", "txt"), ("markdown", "md"), ("json", "json")):
        ran = run("status", "--keys", "--root", str(tmp_path), "--today", TODAY, "--format", form)
        assert ran.code == 0, "who holds what is told, and is no fault of the files"
        said = ran.out + (f"\n{ran.err}" if form == "text" and ran.err else "")
        expect(CASES / name / f"expected.{ending}", said, test)


def test_two_people_are_enough_and_one_is_not() -> None:
    assert holders.findings(held_in("two-people")) == []
    told = holders.findings(held_in("one-person"))
    assert {d.code for d in told} == {"single-holder"}
    assert [(d.file, d.path) for d in told] == [
        ("settings.yaml", ("state", "holders")),
        ("settings.yaml", ("operators",)),
        ("stacks/lab.yaml", ("donor", "contacts")),
    ], "each place once, whatever hangs on it"
    assert "`lab/cirun`" in told[0].detail and "`lab/given`" in told[2].detail


def test_a_bot_is_nobody_and_case_makes_no_second_person() -> None:
    assert holders.people(["Bob", "bob", "BOB", "x[bot]", "X[BOT]", "alice"]) == ("alice", "Bob")


def test_only_one_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Runner(capsys)
    write_root(tmp_path, files_of("bots-and-case"))
    rows = run(
        "status", "cirun", "--keys", "--root", str(tmp_path), "--today", TODAY, "--format", "json"
    ).json()
    names = {(row["kind"], row["stack"]) for row in rows["keys"]}  # type: ignore[attr-defined]
    assert ("contact", "cirun") in names and ("contact", "lab") not in names and ("state key", None) in names
    assert run("status", "nothing", "--keys", "--root", str(tmp_path), "--today", TODAY).code == 1
    assert run("status", "--keys", "--live", "--root", str(tmp_path), "--today", TODAY).code == 64


def test_recovery_keys_and_sinks_of_the_settings_are_rows() -> None:
    """Whatever settings.yaml has of them: a row each, with its own place."""
    state = {
        "holders": ["a", "b"],
        "recovery": [{"name": "paper", "holders": ["c"]}, {"name": "safe", "holders": ["d", "e"]}],
    }
    settings = {
        "state": state,
        "operators": ["a"],
        "sinks": {"vault": {"kind": "command", "holders": ["a", "b"]}, "age": {}},
    }
    rows = [*holders._keys(settings), *holders._sinks(settings, {})]
    assert [(one.kind, one.name, len(one.people)) for one in rows] == [
        ("state key", "master key", 2),
        ("recovery key", "paper", 1),
        ("recovery key", "safe", 2),
        ("server login", "operators", 1),
        ("sink", "age", 0),
        ("sink", "vault", 2),
    ]
    assert rows[1].path == ("state", "recovery", 0, "holders")
    assert "state.recovery.holders:\nholders: [c, LOGIN]" in holders.findings(rows)[0].hint


def test_a_sink_that_nobody_described_is_told() -> None:
    [stack] = project.from_files(
        CASES, files_of("two-people"), date.fromisoformat(TODAY)
    ).inventory.stacks.values()
    row = stack.credentials["cirun"].model_copy(update={"deliver": ["strange"]})
    stack = stack.model_copy(update={"credentials": {"cirun": row}})
    [sink] = holders._sinks({"operators": ["a", "b"]}, {"lab": stack})
    assert (
        sink.people == () and holders.findings([sink])[0].hint == "list it with its holders in sinks.strange"
    )


@pytest.mark.parametrize("name", NAMES)
def test_text_fits_a_terminal(name: str) -> None:
    assert all(len(line) <= 80 for line in holders.terminal(held_in(name)).splitlines())
