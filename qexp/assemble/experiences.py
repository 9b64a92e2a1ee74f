"""The types of experience, as objects: one line each. See `qexp.spec.experiences` for their documents."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from qexp.assemble import metrics
from qexp.assemble.checks import Checked, Parts, checked_training, tolerate
from qexp.assemble.kinds import Dataset, Doubts, Exposed, kind_of
from qexp.datasets import program_files
from qexp.errors import QexpError, SpecError
from qexp.spec import resolve, validate
from qexp.spec.experiences import type_name, type_of
from qexp.spec.finding import Finding
from qexp.spec.resolve import Override
from qexp.tables import Tables
from qexp.workspace import Workspace

Document = dict[str, Any]


class ExperienceObjects(ABC):
    """What qexp does with a type of experience before it runs. Documents have been checked, or are resolved."""

    @abstractmethod
    def checked(self, loaded: resolve.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        """All problems of an experience, and its dataset, opened. warnings: those that are known already"""

    @abstractmethod
    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        """The whole document with hashes of files, so that the digest depends on their content."""

    @abstractmethod
    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        """Metric → what its numbers mean: best value, and unit."""

    def extensions(self, workspace: Workspace) -> str:
        """The text of the workspace's own table entries, if runs depend on them."""
        return ""

    def doubts(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Doubts:
        """What may be wrong with the parts into which the data of a run are divided."""
        return Doubts()

    def exposed(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Exposed | None:
        """The training and test samples of a run, if runs keep their hashes; None if not."""
        return None

    def whole(self, spec: Document, key: str) -> str | None:
        """The value of a key, on the number of training samples, that stands for all of them; None if there is none."""
        return None


class TrainingObjects(ExperienceObjects):
    def checked(self, loaded: resolve.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        return checked_training(loaded, list(warnings), parts)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        of_data = kind_of(document["dataset"]).pinned(document["dataset"], dataset, workspace)
        return {**document, "dataset": of_data}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        return metrics.meanings_of(spec, tables)

    def extensions(self, workspace: Workspace) -> str:
        try:
            return workspace.extensions.read_text(encoding="utf-8") if workspace.extensions.is_file() else ""
        except UnicodeDecodeError:
            raise QexpError(f"{workspace.extensions} is not UTF-8 text; save it as UTF-8") from None

    def doubts(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Doubts:
        return kind_of(spec["dataset"]).doubts(spec, dataset, tables, seed)

    def exposed(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Exposed | None:
        return kind_of(spec["dataset"]).exposed(spec, dataset, tables, seed)

    def whole(self, spec: Document, key: str) -> str | None:
        return kind_of(spec["dataset"]).whole.get(key)


class CommandObjects(ExperienceObjects):
    def checked(self, loaded: resolve.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        document = loaded.document
        found = validate.findings("experience", document, parts.tables) or list(_in_files(document, parts.workspace))
        doubts = [] if found else [*type_of(document).doubts(document), *_unnamed_files(document, parts.workspace)]
        said = [*warnings, *loaded.problems("experience", doubts)]
        return Checked(loaded, None, loaded.problems("experience", found), said)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        named = (*document["files"], *document["data"])
        hashes = {name: program_files.fingerprint(name, workspace.root) for name in named}
        return {**document, "fingerprints": hashes, "found": str(workspace.root.absolute())}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        return dict(spec["metrics"])


TYPES: Mapping[str, ExperienceObjects] = {"training": TrainingObjects(), "command": CommandObjects()}
"""The value of `type` in an experience → its type."""


def objects_of(experience: Mapping[str, Any]) -> ExperienceObjects:
    """The type of an experience, by its document."""
    return TYPES[type_name(experience)]


def checked(reference: str | resolve.Unwritten, changes: list[Override], parts: Parts) -> Checked:
    """Read an experience, open its dataset if it has one, and check it."""
    try:
        loaded = resolve.experience(reference, changes, parts.workspace)
    except SpecError as error:
        return Checked(None, None, error.problems, [])
    warnings = tolerate(loaded, changes, parts)
    return objects_of(loaded.document).checked(loaded, warnings, parts)


def _in_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    for key in ("files", "data"):
        for index, name in enumerate(document.get(key, [])):
            try:
                place = program_files.place_of(name, workspace.root)
                if key == "files" and place.is_dir():
                    yield (key, index), f"'{name}' is a folder; name its files"
                elif not os.access(place, os.R_OK):
                    yield (key, index), f"'{name}' cannot be read: permission denied"
            except QexpError as error:
                yield (key, index), str(error)


def _unnamed_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    """Warnings about words of the command that are files of the workspace, but not among those that are hashed."""
    named = {*document.get("files", []), *document.get("data", [])}
    for index, word in enumerate(document["command"]):
        if word not in named and not word.startswith("/") and _is_file(workspace.root / word):
            yield (
                ("command", index),
                f"'{word}' is a file of the workspace, but not among 'files': later changes of it would not be noticed",
            )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the word is too long to be a path
        return False
