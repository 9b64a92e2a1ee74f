"""The provenance of a run: code, packages, machine, the runs that its weights came from, and the
spectra they saw.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from qexp.base import files, formats
from qexp.base.quantities import of_transform
from qexp.base.workspace import PACKAGE
from qexp.errors import DamagedError, NotFoundError
from qexp.spec.kinds import documents_of
from qexp.spec.reading import listed
from qexp.store.directory import RunDirectory
from qexp.store.record import Ancestor, CodeState, Fingerprint, LargeFile, Record

LARGEST_COPY = 100_000
"""Untracked files up to this size [bytes] are copied, larger ones only listed."""

MOST_LISTED = 200
"""Untracked files that are copied or listed one by one; more are data rather than code, and only
counted.
"""

LARGEST_COPIES = 1_000_000
"""Largest total size of the copied files [bytes]."""

VARIABLES = re.compile(
    "PYTHONHASHSEED|NVIDIA_TF32_OVERRIDE|GLIBC_TUNABLES|MALLOC_.*"
    "|(OMP|MKL|KMP|GOMP|OPENBLAS|ATEN|DNNL|ONEDNN|TORCH|PYTORCH|CUDA|CUBLAS|CUDNN)_.*"
    "|QEXP_(?!FIGURES$|CACHE_CHECK$).*"
)
"""Environment variables that change results or speed."""


ALIKE = (
    "--submodule=diff",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
"""Options of `git diff` that make git write the same bytes for every user's settings."""


def keep_code_state(workspace: Path, folder: Path, checkout: Path | None = None) -> CodeState:
    """Write diff and small untracked files of the workspace's repository to a folder; return the
    entry of the record.

    Outside a git repository the commit is null. If qexp itself comes from another repository, its
    changes are written as well.
    checkout  a checkout of qexp's repository without changes, if the code there will execute the
              run
    """
    repository = _git(workspace, "rev-parse", "--show-toplevel")
    qexp_repository = own_repository()
    if checkout is not None:
        workspace = checkout if repository == qexp_repository else workspace
    elif qexp_repository is not None and qexp_repository != repository:
        _keep_diff(PACKAGE, ["."], folder / "qexp.diff")
    commit = _git(workspace, "rev-parse", "HEAD") if repository else None
    if commit is None:
        return CodeState()
    # Files that runs produce are not code.
    ours = [".", ":(exclude)runs", ":(exclude)comparisons", ":(exclude)data"]
    diff = _keep_diff(workspace, ours, folder / "changes.diff")
    untracked = (
        _git_bytes(workspace, "ls-files", "--others", "--exclude-standard", "-z", "--", *ours)
        or b""
    )
    copied, left_out = _copy_small(
        workspace, [os.fsdecode(name) for name in untracked.split(b"\0") if name], folder
    )
    return CodeState(
        commit=commit,
        dirty=bool(diff or copied or left_out),
        diff=diff,
        untracked=tuple(copied),
        untracked_left_out=tuple(left_out),
    )


def fingerprint(path: Path) -> Fingerprint:
    """SHA-256 and size [bytes] of a file."""
    return Fingerprint(sha256=files.sha256_of(path), bytes=path.stat().st_size)


NAME_AND_VERSION = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)


def _packages() -> dict[str, str]:
    """Name → version of the installed packages. Only two lines of each package's metadata are read:
    parsing all of it, as `distribution.version` does, takes a tenth of a second.
    """
    versions = {}
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        # the first line of each kind counts
        fields = dict(reversed(NAME_AND_VERSION.findall(text)))
        if fields.keys() == {"Name", "Version"}:
            versions[fields["Name"]] = fields["Version"]
    return dict(sorted(versions.items()))


def of_torch(device: str) -> dict[str, Any]:
    """What torch uses of the machine: vector instructions, which change bits, and accelerator."""
    import torch

    versions = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    accelerator = None if device == "cpu" else {**versions, "driver": _driver()}
    return {
        "instructions": str(torch.backends.cpu.get_cpu_capability()),
        "accelerator": accelerator,
    }


