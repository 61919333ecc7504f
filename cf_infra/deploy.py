"""plan, apply and destroy of one stack: OpenTofu in the middle, the cloud itself asked before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from cf_infra import (
    delivery,
    files,
    images,
    inventory,
    keys,
    lab,
    openstack,
    orphans,
    plan,
    progress,
    receipts,
    record,
    sandbox,
    strays,
)
from cf_infra.compile import PROVISIONER, compile_stack, values
from cf_infra.deployment import (
    Deployment,
    InventoryFile,
    begun_at,
    load_inventory,
    load_proven,
    note_begun,
    save_inventory,
    save_proven,
)
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import digest, write, write_tree
from cf_infra.model import CredentialKind, Rights
from cf_infra.openstack import Login, is_sandbox
from cf_infra.project import CLOUD_VALUES, KEPT, Folder
from cf_infra.resolve import ResolvedStack
from cf_infra.tofu import Masker, Tofu, Tool, find

if TYPE_CHECKING:
    from openstack.connection import Connection

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What every step on one deployment needs."""

    folder: Folder
    deployment: Deployment
    stack: ResolvedStack
    login: Login
    tool: Tool
    source: keys.KeySource
    key: bytes
    say: Say

    @property
    def admin(self) -> bool:
        """Are project, flavors and quotas ours to make?"""
        return self.stack.stack.rights is Rights.ADMIN

    def passwords(self) -> dict[str, str]:
        """The passwords that the cloud insists on; derived, so that they are stored nowhere."""
        if not self.admin:
            return {}
        users = [g for g in self.stack.generations.values() if g.credential.kind is CredentialKind.USER]
        derived = {
            g.key: keys.password(self.key, g.name, g.number) for g in users if g.credential.source is None
        }
        return {PROVISIONER: keys.password(self.key, PROVISIONER, 0), **derived}

    def tofu(self, words: Mapping[str, str] | None = None) -> Tofu:
        """OpenTofu in the stack's folder, its state and plans encrypted. `words`: what to call addresses."""
        environment = {
            **self.login.environment(),
            **keys.encryption_environment(self.source, self.deployment.name, os.environ),
        }
        return Tofu(
            self.tool,
            self.deployment.build,
            environment,
            progress.teller(self.say, words),
            masker=Masker(self.passwords().values()),
            root=self.folder.root,
        )

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder as it must be."""
        return compile_stack(self.stack, self.folder.modules())

    def lists(self) -> dict[str, bytes]:
        """What tells others who may use the stack: as much a part of a plan as the machines are."""
        return delivery.lists(self.folder.resolved(), self.folder.inventory, self.stack.name)


def prepare(folder: Folder, deployment: Deployment, say: Say) -> Run:
    """Everything that can be wrong before anything is done. Raises Failure."""
    stack = folder.resolved().stacks[deployment.stack]
    tool = find(files.PROJECT)
    login = openstack.login(deployment.cloud, lab.state_dir(folder.root))
    source, create = key_source(folder, deployment)
    master = keys.state_key(source, folder.root, create=create)
    return Run(folder, deployment, stack, login, tool, source, keys.stack_key(master, deployment.name), say)


def key_source(folder: Folder, deployment: Deployment) -> tuple[keys.KeySource, bool]:
    """Where the key comes from, and whether it may be made: only for the sandbox."""
    if is_sandbox(deployment.cloud):
        return keys.KeyFile(keys.sandbox_key_file(os.environ)), True
    wanted = folder.inventory.settings.state.key
    if wanted.command:
        return keys.KeyCommand(tuple(wanted.command)), False
    default = keys.sandbox_key_file(os.environ).with_name("state.key")
    named = os.environ.get("CF_INFRA_KEY_FILE") or wanted.file
    return keys.KeyFile(Path(named).expanduser() if named else default), False


# ------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Planned:
    """A saved plan and what it would do."""

    deployment: Deployment
    record: record.Record
    diagnostics: list[Diagnostic]


@dataclass(frozen=True)
class Wish:
    """What is asked of one plan. `elsewhere`: the pairs that lose access at other stacks of the same run."""

    allowances: Mapping[str, int]
    elsewhere: frozenset[str] = frozenset()
    refresh: bool = True
    destroy: bool = False


def plan_stack(run: Run, wish: Wish) -> Planned:
    """Compile, ask OpenTofu, save the plan and what it was made from. Changes nothing at the cloud."""
    deployment = run.deployment
    compiled = run.compiled()
    write_tree(deployment.build, compiled, keep=KEPT)
    tofu = run.tofu()
    record.discard(deployment)
    wanted = values(run.stack)
    ours = {name: image for name, image in run.stack.stack.images.items() if name in wanted["images"]}
    digests = images.ready(run.folder.root, ours, run.folder.inventory.settings.image_hosts, run.say)
    with openstack.connected(run.login) as cloud:
        cloud_id = _identity(run, cloud)
        begun = _same_cloud(run, cloud_id)
        tofu.init(deployment.state / "terraform.tfstate")
        tofu.begin(deployment.state / "terraform.tfstate")
        left = _left_behind(run, cloud, wanted, tofu.show_state(), wish.destroy)
    if left.anything and not begun:
        raise Failure(_of_another(run, left))
    left.tell(run.say)
    write(deployment.build / CLOUD_VALUES, _cloud_values(run, left.servers.adopt, digests))
    deployment.plan.parent.mkdir(parents=True, exist_ok=True)
    run.say("asking OpenTofu for a plan")
    secrets = {"passwords": run.passwords()} if run.admin else {}
    tofu.plan(deployment.plan, destroy=wish.destroy, refresh=wish.refresh, secrets=secrets)
    return _planned(run, tofu, compiled, left, wish)


@dataclass(frozen=True)
class LeftBehind:
    """What the cloud has of this stack and the state has not: a killed run of this folder left it."""

    servers: orphans.Orphans
    strays: list[strays.Stray]

    @property
    def anything(self) -> bool:
        """Is there something of this stack that the state does not know?"""
        return bool(self.servers.adopt or self.servers.remove or self.strays)

    def tell(self, say: Say) -> None:
        """What an apply does about it."""
        for key, server_id in self.servers.adopt.items():
            say(f"server of {key} ({server_id}) is in no state: apply adopts it")
        for server, why in self.servers.remove:
            say(f"server {server.name} is in no state ({why}): apply removes it")
        for stray in self.strays:
            say(f"{stray.what} is in no state: apply removes it")

    def items(self) -> list[dict[str, Any]]:
        """The removals in the form of a plan's items."""
        rows = [(f"orphan:{s.id}", f"server {s.name} ({why})", [s.grant]) for s, why in self.servers.remove]
        rows += [(f"stray:{s.id}", f"{s.what}, which is in no state", []) for s in self.strays]
        return [{"address": a, "action": "delete", "what": w, "grants": g} for a, w, g in rows]


