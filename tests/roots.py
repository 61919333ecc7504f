"""Root folders for tests: written from values, commands run in them in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from cf_infra import cli
from tests.leaks import WATCH

PROJECT = Path(__file__).resolve().parent.parent
TODAY = "2026-06-01"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        found = orjson.loads(self.out)
        assert isinstance(found, dict)
        return found


class Runner:
    """Runs commands of cf-infra in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        self.capsys.readouterr()
        code = cli.run(list(arguments))
        wrote = self.capsys.readouterr()
        WATCH.said(f"cf-infra {' '.join(arguments[:2])}", wrote.out, wrote.err)
        return Ran(code, wrote.out, wrote.err)


def write_root(root: Path, files: Mapping[str, bytes]) -> Path:
    """A root folder with these files; a name that ends with `.absent` takes its file away."""
    for name, content in files.items():
        path = root / name.removesuffix(".absent")
        if name.endswith(".absent"):
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def read_folder(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative name."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
