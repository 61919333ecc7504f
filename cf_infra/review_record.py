"""What a review saw of a pull request, as one hidden line of its comment: signed, so that nobody else can write one.

Pure. The line names the pull request, its two commits and, by stack, the review digest and a mark of each row that the
plan has. A mark is the first 8 bytes of an HMAC of the row, so that the line stays short; without the key nobody can
look for another row that has the same mark. What does not fit is left out and said to be: then only a plan with the
very same digest counts as reviewed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import orjson

from cf_infra.github_files import ACCESS
from cf_infra.plan import Hash

VERSION = 1
LIMIT = 20_000
"""Characters of the line; GitHub takes 65,536 for a comment, and people are to read the rest."""
MARK = 8
"""Bytes of a mark."""
_LARGEST = 1 << 22
"""Bytes that a body may become when it is unpacked; ours are far below."""
_NAME = "cf-infra record"
_LINE = re.compile(
    rf"<!-- {_NAME} (?P<version>[0-9]{{1,6}}) (?P<key>[0-9a-f]{{16}}) (?P<body>[A-Za-z0-9+/=]*) "
    r"(?P<mac>[0-9a-f]{64}) -->"
)
BEGIN = f"<!-- {_NAME} "


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One stack in a review. `marks`: None where they did not fit; then its digest alone tells."""

    digest: str
    marks: frozenset[bytes] | None


@dataclass(frozen=True)
class ReviewRecord:
    """What a comment's record says. `repository` is OWNER/NAME; `today`: the day that the plan was made for."""

    repository: str
    pull: int
    base: str
    head: str
    today: str
    stacks: Mapping[str, Reviewed]
    key: bytes = field(default=b"", repr=False, compare=False)

    def has(self, stack: str, row: Hash) -> bool:
        """Did the reviewed plan of the stack do just this?"""
        found = self.stacks.get(stack)
        return found is not None and found.marks is not None and mark(self.key, stack, row) in found.marks

    def other(self, repository: str, pull: int, head: str) -> str:
        """Why it is of another pull request or head than this one, in words; empty if it is of this one."""
        if self.repository.lower() != repository.lower() or self.pull != pull:
            return f"it was made for {self.repository}#{self.pull}"
        if not hmac.compare_digest(self.head, head):
            return f"its review was of another head: {self.head[:12]}, and {head[:12]} was merged"
        return ""


def mark(key: bytes, stack: str, row: Hash) -> bytes:
    """The mark of one row of a stack's plan."""
    address, action, value = row
    return hmac.digest(key, orjson.dumps([stack, unnumbered(address), action, value]), "sha256")[:MARK]


def unnumbered(address: str) -> str:
    """An address without the name of a policy: those are numbered, and the next request for a repository moves them."""
    return address.rpartition("/")[0] if is_listed(address) else address


def is_listed(address: str) -> bool:
    """Is it an entry of Cirun's access list: FILE#REPOSITORY/LABEL/POLICY?"""
    file, _, part = address.partition("#")
    return ACCESS in file and part.count("/") == 2


def made(
    repository: str,
    pull: int,
    base: str,
    head: str,
    today: str,
    stacks: Mapping[str, tuple[str, Iterable[Hash]]],
    key: bytes,
) -> ReviewRecord:
    """The record of plans: by stack the review digest and the rows (address, action, hash)."""
    found = {
        name: Reviewed(digest, frozenset(mark(key, name, row) for row in rows))
        for name, (digest, rows) in stacks.items()
    }
    return ReviewRecord(repository, pull, base, head, today, found, key)


def sealed(record: ReviewRecord, fingerprint: str, limit: int = LIMIT) -> str:
    """The line for the comment. `fingerprint`: tells which key it was signed with, 16 hexadecimal digits.

    The marks of the largest stacks are left out until it fits; if not even the digests fit, it names no stack.
    """
    largest = sorted(record.stacks, key=lambda name: (len(record.stacks[name].marks or ()), name))
    left = dict(record.stacks)
    while True:
        line = _line(replace(record, stacks=left), fingerprint)
        if len(line) <= limit or not left:
            return line
        if not largest:
            left = {}
            continue
        name = largest.pop()
        left[name] = Reviewed(left[name].digest, None)


def _line(record: ReviewRecord, fingerprint: str) -> str:
    said = {
        "repository": record.repository,
        "pull": record.pull,
        "base": record.base,
        "head": record.head,
        "today": record.today,
        "stacks": {name: [one.digest, _packed(one.marks)] for name, one in sorted(record.stacks.items())},
    }
    packed = zlib.compress(json.dumps(said, sort_keys=True, separators=(",", ":")).encode(), 9)
    body = base64.b64encode(packed).decode()
    return (
        f"<!-- {_NAME} {VERSION} {fingerprint} {body} {_mac(record.key, str(VERSION), fingerprint, body)} -->"
    )


def _packed(marks: frozenset[bytes] | None) -> str | None:
    return None if marks is None else base64.b64encode(b"".join(sorted(marks))).decode()


def _mac(key: bytes, version: str, fingerprint: str, body: str) -> str:
    """Over all that the line says; marks have rows as JSON lists, so neither can stand for the other."""
    return hmac.digest(key, f"{_NAME} {version} {fingerprint} {body}".encode(), "sha256").hex()


def opened(text: str, keys: Mapping[str, bytes]) -> ReviewRecord | str:
    """The record of a comment's text; or why there is none that counts, in words. `keys`: by their fingerprints."""
    count = text.count(BEGIN)
    found = _LINE.search(text)
    if count == 0:
        return "the comment has no record of what was reviewed"
    if count > 1:
        return "the comment has two records of what was reviewed, and only one of them can be ours"
    if found is None:
        return "the record in the comment is cut off or was edited"
    if found["version"] != str(VERSION):
        return f"the record in the comment has version {found['version']}, and this cf-infra reads {VERSION}"
    key = keys.get(found["key"])
    if key is None:
        return f"the record in the comment was signed with the key {found['key']}, which is not at hand"
    expected = _mac(key, found["version"], found["key"], found["body"])
    if not hmac.compare_digest(expected, found["mac"]):
        return "the record in the comment was edited: its signature does not fit"
    return _read(found["body"], key)


def _read(body: str, key: bytes) -> ReviewRecord | str:
    """What we signed. The form is checked all the same: another version of us may have written it."""
    try:
        unpacker = zlib.decompressobj()
        said = orjson.loads(unpacker.decompress(base64.b64decode(body, validate=True), _LARGEST))
        stacks = {
            str(name): Reviewed(str(digest), None if marks is None else _unpacked(marks))
            for name, (digest, marks) in said["stacks"].items()
        }
        names = ("repository", "base", "head", "today")
        repository, base, head, today = (str(said[name]) for name in names)
        return ReviewRecord(repository, int(said["pull"]), base, head, today, stacks, key)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error, binascii.Error):
        return "the record in the comment is signed, and has a form that this cf-infra does not read"


def _unpacked(text: str) -> frozenset[bytes]:
    raw = base64.b64decode(text, validate=True)
    return frozenset(raw[at : at + MARK] for at in range(0, len(raw), MARK))
