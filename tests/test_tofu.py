"""OpenTofu's wrapper, tried on the real program; a script stands in for it only where it must misbehave."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from real_tofu import PROJECT, Place, line_with, tool_or_skip, until

from cf_infra import locks, recovery
from cf_infra import tofu as wrapper
from cf_infra.complaints import Complaints
from cf_infra.diagnostics import Failure, render
from cf_infra.events import Problem
from cf_infra.mask import Masker
from cf_infra.process import NOTICES
from cf_infra.tofu import Event, Interrupted, Tofu, TofuFailure, Tool, child_environment, find, interrupt_all
from tests.leaks import WATCH

pytestmark = pytest.mark.programs


@pytest.fixture(scope="session")
def tool() -> Tool:
    return tool_or_skip()


@pytest.fixture
def place(tmp_path: Path, tool: Tool) -> Place:
    return Place(tmp_path, tool)


@pytest.fixture(autouse=True)
def _resume() -> Iterator[None]:
    yield
    wrapper.resume()


def script(path: Path, text: str) -> Path:
    """A program that stands in for tofu."""
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def sleeper(seconds: float, **more: Any) -> dict[str, Any]:
    return {"input": "x", "provisioner": [{"local-exec": {"command": f"sleep {seconds}"}}], **more}


def codes(failure: Failure) -> list[str]:
    return [d.code for d in failure.diagnostics]


# --- finding it


class TestFind:
    def version(self, path: Path, version: str) -> Path:
        return script(path, f'print(\'{{"terraform_version": "{version}"}}\')')

    def pointer(self, project: Path, tofu: Path, **more: Any) -> None:
        described = project / "cache" / "tools.json"
        described.parent.mkdir(parents=True, exist_ok=True)
        described.write_text(json.dumps({"tofu": str(tofu), **more}))
        (project / ".tools").mkdir(exist_ok=True)
        (project / ".tools" / "current.json").write_text(json.dumps({"tools": str(described)}))

    def test_the_pointer_comes_before_the_path(self, tmp_path: Path) -> None:
        pinned = self.version(tmp_path / "pinned", "1.12.6-dev")
        (tmp_path / "bin").mkdir()
        self.version(tmp_path / "bin" / "tofu", "1.11.0")
        rc = tmp_path / "tofurc"
        rc.write_text("")
        lock = tmp_path / "openstack.lock.hcl"
        lock.write_text("")
        locks = {"openstack": str(lock)}
        self.pointer(tmp_path, pinned, tofurc=str(rc), locks=locks, versions={"openstack": "1.54.1"})
        found = find(tmp_path, {"PATH": str(tmp_path / "bin")})
        assert (found.tofu, found.tofurc, found.lock) == (pinned, rc, lock)
        assert found.with_provider("github").lock is None
        assert found.versions == {"openstack": "1.54.1", "tofu": "1.12.6-dev"}

    def test_the_path_serves_where_nothing_was_built(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        here = self.version(tmp_path / "bin" / "tofu", "1.11.0")
        assert find(tmp_path, {"PATH": str(tmp_path / "bin")}).tofu == here

    @pytest.mark.parametrize("version", ["1.10.9", "0.15.0", "2.0.0", "dev"])
    def test_a_version_that_does_not_fit(self, tmp_path: Path, version: str) -> None:
        self.pointer(tmp_path, self.version(tmp_path / "tofu", version))
        with pytest.raises(Failure) as failure:
            find(tmp_path, {})
        assert codes(failure.value) == ["tool-too-old"]
        assert version in failure.value.diagnostics[0].detail
        assert failure.value.diagnostics[0].hint.endswith("\nmake setup")

    def test_no_tofu_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(Failure) as failure:
            find(tmp_path, {"PATH": str(tmp_path)})
        assert render(failure.value.diagnostics) == (
            "error[tool-missing]: Tool is missing\n"
            "There is no `tofu` on PATH, and none was built.\n"
            "hint: build OpenTofu and the providers:\n"
            "    make setup\n"
        )

    def test_a_cache_that_was_cleaned(self, tmp_path: Path) -> None:
        self.pointer(tmp_path, tmp_path / "gone")
        with pytest.raises(Failure) as failure:
            find(tmp_path, {})
        assert codes(failure.value) == ["tool-missing"]
        assert str(tmp_path / "gone") in failure.value.diagnostics[0].detail

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"tools": 1}', '{"tools": "nowhere"}'])
    def test_a_pointer_that_cannot_be_used(self, tmp_path: Path, text: str) -> None:
        (tmp_path / ".tools").mkdir()
        (tmp_path / ".tools" / "current.json").write_text(text)
        with pytest.raises(Failure) as failure:
            find(tmp_path, {})
        assert codes(failure.value) == ["tool-missing"]

    def test_a_program_that_fails(self, tmp_path: Path) -> None:
        self.pointer(tmp_path, script(tmp_path / "tofu", "raise SystemExit(1)"))
        with pytest.raises(Failure) as failure:
            find(tmp_path, {})
        assert codes(failure.value) == ["tool-missing"]


def test_the_environment_inherits_only_what_is_named(tmp_path: Path) -> None:
    rc = tmp_path / "tofurc"
    rc.write_text("")
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "HTTPS_PROXY": "p",
        "GITHUB_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "t",
        "OS_PASSWORD": "t",
        "TF_LOG": "trace",
        "TF_VAR_x": "1",
        "TF_PLUGIN_CACHE_DIR": "/c",
        "TF_CLI_CONFIG_FILE": str(tmp_path / "not-there"),
    }
    extra = {"OS_CLIENT_CONFIG_FILE": "/c.yaml"}
    quiet = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
    base = {"PATH": "/bin", "HOME": "/h", "HTTPS_PROXY": "p", **extra, **quiet}
    assert child_environment(Tool(Path("t")), extra, environ) == base
    assert child_environment(Tool(Path("t"), tofurc=rc), extra, environ) == base | {
        "TF_CLI_CONFIG_FILE": str(rc)
    }
    environ["TF_CLI_CONFIG_FILE"] = str(rc)  # the user's own, where we built nothing
    assert child_environment(Tool(Path("t")), extra, environ)["TF_CLI_CONFIG_FILE"] == str(rc)


# --- a whole life


def test_plan_apply_change_destroy(place: Place) -> None:
    place.write({"a": {"input": "1"}, "b": {"input": "1"}}, output={"o": {"value": "${terraform_data.a.id}"}})
    tofu = place.tofu()
    assert tofu.init(place.state) is True
    assert tofu.plan(place.saved) is True
    tofu.apply(place.saved)
    assert tofu.plan(place.saved) is False
    assert place.addresses() == ["terraform_data.a", "terraform_data.b"]
    assert re.fullmatch(r"[0-9a-f-]{36}", tofu.output()["o"]["value"])

    place.write({"a": {"input": "2"}})
    assert tofu.plan(place.saved) is True
    changes = {c["address"]: c["change"]["actions"] for c in tofu.show_plan(place.saved)["resource_changes"]}
    assert changes == {"terraform_data.a": ["update"], "terraform_data.b": ["delete"]}
    tofu.apply(place.saved)
    assert place.addresses() == ["terraform_data.a"]

    assert tofu.plan(place.saved, destroy=True) is True
    tofu.apply(place.saved)
    assert place.addresses() == []
    assert tofu.warnings == []
    tofu.validate()


def test_events_come_while_it_runs(place: Place) -> None:
    place.write({"slow": sleeper(1.5)})
    place.applied()
    seen = {(e.kind, e.address): at for e, at in zip(place.events, place.times, strict=True)}
    started = seen["apply_start", "terraform_data.slow"]
    ended = seen["apply_complete", "terraform_data.slow"]
    assert ended - started > 1.2
    complete = next(e for e in place.events if e.kind == "apply_complete")
    assert (complete.action, complete.level) == ("create", "info")
    assert complete.elapsed is not None and 1 <= complete.elapsed < 10
    assert complete.message.startswith("terraform_data.slow: Creation complete after ")
    summary = [e for e in place.events if e.kind == "change_summary"]
    assert summary[-1].raw["changes"]["add"] == 1


def test_init_runs_only_when_something_changed(place: Place, tool: Tool) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.tofu()
    assert [tofu.init(place.state), tofu.init(place.state), place.tofu().init(place.state)] == [
        True,
        False,
        False,
    ]
    place.write({"a": {"input": "2"}})
    assert [tofu.init(place.state), tofu.init(place.state)] == [True, False]
    assert tofu.init(place.state.with_name("other.tfstate")) is True
    providers = place.folder / ".terraform" / "providers" / "r" / "n" / "p" / "1.0"
    providers.mkdir(parents=True)
    (providers / "linux_amd64").symlink_to(place.base / "gone")
    assert tofu.init(place.state.with_name("other.tfstate")) is True


def test_an_init_that_failed_is_tried_again(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.tofu()
    tofu.init(place.state)
    place.write({"a": {"input": "1"}}, module={"m": {"source": "./nowhere"}})
    for _ in range(2):
        with pytest.raises(TofuFailure) as failure:
            tofu.init(place.state)
        assert set(codes(failure.value)) == {"tofu-failed"}
    place.write({"a": {"input": "1"}})
    assert tofu.init(place.state) is True


def test_the_lock_file_is_copied_and_only_read(place: Place, tool: Tool, tmp_path: Path) -> None:
    if tool.lock is None or tool.tofurc is None or "openstack" not in tool.versions:
        pytest.skip("there is no provider of our own: run `make setup`")
    requires = {"openstack": {"source": "terraform-provider-openstack/openstack"}}
    place.write({}, terraform={"backend": {"local": {}}, "required_providers": requires})
    place.tool = tool
    tofu = place.tofu()
    tofu.init(place.state)
    copied = place.folder / ".terraform.lock.hcl"
    assert copied.read_bytes() == tool.lock.read_bytes()
    assert tofu.versions() == {"tofu": tool.versions["tofu"], "openstack": tool.versions["openstack"]}

    empty = tmp_path / "lock.hcl"
    empty.write_text("")
    place.tool = Tool(tool.tofu, tool.tofurc, empty, tool.versions)
    with pytest.raises(TofuFailure) as failure:
        place.tofu().init(place.state)
    assert "lock file" in failure.value.diagnostics[0].detail
    assert copied.read_bytes() == b""


def test_a_compiled_lock_stays_where_it_knows_the_provider(place: Place, tool: Tool) -> None:
    """The committed lock has the hashes of several Gos; only a provider that it does not know brings its own."""
    if tool.lock is None or tool.tofurc is None or "openstack" not in tool.versions:
        pytest.skip("there is no provider of our own: run `make setup`")
    requires = {"openstack": {"source": "terraform-provider-openstack/openstack"}}
    place.write({}, terraform={"backend": {"local": {}}, "required_providers": requires})
    place.tool = tool
    own = tool.lock.read_text(encoding="utf-8")
    compiled = place.folder / ".terraform.lock.hcl"
    several = re.sub(r"(hashes = \[\n)", r'\1    "h1:another=",\n', own)
    compiled.write_text(several, encoding="utf-8")
    place.tofu().init(place.state)
    assert compiled.read_text(encoding="utf-8") == several
    assert not any("locks/" in event.message for event in place.events)

    compiled.write_text(re.sub(r"h1:[^\"]+", "h1:another=", own), encoding="utf-8")
    place.tofu().init(place.state)
    assert compiled.read_text(encoding="utf-8") == own
    assert any("locks/" in event.message for event in place.events)


def test_without_a_lock_of_ours_the_one_that_opentofu_made_is_kept(place: Place, tool: Tool) -> None:
    """As with CF_INFRA_PROVIDERS=registry, where the committed hashes are not those of the registry's builds."""
    if tool.lock is None or tool.tofurc is None or "openstack" not in tool.versions:
        pytest.skip("there is no provider of our own: run `make setup`")
    requires = {"openstack": {"source": "terraform-provider-openstack/openstack"}}
    place.write({}, terraform={"backend": {"local": {}}, "required_providers": requires})
    place.tool = Tool(tool.tofu, tool.tofurc, None, tool.versions)
    compiled = place.folder / ".terraform.lock.hcl"
    for again in (True, False):
        compiled.write_text("# compiled anew", encoding="utf-8")
        assert place.tofu().init(place.state) is again
        assert "h1:" in compiled.read_text(encoding="utf-8")


