"""Differences in code, packages, machine and settings between the making of a run and now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.runs.record import provenance
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.workspace import Workspace

BY_VALUE = ("python", "platform", "machine", "processor", "instructions", "cores", "usable_cores", "host", "device",
            "accelerator", "threads")  # fmt: skip
"""Entries of the environment that are compared by value."""


@dataclass(frozen=True)
class Change:
    """One difference between the time when the run was made and now."""

    what: str
    then: str | None
    now: str | None


def code_then_and_now(record: Record, then: dict[str, Any], today: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether this qexp has the source that made the run (None if unknown), and the answer in words."""
    before, here = then.get("qexp") or {}, today.get("qexp") or provenance.own_code()
    if "source" not in before:
        commit = record.code.commit
        made = f"; its workspace was at commit {commit[:12]}" if commit else ""
        return None, f"the run does not record which source of qexp made it{made}"
    same = before["source"] == here["source"]
    text = "exactly the source of qexp that made the run" if same else "not the source of qexp that made the run"
    commits = [before.get("commit"), here.get("commit")]
    if None in commits:
        return same, text
    short = [commit[:12] for commit in commits if commit]
    if short[0] == short[1]:
        return same, f"{text}; commit {short[0]} then and now" + ("" if same else ", with other changes")
    return same, f"{text}; commit {short[0]} then, {short[1]} now"


def code_changes(directory: RunDirectory, again: RunDirectory, workspace: Workspace) -> Iterator[Change]:
    """Differences in the workspace's code, as far as the run recorded it."""
    then, today = directory.record().code, again.record().code
    yield from _change("commit of the workspace", then.commit, today.commit)
    for name in ("changes.diff", "qexp.diff"):
        yield from _change(f"code/{name}", *(_short_hash(one.path / "code" / name) for one in (directory, again)))
    files_then, files_now = (_untracked(one) for one in (directory, again))
    differing = {name for name in {*files_then, *files_now} if files_then.get(name) != files_now.get(name)}
    yield from _change("untracked files", *(_joined(differing & set(kept)) for kept in (files_then, files_now)))
    if directory.extensions.exists() or workspace.extensions.exists():
        hashes = [_short_hash(directory.extensions), _short_hash(workspace.extensions)]
        yield from _change("specs/extensions.py (the run's own was used)", *hashes)


def _untracked(run: RunDirectory) -> dict[str, str | None]:
    """Name → hash of the untracked files that were copied with a run."""
    folder = run.path / "code" / "untracked"
    return {str(path.relative_to(folder)): _short_hash(path) for path in folder.rglob("*") if path.is_file()}


def _joined(names: set[str]) -> str | None:
    return ", ".join(sorted(names)) or None


def environment_changes(then: Mapping[str, Any], today: Mapping[str, Any]) -> Iterator[Change]:
    """Differences between two environments; entries that the older one lacks are left out."""
    if not today:
        return
    for name, of_code in (("commit of qexp", "commit"), ("source of qexp", "source")):
        if then.get("qexp"):
            yield from _change(name, *((one.get("qexp") or {}).get(of_code) for one in (then, today)))
    for name in BY_VALUE:
        if name in then:
            yield from _change(name.replace("_", " "), then[name], today.get(name))
    for table, title in (("packages", ""), ("variables", "variable ")):
        if table in then:
            before, here = then[table], today.get(table, {})
            for name in sorted({*before, *here}):
                yield from _change(f"{title}{name}", before.get(name), here.get(name))


def _change(what: str, then: Any, today: Any) -> Iterator[Change]:
    if then != today:
        yield Change(what, *(None if value is None else _words(value) for value in (then, today)))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short_hash(path: Path) -> str | None:
    content = path.read_bytes() if path.is_file() else None
    return None if content is None else hashlib.sha256(content).hexdigest()[:16]
