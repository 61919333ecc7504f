"""No secret gets out: the watch finds each one that is planted, and every command is driven with secrets at hand.

tests/conftest.py holds the whole session against the same watch (tests/leaks.py), whatever test it was.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
import yaml
from feedstock_world import DAY, LISTS, STACK, TOKEN, entry
from real_tofu import tool_with_github
from roots import PROJECT, Ran, Runner, write_root
from test_activation import command
from test_cli import COMMANDS

from cf_infra import console, keys, project
from tests.cirun_standin import CirunStandin, CirunState
from tests.github import Standin, State
from tests.github.call import Answer
from tests.github.server import Listener
from tests.github.service import Request
from tests.leaks import (
    CLOUD,
    KEY,
    LOGIN,
    WATCH,
    Leak,
    Needles,
    Processes,
    Secret,
    Watch,
    derived,
    leaks_among,
    leaks_in,
    program_of,
    secrets_of,
    told,
)

pytestmark = pytest.mark.programs

ODD = "s3cr+t/ä <&>'\"%\\ of a t€st?~"
"""A secret that each way of writing changes."""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that the session's own watch does not look at: what is planted here is meant to be found here only."""
    with TemporaryDirectory() as name:
        yield Path(name)


# ------------------------------------------------------------------------------------- the watch finds, form by form

WRITTEN: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 in a longer text, by one": lambda text: base64.b64encode(f"x{text}yy".encode()),
    "base64 in a longer text, by two": lambda text: base64.b64encode(f"xy{text}y".encode()),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()),
    "in a path": lambda text: urllib.parse.quote(text).encode(),
    "in a query": lambda text: urllib.parse.urlencode({"q": text}).encode(),
    "in a query, small letters": lambda text: urllib.parse.quote(text, safe="").lower().encode(),
    "JSON": lambda text: json.dumps({"a": [text]}).encode(),
    "JSON by orjson": lambda text: orjson.dumps({text: 1}),
    "JSON as Go writes it": lambda text: (
        json.dumps(text, ensure_ascii=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    ).encode(),
    "JSON inside of JSON": lambda text: json.dumps({"log": json.dumps({"password": text})}).encode(),
    "YAML": lambda text: yaml.safe_dump({"password": text}, width=10**9).encode(),
    "YAML in double quotes": lambda text: yaml.safe_dump(text, default_style='"', width=10**9).encode(),
    "a Python value": lambda text: repr({"password": text}).encode(),
    "a shell's word": lambda text: f"echo {__import__('shlex').quote(text)}".encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper().encode(),
    "backwards": lambda text: text.encode()[::-1],
    "UTF-16": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("text", [ODD, TOKEN[::-1]], ids=["odd", "usual"])
def test_a_planted_secret_is_found_in_each_form(form: str, text: str, elsewhere: Path) -> None:
    if text != ODD and "small letters" in form:
        text = text.lower()
    secret = Secret("the planted one", text.encode())
    (elsewhere / "log").write_bytes(b"before " + WRITTEN[form](text) + b" after")
    found = leaks_in([elsewhere], [secret])
    assert found and {leak.secret for leak in found} == {"the planted one"}
    assert text not in str(found), "a leak is told without the secret"
    assert leaks_in([elsewhere], [Secret("another one", text[1:].encode()[::-1] + b"#")]) == []


def test_a_key_of_several_lines_is_found_by_any_of_them(elsewhere: Path) -> None:
    pem = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA1234\nabcdefghijklmnop5678\n-----END KEY-----\n"
    (elsewhere / "log").write_text("and then abcdefghijklmnop5678, it said")
    assert leaks_in([elsewhere], [Secret("the app's key", pem.encode())])


# ------------------------------------------------------------------------------------ the watch finds, place by place

SECRET = Secret("the planted one", b"hunter2-hunter2-hunter2", LOGIN)


def in_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "tofu.plan", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tfstate", b"{" * 99 + SECRET.value)


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def in_git(folder: Path, *, packed: bool = False) -> None:
    """Committed, and taken out again by the next commit."""
    git(folder, "init", "-q")
    (folder / "file").write_bytes(SECRET.value)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "in")
    git(folder, "rm", "-q", "file")
    git(folder, "commit", "-qm", "out")
    if packed:
        git(folder, "gc", "-q", "--prune=now")


def put(name: str, mode: int = 0o600) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"password": "' + SECRET.value + b'"}')
        path.chmod(mode)

    return plant


