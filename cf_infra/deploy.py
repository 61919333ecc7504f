"""plan, apply and destroy of one stack: OpenTofu in the middle, what is around it asked before and after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from cf_infra import (
    bucket,
    drift,
    files,
    inventory,
    keys,
    kinds,
    last_grants,
    ledger,
    plan,
    progress,
    receipts,
    record,
    recording,
    state_place,
)
from cf_infra.deployment import (
    Deployment,
    InventoryFile,
    begun_at,
    load_inventory,
    load_proven,
    note_begun,
    resources,
    save_inventory,
    save_learned,
    save_proven,
)
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.files import digest, write, write_tree
from cf_infra.kinds import Say
from cf_infra.logins import Logins
from cf_infra.material import Material
from cf_infra.model import KeySource, State
from cf_infra.names import is_sandbox
from cf_infra.openstack import Login
from cf_infra.parse import OVERRIDES
from cf_infra.project import CLOUD_VALUES, KEPT, Folder
from cf_infra.resolve import ResolvedStack
from cf_infra.surroundings import Found, Surroundings
from cf_infra.tofu import Masker, Tofu, Tool, find

if TYPE_CHECKING:
    from cf_infra.plan import PlanSummary


@dataclass(frozen=True)
class Run:
    """What every step on one deployment needs."""

    folder: Folder
    deployment: Deployment
    stack: ResolvedStack
    around: Surroundings
    tool: Tool
    sources: keys.Sources
    ring: keys.Ring = field(repr=False)
    login: Login | None
    say: Say

    def tofu(self, words: Mapping[str, str] | None = None) -> Tofu:
        """OpenTofu in the stack's folder, its state and plans encrypted. `words`: what to call addresses."""
        environment = {
            **self.around.environment(),
            **keys.encryption_environment(self.sources, self.deployment.name, os.environ),
            **state_place.login(self._settings, self.deployment.cloud, os.environ),
        }
        return Tofu(
            self.tool,
            self.deployment.build,
            environment,
            progress.teller(self.say, {**self.around.words(), **(words or {})}),
            masker=Masker([*self.around.hidden(), *bucket.hidden(os.environ)]),
            root=self.folder.root,
        )

    def logins(self) -> Logins:
        """The stack's credentials."""
        settings = self.folder.inventory.settings
        return Logins(
            self.deployment,
            self.stack,
            settings,
            self.ring,
            self.login,
            os.environ,
            self.folder.today,
            self.say,
        )

    @property
    def _settings(self) -> State:
        return self.folder.inventory.settings.state

    @property
    def state(self) -> Path | dict[str, str]:
        """The file of its state, or what OpenTofu's backend in S3 is told."""
        return state_place.backend(self._settings, self.deployment)

    def share(self) -> None:
        """Have what lies beside the state where the state is. Call it after each file that must not be lost."""
        state_place.share(self.folder, self.deployment, self.say)

    def shared(self) -> AbstractContextManager[None]:
        """As `share`, at the end and however it ends."""
        return state_place.sharing(self.folder, self.deployment, self.say)


def prepare(folder: Folder, deployment: Deployment, say: Say) -> Run:
    """Everything that can be wrong before anything is done. Raises Failure."""
    folder = replace(folder, ledgers={**folder.ledgers, deployment.stack: ledger.load(deployment.state)})
    stack = folder.resolved().stacks[deployment.stack]
    tool = kinds.tool_for(stack.stack.kind, find(files.PROJECT))
    login = kinds.login(folder, deployment, stack)
    sources = key_sources(folder, deployment)
    ring = keys.ring(sources, folder.root, deployment.name)
    around = kinds.surroundings(folder, deployment, stack, login, ring, say)
    cloud = login if isinstance(login, Login) else None
    return Run(folder, deployment, stack, around, tool, sources, ring, cloud, say)


def key_sources(folder: Folder, deployment: Deployment) -> keys.Sources:
    """Where the keys come from: files of their own for the sandbox, where a missing one is made."""
    if is_sandbox(deployment.cloud):
        own = keys.sandbox_key_file(os.environ)
        before = own.with_name("sandbox.previous.key")
        return keys.Sources(keys.KeyFile(own), keys.KeyFile(before) if before.exists() else None, create=True)
    return shared_key_sources(folder.inventory.settings.state)


