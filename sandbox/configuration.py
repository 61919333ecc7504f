"""Writes the configuration of all services into the sandbox's `live/etc/`; run once, when the sandbox is made.

The options are those of an ordinary installation, apart from what makes it small: SQLite instead of a database
server, oslo.messaging's in-memory `fake://` transport instead of a broker, and a hypervisor driver that boots nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import specification
from specification import ADDRESS, REGION, Specification

FOLDERS = (
    *("db", "lock", "images", "glance-staging", "glance-tasks", "nova", "neutron"),
    *("keys/fernet", "keys/receipt", "keys/credential"),
)
NO_NOTIFICATIONS = {"driver": "noop"}


def write(spec: Specification) -> None:
    """Make the folders and write every file."""
    for folder in FOLDERS:
        (spec.live / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, sections in {
        "keystone/keystone.conf": keystone(spec),
        "placement/placement.conf": placement(spec),
        "glance/glance-api.conf": glance(spec),
        "neutron/neutron.conf": neutron(spec),
        "nova/nova.conf": nova(spec),
    }.items():
        file = spec.live / "etc" / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(ini(sections))
    stock = Path(sys.prefix) / "etc"
    for path in ("glance/glance-api-paste.ini", "neutron/api-paste.ini", "nova/api-paste.ini"):
        shutil.copy(stock / path, spec.live / "etc" / path)
    # Nova refuses to restart a compute service that finds no identity; the driver gives every host its own.
    (spec.live / "nova" / "compute_id").write_text(specification.node_uuid(next(iter(spec.hosts))))


def ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    """oslo.config's format; a list becomes one line per value."""
    lines: list[str] = []
    for name, options in sections.items():
        lines.append(f"[{name}]")
        for key, value in options.items():
            values = value if isinstance(value, list) else [value]
            lines.extend(f"{key} = {str(one).lower() if isinstance(one, bool) else one}" for one in values)
    return "\n".join(lines) + "\n"


