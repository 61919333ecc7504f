"""cf-infra's side of the comparison with cdktn: python compile_resolved.py RESOLVED OUTDIR.

It does what their programs do: read the resolved stack (JSON), make every server, write the files. It prints the
seconds of the part between reading and the end, as they do.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # as cli.main()

import jinja2  # noqa: F401  (cf_infra imports it when it is first used; imports are not what is compared)
from pydantic import TypeAdapter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from cf_infra.compile import compile_stack
from cf_infra.files import read_tree
from cf_infra.resolve import ResolvedStack


def main() -> None:
    """Read, then time one run: a command of cf-infra does its work once, too."""
    gc.set_threshold(500_000)  # as cli.main()
    resolved, outdir = Path(sys.argv[1]), Path(sys.argv[2])
    stack = TypeAdapter(ResolvedStack).validate_json(resolved.read_bytes())
    modules = read_tree(ROOT / "modules")
    outdir.mkdir(parents=True, exist_ok=True)
    cpu, begin = time.process_time(), time.perf_counter()
    for name, content in compile_stack(stack, modules).items():
        if "/" not in name:
            (outdir / name).write_bytes(content)
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu}))


main()
