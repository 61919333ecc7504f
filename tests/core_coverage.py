"""Ends with 1 if a core module is covered below PERCENT: coverage json -o - | python core_coverage.py PERCENT."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Name the modules that are below, and how far."""
    limit = float(sys.argv[1])
    files = json.load(sys.stdin)["files"]
    covered = {name: file["summary"]["percent_covered"] for name, file in files.items()}
    low = {name: percent for name, percent in covered.items() if percent < limit}
    for name, percent in sorted(low.items()):
        print(f"{name}: {percent:.1f} % covered, less than {limit:g} %", file=sys.stderr)
    return 1 if low or not covered else 0


if __name__ == "__main__":
    sys.exit(main())
