"""`diff`, case by case, for all folders, and from git.

tests/diff/NAME/base and head are root folders; expected.txt, expected.md and expected.json are what `diff` says of
them. A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from accept import expect
from hypothesis import given, settings
from hypothesis import strategies as st
from roots import TODAY, Runner, read_folder, write_root

from cf_infra import comparing, difference_report, revision
from cf_infra.difference import Difference, difference
from cf_infra.model import Inventory
from cf_infra.parse import parse

CASES = Path(__file__).parent / "diff"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())
DAY = date.fromisoformat(TODAY)
FEWER = settings(settings.get_profile("any-machine"), max_examples=40)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def inventory_in(name: str) -> Inventory:
    return parse(read_folder(CASES / name)).inventory


def between(one: str, other: str) -> Difference:
    return difference(inventory_in(one), inventory_in(other), DAY)


# --------------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_between(name: str, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / name)
    test = f"tests/test_diff.py -k 'test_what_lies_between and {name}'"
    for form, ending in (("text", "txt"), ("markdown", "md"), ("json", "json")):
        ran = run("diff", "./base", "./head", "--today", TODAY, "--format", form, "--detailed-exitcode")
        said = ran.out + (f"\n{ran.err}" if form == "text" and ran.err else "")
        expect(CASES / name / f"expected.{ending}", said, test)
        if form == "json":
            data = ran.json()
            errors = any(d["severity"] == "error" for d in data["diagnostics"])  # type: ignore[attr-defined]
            differs = any(data.get("grants", {}).values()) or any(data.get("effects", {}).values())  # type: ignore[attr-defined]
            assert ran.code == (1 if errors else 2 if differs else 0)
    assert run("diff", "./base", "./head", "--today", TODAY, "-q").code == (1 if errors else 0)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-with-errors")])
def test_the_way_back_is_the_same_exchanged(name: str) -> None:
    there, back = between(f"{name}/base", f"{name}/head"), between(f"{name}/head", f"{name}/base")
    assert mirrored(there.as_json()) == in_order(back.as_json())
    assert between(f"{name}/base", f"{name}/base").is_empty


OPPOSITE = {"before": "after", "added": "removed", "gains": "loses"}
OPPOSITE |= {other: one for one, other in OPPOSITE.items()}


def mirrored(value: Any) -> Any:
    """The same seen from the other side."""
    if isinstance(value, dict):
        told = {OPPOSITE.get(key, key): mirrored(item) for key, item in value.items()}
        return told | (
            {"change": OPPOSITE.get(value["change"], value["change"])} if "change" in value else {}
        )
    return in_order([mirrored(item) for item in value]) if isinstance(value, list) else value


def in_order(value: Any) -> Any:
    """Lists in one order, whatever it was."""
    if isinstance(value, dict):
        return {key: in_order(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(in_order, value), key=lambda item: orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
    return value


@pytest.mark.parametrize("name", NAMES)
def test_text_fits_a_terminal(name: str) -> None:
    """But for a single word that is wider, such as an address, which is never broken."""
    for line in (CASES / name / "expected.txt").read_text().partition("\nwarning[")[0].splitlines():
        assert len(line) <= 80 or len(line.split()) <= 2 or line.startswith(("error", "At `"))


def test_hostile_texts_are_inert_in_markdown() -> None:
    shown = (CASES / "hostile-texts" / "expected.md").read_text()
    assert "javascript:" in shown and "@conda-forge" in shown, "the text is shown"
    outside = re.sub(r"`[^`\n]*`", "", shown)
    assert not re.search(r"[<>@|\[\]]|#\d", outside), "and all of it stands in code"


def test_nothing_is_taken_from_the_head_that_is_operators_own() -> None:
    found = comparing.compare(
        CASES, str(CASES / "operators-files/base"), str(CASES / "operators-files/head"), DAY
    )
    assert found.difference.is_empty
    assert {d.file for d in found.diagnostics} == {"settings.yaml", "overrides.yaml", "modules/"}


# ---------------------------------------------------------------------------------------------- properties

LAB = yaml.safe_load(
    (CASES / "everything/base/stacks/lab.yaml").read_text().replace("2026-01-01", '"2026-01-01"')
)
OTHERS = {
    name: raw
    for name, raw in read_folder(CASES / "everything/base").items()
    if name not in ("grants.yaml", "stacks/lab.yaml")
}
NAME = st.sampled_from(["numpy", "scipy", "jax", "webkit2gtk4.1", "llama.cpp"])


@st.composite
def entry(draw: st.DrawFn) -> dict[str, Any]:
    """An entry as people write it; each is legal by itself."""
    ways = [
        {"roles": ["write", "admin"]},
        {"terms": "lab"},
        {"users": ["bob", "eve"]},
        {"teams": ["gpu", "core"]},
    ]
    return {
        "feedstock": draw(NAME),
        "resources": draw(st.lists(st.sampled_from(["gpu-large", "gpu-dedicated"]), min_size=1, unique=True)),
        "reason": draw(st.sampled_from(["CUDA", "a: b # c", "'quoted' \"twice\"", "ünï"])),
        "request": "https://example.org/1",
        "granted": "2026-01-01",
        "expires": draw(st.sampled_from(["2026-05-01", "2026-06-02", "2027-01-01"])),
        "pull_requests": draw(st.booleans()),
        **draw(st.sampled_from(ways)),
    }


ENTRIES = st.lists(entry(), max_size=4)


class Quoted(yaml.SafeDumper):
    """Anchors are refused, so nothing is written once and meant twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def folder_of(entries: list[dict[str, Any]], stack: Any = LAB, **style: Any) -> Inventory:
    grants = {"version": 1, "grants": entries}
    texts = {"grants.yaml": grants, "stacks/lab.yaml": stack}
    made = {n: yaml.dump(v, Dumper=Quoted, allow_unicode=True, **style).encode() for n, v in texts.items()}
    found = parse({**OTHERS, **made})
    assert found.diagnostics == []
    return found.inventory


