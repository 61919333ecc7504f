"""Runs the scenes side by side: they mostly wait for the provider's next look at a network or a server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scene import Scene
from testlab import Lab

Play = Callable[[Scene], None]
AT_ONCE = int(os.environ.get("CF_INFRA_TEST_SCENES") or 5)
TOOK = "seconds of the scene itself"


def chosen(items: Iterable[Any]) -> list[Play]:
    """The scenes of the tests of a session, the longest first."""
    tests = [getattr(item, "function", None) for item in items]
    played = (test.played for test in tests if hasattr(test, "played"))
    return [function for function, _ in sorted(played, key=lambda played: -played[1])]


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
