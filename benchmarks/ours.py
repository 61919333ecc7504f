"""cf-infra's own part of a measurement, in a process of its own: python ours.py PART ROOT (parts: PARTS below).

It prints the seconds of the part that is compared, as the peers do: without start-up, imports and reading of files.
compile_resolved.py is its neighbour for compiling.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

import orjson

from benchmarks.roots import STACK, TODAY
from cf_infra import access, credentials, ledger, logins, project
from cf_infra.diagnostics import has_errors
from cf_infra.files import read_root


def check_only(root: Path) -> Callable[[], None]:
    """From the bytes of all files to every fault in them."""
    files = read_root(root)
    return lambda: _sound(project.from_files(root, files, TODAY))


def everything(root: Path) -> Callable[[], None]:
    """From the bytes of all files to the bytes of all files below build/."""
    files = read_root(root)

    def measured() -> None:
        folder = project.from_files(root, files, TODAY)
        _sound(folder)
        folder.compiled()

    return measured


def export(root: Path) -> Callable[[], None]:
    """From the bytes of all files to the file access.yml in the same folder."""
    files = read_root(root)

    def measured() -> None:
        folder = project.from_files(root, files, TODAY)
        _sound(folder)
        text = access.access_text(access.export_access(folder.resolved(), folder.inventory))
        (root / "access.yml").write_text(text, encoding="utf-8")

    return measured


def rotation(root: Path) -> Callable[[], None]:
    """As `everything`, with what is known of every credential, and with what is to be done about each."""
    files = read_root(root)
    known = (root / ledger.NAME).read_bytes()

    def measured() -> None:
        folder = replace(
            project.from_files(root, files, TODAY),
            ledgers={STACK: credentials.from_json(orjson.loads(known))},
        )
        _sound(folder)
        folder.compiled()
        found = logins.steps(STACK, folder.inventory.stacks[STACK], TODAY, folder.ledgers[STACK])
        if not found:
            raise SystemExit("the generated folder has nothing to turn")

    return measured


def _sound(folder: project.Folder) -> None:
    if has_errors(folder.diagnostics):
        raise SystemExit(f"the generated folder has errors: {folder.diagnostics[0]}")


PARTS = {"check": check_only, "everything": everything, "export": export, "rotation": rotation}


def main() -> None:
    """Prepare, then time one run: a command of cf-infra does its work once, too."""
    gc.set_threshold(500_000)  # as cli.main()
    measured = PARTS[sys.argv[1]](Path(sys.argv[2]))
    cpu, begin = time.process_time(), time.perf_counter()
    measured()
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu}))


main()
