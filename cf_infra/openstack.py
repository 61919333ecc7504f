"""OpenStack itself, asked through openstacksdk and not through OpenTofu: who we are, what is there, what is gone."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cf_infra.compile import MANAGED_BY
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.mask import SHOWN, Masker
from cf_infra.names import SANDBOX as SANDBOX
from cf_infra.names import is_sandbox as is_sandbox

if TYPE_CHECKING:
    from openstack.connection import Connection

TIMEOUT = 30.0
"""Seconds that a cloud may take for one answer."""
SECRET = ("password", "application_credential_secret", "token", "secret", "passcode")
"""What clouds.yaml may hold below `auth` that no message shows."""
TOKEN = re.compile(r"gAAAAA[A-Za-z0-9_=-]+")
"""Keystone's tokens (Fernet): a service that repeats a request in its answer repeats ours."""
BUILT_WITHIN = 600.0
"""Seconds that a server may be in BUILD."""
DELETED_WITHIN = 120.0
"""Seconds that Nova may take to forget a server that was deleted."""


@dataclass(frozen=True)
class Login:
    """How a cloud is reached. Holds no secret: OpenTofu and the SDK read those from clouds.yaml themselves."""

    cloud: str
    clouds_yaml: Path | None
    auth_url: str
    region: str | None
    endpoint_type: str | None
    cacert: str | None
    insecure: bool

    def environment(self) -> dict[str, str]:
        """What a child process needs to find the same cloud."""
        return {"OS_CLIENT_CONFIG_FILE": str(self.clouds_yaml)} if self.clouds_yaml else {}

    def variables(self, admin: bool) -> dict[str, Any]:
        """The variables of the compiled configuration that come from clouds.yaml."""
        found: dict[str, Any] = {"cloud": self.cloud}
        if admin:
            found |= {"auth_url": self.auth_url, "region": self.region, "endpoint_type": self.endpoint_type}
            found |= {"cacert_file": self.cacert, "insecure": self.insecure}
        return found


@dataclass(frozen=True)
class Server:
    """One server as Nova tells it. `flavor` and `image` are names; the image's is known of marked servers only."""

    id: str
    name: str
    status: str
    grant: str
    project_id: str
    flavor: str
    image: str | None
    host: str | None
    addresses: tuple[str, ...] = ()
    fault: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


def login(cloud: str, sandbox: Path) -> Login:
    """How `cloud` is reached, by clouds.yaml. Raises Failure("no-cloud") if it is not there."""
    from openstack.config import OpenStackConfig
    from openstack.exceptions import ConfigException

    files = [str(sandbox / "clouds.yaml")] if is_sandbox(cloud) else None
    config = OpenStackConfig(config_files=files, load_envvars=files is None, app_name=MANAGED_BY)
    if cloud not in config.get_cloud_names() or config.config_filename is None:
        raise Failure(_no_cloud(cloud, config))
    try:
        region = config.get_one(cloud=cloud, validate=False)
    except ConfigException as error:
        raise Failure(
            Diagnostic("no-cloud", detail=f"clouds.yaml cannot be used for `{cloud}`: {error}.")
        ) from None
    verify, _ = region.get_requests_verify_args()
    return Login(
        cloud=cloud,
        clouds_yaml=Path(config.config_filename).resolve(),
        auth_url=str(region.config.get("auth", {}).get("auth_url", "")),
        region=region.region_name or None,
        endpoint_type=str(region.config.get("interface") or "") or None,
        cacert=verify if isinstance(verify, str) else None,
        insecure=verify is False,
    )


def _no_cloud(cloud: str, config: Any) -> Diagnostic:
    if is_sandbox(cloud):
        return Diagnostic(
            "no-cloud", detail="The sandbox of this folder does not run.", hint="cf-infra sandbox up"
        )
    names = sorted({*config.get_cloud_names()} - {"envvars", "defaults"})  # the SDK's own names for none
    known = f"It has: {', '.join(names[:8])}." if names else "There is none, or it is empty."
    hint = f"add `{cloud}` to ~/.config/openstack/clouds.yaml, or use another:\ncf-infra plan --cloud STACK=sandbox"
    return Diagnostic("no-cloud", detail=f"`{cloud}` is not in clouds.yaml. {known}", hint=hint)


def quiet() -> None:
    """Keep the SDK from writing about logins that fail: we tell it ourselves."""
    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)


