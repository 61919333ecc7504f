"""plan, apply, destroy and status over all stacks of a folder: which ones, in which order, and what to say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cf_infra import deploy, drift, kinds, overrides, project, record, rollout, sealing, state_place, waves
from cf_infra.deployment import Deployment, begun_at, deployments, load_inventory, now
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.names import is_sandbox
from cf_infra.parse import GRANTS
from cf_infra.project import BUILD, Folder

if TYPE_CHECKING:
    from cf_infra.gate import Asked
    from cf_infra.reviewed import Verdict

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a command did for all stacks: rows for JSON, text for people."""

    stacks: list[dict[str, Any]]
    text: str
    diagnostics: list[Diagnostic] = field(default_factory=list)
    known: list[Diagnostic] = field(default_factory=list)
    markdown: str = ""
    differences: bool = False
    interrupted: bool = False


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    root: Path
    today: date
    names: Sequence[str]
    clouds: Mapping[str, str]
    jobs: int | None
    allowances: Mapping[str, int]
    refresh: bool = True
    destroy: bool = False


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """`STACK=VALUE` texts as a mapping. Raises Failure("usage")."""
    found = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not (sign and name and value):
            raise Failure(
                Diagnostic(
                    "usage", detail=f"{option} {text!r} is not STACK=VALUE.", hint=f"{option} NAME=VALUE"
                )
            )
        found[name] = value
    return found


# ------------------------------------------------------------------------------------------------- plan


def plan(options: Options, say: Say) -> Outcome:
    """Plan the chosen stacks and those whose file is gone; each plan is saved."""
    folder = replace(project.read(options.root, options.today), clock=now().date())
    if has_errors(folder.diagnostics):
        raise Failure(*folder.diagnostics)
    folder, beside = state_place.opened(folder, say)
    project.write_build(folder)
    ours = deployed(folder, options, say)
    gone = {} if options.names else left_behind(folder, options, say)
    jobs = options.jobs or folder.inventory.settings.jobs
    allowances = _allowances(folder, options)

    lost = {
        name: deploy.lost_pairs(folder, deployment, options.destroy or name in gone)
        for name, deployment in {**ours, **gone}.items()
    }

    def one(name: str) -> deploy.Planned:
        deployment = ours.get(name) or gone[name]
        destroy = options.destroy or name in gone
        its = folder if name in ours else with_old_stack(folder, deployment)
        run = deploy.prepare(its, deployment, waves.prefixed(say, name))
        others = frozenset(key for n, keys in lost.items() if n != name for key in keys)
        typed = frozenset(options.allowances)
        return deploy.plan_stack(run, deploy.Wish(allowances, others, options.refresh, destroy, typed))

    beside += sealing.findings(folder, sealing.current_key(folder) if _has_shared_key(ours, gone) else None)
    done, failed, interrupted = waves.in_parallel([*ours, *gone], one, jobs)
    planned = [done[name] for name in sorted(done)]
    rows = [plan_row(p, folder) for p in planned]
    beside += overrides.unused(folder, options.today, {p.record.stack: p.record for p in planned})
    found = beside + [d for p in planned for d in p.diagnostics] + [d for ds in failed.values() for d in ds]
    text = "".join(_plan_text(p) for p in planned)
    markdown = "\n".join(_plan_markdown(p) for p in planned)
    differences = any(
        row["add"] + row["change"] + row["replace"] + row["destroy"] + len(row["credentials"]) for row in rows
    )
    placed = project.placed(folder, found)
    return Outcome(rows, text, placed, _warnings(folder), markdown, differences, interrupted)


def _has_shared_key(*found: Mapping[str, Deployment]) -> bool:
    return any(not is_sandbox(d.cloud) for deployments_ in found for d in deployments_.values())


def deployed(folder: Folder, options: Options, say: Say) -> dict[str, Deployment]:
    """The chosen stacks that have something of ours to provision, and where."""
    strange = [name for name in options.clouds if name not in folder.inventory.stacks]
    chosen = project.chosen(folder.inventory.stacks, [*options.names, *strange] or None)
    found = {}
    for name, stack in chosen.items():
        if kinds.is_deployed(stack):
            settings = folder.inventory.settings
            found[name] = kinds.deployment(options.root, name, stack, settings, options.clouds)
        elif name in options.names:
            say(f"{name}: kind {stack.kind}, nothing of ours to provision")
    return found


