"""Inversions in folders: found, read, and compared by their `result.json` alone, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from qexp.base import formats
from qexp.base.files import read_bytes, sha256_of
from qexp.base.options import Report
from qexp.base.text import Table
from qexp.deformation.inversion import Estimate, compare_candidates
from qexp.deformation.tables import (
    chi2_words,
    digits,
    sentences,
    table_of_parameters,
    tables,
    values_in_words,
)
from qexp.errors import DamagedError, QexpError, some

RESULT, FORMAT = "result.json", "qexp inversion 1"

LARGEST_RESULT = 50_000_000
"""Bytes of a `result.json` that is read."""

POSITION = ("east", "north")

Record = dict[str, Any]
"""The content of a `result.json`, with the `name` and `path` of its folder."""


def inversions_in(root: Path) -> list[Path]:
    """The folders of inversions of a workspace, by name.

    They lie in the workspace itself, or somewhere in its inversions/. Candidates that lie in the
    folder of the best are none of their own.
    """
    results = chain(root.glob(f"*/{RESULT}"), root.glob(f"inversions/**/{RESULT}"))
    found = list[Path]()
    for folder in sorted({file.parent for file in results}):
        steps = folder.relative_to(root).parts
        is_draft = any(step.startswith(".") for step in steps)
        if folder.parent not in found and not is_draft and is_inversion(folder):
            found.append(folder)
    return found


def is_inversion(folder: Path) -> bool:
    """Whether `qexp invert` left this folder, in whatever version and state."""
    try:
        return b"qexp inversion" in read_bytes(folder / RESULT, LARGEST_RESULT)
    except (OSError, QexpError):
        return False


def read_record(folder: Path, name: str) -> Record:
    """Read an inversion.

    name  what it is called, such as its path from the workspace
    Raises DamagedError for a file that is torn, lies, or is of another version.
    """
    file = folder / RESULT
    document = formats.read_json(file)
    known = document.get("qexp_format") if isinstance(document, dict) else None
    if known != FORMAT:
        raise DamagedError(
            f"{file} has the format {known!r}; this version of qexp reads {FORMAT!r}"
        )
    try:
        points = sum(track["n"] for track in document["tracks"].values())
        record = {"data": points, **document, "name": name, "path": str(folder)}
        for key in ("source", "history", "created", "version"):
            record[key] = str(document.get(key) or "")
        seen = document.get("observation")
        record["observation"] = seen and {key: str(seen[key]) for key in ("path", "sha256")}
        record["remarks"] = list(map(str, document["remarks"]))
        # what is shown is made: a record that lies is found here
        for part in (*tables(record), *sentences(record), *beside([record])):
            if isinstance(part, Table):
                "".join(chain.from_iterable(part.rows))
        for row in document["correlations"].values():
            math.fsum(value or 0.0 for value in row.values())
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DamagedError(f"{file} is damaged: {error!r}") from None
    return record


def records_in(root: Path, warn: Report) -> list[Record]:
    """The inversions of a workspace, by name; `warn` hears of those that cannot be read."""
    records = []
    for folder in inversions_in(root):
        try:
            records.append(read_record(folder, str(folder.relative_to(root))))
        except (DamagedError, FileNotFoundError) as error:
            warn(str(error))
    return records


MOST_PARAMETERS = 4
"""Parameters besides the position that a listing shows."""


def table_of_records(records: Sequence[Record]) -> Table:
    """A row for each: what it was made of, what it found, and when.

    Of the parameters, the first ones besides the position are shown, with their 95 % intervals.
    """
    columns = ["inversion", "observation", "source", "95 % intervals", "fit", "made"]
    rows = []
    for record in records:
        observation = Path((record["observation"] or {}).get("path", ""))
        known = estimates(record)
        shown = [name for name in known if not name.endswith(POSITION)][:MOST_PARAMETERS]
        rows.append(
            [
                record["name"],
                observation.name,
                record["source"],
                ", ".join(values_in_words({name: known[name] for name in shown})),
                chi2_words(record["chi2_reduced"]),
                record["created"][:16].replace("T", " "),
            ]
        )
    return Table("", columns, rows)


def digest(record: Record) -> str | None:
    """Of the file of its observation, if that is known."""
    return record["observation"] and str(record["observation"]["sha256"])


def observation_of(record: Record) -> tuple[Path | None, str]:
    """The file of its observation, if that is the same as then, and words for it."""
    if digest(record) is None:
        return None, "not recorded: it was given in Python, or to an earlier version"
    folder = Path(record["path"])
    path = record["observation"]["path"]
    # a candidate lies in the folder of the best
    places = [home / path for home in (folder, folder.parent)]
    file = next(filter(Path.is_file, places), None)
    if file is None:
        return None, f"{Path(path).name}, which is no longer where it was"
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


def beside(records: Sequence[Record]) -> Iterator[Table | str]:
    """What inversions found in columns, how well they fit, and their differences.

    AICc and BIC are given where all are of the same data, by the digests of their observations.
    Values in different units, such as angles in degrees and radians, have rows of their own.
    """
    rows = list[list[str]]()
    for key in ("source", "data", "unknowns"):
        rows.append([key, "", *(str(record[key]) for record in records)])
    fits = [chi2_words(record["chi2_reduced"]) for record in records]
    rows.append(["fit", "", *fits])
    digests = {digest(record) for record in records}
    same = len(digests) == 1 and None not in digests
    if same:
        criteria = compare_candidates(records)
        for key, words in (("delta_aicc", "ΔAICc"), ("delta_bic", "ΔBIC")):  # less the best's
            rows.append([words, "", *(f"{row[key]:.1f}" for row in criteria)])
    texts = []
    for record in records:
        of_one = dict[tuple[str, str], str]()
        for name, unit, value, *_, interval in table_of_parameters(estimates(record)).rows:
            of_one[name, unit] = f"{value} ({interval})" if interval else value
        texts.append(of_one)
    keys = [key for of_one in texts for key in of_one]
    for parameter in dict.fromkeys(keys):
        rows.append([*parameter, *(of_one.get(parameter, "") for of_one in texts)])
    names = [record["name"] for record in records]
    yield Table("", ["what", "unit", *names], rows)
    if not same:
        yield "AICc and BIC compare fits to the same data, which these are not known to have"
    for other in records[1:]:
        yield _difference(records[0], other)


def _difference(first: Record, other: Record) -> Table:
    """Of another inversion from the first one, in what both have.

    It is given in units of its error where the data are independent: where their observations are
    known, and are not the same. Positions are compared in one reference system alone.
    """
    digests = {digest(first), digest(other)}
    independent = len(digests) == 2 and None not in digests
    said = "their data are the same, so that errors of differences are not known"
    if None in digests:
        said = "whether their data are independent is not recorded"
    if independent:
        said = "their data count as independent"
        shared = [name for name in other["tracks"] if name in first["tracks"]]
        said += f", though both have {some(shared)}" if shared else ""
    one_system = first.get("crs") == other.get("crs")
    if not one_system:
        said += "; positions are in different reference systems"
    rows = []
    known = estimates(first)
    for name, here in estimates(other).items():
        there = known.get(name)
        comparable = one_system or not name.endswith(POSITION)
        if there is None or there.unit != here.unit or not comparable:
            continue
        error = math.hypot(here.scaled_error or 0.0, there.scaled_error or 0.0)
        difference = here.value - there.value
        if abs(difference) < error / 1000:
            difference = 0.0  # rather than -0
        row = [name, here.unit, digits(difference, error or None), "", ""]
        if independent and here.has_error and there.has_error:
            row[-2:] = digits(error, error), f"{difference / error:.1f}"
        rows.append(row)
    columns = ["difference", "unit", "value", "error", "in errors"]
    title = f"{other['name']} less {first['name']}: {said}"
    return Table(title, columns, rows, frozenset(columns[2:]))
