"""The documentation says what is so: links lead somewhere, commands exist, examples work, pages are current."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import typer.main

from cf_infra import project
from cf_infra.cli import app
from cf_infra.diagnostics import has_errors
from tools import docs

ROOT = Path(__file__).resolve().parents[1]
TODAY = date(2026, 11, 21)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def tracked() -> tuple[Path, ...]:
    """All files of the repository, also those that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


PAGES = [p.relative_to(ROOT).as_posix() for p in tracked() if p.suffix == ".md" and p.name != "_answer.md"]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for found, text in FENCE.findall(read(page)) if found == language]


# ----------------------------------------------------------------------------------- made from the code


def test_pages_made_from_the_code_are_current() -> None:
    assert docs.out_of_date() == [], "run: .venv/bin/python tools/docs.py"


def test_the_core_is_pure_and_nothing_is_imported_in_a_circle() -> None:
    pure, shell = docs.layout().split("the shell around them")
    for name in ("yaml12", "parse", "check", "capacity", "resolve", "access", "compile", "plan", "report"):
        assert f"`{name}.py`" in pure, f"{name}.py uses the clock, the disk, a process or the network"
    listed = re.findall(r"^\| `(\w+)\.py` \| (.*) \|$", pure + shell, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(
        p.stem for p in (ROOT / "cf_infra").glob("*.py") if p.stem != "__init__"
    )
    assert all(words for _, words in listed), "every file says in its first line what it is for"


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match="one, two"):
        docs._in_order({"one": {"two"}, "two": {"one"}, "three": set()})


# ------------------------------------------------------------------------------------------------- help

