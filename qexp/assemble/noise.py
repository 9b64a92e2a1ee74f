"""The noise that a simulated dataset declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.noise import Noise
from qexp.simulation.noise_models import Component, NoiseModel
from qexp.simulation.views import GNSS
from qexp.spec.finding import Finding, Where
from qexp.spec.kinds.generated import noise_in_long_form
from qexp.tables import Tables, built

Document = dict[str, Any]


def noise_of(document: Document, images: Sequence[str], tables: Tables) -> NoiseModel:
    """The noise of a checked document; `images` are those of its views, in their order."""
    declared = noise_in_long_form(document.get("noise_model", "white"), tables["noises"])
    if not isinstance(declared, list):
        return NoiseModel([Component(built(tables["noises"], declared), _on(declared, document, images))])
    of_type: Counter[str] = Counter()
    components = []
    for one in declared:
        # Its place among those of its type: a component of another type changes no other's random numbers.
        stream = one["type"], of_type[one["type"]]
        of_type[one["type"]] += 1
        components.append(Component(built(tables["noises"], one), _on(one, document, images), stream))
    return NoiseModel(components)


def _on(component: Document, document: Document, images: Sequence[str]) -> frozenset[str] | None:
    if "views" not in component:
        return None
    return frozenset(images[_number(view, _names(document))] for view in component["views"])


def _names(document: Document) -> list[str | None]:
    return [view.get("name") for view in document.get("views", [])]


def _number(view: int | str, names: Sequence[str | None]) -> int:
    return view if isinstance(view, int) else names.index(view)


def in_noise(document: Document, images: Sequence[str], tables: Tables) -> Iterator[Finding]:
    """Problems of the declared noise that its schema cannot express."""
    declared = noise_in_long_form(document.get("noise_model", "white"), tables["noises"])
    several = isinstance(declared, list)
    noises: list[Noise] = []
    for index, one in enumerate(declared if several else [declared]):
        where: Where = ("noise_model", index) if several else ("noise_model",)
        try:
            noise = built(tables["noises"], one)
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if not isinstance(noise, Noise):
            named = f"{Noise.__module__}.{Noise.__name__}"
            yield where, f"'{one['type']}' builds {type(noise).__name__}, but must build a {named}"
            continue
        noises.append(noise)
        yield from _in_views(one, where, document, images)
        if several and noise.of_unit_variance and not _has_level(document):
            yield (
                where,
                f"'{one['type']}' has no amplitude: declare it among its parameters, or give the dataset a 'noise' "
                "[m], in 'fixed' or 'varyings', that scales it",
            )
    if noises and not any(one.of_unit_variance for one in noises) and _has_level(document):
        yield (
            _place_of_level(document),
            "scales nothing, because every component of the noise model has an amplitude of its own; remove it",
        )


def in_layouts(document: Document, dataset: GeneratedDataset) -> Iterator[Finding]:
    """Components that cannot be drawn where the pixels or points of their views lie."""
    several = isinstance(document.get("noise_model"), list)
    layouts = dataset.layouts()
    if _has_level(document) and not layouts:
        yield _place_of_level(document), "scales nothing: stations have 'errors' of their own; remove it"
    for image, layout in layouts.items():
        for index, component in enumerate(dataset.noise.components):
            if component in dataset.noise.on(image) and (trouble := component.noise.trouble_with(layout)):
                where: Where = ("noise_model", index) if several else ("noise_model",)
                yield where, f"{trouble} ('{image}')"


def _in_views(component: Document, where: Where, document: Document, images: Sequence[str]) -> Iterator[Finding]:
    names = _names(document)
    for position, view in enumerate(component.get("views", [])):
        place = (*where, "views", position)
        if isinstance(view, str) and view not in names:
            yield place, f"no view '{view}'; {suggestion(view, [name for name in names if name])}"
        elif isinstance(view, int) and view >= len(images):
            yield place, f"no view {view}; the dataset has {len(images)}, numbered from 0"
        elif _of_stations(_number(view, names), document):
            yield place, "is a view of GNSS stations, which have 'errors' of their own"


def _of_stations(view: int, document: Document) -> bool:
    views = document.get("views", [])
    return view < len(views) and views[view].get("type") == GNSS


def _has_level(document: Document) -> bool:
    return bool(document.get("fixed", {}).get("noise")) or "noise" in document["varyings"]


def _place_of_level(document: Document) -> Where:
    return ("fixed" if "noise" in document.get("fixed", {}) else "varyings"), "noise"
