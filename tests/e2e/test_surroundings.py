"""What can be wrong around a run: cloud, login, tools, keys, state, disk. Each says what, why and the way out."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scene import Done, Scene, clone_without_tools, playing

from tests.leaks import WATCH

PLAIN, DISK = "plain", "disk"
OLD_TOFU = """#!/bin/sh
echo '{"terraform_version": "1.6.3", "platform": "linux_amd64", "provider_selections": {}}'
"""


@playing(minutes=2)
def test_clouds_tools_keys_and_states(scene: Scene) -> None:
    scene.stack(PLAIN)
    scene.grants()
    clouds(scene)
    tools(scene)
    keys_before_any_state(scene)
    scene.plan()
    scene.apply()
    keys_of_a_state(scene)
    states(scene)
    scene.nothing_to_do()


def refused(done: Done, code: str, *words: str) -> str:
    """The only error of a command; it names all words, and a way out."""
    assert done.codes == [code]
    told = done.detail(code)
    assert [word for word in words if word not in told] == []
    assert not told.endswith("hint: "), f"no way out: {told}"
    return told


def failing(scene: Scene, *arguments: str, **more: str | None) -> Done:
    return scene.run("plan", "--format", "json", *arguments, code=1, env=more)


# ----------------------------------------------------------------------------------------------- clouds


def clouds_yaml(scene: Scene, name: str, change: tuple[str, str]) -> str:
    """A clouds.yaml of the user's own: the sandbox under another name, with something changed."""
    text = scene.lab.clouds_yaml.read_text().replace("  sandbox:\n", f"  {name}:\n", 1).replace(*change)
    path = WATCH.holds(scene.base / f"{name}.yaml")
    path.write_text(text)
    return str(path)


def clouds(scene: Scene) -> None:
    there = clouds_yaml(scene, "lab", ("", ""))
    done = failing(scene, "--cloud", f"{PLAIN}=nowhere", OS_CLIENT_CONFIG_FILE=there)
    refused(done, "no-cloud", "`nowhere` is not in clouds.yaml", "lab", "--cloud STACK=sandbox")
    done = failing(scene, CF_INFRA_SANDBOX_DIR=str(scene.base / "nowhere"))
    refused(done, "no-cloud", "cf-infra sandbox up")

    key = scene.base / "team.key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    key.chmod(0o600)
    password = scene.lab.clouds_yaml.read_text().split('password: "')[1].split('"')[0]
    wrong = clouds_yaml(scene, "wrong", (password, "not-the-password"))
    done = failing(
        scene, "--cloud", f"{PLAIN}=wrong", OS_CLIENT_CONFIG_FILE=wrong, CF_INFRA_KEY_FILE=str(key)
    )
    assert "not-the-password" not in refused(done, "login-refused", "wrong", "clouds.yaml") + done.err

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    silent = clouds_yaml(scene, "silent", (f":{scene.lab.port}/", f":{port}/"))
    done = failing(
        scene, "--cloud", f"{PLAIN}=silent", OS_CLIENT_CONFIG_FILE=silent, CF_INFRA_KEY_FILE=str(key)
    )
    refused(done, "cloud-silent", f"127.0.0.1:{port}")
    done = scene.run("status", "--live", "--format", "json", code=0)
    assert done.json["stacks"] == []


# ------------------------------------------------------------------------------------------------ tools


def tools(scene: Scene) -> None:
    """A clone in which `make setup` was never run, with nothing and with something too old on PATH."""
    clone = clone_without_tools(scene.base / "clone")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "tofu").exists())
    done = scene.run("plan", "--format", "json", code=1, env={"PATH": path}, program=clone)
    refused(done, "tool-missing", "make setup")
    fake = scene.base / "bin" / "tofu"
    fake.parent.mkdir()
    fake.write_text(OLD_TOFU)
    fake.chmod(0o755)
    done = scene.run("plan", "--format", "json", code=1, env={"PATH": f"{fake.parent}:{path}"}, program=clone)
    refused(done, "tool-too-old", "1.6.3", ">= 1.11.0 and < 2.0.0", "make setup")


# ------------------------------------------------------------------------------------------------- keys