@contextmanager
def connected(login: Login) -> Iterator[Connection]:
    """A connection that has logged in. Raises Failure: login-refused, cloud-silent, cloud-refused."""
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    quiet()
    with explained(login.cloud, login.auth_url):
        config = OpenStackConfig(
            config_files=[str(login.clouds_yaml)], load_envvars=False, app_name=MANAGED_BY
        )
        region = config.get_one(cloud=login.cloud, api_timeout=TIMEOUT)
        connection = Connection(config=region)
    auth = region.config.get("auth", {})
    hidden = [value for name in SECRET if isinstance(value := auth.get(name), str)]
    try:
        with explained(login.cloud, login.auth_url, hidden):
            connection.session.get_token()  # authorize() would hide the kind of a fault
            yield connection
    finally:
        connection.close()


def as_user(login: Login, user: Mapping[str, str], password: str) -> Connection:
    """A connection of somebody else than clouds.yaml names; `user` has username, and project_name or project_id."""
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    auth = {"auth_url": login.auth_url, "password": password, "user_domain_id": "default", **user}
    if "project_name" in user:
        auth["project_domain_id"] = "default"
    config = OpenStackConfig(load_yaml_config=False, load_envvars=False, app_name=MANAGED_BY)
    options: dict[str, Any] = {"cacert": login.cacert, "verify": not login.insecure, "api_timeout": TIMEOUT}
    region = config.get_one(auth=auth, region_name=login.region, interface=login.endpoint_type, **options)
    return Connection(config=region)


def works(connection: Connection) -> bool:
    """Does its login work? Raises whatever else is wrong."""
    from keystoneauth1 import exceptions as keystone

    try:
        connection.session.get_token()
    except (keystone.Unauthorized, keystone.NotFound):  # NotFound: an application credential that is gone
        return False
    return True


def token_works(connection: Connection) -> bool:
    """Does Nova still take the token that the connection has? It asks for no other one."""
    from keystoneauth1 import exceptions as keystone

    try:
        connection.session.get(
            "/flavors?limit=1",
            endpoint_filter={
                "service_type": "compute",
                "interface": connection.config.get_interface("compute"),
            },
            allow_reauth=False,
        )
    except (keystone.Unauthorized, keystone.NotFound):
        return False
    return True


@contextmanager
def explained(cloud: str, auth_url: str = "", hidden: Iterable[str] = ()) -> Iterator[None]:
    """Turns the SDK's errors into ours, without what they say of addresses and headers; `hidden` is masked."""
    from keystoneauth1 import exceptions as keystone
    from openstack import exceptions as sdk

    try:
        yield
    except (
        keystone.Unauthorized,
        keystone.NotFound,
        keystone.MissingRequiredOptions,
        keystone.AuthPluginException,
    ):
        detail = f"`{cloud}` refuses the login of clouds.yaml: wrong, expired, or for another project."
        hint = f"try it by itself:\nopenstack --os-cloud {cloud} token issue"
        raise Failure(Diagnostic("login-refused", detail=detail, hint=hint)) from None
    except (
        keystone.ConnectFailure,
        keystone.ConnectTimeout,
        keystone.DiscoveryFailure,
        keystone.RetriableConnectionFailure,
    ):
        where = f" at {auth_url}" if auth_url else ""
        hint = (
            "cf-infra sandbox up"
            if is_sandbox(cloud)
            else "look at the donor's status page; then run the same again"
        )
        raise Failure(
            Diagnostic("cloud-silent", detail=f"`{cloud}`{where} does not answer.", hint=hint)
        ) from None
    except sdk.ForbiddenException as error:
        detail = f"`{cloud}` says that the login may not do this."
        hint = "look at `rights:` in the stack file: admin needs the role admin"
        if "quota" in str(error).lower():  # Nova and Neutron refuse what is too much with 403, too
            detail = f"`{cloud}` says: {_first_line(Masker(hidden).text(str(error)))}."
            hint = "see what runs in the project; end something, or have the quota raised"
        raise Failure(Diagnostic("cloud-refused", detail=detail, hint=hint)) from None
    except (sdk.SDKException, keystone.ClientException) as error:
        said = Masker(hidden).text(TOKEN.sub(SHOWN, str(error)))  # before it is cut
        words = _first_line(said) or type(error).__name__
        raise Failure(Diagnostic("cloud-refused", detail=f"`{cloud}` says: {words}.")) from None


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:300].rstrip(".")


def servers(connection: Connection, stack: str, admin: bool) -> list[Server]:
    """All servers that carry the marks of `stack`, wherever they came from."""
    marks = {"managed_by": MANAGED_BY, "stack": stack}.items()
    everything = connection.compute.servers(details=True, all_projects=admin)
    found = [s for s in everything if marks <= (s.metadata or {}).items()]
    ids = {(s.image or {}).get("id") for s in found} - {None}
    images = {image_id: _image_name(connection, str(image_id)) for image_id in ids}
    return sorted((_server(s, images) for s in found), key=lambda s: (s.grant, s.id))


