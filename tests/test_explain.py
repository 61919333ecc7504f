"""explain: case files with their answer as text, JSON and Markdown; and what must hold of every answer.

tests/explain/NAME/ holds `args` and files that replace those of tests/explain/_base; `_answer.txt`, `.json` and `.md`
are what is said on stdout, `_faults.txt` what is said on stderr. `ACCEPT=1` writes them anew.
"""

from __future__ import annotations

import re
import shlex
import socket
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer.main
from accept import expect
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from roots import PROJECT, TODAY, Ran, Runner, read_folder, write_root
from test_properties import DAYS, FILES, grant

from cf_infra import access, answer, cli, edit, project, yaml12
from cf_infra.asked import Question
from cf_infra.chain import Outcome, quote
from cf_infra.explain import explain
from cf_infra.model import Grant
from cf_infra.parse import GRANTS

CASES = Path(__file__).parent / "explain"
BASE = read_folder(CASES / "_base")
NAMES = sorted(p.name for p in CASES.iterdir() if p.is_dir() and p.name != "_base")
DAY = date.fromisoformat(TODAY)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def case(name: str) -> tuple[list[str], dict[str, bytes]]:
    files = {n: c for n, c in read_folder(CASES / name).items() if not n.startswith("_")}
    args = shlex.split(files.pop("args").decode())
    return args + ([] if "--today" in args else ["--today", TODAY]), {**BASE, **files}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("explain asked the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", NAMES)