def left_behind(folder: Folder, options: Options, say: Say) -> dict[str, Deployment]:
    """Deployments that still have something, of stacks that have no file any more; one of a stack at a time."""
    own = kinds.clouds(folder.inventory)
    found: dict[str, Deployment] = {}
    for deployment in deployments(options.root, own):
        inventory = load_inventory(deployment.state)
        if deployment.stack in folder.inventory.stacks or inventory is None or not _has_something(deployment):
            continue
        if deployment.stack in found:
            say(f"{deployment.name} has no stack file either: plan again when the other one is destroyed")
            continue
        found[deployment.stack] = Deployment(options.root, deployment.stack, inventory.cloud, deployment.own)
    return found


def _has_something(deployment: Deployment) -> bool:
    inventory = load_inventory(deployment.state)
    if inventory is None:
        return False
    made = inventory.machines or inventory.project or inventory.flavors or inventory.credentials
    return bool(made or inventory.holds)


def with_old_stack(folder: Folder, deployment: Deployment) -> Folder:
    """The folder with the stack file that the last apply saw, so that what it made can be destroyed."""
    inventory = load_inventory(deployment.state)
    text = inventory.stack_file if inventory is not None else ""
    name = f"stacks/{deployment.stack}.yaml"
    old = project.from_files(
        folder.root, {**folder.files, GRANTS: b"version: 1\ngrants: []\n", name: text.encode()}, folder.today
    )
    if deployment.stack not in old.inventory.stacks:
        detail = f"stacks/{deployment.stack}.yaml is gone, and what the last apply saw of it cannot be read."
        raise Failure(
            Diagnostic("unknown-stack", detail=detail, hint=f"restore the file:\ngit log -- {name}")
        )
    return replace(old, clock=folder.clock, whole=folder)


def _allowances(folder: Folder, options: Options) -> dict[str, int]:
    return {**overrides.valid(folder.inventory, options.today), **options.allowances}


def _warnings(folder: Folder) -> list[Diagnostic]:
    return [d for d in folder.diagnostics if d.severity == "warning"]


def plan_row(planned: deploy.Planned, folder: Folder) -> dict[str, Any]:
    """What `plan --format json` says of one stack."""
    saved = planned.record
    stack = folder.inventory.stacks.get(saved.stack)
    counts = {k: saved.summary[k] for k in ("add", "change", "replace", "destroy")}
    return {
        "stack": saved.stack,
        "cloud": saved.cloud,
        "wave": waves.WAVES[stack.kind.value] if stack is not None else 1,
        **counts,
        "refused": bool(saved.refusals),
        "refusals": [{"code": code, "detail": detail, "hint": hint} for code, detail, hint in saved.refusals],
        "lost": saved.lost,
        "manual": saved.manual,
        "review_digest": saved.review_digest,
        "plan_digest": saved.plan_digest,
        "items": saved.summary["items"],
        "credentials": saved.credentials,
        "allowance": {"destroy": saved.allowed, "source": saved.allowed_by} if saved.allowed else None,
    }


def _plan_text(planned: deploy.Planned) -> str:
    from cf_infra import report

    saved = planned.record
    text = report.terminal(_named(planned), saved.refusals, saved.lost)
    text += f"  {overrides.told(saved)}\n" if saved.allowed else ""
    text += "".join(f"  credential {line}\n" for line in _credential_lines(saved))
    return text + "".join(f"  by hand afterwards: {step}\n" for step in saved.manual) + "\n"


def _credential_lines(saved: record.Record) -> list[str]:
    """One line for each generation that something is to be done about."""
    found: dict[str, list[str]] = {}
    for step in saved.credentials:
        found.setdefault(f"{step['credential']}/{step['generation']}", []).append(step["what"])
    return [f"{name}: {', '.join(what)}" for name, what in found.items()]


def _named(planned: deploy.Planned) -> dict[str, Any]:
    """The summary under the name that says on which cloud."""
    return {**planned.record.summary, "stack": planned.deployment.name}


def _plan_markdown(planned: deploy.Planned) -> str:
    from cf_infra import report

    text = report.markdown(_named(planned), planned.record.refusals, planned.record.lost)
    steps = [f"- {overrides.told(planned.record)}\n"] if planned.record.allowed else []
    steps += [f"- credential {report.code(line)}\n" for line in _credential_lines(planned.record)]
    steps += [f"- by hand afterwards: {report.code(step)}\n" for step in planned.record.manual]
    return text + "".join(["\n", *steps] if steps else [])


# ------------------------------------------------------------------------------------------------ apply


