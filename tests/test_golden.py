"""Miniature roots and what is compiled from them: tests/golden/CASE/ and its `_expected/`.

A case without a grants.yaml of its own is the repository's root. Copies of modules/ are compared with modules/
itself. `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import orjson
import pytest
from accept import expect
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra import github_files, project
from cf_infra.access import read_access
from cf_infra.compile import configuration
from cf_infra.model import Kind, Rights

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())
DAY = date.fromisoformat(TODAY)


def root_of(case: str) -> Path:
    return GOLDEN / case if (GOLDEN / case / "grants.yaml").exists() else PROJECT


def folder_of(case: str) -> project.Folder:
    folder = project.read(root_of(case), DAY)
    assert [d for d in folder.diagnostics if d.severity == "error"] == []
    return folder


def without_modules(files: dict[str, bytes]) -> dict[str, str]:
    return {name: raw.decode() for name, raw in files.items() if "/modules/" not in name}


@pytest.mark.parametrize("case", CASES)
def test_build(case: str) -> None:
    compiled = folder_of(case).compiled()
    expected = GOLDEN / case / "_expected"
    found = without_modules(compiled)
    known = {p.relative_to(expected).as_posix() for p in expected.rglob("*") if p.is_file()}
    for name in sorted(known | found.keys()):
        expect(expected / name, found.get(name), f"tests/test_golden.py -k {case}")


@pytest.mark.parametrize("case", CASES)
def test_same_input_same_bytes(case: str, tmp_path: Path) -> None:
    """Another process, another place, files read in another order, another hash seed: the same bytes."""
    here = folder_of(case).compiled()
    copy = write_root(tmp_path / "copy", _inputs(root_of(case)))
    ran = subprocess.run(
        [sys.executable, "-m", "cf_infra", "compile", "--root", str(copy), "--today", TODAY, "--quiet"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert read_folder(copy / "build") == here


def _inputs(root: Path) -> dict[str, bytes]:
    files = [root / "grants.yaml", root / "settings.yaml", root / "overrides.yaml"]
    files += [*root.glob("stacks/*"), *root.glob("users/*"), *root.glob("modules/**/*")]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in reversed(files) if p.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_modules_are_copied(case: str) -> None:
    """Each stack of ours has the modules that its configuration names, and those as they are."""
    modules = read_folder(PROJECT / "modules")
    for name, stack in folder_of(case).inventory.stacks.items():
        compiled = {k: v for k, v in folder_of(case).compiled().items() if k.startswith(f"{name}/")}
        if stack.kind is not Kind.OPENSTACK and not github_files.is_ours(stack):
            assert compiled == {}
            continue
        copied = {k.removeprefix(f"{name}/modules/"): v for k, v in compiled.items() if "/modules/" in k}
        assert copied.items() <= modules.items()
        main = orjson.loads(compiled[f"{name}/main.tf.json"])
        named = {m["source"].removeprefix("./modules/") for m in main["module"].values()}
        assert named == {k.split("/")[0] for k in copied}
        for module in named:
            assert {k for k in modules if k.startswith(f"{module}/") and k.endswith(".tf")} <= copied.keys()


@pytest.mark.parametrize("case", CASES)
def test_no_absolute_path(case: str) -> None:
    for name, raw in folder_of(case).compiled().items():
        if case in ("hostile", "github") and not name.endswith("main.tf.json"):
            continue  # its strings are paths on purpose
        text = raw.decode()
        assert str(PROJECT) not in text
        assert not re.search(r'"(?:/(?!subscriptions)|~)[a-z]', text), name


@pytest.mark.parametrize("case", CASES)
def test_configuration_depends_on_rights_alone(case: str) -> None:
    """main.tf.json is one of two texts, whatever people write: their strings are in tfvars, where nothing is run."""
    folder = folder_of(case)
    texts = {rights: orjson.dumps(configuration(rights), option=orjson.OPT_SORT_KEYS) for rights in Rights}
    compiled = folder.compiled()
    for name, stack in folder.inventory.stacks.items():
        if stack.kind is Kind.OPENSTACK:
            main = orjson.loads(compiled[f"{name}/main.tf.json"])
            assert orjson.dumps(main, option=orjson.OPT_SORT_KEYS) == texts[stack.rights]
        elif github_files.is_ours(stack):
            main = orjson.loads(compiled[f"{name}/main.tf.json"])
            assert main == orjson.loads(orjson.dumps(github_files.configuration(stack.kind)))


def test_lists_hold_hostile_strings_as_text() -> None:
    """A policy's id is a person's text: it stands in the list as written, and in no configuration."""
    folder = folder_of("github")
    compiled = folder.compiled()
    values = orjson.loads(compiled["access/grants.auto.tfvars.json"])
    assert values["files"][".access.yml"].encode() == compiled["access/.access.yml"]
    listed = read_access(compiled["access/.access.yml"], ".access.yml")
    assert folder.inventory.grants[0].id in {policy.id for policy in listed.policies}
    assert b"passwd" not in compiled["access/main.tf.json"]
    assert "ended-feedstock" not in str(values)
    assert values["secrets"] == {"STAGING_TOKEN": ["llama.cpp-feedstock", "pytorch_scatter-feedstock"]}


def test_hostile_strings_stay_text() -> None:
    """What the cloud gets of them arrives as written; reason, request and who asked reach no cloud at all."""
    folder = folder_of("hostile")
    compiled = folder.compiled()
    values = orjson.loads(compiled["lab/grants.auto.tfvars.json"])
    assert values["images"]["ubuntu"]["file"] == "../../" + str(
        folder.inventory.stacks["lab"].images["ubuntu"].file
    )
    whole = compiled["lab/grants.auto.tfvars.json"].decode()
    for grant in folder.inventory.grants.values():
        for text in (grant.reason, grant.request, grant.id, grant.imported):
            if text:
                assert orjson.dumps(text).decode()[1:-1][:40] not in whole
    for machine in values["machines"].values():
        assert all(len(value) <= 255 for value in machine["metadata"].values())


@pytest.mark.parametrize("case", CASES)
def test_lists_are_yaml_for_every_reader(case: str) -> None:
    """Cirun's reader is of YAML 1.1, ours of 1.2: what we write means the same to both."""
    ryaml = pytest.importorskip("ryaml")
    yaml = pytest.importorskip("yaml")
    compiled = folder_of(case).compiled()
    lists = [n for n in compiled if n.endswith((".access.yml", ".cirun.global.yml"))]
    assert len(lists) == 2
    for name in lists:
        text = compiled[name].decode()
        assert ryaml.loads(text) == yaml.load(text, Loader=yaml.CSafeLoader)


def test_build_holds_what_is_compiled_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What no stack needs any more goes; what OpenTofu keeps there stays; files that are right are not touched."""
    root = write_root(tmp_path, _inputs(GOLDEN / "several-stacks"))
    run = Runner(capsys)
    assert run("compile", "--root", str(root), "--today", TODAY).code == 0
    build = root / "build"
    left = build / "first" / "modules" / "openstack-machine" / "old.tf"
    kept = build / "first" / ".terraform" / "x"
    kept.parent.mkdir()
    for path in (left, kept):
        path.write_text("x")
    main = build / "first" / "main.tf.json"
    os.utime(main, (1, 1))
    assert run("compile", "--root", str(root), "--today", TODAY).code == 0
    assert not left.exists() and kept.exists()
    assert main.stat().st_mtime == 1
    changed = build / "first" / "grants.auto.tfvars.json"
    was = changed.read_bytes()
    changed.write_bytes(b"{}")
    assert run("compile", "--root", str(root), "--today", TODAY).code == 0
    assert changed.read_bytes() == was
