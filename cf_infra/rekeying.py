"""`state rekey`: every state is written anew under the current master key, one after the other, as often as needed.

OpenTofu reads with the key that a state names and writes with the current one (keyprovider.py), so a state is under
one key or the other at any moment, and a run that was killed is simply run again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cf_infra import deploy, files, keys, recovery, state_place, waves
from cf_infra.bucket import hidden
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.events import Event
from cf_infra.keyprovider import fingerprint
from cf_infra.project import Folder
from cf_infra.record import discard
from cf_infra.tofu import Masker, Tofu, Tool, find

Say = Callable[[str], None]
DONE, ALREADY, LEFT = "rewritten", "current", "left"


@dataclass(frozen=True)
class Rekeyed:
    """What became of each state (rewritten, current, left), and why something is left."""

    stacks: dict[str, str]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    interrupted: bool = False

    @property
    def left(self) -> list[str]:
        """Those that are not under the current key."""
        return [name for name, outcome in self.stacks.items() if outcome == LEFT]


def rekey(folder: Folder, names: Sequence[str], say: Say) -> Rekeyed:
    """Have the states of the named stacks, or all, under the current key. Raises Failure if nothing can be begun."""
    found = {d.name: d for d in state_place.with_state(folder)}
    strange = [name for name in names if all(name not in (d.name, d.stack) for d in found.values())]
    if strange:
        known = ", ".join(found) or "none"
        raise Failure(
            *(
                Diagnostic("unknown-stack", detail=f"There is no state of `{n}`. There are: {known}.")
                for n in strange
            )
        )
    chosen = {name: d for name, d in found.items() if not names or name in names or d.stack in names}
    tool = find(files.PROJECT) if chosen else None
    if tool is None:
        return Rekeyed({})

    def one(name: str) -> str:
        return _one(folder, chosen[name], tool, waves.prefixed(say, name))

    done, failed, interrupted = waves.in_parallel(list(chosen), one, folder.inventory.settings.jobs)
    told = [fault for faults in failed.values() for fault in faults]
    return Rekeyed({name: done.get(name, LEFT) for name in chosen}, told, interrupted)


def _one(folder: Folder, deployment: Deployment, tool: Tool, say: Say) -> str:
    sources = deploy.key_sources(folder, deployment)
    ring = keys.ring(sources, folder.root, deployment.name)
    place = state_place.backend(folder.inventory.settings.state, deployment)
    if isinstance(place, Path):
        if recovery.restore(place):
            say("its state was cut off by a killed run: its backup is used")
        if recovery.is_cut_off(place):
            raise Failure(recovery.cut_off(place))
    made = state_place.made_with(state_place.read_state(folder, deployment))
    if made != ring.fingerprint:
        _ensure_readable(deployment, made, ring)
        say("encrypting its state again")
        _write(folder, deployment, sources, tool, place, say)
        if state_place.made_with(state_place.read_state(folder, deployment)) != ring.fingerprint:
            raise Failure(Diagnostic("bug", detail=f"The state of `{deployment.name}` kept its key."))
        if deployment.plan.exists():
            discard(deployment)
            say("its saved plan was made before: plan again")
    if isinstance(place, Path):
        _renew_backup(place, ring)
    return ALREADY if made == ring.fingerprint else DONE


def _ensure_readable(deployment: Deployment, made: str | None, ring: keys.Ring) -> None:
    if ring.previous is not None and made == fingerprint(ring.previous):
        return
    if made is None:
        detail = f"The state of `{deployment.name}` does not say which key it was encrypted with."
        hint = "if it was made by something else than cf-infra, plan with that"
        raise Failure(Diagnostic("foreign-state", detail=detail, hint=hint))
    others = "" if ring.previous is None else f" and {fingerprint(ring.previous)}"
    detail = f"The state of `{deployment.name}` was encrypted with a key of fingerprint {made}"
    detail += f"; those at hand have {ring.fingerprint}{others}."
    hint = "name where that key lies in settings.yaml, under `state.previous`"
    raise Failure(Diagnostic("wrong-key", detail=detail, hint=hint))


def _write(
    folder: Folder,
    deployment: Deployment,
    sources: keys.Sources,
    tool: Tool,
    place: Path | dict[str, str],
    say: Say,
) -> None:
    environment = {
        **keys.encryption_environment(sources, deployment.name, os.environ),
        **state_place.login(folder.inventory.settings.state, deployment.cloud, os.environ),
    }
    alone = Tool(tool.tofu, tool.tofurc, None, tool.versions)

    def tell(event: Event) -> None:
        if event.kind in ("text", "interrupt") and event.level != "info":
            say(event.message)

    # A folder of its own needs no provider, and nothing of the stack's configuration.
    with tempfile.TemporaryDirectory() as aside:
        kind = "local" if isinstance(place, Path) else "s3"
        Path(aside, "main.tf.json").write_text(json.dumps({"terraform": {"backend": {kind: {}}}}))
        tofu = Tofu(
            alone, Path(aside), environment, tell, masker=Masker(hidden(os.environ)), root=folder.root
        )
        tofu.init(place)
        if isinstance(place, Path):
            recovery.need_room(place.parent)
            recovery.back_up(place)
        tofu.encrypt_again()


def _renew_backup(state: Path, ring: keys.Ring) -> None:
    """A backup that only the previous key opens would be of no use soon."""
    backup = state.with_name(state.name + ".backup")
    if backup.is_file() and state_place.made_with(backup.read_bytes()) != ring.fingerprint:
        recovery.back_up(state)


def text(done: Rekeyed) -> str:
    """What was done and what is left, for people."""
    words = {
        DONE: "encrypted again, under the current key",
        ALREADY: "under the current key already",
        LEFT: "left",
    }
    lines = [f"{name}: {words[outcome]}" for name, outcome in done.stacks.items()]
    if done.left:
        lines.append(f"{len(done.left)} left: mend what is said above, then run the same again.")
    elif done.stacks:
        lines.append(
            "No state needs the previous key. Passwords made with it do, until their generations are retired."
        )
    return "\n".join(lines or ["There is no state yet."])
