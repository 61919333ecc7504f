"""Keeps known secrets out of every text that leaves: by value, whatever field they turn up in."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

SHOWN = "(secret)"
"""What stands where a secret was."""
SHORTEST = 6
"""Shorter values are left alone: masking every `a` would hide the text and the secret would still be guessed."""


class Masker:
    """Replaces secret values in text, also where they stand in base64, in a URL or inside JSON."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
        # The longest first, so that a secret which contains another one is masked whole.
        ordered = sorted(
            (form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form)
        )
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` with each secret replaced by SHOWN."""
        return self._pattern.sub(SHOWN, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """A JSON value with the secrets in its strings and keys replaced."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value


def those_in(text: str, values: Iterable[str]) -> list[str]:
    """The secrets that turn up in a text in some form; a Masker of these alone is a fast one."""
    long = {value for value in values if len(value) >= SHORTEST}
    return [value for value in long if any(len(form) >= SHORTEST and form in text for form in _forms(value))]


def _forms(value: str) -> Iterable[str]:
    raw = value.encode("utf-8", "surrogatepass")
    yield value
    yield from (
        line for line in value.splitlines() if line != value
    )  # a key in PEM form is printed line by line
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(raw).decode()
        yield encode(raw).decode().rstrip("=")
    yield from (quote(raw), quote(raw, safe=""), quote_plus(raw))
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield text[1:-1]
        yield re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text[1:-1])  # as Go writes JSON