def _left_behind(
    run: Run, cloud: Connection, wanted: Mapping[str, Any], state: Mapping[str, Any], destroy: bool
) -> LeftBehind:
    marked = openstack.settled_servers(cloud, run.stack.name, run.admin, run.say)
    machines = {**wanted, "machines": {}} if destroy else wanted
    found = _strays(run, cloud, wanted, state)
    lost = next((stray.what for stray in found if stray.carries), None)
    return LeftBehind(orphans.decide(marked, inventory.server_ids(state), machines, lost), found)


def _of_another(run: Run, left: LeftBehind) -> Diagnostic:
    """Nothing was ever applied from this folder, so what is there is somebody's who has the state of it."""
    count = len(left.items()) + len(left.servers.adopt)
    name = run.deployment.name
    detail = (
        f"`{run.login.cloud}` has {count} things with the marks of `{run.stack.name}`, and nothing was ever applied "
        "from this folder: they belong to a state that lies elsewhere."
    )
    hint = f"bring that state here, from where it was applied:\ncp -a OTHER/.state/{name} .state/"
    if is_sandbox(run.deployment.cloud):
        hint += "\nor empty the sandbox:\ncf-infra sandbox reset"
    return Diagnostic("foreign-state", detail=detail, hint=hint)


def _identity(run: Run, cloud: Connection) -> str:
    """What tells this cloud from others: the project that we log in to, and which sandbox it is."""
    born = f"/{sandbox.identity(lab.state_dir(run.folder.root))}" if is_sandbox(run.deployment.cloud) else ""
    return f"{cloud.current_project_id}{born}"


