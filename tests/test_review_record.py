"""The hidden record of a review: only ours counts, for one pull request and head, and never says more than it saw."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
import test_properties  # noqa: F401  (its profile of hypothesis: the same examples in every run)
from hypothesis import given
from hypothesis import strategies as st

from cf_infra import plan, review_record, reviewed
from cf_infra.diagnostics import printable
from cf_infra.github import LONGEST_COMMENT
from cf_infra.plan import Hash
from cf_infra.review_record import ReviewRecord, made, opened, sealed
from cf_infra.reviewed import Asked, Merged, judge

KEY, OTHER = bytes(range(32)), bytes(reversed(range(32)))
PRINT, OTHER_PRINT = "0123456789abcdef", "fedcba9876543210"
KEYS = {PRINT: KEY}
BASE, HEAD = "a" * 40, "b" * 40
ROWS: list[Hash] = [
    ('module.machine.x.this["one-feedstock/gpu-large"]', "create", "1" * 64),
    ('github_repository_file.this[".access.yml"]#one-feedstock/label/one', "update", "2" * 64),
    ("grant:one-feedstock/gpu-large", "create", "3" * 64),
]


def record(rows: Mapping[str, list[Hash]] | None = None, key: bytes = KEY) -> ReviewRecord:
    stacks = {name: ("d" * 64, found) for name, found in (rows or {"lab": ROWS}).items()}
    return made("conda-forge/access", 12, BASE, HEAD, "2026-06-01", stacks, key)


def line(limit: int = review_record.LIMIT) -> str:
    return sealed(record(), PRINT, limit)


def read(text: str) -> ReviewRecord:
    found = opened(text, KEYS)
    assert isinstance(found, ReviewRecord), found
    return found


def test_a_record_comes_back_from_the_middle_of_a_comment() -> None:
    before = "<!-- cf-infra review -->\n### Gives one feedstock a GPU\n\n| a | table |\n\n"
    found = read(f"{before}<!-- cf-infra head abc -->\n{line()}\n")
    assert found == record()
    assert all(found.has("lab", row) for row in ROWS)
    assert not found.has("lab", (ROWS[0][0], "create", "9" * 64)), "another value"
    assert not found.has("lab", (ROWS[0][0], "replace", ROWS[0][2])), "another action"
    assert not found.has("guest", ROWS[0]), "another stack"


def test_it_is_one_line_that_nobody_sees_and_tells_nothing() -> None:
    text = line()
    assert re.fullmatch(r"<!-- [^<>\n]* -->", text) and "--" not in text[4:-3] and printable(text) == text
    body = base64.b64decode(text.split()[5])
    for secret in (KEY, KEY.hex().encode(), b"one-feedstock"):
        assert secret not in body and secret not in text.encode()


def flipped(text: str, at: int) -> str:
    other = "A" if text[at] != "A" else "B"
    return text[:at] + other + text[at + 1 :]


@pytest.mark.parametrize("part", range(4))
def test_who_edits_any_of_it_spoils_all_of_it(part: int) -> None:
    text = line()
    version, key, body, mac = (text.index(word) for word in text.split()[3:7])
    at = (version, key, body + 20, mac + 3)[part]
    changed = text[:at] + ("2" if text[at] != "2" else "3") + text[at + 1 :]
    found = opened(changed, KEYS)
    assert isinstance(found, str)
    assert ("version 2", "is not at hand", "was edited", "was edited")[part] in found


@given(st.integers(min_value=19, max_value=len(line()) - 1))
def test_a_record_that_is_cut_anywhere_is_refused(at: int) -> None:
    text = line()
    assert isinstance(opened(text[:at], KEYS), str)
    assert isinstance(opened(text[:at] + " -->", KEYS), str)
    assert isinstance(opened(flipped(text, at), KEYS), str)


def test_two_records_and_none_are_refused_with_a_reason() -> None:
    assert "two records" in str(opened(line() + "\n" + line(), KEYS))
    assert "no record" in str(opened("A comment of a person.", KEYS))
    assert "no record" in str(opened("", KEYS))


def test_a_record_of_another_key_is_none_of_ours() -> None:
    theirs = sealed(record(key=OTHER), OTHER_PRINT)
    assert OTHER_PRINT in str(opened(theirs, KEYS))
    assert "signature" in str(opened(sealed(record(key=OTHER), PRINT), KEYS)), "our fingerprint, their key"
    both = {**KEYS, OTHER_PRINT: OTHER}
    found = opened(theirs, both)
    assert isinstance(found, ReviewRecord) and found.has("lab", ROWS[0]), "while a change of the key lasts"


def test_what_is_signed_and_has_another_form_is_refused_as_well() -> None:
    for text in (b"", b"[]", b"{}", b'{"stacks": 7}', b'{"stacks": {"lab": ["d", "%"]}}'):
        body = base64.b64encode(zlib.compress(text)).decode()
        mac = review_record._mac(KEY, "1", PRINT, body)
        assert "form" in str(opened(f"<!-- cf-infra record 1 {PRINT} {body} {mac} -->", KEYS))
    for body in ("AAAA", "A"):
        mac = review_record._mac(KEY, "1", PRINT, body)
        assert "form" in str(opened(f"<!-- cf-infra record 1 {PRINT} {body} {mac} -->", KEYS))


@pytest.mark.parametrize(
    ("repository", "pull", "head", "why"),
    [
        ("conda-forge/access", 12, HEAD, ""),
        ("Conda-Forge/Access", 12, HEAD, ""),
        ("somebody/access", 12, HEAD, "it was made for conda-forge/access#12"),
        ("conda-forge/access", 13, HEAD, "it was made for conda-forge/access#12"),
        (
            "conda-forge/access",
            12,
            "c" * 40,
            "its review was of another head: bbbbbbbbbbbb, and cccccccccccc was merged",
        ),
    ],
)
def test_a_record_is_for_one_pull_request_and_one_head(
    repository: str, pull: int, head: str, why: str
) -> None:
    assert read(line()).other(repository, pull, head) == why


def many(count: int) -> list[Hash]:
    return [(f"a{n}", "create", hashlib.sha256(str(n).encode()).hexdigest()) for n in range(count)]


def test_what_does_not_fit_is_left_out_largest_first_and_said() -> None:
    whole = record({"large": many(3000), "small": many(5), "middle": many(900)})
    text = sealed(whole, PRINT)
    assert len(text) <= review_record.LIMIT < LONGEST_COMMENT
    found = read(text)
    assert found.stacks["large"].marks is None and found.stacks["large"].digest == "d" * 64
    assert [len(found.stacks[name].marks or ()) for name in ("small", "middle")] == [5, 900]
    assert not found.has("large", many(1)[0]), "what is not kept was not seen"
    waits = judge(Asked("large", "d" * 64, many(1)), [Merged("conda-forge/access#12", HEAD, found)]).waits
    assert "too much for its record" in waits[0]["why"]
    assert read(sealed(whole, PRINT, limit=250)).stacks == {}, "not even the digests fit"


def test_a_thousand_rows_fit() -> None:
    found = read(sealed(record({"lab": many(1600)}), PRINT))
    assert len(found.stacks["lab"].marks or ()) == 1600


# -------------------------------------------------------------------------------- what `plan.beyond` says of the same

ADDRESSES = st.sampled_from(["a", "b", "a#x", "a#y", "b#x", "c"])
PLANS = st.dictionaries(
    st.tuples(ADDRESSES, st.sampled_from(["create", "update", "delete", "replace"])),
    st.sampled_from(["1", "2"]),
    max_size=6,
).map(lambda found: [(address, action, value) for (address, action), value in sorted(found.items())])


@given(PLANS, PLANS)
def test_a_record_lets_through_what_beyond_does_but_for_the_two_steps_of_an_apply(
    rows: list[Hash], covered: list[Hash]
) -> None:
    """`beyond` lets through that a part goes which was to change, and that a whole changes of which a part may."""
    seen = read(sealed(record({"lab": covered}), PRINT))
    waits = judge(Asked("lab", "d" * 64, rows), [Merged("p", HEAD, seen)]).waits
    found = {(w["address"], w["action"]) for w in waits}
    further = set(plan.beyond(rows, covered))
    assert {a for a, _, _ in rows if a in further} <= {address for address, _ in found}
    known = {(address, action): value for address, action, value in covered}
    divided = {address.partition("#")[0] for address, _ in known if "#" in address}
    for address, action, value in rows:
        two_steps = (
            ("#" in address and (address, "update") in known and action in ("delete", "replace"))
            or ("#" not in address and address in divided and action == "update")
        ) and known.get((address, action)) != value
        beyond = bool(plan.beyond([(address, action, value)], covered))
        assert ((address, action) in found) == (beyond or two_steps)


def test_a_part_that_was_to_change_may_come_anew_after_it_went() -> None:
    """As a run leaves it that was stopped after access was taken back: the change was reviewed, and is not done."""
    row = ("file#one", "update", "1" * 64)
    seen = Merged("p", HEAD, read(sealed(record({"lab": [row]}), PRINT)))
    assert not judge(Asked("lab", "d", [("file#one", "create", "1" * 64)]), [seen]).waits
    assert judge(Asked("lab", "d", [("file#one", "create", "2" * 64)]), [seen]).waits
    assert judge(Asked("lab", "d", [("file#one", "delete", "1" * 64)]), [seen]).waits


def test_judging_does_not_know_keys_that_are_not_told() -> None:
    assert not replace(record(), key=OTHER).has("lab", ROWS[0])
    assert "key" not in repr(record()) and KEY.hex() not in repr(record())
    assert reviewed.plain(ROWS) == frozenset(ROWS)
