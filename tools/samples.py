#!/usr/bin/env python3
"""Write the sample comments of docs/samples/ from the folders of tests/samples/: Markdown, and a picture of each.

    .venv/bin/python tools/samples.py               writes the Markdown
    .venv/bin/python tools/samples.py --pictures    the pictures, too: needs Debian's chromium on PATH

A sample is two root folders and plans.json, what their stacks' plans were. tests/test_samples.py fails while a comment
is out of date, or a picture was made of another one.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from cf_infra import comparing
from cf_infra.diagnostics import Failure
from cf_infra.review import review
from cf_infra.review_report import markdown

SAMPLES = ROOT / "tests" / "samples"
PAGES = ROOT / "docs" / "samples"
DIGESTS = PAGES / "pictures.json"
#: The day on which all samples are looked at.
DAY = date(2026, 6, 1)
COMMIT = {
    "base": "0600a98db8f6a1f3d5a90bb52f0a8f0b4d3c2e11",
    "head": "6a1f3d5a90bb0600a98db8f6c7de19f2ab34cd56",
}
STYLE = """
body { font: 14px/1.5 -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2328; margin: 24px; width: 920px }
code { font: 12px "DejaVu Sans Mono", monospace; background: #eff1f3; border-radius: 6px; padding: 2px 5px }
h3 { font-size: 20px } h4 { font-size: 16px } table { border-collapse: collapse }
td, th { border: 1px solid #d1d9e0; padding: 6px 13px } pre code { display: block; white-space: pre-wrap }
"""


def names() -> list[str]:
    """Return the names of all samples."""
    return sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


def comment(name: str) -> str:
    """Return the comment of a sample."""
    folder = SAMPLES / name
    told = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
    try:
        done = comparing.compare(folder / "base", str(folder / "base"), str(folder / "head"), DAY)
    except Failure as failure:
        return markdown(review(None, diagnostics=[d.as_json() for d in _named(failure, folder)], **told))
    sides = {side: {"name": side, "commit": commit} for side, commit in COMMIT.items()}
    diff = {**sides, **done.difference.as_json()}
    return markdown(review(diff, diagnostics=[d.as_json() for d in done.diagnostics], **told))


def _named(failure: Failure, folder: Path) -> list:  # type: ignore[type-arg]
    """The diagnostics with the side's name instead of its path."""
    from dataclasses import replace

    return [replace(d, detail=d.detail.replace(f"{folder}/", "")) for d in failure.diagnostics]


def digest(text: str) -> str:
    """Return what a picture was made of."""
    return hashlib.sha256(text.encode()).hexdigest()


def _picture(text: str, target: Path) -> None:
    """Render a comment as a browser shows it, details folded."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "page.html"
        head = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
        page.write_text(head + body, encoding="utf-8")
        height = 260 + 26 * len([line for line in text.partition("<details>")[0].splitlines() if line])
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-sync", "--disable-component-update", "--no-first-run", "--hide-scrollbars",
             f"--user-data-dir={place}/profile", f"--window-size=968,{height}", f"--screenshot={target}",
             page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Write what is asked for."""
    PAGES.mkdir(exist_ok=True)
    digests = {}
    for name in names():
        text = comment(name)
        (PAGES / f"{name}.md").write_text(text, encoding="utf-8")
        if "--pictures" in arguments:
            _picture(text, PAGES / f"{name}.png")
            digests[name] = digest(text)
    if digests:
        DIGESTS.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
