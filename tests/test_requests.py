"""Requests and commands for single grants: what is said, and what grants.yaml becomes, case by case.

tests/requests/NAME/ is a folder whose files replace those of _base (`FILE.absent` takes one away). `command` has the
words behind `cf-infra` (default: import requests request.yml). _expected.txt is what is printed, stdout then stderr;
_expected.json the same with --format json. A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
import test_properties  # noqa: F401  (its profile of hypothesis: the same examples in every run)
from accept import expect
from hypothesis import given
from hypothesis import strategies as st
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra import access, changes, project
from cf_infra.admin_requests import Request
from cf_infra.catalog import catalog
from cf_infra.changes import Draft
from cf_infra.diagnostics import has_errors
from cf_infra.model import Grant

CASES = Path(__file__).parent / "requests"
BASE = read_folder(CASES / "_base")
NAMES = sorted(p.name for p in CASES.iterdir() if p.name != "_base")
HISTORY = Path(__file__).parent / "data" / "access-requests-2023-2025.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def of_case(name: str) -> tuple[dict[str, bytes], list[str]]:
    files = {k: v for k, v in read_folder(CASES / name).items() if not k.startswith("_")}
    command = files.pop("command", b"import requests request.yml").decode()
    return files, shlex.split(command)


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    files, command = of_case(name)
    test = f"tests/test_requests.py -k 'test_case and {name}'"
    root = write_root(tmp_path / "text", {**BASE, **files})
    monkeypatch.chdir(root)
    before = read_folder(root)
    text = run(*command, "--today", TODAY)
    after = read_folder(root)
    monkeypatch.chdir(write_root(tmp_path / "json", {**BASE, **files}))
    data = run(*command, "--today", TODAY, "--format", "json")

    expect(CASES / name / "_expected.txt", f"{text.out}{text.err}", test)
    found = orjson.dumps(data.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    expect(CASES / name / "_expected.json", found, test)
    assert text.code == data.code and data.err == ""
    assert str(tmp_path) not in text.out + text.err + data.out
    errors = [d for d in orjson.loads(data.out)["diagnostics"] if d["severity"] == "error"]
    assert bool(errors) == (text.code != 0)
    assert all(d["detail"] and d["hint"] for d in orjson.loads(data.out)["diagnostics"])
    if errors:
        assert after == before, "a command that refuses writes nothing"
    elif "--dry-run" in command:
        assert after == before
    else:
        same_as_the_diff(tmp_path, {**BASE, **files}, text.out, after)


def same_as_the_diff(folder: Path, before: dict[str, bytes], diff: str, after: dict[str, bytes]) -> None:
    """What was written is what was shown, and it is sound."""
    root = write_root(folder / "patched", before)
    if diff.startswith("---"):
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=root, check=True)
    assert (root / "grants.yaml").read_bytes() == after["grants.yaml"]
    assert not has_errors(project.read(root, date.fromisoformat(TODAY)).diagnostics)


# ------------------------------------------------------------------------------------------------ the real history


def real_root(folder: Path) -> Path:
    """The repository's stacks and people, and nothing granted."""
    root = write_root(folder, {f"stacks/{n}": p for n, p in read_folder(PROJECT / "stacks").items()})
    return write_root(root, {f"users/{n}": p for n, p in read_folder(PROJECT / "users").items()})


def test_the_real_history_from_nothing(tmp_path: Path, run: Runner) -> None:
    root = real_root(tmp_path)
    where = ("--root", str(root), "--today", TODAY, "--format", "json")
    ran = run("import", "requests", str(HISTORY), *where)
    assert ran.code == 0
    found: dict[str, Any] = ran.json()
    assert [d["code"] for d in found["diagnostics"]] == ["imported", "not-offered"]
    asked = {
        f"{feedstock}-feedstock/{resource}"
        for line in HISTORY.read_bytes().splitlines()
        for request in [orjson.loads(line)["request"]]
        for feedstock in request["feedstocks"]
        for resource in request.get("resources", ["travis"])
    }
    exported = run("export", "access", "--root", str(root), "--today", TODAY)
    assert opened(exported.out) == asked, "what was ever asked for, as nothing was ever revoked"
    assert len(found["added"]) == len(asked) and found["removed"] == [] and found["changed"] == []
    assert "qt-webengine-feedstock/cpu-medium: jobs of pull requests may run now, too." in found["notes"]
    granted = [g.granted for g in project.read(root, date.fromisoformat(TODAY)).inventory.grants.values()]
    assert granted == sorted(granted), "in the order of the days"
    before = (root / "grants.yaml").read_bytes()
    again: dict[str, Any] = run("import", "requests", str(HISTORY), *where).json()
    assert again["diff"] == "" and again["added"] == again["changed"] == []
    assert set(again["unchanged"]) == set(found["added"])
    assert (root / "grants.yaml").read_bytes() == before


