"""Files of spectra, of plain counts or as scanners write them, on the channels of a dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

from qexp.kinds.spectra.files import Findings, counts_in
from qexp.rows.array_cache import Array
from qexp.rows.table import number

SPE_DATA = re.compile(r"^\$DATA:\s+(\d+\s+\d+\s[^$\x1a]*)", re.MULTILINE)
SPE_CALIBRATION = re.compile(r"^\$(?:ENER_FIT:|MCA_CAL:\s+\d+)\s([^$]*)", re.MULTILINE)
ITRAX_TABLE = re.compile(r"^channel\tcontent.*\n([^$]*)", re.MULTILINE)
ITRAX_CALIBRATION = re.compile(r"^E[01]\t(\S+)", re.MULTILINE)
LIVE_TIME = re.compile(r"^(?:\$MEAS_TIM:\s+|livetime\t)(\d+)|\Z", re.MULTILINE)


@dataclass(frozen=True)
class Scan:
    """A scanner's counts, (channel,), energies of their edges [keV or eV], and live time [s]."""

    counts: Array
    edges: NDArray[np.float64] | None
    live_time: str


def scan_in(content: bytes) -> Scan | None:
    """The spectrum in a file in the SPE form, with blocks such as $DATA (Avaatech, ORTEC, IAEA), or
    with a table of channels below settings (Itrax); None for other files. Raises ValueError.
    """
    if b"$" not in content and b"channel\tcontent" not in content:
        return None
    text = re.sub(r"\r\n?", "\n", content.decode("utf-8-sig", "replace"))
    if ITRAX_TABLE.search(text):
        return _scan(text, *_itrax(text), ITRAX_CALIBRATION.findall(text))
    # Programs write a calibration twice; MCA_CAL, the second, has more digits.
    calibration = "".join(SPE_CALIBRATION.findall(text)[-1:]).split()
    return _scan(text, *_spe(text), calibration)


def _scan(text: str, first: int, words: Sequence[str], calibration: Sequence[str]) -> Scan:
    counts = counts_in(" ".join(words).replace(",", ".").encode(), len(words))
    live_time = LIVE_TIME.findall(text)[0] or "unknown"
    return Scan(counts, _edges(first, len(words), calibration), live_time)


def _spe(text: str) -> tuple[int, Sequence[str]]:
    """Number of the first channel, and the counts. Raises ValueError."""
    blocks = SPE_DATA.findall(text)
    if len(blocks) != 1:
        raise ValueError("it has no block $DATA with first and last channel, or several")
    first, last, *words = blocks[0].split()
    if len(words) != int(last) - int(first) + 1:
        raise ValueError(f"$DATA has {len(words)} counts for the channels {first} to {last}")
    return int(first), words


def _itrax(text: str) -> tuple[int, Sequence[str]]:
    """Number of the first channel, and the counts. Raises ValueError."""
    words = ITRAX_TABLE.findall(text)[0].split()
    channels = _numbers(words[::2])
    if len(words) != 2 * len(channels) or {*np.diff(channels)} != {1}:
        raise ValueError("below 'channel' and 'content' are no consecutive channels and counts")
    return int(channels[0]), words[1::2]


def _numbers(words: Sequence[str]) -> list[float]:
    """The finite numbers with which words begin; some scanners write decimal commas."""
    values = [number(word.replace(",", ".")) for word in words]
    return list(takewhile(np.isfinite, [np.nan if value is None else value for value in values]))


def _edges(first: int, count: int, words: Sequence[str]) -> NDArray[np.float64] | None:
    """Energies of the edges of channels by the coefficients of a polynomial, which gives those of
    their middles by their numbers. None if it is flat, or the numbers themselves: so programs write
    it if nothing has been calibrated.
    """
    coefficients = _numbers(words)
    if not any(coefficients[1:]) or coefficients[:2] == [0, 1]:
        return None
    return np.asarray(polyval(first - 0.5 + np.arange(count + 1), coefficients))


@dataclass
class SpectrumReader:
    """Reads files onto channels by the energy of the first and the step to the next one [keV]."""

    channels: int
    energy: Sequence[float] | None
    _done: Counter[str] = field(default_factory=Counter)

    def counts_of(self, paths: Sequence[Path], findings: Findings) -> Array:
        """The spectra of some files, (row, channels)."""
        block = np.zeros((len(paths), self.channels), dtype=np.float32)
        for row, path in enumerate(paths):
            try:
                block[row] = self._read(path.read_bytes())
            except OSError as error:
                kind = f"{path.parent} has files that cannot be read"
                findings.add(kind, f"{path.name} ({error.strerror})")
            except ValueError as error:
                kind = f"{path.parent} has files that are not spectra of {self.channels} counts"
                findings.add(kind, f"{path.name} ({error})")
        return block

    def remarks(self) -> list[str]:
        """What was done to files of scanners, and what was not; none if there were none."""
        return [f"{count:,} spectra are {what}" for what, count in self._done.items()]

    def _read(self, content: bytes) -> Array:
        scan = scan_in(content)
        if scan is None:
            return counts_in(content, self.channels)
        self._done[f"scans, of live time {scan.live_time} s, whose counts stay as they are"] += 1
        size = len(scan.counts)
        if self.energy and scan.edges is not None:
            return self._resampled(scan.counts, scan.edges, *self.energy)
        lack = "the files give no energies" if self.energy else 'the dataset has no "energy"'
        if size != self.channels:
            raise ValueError(f"it has {size} channels, not {self.channels}, and {lack}")
        self._done[f"read channel by channel, as {lack}"] += 1
        return scan.counts

    def _resampled(
        self, counts: Array, edges: NDArray[np.float64], start: float, step: float
    ) -> Array:
        """The counts in the channels of the dataset; their sum stays. Raises ValueError.

        The counts up to an energy are interpolated without overshoot (Fritsch and Carlson 1980,
        SIAM J. Numer. Anal. 17, 238-246). From half as many channels, spectra of `qexp data xrf`
        come back to 1.4 %, which is below the noise of counting; even shares, to 12 %.
        """
        from scipy.interpolate import PchipInterpolator

        own = start + step * (np.arange(self.channels + 1) - 0.5)
        # Few files say their unit: of keV and eV it is what comes nearer to the dataset.
        if edges[1] - edges[0] > 30 * step:
            edges = edges / 1000
        if not (np.diff(edges) > 0).all():
            raise ValueError("its energies do not increase with the channel")
        # A tenth of a channel is nothing to lines, which are several channels wide.
        if len(edges) == len(own) and np.allclose(edges, own, rtol=0, atol=step / 10):
            return counts
        # Where a file has no channels it has no counts.
        known = own.clip(edges[0], edges[-1])
        if abs(own - known).max() > 0.01 * np.ptp(own):
            extent = f"{edges[0]:.4g} to {edges[-1]:.4g} keV"
            raise ValueError(f"{extent} do not cover the energies of the dataset")
        self._done[f"resampled by their energies from {len(counts):,} channels"] += 1
        counted = PchipInterpolator(edges, np.cumsum(np.append(0.0, counts)))
        return np.asarray(np.diff(counted(known)).clip(0), dtype=np.float32)
