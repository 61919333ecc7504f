"""The real Drone server for tests: run as a program, it restarts the server of a folder, as a sink's `restart` does.

    python drone_server.py FOLDER

FOLDER has `program` (the path of drone-server), `port`, `server.env` (what the server reads, as Docker's --env-file),
and gets `pid`, `drone.sqlite` and `log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

PATIENCE = 30.0


def restart(folder: Path) -> None:
    """End the server if it runs, start it with what server.env says now, and wait until it answers."""
    stop(folder)
    port = (folder / "port").read_text()
    told = dict(
        line.split("=", 1)
        for line in (folder / "server.env").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    fixed = {
        "DRONE_SERVER_PORT": f"127.0.0.1:{port}",
        "DRONE_SERVER_HOST": f"127.0.0.1:{port}",
        "DRONE_SERVER_PROTO": "http",
        "DRONE_DATABASE_DATASOURCE": str(folder / "drone.sqlite"),
        "DRONE_DATADOG_ENABLED": "false",
        "DRONE_GITHUB_SERVER": "http://127.0.0.1:9",  # nobody logs in with a browser here
        "DRONE_GITHUB_CLIENT_ID": "none",
        "DRONE_GITHUB_CLIENT_SECRET": "none",
    }
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [(folder / "program").read_text()],
            cwd=folder,
            env={**fixed, **told},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(child.pid))
    end = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {(folder / 'log').read_text()[-2000:]}")


def stop(folder: Path) -> None:
    """End the server of a folder, by its number."""
    if not (folder / "pid").exists():
        return
    pid = int((folder / "pid").read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    (folder / "pid").unlink()


def _runs(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # where it is our own child
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


if __name__ == "__main__":
    restart(Path(sys.argv[1]))
