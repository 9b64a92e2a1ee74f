"""qexp action, tag, note, rm, restore, purge, doctor, reindex, export, import, import-weights, verify"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.base.files import in_bytes, size_of
from qexp.base.workspace import find
from qexp.cli import completion, texts
from qexp.cli.arguments import RUNS, RunArgument, RunsArgument, TrashedArgument, TrustCodeOption, with_options
from qexp.cli.console import JsonOption, WorkspaceOption, error, message, print_json, print_table, result, warning
from qexp.errors import QexpError
from qexp.metrics.meaning import number
from qexp.runs.order import WeightsOrder

if TYPE_CHECKING:
    from qexp.upkeep.trash import Trashed
    from qexp.upkeep.verify import Largest, Verification


def action(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A table [actions.NAME] in qexp.toml; all of them are listed if left out.",
            autocompletion=completion.actions,
        ),
    ] = None,
    runs: Annotated[list[str] | None, RUNS] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Run a command of your own on runs: its output is kept in actions/NAME of each run.

    The command is divided into words before {run.path}, {run.seed}, {run.test.depth.mae} or any other column is filled
    in, and no shell is called. It starts in the workspace, and writes to {action.path}, also in QEXP_ACTION_DIR.
    """
    if name is None:
        _print_actions(as_json, workspace)
        return
    if not runs:
        raise QexpError(f"name the runs: qexp action {name} RUN...")
    place, documents, failed, count = find(workspace), [], [], 0
    for run, acted in api.act(name, runs, workspace=workspace):
        count += 1
        if isinstance(acted, QexpError):
            failed.append(acted.exit_code)
            error(acted)
            continue
        documents.append({**acted.record, "path": str(acted.folder)})
        if not acted.done:
            failed.append(1)
            why = acted.record["error"] or f"exit code {acted.record['exit_code']}"
            error(f"{name} failed on {run}: {why}; see {place.shown(acted.folder / 'log.txt')}")
        elif not as_json:
            message(f"{name} on {run}: done")
            result(place.shown(acted.folder))
    if as_json:
        print_json(documents)
    if failed:
        raise typer.Exit(4 if len(failed) < count else failed[0])


def _print_actions(as_json: bool, workspace: str | None) -> None:
    known = api.actions(workspace=workspace)
    if as_json:
        print_json([{"name": one.name, "command": one.command, "help": one.help} for one in known.values()])
    elif known:
        print_table(["name", "command", "help"], [[one.name, one.command, one.help] for one in known.values()])
    else:
        message(
            'no actions; define one in qexp.toml: [actions.NAME] and below it command = "python plot.py {run.path}"'
        )


# qexp tag


