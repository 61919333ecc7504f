"""OpenTofu as a typed function: `tofu ... -json`, its events as they come, its errors in our form.

The child's environment is made here and inherits nothing that is not named.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cf_infra import locks, recovery
from cf_infra.complaints import Complaints, is_noise, local_state
from cf_infra.diagnostics import Diagnostic, Failure, in_order
from cf_infra.events import TAIL, Event, Heard, Problem, problem_of, unboxed
from cf_infra.keyprovider import BASE_VARIABLES
from cf_infra.mask import Masker
from cf_infra.process import Ended, Interrupted, Run, interrupt_all, memory_file, resume

__all__ = [
    "Event",
    "Interrupted",
    "Masker",
    "Problem",
    "Tofu",
    "TofuFailure",
    "Tool",
    "child_environment",
    "find",
    "interrupt_all",
    "resume",
]

OLDEST = (1, 11, 0)
BEFORE = (2, 0, 0)

LOCK = ".terraform.lock.hcl"
"""OpenTofu's own name for what providers a folder is locked to."""

INHERITED = frozenset(BASE_VARIABLES)
"""All that OpenTofu, its providers and the key provider get from our own environment."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An OpenTofu that fits: the program, its CLI configuration (optional), versions, dependency locks.

    `lock`: the one that is used, if any; `locks`: by provider (`openstack`, `github`), see `with_provider`.
    """

    tofu: Path
    tofurc: Path | None = None
    lock: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    locks: Mapping[str, Path] = field(default_factory=dict)

    def with_provider(self, name: str) -> Tool:
        """This OpenTofu for configurations that ask for one provider: a lock may name no other."""
        return replace(self, lock=self.locks.get(name))


class TofuFailure(Failure):
    """OpenTofu ended with an error. `problems` are its own diagnostics, `diagnostics` the same in our form."""

    def __init__(
        self, diagnostics: Sequence[Diagnostic], problems: Sequence[Problem], operation: str
    ) -> None:
        super().__init__(*in_order(diagnostics))  # OpenTofu's own order changes from run to run
        self.problems = tuple(problems)
        self.operation = operation


# --- finding the program ---------------------------------------------------------------------------------------


def find(project: Path, environ: Mapping[str, str] | None = None) -> Tool:
    """The OpenTofu to use: what `.tools/current.json` in `project` points to, else the one on PATH.

    Raises Failure: tool-missing or tool-too-old, with the way out.
    """
    environ = os.environ if environ is None else environ
    pointer = project / ".tools" / "current.json"
    tool = _pointed(pointer) if pointer.exists() else _on_path(environ)
    version = _version(tool, environ)
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None or not OLDEST <= tuple(map(int, numbers.groups())) < BEFORE:
        raise Failure(
            Diagnostic(
                "tool-too-old",
                detail=f"{tool.tofu} is version {version or 'unknown'}; needed is OpenTofu >= 1.11.0 and < 2.0.0.",
                hint="build the pinned one:\nmake setup",
            )
        )
    return replace(tool, versions={**tool.versions, "tofu": version})


def _pointed(pointer: Path) -> Tool:
    try:
        described = pointer.parent / json.loads(pointer.read_text(encoding="utf-8"))["tools"]
        said = json.loads(described.read_text(encoding="utf-8"))
        here = described.parent
        tool = Tool(
            tofu=here / said["tofu"],
            tofurc=here / said["tofurc"] if said.get("tofurc") else None,
            versions={str(k): str(v) for k, v in (said.get("versions") or {}).items()},
            locks={str(name): here / lock for name, lock in (said.get("locks") or {}).items()},
        ).with_provider("openstack")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _missing(f"{pointer} cannot be used.") from None
    for path in (tool.tofu, tool.tofurc, *tool.locks.values()):
        if path is not None and not path.exists():
            raise _missing(f"{pointer} points to {path}, which is not there.")
    return tool


def _on_path(environ: Mapping[str, str]) -> Tool:
    found = shutil.which("tofu", path=environ.get("PATH"))
    if found is None:
        raise _missing("There is no `tofu` on PATH, and none was built.")
    return Tool(Path(found))


def _missing(detail: str) -> Failure:
    return Failure(
        Diagnostic("tool-missing", detail=detail, hint="build OpenTofu and the providers:\nmake setup")
    )


