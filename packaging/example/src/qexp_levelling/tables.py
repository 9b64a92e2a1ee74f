"""A reader: tables of levelling, `*.lev`, a benchmark in each line: name, easting, northing [m],
uplift, error [mm].
"""

import numpy as np

from qexp.extend import QexpError, Reader, Reading, Track


def is_levelling(path):
    return path.is_file() and path.suffix == ".lev"


def read_levelling(path, options):
    """Read the benchmarks of a line, whose uplift is a displacement along the vertical."""
    try:
        rows = [
            line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
        x, y, uplift, error = np.array([row[1:5] for row in rows], float).T
    except ValueError:
        raise QexpError(
            f"{path}: write a benchmark in each line: NAME EASTING NORTHING UPLIFT ERROR"
        ) from None
    up = np.tile([0.0, 0.0, 1.0], (len(x), 1))
    observed = np.isfinite(uplift)
    return Reading(
        (
            Track(
                options.name or path.stem, "radar", x, y, uplift / 1000, error / 1000, up, observed
            ),
        )
    )


LEVELLING = Reader(
    is_levelling, read_levelling, takes=("name", "crs"), help="tables of levelling, *.lev"
)
