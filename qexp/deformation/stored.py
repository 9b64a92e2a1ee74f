"""Inversions in the folders that `qexp invert` leaves: found, read, and compared by their
`result.json` alone. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qexp.base import formats
from qexp.base.files import read_bytes, sha256_of
from qexp.base.text import Table
from qexp.deformation.inversion import Estimate, compare_candidates
from qexp.deformation.tables import chi2_words, digits, sentences, table_of_parameters, tables
from qexp.errors import DamagedError, QexpError, some

RESULT, FORMAT = "result.json", "qexp inversion 1"

LARGEST_RESULT = 50_000_000
"""Bytes of a `result.json` that is read."""

Record = dict[str, Any]
"""The content of a `result.json`, with the `name` and `path` of its folder."""


def inversions_in(root: Path) -> list[Path]:
    """The folders of inversions that lie in a workspace itself, or somewhere in its inversions/."""
    results = [*root.glob(f"*/{RESULT}"), *root.glob(f"inversions/**/{RESULT}")]
    folders = {file.parent for file in results if not file.parent.name.startswith(".")}
    found = sorted(filter(is_inversion, folders))
    return [folder for folder in found if folder.parent not in found]  # else it is a candidate


def is_inversion(folder: Path) -> bool:
    """Whether `qexp invert` left this folder, in whatever version and state."""
    try:
        return b"qexp inversion" in read_bytes(folder / RESULT, LARGEST_RESULT)
    except (OSError, QexpError):
        return False


def read_record(folder: Path, name: str) -> Record:
    """Read an inversion. Raises DamagedError."""
    file = folder / RESULT
    document = formats.read_json(file)
    known = document.get("qexp_format") if isinstance(document, dict) else None
    if known != FORMAT:
        raise DamagedError(
            f"{file} has the format {known!r}; this version of qexp reads {FORMAT!r}"
        )
    try:
        points = sum(track["n"] for track in document["tracks"].values())
        record = {"name": name, "path": str(folder), "data": points, **document}
        for key in ("source", "history", "created", "version"):
            record[key] = str(document.get(key) or "")
        seen = document.get("observation")
        record["observation"] = seen and {key: str(seen[key]) for key in ("path", "sha256")}
        record["remarks"] = list(map(str, document["remarks"]))
        # what is shown is tried: a record that lies is found here
        any([*tables(record), *sentences(record), *beside([record])])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DamagedError(f"{file} is damaged: {error!r}") from None
    return record


def digest(record: Record) -> str | None:
    """Of the file of its observation, if that is known."""
    return record["observation"] and record["observation"]["sha256"]


def observation_of(record: Record) -> tuple[Path | None, str]:
    """The file of its observation, if that is the same as then, and words for it."""
    if digest(record) is None:
        return None, "not recorded: it was given in Python, or to an earlier version"
    file = Path(record["path"]) / record["observation"]["path"]
    if not file.is_file():
        return None, f"{file.name}, which is no longer where it was"
    if sha256_of(file) != digest(record):
        return None, f"{file.name}, which has changed since"
    return file, file.name


def estimates(record: Record) -> dict[str, Estimate]:
    """Name of a parameter → its estimate; of a rectangle that opens also the volume, which stands
    beside that of a chamber.
    """
    found = {name: Estimate.read(part) for name, part in record["parameters"].items()}
    factors = [found[name].value for name in ("length", "width", "opening") if name in found]
    if len(factors) == 3:  # km, km and m, whose product is in 10⁶ m³
        found["opened_volume"] = Estimate(math.prod(factors), "10⁶ m³")
    return found


# Several side by side.


def beside(records: Sequence[Record]) -> Iterator[Table | str]:
    """Sources, fits, parameters and differences of inversions, and what to know of these."""
    rows = []
    for key in ("source", "data", "unknowns"):
        rows.append([key, "", *(str(record[key]) for record in records)])
    rows.append(["fit", "", *(chi2_words(record["chi2_reduced"]) for record in records)])
    digests = {digest(record) for record in records}
    same = len(digests) == 1 and None not in digests
    if same:
        named = [{**record, "source": record["name"]} for record in records]
        criteria = {row["source"]: row for row in compare_candidates(named)}
        for key, words in {"delta_aicc": "ΔAICc", "delta_bic": "ΔBIC"}.items():
            numbers = [criteria[record["name"]][key] for record in records]
            rows.append([words, "", *(f"{value:.1f}" for value in numbers)])
    texts = []
    for record in records:
        of_one = table_of_parameters(estimates(record)).rows
        texts.append({(row[0], row[1]): f"{row[2]} ({row[-1]})" for row in of_one})
    # with units: angles in degrees are not compared with others
    for name, unit in dict.fromkeys(key for of_one in texts for key in of_one):
        cells = [of_one.get((name, unit), "") for of_one in texts]
        rows.append([name, unit, *(cell.removesuffix(" ()") for cell in cells)])
    yield Table("", ["what", "unit", *(record["name"] for record in records)], rows)
    if not same:
        yield "AICc and BIC compare fits to the same data, which these are not known to have"
    for other in records[1:]:
        yield from _difference(records[0], other)


def _difference(first: Record, other: Record) -> Iterator[Table | str]:
    """Of another inversion from the first one, in what both have."""
    digests = {digest(first), digest(other)}
    independent = len(digests) == 2 and None not in digests
    said = "their data are the same, or not recorded, so that errors of differences are not known"
    if independent:
        shared = [name for name in other["tracks"] if name in first["tracks"]]
        words = f", though both have {some(shared)}" if shared else ""
        said = f"their data count as independent{words}"
    if first.get("crs") != other.get("crs"):
        said += "; positions are in different reference systems"
    rows = []
    known = estimates(first)
    for name, here in estimates(other).items():
        there = known.get(name)
        elsewhere = name.endswith(("east", "north")) and first.get("crs") != other.get("crs")
        if there is None or there.unit != here.unit or elsewhere:
            continue
        error = math.hypot(here.scaled_error or 0.0, there.scaled_error or 0.0)
        difference = here.value - there.value
        difference *= abs(difference) > error / 1000  # no -0
        row = [name, here.unit, digits(difference, error or None), "", ""]
        if independent and here.has_error and there.has_error:
            row[-2:] = digits(error, error), f"{difference / error:.1f}"
        rows.append(row)
    columns = ["difference", "unit", "value", "error", "in errors"]
    title = f"{other['name']} less {first['name']}: {said}"
    yield Table(title, columns, rows, frozenset(columns[2:]))
