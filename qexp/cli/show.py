"""qexp show"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import api
from qexp.analysis.comparison.rounding import NONE, number
from qexp.cli.arguments import RunArgument
from qexp.cli.console import JsonOption, WorkspaceOption, in_one_line, print_json, print_table, result, warning
from qexp.cli.evaluations import print_evaluation
from qexp.errors import DamagedError

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.evaluations import EvaluationRecord
    from qexp.runs.record.record import CodeState, Epochs, FoldCount, Imported, Record


def show(
    run: RunArgument,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a run: its state, spec, results, files and lineage."""
    from qexp.spec.experiences import type_of  # slow to import

    opened = api.open_run(run, workspace=workspace)
    if as_json:
        print_json(opened.record)
        return
    directory, state = opened.directory, opened.state
    record, spec = directory.record(), directory.spec()
    _print_head(directory, record, state, opened)
    result("\nspec")
    for key, text in type_of(spec).lines(spec).items():
        result(f"  {key:<14} {in_one_line(text)}")
    if record.overrides:
        result(f"  {'set':<14} {in_one_line(' '.join(record.overrides))}")
    if record.results:
        result("\nresults")
        print_results(record)
        print_estimators(record)
        print_field_errors(record)
        print_group_errors(record)
    for evaluation in opened.evaluations.values():
        result("")
        print_evaluation(evaluation)
        print_field_errors(evaluation)
        print_group_errors(evaluation)
    result("\nfiles")
    for line in _files(directory.path):
        result(f"  {in_one_line(line)}")


SHOWN = (".png", ".pdf", ".nc", ".npy", ".csv", ".safetensors", ".jsonl", ".txt")

NEW_LINE = "\n"

GROUPS = 40
"""Most lines of errors by group."""

MANY = 3
"""Pictures in a folder of their own above which they are counted."""


def _files(run: Path) -> Iterator[str]:
    """What a reader may want to open; the folds' own files are left out."""
    found = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix in SHOWN]
    by_folder: dict[Path, list[Path]] = {}
    for path in found:
        if not path.is_relative_to(run / "folds"):
            by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        if folder.parent.name == "figures" and len(paths) > MANY:
            yield f"{folder.relative_to(run)}/ ({len(paths)} pictures)"
        else:
            yield from (str(path.relative_to(run)) for path in paths)


def _environment(directory: RunDirectory) -> dict[str, Any]:
    """What the last attempt wrote of its environment; nothing, and a warning, if that is damaged."""
    try:
        return directory.environment()
    except DamagedError as damage:
        warning(str(damage))
        return {}


def _print_head(directory: RunDirectory, record: Record, state: str, opened: api.Run) -> None:
    before, actions = opened.pretrained_from, opened.record["actions"]
    environment = _environment(directory)
    lines = [
        ("run", record.name),
        ("state", state),
        ("error", record.error),
        ("experience", f"{record.experience}, seed {record.seed}"),
        ("dataset", record.dataset),
        ("model", record.model),
        ("caution", record.caution),
        ("folds", _folds(record.folds)),
        ("epochs", _epochs(record.epochs)),
        ("stopped", record.stopped),
        ("created", record.created),
        ("ended", record.ended),
        (_of_time(record), f"{record.seconds:.1f} s" if record.foreign_weights is None else "none here"),
        ("attempts", _attempts(record)),
        ("code", _code(record.code)),
        ("software", _software(environment)),
        ("machine", _machine(environment)),
        ("settings", " ".join(f"{name}={value}" for name, value in (environment.get("variables") or {}).items())),
        ("digest", record.digest[:16]),
        ("pretrained", f"from {before}" if before else ""),
        ("rerun of", record.rerun_of),
        ("imported", _imported(record.imported)),
        *_foreign_weights(record),
        ("matrices", ", ".join(directory.matrix_names())),
        ("evaluations", ", ".join(opened.evaluations)),
        ("actions", ", ".join(name if said == "done" else f"{name} ({said})" for name, said in actions.items())),
        ("tags", ", ".join(record.tags)),
        ("note", record.note),
        ("path", str(directory.path)),
    ]
    for key, text in lines:
        if text:
            # Further lines of a note or an error are set in, so that none can pass for another key's.
            result(f"{key:<12} {str(text).replace(NEW_LINE, NEW_LINE + ' ' * 13)}")


def _of_time(record: Record) -> str:
    """What the time of a run's attempts was spent on: programs may do anything."""
    return "training" if record.epochs.of or record.foreign_weights is not None else "time"


def _attempts(record: Record) -> str:
    if record.attempts:
        return f"{len(record.attempts)}, the last on {record.attempts[-1].process.host}"
    return "none yet" if record.foreign_weights is None else ""


def _epochs(epochs: Epochs) -> str:
    if not epochs.of:
        return ""
    return f"{epochs.done} of {epochs.of}" + (f", best {epochs.best}" if epochs.best else "")


def _folds(folds: FoldCount | None) -> str:
    if folds is None:
        return ""
    return f"{folds.done} of {folds.of}" + (f", failed: {', '.join(folds.failed)}" if folds.failed else "")


def _imported(imported: Imported | None) -> str:
    if imported is None:
        return ""
    of_code = {True: "; code that it brings is trusted", False: "; code that it brings is not trusted", None: ""}
    return f"from {imported.archive}, {imported.time}{of_code[imported.code_trusted]}"


