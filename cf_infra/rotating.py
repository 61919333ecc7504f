"""`rotate`: turns what is due, and nothing else: made, delivered, proven by a login, the one before retired.

A whole apply does the same. This is for a day on which nothing else is to be applied, and for stacks that have
credentials and nothing to provision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cf_infra import credential_report, deploy, kinds, ledger, plan, project, record, state_place, waves
from cf_infra.at_openstack import PROVISIONER_ADDRESS
from cf_infra.canaries import boot_canary
from cf_infra.commands import Options, Outcome
from cf_infra.deployment import Deployment, load_inventory, now
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.keys import ring
from cf_infra.logins import Logins
from cf_infra.model import Kind
from cf_infra.names import address_of_image, flavor_name
from cf_infra.project import Folder
from cf_infra.receipts import Receipt

Say = Callable[[str], None]
OURS = (
    "module.credential.",
    "module.user.",
    PROVISIONER_ADDRESS,
    "stray:login/",
)
"""The addresses of credentials in a stack of ours, and of what a killed run left of them."""


@dataclass(frozen=True)
class Turned:
    """What was done about one stack's credentials."""

    deployment: Deployment
    receipts: list[Receipt]
    diagnostics: list[Diagnostic]
    booted: list[str] = field(default_factory=list)


def rotate(options: Options, say: Say, boot: bool = False) -> Outcome:
    """Turn what is due in the named stacks, or in all that have credentials. Raises Failure for what cannot begin.

    `boot`: then boot and delete a server of each flavor that somebody may use, with the delivered login.
    """
    folder = read(options, say)
    chosen = having_credentials(folder, options, say)
    jobs = options.jobs or folder.inventory.settings.jobs

    def one(name: str) -> Turned:
        its = waves.prefixed(say, name)
        turned = turn(folder, chosen[name], its)
        return _booted(folder, turned, its) if boot and not has_errors(turned.diagnostics) else turned

    done, failed, interrupted = waves.in_parallel(chosen, one, jobs)
    rows = [_row(folder, chosen[name], done.get(name)) for name in chosen]
    found = [d for turned in done.values() for d in turned.diagnostics]
    found += [d for faults in failed.values() for d in faults]
    text = "\n".join(_text(folder, chosen[name], done.get(name)) for name in chosen)
    return Outcome(rows, text, project.placed(folder, found), interrupted=interrupted)


def read(options: Options, say: Say) -> Folder:
    """The folder, without errors, with the real day beside the pretended one, and what others did. Raises Failure."""
    folder = replace(project.read(options.root, options.today), clock=now().date())
    if has_errors(folder.diagnostics):
        raise Failure(*folder.diagnostics)
    folder, told = state_place.opened(folder, say)
    for one in told:
        say(f"{one.detail} {one.hint}")
    return folder


def having_credentials(
    folder: Folder, options: Options, say: Say, must: bool = True
) -> dict[str, Deployment]:
    """Where the credentials of each chosen stack are, by its name.

    Raises Failure; if they `must` have some, also for a stack that is named and was never applied.
    """
    named: Sequence[str] = [*options.names, *options.clouds]
    found = {}
    for name, stack in project.chosen(folder.inventory.stacks, list(named) or None).items():
        settings = folder.inventory.settings
        deployment = kinds.deployment(options.root, name, stack, settings, options.clouds)
        if not stack.credentials:
            if name in named:
                say(f"{name}: has no credentials")
        elif kinds.is_deployed(stack) and load_inventory(deployment.state) is None:
            if must and name in named:
                raise Failure(deploy.not_applied(name))
            say(f"{name}: not applied yet")
        else:
            found[name] = deployment
    return found


def turn(folder: Folder, deployment: Deployment, say: Say) -> Turned:
    """Turn what is due in one stack. Raises Failure, also if more than credentials would change."""
    stack = folder.inventory.stacks[deployment.stack]
    if not kinds.is_deployed(stack):
        with state_place.sharing(folder, deployment, say):
            return _turned_alone(folder, deployment, say)
    run = deploy.prepare(folder, deployment, say)
    saved = _planned(run)
    deploy.verify(run, saved)
    applied = deploy.apply_stack(run, saved)
    return Turned(deployment, applied.receipts, applied.diagnostics)


