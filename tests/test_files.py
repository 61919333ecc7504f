"""The disk: regular files only, whole or not at all, and a message for what the system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from roots import write_root

from cf_infra import files
from cf_infra.diagnostics import Failure


def fault(failure: pytest.ExceptionInfo[Failure]) -> tuple[str, str | None]:
    [d] = failure.value.diagnostics
    assert d.detail and d.hint
    return d.code, d.file


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "stacks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure) as caught:
        files.read_root(tmp_path / "root")
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.file) == ("unreadable", "stacks")


def test_read_root(tmp_path: Path) -> None:
    """What says something, and nothing else."""
    said = {
        "grants.yaml": b"a",
        "settings.yaml": b"b",
        "overrides.yaml": b"c",
        "stacks/x.yaml": b"d",
        "users/u.json": b"e",
    }
    other = {
        "README.md": b"x",
        "stacks/README.md": b"x",
        "stacks/deep/y.yaml": b"x",
        "users/u.yaml": b"x",
        "clouds.yaml": b"x",
    }
    write_root(tmp_path, {**said, **other})
    assert files.read_root(tmp_path) == said


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        files.read_root(tmp_path / "nowhere")
    assert fault(failure) == ("not-found", None)
    write_root(tmp_path, {"file": b""})
    with pytest.raises(Failure):
        files.read_root(tmp_path / "file")


@pytest.mark.parametrize("name", ["grants.yaml", "stacks/x.yaml", "users/u.json"])
def test_links_are_not_followed(name: str, tmp_path: Path) -> None:
    """A stranger's grants.yaml that is a link would show what stands elsewhere on this machine."""
    write_root(tmp_path, {"elsewhere": b"secret", "stacks/.keep": b"", "users/.keep": b""})
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure) as failure:
        files.read_root(tmp_path)
    assert fault(failure) == ("unreadable", name)
    assert "link" in failure.value.diagnostics[0].detail


def test_other_things_are_no_files(tmp_path: Path) -> None:
    """A pipe would wait for ever; a folder and a device say nothing."""
    os.mkfifo(tmp_path / "grants.yaml")
    (tmp_path / "stacks" / "x.yaml").mkdir(parents=True)
    with pytest.raises(Failure) as failure:
        files.read_root(tmp_path)
    assert [(d.code, d.file) for d in failure.value.diagnostics] == [
        ("unreadable", "grants.yaml"),
        ("unreadable", "stacks/x.yaml"),
    ]


def test_what_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refused)
    with pytest.raises(Failure) as failure:
        files.read_regular(tmp_path / "x", 10, "x")
    assert fault(failure) == ("unreadable", "x")
    assert "Permission denied" in failure.value.diagnostics[0].detail


def test_big_files_are_read_to_the_limit(tmp_path: Path) -> None:
    write_root(tmp_path, {"x": b"12345"})
    assert files.read_regular(tmp_path / "x", 3, "x") == b"1234"
    assert files.read_regular(tmp_path / "x", 5, "x") == b"12345"


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    files.write(path, b"one", mode=0o600)
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    files.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EROFS, "unreadable")],
)
def test_a_full_disk_leaves_what_was_there(
    number: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(Failure) as failure:
        files.write(path, b"new")
    assert fault(failure)[0] == code
    assert str(path) in failure.value.diagnostics[0].detail
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_tree(tmp_path: Path) -> None:
    """The folder holds what is given and what is kept; files that are right are not touched."""
    write_root(
        tmp_path,
        {"same": b"1", "other": b"2", "gone/deep/x": b"3", ".terraform/y": b"4", "a/b": b"5", "out": b"6"},
    )
    (tmp_path / "link").symlink_to(tmp_path / "out")
    os.utime(tmp_path / "same", (1, 1))
    files.write_tree(
        tmp_path, {"same": b"1", "other": b"new", "a/c": b"7", "link": b"8"}, keep=[".terraform", "missing"]
    )
    assert files.read_tree(tmp_path) == {
        "same": b"1",
        "other": b"new",
        "a/c": b"7",
        ".terraform/y": b"4",
        "link": b"8",
    }
    assert (tmp_path / "same").stat().st_mtime == 1
    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "gone").exists()


def test_read_tree_takes_no_links(tmp_path: Path) -> None:
    write_root(tmp_path, {"a": b"1"})
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert files.read_tree(tmp_path) == {"a": b"1"}


def test_digest() -> None:
    """Of names and contents, whatever their order, and of where one ends."""
    assert files.digest({"a": b"1", "b": b"2"}) == files.digest({"b": b"2", "a": b"1"})
    different = [
        {"a": b"1"},
        {"a": b"2"},
        {"b": b"1"},
        {"a": b""},
        {},
        {"a": b"1", "b": b""},
        {"ab": b""},
        {"a": b"b"},
    ]
    assert len({files.digest(d) for d in different}) == len(different)


def test_project_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the clone; of the installed wheel where there is no clone."""
    assert files.project_folder("modules") == files.PROJECT / "modules"
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    assert files.project_folder("modules").parts[-3:] == ("cf_infra", "_project", "modules")
