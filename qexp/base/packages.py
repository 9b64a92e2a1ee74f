"""Tables to which installed packages add: a package names its entries in its metadata, by table.

An entry point of the group `qexp.losses` is an entry of the table of losses, its name the entry's. The metadata are
read, and the code of a package is executed, only where a name is looked up that is not built in, or where all are
listed: never for `qexp ls`, `show` and `--help`. A package is code that a user installed, as qexp is: its version is in
the `environment.json` of a run, among all packages, and not in the digest, which has none of qexp and torch either.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from qexp.errors import QexpError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_LOADED: dict[EntryPoint, Any] = {}
"""Entry point → what it is; None if it cannot be used."""


@cache
def entry_points() -> Mapping[str, list[EntryPoint]]:
    """Group → the entry points of installed packages, of all groups that begin with `qexp.`."""
    from importlib import metadata  # takes a hundredth of a second, and the reading of all packages more

    found = metadata.entry_points()
    return {group: [*found.select(group=group)] for group in found.groups if group.startswith("qexp.")}


class OpenTable(MutableMapping[str, T]):
    """A literal table, and the entries that installed packages add to it; a workspace's own entry precedes theirs.

    name      of the table; the group of its entry points is `qexp.NAME`
    built_in  name → entry
    trouble   what is wrong with an entry of a package, in words; None if nothing is
    first     whether entries of packages come before the built-in ones where all are listed
    """

    def __init__(
        self, name: str, built_in: Mapping[str, T], trouble: Callable[[Any], str | None], first: bool = False
    ) -> None:
        self.name, self.built_in, self.trouble, self._first = name, built_in, trouble, first
        self._added: dict[str, T] = {}

    def joined(self, added: Mapping[str, T]) -> OpenTable[T]:
        """The same table with further entries, such as those of a workspace."""
        table = OpenTable(self.name, self.built_in, self.trouble, self._first)
        table.update(added)
        return table

    def names(self) -> list[str]:
        """All names, also of packages that may turn out to be broken: no code is executed."""
        return [*{**self.built_in, **self._added}, *self.points()]

    def points(self) -> dict[str, EntryPoint]:
        """The entry points of packages by their names; no code is executed.

        Raises QexpError for a name that is built in, or that two packages have.
        """
        points: dict[str, EntryPoint] = {}
        for point in entry_points().get(f"qexp.{self.name}", ()):
            other = points.get(point.name)
            if point.name in self.built_in or (other is not None and other != point):  # one may lie on the path twice
                raise QexpError(
                    f"the package {_origin(point)} has '{point.name}' in its entry points of qexp.{self.name}, which "
                    f"{_origin(other) if other else 'qexp itself'} has already; rename or uninstall one of them"
                )
            points[point.name] = point
        return {name: point for name, point in points.items() if name not in self._added}

    def __getitem__(self, name: str) -> T:
        for entries in (self._added, self.built_in):
            if name in entries:
                return entries[name]
        if (point := self.points().get(name)) is None or self._load(point) is None:
            raise KeyError(name)
        entry: T = _LOADED[point]
        return entry

    def __setitem__(self, name: str, entry: T) -> None:
        self._added[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        names = [name for name, point in self.points().items() if self._load(point) is not None]
        ours = {**self.built_in, **self._added}
        return iter([*names, *ours] if self._first else [*ours, *names])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _load(self, point: EntryPoint) -> Any:
        """What an entry point is; None, with a warning the first time, if it cannot be used."""
        if point not in _LOADED:
            try:
                entry = point.load()
                trouble = self.trouble(entry)
            except (Exception, SystemExit) as error:  # the code of a package may raise any error
                trouble = f"cannot be loaded: {type(error).__name__}: {error}"
            _LOADED[point] = entry if trouble is None else None
            if trouble is not None:
                what = f"'{point.name}' of qexp.{self.name} ({point.value})"
                warnings.warn(f"the package {_origin(point)}: {what} {trouble}; it is left out", stacklevel=2)
        return _LOADED[point]


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
