"""The types of experience, as documents: those that train a network, and those that run a program.
Needs no torch.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from qexp.base.options import is_number
from qexp.base.outputs import limits_of
from qexp.base.quantities import QUANTITIES, Quantities, quantity
from qexp.base.tables import Tables, long_form
from qexp.base.text import RESULT, leaves, names_in, single_brace
from qexp.errors import Problem, SpecError, suggestion
from qexp.spec import reading
from qexp.spec.kinds import (
    all_documents,
    dataset_with_defaults,
    documents_named,
    documents_of,
    entry_in_words,
)
from qexp.spec.reading import COMMENTARY, Document, Finding, Where, defaults_in, follows


class ExperienceType(ABC):
    """What types of experience share; "resolved" documents have all defaults written out."""

    trains: bool = False
    """Whether its runs train networks of qexp, which can predict, with the dataset and model that
    it names or contains; else its document alone makes a run execute programs.
    """

    executes: bool = True
    """Whether its runs can be executed from what their directories hold."""

    @abstractmethod
    def schema(self) -> Document:
        """The JSON Schema of its experiences, with `$defs` of its own."""

    def defaults(self, dataset_type: str | None = None) -> Document:
        """Key → default, without keys that belong to other types of dataset."""
        keys = self.schema()["properties"].items()
        return defaults_in(
            {
                "properties": {
                    key: of_key for key, of_key in keys if belongs_to(of_key, dataset_type)
                }
            }
        )

    def takes(self, document: Document, path: Where) -> Finding | None:
        """The problem of a value given on the command line; None if there is none."""
        return None

    # Of a resolved document

    def outputs(self, spec: Document) -> list[str] | None:
        """The output variables; None if only the results will tell."""
        return None

    def epochs(self, spec: Document) -> int:
        """The largest number of epochs that is trained; 0 if it is unknown to qexp."""
        return 0

    def program_files(self, spec: Document) -> Mapping[str, str]:
        """Files below the workspace, with SHA-256, of which each run keeps a copy."""
        return {}

    def cautions(self, spec: Document) -> list[str]:
        """Cautions that every table, figure and record of a run must show."""
        return []

    def has_limit(self, spec: Document) -> bool:
        """Whether test samples have exact posteriors, whose errors `qexp limit` may compute."""
        return False


# The results of a program that is not qexp's: a JSON file of numbers, read strictly.


RESULT_PARTS = ("train", "validation", "test")

PART, OUTPUT = "test", RESULT
"""Part and output of metrics that are given without them."""

RESULT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

OF_ESTIMATES = ("chain", "draw", "quantile", "row", "sample")
"""Axes in files of estimates."""

RESULT_FORMS = 'write {"mae": 0.1}, or {"test": {"depth": {"mae": 0.1}}} (part, output, metric)'

Numbers = dict[str, dict[str, dict[str, float | None]]]


def read_program_results(file: Path, label: str) -> Numbers:
    """part → output → metric → value; None for null. Raises SpecError with all problems.

    label  name of the file in errors
    A flat object of metrics belongs to the part `test` and the output `result`; an empty one holds
    no numbers.
    """
    return program_results(reading.read(file, label), label)


def program_results(document: Document, label: str) -> Numbers:
    """The numbers of a document, as of a file; see `read_program_results`."""
    if not document:
        return {}
    if not any(isinstance(value, dict) for value in document.values()):
        document = {PART: {OUTPUT: document}}
    findings = list(_problems(document))
    if findings:
        raise SpecError([Problem(label, *finding) for finding in findings[:5]])
    return document


def _problems(document: Document) -> Iterator[Finding]:
    flat = set(document) == {PART} and set(document[PART]) == {OUTPUT}
    for part, outputs in document.items():
        if part not in RESULT_PARTS:
            yield (part,), f"no part '{part}'; {suggestion(part, RESULT_PARTS)}; {RESULT_FORMS}"
        elif not (isinstance(outputs, dict) and outputs):
            yield (
                (part,),
                f"must be an object of outputs, but is {reading.describe(outputs)}; {RESULT_FORMS}",
            )
        else:
            for output, metrics in outputs.items():
                yield from _in_output((() if flat else (part, output)), output, metrics)


def _in_output(where: tuple[str, ...], output: str, metrics: Any) -> Iterator[Finding]:
    if not RESULT_NAME.fullmatch(output):
        yield (
            where,
            f"'{output}' is not a name; use letters, digits, - and _, beginning with a letter",
        )
    elif not (isinstance(metrics, dict) and metrics):
        yield (
            where,
            f"must be an object of metrics, but is {reading.describe(metrics)}; {RESULT_FORMS}",
        )
    else:
        for metric, value in metrics.items():
            if not RESULT_NAME.fullmatch(metric):
                yield (
                    (*where, metric),
                    "is not a name; use letters, digits, - and _, beginning with a letter",
                )
            elif value is not None and not is_number(value):
                yield (
                    (*where, metric),
                    f"must be a number or null, but is {reading.describe(value)}",
                )


# The values of a run that can stand in the words of its command: `{seed}`, `{parameters.rate}`.


RUN_VALUES = {
    "seed": "the seed of the run",
    "run": "the run's folder",
    "results": "the file to which the program writes its results",
    "parameters": "a JSON file with the parameters",
    "workspace": "the folder that holds specs/",
    "attempt": "the number of the attempt, from 1 on",
}
"""Placeholder that every command has → what is put in its place."""


def run_values(parameters: Mapping[str, Any], prefix: str = "parameters.") -> dict[str, str]:
    """`{"parameters.rate": "0.1"}`: a text per parameter, with dots in nested names."""
    values: dict[str, str] = {}
    for name, value in parameters.items():
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        values[prefix + name] = value if isinstance(value, str) else text
        if isinstance(value, Mapping):
            values |= run_values(value, f"{prefix}{name}.")
    return values


# Documents of experiences that run a program: `{"type": "command", "command": ["python",
# "train.py"]}`.


RESULTS = "results.json"
"""File in `results` with the numbers of the program."""


def texts_in(document: Document) -> Iterator[tuple[Where, str]]:
    """The texts of a command that may hold placeholders, and where each is."""
    for key in ("command", "resume", "environment"):
        for index, word in enumerate(document[key] or []):
            yield (key, index), word
    for name, value in document["env"].items():
        yield ("env", name), value
    for key in ("folder", "results", "metrics_file"):
        if document.get(key):
            yield (key,), document[key]


def is_told_where(document: Document) -> bool:
    """Whether the program is told where to write results, instead of `results` saying so."""
    return document["results"] is None or _names_results(document)


def must_write(document: Document) -> bool:
    """Whether the program must write a file of numbers: it is named, or given to it."""
    return document["results"] is not None or _names_results(document)


def _names_results(document: Document) -> bool:
    for where, text in texts_in(document):
        told = where[0] not in ("results", "environment", "metrics_file")
        if told and "results" in names_in(text):
            return True
    return False


def shares_its_results(document: Document) -> bool:
    """Whether all runs write the same results file, so that only one can work at a time."""
    path = f"{document['folder']}{document['results'] or ''}"
    return not is_told_where(document) and "run" not in names_in(path)


def _trouble_with_pattern(pattern: str | None, metrics_file: str | None) -> str | None:
    """Why a pattern can find no numbers in a program's output; None if it can or there is none."""
    if pattern is None:
        return None
    if metrics_file is not None:
        return "is instead of 'metrics_file'; keep one of the two"
    try:
        names = re.compile(pattern).groupindex
    except (re.error, RecursionError, OverflowError) as error:
        return f"is not a regular expression of Python: {error}"
    return None if names else "names no number; write for example loss=(?P<loss>[-+.\\deE]+)"


