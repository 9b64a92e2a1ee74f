"""Simulated datasets, and experiences on them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from qexp.assemble.heads import beyond_prior, with_normal_scores
from qexp.assemble.kinds.kind import Document, Kind
from qexp.assemble.memory import NUMBER, Samples
from qexp.assemble.metrics import of_training_mean
from qexp.assemble.networks import in_batches
from qexp.assemble.noise import in_layouts, in_noise, noise_of
from qexp.assemble.transforms import built_transforms, in_periods
from qexp.assemble.views import pinned, turned, views_of
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError, QexpError
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import Network
from qexp.networks.shapes import features
from qexp.networks.training import Data, DrawnData
from qexp.quantities import Quantities, Quantity, base_name, of_dataset, quantity
from qexp.seeds import Seeds
from qexp.simulation import distributions
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.distributions import Distribution
from qexp.simulation.generators import GENERATOR_METHODS, DeformationImages, Generator
from qexp.simulation.views import View
from qexp.spec.finding import Finding, Where
from qexp.spec.kinds.generated import sources_of
from qexp.spec.kinds.views import fixed_values
from qexp.tables import Tables, built
from qexp.workspace import Workspace

DRAWS = 4096
"""Samples of each part whose values are tried."""

MOST_IMPOSSIBLE = 0.9
"""Largest share of draws that may be impossible: with more, a training could stop because it finds no possible ones."""


def generated_of(document: Document, tables: Tables, workspace: Workspace | None = None) -> GeneratedDataset:
    """The dataset of a document of a generated one. Raises QexpError for other types.

    workspace  searched for the files of its views, besides the places recorded in the document and `QEXP_DATA`
    """
    if document["type"] != "generated":
        raise QexpError(f"this needs a simulated dataset, but its type is '{document['type']}'")
    return GeneratedKind().dataset(document, tables, workspace)


def require_units_of(spec: Document, dataset: GeneratedDataset, tables: Tables) -> None:
    """Raise QexpError unless a dataset has the variables of a run's network in the units that it was trained on."""
    trained = of_dataset(spec["dataset"], tables["quantities"])
    for name in (*spec["inputs"], *spec["outputs"]):
        own, others = quantity(name, trained).unit, quantity(name, dataset.quantities).unit
        if own != others:
            raise QexpError(
                f"the run was trained on '{name}' in {own}, but the dataset has it in {others}; "
                'both need the same "angles"'
            )


class GeneratedKind(Kind[GeneratedDataset]):
    several_numbers = True

    def dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> GeneratedDataset:
        generator, fixed = _generator(document, tables, views_of(document, workspace)), fixed_values(document)
        images = generator.images([*fixed, *document["varyings"]])
        height, width = document.get("size", [64, 64])
        return GeneratedDataset(
            generator,
            (int(height), int(width)),
            {name: value for name, (value, _) in fixed.items()},
            document["varyings"],
            {name: built(tables["distributions"], document["distributions"][name]) for name in document["varyings"]},
            noise_of(document, images, tables),
            of_dataset(document, tables["quantities"]),
        )

    def checked_dataset(self, document: Document, tables: Tables, workspace: Workspace | None) -> GeneratedDataset:
        if found := list(_in_generators(document, tables)):
            raise DatasetError(found)
        if found := list(_in_document(document, tables, views_of(document, workspace))):
            raise DatasetError(found)
        dataset = self.dataset(document, tables, workspace)
        if found := list(in_layouts(document, dataset)):
            raise DatasetError(found)
        dataset.warnings += _about_draws(dataset)
        return dataset

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """Outputs of posterior heads are scaled by their prior where no transform is given."""
        return with_normal_scores(document, tables)

    def turned(self, document: Document, angle: float) -> dict[str, Any]:
        return turned(document, angle)

    def pinned(self, document: Document, dataset: GeneratedDataset, workspace: Workspace) -> Document:
        return pinned(document, workspace)

    def findings(
        self, document: Document, dataset: GeneratedDataset, tables: Tables, network: Network | None, available: int
    ) -> Iterator[Finding]:
        if network is not None:
            yield from in_batches(document, network, {document["sizes"][0]})
        yield from _in_transforms(document, dataset, tables)
        yield from of_training_mean(document, document["outputs"], "samples are drawn again in every epoch", tables)

    def findings_in_model(self, dataset: GeneratedDataset, network: Network, tables: Tables) -> Iterator[Finding]:
        return _in_matched_filters(dataset, network, tables)

    def data(
        self, spec: Document, dataset: GeneratedDataset, tables: Tables, seeds: Seeds, device: torch.device
    ) -> Data:
        parts = dataset.parts(spec["split"], seeds)
        train, validation, test = (int(size) for size in spec["sizes"])
        return DrawnData(
            train=lambda epoch: dataset.sample(parts["train"], train, seeds, ("train", epoch), device),
            validation=dataset.sample(parts["validation"], validation, seeds, ("validation",), device),
            test=dataset.sample(parts["test"], test, seeds, ("test",), device),
            train_size=train,
        )

    def parts(self, dataset: GeneratedDataset, spec: Document | None, tables: Tables, seed: int) -> Mapping[str, Part]:
        """The quantile intervals of each part; without an experience, `train` is all that is not held out."""
        if spec is not None:
            return dataset.parts(spec["split"], Seeds(seed))
        return {"train": _not_held_out(dataset), "test": dataset.test}

    def samples(self, document: Document, dataset: GeneratedDataset) -> Samples:
        of_one = NUMBER * sum(features(shape) for shape in dataset.shapes().values())
        return Samples(int(document["sizes"][0]), of_one * sum(document["sizes"]), "sizes")


