"""Use of the disk, and what doctor finds."""

from __future__ import annotations

from shutil import disk_usage
from typing import Any

from qexp import files
from qexp.datasets.array_cache import cache_folder
from qexp.runs.upkeep import doctor, trash
from qexp.workspace import Workspace

LARGEST = 20
"""Runs whose sizes are listed."""


def sizes_in(workspace: Workspace) -> dict[str, Any]:
    """`total`: sizes in words, and `largest`: run and size, in words and in bytes."""
    folders = [path for path in trash.listed(workspace.runs) if path.is_dir() and not path.name.startswith(".")]
    runs = {path.name: files.size_of(path) for path in folders}
    largest = sorted(runs.items(), key=lambda one: -one[1])[:LARGEST]
    total = {
        "runs": sum(runs.values()),
        "trash": files.size_of(trash.folder(workspace)),
        "cache of prepared data": files.size_of(cache_folder()),
        "free on this disk": disk_usage(workspace.root).free,
    }
    return {
        "total": {name: files.in_bytes(size) for name, size in total.items()},
        "largest": [[name, files.in_bytes(size), size] for name, size in largest],
    }


def findings_in(workspace: Workspace) -> list[dict[str, Any]]:
    found = [one.document() for one in doctor.findings(workspace)]
    return [{**one, "where": one["where"].removeprefix(f"{workspace.root}/")} for one in found]
