"""Gives the new cloud what a donor's cloud already has: public images and flavors, an external network, quotas."""

from __future__ import annotations

import os

import openstack
import specification
from openstack.connection import Connection
from specification import Specification

IMAGE_BYTES = 64 * 1024
EXTERNAL_CIDR = "203.0.113.0/24"  # reserved for documentation by RFC 5737
UNLIMITED = -1


def main() -> None:
    """Make everything; run once, on an empty cloud."""
    spec = specification.load()
    cloud = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        region_name=specification.REGION,
        auth={
            "auth_url": spec.url("keystone"),
            "username": "admin",
            "password": spec.passwords["admin"],
            "project_name": "admin",
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
    )
    images(cloud, spec)
    flavors(cloud, spec)
    external_network(cloud, spec)
    default_rules(cloud)
    quotas(cloud)


def images(cloud: Connection, spec: Specification) -> None:
    """Small public images: nothing boots, so their content does not matter."""
    for name in spec.seed["images"]:
        cloud.create_image(
            name,
            data=os.urandom(IMAGE_BYTES),
            disk_format="raw",
            container_format="bare",
            visibility="public",
            allow_duplicates=True,
            wait=True,
            timeout=30,
        )


def flavors(cloud: Connection, spec: Specification) -> None:
    """Public flavors, with their GPUs as a PCI alias."""
    for wanted in spec.seed["flavors"]:
        flavor = cloud.compute.create_flavor(
            name=wanted["name"], vcpus=wanted["vcpus"], ram=wanted["memory_mib"], disk=wanted["disk_gib"]
        )
        if wanted["gpus"]:
            cloud.compute.create_flavor_extra_specs(
                flavor, {"pci_passthrough:alias": f"{wanted['gpu_alias']}:{wanted['gpus']}"}
            )


def external_network(cloud: Connection, spec: Specification) -> None:
    """The network to the outside that routers connect to."""
    name = spec.seed["external_network"]
    if name is None:
        return
    network = cloud.network.create_network(
        name=name,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network=specification.PHYSICAL_NETWORK,
    )
    cloud.network.create_subnet(
        network_id=network.id, name=name, ip_version=4, cidr=EXTERNAL_CIDR, is_dhcp_enabled=False
    )


def default_rules(cloud: Connection) -> None:
    """What every new security group lets out. Neutron's migrations make these rules, and they do not run on SQLite."""
    for ethertype in ("IPv4", "IPv6"):
        cloud.network.create_default_security_group_rule(
            direction="egress", ethertype=ethertype, used_in_default_sg=True, used_in_non_default_sg=True
        )


def quotas(cloud: Connection) -> None:
    """The donated project is limited by the hosts alone."""
    project = cloud.identity.find_project("donated", ignore_missing=False)
    cloud.compute.update_quota_set(project.id, instances=UNLIMITED, cores=UNLIMITED, ram=UNLIMITED)
    network_things = ("networks", "subnets", "ports", "routers", "security_groups", "security_group_rules")
    cloud.network.update_quota(project.id, **dict.fromkeys(network_things, UNLIMITED))


if __name__ == "__main__":
    main()