class Command(ExperienceType):
    def schema(self) -> Document:
        return schema_file("command")

    def takes(self, document: Document, path: Where) -> Finding | None:
        """A parameter must be among those of the spec, so that a misspelt one is found."""
        parameters: Any = document.get("parameters", {})
        for depth, step in enumerate(path[1:] if path[:1] == ("parameters",) else (), start=1):
            if not isinstance(parameters, dict):
                return None
            if str(step) not in parameters:
                return (
                    path[: depth + 1],
                    f"no parameter '{step}'; {suggestion(str(step), parameters)}",
                )
            parameters = parameters[str(step)]
        return None

    def in_document(self, document: Document, dataset_type: str | None) -> Iterator[Finding]:
        for where, text in texts_in(document):
            placeholders = {**RUN_VALUES, **run_values(document["parameters"])}
            if where[0] in ("folder", "results", "metrics_file"):
                del placeholders["results"]  # whose value these determine
            for name in names_in(text):
                if name not in placeholders:
                    yield where, f"no placeholder '{{{name}}}'; {suggestion(name, placeholders)}"
            brace = single_brace(text)
            if brace is not None:
                instead = f"write '{brace * 2}' for a brace, or a placeholder such as {{seed}}"
                yield where, f"a single '{brace}'; {instead}"
            if "\0" in text:
                yield where, "holds a null character, which no word of a command can"
        for key in ("command", "resume", "environment"):
            if document[key] and not document[key][0]:
                yield (key, 0), "the name of the program is empty"
        trouble = _trouble_with_pattern(document.get("numbers"), document.get("metrics_file"))
        if trouble:
            yield ("numbers",), trouble
        for name in document["metrics"]:
            from qexp.metrics.built_in import METRICS

            if name in METRICS:
                yield (
                    ("metrics", name),
                    f"'{name}' is a metric of qexp, whose meaning is known; leave it out",
                )
        for key in ("files", "data"):
            for index, name in enumerate(document[key]):
                path = Path(name)
                if "\0" in name:
                    yield (key, index), "holds a null character, which no path can"
                elif key == "files" and (path.is_absolute() or ".." in path.parts):
                    yield (key, index), f"'{name}' is not below the workspace; copy it there"
                elif key == "data" and name in document["files"]:
                    yield (key, index), f"'{name}' is among the 'files' as well; keep one"

    def doubts(self, spec: Document) -> Iterator[Finding]:
        if not any("seed" in names_in(text) for _, text in texts_in(spec)):
            differ = "runs with different seeds differ only if the program reads QEXP_SEED"
            yield ("command",), f"no word contains {{seed}}: {differ}"
        if shares_its_results(spec):
            what = (
                f"all runs write the same file '{spec['results']}', so that they wait for each"
                " other"
            )
            yield ("results",), f"{what}; to run several at a time, pass {{results}} to the program"

    def with_defaults(self, document: Document, tables: Tables) -> Document:
        spec = {**self.defaults(), **copy.deepcopy(document)}
        spec.pop("$schema", None)
        spec["metrics"] = {
            name: {"unit": "", **meaning} for name, meaning in spec["metrics"].items()
        }
        return spec

    def program_files(self, spec: Document) -> Mapping[str, str]:
        return {name: spec["fingerprints"][name] for name in spec["files"]}

    def units(self, spec: Document, quantities: Quantities) -> dict[str, str]:
        return dict(spec["units"])

    def units_of(self, spec: Document, outputs: Iterable[str]) -> dict[str, str]:
        """Units of a finished run's outputs: as declared, else of the quantities of these names."""
        return {name: spec["units"].get(name, quantity(name, QUANTITIES).unit) for name in outputs}

    def lines(self, spec: Document) -> dict[str, str]:
        brief = {"command": shlex.join(spec["command"])}
        if spec["resume"]:
            brief["resume"] = shlex.join(spec["resume"])
        values = run_values(spec["parameters"], "").items()
        brief["parameters"] = ", ".join(f"{name} {value}" for name, value in values) or "none"
        brief["folder"] = spec["folder"]
        for key in ("files", "data"):
            paths = [f"{path}, SHA-256 {spec['fingerprints'][path][:16]}…" for path in spec[key]]
            if paths:
                brief[key] = "; ".join(paths)
        return brief

    def test_part(self, spec: Document) -> Document:
        return {
            "dataset": spec["dataset"],
            "data": {path: spec["fingerprints"][path] for path in spec["data"]},
        }

    def evaluated_by(self, spec: Document) -> str:
        return RESULTS

    def trouble_with(self, spec: Document, evaluation: Path) -> str | None:
        try:
            read_program_results(evaluation, evaluation.name)
        except SpecError as error:
            return f"it is not a results file: {error}"
        return None


