"""What qexp needs to know about a type of experience to read and check its documents, and to show its runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qexp.quantities import Quantities
from qexp.spec.finding import Finding, Where
from qexp.tables import Tables

Document = dict[str, Any]


class ExperienceType(ABC):
    """A type of experience. "Resolved" documents have all defaults written out."""

    refers_to: Sequence[str] = ()
    """The kinds of spec that it names, or contains."""
    trains: bool = False
    """Whether its runs train networks of qexp, which can predict."""
    executes: bool = False
    """Whether its document alone makes a run execute programs."""

    @abstractmethod
    def schema(self) -> Document:
        """The JSON Schema of its experiences, with `$defs` of its own."""

    def takes(self, document: Document, path: Where) -> Finding | None:
        """The problem of a value that replaces one of the document, on the command line; None if there is none."""
        return None

    def in_document(self, document: Document, dataset_type: str | None) -> Iterator[Finding]:
        """Problems of a document that fits its schema."""
        return iter(())

    def doubts(self, document: Document) -> Iterator[Finding]:
        """Warnings about a valid document."""
        return iter(())

    @abstractmethod
    def with_defaults(self, document: Document, tables: Tables, schemas: Mapping[str, Document]) -> Document:
        """The resolved document. schemas: kind of spec → its whole schema"""

    # Of a resolved document

    @abstractmethod
    def outputs(self, spec: Document) -> list[str] | None:
        """The output variables; None if only the results will tell."""

    @abstractmethod
    def epochs(self, spec: Document) -> int:
        """The largest number of epochs that is trained; 0 if it is unknown to qexp."""

    def program_files(self, spec: Document) -> Mapping[str, str]:
        """Files below the workspace, with SHA-256, of which each run keeps a copy."""
        return {}

    @abstractmethod
    def units(self, spec: Document, quantities: Quantities) -> dict[str, str]:
        """Variable → unit."""

    def cautions(self, spec: Document) -> list[str]:
        """Cautions that every table, figure and record of a run must show."""
        return []

    def has_limit(self, spec: Document) -> bool:
        """Whether there are exact posteriors of the test samples, whose errors `qexp limit` may compute."""
        return False

    @abstractmethod
    def lines(self, spec: Document) -> dict[str, str]:
        """The lines of `qexp show` about the spec: name of the line → text."""

    @abstractmethod
    def test_part(self, spec: Document) -> Document:
        """The parts of the spec that determine the test samples."""

    @abstractmethod
    def evaluated_by(self, spec: Document) -> str:
        """The file in `results` that exists once a run is evaluated on its test part."""

    @abstractmethod
    def trouble_with(self, spec: Document, evaluation: Path) -> str | None:
        """Why the existing file `evaluated_by` cannot be used; None if it can."""
