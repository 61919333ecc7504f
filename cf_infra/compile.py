"""A resolved stack to the files that OpenTofu reads: {relative path: bytes}, the same input the same bytes.

main.tf.json holds structure and names made here; every string of a person's file goes to grants.auto.tfvars.json,
where OpenTofu takes it as it is (`${...}` in a tfvars file is text).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from cf_infra import capacity, github_files
from cf_infra.capacity import NOTHING, Shape
from cf_infra.credentials import EPOCH
from cf_infra.model import CredentialKind, Delivery, Inventory, Kind, Rights, Stack, State, StateKind
from cf_infra.names import address_of_image, flavor_name, is_sandbox, prefix
from cf_infra.resolve import Resolved, ResolvedStack, Use

if TYPE_CHECKING:
    from jinja2 import Environment

JSON = dict[str, Any]
PROVIDER = {"source": "terraform-provider-openstack/openstack", "version": ">= 1.54.1, < 4.0.0"}
CIRUN = "_cirun"
"""The folder of build/ with Cirun's lists; no stack's name begins with an underscore."""
ROLES = ["member", "reader"]
# Keystone adds the implied reader to an application credential with member: named here, or each plan would replace it.
MANAGED_BY = "cf-infra"
PROVISIONER = "provisioner"
_MODULES = {
    Rights.ADMIN: ("project", "flavor", "image", "network", "machine", "credential", "user"),
    Rights.MEMBER: ("flavor", "image", "network", "machine", "credential"),
}


def provider_of(kind: Kind) -> str:
    """The one provider that the configuration of a kind asks for; locks/ has a file of this name."""
    return "openstack" if kind is Kind.OPENSTACK else "github"


def store_of(state: State, cloud: str | None) -> StateKind:
    """Where the state of a stack on a cloud lies. That of the sandbox on this machine is of use to nobody else."""
    return StateKind.LOCAL if cloud is not None and is_sandbox(cloud) else state.kind


def compile_all(resolved: Resolved, inventory: Inventory, modules: Mapping[str, bytes]) -> dict[str, bytes]:
    """Everything below build/: the folder of each stack that we provision, and Cirun's lists.

    The lists are files of the stack of kind github; without one they lie in build/_cirun/.

    `modules` are the files of modules/ by relative name; each stack gets a copy of those it uses, so that no
    path outside its folder stands in its configuration.
    """
    files = {}
    for name, stack in resolved.stacks.items():
        if stack.stack.kind is Kind.OPENSTACK:
            store = store_of(inventory.settings.state, stack.stack.cloud)
            files.update(
                {f"{name}/{path}": raw for path, raw in compile_stack(stack, modules, store).items()}
            )
        elif github_files.is_ours(stack.stack):
            compiled = compile_access(stack, resolved, inventory, modules)
            files.update({f"{name}/{path}": raw for path, raw in compiled.items()})
    if not github_files.keeps_lists(inventory.stacks):
        lists = github_files.lists(resolved, inventory)
        files.update({f"{CIRUN}/{path}": raw for path, raw in lists.items()})
    return files


def compile_access(
    stack: ResolvedStack, resolved: Resolved, inventory: Inventory, modules: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The folder of one stack of kind github or app; that of kind github has Cirun's lists as well."""
    kind = stack.stack.kind
    direct = inventory.settings.access_delivery is Delivery.DIRECT
    files = _copied(modules, github_files.MODULES[kind])
    files["main.tf.json"] = _json(github_files.configuration(kind, inventory.settings.state.kind))
    files["grants.auto.tfvars.json"] = _json(github_files.values(stack, resolved, inventory, direct))
    return files | (github_files.lists(resolved, inventory) if kind is Kind.GITHUB else {})


def compile_stack(
    stack: ResolvedStack, modules: Mapping[str, bytes], store: StateKind = StateKind.LOCAL
) -> dict[str, bytes]:
    """The folder of one stack of kind openstack. `store`: which kind of place its state has; `init` is told where."""
    rights = stack.stack.rights
    files = _copied(modules, [f"openstack-{name}" for name in _MODULES[rights]])
    files["main.tf.json"] = _json(configuration(rights, store))
    files["grants.auto.tfvars.json"] = _json(values(stack))
    return files


def _copied(modules: Mapping[str, bytes], used: Iterable[str]) -> dict[str, bytes]:
    wanted = set(used)
    return {
        f"modules/{path}": raw
        for path, raw in modules.items()
        if path.split("/")[0] in wanted and _is_module(path)
    }


