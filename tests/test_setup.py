"""The set-up: what is found is used, what is half-made never is, and what is missing is said with a way out."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import build, cache, environment, find, gobuild, parts, recipes, setup
from tools.locks import HEAD, merged
from tools.recipes import CONSTRAINTS, TOOLS
from tools.talk import SetupError, from_os_error

ROOT = Path(__file__).resolve().parents[1]

FAKE_GO = """#!/bin/sh
PATH=/usr/bin:/bin
echo "go $1" >> "$CALLS"
case $1 in
    env) printf '%s\\n' "$GO_VERSION" linux amd64 ;;
    build)
        [ "$GO_FAILS" ] && { echo "go: example.org/a: dial tcp: no route" >&2; exit 1; }
        while [ "$1" != -o ]; do shift; done
        case $3 in *opentofu*) cp "$TOFU" "$2" ;; *) echo "plugin" > "$2" ;; esac ;;
esac
"""
FAKE_TOFU = """#!/bin/sh
case $1 in
    version) echo "{\\"terraform_version\\": \\"$TOFU_VERSION\\"}" ;;
    -chdir=*)
        [ "$LOCK_FAILS" ] && { echo "no package for darwin_arm64" >&2; exit 1; }
        echo 'provider "it" {' > "${1#-chdir=}/.terraform.lock.hcl"
        echo '  version = "3.4.0"' >> "${1#-chdir=}/.terraform.lock.hcl" ;;
esac
"""


class Machine:
    """A machine with an empty cache and nothing on PATH but what a test puts there."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.bin, self.cache, self.pointer = (
            folder / "bin",
            folder / "cache" / "cf-infra",
            folder / "current.json",
        )
        self.bin.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()
        patch.setenv("PATH", str(self.bin))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("CALLS", str(self.calls))
        patch.setenv("TOFU", str(self.program("built-tofu", FAKE_TOFU)))
        for name in ("CF_INFRA_PROVIDERS", "GO_FAILS", "LOCK_FAILS"):
            patch.delenv(name, raising=False)

    def program(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def has_go(self, version: str = "go1.26.8") -> None:
        self.patch.setenv("GO_VERSION", version)
        self.program("go", FAKE_GO)

    def has_tofu(self, version: str) -> None:
        self.patch.setenv("TOFU_VERSION", version)
        self.program("tofu", FAKE_TOFU)

    def set_up(self, *names: str) -> dict[str, object]:
        value = json.loads(build.set_up(names, self.pointer).read_text())
        assert isinstance(value, dict)
        return value

    def builds(self) -> int:
        return self.calls.read_text().count("go build")

    def error(self, *names: str) -> str:
        with pytest.raises(SetupError) as caught:
            build.set_up(names, self.pointer)
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


# --- the digest ---------------------------------------------------------------------------------------------------


def _append(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write("// changed\n")

    return change


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "stub/go-docker/go.mod"])
def test_a_built_tool_is_another_one_when_its_modules_change(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "tools" / "drone", tmp_path / "drone")
    monkeypatch.setattr(recipes, "HERE", tmp_path)
    go = find.Go("go1.26.8", "linux_amd64")
    before = gobuild.tool_digest(TOOLS["drone"], go)
    assert gobuild.tool_digest(TOOLS["drone"], go) == before
    _append(changed)(tmp_path / "drone")
    assert gobuild.tool_digest(TOOLS["drone"], go) != before


def test_a_built_tool_is_another_one_with_another_go_platform_or_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tofu = TOOLS["tofu"]
    digests = {
        gobuild.tool_digest(tofu, find.Go("go1.26.8", "linux_amd64")),
        gobuild.tool_digest(tofu, find.Go("go1.26.9", "linux_amd64")),
        gobuild.tool_digest(tofu, find.Go("go1.26.8", "linux_arm64")),
        gobuild.tool_digest(TOOLS["openstack"], find.Go("go1.26.8", "linux_amd64")),
    }
    monkeypatch.setattr(gobuild, "GO_FLAGS", ("-mod=readonly",))
    digests.add(gobuild.tool_digest(tofu, find.Go("go1.26.8", "linux_amd64")))
    assert len(digests) == 5


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_every_recipe_names_a_pinned_version_and_the_go_that_builds_it(tool: recipes.Tool) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", tool.version)
    assert (1, 26, 6) <= tool.go_version < (2,)
    assert f"{tool.module} v{tool.version} h1:" in (tool.folder / "go.sum").read_text()


