"""Folders of synthetic XRF spectra, in the layout of published spectra of cores for masked modelling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from qexp import files
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.seeds import Seeds
from qexp.synthetic.folders import README, whole_folder
from qexp.synthetic.xrf import ANODE, CHANNELS, GAIN, Options, Scan, check, labelled, scan
from qexp.synthetic.xrf_layouts import ALL, CACO3, COLUMNS, LAYOUTS, TOC, Layout, file_name

HEADING = "# Simulated XRF spectra of sediment cores"

TARGETS: dict[str, Callable[[Scan], Iterable[float]]] = {CACO3: lambda of: of.caco3, TOC: lambda of: of.toc}
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
    layout: str = "plain",
) -> Made:
    """Make cores, and write OUT/{pretrain,caco3,toc}/{test,train}/ with info.csv, spe/ and, for labels, target/.

    test        how many of the cores are for the test, the first ones: a quarter, at least one, if left out
    validation  number of the next cores, listed in val.csv: a sixth of the remaining cores, if left out
    watch       called with the name of a core and the finished share of the whole
    layout      of the folders: a name in `LAYOUTS`

    OUT appears when all cores are finished. A core has the same bytes however many others are made with it.
    Raises QexpError if an option is wrong, if something else is at OUT, or if it cannot be written.
    """
    test = min(max(cores // 4, 1), cores - 1) if test is None else test
    validation = (cores - test) // 6 if validation is None else validation
    check(options, cores, test, validation)
    if layout not in LAYOUTS:
        raise QexpError(f"--layout {layout}: {suggestion(layout, LAYOUTS)}")
    seeds, chosen, form = Seeds(options.seed), labelled(options), LAYOUTS[layout]
    places = {name: Path(form.folders[name]) for name in (ALL, *(TARGETS if chosen else []))}
    parts = ["test", "train"] if test else ["train"]
    with whole_folder(out, HEADING, overwrite) as folder:
        lists = _Lists(form)
        for name, place in places.items():
            for part in parts:
                files.make_folder(folder / place / part / "spe")
                if name in TARGETS:
                    files.make_folder(folder / place / part / "target")
        for number in range(cores):
            watch(f"core_{number:03d}", number / cores)
            scanned = scan(seeds, number, options)
            part = "test" if number < test else "train"
            for name, place in places.items():
                which = range(options.spectra) if name == ALL else chosen
                _write_files(folder / place / part, scanned, which, name, form.end)
                lists.add(name, place / part, scanned, which, validated=test <= number < test + validation)
        for path, lines in lists.whole(seeds).items():
            _write(folder / path, lines)
        files.write_bytes(folder / README, _readme(options, cores, test, validation, layout).encode())
    made = [out / place / part for place in places.values() for part in parts]
    return Made(made, cores * options.spectra, cores * len(chosen))


class _Lists:
    """The lines of info.csv, val.csv and of the lists of subsets, as the cores come."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lines: dict[Path, list[str]] = {}
        self._headers: dict[Path, str] = {}
        self._trained_on: dict[Path, list[str]] = {}

    def add(self, name: str, place: Path, scanned: Scan, which: Iterable[int], validated: bool) -> None:
        """Add a core's spectra to the lists of a part of a data set."""
        columns = self._layout.columns[name]
        lines = [",".join(COLUMNS[column].cell(scanned, depth) for column in columns) for depth in which]
        if not (validated and self._layout.apart):
            self._add(place / "info.csv", columns, lines)
        if validated:
            self._add(place / "val.csv", columns, lines)
        elif name in TARGETS and place.name == "train":
            self._trained_on.setdefault(place, []).extend(lines)

    def _add(self, path: Path, columns: Iterable[str], lines: Iterable[str]) -> None:
        self._headers[path] = ",".join(columns)
        self._lines.setdefault(path, []).extend(lines)

    def whole(self, seeds: Seeds) -> dict[Path, list[str]]:
        """List → its lines; a smaller subset is part of a larger one."""
        whole = {path: [self._headers[path], *lines] for path, lines in self._lines.items()}
        for place, lines in self._trained_on.items():
            order = seeds.numpy("xrf", "subsets", place.parent.name).permutation(len(lines))
            for count in self._layout.subsets:
                if count < len(lines):
                    some = [lines[row] for row in sorted(order[:count])]
                    whole[place / f"info_{count}.csv"] = [self._headers[place / "info.csv"], *some]
        return whole


def _write_files(place: Path, scanned: Scan, which: Iterable[int], name: str, end: str) -> None:
    targets = list(TARGETS[name](scanned)) if name in TARGETS else None
    for depth in which:
        _write(place / "spe" / file_name(scanned, depth), map(str, scanned.counts[depth].tolist()))
        if targets is not None:
            _write(place / "target" / file_name(scanned, depth), [f"{targets[depth]:.4f}"], end)


def _write(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    """Write a file of the temporary folder without waiting for the disk, since there are thousands."""
    try:
        path.write_bytes(("\n".join(lines) + end).encode())
    except OSError as error:
        raise QexpError(f"cannot write {path}: {error.strerror or error}") from error


def _readme(options: Options, cores: int, test: int, validation: int, layout: str) -> str:
    form = LAYOUTS[layout]
    listed = dict.fromkeys(name for columns in form.columns.values() for name in columns)
    columns = "\n".join(f"| {name} | {COLUMNS[name].meaning} |" for name in listed)
    named = f" --layout {layout}" if layout != "plain" else ""
    info = "`info.csv` names all others" if form.apart else "`info.csv` names all"
    of_targets = " and ".join(f"`{form.folders[name]}/`" for name in TARGETS)
    labels = (
        f"""
{of_targets} hold the {options.labelled} spectra of each core that have a target: under `target/` a file of the \
same name with one number, wt% of the dry sediment without salt. They have the errors of a laboratory: 0.5 wt% and 1 % \
of the value for CaCO3, 0.02 wt% and 2 % for TOC (one standard deviation, the two added in quadrature).
"""
        if options.labelled
        else ""
    )
    return f"""{HEADING}

    qexp data xrf --cores {cores} --test {test} --validation {validation} {options}{named}

`pretrain/` holds all {options.spectra} spectra of each of {cores} cores: {test} cores under `test/`, {cores - test} \
under `train/`, of which `val.csv` names {validation} for validation; {info}. A core is in one part \
only, the same in each folder. A file under `spe/` has {CHANNELS} lines, a whole number of counts each; channel k, \
from 0, is about {GAIN / 1000:g} (k + 0.5) keV.
{labels}
{PHYSICS}

| column of info.csv and val.csv | |
| --- | --- |
{columns}
"""
