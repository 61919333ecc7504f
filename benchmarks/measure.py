"""Running programs side by side, and what their times mean: ratios with their spread, never times alone.

Machines that run benchmarks are busy with other things, so two programs are only compared within a round, in which they
run one after the other; the result is the median of the rounds' ratios, shown with the smallest and the largest. Where
programs only compute, CPU seconds decide: on two busy cores the clock told 61 times where 107 was true.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class BenchError(Exception):
    """Something went wrong while it was measured; the text says what."""


class NotHere(Exception):
    """This machine lacks what a bench needs; the text says what."""


@dataclass(frozen=True)
class Sample:
    """One run of a program: seconds by the clock, seconds of CPU, MB at most; `said` is the JSON that it printed."""

    seconds: float
    cpu: float
    peak_mb: float
    said: Mapping[str, Any] = field(default_factory=dict)

    def inside(self) -> Sample:
        """The part of the run that the program itself timed, without start-up and reading of its input."""
        return Sample(self.said["seconds"], self.said["cpu"], self.peak_mb, self.said)


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Sample:
    """Run a program to its end. Raises BenchError if it fails.

    CPU and memory come from wait4(2), so they include the processes that it has waited for.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
        if child.returncode:
            errors.seek(0)
            raise BenchError(_failed(command, child.returncode, text + errors.read()))
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, _said(text))


def _failed(command: Sequence[str | Path], code: int, text: str) -> str:
    last = "\n".join(f"    {line}" for line in text.strip().splitlines()[-12:])
    return f"`{' '.join(Path(part).name for part in command[:3])} ...` ended with {code}:\n{last}"


def _said(text: str) -> dict[str, Any]:
    lines = text.strip().splitlines()
    found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return found if isinstance(found, dict) else {}


Runs = dict[str, list[Sample]]


def rounds(programs: Mapping[str, Callable[[], Sample]], count: int, progress: Callable[[str], None]) -> Runs:
    """Run all programs one after the other, `count` times over: A B A B."""
    found: Runs = {name: [] for name in programs}
    for number in range(1, count + 1):
        for name, program in programs.items():
            sample = program()
            found[name].append(sample)
            progress(f"  round {number} of {count}: {name} {seconds_text(sample.seconds)}")
    return found


def insides(samples: Sequence[Sample]) -> list[Sample]:
    """The timed parts of some runs."""
    return [sample.inside() for sample in samples]


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest."""

    median: float
    low: float
    high: float


def spread(numbers: Sequence[float]) -> Spread:
    """The spread of some numbers."""
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of the rounds' ratios."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def clock(samples: Sequence[Sample]) -> list[float]:
    """Seconds by the clock."""
    return [sample.seconds for sample in samples]


def cpu(samples: Sequence[Sample]) -> list[float]:
    """Seconds of CPU; never zero, for the kernel counts in steps."""
    return [max(sample.cpu, 1e-4) for sample in samples]


def seconds_text(seconds: float) -> str:
    """A time in three digits: `812 ms`, `8.12 s`."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms" if abs(seconds) < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def say(text: str) -> None:
    """Progress, on stderr: stdout is for the table."""
    print(text, file=sys.stderr, flush=True)
