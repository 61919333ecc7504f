"""A stack of kind openstack at its cloud: what deploy.py asks of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cf_infra import (
    delivery,
    images,
    inventory,
    keys,
    lab,
    openstack,
    openstack_proof,
    orphans,
    plan,
    sandbox,
    strays,
)
from cf_infra.compile import PROVISIONER, compile_stack, store_of, values
from cf_infra.credentials import Generation
from cf_infra.deployment import Deployment, InventoryFile
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.material import Material
from cf_infra.model import CredentialKind, Image, Rights
from cf_infra.names import address_of_image, flavor_name, is_sandbox, prefix
from cf_infra.openstack import Login
from cf_infra.project import Folder
from cf_infra.record import Record
from cf_infra.resolve import ResolvedStack
from cf_infra.surroundings import JSON, Check, Found
from cf_infra.tofu import Tofu

if TYPE_CHECKING:
    from openstack.connection import Connection

Say = Callable[[str], None]
PROVISIONER_ADDRESS = "module.project.openstack_identity_user_v3.provisioner"
SECRET = frozenset({"password", "application_credential_secret"})
"""The parts of a login that no output may show."""


@dataclass(frozen=True)
class AtOpenstack:
    """A stack's project at an OpenStack."""

    folder: Folder
    deployment: Deployment
    stack: ResolvedStack
    login: Login
    ring: keys.Ring
    say: Say

    @property
    def where(self) -> str:
        """The cloud, by its name in clouds.yaml."""
        return self.login.cloud

    @property
    def admin(self) -> bool:
        """Are project, flavors and quotas ours to make?"""
        return self.stack.stack.rights is Rights.ADMIN

    def _made(self, kind: CredentialKind) -> list[Generation]:
        return [
            g
            for g in self.stack.generations.values()
            if g.credential.kind is kind and not g.credential.source
        ]

    def passwords(self) -> dict[str, str]:
        """The passwords that the cloud insists on; derived, so that they are stored nowhere."""
        if not self.admin:
            return {}
        users = {g.address: self._password(g) for g in self._made(CredentialKind.USER)}
        return {PROVISIONER: self._own_password(self._own_key), **users}

    def _password(self, generation: Generation) -> str:
        return keys.password(self.ring.of(generation.key), generation.name, generation.label)

    @staticmethod
    def _own_password(key: bytes) -> str:
        return keys.password(key, PROVISIONER, "0")

    @cached_property
    def _own_key(self) -> bytes:
        """The key that the provisioner's password comes from: the one before, until `settle` has changed it."""
        before = self.ring.previous
        if before is None or not self._logs_in(self._own_password(before)):
            return self.ring.current
        return before

    def _logs_in(self, password: str) -> bool:
        user = values(self.stack)["project"]
        tenant = openstack.as_user(
            self.login, {"username": user["user_name"], "project_name": user["name"]}, password
        )
        with tenant, openstack.explained(self.login.cloud, self.login.auth_url):
            return openstack.works(tenant)

    def environment(self) -> dict[str, str]:
        """Where clouds.yaml is."""
        return self.login.environment()

    def secrets(self) -> dict[str, object]:
        """The passwords, where we make users."""
        return {"passwords": self.passwords()} if self.admin else {}

    def hidden(self) -> Iterable[str]:
        """All passwords, the provisioner's from either key."""
        both = [key for key in (self.ring.current, self.ring.previous) if key is not None]
        return [*self.passwords().values(), *map(self._own_password, both)] if self.admin else []

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder as it must be."""
        store = store_of(self.folder.inventory.settings.state, self.deployment.cloud)
        return compile_stack(self.stack, self.folder.modules(), store)

    def lists(self) -> dict[str, bytes]:
        """Cirun's lists as far as they are about this stack."""
        return delivery.lists(self.folder.resolved(), self.folder.inventory, self.stack.name)

    def connected(self) -> AbstractContextManager[Any]:
        """A connection of openstacksdk."""
        return openstack.connected(self.login)

    def identity(self, connection: Any) -> str:
        """What tells this cloud from others: the project that we log in to, and which sandbox it is."""
        born = f"/{sandbox.identity(lab.state_dir(self.folder.root))}" if is_sandbox(self.where) else ""
        return f"{connection.current_project_id}{born}"

    # ------------------------------------------------------------------------------------------- plan

    def look(self, connection: Any, state: Mapping[str, Any], destroy: bool) -> Found:
        """Servers and more with our marks that the state does not know, and the digests of images."""
        wanted = values(self.stack)
        marked = openstack.settled_servers(connection, self.stack.name, self.admin, self.say)
        machines = {**wanted, "machines": {}} if destroy else wanted
        astray = self._strays(connection, wanted, state)
        lost = next((stray.what for stray in astray if stray.carries), None)
        servers = orphans.decide(marked, inventory.server_ids(state), machines, lost)
        ours = {name: image for name, image in self.stack.stack.images.items() if name in wanted["images"]}
        hosts = self.folder.inventory.settings.image_hosts
        digests = images.ready(self.folder.root, ours, hosts, self.say)
        known = {**self.login.variables(self.admin), "adopt": dict(servers.adopt), "image_digests": digests}
        items = _items(servers, astray)
        return Found(
            values=known,
            items=items,
            notes=_notes(servers, astray),
            remove=[[server.id, server.name, server.grant] for server, _ in servers.remove],
            strays=[stray.id for stray in astray],
            claims=len(items) + len(servers.adopt),
            learned=self._learned(connection),
        )

    def _learned(self, cloud: Connection) -> JSON:
        """Ids of what offers name at the cloud and no grant may use yet: once one does, a plan needs them."""
        stack = self.stack.stack
        chosen = {
            o.image for o in stack.offers.values() if o.image is not None and is_theirs(stack.images[o.image])
        }
        images = {address_of_image(self.stack.name, stack, image) for image in chosen}
        flavors = {flavor_name(self.stack.name, name, offer) for name, offer in stack.offers.items()}
        with openstack.explained(self.login.cloud, self.login.auth_url, self.hidden()):
            found = {name: openstack.public_image(cloud, name) for name in sorted(images)}
            there = {} if self.admin else openstack.flavor_ids(cloud)
        return {"images": found, "flavors": {name: there[name] for name in sorted(flavors & there.keys())}}

    def _strays(
        self, cloud: Connection, wanted: Mapping[str, Any], state: Mapping[str, Any]
    ) -> list[strays.Stray]:
        def tenant() -> Connection:
            if not self.admin:
                return cloud
            user = {"username": wanted["project"]["user_name"], "project_name": wanted["project"]["name"]}
            return openstack.as_user(self.login, user, self.passwords()[PROVISIONER])

        with openstack.explained(self.login.cloud, self.login.auth_url, self.hidden()):
            return strays.find(cloud, tenant, wanted, state)

    def owners(self) -> dict[str, tuple[str, ...]]:
        """Flavors belong to those who may use them, machines of pools to all of theirs."""
        found = {
            f'module.flavor.{inventory.FLAVOR}.this["{c}"]': use.grants for c, use in self.stack.uses.items()
        }
        for key, machine in self.stack.machines.items():
            found[f'module.machine.{inventory.SERVER}.this["{key}"]'] = machine.grants
        return found

    def divide(self) -> plan.Divide:
        """Nothing at an OpenStack comes apart."""
        return plan.undivided

    def beside(self, destroy: bool) -> list[JSON]:
        """What an apply does to the lists."""
        return delivery.changes(self.deployment, {} if destroy else self.lists(), self.stack.stack)

    def findings(self, shown: Mapping[str, Any]) -> list[Diagnostic]:
        """None beyond what a look around finds."""
        del shown
        return []

    def pairs(self, shown: Mapping[str, Any]) -> tuple[set[str], set[str]]:
        """None: our own records tell who has access to a cloud's machines."""
        del shown
        return set(), set()

    def by_hand(self, grants: Iterable[str]) -> list[str]:
        """Nothing is left to people."""
        del grants
        return []

    def words(self) -> dict[str, str]:
        """The plan's items have them all."""
        return {}

    # ------------------------------------------------------------------------------------------ apply

    def unchanged(self, connection: Any, saved: Record) -> None:
        """OpenTofu itself sees to that."""

    def less(self, connection: Any, state: Mapping[str, Any]) -> JSON | None:
        """Machines are not taken away before access is: see `take_back`."""
        del connection, state
        return None

    def withholding(self, keys: Iterable[str], state: Mapping[str, Any]) -> JSON:
        """Machines wait for nobody."""
        del keys, state
        return values(self.stack)

    def seen(self, connection: Any, saved: Record) -> dict[str, str]:
        """Nothing has to stay as it was seen."""
        del connection
        return saved.seen

    def take_back(self, destroy: bool) -> None:
        """Shorten the delivered access list."""
        resolved, folder = self.folder.resolved(), self.folder
        own = None if destroy else delivery.own_access(resolved, folder.inventory, self.stack.name)
        delivery.take_back(self.deployment, own)

    def clear(self, connection: Any, saved: Record, state: Callable[[], Mapping[str, Any]]) -> None:
        """Delete servers and the rest of what is in no state."""
        for server_id, name, _ in saved.remove:
            self.say(f"removing {name} ({server_id}), which is in no state")
            openstack.delete_server(connection, server_id)
        with openstack.explained(self.login.cloud, self.login.auth_url, self.hidden()):
            found = self._strays(connection, values(self.stack), state()) if saved.strays else []
            for stray in found:
                if stray.id in saved.strays:
                    self.say(f"removing {stray.what}, which is in no state")
                    stray.remove()

    def faults(self, connection: Any) -> list[Diagnostic]:
        """Why servers did not start: Nova says so, OpenTofu does not."""
        try:
            marked = openstack.servers(connection, self.stack.name, self.admin)
        except Failure:
            return []
        return [
            Diagnostic(
                "server-fault",
                detail=f"Server of `{s.grant}` ({s.id}): {s.fault or 'Nova gives no reason'}",
                hint=f"{_way_out(s.fault or '')}, then make a new plan:\ncf-infra plan {self.stack.name}",
            )
            for s in marked
            if s.status == "ERROR"
        ]

    def give(self, tofu: Tofu, after: InventoryFile) -> list[Diagnostic]:
        """Hand out the lists."""
        del tofu, after
        delivery.give(self.deployment, self.folder.resolved(), self.folder.inventory)
        return []

    def materials(self, tofu: Tofu, after: InventoryFile) -> list[Material]:
        """Users with their passwords, and application credentials, as their users need them to log in."""
        where = {"auth_url": self.login.auth_url, "network": f"{prefix(self.stack.name)}-net"}
        users = [
            self._material(
                g,
                {
                    "username": f"{prefix(self.stack.name)}-{g.name}-{g.label}",
                    "password": self._password(g),
                    "project_id": after.project or "",
                    "domain_id": "default",
                    **where,
                },
            )
            for g in self._made(CredentialKind.USER)
        ]
        made = tofu.output()["credentials"]["value"] if after.credentials else {}
        return users + [
            self._material(
                g,
                {
                    "application_credential_id": made[g.address]["id"],
                    "application_credential_secret": made[g.address]["secret"],
                    **where,
                },
            )
            for g in self._made(CredentialKind.APPLICATION_CREDENTIAL)
            if g.address in made
        ]

    def _material(self, generation: Generation, fields: dict[str, str]) -> Material:
        kind = generation.credential.kind
        return Material(
            self.stack.name, generation.name, generation.label, kind, fields, SECRET & fields.keys()
        )

    def settle(self) -> tuple[list[str], JSON] | None:
        """The provisioner gets a password from the present master key."""
        if not self.admin or self._own_key == self.ring.current:
            return None
        mine = {PROVISIONER: self._own_password(self.ring.current)}
        return [PROVISIONER_ADDRESS], {"passwords": {**self.passwords(), **mine}}

    def withdraw(self) -> None:
        """Take the delivered files away."""
        delivery.withdraw(self.deployment)

    def holds(self, state: Mapping[str, Any]) -> list[JSON]:
        """The inventory has machines, flavors and logins of its own."""
        del state
        return []

    def checks(self, connection: Any, before: InventoryFile, after: InventoryFile) -> dict[str, list[Check]]:
        """Servers, list entries, flavors, logins and the project."""
        offers = self.stack.stack.offers
        return openstack_proof.checks_of(connection, before, after, self.deployment, offers, self.admin)


def is_theirs(image: Image) -> bool:
    """Is it one that the cloud has by itself?"""
    return image.file is None and image.url is None


def _way_out(fault: str) -> str:
    """What to do about a server that did not start."""
    if "No valid host" in fault:
        return "see whether there is room; what the same run freed may have come too late for it"
    return "mend the reason"


def _notes(servers: orphans.Orphans, astray: list[strays.Stray]) -> list[str]:
    found = [f"server of {k} ({i}) is in no state: apply adopts it" for k, i in servers.adopt.items()]
    found += [f"server {s.name} is in no state ({why}): apply removes it" for s, why in servers.remove]
    return found + [f"{stray.what} is in no state: apply removes it" for stray in astray]


def _items(servers: orphans.Orphans, astray: list[strays.Stray]) -> list[JSON]:
    rows = [(f"orphan:{s.id}", f"server {s.name} ({why})", [s.grant]) for s, why in servers.remove]
    rows += [(s.address, f"{s.what}, which is in no state", []) for s in astray]
    return [{"address": a, "action": "delete", "what": w, "grants": g} for a, w, g in rows]
