"""What the end says of the scenes; tests/conftest.py begins them."""

from __future__ import annotations

import pytest
from scenes import TOOK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each scene took by itself: pytest sees only how long it waited for it."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    took = [
        (seconds, report.nodeid.rpartition("::")[2])
        for report in reports
        for name, seconds in getattr(report, "user_properties", ())
        if name == TOOK and report.when == "call"
    ]
    if took:
        terminalreporter.section("scenes (side by side)")
        for seconds, name in sorted(took, reverse=True):
            terminalreporter.write_line(f"{seconds:6.1f} s  {name}")
