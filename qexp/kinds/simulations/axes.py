"""Which axis of an array of simulations is which: as declared, or as files name them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from qexp.errors import QexpError
from qexp.kinds.images.files import ImageVariable
from qexp.networks.shapes import AXES

STATIONS = ("simulation", "component", "station"), ("simulation", "station", "component")

FORMS = (
    ("simulation", "value"), ("simulation", "y", "x"), ("simulation", "channel", "y", "x"),
    ("simulation", "y", "x", "channel"),
)  # fmt: skip
"""The axes that images and vectors may have, the usual ones first."""


def axes_of(
    variable: ImageVariable, name: str, declared: Sequence[str], stations: bool, channels: int
) -> tuple[Sequence[str], str]:
    """The names of an array's axes, and what is said if they are presumed.

    name      of the observation
    declared  the names, if the dataset has them
    stations  whether it is of stations, with three components
    channels  how many there are, as far as that is known; else 0
    Raises QexpError for another number of axes, and if they may be others.
    """
    shape, possible = variable.shape, STATIONS if stations else FORMS
    forms: Sequence[Sequence[str]] = [form for form in possible if len(form) == len(shape)]
    if not math.prod(shape):
        raise QexpError(f"{variable.label} holds no values: its shape is {shape}")
    if not forms:
        words = " or ".join(f"({', '.join(form)})" for form in possible[:-1])
        raise QexpError(f"{variable.label} has the shape {shape}; it must be {words}")
    if declared:
        if sorted(map(AXES.__getitem__, declared)) != sorted(map(AXES.__getitem__, forms[0])):
            raise QexpError(
                f"{variable.label} has the shape {shape}; name each axis, such as"
                f" {json.dumps(forms[0])}"
            )
        return declared, ""
    places = [AXES.get(axis) for axis in variable.file.dimensions(variable.name)]
    named = [
        form
        for form in forms
        if all(of in (None, AXES[axis]) for of, axis in zip(places, form, strict=False))
    ]
    number = 3 if stations else channels
    counted = [
        form for form in named or forms if not number or shape[form.index(_channel(form))] == number
    ]
    fitting = counted or named or forms
    if len(fitting) == 1:
        return fitting[0], ""
    square = [
        form
        for form in fitting
        if not stations and shape[form.index("y")] == shape[form.index("x")]
    ]
    said = [f'"axes": {json.dumps({name: form})}' for form in square or fitting]
    if len(square) == 1:
        return (
            square[0],
            f"'{name}' of the shape {shape} is read with {said[0]}; declare others in the dataset",
        )
    raise QexpError(
        f"{variable.label} has the shape {shape}; say which axis is which: {' or '.join(said)}"
    )


def _channel(form: Sequence[str]) -> str:
    return next((axis for axis in form if AXES[axis] == 1), form[0])
