"""Instruments: which combination of displacements one of their data is, and what may be asked of
them. A new one is an entry here, a reader in `observations`, and a symbol in `deformation.maps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # completion reads what an instrument is called
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Combination(NamedTuple):
    """The places whose displacements add up to data: a tilt is the difference of two uplifts.

    shift      (place, datum, 2)  of each place from that of the datum, east and north [m]
    direction  (place, datum, 3)  along which the displacement there counts: east, north, up
    weight     (place, datum)     by which it is multiplied [unit of the instrument per m]
    """

    shift: Array
    direction: Array
    weight: Array


@dataclass(frozen=True)
class Instrument:
    """What is measured, and what may be asked of it.

    data           what its data are called
    components     of a point, in order: the channels of simulated images
    unit           of data and errors
    line_of_sight  whether directions lead from the ground to a satellite, with an incidence, a
                   heading, and a sign that is checked
    imaging        whether points fill an area, as pixels do: they can be averaged over cells, their
                   noise is correlated and can be estimated, images have to overlap, and parts of
                   them may be shifted. Else points are stations with errors of their own, which may
                   share a motion
    nuisances      what may be estimated beside the sources: "offset", "ramp"
    combination    directions of data, (datum, 3) → the displacements that they are made of; None:
                   each is the displacement of its place along its direction
    symbol         by which maps show the data: "area" or "arrows"
    table          name of the file of an inversion that lists them; "" for images
    """

    data: str
    components: tuple[str, ...]
    unit: str = "m"
    line_of_sight: bool = False
    imaging: bool = False
    nuisances: tuple[str, ...] = ()
    combination: Callable[[Array], Combination] | None = None
    symbol: str = "arrows"
    table: str = ""


RADAR, GNSS = "radar", "gnss"

INSTRUMENTS: dict[str, Instrument] = {
    RADAR: Instrument(
        data="points",
        components=("toward the satellite",),
        line_of_sight=True,
        imaging=True,
        nuisances=("offset", "ramp"),
        symbol="area",
    ),
    GNSS: Instrument(
        data="components of GNSS stations",
        components=("east", "north", "up"),
        table="stations.csv",
    ),
}
"""Name in files of observations, and of the type of a view in specs → instrument."""
