"""The provenance of a run: code, packages and machine."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from qexp.runs.record.origins import CodeState, Fingerprint, LargeFile
from qexp.workspace import PACKAGE

LARGEST_COPY = 100_000
"""Untracked files up to this size [bytes] are copied, larger ones only listed."""

LARGEST_COPIES = 1_000_000
"""Largest total size of the copied files [bytes]."""

VARIABLES = re.compile(
    "PYTHONHASHSEED|NVIDIA_TF32_OVERRIDE|GLIBC_TUNABLES|MALLOC_.*"
    "|(OMP|MKL|KMP|GOMP|OPENBLAS|ATEN|DNNL|ONEDNN|TORCH|PYTORCH|CUDA|CUBLAS|CUDNN)_.*"
    "|QEXP_(?!FIGURES$).*"
)
"""Environment variables that change results or speed."""


CHANGES = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "HEAD")
"""Options that make git write the same bytes for every user's settings."""


def keep_code_state(workspace: Path, folder: Path, checkout: Path | None = None) -> CodeState:
    """Write diff and small untracked files of the workspace's repository to a folder; return the entry of the record.

    Outside a git repository the commit is null. If qexp itself comes from another repository, its changes are written
    as well.
    checkout  a checkout of qexp's repository without changes, if the code there will execute the run
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
    listed = _git_bytes(workspace, "ls-files", "--others", "--exclude-standard", "-z", "--", *ours) or b""
    kept, left_out = _copy_small(workspace, [os.fsdecode(name) for name in listed.split(b"\0") if name], folder)
    return CodeState(
        commit=commit,
        dirty=bool(diff or kept or left_out),
        diff=diff,
        untracked=tuple(kept),
        untracked_left_out=tuple(left_out),
    )


def fingerprint(path: Path) -> Fingerprint:
    """SHA-256 and size [bytes] of a file."""
    with path.open("rb") as file:
        return Fingerprint(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


NAME_AND_VERSION = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)


def _packages() -> dict[str, str]:
    """Name → version of the installed packages. Only two lines of each package's metadata are read: parsing all of it,
    as `distribution.version` does, takes a tenth of a second.
    """
    found = {}
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        fields = dict(reversed(NAME_AND_VERSION.findall(text)))  # the first line of each kind counts
        if fields.keys() == {"Name", "Version"}:
            found[fields["Name"]] = fields["Version"]
    return dict(sorted(found.items()))


def of_torch(device: str) -> dict[str, Any]:
    """What torch uses of the machine: vector instructions (another set gives other bits), and the accelerator."""
    return {"instructions": _instructions(), "accelerator": None if device == "cpu" else _accelerator()}


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
    """The environment variables of this process that change results or speed."""
    return {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)}


def usable_cores() -> int | None:
    """The number of cores that this process may use, which a scheduler can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count()


def own_code() -> dict[str, Any]:
    """The commit of qexp's own checkout (null if there is none) and a digest of its current source."""
    source = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.json")]):
        if "examples" not in path.relative_to(PACKAGE).parts:
            source.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    commit = _git(PACKAGE, "rev-parse", "HEAD") if own_repository() else None
    return {"commit": commit, "source": source.hexdigest()}


def own_repository() -> str | None:
    """The repository of qexp's source; None if qexp is installed in an environment that lies inside a repository."""
    if _git(PACKAGE, "ls-files", "--error-unmatch", "workspace.py") is None:
        return None
    return _git(PACKAGE, "rev-parse", "--show-toplevel")


def _keep_diff(directory: Path, paths: list[str], target: Path) -> str | None:
    """Write the difference from the commit; return its SHA-256, or None if there is no difference."""
    diff = _git_bytes(directory, *CHANGES, "--", *paths)
    if not diff:
        return None
    target.write_bytes(diff)
    return hashlib.sha256(diff).hexdigest()


def _copy_small(workspace: Path, names: list[str], folder: Path) -> tuple[list[str], list[LargeFile]]:
    """Copy small files to `untracked/`. Returns the names of the copies, and names and sizes of the other files."""
    kept: list[str] = []
    left_out: list[LargeFile] = []
    room = LARGEST_COPIES
    for name in names:
        source = workspace / name
        size = _size(source)
        content = _content(source) if size is not None and size <= min(LARGEST_COPY, room) else None
        if content is None:
            left_out.append(LargeFile(name=_printable(name), bytes=size))
            continue
        target = folder / "untracked" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        kept.append(_printable(name))
        room -= len(content)
    return kept, left_out


def _size(path: Path) -> int | None:
    """The size of a plain file [bytes]; None if it is not a plain file or no longer exists."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _content(path: Path) -> bytes | None:
    """The file's bytes; None if it cannot be read or no longer exists."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _printable(name: str) -> str:
    """A file's name in a form that JSON can hold: names are bytes and not always valid text."""
    return os.fsencode(name).decode(errors="replace")


def _git(directory: Path, *arguments: str) -> str | None:
    answer = _git_bytes(directory, *arguments)
    return None if answer is None else answer.decode(errors="replace").strip()


def _git_bytes(directory: Path, *arguments: str) -> bytes | None:
    # Many runs that start together must not wait for the lock on git's index.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _instructions() -> str:
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def _accelerator() -> dict[str, Any]:
    import torch

    return {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "driver": _driver()}


def _driver() -> str | None:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None
    return next((word for word in words if re.fullmatch(r"\d+(\.\d+)+", word)), None)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
