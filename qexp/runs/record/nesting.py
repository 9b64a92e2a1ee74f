"""Runs inside other runs: removing or deleting the outer run does the same to the inner one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.runs.record.directory import FOLDS, SPEC_OR_PROGRESS
from qexp.workspace import Workspace

BOOKKEEPING = frozenset({".trash", ".launches", ".removed"})
"""Folders that qexp creates beside runs and empties by its own rules."""

SHOWN = 8
"""Largest number of runs named in one message."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, not just a file that happens to be called run.json."""
    file = folder / "run.json"
    if not os.path.isfile(file):  # noqa: PTH113 - false, and no error, for a folder that cannot be entered
        return False
    if any((folder / name).exists() for name in SPEC_OR_PROGRESS):
        return True
    try:
        record = files.read_json(file)
    except (FileNotFoundError, DamagedError):
        return False
    return isinstance(record, dict) and {"name", "state", "seed"} <= record.keys()


def around(place: Path) -> Iterator[Path]:
    """The runs that contain a path, innermost first; the path itself counts if it is a run."""
    real = Path(os.path.realpath(place))
    return (folder for folder in (real, *real.parents) if is_run(folder))


def inside(run: Path) -> list[Path]:
    """The runs inside a run that are not its own folds. `code/` is skipped: it holds copies of a user's files."""
    found = []
    for parent, folders, names in os.walk(run):
        here = Path(parent)
        if here == run and "code" in folders:
            folders.remove("code")
        own = here == run or (here.parent.name == FOLDS and here.parent.parent == run)
        if "run.json" in names and not own and is_run(here):
            found.append(here)
            folders.clear()  # runs further inside belong to the inner run
    return sorted(found)


def named(runs: Sequence[Path], outer: Path) -> str:
    """The inner runs by their paths relative to the outer one, as text."""
    names = [str(path.relative_to(outer)) for path in runs]
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def place_of(storage: Path | None, workspace: Workspace) -> Path:
    """The folder for new runs: `storage`, or `runs/` if that is left out or resolves to `runs/` itself.

    Raises QexpError for a folder inside a run, inside `runs/`, or inside a folder that qexp empties itself.
    """
    runs = workspace.runs
    place = runs if storage is None else storage.absolute()
    real, real_runs = Path(os.path.realpath(place)), Path(os.path.realpath(runs))
    if real == real_runs:
        place = runs
    elif real_runs in real.parents:
        raise QexpError(f"{place} lies inside {runs}, which holds nothing but runs; choose a folder outside it")
    elif ours := BOOKKEEPING.intersection(real.parts):
        raise QexpError(f"{place} lies inside a folder {min(ours)}, which qexp empties; choose another folder")
    require_outside_of_runs(place)
    return place


def target(path: str | Path) -> Path:
    """The path of a file or folder that a command writes where the user says.

    Raises QexpError for one in `runs/` or `specs/` of a workspace, or in a run: a result never replaces what is there.
    """
    written = Path(path)
    require_outside_of_runs(written)
    for place in (Path(os.path.abspath(written)), Path(os.path.realpath(written))):  # noqa: PTH100 - links are kept
        around_it = [folder for folder in (place, *place.parents) if (folder.parent / "specs").is_dir()]
        if around_it and around_it[0].name in ("runs", "specs"):
            raise QexpError(
                f"{written} lies inside {around_it[0]}, where such files are not written; choose another folder"
            )
    return written


def require_outside_of_runs(place: Path) -> None:
    """Raise QexpError for a path inside a run."""
    if outer := next(around(place), None):
        raise QexpError(
            f"{place} lies inside the run {outer}; its contents would be removed and deleted with that run; "
            "choose a folder outside it"
        )
