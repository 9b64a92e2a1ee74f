"""Specs: a new workspace, checks, and the names and schemas that specs may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import workspace as workspaces
from qexp.errors import NotFoundError, Problem, QexpError
from qexp.workspace import PACKAGE

if TYPE_CHECKING:
    from qexp.tables import Tables

IGNORED = "/runs/\n/comparisons/\n/figures/\n/data/\n__pycache__/\n"

STAND_INS = "*/stand_in_*.csv"
"""The data that are shipped: synthetic, so that every example runs. Other files beside them are not shipped."""


@dataclass(frozen=True)
class Validation:
    """What checks of spec files have found."""

    files: Sequence[Path]
    """The files that were checked."""
    problems: Sequence[Problem]
    """What must be changed before anything can be trained."""
    warnings: Sequence[Problem]
    """What is allowed, but may not be intended."""
    right: int
    """Number of files without a problem."""
    waiting: int
    """Number of files that are right, but whose data have yet to be made by a command."""

    @property
    def wrong(self) -> int:
        """Number of files with problems."""
        return len(self.files) - self.right - self.waiting


def validate(files: Iterable[Path] | None = None, *, workspace: str | Path | None = None) -> Validation:
    """Check spec files for everything that can be checked without training; all of specs/ if left out.

    Raises NotFoundError if there are none.
    """
    from qexp.spec.resolve import FOLDERS

    place = workspaces.find(workspace)
    paths = list(files or sorted(path for kind in FOLDERS.values() for path in (place.specs / kind).glob("*.json")))
    if not paths:
        raise NotFoundError(f"no specs in {place.specs}")

    from qexp.assemble import awaited_in, examined, parts_of  # loads torch

    # A dataset is reported once, not again by every experience that uses it.
    parts = parts_of(place)
    awaited = dict.fromkeys(waiting for path in paths for waiting in awaited_in(path, parts))
    found = {path: examined(path, parts) for path in paths}
    problems = dict.fromkeys(one for of_spec in found.values() for one in of_spec.problems if one not in awaited)
    right = [path for path, of_spec in found.items() if not of_spec.problems]
    doubtful = dict.fromkeys(one for path in right for one in found[path].warnings)
    wrong = len({problem.file for problem in problems})
    return Validation(paths, list(problems), [*awaited, *doubtful], len(right), waiting=len(paths) - len(right) - wrong)


def specs(kind: str | None = None, *, workspace: str | Path | None = None) -> list[dict[str, Any]]:
    """The specs of a workspace: `kind`, `name`, `path`, `runs` (how many there are), `description`, `problem`.

    kind  dataset, model or experience; all kinds if left out
    `problem` is None, or why the file cannot be read.
    """
    from collections import Counter

    from qexp.api.looking import every_run
    from qexp.api.warn import ignore
    from qexp.spec.load import read
    from qexp.spec.resolve import FOLDERS

    kinds = FOLDERS if kind is None else [_known(kind)]
    place = workspaces.find(workspace)
    used = Counter((one, run.get(one)) for run in every_run(warn=ignore, workspace=place.root) for one in FOLDERS)
    listed = []
    for one in kinds:
        for path in sorted((place.specs / FOLDERS[one]).glob("*.json")):
            description, problem = "", None
            try:
                described = read(path, place.shown(path)).get("description", "")
                description = described if isinstance(described, str) else ""
            except QexpError as error:
                problem = str(error)
            number = used[one, path.stem]
            listed.append(
                {"kind": one, "name": path.stem, "path": str(path), "runs": number, "description": description,
                 "problem": problem}
            )  # fmt: skip
    return listed


def tables(*, workspace: str | Path | None = None) -> Tables:
    """The tables of names that specs may use, with the entries of the workspace's own extensions."""
    from qexp.assemble import tables_here
    from qexp.spec.schema import tables_of_types

    known = tables_here(workspace)
    return {**tables_of_types(known), **known}


def schema(kind: str, *, workspace: str | Path | None = None) -> Mapping[str, Any]:
    """The JSON Schema of a kind of spec: dataset, model or experience."""
    from qexp.assemble import tables_here
    from qexp.spec.schema import whole_schema

    return whole_schema(_known(kind), tables_here(workspace))


def _known(kind: str) -> str:
    """The kind of spec. Raises QexpError if there is none of that name."""
    from qexp.did_you_mean import suggestion
    from qexp.spec.schema import DOCUMENTS

    if kind not in DOCUMENTS:
        raise QexpError(f"no kind of spec '{kind}'; {suggestion(kind, DOCUMENTS)}")
    return kind


def init(directory: str | Path, *, bare: bool = False) -> None:
    """Create a workspace with working examples, or a bare one with empty folders for specs.

    Raises QexpError if the directory is a workspace already.
    """
    from qexp import folders
    from qexp.spec.resolve import FOLDERS

    directory = Path(directory)
    if (directory / "specs").exists():
        raise QexpError(f"{directory} has a folder specs/ already; it is a workspace")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with folders.drafted(directory / "specs") as draft:
            for kind in FOLDERS.values():
                (draft / kind).mkdir()
            if not bare:
                _copy((file for file in _examples().rglob("*") if "__pycache__" not in file.parts), _examples(), draft)
                _copy(_example_data().glob(STAND_INS), _example_data(), directory / "data")
            if not (directory / ".gitignore").exists():
                (directory / ".gitignore").write_text(IGNORED)
            draft.rename(directory / "specs")  # which makes it a workspace
    except OSError as error:
        raise QexpError(f"cannot write to {directory}: {error.strerror or error}") from error


def _copy(found: Iterable[Path], source: Path, target: Path) -> None:
    """Copy files to the same places below another folder, each whole or not at all."""
    import shutil

    for file in sorted(found):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, copy)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise


def _examples() -> Path:
    """The shipped specs: inside an installed package, at the root of a checkout."""
    installed = PACKAGE / "examples"
    return installed if installed.is_dir() else PACKAGE.parent / "specs"


def _example_data() -> Path:
    installed = PACKAGE / "example_data"
    return installed if installed.is_dir() else PACKAGE.parent / "data"
