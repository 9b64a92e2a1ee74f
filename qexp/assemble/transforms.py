"""Transforms of an experience, built, and checked against what they are to transform."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from qexp.datasets.transforms.transform import Transform
from qexp.quantities import Quantity
from qexp.spec import defaults
from qexp.spec.finding import Finding
from qexp.tables import Tables, built

Document = dict[str, Any]

ANOTHER_TRANSFORM = "use another transform, or leave the column out"


def transforms_of(spec: Document, tables: Tables) -> dict[str, Transform]:
    """Variable → its transform, by a resolved experience; not fitted yet."""
    return {name: built(tables["transforms"], value) for name, value in spec["transforms"].items()}


def periods_of(transforms: Mapping[str, Transform]) -> dict[str, float]:
    """Variable → the period after which its values repeat, in its own unit, where its transform has one."""
    return {name: one.period for name, one in transforms.items() if one.period is not None}


def built_transforms(document: Document, tables: Tables) -> tuple[dict[str, Transform], list[Finding]]:
    """The transforms of an experience that can be built, and the problems of the parameters of the others."""
    made: dict[str, Transform] = {}
    found: list[Finding] = []
    for name, value in document.get("transforms", {}).items():
        try:
            made[name] = built(tables["transforms"], defaults.long_form(value, tables["transforms"]))
        except ValueError as error:
            found.append((("transforms", name, "parameters"), str(error)))
    return made, found


def of_several_numbers(document: Document, transforms: Mapping[str, Transform], allowed: bool) -> Iterator[Finding]:
    """Problems of transforms that make several numbers of each value, as that of an angle does.

    allowed  whether the kind of dataset takes them at all
    """
    for name, transform in transforms.items():
        if transform.numbers == 1:
            continue
        if name in document["inputs"]:
            yield ("transforms", name), f"makes {transform.numbers} numbers of each value, which only outputs can have"
        elif not allowed:
            yield (
                ("transforms", name),
                f"makes {transform.numbers} numbers of each value, which only networks on generated and tabular "
                "datasets can learn",
            )


def in_periods(name: str, transform: Transform, of: Quantity, support: tuple[float, float]) -> Iterator[Finding]:
    """Whether the period of an output's transform is that of its quantity, or half of it.

    support  least and greatest possible value, for a quantity without a period
    """
    if transform.period is None:
        return
    where, unit = ("transforms", name, "parameters"), f" {of.unit}".rstrip()
    if of.period is not None:
        if not any(math.isclose(transform.period, period, rel_tol=1e-6) for period in (of.period, of.period / 2)):
            yield (
                where,
                f"has the period {transform.period:.10g}, but '{name}' repeats after {of.period:.10g}{unit}; set "
                f'"period" to {of.period!r}, or to {of.period / 2!r} for lines without a direction',
            )
    elif support[1] - support[0] > transform.period * (1 + 1e-6):
        yield (
            where,
            f"values from {support[0]:g} to {support[1]:g}{unit} span more than one period of {transform.period:.10g}, "
            f"and '{name}' is not known to repeat; set a longer \"period\", or use another transform",
        )
