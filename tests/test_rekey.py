"""`state rekey` through the real OpenTofu: from one key to another, killed anywhere, with the wrong key, and back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_tofu import PROJECT, Place, tool_or_skip
from roots import Runner, write_root
from s3_standin import S3, log_in, serving

from cf_infra import keys
from cf_infra.keyprovider import fingerprint, stack_key
from cf_infra.state_place import made_with

pytestmark = pytest.mark.sandbox  # no OpenStack, but many runs of OpenTofu
NAMES = ("one", "two")
EMPTY = {"grants.yaml": b"version: 1\ngrants: []\n"}
LOCAL = "state:\n"


@dataclass
class World:
    """A root with the states of two stacks, each with a secret in it, and two master keys."""

    root: Path
    run: Runner
    old: Path
    new: Path
    place: str = LOCAL
    s3: S3 | None = None

    def settings(self, current: Path, previous: Path | None = None) -> None:
        # One after the other, so that who is killed leaves no other run of OpenTofu behind.
        text = f"version: 1\njobs: 1\n{self.place}  key: {{file: {current}}}\n"
        text += f"  previous: {{file: {previous}}}\n" if previous else ""
        write_root(self.root, {"settings.yaml": text.encode()})

    def __call__(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = self.run("state", *arguments, "--root", str(self.root), "--format", "json")
        assert ran.code == code, ran.out + ran.err
        for path in (self.old, self.new):
            assert path.read_text().strip() not in ran.out + ran.err
        return dict(ran.json())

    def state(self, name: str) -> bytes:
        if self.s3 is not None:
            return self.s3.objects[f"states/{name}/terraform.tfstate"]
        return (self.root / ".state" / name / "terraform.tfstate").read_bytes()

    def under(self, name: str) -> str:
        """Which key a state is under, by its own word."""
        made = made_with(self.state(name))
        return next(n for n in ("old", "new") if made == self.mark(n, name))

    def mark(self, key: str, name: str) -> str:
        return fingerprint(stack_key(bytes.fromhex(getattr(self, key).read_text()), name))

    def value(self, name: str, key: str) -> Any:
        """What is in a state, read with one key alone."""
        place = Place.__new__(Place)
        place.base, place.tool, place.stack, place.events, place.times = (
            self.root.parent,
            bare(),
            name,
            [],
            [],
        )
        tofu = place.tofu(source=keys.KeyFile(getattr(self, key)), env=self.login())
        values = tofu.show_state()["values"]["root_module"]["resources"]
        return values[0]["values"]["input"]

    def login(self) -> dict[str, str]:
        if self.s3 is None:
            return {}
        return dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), self.s3.operator, strict=True))


def bare() -> Any:
    tool = tool_or_skip()
    return type(tool)(tool.tofu, tool.tofurc, None, tool.versions)


def made(base: Path, capsys: pytest.CaptureFixture[str], s3: S3 | None = None) -> World:
    root = write_root(base / "root", EMPTY)
    for name in ("old", "new"):
        keys.state_key(keys.KeyFile(base / name), root, create=True)
    world = World(root, Runner(capsys), base / "old", base / "new", s3=s3)
    if s3 is not None:
        world.place = s3.settings().decode()
    for name in NAMES:
        place = Place(base, bare(), name)
        place.write(
            {"a": {"input": f"secret of {name}"}}, terraform={"backend": {"s3" if s3 else "local": {}}}
        )
        tofu = place.tofu(source=keys.KeyFile(world.old), env=world.login())
        tofu.init(s3.backend(name) if s3 is not None else place.state)
        tofu.plan(place.saved)
        tofu.apply(place.saved)
        place.saved.unlink()
    return world


@pytest.fixture(params=["local", "s3"])
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    for name in ("CF_INFRA_KEY_FILE", "CF_INFRA_PREVIOUS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "local":
        yield made(tmp_path, capsys)
        return
    with serving() as s3:
        log_in(monkeypatch, s3.operator)
        yield made(tmp_path, capsys, s3)


def test_there_and_back(world: World) -> None:
    """Each state is written anew, says the same, and opens with the new key alone; and the same the other way."""
    for before, after in (("old", "new"), ("new", "old")):
        world.settings(getattr(world, after), getattr(world, before))
        ran = world("rekey")
        assert (
            ran["stacks"] == [{"stack": name, "state": "rewritten"} for name in NAMES] and ran["left"] == []
        )
        assert [world.under(name) for name in NAMES] == [after, after]
        assert [world.value(name, after) for name in NAMES] == ["secret of one", "secret of two"]
        world.settings(getattr(world, after))
        assert [row["state"] for row in world("rekey")["stacks"]] == ["current", "current"]
        if world.s3 is None:
            for file in (world.root / ".state").rglob("terraform.tfstate*"):
                assert made_with(file.read_bytes()) == world.mark(after, file.parent.name), "backups, too"


def test_one_stack_and_then_the_rest(world: World) -> None:
    world.settings(world.new, world.old)
    assert world("rekey", "two")["stacks"] == [{"stack": "two", "state": "rewritten"}]
    assert [world.under(name) for name in NAMES] == ["old", "new"]
    assert [row["state"] for row in world("rekey")["stacks"]] == ["rewritten", "current"]
    assert world("rekey", "three", code=1)["diagnostics"][0]["code"] == "unknown-stack"


def test_without_the_previous_key_nothing_is_touched(world: World) -> None:
    before = [world.state(name) for name in NAMES]
    world.settings(world.new)
    told = world("rekey", code=1)
    assert told["left"] == list(NAMES) and {d["code"] for d in told["diagnostics"]} == {"wrong-key"}
    assert all("`state.previous`" in d["hint"] for d in told["diagnostics"])
    other = world.root.parent / "other"
    keys.state_key(keys.KeyFile(other), world.root, create=True)
    world.settings(world.new, other)
    assert world("rekey", code=1)["left"] == list(NAMES)
    other.write_text("no key at all\n")
    assert {d["code"] for d in world("rekey", code=1)["diagnostics"]} == {"bad-key"}
    other.unlink()
    assert {d["code"] for d in world("rekey", code=1)["diagnostics"]} == {"no-key"}
    assert [world.state(name) for name in NAMES] == before


KILLED = {
    "before anything is written": "Tofu._push",
    "when OpenTofu has written": "Tofu._push after",
    "when the first of two is done": "second",
}


@pytest.mark.parametrize("when", KILLED)
def test_killed_half_way_and_run_again(world: World, when: str) -> None:
    """At no moment is there a state that neither key opens; the next run brings the rest."""
    world.settings(world.new, world.old)
    body = f"""
        import os, signal, sys
        from pathlib import Path
        from cf_infra import cli, rekeying
        from cf_infra.tofu import Tofu
        die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        push, one, when = Tofu._push, rekeying._one, {KILLED[when]!r}
        if when == "Tofu._push":
            Tofu._push = die
        if when == "Tofu._push after":
            Tofu._push = lambda *a: (push(*a), die())
        if when == "second":
            rekeying._one = lambda f, d, *a: die() if d.name == "two" else one(f, d, *a)
            rekeying.waves.in_parallel = lambda names, work, jobs: [work(name) for name in names]
        cli.run(["state", "rekey", "--root", {str(world.root)!r}])
    """
    program = "\n".join(line[8:] for line in body.splitlines())
    died = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert all(world.under(name) in ("old", "new") for name in NAMES)
    if "after" in KILLED[when] or KILLED[when] == "second":
        assert any(world.under(name) == "new" for name in NAMES)
    ran = world("rekey")
    assert ran["left"] == [] and [world.value(name, "new") for name in NAMES] == [
        "secret of one",
        "secret of two",
    ]


def test_a_local_state_that_was_cut_off_by_a_kill_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """OpenTofu empties a local state before it writes it: what is killed just then leaves the copy made before."""
    world = made(tmp_path, capsys)
    world.settings(world.new, world.old)
    state = world.root / ".state" / "one" / "terraform.tfstate"
    whole = state.read_bytes()
    state.with_name("terraform.tfstate.backup").write_bytes(whole)
    state.write_bytes(whole[:100])
    assert world("rekey")["left"] == []
    assert world.value("one", "new") == "secret of one"


def test_a_saved_plan_goes_with_the_old_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = made(tmp_path, capsys)
    world.settings(world.new, world.old)
    folder = world.root / "build" / "one" / "plan"
    folder.mkdir()
    (folder / "tofu.plan").write_bytes(b"encrypted")
    (folder / "record.json").write_text(json.dumps({}))
    world("rekey")
    assert list(folder.iterdir()) == []


def test_a_run_with_both_keys_reads_old_states_and_writes_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the change of the settings and `state rekey` everything works: an apply brings its state along."""
    world = made(tmp_path, capsys)
    place = Place.__new__(Place)
    place.base, place.tool, place.stack, place.events, place.times = tmp_path, bare(), "one", [], []
    place.write({"a": {"input": "changed"}})
    tofu = place.tofu(source=keys.Sources(keys.KeyFile(world.new), keys.KeyFile(world.old)))
    tofu.init(place.state)
    tofu.plan(place.saved)
    assert world.under("one") == "old"
    tofu.apply(place.saved)
    assert world.under("one") == "new" and world.value("one", "new") == "changed"
