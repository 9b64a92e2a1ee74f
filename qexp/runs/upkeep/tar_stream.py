"""The members of a tar archive, read one after another in little memory, even if their headers claim large sizes.

Only tarfile's parser of single headers (512 bytes) is used: tarfile itself loads extended headers completely, recurses
for every consecutive one, and its extraction filters are newer than Python 3.11.0.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import IO

BLOCK = tarfile.BLOCKSIZE

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""

LARGEST_EXTENSION = 1 << 16
"""Largest accepted extended header [bytes]; those of qexp hold a path, a size and a time."""

END = b"\0" * BLOCK

RECORD = re.compile(rb"(?P<length>[1-9][0-9]{0,7}) (?P<key>[^=]+)=")
"""Beginning of each entry of an extended header."""

LATEST = 2**33
"""Latest accepted time [seconds since 1970], in the year 2242."""


class UnsafeError(Exception):
    """An archive has unsafe content; the message continues "… is refused:"."""


class ArchiveMember:
    """A file or folder in an archive; its content must be read before the next member."""

    def __init__(self, header: tarfile.TarInfo, extension: dict[str, bytes], stream: IO[bytes]) -> None:
        self.name = _text(extension["path"]) if "path" in extension else header.name
        self.size = _number(extension["size"]) if "size" in extension else header.size
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise UnsafeError(
                f"its member {shown(self.name)} is neither file nor folder, but a link, a device or the like"
            )
        self.is_folder = header.isdir()
        self.mode = header.mode
        self.changed = _time(extension["mtime"]) if "mtime" in extension else float(header.mtime)
        if self.size < 0 or (self.is_folder and self.size):
            raise tarfile.ReadError(f"{shown(self.name)} cannot have {self.size} bytes")
        self._stream, self._left, self._padding = stream, self.size, -self.size % BLOCK

    def chunks(self) -> Iterator[bytes]:
        """The rest of the content, in pieces."""
        while self._left:
            chunk = self._stream.read(min(CHUNK, self._left))
            if not chunk:
                raise tarfile.ReadError("it was cut off")
            self._left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        for _ in self.chunks():
            pass
        _exactly(self._stream, self._padding)
        self._padding = 0


def members(stream: IO[bytes]) -> Iterator[ArchiveMember]:
    """All members of an archive. Raises UnsafeError, or tarfile.TarError if it is damaged."""
    while (header := _header(stream)) is not None:
        extension: dict[str, bytes] = {}
        if header.type == tarfile.XHDTYPE:
            extension = _extension(header, stream)
            header = _header(stream)
            if header is None:
                raise tarfile.ReadError("it ends after an extended header")
        member = ArchiveMember(header, extension, stream)
        yield member
        member.skip()
    _read_to_the_end(stream)


def shown(name: str) -> str:
    """A member's name as shown in messages."""
    return repr(name if len(name) <= 100 else name[:100] + "…")


def _header(stream: IO[bytes]) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive, which is marked by two blocks of zeros."""
    block = _exactly(stream, BLOCK)
    if block != END:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if _exactly(stream, BLOCK) != END:
        raise tarfile.ReadError("its end is damaged")
    return None


def _extension(header: tarfile.TarInfo, stream: IO[bytes]) -> dict[str, bytes]:
    """Key → value of an extended header, whose entries have the form `length key=value` with a line break."""
    if not 0 <= header.size <= LARGEST_EXTENSION:
        raise UnsafeError(f"one of its headers claims {header.size:,} bytes; the limit is {LARGEST_EXTENSION:,}")
    content = _exactly(stream, header.size)
    _exactly(stream, -header.size % BLOCK)
    entries, place = {}, 0
    while place < len(content):
        found = RECORD.match(content, place)
        end = place + int(found["length"]) if found else 0
        if found is None or not found.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise tarfile.ReadError("one of its extended headers is damaged")
        key = _text(found["key"])
        if key.startswith("GNU.sparse") or key == "hdrcharset":
            raise UnsafeError(f"one of its headers contains {shown(key)}, which `qexp export` never writes")
        entries[key] = content[found.end() : end - 1]
        place = end
    return entries


def _read_to_the_end(stream: IO[bytes]) -> None:
    """Read what pads an archive: only at its end does a decompressor notice that it was cut."""
    left = CHUNK
    while left and (part := stream.read(left)):
        left -= len(part)
    if not left:
        raise tarfile.ReadError("too much follows its end")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts, left = [], size
    while left:
        part = stream.read(left)
        if not part:
            raise tarfile.ReadError("it was cut off")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _number(value: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", value):
        raise tarfile.ReadError("one of its sizes is not a number")
    return int(value)


def _time(value: bytes) -> float:
    """A time as seconds since 1970; 0 if it is not valid."""
    return float(value) if re.fullmatch(rb"[0-9]{1,10}(\.[0-9]{1,20})?", value) else 0.0
