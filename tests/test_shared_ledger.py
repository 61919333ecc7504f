"""Credentials turned on one machine and gone on with on another: what was proven and revoked lies in the bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from roots import Runner
from s3_standin import S3, log_in, serving
from test_rotating import GIVEN, GIVEN_VALUE, World

from cf_infra import rotating


class Killed(BaseException):
    """The process ends here: nothing of ours runs after it."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with serving() as made:
        log_in(monkeypatch, made.operator)
        yield made


@pytest.fixture
def two(
    tmp_path: Path, s3: S3, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[World, World]:
    """Two people with the same key and the same vault, each with a clone."""
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(key))
    monkeypatch.setenv(GIVEN.removeprefix("env "), GIVEN_VALUE)
    found = []
    for name in ("first", "second"):
        world = World(tmp_path / name, Runner(capsys))
        settings = world.root / "settings.yaml"
        told = {**json.loads(settings.read_text()), "state": s3.values()}
        settings.write_text(json.dumps(told))
        found.append(world)
    return found[0], found[1]


def test_what_one_proved_the_other_knows(two: tuple[World, World], s3: S3) -> None:
    first, second = two
    assert first("rotate").code == 0
    assert "states/other/credentials.json" in s3.objects
    assert not any(name.endswith("given.json") for name in s3.objects), "no login is sent"
    assert GIVEN_VALUE.encode() not in b"".join(s3.objects.values())
    row = second.row(second.json("status"))
    assert row["live"] == [str(first.number)] and row["delivered"][0]["sink"] == "vault"
    assert second("rotate", day=30).code == 0
    assert first.row(first.json("status", day=30))["generation"] == str(first.number + 1)


def test_a_revocation_that_was_killed_is_finished_on_another_machine(
    two: tuple[World, World], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    first("rotate")
    leaked = json.loads(first.vault.read_text())["value"]

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rotating, "turn", killed)
        with pytest.raises(Killed):
            first("revoke-now", "hook", "--yes")
    assert str(first.number) in s3.objects["states/other/credentials.json"].decode()
    ran = second("revoke-now", "hook", "--yes")
    assert ran.code == 0 and "going on with the revocation" in ran.err
    assert json.loads(first.vault.read_text())["value"] != leaked
    assert any("-revoked.json" in name for name in s3.objects), "the receipt is there, too"
    assert first.row(first.json("status"))["live"] == [f"{first.number}.1"]
