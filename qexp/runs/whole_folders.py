"""Folders of results outside of runs, which appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from qexp import files, folders
from qexp.errors import QexpError
from qexp.runs.signals import terminable


def names_in(target: Path) -> set[str]:
    """The names in a folder, none if it does not exist. Raises QexpError where a folder cannot be."""
    try:
        return {path.name for path in target.iterdir()} if target.exists() else set()
    except NotADirectoryError:
        raise QexpError(f"--to {target}: there is a file of that name; choose another") from None
    except OSError as error:
        raise QexpError(f"--to {target}: {error.strerror}") from error


def write_folder(target: Path, contents: Mapping[str, bytes]) -> None:
    """Create a folder with all its files, or nothing; an old folder is deleted when the new one is complete.

    contents  name → content; names may have folders in them
    """
    place = Path(os.path.realpath(target))  # keep a link as a link
    files.make_folder(place.parent)
    try:
        folders.clear(place)
        with terminable(), folders.drafted(place) as draft:
            for name, content in contents.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(draft / name, content)
            folders.put(draft, place)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
