"""Running a program that must not be lost half-way: its output as it comes, Ctrl-C passed on once.

The child has a session of its own, so neither a terminal's Ctrl-C nor its closing reaches it. It writes into memory
files instead of pipes: if we are killed, it can go on writing, ends its work and saves its state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cf_infra.diagnostics import Diagnostic

POLL = 0.05
"""Seconds between two looks at the output of a child."""
KEPT = 200
"""Lines of stderr that are kept, counted from the end."""

NOTICES = (
    "Stopping: waiting until what was begun has ended and the state is saved.",
    "Still waiting. A third Ctrl-C gives up at once: what is being made just now may be lost to the state.",
    "Giving up at once.",
)
"""What the first, second and third Ctrl-C say."""


class Interrupted(Exception):
    """The user stopped the run.

    `operation` was under way; `completed`: it had ended well all the same; `diagnostics`: what it complained of.
    """

    def __init__(
        self, operation: str, diagnostics: Sequence[Diagnostic] = (), *, completed: bool = False
    ) -> None:
        super().__init__(f"interrupted during {operation}")
        self.operation = operation
        self.diagnostics = list(diagnostics)
        self.completed = completed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code (negative: killed by that signal), the end of its stderr."""

    code: int
    stderr: str
    interrupted: bool


class Run:
    """One child, to be run once.

    `on_line` gets each line of stdout, `on_notice` what a Ctrl-C means for it. `only_reads`: it may be started after
    interrupt_all too, for somebody has to look at what is there now.
    """

    def __init__(
        self,
        operation: str,
        on_line: Callable[[str], None],
        on_notice: Callable[[str], None],
        *,
        only_reads: bool = False,
    ) -> None:
        self.operation = operation
        self.only_reads = only_reads
        self._on_line = on_line
        self._on_notice = on_notice
        self._last: deque[str] = deque(maxlen=KEPT)
        self._child: subprocess.Popen[bytes] | None = None
        self._pressed = 0
        self._passed_on = 0
        self._lock = threading.Lock()
        self._fault: Exception | None = None

    def __call__(
        self,
        argv: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        keep: Sequence[int] = (),
        on_start: Callable[[int], None] = lambda _pid: None,
        stdin: int = subprocess.DEVNULL,
    ) -> Ended:
        """Start the child and hand on what it writes until it has ended; Ctrl-C never leaves it behind.

        `keep`: open files that it inherits; `stdin`: the one that it reads. `on_start` gets its process id.
        Raises Interrupted if runs were stopped before this one began, OSError if it cannot be started, and, after
        it has ended, what `on_line` raised.
        """
        with _REGISTRY.hold(self), _ctrl_c() as pressed, _Tail() as out, _Tail() as err:
            child = subprocess.Popen(
                list(argv),
                cwd=folder,
                env=dict(env),
                stdin=stdin,
                stdout=out.handle,
                stderr=err.handle,
                pass_fds=tuple(keep),
                start_new_session=True,
                umask=0o077,
            )
            with self._lock:
                self._child = child
                self._pass_on()
            on_start(child.pid)
            alive = True
            while alive:
                alive = _alive(child)
                while pressed:
                    pressed.pop()
                    self.interrupt()
                self._pump(out, err, last=not alive)
        if self._fault is not None:
            raise self._fault
        return Ended(child.returncode, "\n".join(self._last), self._pressed > 0)

    def interrupt(self) -> None:
        """One more Ctrl-C: the first is passed on as SIGINT, the second explains, the third is passed on again."""
        with self._lock:
            self._pressed += 1
            count = self._pressed
            self._pass_on()
        if count <= len(NOTICES):
            self._on_notice(NOTICES[count - 1])

    def _pass_on(self) -> None:
        wanted = (self._pressed >= 1) + (self._pressed >= 3)
        while self._child is not None and self._passed_on < wanted:
            self._passed_on += 1
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGINT)

    def _pump(self, out: _Tail, err: _Tail, *, last: bool) -> None:
        self._last.extend(err.lines(last))
        for line in out.lines(last):
            if self._fault is None:
                try:
                    self._on_line(line)
                except Exception as fault:  # noqa: BLE001 - raised again when the child has ended
                    self._fault = fault


def _alive(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(POLL)
    except subprocess.TimeoutExpired:
        return True
    return False


class _Tail:
    """A memory file that a child writes and we read, each at its own place."""

    def __init__(self) -> None:
        self.handle = memory_file()
        self._read = 0
        self._rest = b""

    def lines(self, last: bool) -> Iterator[str]:
        """The lines that were completed since the last call; with `last` also what has no line end."""
        while chunk := os.pread(self.handle, 1 << 16, self._read):
            self._read += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
        if last and self._rest:
            yield self._rest.decode("utf-8", "replace")
            self._rest = b""

    def __enter__(self) -> _Tail:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


def memory_file(content: bytes = b"") -> int:
    """An open file without a name, at its start; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("cf-infra")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    if content:
        os.write(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
    return handle


@contextlib.contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Collects Ctrl-C instead of raising KeyboardInterrupt at any line, as between fork and bookkeeping.

    In other threads, and where the program has a handler of its own, nothing is collected: see interrupt_all.
    """
    pressed: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed
        return
    signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Registry:
    """All runs of this process, so that one Ctrl-C in the main thread reaches those of all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._stopped = False

    @contextlib.contextmanager
    def hold(self, run: Run) -> Iterator[None]:
        with self._lock:
            if self._stopped and not run.only_reads:
                raise Interrupted(run.operation)
            self._runs.add(run)
        try:
            yield
        finally:
            with self._lock:
                self._runs.discard(run)

    def interrupt(self) -> int:
        with self._lock:
            self._stopped = True
            runs = list(self._runs)
        for run in runs:
            run.interrupt()
        return len(runs)

    def resume(self) -> None:
        with self._lock:
            self._stopped = False


_REGISTRY = _Registry()


def interrupt_all() -> int:
    """One Ctrl-C for every child of every thread; none that changes anything is started any more.

    Returns how many were running.
    """
    return _REGISTRY.interrupt()


def resume() -> None:
    """Let children be started again after interrupt_all (tests, and a program that goes on)."""
    _REGISTRY.resume()
