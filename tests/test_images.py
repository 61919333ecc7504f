"""Images of our own: what is taken from a folder or an address, and what is not."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cf_infra import images
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Image

CONTENT = b"an image"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Answers(BaseHTTPRequestHandler):
    """/image is the image; /to/REST leads to REST; /cut ends half-way."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:3] if self.path == "/cut" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name in the library)
        """Say nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(root: Path, url: str, hosts: list[str], sha256: str = SHA256) -> dict[str, str]:
    # model_construct: files can only say https, which a server without a certificate does not speak.
    image = Image.model_construct(file=None, url=url, sha256=sha256, name=None)
    return images.ready(root, {"ubuntu": image}, hosts, lambda _line: None)


def refused(run: Callable[[], object]) -> Diagnostic:
    with pytest.raises(Failure) as raised:
        run()
    (fault,) = raised.value.diagnostics
    return fault


def test_an_image_is_fetched_once_and_lies_under_its_digest(site: str, tmp_path: Path) -> None:
    assert fetched(tmp_path, f"http://{site}/image", [site]) == {"ubuntu": SHA256}
    path = tmp_path / images.FOLDER / SHA256
    assert path.read_bytes() == CONTENT
    assert fetched(tmp_path, "http://127.0.0.1:9/gone", []) == {"ubuntu": SHA256}, "nobody is asked again"


def test_other_content_than_was_reviewed_is_not_kept(site: str, tmp_path: Path) -> None:
    fault = refused(lambda: fetched(tmp_path, f"http://{site}/image", [site], sha256="0" * 64))
    assert fault.code == "bad-value" and SHA256 in fault.detail
    assert list((tmp_path / images.FOLDER).iterdir()) == []


@pytest.mark.parametrize("to", ["https://elsewhere.test/image", "http://{site}/image", "file:///etc/passwd"])
def test_a_redirect_to_elsewhere_or_away_from_https_is_not_followed(
    to: str, site: str, tmp_path: Path
) -> None:
    fault = refused(lambda: fetched(tmp_path, f"http://{site}/to/{to.format(site=site)}", [site]))
    assert fault.code == "not-found" and "not allowed" in fault.detail
    assert list((tmp_path / images.FOLDER).iterdir()) == []


def test_half_an_image_is_none(site: str, tmp_path: Path) -> None:
    assert refused(lambda: fetched(tmp_path, f"http://{site}/cut", [site])).code == "bad-value"
    assert list((tmp_path / images.FOLDER).iterdir()) == []


def local(root: Path, file: str) -> dict[str, str]:
    return images.ready(root, {"ubuntu": Image(file=file)}, [], lambda _line: None)


def test_a_file_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "ubuntu.img").write_bytes(CONTENT)
    assert local(tmp_path, "images/ubuntu.img") == {"ubuntu": SHA256}


def test_no_link_is_followed_to_an_image(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"elsewhere")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.img").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    assert "link" in refused(lambda: local(root, "file.img")).detail
    assert "link" in refused(lambda: local(root, "folder/secret")).detail
