"""The rows of the result, as a table of 80 columns and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import Sample, Spread, clock, cpu, ratios, seconds_text, spread

HEAD = ("what", "ours", "peer", "ratio", "min-max", "CPU", "target", "met")
WIDTHS = (26, 7, 7, 6, 10, 5, 8, 3)
"""With a space between each two of them: 79 columns."""


@dataclass(frozen=True)
class Row:
    """One comparison. `met` is None where nothing is asked or the answer is not sure, which `remark` then explains.

    `skipped` says why nothing was measured.
    """

    bench: str
    what: str
    ours: str = ""
    peer: str = ""
    ratio: str = ""
    between: str = ""
    cpu_ratio: str = ""
    target: str = ""
    met: bool | None = None
    skipped: str = ""
    remark: str = ""
    numbers: dict[str, Any] | None = None

    def line(self) -> str:
        """The row in the table."""
        if self.skipped:
            return f"{self.what:<{WIDTHS[0]}} not measured: see below"
        verdict = {None: "?" if self.target else "", True: "yes", False: "NO"}[self.met]
        cells = (
            self.what,
            self.ours,
            self.peer,
            self.ratio,
            self.between,
            self.cpu_ratio,
            self.target,
            verdict,
        )
        return _line(cells)


def _line(cells: Sequence[str]) -> str:
    first, *others = (
        cell.ljust(width) if i in (0, 6, 7) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    )
    return " ".join([first, *others]).rstrip()


def times_faster(
    bench: str, what: str, ours: Sequence[Sample], peer: Sequence[Sample], at_least: float | None
) -> Row:
    """How many times longer the peer takes; CPU seconds decide (see measure.py)."""
    by_clock, by_cpu = ratios(clock(peer), clock(ours)), ratios(cpu(peer), cpu(ours))
    met = None if at_least is None else by_cpu.median >= at_least
    target = "" if at_least is None else f">= {at_least:g}x"
    return _compared(bench, what, ours, peer, by_clock, by_cpu, target, met)


def share_of(
    bench: str, what: str, ours: Sequence[Sample], peer: Sequence[Sample], at_most: float | None
) -> Row:
    """What share of the peer's time ours is, or how many times it; CPU seconds decide."""
    by_clock, by_cpu = ratios(clock(ours), clock(peer)), ratios(cpu(ours), cpu(peer))
    met = None if at_most is None else by_cpu.median <= at_most
    target = "" if at_most is None else f"<= {at_most:g}x"
    return _compared(bench, what, ours, peer, by_clock, by_cpu, target, met)


def _compared(
    bench: str,
    what: str,
    ours: Sequence[Sample],
    peer: Sequence[Sample],
    by_clock: Spread,
    by_cpu: Spread,
    target: str,
    met: bool | None,
) -> Row:
    return Row(
        bench=bench,
        what=what,
        ours=seconds_text(spread(clock(ours)).median),
        peer=seconds_text(spread(clock(peer)).median),
        ratio=times(by_clock.median),
        between=f"{digits(by_clock.low)}-{digits(by_clock.high)}",
        cpu_ratio=times(by_cpu.median),
        target=target,
        met=met,
        numbers={
            "ours": [plain(s) for s in ours],
            "peer": [plain(s) for s in peer],
            "ratio": asdict(by_clock),
            "cpu_ratio": asdict(by_cpu),
        },
    )


def plain(sample: Sample) -> dict[str, float]:
    """A sample as JSON has it."""
    return {"seconds": sample.seconds, "cpu": sample.cpu, "peak_mb": sample.peak_mb}


def digits(number: float) -> str:
    """A ratio in two or three digits."""
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def times(number: float) -> str:
    """A ratio as people write it: `1.23x`."""
    return f"{digits(number)}x"


def text(rows: Sequence[Row]) -> str:
    """The whole table, and below it what could not be measured and whether the machine was busy."""
    lines = [_line(HEAD), "-" * 79, *(row.line() for row in rows)]
    reasons = dict.fromkeys((row.bench, row.skipped) for row in rows if row.skipped)
    for bench, reason in reasons:
        lines += ["", f"NOT MEASURED: {bench}", *(f"  {line}" for line in reason.splitlines())]
    lines += [
        "",
        machine(),
        "Medians of interleaved runs; ratio and min-max by the clock, CPU: of CPU seconds.",
    ]
    lines += [row.remark for row in rows if row.remark]
    asked = [row.met for row in rows if row.met is not None]
    lines.append(f"{sum(asked)} of {len(asked)} targets are met.")
    return "\n".join(lines)


def machine() -> str:
    """What it ran on, and how busy that was."""
    busy = " (busy: look at CPU, not at the clock)" if is_busy() else ""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}{busy}"


def is_busy() -> bool:
    """Whether much more wanted to run in the last five minutes than there are cores: the benches take about one."""
    return os.getloadavg()[1] > 1.5 * (os.cpu_count() or 1)
