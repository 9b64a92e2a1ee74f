"""A run's directory: its files, annotations, and the runs inside and around it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp.base import files, formats
from qexp.base.files import locked
from qexp.base.options import is_number
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, UntrustedCodeError, some
from qexp.spec.reading import digest
from qexp.store.documents import Part
from qexp.store.record import IN_NAMES, NAME, Record, read_epochs, read_record


@dataclass(frozen=True, kw_only=True)
class OwnCode(Part):
    """qexp's own source."""

    commit: str | None = None
    """Commit of qexp's own checkout; null for an installed package."""
    source: str | None = None
    """SHA-256 over its source files."""


@dataclass(frozen=True, kw_only=True)
class Environment(Part):
    """Versions and machine of an attempt; older runs lack some of the fields."""

    qexp: OwnCode | None = None
    """qexp's own code."""
    python: str | None = None
    """Version of Python."""
    packages: Mapping[str, str] | None = None
    """Package → version."""
    host: str | None = None
    """Name of the machine."""
    platform: str | None = None
    """Operating system."""
    machine: str | None = None
    """Processor architecture."""
    processor: str | None = None
    """Model of the processor."""
    instructions: str | None = None
    """Vector instructions that torch uses; others give other last bits."""
    cores: int | None = None
    """Number of cores of the machine."""
    usable_cores: int | None = None
    """Number of cores that the process may use."""
    device: str | None = None
    """Where the network was trained."""
    accelerator: Mapping[str, Any] | None = None
    """Versions of CUDA, cuDNN and driver."""
    threads: int | None = None
    """Number of threads of torch."""
    variables: Mapping[str, str] | None = None
    """Environment variables that change results or speed."""


# Annotations of a run (tags and a note) by its users, kept apart from the record, which its process
# writes.


ANNOTATIONS = "labels.json"

TAG = re.compile(r"[A-Za-z0-9._-]+")

Annotations = dict[str, Any]


def read_annotations(folder: Path) -> Annotations:
    """The annotations of the run in a folder, `tags` and `note`, as far as they were set."""
    file = folder / ANNOTATIONS
    try:
        annotations = formats.read_json(file)
    except FileNotFoundError:
        return {}
    kinds = {"tags": list, "note": str}
    if (
        not isinstance(annotations, dict)
        or not all(isinstance(value, kinds.get(key, ())) for key, value in annotations.items())
        or not all(isinstance(tag, str) for tag in annotations.get("tags", ()))
    ):
        raise DamagedError(
            f"{file} does not hold tags and a note; repair it, or delete it and set them again"
        )
    return annotations


def require_valid_annotations(tags: Iterable[str], note: str) -> None:
    """Raise QexpError for a word that is not a valid tag, and for a note that is not text."""
    for word in tags:
        _tag(word)
    _require_text(note)


def add_annotations(folder: Path, tags: Iterable[str], note: str) -> None:
    """Add tags, and replace the note unless it is empty."""
    words = tuple(tags)
    if words:
        retag(folder, words)
    if note:
        annotate(folder, note)


