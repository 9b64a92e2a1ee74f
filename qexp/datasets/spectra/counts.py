"""Files with one spectrum: numbers separated by spaces, commas or line breaks."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array

WHOLE = b"0123456789 \n\r\t"
"""Characters of files that hold whole numbers only."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HASH = 24
"""The number of hexadecimal digits of SHA-256 that identify a spectrum."""


def counts_in(content: bytes, channels: int) -> Array:
    """The counts of a spectrum, (channels,), from the content of its file. Raises ValueError if they are not valid."""
    if not content.strip():
        raise ValueError("it is empty")
    if not content.translate(None, WHOLE):
        whole = np.fromstring(content, dtype=np.int64, sep=" ")  # four times as fast as any other way
        if whole.max() < np.iinfo(np.int64).max:  # fromstring clips larger numbers to this
            _require_length(len(whole), channels)
            return whole.astype(np.float32)
    words = content.removeprefix(BYTE_ORDER_MARK).replace(b",", b" ").split()
    _require_length(len(words), channels)
    with np.errstate(over="ignore"):  # infinity is found below
        counts: Array = (_numbers(words) + 0.0).astype(np.float32)  # adding zero removes the sign of -0.0
    if trouble := trouble_with(counts):
        raise ValueError(trouble)
    return counts


def trouble_with(counts: Array) -> str | None:
    """Why numbers, (channels,), cannot be counts; None if they can."""
    if not (finite := np.isfinite(counts)).all():
        return f"channel {np.argmin(finite)} is not a finite number"
    if (counts < 0).any():
        channel = int(np.argmax(counts < 0))
        return f"{counts[channel]:g} in channel {channel} is negative"
    return None


def hash_of(counts: Array) -> str:
    """Identifies a spectrum: the first digits of SHA-256 of its counts, 32-bit and little-endian.

    Negative zeros, which a table may contain, are replaced by zeros.
    """
    return hashlib.sha256((counts.astype("<f4") + np.float32(0)).tobytes()).hexdigest()[:HASH]


def _require_length(found: int, channels: int) -> None:
    if found != channels:
        raise ValueError(f"it has {found} numbers, not {channels}")


def _numbers(words: list[bytes]) -> NDArray[np.float64]:
    try:
        if any(b"_" in word for word in words):
            raise ValueError
        return np.array(words, dtype=np.float64)
    except ValueError:
        return np.array([_number(word, channel) for channel, word in enumerate(words)])


def _number(word: bytes, channel: int) -> float:
    try:
        if b"_" in word:  # only Python reads 1_000 as a number
            raise ValueError
        return float(word)
    except ValueError:
        shown = word[:40].decode(errors="replace")
        raise ValueError(f"'{shown}' in channel {channel} is not a number") from None