class Tracked(Command):
    """Of a run that a script logs: `qexp.track` writes it, with the name of the script."""

    executes = False

    def schema(self) -> Document:
        command = super().schema()
        kept = ("description", "parameters", "dataset", "model", "units", "metrics")
        properties = {"type": {"const": "tracked"}, "script": {"type": "string", "default": ""}}
        properties |= {key: command["properties"][key] for key in kept}
        properties["parameters"] = {
            **properties["parameters"],
            "description": "values that the script gave",
        }
        return {
            "description": (
                "a run that a script logs with qexp.track; what it writes, no file in specs/"
            ),
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": properties,
            "$defs": command["$defs"],
        }

    def lines(self, spec: Document) -> dict[str, str]:
        values = run_values(spec["parameters"], "").items()
        given = ", ".join(f"{name} {value}" for name, value in values) or "none"
        return {"script": spec["script"] or "a notebook, or typed", "parameters": given}

    def test_part(self, spec: Document) -> Document:
        return {"dataset": spec["dataset"]}


# Documents of experiences that train a network of qexp on a dataset.


class Training(ExperienceType):
    trains = True

    def schema(self) -> Document:
        """With the keys that only some kinds of dataset take; `x-dataset` lists these kinds."""
        schema = schema_file("experience")
        documents = all_documents()
        keys: Document = {}
        for key, of_key in schema.pop("x-shared").items():
            takers = [name for name, kind in documents.items() if key in kind.schemas["shared"]]
            keys[key] = {"x-dataset": takers, **of_key}
        for name, kind in documents.items():
            for key, of_key in kind.schemas["experience"].items():
                keys[key] = {"x-dataset": name, **of_key}
        properties: Document = {}
        for key, of_key in schema["properties"].items():
            properties[key] = of_key
            if key == "split":
                words = [f"{name}: {kind.schemas['split']}" for name, kind in documents.items()]
                properties[key] = {"description": "; ".join(words), **of_key}
                properties |= keys
        return {**schema, "properties": properties}

    def in_document(self, document: Document, dataset_type: str | None) -> Iterator[Finding]:
        """Problems of a document that fits its schema, whose defaults are filled in."""
        outputs = document["outputs"]
        if follows(document) or isinstance(document["losses"], str):
            return  # the dataset is missing, which is reported
        if dataset_type is not None:
            yield from documents_named(dataset_type).in_experience(document)
        pretrain = document["pretrain"]
        if (
            isinstance(pretrain, dict)
            and pretrain.get("epochs_frozen") is not None
            and not pretrain.get("freeze")
        ):
            yield (
                ("pretrain", "epochs_frozen"),
                "nothing is frozen; list operations in 'freeze', or leave it out",
            )
        for name, (low, high) in document.get("limits", {}).items():
            if low is None and high is None:
                yield (
                    ("limits", name),
                    "null on both sides limits nothing; give a number, or leave it out",
                )
            elif low is not None and high is not None and not low < high:
                yield (
                    ("limits", name),
                    f"the lowest value, {low:g}, must be less than the highest, {high:g}",
                )
        for key in ("losses", "metrics", "limits"):
            # limits have no default, so that specs without them stay as they were
            for name in document.get(key, {}):
                if name not in outputs:
                    yield (key, name), f"'{name}' is not an output; {suggestion(name, outputs)}"
        for index, name in enumerate(outputs):
            if name in OF_ESTIMATES or "/" in name:
                kept = "an axis" if name in OF_ESTIMATES else "a group"
                yield (
                    ("outputs", index),
                    f"'{name}' is {kept} in files of estimates; give it another name in the data",
                )
            if name not in document["losses"]:
                yield (
                    ("outputs", index),
                    f"the output '{name}' has no loss; add $.losses.{name}, for example \"mae\"",
                )
        variables = [*document["inputs"], *outputs]
        for name in document["transforms"]:
            if name not in variables:
                yield (
                    ("transforms", name),
                    f"'{name}' is neither input nor output; {suggestion(name, variables)}",
                )

    def doubts(self, spec: Document) -> Iterator[Finding]:
        """Warnings about a valid document."""
        return documents_of(spec["dataset"]).doubts_in_experience(spec)

    def with_defaults(self, document: Document, tables: Tables) -> Document:
        """The document with every default, so that later versions do not change its meaning."""
        spec = {**self.defaults(document["dataset"]["type"]), **copy.deepcopy(document)}
        spec.pop("$schema", None)
        spec.pop("type", None)  # which specs without it do not have either
        if not spec.get("limits"):
            spec.pop("limits", None)  # likewise
        model = dict(spec["model"])
        model.pop("$schema", None)
        operations = model["operations"].items()
        modules = tables["modules"]
        model["operations"] = {
            name: long_form(value, modules, "module") for name, value in operations
        }
        spec |= {"dataset": dataset_with_defaults(spec["dataset"], tables), "model": model}
        for key in ("optimizer", "schedule"):
            spec[key] = long_form(spec[key], tables[f"{key}s"])
        for key in ("losses", "transforms"):
            entries = spec[key].items()
            spec[key] = {name: long_form(value, tables[key]) for name, value in entries}
        for key in ("additional_callbacks", "baselines"):
            if key in spec:
                table = tables[key.removeprefix("additional_")]
                spec[key] = [long_form(value, table) for value in spec[key]]
        for key in ("split", "inner"):
            if isinstance(spec.get(key), str | dict):
                spec[key] = long_form(spec[key], tables["splits"])
        spec["metrics"] = dict(spec["metrics"])
        for name, value in spec["metrics"].items():
            spec["metrics"][name] = value if isinstance(value, list) else [value]
        if spec["pretrain"] is not None:
            pretrain = spec["pretrain"]
            if isinstance(pretrain, str):
                pretrain = {"run": pretrain}
            defaults = defaults_in(self.schema()["properties"]["pretrain"]["then"])
            spec["pretrain"] = {**defaults, **pretrain}
        return spec

    def outputs(self, spec: Document) -> list[str] | None:
        return list(spec["outputs"])

    def epochs(self, spec: Document) -> int:
        chosen = list[int]()
        for name, values in spec.get("select", {}).items():
            keys = name.split(",")
            if keys == ["epochs"]:
                chosen += values
            elif "epochs" in keys:
                chosen += [value[keys.index("epochs")] for value in values]
        epochs: int = max(chosen or [spec["epochs"]])
        return epochs

    def units(self, spec: Document, quantities: Quantities) -> dict[str, str]:
        """Variable → unit."""
        variables = [*spec["inputs"], *spec["outputs"]]
        return documents_of(spec["dataset"]).units(variables, spec["dataset"], quantities)

    def cautions(self, spec: Document) -> list[str]:
        return documents_of(spec["dataset"]).cautions(spec)

    def has_limit(self, spec: Document) -> bool:
        return documents_of(spec["dataset"]).has_limit(spec["dataset"])

    def lines(self, spec: Document) -> dict[str, str]:
        """The lines of `qexp show` about the spec: name of the line → text."""
        brief = {
            "inputs": ", ".join(spec["inputs"]),
            "outputs": ", ".join(spec["outputs"]),
            **documents_of(spec["dataset"]).summary(spec),
            "batch size": str(spec["batch_size"]),
            "learning rate": f"{spec['learning_rate']:g}",
        }
        brief |= {key: entry_in_words(spec[key]) for key in ("optimizer", "schedule")}
        for key in ("losses", "transforms"):
            entries = spec[key].items()
            texts = [f"{name} {value['type']}" for name, value in entries]
            brief[key] = ", ".join(texts) or "none"
        limits = limits_of(spec)
        if limits:
            brief["limits"] = ", ".join(f"{name} {of_output}" for name, of_output in limits.items())
        return brief

    def test_part(self, spec: Document) -> Document:
        """The parts of the spec that determine the test samples."""
        dataset = dict(spec["dataset"])
        for key in ("description", "matrix"):
            dataset.pop(key, None)
        # A split given as a list of shares divides only the samples outside the test part.
        split = {"split": spec["split"]} if isinstance(spec.get("split"), dict) else {}
        return {"dataset": dataset, "test size": (spec.get("sizes") or [None])[-1], **split}

    def evaluated_by(self, spec: Document) -> str:
        """The file in `results` that exists once a run is evaluated on its test part."""
        return documents_of(spec["dataset"]).evaluated_by

    def trouble_with(self, spec: Document, evaluation: Path) -> str | None:
        """Why the existing file `evaluated_by` cannot be used; None if it can."""
        if evaluation.suffix == ".jsonl":  # the epochs of a run whose test part is not evaluated
            return None
        return documents_of(spec["dataset"]).trouble_with(evaluation)


