"""What is measured, but for apply (see applying.py): each bench returns its rows.

The targets stand here and nowhere else.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import roots
from benchmarks.install import Peers
from benchmarks.measure import (
    BenchError,
    Sample,
    clock,
    cpu,
    insides,
    ratios,
    rounds,
    run,
    say,
    seconds_text,
    spread,
)
from benchmarks.table import Row, digits, is_busy, plain, share_of, times, times_faster

COMPILE_AT_LEAST = 100.0
"""Times faster than cdktn, 10,000 machines, from the resolved stack to files."""
COMPILE_PROCESS_AT_LEAST = 25.0
"""The same as whole processes: start, import, read the resolved stack, make the servers, write."""
CHECK_AT_MOST = 0.2
"""Of the time that PyYAML's CSafeLoader needs to read the same 10,000 grants."""
EXPORT_AT_MOST = 1.0
"""Of the time that PyYAML's CSafeLoader needs to read back what was exported, 10,000 policies."""
HISTORY_AT_MOST_SECONDS = 1.0
"""`cf-infra import requests` of the real history from an empty grants.yaml: CPU seconds of the best run."""
GROWTH_AT_MOST = 12.0
"""Times what 10,000 grants cost, for 100,000."""
PEAK_AT_MOST_MB = 1000.0
HELP_AT_MOST_SECONDS = 0.3
"""More than `python -c pass`."""
HELP_ROUNDS = 10
ROTATION_AT_MOST_SECONDS = 0.3
"""More than compiling 10,000 credentials of which nothing is known."""
EXPLAIN_AT_MOST_SECONDS = 0.3
"""The whole process, on the repository's own grants."""
EXPLAIN_LARGE_AT_MOST_SECONDS = 1.5
"""The whole process, on 100,000 grants."""
DIFF_AT_MOST_SECONDS = 2.0
"""The whole process, 10,000 grants against 10,000 changed ones: CPU seconds of the best run."""
DIFF_PEAK_AT_MOST_MB = 300.0

OURS = Path(__file__).with_name("ours.py")
COMPILE = Path(__file__).with_name("compile_resolved.py")
PROJECT = Path(__file__).resolve().parents[1]
HISTORY = PROJECT / "tests" / "data" / "access-requests-2023-2025.jsonl"
CF_INFRA = Path(sys.executable).with_name("cf-infra")


@dataclass(frozen=True)
class Bench:
    """What every bench gets: a folder to work in, the peers on demand, how many rounds."""

    folder: Path
    peers: Callable[[], Peers]
    rounds: int

    def fresh(self, name: str) -> Path:
        """A path in the folder at which nothing is."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path


def inside(part: str, root: Path) -> Sample:
    """One run of a part of cf-infra in a process of its own."""
    return run([sys.executable, OURS, part, root])


def command(*arguments: str | Path) -> Sample:
    """One run of `cf-infra`."""
    return run([CF_INFRA, *arguments])


# ---------------------------------------------------------------------------------------------- compile


def compile_dedicated(bench: Bench) -> list[Row]:
    """1,000 and 10,000 dedicated machines against cdktn, from npm and from PyPI."""
    peers = bench.peers()
    peers.needs_node()
    rows = []
    for machines in (1_000, 10_000):
        rows += _compile(bench, peers, machines, asked=machines == 10_000)
    return rows


STYLES = (("npm", "plain"), ("pypi", "plain"), ("npm", "best"), ("pypi", "best"))
"""The peers' programs: as users without bindings write them, and the fastest that we could write."""
_SAID = {"npm": "cdktn npm", "pypi": "cdktn PyPI"}


def _compile(bench: Bench, peers: Peers, machines: int, asked: bool) -> list[Row]:
    say(f"compile: {machines:,} machines")
    resolved = roots.resolved(bench.fresh(f"dedicated-{machines}"), machines)
    paths = {name: bench.folder / f"{name}-{machines}" for name in ("ours", "npm", "pypi")}

    def peer(package: str, style: str) -> Sample:
        bench.fresh(paths[package].name)  # as ours, which finds its files as they are in the next round
        program = peers.npm if package == "npm" else peers.pypi
        script = "synth.js" if package == "npm" else "synth.py"
        return run(program(script, resolved, paths[package], style), peers.environment(style == "best"))

    programs: dict[str, Callable[[], Sample]] = {
        "cf-infra": lambda: run([sys.executable, COMPILE, resolved, paths["ours"]])
    }
    for package, style in STYLES:
        programs[f"{_SAID[package]}, {style}"] = partial(peer, package, style)
    found = rounds(programs, bench.rounds, say)
    for package in ("npm", "pypi"):
        same_servers(paths["ours"], paths[package])
    ours = found["cf-infra"]
    rows = []
    for package, style in STYLES:
        theirs, plain_style = found[f"{_SAID[package]}, {style}"], style == "plain"
        label = f"compile {machines:,}: {_SAID[package]}{'' if plain_style else ', best'}"
        targets = (COMPILE_AT_LEAST, COMPILE_PROCESS_AT_LEAST) if asked and plain_style else (None, None)
        rows.append(times_faster("compile", label, insides(ours), insides(theirs), targets[0]))
        rows.append(times_faster("compile", "  as whole processes", ours, theirs, targets[1]))
    return rows


