"""Runs Keystone, Placement, Glance or Neutron: `bin/python serve.py SERVICE`.

At the first start the service makes its own database before it serves: importing a service takes most of its
start-up time, and this way it is imported once.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import Any

import specification
import sqlite  # noqa: F401  (for its effect on every connection)
from specification import ADDRESS, CATALOG_TYPES, REGION, Specification


def keystone(spec: Specification, first: bool) -> Any:
    """Keystone; at first with the cloud's users, projects, roles and catalog."""
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = f"{spec.live}/etc/keystone/"
    if first:
        _keystone_keys(spec)
    from keystone.wsgi import api

    if first:
        from keystone.common.sql import upgrades

        upgrades.offline_sync_database_to_version()
        _keystone_content(spec)
    return api.application


def _keystone_keys(spec: Specification) -> None:
    """What `keystone-manage fernet_setup`, `receipt_setup` and `credential_setup` do: a primary and a staged key."""
    from cryptography.fernet import Fernet

    for repository in ("fernet", "receipt", "credential"):
        for index in ("0", "1"):
            file = spec.live / "keys" / repository / index
            file.write_bytes(Fernet.generate_key())
            file.chmod(0o600)


def _keystone_content(spec: Specification) -> None:
    from keystone.cmd import bootstrap
    from keystone.common import provider_api

    # The application has loaded the backends already, and a second time is an error.
    bootstrap.backends.load_backends = lambda: None
    base = bootstrap.Bootstrapper()
    base.admin_username = base.project_name = base.admin_role_name = "admin"
    base.admin_password = spec.passwords["admin"]
    base.region_id = REGION
    base.service_name = "keystone"
    base.public_url = base.internal_url = base.admin_url = spec.url("keystone")
    base.immutable_roles = True
    base.bootstrap()

    providers = provider_api.ProviderAPIs
    service_project = _project(providers, "service", "The services' own accounts")
    for name, catalog_type in CATALOG_TYPES.items():
        roles = (base.admin_role_id, base.service_role_id)
        _user(providers, name, spec.passwords["service"], service_project, roles)
        _endpoints(providers, name, catalog_type, spec.url(name))
    donated = _project(providers, "donated", "What a donor gives: one project and nothing else")
    _user(providers, "donated", spec.passwords["member"], donated, (base.member_role_id, base.reader_role_id))


def _project(providers: Any, name: str, description: str) -> str:
    project = {"id": uuid.uuid4().hex, "name": name, "domain_id": "default", "enabled": True}
    providers.resource_api.create_project(project["id"], {**project, "description": description})
    return str(project["id"])


def _user(providers: Any, name: str, password: str, project: str, roles: tuple[str, ...]) -> None:
    account = {"name": name, "password": password, "domain_id": "default", "enabled": True}
    user = providers.identity_api.create_user({**account, "default_project_id": project})
    for role in roles:
        providers.assignment_api.add_role_to_user_and_project(user["id"], project, role)


def _endpoints(providers: Any, name: str, catalog_type: str, url: str) -> None:
    service = {"id": uuid.uuid4().hex, "name": name, "type": catalog_type, "enabled": True}
    providers.catalog_api.create_service(service["id"], service)
    for interface in ("public", "internal", "admin"):
        endpoint = {"id": uuid.uuid4().hex, "service_id": service["id"], "region_id": REGION, "enabled": True}
        providers.catalog_api.create_endpoint(
            endpoint["id"], {**endpoint, "interface": interface, "url": url}
        )


def placement(spec: Specification, _first: bool) -> Any:
    """Placement; it makes its database itself (sync_on_startup)."""
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = f"{spec.live}/etc/placement"
    from placement.wsgi import api

    return api.application


def glance(spec: Specification, first: bool) -> Any:
    """Glance."""
    os.environ["OS_GLANCE_CONFIG_DIR"] = f"{spec.live}/etc/glance"
    if first:
        from glance.cmd import manage
        from glance.common import config
        from glance.common.wsgi_app import CONF

        config.set_config_defaults()
        CONF([], project="glance", default_config_files=[f"{spec.live}/etc/glance/glance-api.conf"])
        manage.DbCommands().upgrade()
    from glance.wsgi import api

    return api.application


def neutron(spec: Specification, first: bool) -> Any:
    """Neutron, with an agent on paper for every host."""
    os.environ["OS_NEUTRON_CONFIG_DIR"] = f"{spec.live}/etc/neutron/"
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    if first:
        # Neutron's migrations alter constraints, which SQLite cannot. Its own models give the same tables.
        import sqlalchemy
        from neutron.db.migration.models import head

        head.get_metadata().create_all(sqlalchemy.create_engine(spec.database("neutron")))
    from neutron.wsgi import api
    from neutron_lib import context
    from neutron_lib.plugins import directory

    # A port is bound only on a host with a live Open vSwitch agent. This is the call that an agent's report ends in.
    for host in spec.hosts:
        directory.get_plugin().create_or_update_agent(
            context.get_admin_context(),
            {
                "agent_type": "Open vSwitch agent",
                "binary": "neutron-openvswitch-agent",
                "topic": "N/A",
                "host": host,
                "start_flag": True,
                "configurations": {
                    "tunnel_types": ["vxlan"],
                    "tunneling_ip": ADDRESS,
                    "bridge_mappings": {specification.PHYSICAL_NETWORK: "br-ex"},
                    "datapath_type": "system",
                    "vhostuser_socket_dir": str(spec.live / "neutron"),
                    "ovs_hybrid_plug": False,
                },
            },
        )
    return api.application


def main(service: str) -> None:
    """Serve until told to stop."""
    spec = specification.load()
    first = not Path(spec.live / "db" / f"{service}.sqlite").exists()
    sys.argv = [service]  # services read the command line themselves
    make = {"keystone": keystone, "placement": placement, "glance": glance, "neutron": neutron}[service]
    application = make(spec, first)
    import waitress

    # One thread each: SQLite takes one writer at a time, and Python runs one thread at a time anyway.
    waitress.serve(
        application,
        host=ADDRESS,
        port=spec.port(service),
        threads=1,
        ident=None,
        clear_untrusted_proxy_headers=False,
    )


if __name__ == "__main__":
    main(sys.argv[1])
