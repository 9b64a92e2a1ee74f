"""Folders of synthetic XRF spectra, in the layout of published spectra of cores for masked modelling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from qexp import files
from qexp.errors import QexpError
from qexp.seeds import Seeds
from qexp.synthetic.folders import README, whole_folder
from qexp.synthetic.xrf import ANODE, CHANNELS, GAIN, STEP, Options, Scan, check, labelled, scan

HEADING = "# Made-up XRF spectra of sediment cores"

COLUMNS: dict[str, str] = {
    "filename": "of the spectrum under `spe/`, and of its target",
    "core": "",
    "depth": "of the middle of the spectrum below the top of the core [mm]",
    "voltage": "of the tube [kV]",
    "current": "of the tube [mA]",
    "live_time": "of the spectrum [s]",
}
"""Columns of info.csv and val.csv, with their descriptions."""

ALL = "pretrain"
"""The data set of all spectra, without targets."""

TARGETS: dict[str, Callable[[Scan], Iterable[float]]] = {"caco3": lambda of: of.caco3, "toc": lambda of: of.toc}
"""Data set of labelled spectra → their targets [wt%]."""

PHYSICS = f"""\
A stand-in, not data: sediment mixed from carbonate, clay, silica, organic matter and salt water whose shares drift \
along a core and jump; its trace elements; primary fluorescence of a thick flat sample (Sherman 1955) under an \
unfiltered {ANODE} tube (Ebel 1999, 2003) at 45° to it; the tube's light scattered once, with or without loss; helium, \
foil, a film of water and windows; a silicon detector with its resolution, escape peaks and pile-up; Poisson counts. \
Cross-sections, lines and yields are those of xraydb. Left out: fluorescence that fluorescence excites, light that \
scatters twice, changes of the water film, roughness, grains, cracks, and drift of the calibration within a core."""


class Made(NamedTuple):
    """A written set of cores."""

    folders: list[Path]
    """The folders with spectra: OUT/pretrain/test and so on."""
    spectra: int
    labelled: int


def write(
    out: Path,
    options: Options,
    cores: int = 30,
    test: int | None = None,
    validation: int | None = None,
    overwrite: bool = False,
    watch: Callable[[str, float], None] = lambda name, share: None,
) -> Made:
    """Make cores, and write OUT/{pretrain,caco3,toc}/{test,train}/ with info.csv, spe/ and, for labels, target/.

    test        how many of the cores are for the test, the first ones: a quarter, at least one, if left out
    validation  number of the next cores, listed in val.csv: a sixth of the remaining cores, if left out
    watch       called with the name of a core and the finished share of the whole

    OUT appears when all cores are finished. A core has the same bytes however many others are made with it.
    Raises QexpError if an option is wrong, if something else is at OUT, or if it cannot be written.
    """
    test = min(max(cores // 4, 1), cores - 1) if test is None else test
    validation = (cores - test) // 6 if validation is None else validation
    check(options, cores, test, validation)
    seeds, chosen = Seeds(options.seed), labelled(options)
    sets = [ALL, *(TARGETS if chosen else [])]
    parts = ["test", "train"] if test else ["train"]
    with whole_folder(out, HEADING, overwrite) as folder:
        rows: dict[Path, list[str]] = {}
        for place in (Path(name) / part for name in sets for part in parts):
            files.make_folder(folder / place / "spe")
            if place.parts[0] in TARGETS:
                files.make_folder(folder / place / "target")
            rows[place / "info.csv"] = []
            if place.name == "train" and validation:
                rows[place / "val.csv"] = []
        for number in range(cores):
            watch(f"core_{number:03d}", number / cores)
            scanned = scan(seeds, number, options)
            part = "test" if number < test else "train"
            lines_of = _rows(scanned)
            for name in sets:
                place = Path(name) / part
                which = range(options.spectra) if name == ALL else chosen
                _write_files(folder / place, scanned, which, name)
                rows[place / "info.csv"] += [lines_of[depth] for depth in which]
                if test <= number < test + validation:
                    rows[place / "val.csv"] += [lines_of[depth] for depth in which]
        for path, lines in rows.items():
            _write(folder / path, [",".join(COLUMNS), *lines])
        files.write_bytes(folder / README, _readme(options, cores, test, validation).encode())
    return Made([out / name / part for name in sets for part in parts], cores * options.spectra, cores * len(chosen))


def _filename(scanned: Scan, depth: int) -> str:
    return f"{scanned.name}_{depth:04d}.csv"


def _rows(scanned: Scan) -> list[str]:
    """A line of info.csv for each depth."""
    settings = f"{scanned.scanner.voltage},{scanned.scanner.current:.3f},{scanned.scanner.live_time:g}"
    return [
        f"{_filename(scanned, depth)},{scanned.name},{STEP * depth + STEP // 2},{settings}"
        for depth in range(len(scanned.counts))
    ]


def _write_files(place: Path, scanned: Scan, which: Iterable[int], name: str) -> None:
    targets = list(TARGETS[name](scanned)) if name in TARGETS else None
    for depth in which:
        _write(place / "spe" / _filename(scanned, depth), map(str, scanned.counts[depth].tolist()))
        if targets is not None:
            _write(place / "target" / _filename(scanned, depth), [f"{targets[depth]:.4f}"])


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a file of the temporary folder without waiting for the disk, since there are thousands."""
    try:
        path.write_bytes(("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise QexpError(f"cannot write {path}: {error.strerror or error}") from error


def _readme(options: Options, cores: int, test: int, validation: int) -> str:
    columns = "\n".join(f"| {name} | {meaning} |" for name, meaning in COLUMNS.items())
    labels = (
        f"""
`caco3/` and `toc/` hold the {options.labelled} spectra of each core that have a target: under `target/` a file of the \
same name with one number, wt% of the dry sediment without salt. They have the errors of a laboratory: 0.5 wt% and 1 % \
of the value for CaCO3, 0.02 wt% and 2 % for TOC (one standard deviation, the two added in quadrature).
"""
        if options.labelled
        else ""
    )
    return f"""{HEADING}

    qexp data xrf --cores {cores} --test {test} --validation {validation} {options}

`pretrain/` holds all {options.spectra} spectra of each of {cores} cores: {test} cores under `test/`, {cores - test} \
under `train/`, of which `val.csv` names {validation} for validation; `info.csv` names all. A core is in one part \
only, the same in each folder. A file under `spe/` has {CHANNELS} lines, a whole number of counts each; channel k, \
from 0, is about {GAIN / 1000:g} (k + 0.5) keV.
{labels}
{PHYSICS}

| column of info.csv and val.csv | |
| --- | --- |
{columns}
"""
