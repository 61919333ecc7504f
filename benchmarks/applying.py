"""`cf-infra apply` against bare `tofu apply` of the same folder, on a real OpenStack: what the care around it costs.

Both make the same cloud from nothing: project, flavor, image, network and servers. In each round cf-infra plans and
applies its own folder, everything is destroyed, and bare OpenTofu does the same in a copy of that folder with the same
providers, encryption and environment; only the two applies are timed.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import roots
from benchmarks.benches import CF_INFRA, Bench
from benchmarks.measure import (
    BenchError,
    NotHere,
    Sample,
    clock,
    ratios,
    rounds,
    run,
    say,
    seconds_text,
    spread,
)
from benchmarks.table import Row, digits, is_busy, plain, times
from cf_infra import deploy, keys, project, sandbox
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Failure
from cf_infra.tofu import child_environment

MACHINES = 4
SHARE_AT_MOST = 1.05
SECONDS_AT_MOST = 1.0
"""`cf-infra apply` may take 5 % and this much longer."""
UNSTEADY = 1.5
"""If the bare runs alone differ by more than that, a miss says nothing."""
CLOUD = "sandbox"


def apply_against_bare(bench: Bench) -> list[Row]:
    """From nothing, and with nothing to change. Raises NotHere where no sandbox can run."""
    say(f"apply: {MACHINES} machines on the sandbox")
    root = roots.small(bench.fresh("apply"), MACHINES, CLOUD)
    with _sandbox(bench, root):
        place = _Place(root, _bare_environment(root))
        found = rounds(
            {
                "cf-infra apply": place.ours,
                "cf-infra apply, nothing new": place.ours_again,
                "tofu apply": place.bare,
                "tofu apply, nothing new": place.bare_again,
            },
            bench.rounds,
            say,
        )
    return [
        _row("apply: bare tofu apply", found["cf-infra apply"], found["tofu apply"], asked=True),
        _row(
            "  with nothing to change",
            found["cf-infra apply, nothing new"],
            found["tofu apply, nothing new"],
            asked=False,
        ),
    ]


def _row(what: str, ours: Sequence[Sample], bare: Sequence[Sample], asked: bool) -> Row:
    ratio = ratios(clock(ours), clock(bare))
    # The provider looks every 5 to 10 s whether a thing is ready, and runs differ by that: the best ones are compared.
    over = min(clock(ours)) - SHARE_AT_MOST * min(clock(bare))
    met = over <= SECONDS_AT_MOST
    why = "" if met or not asked else _doubt(bare)
    return Row(
        bench="apply",
        what=what,
        ours=seconds_text(spread(clock(ours)).median),
        peer=seconds_text(spread(clock(bare)).median),
        ratio=times(ratio.median),
        between=f"{digits(ratio.low)}-{digits(ratio.high)}",
        target="+5% +1 s" if asked else "",
        met=met if asked and not why else None,
        remark=f"{what}: too slow, but {why}, so nothing can be said." if why else "",
        numbers={
            "ours": [plain(s) for s in ours],
            "peer": [plain(s) for s in bare],
            "ratio": asdict(ratio),
            "seconds_over_5_percent": over,
        },
    )


def _doubt(bare: Sequence[Sample]) -> str:
    """Why a miss may be the neighbours' fault; empty if it is ours."""
    differ = max(clock(bare)) / min(clock(bare))
    if differ > UNSTEADY:
        return f"the bare runs alone differ by {times(differ)}"
    return "the machine was busy with other things" if is_busy() else ""


