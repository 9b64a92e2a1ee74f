"""qexp show"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qexp import api
from qexp.cli.arguments import RunArgument
from qexp.cli.console import JsonOption, WorkspaceOption, print_json, print_parts, result, warning
from qexp.cli.evaluations import print_evaluation
from qexp.fragments.plain import in_one_line


def show(
    run: RunArgument,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a run: its state, spec, results, files and lineage."""
    from qexp.analysis.comparison.calibration_tables import calibrated
    from qexp.analysis.comparison.interval_tables import held_out_intervals
    from qexp.analysis.comparison.result_tables import (
        beside_limit,
        estimators,
        field_errors,
        group_errors,
        limit_to_compute,
        own_results,
        results,
    )
    from qexp.runs.facts import facts
    from qexp.spec.experiences import type_of  # slow to import

    opened = api.open_run(run, workspace=workspace)
    if as_json:
        print_json(opened.record)
        return
    directory, state = opened.directory, opened.state
    record, spec = directory.record(), directory.spec()
    for key, text in facts(directory, record, state, warning):
        # Further lines of a note or an error are set in, so that none can pass for another key's.
        result(f"{key:<12} {text.replace(NEW_LINE, NEW_LINE + ' ' * 13)}")
    result("\nspec")
    for key, text in type_of(spec).lines(spec).items():
        result(f"  {key:<14} {in_one_line(text)}")
    if record.overrides:
        result(f"  {'set':<14} {in_one_line(' '.join(record.overrides))}")
    if record.results:
        result("\nresults")
        print_parts(results(record))
        print_parts(beside_limit(record, opened.limit), apart=True)
        print_parts(limit_to_compute(record, spec, opened.limit), apart=True)
        print_parts(estimators(record), apart=True)
        print_parts(field_errors(record), apart=True)
        print_parts(group_errors(record), apart=True)
        print_parts(held_out_intervals(opened.held_out_intervals(), record.units), apart=True)
    elif directory.written_by_program() is not None:
        result("\nresults")
        print_parts(own_results(directory, record))
    print_parts(calibrated(opened.calibrations.values()), apart=True)
    for name, evaluation in opened.evaluations.items():
        result("")
        print_evaluation(evaluation, opened.held_out_intervals(name))
    result("\nfiles")
    for line in _files(directory.path):
        result(f"  {in_one_line(line)}")


SHOWN = (".png", ".pdf", ".nc", ".npy", ".csv", ".safetensors", ".jsonl", ".txt")

NEW_LINE = "\n"

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
