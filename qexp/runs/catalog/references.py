"""Lookup of runs by name, unique prefix, path, or pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError
from qexp.files import real_path
from qexp.runs.catalog.catalog import Catalog, natural
from qexp.runs.record.directory import FOLDS, RunDirectory

WILDCARD = re.compile(r"[*?[]")
"""Characters that mark a pattern; run names cannot contain them."""


def find(reference: str, catalog: Catalog) -> RunDirectory:
    """A run by its name, a unique prefix of it, or a path; a fold of it by `RUN/folds/003`.

    Raises NotFoundError with similar names.
    """
    by_path = Path(reference)
    if "/" in reference and (by_path / "run.json").is_file():
        return RunDirectory(by_path.absolute())
    directory = RunDirectory(catalog.workspace.runs / reference)
    if reference and "/" not in reference and directory.holds_record:
        return directory
    run, of_run, fold = reference.partition(f"/{FOLDS}/")
    if run and of_run and "/" not in run:
        return _fold(find(run, catalog), fold.rstrip("/"))
    names = catalog.names()
    matching = [name for name in names if reference and name.startswith(reference)]
    if len(matching) == 1:
        return RunDirectory(catalog.workspace.runs / matching[0])
    if matching:
        shown = ", ".join(sorted(matching, key=natural)[:8])
        raise NotFoundError(f"'{reference}' is a prefix of {len(matching)} run names: {shown}; write more of it")
    raise NotFoundError(f"no run '{reference}'; {suggestion(reference, names)}")


def _fold(run: RunDirectory, name: str) -> RunDirectory:
    folds = {fold.name: fold for fold in run.all_folds()}
    if name in folds:
        return folds[name]
    raise NotFoundError(f"{run.name} has no fold '{name}'; {suggestion(name, folds)}")


def is_pattern(reference: str) -> bool:
    return WILDCARD.search(reference) is not None and not (Path(reference) / "run.json").is_file()


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that match a pattern such as 'mogi_*', in natural order. Raises NotFoundError if there are none."""
    known = list(names)
    matched = [name for name in known if fnmatchcase(name, pattern)]
    if not matched:
        raise NotFoundError(f"no run matches '{pattern}'; {suggestion(WILDCARD.split(pattern)[0], known)}")
    return matched


def named_runs(references: Iterable[str], catalog: Catalog) -> list[RunDirectory]:
    """The runs that match the references, each once. Raises NotFoundError for a reference without a match."""
    found: dict[Path, RunDirectory] = {}
    for reference in references:
        for directory in _named(reference, catalog):
            found.setdefault(real_path(directory.path), directory)
    return list(found.values())


def _named(reference: str, catalog: Catalog) -> list[RunDirectory]:
    if not is_pattern(reference):
        return [find(reference, catalog)]
    return [
        RunDirectory(catalog.workspace.runs / name)
        for name in matching(reference, sorted(catalog.names(), key=natural))
    ]
