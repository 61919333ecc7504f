"""How many requests an audit of many repositories takes, between the stand-ins for GitHub and Cirun of tests/.

What counts is what GitHub counts. The stand-ins answer faster than the services they stand for, so no time is a target.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.benches import CF_INFRA, PROJECT, Bench
from benchmarks.measure import BenchError, say, seconds_text
from benchmarks.table import Row

REPOSITORIES = 1000
PER_REQUEST_AT_LEAST = 30
"""Repositories that one request is for, beside the pages of selections."""


def audit_of_many(bench: Bench) -> list[Row]:
    """Once of 1,000 repositories with a grant, and once more when nothing has changed."""
    say(f"audit: {REPOSITORIES:,} repositories")
    sys.path.insert(0, str(PROJECT / "tests"))
    from audit_world import GRANTS, KEY, ORG, TOKEN, World, entry
    from cirun_standin import CirunStandin, CirunState

    from tests.github import Standin, State

    names = [f"many-{number:04}" for number in range(REPOSITORIES)]
    state = State(ORG)
    with Standin(state) as github, CirunStandin(CirunState(KEY, github=state)) as cirun:
        environment = {"GITHUB_TOKEN": TOKEN, **cirun.environment()}
        world = World(bench.fresh("audit"), github, cirun, _runner(environment))
        for name in names:
            state.add_repository(f"{name}-feedstock")
            cirun.state.repositories[f"{ORG}/{name}-feedstock"] = True
        world.write(GRANTS + "".join(entry(name, "gpu-large", "cpu-large") for name in names))
        world.settle()
        rows = []
        for what in (f"audit of {REPOSITORIES:,}: requests", "  nothing has changed"):
            github.log.clear()
            began = time.perf_counter()
            if found := world.findings():
                raise BenchError(f"the audit found what is not so: {found[0]}")
            seconds = time.perf_counter() - began
            counted = [one for one in github.log if one.status != 304]
            rows.append(_row(what, seconds, counted))
    return rows


def _runner(environment: dict[str, str]) -> Any:
    from roots import Ran

    def command(*arguments: str) -> Ran:
        words = [str(CF_INFRA), *arguments]
        done = subprocess.run(
            words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return command


def _row(what: str, seconds: float, counted: list[Any]) -> Row:
    pages = sum("repositories" in one.path for one in counted)
    left, most = len(counted) - pages, REPOSITORIES // PER_REQUEST_AT_LEAST
    return Row(
        bench="audit",
        what=what,
        ours=str(left),
        target=f"<= {most}",
        met=left <= most,
        remark=f"{what.strip()}: {pages} pages besides, {seconds_text(seconds)} with the stand-ins.",
        numbers={"requests": left, "pages": pages, "seconds": seconds},
    )
