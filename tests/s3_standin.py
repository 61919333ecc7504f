"""A stand-in for S3 on this machine (moto's server), with a bucket and people who may or may not use it."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from moto import settings as moto_settings
from moto.core.responses import ActionAuthenticatorMixin
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer

from cf_infra.bucket import LOGIN
from cf_infra.deployment import Deployment
from cf_infra.model import State, StateKind
from cf_infra.state_place import backend
from tests.leaks import WATCH

BUCKET = "cf-infra-states"
REGION = "eu-central-1"
MAY = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
"""What docs/state.md says that a login has to be allowed."""
SESSION = botocore.session.get_session()
"""One for all: it reads what it must know of a service once."""
Keys = tuple[str, str]


class S3:
    """The server: `operator` may do what MAY says, `reader` may only read, `stranger` nothing."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = self.client("s3", ("root", "root"))
        self.root.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.operator = self._user("operator", MAY)
        self.reader = self._user("reader", MAY[:2])
        self.stranger = self._user("stranger", ())
        moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from here on everybody is asked who he is

    def client(self, service: str, keys: Keys) -> Any:
        return SESSION.create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
        )

    def _user(self, name: str, may: tuple[str, ...]) -> Keys:
        iam = self.client("iam", ("root", "root"))
        iam.create_user(UserName=name)
        if may:
            self._allow(name, [{"Effect": "Allow", "Action": list(may), "Resource": "*"}])
        made = iam.create_access_key(UserName=name)["AccessKey"]
        WATCH.knows(f"the bucket's key of {name}", made["SecretAccessKey"])
        return made["AccessKeyId"], made["SecretAccessKey"]

    @contextmanager
    def refusing(self, key: str) -> Iterator[None]:
        """Meanwhile nobody may write this object."""
        allowed = {"Effect": "Allow", "Action": list(MAY), "Resource": "*"}
        denied = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/{key}"}
        self._allow("operator", [allowed, denied])
        try:
            yield
        finally:
            self._allow("operator", [allowed])

    def _allow(self, name: str, statements: list[dict[str, Any]]) -> None:
        asked, moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = (
            moto_settings.INITIAL_NO_AUTH_ACTION_COUNT,
            float("inf"),
        )
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam = self.client("iam", ("root", "root"))
        iam.put_user_policy(UserName=name, PolicyName="states", PolicyDocument=policy)
        moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = asked

    @property
    def objects(self) -> dict[str, bytes]:
        """All that the bucket has, by key."""
        client = self.client("s3", self.operator)
        rows = client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
        return {row["Key"]: client.get_object(Bucket=BUCKET, Key=row["Key"])["Body"].read() for row in rows}

    def put(self, key: str, content: bytes) -> None:
        self.client("s3", self.operator).put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client("s3", self.operator).delete_object(Bucket=BUCKET, Key=key)

    def values(self, prefix: str | None = "states") -> dict[str, str]:
        """`state` of settings.yaml."""
        found = {"kind": "s3", "bucket": BUCKET, "region": REGION, "endpoint": self.url}
        return {**found, "prefix": prefix} if prefix is not None else found

    def settings(self) -> bytes:
        """The same as text; more of `state` may follow."""
        return ("state:\n" + "".join(f"  {key}: {value}\n" for key, value in self.values().items())).encode()

    def backend(self, stack: str) -> dict[str, str]:
        """What `tofu init` is told for the state of a stack."""
        state = State(kind=StateKind.S3, bucket=BUCKET, region=REGION, endpoint=self.url, prefix="states")
        found = backend(state, Deployment(Path(), stack, "", own=True))
        assert isinstance(found, dict)
        return found


def log_in(monkeypatch: pytest.MonkeyPatch, keys: Keys | None) -> None:
    """Be that user, or nobody."""
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    if keys is not None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[1])


@cache
def _server() -> ThreadedMotoServer:
    """One for the whole session: to stop one takes half a second."""
    made = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    made.start()
    atexit.register(made.stop)
    return made


@contextmanager
def serving() -> Iterator[S3]:
    """A new, empty one."""
    before = moto_settings.INITIAL_NO_AUTH_ACTION_COUNT
    moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
    ActionAuthenticatorMixin.request_count = 0
    moto_api_backend.reset()
    try:
        yield S3(f"http://127.0.0.1:{_server().get_host_and_port()[1]}")
    finally:
        moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = before
