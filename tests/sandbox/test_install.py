"""The installer of the sandbox's OpenStack packages (sandbox/install.py)."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SANDBOX = Path(__file__).parents[2] / "sandbox"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("install_under_test", SANDBOX / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_is_locked_with_hashes_and_without_a_source() -> None:
    lock = (SANDBOX / "requirements.lock").read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", lock) if entry.strip()]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", entry) and "--hash=sha256:" in entry, entry
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock


def test_the_folder_depends_on_the_lock_file(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = install.location()
    assert first.parent == tmp_path / "cf-infra"
    other = tmp_path / "requirements.lock"
    other.write_bytes(install.LOCK.read_bytes() + b"\n")
    monkeypatch.setattr(install, "LOCK", other)
    assert install.location() != first


def test_an_interrupted_installation_is_not_taken_for_a_finished_one(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def interrupted(command: list[str], temporary: Path) -> None:
        calls.append(command)
        (temporary / "lib/python3.11/site-packages").mkdir(parents=True, exist_ok=True)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(install, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.install(lambda _line: None)
    assert not install.location().exists()

    assert install.install(lambda _line: None) == install.location()
    assert calls[3][1:3] == ["-m", "venv"], "the second run begins from the start"


def test_a_failed_step_is_told_and_leaves_nothing(install: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(install.InstallError, match=r"(?s)`python -c .*no such luck.*run it again"):
        install._run([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path / "partial")
    assert not (tmp_path / "partial").exists()


def test_an_unsupported_python_is_refused(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "SUPPORTED", ((3, 1),))
    with pytest.raises(install.InstallError, match=r"needs Python 3\.11 or 3\.12; this is"):
        install.install(lambda _line: None)


@pytest.mark.sandbox
def test_a_second_run_does_nothing_and_prints_the_folder() -> None:
    command = [sys.executable, str(SANDBOX / "install.py")]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (Path(done.stdout.strip()) / "bin" / "python").exists() and done.stderr == ""
