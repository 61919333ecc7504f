"""`export codeowners`: who must look at which file, and names that try to be more than names."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roots import TODAY, Runner, write_root

from cf_infra import project
from cf_infra.codeowners import codeowners
from cf_infra.diagnostics import Failure, has_errors
from cf_infra.model import Inventory

SETTINGS = """\
version: 1
operators: [olga, peter, "renovate[bot]"]
approvals:
  default: [conda-forge/core, Zoe]
  stacks: {lab: [lab/admins, carol]}
"""
USERS = {f"users/{name}.json": b'{"users": []}' for name in ("of-lab", "of-guest", "of-nobody")}


def stack(contacts: str, terms: str) -> str:
    terms = f", terms: {{users: {terms}}}" if terms else ""
    return f"version: 1\nkind: cirun\ndonor: {{name: Somebody, contacts: [{contacts}]{terms}}}\n"


STACKS = {
    "stacks/lab.yaml": stack("dave", "of-lab"),
    "stacks/guest.yaml": stack("erin, Erin, 'helper[bot]'", "of-guest"),
    "stacks/alone.yaml": stack("", ""),
}
FILES = {"grants.yaml": "version: 1\ngrants: []\n", "settings.yaml": SETTINGS, **STACKS}
EXPECTED = """\
# Made by `cf-infra export codeowners` from settings.yaml and stacks/; do not edit.
# The last line that fits decides.

*                                @olga @peter
/grants.yaml                     @conda-forge/core @Zoe
/users/of-guest.json             @erin
/users/of-lab.json               @carol @lab/admins
/users/of-nobody.json            @olga @peter
/stacks/alone.yaml               @olga @peter
/stacks/guest.yaml               @erin @olga @peter
/stacks/lab.yaml                 @carol @lab/admins @olga @peter
/modules/                        @olga @peter
/.github/                        @olga @peter
/settings.yaml                   @olga @peter
/overrides.yaml                  @olga @peter
"""


def read(files: dict[str, str]) -> Inventory:
    raw = {**{name: text.encode() for name, text in files.items()}, **USERS}
    folder = project.from_files(Path(), raw, date.fromisoformat(TODAY))
    assert not has_errors(folder.diagnostics)
    return folder.inventory


def test_who_owns_what() -> None:
    assert codeowners(read(FILES)) == EXPECTED


def test_the_order_of_files_and_names_is_of_no_matter() -> None:
    other = SETTINGS.replace("[olga, peter", "[peter, olga").replace(
        "[lab/admins, carol]", "[carol, lab/admins]"
    )
    assert codeowners(read({**dict(reversed(FILES.items())), "settings.yaml": other})) == EXPECTED


def test_without_approvals_it_is_the_contacts_and_the_operators() -> None:
    text = codeowners(read({**FILES, "settings.yaml": "version: 1\noperators: [olga]\n"}))
    assert re.search(r"^/grants\.yaml +@olga$", text, re.MULTILINE)
    assert re.search(r"^/users/of-lab\.json +@dave$", text, re.MULTILINE)


@pytest.mark.parametrize("operators", ["", 'operators: ["renovate[bot]"]\n'])
def test_without_an_operator_nothing_is_printed(
    operators: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**FILES, "settings.yaml": f"version: 1\n{operators}"}
    with pytest.raises(Failure) as raised:
        codeowners(read(files))
    assert [d.code for d in raised.value.diagnostics] == ["no-owners"]
    write_root(tmp_path, {name: text.encode() for name, text in files.items()})
    (tmp_path / "users").mkdir()
    for name in ("of-lab", "of-guest"):
        (tmp_path / "users" / f"{name}.json").write_text('{"users": []}')
    ran = Runner(capsys)("export", "codeowners", "--root", str(tmp_path), "--today", TODAY)
    assert ran.code == 1 and ran.out == "" and "error[no-owners]" in ran.err and "settings.yaml" in ran.err


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_root(tmp_path, {**{name: text.encode() for name, text in FILES.items()}, **USERS})
    ran = Runner(capsys)("export", "codeowners", "--root", str(tmp_path), "--today", TODAY)
    assert (ran.code, ran.out) == (0, EXPECTED)


HOSTILE = [
    "eve\n* @eve",
    "eve @mallory",
    "@eve",
    "eve#",
    "a/b/c",
    "../eve",
    "eve\r",
    "eve\u2028* @eve",
    "e\x00",
    "é",
]


@given(
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)),
    st.sampled_from(["operator", "owner", "contact"]),
)
def test_a_name_is_a_name_or_is_refused(name: str, where: str) -> None:
    """Whatever stands where a login stands: no line and no owner more comes of it."""
    written = json.dumps(name)
    settings = {
        "operator": f"version: 1\noperators: [olga, {written}]\n",
        "owner": f"version: 1\noperators: [olga]\napprovals: {{default: [{written}]}}\n",
        "contact": "version: 1\noperators: [olga]\n",
    }[where]
    contact = stack(written if where == "contact" else "dave", "of-lab")
    files = {**FILES, "settings.yaml": settings, "stacks/lab.yaml": contact}
    raw = {**{n: text.encode("utf-8", "surrogatepass") for n, text in files.items()}, **USERS}
    folder = project.from_files(Path(), raw, date.fromisoformat(TODAY))
    if has_errors(folder.diagnostics):
        return
    assert name not in HOSTILE
    lines = codeowners(folder.inventory).splitlines()
    assert len(lines) == len(EXPECTED.splitlines())
    known = {"@olga", "@dave", "@erin", f"@{name}"}
    assert {word for line in lines[3:] for word in line.split()[1:]} <= known
