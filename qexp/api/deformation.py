"""Sources of deformation estimated from real observations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.api.handles import directory_of
from qexp.base import workspace as workspaces
from qexp.base.files import sha256_of
from qexp.base.options import Report, as_warning, checks_keywords, takes, uncounted
from qexp.deformation.options import EMULATOR, STAGES, InvertOptions, ObserveOptions, unstaged
from qexp.errors import NotFoundError, QexpError, some
from qexp.runs.columns import field, ordered
from qexp.store.directory import target_outside_of_runs
from qexp.store.record import now

if TYPE_CHECKING:
    from qexp.deformation.observe import Observed
    from qexp.observations.observation import Observation
    from qexp.web.deformation import ShownInversion, ShownObserved
    from qexp.web.inversions import ShownInversions


@takes(ObserveOptions)
def observe(sources: str | Path | Sequence[str | Path], options: ObserveOptions) -> ShownObserved:
    """Read observed displacements into one file, which qexp invert reads.

    Each file is a track of its own. Text files without a header have the columns east, north,
    line-of-sight displacement (m, positive toward the satellite), error, and the unit vector east,
    north, up from the ground to the satellite. Points with missing numbers are masked. Without `to`
    the observation is only described; an observation file can be given again, to look at it or to
    change its noise.

    sources      a file, or several: each is a track of its own, or a table of GNSS stations
    returns      the `observation` (m), its `tracks` in numbers, `warnings`, the `files` that were
                 written, and `estimates` of the noise by track
    Raises QexpError before anything is written.

    >>> observed = qexp.observe("unrest.nc")
    >>> [track.name for track in observed.tracks]
    ['ascending', 'descending']
    """
    from qexp.deformation.observe import observe as read
    from qexp.web.deformation import ShownObserved

    several = (
        list(sources)
        if isinstance(sources, Iterable) and not isinstance(sources, str)
        else [sources]
    )
    for file in several:
        if not isinstance(file, str | Path):
            raise QexpError(
                "`sources`: files are read and joined, by their paths; this is"
                f" {type(file).__name__}; an observation is joined by its file: write it with"
                " `to='first.nc'`, and give that"
            )
    target = None if options.to is None else target_outside_of_runs(options.to)
    pictures = [target_outside_of_runs(path) for path in options.pictures]
    observed = read([Path(file) for file in several], options, target, pictures)
    for text in observed.warnings:
        options.warn(text)
    return ShownObserved(**vars(observed))


@takes(InvertOptions)
def invert(
    observation: Observed | Observation | str | Path, options: InvertOptions
) -> ShownInversion:
    """Estimate the source of an observed deformation, with standard errors.

    With a run, its network estimates the source within a second, from the data resampled to its own
    pixels, and `refine` follows the estimate to the minimum of least squares, also from starts
    around it, as far away as the network's errors on similar test samples. Without a run, the
    minimum is searched from many starts. Least squares are weighted by the full covariance of each
    track's noise; offsets and ramps are estimated along with the source.

    Positions are in metres of the observation's reference system, all else in the units of specs.
    Scaled errors are the standard errors times the root of the reduced χ² where that is above 1.
    The 95 % intervals are those of the profile likelihood, with the same factor; they also hold
    where parameters trade off. An interval without zero does not mean that there is a source,
    because its position was searched for: the reduced χ² and the BIC say that, and a warning is
    given by them.

    With `posterior`, all sources that explain the data are drawn in proportion to how well they do:
    priors are those of the run's training data, or uniform between bounds; without bounds,
    amplitudes are uniform over plausible values. Offsets, ramps and the size of the noise are
    integrated over.

    observation     what `qexp.observe` returns, or the path of its file
    returns         `parameters`, `tracks`, `posterior`, and the `document()` that `--json` prints;
                    of several sources the one with the lowest AICc; `rivals` has the criteria of
                    all
    Raises QexpError before anything is written.

    >>> inversion = qexp.invert("unrest.nc", source="mogi", bounds={"depth": (0.5, 5)})
    >>> inversion.parameters["depth"].unit
    'km'
    """
    from qexp.deformation.estimate import by_least_squares
    from qexp.deformation.observe import Observed
    from qexp.deformation.output import require_raster_library, require_room, write
    from qexp.figures.canvas import require_width, use_style
    from qexp.figures.writing import require_formats
    from qexp.kinds.tables import tables_here
    from qexp.observations.observation import read_observation
    from qexp.spec.kinds import load_stage
    from qexp.web.deformation import shown_inversion

    require_width(options.width)
    require_formats(options.formats)
    folder = None if options.to is None else target_outside_of_runs(options.to)
    if folder is not None:
        require_room(folder, options.overwrite)
    data = observation
    origin = _origin(data, folder)
    if isinstance(data, str | Path):
        data = read_observation(Path(data))
    if isinstance(data, Observed):
        data = data.observation
    if folder is not None:
        require_raster_library(data, options.spacing)
    with _with_a_bar(options) as asked:
        if options.run is None:
            tables = tables_here(options.workspace)
            for name in options.emulators:
                run = name.removeprefix(EMULATOR)
                directory = directory_of(run, options.workspace, options.trust_code)
                emulator = load_stage(directory.training_spec()["dataset"], "emulate")(directory)
                if emulator.presumes_north:
                    images = f"rows of the images that {name} learned"
                    options.warn(f"{images} count as running northwards")
                tables = emulator.as_generator(tables, name, options.centre is not None)
            estimates = by_least_squares(data, asked, tables)
        else:
            from qexp.deformation.by_network import by_network

            directory = directory_of(options.run, options.workspace, options.trust_code)
            network = load_stage(directory.training_spec()["dataset"], "invert")(
                directory, options.device
            )
            estimates = by_network(data, network, asked)
    if folder is not None:
        with use_style(None, options.width):
            write(folder, estimates, options, origin)
    for text in estimates[0].remarks:
        options.warn(text)
    return shown_inversion(estimates[0])


def _origin(observation: object, folder: Path | None) -> dict[str, Any]:
    """What a folder says of where its inversion comes from; the observation's file by its path from
    there.
    """
    from qexp import __version__

    # what has been written is its own file, and then pictures
    file = next(iter(getattr(observation, "files", ())), observation)
    about = None
    if folder is not None and isinstance(file, str | Path) and Path(file).is_file():
        about = {"path": os.path.relpath(file, folder), "sha256": sha256_of(Path(file))}
    return {"version": __version__, "created": now(), "observation": about}


@contextmanager
def _with_a_bar(options: InvertOptions) -> Iterator[InvertOptions]:
    """The options with a bar for what is done, unless they say who is told."""
    from qexp.api.progress import bar

    sources = options.sources
    with bar("inverting") as show:

        def on_stage(source: str, stage: str, share: float) -> None:
            share_of_source = (STAGES.index(stage) + share) / len(STAGES)
            number = sources.index(source) if source in sources else 0
            show((number + share_of_source) / len(sources), stage, source)

        def on_drawn(done: int, count: int) -> None:
            show(done / count, f"{done:,} of {count:,} draws", "drawing from the posterior")

        yield replace(
            options,
            on_stage=on_stage if options.on_stage is unstaged else options.on_stage,
            on_drawn=on_drawn if options.on_drawn is uncounted else options.on_drawn,
        )


@checks_keywords
def inversions(
    where: str | None = None,
    sort: str = "name",
    reverse: bool = False,
    *,
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> list[dict[str, Any]]:
    """The records of the inversions in folders of the workspace, or somewhere in its `inversions/`.

    where     condition, such as "parameters.depth.value < 3 and chi2_reduced < 2"
    sort      such as "created"
    reverse   the largest first
    warn      receives a line for each that cannot be read

    >>> inversion = qexp.invert("unrest.nc", starts=4, to="inversions/mogi")
    >>> [one["source"] for one in qexp.inversions("parameters.depth.value > 1")]
    ['mogi']
    """
    from qexp.deformation.stored import records_in
    from qexp.runs.where import selected

    found = records_in(workspaces.find(workspace).root, warn)
    if where is not None:
        found = selected(found, where, lambda column: partial(field, path=column))
    return ordered(found, sort, reverse, [field(one, sort) for one in found])


@checks_keywords
def open_inversions(folders: str | Path | Sequence[str | Path]) -> ShownInversions | None:
    """The inversion that `qexp invert` left in a folder, or several side by side; None if none is
    one. Raises DamagedError, and NotFoundError if only some are.

    folders  their paths

    >>> inversion = qexp.invert("unrest.nc", starts=4, to="mogi")
    >>> qexp.open_inversions("mogi")
    <mogi>
    """
    from qexp.deformation.stored import is_inversion, read_record

    several = [folders] if isinstance(folders, str | Path) else folders
    found = [str(folder) for folder in several if is_inversion(Path(folder))]
    if not found:
        return None
    if others := [str(folder) for folder in several if str(folder) not in found]:
        raise NotFoundError(f"{some(others)}: no inversion, and {found[0]} is one")
    from qexp.web.inversions import ShownInversions  # not where a run is shown

    return ShownInversions([read_record(Path(one), one) for one in found])
