"""Mappings of 2Dto2D-DLE: the input and output fields of an emulator, and the typical value that scales each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qexp.errors import QexpError

FIELDS_IN, FIELDS_OUT = "fieldin.dat", "fieldout.dat"

_SLOPES = ("thk", "slopsurfx", "slopsurfy")
_MEAN = ("ubar", "vbar")
_SURFACE = ("uvelsurf", "vvelsurf")
_BASE = ("uvelbase", "vvelbase")

PRESETS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "f2": (_SLOPES, _MEAN),
    "f10": ((*_SLOPES, "strflowctrl"), _MEAN),
    "f11": ((*_SLOPES, "arrhenius", "slidingco"), _MEAN),
    "f12": ((*_SLOPES, "strflowctrl"), (*_MEAN, *_SURFACE)),
    "f13": ((*_SLOPES, "arrhenius", "slidingco"), (*_MEAN, *_SURFACE)),
    "f14": ((*_SLOPES, "strflowctrl"), (*_BASE, *_MEAN, *_SURFACE)),
    "f15": ((*_SLOPES, "arrhenius", "slidingco"), (*_BASE, *_MEAN, *_SURFACE)),
}
"""Name → inputs, outputs."""

NATURAL_SCALES: Mapping[str, float] = {
    "thk": 2000.0,
    "slopsurfx": 1.5,
    "slopsurfy": 1.5,
    "slopsurfn": 1.5,
    **dict.fromkeys((*_MEAN, *_SURFACE, *_BASE), 1000.0),
    "strflowctrl": 200.0,
    "arrhenius": 100.0,
    "slidingco": 100.0,
}
"""Field → the typical value that it is divided by if none is given, in the field's unit."""

KNOWN_VECTORS: tuple[tuple[str, str], ...] = (("slopsurfx", "slopsurfy"), _MEAN, _SURFACE, _BASE)
"""Fields that are the x and y component of one vector."""


@dataclass(frozen=True)
class FieldMapping:
    """Field → the typical value that it is divided by, in the field's unit; in the order of the channels."""

    inputs: dict[str, float]
    outputs: dict[str, float]


def preset(name: str) -> FieldMapping:
    """One of DLE's own mappings."""
    inputs, outputs = PRESETS[name]
    return FieldMapping(
        {field: NATURAL_SCALES[field] for field in inputs}, {field: NATURAL_SCALES[field] for field in outputs}
    )


def read_mapping(folder: Path) -> FieldMapping:
    """The mapping in `fieldin.dat` and `fieldout.dat` of a folder. Raises QexpError, naming the wrong line."""
    return FieldMapping(_read(folder / FIELDS_IN), _read(folder / FIELDS_OUT))


def written(fields: Mapping[str, float]) -> str:
    """The text of such a file, as DLE writes it."""
    return "".join(f"{name} {scale:.6f} \n" for name, scale in fields.items())


def _read(path: Path) -> dict[str, float]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise QexpError(f"there is no {path}; a mapping's folder holds {FIELDS_IN} and {FIELDS_OUT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{path} cannot be read: {error}") from error
    fields: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            name, scale = words[0], float(words[1])
        except (IndexError, ValueError):
            raise QexpError(
                f"{path}, line {number}: {line.strip()!r}; write a field and its scale, for example 'thk 2000.0'"
            ) from None
        if len(words) > 2:
            raise QexpError(f"{path}, line {number}: more than a field and its scale: {line.strip()!r}")
        if scale == 0 or not math.isfinite(scale):
            raise QexpError(f"{path}, line {number}: the scale of '{name}' is {scale:g}; it must not be zero")
        if name in fields:
            raise QexpError(f"{path}, line {number}: '{name}' is listed twice; remove one of the lines")
        fields[name] = scale
    if not fields:
        raise QexpError(f"{path} lists no field")
    return fields
