"""What all sinks share: the form in which a credential is handed over, and what is told when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson

from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.mask import Masker
from cf_infra.material import Material

UNSURE = ("service-silent", "service-answer")
"""Faults after which nobody knows whether the sink has it."""


def document(material: Material) -> bytes:
    """All fields as a JSON object, indented and sorted: what a file holds and what a command reads."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(dict(material.fields), option=options)


def single(material: Material, field: str | None) -> str:
    """What a sink that holds one text gets: the field that settings name, the only one, or all of them as JSON.

    Raises Failure("undelivered") if the credential has no such field.
    """
    if field is None:
        known = list(material.fields.values())
        return known[0] if len(known) == 1 else document(material).decode()
    if field not in material.fields:
        detail = f"It has no field `{field}`, only {some(sorted(material.fields))}."
        hint = "name another `field` at this sink in settings.yaml, or none: all of them go as JSON then"
        raise Failure(Diagnostic("undelivered", detail=detail, hint=hint))
    return material.fields[field]


@contextmanager
def handing_over(place: str, material: Material) -> Iterator[None]:
    """Turns every Failure into "undelivered", with the credential, the place and the reason; no value is in it."""
    try:
        yield
    except Failure as failure:
        hidden = Masker(material.hidden())
        raise Failure(*(_undelivered(place, material, one, hidden) for one in failure.diagnostics)) from None


def _undelivered(place: str, material: Material, cause: Diagnostic, hidden: Masker) -> Diagnostic:
    what = f"`{material.owner}/{material.name}`, generation {material.generation}"
    unsure = " Whether it arrived is not known; handing it over again does no harm." * (cause.code in UNSURE)
    again = "then run the same command again: what is delivered already stays as it is"
    return replace(
        cause,
        code="undelivered",
        detail=hidden.text(f"{what}, was not delivered to {place}. {cause.detail}{unsure}"),
        hint=hidden.text(f"{cause.hint}\n{again}" if cause.hint else f"look at {place};\n{again}"),
        file=f"stacks/{material.owner}.yaml",
        path=("credentials", material.name, "deliver"),
        label="not delivered",
    )