PLACES: dict[str, Callable[[Path], None]] = {
    "a file of build": put("build/lab/main.tf.json"),
    "the state": put(".state/lab/terraform.tfstate"),
    "a receipt": put(".state/lab/receipts/1.json"),
    "a sink that others may read": put(".state/lab/delivered/cirun.json", 0o644),
    "a file beside the sink": put(".state/lab/delivered/.access.yml"),
    "a draft that a killed run left": put(".state/lab/delivered/.cirun.json.abc123"),
    "a plan that is not encrypted": in_zip,
    "a packed log": lambda folder: (folder / "log.gz").write_bytes(gzip.compress(SECRET.value)) and None,
    "a git object": in_git,
    "a pack of git": lambda folder: in_git(folder, packed=True),
    "a branch of git": lambda folder: (in_git(folder), git(folder, "branch", SECRET.value.decode()), None)[
        -1
    ],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_secret_is_found_in_each_place(place: str, elsewhere: Path) -> None:
    PLACES[place](elsewhere)
    found = leaks_in([elsewhere], [SECRET])
    assert found and {leak.secret for leak in found} == {"the planted one"}


def test_what_may_hold_a_secret_may_and_others_may_not(elsewhere: Path) -> None:
    put(".state/lab/delivered/cirun.json")(elsewhere)
    assert leaks_in([elsewhere], [SECRET]) == []
    for kind in (KEY, CLOUD, "service"):
        assert leaks_in([elsewhere], [Secret("x", SECRET.value, kind)]), "a sink is for logins only"
    put("clouds.yaml")(elsewhere)
    assert [leak.where for leak in leaks_in([elsewhere], [SECRET])] == [str(elsewhere / "clouds.yaml")]


def test_a_clean_folder_is_clean_and_links_are_not_followed(elsewhere: Path) -> None:
    outside = elsewhere / "outside"
    put("key")(outside)
    (elsewhere / "root").mkdir()
    (elsewhere / "root" / "link").symlink_to(outside)
    os.mkfifo(elsewhere / "root" / "pipe")
    assert leaks_in([elsewhere / "root"], [SECRET]) == []
    assert leaks_in([elsewhere], [SECRET]) != []


def test_secrets_are_learnt_from_keys_clouds_and_sinks(elsewhere: Path) -> None:
    """A password of any generation is known from the key alone, so it is found wherever it turns up."""
    (elsewhere / "state.key").write_text("5e" * 32 + "\n")
    (elsewhere / "state.key").chmod(0o600)
    values = elsewhere / "build" / "lab" / "grants.auto.tfvars.json"
    values.parent.mkdir(parents=True)
    values.write_text('{"users": {"cirun/7": {}}}')
    (elsewhere / "clouds.yaml").write_text("clouds: {lab: {auth: {password: a-password-of-a-cloud}}}")
    (elsewhere / "delivered").mkdir()
    (elsewhere / "delivered/x.json").write_text('{"application_credential_secret": "made-at-the-cloud"}')
    made = keys.password(keys.stack_key(bytes.fromhex("5e" * 32), "lab"), "cirun", 8)
    known = {secret.value: secret for secret in secrets_of(elsewhere)}
    assert known[made.encode()].kind == LOGIN and known[b"5e" * 32].kind == KEY
    assert known[b"a-password-of-a-cloud"].kind == CLOUD and b"made-at-the-cloud" in known
    (elsewhere / "log").write_text(f"password={made}")
    found = leaks_in([elsewhere], [known[made.encode()]])
    assert [(leak.where, leak.secret) for leak in found] == [
        (str(elsewhere / "log"), "password of cirun/8 of lab")
    ]


def test_what_a_command_says_is_looked_at(elsewhere: Path) -> None:
    watch = Watch()
    watch.knows("a token", ODD)
    watch.said("cf-infra audit", "all is well\n")
    assert watch.leaks(elsewhere) == []
    watch.said("cf-infra plan", json.dumps({"detail": ODD}))
    assert [(leak.where, leak.secret) for leak in watch.leaks(elsewhere)] == [
        ("said by cf-infra plan", "a token")
    ]


@pytest.mark.parametrize("how", [("-p", "no:xdist"), ("-n", "1")], ids=["alone", "by a worker"])
def test_a_session_that_leaks_fails_and_says_where(how: tuple[str, ...], elsewhere: Path) -> None:
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *how,
        f"--basetemp={elsewhere}/base",
        "tests/planted.py",
    ]
    ran = subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True)
    assert ran.returncode == 1 and "2 passed, 1 error" in ran.stdout
    assert "Secrets stand where they must not" in ran.stdout
    assert "test_a_secret_is_written_down0/log: the planted one, plain" in ran.stdout
    assert "must-not-stand" not in ran.stdout + ran.stderr


