"""A scene: one root folder, the commands that a person types in it, and what OpenStack itself says of it.

Scenes run side by side (conftest.py), each with stacks, hosts and GPUs of its own; so each is one long function.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions as sdk
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from testlab import PROJECT, Lab

from tests.leaks import WATCH

JSON = dict[str, Any]
STACKS = Path(__file__).resolve().parent / "stacks"
TODAY = "2040-01-10"
"""The day on which most commands run: a fixed one, so that no credential turns by chance while the tests run."""
PATIENCE = 900.0
"""Seconds that a command may take."""
ENVIRONMENT = dict(os.environ)
"""As it was in the beginning: while a scene plays, other tests change it for themselves."""


class Stopped(BaseException):
    """The session ends: no scene goes on."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def json(self) -> JSON:
        """Its result; stdout must hold one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def codes(self) -> list[str]:
        """The codes of its errors, from JSON or from text."""
        if self.out.startswith("{"):
            return [d["code"] for d in self.json["diagnostics"] if d["severity"] == "error"]
        return re.findall(r"^error\[([a-z-]+)\]", self.err, re.M)

    def stack(self, name: str) -> JSON:
        """The row of a stack in its JSON."""
        (row,) = (row for row in self.json["stacks"] if row["stack"] == name)
        return dict(row)

    def detail(self, code: str) -> str:
        """The only error of a code: what and why, and the way out."""
        (found,) = (d for d in self.json["diagnostics"] if d["code"] == code)
        return f"{found['detail']}\nhint: {found['hint']}"


def descendants(pid: int) -> list[int]:
    """All processes below one, those of other sessions too."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