def environment(device: str | None, threads: int | None, used: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of this process: qexp's own code, Python, packages, machine and settings.

    used  further entries, such as `of_torch`
    """
    return {
        "qexp": own_code(),
        "python": sys.version,
        "executable": sys.executable,
        "packages": _packages(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "instructions": used.get("instructions"),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "device": device,
        "accelerator": used.get("accelerator"),
        "threads": threads,
        "variables": variables(),
    }


def variables() -> dict[str, str]:
    return {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)}


def usable_cores() -> int | None:
    """The number of cores that this process may use, which a scheduler can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count()


def own_code() -> dict[str, Any]:
    """The commit of qexp's own checkout, or null, and a digest of its current source."""
    source = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.json")]):
        if "examples" not in path.relative_to(PACKAGE).parts:
            source.update(
                f"{path.relative_to(PACKAGE).as_posix()}\0".encode() + path.read_bytes() + b"\0"
            )
    commit = _git(PACKAGE, "rev-parse", "HEAD") if own_repository() else None
    return {"commit": commit, "source": source.hexdigest()}


def own_repository() -> str | None:
    """The repository of qexp's source; None if qexp is installed in a folder of another one."""
    if _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(PACKAGE, "rev-parse", "--show-toplevel")


def _keep_diff(directory: Path, paths: list[str], target: Path) -> str | None:
    """Write the difference from the commit; return its SHA-256, or None without any."""
    diff = _git_bytes(directory, "diff", *ALIKE, "HEAD", "--", *paths)
    if not diff:
        return None
    target.write_bytes(diff)
    return hashlib.sha256(diff).hexdigest()


def _copy_small(
    workspace: Path, names: list[str], folder: Path
) -> tuple[list[str], list[LargeFile]]:
    """Copy small files to `untracked/`. Returns their names, and names and sizes of the others."""
    copied: list[str] = []
    left_out: list[LargeFile] = []
    room = LARGEST_COPIES
    for name in names[:MOST_LISTED]:
        source = workspace / name
        size = content = None
        with suppress(OSError):  # it cannot be read, or no longer exists
            status = source.lstat()
            size = status.st_size if stat.S_ISREG(status.st_mode) else None
            if size is not None and size <= min(LARGEST_COPY, room):
                content = source.read_bytes()
        if content is None:
            left_out.append(LargeFile(name=_printable(name), bytes=size))
            continue
        target = folder / "untracked" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        copied.append(_printable(name))
        room -= len(content)
    if len(names) > MOST_LISTED:
        left_out.append(LargeFile(name=f"{len(names) - MOST_LISTED:,} more files"))
    return copied, left_out


def _printable(name: str) -> str:
    """A file's name in a form that JSON can hold: names are bytes and not always valid text."""
    return os.fsencode(name).decode(errors="replace")


def _git(directory: Path, *arguments: str) -> str | None:
    output = _git_bytes(directory, *arguments)
    return None if output is None else output.decode(errors="replace").strip()


def _git_bytes(directory: Path, *arguments: str) -> bytes | None:
    # Many runs that start together must not wait for the lock on git's index.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout if process.returncode == 0 else None


def _driver() -> str | None:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None
    return next((word for word in words if re.fullmatch(r"\d+(\.\d+)+", word)), None)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


# The lineage of a run: the run from which it took its initial weights, that run's own origin, and
# so on.


Summary = dict[str, Any]
"""A run as listed in the catalog."""

T = TypeVar("T")


def operations_taken(spec: Mapping[str, Any]) -> list[str] | None:
    """Operations with weights from another run; None for all of them and the transforms."""
    pretrain = spec["pretrain"]
    return pretrain["operations"] if pretrain else None


def transforms_taken(
    spec: Mapping[str, Any], pretrained: Mapping[str, Any], tensors: Mapping[str, Any]
) -> list[str]:
    """Inputs whose fitted transforms are taken from the pretraining run with operations' weights.

    The operations were trained on values of that scale. The transform of an input is taken over if
    the first operation with weights that it reaches is one of them, if it has the same number of
    values in both runs, and if both specs name the same transform for it. All inputs if all
    operations are taken over.

    pretrained  the resolved experience of the pretraining run
    tensors     its learned tensors, by name; a transform without fitted values is the same in every
                run
    """
    operations = operations_taken(spec)
    fitted = [name for name in spec["transforms"] if tensors_of_transforms(tensors, [name])]
    if operations is None:
        return fitted
    learned = set[str]()
    for name in pretrained["model"]["operations"]:
        if tensors_of_operations(tensors, [name]):
            learned.add(name)
    reached = set[str]()
    for branch in spec["model"]["branches"]:
        with_weights = [name for name in branch["operations"] if name in learned]
        if with_weights and with_weights[0] in operations:
            reached.update(listed(branch["x_name"]))
    taken = list[str]()
    for name in fitted:
        inputs = [one["model"]["inputs"].get(name) for one in (spec, pretrained)]
        transforms = [one["transforms"].get(name) for one in (spec, pretrained)]
        if name in reached and inputs[0] == inputs[1] and transforms[0] == transforms[1]:
            taken.append(name)
    return taken


def tensors_of_operations(
    tensors: Mapping[str, T], operations: Sequence[str] | None
) -> dict[str, T]:
    """The entries for the tensors of some operations, or of all, of a mapping by tensor name."""
    if operations is None:
        return dict(tensors)
    return _with_prefixes([f"network.operations.{name}." for name in operations], tensors)


def tensors_of_transforms(tensors: Mapping[str, T], variables: Sequence[str]) -> dict[str, T]:
    """The entries for the transforms of some variables, of a mapping by tensor name."""
    return _with_prefixes([f"{of_transform(name)}." for name in variables], tensors)


def _with_prefixes(prefixes: Sequence[str], tensors: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in tensors.items() if name.startswith(tuple(prefixes))}


def lineage_chain(
    parent: RunDirectory,
    weights: Fingerprint,
    operations: Sequence[str] | None,
    transforms: Sequence[str],
) -> tuple[Ancestor, ...]:
    """A pretraining run and its own ancestors, nearest first, described well enough to survive
    their removal.

    weights     fingerprint of the tensors that are taken over
    operations  operations whose weights are taken over; None for all
    transforms  variables whose fitted transforms are taken over
    """
    record = parent.record()
    nearest = Ancestor(
        name=parent.name,
        experience=record.experience,
        dataset=record.dataset,
        seed=record.seed,
        digest=record.digest,
        created=record.created,
        weights=weights,
        operations=None if operations is None else tuple(operations),
        transforms=tuple(transforms),
    )
    return (nearest, *record.lineage)


def lineage_text(lineage: Iterable[Ancestor]) -> str:
    """A lineage as text: `msm_small_0 (encoder; digest 3fa2…) <- …`; empty without pretraining."""
    return " <- ".join(map(_ancestor_text, lineage))


def _ancestor_text(ancestor: Ancestor) -> str:
    words = [", ".join(ancestor.operations)] if ancestor.operations else []
    if words and ancestor.transforms:
        words.append(f"{', '.join(ancestor.transforms)} scaled as there")
    if ancestor.digest is not None:
        words.append(f"digest {ancestor.digest[:16]}")
    return f"{ancestor.name} ({'; '.join(words)})" if words else ancestor.name


@dataclass(frozen=True)
class TreeRun:
    """A run in the tree of runs connected by pretraining."""

    name: str
    followed: tuple[bool, ...]
    """For each level of the tree down to this run's: whether siblings follow; empty for a run at
    the top.
    """
    run: Summary | None
    """None for a run that was removed."""


def ancestors_of(
    runs: Iterable[Summary], everything: Mapping[str, Summary]
) -> dict[str, list[str]]:
    """The names of each run's ancestors, nearest first.

    everything  all existing runs, by name; the origin of a removed run is found in the record of a
                descendant
    """
    of_gone: dict[str, str | None] = {}

    def parent_of(name: str, descendant: Summary) -> str | None:
        """The run that a run started from; `descendant` is the nearest one that still exists."""
        if name in everything:
            return next(iter(everything[name]["parents"]), None)
        if name not in of_gone:
            names = list[str]()
            directory = RunDirectory(Path(descendant["path"]))
            # of its record, which the listing already reports
            with suppress(DamagedError, NotFoundError):
                names = [ancestor.name for ancestor in directory.record().lineage]
            of_gone.update({name: None, **_links(names)})
        return of_gone[name]

    def line_of(name: str) -> list[str]:
        line = {name: None}
        descendant = everything[name]
        parent = parent_of(name, descendant)
        # A name can occur twice if a run was removed and another one was given its name.
        while parent is not None and parent not in line:
            line[parent] = None
            descendant = everything.get(parent, descendant)
            parent = parent_of(parent, descendant)
        return list(line)[1:]

    return {run["name"]: line_of(run["name"]) for run in runs}


def lineage_tree(runs: Iterable[Summary], everything: Mapping[str, Summary]) -> list[TreeRun]:
    """The runs, each below the one that it started from; all of their ancestors are included."""
    lines = {name: [name, *ancestors] for name, ancestors in ancestors_of(runs, everything).items()}
    parents: dict[str, str | None] = {}
    for line in lines.values():
        parents |= _links(line)
    children: dict[str | None, list[str]] = {}
    every = itertools.chain(lines, *lines.values())
    for name in dict.fromkeys(every):
        children.setdefault(parents[name], []).append(name)
    branches = list[TreeRun]()
    first = reversed(children.get(None, []))
    waiting = [TreeRun(name, (), everything.get(name)) for name in first]
    while waiting:
        branch = waiting.pop()
        branches.append(branch)
        names = children.get(branch.name, [])
        for name in reversed(names):
            followed = (*branch.followed, name != names[-1])
            waiting.append(TreeRun(name, followed, everything.get(name)))
    return branches


def _links(names: Sequence[str]) -> dict[str, str | None]:
    return dict(zip(names, [*names[1:], None], strict=False))


# Hashes of the spectra that a run and its ancestors were trained on, `seen.json`: run → core →
# hashes of the spectra in its training and validation parts.


SEEN = "seen.json"

Seen = Mapping[str, list[str]]
"""Core → hashes of its spectra."""


def read_seen(directory: RunDirectory) -> dict[str, Seen]:
    """Run → spectra that a run and its ancestors were trained on; empty if none are known.

    Raises DamagedError if the file was changed after the run was prepared.
    """
    record = directory.record()
    trouble = trouble_with_seen(directory, record)
    if trouble:
        raise DamagedError(f"{directory.path / SEEN} {trouble}; restore it from a copy")
    if record.seen is None:
        foreign = record.foreign_weights is not None
        if not foreign and documents_of(directory.training_spec()["dataset"]).keeps_hashes:
            raise DamagedError(
                f"{directory.record_file} does not say on which spectra the run was trained;"
                " restore it from a copy"
            )
        return {}
    seen: dict[str, Seen] = formats.read_json(directory.path / SEEN)
    return seen


def trouble_with_seen(directory: RunDirectory, record: Record) -> str | None:
    """What is wrong with the file, else None; also if the record says that there is none."""
    if record.seen is None:
        return None
    try:
        present = fingerprint(directory.path / SEEN)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if present == record.seen else "was changed after the run was prepared"


def join_seen(name: str, spectra: Seen | None, ancestors: Mapping[str, Seen]) -> dict[str, Seen]:
    """The spectra of a run with those of its ancestors, one of which can have had the same name."""
    if spectra is None:
        return dict(ancestors)
    earlier = ancestors.get(name, {})
    both = dict[str, list[str]]()
    for core in sorted({*spectra, *earlier}):
        both[core] = sorted({*spectra.get(core, []), *earlier.get(core, [])})
    others = {run: seen for run, seen in ancestors.items() if run != name}
    return {name: both, **others}