def _version(tool: Tool, environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            [tool.tofu, "version", "-json"],
            env=child_environment(tool, {}, environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=True,
        )
        return str(json.loads(done.stdout)["terraform_version"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        raise _missing(f"{tool.tofu} cannot be run, or does not say its version.") from None


def child_environment(tool: Tool, extra: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of OpenTofu: INHERITED from `environ`, what makes it quiet, and `extra`."""
    env = {name: value for name, value in environ.items() if name in INHERITED}
    env |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
    config = str(tool.tofurc) if tool.tofurc else environ.get("TF_CLI_CONFIG_FILE", "")
    if config and Path(config).is_file():  # OpenTofu would warn on stdout, before its JSON
        env["TF_CLI_CONFIG_FILE"] = config
    return env | dict(extra)


# --- running it ------------------------------------------------------------------------------------------------


class Tofu:
    """OpenTofu in one folder. Each method is one run; none is concurrent with another of the same folder.

    `env` is added to the child's environment (TF_ENCRYPTION, OS_CLIENT_CONFIG_FILE, TF_VAR_...). `on_event` gets
    each event as it comes, in the thread that called the method; those of kind `interrupt` in the one that called
    interrupt_all. `root`: places in diagnostics are relative to it. `warnings` collects what OpenTofu warned of.

    Every method raises TofuFailure (tofu-failed, wrong-key, state-locked, disk-full, login-refused, ...) and
    Interrupted.
    """

    def __init__(
        self,
        tool: Tool,
        folder: Path,
        env: Mapping[str, str],
        on_event: Callable[[Event], None] = lambda _event: None,
        *,
        masker: Masker | None = None,
        root: Path | None = None,
        parallelism: int = 10,
    ) -> None:
        self.tool = tool
        self.folder = folder
        self.warnings: list[Diagnostic] = []
        self._env = child_environment(tool, env, os.environ)
        self._on_event = on_event
        self._masker = masker or Masker()
        self._complaints = Complaints(folder, root or Path.cwd(), self._masker)
        self._parallelism = parallelism

    def init(self, state: Path | Mapping[str, str]) -> bool:
        """Prepare the folder: providers, modules, and where the state is. False if that was already so.

        `state`: the file of backend `local`, or the settings of another backend. The configuration must have a
        `backend` block for it. The dependency lock is only read, see `_settle_lock`.
        """
        settings = {"path": self._state_path(state)} if isinstance(state, Path) else dict(state)
        self._settle_lock()
        if isinstance(state, Path) and recovery.restore(state):
            self._on_event(Event("text", f"{state} was cut off by a killed run: its backup is used.", "warn"))
        if isinstance(state, Path) and recovery.is_cut_off(state):
            raise Failure(recovery.cut_off(state))
        fresh = self._prepare(settings)
        self._take_what_was_left()
        return fresh

    def _settle_lock(self) -> None:
        """Have the dependency lock that fits the providers which are there.

        Usually the compiled one does. Providers that another Go built, or those of somebody's own mirror, have other
        hashes: those that set-up noted. Those of a registry have the ones that OpenTofu noted here the first time.
        """
        lock = self.folder / LOCK
        if self.tool.lock is None:
            own = self.folder / ".terraform" / LOCK
            if own.exists():
                _write_if_new(lock, own.read_bytes())
            else:
                lock.unlink(missing_ok=True)
        elif not lock.exists() or not _hashes(lock) & _hashes(self.tool.lock):
            if lock.exists():
                text = f"The provider is not one of those that locks/ records: {self.tool.lock} is used."
                self._on_event(Event("text", text, "warn"))
            _write_if_new(lock, self.tool.lock.read_bytes())

    def begin(self, state: Path) -> None:
        """Write an empty local state where there is none yet; call it before the first plan.

        Without it, what OpenTofu 1.12 writes during its first apply lacks all that was made before the last change
        (statemgr.Filesystem.MutateState reads the file anew each time, as long as there is none), and a killed run
        would leave a state that nobody can use.
        """
        if state.exists() and state.stat().st_size:
            return
        version = self.tool.versions.get("tofu", "1.11.0")
        empty = {"version": 4, "terraform_version": version, "serial": 0, "lineage": str(uuid.uuid4())}
        self._push({**empty, "outputs": {}, "resources": []})

    def _prepare(self, settings: Mapping[str, str]) -> bool:
        marker = self.folder / ".terraform" / "cf-infra-init"
        digest = self._init_digest(settings)
        if _text(marker) == digest and _links_hold(self.folder / ".terraform" / "providers"):
            return False
        marker.unlink(missing_ok=True)
        arguments = ["-reconfigure", *(f"-backend-config={k}={v}" for k, v in sorted(settings.items()))]
        if self.tool.lock is not None:
            arguments.append("-lockfile=readonly")
        self._run("init", ["init", "-json", "-input=false", *arguments])
        marker.parent.mkdir(exist_ok=True)  # a configuration without providers has no such folder
        if self.tool.lock is None and (self.folder / LOCK).exists():
            _write_if_new(marker.parent / LOCK, (self.folder / LOCK).read_bytes())
            digest = self._init_digest(settings)
        marker.write_text(digest, encoding="utf-8")
        return True

    def _take_what_was_left(self) -> None:
        """Bring home a state that an earlier run could not save. Raises Failure if it does not fit."""
        left = self.folder / recovery.LEFT
        if not left.exists():
            return
        self._on_event(Event("text", "Saving the state that an earlier run could not save.", "warn"))
        state = local_state(self.folder)
        if state is not None:
            if not recovery.take(left, state):
                raise Failure(
                    Diagnostic(
                        "foreign-state",
                        detail=f"{left} is no later version of {state}, or that is in use.",
                        hint="if the file is worth nothing, remove it:\nrm " + shlex.quote(str(left)),
                    )
                )
            return
        # `state push` takes no encrypted file, so a folder of its own decrypts it, into memory.
        with tempfile.TemporaryDirectory() as aside:
            backend = {"local": {"path": str(left.resolve())}}
            Path(aside, "main.tf.json").write_text(json.dumps({"terraform": {"backend": backend}}))
            self._run("init", ["init", "-json", "-input=false"], folder=Path(aside))
            plain = self._document("state-pull", ["state", "pull", "-no-color"], folder=Path(aside))
        self._push(plain)
        left.unlink()

    def _push(self, state: Mapping[str, Any]) -> None:
        handle = memory_file(json.dumps(state).encode())
        try:
            self._run("state-push", ["state", "push", "-no-color", "-"], stdin=handle)
        finally:
            os.close(handle)

    def encrypt_again(self) -> None:
        """Write the state anew, under the current key; what it says stays. In between it is in memory only.

        OpenTofu writes a state only if something in it changed: its serial number does.
        """
        plain = self._document("state-pull", ["state", "pull", "-no-color"])
        self._push({**plain, "serial": int(plain["serial"]) + 1})

    def plan(
        self,
        out: Path,
        *,
        destroy: bool = False,
        refresh: bool = True,
        lock: bool = True,
        only: Sequence[str] = (),
        secrets: Mapping[str, object] | None = None,
    ) -> bool:
        """Save a plan in `out`; True if it has changes. What was there before is replaced only by a whole plan.

        `only`: addresses outside of which nothing may change. `lock`: False for a state that nobody else can write.
        `secrets` are values of variables that must stand neither in a file nor in an environment.
        """
        recovery.need_room(out.parent)
        draft = out.with_name(f".{out.name}.part")
        arguments = ["plan", "-json", "-input=false", "-detailed-exitcode", f"-out={draft.resolve()}"]
        arguments += [f"-parallelism={self._parallelism}"]
        arguments += ["-destroy"] * destroy + ["-refresh=false"] * (not refresh)
        arguments += ["-lock=false"] * (not lock)
        arguments += [f"-target={address}" for address in only]
        try:
            with _variables(secrets or {}) as (more, keep):
                ended = self._run("plan", arguments + more, good=(0, 2), keep=keep)
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
        return ended.code == 2

    def apply(self, out: Path) -> None:
        """Do what the saved plan says."""
        recovery.need_room((local_state(self.folder) or out).parent)
        self._run(
            "apply",
            ["apply", "-json", "-input=false", f"-parallelism={self._parallelism}", str(out.resolve())],
        )

    def lose(self, addresses: Sequence[str]) -> None:
        """Take out of the state what is not there any more, where the provider would never notice it."""
        if addresses:
            self._run("state-rm", ["state", "rm", "-no-color", *addresses])

    def show_plan(self, out: Path) -> dict[str, Any]:
        """The saved plan as data (format_version 1.x). Not masked: see plan.py."""
        return self._document("show", ["show", "-json", "-no-color", str(out.resolve())])

    def show_state(self) -> dict[str, Any]:
        """The state as data (format_version 1.x). Not masked."""
        return self._document("show", ["show", "-json", "-no-color"])

    def output(self) -> dict[str, Any]:
        """The outputs: name -> {value, type, sensitive}. Not masked."""
        return self._document("output", ["output", "-json", "-no-color"])

    def versions(self) -> dict[str, str]:
        """The versions of OpenTofu (`tofu`) and of the providers that this folder is locked to, by their last name."""
        told = self._document("version", ["version", "-json"])
        selected = told.get("provider_selections") or {}
        return {
            "tofu": str(told["terraform_version"]),
            **{k.rpartition("/")[2]: str(v) for k, v in selected.items()},
        }

    def validate(self) -> None:
        """Check the configuration without cloud or state."""
        self._document("validate", ["validate", "-json", "-no-color"], diagnostics=True)

    def force_unlock(self, lock_id: str) -> None:
        """Break a lock; only for one that is known to be of a dead process."""
        self._run("force-unlock", ["force-unlock", "-force", "-no-color", lock_id])

    # --- one run

    def _run(
        self, operation: str, arguments: Sequence[str], good: Sequence[int] = (0,), **more: Any
    ) -> Ended:
        """Run, hand on events, raise what went wrong. A lock of a dead process is broken, once."""
        try:
            return self._once(operation, arguments, good, **more)
        except TofuFailure as failure:
            lock = next((found for p in failure.problems if (found := locks.lock_in(p.detail))), None)
            if lock is None or not locks.left_by_the_dead(lock, self.folder / ".terraform"):
                raise
            text = f"Breaking the lock of a run on this machine that was killed ({lock.operation})."
            self._on_event(Event("text", text, "warn"))
            self.force_unlock(lock.id)
            return self._once(operation, arguments, good, **more)

    def _once(self, operation: str, arguments: Sequence[str], good: Sequence[int], **more: Any) -> Ended:
        heard = Heard(self._masker, self._on_event)
        ended = self._child(operation, arguments, heard.line, **more)
        self._judge(operation, ended, good, heard)
        if operation in ("plan", "apply"):  # it had the lock, so no earlier run has it
            locks.forget_the_dead(self.folder / ".terraform")
        return ended

    def _document(
        self,
        operation: str,
        arguments: Sequence[str],
        *,
        diagnostics: bool = False,
        folder: Path | None = None,
    ) -> dict[str, Any]:
        """Run a command that prints one JSON object, for these print their errors as text."""
        lines: list[str] = []
        heard = Heard(self._masker, self._on_event)
        ended = self._child(operation, arguments, lines.append, folder=folder)
        text = "\n".join(lines)
        try:
            document = json.loads(text) if text.strip() else {}
        except ValueError:
            document = {}
            heard.rest.extend(self._masker.text(line) for line in lines)
        if diagnostics:
            heard.problems += [
                problem_of(self._masker.value(said)) for said in document.get("diagnostics", [])
            ]
        self._judge(operation, ended, (0,), heard)
        if not isinstance(document, dict):
            raise self._failed(operation, [Problem("error", f"`tofu {operation}` printed no JSON object")])
        return document

    def _child(
        self,
        operation: str,
        arguments: Sequence[str],
        on_line: Callable[[str], None],
        *,
        folder: Path | None = None,
        keep: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> Ended:
        command = [str(self.tool.tofu), *arguments]
        run = Run(
            operation,
            on_line,
            lambda text: self._on_event(Event("interrupt", text, "warn")),
            only_reads=operation in ("show", "output", "validate", "version"),
        )
        with contextlib.ExitStack() as stack:

            def note(pid: int) -> None:
                stack.enter_context(locks.noted(self.folder / ".terraform", pid, operation))

            try:
                return run(command, folder or self.folder, self._env, keep, note, stdin)
            except FileNotFoundError:
                where = f"{self.tool.tofu} is not there, or the folder {self.folder} is not."
                raise _missing(where) from None

    # --- what went wrong

    def _judge(self, operation: str, ended: Ended, good: Sequence[int], heard: Heard) -> None:
        self._warn(heard.problems)
        if heard.state is not None:
            self._keep(heard.state)
        problems = [p for p in heard.problems if p.severity == "error"]
        if ended.interrupted:
            told = [self._complaints.diagnose(p) for p in problems]
            raise Interrupted(operation, told, completed=ended.code in good)
        if ended.code in good:
            return
        said = [*heard.rest, *unboxed(self._masker.text(ended.stderr))][-TAIL:]
        if ended.code < 0:
            said.insert(0, f"It was killed by signal {-ended.code}.")
        if not problems or said:
            words = "\n".join(said) or "It said nothing."
            problems.append(Problem("error", f"`tofu {operation}` ended with exit code {ended.code}", words))
        raise self._failed(operation, problems)

    def _warn(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            told = self._complaints.diagnose(problem)
            if problem.severity == "warning" and told not in self.warnings and not is_noise(problem):
                self.warnings.append(told)

    def _keep(self, state: object) -> None:
        place = recovery.keep(self.folder, state)
        text = (
            f"The state could not be saved where it belongs; it is kept in {place}."
            if place
            else ("The state could not be saved anywhere.")
        )
        self._on_event(Event("text", text, "error"))

    def _failed(self, operation: str, problems: Sequence[Problem]) -> TofuFailure:
        return TofuFailure([self._complaints.diagnose(p) for p in problems], problems, operation)

    # --- init

    def _state_path(self, state: Path) -> str:
        """Relative to the folder where both lie under one root, so that a clone can be moved with its state."""
        state, folder = state.absolute(), self.folder.resolve()
        state = state.parent.resolve() / state.name
        if len(folder.parents) > 1 and state.is_relative_to(folder.parents[1]):
            return os.path.relpath(state, folder)
        return str(state)

    def _init_digest(self, settings: Mapping[str, str]) -> str:
        facts = hashlib.sha256()
        for part in (
            str(self.tool.tofu),
            str(self.tool.versions.get("tofu")),
            json.dumps(settings, sort_keys=True),
        ):
            facts.update(part.encode() + b"\0")
        for path in sorted(_configuration(self.folder)):
            facts.update(str(path.relative_to(self.folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        return facts.hexdigest()


# --- files -----------------------------------------------------------------------------------------------------


def _configuration(folder: Path) -> Iterator[Path]:
    """What `init` reads: the configuration here and in the copied modules, and the dependency lock."""
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".terraform"]
        for name in names:
            if name.endswith((".tf", ".tofu", ".tf.json", ".tofu.json")) or name == LOCK:
                yield Path(base, name)


def _links_hold(providers: Path) -> bool:
    """False if a provider was linked from a folder that is gone (a cache that was cleaned)."""
    return all(path.exists() for path in providers.glob("*/*/*/*/*"))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _hashes(lock: Path) -> set[str]:
    """The hashes that a dependency lock allows for one provider (it names no other)."""
    return set(re.findall(r'"(h1:[^"]+)"', lock.read_text(encoding="utf-8")))


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


@contextlib.contextmanager
def _variables(values: Mapping[str, object]) -> Iterator[tuple[list[str], list[int]]]:
    """Arguments and open files that hand over variables through memory: no disk, environment or argument has them."""
    if not values:
        yield [], []
        return
    text = "".join(f"{name} = {_hcl(value)}\n" for name, value in sorted(values.items()))
    handle = memory_file(text.encode())
    try:
        yield [f"-var-file=/dev/fd/{handle}"], [handle]
    finally:
        os.close(handle)


def _hcl(value: object) -> str:
    """A JSON value as an HCL expression that evaluates to just that."""
    if isinstance(value, str):
        quoted = re.sub(
            r'["\\]|[\x00-\x1f\x7f]', lambda c: _ESCAPES.get(c[0]) or f"\\u{ord(c[0]):04x}", value
        )
        return '"' + quoted.replace("${", "$${").replace("%{", "%%{") + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_hcl(str(k))} = {_hcl(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_hcl, value)) + "]"
    return json.dumps(value)


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
