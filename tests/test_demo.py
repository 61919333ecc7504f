"""The parts of `make demo` that need no OpenStack, as `make demo` runs them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from feedstock_world import TOKEN
from real_tofu import tool_with_github
from roots import PROJECT

PARTS = {
    "access.py": (
        "alice's jobs may run there",
        "Cirun makes no runners for numpy any more",
        "the access list does not name it",
        "alice's jobs may not run there",
        "an audit finds nothing",
    ),
    "review.py": (
        "the pull request has one comment",
        "the access list does not name cupy yet",
        "the access list names cupy",
        "the journal knows who approved it",
        "nothing was written over before a person decides",
    ),
}


@pytest.mark.sandbox  # no OpenStack, but some runs of OpenTofu
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_demo_shows_what_it_claims(part: str) -> None:
    tool_with_github()
    ran = subprocess.run(
        [sys.executable, PROJECT / "demo" / part], capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [line for line in ran.stdout.splitlines() if line.startswith("  as it should be: ")] == [
        f"  as it should be: {what}" for what in PARTS[part]
    ]
    assert len(ran.stdout.splitlines()) < 120 and TOKEN not in ran.stdout + ran.stderr
    assert max(map(len, ran.stdout.splitlines())) < 180, "the Markdown of a comment is not wrapped"