def service_login(spec: Specification, user: str) -> dict[str, object]:
    """How one service logs in to Keystone to call another."""
    return {
        "auth_type": "password",
        "auth_url": spec.url("keystone").removesuffix("/v3") + "/",
        "username": user,
        "password": spec.passwords["service"],
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def token_check(spec: Specification, user: str) -> dict[str, object]:
    """keystonemiddleware: how a service checks its callers' tokens."""
    return {
        **service_login(spec, user),
        "www_authenticate_uri": spec.url("keystone").removesuffix("/v3") + "/",
        "service_token_roles": "service",
        "service_token_roles_required": True,
        "service_type": specification.CATALOG_TYPES[user],
        # A revoked token works until the cache forgets it: 300 s by default, far too long for a test of revocation.
        "token_cache_time": 5,
    }


def keystone(spec: Specification) -> dict[str, dict[str, object]]:
    """keystone.conf"""
    keys = spec.live / "keys"
    return {
        "DEFAULT": {"use_stderr": True, "transport_url": "fake://"},
        "oslo_messaging_notifications": dict(NO_NOTIFICATIONS),
        "database": {"connection": spec.database("keystone")},
        # The cheapest hash: these passwords are random and live as long as the sandbox. The default costs a quarter of
        # a second of processor time at every login. 72 is as much as bcrypt takes; with more Keystone complains.
        "identity": {"password_hash_rounds": 4, "max_password_length": 72},
        "token": {"provider": "fernet"},
        "fernet_tokens": {"key_repository": keys / "fernet"},
        "fernet_receipts": {"key_repository": keys / "receipt"},
        "credential": {"key_repository": keys / "credential"},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "oslo_policy": {"enforce_scope": True, "enforce_new_defaults": True},
    }


def placement(spec: Specification) -> dict[str, dict[str, object]]:
    """placement.conf"""
    return {
        "DEFAULT": {"use_stderr": True},
        "api": {"auth_strategy": "keystone"},
        "placement_database": {"connection": spec.database("placement"), "sync_on_startup": True},
        "placement": {"randomize_allocation_candidates": True},
        "keystone_authtoken": token_check(spec, "placement"),
    }


def glance(spec: Specification) -> dict[str, dict[str, object]]:
    """glance-api.conf"""
    return {
        "DEFAULT": {
            "use_stderr": True,
            "transport_url": "fake://",
            "enabled_backends": "fs:file",
            "public_endpoint": spec.url("glance"),
        },
        "oslo_messaging_notifications": dict(NO_NOTIFICATIONS),
        "database": {"connection": spec.database("glance")},
        "glance_store": {"default_backend": "fs"},
        "fs": {"filesystem_store_datadir": spec.live / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": spec.live / "glance-staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": spec.live / "glance-tasks"},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": spec.live / "etc" / "glance" / "glance-api-paste.ini",
        },
        "oslo_concurrency": {"lock_path": spec.live / "lock" / "glance"},
        "keystone_authtoken": token_check(spec, "glance"),
    }


def neutron(spec: Specification) -> dict[str, dict[str, object]]:
    """neutron.conf, with the settings of its ML2 plugin"""
    return {
        "DEFAULT": {
            "use_stderr": True,
            "state_path": spec.live / "neutron",
            "bind_host": ADDRESS,
            "bind_port": spec.port("neutron"),
            "api_paste_config": spec.live / "etc" / "neutron" / "api-paste.ini",
            "auth_strategy": "keystone",
            "core_plugin": "ml2",
            "service_plugins": "router,trunk,segments",
            "transport_url": "fake://",
            "dhcp_agent_notification": False,
            # Hosts have an agent on paper only (serve.py); it must never be found dead.
            "agent_down_time": 2_000_000,
            "allow_automatic_dhcp_failover": False,
            "allow_automatic_l3agent_failover": False,
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
        },
        "oslo_messaging_notifications": dict(NO_NOTIFICATIONS),
        "database": {"connection": spec.database("neutron")},
        "oslo_concurrency": {"lock_path": spec.live / "lock" / "neutron"},
        "nova": service_login(spec, "nova"),
        "placement": service_login(spec, "placement"),
        "ml2": {
            "type_drivers": "flat,vlan,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "openvswitch",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": specification.PHYSICAL_NETWORK},
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "securitygroup": {"enable_security_group": True, "firewall_driver": "openvswitch"},
        "keystone_authtoken": token_check(spec, "neutron"),
    }


def nova(spec: Specification) -> dict[str, dict[str, object]]:
    """nova.conf, for all of Nova's services"""
    return {
        "DEFAULT": {
            "use_stderr": True,
            "state_path": spec.live / "nova",
            "instances_path": spec.live / "nova" / "instances",
            "host": next(iter(spec.hosts)),
            "my_ip": ADDRESS,
            "transport_url": "fake://",
            "compute_driver": "gpu_driver.GpuDriver",
            # What a host declares is what its servers get, all together: the defaults allow 4 vCPUs per real one.
            # Nova still keeps its default of 512 MiB of memory per host for itself (reserved_host_memory_mb).
            "initial_cpu_allocation_ratio": 1.0,
            "initial_ram_allocation_ratio": 1.0,
            "initial_disk_allocation_ratio": 1.0,
            # Nothing ever plugs a port, so nothing would report it plugged.
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "allow_resize_to_same_host": True,
            "resume_guests_state_on_host_boot": True,
            "update_resources_interval": 30,
            "sync_power_state_interval": -1,
            "graceful_shutdown_timeout": 3,
            "manager_shutdown_timeout": 0,
        },
        "oslo_messaging_notifications": dict(NO_NOTIFICATIONS),
        "api_database": {"connection": spec.database("nova_api")},
        "database": {"connection": spec.database("nova_cell1")},
        "wsgi": {"api_paste_config": spec.live / "etc" / "nova" / "api-paste.ini"},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": -1},
        "filter_scheduler": {
            "available_filters": "nova.scheduler.filters.all_filters",
            "enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,"
            "ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,PciPassthroughFilter,NUMATopologyFilter",
            "pci_in_placement": True,
        },
        "pci": pci(spec),
        "vnc": {"enabled": False},
        "oslo_concurrency": {"lock_path": spec.live / "lock" / "nova"},
        "key_manager": {"backend": "nova.keymgr.conf_key_mgr.ConfKeyManager"},
        "service_user": {"send_service_user_token": True, **service_login(spec, "nova")},
        "placement": service_login(spec, "placement"),
        "neutron": {**service_login(spec, "neutron"), "service_metadata_proxy": False},
        "glance": {"region_name": REGION},
        "cinder": service_login(spec, "nova"),
        "keystone_authtoken": token_check(spec, "nova"),
    }


def pci(spec: Specification) -> dict[str, object]:
    """Which devices may be passed through, and the names that flavors ask for them by.

    All hosts share this file, so a device is known by its model; the addresses are in each host's inventory.
    """
    devices: list[str] = []
    aliases: list[str] = []
    for model in spec.gpu_models():
        device = {
            "vendor_id": specification.NVIDIA,
            "product_id": model.product_id,
            "resource_class": model.resource_class,
        }
        devices.append(json.dumps(device))
        aliases.append(json.dumps({"name": model.alias, "device_type": "type-PCI", **device}))
    return {"report_in_placement": True, "device_spec": devices, "alias": aliases}


if __name__ == "__main__":
    write(specification.load())