def shuffled(value: Any, turn: random.Random) -> Any:
    """The same with keys and lists in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, turn)) for key, item in value.items()]
        turn.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return turn.sample([shuffled(item, turn) for item in value], len(value))
    return value


@FEWER
@given(
    ENTRIES,
    st.randoms(use_true_random=False),
    st.sampled_from([True, False, None]),
    st.sampled_from(["'", '"']),
)
def test_order_and_form_are_no_change(
    entries: list[dict[str, Any]], turn: random.Random, flow: bool | None, quote: str
) -> None:
    other = folder_of(
        shuffled(entries, turn), shuffled(LAB, turn), default_flow_style=flow, sort_keys=False, width=40
    )
    found = difference(folder_of(entries, default_style=None), other, DAY)
    assert found.is_empty, found
    texts = [{**one, "reason": f"{one['reason']}{quote}"} for one in entries]
    assert difference(folder_of(texts), folder_of(texts, default_flow_style=flow, width=20), DAY).is_empty


@FEWER
@given(ENTRIES, ENTRIES)
def test_the_way_back_is_always_the_same_exchanged(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    before, after = folder_of(one), folder_of(other)
    there, back = difference(before, after, DAY), difference(after, before, DAY)
    assert mirrored(there.as_json()) == in_order(back.as_json())
    assert difference(before, before, DAY).is_empty
    assert there.is_empty == back.is_empty
    sides = {"base": {"name": "a", "commit": None}, "head": {"name": "b", "commit": None}}
    for render in (difference_report.terminal, difference_report.markdown):
        assert all(key in render({**sides, **there.as_json()}) for key in (*there.added, *there.removed))


def changed(name: str, **values: Any) -> list[dict[str, Any]]:
    plain = {
        "resources": ["gpu-large"],
        "reason": "x",
        "request": "https://example.org/1",
        "granted": "2026-01-01",
    }
    return [{"feedstock": name, **plain, "expires": "2027-01-01", "roles": ["admin", "write"], **values}]


def effects(one: list[dict[str, Any]], other: list[dict[str, Any]], **stacks: Any) -> dict[str, Any]:
    before, after = folder_of(one), folder_of(other, **stacks)
    return {
        k: v for k, v in difference(before, after, DAY).as_json()["effects"].items() if v and k != "grants"
    }


def test_a_narrower_role_is_told_of_people_who_stay() -> None:
    one, other = changed("numpy", users=["bob"]), changed("numpy", users=["bob"], roles=["admin"])
    found = effects(one, other)
    assert found.keys() == {"access", "people"}
    [row] = found["people"]
    assert (row["name"], row["gains"], row["otherwise"]) == ("bob", [], ["numpy-feedstock/gpu-large"])


def test_a_person_who_stays_on_a_list_loses_nothing_by_name() -> None:
    """alice is named, and accepted the terms: without her name she still has it."""
    one, other = changed("numpy", terms="lab", users=["Alice"]), changed("numpy", terms="lab")
    assert "people" not in effects(one, other)


def test_an_unknown_price_is_never_nothing() -> None:
    offers = {**LAB["offers"]}
    offers["gpu-dedicated"] = {k: v for k, v in offers["gpu-dedicated"].items() if k != "price"}
    dedicated = changed("numpy", resources=["gpu-dedicated"])
    found = effects([], dedicated, stack={**LAB, "offers": offers})
    assert found["unknown_prices"] == [
        {"stack": "lab", "class": "gpu-dedicated", "before": None, "after": {"machines": 1}}
    ]
    assert found["machines"][0]["after"]["monthly"] is None
    data = difference(folder_of([]), folder_of(dedicated, {**LAB, "offers": offers}), DAY).as_json()
    assert "1 price unknown" in difference_report.verdict(data)


def test_a_donors_terms_that_turn_take_people_along() -> None:
    donor = {**LAB["donor"], "terms": {"users": "lab", "version": "2026-05-01", "grace_until": "2026-05-02"}}
    entries = changed("numpy", terms="lab")
    found = effects(entries, entries, stack={**LAB, "donor": donor})
    assert [(row["name"], row["loses"]) for row in found["people"]] == [
        ("alice", ["numpy-feedstock/gpu-large"]),
        ("bob", ["numpy-feedstock/gpu-large"]),
    ]
    assert [row["before"] is not None and row["after"] is None for row in found["access"]] == [True], (
        "list is closed"
    )


# ----------------------------------------------------------------------------------------------------- git


def git(folder: Path, *words: str, stdin: bytes | None = None) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, input=stdin, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def commit(folder: Path, files: dict[str, bytes] | None = None) -> str:
    write_root(folder, files or {})
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository: `main` is the base of a case, `feature` its head, in an order of its own."""
    root = tmp_path / "clone"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    commit(root, read_folder(CASES / "everything/base"))
    git(root, "switch", "-q", "-c", "feature")
    commit(root, read_folder(CASES / "everything/head"))
    monkeypatch.chdir(root)
    return root


