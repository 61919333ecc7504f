"""Disk images of our own: files below the root, or from addresses that the settings allow; their digest proves them."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import disk_fault
from cf_infra.model import Image

Say = Callable[[str], None]
FOLDER = Path("build") / "_images"
"""Where downloaded images lie, each under its digest."""
CHUNK = 1 << 20
TIMEOUT = 60.0


def ready(root: Path, images: dict[str, Image], hosts: Iterable[str], say: Say) -> dict[str, str]:
    """Have the files of all images that are ours: image -> sha256 of its content. Raises Failure."""
    found = {}
    for name, image in images.items():
        if image.file is not None:
            found[name] = local_digest(root, image.file)
        elif image.url is not None and image.sha256 is not None:
            path = root / FOLDER / image.sha256
            if not path.is_file():
                _download(image.url, image.sha256, path, frozenset(hosts), say)
            found[name] = image.sha256
    return found


def local_digest(root: Path, file: str) -> str:
    """The digest of a regular file below the root; no part of its way may be a link."""
    path = root / file
    if path.parent.resolve() != root.resolve() / Path(file).parent:
        raise Failure(_refused(file, "a folder on the way to it is a link, and links are not followed"))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Failure(
            Diagnostic("not-found", detail=f"The image {file} is not there.", hint="put it there")
        ) from None
    except OSError:
        raise Failure(_refused(file, "it is a link, or may not be read")) from None
    with os.fdopen(descriptor, "rb") as content:
        if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
            raise Failure(_refused(file, "it is not a regular file"))
        return hashlib.file_digest(content, "sha256").hexdigest()


def _refused(file: str, why: str) -> Diagnostic:
    return Diagnostic(
        "unreadable", detail=f"The image {file} is not used: {why}.", hint="put the file itself there"
    )


class _AllowedHosts(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to a host that is allowed itself, and never away from https."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        to = urlsplit(newurl)
        if to.scheme != "https" or to.netloc not in self._hosts:
            raise urllib.error.HTTPError(
                newurl, code, f"it leads to {to.netloc}, which is not allowed", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, sha256: str, path: Path, hosts: frozenset[str], say: Say) -> None:
    say(f"fetching {url}")
    opener = urllib.request.build_opener(_AllowedHosts(hosts))
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            opener.open(url, timeout=TIMEOUT) as answer,
            tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as out,
        ):
            part = Path(out.name)
            digest = hashlib.sha256()
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != sha256:
            detail = f"{url} has the sha256 {digest.hexdigest()}, and the stack file says {sha256}."
            raise Failure(
                Diagnostic(
                    "bad-value",
                    detail=detail,
                    hint="if the image was really replaced, have the new digest reviewed",
                )
            )
        part.replace(path)
    except (urllib.error.URLError, HTTPException, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise Failure(
            Diagnostic("not-found", detail=f"{url} cannot be fetched: {reason}.", hint="try again later")
        ) from None
    except OSError as error:
        raise Failure(disk_fault(error, path)) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