def _is_module(path: str) -> bool:
    return path.endswith(".tf")


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


# ---------------------------------------------------------------------------------------------- structure


def configuration(rights: Rights, store: StateKind = StateKind.LOCAL) -> JSON:
    """main.tf.json: it depends on nothing that anybody wrote, only on what our rights at the cloud are."""
    admin = rights is Rights.ADMIN
    names = [name for name in _VARIABLES if admin or name not in _ADMIN_ONLY]
    return {
        "terraform": {
            "required_version": ">= 1.7",
            "required_providers": {"openstack": PROVIDER},
            "backend": {store.value: {}},
        },
        "provider": {"openstack": [{"cloud": "${var.cloud}"}, _tenant(rights)]},
        "variable": {name: _VARIABLES[name] for name in names},
        "import": [_ADOPTED],
        "module": _modules(rights),
        "output": {
            "machines": {"value": "${module.machine.machines}"},
            "flavor_ids": {"value": "${module.flavor.ids}"},
            "image_ids": {"value": "${module.image.ids}"},
            "network_id": {"value": "${module.network.network_id}"},
            "credential_ids": {"value": "${module.credential.ids}"},
            "credentials": {"value": "${module.credential.credentials}", "sensitive": True},
            **({"project_id": {"value": "${module.project.id}"}} if admin else {}),
            **({"user_ids": {"value": "${module.user.ids}"}} if admin else {}),
        },
    }


# Servers that were made by a run that died before it wrote its state: by machine key the server's id.
_ADOPTED = {
    "for_each": "${var.adopt}",
    "id": "${each.value}",
    "to": "module.machine.openstack_compute_instance_v2.this[each.key]",
}
_OPTIONAL = {"default": None}
UNASKED = {
    "auth_url": "http://127.0.0.1:1/v3",
    "user_name": "nobody",
    "password": "none",
    "tenant_name": "none",
    "user_domain_name": "none",
    "delayed_auth": True,
}
"""A provider that has no cloud and no login. It would log in at its first question, and nothing answers on port 1."""


def without_cloud(found: JSON) -> JSON:
    """main.tf.json for a plan that asks no cloud: resources, modules and variables are the same."""
    return {**found, "provider": {"openstack": [UNASKED, {"alias": "tenant", **UNASKED}]}}


_VARIABLES: dict[str, JSON] = {
    # from clouds.yaml and the shell, at plan
    "cloud": {"type": "string"},
    "auth_url": {"type": "string"},
    "region": {"type": "string", **_OPTIONAL},
    "endpoint_type": {"type": "string", **_OPTIONAL},
    "cacert_file": {"type": "string", **_OPTIONAL},
    "insecure": {"type": "bool", **_OPTIONAL},
    "passwords": {"type": "map(string)", "sensitive": True},
    "adopt": {"type": "map(string)", "default": {}},
    # what a plan that asks no cloud would have to look up there; empty: it is looked up
    "known": {
        "type": "object({network = optional(string), "
        + ", ".join(f"{what} = optional(map(string), {{}})" for what in ("roles", "flavors", "images"))
        + "})",
        "default": {},
    },
    # from grants.auto.tfvars.json
    "description": {"type": "string"},
    "tags": {"type": "set(string)"},
    "project": {
        "type": "object({name = string, user_name = string, "
        "quota = object({instances = number, cores = number, ram_mib = number})})"
    },
    "flavors": {
        "type": "map(object({name = string, vcpus = number, ram_mib = number, disk_gib = number, "
        "gpu_alias = optional(string), gpus = optional(number, 0)}))"
    },
    "images": {
        "type": 'map(object({name = string, file = optional(string), disk_format = optional(string, "qcow2")}))'
    },
    "image_digests": {"type": "map(string)", "default": {}},
    "network": {
        "type": "object({name = string, cidr = string, external = optional(string), "
        "ssh_from = optional(set(string), [])})"
    },
    "machines": {
        "type": "map(object({name = string, hostname = string, flavor = string, image = string, "
        "metadata = map(string), user_data = string}))"
    },
    "user_data": {"type": "map(string)"},
    "credentials": {
        "type": "map(object({name = string, description = string, roles = set(string), "
        "expires_at = optional(string), access_rules = optional("
        "list(object({service = string, method = string, path = string})), [])}))"
    },
    "users": {"type": "map(object({name = string, description = string}))"},
}
_ADMIN_ONLY = (
    "auth_url",
    "region",
    "endpoint_type",
    "cacert_file",
    "insecure",
    "passwords",
    "project",
    "users",
)