def test_revisions_are_as_their_folders(clone: Path, run: Runner) -> None:
    """Branch, commit, HEAD, and the folder itself, whatever is checked out; nothing is written."""
    before = read_folder(clone / ".git")
    wanted = orjson.loads((CASES / "everything/expected.json").read_bytes())
    names = ("main", git(clone, "rev-parse", "main"), "HEAD~1", "refs/heads/main"), ("feature", "HEAD", ".")
    for base in names[0]:
        for head in names[1]:
            ran = run("diff", base, head, "--today", TODAY, "--format", "json", "--detailed-exitcode")
            data = ran.json()
            assert ran.code == 2
            assert (data["grants"], data["effects"]) == (wanted["grants"], wanted["effects"])
            assert data["base"] == {"name": base, "commit": git(clone, "rev-parse", base)}
    assert run("diff", "main", "main", "--today", TODAY, "--detailed-exitcode").code == 0
    assert read_folder(clone / ".git") == before


def test_a_root_folder_inside_a_repository(clone: Path, run: Runner) -> None:
    write_root(clone / "sub", read_folder(CASES / "everything/base"))
    commit(clone)
    ran = run(
        "diff", "HEAD", str(clone / "sub"), "--root", str(clone / "sub"), "--today", TODAY, "--format", "json"
    )
    assert ran.code == 0 and not any(ran.json()["grants"].values())  # type: ignore[attr-defined]
    ran = run("diff", "HEAD~1", "HEAD", "--root", str(clone / "sub"), "--today", TODAY)
    assert ran.code == 1 and "has no folder sub/" in ran.err


def test_a_head_that_is_detached_or_left_the_base_behind(clone: Path, run: Runner) -> None:
    git(clone, "switch", "-q", "main")
    commit(clone, {"README": b"x"})
    git(clone, "switch", "-q", "--detach", "feature")
    ran = run("diff", "main", "HEAD", "--today", TODAY)
    assert ran.code == 0 and "warning[not-an-ancestor]" in ran.err
    assert "cf-infra diff $(git merge-base main HEAD) HEAD" in ran.err
    assert "not-an-ancestor" not in run("diff", "main~1", "HEAD", "--today", TODAY).err


