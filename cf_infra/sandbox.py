"""The sandbox: starts and stops a real OpenStack on this machine (sandbox/README.md says what is simulated).

The state folder holds
    sandbox.json   what the sandbox is made of: hosts, what the cloud offers from the start, ports, passwords
    clouds.yaml    how to log in to it: `sandbox` (admin) and `sandbox-member` (a plain member of one project)
    live/          configuration, databases, keys, images of the services
    template/      a copy of live/ from when it was new; it exists only if the sandbox was made completely
    run/           one file per running service: its process
    log/           one file per service
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cf_infra.codes import CODES

Progress = Callable[[str], None]

ADDRESS = "127.0.0.1"
SERVICES = ("keystone", "placement", "glance", "neutron", "nova")
"""In the order of their ports, from the base port on."""
START_LIMIT = 120.0
"""Seconds that all services together may take to start; on two busy cores it is about 15."""
STOP_LIMIT = 10.0
"""Seconds that a service may take to end before it is killed."""
POLL = 0.05
BORN = "born"
"""In live/: what tells this cloud from the one before the last reset."""
LOG_LINES = 12
PORT_SETTING = "CF_INFRA_SANDBOX_PORT"


class SandboxError(Exception):
    """A fault that the user can do something about, in the parts of a diagnostic."""

    def __init__(self, code: str, summary: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{summary}: {detail}")
        self.code = code
        self.summary = summary
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Gpu:
    """A GPU that a server can get: the alias that flavors name its model by, its PCI address (`a3:00.0`)."""

    alias: str
    address: str


@dataclass(frozen=True)
class Host:
    """A compute host. `gpus` are the usable ones: one per IOMMU group, none that is broken."""

    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Flavor:
    """A public flavor; `gpus` counts GPUs of the model `gpu_alias`."""

    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    gpu_alias: str | None = None
    gpus: int = 0


@dataclass(frozen=True)
class Seed:
    """What a donor's cloud has before we come: public images and flavors by name, a network to the outside."""

    images: tuple[str, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    external_network: str | None = None


@dataclass(frozen=True)
class Endpoints:
    """Where the running sandbox is found."""

    auth_url: str
    clouds_yaml: Path
    urls: Mapping[str, str]
    """service -> URL, for SERVICES"""


def up(state_dir: Path, base_port: int, hosts: Sequence[Host], seed: Seed, progress: Progress) -> Endpoints:
    """Start the sandbox and return when a server could be scheduled on it.

    It is made anew if there is none yet, or if the one there (stopped) was made of something else. Raises
    SandboxError if it runs with something else, a port is taken, or a service does not start.
    """
    state_dir = state_dir.absolute()
    wanted = {"base_port": base_port, "hosts": [asdict(host) for host in hosts], "seed": asdict(seed)}
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as they are in the file
    _check_wanted(state_dir, base_port, hosts)
    with _exclusive(state_dir, progress):
        if running(state_dir):
            _check_same(_read(state_dir), wanted)
            progress("The sandbox is running already.")
            _wait_ready(state_dir, base_port, lambda _line: None)
        else:
            _bring_up(state_dir, wanted, progress, as_new=False)
        return _endpoints(state_dir, base_port)


def down(state_dir: Path, progress: Progress) -> None:
    """End the sandbox's own processes and nothing else; what is in the cloud is there again after `up`."""
    state_dir = state_dir.absolute()
    if not state_dir.is_dir():
        progress("The sandbox is not running.")
        return
    with _exclusive(state_dir, progress):
        progress("The sandbox is stopped." if _stop(state_dir, progress) else "The sandbox is not running.")


def reset(state_dir: Path, progress: Progress) -> None:
    """Throw away everything in the cloud and start it again as it was when new, with the same passwords.

    Raises SandboxError if there is no sandbox, or it does not start.
    """
    state_dir = state_dir.absolute()
    if not (state_dir / "sandbox.json").exists():
        raise _fault("There is no sandbox to reset.", "Make one:\n    cf-infra sandbox up")
    with _exclusive(state_dir, progress):
        recorded = _read(state_dir)
        wanted = {key: recorded[key] for key in ("base_port", "hosts", "seed")}
        _bring_up(state_dir, wanted, progress, as_new=True)


def env(state_dir: Path) -> dict[str, str]:
    """The environment in which every OpenStack client talks to the sandbox, as its administrator."""
    clouds = state_dir.absolute() / "clouds.yaml"
    if not clouds.exists():
        raise _fault("There is no sandbox yet.", "Make one:\n    cf-infra sandbox up")
    return {"OS_CLIENT_CONFIG_FILE": str(clouds), "OS_CLOUD": "sandbox"}


def running(state_dir: Path) -> bool:
    """Was the sandbox made completely, and do all its services run?"""
    state_dir = state_dir.absolute()
    return (state_dir / "template").is_dir() and _alive(state_dir) == set(SERVICES)


def identity(state_dir: Path) -> str:
    """Another one after each reset, where all ids of the cloud are the same again; empty if there is no sandbox."""
    path = state_dir / "live" / BORN
    return path.read_text(encoding="ascii") if path.is_file() else ""


def _bring_up(state_dir: Path, wanted: Mapping[str, Any], progress: Progress, *, as_new: bool) -> None:
    python = _packages(progress)
    _stop(state_dir, progress)
    _check_ports(wanted["base_port"])  # before anything that is there is thrown away
    if not _is_complete(state_dir, wanted, python, progress):
        _create(state_dir, wanted, python, progress)
        return
    if as_new:
        _discard(state_dir, "live")
    _restore_if_missing(state_dir)
    _start(state_dir, python, progress)


# --- what it is made of


def _check_wanted(state_dir: Path, base_port: int, hosts: Sequence[Host]) -> None:
    if _start_time(os.getpid()) is None:
        raise _fault("The sandbox needs Linux: it tells its own processes from others by what /proc says.")
    if special := sorted(set("$%?#\n") & set(str(state_dir))):
        raise _fault(
            f"The services' configuration cannot hold the folder {state_dir}: it has {' and '.join(special)} in it.",
            "Set CF_INFRA_SANDBOX_DIR to another one.",
        )
    if not hosts:
        raise _fault("No host is given.", "Name a stack that declares `hosts`.")
    last = 65535 - len(SERVICES) + 1
    if not 1024 <= base_port <= last:
        raise _fault(f"The base port {base_port} is not usable.", f"Set {PORT_SETTING} to 1024 ... {last}.")


def _check_same(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    names = {"base_port": "another base port", "hosts": "other hosts", "seed": "other images or flavors"}
    differences = [name for key, name in names.items() if recorded.get(key) != wanted[key]]
    if differences:
        raise _fault(
            f"The sandbox is running with {' and '.join(differences)} than asked for.",
            "Stop it and start it anew; its servers are lost:\n    cf-infra sandbox down\n    cf-infra sandbox up",
        )


def _read(state_dir: Path) -> dict[str, Any]:
    file = state_dir / "sandbox.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise _fault(f"{file} cannot be read: {error}", f"Remove the folder {state_dir}.") from None
    return content


def _is_complete(state_dir: Path, wanted: Mapping[str, Any], python: Path, progress: Progress) -> bool:
    """Is there a completely made sandbox of this kind, by this version, in this place?"""
    if not (state_dir / "template").is_dir() or not (state_dir / "sandbox.json").is_file():
        return False
    recorded = _read(state_dir)
    changed = [
        name
        for name, same in {
            "hosts": recorded.get("hosts") == wanted["hosts"],
            "images or flavors": recorded.get("seed") == wanted["seed"],
            "ports": recorded.get("base_port") == wanted["base_port"],
            "place": recorded.get("state") == str(state_dir),
            "version": recorded.get("made_with") == _made_with(python),
        }.items()
        if not same
    ]
    if changed:
        progress(f"The sandbox is made anew, because of its {', '.join(changed)}; what was in it is lost.")
    return not changed


def _made_with(python: Path) -> str:
    """A digest of the sandbox's code and packages: what another version made is not trusted to fit."""
    digest = hashlib.sha256(str(python).encode())
    for file in sorted(_folder().glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _create(state_dir: Path, wanted: Mapping[str, Any], python: Path, progress: Progress) -> None:
    """Make the sandbox from nothing. template/ is the last thing made, and marks it as complete."""
    _discard(state_dir, "template", "template.partial", "live", "log")
    passwords = {user: secrets.token_urlsafe(24) for user in ("admin", "service", "member")}
    content = {"state": str(state_dir), "made_with": _made_with(python), "passwords": passwords, **wanted}
    _write_private(state_dir / "sandbox.json", json.dumps(content, indent=2) + "\n")
    _write_private(state_dir / "clouds.yaml", _clouds_yaml(wanted["base_port"], passwords))
    progress("Making a new cloud")
    _run_script(state_dir, python, "configuration.py")
    _start(state_dir, python, progress, finish=lambda: _run_script(state_dir, python, "seed.py"))
    (state_dir / "live" / BORN).write_text(secrets.token_hex(8), encoding="ascii")
    _keep_template(state_dir)


def _clouds_yaml(base_port: int, passwords: Mapping[str, str]) -> str:
    entries = [("sandbox", "admin", "admin", "admin"), ("sandbox-member", "donated", "donated", "member")]
    lines = ["# The sandbox of cf-infra on this machine; thrown away with it.", "clouds:"]
    for cloud, user, project, password in entries:
        lines += [
            f"  {cloud}:",
            "    auth:",
            f"      auth_url: http://{ADDRESS}:{base_port}/v3",
            f"      username: {user}",
            f'      password: "{passwords[password]}"',
            f"      project_name: {project}",
            "      user_domain_id: default",
            "      project_domain_id: default",
            "    region_name: RegionOne",
            "    identity_api_version: 3",
        ]
    return "\n".join(lines) + "\n"


def _keep_template(state_dir: Path) -> None:
    """Copy live/ while the services run; SQLite itself copies its databases, so each copy is whole."""
    partial = state_dir / "template.partial"
    live = state_dir / "live"
    shutil.copytree(live, partial, ignore=lambda folder, names: names if Path(folder) == live / "db" else ())
    for database in (live / "db").glob("*.sqlite"):
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(partial / "db" / database.name)) as target,
        ):
            source.backup(target)
    partial.rename(state_dir / "template")


def _restore_if_missing(state_dir: Path) -> None:
    """Make live/ from template/ if it is not there."""
    if (state_dir / "live").is_dir():
        return
    partial = state_dir / "live.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(state_dir / "template", partial)
    (partial / BORN).write_text(secrets.token_hex(8), encoding="ascii")
    partial.rename(state_dir / "live")


def _discard(state_dir: Path, *names: str) -> None:
    """Remove folders. Each is renamed first: a half-removed one must never be taken for a whole one."""
    rubbish = state_dir / "rubbish"
    shutil.rmtree(rubbish, ignore_errors=True)
    rubbish.mkdir(mode=0o700)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (state_dir / name).rename(rubbish / name)
    shutil.rmtree(rubbish, ignore_errors=True)


def _endpoints(state_dir: Path, base_port: int) -> Endpoints:
    urls = {name: f"http://{ADDRESS}:{base_port + index}" for index, name in enumerate(SERVICES)}
    return Endpoints(urls["keystone"] + "/v3", state_dir / "clouds.yaml", urls)


# --- starting


def _folder() -> Path:
    """The files that run inside the OpenStack environment: in a clone, or beside an installed package."""
    installed = Path(__file__).parent / "_project" / "sandbox"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "sandbox"


def _packages(progress: Progress) -> Path:
    """The Python that has OpenStack's packages, after installing them if necessary."""
    spec = importlib.util.spec_from_file_location("cf_infra_sandbox_install", _folder() / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        folder: Path = module.install(progress)
    except module.InstallError as error:
        raise _fault(str(error)) from None
    return folder / "bin" / "python"


def _environment(state_dir: Path) -> dict[str, str]:
    """Nothing of the user's own OpenStack or proxy settings reaches the services."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {
        **inherited,
        "CF_INFRA_SANDBOX_FILE": str(state_dir / "sandbox.json"),
        "PYTHONWARNINGS": "ignore",
    }


def _run_script(state_dir: Path, python: Path, script: str) -> None:
    done = subprocess.run(
        [python, _folder() / script],
        check=False,
        env=_environment(state_dir),
        umask=0o077,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LOG_LINES:])
        raise _fault(f"{script} failed:\n{last}", "Start it anew:\n    cf-infra sandbox up")


def _start(
    state_dir: Path, python: Path, progress: Progress, finish: Callable[[], None] = lambda: None
) -> None:
    """Start all services, wait until they are ready, run `finish`; on any fault or Ctrl-C, stop them again."""
    base_port = int(_read(state_dir)["base_port"])
    last_port = base_port + len(SERVICES) - 1
    progress(f"Starting {_spoken(SERVICES)} on {ADDRESS}, ports {base_port} to {last_port}")
    try:
        for service in SERVICES:
            _launch(state_dir, python, service)
        _wait_ready(state_dir, base_port, progress)
        finish()
    except BaseException:
        _stop(state_dir, progress)
        raise


def _check_ports(base_port: int) -> None:
    for index, service in enumerate(SERVICES):
        port = base_port + index
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                why = "is taken by another program" if taken else f"cannot be used ({error.strerror})"
                raise _fault(
                    f"Port {port} of {ADDRESS}, meant for {service.capitalize()}, {why}.",
                    f"Stop that program, or choose the first of {len(SERVICES)} free ports (now {base_port}):\n"
                    f"    {PORT_SETTING}={base_port + 1000} cf-infra sandbox up",
                ) from None


_children: list[subprocess.Popen[bytes]] = []
"""Services started by this very process; they go on when it ends, and are reaped when they end before."""


def _launch(state_dir: Path, python: Path, service: str) -> None:
    script = ["nova_process.py"] if service == "nova" else ["serve.py", service]
    (state_dir / "log").mkdir(mode=0o700, exist_ok=True)
    with (state_dir / "log" / f"{service}.log").open("wb") as log:
        child = subprocess.Popen(
            [python, _folder() / script[0], *script[1:]],
            env=_environment(state_dir),
            cwd=state_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            umask=0o077,
            start_new_session=True,  # a terminal's Ctrl-C does not reach it, and its group can be ended whole
        )
    _children.append(child)
    record = {"pid": child.pid, "started": _start_time(child.pid)}
    _write_private(state_dir / "run" / f"{service}.json", json.dumps(record))


def _wait_ready(state_dir: Path, base_port: int, progress: Progress) -> None:
    """Every service opens its port when it is ready; Nova's means that Placement has all hosts and GPUs."""
    began = time.monotonic()
    waiting = list(SERVICES)
    while waiting:
        alive = _alive(state_dir)
        for service in list(waiting):
            if service not in alive:
                raise _service_fault(state_dir, service, "ended while it was starting")
            if _listens(base_port + SERVICES.index(service)):
                waiting.remove(service)
                progress(f"  {service.capitalize()} answers ({time.monotonic() - began:.0f} s)")
        if time.monotonic() - began > START_LIMIT:
            raise _service_fault(state_dir, waiting[0], f"did not answer within {START_LIMIT:.0f} s")
        time.sleep(POLL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def _service_fault(state_dir: Path, service: str, what: str) -> SandboxError:
    log = state_dir / "log" / f"{service}.log"
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        what += ". The last lines of its log:\n" + "\n".join(f"    {line}" for line in lines)
    return _fault(f"{service.capitalize()} {what}", f"The whole log: {log}")


# --- stopping


def _stop(state_dir: Path, progress: Progress) -> bool:
    """End whatever runs of the sandbox; was there anything?"""
    found = {service: pid for service in SERVICES if (pid := _pid(state_dir, service)) is not None}
    if found:
        progress(f"Stopping {_spoken(tuple(found))}")
    for signal_number, limit in ((signal.SIGTERM, STOP_LIMIT), (signal.SIGKILL, STOP_LIMIT)):
        for service in _alive(state_dir) & set(found):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(found[service], signal_number)
        deadline = time.monotonic() + limit
        while _alive(state_dir) and time.monotonic() < deadline:
            time.sleep(POLL)
    if alive := _alive(state_dir):
        pids = ", ".join(str(found[service]) for service in sorted(alive))
        raise _fault(f"{_spoken(tuple(sorted(alive)))} cannot be ended (process {pids}).")
    shutil.rmtree(state_dir / "run", ignore_errors=True)
    return bool(found)


def _alive(state_dir: Path) -> set[str]:
    for child in _children:
        child.poll()  # a child that ended stays visible until its parent has asked for it
    return {service for service in SERVICES if _pid(state_dir, service) is not None}


def _pid(state_dir: Path, service: str) -> int | None:
    """The service's process, if it runs. A process that merely has its number now is not it."""
    try:
        record = json.loads((state_dir / "run" / f"{service}.json").read_text())
        pid, started = int(record["pid"]), record["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started is not None and _start_time(pid) == started else None


def _start_time(pid: int) -> str | None:
    """When a process started, in clock ticks of this boot (proc(5), stat, field 22); None: it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


# --- small things


@contextlib.contextmanager
def _exclusive(state_dir: Path, progress: Progress) -> Iterator[None]:
    """Only one command at a time works on a sandbox."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    with (state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Waiting for another command that works on this sandbox")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_private(path: Path, text: str) -> None:
    """Write a whole file or none, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_text(text)
    partial.rename(path)


def _spoken(services: Sequence[str]) -> str:
    names = [service.capitalize() for service in services]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fault(detail: str, hint: str = "") -> SandboxError:
    return SandboxError("sandbox", CODES["sandbox"].summary, detail, hint)
