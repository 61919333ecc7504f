"""Where credentials are delivered to: by the name in a stack file, as settings.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cf_infra.cirun import API, ENDPOINT
from cf_infra.diagnostics import Diagnostic, Failure, nearest, some
from cf_infra.mask import Masker
from cf_infra.material import Sink
from cf_infra.model import (
    AgeSink,
    CirunSink,
    CommandSink,
    DroneEnvSink,
    DroneSecretSink,
    FileSink,
    GithubSecretSink,
    Settings,
    SinkSettings,
)
from cf_infra.rest import Say, is_local
from cf_infra.sink_command import ToCommand, run_command
from cf_infra.sink_files import ToAge, ToDroneEnv, ToFile
from cf_infra.sink_services import ToCirun, ToDrone, ToGithub

RESTART_TIMEOUT = 120.0
"""Seconds that the restart of a Drone server may take."""


def sink(
    name: str,
    owner: str,
    settings: Settings,
    delivered: Path,
    environ: Mapping[str, str],
    sandbox: bool,
    say: Say = lambda _text: None,
) -> Sink:
    """The sink that a stack file calls `name`.

    `delivered`: the stack's folder of delivered things. With `sandbox` nothing that was made on this machine leaves
    it, nor takes the place of what real users read: such a sink becomes the file, unless its address is on this
    machine (a stand-in). Raises Failure("unknown-sink").
    """
    found = settings.all_sinks.get(name)
    if found is None:
        raise Failure(_unknown(name, owner, settings))
    made = _made(found, settings, delivered, environ, say)
    if sandbox and not _stays_here(found, settings, environ):
        return ToFile(delivered, instead_of=made.place)
    return made


def _made(
    found: SinkSettings, settings: Settings, delivered: Path, environ: Mapping[str, str], say: Say
) -> Sink:
    match found:
        case CirunSink():
            return ToCirun(environ, say)
        case GithubSecretSink():
            return ToGithub(settings, found, environ, say)
        case DroneSecretSink():
            return ToDrone(found, environ, say)
        case DroneEnvSink():
            restart = None
            if found.restart is not None:
                restart = partial(run_command, found.restart, b"", environ, RESTART_TIMEOUT, Masker())
            return ToDroneEnv(found, delivered, restart)
        case CommandSink():
            return ToCommand(found, environ)
        case AgeSink():
            return ToAge(found, delivered)
        case FileSink():
            return ToFile(delivered)


def _stays_here(found: SinkSettings, settings: Settings, environ: Mapping[str, str]) -> bool:
    match found:
        case CirunSink():
            return is_local(environ.get(ENDPOINT) or API)
        case GithubSecretSink():
            return is_local(settings.github.api)
        case DroneSecretSink():
            return is_local(found.server)
        case AgeSink() | DroneEnvSink():
            # A relative file lies in the sandbox's own folder; another one is what real users read.
            return not Path(found.file or "").expanduser().is_absolute()
        case CommandSink():
            return False
        case FileSink():
            return True


def _unknown(name: str, owner: str, settings: Settings) -> Diagnostic:
    known = sorted(settings.all_sinks)
    near = nearest(name, known)
    return Diagnostic(
        "unknown-sink",
        file=f"stacks/{owner}.yaml",
        path=("credentials",),
        detail=f"There is no sink `{name}`. There are: {some(known, name)}.",
        hint=f"do you mean `{near}`?" if near else "ask an operator to add it to `sinks` in settings.yaml",
    )