class Process:
    """A command that runs on its own, so that it can be disturbed; a process group of its own, as in a terminal."""

    def __init__(self, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._texts: dict[str, bytes] = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.child.stdout), ("err", self.child.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            self._texts[name] += chunk
        stream.close()

    @property
    def err(self) -> str:
        """What it said so far."""
        return self._texts["err"].decode()

    @property
    def ended(self) -> bool:
        """Has it ended by itself?"""
        return self.child.poll() is not None

    def descendants(self) -> list[int]:
        """All processes below it."""
        return descendants(self.child.pid)

    def kill(self, *, whole: bool) -> list[int]:
        """SIGKILL, to it alone or to all that it started; returns the processes below it."""
        below = self.descendants()
        os.kill(self.child.pid, signal.SIGSTOP)  # so that it sees nothing of how its children end
        for pid in below if whole else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.kill()
        self.child.wait()
        return below

    def ctrl_c(self) -> None:
        """What a terminal does to the foreground process group."""
        os.killpg(self.child.pid, signal.SIGINT)

    def end(self, shown: str) -> Done:
        """Wait until it has ended."""
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(whole=True)
            raise AssertionError(f"{shown} did not end in {PATIENCE:.0f} s:\n{self.err}") from None
        for reader in self._readers:
            reader.join()
        return Done(shown, self.child.returncode, self._texts["out"].decode(), self.err)


@dataclass
class Scene:
    """A root folder below `base`, and its part of the cloud."""

    base: Path
    lab: Lab
    stopping: threading.Event
    today: str = TODAY
    log: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def key(self) -> Path:
        """The sandbox's key file of this scene."""
        return self.base / "config" / "cf-infra" / "sandbox.key"

    # --- files

    def write(self, name: str, text: str) -> Path:
        """A file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def stack(
        self, name: str, change: Callable[[str], str] = lambda text: text, like: str | None = None
    ) -> None:
        """A stack file as its donor declares it, changed, or under another name."""
        declared = (STACKS / f"{like or name}.yaml").read_text(encoding="utf-8")
        self.write(f"stacks/{name}.yaml", change(declared))

    def grants(self, *entries: JSON) -> None:
        """grants.yaml with these entries, each completed with what every grant needs."""
        lines = [json.dumps({**COMMON, **entry}, ensure_ascii=False) for entry in entries]
        self.write("grants.yaml", "version: 1\ngrants:\n" + "".join(f"  - {line}\n" for line in lines) if lines
                   else "version: 1\ngrants: []\n")  # fmt: skip

    def state(self, name: str) -> Path:
        """The state folder of a deployment."""
        return self.root / ".state" / name

    # --- commands

    def environment(self, changed: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The environment of its commands: nothing of OpenStack or OpenTofu from outside; None removes a name."""
        kept = {
            k: v
            for k, v in ENVIRONMENT.items()
            if not k.startswith(("OS_", "TF_", "CF_INFRA_", "XDG_CONFIG"))
        }
        own = {**self.lab.environment(), "XDG_CONFIG_HOME": str(self.base / "config"), "NO_COLOR": "1"}
        return {k: v for k, v in {**kept, **own, **(changed or {})}.items() if v is not None}

    def start(
        self, *arguments: str, env: Mapping[str, str | None] | None = None, program: Path = PROJECT
    ) -> Process:
        """A command that goes on by itself."""
        if self.stopping.is_set():
            raise Stopped
        return Process(self.command(arguments), self.environment(env), program)

    def command(self, arguments: Iterable[str]) -> list[str]:
        """A command line; --root and --today are added where the command takes them."""
        words = list(arguments)
        if words[0] in ("audit", "check", "drift", "plan", "destroy", "status") and "--today" not in words:
            words += ["--today", self.today]
        return [sys.executable, "-m", "cf_infra", *words, "--root", str(self.root)]

    def run(
        self,
        *arguments: str,
        code: int | None = 0,
        env: Mapping[str, str | None] | None = None,
        program: Path = PROJECT,
        during: Callable[[Process], None] = lambda _process: None,
    ) -> Done:
        """Run a command to its end; it must end with `code`, if that is given."""
        process = self.start(*arguments, env=env, program=program)
        began = time.monotonic()
        during(process)
        return self.end(process, arguments, began, code)

    def end(self, process: Process, arguments: Iterable[str], began: float, code: int | None) -> Done:
        """Wait for a command and note what it said."""
        shown = " ".join(["cf-infra", *arguments])
        done = process.end(shown)
        self.said += [done.out, done.err]
        WATCH.said(shown, done.out, done.err)
        took = f"{began - self.began:6.1f} s + {time.monotonic() - began:5.1f} s"
        self.log.append(f"{took}  {shown}: {done.code}\n{_indented(done)}")
        assert "Traceback" not in done.err, done.err
        if code is not None:
            assert done.code == code, f"{shown} ended with {done.code}, not {code}:\n{done.out}\n{done.err}"
        return done

    def plan(self, *arguments: str, code: int | None = 0) -> Done:
        """Plan, with the result as JSON."""
        return self.run("plan", "--format", "json", *arguments, code=code)

    def apply(self, *arguments: str, code: int | None = 0) -> Done:
        """Apply, with the result as JSON."""
        return self.run("apply", "--format", "json", *arguments, code=code)

    def apply_into_freed_room(self) -> Done:
        """Apply a plan that makes the room that it needs; the next plan ends what this one may not have ended.

        Nova frees a GPU some moments after it forgets the server that had it (docs/traps.md), so a server that is
        made at once may find no host. That, and nothing else, is tried again.
        """
        done = self.apply(code=None)
        if done.code == 0:
            return done
        faults = [d for d in done.json["diagnostics"] if d["code"] == "server-fault"]
        assert set(done.codes) == {"tofu-failed", "server-fault"}, done.codes
        assert all("No valid host was found" in d["detail"] for d in faults), faults
        self.log.append("        the room was not free yet: once more")
        self.plan()
        return self.apply()

    def converge(self, *arguments: str) -> Done:
        """Plan and apply what the files say; a plan after that must be empty."""
        self.plan(*arguments)
        done = self.apply()
        self.nothing_to_do(*arguments)
        return done

    def nothing_to_do(self, *arguments: str) -> None:
        """Ensure that a plan has nothing to do."""
        done = self.plan(*arguments, "--detailed-exitcode", code=None)
        found = [item for row in done.json["stacks"] for item in row["items"] if item["action"] != "read"]
        assert found == [], f"a plan right after an apply is not empty:\n{json.dumps(found, indent=2)}"
        assert done.code == 0 and all(row[k] == 0 for row in done.json["stacks"] for k in COUNTS)

    def audit(self) -> list[JSON]:
        """The findings of an audit of the cloud."""
        return list(self.run("audit", "--only", "openstack", "--format", "json").json["findings"])

    # --- the cloud itself

    @cached_property
    def cloud(self) -> Connection:
        """OpenStack's own client, as administrator."""
        return connection(self.lab.clouds_yaml, "sandbox")

    def servers(self, stack: str) -> dict[str, JSON]:
        """What Nova says of the servers of a stack, user data included, by the key in their marks."""
        found = self.cloud.compute.get("/servers/detail?all_tenants=1", microversion="2.79").json()["servers"]
        ours = [
            server
            for server in found
            if server["metadata"].get("stack") == stack and server["status"] != "DELETED"
        ]
        by_key = {server["metadata"]["grant"]: server for server in ours}
        assert len(by_key) == len(ours), "two servers carry the same key"
        return by_key

    def ids(self, stack: str) -> dict[str, str]:
        """Server ids by key."""
        return {key: server["id"] for key, server in self.servers(stack).items()}

    def gpus(self, server_id: str) -> list[str]:
        """The GPUs that Placement counts for a server, as the names of their resource providers."""
        filters = {"service_type": "placement", "interface": "public"}
        headers = {"OpenStack-API-Version": "placement 1.36"}
        session = self.cloud.session
        answer = session.get(f"/allocations/{server_id}", endpoint_filter=filters, headers=headers).json()
        found = []
        for provider, allocation in answer["allocations"].items():
            if any(name.startswith("CUSTOM_") for name in allocation["resources"]):
                row = session.get(f"/resource_providers/{provider}", endpoint_filter=filters, headers=headers)
                found.append(row.json()["name"])
        return found

    def left_of(self, stack: str) -> list[str]:
        """Everything at the cloud that carries the stack's name or marks, in words."""
        mark, begins = f"managed by cf-infra, stack {stack}", f"cf-{stack}-"
        cloud = self.cloud
        kinds = {
            "project": cloud.identity.projects(),
            "user": cloud.identity.users(),
            "flavor": cloud.compute.flavors(is_public=None),
            "network": cloud.network.networks(),
            "subnet": cloud.network.subnets(),
            "router": cloud.network.routers(),
            "group": cloud.network.security_groups(),
            "image": cloud.image.images(),
            "server": cloud.compute.servers(all_projects=True),
        }
        return sorted(
            f"{kind} {thing.name}"
            for kind, things in kinds.items()
            for thing in things
            if (thing.name or "").startswith(begins) or getattr(thing, "description", None) == mark
        )

    def is_there(self, ask: Callable[[], object]) -> bool:
        """False if OpenStack answers that there is no such thing."""
        try:
            ask()
        except sdk.NotFoundException:
            return False
        return True

    def wait(self, what: str, condition: Callable[[], Any], limit: float = 600.0, pause: float = 0.7) -> Any:
        """Poll until a condition holds; its value. Asked more often, a Nova of one process does nothing but answer."""
        deadline = time.monotonic() + limit
        while not (found := condition()):
            if self.stopping.is_set():
                raise Stopped
            assert time.monotonic() < deadline, f"not seen in {limit:.0f} s: {what}"
            time.sleep(pause)
        return found


def playing(minutes: float) -> Callable[[Callable[[Scene], None]], Callable[..., None]]:
    """Make a test of a function that plays in a Scene. `minutes`: about how long it takes; the longest begin first."""

    def decorated(function: Callable[[Scene], None]) -> Callable[..., None]:
        def test(scenes: Any, record_property: Callable[[str, object], None]) -> None:
            scenes.outcome(function, record_property)

        test.__name__, test.__doc__ = function.__name__, function.__doc__
        test.__module__ = function.__module__
        test.played = (function, minutes)  # type: ignore[attr-defined]
        return pytest.mark.sandbox(test)

    return decorated


COUNTS = ("add", "change", "replace", "destroy")
COMMON: JSON = {
    "reason": "A test",
    "request": "https://github.com/conda-forge/admin-requests/pull/1",
    "requested_by": "asker",
    "approved_by": ["approver"],
    "granted": "2039-01-01",
    "expires": "2041-01-01",
    "roles": ["admin", "maintain", "write"],
}


def connection(clouds_yaml: Path, cloud: str) -> Connection:
    """A connection by an entry of a clouds.yaml."""
    region = OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False).get_one(cloud)
    return Connection(config=region)


def user_data(server: JSON) -> str:
    """What a server was booted with, as Nova tells it to administrators."""
    return base64.b64decode(server["OS-EXT-SRV-ATTR:user_data"]).decode()


def actions(row: JSON, only: str = "") -> dict[str, str]:
    """What a plan does, by address, without records in the state; `only`: addresses with this text."""
    return {
        item["address"]: item["action"]
        for item in row["items"]
        if "terraform_data" not in item["address"] and only in item["address"]
    }


SERVER = "module.machine.openstack_compute_instance_v2.this"


def server_actions(row: JSON) -> dict[str, str]:
    """What a plan does to servers, by key."""
    return {address[len(SERVER) + 2 : -2]: action for address, action in actions(row, SERVER).items()}


def files_below(*folders: Path) -> Iterator[Path]:
    """All regular files; what OpenTofu links to (providers) is left out."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and "providers" not in path.parts:
                yield path


def clone_without_tools(folder: Path) -> Path:
    """A copy of the product in which `make setup` was never run."""
    for name in ("cf_infra", "locks", "modules"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _indented(done: Done) -> str:
    lines = [*done.err.splitlines(), *done.out.splitlines()[:60]]
    return "".join(f"      {line}\n" for line in lines)