def keys_before_any_state(scene: Scene) -> None:
    """Only the sandbox makes its own key. Elsewhere somebody has to, and is told how; one that others read is none."""
    there = clouds_yaml(scene, "lab", ("", ""))
    done = failing(scene, "--cloud", f"{PLAIN}=lab", OS_CLIENT_CONFIG_FILE=there)
    told = refused(done, "no-key", "state.key", "umask 077")
    command = "\n".join(told.rpartition("password store:\n")[2].splitlines())
    subprocess.run(["sh", "-c", command], check=True)
    key = scene.key.with_name("state.key")
    assert str(key) in told and len(key.read_text().strip()) == 64
    refused(failing(scene, "--cloud", f"{PLAIN}=lab"), "no-cloud", "There is none, or it is empty.")
    made = scene.run("plan", "--cloud", f"{PLAIN}=lab", env={"OS_CLIENT_CONFIG_FILE": there})
    assert "to add" in made.out
    key.chmod(0o644)
    done = failing(scene, "--cloud", f"{PLAIN}=lab", OS_CLIENT_CONFIG_FILE=there)
    refused(done, "bad-key", "mode 644", f"chmod 600 {key}")
    key.chmod(0o600)
    commands(scene, there, ["cat", str(key)])
    key.unlink()
    inside = scene.write("state.key", "0123456789abcdef" * 4)
    inside.chmod(0o600)
    done = failing(
        scene, "--cloud", f"{PLAIN}=lab", OS_CLIENT_CONFIG_FILE=there, CF_INFRA_KEY_FILE=str(inside)
    )
    refused(done, "bad-key", "inside the repository")
    inside.unlink()


def commands(scene: Scene, there: str, argv: list[str]) -> None:
    """A password store's command instead of a file."""
    settings = "version: 1\nstate: {kind: local, key: {command: %s}}\n"
    on_lab = ("--cloud", f"{PLAIN}=lab")
    scene.write("settings.yaml", settings % json.dumps(argv))
    scene.run("plan", *on_lab, env={"OS_CLIENT_CONFIG_FILE": there})
    scene.write("settings.yaml", settings % json.dumps(["sh", "-c", "echo the safe is shut >&2; exit 3"]))
    done = failing(scene, *on_lab, OS_CLIENT_CONFIG_FILE=there)
    refused(done, "no-key", "ended with exit status 3", "the safe is shut", "settings.yaml")
    (scene.root / "settings.yaml").unlink()


def keys_of_a_state(scene: Scene) -> None:
    whole = scene.key.read_bytes()
    scene.key.write_text("fedcba9876543210" * 4 + "\n")
    refused(failing(scene), "no-key", "fingerprint", "is it the right one?")
    scene.key.write_bytes(whole)
    scene.key.chmod(0o640)
    refused(failing(scene), "bad-key", "mode 640", "chmod 600")
    scene.key.chmod(0o600)


# ------------------------------------------------------------------------------------------------ state


def states(scene: Scene) -> None:
    """A state of another stack, or of another cloud, is told from this one's; so is one that was cut off."""
    scene.stack("saved")
    shutil.copytree(scene.state(PLAIN), scene.state("saved"))
    done = failing(scene, "saved")
    refused(done, "foreign-state")
    shutil.rmtree(scene.state("saved"))
    (scene.root / "stacks" / "saved.yaml").unlink()
    aside = scene.state(PLAIN).rename(scene.base / "aside")
    told = refused(
        failing(scene), "foreign-state", "nothing was ever applied from this folder", ".state/plain"
    )
    assert "project cf-plain-project" in scene.left_of(PLAIN), told
    shutil.rmtree(scene.state(PLAIN))
    aside.rename(scene.state(PLAIN))
    state = scene.state(PLAIN) / "terraform.tfstate"
    backup = state.with_name("terraform.tfstate.backup")
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    backup.unlink()
    refused(failing(scene), "unreadable", "was cut off", f"rm {state}")
    backup.write_bytes(whole)
    assert "its backup is used" in scene.plan().err and state.read_bytes() == whole


# ------------------------------------------------------------------------------------------------- disk


@playing(minutes=1.5)
def test_a_full_disk_loses_nothing(scene: Scene) -> None:
    """Room for the state is looked for before anything is made; what is full later is told, and mended by room."""
    scene.stack(DISK, like=PLAIN)
    scene.grants()
    (scene.root / ".state").mkdir()
    with small_disk(scene.root / "build", 1), small_disk(scene.root / ".state", 64):
        done = scene.run("plan", "--format", "json", code=1)
        assert set(done.codes) == {"disk-full"} and "room" in done.detail("disk-full")
    with small_disk(scene.root / ".state", 20):
        scene.plan()
        filler = scene.root / ".state" / "filler"
        filler.write_bytes(b"x" * (12 << 20))
        done = scene.apply(code=1)
        assert done.codes == ["disk-full"] and scene.left_of(DISK) == []
        filler.unlink()
        scene.plan()
        scene.apply()
        scene.nothing_to_do()


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """A file system of so many MiB; only root may mount one."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(
            f"NOT TESTED: full disks, for no small disk can be mounted here: {mounted.stderr.strip()}"
        )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
