"""Draws from the posteriors of samples, in a file beside the file of their estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.errors import QexpError
from qexp.seeds import Seeds

if TYPE_CHECKING:
    import h5netcdf

    from qexp.networks.estimator import Posterior
    from qexp.networks.network import Network
    from qexp.runs.record.record import Record

Array = NDArray[np.float32]

MOST = 1_000_000
"""Largest number of draws for each sample."""

TOGETHER = 64
"""Samples whose draws lie together in a chunk of the file."""

Write = Callable[[Sequence[str] | range, Array], None]
"""Takes the names of further samples, or their numbers in the file, and their draws, (draw, sample, output)."""


@dataclass(frozen=True)
class Draws:
    """Draws from the posteriors of a run's networks.

    count  for each sample
    units  output of a posterior head → unit, in the order of the draws
    """

    count: int
    units: Mapping[str, str]

    def of(self, posteriors: Sequence[Posterior], first: int) -> Array:
        """Draws from the mixture of the networks' posteriors, (draw, sample, output).

        first  the number of the first sample, by which the draws are the same in whatever chunks samples are read
        """
        from qexp.networks.estimator import mixed

        random = Seeds(0).torch(posteriors[0].device, "draws", first)
        values: Array = mixed(posteriors, self.count, random).cpu().numpy()
        return values

    @contextmanager
    def file(self, target: Path, about: Mapping[str, str], *, numbered: bool = False) -> Iterator[Write]:
        """A function that adds the draws of samples to the file beside the file of estimates `target`.

        NetCDF with a group `posterior`, as ArviZ takes it: each output has (chain, draw, sample), one chain.
        about     attributes of the file
        numbered  whether samples have numbers instead of names
        """
        import h5netcdf

        with files.beside(file_of_draws(target)) as path, h5netcdf.File(path, "w") as file:
            file.attrs.update({**about, "inference_library": "qexp"})
            group = self._group(file, numbered)

            def write(names: Sequence[str] | range, drawn: Array) -> None:
                start = group.dimensions["sample"].size
                group.resize_dimension("sample", start + len(names))
                group["sample"][start:] = np.array(names, dtype=np.int64 if numbered else object)
                for place, name in enumerate(self.units):
                    group[name][0, :, start:] = drawn[..., place]

            yield write

    def _group(self, file: h5netcdf.File, numbered: bool) -> h5netcdf.Group:
        import h5py

        group = file.create_group("posterior")
        group.attrs["inference_library"] = "qexp"
        group.dimensions = {"chain": 1, "draw": self.count, "sample": None}
        for name, size in (("chain", 1), ("draw", self.count)):
            group.create_variable(name, (name,), np.int64, data=np.arange(size))
        group.create_variable("sample", ("sample",), np.int64 if numbered else h5py.string_dtype())
        for name, unit in self.units.items():
            made = group.create_variable(
                name, ("chain", "draw", "sample"), np.float32, chunks=(1, self.count, TOGETHER), fillvalue=np.nan
            )
            made.attrs["units"] = unit
        return group


def beside(
    draws: Draws | None, target: Path, about: Mapping[str, str], *, numbered: bool = False
) -> AbstractContextManager[Write]:
    """As `Draws.file`; without draws, a function that does nothing."""
    return nullcontext(lambda names, drawn: None) if draws is None else draws.file(target, about, numbered=numbered)


def file_of_draws(target: Path) -> Path:
    """The file of draws beside a file of estimates."""
    return target.with_name(f"{target.stem}_posterior.nc")


def draws_of(
    network: Network, record: Record, count: int | None, refined: Mapping[str, str] | None = None
) -> Draws | None:
    """The draws that `--draws` asks for, if it does. Raises QexpError for a network without a posterior head.

    refined  unknown variable → unit of posteriors by the known likelihood, if these are drawn from
    """
    if count is None:
        return None
    if refined is None:
        require_heads(network, record, "--draws")
    require_draws(count, f"--draws {count}")
    return Draws(count, units_of_heads(network, record) if refined is None else refined)


def require_draws(count: int, words: str) -> None:
    """Raise QexpError for a number of draws that cannot be; words: it, as it was given."""
    if not 1 <= count <= MOST:
        raise QexpError(f"{words}: at least one" + (f", at most {MOST:,}" if count > MOST else ""))


def units_of_heads(network: Network, record: Record) -> dict[str, str]:
    """Output of a posterior head → unit, in the order of draws."""
    return {name: record.units.get(name, "") for outputs in network.heads.values() for name in outputs}


def require_heads(network: Network, record: Record, option: str) -> None:
    """Raises QexpError for a network without a posterior head, which `option` needs."""
    if not network.heads:
        raise QexpError(
            f"{option} needs posteriors, but the network of {record.name} ends in no posterior head, such as "
            "'gaussian_posterior'; leave it out, or, for images of a simulated dataset, add --refined"
        )
