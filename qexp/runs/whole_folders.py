"""Folders of results outside of runs, which appear complete or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp import clocks, files
from qexp.errors import QexpError
from qexp.runs.signals import terminable
from qexp.runs.upkeep.leftovers import STALE_SECONDS

NEW, OLD = "new", "old"
"""Temporary folders beside the target while it is written."""


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
        with terminable(), _beside(place) as beside:
            draft, before = beside / NEW, beside / OLD
            draft.mkdir(mode=0o755)
            for name, content in contents.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(draft / name, content)
            files.put_folder(draft, place, before)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
    _clear(place)


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A new folder beside another, which is deleted at the end: also if a signal comes just when it is made."""
    folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir()
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _clear(place: Path) -> None:
    """Delete what killed processes left beside this folder, which `qexp doctor` might not find."""
    drafts = re.compile(rf"\.{re.escape(place.name)}\.[a-z0-9_]{{8}}")
    with suppress(OSError):  # leftovers do no harm
        for path in place.parent.iterdir():
            if not drafts.fullmatch(path.name) or not path.is_dir():
                continue
            stale = clocks.age(path) > STALE_SECONDS
            if stale and {inside.name for inside in path.iterdir()} <= {NEW, OLD}:
                shutil.rmtree(path)
