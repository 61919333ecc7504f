"""A stack's cloud or organisation without asking it: for the plan of a head, from what the last apply left.

What OpenTofu would look up there stands in the state, or beside it in `learned.json`. Of what nobody ever looked up
this says so, and the plan has a word in its place that no real plan has: an apply then waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from cf_infra import github_look, proposal
from cf_infra.access import AccessList
from cf_infra.at_github import AtGithub
from cf_infra.at_openstack import PROVISIONER_ADDRESS, AtOpenstack
from cf_infra.compile import ROLES, values, without_cloud
from cf_infra.deployment import Deployment, begun_at, load_inventory, load_learned, resources
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_files import ACCESS, RUNNERS, without_organisation
from cf_infra.github_login import GithubLogin
from cf_infra.github_parts import FILE, listed
from cf_infra.images import local_digest
from cf_infra.keys import Ring
from cf_infra.kinds import Say
from cf_infra.model import CredentialKind, Image, Kind
from cf_infra.openstack import Login
from cf_infra.project import Folder
from cf_infra.resolve import ResolvedStack
from cf_infra.rest import Token
from cf_infra.surroundings import JSON, Found, Surroundings

NETWORK, ROLE = "openstack_networking_network_v2", "openstack_identity_role_v3"
FLAVOR, IMAGE = "openstack_compute_flavor_v2", "openstack_images_image_v2"
PROJECT = "openstack_identity_project_v3"
CONTENT = "module.image.terraform_data.content"
NO_PROGRAM = "/dev/null/none"
"""No program can be there: the provider for GitHub asks `gh` for a token where it has none."""


@dataclass(frozen=True)
class Before:
    """What is known without asking. `home`: the real root, for images; `lists`: Cirun's lists as the base has them."""

    home: Path
    lists: Mapping[str, bytes]


def surroundings(
    folder: Folder, deployment: Deployment, stack: ResolvedStack, ring: Ring, say: Say, before: Before
) -> Surroundings:
    """As kinds.surroundings, without a login and without a question."""
    if stack.stack.kind is Kind.OPENSTACK:
        nowhere = Login(deployment.cloud, None, "", None, None, None, insecure=False)
        return UnaskedOpenstack(folder, deployment, stack, nowhere, ring, say, before)
    settings = folder.inventory.settings
    nobody = GithubLogin(settings.github.api, settings.organisation, Token("", "nothing"))
    return UnaskedGithub(folder, deployment, stack, nobody, say, before)


def identity(deployment: Deployment) -> str:
    """The place where the last apply was begun, as it was noted then; empty before the first one."""
    known = load_inventory(deployment.state)
    return begun_at(deployment) or (known.cloud_id if known is not None else "")


# ---------------------------------------------------------------------------------------------- OpenStack