def _compiled_anew(root: Path) -> Sample:
    shutil.rmtree(root / "build", ignore_errors=True)
    return command("compile", "--quiet", "--root", root, "--today", roots.TODAY.isoformat())


def same_servers(ours: Path, theirs: Path) -> None:
    """Raise BenchError unless both wrote the same servers with the same metadata and host names."""
    wanted = json.loads((ours / "grants.auto.tfvars.json").read_bytes())["machines"]
    synthesised = json.loads((theirs / "stacks" / roots.STACK / "cdk.tf.json").read_bytes())
    found = synthesised["resource"]["openstack_compute_instance_v2"]
    left = {(m["name"], tuple(sorted(m["metadata"].items()))): m["hostname"] for m in wanted.values()}
    right = {(s["name"], tuple(sorted(s["metadata"].items()))): s["user_data"] for s in found.values()}
    if len(wanted) != len(found) or left.keys() != right.keys() or any(left[k] not in right[k] for k in left):
        raise BenchError(
            f"{theirs} does not hold the same servers as {ours}: their times cannot be compared."
        )


# ------------------------------------------------------------------------------------------------ check


def check_against_reading(bench: Bench) -> list[Row]:
    """Reading, checking and explaining 10,000 grants, against PyYAML that only reads them."""
    say("check: 10,000 grants")
    root = roots.on_demand(bench.fresh("check-10000"), 10_000)
    peers = bench.peers()
    file = root / "grants.yaml"
    found = rounds(
        {
            "cf-infra, in process": lambda: inside("check", root),
            "PyYAML CSafeLoader": lambda: run(peers.pypi("read_yaml.py", file)),
            "cf-infra check": lambda: command("check", "--root", root, "--today", roots.TODAY.isoformat()),
        },
        bench.rounds,
        say,
    )
    theirs = found["PyYAML CSafeLoader"]
    ours = insides(found["cf-infra, in process"])
    return [
        share_of("check", "check 10,000: PyYAML reads", ours, insides(theirs), CHECK_AT_MOST),
        share_of("check", "  as whole processes", found["cf-infra check"], theirs, None),
    ]


# ------------------------------------------------------------------------------------------------- access


def export_against_reading(bench: Bench) -> list[Row]:
    """From files to Cirun's access list of 10,000 policies, against PyYAML that reads the list back."""
    say("export: 10,000 policies")
    root = roots.on_demand(bench.fresh("export-10000"), 10_000)
    peers = bench.peers()
    inside("export", root)
    file = root / "access.yml"
    found = rounds(
        {
            "cf-infra, in process": lambda: inside("export", root),
            "PyYAML CSafeLoader": lambda: run(peers.pypi("read_yaml.py", file)),
            "cf-infra export access": lambda: command(
                "export", "access", "--root", root, "--today", roots.TODAY.isoformat()
            ),
        },
        bench.rounds,
        say,
    )
    theirs = found["PyYAML CSafeLoader"]
    if any(sample.said["entries"] != 10_000 for sample in theirs):
        raise BenchError(f"{file} does not hold 10,000 policies.")
    ours = insides(found["cf-infra, in process"])
    return [
        share_of("export", "export 10,000: PyYAML reads", ours, insides(theirs), EXPORT_AT_MOST),
        share_of("export", "  as whole processes", found["cf-infra export access"], theirs, None),
    ]


def import_of_history(bench: Bench) -> list[Row]:
    """All requests of 2023 to 2025 into an empty grants.yaml, against an interpreter that does nothing."""
    say("history: the requests of 2023 to 2025")
    found = rounds(
        {
            "cf-infra import requests": lambda: _imported_anew(bench),
            "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
        },
        max(bench.rounds, HELP_ROUNDS),
        lambda _line: None,
    )
    ours, bare = found["cf-infra import requests"], found["python -c pass"]
    ratio = ratios(clock(ours), clock(bare))
    row = Row(
        bench="history",
        what="import history: python",
        ours=seconds_text(spread(clock(ours)).median),
        peer=seconds_text(spread(clock(bare)).median),
        ratio=times(ratio.median),
        between=f"{digits(ratio.low)}-{digits(ratio.high)}",
        cpu_ratio=times(ratios(cpu(ours), cpu(bare)).median),
        target=f"< {HISTORY_AT_MOST_SECONDS:g} s",
        met=min(cpu(ours)) < HISTORY_AT_MOST_SECONDS,  # the clock tells how busy the machine is
        numbers={"ours": [plain(s) for s in ours], "peer": [plain(s) for s in bare]},
    )
    return [row]


