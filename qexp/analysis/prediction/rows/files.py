"""The files of rows that a prediction reads, and those that it writes."""

from __future__ import annotations

from pathlib import Path

from qexp.errors import NotFoundError, QexpError
from qexp.rows.formats import FORMATS, format_of


def targets(source: Path, target: Path, ending: str | None = None) -> list[tuple[Path, Path]]:
    """Pairs of a file to read and the file to write.

    source  a file, or a folder, of which all files of rows are read, without its subfolders
    target  a file for a file, a folder for a folder; files in it are named after their sources
    ending  suffix of the files in the folder; default: that of the source
    Raises QexpError if there is nothing to read, or two files would be written to one, or a file over itself.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if not source.is_dir():
        format_of(source)
        if target.is_dir():
            target = target / f"{source.stem}{ending or source.suffix}"
        pairs = [(source, target)]
    else:
        if target.is_file():
            raise QexpError(f"{target} is a file, but {source} is a folder; its estimates need a folder too")
        found = sorted(
            path
            for path in source.iterdir()
            if path.suffix.lower() in FORMATS and path.is_file() and not path.name.startswith(".")
        )
        if not found:
            raise QexpError(f"{source}: no file in it ends in {', '.join(FORMATS)}")
        pairs = [(path, target / f"{path.stem}{ending or path.suffix}") for path in found]
    taken: dict[Path, Path] = {}
    for path, made in pairs:
        format_of(made)
        first = taken.setdefault(made.with_suffix(""), path)  # the map is named after the stem alone
        if first is not path:
            raise QexpError(f"{first} and {path} would both be written to {made.with_suffix('')}; rename one of them")
        if made.resolve() == path.resolve():
            raise QexpError(f"{path}: the estimates would be written over what is read; give another --output")
    return pairs