def shared_key_sources(state: State) -> keys.Sources:
    """Where the keys of all states come from that are not the sandbox's."""
    default = keys.sandbox_key_file(os.environ).with_name("state.key")
    current = _key_source(state.key, "CF_INFRA_KEY_FILE")
    previous = _key_source(state.previous or KeySource(), "CF_INFRA_PREVIOUS_KEY_FILE")
    return keys.Sources(current or keys.KeyFile(default), previous)


def _key_source(wanted: KeySource, variable: str) -> keys.KeySource | None:
    if wanted.command:
        return keys.KeyCommand(tuple(wanted.command))
    named = os.environ.get(variable) or wanted.file
    return keys.KeyFile(Path(named).expanduser()) if named else None


# ------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Planned:
    """A saved plan and what it would do."""

    deployment: Deployment
    record: record.Record
    diagnostics: list[Diagnostic]


@dataclass(frozen=True)
class Wish:
    """What is asked of one plan. `elsewhere`: the pairs that lose access at other stacks of the same run.

    `at_terminal`: the stacks whose allowance somebody typed; `ask`: False for a plan of a copy that asks no cloud: it
    locks nothing, and no journal has it.
    """

    allowances: Mapping[str, int]
    elsewhere: frozenset[str] = frozenset()
    refresh: bool = True
    destroy: bool = False
    at_terminal: frozenset[str] = frozenset()
    ask: bool = True


def plan_stack(run: Run, wish: Wish) -> Planned:
    """Compile, ask OpenTofu, save the plan and what it was made from. Changes nothing at the cloud."""
    deployment, around = run.deployment, run.around
    compiled = around.compiled()
    write_tree(deployment.build, compiled, keep=KEPT)
    tofu = run.tofu()
    record.discard(deployment)
    with around.connected() as connection:
        begun = _same_cloud(run, around.identity(connection))
        tofu.init(run.state)
        if isinstance(run.state, Path):
            tofu.begin(run.state)
        state = tofu.show_state()
        found = around.look(connection, state, wish.destroy)
    if found.claims and not begun:
        raise Failure(_of_another(run, found))
    tofu.lose(found.gone)
    for note in found.notes:
        run.say(note)
    write(deployment.build / CLOUD_VALUES, _cloud_values(found))
    deployment.plan.parent.mkdir(parents=True, exist_ok=True)
    run.say("asking OpenTofu for a plan")
    tofu.plan(
        deployment.plan,
        destroy=wish.destroy,
        refresh=wish.refresh and wish.ask,
        lock=wish.ask,
        secrets=around.secrets(),
    )
    shown = tofu.show_plan(deployment.plan)
    if not wish.ask:  # what was looked up before is not in the plan, and is in the state
        shown["prior_state"] = state
    told = [*_lost(run, state), *found.told]
    return _planned(run, tofu, compiled, replace(found, told=told), wish, shown)


def drift_stack(run: Run) -> list[plan.Item]:
    """What somebody changed at the stack's place behind our back. Changes neither the place nor the state.

    Raises Failure, also not-applied, and foreign-state where another place was applied to.
    """
    deployment, around = run.deployment, run.around
    write_tree(deployment.build, around.compiled(), keep=KEPT)
    tofu = run.tofu()
    with around.connected() as connection:
        before = begun_at(deployment)
        if before is None:
            raise Failure(not_applied(run.stack.name))
        if before != around.identity(connection):
            raise Failure(_of_another_place(run))
        tofu.init(run.state)
        found = around.look(connection, tofu.show_state(), destroy=False)
    write(deployment.build / CLOUD_VALUES, _cloud_values(found))
    run.say("comparing a plan that looks at the cloud with one that believes the state")
    looked, believed = (_summary(run, tofu, _shown(run, tofu, refresh)) for refresh in (True, False))
    return drift.drifted(looked, believed, found.gone)


def _shown(run: Run, tofu: Tofu, refresh: bool) -> dict[str, Any]:
    """A plan that nobody keeps."""
    aside = run.deployment.plan.with_name("drift.plan")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        tofu.plan(aside, refresh=refresh, lock=False, secrets=run.around.secrets())
        return tofu.show_plan(aside)
    finally:
        aside.unlink(missing_ok=True)


def not_applied(name: str) -> Diagnostic:
    """Nothing of a stack is there yet."""
    detail = f"Nothing of `{name}` was ever applied."
    return Diagnostic("not-applied", detail=detail, hint=f"cf-infra plan {name} && cf-infra apply {name}")


