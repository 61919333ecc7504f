#!/usr/bin/env python3
"""Put the secrets of a job's environment into files, where cf-infra and openstacksdk look for them.

    CF_INFRA_STATE_KEY   64 hexadecimal digits   $CF_INFRA_KEY_FILE, else ~/.config/cf-infra/state.key
    CF_INFRA_CLOUDS      text of a clouds.yaml   ~/.config/openstack/clouds.yaml

So they are in the environment of this one step and of no other program. A file that is there is never written over.
People have these files, and need none of it. Standard library only: set-up, which runs other people's programs, comes
after it, in another step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.talk import SetupError, from_os_error, say


def places(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Each variable, and the file that it goes to."""
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    yield "CF_INFRA_STATE_KEY", Path(environ.get("CF_INFRA_KEY_FILE") or config / "cf-infra" / "state.key")
    yield "CF_INFRA_CLOUDS", config / "openstack" / "clouds.yaml"


def put(environ: Mapping[str, str]) -> None:
    """Write what is set, each with mode 600. Raise SetupError where another file is in its place."""
    for name, path in places(environ):
        value = environ.get(name, "").strip()
        if not value:
            say(f"{name}: not set, so no file is written")
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(f"{value}\n")
        except FileExistsError:
            if path.is_symlink() or path.read_text(encoding="utf-8").strip() != value:
                raise _in_the_way(name, path) from None
        say(f"{name}: in a file of its own")


def _in_the_way(name: str, path: Path) -> SetupError:
    return SetupError(
        "file-in-the-way",
        "Another file is there",
        f"{name} would go to {path}, which has something else, and is not written over.",
        f"on a machine with files of its own, leave the variable out:\n    unset {name}",
    )


def main() -> int:
    """Write the files; return the exit code."""
    try:
        put(os.environ)
    except SetupError as error:
        say(str(error))
    except OSError as error:
        say(str(from_os_error(error)))
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