def _booted(folder: Folder, turned: Turned, say: Say) -> Turned:
    """The proof that what a stack offers works: a server of each flavor in use, under the tenant's own quota."""
    deployment = turned.deployment
    if folder.inventory.stacks[deployment.stack].kind is not Kind.OPENSTACK:
        return turned
    run = deploy.prepare(folder, deployment, say)
    known = ledger.load(deployment.state)
    values = [m for m in deploy.values(run) if known[m.name].proof(m.generation) is not None]
    if not values:
        detail = f"`{deployment.stack}` has no proven login of ours that could boot a server."
        return replace(turned, diagnostics=[*turned.diagnostics, Diagnostic("not-tried", detail=detail)])
    said, told = [], list(turned.diagnostics)
    for use in run.stack.uses.values():
        if use.offer.image is None:
            continue
        flavor = flavor_name(run.stack.name, use.runner_class, use.offer)
        image = address_of_image(run.stack.name, run.stack.stack, use.offer.image)
        try:
            said.append(boot_canary(values[-1], flavor, image, values[-1].fields["network"], say, run.login))
        except Failure as failure:
            told += failure.diagnostics
    return replace(turned, diagnostics=told, booted=said)


def _turned_alone(folder: Folder, deployment: Deployment, say: Say) -> Turned:
    logins = own_logins(folder, deployment, say)
    told = logins.turn([])
    if not has_errors(told):
        logins.retired()
    return Turned(deployment, [], told)


def own_logins(folder: Folder, deployment: Deployment, say: Say) -> Logins:
    """The credentials of a stack that has nothing to provision. Raises Failure."""
    known = {**folder.ledgers, deployment.stack: ledger.load(deployment.state)}
    stack = replace(folder, ledgers=known).resolved().stacks[deployment.stack]
    own = ring(deploy.key_sources(folder, deployment), folder.root, deployment.name)
    settings = folder.inventory.settings
    return Logins(deployment, stack, settings, own, None, os.environ, folder.today, say)


def _planned(run: deploy.Run) -> record.Record:
    """A saved plan that changes credentials and nothing else. Raises Failure("not-only-credentials")."""
    planned = deploy.plan_stack(run, deploy.Wish({}))
    saved = planned.record
    more = [i["what"] for i in saved.summary["items"] if not i["address"].startswith(OURS)]
    if more or saved.refusals:
        record.discard(run.deployment)
        name = run.stack.name
        shown = ", ".join(more[: plan.SHOWN_AT_MOST]) or "what the limits refuse"
        others = f" and {len(more) - plan.SHOWN_AT_MOST} more" if len(more) > plan.SHOWN_AT_MOST else ""
        detail = f"In `{name}` there is more to be done than to turn credentials: {shown}{others}."
        both = f"cf-infra plan {name} && cf-infra apply {name}"
        hint = f"read it and apply it, which turns the credentials as well:\n{both}"
        raise Failure(Diagnostic("not-only-credentials", detail=detail, hint=hint))
    return saved


# ------------------------------------------------------------------------------------------------ what is told


def _row(folder: Folder, deployment: Deployment, turned: Turned | None) -> dict[str, Any]:
    return {
        "stack": deployment.stack,
        "cloud": deployment.cloud,
        "failed": turned is None or has_errors(turned.diagnostics),
        "credentials": rows(folder, deployment),
        "booted": turned.booted if turned is not None else [],
        "receipts": [r.as_json() for r in turned.receipts] if turned is not None else [],
    }


def rows(folder: Folder, deployment: Deployment) -> list[dict[str, Any]]:
    """Each credential of a stack as it stands now."""
    stack = folder.inventory.stacks[deployment.stack]
    return credential_report.rows(deployment.stack, stack, folder.today, ledger.load(deployment.state))


def _text(folder: Folder, deployment: Deployment, turned: Turned | None) -> str:
    lines = [f"{deployment.name}:", *credential_report.lines(rows(folder, deployment))]
    lines += [f"  {said}" for said in (turned.booted if turned is not None else ())]
    for receipt in turned.receipts if turned is not None else ():
        lines.append(f"  {receipt.grant} is gone from:")
        lines += [f"    {place.place}   {place.checked_at}" for place in receipt.gone_from]
    return "\n".join(lines) + "\n"