def _not_held_out(dataset: GeneratedDataset) -> Part:
    return {name: distributions.gaps(test) for name, test in dataset.held_out.items()}


def _generator(document: Document, tables: Tables, views: Sequence[View]) -> Generator:
    """The generator of a checked document."""
    built_sources = [(one, built(tables["generators"], one)) for one, _ in sources_of(document)]
    if "sources" not in document and not views:
        generator: Generator = built_sources[0][1]
        return generator
    sources = [source.named(one.get("name", "")) for one, made in built_sources for source in made.sources]
    return DeformationImages(*sources, views=views)


def _in_generators(document: Document, tables: Tables) -> Iterator[Finding]:
    """Whether the generators have their methods, and are sources of deformation where that is needed."""
    for one, where in sources_of(document):
        made = built(tables["generators"], one)
        lacking = [method for name, method in GENERATOR_METHODS.items() if not callable(getattr(made, name, None))]
        if lacking:
            yield where, f"the generator lacks a method, {lacking[0]}"
        elif isinstance(made, DeformationImages):
            flat = [source for source in made.sources if "depth" not in source.variables]
            for index, view in enumerate(document.get("views", [])):
                if flat and "elevation" in view:
                    yield ("views", index, "elevation"), f"'{one['type']}' has no depth, which elevations would change"
        elif "sources" in document or "views" in document:
            yield (
                where,
                f"'{one['type']}' is not a source of deformation (a qexp.extend.DeformationImages); "
                "'sources' and 'views' are for those",
            )


def _in_document(document: Document, tables: Tables, views: Sequence[View]) -> Iterator[Finding]:
    quantities = of_dataset(document, tables["quantities"])
    varyings = document["varyings"]
    generator = _generator(document, tables, views)
    fixed = fixed_values(document)
    mentioned = [*fixed, *varyings]
    required = generator.required(mentioned)
    known = {*generator.required([*mentioned, *document["distributions"]]), "noise"}
    for name in required:
        if name not in mentioned:
            about = _about(quantity(name, quantities))
            other = name.replace("azimuth", "heading") if base_name(name) == "azimuth" else ""
            instead = f"; or give '{other}', {_about(quantity(other, quantities))}" if other in quantities else ""
            yield ("fixed",), f"'{name}' has no value; put it in 'fixed' or in 'varyings' ({about}){instead}"
    places = {**{name: where for name, (_, where) in fixed.items()}, **{name: ("varyings", name) for name in varyings}}
    places |= {name: ("distributions", name) for name in document["distributions"] if name not in places}
    for name, where in places.items():
        if name not in known:
            yield where, _unknown_variable(name, known, quantities)
        elif beyond := _beyond_views(name, document):
            yield where, beyond
    for name in document.get("matrix", {}).get("axes", {}):
        if name not in {*required, "noise"}:
            yield ("matrix", "axes", name), _unknown_variable(name, {*required, "noise"}, quantities)
    for name, description in document["distributions"].items():
        where = ("distributions", name)
        try:
            distribution: Distribution = built(tables["distributions"], description)
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if name in varyings:
            limits = quantity(name, quantities)
            yield from _outside_limits(name, limits, distribution, where, description["type"])
    yield from in_noise(document, generator.images(mentioned), tables)


