"""Points in files of Matlab: what GBIS takes, and what MintPy's save_gbis.py writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base import formats
from qexp.base.text import number_in
from qexp.errors import QexpError
from qexp.observations import tables
from qexp.observations.raster_files import SIDE, open_hdf5
from qexp.observations.reading import Reading, ReadOptions
from qexp.observations.scenes import metres_of_phase
from qexp.observations.text_files import Rows, TextTable

OF_GBIS = ("Phase", "Lon", "Lat", "Inc", "Incidence", "Heading")
"""Some copies of GBIS call the incidence as its manual does, others write it in full."""


def read_gbis(path: Path, options: ReadOptions) -> Reading:
    """Read unwrapped phase [rad] that grows away from the satellite, and angles [degrees], of each
    point or of all.

    The wavelength is that of the command line, or of MintPy's attributes, which also tell the
    look; GBIS has it in its own input. Displacements are −λ/4π times the phase, as there.
    Raises QexpError.
    """
    found = _matlab(path)
    attributes = found.get("Metadata")
    attributes = attributes if isinstance(attributes, dict) else {}
    arrays = {name: np.squeeze(found[name]) for name in OF_GBIS if name in found}
    if lacking := ", ".join(name for name in ("Phase", "Lon", "Lat") if name not in arrays):
        raise QexpError(
            f"{path} has no {lacking}; files of GBIS hold Lon, Lat, Phase, Inc and Heading"
        )
    shape = arrays["Phase"].shape
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or array.shape not in ((), shape) or not array.size:
            raise QexpError(
                f"{path}: {name} holds {array.dtype} in the shape {array.shape}, not real numbers,"
                f" one for each of Phase in {shape}, or one for all; phase is unwrapped, in radians"
            )
    phase, *others = (np.broadcast_to(part, shape).ravel() * 1.0 for part in arrays.values())
    stored, side = (number_in(str(attributes.get(name))) for name in ("WAVELENGTH", SIDE))
    columns = [phase * metres_of_phase(str(path), options, stored), *others]
    rows = Rows(range(1, phase.size + 1), columns)
    names = ["los (m)", *arrays]
    names.remove("Phase")
    table = TextTable(path, names, len(names), [rows])
    look = options.look or ("left" if side and side > 0 else None)
    reading = tables.points_of(table, replace(options, columns=None, unit=None, look=look))
    largest = np.abs(phase[np.isfinite(phase)]).max(initial=0.0)
    if not 0.9 < largest / np.pi <= 1.001:
        return reading
    doubt = "all phase lies within ±π, as wrapped phase does; if it is wrapped, unwrap it first"
    return replace(reading, warnings=(*reading.warnings, doubt))


def _matlab(path: Path) -> dict[str, Any]:
    """The variables of a file by name. Raises QexpError for one that cannot be read."""
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):  # as version 7.3 is
        with open_hdf5(path) as file:
            return {name: file[name][()] for name in OF_GBIS if hasattr(file.get(name), "dtype")}
    names = [*OF_GBIS, "Metadata"]
    try:
        return dict(scipy.io.loadmat(path, variable_names=names, simplify_cells=True))
    except (*formats.BROKEN_NETCDF, scipy.io.matlab.MatReadError) as error:
        raise QexpError(f"{path} cannot be read as a file of Matlab: {error}") from None
