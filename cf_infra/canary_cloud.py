"""Logins at clouds, for canaries: OpenStack through its own SDK; S3 and AWS by single requests that botocore signs.

Nothing of the machine's own settings takes part (clouds.yaml, OS_*, AWS_*, ~/.aws): only the delivered fields log in.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from cf_infra import openstack as cloud
from cf_infra.compile import MANAGED_BY
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import read_regular
from cf_infra.material import Material
from cf_infra.model import CredentialKind
from cf_infra.names import prefix
from cf_infra.openstack import Login
from cf_infra.rest import DIRECT, TIMEOUT, Say, is_local

if TYPE_CHECKING:
    import requests
    from openstack.connection import Connection

DEFAULT_REGION = "us-east-1"
"""Where a signature is for if nobody says another region; S3 services that have no regions take it, too."""
AUDIENCE = "sts.amazonaws.com"
ACTIVE_WITHIN = 300.0
"""Seconds that a server may take to become ACTIVE."""
LARGEST_TOKEN = 1 << 16


# --------------------------------------------------------------------------------------------------- OpenStack


def openstack(material: Material, login: Login | None) -> str:
    """A token, and the list of flavors. Raises Failure: login-refused, cloud-silent, cloud-refused."""
    with logged_in(material, login) as connection:
        count = sum(1 for _ in connection.compute.flavors(details=False))
    return f"logged in, sees {count} flavor{'s' * (count != 1)}"


@contextmanager
def logged_in(material: Material, login: Login | None) -> Iterator[Connection]:
    """A connection with the delivered fields; the SDK's faults inside of it become ours."""
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    cloud.quiet()
    config = OpenStackConfig(load_yaml_config=False, load_envvars=False, app_name=MANAGED_BY)
    options: dict[str, Any] = {"api_timeout": cloud.TIMEOUT, **_auth(material)}
    if login is not None:
        options |= {"cacert": login.cacert, "verify": not login.insecure, "interface": login.endpoint_type}
    region = material.fields.get("region") or (login.region if login else None)
    named = f"the cloud of {material.owner}"
    with cloud.explained(named, material.fields["auth_url"]):
        connection = Connection(config=config.get_one(region_name=region, **options))
    try:
        with cloud.explained(named, material.fields["auth_url"]):
            connection.session.get_token()  # authorize() would hide the kind of a fault
            yield connection
    finally:
        connection.close()


def _auth(material: Material) -> dict[str, Any]:
    fields = material.fields
    if material.kind is CredentialKind.APPLICATION_CREDENTIAL:
        auth = {name: fields[name] for name in _OF_APPLICATION}
        return {"auth_type": "v3applicationcredential", "auth": auth}
    auth = {name: fields[name] for name in _OF_USER}
    return {"auth_type": "v3password", "auth": {**auth, "user_domain_id": fields["domain_id"]}}


_OF_APPLICATION = ("auth_url", "application_credential_id", "application_credential_secret")
_OF_USER = ("auth_url", "username", "password", "project_id")


def boot(material: Material, flavor: str, image: str, network: str, say: Say, login: Login | None) -> str:
    """Boot and delete a server as the tenant. Raises Failure: also server-fault, still-there."""
    begun = time.monotonic()
    name = f"{prefix(material.owner)}-canary-{secrets.token_hex(4)}"
    marks = {"managed_by": MANAGED_BY, "stack": material.owner, "grant": "canary"}
    with logged_in(material, login) as tenant:
        wanted = {
            "flavor_id": _found(tenant.compute.find_flavor(flavor, ignore_missing=True), "flavor", flavor),
            "image_id": _found(tenant.image.find_image(image, ignore_missing=True), "image", image),
            "networks": [
                {
                    "uuid": _found(
                        tenant.network.find_network(network, ignore_missing=True), "network", network
                    )
                }
            ],
        }
        say(f"booting {name} ({flavor}, {image})")
        try:
            server = tenant.compute.create_server(name=name, metadata=marks, **wanted)
            cloud.wait_until_active(tenant, server.id, "server", ACTIVE_WITHIN)
        finally:
            # By name: it may have been made although its answer was lost.
            for left in list(tenant.compute.servers(details=False, name=f"^{re.escape(name)}$")):
                cloud.delete_server(tenant, left.id)
            say(f"deleted {name}")
    return f"booted and deleted a server of {flavor} with {image} in {time.monotonic() - begun:.0f} s"


def _found(found: Any, what: str, name: str) -> str:
    if found is None:
        raise Failure(Diagnostic("cloud-refused", detail=f"The tenant does not see the {what} `{name}`."))
    return str(found.id)


# ------------------------------------------------------------------------------------------------ S3 and AWS


