"""Text for a terminal of 80 columns, as every report has it."""

from __future__ import annotations

import textwrap

WIDTH = 80


def wrapped(text: str, first: str, later: str) -> list[str]:
    """Lines that begin with `first`, then with `later`; none for no text.

    A name is never broken: it would not be found by searching for it.
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