def belongs_to(key: Document, dataset_type: str | None) -> bool:
    """Whether a key of an experience, by its schema, applies to a type of dataset."""
    types = key.get("x-dataset", dataset_type)
    return dataset_type in (types if isinstance(types, list) else [types])


def schema_file(name: str) -> Document:
    """One of the files in `schemas`."""
    file = files("qexp.spec") / "schemas" / f"{name}.json"
    content: Document = json.loads(file.read_text(encoding="utf-8"))
    return content


TRAINING = "training"
"""The type of an experience that does not name one."""

TRACKED = Tracked()

TYPES: Mapping[str, Training | Command] = {
    TRAINING: Training(),
    "command": Command(),
    "tracked": TRACKED,
}
"""The value of `type` in an experience → its type."""

WRITTEN: Mapping[str, Training | Command] = {
    name: of_type for name, of_type in TYPES.items() if of_type.executes
}
"""Types of experiences that people write; a script writes the others."""


def type_name(experience: Mapping[str, Any]) -> str:
    """The name of an experience's type; training for one that does not exist, a finding."""
    name = experience.get("type", TRAINING)
    return name if isinstance(name, str) and name in TYPES else TRAINING


def type_of(experience: Mapping[str, Any]) -> Training | Command:
    return TYPES[type_name(experience)]