def retag(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add and remove tags. Raises QexpError for an invalid tag, or one in both lists."""
    added = list(dict.fromkeys(map(_tag, add)))
    removed = {_tag(word) for word in remove}
    for word in added:
        if word in removed:
            raise QexpError(f"'{word}' cannot be added and removed at once")
    with _changed(folder) as annotations:
        annotations["tags"] = [
            tag for tag in dict.fromkeys([*annotations["tags"], *added]) if tag not in removed
        ]


def annotate(folder: Path, text: str) -> None:
    """Replace the note; an empty text removes it."""
    _require_text(text)
    with _changed(folder) as annotations:
        annotations["note"] = text


def _require_text(note: str) -> None:
    try:
        note.encode()
    except UnicodeEncodeError:
        raise QexpError(f"a note must be text: {note!r} holds bytes that are not") from None


def _tag(word: str) -> str:
    if not isinstance(word, str) or not TAG.fullmatch(word):
        raise QexpError(f"{word!r} is not a valid tag; use {IN_NAMES}")
    return word


@contextmanager
def _changed(folder: Path) -> Iterator[Annotations]:
    """The annotations, written as the block ends; a lock protects others' changes."""
    file = folder / ANNOTATIONS
    record = read_record(folder / "run.json")  # its own annotations hold until others are set
    with files.writing(file), locked(file):
        annotations = {"tags": list(record.tags), "note": record.note, **read_annotations(folder)}
        yield annotations
        formats.write_json(file, annotations)


# The files of a run's directory.


FOLDS = "folds"

METRICS, EPOCHS = "metrics.jsonl", "epochs.jsonl"
"""A line per epoch, in the run; and in `results` of a program that may itself write a file of the
first name.
"""

SYSTEM = "system.jsonl"
"""What a run took of its machine, a line at a time, each with `time` (ISO) and what was measured of
`cpu` [percent of one core], `memory` [bytes], `gpu` [percent], `gpu_memory` and `disk_free`
[bytes].
"""

WRITTEN = "files.json"
"""In `results` of a program without numbers: path in the run → hash and size of what it wrote."""

EVALUATIONS = "evaluations"
"""The folder of evaluations on other data, each with a record and `results` like those of a run."""

FRAMES = "frames"
"""The folder of the test frames that are drawn, a file per folder of the dataset."""

PREDICTIONS = "predictions.csv"
"""Of a run on rows or spectra, with a line per test sample; of a fold, with those that it holds
out.
"""

BASELINES, RECONSTRUCTIONS = "baselines.csv", "reconstructions.nc"

ERRORS_BY_ENERGY = "errors_by_energy.csv"

SALIENCY = "saliency.nc"

MATRIX, MATRIX_RECORD = "matrix.nc", "record.json"
"""Of a matrix, in its folder."""


KEYS: Mapping[str, Mapping[str, type]] = {
    "training": {"dataset": dict, "model": dict, "inputs": list, "outputs": list},
    "command": {"command": list, "parameters": dict, "units": dict, "metrics": dict},
    "tracked": {"script": str, "parameters": dict, "units": dict, "metrics": dict},
}
"""What every resolved experience of a type has, whichever version wrote it."""


class Inside:
    """A place in the directory of a run."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __get__(self, run: RunDirectory, owner: type[RunDirectory]) -> Path:
        return run.path / self._place


@dataclass(frozen=True)
class RunDirectory:
    """The directory of a run: its files, and what they say."""

    path: Path
    code_trusted: bool = field(default=False, compare=False)
    """Whether to execute the run's own code although the user did not trust it when the run was
    imported.
    """

    held_out = True
    """Whether `results` are about data that the run held out; evaluations are about others."""

    record_file = Inside("run.json")
    checkpoints = Inside("checkpoints")
    best_weights = Inside("checkpoints/best.safetensors")
    evaluations = Inside(EVALUATIONS)
    matrices = Inside("matrices")
    system_file = Inside(SYSTEM)
    folds = Inside(FOLDS)
    """The folder of the folds of a cross-validation; each is a run inside the run."""

    def trusting(self, code: bool) -> RunDirectory:
        """The run itself; if `code`, its own code may be executed."""
        return replace(self, code_trusted=True) if code else self

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def members(self) -> tuple[RunDirectory, ...]:
        """The runs whose networks are one estimator: itself, or those of an ensemble."""
        return (self,)

    @property
    def spec_file(self) -> Path:
        """The resolved spec; a fold has that of its run."""
        return self._whole / "spec.json"

    @property
    def is_fold(self) -> bool:
        return self.path.parent.name == FOLDS

    @property
    def whole(self) -> RunDirectory:
        """The run itself; for a fold, the run that it belongs to."""
        return RunDirectory(self._whole) if self.is_fold else self

    @property
    def _whole(self) -> Path:
        return self.path.parent.parent if self.is_fold else self.path

    @property
    def workspace(self) -> Workspace:
        """The one in whose `runs/` it lies."""
        return Workspace(self._whole.parent.parent)

    @property
    def metrics_file(self) -> Path:
        """A line per epoch: `metrics.jsonl`; in `results` for some programs, also running ones."""
        of_program = self.results / EPOCHS
        return of_program if of_program.exists() else self.path / METRICS

    @property
    def extensions(self) -> Path:
        """The workspace's `extensions.py` when the run was prepared; a fold has that of its run."""
        return self._whole / "code" / "extensions.py"

    @property
    def results(self) -> Path:
        return self.path / "results"

    def weight_files(self) -> list[Path]:
        """The files of its networks: one, one per fold, none of a program. Raises DamagedError."""
        from qexp.spec.experiences import type_of  # slow to import; listings do not need it

        if not type_of(self.spec()).trains:
            return []
        return [run.best_weights for run in self.all_folds() or [self]]

    def require_own_weights(self) -> None:
        """Raise DamagedError for weights whose hash is not that in the run's record."""
        hashes = self.whole.record().hashes or {}
        for file in self.weight_files() if hashes else ():
            known = hashes.get(file.relative_to(self._whole).as_posix())
            if known and file.is_file() and files.sha256_of(file) != known:
                raise DamagedError(
                    f"{file} is damaged: its bytes have changed since the run was done"
                )

    def evaluation_file(self) -> Path:
        """The file that exists once the run is evaluated: in `results`, or, if its test part is
        left alone, that of its epochs. Raises DamagedError.
        """
        from qexp.spec.experiences import type_of  # as above

        spec = self.spec()
        if self.held_out and not spec.get("test", True):
            return self.metrics_file
        return self.results / type_of(spec).evaluated_by(spec)

    def written_by_program(self) -> dict[str, dict[str, Any]] | None:
        """Path → hash and size of the files of a program that gave no numbers; None for other runs.

        Raises DamagedError if the list cannot be read.
        """
        file = self.results / WRITTEN
        return formats.read_json(file) if file.is_file() else None

    def own_code(self) -> Path | None:
        """The file that makes the run execute its own code: extensions or a program's spec."""
        from qexp.spec.experiences import type_of  # as above

        if self.extensions.is_file():
            return self.extensions
        try:
            of_type = type_of(self.spec_as_written())
            return self.spec_file if of_type.executes and not of_type.trains else None
        except DamagedError:  # which cannot be executed either
            return None

    @property
    def part(self) -> str:
        """The part of the data that `results` are about."""
        return "test"

    def fold(self, name: str) -> RunDirectory:
        return RunDirectory(self.folds / name)

    def all_folds(self) -> list[RunDirectory]:
        """The folds that have a record, sorted by name."""
        return [RunDirectory(path.parent) for path in sorted(self.folds.glob("*/run.json"))]

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:02d}"

    @property
    def holds_record(self) -> bool:
        """Whether a record exists, even if this user may not read it."""
        try:
            self.record_file.stat()
        except OSError as error:
            return not isinstance(error, FileNotFoundError | NotADirectoryError)
        return True

    def record(self) -> Record:
        """The last record, with its annotations. Raises NotFoundError or DamagedError."""
        record = read_record(self.record_file)
        annotations = read_annotations(self.path)
        tags = annotations.get("tags", record.tags)
        note = annotations.get("note", record.note)
        return replace(record, tags=tuple(tags), note=note)

    def write(self, record: Record) -> None:
        formats.write_json(self.record_file, record.document())

    def spec(self) -> dict[str, Any]:
        """The resolved experience. Raises DamagedError if it has another digest."""
        from qexp.spec.experiences import type_name
        from qexp.spec.kinds import KINDS  # as above

        spec = self.spec_as_written()
        try:
            record = read_record(self.record_file)
        except NotFoundError:
            raise DamagedError(f"{self.record_file} is missing") from None
        if is_as_prepared(self, record, spec) is False:
            raise DamagedError(f"{self.spec_file} is damaged: {self.changed}")
        for key, needed in KEYS[type_name(spec)].items():
            if not isinstance(spec.get(key), needed):
                what = "is not as it must be" if key in spec else "is missing"
                raise DamagedError(f"{self.spec_file} is damaged: $.{key} {what}")
        kind = spec["dataset"].get("type") if isinstance(spec.get("dataset"), dict) else None
        if isinstance(kind, str) and kind not in KINDS and self.extensions.is_file():
            from qexp.spec.extensions import variables_of

            self.require_trust()  # to execute its own code, which may define the kind
            variables_of(self.extensions)
        return spec

    @property
    def changed(self) -> str:
        """What to say of a run that is not as it was prepared."""
        if self.extensions.exists():
            return "spec.json or code/extensions.py was changed after the run was prepared"
        return "spec.json was changed, or code/extensions.py removed, after the run was prepared"

    def training_spec(self) -> dict[str, Any]:
        """The experience of a run that trains networks. Raises QexpError for other runs."""
        from qexp.spec.experiences import type_of  # as above
        from qexp.spec.kinds import documents_of

        spec = self.spec()
        if not type_of(spec).trains:
            raise QexpError(
                f"{self.name} is a run of a program and has no network of qexp; this needs a"
                " trained one"
            )
        split = spec.get("split")
        shares = split if isinstance(split, list) else []
        are_shares = [is_number(share) and 0 <= share <= 1 for share in shares] == [True, True]
        if documents_of(spec["dataset"]).split_by_shares and not are_shares:
            raise DamagedError(
                f"{self.spec_file} is damaged: $.split is not two shares, of training and"
                " validation"
            )
        return spec

    def require_trust(self, way_out: str = "repeat the command with `trust_code=True`") -> None:
        """Raise UntrustedCodeError if the run, or one around it, came with untrusted code."""
        code = None if self.code_trusted else self.own_code()
        if code is None:
            return
        for folder in dict.fromkeys((self.path, *runs_around(self.path))):
            imported = RunDirectory(folder).record().imported
            if imported is not None and imported.code_trusted is not True:
                from qexp.spec.extensions import code_in_words

                raise UntrustedCodeError(
                    f"{self.name} was imported and has code of its own, which is not executed"
                    f" without permission: {code} ({code_in_words(code)}). Read it; if you trust"
                    f" it, {way_out}"
                )

    def trust(self) -> None:
        """Record that the code of an imported run may be executed."""
        record = self.record()
        if record.imported is not None:
            self.write(replace(record, imported=replace(record.imported, code_trusted=True)))

    def spec_as_written(self) -> dict[str, Any]:
        """The resolved experience as it was written; the digest in the record is of this form."""
        try:
            spec = formats.read_json(self.spec_file)
        except FileNotFoundError:
            raise DamagedError(f"{self.spec_file} is missing") from None
        if not isinstance(spec, dict):
            raise DamagedError(f"{self.spec_file} is damaged: $ is not an object")
        return spec

    def environment(self) -> dict[str, Any]:
        """Code, packages and machine of the last attempt, if any. Raises DamagedError."""
        with suppress(FileNotFoundError):
            file = self.path / "environment.json"
            Environment.read(file)
            return dict(formats.read_json(file))
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """One entry per epoch, without an incomplete last line. Raises DamagedError for others."""
        return read_epochs(self.metrics_file)

    def system(self) -> list[dict[str, Any]]:
        """What it took of its machine, see `SYSTEM`; empty if nothing was measured."""
        return list(formats.read_lines(self.system_file))

    def matrix_names(self) -> list[str]:
        names = (path.parent.name for path in self.matrices.glob(f"*/{MATRIX_RECORD}"))
        return sorted(name for name in names if not name.startswith("."))


