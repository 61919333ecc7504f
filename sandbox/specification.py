"""What the sandbox is made of, read from `sandbox.json`, which cf_infra/sandbox.py writes.

Every process of the sandbox gets that file's path in CF_INFRA_SANDBOX_FILE.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESS = "127.0.0.1"
REGION = "RegionOne"
# In the order of their ports, from the base port on.
SERVICES = ("keystone", "placement", "glance", "neutron", "nova")
CATALOG_TYPES = {"placement": "placement", "glance": "image", "neutron": "network", "nova": "compute"}
# The flat physical network behind the seeded external network.
PHYSICAL_NETWORK = "public"
# NVIDIA's PCI vendor id, and the product ids of the models that conda-forge has had. Nova tells devices apart by
# these; other models get an invented id (f000, f001, ...), which is all the scheduler needs.
NVIDIA = "10de"
KNOWN_PRODUCTS = {"tesla-v100": "1db4"}  # Tesla V100 PCIe 16 GB


@dataclass(frozen=True)
class GpuModel:
    """One PCI alias: how flavors name a GPU model, and what Nova and Placement know it as."""

    alias: str
    product_id: str
    resource_class: str


@dataclass(frozen=True)
class Specification:
    """The content of `sandbox.json`."""

    live: Path
    base_port: int
    hosts: dict[str, dict[str, Any]]
    seed: dict[str, Any]
    passwords: dict[str, str]

    def port(self, service: str) -> int:
        """The TCP port of a service."""
        return self.base_port + SERVICES.index(service)

    def url(self, service: str) -> str:
        """The address of a service as its endpoint in Keystone's catalog gives it."""
        path = {"keystone": "/v3", "nova": "/v2.1"}.get(service, "")
        return f"http://{ADDRESS}:{self.port(service)}{path}"

    def database(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"sqlite:///{self.live}/db/{name}.sqlite?timeout=30"

    def gpu_models(self) -> list[GpuModel]:
        """The GPU models of all hosts and of the flavors that are there from the start, by alias."""
        on_hosts = {gpu["alias"] for host in self.hosts.values() for gpu in host["gpus"]}
        aliases = sorted(
            on_hosts | {flavor["gpu_alias"] for flavor in self.seed["flavors"] if flavor["gpus"]}
        )
        unknown = [alias for alias in aliases if alias not in KNOWN_PRODUCTS]
        return [
            GpuModel(
                alias=alias,
                product_id=KNOWN_PRODUCTS.get(alias) or f"{0xF000 + unknown.index(alias):04x}",
                resource_class="CUSTOM_" + re.sub(r"[^A-Z0-9]", "_", alias.upper()),
            )
            for alias in aliases
        ]


def load() -> Specification:
    """Read the file that CF_INFRA_SANDBOX_FILE names."""
    content = json.loads(Path(os.environ["CF_INFRA_SANDBOX_FILE"]).read_text())
    return Specification(
        live=Path(content["state"]) / "live",
        base_port=content["base_port"],
        hosts={host["name"]: host for host in content["hosts"]},
        seed=content["seed"],
        passwords=content["passwords"],
    )


def node_uuid(host: str) -> str:
    """A compute node's id: the same after every restart, as Nova demands, without a file per host."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, host))
