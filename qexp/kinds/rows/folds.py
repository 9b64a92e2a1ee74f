"""The networks that an experience on rows trains, and on which rows: folds, inner folds, members,
candidates.

No task of a fold contains its held-out rows, unless the spec says `"protocol": "as_published"`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base import formats
from qexp.base.outputs import limits_of
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.errors import DamagedError, QexpError
from qexp.kinds.experiments import candidates
from qexp.kinds.held_out import ROW, ExchangeableUnits
from qexp.kinds.networks import imputation_of, model_of, outputs_of, transforms_of
from qexp.kinds.objects import recipe_of
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.rows.spec import grouped_by
from qexp.metrics.splits import Fold, GroupKFold, KFold, Rows, Split
from qexp.networks.estimator import Estimator
from qexp.networks.network import Network, initialise
from qexp.networks.task_stack import Task
from qexp.networks.training import Recipe
from qexp.spec.reading import Document
from qexp.store.directory import PREDICTIONS, RunDirectory

if TYPE_CHECKING:
    import xarray

MEMBERS_THAT_CHOOSE = 3
"""Most members per inner fold that choose the candidate, if more follow."""

EPOCHS_REMEMBERED = 4


@dataclass(frozen=True)
class Candidate:
    """One combination of the values in `select`; without `select` the only one is empty."""

    chosen: dict[str, Any]
    spec: Document


class Folds:
    """The folds of a resolved experience and the networks of each.

    Raises SplitError if the rows cannot be split in this way.
    """

    def __init__(
        self,
        spec: Document,
        dataset: TabularDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> None:
        self.spec, self.dataset, self.device = spec, dataset, device
        self.tables, self._seeds = tables, seeds
        self.as_published = spec["protocol"] == "as_published"
        self.candidates = [Candidate(*candidate) for candidate in candidates(spec, tables)]
        self.outputs = outputs_of(spec, tables, dataset.units)
        self.folds = dataset.folds(spec["split"], tables, seeds)
        self.refits = spec["keep"] == "last" and not self.as_published
        """Whether the networks of a fold are trained on all its rows, for given epochs."""
        self.chooses = not self.refits or len(self.candidates) > 1
        """Whether networks are trained on the inner folds."""
        self.groups, self.alike = (
            None if name is None else dataset.column(name)
            for name in (spec["split"]["parameters"].get("by"), grouped_by(spec))
        )
        """The group of each row, (row,): of a split by groups; and of rows that resemble each
        other, which are those of the split, else of the first group that is declared. None if there
        are none.
        """
        self._keys = lru_cache(EPOCHS_REMEMBERED * spec["members"])(self._random_keys)

    def recipe(self, candidate: Candidate) -> Recipe:
        return recipe_of(candidate.spec, self.tables)

    def inner_tasks(self, fold: Fold, candidate: Candidate) -> list[Task]:
        """The networks that choose the epoch and the candidate: one per inner fold and member."""
        parts = [Fold("", fold.train, fold.test)] if self.as_published else self.inner(fold)
        members = self.spec["members"]
        if self.refits:
            members = min(members, MEMBERS_THAT_CHOOSE)
        return [
            self._task(fold, candidate, part.train, part.test, (part.name, member))
            for part in parts
            for member in range(members)
        ]

    def refitted(self, fold: Fold, candidate: Candidate) -> list[Task]:
        """The networks that are trained on all training rows of a fold, for given epochs."""
        return [
            self._task(fold, candidate, fold.train, None, ("all", member))
            for member in range(self.spec["members"])
        ]

    def inner(self, fold: Fold) -> list[Fold]:
        """The inner folds of a fold: its training rows, divided once more."""
        if self.spec["inner"] is None:
            return []
        random = self._seeds.numpy("inner", fold.name)
        return self.dataset.divided(fold.train, self.spec["inner"], self.tables, random)

    def inner_rows(self, rows: Rows) -> list[tuple[Rows, Rows]]:
        """Training and validation rows of the inner folds of some rows, on which baselines choose
        their parameters.
        """
        groups = self.groups
        if self.spec["inner"] is not None:
            split: Split = built(self.tables["splits"], self.spec["inner"])
        elif groups is None:
            split = KFold(min(5, len(rows)), stratify=self._class_in_all(rows, 5))
        else:  # whole groups, since rows of a group resemble each other
            split = GroupKFold(
                self.spec["split"]["parameters"]["by"], min(5, len(np.unique(groups[rows])))
            )
        parts = split.folds(rows, self.dataset.column, self._seeds.numpy("inner", "baselines"))
        return [(part.train, part.test) for part in parts]

    def _class_in_all(self, rows: Rows, folds: int) -> str | None:
        """The column of the first class output, if each fold can have some rows of each class."""
        for name in self.dataset.classes:
            counts = np.unique(self.dataset.values[name][rows], return_counts=True)[1]
            if counts.min() >= folds:
                return self.dataset.columns[name][0]
        return None

    def _task(
        self,
        fold: Fold,
        candidate: Candidate,
        train: Rows,
        validation: Rows | None,
        stream: tuple[str, int],
    ) -> Task:
        seeds = Seeds(self._seeds.number("fold", fold.name, *stream))
        network = self._laid_out(self.candidates.index(candidate)).another()
        initialise(network, seeds)
        imputation = imputation_of(candidate.spec)
        model = Estimator(
            network,
            transforms_of(candidate.spec, self.tables),
            limits_of(candidate.spec),
            imputation,
        )
        samples = self.dataset.samples(
            self.dataset.rows if self.as_published else train, torch.device("cpu")
        )
        if imputation is not None:
            imputation.fit(samples)
        fitted = model.completed(samples)
        for name, transform in model.transforms.items():
            transform.fit(fitted[name])
        member = stream[1]
        return Task(
            name="/".join(str(part) for part in (fold.name, *stream) if part != ""),
            model=model,
            train=self.dataset.samples(train, self.device),
            validation=(
                None if validation is None else self.dataset.samples(validation, self.device)
            ),
            order=lambda epoch: torch.from_numpy(
                np.argsort(self._keys(epoch, member)[train], kind="stable")
            ),
            callbacks=self.recipe(candidate).callbacks,
            dropout_seed=lambda epoch: seeds.number("train", epoch, "dropout"),
        )

    @cache  # noqa: B019 - the object lives only while its run is trained
    def _laid_out(self, candidate: int) -> Network:
        """A candidate's network without weights, which takes long to lay out."""
        return model_of(self.candidates[candidate].spec, self.tables).network

    def _random_keys(self, epoch: int, member: int) -> np.ndarray:
        """Random numbers, (row,) of the dataset, by which the training rows of every network are
        sorted.

        So the order depends neither on the rows that are held out nor on other networks trained at
        the same time.
        """
        return self._seeds.numpy("train", epoch, "order", member).random(len(self.dataset))


