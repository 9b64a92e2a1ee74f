"""The files and folders that specs name: where they are, and fingerprints of their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp.base.files import sha256_of
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError, hint
from qexp.rows.array_cache import content_hash
from qexp.rows.geotiff import beside
from qexp.rows.table import TableError, explained
from qexp.spec.reading import Document, Finding


def find_data_file(path: str, folders: Iterable[Path], recorded: str = "") -> Path:
    """The file of a relative path, from the first folder that has it. Raises TableError, listing
    these folders.

    recorded  where the file was when the run was prepared, which is searched first
    """
    candidates = data_candidates(path, folders)
    file = next(filter(Path.is_file, [Path(recorded), *candidates]), None)
    if file is not None:
        return file
    similar = _nearest_neighbour(candidates)
    if Path(path).is_absolute():
        raise TableError(f"there is no file {path}{similar}")
    paths = ", ".join(map(str, candidates)) or "nowhere"
    way_out = "put the file there, or add its folder to QEXP_DATA"
    raise TableError(f"there is no file '{path}'{similar}; looked for {paths}; {way_out}")


def _nearest_neighbour(paths: Sequence[Path]) -> str:
    """A file with a similar name, in the folders that were searched."""
    names: list[str] = []
    for path in paths:
        with suppress(OSError):
            names += [entry.name for entry in os.scandir(path.parent) if entry.is_file()]
    return hint(paths[0].name, names) if paths else ""


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; of one with others beside it that are read with
    it, of all these.

    Raises TableError.
    """
    with explained(path):
        hashes = list(map(sha256_of, [path, *beside(path)]))
        together = hashlib.sha256("".join(hashes).encode()).hexdigest()
        return hashes[0] if len(hashes) == 1 else together


# The files and data that a program names: where they are, and hashes of their content. Loads no
# torch.


def program_path(name: str, root: Path) -> Path:
    """A file or folder below the workspace `root`, or with an absolute path. Raises QexpError."""
    path = root / name
    if path.exists():
        return path
    there = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    raise QexpError(f"there is no file '{name}' in {root}{hint(path.name, there)}")


def program_fingerprint(name: str, root: Path) -> str:
    """SHA-256 of a file's content in hexadecimal; of a folder, of the names and contents of all
    files below it, also by links to folders.

    Raises QexpError. Hashes of files that have not changed since are kept in the cache.
    """
    path = program_path(name, root)
    try:
        if not path.is_dir():
            return content_hash(path)
        digest = hashlib.sha256()
        for file in sorted(_below(path)):
            digest.update(f"{file.relative_to(path).as_posix()}\0{content_hash(file)}\0".encode())
    except OSError as error:
        raise QexpError(f"'{name}' cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def _below(folder: Path, outer: Sequence[Path] = ()) -> Iterator[Path]:
    """All files in a folder, also of links to folders, but for one around it: QexpError."""
    outer = [*outer, folder.resolve()]
    for path in folder.iterdir():
        if path.is_dir() and path.resolve() in outer:
            way_out = "remove it, or name what is in there one by one"
            raise QexpError(f"'{path}' is a link to a folder around it; {way_out}")
        if path.is_dir():
            yield from _below(path, outer)
        elif path.is_file():
            yield path


def changed_program_files(names: Iterable[tuple[str, str]], root: Path) -> Iterator[str]:
    """What is wrong with files since their fingerprints were taken, in words.

    names  name and fingerprint of each file
    """
    for name, recorded in names:
        try:
            if program_fingerprint(name, root) != recorded:
                yield f"'{name}' has changed since the run was prepared"
        except QexpError as error:
            yield str(error)


# Finding the files and folders of datasets.


DATA = "QEXP_DATA"
"""Environment variable with folders that are searched for data files after the workspace's own."""


def data_folder(
    document: Document,
    workspace: Workspace | None,
    is_there: Callable[[Path], bool] = Path.is_dir,
    what: str = "folder",
) -> Path:
    """The folder of a dataset: where it was when the run was prepared, else in data/ or a folder of
    QEXP_DATA.

    is_there  tests a path; whether it is a folder, if left out
    what      name of the kind of file in errors
    Raises DatasetError, with the command that makes the folder if the dataset gives one.
    """
    recorded = [Path(document["found"])] if document.get("found") else []
    paths = [*recorded, *data_candidates(document["path"], data_folders(workspace))]
    path = next(filter(is_there, paths), None)
    if path is not None:
        return path
    way_out = f"put it there, or add the folder that holds it to {DATA}"
    if document["made_by"]:
        way_out = f"make it with: {document['made_by']}"
    searched = ", ".join(dict.fromkeys(map(str, paths)))
    lack = f"there is no {what} '{document['path']}'; looked for {searched}; {way_out}"
    raise DatasetError([(("path",), lack)])


def data_candidates(path: str, folders: Iterable[Path]) -> list[Path]:
    """The paths where a file or folder may be; an absolute path is its own only one."""
    return [Path(path)] if Path(path).is_absolute() else [folder / path for folder in folders]


def data_folders(workspace: Workspace | None) -> list[Path]:
    """The folders that are searched for data: the workspace's own, and those of QEXP_DATA."""
    own = [workspace.root / "data"] if workspace is not None else []
    others = filter(None, os.environ.get(DATA, "").split(os.pathsep))
    return [*own, *map(Path, others)]


def refuse(findings: Iterable[Finding]) -> None:
    """Raises DatasetError if a dataset has problems."""
    if problems := list(findings):
        raise DatasetError(problems)


@contextmanager
def as_finding(kind: type[QexpError] = QexpError) -> Iterator[None]:
    """Turn errors of a kind into findings about the path of a dataset."""
    try:
        yield
    except kind as error:
        raise DatasetError([(("path",), str(error))]) from error


def data_file(document: Document, workspace: Workspace | None) -> tuple[Path, bool]:
    """The file of a dataset: where it was when the run was prepared, else in data/ or a folder of
    QEXP_DATA; and whether it is the stand-in for a file that was not found.

    If it is not found, its stand-in is searched, unless the run was prepared: it then needs the
    file that it had.
    """
    stood_in = bool(document["stand_in"] and document.get("stood_in"))
    keys = ["path", "stand_in"]
    if stood_in or "fingerprint" in document:
        keys = ["stand_in" if stood_in else "path"]
    troubles = []
    for key in (key for key in keys if document[key] is not None):
        try:
            found = document.get("found", "")
            return find_data_file(document[key], data_folders(workspace), found), key == "stand_in"
        except TableError as error:
            troubles.append(((key,), str(error)))
    raise DatasetError(troubles)
