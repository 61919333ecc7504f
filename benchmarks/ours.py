"""cf-infra's own part of a measurement, in a process of its own: python ours.py PART ROOT (parts: PARTS below).

It prints the seconds of the part that is compared, as the peers do: without start-up, imports and reading of files.
compile_resolved.py is its neighbour for compiling.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

import orjson

from benchmarks.roots import STACK, TODAY
from cf_infra import access, credentials, ledger, logins, plan, project, review, review_report
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


Counts = Callable[[], dict[str, int]]
"""Counts what a part made, when it is no longer timed."""


def comment(root: Path) -> Callable[[], Counts]:
    """From the rows of plans to the text of a comment."""
    plans = orjson.loads((root / "plans.json").read_bytes())

    def measured() -> Counts:
        text = review_report.markdown(review.review(None, plans=plans))
        gone = {i["address"].split('"')[1] for p in plans for i in p["items"] if i["action"] == "delete"}
        return lambda: {"bytes": len(text.encode()), "destroys": len(gone), "named": _named(gone, text)}

    return measured


def _named(keys: set[str], text: str) -> int:
    """How many of the keys stand in the comment: as they are, or without the ending that they share."""
    words = set(re.findall(r"[a-z0-9-]+", text))
    return sum(key in text or key.partition("-feedstock/")[0] in words for key in keys)


def loads(root: Path) -> Callable[[], None]:
    """orjson loads a plan: what the summary is compared with."""
    raw = (root / "plan.json").read_bytes()

    def measured() -> None:
        orjson.loads(raw)

    return measured


def summary(root: Path) -> Callable[[], None]:
    """From the bytes of `tofu show -json` to what people and the limits need."""
    raw = (root / "plan.json").read_bytes()

    def measured() -> None:
        if not plan.summarise(orjson.loads(raw), STACK, {}, {}).items:
            raise SystemExit("the generated plan does nothing")

    return measured


def _sound(folder: project.Folder) -> None:
    if has_errors(folder.diagnostics):
        raise SystemExit(f"the generated folder has errors: {folder.diagnostics[0]}")


PARTS: dict[str, Callable[[Path], Callable[[], Counts | None]]] = {
    "comment": comment, "loads": loads, "summary": summary,
    "check": check_only, "everything": everything, "export": export, "rotation": rotation,
}  # fmt: skip


def main() -> None:
    """Prepare, then time one run: a command of cf-infra does its work once, too."""
    gc.set_threshold(500_000)  # as cli.main()
    measured = PARTS[sys.argv[1]](Path(sys.argv[2]))
    cpu, begin = time.process_time(), time.perf_counter()
    said = measured()
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, **(said() if said else {})}))


main()
