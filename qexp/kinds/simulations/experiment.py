"""Experiences on simulations that exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base.outputs import classes_of, declared_classes
from qexp.base.quantities import NOISE, VIEW_KEYS, Quantities, of_dataset, quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError, suggestion
from qexp.kinds.classes import lacking
from qexp.kinds.files import data_folder, data_folders, refuse
from qexp.kinds.images.experiment import (
    GeneratedData,
    implausible,
    in_layouts,
    in_noise,
    in_transforms,
    noise_of,
)
from qexp.kinds.images.spec import fixed_values, variable_of
from qexp.kinds.images.views import views_of
from qexp.kinds.kind import KindData
from qexp.kinds.memory import BYTES_OF_NUMBER, Samples
from qexp.kinds.networks import in_batches
from qexp.kinds.simulations.files import SimulationFiles
from qexp.networks.network import Network
from qexp.networks.shapes import numbers_in
from qexp.networks.training import Data, Prepare, Samples as SamplesOfBatch, in_blocks
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.stored import Rows, Simulations, StoredDataset, StoredImages
from qexp.simulation.views import SIZED, View
from qexp.spec.reading import Document, Findings
from qexp.store.directory import run_named

if TYPE_CHECKING:
    from qexp.kinds.images.emulator import Emulator

READ_TOGETHER = 2**23
"""Numbers of the samples that are read, and given noise, at a time."""

ROUNDING = 1e-6
"""Of values in single precision at the ends of a distribution."""

NODES_OF_PRIOR = 2001

UNLIKE_PRIOR = 1.95
"""Kolmogorov-Smirnov statistic times the root of the count; chance exceeds it in 0.1 %."""


class StoredData(Data):
    """Simulations in another order, with new noise, in each epoch; some batches at a time."""

    def __init__(
        self, dataset: StoredDataset, parts: Mapping[str, Rows], seeds: Seeds, device: torch.device
    ) -> None:
        self._dataset = dataset
        self._train = parts["train"]
        self._seeds, self._device = seeds, device
        self.train_size = len(self._train)
        self._together = max(1, READ_TOGETHER // numbers_in(dataset.shapes()))
        """Samples that are read at a time."""
        self.validation, self.test = (
            dataset.sample(parts[part], len(parts[part]), seeds, (part,), device)
            for part in ("validation", "test")
        )

    def epoch(
        self, number: int, batch_size: int, prepared: Prepare
    ) -> Callable[[int], SamplesOfBatch]:
        values = self._dataset.values(self._train, self.train_size, self._seeds, ("train", number))
        together = max(1, self._together // batch_size)
        size = together * batch_size

        def read(block: int) -> SamplesOfBatch:
            rows = slice(block * size, (block + 1) * size)
            parameters = {name: column[rows] for name, column in values.items()}
            random = self._seeds.torch(self._device, "train", number, "noise", block)
            return prepared(self._dataset.observe(parameters, random))

        return in_blocks(read, together, batch_size)

    def to_fit(self) -> SamplesOfBatch:
        count = min(self.train_size, self._together)
        return self._dataset.sample(
            self._train,
            count,
            self._seeds,
            ("train", 0),
            self._device,
        )


class SimulatedData(GeneratedData):
    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> StoredDataset:
        """Without its files, a run's dataset has no samples, but all that estimation needs."""
        quantities = tables["quantities"]
        try:
            path = self.folder(document, workspace)
        except DatasetError as lack:
            if "shapes" not in document:
                raise
            views = _views(document, document["shapes"], workspace)
            model = _emulator(document, workspace)
            known = of_dataset(document, quantities)
            return _stored(document, tables, lack, views, known, document, model)
        files = SimulationFiles(document, quantities, path, data_folders(workspace))
        fingerprint = files.fingerprint
        views = _views(document, files.shapes, workspace)
        if document.get("fingerprint", fingerprint) != fingerprint:
            why = f"{path} has changed since the run was prepared: its SHA-256 is now {fingerprint}"
            raise DatasetError([(("path",), why)])
        simulations = files.read(views)
        distributions = dict(document["distributions"])
        for name in files.parameters:
            if name not in distributions and name not in files.classes:
                quantiles = {"values": simulations.quantiles(name)}
                distributions[name] = {"type": "quantiles", "parameters": quantiles}
        origin = {"fingerprint": fingerprint, **files.origin, "distributions": distributions}
        model = _emulator(document, workspace)
        if model is not None and not isinstance(model, QexpError):
            origin["found_emulator"] = str(model.directory.path.absolute())
            origin["emulator_weights"] = model.weights
            for name in files.shapes:
                if name not in model.images:
                    lack_of = f"{model.directory.name} does not make '{name}'"
                    raise DatasetError([(("emulator",), lack_of)])
        dataset = _stored(
            document,
            tables,
            simulations,
            views,
            files.quantities,
            origin,
            model,
        )
        dataset.warnings += files.warnings
        return dataset

    def checked_dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> StoredDataset:
        dataset = self.dataset(document, tables, workspace)
        refuse(_in_variables(document, dataset))
        refuse(in_noise(document, dataset.images, tables))
        refuse([*_in_priors(document, dataset), *in_layouts(document, dataset)])
        dataset.warnings += [*_unlike_priors(document, dataset), *implausible(dataset)]
        return dataset

    def folder(self, document: Document, workspace: Workspace | None) -> Path:
        return data_folder(document, workspace, Path.exists, "file or folder")

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """The distributions of simulations that were drawn from unknown ones are filled in, too."""
        dataset = self.dataset(document["dataset"], tables, workspace)
        distributions = dataset.origin["distributions"]
        return super().completed(
            {**document, "dataset": {**document["dataset"], "distributions": distributions}},
            tables,
            workspace,
        )

    def pinned(
        self, document: Document, dataset: GeneratedDataset, workspace: Workspace
    ) -> Document:
        """With what the files hold: their hash, the units, and the distributions."""
        return {**document, **dataset.origin}

    def findings(
        self,
        document: Document,
        dataset: GeneratedDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Findings:
        assert isinstance(dataset, StoredDataset)
        sizes = self.sizes(document, dataset, tables, 0)
        groups = len(np.unique(dataset.simulations.groups))
        counts = _in_parts(sizes)
        if groups < sum(sizes):
            counts += f", in {groups:,} groups or with as many different parameters"
        for part, size in zip(WAYS_OUT, sizes, strict=True):
            if not size:
                lack = f"no simulation is left for the {part} part ({counts})"
                yield ("split",), f"{lack}; {WAYS_OUT[part]}"
        train = {"this split": dataset.parts(document["split"], Seeds(0))["train"]}
        classes = classes_of(document)
        for name, of_output in classes.items():
            lack = lacking(of_output, dataset.simulations.parameters[name], train)
            if lack:
                yield ("split",), f"{lack}; leave it out, or give the part a larger share"
        if network is not None:
            yield from in_batches(document, network, {sizes[0]})
        yield from in_transforms(document, dataset, tables)

    def findings_in_model(
        self, dataset: GeneratedDataset, network: Network, tables: Tables
    ) -> Findings:
        return KindData.findings_in_model(self, dataset, network, tables)

    def data(
        self,
        spec: Document,
        dataset: GeneratedDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> Data:
        assert isinstance(dataset, StoredDataset)
        return StoredData(dataset, dataset.parts(spec["split"], seeds), seeds, device)

    def parts(
        self, dataset: GeneratedDataset, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Part]:
        if spec is not None:
            return dataset.parts(spec["split"], Seeds(seed))
        parts = dataset.parts([1.0, 0.0], Seeds(seed))
        return {part: rows for part, rows in parts.items() if len(rows)}

    def sizes(
        self, spec: Document, dataset: GeneratedDataset, tables: Tables, seed: int
    ) -> tuple[int, int, int]:
        parts = dataset.parts(spec["split"], Seeds(seed))
        return len(parts["train"]), len(parts["validation"]), len(parts["test"])

    def samples(self, document: Document, dataset: GeneratedDataset) -> Samples:
        sizes = self.sizes(document, dataset, {}, 0)
        of_sample = BYTES_OF_NUMBER * numbers_in(dataset.shapes())
        return Samples(sizes[0], of_sample * (sizes[1] + sizes[2]), "split")


RECORDED = (
    "found", "found_parameters", "found_emulator", "fingerprint", "emulator_weights", "units",
    "values", "shapes", "pixels", "middles", "distributions",
)  # fmt: skip
"""Keys of a dataset that say what its files held when a run was prepared."""


def _stored(
    document: Document,
    tables: Tables,
    simulations: Simulations | DatasetError,
    views: Mapping[str, View],
    quantities: Quantities,
    origin: Mapping[str, Any],
    model: Emulator | DatasetError | None,
) -> StoredDataset:
    """origin: what the files hold, or held when the run was prepared."""
    fixed = {name: value for name, (value, _) in fixed_values(document).items()}
    shapes, pixels = origin["shapes"], {}
    metres = quantity("x_res", quantities).si_factor
    for index, name in enumerate(shapes):
        width, height = (fixed.get(variable_of(side, index), math.nan) * metres for side in SIZED)
        sides, middle = (origin.get(key, {}).get(name) for key in ("pixels", "middles"))
        pixels[name] = *(sides or (width, height)), *(middle or (0.0, 0.0))
    _, height, width = next(iter(shapes.values()))
    entries = origin["distributions"]
    distributions = tables["distributions"]
    classes = declared_classes(document, document["varyings"])
    varyings = {name: ends for name, ends in document["varyings"].items() if name not in classes}
    return StoredDataset(
        StoredImages(simulations, views, pixels, model),
        (height, width),
        fixed,
        varyings,
        {name: built(distributions, entries[name]) for name in varyings},
        noise_of(document, list(shapes), tables),
        quantities,
        origin={key: origin[key] for key in RECORDED if key in origin},
        classes={name: one.names for name, one in classes.items()},
    )


def _emulator(document: Document, workspace: Workspace | None) -> Emulator | DatasetError | None:
    """The run that makes other images. Raises DatasetError, or returns it for a run's dataset."""
    if "emulator" not in document:
        return None
    from qexp.kinds.images.emulator import Emulator

    name = document["emulator"]
    try:
        if workspace is None:
            raise QexpError(f"the run '{name}' is known in its workspace alone")
        directory = run_named(name, workspace)
        directory.require_trust(
            "remove the run, and pull or import it again with `trust_code=True`"
        )
        emulator = Emulator(directory)
        if document.get("emulator_weights", emulator.weights) != emulator.weights:
            raise QexpError(f"'{name}' has other weights than when the run was prepared")
        return emulator
    except QexpError as error:
        lack = DatasetError([(("emulator",), f"the dataset's emulator: {error}")])
        if "emulator_weights" in document:
            return lack
        raise lack from error


WAYS_OUT = {
    "training": "give it a larger share",
    "validation": "give it a share",
    "test": (
        "hold intervals of a parameter out in 'varyings' of the dataset, or let the shares add up"
        " to less than 1"
    ),
}
"""Part → what gives it simulations."""


def _in_parts(sizes: tuple[int, ...]) -> str:
    return "{:,} training, {:,} validation, {:,} test".format(*sizes)


def _views(
    document: Document, shapes: Mapping[str, Sequence[int]], workspace: Workspace | None
) -> dict[str, View]:
    """Observation → its view, of the size in the files. Raises DatasetError."""
    declared: list[Document] = document.get("views", [])
    if declared and len(declared) != len(shapes):
        count = f"{len(declared)} views are described, but the files have {len(shapes)}"
        raise DatasetError([(("views",), f"{count} observations: {', '.join(shapes)}")])
    sized = []
    views = declared or [{} for _ in shapes]
    for index, (view, (_, *size)) in enumerate(zip(views, shapes.values(), strict=True)):
        if view.get("size", size) != size:
            way_out = f"it is {size[0]} x {size[1]} in the files; leave it out"
            raise DatasetError([(("views", index, "size"), way_out)])
        sized.append(view if "points" in view else {**view, "size": size})
    read = views_of({**document, "views": sized, "size": [1, 1]}, workspace)
    return dict(zip(shapes, read, strict=True))


def _in_variables(document: Document, dataset: StoredDataset) -> Findings:
    """Values that nothing reads, and axes of matrices that do not vary."""
    views = range(len(dataset.images))
    known = {NOISE, *(variable_of(key, view) for key in VIEW_KEYS for view in views)}
    for name in document["fixed"]:
        if name not in known:
            about = "is a parameter that varies" if name in dataset.test else "is read by nothing"
            yield ("fixed", name), f"'{name}' {about}; fixed are the noise and the numbers of views"
    for name in document["distributions"]:
        if name not in dataset.test:
            similar = suggestion(name, dataset.test)
            yield ("distributions", name), f"'{name}' does not vary; {similar}"
    for index, name in enumerate(dataset.images):
        points = dataset.view(name).points
        sides = [side.item() for side in dataset.generator.pixel_sizes(name, {})]
        needed = points is None and dataset.noise.depends_on_pixels(name)
        if needed and not all(map(math.isfinite, sides)):
            lack = f"the size of pixels, which the files of '{name}' do not say"
            yield ("noise_model",), f"depends on {lack}; give '{variable_of('x_res', index)}'"
        there = dataset.simulations.observations[name].shape[1]
        if points is not None and len(points) != there:
            where = "views", index, "points"
            yield where, f"there are {len(points)} points, but '{name}' has {there} values"


def _in_priors(document: Document, dataset: StoredDataset) -> Findings:
    """Parameters beyond the limits of their quantity, or outside of their declared distribution."""
    usable = dataset.simulations.usable
    for name, all_values in dataset.simulations.parameters.items():
        if name in dataset.classes:
            continue
        values = all_values[usable]
        limits = quantity(name, dataset.quantities)
        for end in (values.min(), values.max()):
            violation = limits.violation(float(end))
            if violation:
                yield ("varyings", name), f"{violation}, but a simulation has {end:g}"
        low, high = dataset.distributions[name].support()
        finite = math.isfinite(low) and math.isfinite(high)
        slack = ROUNDING * max(abs(low), abs(high)) if finite else 0.0
        outliers = np.flatnonzero((values < low - slack) | (values > high + slack))
        if len(outliers):
            share = f"{len(outliers):,} of {len(values):,} simulations lie beyond its ends"
            first = f"simulation {usable[outliers[0]]} has {values[outliers[0]]:g}"
            way_out = "declare what they were drawn from, or leave it out"
            where = "distributions", name
            yield where, f"{share}, {low:g} and {high:g}: {first}; {way_out}"


def _unlike_priors(document: Document, dataset: StoredDataset) -> Iterator[str]:
    """Warnings about parameters that hardly were drawn from their declared distribution."""
    shares = np.linspace(0, 1, NODES_OF_PRIOR)[1:-1]
    simulations = dataset.simulations
    for name in document["distributions"]:
        if name not in simulations.parameters:
            continue
        from scipy.stats import kstest  # takes a while to load

        values = simulations.parameters[name][simulations.usable]
        nodes = dataset.distributions[name].quantile(shares)
        distance = kstest(values, np.interp, (nodes, shares), method="asymp").statistic
        root = math.sqrt(len(values))
        if distance * root > UNLIKE_PRIOR + root / NODES_OF_PRIOR:
            yield (
                f"the simulations do not look drawn from the declared distribution of '{name}':"
                f" their shares differ by up to {100 * distance:.0f} %; a posterior's prior is what"
                " the simulations were drawn from"
            )


DATA = SimulatedData()
