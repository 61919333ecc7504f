"""The command line of `sandbox`: the OpenStack on this machine."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cf_infra.cli_options import Form, NoColor, Quiet, Root, sound
from cf_infra.console import Console, Format, today_utc

sandbox_app = typer.Typer(no_args_is_help=True, help="A real OpenStack on this machine, to try everything.")


@sandbox_app.command("up")
def sandbox_up(
    stacks: Annotated[
        list[str] | None, typer.Argument(metavar="STACK...", help="Whose hosts it has (default: all).")
    ] = None,
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Start the sandbox. Its hosts are those of the stack files.

    It is ready when a server could be scheduled.

    Settings: CF_INFRA_SANDBOX_PORT (first of five ports, default 15000), CF_INFRA_SANDBOX_DIR.

    \b
    Examples:
      cf-infra sandbox up
      cf-infra sandbox up quansight-v100 && cf-infra plan --cloud quansight-v100=sandbox
    """
    from cf_infra import lab, project

    console = Console(form, quiet, no_color)
    folder = sound(console, root, today_utc())
    chosen = project.chosen(folder.inventory.stacks, stacks)
    endpoints = lab.up(root, chosen, console.progress)
    console.result({"auth_url": endpoints.auth_url}, f"The sandbox runs: {endpoints.auth_url}")
    console.finish()


@sandbox_app.command("down")
def sandbox_down(
    root: Root = Path(), form: Form = Format.TEXT, quiet: Quiet = False, no_color: NoColor = False
) -> None:
    """Stop the sandbox, and nothing else. What is in it is there again after `up`.

    \b
    Example:
      cf-infra sandbox down
    """
    from cf_infra import lab

    console = Console(form, quiet, no_color)
    lab.down(root, console.progress)
    console.finish()


@sandbox_app.command("reset")
def sandbox_reset(
    root: Root = Path(), form: Form = Format.TEXT, quiet: Quiet = False, no_color: NoColor = False
) -> None:
    """Empty the sandbox and start it again.

    \b
    Example:
      cf-infra sandbox reset
    """
    from cf_infra import lab

    console = Console(form, quiet, no_color)
    lab.reset(root, console.progress)
    console.finish()


@sandbox_app.command("job")
def sandbox_job(
    feedstock: Annotated[str, typer.Argument(metavar="FEEDSTOCK", help="Without -feedstock.")],
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="A runner class or a label.")],
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Run one job as Cirun would.

    Reads the delivered access list, boots the machine with the delivered login, deletes it.

    \b
    Example:
      cf-infra sandbox job libmagma cirun-openstack-gpu-large
    """
    from cf_infra import job, lab

    console = Console(form, quiet, no_color)
    folder = sound(console, root, today_utc())
    done = job.run(root, folder.inventory.stacks, feedstock, resource, lab.state_dir(root), console.progress)
    console.result(
        {"job": asdict(done)},
        f"{done.repository} ran on {done.server} ({done.host}): {len(done.gpus)} GPU, {done.flavor}",
    )
    console.finish()


@sandbox_app.command("env")
def sandbox_env(
    root: Root = Path(), form: Form = Format.TEXT, quiet: Quiet = False, no_color: NoColor = False
) -> None:
    """Print what OpenStack's own clients need to find it.

    \b
    Example:
      eval "$(cf-infra sandbox env)" && openstack server list
    """
    from cf_infra import lab

    console = Console(form, quiet, no_color)
    found = lab.environment(root)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in found.items()]
    console.result({"environment": found}, "\n".join(lines))
    console.finish()
