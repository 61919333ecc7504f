"""The half of `make demo` that needs no OpenStack, as `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from feedstock_world import TOKEN
from real_tofu import tool_with_github
from roots import PROJECT


@pytest.mark.sandbox  # no OpenStack, but some runs of OpenTofu
def test_from_a_request_to_a_runner_and_back_is_shown() -> None:
    tool_with_github()
    ran = subprocess.run(
        [sys.executable, PROJECT / "demo" / "access.py"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [line for line in ran.stdout.splitlines() if line.startswith("  as it should be: ")] == [
        f"  as it should be: {what}"
        for what in (
            "alice's jobs may run there",
            "Cirun makes no runners for numpy any more",
            "the access list does not name it",
            "alice's jobs may not run there",
            "an audit finds nothing",
        )
    ]
    assert len(ran.stdout.splitlines()) < 120 and TOKEN not in ran.stdout + ran.stderr
    assert max(map(len, ran.stdout.splitlines())) < 140
