"""Experiences on simulations that exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from qexp.base.quantities import NOISE, VIEW_KEYS, Quantities, of_dataset, quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError, suggestion
from qexp.kinds.files import data_folder, data_folders, refuse
from qexp.kinds.images.experiment import (
    GeneratedData,
    implausible,
    in_layouts,
    in_noise,
    in_transforms,
    noise_of,
    views_of,
)
from qexp.kinds.images.spec import fixed_values, variable_of
from qexp.kinds.kind import KindData
from qexp.kinds.memory import BYTES_OF_NUMBER, Samples
from qexp.kinds.networks import in_batches
from qexp.kinds.simulations.files import Shape, SimulationFiles
from qexp.networks.network import Network
from qexp.networks.training import Data, Prepare, Samples as SamplesOfBatch
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.stored import Rows, Simulations, StoredDataset, StoredImages
from qexp.simulation.views import SIZED, View
from qexp.spec.reading import Document, Finding
from qexp.store.directory import run_named

if TYPE_CHECKING:
    from qexp.kinds.images.emulator import Emulator

READ_TOGETHER = 2**23
"""Numbers of the samples that are read, and given noise, at a time."""

ROUNDING = 1e-6
"""Of values in single precision at the ends of a distribution."""

NODES_OF_PRIOR = 2001

UNLIKE_PRIOR = 1.95
"""Kolmogorov and Smirnov's statistic times the root of the count; larger ones come by chance once
in a thousand.
"""


class StoredData(Data):
    """Simulations in an order of each epoch's own, with noise of each epoch's own, some batches at
    a time.
    """

    def __init__(
        self, dataset: StoredDataset, parts: Mapping[str, Rows], seeds: Seeds, device: torch.device
    ) -> None:
        self._dataset, self._train, self._seeds, self._device = (
            dataset,
            parts["train"],
            seeds,
            device,
        )
        self.train_size = len(self._train)
        self._together = max(1, READ_TOGETHER // sum(map(math.prod, dataset.shapes().values())))
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
        read: dict[int, dict[str, tuple[Tensor, ...]]] = {}

        def batch(index: int) -> SamplesOfBatch:
            block, place = divmod(index, together)
            if block not in read:
                read.clear()
                rows = slice(block * together * batch_size, (block + 1) * together * batch_size)
                some = {name: of_all[rows] for name, of_all in values.items()}
                random = self._seeds.torch(self._device, "train", number, "noise", block)
                samples = prepared(self._dataset.observe(some, random))
                read[block] = {name: of_all.split(batch_size) for name, of_all in samples.items()}
            return {name: of_all[place] for name, of_all in read[block].items()}

        return batch

    def to_fit(self) -> SamplesOfBatch:
        return self._dataset.sample(
            self._train,
            min(self.train_size, self._together),
            self._seeds,
            ("train", 0),
            self._device,
        )


class SimulatedData(GeneratedData):
    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> StoredDataset:
        """Without its files, a run's dataset has no samples, but all that estimating new
        observations needs.
        """
        quantities = tables["quantities"]
        fixed = {name: value for name, (value, _) in fixed_values(document).items()}
        try:
            path = self.folder(document, workspace)
        except DatasetError as lack:
            if "shapes" not in document:
                raise
            shapes = {
                name: (shape[0], shape[1], shape[2]) for name, shape in document["shapes"].items()
            }
            views, model = _views(document, shapes, workspace), _emulator(document, workspace)
            return _stored(
                document,
                tables,
                lack,
                shapes,
                views,
                fixed,
                of_dataset(document, quantities),
                document,
                model,
            )
        files = SimulationFiles(document, quantities, path, data_folders(workspace))
        fingerprint, views = files.fingerprint, _views(document, files.shapes, workspace)
        if document.get("fingerprint", fingerprint) != fingerprint:
            why = f"{path} has changed since the run was prepared: its SHA-256 is now {fingerprint}"
            raise DatasetError([(("path",), why)])
        simulations, given = files.read(views), document["distributions"]
        quantiles = {
            name: {"values": simulations.quantiles(name)}
            for name in files.parameters
            if name not in given
        }
        origin = {
            "fingerprint": fingerprint,
            "found": str(path.absolute()),
            **({} if files.table is None else {"found_parameters": str(files.table.absolute())}),
            "units": files.units,
            **({"values": files.values} if files.values else {}),
            "shapes": {name: list(shape) for name, shape in files.shapes.items()},
            "pixels": {name: list(place[:2]) for name, place in files.places.items()},
            "middles": {name: list(place[2:]) for name, place in files.places.items()},
            "distributions": {
                **given,
                **{n: {"type": "quantiles", "parameters": of} for n, of in quantiles.items()},
            },
        }
        if (model := _emulator(document, workspace)) and not isinstance(model, QexpError):
            origin |= {
                "found_emulator": str(model.directory.path.absolute()),
                "emulator_weights": model.weights,
            }
            if lacking := [name for name in files.shapes if name not in model.images]:
                raise DatasetError(
                    [(("emulator",), f"{model.directory.name} does not make '{lacking[0]}'")]
                )
        dataset = _stored(
            document,
            tables,
            simulations,
            files.shapes,
            views,
            fixed,
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
    ) -> Iterator[Finding]:
        assert isinstance(dataset, StoredDataset)
        sizes = self.sizes(document, dataset, tables, 0)
        groups = len(np.unique(dataset.simulations.groups))
        together = (
            f", in {groups:,} groups or with as many different parameters"
            if groups < sum(sizes)
            else ""
        )
        for part, size in zip(("training", "validation", "test"), sizes, strict=True):
            if not size:
                yield (
                    ("split",),
                    (
                        f"no simulation is left for the {part} part ({_in_parts(sizes)}{together});"
                        f" {WAYS_OUT[part]}"
                    ),
                )
        if network is not None:
            yield from in_batches(document, network, {sizes[0]})
        yield from in_transforms(document, dataset, tables)

    def findings_in_model(
        self, dataset: GeneratedDataset, network: Network, tables: Tables
    ) -> Iterator[Finding]:
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
        return {part: of for part, of in dataset.parts([1.0, 0.0], Seeds(seed)).items() if len(of)}

    def sizes(
        self, spec: Document, dataset: GeneratedDataset, tables: Tables, seed: int
    ) -> tuple[int, int, int]:
        parts = dataset.parts(spec["split"], Seeds(seed))
        return len(parts["train"]), len(parts["validation"]), len(parts["test"])

    def samples(self, document: Document, dataset: GeneratedDataset) -> Samples:
        sizes = self.sizes(document, dataset, {}, 0)
        of_sample = BYTES_OF_NUMBER * sum(map(math.prod, dataset.shapes().values()))
        return Samples(sizes[0], of_sample * (sizes[1] + sizes[2]), "split")


RECORDED = (
    "found",
    "found_parameters",
    "found_emulator",
    "fingerprint",
    "emulator_weights",
    "units",
    "values",
    "shapes",
    "pixels",
    "middles",
    "distributions",
)
"""Keys of a dataset that say what its files held when a run was prepared."""


def _stored(
    document: Document,
    tables: Tables,
    simulations: Simulations | DatasetError,
    shapes: Mapping[str, Shape],
    views: Mapping[str, View],
    fixed: Mapping[str, float],
    quantities: Quantities,
    origin: Mapping[str, Any],
    model: Emulator | DatasetError | None,
) -> StoredDataset:
    """origin: what the files hold, or held when the run was prepared."""
    pixels = {}
    for index, name in enumerate(shapes):
        metres = quantity("x_res", quantities).si_factor
        width, height = (fixed.get(variable_of(side, index), math.nan) * metres for side in SIZED)
        sides, middle = (origin.get(key, {}).get(name) for key in ("pixels", "middles"))
        pixels[name] = *(sides or (width, height)), *(middle or (0.0, 0.0))
    _, *size = next(iter(shapes.values()))
    return StoredDataset(
        StoredImages(simulations, views, pixels, model),
        (size[0], size[1]),
        fixed,
        document["varyings"],
        {
            name: built(tables["distributions"], origin["distributions"][name])
            for name in document["varyings"]
        },
        noise_of(document, list(shapes), tables),
        quantities,
        origin={key: origin[key] for key in RECORDED if key in origin},
    )


def _emulator(document: Document, workspace: Workspace | None) -> Emulator | DatasetError | None:
    """The run that makes images of other parameters. Raises DatasetError, or returns it for the
    dataset of a run.
    """
    if "emulator" not in document:
        return None
    from qexp.kinds.images.emulator import Emulator

    try:
        if workspace is None:
            raise QexpError(f"the run '{document['emulator']}' is known in its workspace alone")
        directory = run_named(document["emulator"], workspace)
        directory.require_trust(
            "remove the run, and pull or import it again with `trust_code=True`"
        )
        emulator = Emulator(directory)
        if document.get("emulator_weights", emulator.weights) != emulator.weights:
            raise QexpError(
                f"the emulator '{document['emulator']}' has other weights than when the run was"
                " prepared"
            )
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
    document: Document, shapes: Mapping[str, Shape], workspace: Workspace | None
) -> dict[str, View]:
    """Observation → its view, of the size in the files. Raises DatasetError."""
    declared: list[Document] = document.get("views", [])
    if declared and len(declared) != len(shapes):
        count = (
            f"{len(declared)} views are described, but the files have {len(shapes)} observations"
        )
        raise DatasetError([(("views",), f"{count}: {', '.join(shapes)}")])
    views = declared or [{} for _ in shapes]
    for index, (view, shape) in enumerate(zip(views, shapes.values(), strict=True)):
        if "size" in view and tuple(view["size"]) != shape[1:]:
            raise DatasetError(
                [
                    (
                        ("views", index, "size"),
                        f"it is {shape[1]} x {shape[2]} in the files; leave it out",
                    )
                ]
            )
    sized = [
        view if "points" in view else {**view, "size": list(shape[1:])}
        for view, shape in zip(views, shapes.values(), strict=True)
    ]
    read = views_of({**document, "views": sized, "size": [1, 1]}, workspace)
    return dict(zip(shapes, read, strict=True))


def _in_variables(document: Document, dataset: StoredDataset) -> Iterator[Finding]:
    """Values that nothing reads, and axes of matrices that do not vary."""
    count = len(dataset.images)
    known = {NOISE, *(variable_of(key, view) for key in VIEW_KEYS for view in range(count))}
    for name in document["fixed"]:
        if name not in known:
            about = "is a parameter that varies" if name in dataset.test else "is read by nothing"
            yield ("fixed", name), f"'{name}' {about}; fixed are the noise and the numbers of views"
    for name in document["distributions"]:
        if name not in dataset.test:
            yield (
                ("distributions", name),
                f"'{name}' does not vary; {suggestion(name, dataset.test)}",
            )
    for index, (name, view) in enumerate((name, dataset.view(name)) for name in dataset.images):
        sides = [side.item() for side in dataset.generator.pixel_sizes(name, {})]
        if (
            dataset.noise.depends_on_pixels(name)
            and view.points is None
            and not all(map(math.isfinite, sides))
        ):
            key = variable_of("x_res", index)
            yield (
                ("noise_model",),
                (
                    f"depends on the size of pixels, which the files of '{name}' do not say; give"
                    f" '{key}'"
                ),
            )
        expected = None if view.points is None else len(view.points)
        there = dataset.simulations.observations[name].shape[1]
        if expected not in (None, there):
            yield (
                ("views", index, "points"),
                f"there are {expected} points, but '{name}' has {there} values",
            )


def _in_priors(document: Document, dataset: StoredDataset) -> Iterator[Finding]:
    """Parameters beyond the limits of their quantity, or outside the distribution that is declared
    for them.
    """
    usable = dataset.simulations.usable
    for name, all_values in dataset.simulations.parameters.items():
        values, limits = all_values[usable], quantity(name, dataset.quantities)
        for end in (values.min(), values.max()):
            if violation := limits.violation(float(end)):
                yield ("varyings", name), f"{violation}, but a simulation has {end:g}"
        low, high = dataset.distributions[name].support()
        slack = (
            ROUNDING * max(abs(low), abs(high))
            if math.isfinite(low) and math.isfinite(high)
            else 0.0
        )
        outside = (values < low - slack) | (values > high + slack)
        if outside.any():
            first = int(np.argmax(outside))
            yield (
                ("distributions", name),
                (
                    f"{int(outside.sum()):,} of {len(values):,} simulations lie beyond its ends,"
                    f" {low:g} and {high:g}: simulation {usable[first]} has {values[first]:g};"
                    " declare what they were drawn from, or leave it out"
                ),
            )


def _unlike_priors(document: Document, dataset: StoredDataset) -> Iterator[str]:
    """Warnings about parameters that do not look as if they were drawn from the distribution that
    is declared.
    """
    shares = np.linspace(0, 1, NODES_OF_PRIOR)
    for name in (
        name for name in document["distributions"] if name in dataset.simulations.parameters
    ):
        values = np.sort(dataset.simulations.parameters[name][dataset.simulations.usable])
        expected = np.interp(
            values, dataset.distributions[name].quantile(shares[1:-1]), shares[1:-1]
        )
        ranks = np.arange(len(values) + 1) / len(values)
        distance = max(np.abs(expected - ranks[1:]).max(), np.abs(expected - ranks[:-1]).max())
        if (
            distance * math.sqrt(len(values))
            > UNLIKE_PRIOR + math.sqrt(len(values)) / NODES_OF_PRIOR
        ):
            yield (
                f"the simulations do not look drawn from the declared distribution of '{name}':"
                f" their shares differ by up to {100 * distance:.0f} %; a posterior's prior is what"
                " the simulations were drawn from"
            )


DATA = SimulatedData()