def in_stacks(tasks: Sequence[Task], size: Callable[[Task], int]) -> Iterator[list[Task]]:
    """Tasks in stacks: with equal numbers of rows, at most `size(task)` in each."""
    alike: dict[tuple[int, int], list[Task]] = {}
    for task in tasks:
        train, validation = (
            0 if samples is None else len(next(iter(samples.values())))
            for samples in (task.train, task.validation)
        )
        alike.setdefault((train, validation), []).append(task)
    for members in alike.values():
        at_once = size(members[0])
        for start in range(0, len(members), at_once):
            yield members[start : start + at_once]


# What each fold held out: rows whose errors make intervals.


def units_of_rows(directory: RunDirectory, predictions: xarray.Dataset) -> ExchangeableUnits:
    spec = directory.spec()
    path = directory.results / PREDICTIONS
    if (taught := spec["dataset"].get("estimates_of")) is not None:
        raise QexpError(
            f"{directory.name} learned estimates of {taught['run']}, whose errors alone make"
            " intervals"
        )
    if not path.is_file():
        raise QexpError(f"{path} is missing, so it is unknown which fold held out which row")
    folds: dict[str, tuple[str, ...]] = {}
    for fold, row, *_ in map(dict.values, formats.read_csv(path)):
        folds[row] = (*folds.get(row, ()), fold)
    try:
        of_rows = [folds[str(number)] for number in predictions["row"].values]
    except KeyError as error:
        raise DamagedError(f"{path} does not list the row {error}") from None
    unit = spec["split"]["parameters"].get("by")
    return ExchangeableUnits(ROW if unit is None else str(unit), grouped_by(spec), of_rows)
