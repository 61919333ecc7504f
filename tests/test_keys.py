"""The master key, what is derived from it, and the program that hands it to OpenTofu."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_infra import keyprovider, keys
from cf_infra.diagnostics import Failure
from cf_infra.keys import (
    KeyCommand,
    KeyFile,
    KeySource,
    Ring,
    Sources,
    encryption_environment,
    fingerprint,
    password,
    ring,
    stack_key,
    state_key,
)
from tests.leaks import WATCH

DIGITS = "0123456789abcdef" * 4
MASTER = bytes.fromhex(DIGITS)
WATCH.is_public(DIGITS)
WATCH.is_public(DIGITS[::-1])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "root"
    folder.mkdir(parents=True)
    (folder.parent / ".git").mkdir()
    return folder


def key_file(path: Path, text: str = DIGITS + "\n", mode: int = 0o600) -> KeyFile:
    path.write_text(text)
    path.chmod(mode)
    return KeyFile(path)


def failed(source: KeySource, root: Path, **more: Any) -> Any:
    with pytest.raises(Failure) as failure:
        state_key(source, root, **more)
    (told,) = failure.value.diagnostics
    assert DIGITS[:12] not in repr(failure.value) and DIGITS[:12] not in told.detail + told.hint
    return told


# --- a file


def test_a_file_of_its_owner_alone(tmp_path: Path, root: Path) -> None:
    assert state_key(key_file(tmp_path / "key"), root) == MASTER
    assert state_key(key_file(tmp_path / "bare", DIGITS, 0o400), root) == MASTER
    (tmp_path / "link").symlink_to(tmp_path / "key")
    assert state_key(KeyFile(tmp_path / "link"), root) == MASTER


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o666])
def test_a_file_that_others_may_use(tmp_path: Path, root: Path, mode: int) -> None:
    told = failed(key_file(tmp_path / "key", mode=mode), root)
    assert told.code == "bad-key" and f"mode {mode:o}" in told.detail
    assert told.hint.endswith(f"\nchmod 600 {tmp_path}/key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == mode, "mending it is the owner's business"


@pytest.mark.parametrize(
    "text", ["", "\n", DIGITS[:-1], DIGITS + "0", DIGITS[:-1] + "g", DIGITS * 2, "ü" * 64, f"{DIGITS}\nx"]
)
def test_a_file_with_something_else(tmp_path: Path, root: Path, text: str) -> None:
    told = failed(key_file(tmp_path / "key", text), root)
    assert told.code == "bad-key" and "is not 64 hexadecimal digits" in told.detail


def test_a_file_inside_the_repository(tmp_path: Path, root: Path) -> None:
    """Also beside the root folder, and by a link in either direction."""
    key_file(tmp_path / "outside")
    (root / "link-out").symlink_to(tmp_path / "outside")
    key_file(root / "inside")
    (tmp_path / "link-in").symlink_to(root / "inside")
    (tmp_path / "folder").symlink_to(root)
    key_file(root.parent / "beside")
    for path in (
        root / "inside",
        root / "link-out",
        tmp_path / "link-in",
        tmp_path / "folder" / "inside",
        root.parent / "beside",
    ):
        told = failed(KeyFile(path), root, create=True)
        assert told.code == "bad-key" and "lies inside the repository" in told.detail
    told = failed(KeyFile(root / "new"), root, create=True)
    assert told.code == "bad-key" and not (root / "new").exists()


def test_a_root_without_git_is_the_repository(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    assert failed(key_file(tmp_path / "root" / "key"), tmp_path / "root").code == "bad-key"
    assert state_key(key_file(tmp_path / "key"), tmp_path / "root") == MASTER


def test_what_is_no_file(tmp_path: Path, root: Path) -> None:
    assert failed(KeyFile(tmp_path), root).code == "bad-key"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert failed(KeyFile(tmp_path / "pipe"), root).code == "bad-key"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = key_file(tmp_path / "key")
    os.chown(source.path, 4711, -1)
    told = failed(source, root)
    assert told.code == "bad-key" and "4711" in told.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, root: Path) -> None:
    assert failed(key_file(tmp_path / "key", mode=0), root).code == "bad-key"


def test_a_missing_key_says_how_to_make_one(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "my keys" / "state.key"
    told = failed(KeyFile(path), root)
    assert told.code == "no-key"
    commands = told.hint.splitlines()[-2:]
    for command in commands:  # as a user would copy them
        subprocess.run(["bash", "-c", command], check=True)
    made = state_key(KeyFile(path), root)
    assert len(made) == 32
    assert subprocess.run(["bash", "-c", commands[-1]], capture_output=True).returncode, (
        "never over an existing key"
    )
    assert state_key(KeyFile(path), root) == made


# --- made for the sandbox


def test_the_sandbox_key_lies_in_the_configuration_folder() -> None:
    assert keys.sandbox_key_file({"HOME": "/h"}) == Path("/h/.config/cf-infra/sandbox.key")
    assert keys.sandbox_key_file({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/cf-infra/sandbox.key")
    assert keys.sandbox_key_file({"HOME": "/h", "XDG_CONFIG_HOME": ""}) == Path(
        "/h/.config/cf-infra/sandbox.key"
    )


def test_a_key_is_made_on_first_use_only(tmp_path: Path, root: Path) -> None:
    source = KeyFile(tmp_path / "a" / "b" / "sandbox.key")
    made = state_key(source, root, create=True)
    assert stat.S_IMODE(source.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(source.path.parent.stat().st_mode) == 0o700
    assert state_key(source, root, create=True) == made == state_key(source, root)
    assert [p.name for p in source.path.parent.iterdir()] == ["sandbox.key"]
    assert made != state_key(KeyFile(tmp_path / "other"), root, create=True)


def test_runs_at_the_same_time_agree_on_one_key(tmp_path: Path, root: Path) -> None:
    source = KeyFile(tmp_path / "new" / "key")
    barrier = threading.Barrier(8)
    made: list[bytes] = []

    def go() -> None:
        barrier.wait()
        made.append(state_key(source, root, create=True))

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(made)) == 1
    assert [p.name for p in source.path.parent.iterdir()] == ["key"]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EROFS, "unreadable")])
def test_a_key_that_cannot_be_written(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def full(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    told = failed(KeyFile(tmp_path / "new" / "key"), root, create=True)
    assert told.code == code
    assert list((tmp_path / "new").iterdir()) == [], "half a key would be worse than none"


# --- a command


def prints(text: str) -> KeyCommand:
    return KeyCommand((sys.executable, "-c", text))


def test_a_command(root: Path) -> None:
    assert state_key(prints(f"print('{DIGITS}')"), root) == MASTER


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("print('x')", "bad-key", "is not 64 hexadecimal digits (1 characters)"),
        (
            "import sys; sys.exit('locked: ask somebody')",
            "no-key",
            "exit status 1. Its last words: locked: ask somebody",
        ),
        (f"import sys; sys.exit('bad line {DIGITS[:40]}')", "no-key", "last words: bad line (secret)"),
        ("raise SystemExit(3)", "no-key", "exit status 3."),
    ],
)
def test_a_command_that_fails(root: Path, text: str, code: str, words: str) -> None:
    told = failed(prints(text), root)
    assert told.code == code and words in told.detail and "settings.yaml" in told.hint


def test_a_command_gets_what_is_named_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a-token-of-somebody")
    monkeypatch.setenv("GNUPGHOME", "/where/gpg/looks")
    asks = "import os, sys; sys.exit(str(sorted(os.environ)))"
    told = failed(prints(asks), root).detail
    assert "GITHUB_TOKEN" not in told and "'GNUPGHOME'" in told and "'PATH'" in told


def test_a_command_that_is_not_there(root: Path) -> None:
    told = failed(KeyCommand(("/nowhere/key",)), root)
    assert told.code == "no-key" and "cannot be started" in told.detail


def test_a_command_that_hangs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyprovider, "COMMAND_TIMEOUT", 0.2)
    assert "gave no answer" in failed(prints("import time; time.sleep(20)"), root).detail


# --- what is derived


def test_derived_values_stay_what_they_are() -> None:
    """A change here would make every state unreadable and every password another one."""
    key = stack_key(MASTER, "lab")
    assert (key.hex(), keyprovider.encryption_key(key).hex(), keyprovider.fingerprint(key)) == PINNED[:3]
    assert password(key, "cirun", 3) == PINNED[3]


PINNED = (
    "45270c23e99662bc0bbb2a455ee9aaa1ec33092c905f2cc68148c45b0b1f5f2d",
    "925da357c43a3cec5a081f58e13aace1c90855f76c37bb3f696034eaae224508",
    "044bff59cbf985ef",
    "p6DFOwrZwURyK-CpQkZUjtlEawt4HQMD_cdnpok1xYI",
)


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1), st.text(min_size=1), st.integers(0, 10**6))
def test_passwords(master: bytes, stack: str, name: str, generation: int) -> None:
    key = stack_key(master, stack)
    made = password(key, name, generation)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", made)
    assert made == password(stack_key(master, stack), name, generation)
    others = {
        password(stack_key(master, f"{stack}x"), name, generation),
        password(key, f"{name}x", generation),
        password(key, name, generation + 1),
        password(stack_key(bytes(reversed(master)) + b"x", stack), name, generation),
    }
    assert made not in others and len(others) == 4
    assert (
        made.encode() not in master
        and keyprovider.fingerprint(key) not in keyprovider.encryption_key(key).hex()
    )


def test_labels_cannot_run_into_each_other() -> None:
    key = stack_key(MASTER, "lab")
    assert password(key, "a\x001", 1) != password(key, "a", 1)
    assert password(key, "a1", 1) != password(key, "a", 11)


# --- two keys, while a rotation lasts


def test_a_ring_knows_its_keys_by_their_fingerprints(tmp_path: Path, root: Path) -> None:
    old, new = key_file(tmp_path / "old"), key_file(tmp_path / "new", DIGITS[::-1])
    before, after = (stack_key(bytes.fromhex(digits), "lab") for digits in (DIGITS, DIGITS[::-1]))
    alone = ring(Sources(old), root, "lab")
    assert alone == Ring(before) and alone.of() == alone.of(alone.fingerprint) == before
    both = ring(Sources(new, old), root, "lab")
    assert both.of() == both.of(fingerprint(after)) == after and both.of(alone.fingerprint) == before
    assert ring(Sources(old, old), root, "lab") == Ring(before), "the same key is no rotation"
    assert before.hex() not in repr(both) and repr(both) == "Ring()"


@pytest.mark.parametrize("previous", [None, bytes(32)])
def test_a_ring_without_the_key_that_is_asked_for(previous: bytes | None) -> None:
    with pytest.raises(Failure) as failure:
        Ring(MASTER, previous).of("0123456789abcdef")
    (told,) = failure.value.diagnostics
    assert told.code == "no-key" and "0123456789abcdef is needed" in told.detail
    assert "`state.previous`" in told.hint and fingerprint(MASTER) in told.detail
    assert (previous is not None) == (fingerprint(bytes(32)) in told.detail)


def test_a_previous_key_that_is_not_there(tmp_path: Path, root: Path) -> None:
    with pytest.raises(Failure) as failure:
        ring(Sources(key_file(tmp_path / "new"), KeyFile(tmp_path / "old")), root, "lab")
    (told,) = failure.value.diagnostics
    assert told.code == "no-key" and f"{tmp_path}/old" in told.detail and "before the rotation" in told.hint
    with pytest.raises(Failure) as failure:
        ring(Sources(key_file(tmp_path / "new"), prints("raise SystemExit(3)")), root, "lab")
    assert "`state.previous` in settings.yaml" in failure.value.diagnostics[0].hint


# --- the program that OpenTofu runs


def provider(*arguments: str, question: object = None, cwd: Path | None = None) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", keyprovider.__file__, *arguments],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": os.environ["PATH"]},
    )
    head, _, reply = done.stdout.partition("\n")
    assert json.loads(head) == {"magic": "OpenTofu-External-Key-Provider", "version": 1}
    return done.returncode, json.loads(reply) if reply else None, done.stderr


def test_the_exchange(tmp_path: Path) -> None:
    path = str(key_file(tmp_path / "key").path)
    code, first, _ = provider("file", "lab", path)
    assert code == 0 and set(first) == {"keys", "meta"} and set(first["keys"]) == {"encryption_key"}
    assert len(b64decode(first["keys"]["encryption_key"])) == 32
    assert set(first["meta"]) == {"external_data"} and set(first["meta"]["external_data"]) == {"stack", "key"}
    assert DIGITS not in json.dumps(first)
    code, again, _ = provider("file", "lab", path, question=first["meta"])
    assert again["keys"] == dict.fromkeys(
        ("encryption_key", "decryption_key"), first["keys"]["encryption_key"]
    )
    assert provider("command", "lab", sys.executable, "-c", f"print('{DIGITS}')")[1] == first


def both(current: Path, previous: Path) -> list[str]:
    return [json.dumps(["file", str(path)]) for path in (current, previous)]


def test_the_exchange_with_two_keys(tmp_path: Path) -> None:
    """What the old key wrote is read with the old one, and everything is written with the new one."""
    old, new = key_file(tmp_path / "old").path, key_file(tmp_path / "new", DIGITS[::-1]).path
    _, before, _ = provider("file", "lab", str(old))
    _, after, _ = provider("file", "lab", str(new))
    code, asked, _ = provider("two", "lab", *both(new, old), question=before["meta"])
    assert code == 0 and asked["meta"] == after["meta"]
    assert asked["keys"] == {
        "encryption_key": after["keys"]["encryption_key"],
        "decryption_key": before["keys"]["encryption_key"],
    }
    _, again, _ = provider("two", "lab", *both(new, old), question=after["meta"])
    assert again["keys"]["decryption_key"] == after["keys"]["encryption_key"]
    assert provider("two", "lab", *both(new, tmp_path / "gone"))[1] == after, (
        "not asked for where it is not needed"
    )
    code, _, said = provider("two", "lab", *both(new, tmp_path / "gone"), question=before["meta"])
    assert code == 1 and "no-key" in said
    strange = {"external_data": {"stack": "lab", "key": "0123456789abcdef"}}
    code, _, said = provider("two", "lab", *both(new, old), question=strange)
    assert code == 1 and "wrong-key" in said and "the previous key gives" in said
    code, _, said = provider("two", "other", *both(new, old), question=before["meta"])
    assert code == 1 and "foreign-state" in said


def test_opentofu_is_told_of_both_keys() -> None:
    sources = Sources(KeyFile(Path("/keys/new")), KeyCommand(("pass", "show", "${x}")))
    env = encryption_environment(sources, "lab", {"GPG_TTY": "/dev/tty"})
    assert env["GPG_TTY"] == "/dev/tty", "the previous one may come from a password store, too"
    command = json.loads(env["TF_ENCRYPTION"])["key_provider"]["external"]["stack"]["command"]
    assert command[-4:-2] == ["two", "lab"]
    assert [json.loads(text.replace("$${", "${")) for text in command[-2:]] == [
        ["file", "/keys/new"],
        ["command", "pass", "show", "${x}"],
    ]


def test_the_exchange_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(key_file(tmp_path / "key").path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("null"))
    assert keyprovider.main(["file", "lab", path]) == 0
    reply = json.loads(capsys.readouterr().out.splitlines()[1])
    assert reply == keyprovider.answer(MASTER, "lab", None)
    for stack, code in (("lab", 0), ("other", 1)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(reply["meta"])))
        assert keyprovider.main(["command", stack, sys.executable, "-c", f"print('{DIGITS}')"]) == code
    assert capsys.readouterr().err.startswith(f" {keyprovider.MARK}"), (
        "OpenTofu breaks lines that begin otherwise"
    )
    with pytest.raises(keyprovider.KeyProblem) as problem:
        keyprovider.answer(MASTER[::-1], "lab", reply["meta"])
    assert problem.value.code == "wrong-key"
    with pytest.raises(keyprovider.KeyProblem) as problem:
        keyprovider.master_from_file(f"{path}/x")
    assert problem.value.code == "bad-key"


def complaint(stderr: str) -> list[str]:
    return list(json.loads(stderr.partition(keyprovider.MARK)[2]))


def test_another_key_or_stack_is_told_apart(tmp_path: Path) -> None:
    path = str(key_file(tmp_path / "key").path)
    other = str(key_file(tmp_path / "other", DIGITS[::-1]).path)
    meta = provider("file", "lab", path)[1]["meta"]
    code, reply, stderr = provider("file", "lab", other, question=meta)
    assert (code, reply) == (1, None) and complaint(stderr)[0] == "wrong-key"
    code, reply, stderr = provider("file", "other", path, question=meta)
    assert complaint(stderr) == ["foreign-state", "It was made for lab, not for other."]
    code, reply, stderr = provider("file", "lab", path, question={"external_data": {}})
    assert code == 0, "a state of an earlier form is tried with what there is"
    code, reply, stderr = provider("file", "lab", str(tmp_path / "gone"))
    assert (code, reply) == (1, None) and complaint(stderr)[0] == "no-key"


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    """OpenTofu runs it in build/<stack>/; what got there must not see the key."""
    path = str(key_file(tmp_path / "key").path)
    trap = tmp_path / "build"
    trap.mkdir()
    for name in ("json", "hmac", "cf_infra", "subprocess", "sitecustomize"):
        (trap / f"{name}.py").write_text("raise SystemExit('trapped')")
    assert provider("file", "lab", path, cwd=trap)[0] == 0


def test_it_imports_nothing_of_ours(tmp_path: Path) -> None:
    text = f"import sys, runpy; runpy.run_path({keyprovider.__file__!r}); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=True
    )
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert modules <= set(sys.stdlib_module_names) | {"__main__"} and "cf_infra" not in modules


def test_the_environment_has_no_secret(tmp_path: Path) -> None:
    source = key_file(tmp_path / 'a ${b} %{c} "d"')
    env = encryption_environment(source, "lab", {"GPG_TTY": "/dev/tty", "SECRET": "s"})
    assert set(env) == {"TF_ENCRYPTION"} and DIGITS not in env["TF_ENCRYPTION"]
    said = json.loads(env["TF_ENCRYPTION"])
    command = said["key_provider"]["external"]["stack"]["command"]
    assert command[:3] == [sys.executable, "-I", "-S"] and command[-1].endswith('a $${b} %%{c} "d"')
    for what in ("state", "plan"):
        assert said[what] == {"method": "method.aes_gcm.stack", "enforced": True}
    env = encryption_environment(
        KeyCommand(("pass", "show", "x")), "lab", {"GPG_TTY": "/dev/tty", "SECRET": "s"}
    )
    assert set(env) == {"TF_ENCRYPTION", "GPG_TTY"}
    command = json.loads(env["TF_ENCRYPTION"])["key_provider"]["external"]["stack"]["command"]
    assert command[4:] == ["command", "lab", "pass", "show", "x"]


# --- with the real program


def test_key_command_and_strange_path_with_the_real_tofu(tmp_path: Path) -> None:
    """A path with template signs reaches the key provider as it is, and file and command give one key."""
    from real_tofu import Place, tool_or_skip

    place = Place(tmp_path, tool_or_skip())
    source = key_file(tmp_path / 'a ${b} %{c} "d"')
    place.write({"a": {"input": 1}})
    tofu = place.tofu(source=source)
    tofu.init(place.state)
    tofu.plan(place.saved)
    tofu.apply(place.saved)
    by_command = place.tofu(
        source=KeyCommand((sys.executable, "-c", f"print(open({str(source.path)!r}).read())"))
    )
    assert by_command.plan(place.saved) is False
    assert by_command.show_state()["values"]["root_module"]["resources"][0]["address"] == "terraform_data.a"