# --------------------------------------------------------------------------------------- the watch looks at processes


def looked(*argv: str, environ: dict[str, str] | None = None, below: str = "") -> list[Leak]:
    """What the watch says of a program that waits; `below`: of one that it starts, as the product does."""
    seen, needles = Processes(), Needles([SECRET])
    environ = {**os.environ, **(environ or {})}
    child = subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE)
    try:
        end = time.monotonic() + 20
        wanted = below or Path(argv[0]).name
        while time.monotonic() < end and not any(
            program_of(line.split(b"\0")) == wanted for _, line in seen.seen
        ):
            seen.look(os.getpid())
        for _ in range(20):
            seen.look(os.getpid())
            time.sleep(0.01)
    finally:
        child.kill()
        child.communicate()
    return leaks_among(seen.noted(), needles)


def test_a_secret_among_arguments_is_seen() -> None:
    assert looked("sleep", "30") == []
    [leak] = looked("sh", "-c", "sleep 30; : $0", SECRET.value.decode(), below="sh")
    assert leak == Leak("arguments of sh", "the planted one", "plain")


def test_the_environment_of_what_the_product_starts_is_seen(elsewhere: Path) -> None:
    """A program named cf-infra starts another one, which has a variable that it does not need."""
    product = elsewhere / "cf-infra"
    product.write_text("#!/bin/sh\nsleep 30\n:\n")
    product.chmod(0o700)
    found = looked("sh", str(product), environ={"SOMETHING": SECRET.value.decode()}, below="sleep")
    assert Leak("environment of sleep, SOMETHING", "the planted one", "plain") in found
    assert not any("cf-infra" in leak.where for leak in found), "what the user gave to it is the user's"


def test_programs_that_this_process_starts_for_the_product_are_seen(tmp_path: Path) -> None:
    """The session's own watch: each program that cf_infra starts, by Python's own events."""
    from cf_infra import record

    record.head(tmp_path)
    assert ("git", os.fsencode(tmp_path)) in WATCH.processes.arguments
    assert any(program == "git" and name == "PATH" for program, name, _ in WATCH.processes.environments)


# ------------------------------------------------------------------------------------------ every command of cf-infra

PASSWORD = "pass+word/of the 'cloud' <&> ä"
CIRUN = "cirun-key-of-a-test-0009"
MASTER = bytes.fromhex("7c" * 32)
RECOVERY = "{name: safe, recipient: age1n7zzgnpvrp8laqfx6ktr08x3r4ayhzxn5p0nleywj0zhav7qhu5qr9ry2d, holders: [alice]}"
LAB = b"""\
version: 1
kind: openstack
cloud: lab
donor: {name: The Lab, contacts: [carol]}
hosts: [{name: gpu-01, vcpus: 48, memory_gib: 512, disk_gib: 2000}]
images: {ubuntu: {name: ubuntu-24.04}}
credentials: {cirun: {kind: user, deliver: [file]}}
offers:
  cpu-lab: {slice: {vcpus: 4, memory_gib: 16, disk_gib: 50}, image: ubuntu, via: cirun, mode: on-demand, max: 2,
            label: cirun-cpu-lab, flavor: cpu_lab}
"""
REQUEST = "action: cirun\nfeedstocks: [scipy]\nresources: [gpu-large]\n"
LIST = """\
version: 1
policies: [{id: a, repo: a-feedstock, roles: [admin]}]
access_control: [{resource: x, policies: [a]}]
"""

