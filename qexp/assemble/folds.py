"""Which networks an experience on rows of a file trains, and on which rows: folds, inner parts, members, candidates.

Nothing of a fold's held-out rows is in any of its tasks, unless the spec says `"protocol": "as_published"`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch

from qexp.assemble.networks import model_of, transforms_of
from qexp.assemble.objects import recipe_of
from qexp.assemble.specs import candidates
from qexp.datasets.splits import Fold, Rows, Split
from qexp.datasets.tabular import TabularDataset
from qexp.datasets.transforms.transform import Transform
from qexp.models.inversion import Inversion
from qexp.models.network import Network, initialise
from qexp.seeds import Seeds
from qexp.spec.kinds import caution
from qexp.tables import Tables, built
from qexp.training.recipe import Recipe
from qexp.training.stack_tasks import Task

Document = dict[str, Any]

JUDGES = 3
"""Members per inner part that tell candidates apart, where others are trained for the estimates."""

EPOCHS_REMEMBERED = 4


@dataclass(frozen=True)
class Candidate:
    """One of the combinations that `select` lists; without it there is one, of no choices."""

    chosen: dict[str, Any]
    spec: Document


class Folds:
    """The folds of a resolved experience and the networks of each.

    Raises SplitError where the rows cannot be divided so.
    """

    def __init__(
        self, spec: Document, dataset: TabularDataset, tables: Tables, seeds: Seeds, device: torch.device
    ) -> None:
        self.spec, self.dataset, self.device = spec, dataset, device
        self.tables, self._seeds = tables, seeds
        self.caution = caution(spec)
        self.as_published = spec["protocol"] == "as_published"
        self.candidates = [Candidate(chosen, document) for chosen, document in candidates(spec, tables)]
        split: Split = built(tables["splits"], spec["split"])
        self.folds = split.folds(np.arange(len(dataset)), dataset.column, seeds.numpy("folds"))
        self._keys = lru_cache(EPOCHS_REMEMBERED * spec["members"])(self._random_keys)

    @property
    def refits(self) -> bool:
        """Whether the networks of a fold are trained on all its training rows: the number of epochs is known then."""
        return self.spec["keep"] == "last" and not self.as_published

    @property
    def groups(self) -> np.ndarray | None:
        """What rows that are held out together have in common, if the split goes by groups; (row,)."""
        by = self.spec["split"]["parameters"].get("by")
        return None if by is None else self.dataset.column(by)

    def recipe(self, candidate: Candidate) -> Recipe:
        return recipe_of(candidate.spec, self.tables)

    def judged(self, fold: Fold, candidate: Candidate) -> list[Task]:
        """The networks that choose the epoch and the candidate: one per inner part and member."""
        parts = [Fold("", fold.train, fold.test)] if self.as_published else self.inner(fold)
        members = min(self.spec["members"], JUDGES) if self.refits else self.spec["members"]
        return [
            self._task(fold, candidate, part.train, part.test, (part.name, member))
            for part in parts
            for member in range(members)
        ]

    def refitted(self, fold: Fold, candidate: Candidate) -> list[Task]:
        """Networks on all training rows of a fold, for a number of epochs that is known."""
        return [
            self._task(fold, candidate, fold.train, None, ("all", member)) for member in range(self.spec["members"])
        ]

    def inner(self, fold: Fold) -> list[Fold]:
        """The parts of a fold's training rows, each held out once."""
        if self.spec["inner"] is None:
            return []
        split: Split = built(self.tables["splits"], self.spec["inner"])
        return split.folds(fold.train, self.dataset.column, self._seeds.numpy("inner", fold.name))

    def inner_rows(self, rows: Rows) -> list[tuple[Rows, Rows]]:
        """Some rows divided as the inner parts are, for the choices of baselines."""
        description = self.spec["inner"] or self._inner_of_baselines(rows)
        split: Split = built(self.tables["splits"], description)
        parts = split.folds(rows, self.dataset.column, self._seeds.numpy("inner", "baselines"))
        return [(part.train, part.test) for part in parts]

    def _inner_of_baselines(self, rows: Rows) -> dict[str, Any]:
        """Five parts; of whole groups where groups are held out, since rows of one would tell of each other."""
        groups = self.groups
        if groups is None:
            return {"type": "k_fold", "parameters": {"folds": min(5, len(rows))}}
        by, count = self.spec["split"]["parameters"]["by"], len(np.unique(groups[rows]))
        return {"type": "group_k_fold", "parameters": {"by": by, "folds": min(5, count)}}

    def _task(
        self, fold: Fold, candidate: Candidate, train: Rows, validation: Rows | None, own: tuple[str, int]
    ) -> Task:
        seeds = Seeds(self._seeds.number("fold", fold.name, *own))
        network = self._laid_out(self.candidates.index(candidate)).another()
        initialise(network, seeds)
        model = Inversion(network, transforms_of(candidate.spec, self.tables))
        self._fit(model, np.arange(len(self.dataset)) if self.as_published else train)
        member = own[1]
        return Task(
            name="/".join(str(part) for part in (fold.name, *own) if part != ""),
            model=model,
            train=self.dataset.samples(train, self.device),
            validation=None if validation is None else self.dataset.samples(validation, self.device),
            order=lambda epoch: torch.from_numpy(np.argsort(self._keys(epoch, member)[train], kind="stable")),
            callbacks=self.recipe(candidate).callbacks,
            dropout_seed=lambda epoch: seeds.number("train", epoch, "dropout"),
        )

    @cache  # noqa: B019 - one object lives as long as its run is trained
    def _laid_out(self, candidate: int) -> Network:
        """A candidate's network without weights: to lay it out takes longer than to give it some."""
        return model_of(self.candidates[candidate].spec, self.tables).network

    def _fit(self, model: Inversion, rows: Rows) -> None:
        samples = self.dataset.samples(rows, torch.device("cpu"))
        for name, transform in model.transforms.items():
            assert isinstance(transform, Transform)
            transform.fit(samples[name])

    def _random_keys(self, epoch: int, member: int) -> np.ndarray:
        """A number for each row of the dataset, by which the training rows of every network are put in order.

        So the order does not depend on which rows are held out, nor on who is trained beside.
        """
        return self._seeds.numpy("train", epoch, "order", member).random(len(self.dataset))


def in_stacks(tasks: Sequence[Task], size: Callable[[Task], int]) -> Iterator[list[Task]]:
    """Tasks of equally many rows together, in their order, at most `size` in a stack."""
    alike: dict[tuple[int, int], list[Task]] = {}
    for task in tasks:
        rows = [
            0 if samples is None else len(next(iter(samples.values()))) for samples in (task.train, task.validation)
        ]
        alike.setdefault((rows[0], rows[1]), []).append(task)
    for members in alike.values():
        at_once = size(members[0])
        for start in range(0, len(members), at_once):
            yield members[start : start + at_once]