def tag(
    runs: RunsArgument,
    add: Annotated[
        list[str] | None, typer.Option("--add", "-a", metavar="TAG", help="Add a tag; repeat for more.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", "-r", metavar="TAG", help="Remove a tag; repeat for more.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Add and remove tags of runs, also during training; without options, print them. See `qexp ls --tag TAG`."""
    opened = api.open_runs(runs, workspace=workspace)
    if not add and not remove:
        print_table(["name", "tags"], [[one.name, " ".join(one.record["tags"])] for one in opened])
    else:
        for one in opened:
            one.tag(*(add or []), remove=remove or [])


# qexp note


def note(
    run: RunArgument,
    text: Annotated[
        str | None, typer.Argument(help="The new note; '' deletes it. The note is printed if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a note on a run, also while it is training; without a text, print it."""
    written = api.open_run(run, workspace=workspace).note(text)
    if text is None and written:
        result(written)


# qexp rm


def rm(
    runs: RunsArgument,
    stop_them: Annotated[bool, typer.Option("--stop", help="Stop running ones first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Move runs to the trash, from which `qexp restore` brings them back."""
    for entry in api.remove(runs, stop=stop_them, confirm=None if yes else _confirm_removal, workspace=workspace):
        message(f"{entry.name} is in the trash; restore it with: qexp restore {entry.name}")


def _confirm_removal(names: Sequence[str]) -> None:
    if len(names) > 1 and sys.stdin.isatty():
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        ask(f"move {len(names)} runs to the trash: {listed}?")


def ask(question: str) -> None:
    """Ask for confirmation on the terminal; without it the command ends."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        message("nothing was changed")
        raise typer.Exit(130)


# qexp restore


def restore(
    run: TrashedArgument = None,
    workspace: WorkspaceOption = None,
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
        [entry.name, f"{entry.since:%Y-%m-%d %H:%M}", in_bytes(size_of(entry.data)), entry.path.name]
        for entry in entries
    ]
    print_table(["run", "removed", "size", "name in the trash"], rows, right=["size"])


# qexp purge


def purge(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Only what was removed, or last used, longer ago than this: 30d, 12h, 90m, 2w."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache",
            help="Delete cached training arrays of all your workspaces instead; they are made again when needed.",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Delete the runs in the trash permanently."""
    age = texts.age(older_than)
    if cache:
        deleted = api.purge_cache(age)
        message(
            f"{deleted.files} files deleted from {deleted.folder}, the cache of all workspaces, "
            f"{in_bytes(deleted.freed)} freed"
        )
        return
    done = api.purge(age, confirm=None if yes else _confirm_purge, workspace=workspace)
    for problem in done.problems:
        error(problem)
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
    names = ", ".join(entry.name for entry in doomed[:8]) + (", …" if len(doomed) > 8 else "")
    question = f"delete {len(doomed)} run{'s' * (len(doomed) != 1)} permanently ({size}): {names}"
    if not sys.stdin.isatty():
        raise QexpError(f"this would {question}; without a terminal to ask on, add --yes")
    ask(f"{question}?")


# qexp doctor


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired without loss.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Find problems in the workspace and advise what to do; exit with 5 if something remains damaged."""
    place = find(workspace)
    found = api.doctor(fix=fix, workspace=workspace)
    if as_json:
        print_json([finding.document() for finding in found])
    else:
        for finding in found:
            shown = place.shown(finding.where)
            where = shown if shown.isprintable() else repr(shown)
            result(f"{where}: {finding.what}\n    {'repaired' if finding.repaired else finding.advice}")
    left = [finding for finding in found if not finding.repaired]
    damaged = sum(finding.damaged for finding in left)
    repairable = sum(finding.repair is not None for finding in left)
    if found:
        message(f"{len(found)} found, {len(found) - len(left)} repaired, {damaged} damaged")
    else:
        message("no problems found")
    if repairable and not fix:
        message(f"--fix would repair {repairable}")
    raise typer.Exit(5 if damaged else 0)


# qexp reindex


def reindex(workspace: WorkspaceOption = None) -> None:
    """Build the catalog again from the run directories."""
    message(f"{api.reindex(warn=warning, workspace=workspace)} runs")


# qexp export


def export(
    run: RunArgument,
    to: Annotated[
        Path,
        typer.Option(
            metavar="FILE|DIR", help="For the run: a new file .tar.zst, .tar.gz or .tar. For its network: a folder."
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="onnx|torchscript|keras",
            help="Format of the network; onnx if left out.",
            autocompletion=completion.formats,
        ),
    ] = None,
    physical: Annotated[
        bool, typer.Option("--physical", help="Include the transforms in the network: physical units in and out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a network that was exported before.")] = False,
    trust_code: TrustCodeOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Export a run to an archive with checksums, which `qexp import` reads; or its network to a folder.

    The network can be used without qexp, and as ONNX without torch; a README in the folder explains how.
    """
    if api.is_archive(to):
        given = {"--format": format, "--physical": physical, "--overwrite": overwrite}
        if option := next((name for name, value in given.items() if value), None):
            raise QexpError(f"{option} is for networks, but --to {to} is an archive of the run; give a folder's name")
        opened = api.open_run(run, workspace=workspace)
        opened.export(to)
        message(f"{opened.name} is in {to}, {in_bytes(to.stat().st_size)}")
        return
    opened = api.open_run(run, trust_code=trust_code, workspace=workspace)
    made = api.export_network(opened, to, format or "onnx", physical=physical, overwrite=overwrite)
    networks = made.about["networks"]
    whose = f"the network of {opened.name}" if networks == 1 else f"the {networks} networks of {opened.name}"
    sizes = ", ".join(f"{name} {in_bytes(size)}" for name, size in made.files.items())
    message(f"{to} holds {whose}: {sizes}")


# qexp import


def import_(
    file: Annotated[Path, typer.Argument(help="An archive that `qexp export` wrote.")],
    name: Annotated[str | None, typer.Option(help="New name of the run; its own if left out.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Allow commands to execute the run's code, code/extensions.py.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Import the run of an archive; the whole archive is checked before anything is written."""
    place = find(workspace)
    run = api.import_run(file, name=name, trust_code=trust_code, workspace=workspace)
    message(f"{run.name} is in {place.shown(run.path)}")
    if run.own_code:
        if trust_code:
            warning(f"the run contains code, which commands execute from now on: {run.own_code}")
        else:
            warning(f"the run contains code, which is not executed without --trust-code: {run.own_code}")


# qexp import-weights


@with_options(WeightsOrder)
def import_weights(options: WeightsOrder) -> None:
    """Make a finished run of weights that another program trained: PyTorch, safetensors or Keras."""
    run = api.import_weights(**vars(options))
    record = run.directory.record()
    origin = record.foreign_weights
    assert origin is not None
    left_out = "".join(f", {count} left out ({why})" for why, count in origin.left_out.items())
    message(f"{run.name}: {origin.taken} tensors by the rules '{origin.rules}'{left_out}")
    for variable, from_where in origin.transforms.items():
        message(f"transform of '{variable}': {from_where}")
    if origin.azimuth:
        changed = ", ".join(record.overrides[len(options.overrides) :])
        message(
            f"trained on images at azimuths {math.degrees(origin.azimuth):+g}°, as the run's dataset makes: {changed}"
        )
    for text in [*origin.remarks, *([record.caution] if record.caution else [])]:
        warning(text)
    if not run.spec["transforms"]:
        message("no transforms: the network takes and makes values in the units of the dataset")
    place = find(options.workspace).shown(run.path)
    message(f"{run.name} is in {place}: model {record.model}, dataset {record.dataset}")


# qexp verify


LONGEST = 48
"""Characters of a value that are shown; --json has all."""


def verify(
    run: RunArgument,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New or empty folder in which the repeated run is kept.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Compute device: auto, cpu or cuda; that of the run if left out.", autocompletion=completion.devices
        ),
    ] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Repeat a finished run in another folder and compare all results bit by bit; exit with 1 if they differ."""
    verification = api.open_run(run, trust_code=trust_code, workspace=workspace).verify(keep=keep, device=device)
    if as_json:
        print_json(verification.document())
    else:
        _print(verification)
    if keep is not None:
        message(f"the repeated run is kept in {keep}")
    elif verification.error:
        message("the repeated run was deleted; keep it and its log with --keep DIR")
    raise typer.Exit(0 if verification.holds else 1)


def _print(verification: Verification) -> None:
    verdict = "identical, bit for bit" if verification.holds else "NOT identical"
    if verification.error:
        verdict = f"NOT repeated; it failed this time: {verification.error}"
    result(f"{verification.run}: {verdict}\n")
    if not verification.error:
        print_table(["what", "then and now"], [[name, _outcome(verification, name)] for name in verification.identical])
        result("")
    result(f"code: {verification.code}")
    if verification.changes:
        result("\nwhat changed since")
        rows = [[one.what, _brief(one.then), _brief(one.now)] for one in verification.changes]
        print_table(["what", "then", "now"], rows)
    else:
        result("packages, machine and settings: unchanged")


def _brief(value: str | None) -> str:
    if value is None:
        return "-"
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _outcome(verification: Verification, name: str) -> str:
    if verification.identical[name]:
        return f"identical, {verification.epochs} epochs" if name == "metrics" else "identical"
    if name == "metrics":
        return f"differ from epoch {verification.first_epoch} on, of {verification.epochs}"
    return f"differ, most in {_most(verification.largest[name])}" if name in verification.largest else "differ"


def _most(largest: Largest) -> str:
    return largest.where if largest.difference is None else f"{largest.where}: by {number(largest.difference)}"