def _imported_anew(bench: Bench) -> Sample:
    root = bench.fresh("history")
    for name in ("stacks", "users"):
        shutil.copytree(PROJECT / name, root / name)
    sample = command(
        "import", "requests", HISTORY, "--quiet", "--root", root, "--today", roots.TODAY.isoformat()
    )
    if not (root / "grants.yaml").is_file():
        raise BenchError("The history was not imported.")
    return sample


# -------------------------------------------------------------------------------------------------- growth


def growth(bench: Bench) -> list[Row]:
    """100,000 grants against 10,000, from files to files, and how much memory that takes."""
    say("growth: 10,000 and 100,000 grants")
    few = roots.on_demand(bench.fresh("growth-10000"), 10_000)
    many = roots.on_demand(bench.fresh("growth-100000"), 100_000)
    found = rounds(
        {
            "10,000, in process": lambda: inside("everything", few),
            "100,000, in process": lambda: inside("everything", many),
            "10,000, cf-infra compile": lambda: _compiled_anew(few),
            "100,000, cf-infra compile": lambda: _compiled_anew(many),
            "10,000, grant renew": lambda: _renewed(few),
            "100,000, grant renew": lambda: _renewed(many),
        },
        bench.rounds,
        say,
    )
    small, large = insides(found["10,000, in process"]), insides(found["100,000, in process"])
    whole = found["100,000, cf-infra compile"]
    some, all_of_them = found["10,000, grant renew"], found["100,000, grant renew"]
    return [
        share_of("growth", "100,000 grants : 10,000", large, small, None),
        share_of("growth", "  as whole processes", whole, found["10,000, cf-infra compile"], GROWTH_AT_MOST),
        _memory("  peak memory, in MB", whole),
        share_of("growth", "  all of them renewed", all_of_them, some, GROWTH_AT_MOST),
    ]


def _renewed(root: Path) -> Sample:
    """Every grant ends within the thirty days, so every entry is edited; nothing is written."""
    day = roots.LAST_DAYS.isoformat()
    return command(
        "grant", "renew", "--all-expiring", "30d", "--dry-run", "--quiet", "--root", root, "--today", day
    )


def _memory(what: str, samples: list[Sample]) -> Row:
    peak = spread([sample.peak_mb for sample in samples])
    return Row(
        bench="growth",
        what=what,
        ours=f"{peak.median:.0f}",
        between=f"{peak.low:.0f}-{peak.high:.0f}",
        target=f"< {PEAK_AT_MOST_MB:.0f}",
        met=peak.high < PEAK_AT_MOST_MB,
        numbers={"ours": [plain(sample) for sample in samples]},
    )


# ---------------------------------------------------------------------------------------------------- help


def help_text(bench: Bench) -> list[Row]:
    """`cf-infra --help` against an interpreter that does nothing."""
    say("help")
    found = rounds(
        {
            "cf-infra --help": lambda: command("--help"),
            "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
        },
        max(bench.rounds, HELP_ROUNDS),
        lambda _line: None,
    )
    ours, bare = found["cf-infra --help"], found["python -c pass"]
    return [_more_than("help", "--help: python -c pass", ours, bare, HELP_AT_MOST_SECONDS)]


def _more_than(bench: str, what: str, ours: list[Sample], bare: list[Sample], at_most: float) -> Row:
    """A row whose target is how many seconds more it may take. The best runs count: short ones are often held up."""
    more = min(clock(ours)) - min(clock(bare))
    ratio = ratios(clock(ours), clock(bare))
    return Row(
        bench=bench,
        what=what,
        ours=seconds_text(spread(clock(ours)).median),
        peer=seconds_text(spread(clock(bare)).median),
        ratio=times(ratio.median),
        between=f"{digits(ratio.low)}-{digits(ratio.high)}",
        cpu_ratio=times(ratios(cpu(ours), cpu(bare)).median),
        target=f"+{at_most * 1000:.0f} ms",
        met=more <= at_most,
        numbers={"ours": [plain(s) for s in ours], "peer": [plain(s) for s in bare], "more": more},
    )


# ------------------------------------------------------------------------------------------------ rotation