def test_the_pinned_versions_fit_what_is_asked_of_others() -> None:
    assert find.tofu_fits(TOOLS["tofu"].version)
    assert set(recipes.CONSTRAINTS) == {name for name in recipes.CORE if TOOLS[name].provider}
    for name, constraint in recipes.CONSTRAINTS.items():
        assert constraint.startswith(f">= {TOOLS[name].version},")


# --- whole or not at all ------------------------------------------------------------------------------------------


def test_what_failed_half_way_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), cache.building(tmp_path / "it") as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_killed_build_is_not_taken_for_a_finished_one_and_is_cleaned_up(machine: Machine) -> None:
    machine.has_go()
    dead = subprocess.Popen(["/bin/sh", "-c", "exit"])
    dead.wait()
    whole = machine.set_up()
    target = Path(str(whole["tofu"])).parents[1]
    left = target.with_name(f"{target.name}.tmp-{dead.pid}-{os.uname().nodename}")
    target.rename(left)
    (left / "tools.json").unlink()
    assert machine.set_up() == whole
    assert not left.exists()


def test_the_folder_of_a_living_builder_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "30"]) as other:
        try:
            of_other = tmp_path / f"it.tmp-{other.pid}-{os.uname().nodename}"
            elsewhere = tmp_path / "it.tmp-1-another-host"
            old = tmp_path / "it.tmp-2-another-host"
            for folder in (of_other, elsewhere, old):
                folder.mkdir()
            long_ago = time.time() - cache.ABANDONED_AFTER_SECONDS - 60
            os.utime(old, (long_ago, long_ago))
            assert cache.remove_abandoned(tmp_path) == [old]
            assert of_other.exists()
            assert elsewhere.exists()
        finally:
            other.kill()


def test_of_two_builders_the_second_uses_what_the_first_made(tmp_path: Path) -> None:
    target = tmp_path / "it"
    with cache.building(target) as folder:
        (folder / "by").write_text("second")
        target.mkdir()
        (target / "by").write_text("first")
    assert (target / "by").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("a file in its place")
    with pytest.raises(OSError), cache.building(tmp_path / "it"):
        pass


# --- OpenTofu and its provider ------------------------------------------------------------------------------------


def test_tools_are_built_once_and_described(machine: Machine) -> None:
    machine.has_go()
    first = machine.set_up()
    assert machine.builds() == 3
    assert machine.set_up() == first
    assert machine.builds() == 3
    assert json.loads(machine.pointer.read_text())["tools"].startswith(str(machine.cache / "tools-"))
    assert first["versions"] == {"tofu": TOOLS["tofu"].version, "openstack": "3.4.0", "github": "3.4.0"}
    assert os.access(str(first["tofu"]), os.X_OK)
    settings = Path(str(first["tofurc"])).read_text()
    assert f'path    = "{first["providers"]}"' in settings
    assert "direct" not in settings
    name = f"terraform-provider-openstack_v{TOOLS['openstack'].version}"
    found = {
        path.relative_to(str(first["providers"])).parts[0]
        for path in Path(str(first["providers"])).rglob(name)
    }
    assert found == {"registry.opentofu.org", "registry.terraform.io"}
    locks = first["locks"]
    assert isinstance(locks, dict)
    assert sorted(locks) == ["github", "openstack"]
    assert all("3.4.0" in Path(lock).read_text() for lock in locks.values())


def test_a_file_that_a_crash_left_empty_is_made_again(machine: Machine) -> None:
    machine.has_go()
    tofu = Path(str(machine.set_up()["tofu"]))
    whole = tofu.read_bytes()
    tofu.write_bytes(b"")  # a hard link: the built tool is damaged with it
    assert Path(str(machine.set_up()["tofu"])).read_bytes() == whole
    assert machine.builds() == 4


def test_a_failed_build_says_the_compilers_last_words_and_leaves_nothing(machine: Machine) -> None:
    machine.has_go()
    machine.patch.setenv("GO_FAILS", "1")
    text = machine.error()
    assert "error[build-failed]: OpenTofu could not be built" in text
    assert "dial tcp: no route" in text
    assert "GOPROXY" in text
    assert list(machine.cache.iterdir()) == []
    machine.patch.delenv("GO_FAILS")
    machine.set_up()


