"""The second half of `make demo`: from a request to a runner and back, between stand-ins for GitHub and Cirun.

OpenTofu and its provider for GitHub are the real ones; GitHub itself and Cirun are those of tests/, on this machine.
Alone: `.venv/bin/python demo/access.py`. Nothing is asked that is not on this machine, and nothing of it stays.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from feedstock_world import World, between_stand_ins
from roots import Ran
from stage import expect

from cf_infra import tofu
from cf_infra.feedstock import BUILD_CONFIG

REQUEST = "action: cirun\nfeedstocks:\n  - numpy\nresources:\n  - cirun-gpu-large\n"
PROGRESS = re.compile(r" *[0-9.]+s  ")
ALL = 99
"""Lines of a command's output that are shown."""
WHO = ("--requested-by", "alice", "--reason", "CUDA tests", "--request", "https://example.org/1")


def main() -> int:
    """The demo; 0 if everything that it claims was seen."""
    if "github" not in tofu.find(ROOT).locks:
        print("Left out: OpenTofu's provider for GitHub is not here. `make setup` builds it.")
        return 0
    with tempfile.TemporaryDirectory(prefix="cf-infra-demo-") as folder:
        root = Path(folder) / "root"
        with between_stand_ins(root, command) as world:
            os.environ |= {**world.environment(), "CF_INFRA_KEY_FILE": world.key()}
            world.grants()
            alice = world.github.state.add_member("alice")
            world.numpy.collaborators[alice.id] = "maintain"
            there(world)
            back(world)
    return 0


def there(world: World) -> None:
    """A request becomes an entry, a line of the access list, and lines of the feedstock."""
    quote("A request, as conda-forge's people write it:", REQUEST)
    year = datetime.now(UTC).date() + timedelta(days=365)
    request(world, REQUEST, "--expires", year.isoformat())
    show(world, "plan")
    show(world, "apply")
    quote(".access.yml at GitHub:", access_list(world))
    show(world, "activate", "numpy", lines=2)
    world.merge()
    quote(f"Its pull request, merged by a maintainer; {BUILD_CONFIG} says:", str(world.file(BUILD_CONFIG)))
    told = show(world, "explain", "numpy", "gpu-large", "--user", "alice", "--live", lines=2)
    expect(told.startswith("Yes"), "alice's jobs may run there")


def back(world: World) -> None:
    """The same request with `revoke: true`, and nothing of the access is left."""
    print("The same request with `revoke: true`:\n")
    request(world, REQUEST + "revoke: true\n", lines=0)
    show(world, "plan", lines=6)
    told = show(world, "apply")
    expect("Cirun: active for" in told and not world.is_active, "Cirun makes no runners for numpy any more")
    expect("numpy" not in access_list(world), "the access list does not name it")
    told = show(world, "explain", "numpy", "gpu-large", "--user", "alice", lines=2)
    expect(told.startswith("No"), "alice's jobs may not run there")
    told = show(world, "audit")
    expect(told.startswith("No findings"), "an audit finds nothing")


def quote(what: str, text: str) -> None:
    """A file, indented."""
    print(what, *(f"    {line}" for line in text.splitlines()), "", sep="\n")


def request(world: World, text: str, *more: str, lines: int = ALL) -> None:
    """The request in a file, and what it makes of grants.yaml."""
    file = world.root.parent / "numpy.yml"
    file.write_text(text)
    show(world, "import", "requests", str(file), *WHO, *more, lines=lines)


def access_list(world: World) -> str:
    """The access list at GitHub."""
    cirun = world.github.state.repository("conda-forge", ".cirun")
    if cirun is None:
        return ""
    return cirun.commits[cirun.branches["main"]].files[".access.yml"].decode()


def show(world: World, *arguments: str, lines: int = ALL, code: int = 0) -> str:
    """One command as a person types it and what it prints, at most `lines`; ends the demo if `code` is another."""
    words = shlex.join(Path(word).name if word.startswith("/") else word for word in arguments)
    print(f"$ cf-infra {words}", flush=True)
    ran = command(*arguments, "--root", str(world.root))
    printed = ran.out.rstrip().splitlines()
    for line in printed[:lines]:
        print(f"  {line}".rstrip())
    if printed[lines:]:
        print(f"  ... and {len(printed) - lines} more lines")
    if code:
        print(*(f"  {line}".rstrip() for line in ran.err.splitlines() if not PROGRESS.match(line)), sep="\n")
    right = f"`cf-infra {words}` ends with {code}, and it was {ran.code}: {ran.err}"
    expect(ran.code == code, right, quiet=True)
    print(flush=True)
    return ran.out


def command(*arguments: str) -> Ran:
    """Run one command of cf-infra in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "cf_infra", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


if __name__ == "__main__":
    sys.exit(main())