def test_an_unknown_revision_names_the_nearest(clone: Path, run: Runner) -> None:
    ran = run("diff", "man", "featur", "--today", TODAY)
    assert ran.code == 1 and "do you mean `main`?" in ran.err and "do you mean `feature`?" in ran.err
    for name in ("", "--all", "--output=x", "main:grants.yaml", "a\x1b[31m"):
        ran = run("diff", "main", "--today", TODAY, "--", name)
        assert ran.code == 1 and "error[bad-revision]" in ran.err and "\x1b" not in ran.err


def test_a_shallow_clone_says_how_to_get_more(clone: Path, tmp_path: Path, run: Runner) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{clone}", str(shallow))
    ran = run("diff", "HEAD~1", "HEAD", "--root", str(shallow), "--today", TODAY)
    assert ran.code == 1 and "git fetch --deepen" in ran.err
    git(shallow, "fetch", "-q", "--depth", "1", "origin", "main:main")
    ran = run("diff", "main", "HEAD", "--root", str(shallow), "--today", TODAY)
    assert ran.code == 0 and "may only not show it" in ran.err and "git fetch --deepen" in ran.err


def test_no_repository(tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ran = run("diff", "main", "HEAD", "--today", TODAY)
    assert ran.code == 1 and "There is no git repository" in ran.err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "error[tool-missing]" in run("diff", "main", "HEAD", "--today", TODAY).err


def test_faults_have_the_heads_lines(clone: Path, run: Runner) -> None:
    """The file on the disk says something else, and is not looked at."""
    head = commit(clone, {"grants.yaml": (CASES / "head-with-errors/head/grants.yaml").read_bytes()})
    write_root(clone, {"grants.yaml": b"rubbish"})
    ran = run("diff", "main", head, "--today", TODAY, "--format", "json")
    wanted = orjson.loads((CASES / "head-with-errors/expected.json").read_bytes())["diagnostics"]
    found = ran.json()["diagnostics"]
    assert ran.code == 1 and "grants" not in ran.json()
    assert [(d["code"], d["line"]) for d in found] == [(d["code"], d["line"]) for d in wanted]  # type: ignore[attr-defined]
    assert all(f"At `{head}`" in d["detail"] for d in found)  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------- hostile heads


def tree(folder: Path, *rows: tuple[str, str, str, str]) -> str:
    """A tree object of (mode, type, id, name), whatever git's own commands would say to it."""
    raw = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(i) for mode, _, i, name in rows)
    return git(folder, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)


def blob(folder: Path, content: bytes) -> str:
    return git(folder, "hash-object", "-w", "--stdin", stdin=content)


def head_of(folder: Path, *rows: tuple[str, str, str, str]) -> str:
    return git(folder, "commit-tree", "-m", "x", "-p", "main", tree(folder, *rows))


GOOD = b"version: 1\ngrants: []\n"


def link(f: Path) -> str:
    return head_of(f, ("120000", "blob", blob(f, b"/proc/self/environ"), "grants.yaml"))


def submodule(f: Path) -> str:
    return head_of(f, ("160000", "commit", git(f, "rev-parse", "main"), "grants.yaml"))


def folder_for_file(f: Path) -> str:
    return head_of(f, ("40000", "tree", tree(f), "grants.yaml"))


def linked_folder(f: Path) -> str:
    return head_of(f, ("120000", "blob", blob(f, b"/etc"), "users"))


def submodule_for_folder(f: Path) -> str:
    return head_of(f, ("160000", "commit", git(f, "rev-parse", "main"), "stacks"))


def way_out(f: Path) -> str:
    users = tree(f, ("100644", "blob", blob(f, b"{}"), "../../settings.json"))
    return head_of(f, ("100644", "blob", blob(f, GOOD), "grants.yaml"), ("40000", "tree", users, "users"))


def pointer(f: Path) -> str:
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    return head_of(f, ("100644", "blob", blob(f, text), "grants.yaml"))


def huge(f: Path) -> str:
    return head_of(f, ("100644", "blob", blob(f, b"# " + b"x" * 200_000_000), "grants.yaml"))


def many(f: Path) -> str:
    one = blob(f, b"# " + b"x" * 900_000)
    stacks = tree(f, *(("100644", "blob", one, f"s{number:03}.yaml") for number in range(223)))
    return head_of(f, ("100644", "blob", blob(f, GOOD), "grants.yaml"), ("40000", "tree", stacks, "stacks"))


def crowd(f: Path) -> str:
    one = blob(f, b"x")
    users = tree(f, *(("100644", "blob", one, f"nobody-at-all-{number:06}.json") for number in range(30_000)))
    return head_of(f, ("100644", "blob", blob(f, GOOD), "grants.yaml"), ("40000", "tree", users, "users"))