def test_what_was_asked_for_once_stays(machine: Machine) -> None:
    machine.has_go()
    assert set(json.loads(json.dumps(machine.set_up("act")["programs"]))) == {"act", "tofu"}
    assert set(json.loads(json.dumps(machine.set_up()["programs"]))) == {"act", "tofu"}
    assert machine.builds() == 4


def test_a_tool_in_c_needs_a_compiler(machine: Machine) -> None:
    machine.has_go()
    machine.patch.delenv("CC", raising=False)
    assert "error[compiler-missing]" in machine.error("drone")


@pytest.mark.parametrize("version", ["1.11.0", "1.11.4", "1.12.6", "1.12.6-dev", "1.99.0", "1.12.0-beta1"])
def test_a_fitting_tofu_is_taken_from_path(
    version: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.has_go()
    machine.has_tofu(version)
    value = machine.set_up()
    assert value["tofu"] == str(machine.bin / "tofu")
    assert machine.builds() == 2
    assert f"OpenTofu {version}: found on PATH and used ({machine.bin / 'tofu'})" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["1.10.7", "1.9.0", "0.15.0", "2.0.0", "1.11.0-rc1", "two", ""])
def test_another_tofu_is_not(version: str, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.has_go()
    machine.has_tofu(version)
    assert machine.set_up()["tofu"] != str(machine.bin / "tofu")
    assert machine.builds() == 3
    assert ">= 1.11.0 and < 2.0.0 is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho Terraform v1.5\n", "#!/bin/sh\necho '[]'\n"]
)
def test_a_tofu_that_does_not_tell_its_version_is_not_taken(text: str, machine: Machine) -> None:
    machine.has_go()
    machine.program("tofu", text)
    assert machine.set_up()["tofu"] != str(machine.bin / "tofu")


def test_without_go_the_way_out_is_shown(machine: Machine) -> None:
    text = machine.error()
    assert text.startswith("error[go-missing]: Go was not found\n")
    assert f"OpenTofu {TOOLS['tofu'].version} and provider openstack {TOOLS['openstack'].version}" in text
    assert "needs Go 1.26.6 or later" in text
    assert "    CF_INFRA_PROVIDERS=registry make setup" in text


@pytest.mark.parametrize("version", ["go1.26.5", "go1.9", "go1.25.99", "devel", ""])
def test_an_old_go_is_refused(version: str, machine: Machine) -> None:
    machine.has_go(version)
    text = machine.error()
    assert "error[go-too-old]: Go is too old" in text
    assert "install Go 1.26.6 or later" in text
    assert machine.builds() == 0


@pytest.mark.parametrize("version", ["go1.26.6", "go1.27", "go1.26.8 X:nodwarf5", "devel go1.28-3b2d9a Thu"])
def test_a_new_go_is_taken(version: str, machine: Machine) -> None:
    machine.has_go(version)
    machine.set_up()


def test_providers_of_the_registry_need_neither_go_nor_lock(machine: Machine) -> None:
    machine.has_tofu("1.12.6")
    machine.patch.setenv("CF_INFRA_PROVIDERS", "registry")
    value = machine.set_up()
    assert value["tofu"] == str(machine.bin / "tofu")
    assert (value["tofurc"], value["locks"], value["providers"]) == (None, {}, None)
    assert machine.calls.read_text() == ""


def test_a_folder_of_providers_is_used_as_it_is(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.has_tofu("1.12.6")
    mirror = machine.folder / "mirror"
    machine.patch.setenv("CF_INFRA_PROVIDERS", str(mirror))
    assert "error[no-provider]" in machine.error()
    plugin = mirror / "registry.opentofu.org/terraform-provider-openstack/openstack/3.4.0/linux_amd64/plugin"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("one")
    value = machine.set_up()
    assert value["providers"] == str(mirror)
    assert value["versions"] == {"tofu": "1.12.6", "openstack": "3.4.0"}
    assert f'"{mirror}"' in Path(str(value["tofurc"])).read_text()
    assert "integrations/github is not in" in capsys.readouterr().err
    assert list(value["locks"]) == ["openstack"]  # type: ignore[call-overload]
    plugin.write_text("another")  # its hash is in the lock: the set is made again
    assert machine.set_up()["locks"] != value["locks"]
    machine.patch.setenv("LOCK_FAILS", "1")
    plugin.write_text("of another platform")
    assert "no package for darwin_arm64" in machine.error()


def test_an_unknown_tool_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["terraform"]) == 64
    assert "choose from tofu, openstack" in capsys.readouterr().err


