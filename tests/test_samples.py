"""The sample comments of docs/samples/ are what the product writes today, and their pictures were made of them."""

from __future__ import annotations

import json

import pytest
from test_review import is_inert

from tools import samples

NAMES = samples.names()


def test_there_are_three() -> None:
    assert NAMES == ["faulty", "gives", "takes"]
    page = (samples.ROOT / "docs" / "review.md").read_text()
    for name in NAMES:
        assert f"(samples/{name}.png)" in page and f"(samples/{name}.md)" in page


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_current(name: str) -> None:
    text = samples.comment(name)
    again = "write it anew: .venv/bin/python tools/samples.py --pictures"
    assert (samples.PAGES / f"{name}.md").read_text() == text, again
    assert json.loads(samples.DIGESTS.read_text())[name] == samples.digest(text), again
    assert (samples.PAGES / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    is_inert(text)


def test_the_samples_say_what_will_happen() -> None:
    gives, takes, faulty = (samples.comment(name) for name in ("gives", "takes", "faulty"))
    assert gives.startswith(
        "### Gives 2 feedstocks a GPU until 2027-01-10, destroys nothing, +0.00 USD a month.\n"
    )
    assert "DESTROYS 4 things" in takes.splitlines()[0] and "OVER 1 BUDGET" in takes.splitlines()[0]
    assert faulty.startswith("### Cannot be applied: the files have 2 errors.\n") and "do you mean" in faulty
