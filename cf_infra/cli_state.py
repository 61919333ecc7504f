"""The command line of `state`: where states lie, their key, and who can recover it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cf_infra.cli_options import Form, NoColor, Quiet, Root, Stacks, sound
from cf_infra.console import INTERRUPTED, Console, Format, today_utc
from cf_infra.diagnostics import Diagnostic, Failure

state_app = typer.Typer(
    no_args_is_help=True, help="Where states lie, and the key that they are encrypted with."
)


@state_app.command("move")
def state_move(
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Bring the states of this machine into the bucket that settings.yaml names. Writes over nothing.

    \b
    Example:
      cf-infra state move
    """
    from cf_infra import state_place

    console = Console(form, quiet, no_color)
    moved = state_place.move(sound(console, root, today_utc()), console.progress)
    told = "".join(f"{name}: moved; the old file is kept as terraform.tfstate.moved\n" for name in moved)
    console.result({"moved": moved}, told.rstrip() or "There was none to move.")
    console.finish()


@state_app.command("rekey")
def state_rekey(
    stacks: Stacks = None,
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Encrypt states again, under the current key. The key before it is named under `state.previous`.

    What was killed half-way is simply run again.

    \b
    Examples:
      cf-infra state rekey
      cf-infra state rekey quansight-v100
    """
    from cf_infra import rekeying

    console = Console(form, quiet, no_color)
    done = rekeying.rekey(sound(console, root, today_utc()), stacks or (), console.progress)
    console.diagnostics(done.diagnostics)
    rows = [{"stack": name, "state": outcome} for name, outcome in done.stacks.items()]
    console.result({"stacks": rows, "left": done.left}, rekeying.text(done))
    if done.interrupted:
        again = Diagnostic("interrupted", detail="Each state is under one key.", hint="cf-infra state rekey")
        console.diagnostics([again])
        console.finish(code=INTERRUPTED)
    console.finish()


@state_app.command("seal")
def state_seal(
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Encrypt the state's key for all of `state.recovery` in settings.yaml, beside the states.

    \b
    Example:
      cf-infra state seal
    """
    from cf_infra import sealing

    console = Console(form, quiet, no_color)
    done = sealing.seal(sound(console, root, today_utc()), console.progress)
    told = "sealed" if done.fresh else "was sealed already"
    console.result(
        {"sealed_for": done.names, "fresh": done.fresh},
        f"The key {told}; each of these can recover it alone: {', '.join(done.names)}",
    )
    console.finish()


@state_app.command("recover")
def state_recover(
    identity: Annotated[
        Path,
        typer.Option("--identity", "-i", metavar="FILE", help="A private key of age; - reads it from stdin."),
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Where to write the key (default: settings.yaml)."),
    ] = None,
    root: Root = Path(),
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Open the sealed key of the state on a new machine, and write it to its file. It is never shown.

    \b
    Examples:
      cf-infra state recover --identity recovery.key
      age -d recovery.key.age | cf-infra state recover --identity -
    """
    from cf_infra import sealing

    console = Console(form, quiet, no_color)
    folder = sound(console, root, today_utc())
    done = sealing.recover(folder, _identity(identity), to, console.progress)
    told = [f"{path}: {'written' if path in done.written else 'has it already'}" for path in done.files]
    files = [{"file": str(path), "written": path in done.written} for path in done.files]
    console.result({"files": files}, "\n".join([*told, *([done.previous] if done.previous else [])]))
    console.finish()


def _identity(file: Path) -> bytes:
    from cf_infra.files import read_regular

    if str(file) == "-":
        return sys.stdin.buffer.read(1 << 16)
    try:
        return read_regular(file, 1 << 16, str(file))
    except FileNotFoundError:
        hint = "give the private key that belongs to one of `state.recovery` in settings.yaml"
        raise Failure(Diagnostic("not-found", file=str(file), detail="It is not there.", hint=hint)) from None
