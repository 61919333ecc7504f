"""Many names in little room: nothing is left out, and each can be found again.

For comments that have a limit. Addresses of OpenTofu and names of repositories share most of what they say, so what is
shared is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_ADDRESS = re.compile(r'(.*)\["(.*)"\](.*)', re.DOTALL)
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.DOTALL)
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

    `type and other: *-feedstock/gpu-large: jax, numpy; scipy-feedstock/gpu-large/[1-3]`.
    """
    together: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for before, keys in by_type(names):
        together.setdefault((bool(before), tuple(keys)), []).append(before)
    return [_said(" and ".join(types), keys) for (_, keys), types in together.items()]


def _said(types: str, keys: Sequence[str]) -> str:
    told = "; ".join(_by_ending(_ranges(keys)))
    return f"{types}: {told}" if types else told


def _ranges(keys: Sequence[str]) -> list[str]:
    """`a/1`, `a/2`, `a/3`, `a/7` as `a/[1-3+7]`: by the last number of each; everything else as it is."""
    numbers: dict[tuple[str, str, int], list[int]] = {}
    found = []
    for key in keys:
        match = _NUMBERED.fullmatch(key)
        if match is None:
            found.append(key)
            continue
        wide = len(match[2]) if match[2].startswith("0") else 0
        numbers.setdefault((match[1], match[3], wide), []).append(int(match[2]))
    for (before, after, wide), each in numbers.items():
        one = sorted(set(each))
        told = f"[{'+'.join(_runs(one, wide))}]" if len(one) > 1 else f"{one[0]:0{wide}}"
        found.append(f"{before}{told}{after}")
    return found


def _runs(numbers: Sequence[int], wide: int) -> Iterator[str]:
    """Those that follow each other as first-last; with leading zeros where they were written so."""
    first = numbers[0]
    for at, number in enumerate(numbers):
        if at + 1 < len(numbers) and numbers[at + 1] == number + 1:
            continue
        yield f"{first:0{wide}}" if first == number else f"{first:0{wide}}-{number:0{wide}}"
        first = numbers[at + 1] if at + 1 < len(numbers) else number


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