def _beyond_views(name: str, document: Document) -> str | None:
    """Why a variable belongs to no view of a dataset that lists its views."""
    views = len(document.get("views", []))
    suffix = re.search(r"_([1-9][0-9]*)$", name)
    if not views or suffix is None or int(suffix[1]) < views:
        return None
    return f"'views' lists {views}, numbered from 0 to {views - 1}; add an object for this view, too"


def _about_draws(dataset: GeneratedDataset) -> list[str]:
    """Warnings about values that are drawn again. Raises DatasetError if all values of a part are impossible."""
    said = []
    for part, of_part in {"training part": _not_held_out(dataset), "test part": dataset.test}.items():
        share, words = dataset.impossible(of_part, DRAWS, Seeds(0), (part,))
        if share > MOST_IMPOSSIBLE:
            much = "all" if share == 1 else f"{100 * share:.3g} %"
            why = f"{much} of {DRAWS:,} draws of the {part} are impossible: {words}; choose other distributions"
            raise DatasetError([(("varyings",), why)])
        if share > 0:
            said.append(
                f"{100 * share:.2g} % of the draws of the {part} are impossible and drawn again ({words}): samples do "
                "not quite follow the distributions"
            )
    return said


def _outside_limits(
    name: str, limits: Quantity, distribution: Distribution, where: Where, kind: str
) -> Iterator[Finding]:
    low, high = distribution.support()
    if limits.period is not None and math.isinf(low) and math.isinf(high):
        return  # such as a normal distribution: turns are all alike
    hint = limits.in_another_unit
    floor = limits.above if limits.above is not None else limits.at_least
    if floor is not None and low < floor:
        yield (
            where,
            (
                f"'{kind}' reaches down to {low:g}, but {name} {limits.violation(-math.inf)}; "
                f"use a log_normal, log_uniform or truncated_normal distribution, or other bounds{hint}"
            ),
        )
    if limits.at_most is not None and high > limits.at_most:
        yield where, f"'{kind}' reaches up to {high:g}, but {name} {limits.violation(math.inf)}{hint}"


def _about(known: Quantity) -> str:
    return f"{known.description}, in {known.unit}" if known.unit else known.description


def _in_matched_filters(dataset: GeneratedDataset, network: Network, tables: Tables) -> Iterator[Finding]:
    """Whether the dataset makes the images that a model's filters are matched to."""
    images = dataset.generator.images(dataset.variables)
    for index, branch in enumerate(network.branches):
        for position, name in enumerate(branch.operations):
            filters = network.operations[name]
            if not isinstance(filters, MatchedFilters):
                continue
            if position > 0 or branch.sources[0] not in images:
                yield (
                    ("branches", index, "operations", position),
                    f"'{name}' is matched to an image of the dataset; put it first in a branch from "
                    f"{' or '.join(map(repr, images))}",
                )
            where: Where = ("operations", name, "parameters")
            if filters.variable not in dataset.test:
                yield (
                    (*where, "variable"),
                    f"'{filters.variable}' does not vary in the dataset; {suggestion(filters.variable, dataset.test)}",
                )
            elif trouble := dataset.noise.trouble_with_inverse(branch.sources[0], features(filters.shape)):
                yield (
                    ("operations", name),
                    f"matched filters need the inverse of the noise's covariance: {trouble}",
                )
            elif violation := quantity(filters.variable, dataset.quantities).violation(float(filters.values[-1])):
                yield (*where, "high"), violation
            elif trouble := dataset.trouble_with_templates(filters.variable, filters.values):
                yield where, f"with the other variables at their medians, {trouble}; choose another range"


def _in_transforms(document: Document, dataset: GeneratedDataset, tables: Tables) -> Iterator[Finding]:
    transforms, found = built_transforms(document, tables)
    yield from found
    yield from beyond_prior(document, tables, dataset.distributions, transforms)
    for name, transform in transforms.items():
        if name in dataset.fixed:
            low = high = dataset.fixed[name]
        elif name in dataset.distributions:
            low, high = dataset.distributions[name].support()
        else:
            low, high = -math.inf, math.inf
        if name in document["outputs"]:
            yield from in_periods(name, transform, quantity(name, dataset.quantities), (low, high))
        trouble = transform.domain_error(low, high)
        if trouble:
            yield ("transforms", name), f"{trouble}; use asinh or scale for '{name}'"


def _unknown_variable(name: str, known: Iterable[str], quantities: Quantities) -> str:
    """Message that a dataset cannot have a variable of this name."""
    if base_name(name) in quantities:
        return f"this dataset has no '{name}'; {suggestion(name, known)}"
    return f"no variable '{name}'; {suggestion(name, known)}"
