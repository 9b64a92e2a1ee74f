"""What a run was made with: code, packages, machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LARGEST_COPY = 100_000
"""Untracked files up to this size [bytes] are copied, larger ones only listed."""

LARGEST_COPIES = 1_000_000
"""No more than this is copied in all [bytes]."""


def keep_code_state(workspace: Path, folder: Path) -> dict[str, Any]:
    """Write diff and small untracked files of the workspace's repository to a folder; return what the record keeps.

    Outside a git repository the commit is null.
    """
    commit = _git(workspace, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    # What runs produce is no code.
    ours = (".", ":(exclude)runs", ":(exclude)comparisons", ":(exclude)data")
    diff = _git(workspace, "diff", "--no-ext-diff", "HEAD", "--", *ours) or ""
    untracked = (_git(workspace, "ls-files", "--others", "--exclude-standard", "-z", "--", *ours) or "").split("\0")
    if diff:
        (folder / "changes.diff").write_text(diff, encoding="utf-8")
    kept, left_out = _copy_small(workspace, [name for name in untracked if name], folder / "untracked")
    return {
        "commit": commit.strip(),
        "dirty": bool(diff or kept or left_out),
        "untracked": kept,
        "untracked_left_out": left_out,
    }


def _copy_small(workspace: Path, names: list[str], folder: Path) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    left_out: list[str] = []
    room = LARGEST_COPIES
    for name in names:
        source = workspace / name
        size = source.stat().st_size if source.is_file() and not source.is_symlink() else None
        if size is None or size > min(LARGEST_COPY, room):
            left_out.append(name)
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        kept.append(name)
        room -= size
    return kept, left_out


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def environment(device: str, threads: int) -> dict[str, Any]:
    """Python, packages and machine."""
    packages = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    return {
        "python": sys.version,
        "executable": sys.executable,
        "packages": dict(sorted((name, version) for name, version in packages.items() if name)),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
