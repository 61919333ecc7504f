"""Several stacks at once: in waves, at most so many in parallel, and one Ctrl-C for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.process import Interrupted, interrupt_all, resume

T = TypeVar("T")

WAVES = {"openstack": 1, "aws": 1, "drone": 2, "app": 2, "github": 2, "cirun": 2}
"""Machines first, then access; a kind's place in the order."""


def prefixed(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    """As `say`, each line with the stack that it is about."""
    return lambda text: say(f"{name}: {text}")


def in_parallel(
    names: Iterable[str], work: Callable[[str], T], jobs: int
) -> tuple[dict[str, T], dict[str, list[Diagnostic]], bool]:
    """Do `work` for each name: what came out, what failed and why, and whether it was interrupted.

    A failure of one does not stop the others. Ctrl-C is passed on once to all that run; none is begun after it.
    """
    done: dict[str, T] = {}
    failed: dict[str, list[Diagnostic]] = {}
    resume()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures: dict[Future[T], str] = {pool.submit(work, name): name for name in names}
        interrupted = _wait_for(set(futures))
        for future, name in futures.items():
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                done[name] = future.result()
            elif isinstance(error, Failure):
                failed[name] = error.diagnostics
            elif isinstance(error, (Interrupted, KeyboardInterrupt)):
                interrupted = True
            else:
                raise error
    return done, failed, interrupted


def _wait_for(futures: set[Future[T]]) -> bool:
    interrupted = False
    waiting = set(futures)
    while waiting:
        try:
            # A timeout lets the main thread see Ctrl-C at once on every system.
            _, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:
            interrupted = True
            for future in waiting:
                future.cancel()
            interrupt_all()
            waiting = {future for future in waiting if not future.cancelled()}
    return interrupted
