"""One tool: built from its Go modules into a folder of the cache, once per version, platform and Go."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.cache import building, cache_folder, describe, discard, is_whole
from tools.find import Go, go_environment
from tools.recipes import GO_FLAGS, RECIPE, Tool
from tools.talk import SetupError, say

HEARTBEAT_SECONDS = 10
#: Lines of another program's output that an error shows.
TAIL_LINES = 15


def tool_digest(tool: Tool, go: Go) -> str:
    """Return what decides over a tool's bytes: its modules, the flags, the platform and the Go."""
    digest = hashlib.sha256()
    for part in (str(RECIPE), tool.name, *GO_FLAGS, *_flags(tool), str(tool.cgo), go.version, go.platform):
        digest.update(part.encode() + b"\0")
    for file in sorted(tool.folder.rglob("go.*")):
        digest.update(file.relative_to(tool.folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _flags(tool: Tool) -> list[str]:
    return [f"-ldflags=-s -w {tool.ldflags}".rstrip(), f"-tags={tool.tags}"]


def built(tool: Tool, go: Go) -> Path:
    """Return the tool's binary in the cache, after building it if it is not there.

    Raise SetupError if the build fails.
    """
    target = cache_folder() / f"go-{tool.name}-{tool_digest(tool, go)}"
    binary = target / tool.file_name
    if is_whole(target / "built.json"):
        return binary
    discard(target)
    if tool.cgo and not any(map(shutil.which, (os.environ.get("CC", "cc").split()[0], "gcc"))):
        raise SetupError(
            "compiler-missing",
            "A C compiler was not found",
            f"{tool.title} {tool.version} holds C code (SQLite), and there is no `cc` on PATH.",
            "install one, for example gcc, and run it again.",
        )
    with building(target) as temporary:
        _compile(tool, temporary / tool.file_name)
        describe(temporary / "built.json", {"version": tool.version, "go": go.version}, temporary)
    return binary


def _compile(tool: Tool, output: Path) -> None:
    name = f"{tool.title} {tool.version}"
    say(f"{name}: building from source (needs some minutes the first time)")
    started = time.monotonic()
    command = ["go", "build", "-v", *GO_FLAGS, *_flags(tool), "-o", str(output), tool.package]
    log: list[str] = []
    with subprocess.Popen(
        command,
        cwd=tool.folder,
        env=go_environment(cgo=tool.cgo),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=_collect, args=(process.stderr or (), log), daemon=True)
        reader.start()
        try:
            while _still_runs(process):
                say(f"{name}: {time.monotonic() - started:.0f} s, {_progress(log)}")
        finally:
            _end(process)
            reader.join()
    if process.returncode:
        tail = "\n".join(f"    {line}" for line in log[-TAIL_LINES:])
        raise SetupError(
            "build-failed",
            f"{tool.title} could not be built",
            f"`go build` for {name} ended with exit code {process.returncode}. Its last words:\n{tail}",
            "a module that cannot be downloaded: check the network and GOPROXY; a full disk: make room.\n"
            "To see all of it:\n"
            f"    cd tools/{tool.name} && go build -mod=readonly -o {os.devnull} {tool.package}",
        )
    say(f"{name}: built in {time.monotonic() - started:.0f} s")


def _collect(lines: Iterable[str], log: list[str]) -> None:
    log.extend(line.rstrip() for line in lines)


def _progress(log: Sequence[str]) -> str:
    fetched = sum(line.startswith("go: downloading") for line in log)
    compiled = sum(bool(re.fullmatch(r"[\w./~+-]+", line)) for line in log)
    return (
        f"{fetched} modules fetched, {compiled} packages compiled"
        if fetched
        else f"{compiled} packages compiled"
    )


def _still_runs(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()
