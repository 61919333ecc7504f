#!/usr/bin/env python3
"""Write the pages of docs/ that are made from the code.

    .venv/bin/python tools/docs.py            writes them
    .venv/bin/python tools/docs.py --check    writes nothing, names those that are out of date and ends with 1

tests/test_docs.py fails while a page is out of date. To add a page, write a function that returns its text and name
it in PAGES.
"""

from __future__ import annotations

import ast
import heapq
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

import typer.main

from cf_infra.cli import app
from cf_infra.codes import CODES
from cf_infra.findings import KINDS
from tools import history

#: Columns of the help texts: what fits into a page without a scroll bar, whatever terminal writes it.
WIDTH = 96
MADE = "<!-- Made by tools/docs.py; do not edit. -->\n"


def commands() -> str:
    """Return docs/commands.md: what `--help` says, for every command."""
    blocks = [
        MADE,
        "# Commands\n",
        "What `--help` prints, for every command. Results go to stdout, progress and messages to stderr.",
        "Exit codes: [../README.md](../README.md#exit-codes). Codes of messages: [diagnostics.md](diagnostics.md).\n",
    ]
    blocks += [f"## {name}\n\n```text\n{text}\n```\n" for name, text in help_texts()]
    return "\n".join(blocks)


def help_texts() -> Iterator[tuple[str, str]]:
    """Return (`cf-infra sandbox up`, its help) for the program, its groups and its commands, in the help's order."""
    yield from _help_texts(typer.main.get_command(app), "cf-infra", None)


# Typer gives no public type for a command: any of click's, which it brings along.
def _help_texts(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(
        command, info_name=name, parent=parent, **width, **command.context_settings
    )
    yield context.command_path, command.get_help(context).rstrip()
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _help_texts(child, child_name, context)


def diagnostics() -> str:
    """Return docs/diagnostics.md: every code, by what it is about, in the order of cf_infra/codes.py."""
    text = _read(ROOT / "cf_infra" / "codes.py")
    blocks = [
        MADE,
        "# Messages\n",
        "Every message has a code, which is never used for something else, and a first line that is always the same.",
        "With `--format json` it is an object with `severity`, `code`, `summary`, `detail`, `file`, `line`, `column`",
        "(counted from one), `hint`, and `label` and `excerpt` for those who draw it themselves. Errors end a command",
        "with 1; warnings do not. Form of the files: [files.md](files.md), [stacks.md](stacks.md).",
    ]
    places = {code: text.index(f'    "{code}":') for code in CODES}
    titles = [(match.start(), match[1]) for match in re.finditer(r"^    # (.+)$", text, re.MULTILINE)]
    for (begin, title), end in zip(titles, [*(t[0] for t in titles[1:]), len(text)], strict=True):
        rows = [_code_row(code) for code, place in places.items() if begin < place < end]
        blocks.append(f"\n## {title.capitalize()}\n\n| code | | first line | meaning |\n|---|---|---|---|")
        blocks += rows
    return "\n".join(blocks) + "\n"


def _code_row(code: str) -> str:
    known = CODES[code]
    cells = (f"`{code}`", known.severity, known.summary, known.meaning.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


KINDS_HERE, END_OF_KINDS = "<!-- kinds: made by tools/docs.py -->\n", "<!-- end of kinds -->"


def audit() -> str:
    """Return docs/audit.md with its table of kinds as cf_infra/findings.py has them."""
    before, _, rest = _read(ROOT / "docs" / "audit.md").partition(KINDS_HERE)
    _, _, after = rest.partition(END_OF_KINDS)
    rows = "".join(f"| `{kind}` | {words} |\n" for kind, words in KINDS.items())
    return f"{before}{KINDS_HERE}\n| kind | what it means |\n|---|---|\n{rows}{END_OF_KINDS}{after}"


#: What a module that only takes values and returns values has no use for.
OUTSIDE = frozenset(
    "fcntl http logging openstack os pathlib secrets shutil signal socket "
    "subprocess sys tempfile threading time urllib.request".split()
)
#: They import the rest inside of functions, so that `--help` is quick.
LAST = ("cli", "__main__")
LAYOUT = "<!-- layout: made by tools/docs.py -->\n"
END = "<!-- end of layout -->"


def contributing() -> str:
    """Return CONTRIBUTING.md with its list of the program's files as it must be."""
    text = _read(ROOT / "CONTRIBUTING.md")
    before, _, rest = text.partition(LAYOUT)
    _, _, after = rest.partition(END)
    return f"{before}{LAYOUT}{layout()}{END}{after}"


def layout() -> str:
    """Return the files of cf_infra/ in the order of their imports: the pure ones, then the rest."""
    trees = {
        p.stem: ast.parse(_read(p)) for p in sorted((ROOT / "cf_infra").glob("*.py")) if p.stem != "__init__"
    }
    imports = {name: _imports(tree.body, trees) for name, tree in trees.items()}
    order = sorted(_in_order({name: own for name, (own, _) in imports.items()}), key=_is_last)
    pure: set[str] = set()
    for name in order:
        own, others = imports[name]
        if own <= pure and not others & OUTSIDE:
            pure.add(name)
    rows = {name: f"| `{name}.py` | {_first_line(trees[name])} |" for name in order}
    heads = ("pure: values in, values out; no clock, disk, network, environment", "the shell around them")
    blocks = [[rows[n] for n in order if (n in pure) is wanted] for wanted in (True, False)]
    return "".join(
        "\n".join(["", f"| file | {head} |", "|---|---|", *block, ""])
        for head, block in zip(heads, blocks, strict=True)
    )


def _imports(body: Iterable[ast.stmt], ours: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return what is imported when the module is loaded: our modules, and the others with their packages."""
    own, others = set(), set()
    for node in body:
        if isinstance(node, ast.Import):
            others |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "cf_infra":
            own |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cf_infra."):
            own.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module or "")
    return own & set(ours), others | {name.partition(".")[0] for name in others}


def _in_order(needs: Mapping[str, set[str]]) -> list[str]:
    """Return all names, each after those that it needs; otherwise by the alphabet. Raise ValueError for a circle."""
    ready = [name for name, wanted in needs.items() if not wanted]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        order.append(heapq.heappop(ready))
        for name, wanted in needs.items():
            if order[-1] in wanted and wanted <= set(order):
                heapq.heappush(ready, name)
    if len(order) < len(needs):
        raise ValueError(f"imports in a circle: {', '.join(sorted(set(needs) - set(order)))}")
    return order


def _is_last(name: str) -> int:
    return LAST.index(name) + 1 if name in LAST else 0


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0].replace("|", "\\|").strip()


def _history() -> str:
    """Return docs/history.md: where each entry of the real access list came from."""
    return f"{MADE}\n{history.page()}"


#: Page below the root -> what makes it.
PAGES: dict[str, Callable[[], str]] = {
    "docs/commands.md": commands,
    "docs/diagnostics.md": diagnostics,
    "docs/history.md": _history,
    "docs/audit.md": audit,
    "CONTRIBUTING.md": contributing,
}


def out_of_date() -> list[str]:
    """Return the pages whose file is not what the code says."""
    return [page for page, make in PAGES.items() if _read(ROOT / page) != make()]


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with `--check` name those that are out of date; return the exit code."""
    stale = out_of_date()
    for page in stale:
        print(page)
    if "--check" in arguments:
        return 1 if stale else 0
    for page in stale:
        (ROOT / page).parent.mkdir(exist_ok=True)
        (ROOT / page).write_text(PAGES[page](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
