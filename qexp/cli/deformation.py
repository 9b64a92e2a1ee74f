"""qexp observe, invert"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from qexp import api
from qexp.base.options import argument, ignore, option
from qexp.cli import completion
from qexp.cli.console import (
    JSON,
    arranged,
    message,
    named_once,
    print_json,
    print_parts,
    result,
    warning,
)
from qexp.deformation.options import InvertOptions, ObserveOptions
from qexp.deformation.tables import sentences, tables, track_words
from qexp.errors import QexpError, some

# qexp observe

# none while `make names` runs
FORMATS = completion.written_names()["choices"].get("formats of observations", ())


@arranged(everyday="to incidence heading unit gnss gnss_unit crs reduce noise dem")
def observe(
    options: ObserveOptions,
    files: list[Path] = argument(
        (),
        f"One file for each track, of any of these: {'; '.join(FORMATS)}.",
        "FILE...",
        shell=list[Path],
    ),
    no_figure: bool = option(False, "Draw no figure."),
    as_json: bool = JSON,
) -> None:
    if no_figure and options.figure is not None:
        raise QexpError("--figure and --no-figure contradict each other; keep one")
    figure = options.figure
    if figure is None and options.to is not None and not no_figure:
        figure = Path(options.to).with_suffix(".png" if tuple(options.formats) == ("png",) else "")
    here = {"figure": figure, "history": _history(), "warn": ignore}
    observed = api.observe(files, **{**vars(options), **here})
    if as_json:
        warning(*observed.warnings)
        tracks = [track.document() for track in observed.tracks]
        written = [*map(str, observed.files)]
        print_json({"tracks": tracks, "files": written, "warnings": list(observed.warnings)})
        return
    for track in observed.tracks:
        message(f"{track.name}: {track_words(track)}")
        if track.noise is not None:
            estimate = observed.estimates.get(track.name)
            how = f", from {estimate.how}" if estimate is not None else ""
            error = "; errors are the square root of the nugget" if track.error_is_nugget else ""
            message(f"{track.name}: noise {track.noise.words}{error}{how}")
    warning(*observed.warnings)
    result(*observed.files)


def _history() -> str:
    """The command line, for the files that it makes."""
    return shlex.join(["qexp", *sys.argv[1:]])


# qexp invert


OBSERVATION = argument(
    ...,
    "An observation file of qexp observe; before it, if a network is to estimate the source,"
    " its run, in place of --run.",
    "[RUN] OBS.nc",
    complete="run_and_files",
)


def _run_and_observation(values: dict[str, Any]) -> dict[str, Any]:
    *first, observation = words = values["run_and_observation"]
    if len(first) > 1:
        raise QexpError(f"{some(words)}: give one observation file, or a run and then the file")
    run = values["run"]
    if first:
        named = None if run is None else [run]
        (run,) = named_once(first, named, f"qexp invert RUN {observation}")
    return {**values, "run_and_observation": [observation], "run": run}


@arranged(everyday="source bounds fixed posterior to", with_words=_run_and_observation)
def invert(
    options: InvertOptions, run_and_observation: list[str] = OBSERVATION, as_json: bool = JSON
) -> None:
    (observation,) = run_and_observation
    inversion = api.invert(observation, **{**vars(options), "history": _history()})
    record = inversion.document()
    if as_json:
        print_json(record)
    else:
        print_parts(tables(record))
        message(*sentences(record))
    if options.to is not None:
        message(f"result, tables and maps:{f' {options.to}' * as_json}")
        if not as_json:
            result(options.to)
