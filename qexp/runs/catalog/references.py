"""Lookup of runs by name, unique prefix, path, or pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError
from qexp.runs.catalog.catalog import Catalog, natural
from qexp.runs.record.directory import RunDirectory

WILDCARD = re.compile(r"[*?[]")
"""Characters that mark a pattern; run names cannot contain them."""


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
            found.setdefault(directory.path.resolve(), directory)
    return list(found.values())


def _named(reference: str, catalog: Catalog) -> list[RunDirectory]:
    if not is_pattern(reference):
        return [catalog.find(reference)]
    return [
        RunDirectory(catalog.workspace.runs / name)
        for name in matching(reference, sorted(catalog.names(), key=natural))
    ]
