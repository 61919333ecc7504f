"""A session that leaks; tests/test_leaks.py runs it to see that it fails. Its name keeps it out of all other runs."""

from __future__ import annotations

from pathlib import Path

from tests.leaks import WATCH

VALUE = "-".join(["this", "is", "what", "must", "not", "stand", "anywhere"])


def test_a_secret_is_written_down(tmp_path: Path) -> None:
    WATCH.knows("the planted one", VALUE)
    (tmp_path / "log").write_text(f"login with {VALUE}")


def test_nothing_else() -> None:
    pass
