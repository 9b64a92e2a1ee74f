"""What is asked of each file: its reader, and which options of `qexp observe` count for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.deformation.options import ESTIMATE, NONE, ObserveOptions
from qexp.errors import QexpError
from qexp.observations.noise import declared
from qexp.observations.readers import OF_SIGHT, Reader, reader_of, reader_of_stations
from qexp.observations.reading import ReadOptions
from qexp.observations.tables import asked_of_each

PER_FILE = (
    "name", "unit", "gnss_unit", "error", "incidence", "heading", "look", "north", "wavelength",
    "sensor", "direction", "coherence", "dem", "geometry", "variable",
)  # fmt: skip
"""What may be asked of each file: one value for all, or one for each in order."""
PATHS = ("incidence", "heading", "direction", "coherence", "dem", "geometry")
"""What may be the name of a file."""


@dataclass(frozen=True)
class Request:
    """A file, its reader, and what is asked of that."""

    path: Path
    reader: Reader
    options: ReadOptions


def requests_of(sources: Sequence[Path], options: ObserveOptions) -> Sequence[Request]:
    """The files in order, tables of `gnss` last.

    Raises NotFoundError, and QexpError for a file that no reader knows, for values that are neither
    one for all nor one for each, and for those that have no effect on any file.
    """
    stations = [Path(file) for file in options.gnss]
    if not sources and not stations:
        raise QexpError("name at least one file")
    errors = _errors(options, len(sources), len(stations))
    if stations and options.unit and not options.gnss_units:
        raise QexpError(
            "`unit` is for the files and not for the tables of `gnss`; give theirs, too:"
            " `gnss_unit=UNIT`, such as mm"
        )
    if options.gnss_units and not stations:
        raise QexpError(
            "`gnss_unit` is for the tables of `gnss`; the unit of other files is `unit`"
        )
    of_sources = _of_sources(sources, errors[: len(sources)], options)
    requests = [*of_sources, *_of_stations(stations, errors[len(sources) :], options)]
    asked = _asked(options)
    for name in asked:
        if not any(name in request.reader.takes for request in requests):
            names = ", ".join(str(request.path) for request in requests)
            raise QexpError(f"`{name}` has no effect on {names}; leave it out")
    return _each_with_its_columns(requests, asked.get("columns"))


def _asked(options: ObserveOptions) -> dict[str, Any]:
    """What the options say of how files are read."""
    names = [field.name for field in fields(ReadOptions)]
    values = {name: getattr(options, name, None) for name in names}
    if isinstance(options.columns, Mapping):
        values["columns"] = {word: str(column) for word, column in options.columns.items()}
    return {name: value for name, value in values.items() if value is not None and value != ()}


def _of_sources(
    paths: Sequence[Path], errors: Sequence[float | None], options: ObserveOptions
) -> Iterator[Request]:
    """Files of any format, each with its own of what is given for each."""
    asked = _asked(options)
    count = len(paths)
    readers = [reader_of(path, asked.get("columns")) for path in paths]
    sights = _sights(paths, readers, asked)
    others = {name: value for name, value in asked.items() if name not in (*OF_SIGHT, "error")}
    for index, (path, reader) in enumerate(zip(paths, readers, strict=True)):
        of_file = {name: _of_file(name, value, index, count) for name, value in others.items()}
        of_file |= sights[index]
        of_file |= {"error": errors[index], "error_follows": _errors_follow(options)}
        of_file["unit_option"] = _unit_option("unit", asked.get("unit"), index, count)
        yield Request(path, reader, ReadOptions(**of_file))


def _of_stations(
    paths: Sequence[Path], errors: Sequence[float | None], options: ObserveOptions
) -> Iterator[Request]:
    """Tables of `gnss`, which have units of their own; what is for each file is not for them."""
    of_all = {name: value for name, value in _asked(options).items() if name not in PER_FILE}
    units = options.gnss_units or None
    count = len(paths)
    for index, path in enumerate(paths):
        files.require_file(path)
        unit = _of_file("gnss_unit", units, index, count)
        option = _unit_option("gnss_unit", units, index, count)
        asked = ReadOptions(**of_all, unit=unit, unit_option=option, error=errors[index])
        yield Request(path, reader_of_stations(path), asked)


def _of_file(name: str, value: Any, index: int, count: int) -> Any:
    """The value for one of several files."""
    three_files = name == "direction" and all(isinstance(part, str | Path) for part in value)
    if name in PER_FILE and _is_several(value) and not three_files:
        if len(value) not in (1, count):
            each = f" for all {count} files, or once for each" if count > 1 else ""
            decimal = ", a decimal with a point" if name in ("incidence", "heading") else ""
            raise QexpError(f"`{name}` is given {len(value)} times; give it once{each}{decimal}")
        if name == "name" and count > 1 and len(value) == 1:
            raise QexpError(
                f"`name` is given once, but there are {count} files; give each a name, in order"
            )
        value = value[index % len(value)]
    if name in PATHS and _is_several(value):
        return tuple(map(Path, value))
    return Path(value) if name in PATHS and isinstance(value, str) else value


def _is_several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def count_of(value: Any) -> int:
    """How often an option is given: once for all files, or for each in order; 0 if it is left
    out.
    """
    return len(value) if _is_several(value) else int(value is not None)


def _unit_option(name: str, value: Any, index: int, count: int) -> str:
    """How the unit of one of several files is given, with {} for it and the others as they are."""
    units = [_of_file(name, value, other, count) or "m" for other in range(count)]
    units[index] = "{}"
    return f"`{name}={units[0] if count == 1 else units}`"


def _errors(options: ObserveOptions, files: int, tables: int) -> Sequence[float | None]:
    """The error of each file and then of each table of stations; with one number for each file,
    tables have none.
    """
    given = options.error if isinstance(options.error, Sequence) else [options.error]
    if len(given) == 1:
        return [*given] * (files + tables)
    if len(given) == files + tables:
        return given
    return [*(_of_file("error", given, index, files) for index in range(files)), *[None] * tables]


def _errors_follow(options: ObserveOptions) -> bool:
    """Whether the noise of all tracks gives their errors."""
    words = () if options.keep_errors else options.noises
    with_nugget = (word != NONE and declared(word).nugget > 0 for word in words if word != ESTIMATE)
    return bool(words) and all(with_nugget)


def _sights(
    paths: Sequence[Path], readers: Sequence[Reader], asked: Mapping[str, Any]
) -> Sequence[dict[str, Any]]:
    """Incidence, heading and look for each file that needs them, as it does not have them itself.

    They are given once for all, once for each file, or once for each that needs them. What no file
    needs is for all, to be refused as these are read.
    """
    sights: list[dict[str, Any]] = [{} for _ in paths]
    angles = {name: asked[name] for name in OF_SIGHT if name in asked}
    taking = [index for index, reader in enumerate(readers) if "incidence" in reader.takes]
    taking = taking if angles else []
    own = {index: _own_sight(paths[index], readers[index], asked) for index in taking}
    for name, value in angles.items():
        needing = [index for index in taking if name not in own[index]] or taking
        if name == "look" and count_of(value) not in (1, len(needing)):
            each = f", or once for each of the {len(needing)} that need one" * (len(needing) > 1)
            names = ", ".join(str(paths[index]) for index in needing)
            raise QexpError(f"`look` is given {count_of(value)} times; give it once{each}: {names}")
        meant = needing if count_of(value) == len(needing) else [*range(len(paths))]
        for index in needing:
            sights[index][name] = _of_file(name, value, meant.index(index), len(meant))
    return sights


def _own_sight(path: Path, reader: Reader, asked: Mapping[str, Any]) -> Collection[str]:
    """Which of incidence, heading and look a file has itself; no look where an angle replaces what
    it has.
    """
    own = {*reader.sight(path, asked.get("columns"))}
    replaced = asked.keys() & {"incidence", "heading"} - own
    return own - {"look"} if replaced else own


def _each_with_its_columns(requests: Sequence[Request], columns: Any) -> Sequence[Request]:
    """The requests, each of several tables and grids with those of the columns that it has."""
    tables = [request for request in requests if request.reader.columns is not None]
    roles = {request.path: request.reader.columns or {} for request in tables}
    if columns is None or len(roles) < 2:
        return requests
    if not isinstance(columns, Mapping):
        of_points = [request.reader for request in tables if "east" in roles[request.path]]
        if len({reader.stations for reader in of_points}) > 1:
            raise QexpError(
                "`columns`: positions alone mean others in tables of stations than in those of a"
                " track; name what they hold: `columns={'east': '1', 'north': '2'}`"
            )
        return requests
    shares = asked_of_each(roles, columns)
    of_files = [shares.get(request.path, columns) or None for request in requests]
    asked = list[Request]()
    for request, own in zip(requests, of_files, strict=True):
        asked.append(replace(request, options=replace(request.options, columns=own)))
    return asked
