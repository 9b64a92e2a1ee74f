"""Synthetic data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qexp.synthetic import ice_folders, xrf_folders

Watch = Callable[[str, float], None]
"""Receives the name of what is being computed, and the share that is done."""


def _unwatched(name: str, share: float) -> None: ...


def make_ice(
    out: str | Path,
    glaciers: int = 12,
    test: int | None = None,
    *,
    overwrite: bool = False,
    watch: Watch = _unwatched,
    **options: Any,
) -> list[ice_folders.Made]:
    """Simulate glaciers, in the format of 2Dto2D-DLE; see `qexp data ice`.

    test       the number of test glaciers; a quarter of them if left out
    overwrite  replace glaciers that were simulated there before
    options    frames, size, spacing, seed, arrhenius and sliding (low, high), coupling
    returns    per glacier its `folder`, `frames`, time `steps` and `seconds`
    """
    from qexp.synthetic.ice import Options
    from qexp.synthetic.ice_folders import write

    return write(Path(out), Options(**options), glaciers, test, overwrite, watch)


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
) -> xrf_folders.Made:
    """Simulate XRF spectra of sediment cores; see `qexp data xrf`.

    test        the number of test cores; a quarter of them if left out
    validation  the number of validation cores among the others, named in val.csv; a sixth of them if left out
    overwrite   replace spectra that were simulated there before
    layout      plain, or max: that of the data published with MAX
    options     spectra and labelled, of each core; voltage, such as (10, 30) [kV]; seed
    returns     the `folders` with spectra, and the numbers of `spectra` and of `labelled` ones
    """
    from qexp.synthetic.xrf import Options
    from qexp.synthetic.xrf_folders import write

    return write(Path(out), Options(**options), cores, test, validation, overwrite, watch, layout)
