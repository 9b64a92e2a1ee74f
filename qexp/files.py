"""Files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from qexp.errors import DamagedError, QexpError


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QexpError(f"cannot write to {path}: {error.strerror}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step; after a crash or a full disk the old one is still there."""
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise QexpError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to be written beside, which takes the place of `path` when all went well, and is gone otherwise."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """The same for what opens its file itself, by name: a file beside, with the same ending."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.absolute().parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Replace a CSV file in one step."""
    write_bytes(path, csv_text(columns, rows).encode())


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A line with the names of the columns, then one for each row; None is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_json(path: Path, document: Any) -> None:
    """Replace a JSON file in one step. NaN and infinity become null, listed under `not_finite`."""
    write_bytes(path, json_bytes(document))


def json_bytes(document: Any) -> bytes:
    import orjson

    marked = with_marks(document)
    return orjson.dumps(marked, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


def with_marks(document: Any) -> Any:
    """The document with null for NaN and infinity, and a list of where they stood, if it has any."""
    marks: dict[str, str] = {}

    def cleaned(value: Any, path: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            marks[path] = str(value)
            return None
        if isinstance(value, dict):
            return {key: cleaned(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [cleaned(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    clean = cleaned(document, "")
    return {**clean, "not_finite": marks} if marks and isinstance(clean, dict) else clean


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files below a folder that it is or links to; links inside count as themselves."""
    try:
        if not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(
                size_of(Path(entry))
                if entry.is_dir(follow_symlinks=False)
                else entry.stat(follow_symlinks=False).st_size
                for entry in entries
            )
    except FileNotFoundError:  # what is being written there comes and goes
        return 0


DEEPEST = 100
"""Objects and lists inside one another, in a JSON file that is read."""


def read_bytes(path: Path) -> bytes:
    """The content of a plain file. Raises FileNotFoundError, and DamagedError for all else that cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait until another process writes to it
            raise DamagedError(f"{path} cannot be read: it is not a plain file")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote. Raises FileNotFoundError, and DamagedError if it cannot be one."""
    import orjson

    content = read_bytes(path)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if _too_deep(document):
        raise DamagedError(f"{path} cannot be read: it is nested more than {DEEPEST} levels deep")
    return document


def _too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEEPEST):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON lines of a file, up to the first that is torn."""
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return
    for line in content.splitlines(keepends=True):
        document = whole_line(line)
        if document is None:
            return
        yield document


def whole_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None if the line is torn or is none."""
    import orjson

    if not line.endswith(b"\n"):
        return None
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and not _too_deep(document) else None


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of JSON lines."""
    content = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    write_bytes(path, content.encode())
