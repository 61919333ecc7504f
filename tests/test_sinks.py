"""Credentials arrive where they should, twice is as once, and what goes wrong is told without any value."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_infra import sink_files
from cf_infra.diagnostics import Failure, render
from cf_infra.making import fields
from cf_infra.material import Material, Sink
from cf_infra.model import CredentialKind, Settings
from cf_infra.sinks import sink
from tests.leaks import WATCH

VALUE = "Zq81-value-of-a-test"
LOGIN = {
    "username": "cf-lab-cirun-218",
    "password": VALUE,
    "auth_url": "https://cloud.example/v3",
    "project_id": "p1",
    "domain_id": "default",
    "network": "cf-lab-net",
}


def login(generation: str = "218", password: str = VALUE) -> Material:
    return Material(
        "lab",
        "cirun",
        generation,
        CredentialKind.USER,
        {**LOGIN, "password": password},
        frozenset({"password"}),
    )


def made(kind: CredentialKind, generation: str = "218", name: str = "one", **more: str) -> Material:
    found, secret = fields(kind, bytes(range(32)), name, generation)
    return Material("lab", name, generation, kind, {**found, **more}, secret)


def settings(**sinks: Mapping[str, Any]) -> Settings:
    return Settings.model_validate({"sinks": {name.replace("_", "-"): one for name, one in sinks.items()}})


def found(
    name: str,
    described: Settings,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    sandbox: bool = False,
) -> Sink:
    return sink(name, "lab", described, folder / "delivered", environ, sandbox)


def fault(target: Sink, material: Material, *, shown: Path | None = None) -> str:
    with pytest.raises(Failure) as caught:
        target.deliver(material)
    assert [one.code for one in caught.value.diagnostics] == ["undelivered"]
    text = render(caught.value.diagnostics)
    for value in material.hidden():
        assert value not in text
        assert value not in str(caught.value)
    assert (
        f"`{material.owner}/{material.name}`, generation {material.generation}, was not delivered to " in text
    )
    assert "hint: " in text
    assert caught.value.__cause__ is None
    return text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -------------------------------------------------------------------------------------------------------- file


def test_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    target = found("file", Settings(), tmp_path)
    target.deliver(login())
    path = tmp_path / "delivered" / "cirun.json"
    assert json.loads(path.read_bytes()) == LOGIN
    assert mode(path) == 0o600
    assert target.place.startswith("a file in ")
    before = path.stat()
    target.deliver(login())
    assert path.stat() == before, "twice is as once"
    path.chmod(0o644)
    target.deliver(login())
    assert mode(path) == 0o600
    assert target.withdraw("lab", "cirun") == []
    assert not path.exists()
    assert target.withdraw("lab", "cirun") == []


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "delivered").write_text("no folder")
    assert "could not be written" in fault(found("file", Settings(), tmp_path), login())


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = found("file", Settings(), tmp_path)
    (tmp_path / "delivered").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "delivered" / "cirun.json").symlink_to(elsewhere)
    target.deliver(login())
    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / "delivered" / "cirun.json").is_symlink()


def test_a_sink_that_nobody_described(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        found("fil", Settings(), tmp_path)
    [one] = caught.value.diagnostics
    assert (one.code, one.hint) == ("unknown-sink", "do you mean `file`?")


# ----------------------------------------------------------------------------------------------------- command

TAKES = (
    "import sys, os, json; json.dump([sys.stdin.read(), dict(os.environ), sys.argv[1:]], open('got', 'w'))"
)


def command(program: str, *arguments: str, **more: Any) -> Settings:
    return settings(vault={"kind": "command", "command": [sys.executable, "-c", program, *arguments], **more})


def test_a_command_gets_the_fields_on_its_standard_input_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    WATCH.holds(tmp_path / "got")
    environ = {**os.environ, "GITHUB_TOKEN": "not-for-it", "OP_SERVICE_ACCOUNT_TOKEN": "for-it", "USER": "me"}
    described = command(TAKES, "edit", "-", variables=["OP_SERVICE_ACCOUNT_TOKEN"])
    target = found("vault", described, tmp_path, environ)
    target.deliver(login())
    given, env, argv = json.loads(WATCH.holds(tmp_path / "got").read_bytes())
    assert json.loads(given) == LOGIN
    assert argv == ["edit", "-"]
    assert env["OP_SERVICE_ACCOUNT_TOKEN"] == "for-it"
    assert env["USER"] == "me"
    assert "GITHUB_TOKEN" not in env
    assert VALUE not in repr(env)
    assert target.withdraw("lab", "cirun") == [
        f"Take `lab/cirun` away where the command `{sys.executable}` of settings.yaml put it."
    ]


def test_a_command_gets_one_field_or_a_filled_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found("vault", command(TAKES, field="password"), tmp_path).deliver(login())
    assert json.loads(Path("got").read_bytes())[0] == VALUE
    template = '{"title": "{{ owner }}/{{ name }} {{ generation }}", "value": {{ password | tojson }}}'
    hostile = 'a"b\\c}} {% raw %} <&>'
    found("vault", command(TAKES, template=template), tmp_path).deliver(login(password=hostile))
    given = json.loads(json.loads(Path("got").read_bytes())[0])
    assert given == {"title": "lab/cirun 218", "value": hostile}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ token }}", "'token' is undefined"),
        ("{{ password ", "unexpected"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ password.no }}", "has no attribute 'no'"),
    ],
)
def test_a_template_that_cannot_be_filled(template: str, why: str, tmp_path: Path) -> None:
    text = fault(found("vault", command(TAKES, template=template), tmp_path), login())
    assert "The template cannot be filled" in text
    assert why in text


def test_a_field_that_is_not_there(tmp_path: Path) -> None:
    text = fault(found("vault", command(TAKES, field="token"), tmp_path), login())
    assert "no field `token`, only auth_url, domain_id" in text


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (
            "import sys; sys.exit('refused: ' + sys.stdin.read())",
            "ended with exit status 1. Its last words: }",
        ),
        ("import sys; sys.stdin.close(); sys.exit(3)", "ended with exit status 3."),
        ("import time; time.sleep(60)", "was not done after 1 s and was ended"),
        (
            "import subprocess as s; s.run(['sleep', '60'])",
            "was not done after 1 s and was ended",
        ),
    ],
)
def test_a_command_that_fails(program: str, why: str, tmp_path: Path) -> None:
    assert why in fault(found("vault", command(program, timeout=1), tmp_path), login())


def test_what_a_command_says_is_masked(tmp_path: Path) -> None:
    echo = "import sys, json, base64 as b; v = json.load(sys.stdin)['password']; "
    echo += "sys.exit(v + b.b64encode(v.encode()).decode())"
    assert "Its last words: (secret)(secret)" in fault(found("vault", command(echo), tmp_path), login())


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    described = settings(vault={"kind": "command", "command": ["no-such-program-here"]})
    assert "cannot be started: No such file or directory" in fault(
        found("vault", described, tmp_path), login()
    )


# --------------------------------------------------------------------------------------------------------- age


def test_only_the_recipients_can_read_an_age_file(tmp_path: Path) -> None:
    people = [pyrage.x25519.Identity.generate() for _ in range(3)]
    recipients = [str(one.to_public()) for one in people]
    described = settings(box={"kind": "age", "recipients": recipients[:2]})
    target = found("box", described, tmp_path)
    target.deliver(login())
    path = tmp_path / "delivered" / "cirun.json.age"
    sealed = path.read_bytes()
    assert mode(path) == 0o600
    for one in people[:2]:
        assert json.loads(pyrage.decrypt(sealed, [one])) == LOGIN
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [people[2]])
    written = b"".join(p.read_bytes() for p in (tmp_path / "delivered").iterdir())
    assert VALUE.encode() not in written
    target.deliver(login())
    assert path.read_bytes() == sealed, "twice is as once"
    target.deliver(login(password="another-value-of-a-test"))
    assert path.read_bytes() != sealed
    sealed = path.read_bytes()
    found("box", settings(box={"kind": "age", "recipients": recipients}), tmp_path).deliver(
        login(password="another-value-of-a-test")
    )
    assert json.loads(pyrage.decrypt(path.read_bytes(), [people[2]]))["username"] == LOGIN["username"]
    path.write_bytes(b"broken")
    target.deliver(login())
    assert json.loads(pyrage.decrypt(path.read_bytes(), [people[0]])) == LOGIN
    [manual] = target.withdraw("lab", "cirun")
    assert "stay readable" in manual
    assert list((tmp_path / "delivered").iterdir()) == []


def test_a_recipient_with_a_typing_error(tmp_path: Path) -> None:
    described = settings(box={"kind": "age", "recipients": ["age1" + "q" * 58]})
    assert "typing error" in fault(found("box", described, tmp_path), login())
    assert not (tmp_path / "delivered").exists()


# --------------------------------------------------------------------------------------- Drone's environment file

SERVER = """# the server
DRONE_SERVER_HOST=drone.example
DRONE_RPC_SECRET=old-secret
export DRONE_USER_CREATE="username:robot,machine:true,admin:false,token:00000000000000000000000000000000"
DRONE_RPC_SECRET_2=untouched
"""


def drone_env(tmp_path: Path, text: str = SERVER, restart: list[str] | None = None) -> tuple[Sink, Path]:
    path = tmp_path / "server.env"
    path.write_text(text)
    described = {"kind": "drone-env", "file": str(path)} | ({"restart": restart} if restart else {})
    return found("server", settings(server=described), tmp_path), path


def test_two_lines_of_the_servers_file_are_ours(tmp_path: Path) -> None:
    target, path = drone_env(tmp_path)
    rpc, robot = made(CredentialKind.DRONE_RPC_SECRET), made(CredentialKind.DRONE_TOKEN, username="robot")
    target.deliver(rpc)
    target.deliver(robot)
    expected = SERVER.replace("old-secret", rpc.fields["rpc_secret"]).replace("0" * 32, robot.fields["token"])
    assert path.read_text() == expected
    assert mode(path) == 0o600
    before = path.stat()
    target.deliver(rpc)
    assert path.stat() == before, "twice is as once"
    assert "restart the server" in target.withdraw("lab", "one")[0]
    assert path.stat() == before


@pytest.mark.parametrize("text", ["", "A=1", "A=1\n"])
def test_a_line_that_is_not_there_is_added(text: str, tmp_path: Path) -> None:
    target, path = drone_env(tmp_path, text)
    robot = made(CredentialKind.DRONE_TOKEN, username="robot")
    target.deliver(robot)
    before = f"{text.rstrip()}\n" if text else ""
    line = f"DRONE_USER_CREATE=username:robot,machine:true,admin:true,token:{robot.fields['token']}\n"
    assert path.read_text() == before + line


def test_a_variable_that_stands_twice_stands_once(tmp_path: Path) -> None:
    """The server takes the last one, so the first would only mislead."""
    target, path = drone_env(tmp_path, "DRONE_RPC_SECRET=a\nB=2\nDRONE_RPC_SECRET=b\n")
    rpc = made(CredentialKind.DRONE_RPC_SECRET)
    target.deliver(rpc)
    assert path.read_text() == f"B=2\nDRONE_RPC_SECRET={rpc.fields['rpc_secret']}\n"


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=30)))
def test_whatever_else_is_in_the_file_stays(others: list[str]) -> None:
    lines = [line for line in others if not sink_files._LINE.match(line)]
    material = made(CredentialKind.DRONE_RPC_SECRET)
    written = f"DRONE_RPC_SECRET={material.fields['rpc_secret']}"
    for place in range(len(lines) + 1):
        before = [*lines[:place], "DRONE_RPC_SECRET=old", *lines[place:]]
        after = [*lines[:place], written, *lines[place:]]
        assert sink_files._with_value(before, material) == after
        assert sink_files._with_value(after, material) == after


def test_the_server_is_restarted_when_something_changed_and_only_then(tmp_path: Path) -> None:
    log = tmp_path / "log"
    target, _ = drone_env(tmp_path, restart=[sys.executable, "-c", f"open({str(log)!r}, 'a').write('x')"])
    for generation in ("1", "1", "2", "2"):
        target.deliver(made(CredentialKind.DRONE_RPC_SECRET, generation))
    assert log.read_text() == "xx"


def test_two_credentials_of_one_server_lose_nothing_of_each_other(tmp_path: Path) -> None:
    target, path = drone_env(tmp_path, "A=1\n" * 2000)
    kinds = (CredentialKind.DRONE_RPC_SECRET, CredentialKind.DRONE_TOKEN)
    for generation in map(str, range(20)):
        both = [made(kind, generation, username="robot") for kind in kinds]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(target.deliver, both))
        text = path.read_text()
        assert both[0].fields["rpc_secret"] in text
        assert both[1].fields["token"] in text


def test_a_restart_that_failed_comes_again(tmp_path: Path) -> None:
    """Else the file would be right, the server would have the old secret, and nothing would ever mend it."""
    log, program = (
        tmp_path / "log",
        "import pathlib, sys; p = pathlib.Path(sys.argv[1]); ok = p.exists(); p.touch(); sys.exit(not ok)",
    )
    target, _ = drone_env(tmp_path, restart=[sys.executable, "-c", program, str(log)])
    material = made(CredentialKind.DRONE_RPC_SECRET)
    assert "ended with exit status 1" in fault(target, material)
    target.deliver(material)
    log.unlink()
    target.deliver(material)
    assert not log.exists(), "nothing was waiting any more"


def test_the_file_stays_the_servers_own(tmp_path: Path) -> None:
    """Replaced by another user, it would be one that the server may not read."""
    target, path = drone_env(tmp_path)
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can give a file to somebody else")
    os.chown(path, 4321, 4322)
    target.deliver(made(CredentialKind.DRONE_RPC_SECRET))
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (4321, 4322, 0o600)


def test_a_file_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, path = drone_env(tmp_path)
    number = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: number)
    text = fault(target, made(CredentialKind.DRONE_RPC_SECRET))
    assert f"belongs to another user (number {number - 1})" in text
    assert path.read_text() == SERVER


def test_an_environment_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    target, path = drone_env(tmp_path)
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in fault(target, made(CredentialKind.DRONE_RPC_SECRET))
    path.unlink()
    assert "There is no file" in fault(target, made(CredentialKind.DRONE_RPC_SECRET))
    path.symlink_to(tmp_path / "elsewhere")
    assert "It is a link" in fault(target, made(CredentialKind.DRONE_RPC_SECRET))


# ----------------------------------------------------------------------------------------------------- sandbox


def test_nothing_made_in_the_sandbox_takes_the_place_of_what_real_users_read(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(SERVER)
    described = settings(
        vault={"kind": "command", "command": ["false"]},
        server={"kind": "drone-env", "file": str(real)},
        box={"kind": "age", "file": str(real), "recipients": ["age1" + "q" * 58]},
        upload={"kind": "github-secret"},
        org={"kind": "drone-secret", "server": "https://drone.example", "namespace": "conda-forge"},
    )
    for name in ("cirun", "vault", "server", "box", "upload", "org", "file"):
        target = found(name, described, tmp_path, {}, sandbox=True)
        assert target.place.startswith("a file in ")
        target.deliver(login())
        assert json.loads((tmp_path / "delivered" / "cirun.json").read_bytes()) == LOGIN
    assert real.read_text() == SERVER


def test_a_stand_in_on_this_machine_takes_what_the_sandbox_made(tmp_path: Path) -> None:
    described = settings(
        org={"kind": "drone-secret", "server": "http://127.0.0.1:9", "namespace": "conda-forge"},
        server={"kind": "drone-env", "file": "server.env"},
    )
    local = described.model_copy(
        update={"github": described.github.model_copy(update={"api": "http://127.0.0.1:9"})}
    )
    places = {
        name: found(name, local, tmp_path, {"CIRUN_API_ENDPOINT": "http://localhost:9"}, sandbox=True).place
        for name in ("cirun", "org", "server")
    }
    assert places == {
        "cirun": "Cirun, cloud openstack",
        "org": "Drone at http://127.0.0.1:9, the secret conda-forge/NAME",
        "server": "Drone's environment file server.env",
    }