def _same_cloud(run: Run, cloud_id: str) -> bool:
    """Was an apply ever begun here? Raises Failure if it was at another cloud.

    The sandbox is made anew at will: what is known of an old one is thrown away.
    """
    known = load_inventory(run.deployment.state)
    before = begun_at(run.deployment) or (known.cloud_id if known is not None else None)
    if before is None or before == cloud_id:
        return before is not None
    name = run.deployment.name
    if is_sandbox(run.deployment.cloud):
        run.say("the sandbox was made anew: what is known of the old one is forgotten")
        for path in sorted(run.deployment.state.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return False
    detail = f"The state of `{name}` was made in another project or cloud than `{run.login.cloud}` is now."
    hint = "look at clouds.yaml; if the cloud is really another one, destroy the stack there first"
    raise Failure(Diagnostic("foreign-state", detail=detail, hint=hint))


def _strays(
    run: Run, cloud: Connection, wanted: Mapping[str, Any], state: Mapping[str, Any]
) -> list[strays.Stray]:
    def tenant() -> Connection:
        if not run.admin:
            return cloud
        user = {"username": wanted["project"]["user_name"], "project_name": wanted["project"]["name"]}
        return openstack.as_user(run.login, user, run.passwords()[PROVISIONER])

    with openstack.explained(run.login.cloud, run.login.auth_url):
        return strays.find(cloud, tenant, wanted, state)


def _cloud_values(run: Run, adopt: Mapping[str, str], digests: Mapping[str, str]) -> bytes:
    found = {**run.login.variables(run.admin), "adopt": dict(adopt), "image_digests": dict(digests)}
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _planned(
    run: Run,
    tofu: Tofu,
    compiled: Mapping[str, bytes],
    left: LeftBehind,
    wish: Wish,
) -> Planned:
    deployment = run.deployment
    shown = tofu.show_plan(deployment.plan)
    summary = plan.summarise(shown, run.stack.name, owners=_owners(run.stack), versions=tofu.versions())
    lost = lost_pairs(run.folder, run.deployment, wish.destroy)
    refusals = [*summary.diagnostics, *_limits(run, summary, shown, left, lost, wish)]
    head = record.head(run.folder.root)
    new = {} if wish.destroy else run.lists()
    beside = [*left.items(), *delivery.changes(deployment, new, run.stack.stack)]
    saved = record.Record(
        stack=run.stack.name,
        cloud=deployment.cloud,
        own=deployment.own,
        today=run.folder.today.isoformat(),
        clock=(run.folder.clock or run.folder.today).isoformat(),
        head=head,
        inputs=record.digests(run.folder.files),
        compiled=digest({**compiled, **run.lists()}),
        review_digest=summary.review_digest,
        plan_digest=plan.plan_digest(deployment.plan.read_bytes(), compiled, head),
        summary=_with(summary.as_json(), beside),
        refusals=[[d.code, d.detail, d.hint] for d in refusals],
        lost=lost,
        remove=[[server.id, server.name, server.grant] for server, _ in left.servers.remove],
        strays=[stray.id for stray in left.strays],
        destroy=wish.destroy,
    )
    record.save(deployment, saved)
    return Planned(deployment, saved, [*tofu.warnings, *summary.diagnostics])


_COUNTED = {"create": "add", "update": "change", "delete": "destroy"}


def _with(summary: dict[str, Any], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary with what is done beside OpenTofu."""
    counts = {"total": summary["total"] + len(beside)}
    for item in beside:
        name = _COUNTED[item["action"]]
        counts[name] = counts.get(name, summary[name]) + 1
    return {**summary, **counts, "items": [*summary["items"], *beside]}


def _owners(stack: ResolvedStack) -> dict[str, tuple[str, ...]]:
    """Which grants an address belongs to, beyond what its own key says."""
    found = {f'module.flavor.{inventory.FLAVOR}.this["{c}"]': use.grants for c, use in stack.uses.items()}
    for key, machine in stack.machines.items():
        found[f'module.machine.{inventory.SERVER}.this["{key}"]'] = machine.grants
    return found


def lost_pairs(folder: Folder, deployment: Deployment, destroy: bool) -> list[str]:
    """The pairs that have access at a stack since its last proven apply, and would have none."""
    before = load_proven(deployment.state)
    if before is None:
        return []
    stack = folder.resolved().stacks.get(deployment.stack)
    alive = () if destroy or stack is None else tuple(stack.access)
    return before.lost(alive, folder.today)


def _limits(
    run: Run,
    summary: plan.PlanSummary,
    shown: Mapping[str, Any],
    left: LeftBehind,
    lost: list[str],
    wish: Wish,
) -> list[Diagnostic]:
    prior = inventory.server_ids(shown.get("prior_state") or {})
    everything = {key for stack in run.folder.resolved().stacks.values() for key in stack.access}
    # What a killed run left may go without asking. What a whole apply made may not, only because its state was lost.
    proven = load_proven(run.deployment.state)
    worked = {row.id for row in proven.machines} if proven is not None else set()
    unknown = [server for server, _ in left.servers.remove if server.id in worked]
    return plan.limits(
        stack=run.stack.name,
        servers=len(prior) + len(unknown),
        taken=_servers_taken(summary) + len(unknown),
        pairs=len(everything | wish.elsewhere | set(lost)),
        lost=len(wish.elsewhere | set(lost)) if lost else 0,
        whole_stack=wish.destroy and bool(prior or unknown or lost),
        thresholds=run.folder.inventory.settings.thresholds,
        allowances=wish.allowances,
    )


def _servers_taken(summary: plan.PlanSummary) -> int:
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
    again = f"make a new one and read it:\ncf-infra plan {run.stack.name}"
    compiled = run.compiled()
    head = record.head(run.folder.root)
    promised = digest({**compiled, **run.lists()})
    why = record.changed(saved, record.digests(run.folder.files), promised, head)
    if (
        why is None
        and plan.plan_digest(run.deployment.plan.read_bytes(), compiled, head) != saved.plan_digest
    ):
        why = "the plan file is not the one that was saved"
    if why is not None:
        detail = f"The saved plan of `{run.stack.name}` does not hold any more: {why}."
        raise Failure(Diagnostic("stale-plan", detail=detail, hint=again))
    if saved.refusals:
        raise Failure(*(Diagnostic(code, detail=detail, hint=hint) for code, detail, hint in saved.refusals))


def apply_stack(run: Run, saved: record.Record) -> Applied:
    """Apply the saved plan; then ask the cloud what is gone, hand out what is new, write the inventory."""
    deployment = run.deployment
    before = load_proven(deployment.state)
    write_tree(deployment.build, run.compiled(), keep=KEPT)
    tofu = run.tofu(progress.words_of(saved.summary["items"]))
    tofu.init(deployment.state / "terraform.tfstate")
    access = (
        None
        if saved.destroy
        else delivery.own_access(run.folder.resolved(), run.folder.inventory, run.stack.name)
    )
    delivery.take_back(deployment, access)
    with openstack.connected(run.login) as cloud:
        note_begun(deployment, _identity(run, cloud))
        _clear(run, cloud, saved, tofu)
        try:
            tofu.apply(deployment.plan)
        except Failure as failure:
            _note(run, tofu, cloud, before, saved, complete=False)
            raise Failure(*failure.diagnostics, *_faults(run, cloud)) from None
        except BaseException:
            _note(run, tofu, cloud, before, saved, complete=False)
            raise
        finally:
            record.discard(deployment)  # done or not, it does not fit the state any more
        after = _note(run, tofu, cloud, before, saved, complete=True)
        told = [] if saved.destroy else _give(run, tofu, after)
        if saved.destroy:
            delivery.withdraw(deployment)
        proven = receipts.prove(run, cloud, before, after, saved) if before is not None else []
    left = [fault for receipt in proven for fault in receipt.faults()]
    if left:
        raise Failure(*left)
    save_proven(deployment, after)
    return Applied(deployment, int(saved.summary.get("total", 0)), proven, [*tofu.warnings, *told])


def _clear(run: Run, cloud: Connection, saved: record.Record, tofu: Tofu) -> None:
    """Remove what a killed run left behind, before it stands in the way."""
    for server_id, name, _ in saved.remove:
        run.say(f"removing {name} ({server_id}), which is in no state")
        openstack.delete_server(cloud, server_id)
    with openstack.explained(run.login.cloud, run.login.auth_url):
        found = _strays(run, cloud, values(run.stack), tofu.show_state()) if saved.strays else []
        for stray in found:
            if stray.id in saved.strays:
                run.say(f"removing {stray.what}, which is in no state")
                stray.remove()


def _give(run: Run, tofu: Tofu, after: InventoryFile) -> list[Diagnostic]:
    made = tofu.output()["credentials"]["value"] if after.credentials else {}
    folder = run.folder
    return delivery.give(run.deployment, folder.resolved(), folder.inventory, after, run.login, run.key, made)


def _note(
    run: Run, tofu: Tofu, cloud: Any, before: InventoryFile | None, saved: record.Record, complete: bool
) -> InventoryFile:
    """Write the inventory of what is there now, also after a failure."""
    stack_file = run.folder.files.get(f"stacks/{run.stack.name}.yaml", b"").decode("utf-8", "replace")
    resolved = None if saved.destroy else run.stack
    found = inventory.inventory(
        run.deployment,
        tofu.show_state(),
        resolved,
        _identity(run, cloud),
        saved.day,
        stack_file or (before.stack_file if before else ""),
        complete,
    )
    save_inventory(run.deployment, found)
    return found


def _faults(run: Run, cloud: Any) -> list[Diagnostic]:
    """Why servers did not start: Nova says so, OpenTofu does not."""
    try:
        broken = [s for s in openstack.servers(cloud, run.stack.name, run.admin) if s.status == "ERROR"]
    except Failure:
        return []
    return [
        Diagnostic(
            "server-fault",
            detail=f"Server of `{s.grant}` ({s.id}): {s.fault or 'Nova gives no reason'}",
            hint=f"mend the reason, then make a new plan:\ncf-infra plan {run.stack.name}",
        )
        for s in broken
    ]