def rotation(bench: Bench) -> list[Row]:
    """What the generations of 10,000 credentials cost on top of reading, checking and compiling them."""
    say("rotation: 10,000 credentials")
    root = roots.with_credentials(bench.fresh("rotation"), 10_000)
    found = rounds(
        {
            "with what is known of them": lambda: inside("rotation", root),
            "compile": lambda: inside("everything", root),
        },
        max(bench.rounds, 5),
        say,
    )
    ours, bare = (insides(found[name]) for name in ("with what is known of them", "compile"))
    return [_more_than("rotation", "rotation 10,000: compile", ours, bare, ROTATION_AT_MOST_SECONDS)]


# ------------------------------------------------------------------------------------------------- explain

READ_ALL = "import sys, ryaml; ryaml.loads(open(sys.argv[1]).read())"


def explain(bench: Bench) -> list[Row]:
    """`cf-infra explain` on the repository's own grants, and on 100,000 against a parser that only reads them."""
    say("explain: the repository's grants, and 100,000")
    root = roots.on_demand(bench.fresh("explain-100000"), 100_000)
    today = roots.TODAY.isoformat()
    small = rounds(
        {
            "repository": lambda: command(
                "explain", "pytorch-cpu", "gpu-large", "--user", "h-vetinari", "--root", OURS.parents[1]
            ),
            "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
        },
        max(bench.rounds, HELP_ROUNDS),
        lambda _line: None,
    )
    large = rounds(
        {
            "100,000": lambda: command("explain", "package-090000", "gpu", "--root", root, "--today", today),
            "no entry": lambda: command("explain", "package-09000", "gpu", "--root", root, "--today", today),
            "ryaml": lambda: run([sys.executable, "-c", READ_ALL, root / "grants.yaml"]),
        },
        bench.rounds,
        say,
    )
    whole = EXPLAIN_LARGE_AT_MOST_SECONDS
    return [
        _whole_process(
            "explain: python -c pass", small["repository"], small["python -c pass"], EXPLAIN_AT_MOST_SECONDS
        ),
        _whole_process("explain 100,000: ryaml", large["100,000"], large["ryaml"], whole),
        _whole_process("  a name that is not there", large["no entry"], large["ryaml"], whole),
    ]


def _whole_process(what: str, ours: list[Sample], peer: list[Sample], at_most: float) -> Row:
    """A row whose target is a time by the clock. The best run counts: so short a one is often held up as a whole."""
    row = share_of("explain", what, ours, peer, None)
    best, of_cpu = min(clock(ours)), spread(cpu(ours)).median
    target = f"< {at_most * 1000:.0f} ms" if at_most < 1 else f"< {at_most:g} s"
    told = f"{what.strip()}: best {seconds_text(best)} by the clock, {seconds_text(of_cpu)} of CPU."
    if best < at_most or not is_busy():
        return replace(row, target=target, met=best < at_most, remark=told)
    return replace(row, target=target, remark=f"{told} The machine was busy, so that is no answer.")


# ---------------------------------------------------------------------------------------------------- diff


def diff_of_changed(bench: Bench) -> list[Row]:
    """`cf-infra diff` of 10,000 grants against the same with other ends and conditions, in two kinds of folders."""
    say("diff: 10,000 grants against 10,000 changed ones")
    shared = (roots.on_demand(bench.fresh(f"diff-{side}"), 10_000) for side in ("base", "head"))
    own = (roots.dedicated(bench.fresh(f"diff-own-{side}"), 10_000) for side in ("base", "head"))
    pairs = {"shared": tuple(shared), "own": tuple(own)}
    for _, head in pairs.values():
        roots.changed(head)
    programs = {name: partial(_diff, *pair) for name, pair in pairs.items()}
    peer = "python -c pass"
    found = rounds({**programs, peer: lambda: run([sys.executable, "-c", "pass"])}, bench.rounds, say)
    rows = [
        share_of("diff", "diff 10,000: python -c pass", found["shared"], found[peer], None),
        share_of("diff", "  each with its machine", found["own"], found[peer], None),
    ]
    best = min(cpu(found["shared"]))
    rows[0] = replace(rows[0], target=f"< {DIFF_AT_MOST_SECONDS:g} s", met=best < DIFF_AT_MOST_SECONDS)
    memory = _memory("  peak memory, in MB", found["shared"])
    met = max(sample.peak_mb for sample in found["shared"]) < DIFF_PEAK_AT_MOST_MB
    return [*rows, replace(memory, bench="diff", target=f"< {DIFF_PEAK_AT_MOST_MB:.0f}", met=met)]


def _diff(base: Path, head: Path) -> Sample:
    return command("diff", base, head, "--today", roots.TODAY.isoformat())
