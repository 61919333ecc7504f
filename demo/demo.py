"""`make demo`: the main job of the project, whole, on the OpenStack of sandbox/: see what each step prints.

Runs the same commands that a person would type, and asks OpenStack itself in between. Its parts: turning.py about
logins; access.py the way from a request, and review.py that of a pull request, both without servers. Everything
stays on this machine; a second run starts from where the first one ended.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import access
import review
import turning
from stage import expect, say

from cf_infra import lab, openstack

ROOT = Path(__file__).resolve().parent.parent
STACK = "quansight-v100"
CLOUD = ["--cloud", f"{STACK}=sandbox"]
DEDICATED = "libmagma"
ON_DEMAND = "conda-smithy"
STRANGER = "numpy"
CLASS = "gpu-large"
LABEL = f"cirun-openstack-{CLASS}"


def main() -> int:
    """The demo; 0 if everything that it claims was seen."""
    say("1  A real OpenStack on this machine, with the hosts of the stack file")
    run("sandbox", "up", STACK)
    say("2  grants.yaml is checked, planned, applied")
    run("check")
    run("plan", STACK, *CLOUD)
    run("apply", STACK)
    run("status", STACK, "--live")
    say("3  What OpenStack itself reports")
    there = servers()
    expect(any(DEDICATED in name for name in there), f"{DEDICATED} has its server")
    say("4  A job on demand, in the way that Cirun runs them")
    run("sandbox", "job", ON_DEMAND, CLASS)
    say("   and one without a grant is refused")
    run("sandbox", "job", STRANGER, CLASS, code=1)
    with tempfile.TemporaryDirectory(prefix="cf-infra-demo-") as folder:
        copy = Path(folder)
        say("5  One grant of each kind is revoked, in a throw-away copy of the files")
        revoke(copy)
        run("plan", STACK, *CLOUD, root=copy)
        run("apply", STACK, root=copy)
        say("6  What OpenStack has now")
        there = servers()
        expect(not any(DEDICATED in name for name in there), f"the server of {DEDICATED} is gone")
        run("sandbox", "job", ON_DEMAND, CLASS, root=copy, code=1)
    say("7  A login turns, with an overlap; then one that leaked is replaced and refused at once")
    turning.main()
    say("8  From a request to a runner and back, between stand-ins for GitHub and Cirun on this machine")
    access.main()
    say("9  A pull request says what it will do, and only what was reviewed is applied")
    review.main()
    say("Done. What to do next")
    print(NEXT)
    return 0


NEXT = f"""  The sandbox still runs, and grants.yaml still grants what was revoked in the copy. A day's work:

    . .venv/bin/activate
    cf-infra plan {STACK} --cloud {STACK}=sandbox    # shows that {DEDICATED} would get its server again
    cf-infra apply {STACK}
    $EDITOR grants.yaml                              # grant or revoke something, then plan and apply
    cf-infra status --live
    cf-infra sandbox down

  To give machines yourself: docs/stacks.md. To try the whole thing by hand: README.md."""


def run(*arguments: str, root: Path = ROOT, code: int = 0) -> None:
    """One command of cf-infra as a person types it; ends the demo if it does not end with `code`."""
    shown = " ".join(["cf-infra", *(["--root", "COPY"] if root != ROOT else []), *arguments])
    print(f"$ {shown}", flush=True)
    command = [sys.executable, "-m", "cf_infra", *arguments, "--root", str(root)]
    done = subprocess.run(command, check=False, cwd=ROOT)
    print(flush=True)
    if done.returncode == 130:
        sys.exit(130)
    expect(done.returncode == code, f"`{shown}` ends with {code}, and it was {done.returncode}", quiet=True)


def servers() -> list[str]:
    """The servers of the stack as Nova tells them, with the GPUs that Placement counts for them."""
    with openstack.connected(openstack.login(openstack.SANDBOX, lab.state_dir(ROOT))) as cloud:
        found = openstack.servers(cloud, STACK, admin=True)
        for server in found:
            gpus = ", ".join(openstack.gpus_of(cloud, server.id)) or "no GPU"
            print(f"  {server.status:<7} {server.grant:<40} {gpus}")
    if not found:
        print("  none")
    return [server.name for server in found]


def revoke(copy: Path) -> None:
    """A copy of the repository's files without one dedicated and one on-demand grant; state is shared."""
    for name in ("grants.yaml", "settings.yaml"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("stacks", "users"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / ".state").symlink_to(ROOT / ".state")
    path = copy / "grants.yaml"
    before = path.read_text(encoding="utf-8")
    after = without(without(before, DEDICATED, "gpu-dedicated"), ON_DEMAND, LABEL)
    path.write_text(after, encoding="utf-8")
    subprocess.run(
        ["git", "--no-pager", "diff", "--no-index", "--stat", ROOT / "grants.yaml", path], check=False
    )
    print(f"  - {DEDICATED}: gpu-dedicated\n  - {ON_DEMAND}: {LABEL}\n", flush=True)


def without(text: str, feedstock: str, resource: str) -> str:
    """grants.yaml without the entry of `feedstock` that grants `resource` and nothing else."""
    entry = rf"  - feedstock: {re.escape(feedstock)}\n    resources: \[{re.escape(resource)}\]\n(?:    .*\n)*"
    left, count = re.subn(entry, "", text)
    expect(count == 1, f"grants.yaml has one entry for {feedstock} with {resource}", quiet=True)
    return left


if __name__ == "__main__":
    sys.exit(main())
