"""The session's OpenStack, for all folders of tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from testlab import Lab, start

# A shell that starts a job in the background has it ignore Ctrl-C, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A sandbox on free ports and in a folder of its own; skips, with the reason, what cannot run."""
    with start(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="session")
def sandbox_cloud(lab: Lab) -> Path:
    """The clouds.yaml of the session's sandbox: `sandbox` (administrator), `sandbox-member` (one project)."""
    return lab.clouds_yaml
