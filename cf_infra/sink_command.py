"""A sink that is a command of settings.yaml: run without a shell, the value on its standard input and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.handing_over import document, handing_over, single
from cf_infra.keys import COMMAND_VARIABLES
from cf_infra.mask import Masker
from cf_infra.material import Material
from cf_infra.model import CommandSink

KEPT = 200
"""Characters of a command's last words that a message shows."""


def run_command(
    argv: Sequence[str],
    given: bytes,
    environ: Mapping[str, str],
    timeout: float,
    masker: Masker,
    more: Sequence[str] = (),
) -> None:
    """Run a command of settings.yaml; `more`: variables that it gets beside those of COMMAND_VARIABLES.

    Raises Failure("undelivered") if it cannot be started, takes too long or ends with another status than 0.
    """
    passed = ("PATH", "HOME", "LANG", *COMMAND_VARIABLES, *more)
    env = {name: environ[name] for name in passed if name in environ}
    name, why = argv[0], ""
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        ) as child:
            try:
                out, _ = child.communicate(given, timeout=timeout)
            except BaseException:
                # What it started itself would keep its output open.
                os.killpg(child.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        why = f"The command `{name}` was not done after {timeout:.0f} s and was ended."
    except OSError as error:
        why = f"The command `{name}` cannot be started: {error.strerror}."
    else:
        if child.returncode == 0:
            return
        why = f"The command `{name}` ended with exit status {child.returncode}.{_last_words(out, masker)}"
    hint = "run the command by hand; it gets the value on its standard input"
    raise Failure(Diagnostic("undelivered", detail=why, hint=hint))


def _last_words(out: bytes, masker: Masker) -> str:
    said = masker.text(out.decode("utf-8", "replace")).strip().splitlines()
    return f" Its last words: {said[-1][:KEPT]}" if said else ""


@dataclass(frozen=True)
class ToCommand:
    """Hands a credential to a command; what is behind it, such as a password store, is its own business."""

    settings: CommandSink
    environ: Mapping[str, str] = field(repr=False)

    @property
    def place(self) -> str:
        """Such as `the command op`: its arguments may name vaults, and receipts are public."""
        return f"the command `{self.settings.command[0]}`"

    def deliver(self, material: Material) -> None:
        """Run the command. What it makes of the same value a second time is its own business as well."""
        with handing_over(self.place, material):
            run_command(
                self.settings.command,
                self._given(material),
                self.environ,
                self.settings.timeout,
                Masker(material.hidden()),
                self.settings.variables,
            )

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Nobody but a person knows how to take back what a command put somewhere."""
        return [f"Take `{owner}/{name}` away where {self.place} of settings.yaml put it."]

    def _given(self, material: Material) -> bytes:
        if self.settings.template is not None:
            return filled(self.settings.template, material)
        if self.settings.field is not None:
            return single(material, self.settings.field).encode()
        return document(material)


def filled(template: str, material: Material) -> bytes:
    """The template with the credential's fields, and with `owner`, `name` and `generation`."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    about = {"owner": material.owner, "name": material.name, "generation": material.generation}
    try:
        made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        return made.from_string(template).render({**about, **material.fields}).encode()
    except TemplateError as error:
        detail = f"The template cannot be filled: {str(error).splitlines()[0][:KEPT]}."
        hint = "mend `template` of this sink in settings.yaml; {{ FIELD | tojson }} is a field as JSON"
        raise Failure(Diagnostic("undelivered", detail=detail, hint=hint)) from None
