"""The key of the state, sealed for several people: opened by each of them alone, by nobody else, and shown nowhere."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest
from roots import Runner, write_root

from cf_infra import keys, project, sealing
from cf_infra.bucket import LOGIN
from cf_infra.keyprovider import fingerprint, master_from_command, stack_key
from cf_infra.record import head
from cf_infra.rest import token_from_command
from tests.leaks import WATCH

pytestmark = pytest.mark.programs

NEW, OLD = "0123456789abcdef" * 4, "fedcba9876543210" * 4
for _key in (NEW, OLD):
    WATCH.is_public(_key)


class Home:
    """A clone whose settings name a key file, and people with private keys."""

    def __init__(self, base: Path, run: Runner) -> None:
        self.base, self.root, self.run = base, base / "root", run
        self.people = {name: pyrage.x25519.Identity.generate() for name in ("office", "vault")}
        self.key, self.previous = base / "state.key", base / "previous.key"
        self.settings()

    def settings(
        self, previous: bool = False, names: tuple[str, ...] = ("office", "vault"), more: str = ""
    ) -> None:
        lines = ["version: 1", "state:", f"  key: {{file: {self.key}}}"]
        lines += [f"  previous: {{file: {self.previous}}}"] * previous + ["  recovery:"]
        for name in names:
            lines.append(
                f"    - {{name: {name}, recipient: {self.people[name].to_public()}, holders: [{name}-1]}}"
            )
        text = "\n".join(lines) + more + "\n"
        write_root(self.root, {"grants.yaml": b"version: 1\ngrants: []\n", "settings.yaml": text.encode()})

    def put(self, path: Path, digits: str) -> None:
        path.write_text(digits + "\n")
        path.chmod(0o600)

    def identity(self, name: str) -> str:
        path = self.base / f"{name}.identity"
        path.write_text(f"# a comment\n\n{self.people[name]}\n")
        return str(path)

    def __call__(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = self.run("state", *arguments, "--root", str(self.root), "--format", "json")
        assert ran.code == code, ran.out + ran.err
        for secret in (NEW, OLD, *map(str, self.people.values())):
            assert secret not in ran.out + ran.err
        return dict(ran.json())

    def refused(self, *arguments: str) -> tuple[str, str]:
        (told,) = self(*arguments, code=1)["diagnostics"]
        assert told["hint"]
        return told["code"], told["detail"]

    def warnings(self, key: bytes | None = None) -> list[str]:
        folder = project.read(self.root, date(2026, 6, 1))
        return [d.detail for d in sealing.findings(folder, key)]

    @property
    def sealed(self) -> Path:
        return self.root / ".state" / "recovery.age"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("CF_INFRA_KEY_FILE", "CF_INFRA_PREVIOUS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = Home(tmp_path, Runner(capsys))
    made.put(made.key, NEW)
    return made


@pytest.mark.parametrize("name", ["office", "vault"])
def test_each_can_recover_alone(home: Home, name: str) -> None:
    home("seal")
    home.key.unlink()
    assert home("recover", "--identity", home.identity(name))["files"] == [
        {"file": str(home.key), "written": True}
    ]
    assert home.key.read_text() == NEW + "\n" and stat.S_IMODE(home.key.stat().st_mode) == 0o600
    assert not home("recover", "--identity", home.identity(name))["files"][0]["written"], (
        "it is there already"
    )


def test_the_previous_key_is_sealed_as_well(home: Home) -> None:
    home.put(home.previous, OLD)
    home.settings(previous=True)
    home("seal")
    home.key.unlink()
    home.previous.unlink()
    home.settings(previous=False)
    text = home.run("state", "recover", "--identity", home.identity("office"), "--root", str(home.root)).out
    assert "`state.previous` in settings.yaml" in text and not home.previous.exists()
    home.settings(previous=True)
    home("recover", "--identity", home.identity("office"))
    assert home.previous.read_text() == OLD + "\n"


def test_nothing_secret_stands_beside_it(home: Home) -> None:
    home("seal")
    about = (home.root / ".state" / "recovery.json").read_text()
    for content in (about, home.sealed.read_bytes().decode("latin-1")):
        assert NEW not in content and bytes.fromhex(NEW).decode("latin-1") not in content
    assert json.loads(about)["keys"] == {"current": fingerprint(bytes.fromhex(NEW)), "previous": None}
    assert home.sealed.read_bytes().startswith(b"age-encryption.org/v1\n"), "the age program opens it as well"


def test_another_key_is_never_written_over(home: Home) -> None:
    home("seal")
    home.put(home.key, OLD)
    code, detail = home.refused("recover", "--identity", home.identity("office"))
    assert code == "other-key" and fingerprint(bytes.fromhex(OLD)) in detail
    assert home.key.read_text() == OLD + "\n"
    home("recover", "--identity", home.identity("office"), "--to", str(home.base / "elsewhere" / "key"))
    assert (home.base / "elsewhere" / "key").read_text() == NEW + "\n"
    assert (
        home.refused("recover", "-i", home.identity("office"), "--to", str(home.root / "key"))[0] == "bad-key"
    )
    assert not (home.root / "key").exists(), "it never lies in the repository"


def test_what_opens_nothing(home: Home) -> None:
    assert home.refused("recover", "--identity", home.identity("office"))[0] == "no-seal"
    assert home.refused("recover", "--identity", str(home.base / "none"))[0] == "not-found"
    home.settings(names=("office",))
    home("seal")
    code, detail = home.refused("recover", "--identity", home.identity("vault"))
    assert code == "wrong-identity" and "sealed for: office" in detail
    wrong = home.base / "wrong"
    for content in (
        "",
        "# only a comment\n",
        "AGE-SECRET-KEY-1NOTONE\n",
        str(home.people["office"].to_public()),
    ):
        wrong.write_text(content)
        assert home.refused("recover", "--identity", str(wrong))[0] == "wrong-identity"
    wrong.write_bytes(pyrage.passphrase.encrypt(str(home.people["office"]).encode(), "a passphrase"))
    code, detail = home.refused("recover", "--identity", str(wrong))
    assert code == "wrong-identity" and "passphrase" in detail
    for content in (b"cut off", home.sealed.read_bytes()[:-3]):
        home.sealed.write_bytes(content)
        assert home.refused("recover", "--identity", home.identity("office"))[0] == "wrong-identity"
    recipient = home.people["office"].to_public()
    for inside in (
        b"no JSON",
        b"{}",
        b'{"current": "zz", "previous": null}',
        b'{"current": "00", "previous": null}',
    ):
        home.sealed.write_bytes(pyrage.encrypt(inside, [recipient]))
        assert home.refused("recover", "--identity", home.identity("office"))[0] == "bad-key"


def test_the_private_key_may_come_through_stdin(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home("seal")
    home.key.unlink()
    content = str(home.people["vault"]).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
    home("recover", "--identity", "-")
    assert home.key.read_text() == NEW + "\n"


def test_a_key_that_does_not_fit_the_states_is_not_written(home: Home) -> None:
    """Whoever may write to the bucket could put another sealed key there; what was encrypted before tells."""
    home("seal")
    home.key.unlink()
    meta = {"external_data": {"stack": "lab", "key": fingerprint(stack_key(bytes.fromhex(OLD), "lab"))}}
    place = home.root / ".state" / "lab" / "terraform.tfstate"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"meta": {"key_provider.external.stack": _b64(json.dumps(meta))}}))
    assert home.refused("recover", "--identity", home.identity("office"))[0] == "wrong-key"
    assert not home.key.exists()
    meta["external_data"]["key"] = fingerprint(stack_key(bytes.fromhex(NEW), "lab"))
    place.write_text(json.dumps({"meta": {"key_provider.external.stack": _b64(json.dumps(meta))}}))
    home("recover", "--identity", home.identity("office"))
    assert home.key.exists()


def _b64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode()).decode()


def test_a_key_that_comes_from_a_command_needs_a_file_to_go_to(home: Home) -> None:
    home("seal")
    text = (home.root / "settings.yaml").read_text()
    command = f"[{sys.executable}, -c, 'print(\"{NEW}\")']"
    write_root(
        home.root,
        {"settings.yaml": text.replace(f"{{file: {home.key}}}", f"{{command: {command}}}").encode()},
    )
    assert home("seal")["fresh"] is False, "the same key"
    (told,) = home("recover", "--identity", home.identity("office"), code=64)["diagnostics"]
    assert told["code"] == "usage" and "--to FILE" in told["hint"]
    home("recover", "--identity", home.identity("office"), "--to", str(home.base / "new"))
    assert (home.base / "new").read_text() == NEW + "\n"


def test_a_seal_that_is_out_of_date_is_told(home: Home) -> None:
    assert "never sealed" in home.warnings()[0]
    home("seal")
    assert home.warnings() == home.warnings(bytes.fromhex(NEW)) == []
    (told,) = home.warnings(bytes.fromhex(OLD))
    assert fingerprint(bytes.fromhex(NEW)) in told and fingerprint(bytes.fromhex(OLD)) in told
    home.settings(names=("office",))
    assert "vault still can" in home.warnings()[0]
    home("seal")
    home.settings()
    assert "vault cannot open it" in home.warnings()[0]
    (home.root / ".state" / "recovery.json").write_text('{"recovery": 1}')
    assert "cannot be read" in home.warnings()[0]
    home.sealed.unlink()
    assert "never sealed" in home.warnings()[0]
    assert home("seal")["fresh"] is True and home.warnings() == []
    home.sealed.write_bytes(b"damaged")
    assert home("seal")["fresh"] is True, "what was damaged is made anew"
    write_root(home.root, {"settings.yaml": b"version: 1\n"})
    assert home.warnings() == [], "where nobody is named, nothing is expected"


def test_status_tells_it_without_the_key(home: Home) -> None:
    home.key.unlink()
    ran = home.run("status", "--root", str(home.root), "--format", "json")
    assert ran.code == 0 and [d["code"] for d in ran.json()["diagnostics"]] == ["old-seal"]  # type: ignore[union-attr, index, attr-defined]


def test_nobody_is_named(home: Home) -> None:
    write_root(home.root, {"settings.yaml": f"version: 1\nstate:\n  key: {{file: {home.key}}}\n".encode()})
    assert home.refused("seal")[0] == "missing-key"
    home.settings(more="\n    - {name: third, recipient: age1" + "q" * 58 + ", holders: [somebody]}")
    code, detail = home.refused("seal")
    assert code == "bad-value" and "`third` is mistyped" in detail


def test_a_missing_key_is_not_sealed(home: Home) -> None:
    home.key.unlink()
    assert home.refused("seal")[0] == "no-key"
    assert not home.sealed.exists()


def test_a_key_is_stored_once(tmp_path: Path) -> None:
    root, path = tmp_path / "root", tmp_path / "deep" / "key"
    root.mkdir()
    assert keys.store(path, root, bytes.fromhex(NEW)) is True
    assert keys.store(path, root, bytes.fromhex(NEW)) is False
    assert [p.name for p in path.parent.iterdir()] == ["key"]


# --- the login to the bucket


def test_no_child_but_opentofu_gets_the_login_to_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands for the key and for tokens, and git: none of them sees it."""
    for name in LOGIN:
        monkeypatch.setenv(name, "leaked-login")
    shown = f"import os, sys; sys.stdout.write(('{NEW}' if 'leaked-login' not in os.environ.values() else 'leaked'))"
    assert master_from_command([sys.executable, "-c", shown]) == bytes.fromhex(NEW)
    assert token_from_command([sys.executable, "-c", shown]).value == NEW
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nenv | grep -q leaked-login && echo leaked || echo 0123\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert head(tmp_path) == "0123"