ASKED = "### Feedstock\n\nnumpy\n\n### Machine\n\ngpu-large\n\n### What fails today?\n\nTests need a GPU"

DRIVEN: dict[str, list[str]] = {
    "check": ["check"],
    "compile": ["compile"],
    "plan": ["plan", "plan lists", "plan lab", "plan --cloud lab=sandbox", "plan nothing"],
    "apply": ["apply lists", "apply lab", "apply nothing", "apply --reviewed --repository conda-forge/.cirun",
              "apply lists --reviewed --review LIST", "apply --reviewed --since HEAD --accept lists=0"],
    "destroy": ["destroy lists", "destroy lab"],
    "status": ["status", "status lists --live", "status nothing", "status --keys"],
    "export access": ["export access"],
    "export codeowners": ["export codeowners"],
    "import access": ["import access LIST", "import access nothing"],
    "import requests": ["import requests REQUEST --requested-by alice --dry-run", "import requests nothing"],
    "grant add": ["grant add scipy gpu-large --reason x --request https://example.org/2 --expires 2027-01-01"],
    "grant renew": ["grant renew numpy gpu-large --until 2027-06-01"],
    "grant revoke": ["grant revoke numpy gpu-large --dry-run", "grant revoke nothing"],
    "explain": ["explain numpy gpu-large", "explain numpy gpu-large --live --user alice",
                "explain numpy gpu-large --live --yes --comment conda-forge/numpy-feedstock#1"],
    "diff": ["diff . .", "diff HEAD .", "diff nothing HEAD"],
    "review": ["review HEAD HEAD", "review . .", "review nothing HEAD"],
    "comment": ["comment conda-forge/.cirun#1", "comment conda-forge/.cirun#1 --plan --dry-run",
                "comment --waiting --repository conda-forge/.cirun"],
    "activate": ["activate numpy --dry-run", "activate numpy", "activate numpy --new-token"],
    "deactivate": ["deactivate numpy"],
    "audit": ["audit", "audit --only github --only cirun", "audit --only openstack"],
    "drift": ["drift", "drift lists", "drift lab --cloud lab=sandbox"],
    "intake": ["intake 1 --dry-run", "intake 1", "intake conda-forge/cf-infra#9", "intake --waiting"],
    "renewals": ["renewals --dry-run", "renewals"],
    "daily": ["daily --dry-run", "daily"],
    "export issue-form": ["export issue-form"],
    "history": ["history numpy", "history numpy gpu-large", "history --verify", "history nothing"],
    "rotate": ["rotate", "rotate lab", "rotate lab --cloud lab=sandbox"],
    "revoke-now": ["revoke-now lab/cirun --yes", "revoke-now --stack lab --yes", "revoke-now --person carol --yes"],
    "state move": ["state move"],
    "state rekey": ["state rekey", "state rekey lab", "state rekey nothing"],
    "state seal": ["state seal"],
    "state recover": ["state recover --identity nothing", "state recover --identity REQUEST",
                      "state recover --identity LIST"],
    "sandbox down": ["sandbox down"],
    "sandbox env": ["sandbox env"],
    "sandbox job": ["sandbox job numpy gpu-large"],
}  # fmt: skip
"""Command -> lines that are run, with LIST and REQUEST for files. Each twice: with services that answer, and with
services that repeat in an error all that they were sent."""
NOT_DRIVEN = {
    "sandbox up": "starts OpenStack: the sessions with the sandbox do it, under the same watch",
    "sandbox reset": "starts OpenStack: the sessions with the sandbox do it, under the same watch",
}
CLOCKED = ("apply", "sandbox", "state")
"""Commands that take no --today."""


