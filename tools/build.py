#!/usr/bin/env python3
"""Provide OpenTofu and its providers: what fits is used, what is missing is built from the modules here.

    tools/build.py              what plan and apply need
    tools/build.py drone act    these as well, from now on in this clone

The result is a folder `tools-<digest>` in the cache, described by its tools.json; `.tools/current.json` of
the clone names it. README.md beside this file describes both. Standard library only: it runs before anything
is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from tools.cache import building, cache_folder, describe, discard, is_whole
from tools.find import Go, Tofu, find_go, tofu_environment, tofu_on_path
from tools.gobuild import TAIL_LINES, built, tool_digest
from tools.recipes import CONSTRAINTS, CORE, REGISTRY_HOSTS, SET_RECIPE, TOOLS, Tool
from tools.talk import SetupError, end_on_sigterm, from_os_error, say

POINTER = ROOT / ".tools" / "current.json"


@dataclass(frozen=True)
class UserProviders:
    """What CF_INFRA_PROVIDERS asks for instead of building: a mirror folder, or (None) the registry."""

    folder: Path | None


@dataclass(frozen=True)
class Request:
    """Everything that decides what the set of tools is."""

    #: The OpenTofu of PATH, where it fits.
    tofu: Tofu | None
    providers: UserProviders | None
    #: What must be built, each with its Go.
    tools: Mapping[str, Go]

    def digest(self) -> str:
        """Return the name of the set: equal requests have equal sets, in all clones."""
        value = {
            "recipe": SET_RECIPE,
            "tools": {name: tool_digest(TOOLS[name], go) for name, go in self.tools.items()},
            "tofu": [str(self.tofu.path), self.tofu.version] if self.tofu else None,
            "providers": [str(self.providers.folder), _listing(self.providers.folder)]
            if self.providers
            else None,
            # tofurc holds absolute paths: a cache that was moved is another one.
            "cache": str(cache_folder()),
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def set_up(names: Iterable[str] = (), pointer: Path = POINTER) -> Path:
    """Provide the core tools, `names` and what was asked for earlier in this clone.

    Return the path of the tools.json that describes them. Raise SetupError if one can be neither found nor
    built.
    """
    before = [name for name in read_pointer(pointer).get("extra", []) if name in TOOLS]
    extra = [name for name in dict.fromkeys((*before, *names)) if name not in CORE]
    request = _request(extra)
    target = cache_folder() / f"tools-{request.digest()}"
    if not is_whole(target / "tools.json"):
        binaries = {name: built(TOOLS[name], go) for name, go in request.tools.items()}
        discard(target)
        with building(target) as folder:
            _assemble(request, binaries, folder, target)
    write_pointer(target / "tools.json", extra, pointer)
    return target / "tools.json"


def _request(extra: Iterable[str]) -> Request:
    tofu = tofu_on_path()
    providers = user_providers()
    names = [
        name
        for name in dict.fromkeys((*CORE, *extra))
        if not (name == "tofu" and tofu) and not (TOOLS[name].provider and providers)
    ]
    wanted = [TOOLS[name] for name in names]
    return Request(tofu, providers, {tool.name: find_go(tool, wanted) for tool in wanted})


def user_providers() -> UserProviders | None:
    """Return what CF_INFRA_PROVIDERS asks for, and say so; None: they are built.

    Raise SetupError if it names a folder without the openstack provider.
    """
    setting = os.environ.get("CF_INFRA_PROVIDERS", "")
    if not setting:
        return None
    if setting == "registry":
        say("providers: OpenTofu installs them from its registry (CF_INFRA_PROVIDERS=registry)")
        return UserProviders(None)
    folder = Path(setting).expanduser().absolute()
    expected = f"{REGISTRY_HOSTS[0]}/{TOOLS['openstack'].provider}"
    if not (folder / expected).is_dir():
        raise SetupError(
            "no-provider",
            "The folder of providers does not hold the openstack provider",
            f"CF_INFRA_PROVIDERS names {folder}, which has no {expected}/.",
            "name a folder made by `tofu providers mirror`, or unset it to have the provider built:\n"
            "    unset CF_INFRA_PROVIDERS",
        )
    say(f"providers: those in {folder} are used (CF_INFRA_PROVIDERS)")
    return UserProviders(folder)


def _listing(folder: Path | None) -> list[tuple[str, int, int]]:
    found = ((path, path.stat()) for path in sorted(folder.rglob("*") if folder else ()) if path.is_file())
    return [(str(path), status.st_size, status.st_mtime_ns) for path, status in found]


def _assemble(request: Request, binaries: Mapping[str, Path], folder: Path, target: Path) -> None:
    """Fill `folder`, later renamed to `target`: bin/, mirror/, tofurc, the locks and, last, tools.json."""
    for name, binary in binaries.items():
        for place in _places(TOOLS[name], request.tools[name].platform):
            _link(binary, folder / place)
    programs = {
        name: str(target / "bin" / TOOLS[name].binary) for name in binaries if not TOOLS[name].provider
    }
    versions = {name: TOOLS[name].version for name in binaries}
    if request.tofu:
        programs["tofu"], versions["tofu"] = str(request.tofu.path), request.tofu.version
    value: dict[str, Any] = {"programs": programs, "tofu": programs["tofu"]}
    value |= {"providers": None, "tofurc": None, "locks": {}}
    if request.providers is None or request.providers.folder:
        mirror = request.providers.folder if request.providers else None
        tofu = request.tofu.path if request.tofu else folder / "bin" / "tofu"
        for name in _lockable(mirror):
            lock = _lock(tofu, mirror or folder / "mirror", name)
            (folder / f"{name}.lock.hcl").write_text(lock, encoding="utf-8")
            versions[name] = _locked_version(lock)
            value["locks"][name] = str(target / f"{name}.lock.hcl")
        (folder / "tofurc").write_text(tofurc(mirror or target / "mirror"), encoding="utf-8")
        value |= {"providers": str(mirror or target / "mirror"), "tofurc": str(target / "tofurc")}
    describe(folder / "tools.json", {**value, "versions": versions}, folder)


def _lockable(mirror: Path | None) -> Iterator[str]:
    """Which providers are there to be locked: of somebody's own folder, those that it holds."""
    for name in CONSTRAINTS:
        place = f"{REGISTRY_HOSTS[0]}/{TOOLS[name].provider}"
        if mirror is None or name == "openstack" or (mirror / place).is_dir():
            yield name
        else:
            say(f"providers: {place} is not in {mirror}: stacks that need it cannot be planned")