def opened(text: str) -> set[str]:
    listed = access.read_access(text.encode(), "x")
    resources = listed.resources_of()
    return {f"{p.repo}/{r}" for p in listed.policies for r in resources[p.id]}


def test_the_history_on_top_of_the_real_list(tmp_path: Path, run: Runner) -> None:
    """Requests after September 2025 are new, those before are in the list already or were not granted."""
    root = write_root(real_root(tmp_path), {"grants.yaml": (PROJECT / "grants.yaml").read_bytes()})
    before = (root / "grants.yaml").read_text()
    ran = run("import", "requests", str(HISTORY), "--root", str(root), "--today", TODAY, "--format", "json")
    assert ran.code == 0
    found: dict[str, Any] = ran.json()
    assert "pytorch_scatter-feedstock/cpu-large" in found["added"]
    assert "pytorch-cpu-feedstock/gpu-large" in found["unchanged"]
    assert (root / "grants.yaml").read_text().startswith(before), "nothing of others was touched"


def test_a_request_becomes_the_entry_that_cirun_reads(tmp_path: Path, run: Runner) -> None:
    """From the request format to .access.yml and back out."""
    root = real_root(tmp_path)
    ask = "action: cirun\nfeedstocks: [cupy]\nresources: [cirun-openstack-gpu-large]\npull_request: true\n"
    (tmp_path / "request.yml").write_text(ask)
    (tmp_path / "back.yml").write_text(ask + "revoke: true\n")
    where = ("--root", str(root), "--today", TODAY)
    assert run("import", "requests", str(tmp_path / "request.yml"), *where).code == 0
    listed = access.read_access(run("export", "access", *where).out.encode(), "x")
    [policy] = listed.policies
    assert policy.model_dump(exclude_defaults=True) == {
        "id": "cupy-feedstock-policy",
        "repo": "cupy-feedstock",
        "roles": ["admin", "maintain", "write"],
        "users_from_json": "https://raw.githubusercontent.com/Quansight/open-gpu-server/main/access/conda-forge-users.json",
        "pull_request": True,
    }
    assert listed.resources_of() == {policy.id: ["cirun-openstack-gpu-large"]}
    assert run("import", "requests", str(tmp_path / "back.yml"), *where).code == 0
    assert access.read_access(run("export", "access", *where).out.encode(), "x") == access.AccessList()
    assert (root / "grants.yaml").read_text() == "version: 1\ngrants: []\n"


# --------------------------------------------------------------------------------------------------- strangers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "root", BASE)


def test_ten_thousand_feedstocks(root: Path, tmp_path: Path, run: Runner) -> None:
    names = ", ".join(f"f{i}" for i in range(10_000))
    (tmp_path / "r.yml").write_text(f"action: cirun\nfeedstocks: [{names}]\nresources: [cpu-large]\n")
    ran = run("import", "requests", str(tmp_path / "r.yml"), "--root", str(root), "--today", TODAY)
    assert ran.code == 1
    assert "too-many-feedstocks" in ran.err and "10,000" in ran.err and "200" in ran.err
    assert len(ran.err) < 1000
    assert (root / "grants.yaml").read_bytes() == BASE["grants.yaml"]


