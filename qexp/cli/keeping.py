"""qexp tag, note, rm, restore, purge, push, pull, imports, export, verify, action, doctor, ..."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qexp import api
from qexp.api.progress import TrainingDisplay, warnings_told
from qexp.base.files import in_bytes, size_of
from qexp.base.options import Opening, argument, option, words_of
from qexp.base.workspace import find
from qexp.cli.console import (
    JSON,
    OTHER_RUNS,
    RUN,
    RUNS,
    WORKSPACE,
    arranged,
    error,
    message,
    print_json,
    print_parts,
    print_table,
    result,
    warning,
)
from qexp.errors import NotFoundError, QexpError, some, suggestion
from qexp.runs.options import (
    ExportOptions,
    ImportOptions,
    PullOptions,
    PurgeOptions,
    PushOptions,
    VerifyOptions,
)
from qexp.runs.order import WeightsOrder

if TYPE_CHECKING:
    from qexp.remotes.transfer import Transfer
    from qexp.upkeep.trash import Trashed


YES = option(False, "Do not ask for confirmation.", "--yes -y")


@arranged(passed_on="words")
def action(
    words: list[str],
    name: str | None = argument(
        None,
        "A table [actions.NAME] in qexp.toml; all of them are listed if left out.",
        complete="actions",
    ),
    runs: list[str] = OTHER_RUNS,
    as_json: bool = JSON,
    workspace: str | None = WORKSPACE,
) -> None:
    """Run a command of your own on runs: its output is kept in actions/NAME of each run.

    The command is divided into words before {run.path}, {run.seed}, {run.test.depth.mae} or any
    other column is filled in, and no shell is called. It starts in the workspace, and writes to
    {action.path}, also in QEXP_ACTION_DIR. What follows -- is added to the command as it is.
    """
    if name is None and not words:
        _print_actions(as_json, workspace)
        return
    if name is None or not runs:
        raise QexpError(
            f"name the runs ahead of --: qexp action {name or 'NAME'} RUN... -- WORD..."
        )
    home = find(workspace)
    documents = []
    failed = []
    count = 0
    for run, acted in api.act(name, runs, words=words, workspace=workspace):
        count += 1
        if isinstance(acted, QexpError):
            failed.append(acted.exit_code)
            error(acted)
            continue
        documents.append({**acted.record, "path": str(acted.folder)})
        if not acted.done:
            failed.append(1)
            why = acted.record["error"] or f"exit code {acted.record['exit_code']}"
            error(f"{name} failed on {run}: {why}; see {home.shown(acted.folder / 'log.txt')}")
        elif not as_json:
            message(f"{name} on {run}: done")
            result(home.shown(acted.folder))
    if as_json:
        print_json(documents)
    if failed:
        raise typer.Exit(4 if len(failed) < count else failed[0])


def _print_actions(as_json: bool, workspace: str | None) -> None:
    actions = [asdict(action) for action in api.actions(workspace=workspace).values()]
    if as_json:
        print_json(actions)
    elif actions:
        print_table(list(actions[0]), [list(action.values()) for action in actions])
    else:
        message(
            'no actions; define one in qexp.toml: [actions.NAME] and below it command = "python'
            ' plot.py {run.path}"'
        )


def tag(
    runs: list[str] = RUNS,
    add: list[str] = option((), "Add a tag; repeat for more.", "--add -a TAG"),
    remove: list[str] = option((), "Remove a tag; repeat for more.", "--remove -r TAG"),
    workspace: str | None = WORKSPACE,
) -> None:
    """Add and remove tags of runs, also during training; without options, print them. See `qexp ls
    --tag TAG`.
    """
    try:
        chosen = api.open_runs(runs, workspace=workspace)
    except NotFoundError as error:
        if len(runs) > 1:
            tags = shlex.join(word for tag in [*add, runs[-1]] for word in ("--add", tag))
            raise NotFoundError(
                f"{error}; a tag is added by --add: qexp tag {shlex.quote(runs[0])} {tags}"
            ) from None
        raise
    if not add and not remove:
        print_table(["name", "tags"], [[run.name, " ".join(run.record["tags"])] for run in chosen])
    else:
        for run in chosen:
            tags = run.record["tags"]
            run.tag(*add, remove=remove)
            for tag in dict.fromkeys(remove):
                if tag not in tags:
                    message(f"{run.name} has no tag '{tag}'; {suggestion(tag, tags)}")


def note(
    run: str = RUN,
    text: str | None = argument(
        None, "The new note; '' deletes it. The note is printed if left out."
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    """Write a note on a run, also while it is training; without a text, print it."""
    written = api.open_run(run, workspace=workspace).note(text)
    if text is None and written:
        result(written)


def rm(
    runs: list[str] = argument(
        ...,
        "Runs: full names, paths, or quoted patterns such as 'mogi_*'.",
        "RUN...",
        complete="runs",
    ),
    stop: bool = option(False, "Stop running ones first."),
    yes: bool = YES,
    workspace: str | None = WORKSPACE,
) -> None:
    """Move runs to the trash, from which `qexp restore` brings them back."""
    removed = api.remove(
        runs, stop=stop, confirm=None if yes else _confirm_removal, workspace=workspace
    )
    for run in removed:
        message(f"{run.name} is in the trash; restore it with: qexp restore {run.name}")


def _confirm_removal(names: Sequence[str]) -> None:
    if len(names) > 1 and sys.stdin.isatty():
        ask(f"move {len(names)} runs to the trash: {some(names, 8)}?")


def ask(question: str) -> None:
    """Ask for confirmation on the terminal; without it the command ends."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        message("nothing was changed")
        raise typer.Exit(130)


