"""HDF5 files of rasters, and the displacement between two days of a time series in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window

HDF5 = (".h5", ".he5", ".hdf5")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise QexpError(f"{path} cannot be read as HDF5: {error}") from None


def as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def difference(
    path: Path,
    series: str,
    days: str,
    epochs: Sequence[str],
    layout: Layout,
    unit: str,
    cleaned: Callable[[Any], Array],
    gaps: bool,
) -> Raster:
    """The displacement between two days of a time series. Raises QexpError for other days, and for one twice.

    series, days  names of the datasets (day, row, column) and (day,); days are written as 20200131
    epochs        the first day and the last
    cleaned       makes numbers of stored values, NaN where there are no data
    gaps          whether it knows where there are none
    """
    first, last = _two(epochs)
    with opened(path) as file:
        known = [as_text(one) for one in file[days][()]]
    for day in (first, last):
        if day not in known:
            raise QexpError(
                f"{path} has no epoch {day}; {suggestion(day, known)} There are {len(known)}, from {known[0]} to "
                f"{known[-1]}"
            )
    before, after = known.index(first), known.index(last)
    if before == after:
        raise QexpError(f"--epochs {first},{last}: the displacement of one day is zero; name two")

    def read(window: Window) -> Array:
        cut = slice(*window[:2]), slice(*window[2:])
        with opened(path) as file:
            from_, to = (cleaned(file[series][(index, *cut)]) for index in (before, after))
        return to - from_

    return Raster(f"{path}, {first} to {last}", layout, unit, read, gaps)


def _two(epochs: Sequence[str]) -> tuple[str, str]:
    if len(epochs) != 2:
        raise QexpError(f"--epochs {','.join(epochs)}: write the first day and the last, such as 20200131,20200212")
    return epochs[0], epochs[1]
