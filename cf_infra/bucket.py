"""A bucket of S3, or of a store that speaks like it: objects by key, each written only over what was read.

AWS's own client does the asking; it finds the login in the usual variables and files, and none of it is kept here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import State, StateKind

LOGIN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
)
"""What a login at AWS may come from; OpenTofu gets these and no other of its variables: settings.yaml says where."""
HIDDEN = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
"""Seconds; a request is tried three times."""
LARGEST = 64 << 20
"""Bytes of a small file: an inventory of 10,000 machines has some 4 MB."""


@dataclass(frozen=True)
class Bucket:
    """Where in S3 a team's states are."""

    name: str
    region: str
    endpoint: str | None = None
    prefix: str | None = None

    def key(self, *parts: str) -> str:
        """The key of an object."""
        return "/".join([*([self.prefix] if self.prefix else []), *parts])

    @property
    def where(self) -> str:
        """What people call it."""
        return f"s3://{self.name}/{self.prefix or ''}"


def bucket_of(state: State) -> Bucket | None:
    """The bucket of settings.yaml; None if states are local."""
    if state.kind is not StateKind.S3 or state.bucket is None or state.region is None:
        return None
    return Bucket(state.bucket, state.region, state.endpoint, state.prefix)


def hidden(environ: Mapping[str, str]) -> list[str]:
    """The values of a login that no output may show."""
    return [environ[name] for name in HIDDEN if environ.get(name)]


_MAKING = threading.Lock()
"""A client may be used by several threads, and made by one at a time."""


@lru_cache(maxsize=8)
def _client(bucket: Bucket, login: tuple[tuple[str, str | None], ...]) -> Any:
    """AWS's client for a bucket, one for each login. It is loaded where it is needed only: that costs a while."""
    import botocore.config
    import botocore.session

    del login
    own = bucket.endpoint is not None
    config = botocore.config.Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if own else "auto"},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 3},
        request_checksum_calculation="when_required" if own else "when_supported",
        response_checksum_validation="when_required" if own else "when_supported",
        ignore_configured_endpoint_urls=True,
    )
    session = botocore.session.get_session()
    return session.create_client("s3", region_name=bucket.region, endpoint_url=bucket.endpoint, config=config)


@dataclass(frozen=True)
class Store:
    """Objects of a bucket, asked through AWS's own client. Raises Failure."""

    bucket: Bucket

    @property
    def _client(self) -> Any:
        with _MAKING, _explained(self.bucket):
            return _client(self.bucket, tuple((name, os.environ.get(name)) for name in LOGIN))

    def listed(self, beginning: str) -> Iterator[tuple[str, str]]:
        """Keys and ETags of all objects whose keys begin so."""
        with _explained(self.bucket):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket.name, Prefix=beginning):
                for row in page.get("Contents", ()):
                    yield row["Key"], row["ETag"]

    def get(self, key: str) -> tuple[bytes, str]:
        """An object's content and ETag."""
        with _explained(self.bucket):
            told = self._client.get_object(Bucket=self.bucket.name, Key=key)
            content = told["Body"].read(LARGEST + 1)
        if len(content) > LARGEST:
            detail = f"{self.bucket.name}/{key} has more than {LARGEST >> 20} MiB, which nothing of ours has."
            raise Failure(Diagnostic("unreadable", detail=detail, hint="see what it is, and take it away"))
        return content, told["ETag"]

    def put(self, key: str, content: bytes, tag: str | None) -> str | None:
        """Write it if it still has this ETag (None: if it is not there). The new ETag; None if somebody was faster."""
        condition = {"IfMatch": tag} if tag is not None else {"IfNoneMatch": "*"}
        with _explained(self.bucket):
            try:
                told = self._client.put_object(Bucket=self.bucket.name, Key=key, Body=content, **condition)
                return str(told["ETag"])
            except self._client.exceptions.ClientError as error:
                if _code(error) not in _OVERTAKEN:
                    raise
        # An answer that was lost makes the second try fail at what the first one wrote.
        if not any(found == key for found, _ in self.listed(key)):
            return None
        there, found = self.get(key)
        return found if there == content else None

    def delete(self, key: str) -> None:
        """Remove an object; none is no fault."""
        with _explained(self.bucket):
            self._client.delete_object(Bucket=self.bucket.name, Key=key)


_OVERTAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "NoSuchKey")
_REFUSED = frozenset(
    """
    AccessDenied AccountProblem AllAccessDisabled ExpiredToken Forbidden InvalidAccessKeyId InvalidClientTokenId
    InvalidToken SignatureDoesNotMatch TokenRefreshRequired UnrecognizedClientException 401 403
    """.split()
)
_ELSEWHERE = frozenset(
    "PermanentRedirect IllegalLocationConstraintException AuthorizationHeaderMalformed 301".split()
)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _explained(bucket: Bucket) -> Iterator[None]:
    """What the client raises, as Failure."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise Failure(_told(bucket, _code(error), error)) from None
    except BotoCoreError as error:
        raise Failure(_unasked(bucket, error)) from None


def _told(bucket: Bucket, code: str, error: Any) -> Diagnostic:
    operation = str(getattr(error, "operation_name", ""))
    words = str(error.response.get("Error", {}).get("Message", ""))[:300]
    if code in ("NoSuchBucket", "404"):
        detail = f"There is no bucket `{bucket.name}`{_at(bucket)}."
        hint = (
            "correct `state.bucket` in settings.yaml; or make it, with versions, so that nothing is ever lost:\n"
            f"aws s3api create-bucket --bucket {bucket.name} --region {bucket.region} "
            f"--create-bucket-configuration LocationConstraint={bucket.region}\n"
            f"aws s3api put-bucket-versioning --bucket {bucket.name} --versioning-configuration Status=Enabled"
        )
        return Diagnostic("no-bucket", detail=detail, hint=hint)
    if code in _ELSEWHERE:
        detail = f"`{bucket.name}` is not in region {bucket.region}: {words}"
        hint = (
            f"correct `state.region` in settings.yaml:\naws s3api get-bucket-location --bucket {bucket.name}"
        )
        return Diagnostic("no-bucket", detail=detail, hint=hint)
    if code == "RequestTimeTooSkewed":
        detail = f"`{bucket.name}` refuses a request because of its time: {words}"
        return Diagnostic(
            "clock-wrong", detail=detail, hint="set the clock of this machine:\ntimedatectl set-ntp true"
        )
    if code in _REFUSED:
        detail = f"`{bucket.name}` refuses {operation} ({code}): {words}"
        return Diagnostic("bucket-refused", detail=detail, hint=_LOG_IN)
    if code in ("SlowDown", "InternalError", "ServiceUnavailable", "500", "503"):
        return _silent(bucket, f"{operation} ended with {code}: {words}")
    detail = f"`{bucket.name}` answers {operation} with {code}: {words}"
    return Diagnostic(
        "bucket-refused", detail=detail, hint="docs/state.md says what a bucket must be able to do"
    )


_LOG_IN = (
    "log in as your team does, and see as whom; docs/state.md says what the login has to be allowed:\n"
    "aws sts get-caller-identity"
)


def _unasked(bucket: Bucket, error: Exception) -> Diagnostic:
    name = type(error).__name__
    if "Credential" in name or "Profile" in name or "SSO" in name or "Token" in name or "Config" in name:
        detail = f"There is no login for `{bucket.name}`: {_masked(error)}"
        return Diagnostic("bucket-refused", detail=detail, hint=_LOG_IN)
    return _silent(bucket, _masked(error))


def _silent(bucket: Bucket, words: str) -> Diagnostic:
    detail = f"`{bucket.name}`{_at(bucket)} could not be asked: {words}"
    hint = "see whether it can be reached, then run the same again; what was deployed stays as it is"
    return Diagnostic("bucket-silent", detail=detail, hint=hint)


def _at(bucket: Bucket) -> str:
    return f" at {bucket.endpoint}" if bucket.endpoint else ""


def _masked(error: Exception) -> str:
    text = str(error)
    for value in hidden(os.environ):
        text = text.replace(value, "***")
    return text[:300]
