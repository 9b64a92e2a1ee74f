"""Simulated datasets with their views and noise, and experiences on them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from qexp.base.outputs import output_in
from qexp.base.quantities import (
    ANGLES,
    DEGREES,
    NOISE,
    Quantities,
    Quantity,
    base_name,
    number_with_unit,
    of_dataset,
    quantity,
)
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built, long_form
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError, suggestion
from qexp.kinds.files import fingerprint, refuse
from qexp.kinds.images.mixture import mixture_of
from qexp.kinds.images.spec import fixed_values, members_of, noise_in_long_form, sources_of
from qexp.kinds.images.trial import try_own_sources
from qexp.kinds.images.views import FILES, ViewFiles, instrument_of, views_of
from qexp.kinds.kind import KindData
from qexp.kinds.memory import BYTES_OF_NUMBER, Samples
from qexp.kinds.networks import (
    beyond_prior,
    build_transforms,
    in_batches,
    in_periods,
    of_training_mean,
    outputs_of_heads,
)
from qexp.kinds.tables import tables_of
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import Network
from qexp.networks.shapes import from_spec, numbers_in, written
from qexp.networks.training import Data, DrawnData
from qexp.simulation import distributions
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.distributions import MOVING, Distribution
from qexp.simulation.generators import (
    GENERATOR_METHODS,
    DeformationImages,
    Generator,
)
from qexp.simulation.mixture import Mixture
from qexp.simulation.noise import Noise
from qexp.simulation.noise_models import Component, NoiseModel
from qexp.simulation.views import View
from qexp.spec.kinds import filled_in, load_stage
from qexp.spec.reading import Document, Finding, Findings, Where
from qexp.store.directory import RunDirectory


def noise_of(document: Document, images: Sequence[str], tables: Tables) -> NoiseModel:
    """The noise of a checked document; `images` are those of its views, in their order."""
    declared = noise_in_long_form(document["noise_model"], tables["noises"])
    several = isinstance(declared, list)
    names = _names(document)
    of_type = Counter[str]()
    components = []
    for component in declared if several else [declared]:
        # Its position among those of its type: a component of another type changes no other's
        # random numbers.
        stream = (component["type"], of_type[component["type"]]) if several else None
        of_type[component["type"]] += 1
        chosen = (
            frozenset(images[_number(view, names)] for view in component["views"])
            if "views" in component
            else None
        )
        components.append(Component(built(tables["noises"], component), chosen, stream))
    return NoiseModel(components)


def _names(document: Document) -> list[str | None]:
    return [view.get("name") for view in document.get("views", [])]


def _number(view: int | str, names: Sequence[str | None]) -> int:
    return view if isinstance(view, int) else names.index(view)


def in_noise(document: Document, images: Sequence[str], tables: Tables) -> Findings:
    """Problems of the declared noise that its schema cannot express."""
    declared = noise_in_long_form(document["noise_model"], tables["noises"])
    several = isinstance(declared, list)
    noises: list[Noise] = []
    for index, component in enumerate(declared if several else [declared]):
        where: Where = ("noise_model", index) if several else ("noise_model",)
        try:
            noise = built(tables["noises"], component)
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if not isinstance(noise, Noise):
            base = f"{Noise.__module__}.{Noise.__name__}"
            yield (
                where,
                f"'{component['type']}' builds {type(noise).__name__}, but must build a {base}",
            )
            continue
        noises.append(noise)
        yield from _in_views(component, where, document, images)
        if several and noise.of_unit_variance and not _has_level(document):
            declare = f"'{component['type']}' has no amplitude: declare it among its parameters"
            yield (
                where,
                (
                    f"{declare}, or give the dataset a 'noise' [m], in 'fixed' or 'varyings', that"
                    " scales it"
                ),
            )
    if noises and not any(noise.of_unit_variance for noise in noises) and _has_level(document):
        why = "every component of the noise model has an amplitude of its own"
        yield _path_of_level(document), f"scales nothing, because {why}; remove it"


def in_layouts(document: Document, dataset: GeneratedDataset) -> Findings:
    """Components that cannot be drawn where the pixels or points of their views lie."""
    several = isinstance(document["noise_model"], list)
    layouts = dataset.layouts()
    if _has_level(document) and not layouts:
        yield (
            _path_of_level(document),
            "scales nothing: stations have 'errors' of their own; remove it",
        )
    for image, layout in layouts.items():
        for index, component in enumerate(dataset.noise.components):
            if component in dataset.noise.components_of(image) and (
                trouble := component.noise.trouble_with(layout)
            ):
                where: Where = ("noise_model", index) if several else ("noise_model",)
                yield where, f"{trouble} ('{image}')"


def _in_views(
    component: Document, where: Where, document: Document, images: Sequence[str]
) -> Findings:
    names = _names(document)
    for position, view in enumerate(component.get("views", [])):
        path = (*where, "views", position)
        if isinstance(view, str) and view not in names:
            yield path, f"no view '{view}'; {suggestion(view, [name for name in names if name])}"
        elif isinstance(view, int) and view >= len(images):
            yield path, f"no view {view}; the dataset has {len(images)}, numbered from 0"
        elif (
            document.get("views")
            and not instrument_of(document["views"][_number(view, names)]).imaging
        ):
            yield path, "is a view of GNSS stations, which have 'errors' of their own"


def _has_level(document: Document) -> bool:
    return bool(document["fixed"].get("noise")) or "noise" in document["varyings"]


def _path_of_level(document: Document) -> Where:
    return ("fixed" if "noise" in document["fixed"] else "varyings"), "noise"


TURNING = {"azimuth": 1, "heading": -1}
"""Variables that give the direction of a view → the sign of their growth where it turns
counter-clockwise.
"""


DRAWS = 4096
"""Samples of each part whose values are tried."""

MOST_IMPOSSIBLE = 0.9
"""Largest share of draws that may be impossible: with more, a training could stop because it finds
no possible ones.
"""


def generated_of(
    document: Document, tables: Tables, workspace: Workspace | None = None
) -> GeneratedDataset:
    """The dataset of a document of a generated one. Raises QexpError for other types.

    workspace  searched for the files of its views, besides the places recorded in the document and
               `QEXP_DATA`
    """
    return _data_of(document).dataset(filled_in(document), tables, workspace)


def trained_on(directory: RunDirectory) -> GeneratedDataset:
    """The dataset of a run. Raises QexpError for other types."""
    return generated_of(
        directory.training_spec()["dataset"], tables_of(directory), directory.workspace
    )


def _data_of(document: Document) -> GeneratedData:
    kind = load_stage(document, "data")
    if not isinstance(kind, GeneratedData):
        raise QexpError(f"this needs a simulated dataset, but its type is '{document['type']}'")
    return kind


def sizes_of(
    spec: Document, dataset: GeneratedDataset, tables: Tables, run_seed: int
) -> dict[str, int]:
    """Part of a run on that dataset → the number of its samples, of training in an epoch."""
    sizes = _data_of(spec["dataset"]).sizes(spec, dataset, tables, run_seed)
    return dict(zip(("train", "validation", "test"), sizes, strict=True))


def require_variables_of(
    spec: Document, dataset: GeneratedDataset, tables: Tables, run: str, called: str = "the dataset"
) -> None:
    """Raise QexpError unless a dataset has what a run's network takes and estimates, as it was
    trained on.
    """
    shapes = dataset.shapes()
    trained = of_dataset(spec["dataset"], tables["quantities"])
    for name in (*spec["inputs"], *spec["outputs"]):
        if name not in shapes:
            what = f"an input of {run}" if name in spec["inputs"] else f"which {run} estimates"
            raise QexpError(f"{called} has no '{name}', {what}; {suggestion(name, shapes)}")
        if name in spec["inputs"] and shapes[name] != (
            shape := from_spec(spec["model"]["inputs"][name]["size"])
        ):
            raise QexpError(
                f"in {called} '{name}' is {written(shapes[name])}, but {run} was trained on"
                f" {written(shape)}"
            )
        trained_unit = quantity(name, trained).unit
        unit = quantity(name, dataset.quantities).unit
        if trained_unit != unit:
            raise QexpError(
                f"{run} was trained on '{name}' in {trained_unit}, but {called} has it in {unit};"
                ' both need the same "angles"'
            )


class GeneratedData(KindData[GeneratedDataset]):
    several_numbers = True

    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> GeneratedDataset:
        if "classes" in document:
            return _mixture(document, tables, workspace, self.dataset)
        return _dataset(document, tables, views_of(document, workspace))

    def checked_dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> GeneratedDataset:
        if "classes" in document:
            return _mixture(document, tables, workspace, self.checked_dataset)
        dataset = self.untried_dataset(document, tables, workspace)
        dataset.warnings[:0] = try_own_sources(document, dataset, tables, workspace)
        return dataset

    def untried_dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> GeneratedDataset:
        """A checked dataset whose simulator, which may take hours, is not called."""
        if "classes" in document:
            return _mixture(document, tables, workspace, self.untried_dataset)
        refuse(_in_generators(document, tables))
        views = views_of(document, workspace)
        refuse(_in_variables(document, _generator(document, tables, views), tables))
        dataset = _dataset(document, tables, views)
        refuse([*in_layouts(document, dataset), *_in_columns(document, dataset)])
        dataset.warnings += [*_warnings_about_draws(dataset), *implausible(dataset)]
        return dataset

    def remarks(self, document: Document, dataset: GeneratedDataset) -> Findings:
        if "matrix" in document:
            axes = document["matrix"]["axes"]
            if values := dataset.medians(name for name in dataset.test if name not in axes):
                words = " ".join(f"--fix {name}={median:.4g}" for name, median in values.items())
                names = " and ".join(map(repr, values))
                they = (
                    f"{names} {'varies but is' if len(values) == 1 else 'vary but are'} not among"
                    " the axes"
                )
                yield (
                    ("matrix", "axes"),
                    f"{they}: qexp matrix needs values, for example the medians: {words}",
                )

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """Outputs of posterior heads are scaled by their prior where no transform is given."""
        scores = {}
        dataset = document["dataset"]
        for name in outputs_of_heads(document, tables["modules"]):
            if not output_in(document, name).scored:
                continue
            priors = []
            for one in members_of(dataset).values() or [dataset]:
                if name in one["varyings"] and one["distributions"][name] not in priors:
                    priors.append(one["distributions"][name])
            if len(priors) == 1:
                score = {"type": "normal_score", "parameters": {"distribution": priors[0]}}
                scores[name] = long_form(score, tables["transforms"])
        return {**document, "transforms": {**scores, **document["transforms"]}}

    def match_filters(
        self, operation: MatchedFilters, image: str, document: Document, tables: Tables
    ) -> None:
        operation.match(
            *generated_of(document, tables).templates(image, operation.variable, operation.values)
        )

    def turned(self, document: Document, angle: float) -> Document:
        """Raises QexpError if a direction varies by a distribution that cannot be moved."""
        changes: Document = {}
        in_unit = math.degrees(angle) if document.get(ANGLES) == DEGREES else angle
        axes = document.get("matrix", {}).get("axes", {})
        for name in sorted({*document["fixed"], *document["varyings"], *axes}):
            if not (step := TURNING.get(base_name(name), 0) * in_unit):
                continue
            if name in document["fixed"]:
                changes[f"fixed.{name}"] = document["fixed"][name] + step
            if name in document["varyings"]:
                distribution = document["distributions"][name]
                if (moving := MOVING.get(distribution["type"])) is None:
                    raise QexpError(
                        f"'{name}' must be {step:+.4g} larger for these weights, and its"
                        f" distribution '{distribution['type']}' cannot be moved; use"
                        f" {' or '.join(MOVING)}"
                    )
                values = distribution["parameters"]
                moved = {
                    **distribution,
                    "parameters": values | {key: values[key] + step for key in moving},
                }
                changes[f"distributions.{name}"] = moved
            if name in axes:
                changes[f"matrix.axes.{name}"] = [bound + step for bound in axes[name]]
        for index, view in enumerate(document.get("views", [])):
            for name, turn in TURNING.items():
                if name in view:
                    changes[f"views.{index}.{name}"] = view[name] + turn * in_unit
        return changes

    def pinned(
        self, document: Document, dataset: GeneratedDataset, workspace: Workspace
    ) -> Document:
        """With the hashes of the files of views and where they are; the document itself if they
        have none.
        """
        files = ViewFiles(document, workspace)
        names = [
            view[key]
            for view in document.get("views", [])
            for key in FILES
            if isinstance(view.get(key), str)
        ]
        if not names:
            return document
        paths = {name: files.find(name) for name in names}
        return {
            **document,
            "fingerprints": {name: fingerprint(path) for name, path in paths.items()},
            "found": {name: str(path.absolute()) for name, path in paths.items()},
        }

    def findings(
        self,
        document: Document,
        dataset: GeneratedDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Findings:
        if network is not None:
            yield from in_batches(document, network, {document["sizes"][0]})
        yield from in_transforms(document, dataset, tables)
        for index, name in enumerate(document["inputs"]):
            if name in dataset.absent:
                lacking = "is a parameter that some classes lack; only outputs can be such"
                yield ("inputs", index), f"'{name}' {lacking}"
        yield from of_training_mean(
            document, document["outputs"], "samples are drawn again in every epoch", tables
        )

    def findings_in_model(
        self, dataset: GeneratedDataset, network: Network, tables: Tables
    ) -> Findings:
        return _in_matched_filters(dataset, network)

    def data(
        self,
        spec: Document,
        dataset: GeneratedDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> Data:
        parts = dataset.parts(spec["split"], seeds)
        train, validation, test = (int(size) for size in spec["sizes"])
        return DrawnData(
            train=lambda epoch: dataset.sample(
                parts["train"], train, seeds, ("train", epoch), device
            ),
            validation=dataset.sample(
                parts["validation"], validation, seeds, ("validation",), device
            ),
            test=dataset.sample(parts["test"], test, seeds, ("test",), device),
            train_size=train,
            absent=dataset.absent,
        )

    def parts(
        self, dataset: GeneratedDataset, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Part]:
        """What each part consists of; without an experience, `train` is all that is not held
        out.
        """
        if spec is not None:
            return dataset.parts(spec["split"], Seeds(seed))
        return {"train": _not_held_out(dataset), "test": dataset.test_part}

    def sizes(
        self, spec: Document, dataset: GeneratedDataset, tables: Tables, seed: int
    ) -> tuple[int, int, int]:
        train, validation, test = spec["sizes"]
        return int(train), int(validation), int(test)

    def samples(self, document: Document, dataset: GeneratedDataset) -> Samples:
        of_sample = BYTES_OF_NUMBER * numbers_in(dataset.shapes())
        return Samples(int(document["sizes"][0]), of_sample * sum(document["sizes"]), "sizes")


def _dataset(document: Document, tables: Tables, views: Sequence[View]) -> GeneratedDataset:
    generator = _generator(document, tables, views)
    fixed = fixed_values(document)
    varyings = document["varyings"]
    height, width = document["size"]
    return GeneratedDataset(
        generator,
        (int(height), int(width)),
        {name: value for name, (value, _) in fixed.items()},
        varyings,
        {
            name: built(tables["distributions"], document["distributions"][name])
            for name in varyings
        },
        noise_of(document, generator.images([*fixed, *varyings]), tables),
        of_dataset(document, tables["quantities"]),
    )


Make = Callable[[Document, Tables, Workspace | None], GeneratedDataset]


def _mixture(
    document: Document, tables: Tables, workspace: Workspace | None, make: Make
) -> Mixture:
    """The dataset of a document with classes, of those that `make` makes of each."""
    views = views_of(document, workspace)

    def generator(member: Document) -> Generator:
        refuse(_in_generators(member, tables))
        return _generator(member, tables, views)

    return mixture_of(document, generator, lambda member: make(member, tables, workspace))


def parts_of(dataset: GeneratedDataset, split: list[float], run_seed: int) -> Mapping[str, Part]:
    """Each part as a run divides them, and all parts together."""
    return {"all": dataset.whole, **dataset.parts(split, Seeds(run_seed))}


def _not_held_out(dataset: GeneratedDataset) -> Part:
    if isinstance(dataset, Mixture):
        return {name: _not_held_out(member) for name, member in dataset.members.items()}
    return {name: distributions.gaps(test) for name, test in dataset.held_out.items()}


def _generator(document: Document, tables: Tables, views: Sequence[View]) -> Generator:
    names = [declared.get("name", "") for declared, _ in sources_of(document)]
    generators = [built(tables["generators"], declared) for declared, _ in sources_of(document)]
    if "sources" not in document and not views:
        generator: Generator = generators[0]
        return generator
    of_names = zip(names, generators, strict=True)
    sources = [
        source.with_name(name) for name, generator in of_names for source in generator.sources
    ]
    return DeformationImages(*sources, views=views)


def _in_generators(document: Document, tables: Tables) -> Findings:
    """Whether the generators have their methods, and are sources of deformation where that is
    needed.
    """
    for declared, where in sources_of(document):
        generator = built(tables["generators"], declared)
        lacking = [
            method
            for name, method in GENERATOR_METHODS.items()
            if not callable(getattr(generator, name, None))
        ]
        if lacking:
            yield where, f"the generator lacks a method, {lacking[0]}"
        elif isinstance(generator, DeformationImages):
            flat = [source for source in generator.sources if "depth" not in source.variables]
            for index, view in enumerate(document.get("views", [])):
                if flat and "elevation" in view:
                    message = f"'{declared['type']}' has no depth, which elevations would change"
                    yield ("views", index, "elevation"), message
        elif "sources" in document or "views" in document:
            lack = (
                f"'{declared['type']}' is not a source of deformation (a"
                " qexp.extend.DeformationImages)"
            )
            yield where, f"{lack}; 'sources' and 'views' are for those"


def _in_variables(document: Document, generator: Generator, tables: Tables) -> Findings:
    """Problems of variables that the generator needs, or does not have, and of their distributions
    and noise.
    """
    quantities = of_dataset(document, tables["quantities"])
    varyings = document["varyings"]
    fixed = fixed_values(document)
    views = len(document.get("views", []))
    mentioned = [*fixed, *varyings]
    required = generator.required(mentioned)
    possible = {*generator.required([*mentioned, *document["distributions"]]), NOISE}
    for name in required:
        if name not in mentioned:
            about = _about(quantity(name, quantities))
            other = name.replace("azimuth", "heading") if base_name(name) == "azimuth" else ""
            instead = (
                f"; or give '{other}', {_about(quantity(other, quantities))}"
                if other in quantities
                else ""
            )
            yield (
                ("fixed",),
                f"'{name}' has no value; put it in 'fixed' or in 'varyings' ({about}){instead}",
            )
    paths: dict[str, Where] = {name: where for name, (_, where) in fixed.items()}
    paths |= {name: ("varyings", name) for name in varyings}
    for name in document["distributions"]:
        paths.setdefault(name, ("distributions", name))
    for name, where in paths.items():
        if name not in possible:
            yield where, _unknown_variable(name, possible, quantities)
        elif views and (suffix := re.search(r"_([1-9][0-9]*)$", name)) and int(suffix[1]) >= views:
            yield (
                where,
                (
                    f"'views' lists {views}, numbered from 0 to {views - 1}; add an object for this"
                    " view, too"
                ),
            )
    for name in document.get("matrix", {}).get("axes", {}):
        if name not in {*required, NOISE}:
            yield ("matrix", "axes", name), _unknown_variable(name, {*required, NOISE}, quantities)
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


def _in_columns(document: Document, dataset: GeneratedDataset) -> Findings:
    """Names of variables in files, of variables that the dataset does not have or that would be the
    same.
    """
    columns = document.get("columns", {})
    for index, (name, other) in enumerate(columns.items()):
        if name not in dataset.shapes():
            yield (
                ("columns", name),
                f"this dataset has no '{name}'; {suggestion(name, dataset.shapes())}",
            )
        elif other in list(columns.values())[:index]:
            yield (
                ("columns", name),
                f"'{other}' of the file is another variable, too; keep one of them",
            )


def implausible(dataset: GeneratedDataset) -> Iterator[str]:
    """Warnings about distributions that reach beyond what nature has, by their quantity."""
    for name, distribution in dataset.distributions.items():
        about = quantity(name, dataset.quantities)
        least, most = distribution.quantile(np.array([0.01, 0.99]))
        if about.plausible and not about.plausible[0] <= least <= most <= about.plausible[1]:
            low, high = (number_with_unit(f"{end:g}", about.unit) for end in about.plausible)
            span = f"98 % of '{name}' lie between {least:.4g} and {most:.4g}"
            yield f"{span}, beyond what its quantity calls plausible, {low} to {high}"


def _warnings_about_draws(dataset: GeneratedDataset) -> list[str]:
    """Warnings about values that are drawn again. Raises DatasetError if all values of a part are
    impossible.
    """
    warnings = []
    for part, of_part in {
        "training part": _not_held_out(dataset),
        "test part": dataset.test,
    }.items():
        share, words = dataset.impossible(of_part, DRAWS, Seeds(0), (part,))
        if share > MOST_IMPOSSIBLE:
            much = "all" if share == 1 else f"{100 * share:.3g} %"
            why = (
                f"{much} of {DRAWS:,} draws of the {part} are impossible: {words}; choose other"
                " distributions"
            )
            raise DatasetError([(("varyings",), why)])
        if share > 0:
            warnings.append(
                f"{100 * share:.2g} % of the draws of the {part} are impossible and drawn again"
                f" ({words}): samples do not quite follow the distributions"
            )
    return warnings


def _outside_limits(
    name: str, limits: Quantity, distribution: Distribution, where: Where, kind: str
) -> Findings:
    low, high = distribution.support()
    if limits.period is not None and math.isinf(low) and math.isinf(high):
        return  # such as a normal distribution: turns are all alike
    hint = limits.in_another_unit
    if limits.least is not None and low < limits.least:
        reach = f"'{kind}' reaches down to {low:g}, but {name} {limits.violation(-math.inf)}"
        remedy = (
            f"use a log_normal, log_uniform or truncated_normal distribution, or other bounds{hint}"
        )
        yield where, f"{reach}; {remedy}"
    if limits.at_most is not None and high > limits.at_most:
        yield (
            where,
            f"'{kind}' reaches up to {high:g}, but {name} {limits.violation(math.inf)}{hint}",
        )


def _about(variable: Quantity) -> str:
    return f"{variable.description}, in {variable.unit}" if variable.unit else variable.description


def _in_matched_filters(dataset: GeneratedDataset, network: Network) -> Findings:
    """Whether the dataset makes the images that a model's filters are matched to."""
    images = dataset.images
    for index, branch in enumerate(network.branches):
        for position, name in enumerate(branch.operations):
            filters = network.operations[name]
            if not isinstance(filters, MatchedFilters):
                continue
            if position > 0 or branch.sources[0] not in images:
                remedy = f"put it first in a branch from {' or '.join(map(repr, images))}"
                where_used = ("branches", index, "operations", position)
                yield where_used, f"'{name}' is matched to an image of the dataset; {remedy}"
            where: Where = ("operations", name, "parameters")
            if filters.variable not in dataset.test:
                slip = suggestion(filters.variable, dataset.test)
                yield (
                    (*where, "variable"),
                    f"'{filters.variable}' does not vary in the dataset; {slip}",
                )
            elif trouble := dataset.noise.trouble_with_inverse(
                branch.sources[0], math.prod(filters.shape)
            ):
                yield (
                    ("operations", name),
                    f"matched filters need the inverse of the noise's covariance: {trouble}",
                )
            elif violation := quantity(filters.variable, dataset.quantities).violation(
                float(filters.values[-1])
            ):
                yield (*where, "high"), violation
            elif trouble := dataset.trouble_with_templates(filters.variable, filters.values):
                yield (
                    where,
                    f"with the other variables at their medians, {trouble}; choose another range",
                )


