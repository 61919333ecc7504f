"""The peer of `check` and `export access`: python read_yaml.py FILE. PyYAML's fast loader merely reads the file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import yaml


def main() -> None:
    raw = Path(sys.argv[1]).read_bytes()
    cpu, begin = time.process_time(), time.perf_counter()
    value = yaml.load(raw, Loader=yaml.CSafeLoader)
    entries = len(value["grants"] if "grants" in value else value["policies"])
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "entries": entries}))


main()
