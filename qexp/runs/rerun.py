"""A new run from the spec that another run holds, by the present code or by the code of that
time.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp.base.machine import start_child, terminable
from qexp.base.workspace import PACKAGE, Workspace
from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.jobs.scheduler import Wrap
from qexp.jobs.states import Watch
from qexp.kinds import experiments
from qexp.kinds.experiments import Experience
from qexp.kinds.objects import require_device_name
from qexp.runs.execute import require_executable
from qexp.runs.launch import execute_here, goes_on, wrap_here
from qexp.runs.order import RerunOptions
from qexp.runs.plan import plan_run
from qexp.runs.prepare import Plan, prepare
from qexp.store import provenance
from qexp.store.directory import FOLDS, RunDirectory, require_valid_annotations
from qexp.store.record import Record, State

log = logging.getLogger("qexp.run")


def rerun(original: RunDirectory, workspace: Workspace, options: RerunOptions) -> RunDirectory:
    """Train a run's spec once more as a new run, which is returned, with the run's own extensions.

    Raises QexpError, before anything is written, for a run that cannot be repeated, a name that is
    taken, and a commit that is not there.
    """
    record = original.record()
    _require_repeatable(original, record)
    require_valid_annotations(options.tags, options.note)
    require_device_name(options.device)
    wrap = wrap_here(workspace, {}, options.device)
    experience = _experience(original, record, workspace, options.overrides)
    seed = record.seed if options.seed is None else options.seed
    name = f"{original.name}_rerun"
    numbers = itertools.count(2)
    while os.path.lexists(workspace.runs / name):
        name = f"{original.name}_rerun_{next(numbers)}"
    planned = plan_run(experience, seed, options.name or name, workspace)
    planned = replace(planned, tags=tuple(options.tags), note=options.note, rerun_of=record.name)
    if (planned.digest, seed) == (record.digest, record.seed):
        planned = replace(planned, stack=record.stack)  # its bits depend on it
    for text in planned.warnings:
        log.warning("%s", text)
    if not options.overrides and planned.digest != record.digest:
        log.warning(
            "files that %s was made from have changed since; its digest is another", record.name
        )
    if not options.at_commit:
        directory = _prepare(planned, workspace)
        execute_here(directory, wrap, options.device, options.display, experience.dataset)
        return directory
    if options.overrides:
        raise QexpError("`at_commit` runs the spec as it was written then; leave out `overrides`")
    with _checkout(original) as (checkout, commit):
        as_then = replace(
            planned, spec=original.spec_as_written(), digest=record.digest, checkout=checkout
        )
        directory = _prepare(as_then, workspace)
        _execute_in(checkout, commit, directory, options.device, wrap)
    return directory


def continue_run(
    directory: RunDirectory, workspace: Workspace, options: RerunOptions
) -> RunDirectory:
    """Continue an interrupted run from the spec that it holds, whatever the files in specs/ have
    become.

    A finished run is left alone. Raises QexpError for one that is at work or cannot be continued,
    and for changes.
    """
    if options.changes:
        raise QexpError(
            "`resume` continues the run as it is; leave out `name`, `seed`, `overrides`, `tags` and"
            " `note`"
        )
    _require_repeatable(directory, directory.record())
    wrap = wrap_here(workspace, {}, options.device)
    if not goes_on(directory.name, Watch().state(directory), resume=True):
        return directory
    if not options.at_commit:
        execute_here(directory, wrap, options.device, options.display, None)
        return directory
    with _checkout(directory) as (checkout, commit):
        _execute_in(checkout, commit, directory, options.device, wrap)
    return directory


def _require_repeatable(original: RunDirectory, record: Record) -> None:
    if original.path.parent.name == FOLDS:
        raise QexpError(f"{original.name} is a fold; rerun the run that it belongs to")
    if record.foreign_weights is not None:
        raise QexpError(
            f"{record.name} has weights that another program trained; there is nothing to repeat"
        )
    original.require_trust()
    require_executable(record)


def _experience(
    original: RunDirectory, record: Record, workspace: Workspace, overrides: Mapping[str, Any]
) -> Experience:
    """The experience that a run holds, checked, with changes."""
    at_run = replace(workspace, own_extensions=original.extensions)
    original.spec()  # that it is whole
    experience = experiments.experience(str(original.spec_file.absolute()), overrides, at_run)
    return replace(
        experience,
        name=record.experience,
        dataset_name=record.dataset,
        model_name=record.model,
        overrides=(*record.overrides, *experience.overrides),
        warnings=(),  # about a text that nobody wrote
    )


def _prepare(planned: Plan, workspace: Workspace) -> RunDirectory:
    try:
        return prepare(planned, workspace)
    except FileExistsError:
        raise QexpError(f"a run {planned.name} exists already; choose another `name`") from None


@contextmanager
def _checkout(original: RunDirectory) -> Iterator[tuple[Path, str]]:
    """A checkout of qexp's repository at the commit that trained a run, deleted afterwards, and
    that commit.

    Nothing in the repository itself is changed. Raises QexpError unless the commit is known, and in
    this repository.
    """
    commit = (original.environment().get("qexp") or {}).get("commit")
    if not isinstance(commit, str):
        raise QexpError(
            f"{original.name} does not say at which commit qexp trained it; rerun it without"
            " `at_commit`"
        )
    repository = provenance.own_repository()
    if repository is None:
        raise QexpError(
            "`at_commit`: qexp is installed here without its git repository; clone it, and install"
            " that"
        )
    if _git(repository, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise QexpError(
            f"`at_commit`: {repository} does not have the commit {commit}; fetch it: git fetch"
            " --all"
        )
    if any((original.path / "code" / name).exists() for name in ("qexp.diff", "changes.diff")):
        log.warning(
            "the code of %s was changed since its commit; these changes, in code/, are left out",
            original.name,
        )
    with tempfile.TemporaryDirectory(
        prefix="qexp-at-commit-", ignore_cleanup_errors=True
    ) as folder:
        for arguments in (
            ("clone", "--quiet", "--shared", "--no-checkout", repository, folder),
            ("-C", folder, "checkout", "--quiet", "--detach", commit),
        ):
            process = _git(repository, *arguments)
            if process.returncode:
                raise QexpError(
                    f"`at_commit`: git {' '.join(arguments)} failed:\n{process.stderr.strip()}"
                )
        yield Path(folder), commit


def _git(repository: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", repository, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _execute_in(
    checkout: Path, commit: str, directory: RunDirectory, device: str, wrap: Wrap
) -> None:
    """Execute a prepared run by the code of a checkout, in a process of its own, inside the command
    around it.

    Raises RunFailedError or InterruptedRunError after the record says so.
    """
    repository = provenance.own_repository()
    assert repository is not None, "checked before"
    folder = checkout / PACKAGE.parent.relative_to(repository)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Safe: else Python would look for qexp in the current folder first.
    variables = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    command = wrap.wrapped(
        directory,
        "execute",
        str(directory.path.absolute()),
        "--device",
        device,
    )
    with terminable():
        process = start_child(command, variables=variables)
        while process.poll() is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGTERM)
    record = directory.record()
    if record.state is State.INTERRUPTED:
        raise InterruptedRunError(
            f"{directory.name} was interrupted; continue it: qexp rerun {directory.name}"
            " --at-commit --resume"
        )
    if record.state is not State.DONE:
        why = record.error or f"its process ended with exit code {process.returncode}"
        raise RunFailedError(f"{directory.name} failed: {why}\nsee {directory.path / 'attempts'}")
    if (directory.environment().get("qexp") or {}).get("commit") != commit:
        raise RunFailedError(
            f"{directory.name} is done, but not by the code of the commit {commit}"
        )
