"""Nova's own fake hypervisor driver, with the hosts and GPUs of `sandbox.json`.

Everything above the hypervisor is real: API, conductor, scheduler, Placement, the resource tracker and the PCI
manager. Below it nothing boots; a server is ACTIVE as soon as the driver was told to spawn it.
"""

from __future__ import annotations

from typing import Any

import specification
from nova.compute import power_state
from nova.virt import fake
from oslo_serialization import jsonutils


class GpuDriver(fake.FakeDriver):  # type: ignore[misc]
    """One compute host as `sandbox.json` describes it."""

    def init_host(self, host: str) -> None:
        super().init_host(host)
        spec = specification.load()
        declared = spec.hosts[host]
        self.vcpus = declared["vcpus"]
        self.memory_mb = declared["memory_mib"]
        self.local_gb = declared["disk_gib"]
        self.resources = fake.Resources(self.vcpus, self.memory_mb, self.local_gb)
        products = {model.alias: model.product_id for model in spec.gpu_models()}
        self.pci_devices = [pci_device(gpu["address"], products[gpu["alias"]]) for gpu in declared["gpus"]]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {specification.node_uuid(node): node for node in self.get_available_nodes()}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        resources: dict[str, Any] = super().get_available_resource(nodename)
        if resources:
            resources["uuid"] = specification.node_uuid(nodename)
            resources["pci_passthrough_devices"] = jsonutils.dumps(self.pci_devices)
        return resources

    # The fake hypervisor forgets its guests when the process ends; Nova still has them and calls these.

    def resume_state_on_host_boot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._remember(instance, power_state.RUNNING)

    def power_off(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._remember(instance, power_state.RUNNING)
        super().power_off(instance, *args, **kwargs)

    def power_on(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._remember(instance, power_state.SHUTDOWN)
        super().power_on(context, instance, *args, **kwargs)

    def _remember(self, instance: Any, state: int) -> None:
        self.instances.setdefault(instance.uuid, fake.FakeInstance(instance.name, state, instance.uuid))


def pci_device(address: str, product_id: str) -> dict[str, Any]:
    """What a hypervisor reports about a whole GPU; `address` as lspci prints it, the domain may be left out."""
    full = address if address.count(":") == 2 else f"0000:{address}"
    return {
        "address": full,
        "dev_id": "pci_" + full.replace(":", "_").replace(".", "_"),
        "vendor_id": specification.NVIDIA,
        "product_id": product_id,
        "label": f"label_{specification.NVIDIA}_{product_id}",
        "status": "available",
        "dev_type": "type-PCI",
        "parent_addr": None,
        "numa_node": None,
    }