def run_named(name: str, workspace: Workspace) -> RunDirectory:
    """A run of the workspace that a document names. Raises NotFoundError, also for a path: what was
    written elsewhere could name a folder elsewhere, whose code would not ask for consent.
    """
    directory = RunDirectory(workspace.runs / name)
    if not NAME.fullmatch(name):
        raise NotFoundError(
            f"'{name}' is not the name of a run in {workspace.runs}, and a path is not followed"
        )
    if not directory.holds_record:
        way_out = (
            f"if it was removed, bring it back: qexp restore {name}; if it was renamed, rename it"
            " back"
        )
        raise NotFoundError(f"there is no run '{name}' in {workspace.runs}; {way_out}")
    return directory


def with_caution(name: str, caution: str) -> str:
    """The name of a run followed by its caution, if it has one."""
    return f"{name} ({caution})" if caution else name


def is_complete(directory: RunDirectory) -> bool:
    """Whether a finished run has all results. Raises DamagedError without a spec."""
    evaluated = (
        directory.evaluation_file().is_file() or directory.record().foreign_weights is not None
    )
    return evaluated and all(file.is_file() for file in directory.weight_files())


def is_as_prepared(directory: RunDirectory, record: Record, spec: dict[str, Any]) -> bool | None:
    """Whether spec and extensions still have the digest in the run's record, which was taken when
    it was prepared.

    None if it cannot be checked: the digest of a pretrained run depends on the digest of the run
    that it started from, which old records lack; a fold has the digest of its run.
    """
    parent = record.lineage[0] if record.lineage else None
    if not record.digest or (parent is not None and parent.digest is None):
        return None
    extensions = (
        directory.extensions.read_bytes().decode(errors="replace")
        if directory.extensions.is_file()
        else ""
    )
    texts = [extensions, parent.digest if parent else None, record.mark_of_weights]
    return digest(spec, *[text for text in texts if text]) == record.digest


