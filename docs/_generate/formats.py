"""Reference of the formats of observations, from the table of their readers."""

from __future__ import annotations

from _generate.markdown import code, table
from qexp.base.options import flags_of, in_shell
from qexp.deformation.options import ObserveOptions
from qexp.observations.readers import READERS

HEAD = """# Formats of observations

What [`qexp observe`](commands/observe.md) reads. If several formats recognise a file, the first here reads it. An
option that counts for none of the files of a command is an error. Files of stations can also be given by `--gnss`,
with their unit by `--gnss-unit`. [Read displacements](../how-to/observe-displacements.md) says what is made of
them."""

NOTES = """## What counts for each format

- **No data**: what a file declares (fill values, NetCDF's valid range); blocks of exact zeros, and any zero where it
  declares nothing; usual codes such as −9999 and a value that is repeated, far from all others, which is said; and what
  `--nodata -999` names. In tables, zero is none where it is over ten times as often there as any other displacement.
  Elevations below −11 km or above 9 km are none, nor is an incidence of 0 in a raster. The observation file says in its
  attribute `comment` how many points count, and what was left out.
- **Text and CSV**: separated by spaces, commas, tabs, semicolons or bars, comments after `#`, `%`, `>` or `!`.
  Without a header the columns are east, north, displacement (positive toward the satellite), error, and the unit
  vector of the line of sight, east, north, up, from the ground to the satellite. Otherwise columns are recognised by
  common names, or named: `--columns east=E,north=N,los=disp,elevation=h`. A file without lines of sight needs
  `--incidence 34 --heading -10 --look right` (degrees; once, or for each such file, or for each file, as `--incidence
  36,41`; `--look` also counts for files with headings in columns: once for all, or for each of them), one without
  errors `--error 5`, unless its noise is estimated; `--unit mm`, once for all files or for each in order (`--unit m
  --unit mm`); tables of `--gnss` have `--gnss-unit`. `--error` counts in these units, in metres without one, whatever
  a header says; files of different units need one each, in order, tables of `--gnss` last. Displacements beyond 1 m
  without a named unit, and tracks that differ a hundredfold, are reported: centimetres may have been read as metres.
- **Grids**: GeoTIFF, NetCDF and GMT grids of displacement (`--unit mm`), of velocity where the file's unit is one such
  as mm/yr (it counts as one year's displacement), or of unwrapped phase by `--wavelength 0.0555` or
  `--sensor sentinel-1` (displacement = −λ/4π · phase); `--incidence` and `--heading` in degrees or as rasters of the
  same grid, or rasters of the vector by `--direction E.tif,N.tif,U.tif` (from HyP3's `lv_theta` and `lv_phi`, in
  radians: cos θ cos φ, cos θ sin φ, sin θ). Another unit is refused. `--coherence cc.tif` masks what is below
  `--least-coherence 0.3`. `--dem` gives elevations, interpolated from any grid, `--bounds W,E,S,N` takes a part.
  Of several variables of a NetCDF file name the displacement, `--columns los=los_asc` or `--variable los_asc`. Two
  tracks in one file are that file given twice: `observe views.nc views.nc --variable los_asc --variable los_dsc`. From
  a time series take one map first; [`qexp predict`](../how-to/predict-images.md) takes all.
- **MintPy**: `velocity.h5`, which counts as one year's displacement, or `timeseries.h5 --epochs 20200131,20200212`,
  with `geometryGeo.h5` beside it or by `--geometry`. Geocode files in radar coordinates first (MintPy's `geocode.py`).
- **Points for GBIS**: `NAME.mat` of Matlab (version 5 to 7.3) with `Lon`, `Lat`, `Phase`, `Inc` and `Heading`. Phase is
  unwrapped and grows away from the satellite; its wavelength [m] is that of MintPy's attributes in the file, or
  `--wavelength`.
- **Scenes of Kite**: `NAME.npz` and `NAME.yml`; name one of them. Quadtree, covariance and corrections are not read.
- **LiCSAR**: a file `*.geo.unw.tif`, or the folder of one, with `*.geo.E.tif`, `*.geo.N.tif` and `*.geo.U.tif` beside
  it or in `metadata`; `--least-coherence` reads `*.geo.cc.tif`.
- **LiCSBAS**: `cum_filt.h5` or `cum.h5` with `--epochs 20200131,20200212` or `--variable vel`, inside the file's mask;
  the same file serves as `--dem`. Binaries become GeoTIFF by `LiCSBAS_flt2geotiff.py`.
- **GNSS**: `--gnss stations.csv` with name, position, three components and their errors; each component is an entry of
  its own. Beside `lon`, `lat` and `up`, or `easting` and `northing`, columns named east and north are displacements.
  The names of stations appear on maps that are not as narrow as `--width single`, and in `stations.csv` of an
  inversion, with model and residual of each component.

## Coordinates

`--crs EPSG:32633` names the coordinate reference system; without one, coordinates are plain metres. Longitudes and
latitudes (columns `lon` and `lat`, or `--crs EPSG:4326`) are projected to the UTM zone of their centre, or to `--crs`.
So are systems that distort lengths there by more than 2 %, such as Web Mercator. Lines of sight, headings and
components of stations refer to the north of the file's own coordinates, which is true north for longitude and latitude.
At each point they are rotated to the north of the observation's coordinates (by up to 3° in a UTM zone); headings are
printed from both norths where these differ. Where only unit vectors are given, the heading is that of a satellite that
looks right. Give `--north true` for a file of projected coordinates whose directions refer to true north."""


def page() -> str:
    flags = {field.name: flags_of(field)[-1] for field, _ in in_shell(ObserveOptions)}
    rows = [
        [
            f"{reader.help}{'; also by `--gnss`' if reader.stations else ''}",
            ", ".join(code(flag) for name, flag in flags.items() if name in reader.takes),
        ]
        for reader in READERS.built_in.values()
    ]
    return f"{HEAD}\n\n{table(['files', 'options that count for them'], rows)}\n\n{NOTES}\n"
