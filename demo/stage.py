"""What both halves of the demo say and see."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A heading."""
    print(f"\n=== {text}\n", flush=True)


def expect(true: bool, what: str, quiet: bool = False) -> None:
    """The demo shows no more than what it saw."""
    if not true:
        print(f"The demo expected this, and it is not so: {what}.", file=sys.stderr)
        sys.exit(1)
    if not quiet:
        print(f"  as it should be: {what}\n")
