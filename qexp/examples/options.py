"""What data sets are simulated with: glaciers, cores, observations; options of `qexp data`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from qexp.base.options import Displaying, InWorkspace, option, python_only, words_of
from qexp.base.shell_values import read_values
from qexp.errors import QexpError, shortened

Range = tuple[float, float]

Watch = Callable[[str, float], None]
"""Receives the name of what is being computed, and the share that is done."""


def unwatched(name: str, share: float) -> None: ...


def read_low_and_high(option: str, text: str) -> tuple[float, float]:
    """`20:80` → (20, 80), `78` → (78, 78)."""
    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise QexpError(
            f"{option} {shortened(text)}: a number, or two as LOW:HIGH, such as 20:80"
        ) from None


def read_whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """`10,30` → (10, 30)."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise QexpError(
            f"{option} {shortened(text)}: a whole number, or several with commas, such as 10,30"
        ) from None


def require(sound: Iterable[tuple[Any, str]]) -> None:
    """Raises QexpError with the words of all that does not hold."""
    if wrong := [words for holds, words in sound if not holds]:
        raise QexpError("\n".join(wrong))


@dataclass(frozen=True)
class IceOptions(Displaying):
    """Options of `qexp data ice`."""

    out: str | Path = option(..., "A new folder, which gets train/ and test/.", "FOLDER")
    glaciers: int = option(12, "Number of glaciers, including those for the test.", "N")
    test: int | None = option(None, "Number of test glaciers; a quarter if left out.", "N")
    _: KW_ONLY
    overwrite: bool = option(False, "Replace glaciers that were simulated there before.")
    watch: Watch = python_only(
        unwatched,
        "Receives the name of a glacier, and the finished share of the whole; a bar if left out",
    )
    frames: int = option(15, "Frames per glacier, at successive times.", "N")
    size: int = option(80, "Cells along each side of a frame.", "CELLS")
    spacing: float = option(150.0, "Width of a cell [m].", "METRES")
    seed: int = option(0, "Random seed.")
    arrhenius: Range = option(
        (78.0, 78.0),
        "Rate factor of Glen's law, in MPa⁻³ a⁻¹; drawn per glacier from a range.",
        "LOW:HIGH",
        also="78 if left out.",
        read=read_low_and_high,
    )
    sliding: Range = option(
        (0.0, 0.0),
        "Weertman's sliding coefficient, in km MPa⁻³ a⁻¹; drawn per glacier from a range.",
        "LOW:HIGH",
        also="0 if left out.",
        read=read_low_and_high,
    )
    coupling: float | None = option(
        None,
        "Distribute the flux of each cell over this many ice thicknesses around it, a test case for"
        " networks; if left out, velocities are local.",
        "LENGTH",
    )

    def __str__(self) -> str:
        """How each glacier is simulated, as words of a command line."""
        words = [
            f"--frames {self.frames} --size {self.size} --spacing {self.spacing:g} --seed"
            f" {self.seed}"
        ]
        words += [
            f"--{name} {low:g}:{high:g}"
            for name in ("arrhenius", "sliding")
            for low, high in [getattr(self, name)]
        ]
        return " ".join(
            [*words, *([] if self.coupling is None else [f"--coupling {self.coupling:g}"])]
        )


@dataclass(frozen=True)
class XrfOptions(Displaying):
    """Options of `qexp data xrf`."""

    out: str | Path = option(..., "A new folder, which gets pretrain/, caco3/ and toc/.", "FOLDER")
    cores: int = option(30, "Number of cores, including those for the test.", "N")
    test: int | None = option(None, "Number of test cores; a quarter if left out.", "N")
    validation: int | None = option(
        None,
        "Number of validation cores among the others, named in val.csv; a sixth if left out.",
        "N",
    )
    _: KW_ONLY
    layout: str = option(
        "plain",
        "Layout of the folders: plain, or max for that of the data published with MAX.",
        "NAME",
    )
    overwrite: bool = option(False, "Replace spectra that were simulated there before.")
    watch: Watch = python_only(
        unwatched,
        "Receives the name of a core, and the finished share of the whole; a bar if left out",
    )
    spectra: int = option(200, "Spectra per core, one per centimetre.", "N")
    labelled: int = option(40, "Spectra per core that have CaCO3 and TOC, at equal distances.", "N")
    voltage: tuple[int, ...] = option(
        (30,),
        "Tube voltage [kV]: 10 or 30, or both, for alternating cores.",
        "KV,KV",
        also="30 if left out.",
        example="(10, 30)",
        read=read_whole_numbers,
    )
    seed: int = option(0, "Random seed.")

    def __str__(self) -> str:
        """How each core is simulated, as words of a command line."""
        voltages = ",".join(map(str, self.voltage))
        return (
            f"--spectra {self.spectra} --labelled {self.labelled} --voltage {voltages} --seed"
            f" {self.seed}"
        )


@dataclass(frozen=True)
class ObservationOptions(InWorkspace):
    """Options of `qexp data observation`."""

    out: str | Path = option(
        ..., "A new folder, which gets tracks, stations and elevations.", "FOLDER"
    )
    _: KW_ONLY
    source: str = option(
        "mogi",
        "Source, or several joined by '+': any that qexp invert knows.",
        "NAME[+NAME]",
        complete="sources",
    )
    at: Mapping[str, float] = option(
        {},
        "Value of a parameter of the source, such as depth=3 (km below the sea) or east=426000 (m);"
        " of a mogi 3 km and 6 · 10⁶ m³ if left out. East and north are drawn around the summit if"
        " left out.",
        "PARAMETER=VALUE ...",
        example='{"depth": 3}',
        read=read_values,
        write=lambda values: [f"{name}={value:.12g}" for name, value in values.items()],
    )
    degrees: bool = option(False, "Angles in degrees rather than radians.")
    size: int = option(100, "Pixels along each side of the images.", "PIXELS")
    spacing: float = option(150.0, "Width of a pixel [m].", "METRES")
    summit: float = option(
        1500.0, "Height of the volcano above the sea [m]; 0 for flat ground.", "METRES"
    )
    water: float = option(
        0.1, "Share of the pixels that lie in the sea, where nothing is seen.", "SHARE"
    )
    stations: int = option(8, "Number of GNSS stations.", "N")
    noise: str = option(
        "exponential:1e-5,2000,2e-6",
        "Noise of the images: exponential or gaussian, with sill (m²), range (m) and "
        "nugget (m²); or none.",
        "TYPE:SILL,RANGE,NUGGET",
    )
    offset: float = option(
        0.02, "Standard deviation of the constant offset of a track [m].", "METRES"
    )
    ramp: float = option(
        0.0, "Standard deviation of the slopes of a track, east and north [m/km].", "NUMBER"
    )
    gaps: float = option(0.1, "Share of the pixels that are lost to decorrelation.", "SHARE")
    unit: str = option("mm", "Unit of displacements and errors in the files.", "m|cm|mm")
    seed: int = option(0, "Random seed.")
    overwrite: bool = option(False, "Replace an observation that was simulated there before.")

    def __str__(self) -> str:
        """How it is simulated, as words of a command line."""
        return shlex.join(words_of(self, leave_out=("out", "overwrite", "workspace")))
