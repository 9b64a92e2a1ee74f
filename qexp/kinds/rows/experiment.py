"""Datasets of rows of a table, and experiences on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from qexp.base.outputs import estimate_of, high_of, low_of, spread_of
from qexp.base.quantities import Quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds import files, memory
from qexp.kinds.classes import lacking
from qexp.kinds.evaluation import ALL
from qexp.kinds.kind import Doubts, KindData, split_finding
from qexp.kinds.networks import (
    ANOTHER_TRANSFORM,
    build_transforms,
    in_batches,
    in_periods,
    network_of,
    of_training_mean,
    periods_of,
)
from qexp.kinds.rows.dataset import TabularDataset, alike
from qexp.kinds.rows.spec import imputation, measured
from qexp.metrics.baselines import repeated
from qexp.metrics.meaning import NETWORK
from qexp.metrics.splits import Fold, Rows, SplitError, chance
from qexp.networks.imputation import without_values
from qexp.networks.network import Network
from qexp.networks.optimizers import OF_MATRICES
from qexp.networks.transforms import Transform
from qexp.spec import resolution, validation
from qexp.spec.reading import Document, Finding, Where
from qexp.store.record import Feature

FOLDS_LOOKED_INTO = 200
"""Number of folds whose inner folds are checked; leave-one-out has a fold per row, and these are
all alike.
"""


class TabularData(KindData[TabularDataset]):
    pretrainable = False  # the networks of folds are initialised at random
    several_networks = True
    several_numbers = True

    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> TabularDataset:
        path, stands_in = files.data_file(document, workspace)
        dataset = TabularDataset(path, document)
        if stands_in:
            dataset.warnings.append(
                f"'{document['path']}' was not found; stand-in data are used,"
                f" '{document['stand_in']}'; put the file into data/, or add its folder to"
                f" {files.DATA}"
            )
        return dataset

    def pinned(self, document: Document, dataset: TabularDataset, workspace: Workspace) -> Document:
        pinned = {"fingerprint": dataset.fingerprint, "found": str(dataset.path.absolute())}
        _, stands_in = files.data_file(document, workspace)
        return {**document, **pinned, **({"stood_in": True} if stands_in else {})}

    def findings(
        self,
        document: Document,
        dataset: TabularDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Iterator[Finding]:
        folds = []
        inner = []
        random = partial(np.random.default_rng, 0)
        try:
            folds = dataset.divided(dataset.rows, document["split"], tables, random())
        except SplitError as error:
            yield split_finding("split", error)
        for fold in folds[:FOLDS_LOOKED_INTO] if document["inner"] is not None else ():
            try:
                inner += dataset.divided(fold.train, document["inner"], tables, random())
            except SplitError as error:
                where, message = split_finding("inner", error)
                yield where, f"in the fold '{fold.name}': {message}"
                break
        trained = [*inner, *folds] if document["keep"] == "last" else inner or folds
        without = list(_in_gaps(document, dataset, trained))
        transforms, _ = build_transforms(document, tables)
        yield from without or _in_transforms(transforms, dataset, trained)
        yield from _in_angles(document, transforms, dataset, tables)
        if network is not None:
            yield from in_batches(document, network, {len(fold.train) for fold in trained})
        if (optimizer := document["optimizer"]["type"]) in OF_MATRICES:
            yield (
                ("optimizer",),
                f"networks of folds are trained in stacks, which '{optimizer}' cannot; use 'adamw'",
            )
        yield from _in_names(document, dataset)
        yield from _in_select(document, tables, available)

    def roles(self, document: Document, workspace: Workspace | None) -> tuple[list[str], list[str]]:
        indicators = imputation(document).get("parameters", {}).values()
        return [*document["inputs"], *filter(None, indicators)], [*document["outputs"]]

    def to_fit(
        self, spec: Document, dataset: TabularDataset, tables: Tables, seeds: Seeds
    ) -> Mapping[str, torch.Tensor]:
        """All rows: a single network, of no fold, holds none out."""
        return dataset.samples(dataset.rows, torch.device("cpu"))

    def ranges(self, spec: Document, dataset: TabularDataset) -> tuple[Feature, ...]:
        return dataset.ranges(measured(spec))

    def parts(
        self, dataset: TabularDataset, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Rows]:
        """All rows; of an experience with one fold its two parts, with several folds the rows that
        each holds out.
        """
        if spec is None:
            return {ALL: dataset.rows}
        folds = dataset.folds(spec["split"], tables, Seeds(seed))
        if len(folds) == 1:
            return {"train": folds[0].train, "test": folds[0].test}
        return {ALL: dataset.rows, **{fold.name: fold.test for fold in folds}}

    def doubts(self, spec: Document, dataset: TabularDataset, tables: Tables, seed: int) -> Doubts:
        """Held-out rows that are copies of training rows, classes without training rows, and
        declared groups that are not held out as a whole.
        """
        folds = dataset.folds(spec["split"], tables, Seeds(seed))
        copied = _copies_of_training_rows(spec, dataset, folds)
        warnings = []
        if copied:
            warnings.append(f"{copied}; hold measurements of one thing out together, by a group")
        trained = {f"fold '{fold.name}'": fold.train for fold in folds}
        for name, classes in dataset.classes.items():
            if without := lacking(classes, dataset.values[name][:, 0], trained):
                warnings.append(f"{without}, so that it cannot be recognised there")
        by = spec["split"]["parameters"].get("by")
        warnings += [] if by is None or by in dataset.groups else alike(by, dataset.column(by))
        for name in () if by else dataset.groups:
            names, group = np.unique(dataset.column(name), return_inverse=True)
            divided = np.zeros(len(names), dtype=bool)
            for fold in folds:
                divided[np.intersect1d(group[fold.train], group[fold.test])] = True
            if divided.any():
                warnings.append(
                    f"{divided.sum()} of {len(names)} groups '{name}' are in training and held out"
                    " as well: "
                    "errors are those of new rows of known groups; for new groups hold whole groups"
                    " out: "
                    f'{{"type": "group_k_fold", "parameters": {{"by": "{name}"}}}}'
                )
        return Doubts(copied, tuple(warnings))

    def samples(self, document: Document, dataset: TabularDataset) -> memory.Samples:
        return memory.Samples(len(dataset))


def _copies_of_training_rows(spec: Document, dataset: TabularDataset, folds: Sequence[Fold]) -> str:
    """How many held-out rows have the inputs of training rows, in words; empty if no more than
    chance explains.
    """
    copies = [dataset.copies(spec["inputs"]).among(fold.test, fold.train) for fold in folds]
    exact, nearly = (np.unique(np.concatenate(rows)) for rows in zip(*copies, strict=True))
    held_out = np.unique(np.concatenate([fold.test for fold in folds]))
    columns = dataset.compared(spec["inputs"])
    if len(exact) and len(exact) <= chance(columns[held_out], columns):
        exact = exact[:0]
    nearly = np.setdiff1d(nearly, exact)
    of_one_column = sum(len(dataset.columns[name]) for name in measured(spec)) == 1
    same = "same inputs and outputs" if of_one_column else "same inputs"
    total = f"of {len(held_out):,} held-out rows have"
    if len(exact):
        more = f", {len(nearly):,} more nearly the same" if len(nearly) else ""
        return f"{len(exact):,} {total} the {same} as training rows{more}"
    return f"{len(nearly):,} {total} nearly the {same} as training rows" if len(nearly) else ""


def _in_names(document: Document, dataset: TabularDataset) -> Iterator[Finding]:
    """Whether columns of the tables of held-out rows, and estimators in that of results, have
    different names.
    """
    outputs = document["outputs"]
    of_outputs = [
        column_of(name)
        for column_of in (estimate_of, low_of, high_of, spread_of)
        for name in outputs
    ]
    columns = ["row", "caution", *outputs, *of_outputs]
    for name in dict.fromkeys(name for name in columns if columns.count(name) > 1):
        yield (
            ("outputs",),
            f"tables of the held-out rows would have two columns '{name}'; rename an output",
        )
    for name in dataset.identifiers:
        if name in columns:
            yield (
                ("dataset",),
                (
                    f"tables of the held-out rows have another column '{name}', which is not the"
                    f" identifier '{name}'; rename that in {dataset.path}"
                ),
            )
    for position, first in repeated(document["baselines"]):
        yield (
            ("baselines", position),
            f"the same as $.baselines[{first}]; give it other parameters, or leave it out",
        )
    for position, baseline in enumerate(document["baselines"]):
        if baseline["type"] == NETWORK:
            yield (
                ("baselines", position),
                f"'{NETWORK}' is the name of the network itself in the results; rename the baseline",
            )


def _in_gaps(
    document: Document, dataset: TabularDataset, folds: Sequence[Fold]
) -> Iterator[Finding]:
    """Whether what fills gaps can be fitted to every fold, and their indicator be used."""
    inputs = document["inputs"]
    indicator = dataset.indicator
    if indicator in inputs and (
        indicator in document["transforms"] or not {*dataset.inputs} <= {*inputs}
    ):
        yield (
            ("inputs",),
            f"'{indicator}' takes no transform, and needs all inputs: {', '.join(dataset.inputs)}",
        )
    columns = [
        column for name in inputs if name in dataset.columns for column in dataset.columns[name]
    ]
    values = np.concatenate(
        [dataset.values[name] for name in inputs if name in dataset.values], axis=1
    )
    for fold in folds if np.isnan(values).any() else ():
        if trouble := without_values(values[fold.train], columns):
            yield ("dataset",), f"in the fold '{fold.name}', {trouble}"
            return


def _in_transforms(
    transforms: Mapping[str, Transform], dataset: TabularDataset, folds: list[Fold]
) -> Iterator[Finding]:
    """Whether every row can be transformed and transformed back, and the transforms be fitted to
    every fold.
    """
    for name, transform in transforms.items():
        if name in dataset.values:
            trouble = _first_that_cannot_be_transformed(transform, dataset, name)
            if trouble or (trouble := _first_that_is_constant(transform, dataset, name, folds)):
                yield ("transforms", name), trouble


def _in_angles(
    document: Document, transforms: Mapping[str, Transform], dataset: TabularDataset, tables: Tables
) -> Iterator[Finding]:
    """Problems of outputs that are learned as angles: their periods, and what needs a mean of their
    values.
    """
    outputs = [name for name in document["outputs"] if name in dataset.values]
    angles = [name for name in periods_of(transforms) if name in outputs]
    for name in angles:
        values = dataset.values[name]
        unit = Quantity(dataset.units[name], 1.0, name)
        ends = float(values.min()), float(values.max())
        yield from in_periods(name, transforms[name], unit, ends)
    if angles and document["baselines"]:
        yield (
            ("baselines",),
            f"learn one number of each value, and '{angles[0]}' is learned as two; leave them out",
        )
    yield from of_training_mean(
        document, angles, "the mean of an angle's values is not defined", tables
    )


def _first_that_is_constant(
    transform: Transform, dataset: TabularDataset, variable: str, folds: list[Fold]
) -> str | None:
    """Problems of columns that are constant in the training rows of a fold, to which the transform
    is fitted.
    """
    for column, values in zip(dataset.columns[variable], dataset.values[variable].T, strict=True):
        for fold in folds:
            low = float(np.nanmin(values[fold.train]))
            high = float(np.nanmax(values[fold.train]))
            if low == high and (trouble := transform.domain_error(low, high)):
                return (
                    f"in the fold '{fold.name}', column '{column}': {trouble}; {ANOTHER_TRANSFORM}"
                )
    return None


def _first_that_cannot_be_transformed(
    transform: Transform, dataset: TabularDataset, variable: str
) -> str | None:
    values = dataset.filled(variable)
    for column, of_column in zip(dataset.columns[variable], values.T, strict=True):
        if trouble := transform.domain_error(float(of_column.min()), float(of_column.max())):
            row = dataset.row_numbers([int(of_column.argmin())])[0]
            least = f" (least in row {row})" if of_column.min() < of_column.max() else ""
            return f"column '{column}'{least}: {trouble}; {ANOTHER_TRANSFORM}"
    tensor = torch.from_numpy(values).float()
    try:
        transform.fit(tensor)
    except ValueError as error:
        return str(error)
    finite = torch.isfinite(transform(tensor))
    if finite.all():
        return None
    row, position = (int(index) for index in (~finite).nonzero()[0])
    return (
        f"row {dataset.row_numbers([row])[0]}, column '{dataset.columns[variable][position]}':"
        f" {values[row, position]:g} becomes infinite or undefined; use another transform, or leave"
        " the row out"
    )


def _in_select(document: Document, tables: Tables, available: int) -> Iterator[Finding]:
    """Whether the experience is valid with every value of `select`."""
    for key, values in document["select"].items():
        for index, value in enumerate(values):
            where: Where = ("select", key, index)
            try:
                changed = resolution.with_choice(document, key, value)
            except QexpError as error:
                yield where, str(error).partition(": ")[2]
                continue
            for path, message in _of_changed(changed, tables, available):
                steps = ".".join(str(step) for step in path)
                yield where, message if steps == key else f"{steps}: {message}"


def _of_changed(document: Document, tables: Tables, available: int) -> Iterator[Finding]:
    alone = {**document, "dataset": "", "model": ""}
    findings = validation.findings("experience", alone, tables, "tabular")
    model = validation.findings("model", document["model"], tables)
    yield from findings
    for path, message in model:
        yield ("model", *path), message
    if not findings and not model:
        try:
            network = network_of(
                document["model"], document["model"]["inputs"], document["outputs"], tables
            )
        except (ValueError, KeyError) as error:
            yield ("model",), str(error)
            return
        for path, message in memory.memory_of_model(network, available):
            yield ("model", *path), message


DATA = TabularData()