def test_as_many_as_may_be(root: Path, tmp_path: Path, run: Runner) -> None:
    names = ", ".join(f"f{i}" for i in range(200))
    (tmp_path / "r.yml").write_text(
        f"action: cirun\nfeedstocks: [{names}]\nresources: [cpu-large, gpu-large]\n"
    )
    ran = run(
        "import",
        "requests",
        str(tmp_path / "r.yml"),
        "--root",
        str(root),
        "--today",
        TODAY,
        "--format",
        "json",
    )
    assert ran.code == 0 and len(ran.json()["added"]) == 400  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["r.yml", "r.jsonl", "maintainers.json"])
def test_a_file_that_is_too_big(name: str, root: Path, tmp_path: Path, run: Runner) -> None:
    (tmp_path / "r.yml").write_bytes(b"action: namespace\nfeedstocks: [a]\n")
    (tmp_path / name).write_bytes(b"# " + b"x" * (46_000_000 if name.startswith("m") else 1_100_000))
    options = (
        ["--maintainers", str(tmp_path / name), "--requested-by", "alice"] if name.startswith("m") else []
    )
    asked = tmp_path / ("r.yml" if options else name)
    ran = run("import", "requests", str(asked), *options, "--root", str(root), "--format", "json")
    assert [d["code"] for d in ran.json()["diagnostics"]] == ["too-large"]  # type: ignore[attr-defined]


def test_a_link_is_not_followed(root: Path, tmp_path: Path, run: Runner) -> None:
    (tmp_path / "secret").write_text("action: cirun\npassword: hunter2\n")
    (tmp_path / "r.yml").symlink_to(tmp_path / "secret")
    ran = run("import", "requests", str(tmp_path / "r.yml"), "--root", str(root))
    assert ran.code == 1 and "It is a link" in ran.err and "hunter2" not in ran.err


HOSTILE = [
    "https://example.org/$(touch$IFS''pwned)",
    "https://example.org/;touch%20pwned&x",
    "https://example.org/--body=x",
    "https://example.org/é*?[a]",
]


