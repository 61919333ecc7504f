"""docs/files.md and docs/stacks.md name every key, their examples are right, and every code is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from roots import PROJECT, TODAY

from cf_infra import project
from cf_infra.codes import CODES
from cf_infra.model import (
    EMBEDDED_SINKS,
    VIA_AND_MODE,
    GrantsFile,
    Kind,
    Overrides,
    Settings,
    Stack,
    UsersFile,
)

DAY = date.fromisoformat(TODAY)
FENCE = re.compile(r"^```(yaml|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES, STACKS, SINKS = (
    (PROJECT / "docs" / f"{name}.md").read_text() for name in ("files", "stacks", "sinks")
)


def models(one: Any) -> Iterator[type[BaseModel]]:
    """A model and all those in it."""
    if isinstance(one, type) and issubclass(one, BaseModel):
        yield one
        for field in one.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(one):
        yield from models(argument)


SINK = type(EMBEDDED_SINKS["file"]).__base__


def page_of(model: type[BaseModel], found: type[BaseModel]) -> str:
    """Where the keys of `found`, a part of `model`, are explained."""
    if SINK is not None and issubclass(found, SINK):
        return SINKS
    return FILES if model in (GrantsFile, UsersFile, Settings, Overrides) else STACKS


KEYS = [
    (page_of(model, found), found.__name__, key)
    for model in (GrantsFile, UsersFile, Settings, Overrides, Stack)
    for found in dict.fromkeys(models(model))
    for key in found.model_fields
]


RARE = {("Grant", key) for key in ("id", "imported", "terms_url", "teams")} | {("KeySource", "command")}
RARE |= {("Credential", "role_arn")}  # of stacks of kind aws, of which there is no example


@pytest.mark.parametrize(("page", "model", "key"), KEYS, ids=[f"{model}.{key}" for _, model, key in KEYS])
def test_every_key_is_explained_and_shown(page: str, model: str, key: str) -> None:
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert any(re.search(rf"`(?:\w+\.)*{key}`|`{key}: ", row) for row in rows), "explained in a table"
    if (model, key) not in RARE and model != "CirunEntry":
        assert any(re.search(rf'\b{key}"?:', text) for _, text in FENCE.findall(page)), "shown in an example"


def test_values_to_choose_from_are_named() -> None:
    for value in Kind:
        assert f"`{value}`" in STACKS
    _, _, table = STACKS.partition("### Via and mode")
    for via, modes in VIA_AND_MODE.items():
        [row] = [line for line in table.splitlines() if line.startswith(f"| `{via}` |")]
        named = row.split("|")[2]
        assert [m for m in ("on-demand", "pool", "dedicated") if m in named] == [str(m) for m in modes]


def test_examples_are_right() -> None:
    """Together they are a root: the stack's example offers what the grants' example asks for."""
    texts = [text for _, text in FENCE.findall(FILES)]
    grants, users, settings, overrides = texts
    stack, access, vendor = [text for _, text in FENCE.findall(STACKS)]
    files = {
        "grants.yaml": grants.replace("gpu-large, ", "gpu-dedicated, ")
        .replace("count: 2", "count: 1")
        .encode(),
        "users/open-gpu-server.json": users.encode(),
        "settings.yaml": settings.encode(),
        "overrides.yaml": overrides.encode(),
        "stacks/quansight-v100.yaml": stack.encode(),
        "stacks/access.yaml": access.encode(),
        "stacks/namespace.yaml": vendor.encode(),
    }
    folder = project.from_files(Path(), files, DAY)
    # The host of the example has one GPU that is in order, and two grants ask for it.
    assert {d.code for d in folder.diagnostics} == {"over-capacity"}
    assert len(folder.inventory.grants) == 2 and folder.inventory.overrides.overrides


def test_every_code_is_used() -> None:
    used = set()
    for path in [*(PROJECT / "cf_infra").glob("*.py"), *(PROJECT / "tools").glob("*.py")]:
        if path.name != "codes.py":
            used |= {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    assert CODES.keys() - used == set()


def test_every_code_has_its_words() -> None:
    for code, known in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", code)
        assert known.summary and not known.summary.endswith("."), code
        assert known.meaning.endswith("."), code
    assert len({known.summary for known in CODES.values()}) == len(CODES)