# --- what goes wrong


def test_a_failed_resource_is_named_with_place(place: Place) -> None:
    place.write(
        {
            "good": {"input": "1"},
            "bad": {"input": "1", "provisioner": [{"local-exec": {"command": "exit 3"}}]},
        }
    )
    tofu = place.planned()
    with pytest.raises(TofuFailure) as failure:
        tofu.apply(place.saved)
    (told,) = failure.value.diagnostics
    assert (told.code, told.file) == ("tofu-failed", "build/s/main.tf.json")
    assert told.line and told.excerpt == ""  # OpenTofu points to the closing brace of what failed
    assert "exit status 3" in told.detail and "terraform_data.bad" in told.detail
    assert failure.value.operation == "apply"
    assert [p.address for p in failure.value.problems] == ["terraform_data.bad"]
    assert any(e.kind == "apply_errored" for e in place.events) or any(
        e.kind == "provision_errored" for e in place.events
    )
    assert place.addresses() == ["terraform_data.bad", "terraform_data.good"]


def test_every_error_comes_once(place: Place) -> None:
    place.write({"a": {"inputs": "1"}, "b": {"input": "${var.nothing}"}})
    with pytest.raises(TofuFailure) as failure:
        place.tofu().init(place.state)
        place.tofu().plan(place.saved)
    assert codes(failure.value) == ["tofu-failed", "tofu-failed"]
    assert [d.excerpt.strip() for d in failure.value.diagnostics] == [
        '"inputs": "1"',
        '"input": "${var.nothing}"',
    ]
    assert not place.saved.exists() and list(place.state.parent.iterdir()) == []
    with pytest.raises(TofuFailure) as failure:
        place.tofu().validate()
    assert len(failure.value.diagnostics) == 2