@pytest.mark.parametrize("address", [a for a in HOSTILE if "'" not in a])
def test_printed_commands_are_safe_to_paste(address: str, root: Path, run: Runner, tmp_path: Path) -> None:
    """Run by a shell, with programs that only tell their words, each word arrives as it is."""
    folder = root.rename(tmp_path / "it's a $(touch pwned) folder")
    ran = run(
        *("grant", "add", "cupy", "gpu-large", "--reason", "$(touch pwned)\n`id`", "--request", address),
        *("--expires", "2027-01-01", "--root", str(folder), "--today", TODAY, "--format", "json"),
    )
    assert ran.code == 0
    commands: Any = ran.json()["commands"]
    (tmp_path / "bin").mkdir()
    for name in ("git", "gh"):
        (tmp_path / "bin" / name).write_text('#!/bin/sh\nprintf "%s\\0" "$0" "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    words = done.stdout.decode().split("\0")
    assert f"added: cupy-feedstock/gpu-large; request: {address}" in words
    assert not list(tmp_path.rglob("pwned"))


def test_nothing_of_a_strangers_text_steers_the_terminal(root: Path, tmp_path: Path, run: Runner) -> None:
    (tmp_path / "r.yml").write_text(
        'action: "cirun\\e[2J"\nfeedstocks: ["\\e]0;x\\a"]\n"k\\e[1m": 1\n', encoding="utf-8"
    )
    ran = run("import", "requests", str(tmp_path / "r.yml"), "--root", str(root))
    assert ran.code == 1 and "\x1b" not in ran.out + ran.err and "\x07" not in ran.err


# ---------------------------------------------------------------------------------------------------- the shell


@pytest.mark.parametrize(
    "arguments",
    [
        "import requests",
        "import requests r.yml --maintainers m.json",
        "import requests r.yml --date yesterday",
        "import requests r.yml --expires 2026-02-30",
        "import requests r.yml --request http://x",
        "grant",
        "grant add cupy",
        "grant add cupy gpu-large",
        "grant add cupy gpu-large --reason x --request https://x --expires soon",
        "grant add cupy gpu-large --reason x --request https://x --count many",
        "grant renew",
        "grant renew cupy",
        "grant renew cupy --until 2020-01-01",
        "grant renew cupy --until 2030-01-01 --for 3d",
        "grant renew cupy --for 3",
        "grant renew cupy --all-expiring 30d",
        "grant renew --all-expiring 1m",
        "grant renew --all-expiring 30d --until 2030-01-01",
        "grant revoke",
    ],
)
def test_wrong_usage(arguments: str, run: Runner, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    ran = run(*arguments.split())
    assert ran.code == 64 and ran.out == ""
    assert "Traceback" not in ran.err
    assert read_folder(root) == BASE


def test_markdown_is_a_block_for_a_comment(root: Path, run: Runner) -> None:
    ran = run("grant", "revoke", "vllm", "--root", str(root), "--today", TODAY, "--format", "markdown")
    assert ran.out.startswith("```diff\n--- a/grants.yaml\n") and ran.out.rstrip().endswith("\n```")
    where = ("--root", str(root), "--today", TODAY, "--format", "markdown")
    ran = run("grant", "renew", "pytorch-cpu", "gpu-large", "--until", "2027-01-10", *where)
    assert ran.out == (
        "grants.yaml stays as it is.\n\n- pytorch-cpu-feedstock/gpu-large lasts until 2027-01-10 already.\n"
    )


def test_what_check_said_before_is_not_said_again(root: Path, run: Runner) -> None:
    text = BASE["grants.yaml"].decode().replace("    expires: 2026-06-20\n", "")
    (root / "grants.yaml").write_text(text)
    ran = run("grant", "revoke", "vllm", "--root", str(root), "--today", TODAY)
    assert ran.code == 0 and "no-expiry" not in ran.err
    found: Any = run(
        "grant", "renew", "pytorch-cpu", "--for", "9d", "--root", str(root), "--format", "json"
    ).json()
    assert [d["code"] for d in found["diagnostics"]] == ["no-expiry"], "in JSON everything is there"


def test_a_byte_order_mark_and_other_line_ends_stay(root: Path, run: Runner) -> None:
    text = "\ufeff" + BASE["grants.yaml"].decode().replace("\n", "\r\n")
    (root / "grants.yaml").write_bytes(text.encode())
    assert (
        run("grant", "renew", "libmagma", "--until", "2028-01-01", "--root", str(root), "--today", TODAY).code
        == 0
    )
    after = (root / "grants.yaml").read_bytes().decode()
    assert after == text.replace("2026-06-20", "2028-01-01")


# ------------------------------------------------------------------------------------------------ any sequence

ASKS = st.lists(
    st.tuples(
        st.sampled_from(["cupy", "CuPy", "pytorch-cpu", "libmagma", "vllm"]),
        st.lists(
            st.sampled_from(
                ["gpu-large", "cirun-lab-gpu-large", "cirun-lab-cpu-large", "win-large", "cpu-shared"]
            ),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(ASKS)
def test_any_sequence_of_requests_ends_well(asks: list[tuple[str, list[str], bool, bool]]) -> None:
    """Sound after each; then what was asked for last holds, and asking again changes nothing."""
    files = dict(BASE)
    day = date.fromisoformat(TODAY)
    for feedstock, resources, pull_request, revoke in asks:
        request = Request((feedstock,), tuple(resources), pull_request, revoke, False, "r.yml")
        for again in (False, True):
            inventory = project.from_files(Path(), files, day).inventory
            draft = Draft(files["grants.yaml"].decode(), inventory, catalog(inventory.stacks))
            changes.apply_request(draft, request, Grant(resources=[], imported="x"), day, "r.yml")
            draft.settle()
            text = draft.editor.text()
            assert not again or text.encode() == files["grants.yaml"]
            files["grants.yaml"] = text.encode()
        folder = project.from_files(Path(), files, day)
        assert not has_errors(folder.diagnostics)
        mine = (a.key for a in folder.resolved().access)
        keys = {
            key.partition("/")[2] for key in mine if key.lower().startswith(f"{feedstock.lower()}-feedstock/")
        }
        asked = {draft.offers.canonical(r) for r in resources}
        assert not (keys & asked) if revoke else asked <= keys