def test_a_full_disk_is_said() -> None:
    text = str(from_os_error(OSError(28, "No space left on device", "/cache/tofu")))
    assert text.startswith("error[disk-full]: The disk is full\n")
    assert "/cache/tofu" in text
    assert "XDG_CACHE_HOME=" in text
    assert "Permission denied" in str(from_os_error(PermissionError(13, "Permission denied", "/cache")))


# --- Python -------------------------------------------------------------------------------------------------------


def _fake_python(machine: Machine, name: str, version: str, code: int = 0) -> Path:
    return machine.program(name, f"#!/bin/sh\necho {version}\nexit {code}\n")


def test_the_first_fitting_python_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_base_executable", str(_fake_python(machine, "python3", "3.13")))
    _fake_python(machine, "python3.11", "3.11", code=1)  # Debian without python3.11-venv
    fitting = _fake_python(machine, "python3.12", "3.12")
    python, faults = setup.find_python()
    assert python == str(fitting)
    assert [fault.partition(" ")[2] for fault in faults] == [
        "is Python 3.13",
        "is Python 3.11 without `ensurepip`: install its venv package (Debian: python3.11-venv)",
    ]


def test_without_a_fitting_python_the_way_out_is_shown(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "_base_executable", str(_fake_python(machine, "python3", "3.6")))
    machine.program("python3.12", "#!/bin/sh\nexit 127\n")
    assert setup.main() == 1
    text = capsys.readouterr().err
    assert text.startswith("error[python-missing]: No Python 3.11 or 3.12 was found\n")
    assert f"    {machine.bin}/python3 is Python 3.6\n" in text
    assert f"    {machine.bin}/python3.12 does not run\n" in text
    assert "make setup PYTHON=/path/to/python3.12" in text


def test_an_old_python_can_read_setup_py() -> None:
    compile((ROOT / "tools" / "setup.py").read_text(), "setup.py", "exec", dont_inherit=True)
    import ast

    ast.parse((ROOT / "tools" / "setup.py").read_text(), feature_version=(3, 6))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "dev.lock").write_text("# a comment\nrich==15.0.0\n    # via typer\n")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return root


def _stamp(root: Path, python: str = sys.executable) -> None:
    value = {"digest": environment.digest(root), "python": python}
    (root / ".venv" / "cf-infra-setup.json").write_text(json.dumps(value))


def test_an_environment_without_its_stamp_is_not_finished(clone: Path) -> None:
    assert environment.python_of_clone(clone) == ""
    (clone / ".venv" / "cf-infra-setup.json").write_text('{"digest":')
    assert environment.python_of_clone(clone) == ""
    _stamp(clone)
    assert environment.python_of_clone(clone) == sys.executable


def test_an_environment_is_made_again_when_a_package_or_its_place_changes(clone: Path) -> None:
    lock = clone / "requirements" / "dev.lock"
    _stamp(clone)
    lock.write_text("# another comment\nrich==15.0.0\n")
    assert environment.python_of_clone(clone)
    lock.write_text("rich==15.0.1\n")
    assert not environment.python_of_clone(clone)
    lock.write_text("rich==15.0.0\n")
    moved = clone.rename(clone.with_name("moved"))
    assert not environment.python_of_clone(moved)


def test_an_environment_is_made_again_when_its_python_is_gone(clone: Path) -> None:
    _stamp(clone, "/usr/bin/python3.11-removed")
    assert not environment.python_of_clone(clone)
    _stamp(clone)
    (clone / ".venv" / "bin" / "python").unlink()
    assert not environment.python_of_clone(clone)