# What an image is, is its content: the shell adds the digest of a file that lies below the root.
_IMAGES = "${{for name, image in var.images : name => merge(image, {sha256 = lookup(var.image_digests, name, null)})}}"


def _tenant(rights: Rights) -> JSON:
    """The provider that works in the stack's own project, in the name of the user made for it."""
    if rights is Rights.MEMBER:
        return {"alias": "tenant", "cloud": "${var.cloud}"}
    return {
        "alias": "tenant",
        "auth_url": "${var.auth_url}",
        "region": "${var.region}",
        "endpoint_type": "${var.endpoint_type}",
        "cacert_file": "${var.cacert_file}",
        "insecure": "${var.insecure}",
        "user_name": "${module.project.user_name}",
        "password": '${var.passwords["provisioner"]}',
        "user_domain_id": "${module.project.domain_id}",
        "tenant_id": "${module.project.id}",
    }


def _modules(rights: Rights) -> JSON:
    admin = rights is Rights.ADMIN
    tenant = {"openstack": "openstack.tenant"}
    marks = {"description": "${var.description}", "tags": "${var.tags}"}
    project = {"project_id": "${module.project.id}"} if admin else {}
    modules: JSON = {
        "flavor": {
            "rights": rights.value,
            "description": marks["description"],
            "flavors": "${var.flavors}",
            "flavor_ids": "${var.known.flavors}",
            **project,
        },
        "image": {
            "providers": tenant,
            "images": _IMAGES,
            "image_ids": "${var.known.images}",
            "tags": marks["tags"],
            **project,
        },
        "network": {
            "providers": tenant,
            **{key: f"${{var.network.{key}}}" for key in ("name", "cidr", "external", "ssh_from")},
            "external_id": "${var.known.network}",
            **marks,
        },
        "machine": {
            "providers": tenant,
            "machines": "${var.machines}",
            "user_data": "${var.user_data}",
            "flavor_ids": "${module.flavor.ids}",
            "image_ids": "${module.image.ids}",
            "network_id": "${module.network.network_id}",
            "security_group": "${module.network.security_group}",
        },
        "credential": {"providers": tenant, "credentials": "${var.credentials}"},
    }
    if admin:
        modules["project"] = {
            **{key: f"${{var.project.{key}}}" for key in ("name", "user_name", "quota")},
            "password": '${var.passwords["provisioner"]}',
            "role_ids": "${var.known.roles}",
            **marks,
        }
        # New servers wait for a larger quota, and a smaller one for the servers that go.
        modules["machine"]["depends_on"] = ["module.project"]
        modules["user"] = {
            "users": "${var.users}",
            "passwords": "${var.passwords}",
            "domain_id": "${module.project.domain_id}",
            "role_ids": "${var.known.roles}",
            **project,
        }
    return {
        name: {"source": f"./modules/openstack-{name}", **arguments} for name, arguments in modules.items()
    }


# ------------------------------------------------------------------------------------------------- values


def values(stack: ResolvedStack) -> JSON:
    """grants.auto.tfvars.json: what there is of each kind, by keys that never move."""
    name = stack.name
    description = f"managed by {MANAGED_BY}, stack {name}"
    found: JSON = {
        "description": description,
        "tags": [MANAGED_BY, f"stack={name}"],
        "flavors": {use.runner_class: _flavor(name, use) for use in stack.uses.values()},
        "images": _images(stack),
        "network": {
            "name": f"{prefix(name)}-net",
            "cidr": stack.stack.network.cidr,
            "external": stack.stack.network.external,
            "ssh_from": stack.stack.network.ssh_from,
        },
        "machines": _machines(stack),
        "user_data": {
            c: user_data(stack, c) for c in sorted({m.runner_class for m in stack.machines.values()})
        },
        "credentials": _application_credentials(stack, description),
    }
    if stack.stack.rights is Rights.ADMIN:
        found["project"] = {
            "name": f"{prefix(name)}-project",
            "user_name": f"{prefix(name)}-{PROVISIONER}",
            "quota": _quota(stack),
        }
        found["users"] = _users(stack, description)
    return found


