"""Documents of simulated datasets, of their views, and of experiences on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.quantities import (
    ANGLES,
    DEGREES,
    NOISE,
    VIEW_KEYS,
    Quantities,
    of_dataset,
    periods_of,
    quantity,
)
from qexp.base.tables import Table, Tables, long_form
from qexp.spec.kinds import KindDocuments
from qexp.spec.reading import Document, Finding, Findings, Where, defaults_in


def variable_of(name: str, view: int) -> str:
    """The variable of a view: `incidence` of the first, `incidence_1` of the second."""
    return f"{name}_{view}" if view else name


def fixed_values(dataset: Mapping[str, Any]) -> dict[str, tuple[float, Where]]:
    """Fixed variable → its value and where it is written: in `fixed`, or in a view."""
    fixed = dataset["fixed"].items()
    values: dict[str, tuple[float, Where]] = {
        name: (float(value), ("fixed", name)) for name, value in fixed
    }
    for index, view in enumerate(dataset.get("views", [])):
        for name in VIEW_KEYS:
            if name in view:
                value = float(view[name]), ("views", index, name)
                values.setdefault(variable_of(name, index), value)
    return values


def problems_in_views(dataset: Document) -> Findings:
    """Problems of the views and of the variables that belong to them."""
    views = dataset.get("views", [])
    mentioned = {*dataset["fixed"], *dataset["varyings"]}
    for index, view in enumerate(views or [{}]):
        keys = {name for name in VIEW_KEYS if variable_of(name, index) in mentioned}
        yield from _in_view(view, index, keys)
        names = [other.get("name") for other in views[:index]]
        if view.get("name") is not None and view["name"] in names:
            first = f"view {names.index(view['name'])} is called '{view['name']}', too"
            yield ("views", index, "name"), first
        given = {*keys, *view}
        azimuth, heading = (f"'{variable_of(name, index)}'" for name in ("azimuth", "heading"))
        if {"azimuth", "heading"} <= given:
            where: Where = ("views", index) if index < len(views) else ("fixed",)
            both = f"both {azimuth} and {heading} are given, and either gives the direction"
            yield where, f"{both}; keep one"
        elif view.get("look") == "left" and "heading" not in given:
            matters = f"the side of the look only matters with {heading}, the direction of flight"
            yield ("views", index, "look"), matters


def _in_view(view: Document, index: int, mentioned: set[str]) -> Findings:
    where: Where = ("views", index)
    for name in VIEW_KEYS:
        if name in view and name in mentioned:
            variable = variable_of(name, index)
            twice = f"'{variable}' has a value in 'fixed' or 'varyings', too; keep one of them"
            yield (*where, name), twice
    is_gnss = view.get("type") == "gnss"
    if is_gnss and "points" not in view:
        yield where, 'GNSS stations need "points", [x, y] of each in km or a file of them'
    if "points" in view:
        for key in ("size", "mask"):
            if key in view:
                yield (*where, key), f"'{key}' is for images, but this view has 'points'"
    if "errors" in view and not is_gnss:
        noise = "the noise of images is the dataset's 'noise_model'"
        yield (*where, "errors"), f"'errors' are for GNSS stations; {noise}"
    errors = view.get("errors", [])
    kinds = {isinstance(value, list) for value in errors}
    if len(kinds) == 2 or (kinds == {False} and len(errors) != 3):
        wanted = "three numbers (east, north, up) for all stations, or three for each station"
        yield (*where, "errors"), f"must be {wanted}"


class GeneratedSpecs(KindDocuments):
    simulates: bool = True
    """Whether samples are simulated, of distributions that the document declares."""
    file = Path(__file__).with_suffix(".json")
    split_by_shares = True
    untrained: ClassVar[Mapping[str, Any]] = {"split": [0.8, 0.2], "sizes": [1, 1, 1]}
    split_words = (
        "a generated dataset is split by the shares of training and validation, for example [0.8,"
        " 0.2]; its test part is what 'varyings' says"
    )

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Findings:
        if described_classes(dataset):
            yield from in_classes(dataset, lambda _, one: self.in_dataset(one, quantities))
            return
        quantities = of_dataset(dataset, quantities)
        varyings = dataset["varyings"]
        if self.simulates:
            yield from _in_sources(dataset)
            if not varyings and dataset.get("sources") != []:
                yield ("varyings",), "must have at least 1 key, but has none"
        yield from problems_in_views(dataset)
        for name, (value, where) in fixed_values(dataset).items():
            limits = quantity(name, quantities)
            violation = limits.violation(value)
            if violation and not isinstance(dataset["fixed"].get(name), bool):
                yield where, f"{violation}, but is {value:g}{limits.in_another_unit}"
            if name in varyings and where[0] == "fixed":
                yield where, f"'{name}' is fixed and varies; keep it in 'fixed' or in 'varyings'"
        for name, intervals in varyings.items():
            yield from _in_intervals(name, intervals)
            if self.simulates and name not in dataset["distributions"]:
                example = '{"type": "uniform", "parameters": {"a": 0, "b": 1}}'
                remedy = f"add $.distributions.{name}, for example {example}"
                yield ("varyings", name), f"'{name}' varies but has no distribution; {remedy}"
        for name, (low, high) in dataset.get("matrix", {}).get("axes", {}).items():
            where = ("matrix", "axes", name)
            if not low < high:
                yield where, f"the axis must increase, but goes from {low:g} to {high:g}"
                continue
            # Values are centres of cells: an end may lie on a limit that values must not reach.
            limits = quantity(name, quantities)
            least = low + 1e-9 * (high - low)
            for violation in {limits.violation(least), limits.violation(high)} - {None}:
                ends = f"{low:g} to {high:g}{limits.in_another_unit}"
                yield where, f"{violation}, but the axis goes from {ends}"

    def unread(self, dataset: Document) -> Findings:
        fixed = dataset.get("fixed")
        varyings = dataset.get("varyings")
        if isinstance(fixed, dict) and isinstance(varyings, dict):
            for name in fixed:
                if name in varyings:
                    varies = f"'{name}' is fixed and varies: it varies, and this value is not used"
                    yield ("fixed", name), varies

    def doubts_in_dataset(self, dataset: Document) -> Findings:
        fixed = dataset.get("fixed")
        if isinstance(fixed, dict) and fixed.get("noise") is True:
            read = "true is read as a standard deviation of 1 m, as VDI does; write the number"
            yield ("fixed", "noise"), read

    def in_experience(self, experience: Document) -> Findings:
        yield from in_shares(experience["split"])
        batch = experience["batch_size"]
        training = experience["sizes"][0]
        if batch > training:
            larger = f"a batch of {batch} is larger than the {training} training samples"
            yield ("batch_size",), larger

    def doubts_in_experience(self, experience: Document) -> Findings:
        rest = 1 - sum(experience["split"])
        if rest > 1e-9:
            unused = f"the other {rest:g} of the samples outside the test part is unused"
            yield ("split",), f"the shares add up to {1 - rest:g}: {unused}"

    def with_defaults(self, dataset: Document, tables: Tables) -> Document:
        """Numbers of views become fixed variables."""
        fixed = {name: value for name, (value, _) in fixed_values(dataset).items()}
        for name, value in dataset["fixed"].items():
            if not isinstance(value, bool):
                fixed[name] = value
        noise_model = noise_in_long_form(dataset["noise_model"], tables["noises"])
        resolved = {**dataset, "fixed": fixed, "noise_model": noise_model}
        resolved |= _in_long_form(dataset, tables)
        if resolved.get(ANGLES) != DEGREES:
            resolved.pop(ANGLES, None)
        keys = self.schemas["dataset"]["properties"]
        for variable, classes in described_classes(dataset).items():
            members = {name: {**one, **_in_long_form(one, tables)} for name, one in classes.items()}
            resolved["classes"] = {variable: members}
        if "views" in dataset:
            resolved["views"] = []
            for view in dataset["views"]:
                own = {key: value for key, value in view.items() if key not in VIEW_KEYS}
                resolved["views"].append({**defaults_in(keys["views"]["items"]), **own})
        if "matrix" in dataset:
            resolved["matrix"] = {**defaults_in(keys["matrix"]), **dataset["matrix"]}
        return resolved

    def units(
        self, names: Iterable[str], dataset: Document, quantities: Quantities
    ) -> dict[str, str]:
        quantities = of_dataset(dataset, quantities)
        return {name: quantity(name, quantities).unit for name in names}

    def periods(
        self, names: Iterable[str], dataset: Document, quantities: Quantities
    ) -> dict[str, float]:
        return periods_of(names, of_dataset(dataset, quantities))

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        size = "{} x {} pixels".format(*dataset["size"])
        members = members_of(dataset) or {"": dataset}
        generators = [f"{name}: {generator_in_words(one)}" for name, one in members.items()]
        varying = dict.fromkeys(name for one in members.values() for name in one["varyings"])
        return {
            "generator": f"{'; '.join(generators).removeprefix(': ')}, {size}",
            "varying": ", ".join(varying),
            "sizes": "{} training, {} validation, {} test".format(*spec["sizes"]),
        }

    def has_limit(self, dataset: Document) -> bool:
        level = dataset["fixed"].get(NOISE)
        if level is not None:
            return bool(level > 0)
        # has no level of its own
        undeclared = self.schemas["dataset"]["properties"]["noise_model"]["default"]
        return NOISE in dataset["varyings"] or dataset.get("noise_model", undeclared) != undeclared


def in_shares(split: Sequence[float]) -> Findings:
    """Shares of training and validation that are more than all."""
    total = sum(split)
    if total > 1 + 1e-9:
        yield ("split",), f"the shares must add up to at most 1, but their sum is {total:g}"


def noise_in_long_form(noise_model: Any, table: Table) -> Any:
    """One component of noise, or a list, with every parameter written out; not `views`."""
    if isinstance(noise_model, list):
        return [noise_in_long_form(component, table) for component in noise_model]
    long = long_form(noise_model, table)
    if isinstance(noise_model, Mapping) and "views" in noise_model:
        return {**long, "views": noise_model["views"]}
    return long


def sources_of(dataset: Document) -> list[tuple[Document, Where]]:
    """The sources of a dataset, `{"type", "name", "parameters"}` each, and their places."""
    if "sources" in dataset:
        return [(source, ("sources", index)) for index, source in enumerate(dataset["sources"])]
    return [({"type": dataset["generation_type"]}, ("generation_type",))]


def generator_in_words(dataset: Document) -> str:
    """`mogi`, or `mogi chamber and okada dike`."""
    sources = [source for source, _ in sources_of(dataset)]
    words = " and ".join(f"{one['type']} {one.get('name', '')}".strip() for one in sources)
    return words or "no source"


# Classes: a dataset of each, of what all share and what is its own.

MERGED = ("fixed", "varyings", "distributions")
"""Keys of which a class adds variables to those of all, or has others."""

SOURCES = ("generation_type", "sources")

OfMember = Callable[[str, Document], Iterable[Finding]]
"""A class and the document of its samples → problems, as of a dataset of its own."""


def _in_long_form(part: Document, tables: Tables) -> Document:
    """Sources and distributions of a dataset, or of one of its classes, with all parameters."""
    of_table = tables["distributions"]
    given = part.get("distributions", {}).items()
    written: Document = {"distributions": {name: long_form(one, of_table) for name, one in given}}
    if "sources" in part:
        generators = tables["generators"]
        written["sources"] = [{**one, **long_form(one, generators)} for one in part["sources"]]
    return written


def described_classes(dataset: Document) -> dict[str, Document]:
    """Variable → class → what makes its samples; empty where classes are names in files."""
    declared = dataset.get("classes", {}).items()
    return {variable: classes for variable, classes in declared if isinstance(classes, dict)}


def members_of(dataset: Document) -> dict[str, Document]:
    """Class → the document of its samples; empty if the dataset has no classes."""
    members = {}
    shared = {name: each for name, each in dataset.items() if name not in NOT_OF_MEMBERS}
    for classes in described_classes(dataset).values():
        for name, own in classes.items():
            member = dict(shared)
            if not own.keys().isdisjoint(SOURCES):
                member = {key: each for key, each in shared.items() if key not in SOURCES}
                member |= {key: own[key] for key in SOURCES if key in own}
            for key in MERGED:
                member[key] = {**shared[key], **own.get(key, {})}
            for key, other in (("fixed", "varyings"), ("varyings", "fixed")):
                for variable in own.get(key, {}).keys() - own.get(other, {}).keys():
                    member[other].pop(variable, None)
            members[name] = member
    return members


NOT_OF_MEMBERS = ("classes", "matrix", "columns")


def in_members(dataset: Document, find: OfMember) -> Iterator[Finding]:
    """Problems of each class as a dataset, at their places in the whole document."""
    ((variable, classes),) = dataset["classes"].items()
    found = dict[Finding, None]()
    for name, member in members_of(dataset).items():
        own = classes[name]
        for where, message in find(name, member):
            key = where[0] if where else ""
            is_own = not where or (key in SOURCES and key in own) or where == ("fixed",)
            if key in MERGED and len(where) > 1:
                is_own = where[1] in own.get(key, {})
            place: Where = ("classes", variable, name, *where) if is_own else where
            found[place, message] = None
    yield from found


def in_classes(dataset: Document, find: OfMember) -> Findings:
    """Problems of the probabilities of classes, and of each class as a dataset."""
    ((variable, classes),) = dataset["classes"].items()
    total = sum(own["probability"] for own in classes.values())
    if abs(total - 1) > 1e-6:
        yield ("classes", variable), f"probabilities must add up to 1, but their sum is {total:g}"
    yield from in_members(dataset, find)


def _in_sources(dataset: Document) -> Findings:
    if "generation_type" not in dataset and "sources" not in dataset:
        lack = "the key 'generation_type' is missing (the model that makes the images)"
        yield (), f'{lack}; or give \'sources\', for example [{{"type": "mogi"}}]'
        return
    if "generation_type" in dataset and "sources" in dataset:
        both = "the dataset has 'sources', which take its place; leave one of them out"
        yield ("generation_type",), both
    names = [source.get("name") for source in dataset.get("sources", [])]
    for index, name in enumerate(names):
        if name is None and len(names) > 1:
            needs = "each of several sources needs a 'name', the prefix of its variables"
            yield ("sources", index), needs
        elif name is not None and name in names[:index]:
            yield ("sources", index, "name"), f"source {names.index(name)} is called '{name}', too"


def _in_intervals(name: str, intervals: list[list[float]]) -> Findings:
    lower, covered = 0.0, 0.0
    for index, (low, high) in enumerate(intervals):
        where: Where = ("varyings", name, index)
        if not low < high:
            yield where, f"the interval must increase, but goes from {low:g} to {high:g}"
        elif low < 0 or high > 1:
            ends = f"but the interval goes from {low:g} to {high:g}"
            yield where, f"quantiles lie between 0 and 1, {ends}"
        elif low < lower:
            order = f"starts at {low:g}, before the preceding interval ends at {lower:g}"
            yield where, f"{order}; sort them, without overlap"
        else:
            covered += high - low
        lower = max(lower, high)
    if covered >= 1 - 1e-9:
        every = "the test part takes all quantiles; leave some for training and validation"
        yield ("varyings", name), every


DOCUMENTS = GeneratedSpecs()
