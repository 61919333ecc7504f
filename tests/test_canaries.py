"""Real logins with delivered credentials, at stand-ins; what fails is told without any value."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from drone_standin import DroneStandin
from keys_of_tests import RSA, RSA_PEM
from keystone_standin import KeystoneStandin

from cf_infra import openstack, rest
from cf_infra.canaries import FORM_ONLY, SKIPPED, canary, canary_of, prove_all
from cf_infra.diagnostics import Diagnostic, Failure, render
from cf_infra.making import SECRET_FIELDS
from cf_infra.material import Material
from cf_infra.model import CredentialKind, Settings
from tests.github import Standin, State
from tests.github.call import Answer
from tests.github.server import Listener
from tests.github.state import Secret

C = CredentialKind
VALUE = "Zq81-value-of-a-test"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a service that fails."""
    monkeypatch.setattr(rest, "BACKOFF", (0.0, 0.0, 0.0))


def material(kind: CredentialKind, name: str = "one", **fields: str) -> Material:
    return Material("lab", name, "218", kind, fields, SECRET_FIELDS & fields.keys())


def said(given: Material, settings: Settings | None = None, environ: Mapping[str, str] | None = None) -> str:
    return canary(given, settings or Settings(), environ or {})


def fault(given: Material, settings: Settings | None = None, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(Failure) as caught:
        said(given, settings, environ)
    assert [one.code for one in caught.value.diagnostics] == ["canary-failed"]
    text = render(caught.value.diagnostics)
    for value in given.hidden():
        assert value not in text
        assert value not in str(caught.value)
    assert "`lab/one`, generation 218, does not work. " in text
    return text


# --------------------------------------------------------------------------------------------------- OpenStack


@pytest.fixture
def keystone() -> Iterator[KeystoneStandin]:
    with KeystoneStandin() as standin:
        yield standin


def user(keystone: KeystoneStandin, **more: str) -> Material:
    keystone.users["robot"] = VALUE
    known = {"username": "robot", "password": VALUE, "project_id": "p1", "domain_id": "default"}
    return material(C.USER, **{**known, "auth_url": keystone.auth_url, "network": "cf-lab-net", **more})


def application(keystone: KeystoneStandin) -> Material:
    keystone.credentials["id-1"] = VALUE
    return material(
        C.APPLICATION_CREDENTIAL,
        auth_url=keystone.auth_url,
        application_credential_id="id-1",
        application_credential_secret=VALUE,
    )


def test_a_login_with_the_delivered_fields_and_nothing_else(
    keystone: KeystoneStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "AUTH_URL", "PROJECT_ID", "CLOUD"):
        monkeypatch.setenv(f"OS_{name}", "somebody-elses")
    assert said(user(keystone)) == "logged in, sees 3 flavors"
    assert said(application(keystone)) == "logged in, sees 3 flavors"
    keystone.flavors = 1
    assert said(user(keystone)) == "logged in, sees 1 flavor"
    assert keystone.asked[0]["password"]["user"]["domain"] == {"id": "default"}


def test_a_login_that_is_refused(keystone: KeystoneStandin) -> None:
    for given in (user(keystone), application(keystone)):
        keystone.users = {"robot": "another"}
        keystone.credentials = {"id-1": "another"}
        assert "The cloud refuses the login: wrong, expired, deleted" in fault(given)
    given = application(keystone)
    keystone.credentials = {}  # a deleted application credential answers 404, and not 401
    assert "The cloud refuses the login" in fault(given)


def test_a_cloud_that_logs_in_and_answers_nothing_else(
    keystone: KeystoneStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone.compute = 403
    assert "may not do this" in fault(user(keystone))
    keystone.compute = 500
    assert "the cloud of lab" in fault(user(keystone))
    monkeypatch.setattr(openstack, "TIMEOUT", 0.3)
    keystone.delay = 1.0
    assert "does not answer" in fault(user(keystone))


def test_a_cloud_that_is_not_there(keystone: KeystoneStandin) -> None:
    assert "does not answer" in fault(user(keystone, auth_url="http://127.0.0.1:9/v3"))


# ------------------------------------------------------------------------------------------------------ GitHub

ORG = "conda-forge"
TOKEN = "ghp_token-of-a-test-of-canaries"


@pytest.fixture
def github() -> Iterator[Standin]:
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    with Standin(state) as standin:
        yield standin


def at(github: Standin) -> Settings:
    return Settings.model_validate({"github": {"api": github.url}})


def test_a_token_reads_the_selection_that_it_is_for(github: Standin) -> None:
    one = github.state.add_repository("one-feedstock")
    two = github.state.add_repository("two-feedstock")
    app = github.state.add_installation("namespace", one, two)
    github.state.secrets["UPLOAD"] = Secret(selected={one.id}, name="UPLOAD")
    assert "for all repositories" in said(
        material(C.GITHUB_TOKEN, token=TOKEN, selection="UPLOAD"), at(github)
    )
    github.state.secrets["UPLOAD"].visibility = "selected"
    assert said(material(C.GITHUB_TOKEN, token=TOKEN, selection="UPLOAD"), at(github)) == (
        "sees 1 repository of the secret UPLOAD"
    )
    assert said(material(C.GITHUB_TOKEN, token=TOKEN, installation=str(app.id)), at(github)) == (
        f"sees 2 repositories of the app {app.id}"
    )
    assert said(material(C.GITHUB_TOKEN, token=TOKEN, repository="one-feedstock"), at(github)) == (
        "sees the repository conda-forge/one-feedstock"
    )


def test_a_token_that_does_not_see_what_it_is_for(github: Standin) -> None:
    here = at(github)
    assert "not know it: wrong, expired or revoked" in fault(
        material(C.GITHUB_TOKEN, token=VALUE, repository=".cirun"), here
    )
    gone = material(C.GITHUB_TOKEN, token=TOKEN, repository="gone")
    assert "does not see the repository conda-forge/gone" in fault(gone, here)
    assert "does not see the organisation secret GONE" in fault(
        material(C.GITHUB_TOKEN, token=TOKEN, selection="GONE"), here
    )
    assert "is not at GitHub" in fault(material(C.GITHUB_TOKEN, token=TOKEN, installation="7"), here)
    github.fail_next(503, times=4)
    assert "status 503" in fault(gone, here)


@pytest.mark.parametrize("selection", ["selected", "all"])
def test_an_app_is_itself_and_leaves_no_token_behind(selection: str, github: Standin) -> None:
    one = github.state.add_repository("one-feedstock")
    github.state.add_repository("two-feedstock")
    installed = github.state.add_installation("namespace", one, selection=selection)
    github.state.add_app(installed, RSA.public_key())
    given = material(C.GITHUB_APP_KEY, app_id=str(installed.app_id), private_key=RSA_PEM)
    count = "1 repository (selected)" if selection == "selected" else "2 repositories (all)"
    assert said(given, at(github)) == f"is the app namespace, sees {count}"
    assert set(github.state.tokens) == {TOKEN}
    github.fail_next(500, times=4, matching="GET /installation/repositories")
    assert "status 500" in fault(given, at(github))
    assert set(github.state.tokens) == {TOKEN}, "the token is revoked whatever happens"


def test_an_app_whose_key_was_revoked_or_that_is_gone(github: Standin) -> None:
    here = at(github)
    given = material(C.GITHUB_APP_KEY, app_id="7", private_key=RSA_PEM)
    assert "GitHub answers 404. It says: Integration not found" in fault(given, here)
    installed = github.state.add_installation("namespace")
    app = github.state.add_app(installed, RSA.public_key())
    given = material(C.GITHUB_APP_KEY, app_id=str(app.id), private_key=RSA_PEM)
    github.state.installations.clear()
    assert "GitHub answers 404" in fault(given, here)
    del app.key
    app.key = _OtherKey()
    assert "not know it: wrong, expired or revoked" in fault(given, here)
    broken = material(C.GITHUB_APP_KEY, app_id="7", private_key="-----BEGIN nothing-----")
    assert "no RSA key in PEM form" in fault(broken, here)


class _OtherKey:
    """A public key that has signed nothing."""

    def verify(self, *_: Any) -> None:
        from cryptography.exceptions import InvalidSignature

        raise InvalidSignature


# ------------------------------------------------------------------------------------------------------- Drone


@pytest.fixture
def drone() -> Iterator[DroneStandin]:
    with DroneStandin() as standin:
        yield standin


def test_drone_takes_its_token_and_its_rpc_secret(drone: DroneStandin) -> None:
    robot = material(C.DRONE_TOKEN, token=drone.token, server=drone.url, username="Robot")
    assert said(robot) == "logged in as robot, an admin"
    rpc = material(C.DRONE_RPC_SECRET, rpc_secret=drone.rpc_secret, server=drone.url)
    assert said(rpc) == "the server takes it from runners"
    assert drone.log == ["GET /api/user", "POST /rpc/v2/ping"]


def test_drone_takes_neither(drone: DroneStandin) -> None:
    robot = material(C.DRONE_TOKEN, token=VALUE, server=drone.url, username="robot")
    assert "not know it: wrong, expired or revoked" in fault(robot)
    assert "not know it" in fault(material(C.DRONE_RPC_SECRET, rpc_secret=VALUE, server=drone.url))
    other = material(C.DRONE_TOKEN, token=drone.token, server=drone.url, username="somebody")
    assert "another user's than somebody's" in fault(other)
    drone.faults = [404]
    assert "has no /rpc/v2" in fault(material(C.DRONE_RPC_SECRET, rpc_secret=VALUE, server=drone.url))
    drone.user = {"id": 1}
    assert "not as Drone describes a user" in fault(other)
    assert "nobody listens there" in fault(material(C.DRONE_TOKEN, token=VALUE, server="http://127.0.0.1:9"))


def test_without_an_address_nothing_is_tried() -> None:
    for kind, field in ((C.DRONE_TOKEN, "token"), (C.DRONE_RPC_SECRET, "rpc_secret")):
        text = said(material(kind, **{field: VALUE}))
        assert text == f"{SKIPPED}the stack file does not say which `server` takes it"
    assert said(material(C.SECRET, value=VALUE)) == FORM_ONLY
    assert said(material(C.SSH_KEY, private_key=VALUE)) == FORM_ONLY


# -------------------------------------------------------------------------------------------------- S3 and AWS


class Aws:
    """moto's S3 and STS, which check signatures from `strict` on."""

    def __init__(self) -> None:
        from botocore.session import Session
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.url = "http://{}:{}".format(*self.server.get_host_and_port())
        self.session = Session()
        self.policy("inf")
        iam = self.client("iam", "any", "thing")
        iam.create_user(UserName="ci")
        key = iam.create_access_key(UserName="ci")["AccessKey"]
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="ci", PolicyName="ci", PolicyDocument=document)
        self.role = iam.create_role(RoleName="ci", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        self.key = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
        self.s3 = self.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
        for bucket in ("cf-state", "cf-versions"):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket="cf-versions", VersioningConfiguration={"Status": "Enabled"})

    def client(self, service: str, key: str, secret: str) -> Any:
        return self.session.create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    def policy(self, free: str) -> None:
        """Have so many requests go without a right signature."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", free.encode(), {"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    made = Aws()
    yield made
    made.policy("inf")
    made.server.stop()


@pytest.fixture
def strict(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "somebody-elses")
    aws.policy("0")
    return aws


@pytest.mark.parametrize("bucket", ["cf-state", "cf-versions"])
def test_an_object_is_put_and_deleted_and_nothing_stays(bucket: str, strict: Aws) -> None:
    given = material(C.S3_KEY, **strict.key, bucket=bucket, endpoint=strict.url)
    assert said(given) == f"put an object into the bucket {bucket} and deleted it"
    left = strict.s3.list_object_versions(Bucket=bucket)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


def test_a_key_that_s3_does_not_take(strict: Aws) -> None:
    known = {**strict.key, "bucket": "cf-state", "endpoint": strict.url}
    for wrong, why in (
        ({"secret_access_key": VALUE}, "403 (SignatureDoesNotMatch)"),
        ({"access_key_id": "AKIANOBODY"}, "403 (InvalidAccessKeyId)"),
        ({"bucket": "cf-gone"}, "404 (NoSuchBucket)"),
        ({"endpoint": "http://127.0.0.1:9"}, "127.0.0.1:9 does not answer"),
    ):
        assert why in fault(material(C.S3_KEY, **{**known, **wrong}))


def test_a_key_of_aws_says_whose_it_is(strict: Aws) -> None:
    given = material(C.AWS_ACCESS_KEY, **strict.key, endpoint=strict.url)
    assert said(given) == "logged in as arn:aws:iam::123456789012:user/ci"
    wrong = material(C.AWS_ACCESS_KEY, **{**strict.key, "secret_access_key": VALUE}, endpoint=strict.url)
    assert "403 (SignatureDoesNotMatch)" in fault(wrong)


class Oidc:
    """The service that gives a job of GitHub Actions its token, and an STS that does not take it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.token: dict[str, str] = {"value": "header.claims.signature"}
        self.listener = Listener(self._answer, self.asked.append, "")  # type: ignore[arg-type]

    def _answer(self, request: Any) -> tuple[Answer, float]:
        self.asked.append((request.target, request.headers.get("authorization", "")))
        if request.method == "POST":
            return Answer(
                403, b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
            ), 0.0
        return Answer(200, self.token), 0.0


@pytest.fixture
def oidc() -> Iterator[Oidc]:
    made = Oidc()
    made.listener.start()
    yield made
    made.listener.stop()


def test_a_role_is_assumed_with_a_jobs_token(aws: Aws, oidc: Oidc, tmp_path: Any) -> None:
    aws.policy("inf")
    given = material(C.AWS_ROLE, role_arn=aws.role, endpoint=aws.url)
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{oidc.listener.url}/token?api-version=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "bearer-of-the-job",
    }
    assert said(given, environ=environ) == "the role ci can be assumed"
    assert oidc.asked == [("/token?api-version=2&audience=sts.amazonaws.com", "Bearer bearer-of-the-job")]
    file = tmp_path / "token"
    file.write_text("header.claims.signature\n")
    assert said(given, environ={"AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}) == "the role ci can be assumed"
    refusing = material(C.AWS_ROLE, role_arn=aws.role, endpoint=oidc.listener.url)
    assert "403 (AccessDenied)" in fault(refusing, environ=environ)
    oidc.token = {}
    assert "without a token" in fault(given, environ=environ)


def test_without_a_token_the_role_is_skipped_and_says_so() -> None:
    text = said(material(C.AWS_ROLE, role_arn="arn:aws:iam::123456789012:role/ci"))
    assert text.startswith(f"{SKIPPED}there is no OIDC token here")


# ------------------------------------------------------------------------------------------------- many at once


def many(count: int) -> list[Material]:
    return [material(C.SECRET, name=f"c{n}", value=VALUE) for n in range(count)]


def test_all_are_tried_side_by_side_and_told_in_their_order() -> None:
    together = threading.Barrier(8, timeout=10)

    def slow(given: Material) -> str:
        together.wait()
        return f"seen {given.name}"

    told: list[str] = []
    proofs = prove_all([(one, slow) for one in many(16)], told.append, workers=8)
    assert [proof.said for proof in proofs] == [f"seen c{n}" for n in range(16)]
    assert all(proof.proven and not proof.skipped for proof in proofs)
    assert len(told) == 16
    assert told[-1].startswith("[16/16] lab/c")
    assert prove_all([]) == []


def test_one_that_fails_hides_no_other() -> None:
    def mixed(given: Material) -> str:
        if given.name == "c1":
            raise Failure(Diagnostic("canary-failed", detail="no"))
        if given.name == "c2":
            raise RuntimeError(VALUE)
        return f"{SKIPPED}no server" if given.name == "c3" else "seen"

    told: list[str] = []
    proofs = prove_all([(one, mixed) for one in many(5)], told.append)
    assert [proof.proven for proof in proofs] == [True, False, False, False, True]
    assert [proof.skipped for proof in proofs] == [False, False, False, True, False]
    assert [one.detail for one in proofs[1].diagnostics] == ["no"]
    text = render(proofs[2].diagnostics)
    assert "The login ended with RuntimeError. This is a bug in cf-infra." in text
    assert VALUE not in text
    assert sum("FAILED" in line for line in told) == 2


def test_one_that_is_stuck_is_given_up_and_holds_up_nobody() -> None:
    end = threading.Event()

    def stuck(given: Material) -> str:
        if given.name in ("c0", "c1"):
            end.wait(30)
        return "seen"

    begun = time.monotonic()
    proofs = prove_all([(one, stuck) for one in many(6)], workers=2, longest=0.3)
    assert time.monotonic() - begun < 10
    assert [proof.proven for proof in proofs] == [False, False, True, True, True, True]
    assert "no end after 0 s and was given up" in render(proofs[0].diagnostics)
    end.set()


def test_ctrl_c_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    logins = [(one, lambda given: "seen" if given.name == "c0" else str(end.wait(30))) for one in many(3)]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        prove_all(logins, interrupt)
    assert time.monotonic() - begun < 5
    end.set()


def test_fifty_logins_side_by_side(keystone: KeystoneStandin) -> None:
    given = user(keystone)
    proofs = prove_all([(given, canary_of(Settings(), {}))] * 50)
    assert [render(proof.diagnostics) for proof in proofs if proof.diagnostics] == []
    assert {proof.said for proof in proofs} == {"logged in, sees 3 flavors"}
