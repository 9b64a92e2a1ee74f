"""Options of `qexp observe` for grids of pixels, and for the reduction of pixels and points to cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PhaseOption = Annotated[
    bool, typer.Option("--phase", help="Grids hold unwrapped phase in radians, which needs --wavelength or --sensor.")
]
WavelengthOption = Annotated[
    list[float] | None,
    typer.Option(
        "--wavelength",
        metavar="METRES",
        help="Wavelength of the radar; grids then hold phase, and displacements are phase × (−wavelength / 4π). Once, "
        "or for each file.",
    ),
]
SensorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sensor",
        metavar="NAME",
        help="A satellite in place of its wavelength, such as sentinel-1, cosmo-skymed, terrasar-x, alos-2 or envisat.",
    ),
]
DirectionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--direction",
        metavar="EAST,NORTH,UP",
        help="Rasters of the components of the unit vector from the ground to the satellite; once, or for each file.",
    ),
]
CoherenceOption = Annotated[
    list[Path] | None,
    typer.Option("--coherence", metavar="FILE", help="Raster of coherence on the same grid; once, or for each file."),
]
LeastCoherenceOption = Annotated[
    float | None,
    typer.Option("--least-coherence", metavar="NUMBER", help="Pixels of less coherence are masked; 0.3 if left out."),
]
DemOption = Annotated[
    list[Path] | None,
    typer.Option("--dem", metavar="FILE", help="Raster of elevations in m on the same grid; once, or for each file."),
]
BandOption = Annotated[
    int | None, typer.Option("--band", metavar="N", help="Band to read where a GeoTIFF has several, from 1.")
]
VariableOption = Annotated[
    list[str] | None,
    typer.Option("--variable", metavar="NAME", help="Variable to read where a NetCDF or HDF5 file has several."),
]
EpochsOption = Annotated[
    str | None,
    typer.Option(
        "--epochs",
        metavar="FIRST,LAST",
        help="Two dates of a time series of MintPy or LiCSBAS, such as 20200131,20200212; their difference is read.",
    ),
]
GeometryOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--geometry",
        metavar="FILE",
        help="File with the positions of pixels and the line of sight, if it is not where MintPy or LiCSBAS puts it: "
        "geometryGeo.h5, geometryRadar.h5 for files in radar coordinates, or EQA.dem_par for binaries of LiCSBAS.",
    ),
]
BoundsOption = Annotated[
    str | None,
    typer.Option(
        "--bounds",
        metavar="WEST,EAST,SOUTH,NORTH",
        help="Part of a grid to read, in the file's own coordinates: metres, or degrees.",
    ),
]
ReduceOption = Annotated[
    str | None,
    typer.Option(
        "--reduce",
        metavar="CRITERION:NUMBERS",
        help="Average pixels or points over square cells, which are split until: quadtree:T, the standard deviation in "
        "each is at most T m; quadtree_plane:T, likewise about the best plane; resolution:T,DEPTH,EAST,NORTH, each "
        "is needed at most T (0 to 1) for a point source at this depth (m) and place; or uniform:N, cells of N × N "
        "pixels.",
    ),
]
SmallestCellOption = Annotated[
    int | None,
    typer.Option(
        "--smallest-cell",
        metavar="PIXELS",
        help="Side of the smallest cells; for points, in median distances to the nearest point.",
    ),
]
LargestCellOption = Annotated[
    int | None,
    typer.Option(
        "--largest-cell", metavar="PIXELS", help="Side of the largest cells; an eighth of the grid's side if left out."
    ),
]
LeastShareOption = Annotated[
    float | None,
    typer.Option(
        "--least-share",
        metavar="SHARE",
        help="Share of a cell's pixels that must be observed, 0.5 if left out; cells with less are split or dropped.",
    ),
]
