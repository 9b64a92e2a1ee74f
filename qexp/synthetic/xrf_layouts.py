"""How folders of simulated XRF spectra are named, and what their lists say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qexp.synthetic.xrf import STEP, Scan

ALL, CACO3, TOC = "pretrain", "caco3", "toc"
"""Data sets: all spectra, without targets, and those with a target [wt%]."""


@dataclass(frozen=True)
class Column:
    """A column of info.csv and val.csv."""

    meaning: str
    cell: Callable[[Scan, int], str]
    """Core and number of the spectrum → the cell."""


def file_name(scanned: Scan, depth: int) -> str:
    """The name of the file of a spectrum, the same in every layout."""
    return f"{scanned.name}_{depth:04d}.csv"


def _depth(scanned: Scan, depth: int) -> str:
    return str(STEP * depth + STEP // 2)


COLUMNS: Mapping[str, Column] = {
    "filename": Column("of the spectrum under `spe/`, and of its target", file_name),
    "dirname": Column("name of the file of the spectrum under `spe/`, and of its target", file_name),
    "composite_id": Column("of the spectrum", lambda of, depth: f"{of.name}_{_depth(of, depth).zfill(5)}"),
    "cps": Column("counts per second", lambda of, depth: f"{of.counts[depth].sum() / of.scanner.live_time:.0f}"),
    "core": Column("", lambda of, depth: of.name),
    "depth": Column("of the middle of the spectrum below the top of the core [mm]", _depth),
    "composite_depth_mm": Column("of the middle of the spectrum below the top of the core", _depth),
    "mid_depth_mm": Column("of the middle of the spectrum below the top of the core", _depth),
    "voltage": Column("of the tube [kV]", lambda of, depth: str(of.scanner.voltage)),
    "current": Column("of the tube [mA]", lambda of, depth: f"{of.scanner.current:.3f}"),
    "live_time": Column("of the spectrum [s]", lambda of, depth: f"{of.scanner.live_time:g}"),
}


@dataclass(frozen=True)
class Layout:
    """The folders and lists of a set of cores."""

    folders: Mapping[str, str]
    """Data set → its folder."""
    columns: Mapping[str, Sequence[str]]
    """Data set → names of `COLUMNS`, the name of the file first."""
    apart: bool = False
    """Whether info.csv leaves out the spectra that val.csv names."""
    subsets: Sequence[int] = ()
    """Numbers of labelled training spectra that lists of their own name: info_10.csv and so on."""
    end: str = "\n"
    """Of the file of a target."""


_SETTINGS = ("voltage", "current", "live_time")

LAYOUTS: Mapping[str, Layout] = {
    "plain": Layout(
        folders={ALL: "pretrain", CACO3: "caco3", TOC: "toc"},
        columns=dict.fromkeys((ALL, CACO3, TOC), ("filename", "core", "depth", *_SETTINGS)),
    ),
    # Lee et al. (2024), arXiv:2410.12330: the data published with the code.
    "max": Layout(
        folders={ALL: "pretrain", CACO3: "finetune/CaCO3%", TOC: "finetune/TOC%"},
        columns={
            ALL: ("dirname", "composite_id", "cps", "core", "composite_depth_mm"),
            **dict.fromkeys((CACO3, TOC), ("dirname", "core", "mid_depth_mm")),
        },
        apart=True,
        subsets=(10, 50, 100, 500, 1000, 1500),
        end="",
    ),
}
