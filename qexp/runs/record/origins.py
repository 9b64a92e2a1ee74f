"""Where a run comes from: code, weights that it started from, an archive, files of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from qexp.runs.record.parts import Part


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Part):
    """Size and SHA-256 of a file."""

    sha256: str
    """SHA-256 of the content."""
    bytes: int
    """Size."""


@dataclass(frozen=True, kw_only=True)
class Ancestor(Part):
    """A run whose weights this run, or one of its ancestors, started from."""

    name: str
    """Name of the run."""
    experience: str = ""
    """Its experience."""
    dataset: str = ""
    """Its dataset."""
    seed: int | None = None
    """Its seed."""
    digest: str | None = None
    """Its digest."""
    created: str = ""
    """When it was prepared."""
    weights: Fingerprint | None = None
    """Fingerprint of the weights that were taken over; None in older records."""
    operations: tuple[str, ...] | None = None
    """Operations whose weights were taken over; None for all."""
    transforms: tuple[str, ...] = ()
    """Variables whose fitted transforms were taken over."""


@dataclass(frozen=True, kw_only=True)
class Imported(Part):
    """The origin of an imported run."""

    archive: str
    """Name of the archive."""
    time: str
    """When it was imported, in UTC."""
    was: Mapping[str, Any] = field(default_factory=dict)
    """Name, state, job and launch in its record there."""
    before: Mapping[str, Any] | None = None
    """The origin before an earlier import."""
    code_trusted: bool | None = None
    """Whether the run's own code may be executed; None if it has none."""


@dataclass(frozen=True, kw_only=True)
class ForeignFile(Part):
    """A file of another program."""

    name: str
    """Name of the file."""
    path: str
    """Where it was read."""
    sha256: str
    """SHA-256 of its content."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, kw_only=True)
class ForeignWeights(Part):
    """The origin of weights that another program trained; `weights.json` says what became of every tensor."""

    file: ForeignFile
    """The file with the weights."""
    also: Mapping[str, ForeignFile] = field(default_factory=dict)
    """Name → file with a further tensor."""
    format: str
    """Its format."""
    rules: str
    """Name or path of the rules by which tensors were renamed."""
    time: str
    """When it was imported, in UTC."""
    taken: int
    """Number of tensors of the files that are weights of the network or numbers of its transforms."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why tensors were left out → how many."""
    transforms: Mapping[str, str] = field(default_factory=dict)
    """Variable → the origin of the fitted numbers of its transform."""
    azimuth: float = 0.0
    """Angle in radians that is added to the azimuths of all simulated datasets that the run is given, as the other
    program trained on images that are seen from there."""
    remarks: tuple[str, ...] = ()
    """What of its images could not be made here."""
    weights: Fingerprint
    """Of the run's own file, `checkpoints/best.safetensors`."""


@dataclass(frozen=True, kw_only=True)
class LargeFile(Part):
    """An untracked file of the workspace that was too large to be copied."""

    name: str
    """Path in the workspace."""
    bytes: int | None = None
    """Its size; null for what is not a plain file."""


@dataclass(frozen=True, kw_only=True)
class CodeState(Part):
    """The workspace's repository when the run was prepared."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("diff", "untracked", "untracked_left_out")

    commit: str | None = None
    """The commit that was checked out."""
    dirty: bool | None = None
    """Whether anything differed from the commit."""
    diff: str | None = None
    """SHA-256 of the difference, `code/diff.patch`."""
    untracked: tuple[str, ...] | None = None
    """Names of small untracked files, which are copied."""
    untracked_left_out: tuple[LargeFile, ...] | None = None
    """Names of larger ones, which are not."""

    def document(self) -> dict[str, Any]:
        """For a workspace in a repository; `diff` is null if nothing differs from the commit."""
        nothing = {} if self.commit is None else dict.fromkeys(("commit", "dirty", "diff"))
        return nothing | super().document()
