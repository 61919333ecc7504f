"""All of Nova in one process: conductor, scheduler, one compute service per host, and the API.

One process, because oslo.messaging's in-memory transport (`fake://`) then stands in for a message broker. The
services are Nova's own classes; this file only starts them, as Nova's commands do. The API's port opens last, when
Placement has every host and GPU: whoever can connect can have a server scheduled.
"""

from __future__ import annotations

import nova.monkey_patch

nova.monkey_patch.patch(backend="eventlet")  # before anything else is imported

import shlex  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import eventlet  # noqa: E402
import eventlet.wsgi  # noqa: E402
import nova.conf  # noqa: E402
import nova.virt  # noqa: E402
import os_brick  # noqa: E402
import os_vif  # noqa: E402
import specification  # noqa: E402
import sqlite  # noqa: E402, F401  (for its effect on every connection)
from nova import config, context, objects, service, servicegroup, utils  # noqa: E402
from nova.api.openstack import wsgi_app  # noqa: E402
from nova.compute import rpcapi  # noqa: E402
from nova.db import migration  # noqa: E402
from nova.scheduler.client import report  # noqa: E402
from oslo_log import log  # noqa: E402
from oslo_privsep import priv_context  # noqa: E402
from oslo_service import service as oslo_service  # noqa: E402
from paste import deploy  # noqa: E402
from specification import ADDRESS, Specification  # noqa: E402

CONF = nova.conf.CONF
# Nova loads its driver as nova.virt.<compute_driver>: let it find gpu_driver.py there.
nova.virt.__path__.append(str(Path(__file__).resolve().parent))
# A service whose last sign of life is old counts as down, and after a restart they all are: report at once.
servicegroup.api.INITIAL_REPORTING_DELAY = 0
PATIENCE = 60.0


def main() -> None:
    """Serve until told to stop."""
    spec = specification.load()
    first = not (spec.live / "db" / "nova_api.sqlite").exists()
    config.parse_args(["nova", "--config-file", f"{spec.live}/etc/nova/nova.conf"])
    log.setup(CONF, "nova")
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    objects.register_all()
    os_brick.setup(CONF)
    os_vif.initialize()
    if first:
        make_databases(spec)
    objects.Service.enable_min_version_cache()
    for other in ("keystone", "placement"):
        wait_for(f"{other} to answer", lambda other=other: answers(spec.port(other)))  # type: ignore[misc]

    launcher = start_services(spec)
    wait_for("the compute services to be mapped into their cell", lambda: mapped(spec))
    wait_for("the compute services to be up", lambda: all(is_up(host) for host in spec.hosts))
    client = report.report_client_singleton()
    for host in spec.hosts:
        wait_for(f"Placement to have {host} and its GPUs", lambda host=host: in_placement(client, spec, host))

    wsgi_app._setup_service(CONF.host, "osapi_compute")
    app = deploy.loadapp("config:" + CONF.wsgi.api_paste_config, name="osapi_compute")
    listener = eventlet.listen((ADDRESS, spec.port("nova")), backlog=256)
    eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False, max_size=64)
    launcher.wait()


def make_databases(spec: Specification) -> None:
    """What `nova-manage api_db sync`, `cell_v2 map_cell0`, `cell_v2 create_cell` and `db sync` do."""
    migration.db_sync(database="api")
    admin = context.get_admin_context()
    cell0 = objects.CellMapping(
        admin,
        uuid=objects.CellMapping.CELL0_UUID,
        name="cell0",
        transport_url="none:///",
        database_connection=spec.database("nova_cell0"),
    )
    cell0.create()
    objects.CellMapping(
        admin,
        uuid=specification.node_uuid("cell1"),
        name="cell1",
        transport_url=CONF.transport_url,
        database_connection=CONF.database.connection,
    ).create()
    with context.target_cell(admin, cell0) as targeted:
        migration.db_sync(context=targeted)
    migration.db_sync()


def start_services(spec: Specification) -> oslo_service.ServiceLauncher:
    """Start conductor, scheduler and computes, in the order that they need each other."""
    launcher = oslo_service.ServiceLauncher(CONF, restart_method="mutate")
    # Each service that runs takes one thread of the launcher's ten: the ninth host would wait for ever.
    launcher.services.tg.pool.resize(10 + len(spec.hosts))
    launch(launcher, service.Service.create(binary="nova-conductor", host="controller"))
    # One scheduling decision at a time: Nova tries only the first way to place a server on a host, so requests for
    # GPUs that come together would collide and fail although there is room. The setting is read when a service
    # begins to listen, on a busy machine seconds after its launch.
    CONF.set_override("executor_thread_pool_size", 1)
    launch(launcher, service.Service.create(binary="nova-scheduler", host="controller"))
    CONF.clear_override("executor_thread_pool_size")
    for host in spec.hosts:
        launcher.launch_service(
            service.Service.create(
                binary="nova-compute", topic=rpcapi.RPC_TOPIC, topic_alt=rpcapi.RPC_TOPIC_ALT, host=host
            )
        )
        eventlet.sleep(0.1)
    return launcher


def launch(launcher: oslo_service.ServiceLauncher, started: service.Service) -> None:
    """Launch a service and wait until it takes messages."""
    launcher.launch_service(started)
    wait_for(f"{started.binary} to take messages", lambda: listens(started))


def listens(started: service.Service) -> bool:
    """Has its message server begun, and so read its settings?"""
    server = started.rpcserver
    return server is not None and server._work_executor is not None


def mapped(spec: Specification) -> bool:
    """Map new computes into the cell (as `nova-manage cell_v2 discover_hosts` does); are all there?"""
    admin = context.get_admin_context()
    objects.host_mapping.discover_hosts(admin)
    return set(spec.hosts) <= {mapping.host for mapping in objects.HostMappingList.get_all(admin)}


def is_up(host: str) -> bool:
    """Will the scheduler take the host's compute service for alive?"""
    compute = objects.Service.get_by_compute_host(context.get_admin_context(), host)
    return bool(servicegroup.API().service_is_up(compute))


def in_placement(client: report.SchedulerReportClient, spec: Specification, host: str) -> bool:
    """Does Placement have the host's vCPUs and each of its GPUs?"""
    node = specification.node_uuid(host)
    answer = client.get(f"/resource_providers?in_tree={node}", version="1.14")
    if not answer:
        return False
    classes: list[str] = []
    for provider in answer.json()["resource_providers"]:
        inventory = client.get(f"/resource_providers/{provider['uuid']}/inventories", version="1.14")
        classes.extend(inventory.json()["inventories"] if inventory else ())
    gpu_classes = {model.resource_class for model in spec.gpu_models()}
    gpus = sum(name in gpu_classes for name in classes)
    return "VCPU" in classes and gpus == len(spec.hosts[host]["gpus"])


def answers(port: int) -> bool:
    """Does somebody listen on the port?"""
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Poll, and end the process with a reason when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"gave up after {PATIENCE:.0f} s waiting for {what}")
        eventlet.sleep(0.1)


if __name__ == "__main__":
    main()
