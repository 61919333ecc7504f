"""Many names in little room: nothing is left out, and each can be found again.

For comments that have a limit. Addresses of OpenTofu and names of repositories share most of what they say, so what is
shared is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ADDRESS = re.compile(r'(.*)\["(.*)"\](.*)', re.DOTALL)
_NUMBERED = re.compile(r"(.*?)([1-9][0-9]{0,8})", re.DOTALL)
_REPOSITORY = re.compile(r"(.*?)((?:-feedstock)?/.*)", re.DOTALL)


def by_type(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Addresses by what stands before their key: (`module.x.type.this`, its keys); sorted. Whole where it has none."""
    found: dict[str, list[str]] = {}
    for name in names:
        if match := _ADDRESS.fullmatch(name):
            found.setdefault(match[1] + match[3], []).append(match[2])
        else:
            found.setdefault("", []).append(name)
    return [(before, sorted(keys)) for before, keys in sorted(found.items())]


def lines(names: Iterable[str]) -> list[str]:
    """Every name as it is, those of one type together: `module.x.type.this: a/gpu, b/gpu`."""
    return [f"{before}: {', '.join(keys)}" if before else ", ".join(keys) for before, keys in by_type(names)]


def dense(names: Iterable[str]) -> list[str]:
    """The same with what keys share said once: types with the same keys, numbers that follow each other, endings.

    `type and other: *-feedstock/gpu-large: jax, numpy; *-feedstock/gpu-large/1-3: scipy`.
    """
    together: dict[tuple[str, ...], list[str]] = {}
    for before, keys in by_type(names):
        together.setdefault(tuple(keys), []).append(before)
    return [_said(" and ".join(filter(None, types)), keys) for keys, types in together.items()]


def _said(types: str, keys: Sequence[str]) -> str:
    told = "; ".join(_by_ending(_ranges(keys)))
    return f"{types}: {told}" if types else told


def _ranges(keys: Sequence[str]) -> list[str]:
    """`a/1`, `a/2`, `a/3`, `a/7` as `a/1-3+7`; everything else as it is."""
    numbers: dict[str, list[int]] = {}
    found = []
    for key in keys:
        match = _NUMBERED.fullmatch(key)
        if match and match[1].endswith("/"):
            numbers.setdefault(match[1], []).append(int(match[2]))
        else:
            found.append(key)
    return found + [before + "+".join(_runs(sorted(set(each)))) for before, each in numbers.items()]


def _runs(numbers: Sequence[int]) -> Iterable[str]:
    first = last = numbers[0]
    for number in [*numbers[1:], None]:
        if number is not None and number == last + 1:
            last = number
            continue
        yield f"{first}" if first == last else f"{first}-{last}"
        first = last = number if number is not None else last


def _by_ending(keys: Iterable[str]) -> list[str]:
    """`numpy-feedstock/gpu`, `jax-feedstock/gpu` as `*-feedstock/gpu: jax, numpy`, where that is shorter."""
    found: dict[str, list[str]] = {}
    for key in keys:
        match = _REPOSITORY.fullmatch(key)
        found.setdefault(match[2] if match else "", []).append(match[1] if match else key)
    told = []
    for ending, starts in sorted(found.items()):
        several = ending and len(starts) > 1
        told.append(
            f"*{ending}: {', '.join(sorted(starts))}" if several else ", ".join(s + ending for s in starts)
        )
    return told