def twice(f: Path) -> str:
    """What a reviewer is shown, and what is meant."""
    rows = (("100644", "blob", blob(f, raw), "grants.yaml") for raw in (GOOD, GOOD + b"# another\n"))
    return head_of(f, *rows)


def damaged(f: Path) -> str:
    lost = "11" * 20
    return head_of(f, ("100644", "blob", lost, "grants.yaml"))


HOSTILE: dict[Callable[[Path], str], tuple[str, str]] = {
    link: ("unreadable", "it is a link"),
    submodule: ("unreadable", "it is a submodule"),
    folder_for_file: ("unreadable", "it is a folder"),
    linked_folder: ("unreadable", "it is a link, and not a folder"),
    submodule_for_folder: ("unreadable", "it is a submodule, and not a folder"),
    way_out: ("unreadable", "leads out of its folder"),
    pointer: ("unreadable", "pointer of Git LFS"),
    huge: ("too-large", "45,000,000 bytes"),
    many: ("too-large", "100,000,000 bytes"),
    crowd: ("too-large", "1,000,000 bytes"),
    twice: ("bad-revision", "stands twice"),
    damaged: ("bad-revision", "are not in this clone"),
}


@pytest.mark.parametrize("made", HOSTILE, ids=lambda made: made.__name__)
def test_a_hostile_head_is_refused(made: Callable[[Path], str], clone: Path, run: Runner) -> None:
    head = made(clone)
    code, words = HOSTILE[made]
    ran = run("diff", "main", head, "--today", TODAY, "--format", "json")
    [fault] = ran.json()["diagnostics"]  # type: ignore[misc]
    assert (ran.code, fault["code"]) == (1, code) and words in fault["detail"], fault
    assert "grants" not in ran.json()


def test_a_folder_of_links_is_refused(clone: Path, tmp_path: Path, run: Runner) -> None:
    head = write_root(tmp_path / "head", {"grants.yaml": GOOD})
    (head / "users").symlink_to(clone / "users")
    ran = run("diff", ".", str(head), "--today", TODAY)
    assert ran.code == 1 and "links are not followed" in ran.err and "users" in ran.err
    (head / "grants.yaml").unlink()
    (head / "users").unlink()
    (head / "grants.yaml").symlink_to("/proc/self/environ")
    ran = run("diff", ".", str(head), "--today", TODAY)
    assert ran.code == 1 and "links are not followed" in ran.err


def test_git_reads_no_credential_and_reaches_no_network(
    clone: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone that would fetch what is missing does not; the environment of a shell does not get to git."""
    head = damaged(clone)
    seen = tmp_path / "asked"
    git(clone, "config", "extensions.partialClone", "origin")
    git(clone, "config", "remote.origin.url", f"ext::sh -c 'touch {seen}'")
    git(clone, "config", "remote.origin.promisor", "true")
    git(clone, "config", "core.fsmonitor", f"touch {seen}")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext")
    ran = run("diff", "main", head, "--today", TODAY)
    assert ran.code == 1 and "error[bad-revision]" in ran.err
    assert not seen.exists()
    environment = revision._environment({"GITHUB_TOKEN": "x", "GIT_DIR": "x", "HOME": "/home"})
    assert (
        "GITHUB_TOKEN" not in environment and "GIT_DIR" not in environment and environment["HOME"] == "/home"
    )


def test_git_that_hangs_is_ended(
    clone: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    write_root(tmp_path, {"bin/git": b"#!/bin/sh\nexec /bin/sleep 60\n"})
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    monkeypatch.setattr(revision, "SECONDS", 0.2)
    ran = run("diff", "main", "HEAD", "--today", TODAY)
    assert ran.code == 1 and "took more than" in ran.err


def test_modules_are_compared_as_git_does(clone: Path, run: Runner) -> None:
    """Between a revision and a folder, too: equal ones are not told, others are."""
    commit(clone, {"modules/a/main.tf": b"# one\n", "modules/b.tf": b"# two\n"})
    (clone / "modules/a/run").symlink_to("main.tf")
    (clone / "modules/a/tool").write_text("x")
    (clone / "modules/a/tool").chmod(0o755)
    commit(clone)
    assert "modules/" not in run("diff", "HEAD", ".", "--today", TODAY).err
    assert "modules/" in run("diff", "HEAD~1", ".", "--today", TODAY).err
    assert comparing._tree(clone / "modules", "sha1") == git(clone, "rev-parse", "HEAD:modules")
