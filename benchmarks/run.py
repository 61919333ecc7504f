"""make bench: measure cf-infra against its peers, side by side, and print the ratios.

Exit codes: 0 no target is missed, 1 one is or a bench broke, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from benchmarks import applying, audits, benches, install, reviews, table
from benchmarks.measure import BenchError, NotHere, say
from tools.talk import end_on_sigterm

BENCHES: Mapping[str, Callable[[benches.Bench], list[table.Row]]] = {
    "help": benches.help_text,
    "explain": benches.explain,
    "rotation": benches.rotation,
    "check": benches.check_against_reading,
    "export": benches.export_against_reading,
    "history": benches.import_of_history,
    "diff": benches.diff_of_changed,
    "comment": reviews.comment_of_many,
    "summary": reviews.summary_of_a_large_plan,
    "audit": audits.audit_of_many,
    "growth": benches.growth,
    "compile": benches.compile_dedicated,
    "apply": applying.apply_against_bare,
}


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; see --help."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    names = options.only or list(BENCHES)
    try:
        with tempfile.TemporaryDirectory(prefix="cf-infra-bench-") as folder:
            rows, broken = _measure(
                names, benches.Bench(Path(folder), cache(install.installed), options.rounds)
            )
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    print(table.text(rows))
    if options.json is not None:
        found = {"machine": table.machine(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(broken or any(row.met is False for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=list(BENCHES),
        help=f"one of {', '.join(BENCHES)}; can be given again",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers there, too")
    parser.add_argument(
        "--rounds", metavar="N", type=_positive, default=3, help="runs of each program (default: 3)"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _measure(names: Sequence[str], bench: benches.Bench) -> tuple[list[table.Row], bool]:
    rows: list[table.Row] = []
    broken = False
    for name in names:
        try:
            rows += BENCHES[name](bench)
        except NotHere as reason:
            say(f"{name}: NOT MEASURED\n{reason}")
            rows.append(table.Row(bench=name, what=name, skipped=str(reason)))
        except BenchError as error:
            broken = True
            say(f"{name}: BROKEN\n{error}")
            rows.append(table.Row(bench=name, what=name, skipped=str(error)))
    return rows, broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