HELP = dict(docs.help_texts())


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command with its words: (["sandbox", "up"], command); groups are left out."""
    waiting: list[tuple[list[str], Any]] = [([], typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        children = getattr(command, "commands", {})
        waiting += [([*words, name], child) for name, child in children.items()]
        if not children:
            yield words, command


COMMANDS = {" ".join(words): command for words, command in commands()}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_of_itself(name: str) -> None:
    text = HELP[f"cf-infra {name}"]
    _, found, examples = text.partition("Example")
    assert found, f"`cf-infra {name} --help` has no example"
    assert f"cf-infra {name}" in examples.partition("Options:")[0]
    sentence = text.splitlines()[2].strip()
    assert sentence and sentence[0].isupper()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_explained(name: str) -> None:
    silent = [p.name for p in COMMANDS[name].params if p.param_type_name == "option" and not p.help]
    assert silent == []


def test_every_command_stands_in_the_page_of_commands() -> None:
    page = read("docs/commands.md")
    for name in HELP:
        assert f"\n## {name}\n" in page


# ------------------------------------------------------------------------------------------------ links


def links(page: str) -> Iterator[str]:
    text = FENCE.sub("", read(page))
    text = re.sub(r"`[^`\n]*`", "", text)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", h).lower()).replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or not target.resolve().is_relative_to(ROOT):
            broken.append(link)
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link} (no such heading)")
    assert broken == []


def test_every_page_is_linked_to() -> None:
    """Nobody finds a page that only a directory listing knows; the readme is where one begins."""
    known = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in links(page):
            target = ((ROOT / page).parent / unquote(link).partition("#")[0]).resolve()
            name = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
            if name in PAGES and name not in known:
                known.add(name)
                waiting.append(name)
    pages = {page for page in PAGES if page.startswith("docs/") or "/" not in page}
    assert sorted(pages - known) == []


# --------------------------------------------------------------------------------------------- commands

SHELL = [
    (page, line)
    for page in PAGES
    for text in blocks(page, "sh")
    for line in text.replace("\\\n", " ").splitlines()
    if line.strip()
]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))


def test_there_are_commands_to_look_at() -> None:
    assert sum(page == "README.md" for page, _ in SHELL) > 10


@pytest.mark.parametrize(("page", "line"), SHELL)
def test_commands_that_are_shown_exist(page: str, line: str) -> None:
    for part in re.split(r"&&|;", line):
        words = [w for w in shlex.split(part, comments=True) if not re.match(r"[A-Z_]+=", w)]
        if words[:1] == ["make"]:
            assert set(words[1:]) <= TARGETS
        elif words[:1] == ["cf-infra"]:
            understood(words[1:])


def understood(words: list[str]) -> None:
    """Typer takes the words: the command exists and knows the options."""
    command = typer.main.get_command(app)
    name = "cf-infra"
    words = words[: words.index(">")] if ">" in words else words
    if words and words[-1] == "--help":
        words = words[:-1]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"`{name} {words[0]}` does not exist"
        name, command, words = f"{name} {words[0]}", command.commands[words[0]], words[1:]
    command.make_context(name, list(words))


def test_make_targets_in_the_text_exist() -> None:
    named = {(page, target) for page in PAGES for target in re.findall(r"`make ([a-z-]+)`", read(page))}
    assert {(page, target) for page, target in named if target not in TARGETS} == set()


def test_what_is_not_there_yet_is_not_there() -> None:
    section = read("README.md").partition("## What there is not yet")[2].partition("\n## ")[0]
    planned = re.findall(r"`([a-z -]+)`", section.partition("- commands:")[2].partition(";")[0])
    assert len(planned) > 2
    assert [
        name for name in planned if name in COMMANDS or any(c.startswith(f"{name} ") for c in COMMANDS)
    ] == []


def test_settings_of_the_environment_are_explained() -> None:
    code = [
        p
        for p in tracked()
        if p.parts[len(ROOT.parts)] in ("cf_infra", "tools", "sandbox") and p.suffix == ".py"
    ]
    used = {
        name for p in code for name in re.findall(r"CF_INFRA_[A-Z_]+[A-Z]", p.read_text(encoding="utf-8"))
    }
    page = read("docs/operations.md")
    internal = {"CF_INFRA_SANDBOX_FILE"}  # from the sandbox's starter to its services
    assert sorted(name for name in used - internal if f"`{name}`" not in page) == []


# --------------------------------------------------------------------------------------------- examples


def of_the_repository() -> dict[str, bytes]:
    names = ["grants.yaml", "settings.yaml", *(f"stacks/{p.name}" for p in (ROOT / "stacks").glob("*.yaml"))]
    names += [f"users/{p.name}" for p in (ROOT / "users").glob("*.json")]
    return {name: (ROOT / name).read_bytes() for name in names}


def test_the_day_of_the_readme_works_on_the_grants_of_the_repository(tmp_path: Path) -> None:
    edits = [line for page, line in SHELL if page == "README.md" and line.startswith("sed -i")]
    assert len(edits) == 2
    files = of_the_repository()
    (tmp_path / "grants.yaml").write_bytes(files["grants.yaml"])
    keys = []
    for edit in edits:
        subprocess.run(shlex.split(edit, comments=True), cwd=tmp_path, check=True)
        files["grants.yaml"] = (tmp_path / "grants.yaml").read_bytes()
        folder = project.from_files(ROOT, files, TODAY)
        assert not has_errors(folder.diagnostics)
        keys.append(set(folder.resolved().stacks["quansight-v100"].machines))
    granted, revoked = keys
    assert "cupy-feedstock/gpu-dedicated" in granted and "libmagma-feedstock/gpu-dedicated" not in granted
    assert granted - revoked == {"cupy-feedstock/gpu-dedicated"} and revoked < granted


def test_the_readme_tells_the_number_of_policies() -> None:
    folder = project.from_files(ROOT, of_the_repository(), TODAY)
    imported = sum(g.imported is not None for g in folder.inventory.grants.values())
    assert f"{imported} policies" in " ".join(read("README.md").split())


def yaml_examples() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for text in blocks(page, "yaml"):
            name = re.match(
                r"# (stacks/[\w-]+\.yaml|grants\.yaml|settings\.yaml|overrides\.yaml)$",
                text.partition("\n")[0],
            )
            if name or re.match(r"version: 1\noverrides:", text):
                yield page, (name[1] if name else "overrides.yaml") + "\n" + text


@pytest.mark.parametrize(("page", "example"), list(yaml_examples()))
def test_whole_files_that_are_shown_pass_check(page: str, example: str) -> None:
    name, _, text = example.partition("\n")
    files = {**of_the_repository(), name: text.encode()}
    folder = project.from_files(ROOT, files, TODAY)
    wrong = [d for d in folder.diagnostics if d.file == name and d.severity == "error"]
    assert wrong == []


def test_the_readme_shows_a_whole_stack() -> None:
    assert any(page == "README.md" and text.startswith("stacks/") for page, text in yaml_examples())


def test_picture_has_words_for_those_who_do_not_see_it_and_a_dark_form() -> None:
    tree = ElementTree.parse(ROOT / "docs" / "grant-to-server.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert tree.find(f"{space}title") is not None and tree.find(f"{space}desc") is not None
    style = tree.find(f"{space}style")
    assert style is not None and "prefers-color-scheme: dark" in (style.text or "")
    assert re.search(r"!\[[^\]]{40,}\]\(docs/grant-to-server\.svg\)", read("README.md"))


# ------------------------------------------------------------------------------------------- other pages


@pytest.mark.parametrize("page", PAGES)
def test_tests_and_files_that_are_named_exist(page: str) -> None:
    """`tests/file.py::name`, `tests/errors/case` and paths of the code, in the text."""
    missing = []
    for name in re.findall(
        r"`((?:tests|cf_infra|tools|sandbox|modules|docs|stacks)/[\w./-]+?(?:::[\w:]+)?)`", read(page)
    ):
        path, _, test = name.partition("::")
        file = ROOT / path
        there = file.exists() or any(file.parent.glob(f"{file.name}.*"))
        if not there or (test and f"def {test.rpartition('::')[2]}(" not in file.read_text(encoding="utf-8")):
            missing.append(name)
    assert missing == []


DECISIONS = sorted(p.name for p in (ROOT / "docs" / "decisions").glob("0*.md"))


def test_decisions_are_numbered_and_listed() -> None:
    assert [int(name[:4]) for name in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = read("docs/decisions/README.md")
    for name in DECISIONS:
        title = read(f"docs/decisions/{name}").partition("\n")[0].partition(". ")[2]
        assert f"[{name[:4]}]({name}) | {title} |" in index


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_says_all_that_it_must(name: str) -> None:
    text = read(f"docs/decisions/{name}")
    assert re.search(r"^Status: (accepted|replaced by .+)\. Date: \d{4}-\d\d-\d\d\.$", text, re.MULTILINE)
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == ["Context", "Decision", "Consequences", "What would change it"]
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE))


def test_traps_are_dated_and_say_where_the_remedy_is() -> None:
    text = read("docs/traps.md")
    traps = re.findall(r"^- (.*?)(?=^- |^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(traps) > 30
    for trap in traps:
        assert re.match(r"\d{4}-\d\d-\d\d \*\*", trap) and re.search(r"\[`[^\]]+`\]\s*$", trap), trap


# ------------------------------------------------------------------------------------ what must not stand there


def joined(*parts: str) -> str:
    return "".join(parts)


# In pieces, so that this file does not hold what it looks for.
NEVER = {
    "the host of a package registry": re.compile(
        "|".join(
            re.escape(joined(name, ".", end))
            for name, end in (
                ("pypi", "org"),
                ("pythonhosted", "org"),
                ("proxy.golang", "org"),
                ("sum.golang", "org"),
                ("registry.npmjs", "org"),
                ("crates", "io"),
                ("repo.maven", "apache.org"),
                ("deb.debian", "org"),
                ("conda.anaconda", "org"),
            )
        )
    ),
    "a path of somebody's machine": re.compile(
        "|".join(
            [
                joined("/wo", "rk/"),
                joined("/ro", "ot/"),
                joined("/tmp/", "try"),
                joined("/home/", r"[a-z]+/"),
                joined("/Us", "ers/"),
            ]
        )
    ),
    "a folder beside the repository": re.compile(joined(r"\.\./sha", "red")),
}


@pytest.mark.parametrize("what", NEVER)
def test_no_file_holds(what: str) -> None:
    found = []
    for file in tracked():
        text = file.read_bytes().decode("utf-8", "replace")
        for match in NEVER[what].finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{file.relative_to(ROOT)}:{line}: {match[0]}")
    assert found == []