def s3(fields: Mapping[str, str]) -> str:
    """Put an object into the bucket and delete it. Raises Failure: service-refused, service-silent."""
    bucket, region = fields["bucket"], fields.get("region", DEFAULT_REGION)
    base = fields.get("endpoint") or f"https://s3.{region}.amazonaws.com"
    key = f".cf-infra-canary/{secrets.token_hex(8)}"
    address = f"{base.rstrip('/')}/{bucket}/{quote(key)}"
    version = ""
    try:
        version = _signed("S3", "PUT", address, b"canary\n", fields, "s3").headers.get("x-amz-version-id", "")
    except Failure:
        # It may be there although its answer was lost; deleting what is not there is no fault in S3.
        with suppress(Failure):
            _sent_signed("DELETE", address, b"", fields, "s3")
        raise
    query = f"?{urlencode({'versionId': version})}" if version not in ("", "null") else ""
    _signed("S3", "DELETE", address + query, b"", fields, "s3")
    return f"put an object into the bucket {bucket} and deleted it"


def aws_key(fields: Mapping[str, str]) -> str:
    """Ask whose key it is (STS GetCallerIdentity, which needs no right)."""
    answer = _signed("AWS", "POST", _sts(fields), _form("GetCallerIdentity"), fields, "sts")
    return f"logged in as {_element(answer, 'Arn') or 'somebody'}"


def aws_role(fields: Mapping[str, str], token: str) -> str:
    """Assume the role for a quarter of an hour with an OIDC token; nothing is done with what comes back."""
    more = {
        "RoleArn": fields["role_arn"],
        "RoleSessionName": "cf-infra-canary",
        "DurationSeconds": "900",
        "WebIdentityToken": token,
    }
    answer = _sent("POST", _sts(fields), _form("AssumeRoleWithWebIdentity", more), _FORM)
    _judged("AWS", "POST", _sts(fields), answer)
    return f"the role {fields['role_arn'].partition(':role/')[2]} can be assumed"


def web_identity(environ: Mapping[str, str]) -> str | None:
    """The OIDC token that a job has: of GitHub Actions, or a file that AWS_WEB_IDENTITY_TOKEN_FILE names."""
    if file := environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        with_token = read_regular(Path(file), LARGEST_TOKEN, "the file of AWS_WEB_IDENTITY_TOKEN_FILE")
        return with_token.decode("ascii", "replace").strip()
    url, bearer = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not bearer:
        return None
    mark = "&" if "?" in url else "?"
    answer = _sent(
        "GET", f"{url}{mark}{urlencode({'audience': AUDIENCE})}", b"", {"Authorization": f"Bearer {bearer}"}
    )
    _judged("GitHub's OIDC service", "GET", url, answer)
    try:
        return str(answer.json()["value"])
    except (ValueError, KeyError, TypeError):
        detail = "GitHub's OIDC service answers without a token."
        raise Failure(Diagnostic("service-answer", detail=detail)) from None


_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def _form(action: str, more: Mapping[str, str] | None = None) -> bytes:
    return urlencode({"Action": action, "Version": "2011-06-15", **(more or {})}).encode()


def _sts(fields: Mapping[str, str]) -> str:
    return f"{fields.get('endpoint') or f'https://sts.{_region(fields)}.amazonaws.com'}".rstrip("/") + "/"


def _region(fields: Mapping[str, str]) -> str:
    return fields.get("region", DEFAULT_REGION)


def _signed(
    named: str, method: str, address: str, body: bytes, fields: Mapping[str, str], service: str
) -> requests.Response:
    answer = _sent_signed(method, address, body, fields, service)
    _judged(named, method, address, answer)
    return answer


def _sent_signed(
    method: str, address: str, body: bytes, fields: Mapping[str, str], service: str
) -> requests.Response:
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    key = Credentials(fields["access_key_id"], fields["secret_access_key"], fields.get("session_token"))
    asked = AWSRequest(method, address, data=body, headers=_FORM if service == "sts" else {})
    (S3SigV4Auth if service == "s3" else SigV4Auth)(key, service, _region(fields)).add_auth(asked)
    return _sent(method, address, body, dict(asked.headers.items()))


def _sent(method: str, address: str, body: bytes, headers: Mapping[str, str]) -> requests.Response:
    import requests

    local = is_local(address)
    try:
        with requests.Session() as session:
            session.trust_env = not local
            return session.request(
                method,
                address,
                data=body or None,
                headers={**headers},
                timeout=TIMEOUT,
                allow_redirects=False,
                proxies=DIRECT if local else None,
                auth=_unchanged,  # without it, requests would let a .netrc take the signature's place
            )
    except requests.RequestException as error:
        detail = f"{urlsplit(address).netloc} does not answer ({type(error).__name__})."
        raise Failure(Diagnostic("service-silent", detail=detail)) from None


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _judged(named: str, method: str, address: str, answer: requests.Response) -> None:
    if answer.ok:
        return
    code = _element(answer, "Code")
    said = f" ({code})" if code else ""
    path = urlsplit(address).path
    detail = f"{named}, {method} {path}: it answers {answer.status_code}{said}."
    raise Failure(Diagnostic("service-refused", detail=detail))


def _element(answer: requests.Response, name: str) -> str:
    """One element of an answer in XML; a parser is not let near what a stranger sends."""
    found = re.search(rf"<{name}>([A-Za-z0-9:/_.@+=,-]{{1,200}})</{name}>", answer.text[:100_000])
    return found[1] if found else ""