class Echo:
    """A cloud that repeats whatever it was sent: in plain, in base64, and as a header."""

    def __init__(self) -> None:
        self.status = 400
        self.asked: list[str] = []
        self.violations: list[str] = []
        self.listener = Listener(self._answer, self.violations.append, "")

    def _answer(self, request: Request) -> tuple[Answer, float]:
        self.asked.append(f"{request.method} {request.target}")
        if request.method == "GET" and request.target.rstrip("/") in ("", "/v3"):
            version = {
                "id": "v3.14",
                "status": "stable",
                "links": [{"rel": "self", "href": f"{self.listener.url}/v3/"}],
            }
            return Answer(200, {"version": version}), 0.0
        body = request.body.decode("utf-8", "replace")
        said = f"{body} {base64.b64encode(request.body).decode()} {request.headers}"
        return Answer(self.status, {"error": {"message": said, "code": self.status, "title": said}}), 0.0


class Bench:
    """A folder with everything a secret can come from, stand-ins for everything that is asked, and what was said."""

    def __init__(self, base: Path, github: Standin, cirun: CirunStandin, cloud: Echo, run: Runner) -> None:
        self.base, self.github, self.cirun, self.cloud, self.run = base, github, cirun, cloud, run
        self.root = base / "root"
        self.seen = base / "environments"
        self.seen.mkdir()
        settings = (
            "version: 1\norganisation: conda-forge\naccess_delivery: direct\n"
            f"github: {{api: '{github.url}', token_command: ['{self.tells('token', TOKEN)}']}}\n"
            f"feedstock_token: [['{self.tells('smithy', TOKEN)}', generate]]\n"
            f"state: {{key: {{command: ['{self.tells('key', MASTER.hex())}']}}, recovery: [{RECOVERY}]}}\n"
        )
        files = {"settings.yaml": settings, "REQUEST": REQUEST, "LIST": LIST}
        files["grants.yaml"] = "version: 1\ngrants:\n" + entry()
        stacks = {"stacks/somebody.yaml": STACK, "stacks/lists.yaml": LISTS, "stacks/lab.yaml": LAB}
        write_root(self.root, {**{name: text.encode() for name, text in files.items()}, **stacks})
        auth = {
            "auth_url": f"{cloud.listener.url}/v3",
            "username": "u",
            "password": PASSWORD,
            "project_name": "p",
        }
        clouds = base / "clouds.yaml"
        clouds.write_text(yaml.safe_dump({"clouds": {"lab": {"auth": auth}}}, allow_unicode=True))
        clouds.chmod(0o600)
        git(self.root, "init", "-q")

    def tells(self, name: str, secret: str) -> str:
        """A command of settings.yaml: prints a secret, and writes down what it was given."""
        body = f"open({str(self.seen / name)!r}, 'a').write(repr(dict(os.environ)) + repr(sys.argv))\nprint({secret!r})"
        return command(self.base, f"{name}-command", body)

    def __call__(self, line: str, *more: str) -> Ran:
        words = [str(self.root / word) if word in ("LIST", "REQUEST") else word for word in line.split()]
        day = () if words[0] in CLOCKED else ("--today", DAY)
        ran = self.run(*words, "--root", str(self.root), *day, *more)
        WATCH.said(line, ran.out, ran.err)
        for secret in (TOKEN, CIRUN, PASSWORD, MASTER.hex()):
            assert secret not in ran.out + ran.err, line
        return ran

    def is_tight(self) -> None:
        """Ensure that nothing got out so far, git's objects after a commit of everything among it."""
        (self.root / ".gitignore").write_text((PROJECT / ".gitignore").read_text())
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "All of it")
        found = WATCH.leaks(self.base)
        assert not found, told(found)


@pytest.fixture
def bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    tool_with_github()
    state = State("conda-forge")
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    state.add_repository("numpy-feedstock", files={"conda-forge.yml": "bot: {automerge: true}\n"})
    state.add_repository(".cirun")
    own = state.add_repository("cf-infra", files={"grants.yaml": "version: 1\ngrants: []\n"})
    state.add_issue(own, "operator", "Access: ", ASKED)
    monkeypatch.setenv("GITHUB_REPOSITORY", "conda-forge/cf-infra")
    WATCH.knows("the cloud's password", PASSWORD, CLOUD)
    WATCH.knows("the master key", MASTER.hex())
    logins = {("cirun", str(number)) for number in range(220, 240)} | {("provisioner", "0")}
    WATCH.secrets |= dict.fromkeys(derived(MASTER, dict.fromkeys(("lab", "lists", "lab@sandbox"), logins)))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CF_INFRA_SANDBOX_DIR", str(tmp_path / "no-sandbox"))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setattr("cf_infra.rest.BACKOFF", (0.01,))
    cloud = Echo()
    cloud.listener.start()
    try:
        with Standin(state) as github, CirunStandin(CirunState(key=CIRUN, github=state)) as cirun:
            for name, value in cirun.environment().items():
                monkeypatch.setenv(name, value)
            yield Bench(tmp_path, github, cirun, cloud, Runner(capsys))
    finally:
        cloud.listener.stop()
    assert cloud.violations == []


