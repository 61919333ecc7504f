"""The comment at a pull request: how long it takes to write, whether it fits, and what it costs to sum up a plan.

A plan is made of tests/plans/openstack-day.json: servers that stay, go, come anew and are replaced, as OpenTofu told
them, under other names.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.benches import PROJECT, Bench, inside
from benchmarks.measure import BenchError, Sample, clock, cpu, insides, rounds, say, seconds_text, spread
from benchmarks.table import Row, plain, share_of

ACTIONS, STACKS = 6_300, 40
COMMENT_AT_MOST_SECONDS = 1.0
"""From the rows of 40 plans to the text of a comment: CPU seconds of the best run."""
SUMMARY_AT_MOST = 1.5
"""Times what orjson takes to load the same plan; loading is counted on both sides."""
SUMMARY_PEAK_AT_MOST_MB = 1000.0
PLAN_BYTES = 100_000_000
LETTERS = str.maketrans("0123456789", "abdefgilmo")
NAME = "module.machine.openstack_compute_instance_v2.this"


def comment_of_many(bench: Bench) -> list[Row]:
    """6,300 actions in 40 stacks, a third of them destroys."""
    say(f"comment: {ACTIONS:,} actions in {STACKS} stacks")
    root = bench.fresh("comment")
    root.mkdir()
    (root / "plans.json").write_bytes(orjson.dumps(_plans()))
    found = rounds({"comment": lambda: inside("comment", root)}, bench.rounds, say)["comment"]
    said = found[0].said
    if said["named"] != said["destroys"] or said["bytes"] >= 65_536:
        raise BenchError(f"{said['named']} of {said['destroys']} destroys are named in {said['bytes']} bytes")
    seconds = min(cpu(insides(found)))
    row = Row(
        bench="comment",
        what=f"comment, {ACTIONS:,} actions",
        ours=seconds_text(spread(clock(insides(found))).median),
        target=f"< {COMMENT_AT_MOST_SECONDS:g} s",
        met=seconds < COMMENT_AT_MOST_SECONDS,
        remark=f"comment: {said['bytes']:,} bytes, all of {said['destroys']:,} destroys named.",
        numbers={
            "ours": [plain(s) for s in insides(found)],
            "bytes": said["bytes"],
            "destroys": said["destroys"],
        },
    )
    return [row]


def _plans() -> list[dict[str, Any]]:
    rows: list[list[dict[str, Any]]] = [[] for _ in range(STACKS)]
    for n in range(ACTIONS):
        # Letters: numbers that follow each other would be said as a range.
        key = f"{str(n * 7919 % 100_003).translate(LETTERS)}-feedstock/gpu-large"
        action = ("delete", "create", "update", "create", "delete", "replace")[n % 6]
        what = f"server cf-donor-{n % STACKS}-package{n}-feedstock-gpu-large-0abcde (6 vCPUs, 60 GiB, 1 GPU)"
        rows[n % STACKS].append(
            {"address": f'{NAME}["{key}"]', "action": action, "what": what, "grants": [key]}
        )
    return [
        {"stack": f"donor-{n}", "items": items, "review_digest": "0" * 64} for n, items in enumerate(rows)
    ]


def summary_of_a_large_plan(bench: Bench) -> list[Row]:
    """A `show -json` of 100 MB: 25,000 servers of which a quarter change; and a first apply, in which all are made."""
    rows: list[Row] = []
    for what, changing in (("summary of 100 MB: orjson", 4), ("  all of it made anew", 1)):
        say(f"{what.strip()}: writing a plan of 100 MB")
        root = bench.fresh(f"summary-{changing}")
        root.mkdir()
        # Linux counts what a process held before it became a program as that program's own: so not in this one.
        writer = multiprocessing.get_context("fork").Process(
            target=_write, args=(root / "plan.json", changing)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise BenchError("the plan of 100 MB could not be written")
        programs = {
            "loads": lambda r=root: inside("loads", r),
            "summary": lambda r=root: inside("summary", r),
        }
        found = rounds(programs, bench.rounds, say)  # type: ignore[arg-type]
        ours, peer = insides(found["summary"]), insides(found["loads"])
        rows.append(share_of("summary", what, ours, peer, SUMMARY_AT_MOST if changing > 1 else None))
        if changing > 1:
            rows.append(_memory(found["summary"]))
    return rows


def _memory(samples: list[Sample]) -> Row:
    peak = max(sample.peak_mb for sample in samples)
    return Row(
        bench="summary",
        what="  peak memory, in MB",
        ours=f"{peak:.0f}",
        target=f"< {SUMMARY_PEAK_AT_MOST_MB:.0f}",
        met=peak < SUMMARY_PEAK_AT_MOST_MB,
        numbers={"ours": [plain(sample) for sample in samples]},
    )


def _write(path: Path, changing: int) -> None:
    """A plan of PLAN_BYTES in which one of so many servers changes."""
    changes, planned, before, size = [], [], [], 0
    for n, change in enumerate(_changes(changing)):
        values = {**(change["change"].get("before") or {}), **(change["change"].get("after") or {})}
        keys = ("address", "mode", "type", "name", "index", "provider_name")
        resource = {**{key: change[key] for key in keys}, "values": values, "sensitive_values": {}}
        changes.append(change)
        planned += [resource] * (change["change"].get("after") is not None)
        before += [resource] * (change["change"].get("before") is not None)
        if n % 500 == 0:
            size = sum(len(orjson.dumps(part)) for part in (changes, planned, before))
        if size > PLAN_BYTES:
            break
    states = [
        {"root_module": {"child_modules": [{"address": "module.machine", "resources": r}]}}
        for r in (planned, before)
    ]
    document = {"format_version": "1.2", "planned_values": states[0], "prior_state": {"values": states[1]}}
    path.write_bytes(orjson.dumps({**document, "resource_changes": changes, "errored": False}))


def _changes(changing: int) -> Iterator[dict[str, Any]]:
    """Servers without end."""
    known = {}
    for name in ("openstack-day", "openstack"):
        shown = orjson.loads((PROJECT / "tests" / "plans" / f"{name}.json").read_bytes())
        for change in shown["resource_changes"]:
            if change["address"].startswith(NAME):
                known["+".join(change["change"]["actions"])] = change
    known["no-op"]["change"].pop("importing", None)
    acting = ["delete", "delete+create", "create"] if changing > 1 else ["create"]
    n = 0
    while True:
        made = copy.deepcopy(known["no-op" if n % changing else acting[n // changing % len(acting)]])
        key = f"package{n:06}-feedstock/gpu-large"
        made["address"], made["index"] = f'{NAME}["{key}"]', key
        for side in ("before", "after"):
            if isinstance(made["change"].get(side), dict):
                made["change"][side]["name"] = f"cf-lab-package{n:06}-feedstock-gpu-large-0abcde"
                made["change"][side]["metadata"] = {"grant": key, "managed_by": "cf-infra", "stack": "lab"}
        yield made
        n += 1