def _foreign_weights(record: Record) -> Iterator[tuple[str, str]]:
    """The origin of weights that another program trained."""
    origin = record.foreign_weights
    if origin is None:
        return
    yield "kind", record.kind
    hashed = f"sha256 {origin.file.sha256[:16]}"
    yield "weights", f"from {origin.file.path} ({origin.format}, {hashed}), {origin.taken} tensors"
    for name, file in origin.also.items():
        yield "with", f"{name} from {file.path} (sha256 {file.sha256[:16]})"
    left_out = "".join(f"; left out: {count}, {why}" for why, count in origin.left_out.items())
    yield "rules", f"{origin.rules}{left_out}"
    for variable, from_where in origin.transforms.items():
        yield "transform", f"of {variable}: {from_where}"


def _software(environment: dict[str, Any]) -> str:
    packages = environment.get("packages") or {}
    commit = (environment.get("qexp") or {}).get("commit")
    words = [f"qexp {packages.get('qexp', '')}" + (f" at {commit[:12]}" if commit else "")] if packages else []
    words += [f"Python {environment['python'].partition(' ')[0]}"] if environment.get("python") else []
    words += [f"{name} {packages[name]}" for name in ("torch", "numpy", "scipy") if name in packages]
    return ", ".join(words)


def _machine(environment: dict[str, Any]) -> str:
    device, threads, cores = (environment.get(key) for key in ("device", "threads", "cores"))
    words = [environment.get("processor") or environment.get("machine")]
    words += [f"{cores} cores" if cores else None, device if device != "cpu" else None]
    words += [f"{threads} thread{'s' if threads != 1 else ''}" if threads else None]
    return ", ".join(word for word in words if word)


def _code(code: CodeState) -> str:
    if code.commit is None:
        return "not in a git repository"
    left_out = len(code.untracked_left_out or ())
    without = f" without {left_out} large files" if left_out else ""
    return code.commit[:12] + (f", with changes (kept in code/{without})" if code.dirty else "")


def print_estimators(record: Record) -> None:
    """The network among its baselines, on the rows that were held out."""
    if not record.comparison:
        return
    from qexp.analysis.comparison.estimator_tables import estimator_tables, remarks

    rows = [row.document() for row in record.comparison]
    for table in estimator_tables(rows):
        result(f"\n{table.title}")
        print_table(table.columns, table.rows, right=list(table.right))
    for text in remarks(rows):
        result(text)


def print_field_errors(record: Record | EvaluationRecord) -> None:
    """Errors of vectors on whole test frames, and how long the network takes for one."""
    errors = record.errors
    if errors is None:
        return
    rows = []
    for vector, values in errors.vectors.items():
        unit = record.units.get(vector.partition(", ")[0], "")
        lengths = [f"{number(value)} {unit}".strip() for value in (values.mean_error, values.mean_speed)]
        rows.append([f"({vector})", *lengths, f"{number(values.percent)} %"])
    if rows:
        columns = ["vector", "mean error", "mean speed", "error / speed"]
        result("")
        print_table(columns, rows, right=columns[1:])
    height, width = errors.frame
    threads = f", {errors.threads} thread{'s' if errors.threads != 1 else ''}" if errors.device == "cpu" else ""
    milliseconds = number(1000 * errors.seconds_per_frame)
    result(
        f"test frames whole, {errors.cells:,} cells; the network takes {milliseconds} ms for a frame of "
        f"{height} x {width} cells ({errors.device}{threads})"
    )


def print_group_errors(record: Record | EvaluationRecord) -> None:
    """Errors by core, folder or group of rows, a line for each."""
    for of in dict.fromkeys(one.of for one in record.groups):
        groups = [one for one in record.groups if one.of == of]
        metrics = list(dict.fromkeys(name for one in groups for name in one.metrics))
        rows = []
        for one in groups[:GROUPS]:
            cells = _cells(one.metrics, record.units.get(one.output, ""), record)
            rows.append([one.name, one.output, f"{one.n:,}", *(cells.get(name, NONE) for name in metrics)])
        columns = [of, "output", "n", *metrics]
        result("")
        print_table(columns, rows, right=columns[2:])
        if len(groups) > GROUPS:
            result(f"and {len(groups) - GROUPS:,} more in results/errors.csv")


def _cells(metrics: Mapping[str, float | None], unit: str, record: Record | EvaluationRecord) -> dict[str, str]:
    """Metric → its value with its unit."""
    from qexp.metrics.recorded import meaning_of

    cells = {}
    for metric, value in metrics.items():
        of = meaning_of(metric, [record.metrics])
        cells[metric] = NONE if value is None else f"{number(value, of)} {of.in_unit(unit)}".strip()
    return cells


def print_results(record: Record) -> None:
    """The results as a table with units, a row per output and part."""
    rows, columns = [], ["part", "output"]
    for part, outputs in record.results.items():
        for output, metrics in outputs.items():
            columns += [metric for metric in metrics if metric not in columns]
            rows.append({"part": part, "output": output, **_cells(metrics, record.units.get(output, ""), record)})
    print_table(columns, [[row.get(name, "-") for name in columns] for row in rows], right=columns[2:])
    if record.caution:
        result(record.caution)
