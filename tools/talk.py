"""What set-up says to people: progress lines on stderr, and errors with a reason and a way out."""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import NoReturn


class SetupError(Exception):
    """A set-up that cannot go on, in the words of the person who has to do something about it."""

    def __init__(self, code: str, summary: str, detail: str, hint: str) -> None:
        super().__init__(summary)
        self.code, self.summary, self.detail, self.hint = code, summary, detail, hint

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.summary}\n{self.detail}\nhint: {self.hint}"


def say(text: str) -> None:
    """Print one line of progress at once; data never goes this way."""
    print(text, file=sys.stderr, flush=True)


def from_os_error(error: OSError) -> SetupError:
    """Put a failed write into words."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SetupError(
            "disk-full",
            "The disk is full",
            f"Nothing more can be written{place}. What was finished is kept; nothing half-made is left.",
            "make room, or put the cache on another disk, and run it again:\n"
            "    XDG_CACHE_HOME=/other/disk make setup",
        )
    return SetupError(
        "cannot-write",
        "A file or folder cannot be made",
        f"{error.strerror or error}{place}.",
        "correct its rights, or put the cache elsewhere, and run it again:\n"
        "    XDG_CACHE_HOME=/other/place make setup",
    )


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the program as Ctrl-C does: what it started is ended, what it began removed."""

    def unwind(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, unwind)