def test_the_stamp_goes_before_anything_else_is_done(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    _stamp(clone)
    monkeypatch.setattr(environment, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.make(clone)
    assert not environment.python_of_clone(clone)


def test_a_package_that_cannot_be_installed_is_said(clone: Path) -> None:
    with pytest.raises(SetupError) as caught:
        environment._run(["/bin/sh", "-c", "echo THESE PACKAGES DO NOT MATCH THE HASHES; exit 1"])
    assert "error[packages-failed]" in str(caught.value)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in str(caught.value)


def test_the_command_starts_from_a_place_with_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ('a "clone" of $HOME\'s ' + "x" * 120) / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(sys.executable)
    package = tmp_path / "cf_infra"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    environment._write_command(place / "cf-infra", place / "python")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "cf_infra.py").write_text("raise SystemExit('imported from the current folder')")
    done = subprocess.run(
        [place / "cf-infra", "plan", "a b"], cwd=tmp_path / "work", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "['plan', 'a b']\n", "")


# --- the parts ----------------------------------------------------------------------------------------------------


def test_parts_run_side_by_side_with_their_name_in_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = 'until [ -e "$1" ]; do sleep 0.01; done; touch "$2"; echo done >&2; exit "$3"'
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    # Each waits for the other's file.
    codes = parts.run(
        {
            "one": ["/bin/sh", "-c", f'touch "$2"; {wait}', "sh", second, first, "0"],
            "two": ["/bin/sh", "-c", wait, "sh", first, second, "4"],
        },
        tmp_path,
    )
    assert codes == {"one": 0, "two": 4}
    assert sorted(capsys.readouterr().err.splitlines()) == ["[one] done", "[two] done"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_set_up_ends_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tools import parts, talk\n"
        "talk.end_on_sigterm(); parts.PATIENCE_SECONDS = 0.2\n"
        "parts.run({'slow': ['/bin/sh', '-c', 'echo $$ >&2; exec sleep 60']}, Path.cwd())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    child = int(process.stderr.readline().removeprefix("[slow] "))
    process.send_signal(number)
    _, rest = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in rest
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_part_that_fails_fails_the_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "commands", lambda: {"tools": ["/bin/false"], "sandbox": ["/bin/true"]})
    monkeypatch.setattr(parts, "only_one", lambda: cache.building(tmp_path / "it"))
    monkeypatch.setattr(parts, "end_on_sigterm", lambda: None)
    assert parts.main() == 1
    assert "set-up: failed in tools;" in capsys.readouterr().err


def test_a_second_set_up_of_a_clone_waits(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from tools import parts\nwith parts.only_one(Path({str(tmp_path)!r})): pass"
    with parts.only_one(tmp_path):
        other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert other.stderr is not None
        assert "waiting for it" in other.stderr.readline()
        assert other.poll() is None
    assert other.wait(timeout=10) == 0
    other.stderr.close()


# --- the files of the project -------------------------------------------------------------------------------------


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        "run": project["dependencies"],
        "dev": [*project["dependencies"], *project["optional-dependencies"]["dev"]],
    }
    for lock, wanted in names.items():
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        locked = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
        assert {re.split(r"[<>=[]", name)[0].lower() for name in wanted} <= locked
        assert text.count("\n    --hash=sha256:") >= len(locked)
        assert "://" not in text


def test_make_shows_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown = re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE)
    declared = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert sorted(shown) == sorted(declared)


def test_an_installed_wheel_brings_what_the_clone_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("cf_infra-*.whl"))).namelist())
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "cf_infra",
            "modules",
            "sandbox",
            "tools",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = listed.stdout.splitlines()
    assert len(expected) > 50
    assert {
        name if name.startswith("cf_infra/") else f"cf_infra/_project/{name}" for name in expected
    } <= names


# --- locks/


def test_committed_locks_name_what_is_pinned() -> None:
    """Whoever moves a pin in tools/ has to move the lock, too."""
    for name, constraint in CONSTRAINTS.items():
        lock = (ROOT / "locks" / f"{name}.lock.hcl").read_text(encoding="utf-8")
        assert f'"registry.opentofu.org/{TOOLS[name].provider}"' in lock
        assert f'version     = "{TOOLS[name].version}"' in lock and f'constraints = "{constraint}"' in lock
        assert '"h1:' in lock


def test_hashes_of_one_version_are_kept_and_those_of_another_are_not() -> None:
    made = 'provider "x" {\n  version     = "2"\n  hashes = [\n    "h1:b=",\n  ]\n}\n'
    same = made.replace("h1:b=", "h1:a=")
    assert re.findall(r'"(h1:.*)"', merged(made, same)) == ["h1:a=", "h1:b="]
    assert re.findall(r'"(h1:.*)"', merged(made, same.replace('"2"', '"1"'))) == ["h1:b="]
    assert merged(made, "") == HEAD + made