def _flavor(name: str, use: Use) -> JSON:
    size = use.shape or NOTHING
    return {
        "name": flavor_name(name, use.runner_class, use.offer),
        "vcpus": size.vcpus,
        "ram_mib": size.memory_mib,
        "disk_gib": size.disk_gib,
        "gpu_alias": use.gpu_model,
        "gpus": size.gpus,
    }


def _images(stack: ResolvedStack) -> JSON:
    used = sorted({use.offer.image for use in stack.uses.values() if use.offer.image is not None})
    return {
        image: {
            "name": address_of_image(stack.name, stack.stack, image),
            "file": _image_file(stack.stack, image),
            "disk_format": _disk_format(stack.stack, image),
        }
        for image in used
    }


def _image_file(stack: Stack, image: str) -> str | None:
    source = stack.images[image]
    # OpenTofu runs in build/<stack>/; files are named from the root. What comes from an address is put beside them.
    if source.file is not None:
        return f"../../{source.file}"
    return f"../_images/{source.sha256}" if source.url is not None else None


def _disk_format(stack: Stack, image: str) -> str:
    # What distributions publish for clouds as .img is qcow2 inside.
    source = stack.images[image].file or stack.images[image].url or ""
    return "raw" if source.endswith(".raw") else "qcow2"


def _machines(stack: ResolvedStack) -> JSON:
    beginning = f"{prefix(stack.name)}-"
    images = {runner_class: offer.image for runner_class, offer in stack.stack.offers.items()}
    return {
        machine.key: {
            "name": beginning + machine.hostname,
            "hostname": machine.hostname,
            "flavor": machine.runner_class,
            "image": images[machine.runner_class],
            "metadata": {"managed_by": MANAGED_BY, "stack": stack.name, "grant": machine.key},
            "user_data": machine.runner_class,
        }
        for machine in stack.machines.values()
    }


def user_data(stack: ResolvedStack, runner_class: str) -> str:
    """cloud-init for the machines of an offer; `@HOSTNAME@` is put in for each machine by the module."""
    offer = stack.stack.offers[runner_class]
    template = _templates().get_template("cloud-init.yaml.j2")
    return template.render(
        stack=stack.name,
        runner_class=runner_class,
        via=offer.via.value,
        os=offer.os,
        operators=stack.operators,
    )


@cache
def _templates() -> Environment:
    from jinja2 import (
        Environment,
        PackageLoader,
        StrictUndefined,
    )  # slow to import, and `check` has no use for it

    # The templates make YAML for cloud-init, not HTML; what goes in are names of a checked form only.
    return Environment(
        loader=PackageLoader("cf_infra"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        keep_trailing_newline=True,
    )


def _quota(stack: ResolvedStack) -> JSON:
    """What the project may use at once: all that the hosts have. No grant changes it, so no grant moves it."""
    known = {runner_class: use.shape for runner_class, use in stack.uses.items()}
    shapes = [
        known[name] if name in known else capacity.shape(stack.stack, offer)
        for name, offer in stack.stack.offers.items()
    ]
    sizes = [size for size in shapes if size is not None]
    smallest = Shape(
        0,
        min((s.vcpus for s in sizes), default=1),
        min((s.memory_mib for s in sizes), default=1024),
        min((s.disk_gib for s in sizes), default=1),
    )
    totals = [capacity.total(host) for host in stack.stack.hosts]
    return {
        "instances": sum(have.fits(smallest) for have in totals),
        "cores": sum(have.vcpus for have in totals),
        "ram_mib": sum(have.memory_mib for have in totals),
    }


def _application_credentials(stack: ResolvedStack, description: str) -> JSON:
    return {
        g.address: {
            "name": f"{prefix(stack.name)}-{g.name}-{g.label}",
            "description": description,
            "roles": g.credential.roles or ROLES,
            "access_rules": [rule.model_dump() for rule in g.credential.access_rules],
            "expires_at": f"{g.expires.isoformat()}T00:00:00Z" if g.expires > EPOCH else None,
        }
        for g in stack.generations.values()
        if g.credential.kind is CredentialKind.APPLICATION_CREDENTIAL and g.credential.source is None
    }


def _users(stack: ResolvedStack, description: str) -> JSON:
    return {
        g.address: {"name": f"{prefix(stack.name)}-{g.name}-{g.label}", "description": description}
        for g in stack.generations.values()
        if g.credential.kind is CredentialKind.USER and g.credential.source is None
    }