def test_a_failed_plan_leaves_the_saved_one(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.planned()
    before = place.saved.read_bytes()
    place.write({"a": {"input": "${file('nowhere')}"}})
    with pytest.raises(TofuFailure):
        tofu.plan(place.saved)
    assert place.saved.read_bytes() == before
    assert sorted(p.name for p in place.state.parent.iterdir()) == ["plan"]


def test_warnings_are_collected_once(place: Place) -> None:
    check = {
        "c": {"assert": {"condition": "${terraform_data.a.input == 2}", "error_message": "Two is needed."}}
    }
    place.write({"a": {"input": 1}}, check=check)
    tofu = place.applied()
    tofu.plan(place.saved)
    assert [d.code for d in tofu.warnings] == ["tofu-warning"]
    assert tofu.warnings[0].detail.endswith("Two is needed.")


def test_a_warning_that_nobody_can_help_is_dropped(tmp_path: Path) -> None:
    said = {
        "severity": "warning",
        "summary": "Argument is deprecated",
        "detail": "Users not using loadbalancer resources can ignore this message. Support for neutron-lbaas ...",
    }
    line = json.dumps({"@message": "Warning", "@level": "warn", "type": "diagnostic", "diagnostic": said})
    other = line.replace("Users not", "Users")
    program = script(tmp_path / "tofu", f"print({line!r}); print({other!r})")
    tofu = Tofu(Tool(program), tmp_path, {})
    tofu.force_unlock("x")
    assert [d.detail.splitlines()[1][:30] for d in tofu.warnings] == ["Users using loadbalancer resou"]


def test_a_crash_shows_its_last_words(tmp_path: Path) -> None:
    text = (
        "import sys, json\n"
        "print(json.dumps({'@message': 'hello', '@level': 'info', 'type': 'version'}))\n"
        "print('panic: runtime error'); print('half a line', end='')\n"
        "sys.stderr.write('\\n'.join(f'goroutine {n}' for n in range(500)) + ' hunter2secret')\n"
        "sys.exit(2)"
    )
    seen: list[Event] = []
    tofu = Tofu(
        Tool(script(tmp_path / "tofu", text)), tmp_path, {}, seen.append, masker=Masker(["hunter2secret"])
    )
    with pytest.raises(TofuFailure) as failure:
        tofu.apply(tmp_path / "plan")
    (told,) = failure.value.diagnostics
    assert told.detail.splitlines()[0] == "`tofu apply` ended with exit code 2"
    assert told.detail.splitlines()[-1] == "goroutine 499 (secret)"
    assert len(told.detail.splitlines()) == 21
    assert [(e.kind, e.message) for e in seen] == [
        ("version", "hello"),
        ("text", "panic: runtime error"),
        ("text", "half a line"),
    ]


def test_a_killed_child_is_a_failure(tmp_path: Path) -> None:
    tofu = Tofu(Tool(script(tmp_path / "tofu", "import os; os.kill(os.getpid(), 9)")), tmp_path, {})
    with pytest.raises(TofuFailure) as failure:
        tofu.apply(tmp_path / "plan")
    assert "It was killed by signal 9." in failure.value.diagnostics[0].detail


def test_a_document_that_is_none(tmp_path: Path) -> None:
    tofu = Tofu(Tool(script(tmp_path / "tofu", "print('[]')")), tmp_path, {})
    with pytest.raises(TofuFailure) as failure:
        tofu.output()
    assert "printed no JSON object" in failure.value.diagnostics[0].detail


def test_a_program_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        Tofu(Tool(tmp_path / "tofu"), tmp_path, {}).apply(tmp_path / "plan")
    assert codes(failure.value) == ["tool-missing"]


def test_a_fault_in_the_listener_waits_for_the_child(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.planned()

    def broken(event: Event) -> None:
        if event.kind == "apply_start":
            raise BrokenPipeError

    tofu = place.tofu(on_event=broken)
    with pytest.raises(BrokenPipeError):
        tofu.apply(place.saved)
    assert place.addresses() == ["terraform_data.a"]


RETRIED = "OpenStack connection error, retries exhausted. Aborting. Last error was:"
SAID = {
    "cloud-silent": [
        f'Post "http://127.0.0.1:1/v3/auth/tokens": {RETRIED} dial tcp 127.0.0.1:1: connect: connection refused',
        f'Post "http://h.invalid/v3/auth/tokens": {RETRIED} dial tcp: lookup h.invalid on 10.0.0.53:53: no such host',
        'Get "https://cloud/v3": net/http: TLS handshake timeout',
    ],
    "login-refused": [
        "Error creating OpenStack networking client: Authentication failed",
        'Resource not found: [POST http://h:5000/v3/auth/tokens], error message: {"error":{"code":404,"message":"C"}}',
        "Expected HTTP response code [201 202] when accessing [POST http://h/v3/auth/tokens], but got 401 instead: {}",
    ],
    "no-cloud": ["cloud absent does not exist in clouds.yaml"],
    "disk-full": ["Failed to save state: write x: no space left on device"],
    "wrong-key": ["decryption failed for all provided methods"],
    "tofu-failed": [
        "timeout while waiting for state to become 'ACTIVE' (last state: 'BUILD', timeout: 30m0s)",
        "Expected HTTP response code [200] when accessing [GET http://h/v2.0/networks], but got 503 instead: {}",
        "dial unix /tmp/plugin: connect: connection refused",
    ],
}


@pytest.mark.parametrize(("code", "said"), [(code, said) for code, texts in SAID.items() for said in texts])
def test_words_that_mean_one_thing(tmp_path: Path, code: str, said: str) -> None:
    """The texts are those of the openstack provider 1.54.1 (gophercloud 1) and 3.4.0 (gophercloud 2)."""
    told = Complaints(tmp_path, tmp_path, Masker()).diagnose(Problem("error", said, address="data.x.y"))
    assert (told.code, told.detail.splitlines()[0]) == (code, said)


def test_a_registry_is_no_cloud(tmp_path: Path) -> None:
    said = "could not connect to registry.opentofu.org: dial tcp: lookup registry.opentofu.org: no such host"
    assert Complaints(tmp_path, tmp_path, Masker()).diagnose(Problem("error", said)).code == "tofu-failed"


def test_a_cloud_that_does_not_answer(place: Place, tool: Tool) -> None:
    if tool.lock is None or "openstack" not in tool.versions:
        pytest.skip("there is no openstack provider of our own: run `make setup`")
    auth = {"auth_url": "http://127.0.0.1:1/v3", "username": "u", "password": "p", "project_name": "p"}
    auth |= {"user_domain_id": "default", "project_domain_id": "default"}
    place.tool = tool
    config = place.base / "clouds.yaml"
    config.write_text(json.dumps({"clouds": {"here": {"region_name": "R", "auth": auth}}}))
    source = {"source": "terraform-provider-openstack/openstack"}
    place.write(
        {},
        terraform={"backend": {"local": {}}, "required_providers": {"openstack": source}},
        variable={"cloud": {"type": "string"}},
        provider={"openstack": {"cloud": "${var.cloud}"}},
        data={"openstack_networking_network_v2": {"a": {"name": "a"}, "b": {"name": "b"}}},
    )
    for cloud, code in (("here", "cloud-silent"), ("absent", "no-cloud")):
        tofu = place.tofu({"OS_CLIENT_CONFIG_FILE": str(config), "TF_VAR_cloud": cloud})
        tofu.init(place.state)
        with pytest.raises(TofuFailure) as failure:
            tofu.plan(place.saved)
        assert codes(failure.value) == [code]
        assert tofu.warnings == []


# --- Ctrl-C


STUBBORN = """
import json, os, signal, sys, time
count = 0
def stop(*_):
    global count
    count += 1
    print(json.dumps({'@message': f'got {count}', 'type': 'log'}), flush=True)
signal.signal(signal.SIGINT, stop)
print(json.dumps({'@message': 'ready', 'type': 'log'}), flush=True)
end = time.time() + 20
while count < int(os.environ['TF_VAR_stop_at']) and time.time() < end:
    time.sleep(0.01)
sys.exit(1)
"""


class Heard:
    """Events of a run in a thread, and how it ended."""

    def __init__(self, tofu: Tofu, folder: Path) -> None:
        self.said: list[str] = []
        self.ended: BaseException | None = None
        tofu._on_event = lambda event: self.said.append(event.message)
        self.thread = threading.Thread(target=self.go, args=(tofu, folder))
        self.thread.start()

    def go(self, tofu: Tofu, folder: Path) -> None:
        try:
            tofu.apply(folder / "plan")
        except (Interrupted, Failure) as ended:
            self.ended = ended

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.said)


def test_first_and_third_ctrl_c_are_passed_on(tmp_path: Path) -> None:
    program = Tool(script(tmp_path / "tofu", STUBBORN))
    run = Heard(Tofu(program, tmp_path, {"TF_VAR_stop_at": "2"}), tmp_path)
    run.wait_for("ready")
    assert interrupt_all() == 1
    run.wait_for("got 1")
    assert interrupt_all() == 1
    time.sleep(0.3)
    assert "got 2" not in run.said and run.said[-1] == NOTICES[1]
    assert interrupt_all() == 1
    run.thread.join(10)
    assert run.said == ["ready", NOTICES[0], "got 1", NOTICES[1], NOTICES[2], "got 2"] or sorted(
        run.said
    ) == sorted(["ready", *NOTICES, "got 1", "got 2"])
    assert isinstance(run.ended, Interrupted)
    assert (run.ended.operation, run.ended.completed) == ("apply", False)


def test_one_ctrl_c_reaches_all_threads_and_starts_nothing_more(tmp_path: Path) -> None:
    program = Tool(script(tmp_path / "tofu", STUBBORN))
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(Heard(Tofu(program, tmp_path / name, {"TF_VAR_stop_at": "1"}), tmp_path))
    for run in runs:
        run.wait_for("ready")
    assert interrupt_all() == 2
    for run in runs:
        run.thread.join(10)
        assert isinstance(run.ended, Interrupted)
    with pytest.raises(Interrupted):
        Tofu(program, tmp_path, {"TF_VAR_stop_at": "0"}).apply(tmp_path / "plan")
    reads = Tofu(Tool(script(tmp_path / "reads", "print('{}')")), tmp_path, {})
    assert reads.show_state() == {}, "what was made has to be recorded, after Ctrl-C too"
    wrapper.resume()
    with pytest.raises(TofuFailure):
        Tofu(program, tmp_path, {"TF_VAR_stop_at": "0"}).apply(tmp_path / "plan")


@pytest.mark.parametrize("group", [False, True], ids=["process", "terminal"])
def test_ctrl_c_leaves_a_state_that_goes_on(place: Place, group: bool) -> None:
    """A terminal sends SIGINT to the whole group: the child must get it once, from us alone."""
    place.write({"first": {"input": "1"}, "slow": sleeper(30, depends_on=["terraform_data.first"])})
    place.planned()
    driver = place.driver("tofu.apply(place.saved)")
    line_with(driver.stdout, "provision_progress")
    (os.killpg if group else os.kill)(driver.pid, signal.SIGINT)
    said, _ = driver.communicate(timeout=20)
    assert driver.returncode == 130
    assert said.count(NOTICES[0]) == 1 and "INTERRUPTED apply False" in said
    assert place.addresses() == ["terraform_data.first", "terraform_data.slow"]
    place.write({"first": {"input": "1"}, "slow": {"input": "x"}})
    place.applied()
    assert place.planned().plan(place.saved) is False


def test_ctrl_c_after_the_work_is_done_says_so(place: Place) -> None:
    text = "import signal, time\nsignal.signal(2, lambda *_: None)\nprint('up', flush=True)\ntime.sleep(0.5)"
    place.folder.joinpath("plan").touch()
    place.tool = Tool(script(place.base / "deaf", text))
    driver = place.driver("tofu.apply(place.folder / 'plan')")
    line_with(driver.stdout, "up")
    os.kill(driver.pid, signal.SIGINT)
    said, _ = driver.communicate(timeout=20)
    assert "INTERRUPTED apply True" in said and driver.returncode == 130


def test_an_interrupted_run_tells_what_it_complained_of(tmp_path: Path) -> None:
    said = {"severity": "error", "summary": "Failed to save state"}
    line = json.dumps({"@message": "m", "type": "diagnostic", "diagnostic": said})
    run = Heard(
        Tofu(Tool(script(tmp_path / "tofu", STUBBORN + "\n")), tmp_path, {"TF_VAR_stop_at": "1"}), tmp_path
    )
    run.wait_for("ready")
    interrupt_all()
    run.thread.join(10)
    wrapper.resume()
    text = STUBBORN.replace("sys.exit(1)", f"print({line!r}); sys.exit(1)")
    run = Heard(Tofu(Tool(script(tmp_path / "tofu", text)), tmp_path, {"TF_VAR_stop_at": "1"}), tmp_path)
    run.wait_for("ready")
    interrupt_all()
    run.thread.join(10)
    assert isinstance(run.ended, Interrupted)
    assert [d.detail for d in run.ended.diagnostics] == ["Failed to save state"]


# --- killed


def child_of(driver: subprocess.Popen[str]) -> int:
    """The tofu that a driver started."""
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
    return int(until(lambda: children.read_text().split())[0])


def test_killing_us_lets_tofu_end_its_work(place: Place) -> None:
    place.write({"slow": sleeper(1.5), "after": {"input": "1", "depends_on": ["terraform_data.slow"]}})
    place.planned()
    driver = place.driver("tofu.apply(place.saved)")
    line_with(driver.stdout, "provision_progress")
    tofu = child_of(driver)
    driver.kill()
    driver.communicate()
    with pytest.raises(TofuFailure) as failure:
        place.tofu().plan(place.saved)
    assert (
        codes(failure.value) == ["state-locked"] and f"kill -INT {tofu}" in failure.value.diagnostics[0].hint
    )
    until(lambda: not Path(f"/proc/{tofu}").exists())
    assert place.addresses() == ["terraform_data.after", "terraform_data.slow"]
    assert place.planned().plan(place.saved) is False


def test_killing_tofu_leaves_nothing_that_stops_the_next_run(place: Place) -> None:
    place.write({"first": {"input": "1"}})
    place.applied()
    place.write({"first": {"input": "1"}, "slow": sleeper(30)})
    place.planned()
    driver = place.driver("tofu.apply(place.saved)")
    line_with(driver.stdout, "provision_progress")
    os.kill(child_of(driver), signal.SIGKILL)
    driver.communicate(timeout=10)
    assert driver.returncode == 1  # a Failure that nobody caught
    assert (place.state.parent / ".terraform.tfstate.lock.info").exists(), "a stale note of OpenTofu's own"
    place.write({"first": {"input": "1"}, "slow": {"input": "x"}})
    place.applied()
    assert place.addresses() == ["terraform_data.first", "terraform_data.slow"]
    assert not list((place.folder / ".terraform").glob("cf-infra-run-*"))


def test_a_lock_names_its_holder(place: Place) -> None:
    place.write({"slow": sleeper(30)})
    place.planned()
    driver = place.driver("tofu.apply(place.saved)")
    line_with(driver.stdout, "provision_progress")
    tofu = child_of(driver)
    assert locks.holder(place.state) == tofu
    with pytest.raises(TofuFailure) as failure:
        place.tofu().plan(place.saved)
    (told,) = failure.value.diagnostics
    assert told.code == "state-locked"
    assert re.match(
        rf"`apply` of \S+@{re.escape(socket.gethostname())} holds it since \d+ s\.\n", told.detail
    )
    assert f"It is process {tofu} on this machine: {place.tool.tofu} apply -json" in told.detail
    assert told.hint == f"wait until it has ended, or stop it:\nkill -INT {tofu}"
    os.kill(tofu, signal.SIGINT)
    driver.communicate(timeout=20)
    assert locks.holder(place.state) is None


# --- locks that outlive their process (as S3's do)


class Store(http.server.BaseHTTPRequestHandler):
    """OpenTofu's backend `http`: a state and a lock that stays until it is given back."""

    state: bytes = b""
    lock: bytes = b""
    refuse = False

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self._answer(200 if Store.state else 404, Store.state)

    def do_POST(self) -> None:
        body = self._body()
        if Store.refuse:
            self._answer(403)
        else:
            Store.state = body
            self._answer(200)

    def do_LOCK(self) -> None:
        body = self._body()
        if Store.lock:
            self._answer(423, Store.lock)
        else:
            Store.lock = body
            self._answer(200)

    def do_UNLOCK(self) -> None:
        self._body()
        Store.lock = b""
        self._answer(200)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def store() -> Iterator[dict[str, str]]:
    Store.state, Store.lock, Store.refuse = b"", b"", False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    yield {"address": url, "lock_address": url, "unlock_address": url}
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_lock_of_a_killed_run_is_broken(place: Place, store: dict[str, str]) -> None:
    remote = {"terraform": {"backend": {"http": {}}}}
    place.write({"slow": sleeper(30)}, **remote)
    tofu = place.tofu()
    tofu.init(store)
    tofu.plan(place.saved)
    driver = place.driver("tofu.apply(place.saved)")
    line_with(driver.stdout, "provision_progress")
    held = child_of(driver)
    with pytest.raises(TofuFailure) as failure:  # alive: not to be broken
        tofu.plan(place.saved)
    assert codes(failure.value) == ["state-locked"]
    lock = json.loads(Store.lock)["ID"]
    assert f"force-unlock {lock}" in failure.value.diagnostics[0].hint
    os.killpg(held, signal.SIGKILL)
    driver.kill()  # at once: our own note of the run must stay behind
    driver.communicate(timeout=10)

    assert json.loads(Store.lock)["ID"] == lock
    tofu.plan(place.saved)
    assert any("Breaking the lock" in e.message for e in place.events)
    assert not list((place.folder / ".terraform").glob("cf-infra-run-*"))
    assert Store.lock == b"" and json.loads(Store.state or b'{"serial": 0}') is not None


@pytest.mark.parametrize(
    "change",
    [{"Who": "me@elsewhere"}, {"Created": "2020-01-01T00:00:00Z"}, {"Operation": "OperationTypePlan"}],
)
def test_a_lock_of_somebody_else_stays(place: Place, store: dict[str, str], change: dict[str, str]) -> None:
    place.write({"a": {"input": "1"}}, terraform={"backend": {"http": {}}})
    tofu = place.tofu()
    tofu.init(store)
    host = socket.gethostname()
    now = datetime.now(UTC)
    note = {"host": host, "pid": 1 << 22, "started": "never", "operation": "apply", "at": now.isoformat()}
    (place.folder / ".terraform" / "cf-infra-run-4194304.json").write_text(json.dumps(note))
    info = {
        "ID": "5f3ae778-3f55-dd48-d488-cf5c010fd202",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": f"me@{host}",
        "Version": "1.12.6",
        "Created": now.isoformat(),
        "Path": "",
    }
    Store.lock = json.dumps(info | change).encode()
    with pytest.raises(TofuFailure) as failure:
        tofu.plan(place.saved)
    assert codes(failure.value) == ["state-locked"]
    assert f"force-unlock {info['ID']}" in failure.value.diagnostics[0].hint
    Store.lock = json.dumps(info).encode()
    assert tofu.plan(place.saved) is True


LOCKED = """Error message: HTTP remote state already locked: ID=5f3ae778
Lock Info:
  ID:        5f3ae778-3f55
  Path:      x
  Operation: OperationTypeApply
  Who:       me@host
  Version:   1.12.6
  Created:   2026-11-21 09:57:28.198518 +0000 UTC
  Info:

OpenTofu acquires a state lock"""


def test_what_a_lock_says() -> None:
    lock = locks.lock_in(LOCKED)
    created = datetime(2026, 11, 21, 9, 57, 28, tzinfo=UTC)
    assert lock == locks.Lock("5f3ae778-3f55", "apply", "me@host", created)
    assert locks.lock_in("Error message: resource temporarily unavailable") is None
    assert locks.lock_in("Lock Info:\n  Path: x") is None
    unclear = locks.lock_in(LOCKED.replace("2026-11-21", "Monday"))
    assert unclear is not None and unclear.created is None


def test_who_runs_and_who_is_dead(tmp_path: Path) -> None:
    host = socket.gethostname()
    lock = locks.Lock("id", "apply", f"me@{host}", datetime.now(UTC))
    note = tmp_path / f"cf-infra-run-{os.getpid()}.json"
    with locks.noted(tmp_path, os.getpid(), "apply"):
        assert not locks.left_by_the_dead(lock, tmp_path), "it lives"
        known = json.loads(note.read_text())
    assert not note.exists() and not locks.left_by_the_dead(lock, tmp_path)
    for change, dead in (
        ({"started": "another boot/1"}, True),  # the number was given to another process since
        ({"pid": 1 << 22}, True),
        ({"pid": "x"}, False),
        ({"at": "Monday"}, False),
        ({"host": "elsewhere", "pid": 1 << 22}, False),
    ):
        note.write_text(json.dumps(known | change))
        assert locks.left_by_the_dead(lock, tmp_path) is dead, change
    note.write_text("half a no")
    assert not locks.left_by_the_dead(lock, tmp_path)
    note.write_text(json.dumps(known | {"pid": 1 << 22}))
    assert locks.left_by_the_dead(lock, tmp_path)
    locks.forget_the_dead(tmp_path)
    assert not note.exists()
    assert locks.command_of(1 << 22) == "" and locks.holder(tmp_path / "none") is None


def test_ages_are_said_in_one_unit(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for seconds, words in (
        (5, "since 5 s"),
        (300, "since 5 min"),
        (7300, "since 2 h"),
        (200000, "since 2 d"),
    ):
        text = LOCKED.replace(
            "2026-11-21 09:57:28.198518", f"{now - timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
        )
        told = Complaints(tmp_path, tmp_path, Masker()).diagnose(
            Problem("error", "Error acquiring the state lock", text)
        )
        assert told.detail == f"`apply` of me@host holds it {words}."
    told = Complaints(tmp_path, tmp_path, Masker()).diagnose(
        Problem("error", "Error acquiring the state lock", LOCKED.replace("2026-", "x"))
    )
    assert told.detail == "`apply` of me@host holds it."
    told = Complaints(tmp_path, tmp_path, Masker()).diagnose(
        Problem("error", "Error acquiring the state lock", "?")
    )
    assert told.code == "tofu-failed"


# --- a state that was not saved


def test_a_state_that_was_cut_off_is_restored(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    place.write({"a": {"input": "1"}, "b": {"input": "1"}})
    place.applied()
    place.state.write_bytes(place.state.read_bytes()[:100])
    place.planned()
    assert any("its backup is used" in e.message for e in place.events)
    changes = place.tofu().show_plan(place.saved)["resource_changes"]
    assert {c["address"]: c["change"]["actions"] for c in changes} == {
        "terraform_data.a": ["no-op"],
        "terraform_data.b": ["create"],
    }
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o600


def test_a_state_in_use_is_not_restored(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    shutil.copy(place.state, f"{place.state}.backup")
    place.state.write_bytes(b"")
    hold = (
        "import fcntl, sys, time\n"
        "f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
        "print(1, flush=True); time.sleep(30)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(place.state)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    assert recovery.restore(place.state) is False
    holder.kill()
    holder.communicate()
    assert recovery.restore(place.state) is True


def test_a_state_that_was_left_behind_is_pushed(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    before = place.state.read_bytes()
    place.write({"a": {"input": "1"}, "b": {"input": "1"}})
    place.applied()
    (place.folder / recovery.LEFT).write_bytes(place.state.read_bytes())
    place.state.write_bytes(before)
    assert place.addresses() == ["terraform_data.a"]
    place.tofu().init(place.state)
    assert place.addresses() == ["terraform_data.a", "terraform_data.b"]
    assert not (place.folder / recovery.LEFT).exists()


def test_a_state_that_is_older_or_foreign_is_not_taken(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    older = place.state.read_bytes()
    place.write({"a": {"input": "2"}})
    place.applied()
    newer = place.state.read_bytes()
    foreign = json.dumps(json.loads(newer) | {"lineage": "another"}).encode()
    for content in (older, foreign, b"cut o"):
        (place.folder / recovery.LEFT).write_bytes(content)
        with pytest.raises(Failure) as failure:
            place.tofu().init(place.state)
        assert codes(failure.value) == ["foreign-state"]
        assert place.state.read_bytes() == newer and (place.folder / recovery.LEFT).exists()


def test_a_state_that_a_store_refused_is_pushed(place: Place, store: dict[str, str]) -> None:
    place.write({"a": {"input": "nobody reads this"}}, terraform={"backend": {"http": {}}})
    tofu = place.tofu()
    tofu.init(store)
    tofu.plan(place.saved)
    Store.refuse = True
    with pytest.raises(TofuFailure) as failure:
        tofu.apply(place.saved)
    assert "tofu-failed" in codes(failure.value) and Store.state == b""
    assert b"nobody" not in (place.folder / recovery.LEFT).read_bytes()
    with pytest.raises(TofuFailure):
        tofu.init(store)
    assert (place.folder / recovery.LEFT).exists()
    Store.refuse = False
    tofu.init(store)
    assert place.addresses() == ["terraform_data.a"] and b"nobody" not in Store.state
    assert tofu.plan(place.saved) is False
    assert not (place.folder / recovery.LEFT).exists()


def test_a_full_disk_is_seen_before_anything_is_made(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.planned()
    usage = shutil.disk_usage(place.base)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=recovery.ROOM - 1))
    for run in (lambda: tofu.plan(place.saved), lambda: tofu.apply(place.saved)):
        with pytest.raises(Failure) as failure:
            run()
        assert codes(failure.value) == ["disk-full"]
        assert "has 15 MiB left; a run needs 16 MiB" in failure.value.diagnostics[0].detail


def test_a_disk_that_fills_up_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real full file system; the state that could be written nowhere is kept from the output."""
    small = place.state.parent
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "t", str(small)]).returncode
    ):
        pytest.skip("a small file system cannot be mounted here: needs root")
    try:
        monkeypatch.setattr(recovery, "ROOM", 0)
        place.write(
            {
                "a": {
                    "input": "1",
                    "provisioner": [{"local-exec": {"command": f"cat /dev/zero > {small}/fill || :"}}],
                }
            }
        )
        tofu = place.tofu()
        tofu.init(place.state)
        plan = place.base / "plan"
        tofu.plan(plan)
        with pytest.raises(TofuFailure) as failure:
            tofu.apply(plan)
        assert "disk-full" in codes(failure.value)
        assert (place.folder / recovery.LEFT).exists()
        (small / "fill").unlink()
        tofu.init(place.state)
        assert place.addresses() == ["terraform_data.a"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_state_that_was_only_printed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps(
        {"@message": "Emergency state dump", "@level": "info", "type": "log", "state": {"serial": 7}}
    )
    program = script(tmp_path / "tofu", f"print({line!r}); raise SystemExit(1)")
    seen: list[Event] = []
    tofu = Tofu(Tool(program), tmp_path, {}, seen.append)
    with pytest.raises(TofuFailure):
        tofu.apply(tmp_path / "plan")
    assert json.loads((tmp_path / recovery.LEFT).read_text()) == {"serial": 7}
    assert [e.level for e in seen] == ["error"] and recovery.LEFT in seen[0].message
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert recovery.keep(tmp_path / "gone", {}) is None
    (tmp_path / "run").mkdir()
    assert recovery.keep(tmp_path / "gone", {}) == tmp_path / "run" / f"cf-infra-{recovery.LEFT}"


# --- secrets


SECRET = 'pa"ss${x}%{y}\\wörd<&>\n😀 4711'


def everything(root: Path) -> Iterator[tuple[Path, bytes]]:
    for base, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                yield Path(base, name), Path(base, name).read_bytes()


def test_secrets_reach_tofu_and_stand_nowhere(place: Place) -> None:
    variable = {"pw": {"type": "map(string)", "sensitive": True}}
    command = f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline > {place.base}/seen 2>/dev/null; exit 0"
    place.write(
        {"a": {"input": "${var.pw}", "provisioner": [{"local-exec": {"command": command}}]}},
        variable=variable,
        output={"pw": {"value": "${var.pw}", "sensitive": True}},
    )
    values = {"pw": {"a/1": SECRET, "k ${y}": "plain-" + "q" * 40}}
    tofu = place.tofu()
    key = (place.base / "key").read_text().strip()
    place.planned(tofu, secrets=values)
    tofu.apply(place.saved)
    assert tofu.output()["pw"]["value"] == values["pw"]
    # All processes of this machine, those of tests that run at the same time among them.
    seen = WATCH.holds(place.base / "seen").read_bytes()
    assert b"TF_ENCRYPTION" in seen
    for secret in (key, values["pw"]["k ${y}"], "wörd"):
        assert secret.encode() not in seen
        found = [path for path, content in everything(place.base) if secret.encode() in content]
        assert found == ([place.base / "key"] if secret == key else [])
    assert all(secret not in repr(e) for e in place.events for secret in (key, "q" * 40, "wörd"))


def test_state_and_plan_are_encrypted(place: Place) -> None:
    place.write({"a": {"input": "nobody reads this"}})
    place.applied()
    place.write({"a": {"input": "nobody reads that"}})
    place.planned()
    place.applied()
    state = json.loads(place.state.read_bytes())
    assert sorted(state) == ["encrypted_data", "encryption_version", "lineage", "meta", "serial"]
    assert sorted(json.loads(place.saved.read_bytes())) == ["encrypted_data", "encryption_version", "meta"]
    files = [p.name for p, content in everything(place.state.parent) if b"nobody" in content]
    assert files == []
    assert {p.name for p in place.state.parent.iterdir()} == {
        "plan",
        "terraform.tfstate",
        "terraform.tfstate.backup",
    }
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in place.state.parent.iterdir())


def test_an_unencrypted_state_is_refused(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    plain = Tofu(place.tool, place.folder, {})
    plain.init(place.state)
    plain.plan(place.saved)
    with pytest.raises(TofuFailure) as failure:
        place.tofu().apply(place.saved)
    assert codes(failure.value) == ["wrong-key"]
    plain.apply(place.saved)
    with pytest.raises(TofuFailure) as failure:
        place.tofu().plan(place.saved)
    assert codes(failure.value) == ["wrong-key"]


def test_another_key_is_refused_by_every_command(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    place.planned()
    before = place.state.read_bytes()
    tofu = place.tofu(source=place.key("other"))
    (place.folder / ".terraform" / "cf-infra-init").unlink()
    for run in (
        lambda: tofu.init(place.state),
        lambda: tofu.plan(place.base / "p"),
        lambda: tofu.show_plan(place.saved),
        lambda: tofu.apply(place.saved),
        tofu.show_state,
        tofu.output,
    ):
        with pytest.raises(TofuFailure) as failure:
            run()
        assert codes(failure.value) == ["wrong-key"], failure.value
        assert "fingerprint" in failure.value.diagnostics[0].detail
    assert place.state.read_bytes() == before


def test_the_state_of_another_stack_is_refused(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    place.applied()
    other = Place(place.base, place.tool, "other")
    other.write({"a": {"input": "1"}})
    shutil.copy(place.state, other.state)
    tofu = other.tofu()
    with pytest.raises(TofuFailure) as failure:
        tofu.init(other.state)
        tofu.plan(other.saved)
    assert codes(failure.value) == ["foreign-state"]
    assert failure.value.diagnostics[0].detail == "It was made for s, not for other."


def test_a_key_that_is_gone(place: Place) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.applied()
    (place.base / "key").unlink()
    for run in (lambda: tofu.plan(place.saved), tofu.output):
        with pytest.raises(TofuFailure) as failure:
            run()
        assert codes(failure.value) == ["no-key"]


def test_a_clone_can_be_moved(place: Place) -> None:
    """State, saved plan and initialised folder hold no absolute path; the key file may move as well."""
    place.write({"a": {"input": "1"}})
    place.applied()
    place.write({"a": {"input": "2"}})
    place.planned()
    found = [p for p, content in everything(place.root) if str(place.base).encode() in content]
    assert found == []
    moved = place.base.with_name("elsewhere")
    place.base.rename(moved)
    place.base = moved
    tofu = place.tofu()
    assert tofu.init(place.state) is False
    tofu.apply(place.saved)
    assert tofu.plan(place.saved) is False
    assert not place.root.with_name("root2").exists()


def test_a_state_elsewhere_has_an_absolute_path(place: Place, tmp_path: Path) -> None:
    place.write({"a": {"input": "1"}})
    tofu = place.tofu()
    elsewhere = tmp_path / "elsewhere" / "t.tfstate"
    tofu.init(elsewhere)
    tofu.plan(place.saved)
    tofu.apply(place.saved)
    assert elsewhere.exists()


# --- masking


class TestMasker:
    def test_forms(self) -> None:
        from base64 import b64encode
        from urllib.parse import quote

        raw = SECRET.encode()
        masker = Masker([SECRET, "short", ""])
        for form in (
            SECRET,
            b64encode(raw).decode(),
            quote(raw),
            json.dumps(SECRET),
            json.dumps(SECRET, ensure_ascii=False),
        ):
            masked = masker.text(f"a {form} b")
            assert masked.startswith("a ") and masked.endswith(" b") and "(secret)" in masked
            assert "4711" not in masked and form not in masked
        assert masker.text("short") == "short"

    def test_go_writes_json_with_more_escapes(self) -> None:
        assert Masker(["abc<&>def"]).text('"abc\\u003c\\u0026\\u003edef"') == '"(secret)"'

    def test_the_longest_is_masked_whole(self) -> None:
        assert (
            Masker(["secret", "secret-and-more"]).text("x secret-and-more y secret")
            == "x (secret) y (secret)"
        )

    def test_lines_of_a_key(self) -> None:
        assert Masker(["line-one\nline-two"]).text("at line-two:") == "at (secret):"

    def test_values(self) -> None:
        masked = Masker(["hunter2x"]).value({"hunter2x": ["a hunter2x", 1, None, {"k": "hunter2x"}]})
        assert masked == {"(secret)": ["a (secret)", 1, None, {"k": "(secret)"}]}
        assert Masker().value({"a": "b"}) == {"a": "b"} and Masker().text("a") == "a"


def test_secrets_are_masked_in_errors_and_events(place: Place) -> None:
    place.write(
        {"a": {"input": "1", "provisioner": [{"local-exec": {"command": "echo hunter2secret >&2; exit 1"}}]}}
    )
    tofu = place.planned(place.tofu(masker=Masker(["hunter2secret"])))
    with pytest.raises(TofuFailure) as failure:
        tofu.apply(place.saved)
    assert "(secret)" in failure.value.diagnostics[0].detail
    assert "hunter2secret" not in repr(failure.value.problems) + repr(place.events) + str(failure.value)


def test_the_project_is_where_it_should_be() -> None:
    assert (PROJECT / "cf_infra" / "tofu.py").is_file()
