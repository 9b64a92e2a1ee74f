"""Keeping runs: trash, archives, actions, and the state of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.api.handles import Run, Runs, open_runs, references_of
from qexp.api.progress import counted
from qexp.base import workspace as workspaces
from qexp.base.options import Report, as_warning, displayed, takes, uncounted
from qexp.base.text import Table
from qexp.errors import QexpError
from qexp.jobs.launchers import find_launch
from qexp.jobs.states import ask_to_stop, require_stoppable, wait_for_end
from qexp.runs.catalog import Catalog
from qexp.runs.options import ImportOptions, PullOptions, PurgeOptions, PushOptions
from qexp.runs.order import WeightsOrder
from qexp.upkeep import archive, trash as trashes
from qexp.upkeep.trash import Purged, Trashed
from qexp.web.html import Titled, View

if TYPE_CHECKING:
    from qexp.remotes.transfer import Transfer
    from qexp.runs.actions import Acted, Action
    from qexp.upkeep.doctor import Finding


def actions(*, workspace: str | Path | None = None) -> dict[str, Action]:
    """Name → action, of those that qexp.toml defines: `command` and `help`.

    >>> qexp.api.actions()["size"].command
    'du -s {run.path}'
    """
    from qexp.runs.actions import actions_of

    return actions_of(workspaces.find(workspace))


def act(
    action: str,
    references: Runs,
    *,
    words: Sequence[str] = (),
    workspace: str | Path | None = None,
) -> Iterator[tuple[str, Acted | QexpError]]:
    """Run an action on runs, one after another. Yields the name of each with the result.

    action      its name in qexp.toml
    references  names, unique prefixes, paths, and patterns such as "mogi_*"
    words       what the program gets behind the words of its command, as it is
    yields      `folder` with the program's output, and `record`: command, times, exit code, code;
                or the error that prevented its start
    Raises NotFoundError for an unknown action.

    >>> [(name, acted.record["exit_code"]) for name, acted in qexp.act("size", "mogi_quick_0")]
    [('mogi_quick_0', 0)]
    """
    from qexp.runs.actions import find_action, run_action

    home = workspaces.find(workspace)
    if isinstance(words, str):
        raise QexpError(f"`words={words}`: give a list, such as words={words.split()}")
    command = find_action(action, home)
    chosen = open_runs(references, workspace=home.root)
    summaries = {run["path"]: run for run in Catalog(home).runs()}
    for run in chosen:
        try:
            summary = summaries.get(str(run.path)) or {**run.record, "path": str(run.path)}
            yield run.name, run_action(command, run.directory, summary, home, words)
        except QexpError as error:
            yield run.name, error


def remove(
    references: Runs,
    *,
    stop: bool = False,
    confirm: Callable[[Sequence[str]], None] | None = None,
    workspace: str | Path | None = None,
) -> list[Trashed]:
    """Move runs to the trash, from which `restore` brings them back.

    references  full names, paths, and patterns such as "mogi_*"
    stop        stop running ones first
    confirm     receives the names before anything is changed; an exception that it raises ends the
                call

    >>> qexp.run("mogi_quick", name="failed_idea")
    <run failed_idea: done>
    >>> [trashed.name for trashed in qexp.api.remove("failed_idea")]
    ['failed_idea']
    """
    home = workspaces.find(workspace)
    directories = trashes.runs_to_remove(references_of(references, home.root), home)
    if confirm is not None:
        confirm([directory.name for directory in directories])
    if stop:
        at_work = list(trashes.in_use(directories))
        for directory in at_work:  # before any is stopped
            require_stoppable(directory)
        stopping = [directory for directory in at_work if ask_to_stop(directory)]
        for directory in stopping:
            wait_for_end(directory)
    return trashes.removed(directories, home)


def trash(*, workspace: str | Path | None = None) -> list[Trashed]:
    """The runs in the trash, the oldest first: `name`, `since`, and the `data` on the disk.

    >>> [trashed.name for trashed in qexp.api.trash()]
    [...]
    """
    return trashes.entries(workspaces.find(workspace))


def restore(name: str, *, workspace: str | Path | None = None) -> Run:
    """Bring back the newest run of that name in the trash.

    name  of the run when it was removed

    >>> qexp.open_run("mogi_quick_0").remove()
    >>> qexp.restore("mogi_quick_0")
    <run mogi_quick_0: done>
    """
    return Run(trashes.restore(name, workspaces.find(workspace)))


@takes(PurgeOptions)
def purge(options: PurgeOptions) -> Purged:
    """Delete the runs in the trash permanently.

    returns     the `names` of deleted runs, the bytes `freed`, the `problems` of runs that could
                not be deleted, and `gone`: runs that another process restored or deleted in the
                meantime

    >>> from datetime import timedelta
    >>> qexp.purge(timedelta(days=30)).names
    []
    """
    runs = trashes.doomed(options.home, options.older_than)
    if options.confirm is not None and runs:
        options.confirm(runs)
    return trashes.purge_runs(runs, options.home)


@dataclass(frozen=True)
class PurgedCache:
    """What was deleted from the cache of prepared arrays."""

    folder: Path
    """The cache."""
    files: int
    """Number of deleted files."""
    freed: int
    """Bytes."""


def purge_cache(older_than: timedelta | None = None) -> PurgedCache:
    """Delete cached arrays and what is known of files, which are made again when training needs
    them.

    older_than  delete only files that were last used longer ago than this

    >>> from datetime import timedelta
    >>> qexp.api.purge_cache(timedelta(days=365)).files
    0
    """
    from qexp.rows.array_cache import cache_folder, unused_for

    deleted = freed = 0
    for path in unused_for(older_than or timedelta()):
        with suppress(FileNotFoundError):  # deleted by another process
            size = path.stat().st_size
            path.unlink()
            deleted += 1
            freed += size
    return PurgedCache(cache_folder(), deleted, freed)


class Findings(Titled, list["Finding"]):
    """Problems of a workspace."""

    def view(self) -> View:
        """What a notebook or a terminal shows of them."""
        rows = [
            [str(one.where), one.what, "repaired" if one.repaired else one.advice] for one in self
        ]
        title = (
            f"{len(self)} problem{'s' * (len(self) != 1)} of the workspace"
            if self
            else "No problems found"
        )
        return View(title, parts=[Table("", ["where", "what", "advice"], rows)] if self else [])


def doctor(*, fix: bool = False, workspace: str | Path | None = None) -> Findings:
    """The problems of the workspace, each with advice; an empty list if there are none. See `qexp
    doctor`.

    fix  repair what can be repaired without loss; such findings are `repaired`

    >>> [finding.advice for finding in qexp.doctor() if finding.damaged]
    []
    """
    from qexp.upkeep.doctor import findings, repair_finding

    found = Findings(findings(workspaces.find(workspace)))  # all, before anything is repaired
    return Findings(map(repair_finding, found)) if fix else found


def reindex(*, warn: Report = as_warning, workspace: str | Path | None = None) -> int:
    """Build the catalog again from the run directories; returns the number of runs.

    warn  receives a line for each run that cannot be read, and if the catalog cannot be written

    >>> qexp.reindex() > 0
    True
    """
    return Catalog(workspaces.find(workspace), warn).reindex()


@takes(WeightsOrder)
def import_weights(options: WeightsOrder) -> Run:
    """Make a finished run of weights that another program trained: PyTorch, safetensors or Keras.

    Raises QexpError, before anything is written: for files that hold more than tensors, for tensors
    that are left over, missing or of another shape.

    >>> qexp.import_weights("best.h5", to="vdi_best", experience="mogi_standard")
    <run vdi_best: done>
    """
    from qexp.runs.import_weights import import_weights as import_foreign

    return Run(import_foreign(options, options.home))


def import_runs(
    path: str | Path, *, display: bool | None = None, workspace: str | Path | None = None
) -> list[Run]:
    """Read the finished runs of another tracker into the workspace; returns those that were not
    there before.

    path     a project of Qanat, a database or folder `mlruns` of MLflow, or a folder of
             TensorBoard, Sacred or DVCLive
    display  False: no bar; a bar if left out

    Raises QexpError before anything is written.

    >>> path = qexp.open_run("mogi_quick_0").export("mlflow.db", "mlflow")
    >>> qexp.import_runs(path)
    [<run mogi_quick_...: done>]
    """
    from qexp.runs.trackers import import_runs as import_from

    with displayed(display), counted(uncounted, "import", "runs") as written:
        return [
            Run(directory)
            for directory in import_from(Path(path), workspaces.find(workspace), written)
        ]


def import_experiment(file: str | Path, *, workspace: str | Path | None = None) -> list[Path]:
    """Write an experience for an experiment of Qanat. Returns the files that were written.

    file  its YAML, as `qanat experiment new -f` takes it; the project must be the workspace

    There is an experience for each of the files of parameters in the experiment's folder, with
    points in `specs/points` if it has several; without any there is one. Actions are added to
    qexp.toml. Raises QexpError before anything is written.

    >>> from pathlib import Path
    >>> _ = Path("width.yaml").write_text("{name: width, executable: specs/programs/half_width.py}")
    >>> [file.name for file in qexp.import_experiment("width.yaml")]
    ['width.json']
    """
    from qexp.runs.trackers import import_experiment as import_from

    return import_from(Path(file), workspaces.find(workspace))


def is_archive(path: str | Path) -> bool:
    """Whether a path has the name of an archive.

    path  of a file that `Run.export` wrote, or of anything else

    >>> qexp.api.is_archive("run.zip"), qexp.api.is_archive("mogi_quick_0")
    (True, False)
    """
    return archive.is_archive(Path(path))


@takes(ImportOptions)
def import_run(file: str | Path, options: ImportOptions) -> Run:
    """Import the run of an archive; the whole archive is checked before anything is written; see
    `qexp import`.

    file  an archive that `qexp export` wrote

    >>> archive = qexp.open_run("mogi_quick_0").export("run.zip")
    >>> qexp.import_run(archive, name="from_elsewhere")
    <run from_elsewhere: done>
    """
    from qexp.upkeep.archive import unpack

    return Run(unpack(Path(file), options.home, options.name, trust_code=options.trust_code))


@takes(PushOptions)
def push(remote: str, options: PushOptions) -> Transfer:
    """Push runs to a remote: a folder, or an address such as ssh://HOST/FOLDER or
    s3://BUCKET/FOLDER.

    Only what is missing there is sent; each run appears when all of it is there. Matrices,
    evaluations and figures are parts of their run.

    remote  a URL, the path of a folder, or a name in qexp.toml

    returns     names of runs that were pushed (`done`) and that were `there`; `failed`: run → error

    >>> qexp.push("./shared", "mogi_quick_0").failed
    {}
    """
    from qexp.remotes import place, transfer

    home = options.home
    asked = () if options.launch is None else find_launch(options.launch, home).record().asked
    launched = [
        name for name in asked if (home.runs / name).exists()
    ] or asked  # some may be removed since
    runs = open_runs([*options.runs, *launched] or "*", workspace=home.root)
    there = place.open_remote(remote, home, create=True)
    with counted(options.count, f"pushing to {there.shown}", "runs") as count:
        return transfer.push(
            [run.directory for run in runs], there, home, replace(options, count=count)
        )


@takes(PullOptions)
def pull(remote: str, options: PullOptions) -> Transfer:
    """Pull runs from a remote; each appears when all of it is here and checked, and its code is not
    executed.

    remote  a URL, the path of a folder, or a name in qexp.toml

    returns     names of runs that were pulled (`done`) and that were `there`; `failed`: run → error

    >>> pushed = qexp.push("./shared", "mogi_quick_0")
    >>> qexp.pull("./shared", "mogi_quick_0", name="a_copy").done
    ['mogi_quick_0']
    """
    from qexp.remotes import place, transfer

    there = place.open_remote(remote, options.home)
    with counted(options.count, f"pulling from {there.shown}", "runs") as count:
        return transfer.pull(there, options.home, replace(options, count=count))