# Runs inside other runs: removing or deleting the outer run does the same to the inner one.


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, not just a file that happens to be called run.json."""
    file = folder / "run.json"
    if not os.path.isfile(file):  # noqa: PTH113 - false, and no error, for a folder that cannot be entered
        return False
    # which every run once had
    if any((folder / name).exists() for name in ("spec.json", "attempts", "checkpoints")):
        return True
    return {"name", "state", "seed"} <= formats.object_in(file).keys()


def runs_around(path: Path) -> Iterator[Path]:
    """The runs that contain a path, innermost first; the path itself counts if it is a run."""
    real = Path(os.path.realpath(path))
    return (folder for folder in (real, *real.parents) if is_run(folder))


def runs_inside(run: Path) -> list[Path]:
    """Runs inside a run other than its folds. `code/` is skipped: it has copies of users' files."""
    inner = []
    for parent, folders, names in os.walk(run):
        here = Path(parent)
        if here == run and "code" in folders:
            folders.remove("code")
        expected = here == run or (here.parent.name == FOLDS and here.parent.parent == run)
        if "run.json" in names and not expected and is_run(here):
            inner.append(here)
            folders.clear()  # runs further inside belong to the inner run
    return sorted(inner)


def names_inside(runs: Sequence[Path], outer: Path) -> str:
    """The inner runs by their paths relative to the outer one, as text."""
    return some([str(path.relative_to(outer)) for path in runs], 8)