def _lost(run: Run, state: Mapping[str, Any]) -> list[Diagnostic]:
    """A warning if the state is empty, and what the last run left beside it says that it should not be."""
    known = load_inventory(run.deployment.state)
    if known is None or any(resources(state.get("values") or {})):
        return []
    if not (
        known.machines or known.project or known.flavors or known.users or known.credentials or known.holds
    ):
        return []
    name = run.deployment.name
    detail = f"There is no state of `{name}`, and the inventory of {known.applied_at} says that something is deployed."
    hint = "bring the state back from a backup, or from an older version in the bucket: docs/recovery.md#state-lost\n"
    hint += "Without one, this plan starts anew: it adopts or removes what it finds by its marks"
    return [Diagnostic("state-lost", detail=detail, hint=hint)]


def _cloud_values(found: Found) -> bytes:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(found.values, option=options)


def _of_another(run: Run, found: Found) -> Diagnostic:
    """Nothing was ever applied from this folder, so what is there is somebody's who has the state of it."""
    name = run.deployment.name
    detail = (
        f"`{run.around.where}` has {found.claims} things with the marks of `{run.stack.name}`, and nothing was ever "
        "applied from this folder: they belong to a state that lies elsewhere."
    )
    hint = f"bring that state here, from where it was applied:\ncp -a OTHER/.state/{name} .state/"
    if is_sandbox(run.deployment.cloud):
        hint += "\nor empty the sandbox:\ncf-infra sandbox reset"
    return Diagnostic("foreign-state", detail=detail, hint=hint)


def _same_cloud(run: Run, cloud_id: str) -> bool:
    """Was an apply ever begun here? Raises Failure if it was at another cloud.

    The sandbox is made anew at will: what is known of an old one is thrown away.
    """
    known = load_inventory(run.deployment.state)
    before = begun_at(run.deployment) or (known.cloud_id if known is not None else None)
    if before is None or before == cloud_id:
        return before is not None
    if is_sandbox(run.deployment.cloud):
        run.say("the sandbox was made anew: what is known of the old one is forgotten")
        for path in sorted(run.deployment.state.rglob("*"), reverse=True):
            if not path.name.startswith("journal."):
                path.rmdir() if path.is_dir() else path.unlink()
        recording.forgotten(run.deployment, run.say)
        return False
    raise Failure(_of_another_place(run))


def _of_another_place(run: Run) -> Diagnostic:
    name = run.deployment.name
    detail = f"The state of `{name}` was made in another place than `{run.around.where}` is now."
    hint = "look at clouds.yaml and settings.yaml; if it is really another one, destroy the stack there first"
    return Diagnostic("foreign-state", detail=detail, hint=hint)


def _planned(
    run: Run,
    tofu: Tofu,
    compiled: Mapping[str, bytes],
    found: Found,
    wish: Wish,
    shown: Mapping[str, Any],
) -> Planned:
    deployment, around = run.deployment, run.around
    summary = _summary(run, tofu, shown, found.parts)
    lost = sorted({*lost_pairs(run.folder, deployment, wish.destroy), *_unlisted(run, shown, found)})
    counts = _counts(run, summary, shown, found, lost, wish)
    refused = plan.limits(stack=run.stack.name, allowances=wish.allowances, **counts)
    refusals = [*summary.diagnostics, *refused]
    allowed = 0 if refused else plan.needed(**counts)
    head = record.head(run.folder.root)
    ended = ended_pairs(run.folder, deployment, wish.destroy)
    last = last_grants.ending(run.folder, deployment, ended)
    ours = last.items() if last_grants.may_ask(run.folder) else []
    beside = [*found.items, *around.beside(wish.destroy), *ours]
    saved = record.Record(
        stack=run.stack.name,
        cloud=deployment.cloud,
        own=deployment.own,
        today=run.folder.today.isoformat(),
        clock=(run.folder.clock or run.folder.today).isoformat(),
        head=head,
        inputs=record.digests(run.folder.files),
        compiled=digest({**compiled, **around.lists()}),
        review_digest=summary.review_digest,
        plan_digest=plan.plan_digest(deployment.plan.read_bytes(), compiled, head),
        summary=_with(summary.as_json(), beside),
        refusals=[[d.code, d.detail, d.hint] for d in refusals],
        lost=lost,
        remove=found.remove,
        strays=found.strays,
        destroy=wish.destroy,
        seen=found.seen,
        manual=[*around.by_hand(ended), *last.by_hand(ended, last_grants.planned(ours))],
        hashes=[list(row) for row in summary.hashes],
        credentials=[] if wish.destroy else run.logins().steps(),
        allowed=allowed,
        allowed_by=_allowed_by(run, wish) if allowed else "",
        learned=found.learned,
    )
    saved = record.signed(saved, run.ring.current)
    record.save(deployment, saved)
    if wish.ask:
        recording.planned(deployment, saved, run.say)
    told = [*tofu.warnings, *summary.diagnostics, *found.told, *around.findings(shown)]
    return Planned(deployment, saved, told)


