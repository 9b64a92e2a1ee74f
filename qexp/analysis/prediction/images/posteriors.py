"""Posteriors of the images in a file: intervals and correlations among its columns, and draws in a file beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.estimates import correlation_of, high_of, low_of
from qexp.seeds import Seeds

if TYPE_CHECKING:
    import h5netcdf
    import pyarrow as pa

    from qexp.models.posterior import Posterior

Array = NDArray[np.float32]

COVERAGE = 0.9

TOGETHER = 64
"""Samples whose draws lie together in a chunk of the file."""

Write = Callable[[Sequence[str], Array], None]
"""Takes the names of further samples, and their draws, (draw, sample, output)."""


@dataclass(frozen=True)
class Posteriors:
    """What is written of the posteriors of a network with posterior heads.

    of        from input → (sample, ...) to their posterior
    names     the outputs of posterior heads, in the order of draws
    units     output → unit
    coverage  of the intervals
    draws     for each sample; without any, there is no file of draws
    """

    of: Callable[[Mapping[str, Array]], Posterior]
    names: Sequence[str]
    units: Mapping[str, str]
    coverage: float = COVERAGE
    draws: int = 0

    @property
    def ends(self) -> tuple[float, float]:
        """Probabilities of the ends of the intervals."""
        tail = round((1 - self.coverage) / 2, 12)
        return tail, round(1 - tail, 12)

    def columns(self, posterior: Posterior) -> dict[str, Array]:
        """Column → (sample,): the ends of intervals, and correlations."""
        columns = {}
        for name, ends in posterior.quantiles(self.ends).items():
            columns[low_of(name)], columns[high_of(name)] = ends.cpu().numpy().T
        for pair, values in posterior.correlations().items():
            columns[correlation_of(*pair)] = values.cpu().numpy()
        return columns

    def drawn(self, posterior: Posterior, first: int) -> Array:
        """Draws, (draw, sample, output).

        first  the number of the first sample, by which the draws are the same in whatever chunks samples are read
        """
        random = Seeds(0).torch(posterior.device, "draws", first)
        values: Array = posterior.draws(self.draws, random).cpu().numpy()
        return values

    def fields_of(self, output: str) -> list[pa.Field]:
        """The columns behind the estimate of an output."""
        import pyarrow as pa

        if output not in self.names:
            return []
        unit, made = ({"unit": self.units[output]} if self.units[output] else {}), []
        for column, share in zip((low_of(output), high_of(output)), self.ends, strict=True):
            words = {"description": f"{100 * share:g} % quantile of the posterior of: {output}"}
            made.append(pa.field(column, pa.float32(), metadata=words | unit))
        return made

    def fields_of_pairs(self) -> list[pa.Field]:
        import pyarrow as pa

        return [
            pa.field(
                correlation_of(*pair), pa.float32(),
                metadata={"description": f"rank correlation of {' and '.join(pair)} in the posterior"},
            )
            for pair in combinations(self.names, 2)
        ]  # fmt: skip

    @contextmanager
    def file_of_draws(self, target: Path, about: Mapping[str, str]) -> Iterator[Write]:
        """A function that adds the draws of samples to the file beside a file of estimates; does nothing without draws.

        NetCDF with a group `posterior`, as ArviZ takes it: each output has (chain, draw, sample), one chain.
        about  attributes of the file
        """
        if not self.draws:
            yield lambda names, drawn: None
            return
        import h5netcdf

        with files.beside(file_of_draws(target)) as path, h5netcdf.File(path, "w") as file:
            file.attrs.update({**about, "inference_library": "qexp"})
            group = self._group(file)

            def write(names: Sequence[str], drawn: Array) -> None:
                start = group.dimensions["sample"].size
                group.resize_dimension("sample", start + len(names))
                group["sample"][start:] = np.array(names, dtype=object)
                for place, name in enumerate(self.names):
                    group[name][0, :, start:] = drawn[..., place]

            yield write

    def _group(self, file: h5netcdf.File) -> h5netcdf.Group:
        import h5py

        group = file.create_group("posterior")
        group.attrs["inference_library"] = "qexp"
        group.dimensions = {"chain": 1, "draw": self.draws, "sample": None}
        for name, size in (("chain", 1), ("draw", self.draws)):
            group.create_variable(name, (name,), np.int64, data=np.arange(size))
        group.create_variable("sample", ("sample",), h5py.string_dtype())
        for name in self.names:
            made = group.create_variable(
                name, ("chain", "draw", "sample"), np.float32, chunks=(1, self.draws, TOGETHER), fillvalue=np.nan
            )
            made.attrs["units"] = self.units[name]
        return group


def file_of_draws(target: Path) -> Path:
    """The file of draws beside a file of estimates."""
    return target.with_name(f"{target.stem}_posterior.nc")