def caution(spec: Document) -> str:
    """The cautions that every table, figure and record of a run must show."""
    return "; ".join(type_of(spec).cautions(spec))


def units_of(spec: Document, quantities: Quantities) -> dict[str, str]:
    return type_of(spec).units(spec, quantities)


# Two specs side by side.


ABSENT = "-"


def differences(specs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Path → value in each spec as JSON, where the specs differ, apart from descriptions.

    Of specs of different types only the type: they have hardly a path in common.
    """
    types = [type_name(spec) for spec in specs]
    if len(set(types)) > 1:
        return {"type": [json.dumps(name, ensure_ascii=False) for name in types]}
    values = dict[str, list[str]]()
    for number, spec in enumerate(specs):
        for path, value in leaves(spec):
            texts = values.setdefault(path, [ABSENT] * len(specs))
            texts[number] = json.dumps(value, ensure_ascii=False)
    differing = dict[str, list[str]]()
    for path, texts in values.items():
        if len(set(texts)) > 1 and path.rpartition(".")[2] not in COMMENTARY:
            entry, of_entry = _entry(path, texts)
            differing[entry] = of_entry
    return differing


def _entry(path: str, texts: list[str]) -> tuple[str, list[str]]:
    """Path and values of the only entry in which equally long lists differ, as `sizes.0`."""
    if not all(text.startswith("[") for text in texts):
        return path, texts
    lists = [json.loads(text) for text in texts]
    differing = list[tuple[str, list[str]]]()
    for index, entries in enumerate(zip(*lists, strict=False)):
        of_specs = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        if len(set(of_specs)) > 1:
            differing.append((f"{path}.{index}", of_specs))
    if len(differing) != 1 or len(set(map(len, lists))) > 1:
        return path, texts
    return differing[0]
