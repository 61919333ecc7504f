"""Values that we derive, and those that people put into a variable."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)
from keys_of_tests import RSA_PEM
from roots import PROJECT

from cf_infra.diagnostics import Failure, render
from cf_infra.making import DERIVED, fields, from_source, own_fields
from cf_infra.model import Credential, CredentialKind, SinkSettings
from cf_infra.rules_credentials import KINDS_AT

KEY = bytes(range(32))
C = CredentialKind


@pytest.mark.parametrize("kind", sorted(DERIVED))
def test_the_same_key_name_and_generation_give_the_same_value(kind: CredentialKind) -> None:
    found, secret = fields(kind, KEY, "drone", "218")
    assert fields(kind, KEY, "drone", "218") == (found, secret)
    assert secret
    assert secret <= found.keys()
    hidden = {found[name] for name in secret}
    for other in (
        fields(kind, KEY, "drone", "218.1"),
        fields(kind, KEY, "drone-2", "18"),
        fields(kind, bytes(32), "drone", "218"),
        *(fields(k, KEY, "drone", "218") for k in DERIVED - {kind}),
    ):
        assert not hidden & {other[0][name] for name in other[1]}


def test_the_forms_of_derived_values() -> None:
    assert [len(fields(kind, KEY, "a", "1")[0][name]) for kind, name in (
        (C.DRONE_RPC_SECRET, "rpc_secret"), (C.DRONE_TOKEN, "token"), (C.SECRET, "value"))] == [64, 32, 43]  # fmt: skip
    machine = Credential(kind=C.DRONE_TOKEN, username="robot", server="https://drone.example")
    found, secret = fields(C.DRONE_TOKEN, KEY, "a", "1", machine)
    assert found["username"] == "robot"
    assert found["server"] == "https://drone.example"
    assert secret == {"token"}


def test_a_role_has_no_value(arn: str = "arn:aws:iam::123456789012:role/ci") -> None:
    assert fields(C.AWS_ROLE, KEY, "ci", "1", Credential(kind=C.AWS_ROLE, role_arn=arn)) == (
        {"role_arn": arn},
        frozenset(),
    )


def test_what_others_make_is_not_derived() -> None:
    with pytest.raises(ValueError, match="bug in cf-infra"):
        fields(C.S3_KEY, KEY, "state", "1")


def test_the_ssh_key_is_one_for_everybody(tmp_path: Path) -> None:
    found, secret = fields(C.SSH_KEY, KEY, "drone", "218")
    assert secret == {"private_key"}
    key = load_ssh_private_key(found["private_key"].encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    path = tmp_path / "key"
    path.write_text(found["private_key"])
    path.chmod(0o600)
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not there: that OpenSSH itself takes the key was NOT tested.")
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True)
    assert said.stdout.split() == found["public_key"].split(), said.stderr


def test_every_kind_has_its_row_in_the_tables() -> None:
    """docs/credentials.md says of each kind where it may stand; `check` does what it says."""
    page = (PROJECT / "docs" / "credentials.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    stands = {row[0].strip(" `"): row[2] for row in rows if len(row) == 5}
    assert {kind: {one.strip() for one in text.split(",")} for kind, text in stands.items()} == {
        str(kind): {str(stack) for stack, kinds in KINDS_AT.items() if kind in kinds} for kind in C
    }
    assert {row[0].strip(" `") for row in rows if len(row) == 3} == set(C), (
        "how each is proven, and what ends"
    )


def test_every_sink_has_its_row_with_its_keys() -> None:
    page = (PROJECT / "docs" / "sinks.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {
        row[0].strip(" `"): set(re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", row[2]))) for row in rows
    }
    known = {
        get_args(one.model_fields["kind"].annotation)[0]: set(one.model_fields) - {"kind", "holders"}
        for one in get_args(get_args(SinkSettings)[0])
    }
    assert told == known


# ------------------------------------------------------------------------------------------------- from people


def credential(kind: CredentialKind, **more: object) -> Credential:
    return Credential.model_validate({"kind": kind, "source": "env VALUE", **more})


def taken(found: Credential, value: str) -> tuple[dict[str, str], frozenset[str]]:
    return from_source(found, {"VALUE": value}, stack="lab", name="one")


def refused(found: Credential, value: str) -> str:
    with pytest.raises(Failure) as caught:
        taken(found, value)
    text = render(caught.value.diagnostics)
    assert "error[bad-source]" in text
    return text


def test_a_missing_variable_tells_who_can_make_it_and_until_when() -> None:
    with pytest.raises(Failure) as caught:
        from_source(
            credential(C.GITHUB_TOKEN),
            {"VALUE": " "},
            stack="lab",
            name="apps",
            contacts=["carol", "bob"],
            due=date(2027, 1, 31),
        )
    [fault] = caught.value.diagnostics
    assert (fault.code, fault.path) == ("no-source", ("credentials", "apps", "source"))
    assert "VALUE" in fault.detail
    assert "2027-01-31" in fault.detail
    assert "bob, carol" in fault.detail
    assert "read -rs VALUE" in fault.hint
    with pytest.raises(Failure, match="nobody whom the stack file names"):
        from_source(credential(C.GITHUB_TOKEN), {}, stack="lab", name="apps")


OWN_SSH = fields(C.SSH_KEY, KEY, "own", "1")[0]["private_key"]
USER = {
    "auth_url": "https://cloud.example/v3",
    "username": "u",
    "password": "long-password",
    "project_id": "p",
    "domain_id": "d",
}
AWS = {
    "AccessKey": {
        "UserName": "ci",
        "AccessKeyId": "AKIA0",
        "SecretAccessKey": "s3cr3ts3cr3t",
        "Status": "Active",
    }
}


@pytest.mark.parametrize(
    ("found", "value", "secret"),
    [
        (credential(C.GITHUB_TOKEN, repository=".cirun"), "ghp_" + "x" * 36, {"token"}),
        (credential(C.GITHUB_APP_KEY, app_id=7), RSA_PEM, {"private_key"}),
        (credential(C.GITHUB_APP_KEY, app_id=7), RSA_PEM.strip().replace("\n", "\\n"), {"private_key"}),
        (credential(C.S3_KEY, bucket="bkt"), '{"access_key_id": "a", "secret_access_key": "s"}', {"secret_access_key"}),
        (credential(C.AWS_ACCESS_KEY), json.dumps(AWS), {"secret_access_key"}),
        (credential(C.USER), json.dumps(USER), {"password"}),
        (credential(C.SSH_KEY), OWN_SSH, {"private_key"}),
        (credential(C.SECRET), "a value with\nseveral lines", {"value"}),
        (credential(C.DRONE_RPC_SECRET), "0123456789abcdef", {"rpc_secret"}),
        (credential(C.DRONE_TOKEN, username="robot"), "0123456789abcdef" * 2, {"token"}),
    ],
    ids=range(10),  # keys are made anew in each process, so they are no part of a test's name
)  # fmt: skip
def test_what_people_make_is_taken(found: Credential, value: str, secret: set[str]) -> None:
    got, hidden = taken(found, value)
    assert hidden == secret
    assert own_fields(found).items() <= got.items()
    assert taken(found, f"\n{value}\n") == (got, hidden), "blanks around it are not a part of it"
    if found.kind is C.GITHUB_APP_KEY:
        assert got["private_key"] == RSA_PEM
    if found.kind is C.AWS_ACCESS_KEY:
        assert got["access_key_id"] == "AKIA0"


ELLIPTIC = generate_private_key(SECP256R1())


def pem(form: PrivateFormat) -> str:
    return ELLIPTIC.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (C.GITHUB_TOKEN, "Zq81 two words of a secret", "it has blanks or is too short"),
        (C.GITHUB_APP_KEY, "Zq81" * 20, "no private key in PEM form"),
        (C.GITHUB_APP_KEY, pem(PrivateFormat.PKCS8), "RSA keys, and this is another one"),
        (C.SSH_KEY, "Zq81" * 20, "no private key in OpenSSH's form"),
        (C.SSH_KEY, pem(PrivateFormat.OpenSSH), "another key than ed25519"),
        (C.S3_KEY, "Zq81", "it is not JSON"),
        (C.S3_KEY, '["Zq81"]', "no JSON object"),
        (C.S3_KEY, '{"access_key_id": "Zq81"}', "it lacks secret_access_key"),
        (C.S3_KEY, '{"access_key_id": "a", "secret_access_key": "b", "Zq81": "c"}', "it has 1 more fields than"),
        (C.S3_KEY, '{"access_key_id": "a", "secret_access_key": ["Zq81"]}', "must be a text of one line"),
        (C.S3_KEY, '{"access_key_id": "a", "secret_access_key": "Zq81\\n"}', "must be a text of one line"),
        (C.DRONE_RPC_SECRET, "Zq81", "less than 16 characters"),
        (C.DRONE_TOKEN, "Zq81" * 8, "not 32 hexadecimal digits"),
        (C.SECRET, "Zq81", "less than 8 characters"),
        (C.SECRET, "Zq81" * 20_000, "more than 48 KB"),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_something_else_is_told_and_never_shown(kind: CredentialKind, value: str, why: str) -> None:
    text = refused(credential(kind), value)
    assert why in text
    assert "Zq81" not in text
    assert "it must be" in text