def settled_servers(
    connection: Connection, stack: str, admin: bool, say: Callable[[str], None]
) -> list[Server]:
    """As `servers`, as soon as none is being built any more, or after ten minutes.

    A killed run may have begun some: OpenTofu refuses to take over a server that is not finished.
    """
    end = time.monotonic() + BUILT_WITHIN
    told = False
    while True:
        found = servers(connection, stack, admin)
        building = [server.name for server in found if server.status == "BUILD"]
        if not building or time.monotonic() > end:
            return found
        if not told:
            say(f"waiting for what is still being built: {some(building)}")
        told = True
        time.sleep(1.0)


def _image_name(connection: Connection, image_id: str) -> str | None:
    from openstack import exceptions as sdk

    try:
        return str(connection.image.get_image(image_id).name)
    except sdk.NotFoundException:
        return None


def _server(s: Any, images: Mapping[str | None, str | None] | None = None) -> Server:
    addresses = tuple(a["addr"] for nets in (s.addresses or {}).values() for a in nets if "addr" in a)
    return Server(
        id=s.id,
        name=s.name,
        status=s.status,
        grant=s.metadata.get("grant", ""),
        project_id=s.project_id or "",
        flavor=str((s.flavor or {}).get("original_name") or (s.flavor or {}).get("id") or ""),
        image=(images or {}).get((s.image or {}).get("id")),
        host=s.hypervisor_hostname or None,
        addresses=addresses,
        fault=str((s.fault or {}).get("message", "")) if s.fault else "",
        metadata=dict(s.metadata or {}),
        created=str(getattr(s, "created_at", None) or ""),
    )


def public_image(connection: Connection, name: str) -> str | None:
    """The id of the newest image of a name that everybody may use; None if there is none."""
    found = [(i.created_at or "", i.id) for i in connection.image.images(name=name, visibility="public")]
    return str(max(found)[1]) if found else None


def flavor_ids(connection: Connection) -> dict[str, str]:
    """The ids of all flavors that we see, by name."""
    return {str(flavor.name): str(flavor.id) for flavor in connection.compute.flavors()}


def server_by_id(connection: Connection, server_id: str) -> Server | None:
    """The server, or None if Nova does not know it any more."""
    from openstack import exceptions as sdk

    try:
        return _server(connection.compute.get_server(server_id))
    except sdk.NotFoundException:
        return None


def wait_until_active(
    connection: Connection, server_id: str, what: str, within: float, hint: str = ""
) -> None:
    """Wait until a server runs; `what` it is called in a message. Raises Failure("server-fault") with Nova's reason."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        seen = server_by_id(connection, server_id)
        if seen is not None and seen.status == "ACTIVE":
            return
        if seen is None or seen.status == "ERROR":
            why = (seen.fault or "Nova gives no reason") if seen is not None else "it is gone"
            raise Failure(Diagnostic("server-fault", detail=f"The {what} did not start: {why}.", hint=hint))
        time.sleep(0.3)
    raise Failure(Diagnostic("server-fault", detail=f"The {what} was not ACTIVE after {within:.0f} s."))


def delete_server(connection: Connection, server_id: str) -> None:
    """Delete a server and wait until it is gone. Raises Failure if it is still there after two minutes."""
    connection.compute.delete_server(server_id, ignore_missing=True)
    end = time.monotonic() + DELETED_WITHIN
    # The SDK's own wait ends when Nova shows DELETED, some time before Nova forgets the server.
    while server_by_id(connection, server_id) is not None:
        if time.monotonic() > end:
            detail = f"The server {server_id} is still there, two minutes after it was deleted."
            raise Failure(
                Diagnostic("still-there", detail=detail, hint="ask the cloud's operators to look at it")
            )
        time.sleep(0.5)


def gpus_of(connection: Connection, server_id: str) -> list[str]:
    """The GPUs that Placement counts for a server: `gpu-01 0000:a3:00.0`. Needs admin."""
    compute = connection.session
    filter_ = {"service_type": "placement", "interface": "public"}
    version = {"OpenStack-API-Version": "placement 1.36"}
    answer = compute.get(f"/allocations/{server_id}", endpoint_filter=filter_, headers=version)
    found = []
    for provider, allocation in answer.json().get("allocations", {}).items():
        for resource, count in allocation.get("resources", {}).items():
            if resource.startswith("CUSTOM_"):
                row = compute.get(
                    f"/resource_providers/{provider}", endpoint_filter=filter_, headers=version
                ).json()
                found += [row["name"].replace("_", " ", 1)] * count
    return sorted(found)


def exists(ask: Callable[[], object]) -> bool:
    """False if the cloud answers that there is no such thing."""
    from keystoneauth1 import exceptions as keystone
    from openstack import exceptions as sdk

    try:
        ask()
    except (sdk.NotFoundException, keystone.NotFound):
        return False
    return True