def apply(options: Options, say: Say, reviewed: Asked | None = None) -> Outcome:
    """Apply the saved plans, of the named stacks or of all that have one; with `reviewed` what reviews cover."""
    build = options.root / BUILD
    names = list(options.names) or sorted(p.parent.parent.name for p in build.glob("*/plan/record.json"))
    if not names:
        raise Failure(
            Diagnostic(
                "no-plan",
                detail="No stack has a saved plan.",
                hint="make one, read it, apply it:\ncf-infra plan",
            )
        )
    saved = {name: record.load(build, name) for name in names}
    read = cache(lambda day: project.read(options.root, day))
    beside = state_place.fetch_all(read(saved[names[0]].day), say)
    folders = {name: _folder_of(project.with_ledgers(read(row.day)), row) for name, row in saved.items()}
    settings = next(iter(folders.values())).inventory.settings

    whole = rollout.Rollout(
        saved, folders, lambda name: waves.prefixed(say, name), options.jobs or settings.jobs
    )
    verdicts = _judged(whole, read(saved[names[0]].day), reviewed, say) if reviewed is not None else {}
    whole.run()
    done = whole.done
    rows = [
        {
            **(verdicts[name].as_json() if name in verdicts else {}),
            "stack": name,
            "applied": done[name].done if name in done else 0,
            "failed": name not in done and name not in whole.waiting,
            "receipts": [r.as_json() for r in done[name].receipts] if name in done else [],
        }
        for name in names
    ]
    found = [*beside, *rollout.everything_said(whole)]
    text = "".join(_applied_text(done[name]) for name in names if name in done)
    return Outcome(
        rows, text, project.placed(next(iter(folders.values())), found), interrupted=whole.interrupted
    )


def _judged(whole: rollout.Rollout, folder: Folder, asked: Asked, say: Say) -> dict[str, Verdict]:
    """What waits for a person is not begun, and counts for the others as if it had failed."""
    from cf_infra import gate

    own = gate.Gate(folder, asked, gate.planner(folder, whole.saved, say), say)
    found = own.judge(whole.saved)
    waiting = {name: one for name, one in found.items() if one.waits}
    whole.failed |= {name: [one.diagnostic()] for name, one in waiting.items()}
    whole.waiting, whole.covered = frozenset(waiting), own.approved
    whole.told += own.told
    return found


def _folder_of(read: Folder, saved: record.Record) -> Folder:
    """The folder as the plan saw it: on the plan's day, with the old stack file where the stack is gone."""
    folder = replace(read, clock=saved.made)
    if has_errors(folder.diagnostics):
        raise Failure(*folder.diagnostics)
    if saved.stack in folder.inventory.stacks:
        return folder
    return with_old_stack(folder, Deployment(read.root, saved.stack, saved.cloud, saved.own))


def _applied_text(applied: deploy.Applied) -> str:
    deployment = applied.deployment
    lines = [f"{deployment.name}: applied, {applied.done} changes"]
    for receipt in applied.receipts:
        lines.append(f"  {receipt.grant} is gone from:")
        lines += [f"    {place.place}   {place.checked_at}" for place in receipt.gone_from]
        lines += [f"    by hand: {step}" for step in receipt.manual]
    return "\n".join(lines) + "\n"


# ----------------------------------------------------------------------------------------------- status


def drifted(options: Options, say: Say) -> Outcome:
    """What was changed behind our back at the chosen stacks, or at all that were ever applied. Changes nothing."""
    folder = replace(project.read(options.root, options.today), clock=now().date())
    if has_errors(folder.diagnostics):
        raise Failure(*folder.diagnostics)
    folder, beside = state_place.looked_at(folder, say)
    chosen = deployed(folder, options, say)
    left = [name for name, one in chosen.items() if name not in options.names and begun_at(one) is None]
    for name in left:
        say(f"{name}: not applied yet")

    def one(name: str) -> list[dict[str, object]]:
        run = deploy.prepare(folder, chosen[name], waves.prefixed(say, name))
        return [item.as_json() for item in deploy.drift_stack(run)]

    names = [name for name in chosen if name not in left]
    jobs = options.jobs or folder.inventory.settings.jobs
    done, failed, interrupted = waves.in_parallel(names, one, jobs)
    rows = [
        {"stack": name, "cloud": chosen[name].cloud, "failed": name in failed, "drift": done.get(name, [])}
        for name in names
    ]
    found = [*beside, *(d for ds in failed.values() for d in ds)]
    text = "".join(drift.terminal(name, done[name]) for name in sorted(done))
    markdown = "\n".join(drift.markdown(name, done[name]) for name in sorted(done))
    placed, differences = project.placed(folder, found), any(done.values())
    return Outcome(rows, text, placed, _warnings(folder), markdown, differences, interrupted)


def status(options: Options, live: bool, say: Say) -> Outcome:
    """What the last apply left, stack by stack; with `live` the cloud is asked."""
    from cf_infra import status as told

    folder = project.read(options.root, options.today)
    folder, fetched = state_place.looked_at(folder, say)
    beside = [*fetched, *sealing.findings(folder)]
    outcome = told.status(folder, options.names, live, say)
    return replace(outcome, diagnostics=[*beside, *outcome.diagnostics])