def restore(
    run: str | None = argument(
        None, "A removed run: its name, or its name in the trash.", "[NAME]", complete="trashed"
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    """Restore a run from the trash, the newest with that name; without a name, list the trash."""
    if run is not None:
        message(f"{api.restore(run, workspace=workspace).name} is restored")
        return
    entries = api.trash(workspace=workspace)
    if not entries:
        message("the trash is empty")
        return
    rows = [
        [run.name, f"{run.removed:%Y-%m-%d %H:%M}", in_bytes(size_of(run.data)), run.path.name]
        for run in entries
    ]
    print_table(["run", "removed", "size", "name in the trash"], rows, right=["size"])


def purge(
    options: PurgeOptions,
    yes: bool = YES,
    cache: bool = option(
        False,
        "Delete cached training arrays of all your workspaces instead; they are made again"
        " when needed.",
    ),
) -> None:
    if cache:
        deleted = api.purge_cache(options.older_than)
        freed = f"the cache of all workspaces, {in_bytes(deleted.freed)} freed"
        message(f"{deleted.files} files deleted from {deleted.folder}, {freed}")
        return
    done = api.purge(**{**vars(options), "confirm": None if yes else _confirm_purge})
    error(*done.problems)
    for name in done.gone:
        message(f"{name} is no longer in the trash: another process restored or deleted it")
    total = len(done.names) + len(done.problems) + len(done.gone)
    if not total:
        message("nothing to delete")
        return
    message(f"{len(done.names)} of {total} runs deleted, {in_bytes(done.freed)} freed")
    if done.problems:
        raise typer.Exit(4 if done.names else 2)


def _confirm_purge(doomed: Sequence[Trashed]) -> None:
    size = in_bytes(sum(size_of(entry.data) for entry in doomed))
    names = some([entry.name for entry in doomed], 8)
    question = f"delete {len(doomed)} run{'s' * (len(doomed) != 1)} permanently ({size}): {names}"
    if not sys.stdin.isatty():
        raise QexpError(f"this would {question}; without a terminal to ask on, add --yes")
    ask(f"{question}?")


def doctor(
    fix: bool = option(False, "Repair what can be repaired without loss."),
    as_json: bool = JSON,
    workspace: str | None = WORKSPACE,
) -> None:
    """Find problems in the workspace and advise what to do.

    It exits with 5 if something remains damaged.
    """
    home = find(workspace)
    findings = api.doctor(fix=fix, workspace=workspace)
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        for finding in findings:
            path = home.shown(finding.where)
            where = path if path.isprintable() else repr(path)
            result(f"{where}: {finding.what}")
            result(f"    {'repaired' if finding.repaired else finding.advice}")
    remaining = [finding for finding in findings if not finding.repaired]
    damaged = sum(finding.damaged for finding in remaining)
    counts = f"{len(findings)} found, {len(findings) - len(remaining)} repaired, {damaged} damaged"
    message(counts if findings else "no problems found")
    repairable = sum(finding.repair is not None for finding in remaining)
    if repairable and not fix:
        message(f"--fix would repair {repairable}")
    raise typer.Exit(5 if damaged else 0)


def reindex(workspace: str | None = WORKSPACE) -> None:
    """Build the catalog again from the run directories."""
    message(f"{api.reindex(warn=warning, workspace=workspace)} runs")


def export(options: ExportOptions, run: str = RUN) -> None:
    """Export a run to an archive with checksums, which `qexp import` reads; or its network to a
    folder.

    The network can be used without qexp, and as ONNX without torch; a README in the folder explains
    how.
    """
    target = Path(options.to)
    for_mlflow = options.format == "mlflow"
    if api.is_archive(target) or for_mlflow:
        words = words_of(options, ("to", "trust_code", "workspace", "format" * for_mlflow))
        if words:
            raise QexpError(
                f"{words[0]} is for networks, but --to {target} is an archive of the run; give a"
                " folder's name"
            )
        chosen = api.open_run(run, workspace=options.workspace)
        chosen.export(target, options.format)
        message(f"{chosen.name} is in {target}, {in_bytes(target.stat().st_size)}")
        return
    chosen = api.open_run(run, trust_code=options.trust_code, workspace=options.workspace)
    exported = api.export_network(chosen, **vars(options))
    networks = exported.about["networks"]
    held = "the network" if networks == 1 else f"the {networks} networks"
    sizes = ", ".join(f"{name} {in_bytes(size)}" for name, size in exported.files.items())
    message(f"{target} holds {held} of {chosen.name}: {sizes}")


@arranged(described="import_run")
def import_(
    options: ImportOptions, file: Path = argument(..., "An archive that `qexp export` wrote.")
) -> None:
    run = api.import_run(file, **vars(options))
    message(f"{run.name} is in {options.home.shown(run.path)}")
    if run.own_code:
        executed = "is not executed without --trust-code"
        if options.trust_code:
            executed = "commands execute from now on"
        warning(f"the run contains code, which {executed}: {run.own_code}")


def import_runs(
    path: Path = argument(
        ...,
        "A project of Qanat, or the YAML of an experiment; mlflow.db or mlruns; a folder of"
        " TensorBoard, Sacred or DVCLive.",
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    """Read the finished runs of another tracker, for tables and comparisons; those that are there
    already stay.

    Of an experiment of Qanat, as YAML, experiences are written.
    """
    if path.suffix in (".yaml", ".yml"):
        result(*api.import_experiment(path, workspace=workspace))
        return
    with warnings_told(warning):
        runs = api.import_runs(path, workspace=workspace)
    result(*(run.name for run in runs))
    message(f"{len(runs)} new run{'s' if len(runs) != 1 else ''} from {path}")


# qexp push and pull


REMOTE = argument(..., "A URL, the path of a folder, or a name in qexp.toml.")


def push(*, remote: str = REMOTE, options: PushOptions) -> None:
    _end_transfer(api.push(remote, **vars(options)), "pushed")


def pull(*, remote: str = REMOTE, options: PullOptions) -> None:
    _end_transfer(api.pull(remote, **vars(options)), "pulled")


def _end_transfer(transfer: Transfer, verb: str) -> None:
    """Say what was done, and end with the exit code of that."""
    error(*transfer.failed.values())
    count = len(transfer.sizes)
    runs = f"{len(transfer.done):,} run{'s' * (len(transfer.done) != 1)} {verb}"
    files = (
        f" ({count:,} file{'s' * (count != 1)}, {in_bytes(sum(transfer.sizes))})" if count else ""
    )
    again = "; the same command goes on" if transfer.interrupted else ""
    message(f"{runs}{files}, {len(transfer.there):,} there already{again}")
    if transfer.interrupted:
        raise typer.Exit(130)
    if failed := {problem.exit_code for problem in transfer.failed.values()}:
        raise typer.Exit(4 if transfer.done or transfer.there else max(failed))


def import_weights(options: WeightsOrder) -> None:
    run = api.import_weights(**vars(options))
    record = run.directory.record()
    origin = record.foreign_weights
    assert origin is not None
    left_out = "".join(f", {count} left out ({why})" for why, count in origin.left_out.items())
    message(f"{run.name}: {origin.taken} tensors by the rules '{origin.rules}'{left_out}")
    for variable, source in origin.transforms.items():
        message(f"transform of '{variable}': {source}")
    if origin.azimuth:
        azimuths = f"azimuths {math.degrees(origin.azimuth):+g}°, as the run's dataset makes"
        message(
            f"trained on images at {azimuths}:"
            f" {', '.join(record.overrides[len(options.overrides) :])}"
        )
    warning(*origin.remarks, *([record.caution] if record.caution else []))
    if not run.spec["transforms"]:
        message("no transforms: the network takes and makes values in the units of the dataset")
    message(
        f"{run.name} is in {options.home.shown(run.path)}: model {record.model}, dataset"
        f" {record.dataset}"
    )


def verify(options: VerifyOptions, opening: Opening, run: str = RUN, as_json: bool = JSON) -> None:
    """Repeat a finished run in another folder and compare all results bit by bit; exit with 1 if
    they differ.
    """
    verification = api.open_run(run, **vars(opening)).verify(
        **{**vars(options), "display": TrainingDisplay()}
    )
    if as_json:
        print_json(verification.document())
    else:
        result(f"{verification.run}: {verification.verdict}\n")
        print_parts(verification.parts())
    if options.keep is not None:
        message(f"the repeated run is kept in {options.keep}")
    elif verification.error:
        message("the repeated run was deleted; keep it and its log with --keep DIR")
    raise typer.Exit(0 if verification.holds else 1)
