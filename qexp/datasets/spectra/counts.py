"""A spectrum as it is written in a file of its own: so many numbers between spaces, commas or line breaks."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array

WHOLE = b"0123456789 \n\r\t"
"""What whole numbers are written with."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HASH = 24
"""Hexadecimal digits of SHA-256 that tell spectra apart."""


def counts_in(content: bytes, channels: int) -> Array:
    """The counts of a spectrum as they are written, (channels,). Raises ValueError, which says what is wrong."""
    if not content.strip():
        raise ValueError("it is empty")
    if not content.translate(None, WHOLE):
        whole = np.fromstring(content, dtype=np.int64, sep=" ")  # four times as fast as any other way
        if whole.max() < np.iinfo(np.int64).max:  # what is larger ends there
            _require_length(len(whole), channels)
            return whole.astype(np.float32)
    words = content.removeprefix(BYTE_ORDER_MARK).replace(b",", b" ").split()
    _require_length(len(words), channels)
    with np.errstate(over="ignore"):  # what is too large is found below
        counts: Array = (_numbers(words) + 0.0).astype(np.float32)  # without the sign of a zero
    if trouble := trouble_with(counts):
        raise ValueError(trouble)
    return counts


def trouble_with(counts: Array) -> str | None:
    """What is wrong with numbers that ought to be counts, (channels,), or None."""
    if not (finite := np.isfinite(counts)).all():
        return f"what it has in channel {np.argmin(finite)} is no finite number"
    if (counts < 0).any():
        channel = int(np.argmax(counts < 0))
        return f"{counts[channel]:g} in channel {channel} is negative"
    return None


def hash_of(counts: Array) -> str:
    """What tells a spectrum from others: the first digits of SHA-256 of its counts, 32-bit and little-endian.

    Zeros are without a sign, which a table can have given them.
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
        if b"_" in word:  # Python's own way to write 1_000
            raise ValueError
        return float(word)
    except ValueError:
        shown = word[:40].decode(errors="replace")
        raise ValueError(f"'{shown}' in channel {channel} is not a number") from None
