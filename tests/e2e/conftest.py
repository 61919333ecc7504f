"""Runs the scenes side by side: they mostly wait for the provider's next look at a network or a server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from scene import Scene
from testlab import Lab

Play = Callable[[Scene], None]
AT_ONCE = int(os.environ.get("CF_INFRA_TEST_SCENES") or 5)
TOOK = "seconds of the scene itself"


class Scenes:
    """The chosen scenes, all begun when the first is asked for."""

    def __init__(self, functions: list[Play], lab: Lab, base: Path) -> None:
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._scenes: dict[Play, Scene] = {}
        self._outcomes: dict[Play, Future[None]] = {}
        for function in functions:
            name = function.__name__.removeprefix("test_")
            scene = Scene(base / name, lab, self._stopping)
            scene.root.mkdir(parents=True)
            self._scenes[function] = scene
            self._outcomes[function] = self._pool.submit(self._play, function, scene)

    def _play(self, function: Play, scene: Scene) -> None:
        scene.began = time.monotonic()
        try:
            function(scene)
        finally:
            scene.took = time.monotonic() - scene.began
            (scene.base / "log").write_text("\n".join(scene.log), encoding="utf-8")
            if "cloud" in vars(scene):
                scene.cloud.close()

    def outcome(self, function: Play, note: Callable[[str, object], None]) -> None:
        """Wait for a scene; raises what it raised."""
        try:
            self._outcomes[function].result()
        finally:
            note(TOOK, self._scenes[function].took)
            print("\n".join(self._scenes[function].log))

    def stop(self) -> None:
        """Begin no further command."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def scenes(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scenes]:
    """The scenes of all tests that were chosen for this session."""
    tests = [getattr(item, "function", None) for item in request.session.items]
    chosen = sorted((test.played for test in tests if hasattr(test, "played")), key=lambda played: -played[1])
    begun = Scenes([function for function, _ in chosen], lab, tmp_path_factory.mktemp("scenes"))
    yield begun
    begun.stop()


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
