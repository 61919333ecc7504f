"""The peer in Python: python synth.py RESOLVED OUTDIR plain|best. The same as synth.js; see there."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsii
from cdktn import (
    App,
    TerraformProvider,
    TerraformProviderGeneratorMetadata,
    TerraformResource,
    TerraformStack,
)

SERVER = "openstack_compute_instance_v2"


class Server(TerraformResource):
    """A class in the form of generated bindings, cut down to the attributes in use."""

    def __init__(self, scope: TerraformStack, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(scope, name, terraform_resource_type=SERVER)
        self._attributes = attributes

    @jsii.member(jsii_name="synthesizeAttributes")
    def _synthesize_attributes(self) -> Mapping[str, Any]:
        return self._attributes


def with_overrides(scope: TerraformStack, name: str, attributes: Mapping[str, Any]) -> None:
    resource = TerraformResource(scope, name, terraform_resource_type=SERVER)
    for attribute, value in attributes.items():
        resource.add_override(attribute, value)


def machines(file: Path) -> list[dict[str, str]]:
    found = json.loads(file.read_bytes())["machines"].values()
    return [{"id": m["key"].split("/")[0], "key": m["key"], "hostname": m["hostname"]} for m in found]


def attributes(machine: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": f"cf-farm-{machine['hostname']}",
        "flavor_id": "${openstack_compute_flavor_v2.gpu.id}",
        "image_id": "${data.openstack_images_image_v2.ubuntu.id}",
        "security_groups": ["${openstack_networking_secgroup_v2.farm.name}"],
        "user_data": f'${{replace(var.user_data, "@HOSTNAME@", "{machine["hostname"]}")}}',
        "config_drive": True,
        "metadata": {"managed_by": "cf-infra", "stack": "farm", "grant": machine["key"]},
        "network": [{"uuid": "${openstack_networking_network_v2.farm.id}"}],
    }


def synth(wanted: list[dict[str, str]], outdir: str, generic: bool) -> None:
    app = App(outdir=outdir, stack_traces=False)
    stack = TerraformStack(app, "farm")
    TerraformProvider(
        stack,
        "openstack",
        terraform_resource_type="openstack",
        terraform_generator_metadata=TerraformProviderGeneratorMetadata(provider_name="openstack"),
        terraform_provider_source="terraform-provider-openstack/openstack",
    )
    for machine in wanted:
        if generic:
            with_overrides(stack, machine["id"], attributes(machine))
        else:
            Server(stack, machine["id"], attributes(machine))
    app.synth()


def cpu_seconds() -> float:
    """Of this process and of the Node that jsii runs beside it (proc(5), stat, fields 4, 14 and 15)."""
    total = time.process_time()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def main() -> None:
    wanted = machines(Path(sys.argv[1]))
    cpu, begin = cpu_seconds(), time.perf_counter()
    synth(wanted, sys.argv[2], sys.argv[3] == "plain")
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu": cpu_seconds() - cpu}))


main()
