"""Views in the documents of simulated datasets: numbers written in a view's object, and what contradicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qexp.spec.defaults import defaults_in
from qexp.spec.finding import Finding, Where

Document = dict[str, Any]

NUMBERS = ("azimuth", "heading", "incidence", "x_res", "y_res")
"""Keys of a view that are fixed variables."""


def variable_of(name: str, view: int) -> str:
    """The variable of a view: `incidence` of the first, `incidence_1` of the second."""
    return f"{name}_{view}" if view else name


def fixed_values(dataset: Mapping[str, Any]) -> dict[str, tuple[float, Where]]:
    """Fixed variable → its value and where it is written: in `fixed`, or in the object of a view."""
    values: dict[str, tuple[float, Where]] = {
        name: (float(value), ("fixed", name)) for name, value in dataset.get("fixed", {}).items()
    }
    for index, view in enumerate(dataset.get("views", [])):
        for name in NUMBERS:
            if name in view:
                values.setdefault(variable_of(name, index), (float(view[name]), ("views", index, name)))
    return values


def with_defaults(views: list[Document], schema: Document) -> list[Document]:
    """The views with every default written out, without the numbers that become fixed variables."""
    defaults = defaults_in(schema["items"])
    return [{**defaults, **{key: value for key, value in view.items() if key not in NUMBERS}} for view in views]


def in_views(dataset: Document) -> Iterator[Finding]:
    """Problems of the views and of the variables that belong to them."""
    views = dataset.get("views", [])
    mentioned = {*dataset.get("fixed", {}), *dataset["varyings"]}
    for index, view in enumerate(views):
        yield from _in_view(view, index, {name for name in NUMBERS if variable_of(name, index) in mentioned})
        names = [other.get("name") for other in views[:index]]
        if view.get("name") is not None and view["name"] in names:
            yield ("views", index, "name"), f"view {names.index(view['name'])} is called '{view['name']}', too"
    for index in range(len(views) or 1):
        of_view = {name for name in NUMBERS if variable_of(name, index) in mentioned or name in _view(views, index)}
        if {"azimuth", "heading"} <= of_view:
            where: Where = ("views", index) if index < len(views) else ("fixed",)
            yield (
                where,
                f"both '{variable_of('azimuth', index)}' and '{variable_of('heading', index)}' are given, and either "
                "gives the direction; keep one",
            )
        elif _view(views, index).get("look") == "left" and "heading" not in of_view:
            yield (
                ("views", index, "look"),
                f"the side of the look only matters with '{variable_of('heading', index)}', the direction of flight",
            )


def _view(views: list[Document], index: int) -> Document:
    return views[index] if index < len(views) else {}


def _in_view(view: Document, index: int, mentioned: set[str]) -> Iterator[Finding]:
    where: Where = ("views", index)
    for name in NUMBERS:
        if name in view and name in mentioned:
            variable = variable_of(name, index)
            yield (*where, name), f"'{variable}' has a value in 'fixed' or 'varyings', too; keep one of them"
    is_gnss = view.get("type") == "gnss"
    if is_gnss and "points" not in view:
        yield where, 'GNSS stations need "points", [x, y] of each in km or a file of them'
    if "points" in view:
        for key in ("size", "mask"):
            if key in view:
                yield (*where, key), f"'{key}' is for images, but this view has 'points'"
    if "errors" in view and not is_gnss:
        yield (*where, "errors"), "'errors' are for GNSS stations; the noise of images is the dataset's 'noise_model'"
    errors = view.get("errors", [])
    kinds = {isinstance(one, list) for one in errors}
    if len(kinds) == 2 or (kinds == {False} and len(errors) != 3):
        yield (
            (*where, "errors"),
            "must be three numbers (east, north, up) for all stations, or a list of three for each station",
        )
