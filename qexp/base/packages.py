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


@cache
def entry_points() -> dict[str, list[EntryPoint]]:
    """Group → the entry points of the installed packages that add to some table of qexp."""
    from importlib import metadata  # takes a hundredth of a second, and the reading of all packages more

    found: dict[str, list[EntryPoint]] = {}
    for package in metadata.distributions():
        if "[qexp." in (package.read_text("entry_points.txt") or ""):
            for point in package.entry_points:
                if point not in found.setdefault(point.group, []):  # a package may lie on the path twice
                    found[point.group].append(point)
    return found


def origin(point: EntryPoint) -> str:
    """The package of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


class OpenTable(MutableMapping[str, T]):
    """A literal table, and the entries that installed packages add to it.

    name      of the table; the group of its entry points is `qexp.NAME`
    built_in  name → entry
    trouble   what is wrong with an entry of a package, in words; None if nothing is
    first     whether entries of packages come before the built-in ones where all are listed
    added     further entries, which precede those of packages with the same names
    """

    def __init__(
        self,
        name: str,
        built_in: Mapping[str, T],
        trouble: Callable[[Any], str | None],
        first: bool = False,
        added: Mapping[str, T] | None = None,
    ) -> None:
        self.name, self.built_in, self._trouble, self._first = name, built_in, trouble, first
        self._entries: dict[str, T] = {**built_in, **(added or {})}
        self._of_packages: dict[str, T] = {}
        self._broken: set[str] = set()

    def joined(self, added: Mapping[str, T]) -> OpenTable[T]:
        """The same table with further entries, such as those of a workspace."""
        return OpenTable(self.name, self.built_in, self._trouble, self._first, added)

    def names(self) -> list[str]:
        """All names, those of packages that cannot be loaded included: no code of a package is executed."""
        return [*self._entries, *(name for name in self._points() if name not in self._entries)]

    def __getitem__(self, name: str) -> T:
        if name not in self._entries and isinstance(name, str) and self._is_loaded(name):
            return self._of_packages[name]
        return self._entries[name]

    def __setitem__(self, name: str, entry: T) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        names = [name for name in self._points() if name not in self._entries and self._is_loaded(name)]
        yield from (*names, *self._entries) if self._first else (*self._entries, *names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _points(self) -> dict[str, EntryPoint]:
        """Raises QexpError for a name that is built in, or that two packages have."""
        points: dict[str, EntryPoint] = {}
        for point in entry_points().get(f"qexp.{self.name}", ()):
            other = origin(points[point.name]) if point.name in points else None
            if point.name in self.built_in:
                other = "qexp itself"
            if other is not None and points.get(point.name) != point:
                raise QexpError(
                    f"the package {origin(point)} has '{point.name}' in its entry points of qexp.{self.name}, which "
                    f"{other} has already; one of them must be renamed or uninstalled"
                )
            points[point.name] = point
        return points

    def _is_loaded(self, name: str) -> bool:
        """Whether a package has an entry of that name, which is then loaded, or else left out with a warning."""
        point = self._points().get(name)
        if point is None or name in self._broken:
            return False
        if name not in self._of_packages:
            try:
                entry = point.load()
                trouble = self._trouble(entry)
            except (Exception, SystemExit) as error:  # the code of a package may raise any error
                trouble = f"cannot be loaded: {type(error).__name__}: {error}"
            if trouble is not None:
                self._broken.add(name)
                what = f"'{name}' of qexp.{self.name} ({point.value})"
                warnings.warn(f"the package {origin(point)}: {what} {trouble}; it is left out", stacklevel=2)
                return False
            self._of_packages[name] = entry
        return True


def must_be(kind: type, words: str) -> Callable[[Any], str | None]:
    """The check of a table whose entries are instances of a class."""
    return lambda entry: None if isinstance(entry, kind) else f"is a {type(entry).__name__}, and not {words}"
