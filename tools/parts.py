"""The set-up itself: its parts side by side, each line of theirs with the part's name in front.

    environment   .venv with the locked Python packages        tools/environment.py
    tools         OpenTofu and its providers                   tools/build.py
    sandbox       the OpenStack packages of the sandbox        sandbox/install.py

Run by setup.py under a Python that fits. Names as arguments: these parts only.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.environment import python_of_clone
from tools.talk import end_on_sigterm, say

#: A part that says nothing for so long is shown to be still running.
SILENCE_SECONDS = 15
#: After Ctrl-C the terminal has told the parts too: they get this long to end in their own way.
PATIENCE_SECONDS = 10


@dataclass
class Part:
    """A running part."""

    name: str
    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)
    last_word: float = field(default_factory=time.monotonic)

    def relay(self) -> None:
        """Print the part's lines until it ends."""
        with self.process:
            for line in self.process.stderr or ():
                self.last_word = time.monotonic()
                say(f"[{self.name}] {line.rstrip()}")

    def show_life(self) -> None:
        """Say how long the part has run, if it has been silent."""
        now = time.monotonic()
        if self.process.poll() is None and now - self.last_word > SILENCE_SECONDS:
            self.last_word = now
            say(f"[{self.name}] still at it, {now - self.started:.0f} s")


def commands(root: Path = ROOT) -> dict[str, list[str]]:
    """Return what each part runs."""
    python = python_of_clone(root) or sys.executable
    found = {
        "environment": [python, str(root / "tools" / "environment.py")],
        "tools": [sys.executable, str(root / "tools" / "build.py")],
        # Its packages are for the Python of .venv, which starts it later.
        "sandbox": [python, str(root / "sandbox" / "install.py")],
    }
    return {name: command for name, command in found.items() if Path(command[1]).exists()}


def run(parts: Mapping[str, list[str]], root: Path = ROOT) -> dict[str, int]:
    """Run all parts at once and return their exit codes; KeyboardInterrupt ends them and goes on."""
    running: list[Part] = []
    try:
        for name, command in parts.items():
            running.append(Part(name, _start(command, root)))
        readers = [threading.Thread(target=part.relay) for part in running]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            for reader in readers:
                reader.join(0.05)
            for part in running:
                part.show_life()
    except KeyboardInterrupt:
        _end(running)
        raise
    return {part.name: part.process.wait() for part in running}


def _start(command: list[str], root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _end(running: list[Part]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        alive = [part.process for part in running if part.process.poll() is None]
        for process in alive if step else ():
            process.send_signal(step or 0)
        while time.monotonic() < deadline and any(process.poll() is None for process in alive):
            time.sleep(0.05)
        deadline = time.monotonic() + PATIENCE_SECONDS


@contextmanager
def only_one(root: Path = ROOT) -> Iterator[None]:
    """Let a second set-up of the same clone wait for the first."""
    folder = root / ".tools"
    folder.mkdir(exist_ok=True)
    with (folder / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("set-up: another one runs in this clone; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names: Sequence[str] = ()) -> int:
    """Run the set-up, or the parts of it that are named; return its exit code."""
    if unknown := [name for name in names if name not in commands()]:
        say(
            f"error[unknown-part]: There is no part {unknown[0]!r}\nhint: choose from {', '.join(commands())}"
        )
        return 64
    started = time.monotonic()
    end_on_sigterm()
    try:
        with only_one():
            codes = run({name: part for name, part in commands().items() if not names or name in names})
    except KeyboardInterrupt:
        say("set-up: interrupted; nothing half-made is used, `make setup` goes on from here")
        return 130
    failed = [name for name, code in codes.items() if code]
    if failed:
        say(f"set-up: failed in {', '.join(failed)}; the reason stands above, what was finished is kept")
        return 1
    say(f"set-up: ready in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
