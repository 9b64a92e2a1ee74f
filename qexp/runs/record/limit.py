"""Errors of the exact posteriors of the test samples of a run: `results/limit.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qexp import files
from qexp.errors import DamagedError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.parts import MisfitError, Part

LIMIT = "limit.json"
"""In a run's `results`."""


@dataclass(frozen=True, kw_only=True)
class LeastErrors(Part):
    """The errors of the exact posteriors of one variable, in its unit."""

    unit: str
    """Unit of the errors."""
    mae: float
    """Mean absolute error of the exact posterior median."""
    mae_error: float
    """Standard error of `mae`, over samples."""
    rmse: float
    """Root mean square error of the exact posterior mean."""
    rmse_error: float
    """Standard error of `rmse`, over samples."""
    difference: float
    """Mean difference of the medians from those by grids half as fine, or by half of the draws, relative to `mae`."""


@dataclass(frozen=True, kw_only=True)
class Limit(Part):
    """The limit of a dataset: the errors of the exact posteriors of its samples, with its whole distributions as prior.

    Over samples of that prior they are the least that any method can reach on average. Over the intervals that are held
    out for the test they are not: who knew these could do better.
    """

    dataset: str
    """Name of the dataset's spec."""
    seed: int
    """Of the samples: they are the test samples of runs with this seed, if these have as many."""
    samples: int
    """Number of samples."""
    whole: bool = False
    """Whether the samples are drawn from the whole prior; false: from its test part, where some of it is held out."""
    images: tuple[str, ...]
    """Images that the posteriors are based on."""
    given: tuple[str, ...] = ()
    """Varying variables that are known besides the images, as inputs of the network."""
    sampled: bool = False
    """Whether posteriors were sampled, rather than integrated."""
    doubted: int = 0
    """Number of samples whose draws are not to be trusted."""
    variables: Mapping[str, LeastErrors]
    """Variable → its errors."""

    @property
    def meaning(self) -> str:
        """Whether the errors are the least possible, in words."""
        if self.whole:
            return "on average over that prior, from which the samples are drawn, no method has smaller errors"
        return "the samples are those of its held-out intervals: a method that knew these could have smaller errors"


def limit_of(directory: RunDirectory) -> Limit | None:
    """The limit that was computed for a run's own test part, if it was. Raises DamagedError."""
    file = directory.results / LIMIT
    if not (directory.held_out and file.is_file()):
        return None
    try:
        return Limit.from_document(files.read_json(file))
    except MisfitError as misfit:
        raise DamagedError(f"{file} is damaged: {misfit}") from None


def keep_limit(directory: RunDirectory, limit: Limit) -> None:
    """Write the limit into a run, beside its results."""
    files.make_folder(directory.results)
    files.write_json(directory.results / LIMIT, limit.document())
