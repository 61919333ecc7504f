"""The session's OpenStack, for all folders of tests, and the scenes of tests/e2e, which begin before anything else."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from testlab import Lab, start

from tests import leaks

# A shell that starts a job in the background has it ignore Ctrl-C, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing of a test goes to the real Cirun, whoever runs it: an apply asks it wherever there is a key.
os.environ.pop("CIRUN_API_KEY", None)

# The same examples in every run, and no clock: a test that fails, fails for everybody, however busy the machine is.
settings.register_profile(
    "any-machine",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("any-machine")


leaks.watch_this_process()


@pytest.fixture(scope="session", autouse=True)
def no_secret_gets_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session if a secret of any test stands in a file, an output or a process where it must not.

    The failure is shown with whatever test was the last one; where and what is in its message.
    """
    leaks.WATCH.begin()
    yield
    leaks.WATCH.end()
    base = tmp_path_factory.getbasetemp()
    if found := leaks.WATCH.leaks(base):
        pytest.fail(leaks.told(found, lambda text: text.replace(f"{base}{os.sep}", "")), pytrace=False)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A sandbox on free ports and in a folder of its own; skips, with the reason, what cannot run."""
    with start(tmp_path_factory, "scenes") as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The scenes' results are asked for last: they play beside all other tests, and mostly wait."""
    items.sort(key=lambda item: hasattr(getattr(item, "function", None), "played"))


@pytest.fixture(scope="session")
def scenes(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The scenes of all tests that were chosen for this session."""
    from scenes import Scenes, chosen  # beside the tests that use them

    begun = Scenes(chosen(request.session.items), lab, tmp_path_factory.mktemp("scenes"))
    yield begun
    begun.stop()


@pytest.fixture(scope="session", autouse=True)
def begin_early(request: pytest.FixtureRequest, no_secret_gets_out: None) -> None:
    """Begin the scenes with the first test. Why they cannot begin is said by each of them."""
    if any(hasattr(getattr(item, "function", None), "played") for item in request.session.items):
        with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
            request.getfixturevalue("scenes")
