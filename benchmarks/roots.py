"""Root folders of any size: grants of ten lines each, and one stack that offers what they ask for.

The texts are made in a way that no two entries are alike and none needs quoting, as in a real grants.yaml.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from cf_infra import credentials, ledger, project
from cf_infra.credentials import History
from cf_infra.model import Credential
from cf_infra.resolve import ResolvedStack

TODAY = date(2026, 6, 1)
"""A day on which all of these grants hold."""
LAST_DAYS = date(2026, 12, 30)
"""A day on which all of them hold, and end within thirty days."""
STACK = "farm"
GPUS_PER_HOST = 8

_STACK = """\
version: 1
kind: openstack
rights: admin
cloud: {cloud}

donor:
  name: A server farm
  contacts: [someone]

images:
  ubuntu: {{name: {image}}}

offers:
  gpu:
    slice: {slice}
    image: ubuntu
{way}
hosts:
"""
_DEDICATED = "    via: direct\n    mode: dedicated\n"
_ON_DEMAND = "    via: cirun\n    mode: on-demand\n    max: 8\n    label: cirun-gpu\n"


def dedicated(root: Path, machines: int) -> Path:
    """A farm of eight-GPU hosts on which each grant has a machine of its own, an eighth of a host."""
    hosts = -(-machines // GPUS_PER_HOST)
    return _write(root, machines, _stack(_DEDICATED, hosts))


def resolved(root: Path, machines: int) -> Path:
    """The same as one JSON file: the resolved stack, which every program of the comparison reads."""
    folder = project.read(dedicated(root, machines), TODAY)
    path = root / "resolved.json"
    path.write_bytes(TypeAdapter(ResolvedStack).dump_json(folder.resolved().stacks[STACK]))
    return path


def with_credentials(root: Path, count: int) -> Path:
    """A member's project with many logins: one in ten is due on the day, one in ten is in its overlap."""
    names = [f"login-{number:05}" for number in range(count)]
    lines = "".join(f"  {name}: {{kind: application_credential, deliver: [file]}}\n" for name in names)
    root.mkdir(parents=True)
    (root / "stacks").mkdir()
    (root / "grants.yaml").write_text("version: 1\ngrants: []\n", encoding="utf-8")
    (root / "stacks" / f"{STACK}.yaml").write_text(_MEMBER + lines, encoding="utf-8")
    declared = Credential.model_validate({"kind": "application_credential", "deliver": ["file"]})
    known = {name: _history(name, declared, turn=index % 10) for index, name in enumerate(names)}
    (root / ledger.NAME).write_bytes(orjson.dumps(credentials.as_json(known)))
    return root


def _history(name: str, declared: Credential, turn: int) -> History:
    number = credentials.period_of(STACK, name, declared, TODAY)
    newest = number - 1 if turn == 0 else number
    proven = [credentials.Proof(str(newest - 1), date(2026, 1, 1), "key", "mark")] if turn == 1 else []
    proven.append(credentials.Proof(str(newest), TODAY, "key", "mark"))
    sent = credentials.Sent("file", "a file", str(newest), "2026-06-01T00:00:00+00:00", "mark")
    return History(tuple(proven), (), (sent,))


_MEMBER = """\
version: 1
kind: openstack
rights: member
cloud: sandbox
donor: {name: A lender, contacts: [someone]}
images: {ubuntu: {name: ubuntu}}
offers: {job: {flavor: m1, image: ubuntu, via: cirun, mode: on-demand, label: farm-job}}
credentials:
"""


def on_demand(root: Path, grants: int) -> Path:
    """One host whose machines all grants share, as in conda-forge's list of today."""
    return _write(root, grants, _stack(_ON_DEMAND, 1))


def changed(root: Path) -> None:
    """Change every grant of a folder: a year longer, and for jobs of pull requests as well."""
    file = root / "grants.yaml"
    text = file.read_text(encoding="utf-8").replace("    expires: 2027", "    expires: 2028")
    file.write_text(text.replace("pull_requests: false", "pull_requests: true"), encoding="utf-8")


def small(root: Path, machines: int, cloud: str) -> Path:
    """One host with a few small dedicated machines without a GPU, for a cloud that is really there."""
    shape = "{vcpus: 1, memory_gib: 1, disk_gib: 1}"
    head = _STACK.format(cloud=cloud, image="ubuntu-24.04", slice=shape, way=_DEDICATED)
    host = "  - {name: host-01, vcpus: 48, memory_gib: 512, disk_gib: 2000, reserved: {memory_gib: 12}}\n"
    return _write(root, machines, head + host)


def _stack(way: str, hosts: int) -> str:
    head = _STACK.format(cloud="farm", image="ubuntu-24.04", slice=f"1/{GPUS_PER_HOST}", way=way)
    return head + "".join(_host(number) for number in range(1, hosts + 1))


def _host(number: int) -> str:
    gpus = "".join(
        f'      - {{model: tesla-v100, pci: "{gpu:02x}:00.0", iommu_group: {gpu}}}\n'
        for gpu in range(GPUS_PER_HOST)
    )
    return (
        f"  - name: gpu-{number:05}\n    vcpus: 48\n    memory_gib: 512\n    disk_gib: 2000\n"
        f"    reserved: {{memory_gib: 16}}\n    gpus:\n{gpus}"
    )


def _write(root: Path, grants: int, stack: str) -> Path:
    (root / "stacks").mkdir(parents=True, exist_ok=True)
    (root / "stacks" / f"{STACK}.yaml").write_text(stack, encoding="utf-8")
    with (root / "grants.yaml").open("w", encoding="utf-8") as file:
        file.write("version: 1\ngrants:\n")
        file.writelines(_grant(number) for number in range(grants))
    return root


def _grant(number: int) -> str:
    day = number % 28 + 1
    return f"""\
  - feedstock: package-{number:06}
    resources: [gpu]
    reason: CUDA builds of release {number} exceed six hours on hosted agents
    request: https://github.com/conda-forge/admin-requests/pull/{number + 1}
    requested_by: maintainer-{number % 997}
    approved_by: [core-member-{number % 13}, core-member-{number % 11 + 20}]
    granted: 2026-01-{day:02}
    expires: 2027-01-{day:02}
    roles: [admin, maintain, write]
    pull_requests: false
"""