@dataclass(frozen=True)
class _Place:
    """The root folder, and the environment of OpenTofu beside cf-infra."""

    root: Path
    environment: dict[str, str]

    def ours(self) -> Sample:
        """cf-infra's plan and apply from nothing; the time of the apply."""
        for name in ("build", ".state"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        return self._ours()

    def ours_again(self) -> Sample:
        """The same once more, with nothing to change; then all is destroyed."""
        sample = self._ours()
        self._copy()
        self._destroy(self.root / "build" / roots.STACK)
        return sample

    def _ours(self) -> Sample:
        run([CF_INFRA, "plan", "--root", self.root, "--today", roots.TODAY.isoformat()])
        return run([CF_INFRA, "apply", "--root", self.root])

    def bare(self) -> Sample:
        """OpenTofu's init, plan and apply in the copy; the time of the apply."""
        state = self._copied() / "terraform.tfstate"
        self._tofu("init", f"-backend-config=path={state}")
        return self._bare()

    def bare_again(self) -> Sample:
        """The same once more, with nothing to change; then all is destroyed."""
        sample = self._bare()
        self._destroy(self._copied())
        return sample

    def _bare(self) -> Sample:
        self._tofu("plan", "-out=bare.plan")
        return self._tofu("apply", "bare.plan")

    def _tofu(self, command: str, argument: str) -> Sample:
        return run(
            [self.environment["TOFU"], command, "-input=false", argument], self.environment, self._copied()
        )

    def _copied(self) -> Path:
        return self.root / "bare" / roots.STACK

    def _copy(self) -> None:
        """The folder as cf-infra compiled it, without what OpenTofu and the plan left there."""
        shutil.rmtree(self.root / "bare", ignore_errors=True)
        ignore = shutil.ignore_patterns(".terraform", "plan", "*.tfstate*")
        shutil.copytree(self.root / "build" / roots.STACK, self._copied(), ignore=ignore)

    def _destroy(self, folder: Path) -> None:
        run([self.environment["TOFU"], "destroy", "-auto-approve", "-input=false"], self.environment, folder)


def _bare_environment(root: Path) -> dict[str, str]:
    """What cf-infra gives to OpenTofu, and the password that it hands over apart from that."""
    folder = project.read(root, roots.TODAY)
    try:
        ready = deploy.prepare(folder, Deployment(root, roots.STACK, CLOUD, own=True), say)
    except Failure as failure:
        raise BenchError(str(failure)) from None
    encryption = keys.encryption_environment(ready.sources, ready.deployment.name, os.environ)
    given = child_environment(ready.tool, {**ready.around.environment(), **encryption}, os.environ)
    secret = ready.around.secrets()["passwords"]
    passwords = ", ".join(f'"{name}" = "{value}"' for name, value in secret.items())
    return {**given, "TF_VAR_passwords": f"{{{passwords}}}", "TOFU": str(ready.tool.tofu)}


# ------------------------------------------------------------------------------------------------ the cloud


@contextmanager
def _sandbox(bench: Bench, root: Path) -> Iterator[None]:
    """A running sandbox, the one that the caller names, else one of our own; this process and its children find it."""
    named = os.environ.get("CF_INFRA_SANDBOX_DIR")
    state = Path(named) if named else bench.fresh("sandbox")
    port = os.environ.get("CF_INFRA_SANDBOX_PORT") or str(_free_base_port())
    os.environ |= {"CF_INFRA_SANDBOX_DIR": str(state), "CF_INFRA_SANDBOX_PORT": port}
    os.environ["XDG_CONFIG_HOME"] = str(bench.folder / "config")  # the key is of no use afterwards
    if named and sandbox.running(state):
        say(f"  the sandbox in {state} is used")
        yield
        return
    say(f"  starting a sandbox on port {port}")
    try:
        run([CF_INFRA, "sandbox", "up", "--root", root])
    except BenchError as error:
        raise NotHere(f"No sandbox can be started here.\n{error}") from None
    try:
        yield
    finally:
        run([CF_INFRA, "sandbox", "down", "--root", root])


def _free_base_port() -> int:
    """The first of as many free ports in a row as the sandbox has services."""
    for base in range(24_000, 60_000, 10):
        if all(_is_free(base + offset) for offset in range(len(sandbox.SERVICES))):
            return base
    raise NotHere("There are no five free ports in a row on 127.0.0.1.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((sandbox.ADDRESS, port)) != 0