def in_transforms(document: Document, dataset: GeneratedDataset, tables: Tables) -> Findings:
    if isinstance(dataset, Mixture):
        found = dict[Finding, None]()
        for member in dataset.members.values():
            names = document["transforms"].keys() & member.shapes().keys()
            transforms = {name: document["transforms"][name] for name in names}
            own = {**document, "transforms": transforms}
            found |= dict.fromkeys(in_transforms(own, member, tables))
        yield from found
        return
    transforms, _ = build_transforms(document, tables)
    yield from beyond_prior(document, tables, dataset.distributions, transforms)
    for name, transform in transforms.items():
        if name in dataset.fixed:
            low = high = dataset.fixed[name]
        elif name in dataset.distributions:
            low, high = dataset.distributions[name].support()
        else:
            low = -math.inf
            high = math.inf
        if name in document["outputs"]:
            yield from in_periods(name, transform, quantity(name, dataset.quantities), (low, high))
        if trouble := transform.domain_error(low, high):
            yield ("transforms", name), f"{trouble}; use asinh or scale for '{name}'"


def _unknown_variable(name: str, variables: Iterable[str], quantities: Quantities) -> str:
    """Message that a dataset cannot have a variable of this name."""
    who = "this dataset has no" if base_name(name) in quantities else "no variable"
    return f"{who} '{name}'; {suggestion(name, variables)}"


DATA = GeneratedData()
