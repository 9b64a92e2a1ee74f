"""Where a run's first weights come from: the run that it was pretrained by, that one's own, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qexp.errors import DamagedError, NotFoundError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Ancestor, Fingerprint

Summary = dict[str, Any]
"""A run, as the catalog gives it."""

T = TypeVar("T")


def operations_taken(spec: Mapping[str, Any]) -> list[str] | None:
    """The operations whose weights a resolved experience takes from another run; None for all, and the transforms."""
    pretrain = spec["pretrain"]
    operations: list[str] | None = pretrain["operations"] if pretrain else None
    return operations


def transforms_taken(spec: Mapping[str, Any], before: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """The inputs that a resolved experience scales just as the run did that it takes operations from; all, of all.

    Those operations learned of values on that scale, so that what was fitted there is taken over with them. An input
    counts if one of them is the first with weights that it comes to, if it has as many values, and if both ask for the
    same transform of it.
    before   the resolved experience of the other run
    tensors  what it has learned, by name; a transform that has nothing to fit is the same everywhere
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
    """Of a model's tensors, or what is told of them by their names, those of some operations; None for all."""
    if operations is None:
        return dict(tensors)
    return _beginning_with([f"network.operations.{name}." for name in operations], tensors)


def of_transforms(tensors: Mapping[str, T], variables: Sequence[str]) -> dict[str, T]:
    """The same of the transforms of some variables."""
    return _beginning_with([f"transforms.{name}." for name in variables], tensors)


def _beginning_with(beginnings: Sequence[str], tensors: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in tensors.items() if name.startswith(tuple(beginnings))}


def chain(
    parent: RunDirectory, weights: Fingerprint, operations: Sequence[str] | None, transforms: Sequence[str]
) -> tuple[Ancestor, ...]:
    """What identifies a run that another one starts from, and those before it, also when they are gone; nearest first.

    weights     fingerprint of what is taken over from it
    operations  whose weights are the first ones of the other run; None for all
    transforms  variables that stay scaled as they were fitted there
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


def told(lineage: Iterable[Ancestor]) -> str:
    """What a run was pretrained from: `msm_small_0 (encoder; digest 3fa2…) <- …`; empty if it was not."""
    return " <- ".join(map(_told, lineage))


def _told(one: Ancestor) -> str:
    words = [", ".join(one.operations)] if one.operations else []
    if words and one.transforms:
        words.append(f"{', '.join(one.transforms)} scaled as there")
    words += [f"digest {one.digest[:16]}"] if one.digest is not None else []
    return f"{one.name} ({'; '.join(words)})" if words else one.name


@dataclass(frozen=True)
class Branch:
    """A run in the tree of those that started from one another."""

    name: str
    followed: tuple[bool, ...]
    """For each level of the tree down to its own: whether more comes after it there; empty for one at the top."""
    run: Summary | None
    """None for one that is gone."""


def ancestors(runs: Iterable[Summary], everything: Mapping[str, Summary]) -> dict[str, list[str]]:
    """Of each run the names of those before it, nearest first.

    everything  all runs there are, by name; what a run that is gone started from is in the record of one after it
    """
    before = _Before(everything)
    return {one["name"]: before.all_of(one["name"]) for one in runs}


def tree(runs: Iterable[Summary], everything: Mapping[str, Summary]) -> list[Branch]:
    """The runs in their order, each below the one that it started from; those before them are there in any case."""
    lines = {name: [name, *before] for name, before in ancestors(runs, everything).items()}
    parents: dict[str, str | None] = {}
    for line in lines.values():
        parents |= _each_with_the_next(line)
    children: dict[str | None, list[str]] = {}
    for name in dict.fromkeys([*lines, *(name for line in lines.values() for name in line)]):
        children.setdefault(parents[name], []).append(name)
    branches: list[Branch] = []
    waiting: list[Branch] = [Branch(name, (), everything.get(name)) for name in reversed(children.get(None, []))]
    while waiting:
        branches.append(branch := waiting.pop())
        below = children.get(branch.name, [])
        waiting += [
            Branch(name, (*branch.followed, name != below[-1]), everything.get(name)) for name in reversed(below)
        ]
    return branches


def _each_with_the_next(names: Sequence[str]) -> dict[str, str | None]:
    return dict(zip(names, [*names[1:], None], strict=False))


class _Before:
    """What is before a run, also where some of that is gone."""

    def __init__(self, everything: Mapping[str, Summary]) -> None:
        self._everything = everything
        self._of_gone: dict[str, str | None] = {}

    def all_of(self, name: str) -> list[str]:
        line, there = {name: None}, self._everything[name]
        while (parent := self._parent(name, there)) is not None and parent not in line:
            # A name can come again where a run was removed and another one took its name.
            line[parent] = None
            name, there = parent, self._everything.get(parent, there)
        return list(line)[1:]

    def _parent(self, name: str, there: Summary) -> str | None:
        """The run that a run started from; `there` is the nearest one after it that is not gone."""
        if name in self._everything:
            return next(iter(self._everything[name]["parents"]), None)
        if name not in self._of_gone:
            names = [one.name for one in _lineage(there)]
            self._of_gone |= {name: None, **_each_with_the_next(names)}
        return self._of_gone[name]


def _lineage(run: Summary) -> Sequence[Ancestor]:
    """What the record of a run says; nothing if it cannot be read, which a listing has told already."""
    try:
        return RunDirectory(Path(run["path"])).record().lineage
    except (DamagedError, NotFoundError):
        return ()