def test_every_command_is_driven_or_says_why_not() -> None:
    """A new command: add lines to DRIVEN that run it, where it can meet a secret."""
    known = {" ".join(names) for names in COMMANDS}
    assert DRIVEN.keys() | NOT_DRIVEN.keys() == known
    assert not DRIVEN.keys() & NOT_DRIVEN.keys() and all(NOT_DRIVEN.values())
    for name, lines in DRIVEN.items():
        assert lines and all(line == name or line.startswith(f"{name} ") for line in lines)


def echoes(bench: Bench) -> None:
    """From now on all services repeat what they were sent, the login above all."""
    words = {"message": f"Bad header: Bearer {TOKEN} {base64.b64encode(TOKEN.encode()).decode()}", "errors": [
        {"message": urllib.parse.quote(f"token={TOKEN}&x")}]}  # fmt: skip
    bench.github.fail_next(418, times=500, body=words)
    bench.cirun.state.faults += [(418, {"message": f"Bearer {CIRUN} is odd"})] * 500


@pytest.mark.parametrize("name", DRIVEN)
@pytest.mark.parametrize("services", ["answer", "repeat"])
def test_no_command_lets_a_secret_out(bench: Bench, name: str, services: str) -> None:
    """In text, Markdown and JSON, with a service that answers and with one that repeats what it was sent."""
    if services == "repeat":
        echoes(bench)
    codes = set()
    for line in DRIVEN[name]:
        codes.add(bench(line).code)
        if name not in ("plan", "apply", "destroy"):
            codes |= {bench(line, "--format", form).code for form in ("json", "markdown")}
    assert codes <= {0, 1, 2}
    bench.is_tight()


def test_a_plan_an_apply_and_back_let_no_secret_out(bench: Bench) -> None:
    """What lasts is there: state, plan, receipts, and the files of commands that were given an environment."""
    assert bench("plan lists").code == 0 and bench("apply lists", "--format", "json").code == 0
    assert bench("activate numpy").code == 0
    write_root(bench.root, {"grants.yaml": b"version: 1\ngrants: []\n"})
    assert bench("plan lists").code == 0 and bench("apply lists").code == 0
    state = bench.root / ".state" / "lists"
    its_history(bench)
    assert list((state / "receipts").iterdir()) and (state / "terraform.tfstate").read_bytes()
    assert {path.name for path in bench.seen.iterdir()} == {"token", "smithy", "key"}
    bench.is_tight()
    (bench.seen / "key").write_text(f"PLANTED={TOKEN}")
    found = leaks_in([bench.base], [Secret("the token", TOKEN.encode())], WATCH.holders)
    assert [leak.where for leak in found] == [str(bench.seen / "key")], "the watch sees this very folder"
    (bench.seen / "key").unlink()


def test_a_stack_that_goes_by_an_override_is_told(bench: Bench) -> None:
    """In the plan, and in the journal of the apply that used it."""
    assert bench("plan lists").code == 0 and bench("apply lists").code == 0
    refused: Any = bench("destroy lists", "--format", "json").json()["stacks"]
    number = int(refused[0]["refusals"][0]["hint"].partition("lists=")[2].split()[0])
    entry = f"{{stack: lists, destroy: {number}, reason: It moves, until: 2100-01-01}}"
    write_root(bench.root, {"overrides.yaml": f"version: 1\noverrides: [{entry}]\n".encode()})
    unused = bench("plan lists")
    assert "override-unused" in unused.err and unused.code == 0
    planned = bench("destroy lists")
    assert f"uses the override of overrides.yaml: {number} may be taken away" in planned.out
    rows: Any = bench("destroy lists", "--format", "json").json()["stacks"]
    assert rows[0]["allowance"] == {"destroy": number, "source": "overrides.yaml"}
    assert bench("apply lists").code == 0
    lines = (bench.root / ".state" / "lists" / "journal.jsonl").read_bytes().splitlines()
    used = [line for line in map(orjson.loads, lines) if line["event"] == "override-used"]
    assert [(line["destroy"], line["source"]) for line in used] == [(number, "overrides.yaml")]
    assert b"It moves" not in b"".join(lines), "what people write freely stays in their files"
    bench.is_tight()


