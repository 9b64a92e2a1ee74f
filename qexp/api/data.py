"""A look at data, and synthetic data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import workspace as workspaces

if TYPE_CHECKING:
    import xarray

    from qexp.analysis.look.look import Look
    from qexp.synthetic import ice, xrf

Watch = Callable[[str, float], None]
"""Receives the name of what is being computed, and the share that is done."""


def _unwatched(name: str, share: float) -> None: ...


def samples(
    dataset: str | None = None,
    part: str | None = None,
    count: int = 9,
    seed: int = 0,
    *,
    experience: str | None = None,
    workspace: str | Path | None = None,
) -> xarray.Dataset:
    """Samples of a part of a dataset, with the dimension `sample` and units in the attributes; see `qexp data show`.

    part        train, if the dataset has such a part, else all
    seed        of simulated samples, and of the choice among measured ones
    experience  whose split divides the dataset, as in its run with that seed
    Raises QexpError and SpecError.
    """
    from qexp.analysis.look.look import open_view, samples_of

    return samples_of(open_view(workspaces.find(workspace), dataset, experience, part, seed)[1], count)


def images(
    dataset: str,
    at: Mapping[str, float] | None = None,
    over: Mapping[str, tuple[float, float, int]] | None = None,
    *,
    noise: bool = False,
    seed: int = 0,
    workspace: str | Path | None = None,
) -> xarray.Dataset:
    """Images of a simulated dataset at chosen values; see `qexp data show --at`.

    at       variable → value, in the variable's unit; the others have their fixed values
    over     variable → (low, high, cells): images at the centres of cells, as of a matrix
    noise    with the dataset's noise, from this seed, and hidden pixels as NaN; else the images are exact
    returns  image → (variables of `over`, y, x), with coordinates in the units of the spec; NaN for impossible sources
    Raises QexpError for a variable that varies and has no value, and for values that no source can have.
    """
    from qexp.analysis.look.chosen import images_at

    return images_at(workspaces.find(workspace), dataset, at or {}, over or {}, noise=noise, seed=seed)


def show_images(
    dataset: str,
    at: Mapping[str, float] | None = None,
    over: Mapping[str, tuple[float, float, int]] | None = None,
    *,
    noise: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    formats: Sequence[str] = ("png",),
    style: str | Path | None = None,
    workspace: str | Path | None = None,
) -> list[Path]:
    """Draw the images at chosen values, over one or two variables as a grid; see `images` and `show_data`.

    returns  the paths of the pictures, one per image and format
    """
    from qexp.analysis.look.chosen import draw_images

    place = workspaces.find(workspace)
    folder = Path(out) if out is not None else place.root / "figures" / Path(dataset).stem
    made = images(dataset, at, over, noise=noise, seed=seed, workspace=place.root)
    return draw_images(made, folder, formats, None if style is None else Path(style))


def show_data(
    dataset: str | None = None,
    part: str | None = None,
    count: int = 9,
    seed: int = 0,
    *,
    experience: str | None = None,
    out: str | Path | None = None,
    formats: Sequence[str] = ("png",),
    style: str | Path | None = None,
    workspace: str | Path | None = None,
) -> Look:
    """Numbers and figures of a part of a dataset; see `qexp data show`, and `samples` for the first arguments.

    out      folder of the figures; `figures/NAME` in the workspace if left out
    formats  of png, pdf and svg: each figure is written in all of them
    style    a matplotlib style file
    returns  `samples`, the `summary` of each variable, a `proposal` of typical values, and the paths of the `figures`
    Raises QexpError and SpecError.
    """
    from qexp.analysis.look.look import look
    from qexp.runs.record import nesting

    place = workspaces.find(workspace)
    folder = nesting.target(out) if out is not None else place.root / "figures" / Path(experience or dataset or "").stem
    drawn_with = None if style is None else Path(style)
    return look(place, dataset, experience, part, count, seed, folder, formats, drawn_with)


def make_ice(
    out: str | Path,
    glaciers: int = 12,
    test: int | None = None,
    *,
    overwrite: bool = False,
    watch: Watch = _unwatched,
    **options: Any,
) -> list[ice.Made]:
    """Simulate glaciers, in the format of 2Dto2D-DLE; see `qexp data ice`.

    test       the number of test glaciers; a quarter of them if left out
    overwrite  replace glaciers that were simulated there before
    options    frames, size, spacing, seed, arrhenius and sliding (low, high), coupling
    returns    per glacier its `folder`, `frames`, time `steps` and `seconds`
    """
    from qexp.runs.record import nesting
    from qexp.synthetic.ice import Options, write

    return write(nesting.target(out), Options(**options), glaciers, test, overwrite, watch)


def make_xrf(
    out: str | Path,
    cores: int = 30,
    test: int | None = None,
    validation: int | None = None,
    *,
    overwrite: bool = False,
    watch: Watch = _unwatched,
    layout: str = "plain",
    **options: Any,
) -> xrf.Made:
    """Simulate XRF spectra of sediment cores; see `qexp data xrf`.

    test        the number of test cores; a quarter of them if left out
    validation  the number of validation cores among the others, named in val.csv; a sixth of them if left out
    overwrite   replace spectra that were simulated there before
    layout      plain, or max: that of the data published with MAX
    options     spectra and labelled, of each core; voltage, such as (10, 30) [kV]; seed
    returns     the `folders` with spectra, and the numbers of `spectra` and of `labelled` ones
    """
    from qexp.runs.record import nesting
    from qexp.synthetic.xrf import Options, write

    return write(nesting.target(out), Options(**options), cores, test, validation, overwrite, watch, layout)