def _places(tool: Tool, platform: str) -> Iterator[str]:
    if not tool.provider:
        yield f"bin/{tool.binary}"
        return
    for host in REGISTRY_HOSTS:
        yield f"mirror/{host}/{tool.provider}/{tool.version}/{platform}/{tool.file_name}"


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def tofurc(mirror: Path) -> str:
    """Return OpenTofu's settings file that takes providers from `mirror` and from nowhere else."""
    # A quoted string of this file has JSON's escapes; `${` is plain text in it.
    hosts = ", ".join(json.dumps(f"{host}/*/*") for host in REGISTRY_HOSTS)
    return (
        "# Written by tools/build.py. Providers come from this folder only: planning downloads nothing.\n"
        "disable_checkpoint = true\n\n"
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f"    path    = {json.dumps(str(mirror), ensure_ascii=False)}\n"
        f"    include = [{hosts}]\n"
        "  }\n"
        "}\n"
    )


def _lock(tofu: Path, mirror: Path, name: str) -> str:
    """Return the text of a .terraform.lock.hcl with the hash of the provider `name` that is in `mirror`.

    It names no other provider: `tofu init -lockfile=readonly` refuses a lock that holds more than the
    configuration asks for, and each kind of stack asks for one.
    """
    source, constraint = TOOLS[name].provider, CONSTRAINTS[name]
    needs = {name: {"source": source, "version": constraint}}
    with tempfile.TemporaryDirectory(prefix="cf-infra-lock-") as work:
        text = json.dumps({"terraform": {"required_providers": needs}})
        Path(work, "main.tf.json").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [tofu, f"-chdir={work}", "providers", "lock", "-no-color", f"-fs-mirror={mirror}"],
            env=tofu_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return Path(work, ".terraform.lock.hcl").read_text(encoding="utf-8")
    tail = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-TAIL_LINES:])
    raise SetupError(
        "no-provider",
        "No provider fits",
        f"{tofu} finds no {source} ({constraint}) for this platform\nin {mirror}:\n{tail}",
        "correct the folder, or unset CF_INFRA_PROVIDERS to have it built:\n    unset CF_INFRA_PROVIDERS",
    )


def _locked_version(lock: str) -> str:
    found = re.search(r'^\s*version\s*=\s*"([^"]+)"', lock, re.MULTILINE)
    return found[1] if found else "unknown"


def read_pointer(pointer: Path = POINTER) -> dict[str, Any]:
    """Return what the clone uses: {tools: path of tools.json, extra: [names]}; empty before any set-up."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(pointer.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return {}


def write_pointer(description: Path, extra: Sequence[str], pointer: Path = POINTER) -> None:
    """Let the clone use these tools, in one step."""
    value = {"tools": str(description), "extra": list(extra)}
    if read_pointer(pointer) == value:
        return
    pointer.parent.mkdir(exist_ok=True)
    temporary = pointer.with_name(f"{pointer.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(pointer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(
        description="Provide OpenTofu and its providers.", epilog="More: tools/README.md"
    )
    optional = ", ".join(name for name in TOOLS if name not in CORE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"built too: {optional}")
    names = parser.parse_args(arguments).names
    for name in names:
        if name not in TOOLS:
            say(f"error[unknown-tool]: There is no recipe for `{name}`\nhint: choose from {', '.join(TOOLS)}")
            return 64
    end_on_sigterm()
    try:
        print(set_up(names))
    except SetupError as error:
        say(str(error))
    except OSError as error:
        say(str(from_os_error(error)))
    except KeyboardInterrupt:
        say("interrupted: nothing half-built is left; run it again to go on")
        return 130
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
