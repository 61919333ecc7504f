"""The real Drone server: it takes what we put into its environment file, and forgets what was there before."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import drone_server
import pytest
from roots import PROJECT

from cf_infra.canaries import canary
from cf_infra.diagnostics import Failure
from cf_infra.making import fields
from cf_infra.material import Material, Sink
from cf_infra.model import Credential, CredentialKind, Settings
from cf_infra.sinks import sink

pytestmark = pytest.mark.sandbox
KEY = bytes(range(32))


def program() -> str:
    """The drone-server of this clone; skips loudly where it was not built (it holds C code)."""
    pointer = PROJECT / ".tools" / "current.json"
    if pointer.is_file():
        described = json.loads(Path(json.loads(pointer.read_text())["tools"]).read_text())
        if found := described["programs"].get("drone"):
            return str(found)
    pytest.skip(
        "NOT TESTED: nothing of the real Drone server, which needs a C compiler to be built. "
        "Run `python3 tools/build.py drone`."
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "drone"
    made.mkdir()
    (made / "program").write_text(program())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (made / "port").write_text(str(probe.getsockname()[1]))
    (made / "server.env").write_text("# the server\nDRONE_LOGS_DEBUG=false\nDRONE_USER_FILTER=conda-forge\n")
    yield made
    drone_server.stop(made)


def server(folder: Path) -> str:
    return f"http://127.0.0.1:{(folder / 'port').read_text()}"


def settings(folder: Path) -> Settings:
    restart = [sys.executable, str(Path(drone_server.__file__)), str(folder)]
    described = {
        "server": {"kind": "drone-env", "file": str(folder / "server.env"), "restart": restart},
        "org": {"kind": "drone-secret", "server": server(folder), "namespace": "conda-forge"},
    }
    return Settings.model_validate({"sinks": described})


def to(name: str, folder: Path, token: str = "") -> Sink:
    environ = {**os.environ, "DRONE_TOKEN": token}
    return sink(name, "ci", settings(folder), folder / "delivered", environ, sandbox=False)


def generation(kind: CredentialKind, number: str, folder: Path, **more: str) -> Material:
    credential = Credential.model_validate({"kind": kind, "server": server(folder), **more})
    found, secret = fields(kind, KEY, "ci", number, credential)
    return Material("ci", str(kind).replace("_", "-"), number, kind, found, secret)


def robot(number: str, folder: Path) -> Material:
    return generation(CredentialKind.DRONE_TOKEN, number, folder, username="robot")


def rpc(number: str, folder: Path) -> Material:
    return generation(CredentialKind.DRONE_RPC_SECRET, number, folder)


def refused(material: Material, folder: Path) -> bool:
    with pytest.raises(Failure) as caught:
        canary(material, settings(folder), {})
    return "wrong, expired or revoked" in caught.value.diagnostics[0].detail


def test_a_changed_line_turns_the_token_and_the_rpc_secret(folder: Path) -> None:
    target = to("server", folder)
    target.deliver(rpc("1", folder))
    target.deliver(robot("1", folder))
    known = settings(folder)
    assert canary(robot("1", folder), known, {}) == "logged in as robot, an admin"
    assert canary(rpc("1", folder), known, {}) == "the server takes it from runners"
    log = (folder / "log").read_text()
    assert robot("1", folder).fields["token"] in log, "docs/credentials.md says that the server does this"
    pid = (folder / "pid").read_text()
    target.deliver(robot("1", folder))
    assert (folder / "pid").read_text() == pid, "twice is as once: the server was not restarted"

    target.deliver(robot("2", folder))
    assert (folder / "pid").read_text() != pid
    assert canary(robot("2", folder), known, {}) == "logged in as robot, an admin"
    assert refused(robot("1", folder), folder)
    assert canary(rpc("1", folder), known, {}) == "the server takes it from runners"

    target.deliver(rpc("2", folder))
    assert canary(rpc("2", folder), known, {}) == "the server takes it from runners"
    assert refused(rpc("1", folder), folder), "one RPC secret, never two at once"
    assert canary(robot("2", folder), known, {}) == "logged in as robot, an admin"
    text = (folder / "server.env").read_text()
    assert text.startswith("# the server\nDRONE_LOGS_DEBUG=false\nDRONE_USER_FILTER=conda-forge\n")


def test_a_restart_that_was_killed_is_made_up_for(folder: Path) -> None:
    to("server", folder).deliver(rpc("1", folder))
    path = folder / "program"
    right = path.read_text()
    path.write_text("/bin/false")
    with pytest.raises(Failure, match="ended with exit status 1"):
        to("server", folder).deliver(rpc("2", folder))
    path.write_text(right)
    to("server", folder).deliver(rpc("2", folder))
    assert canary(rpc("2", folder), settings(folder), {}) == "the server takes it from runners"


def test_a_secret_of_all_repositories_of_a_namespace(folder: Path) -> None:
    target = to("server", folder)
    target.deliver(rpc("1", folder))
    target.deliver(robot("1", folder))
    org = to("org", folder, robot("1", folder).fields["token"])

    def kept() -> list[tuple[str, str, bytes]]:
        with sqlite3.connect(folder / "drone.sqlite") as database:
            rows = "SELECT secret_namespace, secret_name, secret_data FROM orgsecrets"
            return [(space, name, bytes(data)) for space, name, data in database.execute(rows)]

    for number in ("1", "1", "2"):
        material = _secret(number)
        org.deliver(material)
        assert kept() == [("conda-forge", "upload", material.fields["value"].encode())]
    assert org.withdraw("ci", "upload") == []
    assert kept() == []
    assert org.withdraw("ci", "upload") == []
    with pytest.raises(Failure) as caught:
        to("org", folder, "0" * 32).deliver(_secret("3"))
    assert "Drone does not take the token that DRONE_TOKEN gives" in caught.value.diagnostics[0].detail
    assert kept() == []


def _secret(number: str) -> Material:
    found, secret = fields(CredentialKind.SECRET, KEY, "upload", number)
    return Material("ci", "upload", number, CredentialKind.SECRET, found, secret)