def storage_place(storage: Path | None, workspace: Workspace) -> Path:
    """The folder for new runs: `storage`, or `runs/` if that is left out or resolves to it.

    Raises QexpError for one inside a run, inside `runs/`, or inside a folder that qexp empties.
    """
    runs = workspace.runs
    folder = runs if storage is None else storage.absolute()
    real_folder = Path(os.path.realpath(folder))
    real_runs = Path(os.path.realpath(runs))
    if real_folder == real_runs:
        folder = runs
    elif real_runs in real_folder.parents:
        raise QexpError(
            f"{folder} lies inside {runs}, which holds nothing but runs; choose a folder outside it"
        )
    emptied = {".trash", ".launches"}.intersection(real_folder.parts)
    if emptied and real_folder != real_runs:
        raise QexpError(
            f"{folder} lies inside a folder {min(emptied)}, which qexp empties; choose another"
            " folder"
        )
    require_outside_of_runs(folder)
    return folder


def target_outside_of_runs(target: str | Path) -> Path:
    """The path of a file or folder that a command writes where the user says.

    Raises QexpError for one in `runs/` or `specs/` of a workspace, or in a run.
    """
    target = Path(target)
    require_outside_of_runs(target)
    absolute = os.path.abspath(target)  # noqa: PTH100 - links are kept
    for path in (Path(absolute), Path(os.path.realpath(target))):
        in_workspaces = (one for one in (path, *path.parents) if (one.parent / "specs").is_dir())
        folder = next(in_workspaces, None)
        if folder is not None and folder.name in ("runs", "specs"):
            raise QexpError(
                f"{target} lies inside {folder}, where such files are not written; choose another"
                " folder"
            )
    return target


def require_outside_of_runs(path: Path) -> None:
    """Raise QexpError for a path inside a run."""
    outer = next(runs_around(path), None)
    if outer:
        raise QexpError(
            f"{path} lies inside the run {outer}; its contents would be removed and deleted with"
            " that run; choose a folder outside it"
        )
