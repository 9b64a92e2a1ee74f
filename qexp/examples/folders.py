"""Writing a folder of synthetic data: complete or not at all, and never in place of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qexp.base import folders
from qexp.errors import QexpError

README = "README.md"


@contextmanager
def new_folder(out: Path, heading: str, overwrite: bool) -> Iterator[Path]:
    """A temporary folder next to `out`, which is moved to `out` on success and deleted otherwise.

    heading  first line of the README in folders of this kind; only folders with it are overwritten
    Raises QexpError if anything else is at `out`, or if it cannot be written.
    """
    folders.clear(out.resolve())
    require_free(out, heading, overwrite)
    out = out.resolve()
    with folders.new_draft(out) as draft:
        yield draft
        require_free(out, heading, overwrite)  # `out` may have changed meanwhile
        folders.put(draft, out)


def require_free(out: Path, heading: str, overwrite: bool) -> None:
    """Raises QexpError unless `out` does not exist, is empty, or may be overwritten."""
    try:
        # replacing it would leave the shell in a deleted folder
        if Path.cwd().is_relative_to(out.resolve()):
            raise QexpError(
                f"`out={out}` is where this command was started, or above it; give a folder below"
            )
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        if not out.is_dir():
            raise QexpError(f"`out={out}` is a file; give a folder that is not there yet")
        readme = out / README
        ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(
            f"{heading}\n"
        )
    except OSError as error:
        raise QexpError(f"`out={out}`: {error.strerror or error}") from error
    if not ours:
        raise QexpError(
            f"`out={out}` holds something else already; give a folder that is not there yet"
        )
    if not overwrite:
        raise QexpError(
            f"`out={out}` is there already; `overwrite=True` replaces it, another `out` keeps it"
        )