def test_answer(name: str, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    args, files = case(name)
    monkeypatch.chdir(write_root(tmp_path, files))
    ran: dict[str, Ran] = {
        form: run("explain", *args, "--format", form) for form in ("text", "json", "markdown")
    }
    assert read_folder(tmp_path) == files, "explain writes nothing"
    test = f"tests/test_explain.py -k 'test_answer and {name}'"
    expect(CASES / name / "_answer.txt", ran["text"].out or None, test)
    expect(CASES / name / "_answer.md", ran["markdown"].out or None, test)
    found = orjson.dumps(ran["json"].json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    expect(CASES / name / "_answer.json", found.decode(), test)
    expect(CASES / name / "_faults.txt", ran["text"].err or None, test)
    assert len({r.code for r in ran.values()}) == 1
    assert ran["json"].err == ""
    refused = bool(ran["json"].json()["diagnostics"])
    assert ran["text"].code in ((1, 64) if refused else (0,)), "0 also for a no"
    if not refused:
        holds_of_every_answer(ran, files)


def holds_of_every_answer(ran: dict[str, Ran], files: dict[str, bytes]) -> None:
    data = ran["json"].json()
    chain = data["chain"]
    assert isinstance(chain, list)
    assert data["allowed"] is all(step["outcome"] != "no" for step in chain)
    for step in chain:
        assert step["outcome"] in ("yes", "no", "unknown") and step["why"]
        if step["line"] is not None:
            assert 1 <= step["line"] <= files[step["file"]].count(b"\n")
        in_text = " ".join(ran["text"].out.split())
        assert " ".join(step["why"].split()) in in_text
    for line in ran["text"].out.splitlines():
        assert len(line) <= 80 or re.search(r"^ {2,}|\S{60}", line), line
    assert "inferred" in ran["text"].out and "inferred" in ran["markdown"].out
    assert ran["text"].out.isprintable() or set(ran["text"].out) - set("\n") == {
        c for c in ran["text"].out if c.isprintable()
    }


def test_every_no_of_the_cases_has_a_way_to_a_yes() -> None:
    """But for the two that are told by the step beside them."""
    for name in NAMES:
        data = orjson.loads((CASES / name / "_answer.json").read_bytes())
        steps = [s for s in data.get("chain", []) if s["outcome"] == "no"]
        assert not steps or any(s["fix"] for s in steps), name


def test_the_cases_show_every_step_with_every_outcome_that_it_can_have() -> None:
    seen = {
        (s["step"], s["outcome"])
        for name in NAMES
        for s in orjson.loads((CASES / name / "_answer.json").read_bytes()).get("chain", [])
    }
    possible = {
        "grant": "yes no",
        "dates": "yes no",
        "approver": "yes no unknown",
        "offer": "yes no unknown",
        "stack": "yes no",
        "terms": "yes no unknown",
        "who": "yes no unknown",
        "pull-request": "yes unknown",
        "runner-group": "unknown",
        "label": "yes",
    }
    assert seen == {(step, outcome) for step, words in possible.items() for outcome in words.split()}


def test_the_page_shows_what_is_said(run: Runner) -> None:
    page = (PROJECT / "docs" / "explain.md").read_text()
    shown = page.partition("```text\n")[2].partition("```")[0]
    ran = run("explain", "numpy", "gpu-large", "--root", str(PROJECT), "--today", "2026-11-21")
    assert len(shown.splitlines()) > 5 and shown in ran.out
    keys = run("explain", "numpy", "gpu-large", "--root", str(PROJECT), "--format", "json").json()
    table = page.partition("one object:")[2]
    assert [key for key in keys if f"`{key}`" not in table] == []


def test_places_are_those_of_the_values(tmp_path: Path) -> None:
    """Each line that is named holds the key that the step is about."""
    files = case("allowed-user")[1]
    found = explain(files, Question("pytorch-cpu", "gpu-large", DAY, "alice"))
    keys = {
        "grant": "resources:",
        "dates": "expires:",
        "approver": "approved_by:",
        "offer": "gpu-large:",
        "stack": "until:",
        "terms": '"alice"',
        "who": "roles:",
        "pull-request": "pull_requests:",
        "label": "label:",
    }
    for step in found.chain:
        assert step.file is not None and step.line is not None
        line = files[step.file].decode().splitlines()[step.line - 1]
        assert keys[step.step] in line


# ------------------------------------------------------------------------------------------- strangers' texts


class Tags(HTMLParser):
    """The tags of a text, and the text that stands outside of code."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.code = 0
        self.outside = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.code += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        self.outside += "" if self.code else data


OWN_TAGS = {"p", "strong", "ul", "li", "code", "pre", "h4"}


def inert(text: str) -> str:
    """What of a Markdown text is outside of code. Its HTML has our own tags only."""
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    tags = Tags()
    tags.feed(html)
    assert tags.tags <= OWN_TAGS, tags.tags - OWN_TAGS
    return tags.outside


def test_hostile_texts_are_inert_in_markdown() -> None:
    """A reason, a source, a request and a team: no mention, link, image, heading or HTML comes of them."""
    text = (CASES / "hostile" / "_answer.md").read_text()
    assert "@conda-forge/core" in text and "onerror" in text, "it is shown"
    outside = inert(text)
    for sign in ("@", "<", "evil", "Head", "done", "__team__"):
        assert sign not in outside


TEXTS = st.text(max_size=40) | st.sampled_from(
    [
        "`",
        "``",
        "`a",
        "a`",
        "\\",
        "\\`",
        "@all",
        "<!--",
        "</code>",
        "\n\n",
        "```\n",
        "&lt;",
        "\u202e",
        "| |",
        "~~~",
    ]
)


@given(TEXTS)
def test_quoted_texts_are_inert(text: str) -> None:
    quoted = quote(text)
    assert "\n" not in quoted and quoted.isprintable()
    assert quoted.count("`") in (0, 2)
    assert inert(f"Its reason: {quoted}. More.\n") in (
        "Its reason: . More.\n",
        "Its reason: (nothing). More.\n",
    )


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=60).filter(
        lambda t: not re.search("[\u202a-\u202e\u2066-\u2069\ufffe\uffff]", t)
    )
)
def test_any_reason_is_inert_in_an_answer(reason: str) -> None:
    text = f"version: 1\ngrants:\n  - feedstock: a\n    resources: [cpu-large]\n    reason: {yaml12.quoted(reason)}\n"
    text += "    request: https://example.org\n    granted: 2026-01-01\n    roles: [write]\n"
    found = explain({**BASE, GRANTS: text.encode()}, Question("a", "cpu-large", DAY))
    outside = inert(answer.markdown(found))
    plain = explain(
        {**BASE, GRANTS: text.replace(yaml12.quoted(reason), '"x"').encode()}, Question("a", "cpu-large", DAY)
    )
    assert outside == inert(answer.markdown(plain)), "the reason changes nothing outside of code"
    assert answer.terminal(found).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["conda-forge/numpy-feedstock", "gpu"], "write numpy-feedstock"),
        (["https://github.com/conda-forge/numpy-feedstock.git", "gpu"], "write numpy-feedstock"),
        (["../../etc/passwd", "gpu"], "write passwd"),
        (["..", "gpu"], "--help"),
        (["a; rm -rf ~", "gpu"], "--help"),
        (["", "gpu"], "--help"),
        (["a" * 101, "gpu"], "--help"),
        (["numpy", "$(id)"], "--help"),
        (["numpy", "gpu", "--user", "@eve"], "write eve"),
        (["numpy", "gpu", "--user", "eve`"], "--help"),
    ],
)
def test_what_is_no_name_is_refused(arguments: list[str], hint: str, run: Runner, tmp_path: Path) -> None:
    root = write_root(tmp_path, BASE)
    ran = run("explain", *arguments, "--root", str(root))
    assert ran.code == 64 and ran.out == ""
    assert hint in ran.err


LIKE_OPTIONS = ["numpy", "-x", "--help", "07", "on", "a.b", "1e3", "x_y", "-feedstock"]


@given(
    st.sampled_from(LIKE_OPTIONS),
    st.sampled_from(["gpu-large", "cpu-large"]),
    st.sampled_from([None, "on", "07"]),
)
def test_what_is_copied_is_what_was_asked(name: str, resource: str, user: str | None) -> None:
    """The command, split as a shell does, and the entry, read as YAML, name what the question names."""
    found = explain(BASE, Question(name, resource, DAY, user))
    command, entry = (r.text for r in found.chain[0].remedies[-2:])
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["cf-infra", "grant", "add"]
    assert words[words.index("--requested-by") + 1] == (user or "LOGIN")
    [value] = yaml12.load(f"grants:\n{entry}\n".encode(), "x")[0]["grants"]
    assert f"{value['feedstock']}-feedstock" == found.repository
    assert (value["resources"], value["requested_by"]) == ([resource], user or "LOGIN")


def test_commands_that_are_proposed_are_understood() -> None:
    """`grant` is a command of its own; as long as it is not there, only the others can be tried."""
    app: Any = typer.main.get_command(cli.app)
    tried = set()
    for name in NAMES:
        for step in orjson.loads((CASES / name / "_answer.json").read_bytes()).get("chain", []):
            for fix in step["fix"]:
                if not fix["text"].startswith("cf-infra "):
                    continue
                first, *rest = shlex.split(fix["text"].replace("\\\n", " "))[1:]
                assert first in {*app.commands, "grant"}
                command: Any = app.commands.get(first)
                while command is not None and hasattr(command, "commands"):
                    command, rest = command.commands[rest[0]], rest[1:]
                if command is not None:
                    command.make_context(first, rest)
                    tried.add(first)
    assert "explain" in tried


def test_an_entry_that_is_copied_makes_it_a_yes(tmp_path: Path, run: Runner) -> None:
    """The way from a no to a yes, gone: the proposed entry is added, the proposed person, and check has no error."""
    root = write_root(tmp_path, BASE)
    arguments = ("explain", "numpy", "gpu-large", "--user", "eve", "--root", str(root), "--today", TODAY)
    first = run(*arguments, "--format", "json").json()
    assert first["allowed"] is False
    fixes = {f["do"]: f["text"] for step in first["chain"] for f in step["fix"]}  # type: ignore[attr-defined]
    with (root / "grants.yaml").open("a") as file:
        file.write(fixes["or add to grants.yaml"].replace("NUMBER", "7") + "\n")
    form = next(text for do, text in fixes.items() if "accept" in do).partition("--jq '{")[2]
    version = re.search(r'terms: "([^"]+)"', form)
    assert version is not None
    people = orjson.loads(BASE["users/lab-terms.json"])
    people["users"].append({"github": "eve", "id": 99, "terms": version[1], "accepted": TODAY})
    (root / "users" / "lab-terms.json").write_bytes(orjson.dumps(people))
    assert run(*arguments, "--format", "json").json()["allowed"] is True
    checked = run("check", "--root", str(root), "--today", TODAY, "--format", "json").json()
    wrong = [d for d in checked["diagnostics"] if d["severity"] == "error"]  # type: ignore[attr-defined]
    assert {d["code"] for d in wrong} <= {"bad-bot"}, "the base has a bot without an owner"


# ------------------------------------------------------------------------------------------------ one answer


@given(
    st.sampled_from(["pytorch-cpu", "libmagma", "admin-migrations", "numpy"]),
    DAYS,
    st.sampled_from(
        [
            "gpu-large",
            "cirun-lab-gpu-large",
            "cirun-guest-gpu-large",
            "win-large",
            "cpu-large",
            "cpu-pool",
            "none",
        ]
    ),
    st.sampled_from([None, "alice", "bob", "carol", "robot", "eve"]),
)
def test_a_no_stays_a_no_for_every_user(name: str, day: date, resource: str, user: str | None) -> None:
    """Naming somebody can only add a reason to refuse; and what is not granted has no chain of an entry."""
    anybody = explain(BASE, Question(name, resource, day))
    somebody = explain(BASE, Question(name, resource, day, user))
    assert anybody.allowed or not somebody.allowed
    assert {s.step for s in somebody.chain if s.step == "dates"} == {
        s.step for s in anybody.chain if s.step == "dates"
    }
    spelled = explain(BASE, Question(name.upper(), resource, day, user and user.upper()))
    assert [s.outcome for s in spelled.chain] == [s.outcome for s in somebody.chain]


@given(
    st.lists(grant(st.sampled_from(["numpy", "numpy-x", "a.b"])), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
    DAYS,
)
@settings(max_examples=60)
def test_a_yes_is_what_the_access_list_says(
    grants: list[Grant], of_terms: bool, lapsed: bool, day: date
) -> None:
    """For every repository and label: explain refuses exactly what the exported list does not open."""
    donor = b"donor: {name: The Second Lab, terms: {users: lab, version: 2026-01-01%s}}"
    stacks = FILES["stacks/second.yaml"]
    known = re.search(rb"^donor:.*$", stacks, re.MULTILINE)
    assert known is not None
    terms = donor % (b", grace_until: 2026-06-01" if lapsed else b"")
    if of_terms:
        grants = [g.model_copy(update={"terms": "lab"}) for g in grants]
    text = edit.with_entries("", grants)
    files = {**FILES, "stacks/second.yaml": stacks.replace(known[0], terms), GRANTS: text.encode()}
    folder = project.from_files(Path(), files, day)
    resolved = folder.resolved()
    listed = access.export_access(resolved, folder.inventory)
    repositories = {p.id: p.repo for p in listed.policies}
    opened = {(repositories[i], c.resource) for c in listed.access_control for i in c.policies}
    labels = {o.offer.label for offers in resolved.catalog.by_name.values() for o in offers if o.offer.label}
    for name in ("numpy", "numpy-x", "a.b", "else"):
        for label in labels:
            assert explain(files, Question(name, label, day)).allowed is (
                (f"{name}-feedstock", label) in opened
            )


def test_a_name_in_other_letters_is_the_same_repository() -> None:
    text = "version: 1\ngrants:\n"
    for name, resource in (("A", "cpu-large"), ("a", "win-large")):
        text += f"  - {{feedstock: {name}, resources: [{resource}], roles: [write], imported: x}}\n"
    for name in "aA":
        for resource in ("cpu-large", "win-large"):
            assert explain({**BASE, GRANTS: text.encode()}, Question(name, resource, DAY)).allowed


def test_a_missing_grants_file_is_told_as_check_does(tmp_path: Path, run: Runner) -> None:
    ran = run("explain", "numpy", "gpu", "--root", str(tmp_path), "--format", "json")
    assert ran.code == 1
    assert orjson.loads(ran.out)["diagnostics"][0]["code"] == "not-found"


def test_outcomes_read_without_colour(tmp_path: Path, run: Runner) -> None:
    root = write_root(tmp_path, BASE)
    ran = run("explain", "libmagma", "win-large", "--root", str(root), "--today", TODAY)
    assert "\x1b" not in ran.out
    assert re.search(r"^  NO   dates", ran.out, re.MULTILINE)
    assert {str(o) for o in Outcome} == {"yes", "no", "unknown"}
