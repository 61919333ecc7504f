"""modules/ without a cloud: both programs take them, they read well, and what would go wrong later is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from module_root import (
    JSON,
    MODULES,
    NAMES,
    PASSWORDS,
    PROVIDERS,
    Program,
    Root,
    compiled,
    examples,
    unexpected,
    values_file,
)

pytestmark = pytest.mark.programs

CONFIGURATIONS = ["admin", "member", "github", "app", *(f"examples-{name}" for name in PROVIDERS)]


def folder_of(name: str, base: Path) -> Path:
    provider = name.removeprefix("examples-")
    return compiled(name, base / name) if provider == name else examples(base / name, provider)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("program", ["tofu", "terraform"])
def test_valid_and_without_warnings(
    program: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = Root(folder_of(name, tmp_path), request.getfixturevalue(program))
    root.init()
    answer = json.loads(root.run("validate", "-json", check=False))
    assert answer["valid"], unexpected(answer["diagnostics"])
    assert unexpected(answer["diagnostics"]) == []


def test_formatted(tofu: Program) -> None:
    assert Root(MODULES, tofu).run("fmt", "-check", "-recursive", check=False) == "", (
        "run `tofu fmt -recursive modules`"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_input_and_output_is_described(name: str) -> None:
    for file, kind in (("variables.tf", "variable"), ("outputs.tf", "output")):
        text = (MODULES / name / file).read_text(encoding="utf-8")
        blocks = re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', text, re.M | re.S)
        assert blocks, f"{name}/{file} has none"
        assert [block for block, body in blocks if "  description = " not in body] == []
        if kind == "variable":
            assert [block for block, body in blocks if not re.search(r"^  type +=", body, re.M)] == []


# ------------------------------------------------------------------------------------------ refused values


@pytest.fixture(scope="module")
def member_root(tofu: Program, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A tenant of a cloud that is not there: values are checked before anybody asks for it."""
    folder = compiled("member", tmp_path_factory.mktemp("refused") / "member")
    clouds = {
        "clouds": {
            "nowhere": {"auth": {"auth_url": "http://127.0.0.1:9/v3", "username": "u", "password": "p"}}
        }
    }
    (folder / "clouds.yaml").write_text(json.dumps(clouds))
    root = Root(
        folder, tofu, {"OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"), "TF_VAR_cloud": "nowhere"}
    )
    root.init()
    return root


MACHINE = "pytorch_scatter-feedstock/cpu-small/2"


def set_at(values: Any, path: list[str], value: Any) -> None:
    for step in path[:-1]:
        values = values[step]
    values[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["machines", MACHINE, "hostname"], "pytorch_scatter", "A host name has 1 to 63 small letters"),
        (["machines", MACHINE, "hostname"], "a" * 64, "A host name has 1 to 63 small letters"),
        (
            ["machines", MACHINE, "metadata", "grant"],
            "x" * 256,
            "Nova takes metadata keys and values of at most 255",
        ),
        (["credentials", "cirun/1", "roles"], ["member"], "The role `member` implies `reader`"),
        (
            ["credentials", "cirun/1", "expires_at"],
            "2040-01-01T00:00:00+01:00",
            "Write the end of a credential in UTC",
        ),
        (["image_digests"], {"ubuntu": "0"}, "`sha256` of an image has 64 hexadecimal digits"),
        (["network", "cidr"], "10.20.0.0", "Write the subnet's addresses in CIDR form"),
        (["network", "ssh_from"], ["everywhere"], "Write address ranges in CIDR form"),
        (["flavors", "cpu-small", "gpus"], 1, "A flavor with GPUs needs `gpu_alias`"),
    ],
)
def test_what_would_go_wrong_later_is_refused(
    member_root: Root, path: list[str], value: Any, message: str
) -> None:
    values: JSON = json.loads(values_file("member").read_text(encoding="utf-8"))
    set_at(values, path, value)
    member_root.write_values(values)
    said = member_root.run("plan", "-input=false", "-no-color", check=False)
    assert message in re.sub(r"\s+", " ", said)


def test_short_password_is_refused_and_not_shown(tofu: Program, tmp_path: Path) -> None:
    root = Root(
        compiled("admin", tmp_path / "admin"),
        tofu,
        {
            "TF_VAR_cloud": "nowhere",
            "TF_VAR_auth_url": "http://127.0.0.1:9/v3",
            "TF_VAR_passwords": json.dumps({**PASSWORDS, "provisioner": "hunter2"}),
        },
    )
    root.init()
    said = root.run("plan", "-input=false", "-no-color", check=False)
    assert "must have at least 16 characters" in said
    assert "hunter2" not in said and PASSWORDS["cirun/1"] not in said
