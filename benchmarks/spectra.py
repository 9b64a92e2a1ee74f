"""Pretraining on spectra against prepared tensors, the encoder's time by masked fraction, and
start-up times.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from benchmarks.bare_loop import SideBySide
from benchmarks.timing import Comparison, at_least, at_most, seconds
from qexp.base.workspace import find
from qexp.examples.options import XrfOptions
from qexp.examples.xrf import ALL, write
from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.networks.masked_autoencoder import Encoder
from qexp.rows.array_cache import VARIABLE
from qexp.spec.kinds import filled_in

CHANNELS, PATCHES = 2048, 128
RATIOS = (0.0, 0.5, 0.75)
CORES, OF_EACH = 4, 500
STARTED = 60_000
"""Spectra of the dataset whose start-up is timed."""


@dataclass(frozen=True)
class Encoding:
    """Seconds that the encoder of `small` takes for a batch of spectra, forwards and back."""

    mask_ratio: float
    seconds: float


def write_data() -> None:
    """Simulate cores for the experiences, in the workspace."""
    if not (find().root / "data/xrf").exists():
        write(
            XrfOptions(
                find().root / "data/xrf", CORES, test=1, validation=1, spectra=OF_EACH, labelled=0
            )
        )


def measure() -> list[Comparison]:
    write_data()
    return [epoch("msm_small"), start()]


def epoch(name: str) -> Comparison:
    """The bare loop has all spectra and masks of the epoch ready in memory."""
    pair = SideBySide(name, functional.mse_loss)
    ready = pair.ready()
    return at_most(
        f"steps of {name} over a bare loop",
        pair.managed_steps,
        lambda: pair.bare_steps(ready),
        1.10,
        repeats=5,
    )


def encodings(batch_size: int = 64, repeats: int = 9) -> list[Encoding]:
    """Of the ratios in turn, so that a machine that slows down slows all."""
    random = torch.Generator().manual_seed(0)
    spectra, numbers = (
        torch.rand(batch_size, count, generator=random) for count in (CHANNELS, PATCHES)
    )
    encoders = {
        ratio: Encoder([(CHANNELS,), (PATCHES,)], "small", mask_ratio=ratio) for ratio in RATIOS
    }

    def encoded(ratio: float) -> None:
        encoders[ratio]([spectra, numbers]).sum().backward()

    for ratio in RATIOS:  # once unmeasured
        encoded(ratio)
    times = [
        {ratio: seconds(lambda ratio=ratio: encoded(ratio)) for ratio in RATIOS}
        for _ in range(repeats)
    ]
    return [
        Encoding(ratio, median(seconds_by_ratio[ratio] for seconds_by_ratio in times))
        for ratio in RATIOS
    ]


def start() -> Comparison:
    """A dataset that was opened before, against one that was not: its arrays are there, and no
    spectrum is read.
    """
    before = os.environ.get(VARIABLE)

    def open_spectra(cache: str) -> None:
        os.environ[VARIABLE] = cache
        SpectraDataset(folder / ALL, filled_in({"type": "spectra"}))

    with tempfile.TemporaryDirectory() as parent:
        folder, cache = Path(parent) / "spectra", tempfile.mkdtemp(dir=parent)
        write(XrfOptions(folder, cores=8, test=0, validation=0, spectra=STARTED // 8, labelled=0))
        try:
            open_spectra(cache)
            title = f"a second start with {STARTED:,} spectra, times as fast as the first"
            return at_least(
                title,
                lambda: open_spectra(cache),
                lambda: open_spectra(tempfile.mkdtemp(dir=parent)),
                20,
                repeats=3,
            )
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before
