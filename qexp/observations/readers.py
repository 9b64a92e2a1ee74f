"""Readers of observations: which one knows a file, and what it takes from the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from qexp.errors import NotFoundError, QexpError
from qexp.observations.file import is_observation, read_observation
from qexp.observations.gnss import is_gnss, read_gnss
from qexp.observations.grids.licsar import is_licsar, read_licsar
from qexp.observations.grids.licsbas import is_licsbas, read_licsbas
from qexp.observations.grids.mintpy import is_mintpy, read_mintpy
from qexp.observations.grids.reading import is_grid, read_grid
from qexp.observations.points import read_points
from qexp.observations.reading import Asked, Reading
from qexp.observations.text_table import is_text


@dataclass(frozen=True)
class Reader:
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Asked], Reading]
    takes: Collection[str]
    """The fields of `Asked` that have an effect on such a file; those that have none are refused."""
    help: str


UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of texts of that encoding, which some programs write without being asked."""

REDUCING = ("reduce", "smallest_cell", "largest_cell", "least_share")
OF_TABLES = ("name", "crs", "columns", "unit", "error", "north")
OF_SIGHT = ("incidence", "heading", "look")
OF_GRIDS = (
    "name", "crs", "error", "unit", "north", "wavelength", "sensor", *OF_SIGHT, "direction", "coherence",
    "least_coherence", "dem", "bounds", *REDUCING,
)  # fmt: skip


def _read_again(path: Path, asked: Asked) -> Reading:
    observation = read_observation(path)
    return Reading(observation.tracks, observation.crs)


READERS: dict[str, Reader] = {
    "observation": Reader(
        is_observation, _read_again, ("crs", *REDUCING), "observation files, to be joined or changed"
    ),
    "licsbas": Reader(
        is_licsbas,
        read_licsbas,
        (*OF_GRIDS, "phase", "variable", "epochs", "geometry"),
        "velocities, displacements and time series of LiCSBAS",
    ),
    "gnss": Reader(is_gnss, read_gnss, OF_TABLES, "tables of GNSS stations"),
    "points": Reader(
        is_text, read_points, (*OF_TABLES, *OF_SIGHT, *REDUCING), "text and CSV files of points of a track"
    ),
    "licsar": Reader(is_licsar, read_licsar, (*OF_GRIDS, "band"), "interferograms of LiCSAR, or a folder with one"),
    "mintpy": Reader(
        is_mintpy, read_mintpy, (*OF_GRIDS, "variable", "epochs", "geometry"), "velocities and time series of MintPy"
    ),
    "grid": Reader(is_grid, read_grid, (*OF_GRIDS, "phase", "band", "variable"), "GeoTIFF, NetCDF and GMT grids"),
}
"""Name → reader; the first that recognises a file reads it."""


def reader_of(path: Path) -> Reader:
    """The reader of a file or folder. Raises NotFoundError, or QexpError if none knows it."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file")
    found = next((reader for reader in READERS.values() if reader.recognises(path)), None)
    if found is None and path.is_file() and _begins_with(path, UTF_16):
        raise QexpError(f"{path} is text in UTF-16; save it as UTF-8")
    if found is None and path.is_dir():
        raise QexpError(f"{path} is a folder without interferograms of LiCSAR (*.geo.unw.tif); name the file to read")
    if found is None:
        known = "; ".join(reader.help for reader in READERS.values())
        raise QexpError(f"{path} is of no kind that can be read; known are {known}")
    return found


def _begins_with(path: Path, marks: Sequence[bytes]) -> bool:
    with path.open("rb") as file:
        return file.read(2) in marks