def its_history(bench: Bench) -> None:
    """Access from the first apply to the second, and what proved the end, from the real run above."""
    found: Any = bench("history numpy", "--format", "json").json()
    (period,) = [one for one in found["periods"] if one["grant"] == "numpy-feedstock/gpu-large"]
    assert period["stack"] == "lists" and period["from"] <= period["to"] and period["gone_from"]
    journal = [
        orjson.loads(line) for line in (bench.root / "build/journal/lists.jsonl").read_bytes().splitlines()
    ]
    told = [line["event"] for line in journal]
    assert told == ["begun", *["planned", "apply-begun", "apply-ended"] * 2]
    receipts: Any = orjson.loads(next((bench.root / ".state/lists/receipts").iterdir()).read_bytes())
    assert len(journal[-1]["receipts"]) == len(receipts["receipts"])
    assert bench("history --verify").code == 0
    assert bench("history numpy").out.startswith("numpy-feedstock/gpu-large at lists\n")


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 503])
def test_a_cloud_that_repeats_the_login_is_masked(bench: Bench, status: int) -> None:
    bench.cloud.status = status
    ran = bench("audit --only openstack", "--format", "json")
    assert ran.code == 1 and any("POST" in line for line in bench.cloud.asked)
    if status in (400, 409):
        assert "(secret)" in ran.out, "the cloud's own words are shown, without the password"
    bench.is_tight()


@pytest.mark.parametrize("traceback", [False, True])
def test_a_crash_shows_no_value(bench: Bench, traceback: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exception stumbled over is in its words and in those of its cause; neither is shown."""

    def crash(*_: Any) -> Any:
        try:
            raise KeyError(TOKEN)
        except KeyError as error:
            raise ValueError(f"no field in {PASSWORD!r}") from error

    monkeypatch.setattr(project, "read", crash)
    if traceback:
        monkeypatch.setenv("CF_INFRA_TRACEBACK", "1")
    ran = bench("plan")
    assert ran.code == 1 and "error[bug]" in ran.err
    assert ("Traceback of KeyError" in ran.err and "in crash" in ran.err) == traceback
    bench.is_tight()


def below(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


@pytest.mark.parametrize("program", ["cf_infra", "tofu", "keyprovider.py", "terraform-provider-github"])
def test_a_run_that_is_killed_leaves_no_secret(bench: Bench, program: str) -> None:
    """SIGKILL to all of it, as soon as this program is there: drafts, locks and half-written files are looked at."""
    assert bench("plan lists").code == 0
    arguments = [sys.executable, "-m", "cf_infra", "apply", "lists", "--root", str(bench.root)]
    child = subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end, there = time.monotonic() + 30, False
    while not there and time.monotonic() < end and child.poll() is None:
        lines = [b"".join(_line(pid)) for pid in [child.pid, *below(child.pid)]]
        there = any(program.encode() in line.replace(b"\0", b" ") for line in lines)
        time.sleep(0 if program != "cf_infra" else 0.4)
    for pid in [child.pid, *below(child.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said, _ = child.communicate()
    assert there, f"{program} was never there"
    WATCH.said("a killed apply", said.decode())
    bench.is_tight()
    assert bench("plan lists").code == 0, "the next run goes on"


def _line(pid: int) -> list[bytes]:
    try:
        return [Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


def test_a_command_that_is_interrupted_lets_no_secret_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt(TOKEN)

    monkeypatch.setattr(project, "read", stop)
    assert bench("plan").code == console.INTERRUPTED
    bench.is_tight()