def _summary(run: Run, tofu: Tofu, shown: Mapping[str, Any], beside: Iterable[plan.Part] = ()) -> PlanSummary:
    around = run.around
    return plan.summarise(shown, run.stack.name, around.owners(), tofu.versions(), around.divide(), beside)


_COUNTED = {"create": "add", "update": "change", "delete": "destroy"}


def _with(summary: dict[str, Any], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary with what is done beside OpenTofu."""
    counts = {"total": summary["total"] + len(beside)}
    for item in beside:
        name = _COUNTED[item["action"]]
        counts[name] = counts.get(name, summary[name]) + 1
    return {**summary, **counts, "items": [*summary["items"], *beside]}


def lost_pairs(folder: Folder, deployment: Deployment, destroy: bool) -> list[str]:
    """The pairs that have access at a stack since its last proven apply, and would have none."""
    before = load_proven(deployment.state)
    if before is None:
        return []
    stack = folder.resolved().stacks.get(deployment.stack)
    alive = () if destroy or stack is None else tuple(stack.access)
    return before.lost(alive, folder.today)


def ended_pairs(folder: Folder, deployment: Deployment, destroy: bool) -> list[str]:
    """All that had access and would have none, those whose known end has come as well."""
    before = load_proven(deployment.state)
    stack = folder.resolved().stacks.get(deployment.stack)
    alive = set() if destroy or stack is None else set(stack.access)
    return sorted(set(before.access) - alive) if before is not None else []


def _unlisted(run: Run, shown: Mapping[str, Any], found: Found) -> set[str]:
    """The pairs that a list which we take over has, or which somebody else wrote into it, and that would go.

    What ends by a date that was known when it was applied does not count.
    """
    before, after = (one | other for one, other in zip(run.around.pairs(shown), found.pairs, strict=True))
    proven = load_proven(run.deployment.state)
    ours = set(proven.access) if proven is not None else set()
    return before - after - ours


def _allowed_by(run: Run, wish: Wish) -> str:
    return "terminal" if run.stack.name in wish.at_terminal else OVERRIDES


def _counts(
    run: Run, summary: PlanSummary, shown: Mapping[str, Any], found: Found, lost: list[str], wish: Wish
) -> dict[str, Any]:
    """What the limits look at."""
    prior = inventory.server_ids(shown.get("prior_state") or {})
    everything = {key for stack in run.folder.resolved().stacks.values() for key in stack.access}
    # What a killed run left may go without asking. What a whole apply made may not, only because its state was lost.
    proven = load_proven(run.deployment.state)
    worked = {row.id for row in proven.machines} if proven is not None else set()
    unknown = [server for server, _, _ in found.remove if server in worked]
    return {
        "servers": len(prior) + len(unknown),
        "taken": _servers_taken(summary) + len(unknown),
        "pairs": len(everything | wish.elsewhere | set(lost)),
        "lost": len(wish.elsewhere | set(lost)) if lost else 0,
        "whole_stack": wish.destroy and bool(prior or unknown or lost),
        "thresholds": run.folder.inventory.settings.thresholds,
    }


def _servers_taken(summary: PlanSummary) -> int:
    return sum(
        item.action in ("delete", "replace") and f".{inventory.SERVER}." in item.address
        for item in summary.items
    )


# ------------------------------------------------------------------------------------------------ apply


@dataclass(frozen=True)
class Applied:
    """What an apply did. `receipts` prove what was taken back."""

    deployment: Deployment
    done: int
    receipts: list[receipts.Receipt]
    diagnostics: list[Diagnostic]


def verify(run: Run, saved: record.Record) -> None:
    """Ensure that the plan is still that of these files and this commit, and within the limits. Raises Failure."""
    compiled = run.around.compiled()
    head = record.head(run.folder.root)
    promised = digest({**compiled, **run.around.lists()})
    why = record.changed(saved, record.digests(run.folder.files), promised, head)
    if (
        why is None
        and plan.plan_digest(run.deployment.plan.read_bytes(), compiled, head) != saved.plan_digest
    ):
        why = "the plan file is not the one that was saved"
    if why is None and not record.is_signed(saved, run.ring.current):
        why = "what stands beside the plan file is not what was saved, or the key is another one"
    if why is not None:
        raise Failure(_stale(run, why))
    if saved.refusals:
        raise Failure(*(Diagnostic(code, detail=detail, hint=hint) for code, detail, hint in saved.refusals))


def _stale(run: Run, why: str) -> Diagnostic:
    detail = f"The saved plan of `{run.stack.name}` does not hold any more: {why}."
    hint = f"make a new one and read it:\ncf-infra plan {run.stack.name}"
    return Diagnostic("stale-plan", detail=detail, hint=hint)


@dataclass(frozen=True)
class Step:
    """How far an apply of several stacks has come, for one of them.

    `begun`: what takes away is done, so the rest needs a plan of its own; `withheld`: pairs that get nothing new,
    because the stack with their machines failed.
    """

    begun: bool = False
    withheld: frozenset[str] = frozenset()

    @property
    def changes_the_plan(self) -> bool:
        """Is the saved plan file not what is to be done now?"""
        return self.begun or bool(self.withheld)


WHOLE = Step()


def take_back_first(run: Run, saved: record.Record) -> record.Record | None:
    """Of a saved plan only what takes access away. The record for the rest; None if there was nothing to do.

    What is done here is within the saved plan: fewer entries of the same lists. Raises Failure.
    """
    deployment, around = run.deployment, run.around
    write_tree(deployment.build, around.compiled(), keep=KEPT)
    tofu = run.tofu(progress.words_of(saved.summary["items"]))
    tofu.init(run.state)
    with (
        run.shared(),
        recording.applying(deployment, saved, run.say, "take-back"),
        around.connected() as connection,
    ):
        around.unchanged(connection, saved)
        left = None if saved.destroy else around.less(connection, tofu.show_state())
        if left is None:
            return None
        note_begun(deployment, around.identity(connection))
        run.share()
        run.say("taking access back before machines go")
        aside = deployment.plan.with_name("first.plan")
        try:
            _plan_again(run, tofu, saved, left, aside)
            tofu.apply(aside)
        finally:
            aside.unlink(missing_ok=True)
            write_tree(deployment.build, around.compiled(), keep=KEPT)
            _note(run, tofu, connection, load_proven(deployment.state), saved, complete=False)
        return replace(saved, seen=around.seen(connection, saved))


def _plan_again(run: Run, tofu: Tofu, saved: record.Record, left: Mapping[str, Any], out: Path) -> None:
    """A plan of a part of what was saved. Raises Failure("stale-plan") if it does anything else."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    write(run.deployment.build / "grants.auto.tfvars.json", orjson.dumps(left, option=options))
    tofu.plan(out, secrets=run.around.secrets())
    found = _summary(run, tofu, tofu.show_plan(out))
    other = plan.beyond(found.hashes, saved.hashes)
    if other or found.diagnostics:
        listed = ", ".join(other[: plan.SHOWN_AT_MOST])
        raise Failure(*found.diagnostics, _stale(run, f"something else would be done by now, at {listed}"))


def apply_stack(run: Run, saved: record.Record, step: Step = WHOLE) -> Applied:
    """Apply the saved plan; then ask the cloud what is gone, hand out what is new, write the inventory."""
    with run.shared(), recording.applying(run.deployment, saved, run.say) as told:
        return _apply(run, saved, step, told)


def _apply(run: Run, saved: record.Record, step: Step, applying: recording.Applying) -> Applied:
    deployment, around = run.deployment, run.around
    before = load_proven(deployment.state)
    write_tree(deployment.build, around.compiled(), keep=KEPT)
    tofu = run.tofu(progress.words_of(saved.summary["items"]))
    tofu.init(run.state)
    around.take_back(saved.destroy)
    with around.connected() as connection:
        around.unchanged(connection, saved)
        note_begun(deployment, around.identity(connection))
        run.share()
        around.clear(connection, saved, tofu.show_state)
        switch = last_grants.Switch(last_grants.planned(saved.summary["items"]), run.say)
        switch.off()
        if step.changes_the_plan and not saved.destroy:
            values = around.withholding(step.withheld, tofu.show_state())
            _plan_again(run, tofu, saved, values, deployment.plan)
            run = _without(run, step.withheld)
        try:
            tofu.apply(deployment.plan)
        except Failure as failure:
            _note(run, tofu, connection, before, saved, complete=False)
            raise Failure(*failure.diagnostics, *around.faults(connection), *switch.faults) from None
        except BaseException:
            _note(run, tofu, connection, before, saved, complete=False)
            raise
        finally:
            record.discard(deployment)  # done or not, it does not fit the state any more
        applying.changes = int(saved.summary.get("total", 0))
        after = _note(run, tofu, connection, before, saved, complete=True)
        save_learned(deployment, saved.learned)
        told = [] if saved.destroy else [*around.give(tofu, after), *_turn(run, tofu, after)]
        run.share()
        if saved.destroy:
            told = run.logins().end()
            around.withdraw()
        proven = _proven(run, connection, before, after, saved, switch) if before is not None else []
        applying.receipts = proven
        if not saved.destroy and not has_errors(told):
            run.logins().retired()
            _settle(run, tofu)
    left = [fault for receipt in proven for fault in receipt.faults()]
    if left:
        raise Failure(*left)
    save_proven(deployment, after)
    if has_errors(told):
        raise Failure(*told)
    return Applied(deployment, int(saved.summary.get("total", 0)), proven, [*tofu.warnings, *told])


def _settle(run: Run, tofu: Tofu) -> None:
    """What still comes from the master key before changes to the present one, alone."""
    left = run.around.settle()
    if left is None:
        return
    run.say("changing what came from the master key before")
    aside = run.deployment.plan.with_name("settle.plan")
    try:
        tofu.plan(aside, only=left[0], secrets=left[1])
        tofu.apply(aside)
    finally:
        aside.unlink(missing_ok=True)


def values(run: Run) -> list[Material]:
    """The values of the logins that the last apply left, from the state. Raises Failure."""
    placed = load_inventory(run.deployment.state)
    if placed is None:
        return []
    write_tree(run.deployment.build, run.around.compiled(), keep=KEPT)
    tofu = run.tofu()
    tofu.init(run.state)
    there = {*placed.users, *placed.credentials}
    return [m for m in run.around.materials(tofu, placed) if f"{m.name}/{m.generation}" in there]


def _turn(run: Run, tofu: Tofu, after: InventoryFile) -> list[Diagnostic]:
    """Deliver and prove what is due."""
    return run.logins().turn(run.around.materials(tofu, after)) if run.stack.stack.credentials else []


def _proven(
    run: Run,
    connection: Any,
    before: InventoryFile,
    after: InventoryFile,
    saved: record.Record,
    switch: last_grants.Switch,
) -> list[receipts.Receipt]:
    """The receipts: what the stack's place says, and Cirun."""
    folder, deployment, around = run.folder, run.deployment, run.around
    checks = dict(around.checks(connection, before, after))
    last = last_grants.ending(folder, deployment, ended_pairs(folder, deployment, saved.destroy))
    for grant, more in switch.checks(last).items():
        checks[grant] = [*checks.get(grant, ()), *more]

    def by_hand(grants: Iterable[str]) -> list[str]:
        its = list(grants)
        return [*around.by_hand(its), *last.by_hand(its, switch.names)]

    return receipts.prove(checks, by_hand, deployment, saved)


def _without(run: Run, withheld: frozenset[str]) -> Run:
    """For the inventory: what is withheld is not had."""
    access = {key: ends for key, ends in run.stack.access.items() if key not in withheld}
    return replace(run, stack=replace(run.stack, access=access))


def _note(
    run: Run,
    tofu: Tofu,
    connection: Any,
    before: InventoryFile | None,
    saved: record.Record,
    complete: bool,
) -> InventoryFile:
    """Write the inventory of what is there now, also after a failure."""
    stack_file = run.folder.files.get(f"stacks/{run.stack.name}.yaml", b"").decode("utf-8", "replace")
    state = tofu.show_state()
    found = inventory.inventory(
        run.deployment,
        state,
        None if saved.destroy else run.stack,
        run.around.identity(connection),
        saved.day,
        stack_file or (before.stack_file if before else ""),
        complete,
    )
    found = replace(found, holds=run.around.holds(state))
    save_inventory(run.deployment, found)
    return found
