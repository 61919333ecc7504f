"""The command line: exit codes, what goes where, help that helps, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra import cli, project
from cf_infra.diagnostics import Diagnostic, Failure

GOLDEN = Path(__file__).parent / "golden"
FAULTY = b"version: 1\ngrants:\n  - feedstock: a\n    resources: [nothing]\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {k: v for k, v in read_folder(GOLDEN / "pool").items() if not k.startswith("_expected")}
    return write_root(tmp_path / "root", files)


def commands() -> Iterator[tuple[str, ...]]:
    def below(command: Any, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        children = getattr(command, "commands", {})
        if not children:
            yield names
        for name, child in children.items():
            yield from below(child, (*names, name))

    return below(typer.main.get_command(cli.app), ())


COMMANDS = list(commands())


# --------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_every_command_has_an_example(names: tuple[str, ...], option: str, run: Runner) -> None:
    ran = run(*names, option)
    assert ran.code == 0 and ran.err == ""
    assert f"Usage: cf-infra {' '.join(names)}" in ran.out
    assert (
        re.search(rf"^  +cf-infra {' '.join(names)}\b", ran.out, re.MULTILINE)
        or f"$(cf-infra {' '.join(names)})" in ran.out
    )


@pytest.mark.parametrize("names", [(), ("import",), ("export",), ("sandbox",), ("grant",)], ids=" ".join)
def test_help_of_groups_names_their_commands(names: tuple[str, ...], run: Runner) -> None:
    ran = run(*names, "--help")
    assert ran.code == 0
    children = {c[len(names)] for c in COMMANDS if c[: len(names)] == names}
    for child in children:
        assert re.search(rf"^  {child}\b", ran.out, re.MULTILINE), child
    assert ran.out.isascii()


def test_commands_of_the_contract_are_there() -> None:
    assert {"check", "compile", "plan", "apply", "destroy", "status"} <= {names[0] for names in COMMANDS}
    assert {
        ("import", "access"),
        ("import", "requests"),
        ("grant", "add"),
        ("grant", "renew"),
        ("grant", "revoke"),
        ("export", "access"),
        ("sandbox", "up"),
        ("sandbox", "down"),
        ("sandbox", "reset"),
    } <= set(COMMANDS)


def test_every_command_takes_a_root(run: Runner) -> None:
    for names in COMMANDS:
        assert "--root DIR" in run(*names, "--help").out


# -------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check", "--nonsense"],
        ["check", "too", "many"],
        ["check", "--today", "tomorrow"],
        ["check", "--today", "2026-02-30"],
        ["check", "--today", "20260601"],
        ["check", "--format", "xml"],
        ["check", "--root"],
        ["import"],
        ["import", "access"],
        ["destroy"],
        ["plan", "--jobs", "0"],
        ["plan", "--jobs", "many"],
        ["plan", "--cloud", "no-equals-sign"],
        ["plan", "--allow-destroy", "lab=many"],
        ["plan", "--allow-destroy", "lab=3"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage(
    arguments: list[str], run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.code == 64
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "error[usage]: Wrong usage" in ran.err or "Usage: cf-infra" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_as_json(run: Runner) -> None:
    ran = run("check", "--format", "json", "--nonsense")
    assert ran.code == 64 and ran.err == ""
    [d] = ran.json()["diagnostics"]  # type: ignore[misc]
    assert d["code"] == "usage" and "--nonsense" in d["detail"] and "--help" in d["hint"]


# ----------------------------------------------------------------------------------------------- exit codes


def test_all_is_well(root: Path, run: Runner) -> None:
    ran = run("check", "--root", str(root), "--today", TODAY)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "3 grants, 1 stack: all is well\n"


def test_refused(root: Path, run: Runner) -> None:
    (root / "grants.yaml").write_bytes(FAULTY)
    ran = run("check", "--root", str(root), "--today", TODAY)
    assert ran.code == 1
    assert ran.out == "1 grant, 1 stack: 5 errors and 1 warning\n"
    assert ran.err.count("error[") == 5 and ran.err.count("warning[") == 1


def test_warnings_alone_are_no_failure(root: Path, run: Runner) -> None:
    text = (root / "grants.yaml").read_text().replace("    expires: 2027-01-10\n", "")
    (root / "grants.yaml").write_text(text)
    ran = run("check", "--root", str(root), "--today", TODAY)
    assert ran.code == 0 and ran.out.endswith("3 warnings\n")


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_data_and_talk_are_apart(form: str, root: Path, run: Runner) -> None:
    (root / "grants.yaml").write_bytes(FAULTY)
    ran = run("check", "--root", str(root), "--today", TODAY, "--format", form)
    assert ran.code == 1
    if form == "json":
        assert ran.err == ""
        found = json.loads(ran.out)
        assert set(found["diagnostics"][0]) >= {
            "severity",
            "code",
            "summary",
            "detail",
            "file",
            "line",
            "column",
            "hint",
        }
        assert {d["file"] for d in found["diagnostics"]} == {"grants.yaml"}
        assert found["grants"] == 1
    else:
        assert "error[" in ran.err and "error[" not in ran.out


def test_options_stand_where_they_like(root: Path, run: Runner) -> None:
    one = run("check", "--root", str(root), "--today", TODAY, "--format", "json")
    other = run("--root", str(root), "--today", TODAY, "--format", "json", "check")
    assert one == other and one.code == 0


@pytest.mark.parametrize("command", [["check"], ["compile"], ["export", "access"], ["status"]])
def test_no_folder(command: list[str], run: Runner, tmp_path: Path) -> None:
    ran = run(*command, "--root", str(tmp_path / "nowhere"), "--today", TODAY, "--format", "json")
    assert ran.code == 1
    assert [d["code"] for d in ran.json()["diagnostics"]] == ["not-found"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [["compile"], ["export", "access"]])
def test_a_faulty_root_is_refused_and_nothing_is_written(command: list[str], root: Path, run: Runner) -> None:
    (root / "grants.yaml").write_bytes(FAULTY)
    before = read_folder(root)
    ran = run(*command, "--root", str(root), "--today", TODAY)
    assert ran.code == 1 and "error[unknown-resource]" in ran.err and ran.out == ""
    assert read_folder(root) == before


def test_compile(root: Path, run: Runner) -> None:
    before = read_folder(root)
    ran = run("compile", "--root", str(root), "--today", TODAY, "--format", "json")
    assert ran.code == 0
    written = {k: v for k, v in read_folder(root).items() if k not in before}
    assert {f"build/{name}" for name in ran.json()["files"]} == written.keys()  # type: ignore[attr-defined]
    assert {k.split("/")[0] for k in written} == {"build"}


def test_export_as_json(run: Runner) -> None:
    ran = run(
        "export", "access", "--root", str(GOLDEN / "several-stacks"), "--today", TODAY, "--format", "json"
    )
    found = ran.json()["access"]
    assert [p["repo"] for p in found["policies"]][:1] == ["arrow-cpp-feedstock"]  # type: ignore[index]


def test_import_of_nothing_known(root: Path, run: Runner) -> None:
    ran = run("import", "access", str(root / "nowhere"), "--root", str(root), "--today", TODAY)
    assert ran.code == 1 and "error[not-found]" in ran.err


# ---------------------------------------------------------------------------------------- what goes wrong


def raising(error: BaseException) -> Any:
    def read(*_: object) -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "error[interrupted]"),
        (Failure(Diagnostic("no-plan", hint="x")), 1, "error[no-plan]"),
        (OSError(28, "No space left on device", "x"), 1, "error[disk-full]"),
        (PermissionError(13, "Permission denied", "x"), 1, "error[unreadable]"),
        (KeyError("hunter2"), 1, "error[bug]"),
        (RecursionError(), 1, "error[bug]"),
        (BrokenPipeError(), 0, ""),
    ],
    ids=lambda e: type(e).__name__ if isinstance(e, BaseException) else None,
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_every_end_has_its_code(
    error: BaseException, code: int, text: str, form: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "read", raising(error))
    if isinstance(error, BrokenPipeError):
        monkeypatch.setattr(sys.stderr, "close", lambda: None)
    ran = run("check", "--today", TODAY, "--format", form)
    assert ran.code == code
    said = ran.out if form == "json" else ran.err
    assert text in said if form == "text" else text[6:-1] in said
    assert "Traceback" not in ran.err and "hunter2" not in ran.out + ran.err


def test_a_traceback_for_those_who_ask(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CF_INFRA_TRACEBACK", "1")
    monkeypatch.setattr(project, "read", raising(KeyError("x")))
    assert "Traceback" in run("check", "--today", TODAY).err


# --------------------------------------------------------------------------------------------- processes


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "cf_infra", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env=environment,
        **options,
    )


def test_as_a_process(root: Path) -> None:
    ran = process("check", "--root", str(root), "--today", TODAY)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "3 grants, 1 stack: all is well\n", "")
    ran = process("check", "--root", str(root), "--today", "never")
    assert ran.returncode == 64 and ran.stdout == "" and "Traceback" not in ran.stderr


def test_a_reader_that_goes_away(root: Path) -> None:
    """`cf-infra ... | head -1` ends quietly."""
    command = f"{sys.executable} -m cf_infra compile --format json --root {root} --today {TODAY} | head -c 1"
    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=PROJECT, capture_output=True, text=True
    )
    assert ran.stdout == "{" and ran.stderr == ""


def test_colour_is_for_terminals_only(root: Path) -> None:
    (root / "grants.yaml").write_bytes(FAULTY)
    assert "\x1b" not in process("check", "--root", str(root), "--today", TODAY).stderr
    assert "\x1b[" in at_a_terminal("check", "--root", str(root), "--today", TODAY)
    assert "\x1b[" not in at_a_terminal("check", "--root", str(root), "--today", TODAY, "--no-color")
    assert "\x1b[" not in at_a_terminal("check", "--root", str(root), "--today", TODAY, env={"NO_COLOR": "1"})


def at_a_terminal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What a command writes to a terminal of its own."""
    import pty

    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | (env or {})
    with subprocess.Popen(
        [sys.executable, "-m", "cf_infra", *arguments],
        cwd=PROJECT,
        stdout=follower,
        stderr=follower,
        stdin=follower,
        env=environment,
    ) as child:
        os.close(follower)
        said = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux tells the end of a terminal so
                break
            if not part:
                break
            said += part
        os.close(leader)
        child.wait(30)
    return said.decode()


def test_quick_to_help() -> None:
    """Nothing heavy is loaded for `--help`."""
    heavy = {"yaml", "ryaml", "pydantic", "openstack", "jinja2"}
    code = f"import sys, cf_infra.cli; print(*[m for m in sys.modules if m in {heavy}])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert ran.stdout.strip() == ""