@dataclass(frozen=True)
class UnaskedOpenstack(AtOpenstack):
    """A stack's project at an OpenStack that is not asked."""

    before: Before
    state: JSON = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _own_key(self) -> bytes:
        """The key that the provisioner's password comes from, by the state. Ask it after `look` only."""
        previous = self.ring.previous
        if previous is not None:
            for resource in resources(self.state.get("values") or {}):
                if resource.get("address") == PROVISIONER_ADDRESS:
                    same = resource["values"].get("password") == self._own_password(previous)
                    return previous if same else self.ring.current
        return self.ring.current

    def hidden(self) -> Iterable[str]:
        """All passwords, those from either key."""
        if not self.admin:
            return []
        keys = [key for key in (self.ring.current, self.ring.previous) if key is not None]
        return [*map(self._password, self._made(CredentialKind.USER)), *map(self._own_password, keys)]

    def environment(self) -> dict[str, str]:
        """No clouds.yaml."""
        return {}

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder, with providers that have neither a cloud nor a login."""
        return _replaced(super().compiled(), without_cloud)

    def connected(self) -> AbstractContextManager[Any]:
        """Nobody is asked."""
        return nullcontext()

    def identity(self, connection: Any) -> str:
        """That of the last apply."""
        del connection
        return identity(self.deployment)

    def look(self, connection: Any, state: Mapping[str, Any], destroy: bool) -> Found:
        """What the last apply left in the state; servers in no state are not looked for."""
        del connection, destroy
        self.state.update(state)
        looked = _LookedUp(values(self.stack), self._there(state), load_learned(self.deployment), self.admin)
        known = looked.known()
        return Found(
            values={
                **self.login.variables(self.admin),
                "image_digests": self._digests(state),
                "known": known,
            },
            told=[_not_looked_up(self.stack.name, what) for what in looked.missing],
        )

    @staticmethod
    def _there(state: Mapping[str, Any]) -> dict[tuple[str, str, str], str]:
        return {
            (r.get("mode", ""), r["type"], str(r["values"].get("name") or "")): str(
                r["values"].get("id") or ""
            )
            for r in resources(state.get("values") or {})
        }

    def _digests(self, state: Mapping[str, Any]) -> dict[str, str]:
        """Of images that are ours: as declared, as the file at hand has it, or as the last apply uploaded it."""
        uploaded = {
            str(r["index"]): str(r["values"].get("input"))
            for r in resources(state.get("values") or {})
            if str(r.get("address", "")).startswith(f"{CONTENT}[")
        }
        wanted = values(self.stack)["images"]
        found = {
            n: self._digest(image, uploaded.get(n))
            for n, image in self.stack.stack.images.items()
            if n in wanted
        }
        return {name: digest for name, digest in found.items() if digest is not None}

    def _digest(self, image: Image, uploaded: str | None) -> str | None:
        if image.file is None:
            return image.sha256 if image.url is not None else None
        try:
            return local_digest(self.before.home, image.file)
        except Failure:
            if uploaded is not None and len(uploaded) == 64:
                return uploaded
            raise


@dataclass
class _LookedUp:
    """What data sources would find. `there`: ids by mode, type and name; `missing`: what nobody looked up."""

    wanted: JSON
    there: Mapping[tuple[str, str, str], str]
    learned: JSON
    admin: bool
    missing: list[str] = field(default_factory=list)

    def known(self) -> JSON:
        """The variable `known` of the configuration.

        What waits for the project or the network waits for them here, too, as long as there is none.
        """
        project = not self.admin or any(mode == "managed" and t == PROJECT for mode, t, _ in self.there)
        external = self.wanted["network"]["external"]
        own = ("managed", NETWORK, self.wanted["network"]["name"]) in self.there
        images = {n: i["name"] for n, i in self.wanted["images"].items() if i["file"] is None}
        flavors = {} if self.admin else {n: f["name"] for n, f in self.wanted["flavors"].items()}
        return {
            "network": self._id(NETWORK, "network", external) if external is not None and own else None,
            "roles": {n: self._id(ROLE, "role", n) for n in ROLES} if project and self.admin else {},
            "images": {n: self._id(IMAGE, "image", name) for n, name in images.items()} if project else {},
            "flavors": {n: self._id(FLAVOR, "flavor", name) for n, name in flavors.items()},
        }

    def _id(self, kind: str, what: str, name: str) -> str:
        found = self.there.get(("data", kind, name)) or self.learned.get(f"{what}s", {}).get(name)
        if not isinstance(found, str) or not found:
            self.missing.append(f"{what} {name}")
            return f"not looked up: {what} {name}"
        return found


def _not_looked_up(stack: str, what: str) -> Diagnostic:
    detail = f"Nobody looked up the {what} for `{stack}` yet, and a plan that asks no cloud cannot."
    hint = "a plan with the cloud knows it; its apply waits until a person has accepted that:\n"
    return Diagnostic("not-looked-up", detail=detail, hint=f"{hint}cf-infra plan {stack}")


# ------------------------------------------------------------------------------------------------- GitHub


@dataclass(frozen=True)
class UnaskedGithub(AtGithub):
    """An organisation at GitHub that is not asked."""

    before: Before

    def environment(self) -> dict[str, str]:
        """No token, and no program that gives one."""
        return {"GH_PATH": NO_PROGRAM}

    def hidden(self) -> Iterable[str]:
        """There is no token."""
        return []

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder, with a provider that has neither an organisation nor a login."""
        return _replaced(super().compiled(), without_organisation)

    def connected(self) -> AbstractContextManager[Any]:
        """Nobody is asked."""
        return nullcontext()

    def identity(self, connection: Any) -> str:
        """That of the last apply."""
        del connection
        return identity(self.deployment)

    def look(self, connection: Any, state: Mapping[str, Any], destroy: bool) -> Found:
        """What the last apply left; what is there and in no state is not looked for."""
        del connection
        known, wanted = load_learned(self.deployment), self.values()
        told: JSON = {"organisation": self.login.organisation, "write_delay_ms": 1}
        if self.stack.stack.kind is Kind.APP:
            absent = sorted(set(known.get("absent") or ()) & set(wanted["repositories"]))
            return Found(values={**told, "absent": absent})
        if identity(self.deployment) and "repository_ids" not in known:
            raise Failure(_not_learned(self.stack.name))
        told["repository_ids"] = _numbers(github_look.followed(wanted), known.get("repository_ids") or {})
        told["kept_files"] = {} if destroy else _kept(state, wanted["files"])
        if self.direct:
            return Found(values=told)
        wanted, classes = {} if destroy else self._lists(), self._classes()
        then = self._lists_then(known)
        before = listed(then.get(ACCESS, b"").decode()) or AccessList()
        parts = proposal.parts_between(before, then.get(RUNNERS), wanted, classes)
        pairs = proposal.pairs(before, classes), proposal.pairs(proposal.listed(wanted), classes)
        return Found(values=told, items=[part.as_json() for part in parts], parts=parts, pairs=pairs)

    def _lists_then(self, known: JSON) -> dict[str, bytes]:
        """The lists at GitHub, as far as they are known: as the last apply proposed them, if its request is merged.

        While that waits they are as the last plan saw them; before the first apply there are none.
        """
        waits = proposal.load(self.deployment).url
        noted = known.get("there" if waits else "lists")
        if noted is None:
            return dict(self.before.lists) if identity(self.deployment) else {}
        return {name: text.encode() for name, text in noted.items()}


def _not_learned(stack: str) -> Diagnostic:
    detail = (
        f"The last apply of `{stack}` did not note the numbers of its repositories, and GitHub is not asked."
    )
    hint = f"its next apply notes them:\ncf-infra plan {stack}\ncf-infra apply {stack}"
    return Diagnostic("not-learned", detail=detail, hint=hint)


def _kept(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Files of an earlier way of delivery, which stay as they are."""
    return {
        str(r["index"]): str(r["values"]["content"])
        for r in resources(state.get("values") or {})
        if r.get("type") == FILE and str(r.get("index")) not in wanted
    }


def _numbers(names: Iterable[str], known: Mapping[str, int | None]) -> dict[str, int | None]:
    """The number of each repository; one that no repository has where it is not known. Parts count by names."""
    found: dict[str, int | None] = {}
    for place, name in enumerate(sorted(names)):
        found[name] = known[name] if name in known else -1 - place
    return found


def _replaced(files: dict[str, bytes], change: Any) -> dict[str, bytes]:
    main = change(orjson.loads(files["main.tf.json"]))
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return {**files, "main.tf.json": orjson.dumps(main, option=options)}
