"""Documents of experiences that run a program: `{"type": "command", "command": ["python", "train.py"]}`."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import SpecError
from qexp.placeholders import names_in
from qexp.quantities import Quantities, quantity
from qexp.spec import program_results, run_values
from qexp.spec.defaults import defaults_in
from qexp.spec.experiences.experience_type import Document, ExperienceType
from qexp.spec.finding import Finding, Where
from qexp.tables import Tables

RESULTS = "results.json"
"""File in `results` with the numbers of the program."""


def texts_in(document: Document) -> Iterator[tuple[Where, str]]:
    """The texts of a command that may hold placeholders, each with its place."""
    for key in ("command", "resume", "environment"):
        for index, word in enumerate(document.get(key) or []):
            yield (key, index), word
    for name, value in document.get("env", {}).items():
        yield ("env", name), value
    for key in ("folder", "results"):
        if document.get(key):
            yield (key,), document[key]


def is_told_where(document: Document) -> bool:
    """Whether the program is told where to write its results; else it decides that, and `results` says where."""
    return document.get("results") is None or _is_given_results(document)


def must_write(document: Document) -> bool:
    """Whether the program must write a file of numbers: where it is named, or given to the program in its words."""
    return document.get("results") is not None or _is_given_results(document)


def _is_given_results(document: Document) -> bool:
    others = [text for where, text in texts_in(document) if where[0] not in ("results", "environment")]
    return any("results" in names_in(text) for text in others)


def shares_its_results(document: Document) -> bool:
    """Whether all runs write the same results file, so that only one can work at a time."""
    place = f"{document.get('folder', '')}{document.get('results') or ''}"
    return not is_told_where(document) and "run" not in names_in(place)


class Command(ExperienceType):
    executes = True

    def schema(self) -> Document:
        content: Document = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
        return content

    def takes(self, document: Document, path: Where) -> Finding | None:
        """A parameter must be among those of the spec, so that a misspelt one is found."""
        known: Any = document.get("parameters", {})
        for depth, step in enumerate(path[1:] if path[:1] == ("parameters",) else (), start=1):
            if not isinstance(known, dict):
                return None
            if str(step) not in known:
                return path[: depth + 1], f"no parameter '{step}'; {suggestion(str(step), known)}"
            known = known[str(step)]
        return None

    def in_document(self, document: Document, dataset_type: str | None) -> Iterator[Finding]:
        known = [*run_values.RUN_VALUES, *run_values.values_of(document.get("parameters", {}))]
        for where, text in texts_in(document):
            # The folder and the results file determine the value of {results}.
            usable = [name for name in known if name != "results"] if where[0] in ("folder", "results") else known
            for problem in run_values.problems_in(text, usable):
                yield where, problem
            if "\0" in text:
                yield where, "holds a null character, which no word of a command can"
        for key in ("command", "resume", "environment"):
            if document.get(key) and not document[key][0]:
                yield (key, 0), "the name of the program is empty"
        for name in document.get("metrics", {}):
            from qexp.metrics.built_in import METRICS

            if name in METRICS:
                yield ("metrics", name), f"'{name}' is a metric of qexp, whose meaning is known; leave it out"
        yield from _in_files(document)

    def doubts(self, document: Document) -> Iterator[Finding]:
        names = {name for _, text in texts_in(document) for name in names_in(text)}
        if "seed" not in names:
            yield (
                ("command",),
                "no word contains {seed}: runs with different seeds differ only if the program reads QEXP_SEED",
            )
        if shares_its_results(document):
            yield (
                ("results",),
                f"all runs write the same file '{document['results']}', so that they wait for each other; "
                "to run several at a time, pass {results} to the program",
            )

    def with_defaults(self, document: Document, tables: Tables, schemas: Mapping[str, Document]) -> Document:
        schema = schemas["experience"]["$defs"][document["type"]]
        whole = {**defaults_in(schema), **copy.deepcopy(document)}
        whole.pop("$schema", None)
        whole["metrics"] = {name: {"unit": "", **meaning} for name, meaning in whole["metrics"].items()}
        return whole

    def outputs(self, spec: Document) -> list[str] | None:
        return None

    def epochs(self, spec: Document) -> int:
        return 0

    def program_files(self, spec: Document) -> Mapping[str, str]:
        return {name: spec["fingerprints"][name] for name in spec["files"]}

    def units(self, spec: Document, quantities: Quantities) -> dict[str, str]:
        return dict(spec["units"])

    def units_of(self, spec: Document, outputs: Iterator[str], quantities: Quantities) -> dict[str, str]:
        """Units of the outputs of a finished run: as declared, else those of the quantities of these names."""
        return {name: spec["units"].get(name, quantity(name, quantities).unit) for name in outputs}

    def lines(self, spec: Document) -> dict[str, str]:
        brief = {"command": shlex.join(spec["command"])}
        if spec["resume"]:
            brief["resume"] = shlex.join(spec["resume"])
        values = run_values.values_of(spec["parameters"], "").items()
        brief["parameters"] = ", ".join(f"{name} {value}" for name, value in values) or "none"
        brief["folder"] = spec["folder"]
        for key in ("files", "data"):
            named = [f"{path}, SHA-256 {spec['fingerprints'][path][:16]}…" for path in spec[key]]
            brief |= {key: "; ".join(named)} if named else {}
        return brief

    def test_part(self, spec: Document) -> Document:
        return {"dataset": spec["dataset"], "data": {path: spec["fingerprints"][path] for path in spec["data"]}}

    def evaluated_by(self, spec: Document) -> str:
        return RESULTS

    def trouble_with(self, spec: Document, evaluation: Path) -> str | None:
        try:
            program_results.read(evaluation, evaluation.name)
        except SpecError as error:
            return f"it is not a results file: {error}"
        return None


def _in_files(document: Document) -> Iterator[Finding]:
    for key in ("files", "data"):
        for index, name in enumerate(document.get(key, [])):
            path = Path(name)
            if "\0" in name:
                yield (key, index), "holds a null character, which no path can"
            elif key == "files" and (path.is_absolute() or ".." in path.parts):
                yield (key, index), f"'{name}' is not below the workspace; copy it there"
            elif key == "data" and name in document.get("files", []):
                yield (key, index), f"'{name}' is among the 'files' as well; keep one"
