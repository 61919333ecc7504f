"""Sinks that are services: Cirun's connection to a cloud, GitHub's organisation secrets, a Drone server's secrets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from cf_infra.cirun import Cirun
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.drone import Drone
from cf_infra.github import Github, github
from cf_infra.handing_over import handing_over, single
from cf_infra.material import Material
from cf_infra.model import CredentialKind, DroneSecretSink, GithubSecretSink, Settings
from cf_infra.rest import Say

CLOUD = "openstack"
"""What Cirun calls the only kind of cloud that we connect it to."""
CIRUN_FIELDS = ("username", "password", "auth_url", "project_id", "domain_id", "network")
"""What Cirun's connection to an OpenStack consists of (its documentation: cloud connect); no application credential."""
LARGEST_SECRET = 48 << 10
"""Bytes of an Actions secret (docs.github.com, "Limits for secrets")."""


@dataclass(frozen=True)
class ToCirun:
    """The login that Cirun makes machines with. It replaces what Cirun had for the same kind of cloud."""

    environ: Mapping[str, str] = field(repr=False)
    say: Say

    @property
    def place(self) -> str:
        """What receipts call it."""
        return f"Cirun, cloud {CLOUD}"

    def deliver(self, material: Material) -> None:
        """Connect Cirun to the cloud with this login."""
        with handing_over(self.place, material):
            _fits_cirun(material)
            with closing(Cirun(environ=self.environ, say=self.say)) as cirun:
                cirun.connect(CLOUD, {name: material.fields[name] for name in CIRUN_FIELDS})

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Cirun's API has no way to disconnect a cloud."""
        return [f"Disconnect the cloud {CLOUD} in Cirun's settings: `{owner}/{name}` is declared no more."]


def _fits_cirun(material: Material) -> None:
    if material.kind is not CredentialKind.USER:
        detail = f"Cirun takes users with a password, and no {material.kind}."
        raise Failure(Diagnostic("undelivered", detail=detail, hint="kind: user"))
    if missing := [name for name in CIRUN_FIELDS if not material.fields.get(name)]:
        detail = f"Cirun needs {some(missing)} as well."
        hint = "put what is missing into the JSON object of `source`"
        raise Failure(Diagnostic("undelivered", detail=detail, hint=hint))


@dataclass(frozen=True)
class ToGithub:
    """An organisation Actions secret; who sees it (visibility, repositories) stays as it is."""

    settings: Settings
    sink: GithubSecretSink
    environ: Mapping[str, str] = field(repr=False)
    say: Say

    @property
    def place(self) -> str:
        """What receipts call it."""
        named = f" {self.sink.name}" if self.sink.name else "s"
        return f"GitHub, the organisation secret{named} of {self.settings.organisation}"

    def deliver(self, material: Material) -> None:
        """Seal the value for GitHub and put it there. A new secret is for no repository yet: grants select those."""
        with handing_over(self.place, material):
            value = single(material, self.sink.field).encode()
            if len(value) > LARGEST_SECRET:
                detail = f"The value has {len(value):,} bytes, and GitHub takes {LARGEST_SECRET:,} (48 KB)."
                hint = "name one `field` at this sink in settings.yaml, so that it gets that alone"
                raise Failure(Diagnostic("undelivered", detail=detail, hint=hint))
            with closing(github(self.settings, self.say, self.environ)) as client:
                put_secret(client, self._name(material.name), value)

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Remove the secret from the organisation."""
        with closing(github(self.settings, self.say, self.environ)) as client:
            client.remove_secret(self._name(name))
        return []

    def _name(self, credential: str) -> str:
        return self.sink.name or credential.upper().replace("-", "_")


def put_secret(client: Github, name: str, value: bytes) -> None:
    """Give an organisation secret a value, sealed with the organisation's public key."""
    from nacl.exceptions import CryptoError
    from nacl.public import PublicKey, SealedBox

    known = client.secret(name)
    key = client.secrets_key()
    try:
        sealed = SealedBox(PublicKey(key.raw())).encrypt(value)
    except (CryptoError, ValueError):
        raise Failure(client.unusable_key()) from None
    body: dict[str, Any] = {"encrypted_value": b64encode(sealed).decode(), "key_id": key.key_id}
    body["visibility"] = known.visibility if known else "selected"
    if body["visibility"] == "selected":
        seen = client.secret_repositories(name) if known else []
        body["selected_repository_ids"] = sorted(one.id for one in seen)
    client.put_secret(name, body)


@dataclass(frozen=True)
class ToDrone:
    """A secret that all repositories of a namespace at a Drone server have."""

    sink: DroneSecretSink
    environ: Mapping[str, str] = field(repr=False)
    say: Say

    @property
    def place(self) -> str:
        """What receipts call it."""
        named = f"{self.sink.namespace}/{self.sink.name}" if self.sink.name else f"{self.sink.namespace}/NAME"
        return f"Drone at {self.sink.server}, the secret {named}"

    def deliver(self, material: Material) -> None:
        """Make the secret, or give it the new value."""
        with handing_over(self.place, material):
            value = single(material, self.sink.field)
            self._asked(
                lambda drone: drone.put_secret(
                    self.sink.namespace, self._name(material.name), value, self.sink.pull_requests
                )
            )

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Remove the secret."""
        self._asked(lambda drone: drone.remove_secret(self.sink.namespace, self._name(name)))
        return []

    def _asked(self, ask: Callable[[Drone], None]) -> None:
        variable = self.sink.token.removeprefix("env ")
        with closing(Drone.from_variable(self.sink.server, variable, self.environ, self.say)) as drone:
            ask(drone)

    def _name(self, credential: str) -> str:
        return self.sink.name or credential.replace("-", "_")
