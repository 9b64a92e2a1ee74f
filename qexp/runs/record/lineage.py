"""The lineage of a run: the run from which it took its initial weights, that run's own origin, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qexp.errors import DamagedError, NotFoundError
from qexp.networks.tensor_names import of_transform
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.origins import Ancestor, Fingerprint

Summary = dict[str, Any]
"""A run as listed in the catalog."""

T = TypeVar("T")


def operations_taken(spec: Mapping[str, Any]) -> list[str] | None:
    """Operations whose weights a resolved experience takes from another run; None for all, with the transforms."""
    pretrain = spec["pretrain"]
    operations: list[str] | None = pretrain["operations"] if pretrain else None
    return operations


def transforms_taken(spec: Mapping[str, Any], before: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """Inputs whose fitted transforms are taken over from the pretraining run together with operations' weights.

    The operations were trained on values of that scale. The transform of an input is taken over if the first operation
    with weights that it reaches is one of them, if it has the same number of values in both runs, and if both specs
    name the same transform for it. All inputs if all operations are taken over.
    before   the resolved experience of the pretraining run
    tensors  its learned tensors, by name; a transform without fitted values is the same in every run
    """
    operations = operations_taken(spec)
    fitted = [name for name in spec["transforms"] if of_transforms(tensors, [name])]
    if operations is None:
        return fitted
    learned = {name for name in before["model"]["operations"] if of_operations(tensors, [name])}
    seen = [
        name
        for branch in spec["model"]["branches"]
        if next((one for one in branch["operations"] if one in learned), None) in operations
        for name in ([branch["x_name"]] if isinstance(branch["x_name"], str) else branch["x_name"])
    ]
    return [
        name
        for name in fitted
        if name in seen
        and spec["model"]["inputs"].get(name) == before["model"]["inputs"].get(name)
        and spec["transforms"][name] == before["transforms"].get(name)
    ]


def of_operations(tensors: Mapping[str, T], operations: Sequence[str] | None) -> dict[str, T]:
    """The entries for the tensors of some operations, of a mapping by tensor name; None for all operations."""
    if operations is None:
        return dict(tensors)
    return _beginning_with([f"network.operations.{name}." for name in operations], tensors)


def of_transforms(tensors: Mapping[str, T], variables: Sequence[str]) -> dict[str, T]:
    """The entries for the transforms of some variables, of a mapping by tensor name."""
    return _beginning_with([f"{of_transform(name)}." for name in variables], tensors)


def _beginning_with(beginnings: Sequence[str], tensors: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in tensors.items() if name.startswith(tuple(beginnings))}


def chain(
    parent: RunDirectory, weights: Fingerprint, operations: Sequence[str] | None, transforms: Sequence[str]
) -> tuple[Ancestor, ...]:
    """A pretraining run and its own ancestors, nearest first, described well enough to survive their removal.

    weights     fingerprint of the tensors that are taken over
    operations  operations whose weights are taken over; None for all
    transforms  variables whose fitted transforms are taken over
    """
    record = parent.record()
    nearest = Ancestor(
        name=parent.name,
        experience=record.experience,
        dataset=record.dataset,
        seed=record.seed,
        digest=record.digest,
        created=record.created,
        weights=weights,
        operations=None if operations is None else tuple(operations),
        transforms=tuple(transforms),
    )
    return (nearest, *record.lineage)


def lineage_text(lineage: Iterable[Ancestor]) -> str:
    """A lineage as text: `msm_small_0 (encoder; digest 3fa2…) <- …`; empty for a run without pretraining."""
    return " <- ".join(map(_ancestor_text, lineage))


def _ancestor_text(one: Ancestor) -> str:
    words = [", ".join(one.operations)] if one.operations else []
    if words and one.transforms:
        words.append(f"{', '.join(one.transforms)} scaled as there")
    words += [f"digest {one.digest[:16]}"] if one.digest is not None else []
    return f"{one.name} ({'; '.join(words)})" if words else one.name


@dataclass(frozen=True)
class TreeRun:
    """A run in the tree of runs connected by pretraining."""

    name: str
    followed: tuple[bool, ...]
    """For each level of the tree down to this run's: whether siblings follow; empty for a run at the top."""
    run: Summary | None
    """None for a run that was removed."""


def ancestors(runs: Iterable[Summary], everything: Mapping[str, Summary]) -> dict[str, list[str]]:
    """The names of each run's ancestors, nearest first.

    everything  all existing runs, by name; the origin of a removed run is found in the record of a descendant
    """
    before = _Before(everything)
    return {one["name"]: before.all_of(one["name"]) for one in runs}


def tree(runs: Iterable[Summary], everything: Mapping[str, Summary]) -> list[TreeRun]:
    """The runs in the given order, each below the run that it started from; their ancestors are always included."""
    lines = {name: [name, *before] for name, before in ancestors(runs, everything).items()}
    parents: dict[str, str | None] = {}
    for line in lines.values():
        parents |= _each_with_the_next(line)
    children: dict[str | None, list[str]] = {}
    for name in dict.fromkeys([*lines, *(name for line in lines.values() for name in line)]):
        children.setdefault(parents[name], []).append(name)
    branches: list[TreeRun] = []
    waiting: list[TreeRun] = [TreeRun(name, (), everything.get(name)) for name in reversed(children.get(None, []))]
    while waiting:
        branches.append(branch := waiting.pop())
        below = children.get(branch.name, [])
        waiting += [
            TreeRun(name, (*branch.followed, name != below[-1]), everything.get(name)) for name in reversed(below)
        ]
    return branches


def _each_with_the_next(names: Sequence[str]) -> dict[str, str | None]:
    return dict(zip(names, [*names[1:], None], strict=False))


class _Before:
    """The ancestors of a run, including removed ones."""

    def __init__(self, everything: Mapping[str, Summary]) -> None:
        self._everything = everything
        self._of_gone: dict[str, str | None] = {}

    def all_of(self, name: str) -> list[str]:
        line, there = {name: None}, self._everything[name]
        while (parent := self._parent(name, there)) is not None and parent not in line:
            # A name can occur twice if a run was removed and another one was given its name.
            line[parent] = None
            name, there = parent, self._everything.get(parent, there)
        return list(line)[1:]

    def _parent(self, name: str, there: Summary) -> str | None:
        """The run that a run started from; `there` is the nearest descendant that still exists."""
        if name in self._everything:
            return next(iter(self._everything[name]["parents"]), None)
        if name not in self._of_gone:
            names = [one.name for one in _lineage(there)]
            self._of_gone |= {name: None, **_each_with_the_next(names)}
        return self._of_gone[name]


def _lineage(run: Summary) -> Sequence[Ancestor]:
    """The lineage in a run's record; empty if it cannot be read, which the listing already reports."""
    try:
        return RunDirectory(Path(run["path"])).record().lineage
    except (DamagedError, NotFoundError):
        return ()
