"""Runs that differ by their seed alone, as one estimator: their networks stand where those of the
folds of a run do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from qexp.base.files import real_path
from qexp.errors import QexpError, some
from qexp.jobs.states import require_done
from qexp.spec.experiences import differences
from qexp.spec.reading import canonical, digest
from qexp.store.directory import RunDirectory
from qexp.store.record import NAME, Feature, Record

RESULTS = Path("comparisons/ensembles")
"""Where the workspace keeps results of ensembles."""


@dataclass(frozen=True)
class EnsembleDirectory(RunDirectory):
    """The first of several runs, which stands for all of them, with results of its own.

    members  that differ by their seed alone, see `require_seeds`
    """

    members: tuple[RunDirectory, ...] = ()

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.members)

    @property
    def results(self) -> Path:
        names = [run.name for run in self.members]
        return self.path.parent.parent / RESULTS / f"{stem(names)}_{digest(names)[:6]}"

    def evaluation_file(self) -> Path:
        return self.members[0].evaluation_file()

    def record(self) -> Record:
        """The first run's record, with the cautions and the widest ranges of all."""
        records = [run.record() for run in self.members]
        cautions = dict.fromkeys(record.caution for record in records if record.caution)
        features = map(_widest, zip(*(record.features for record in records), strict=True))
        targets = map(_widest, zip(*(record.targets for record in records), strict=True))
        return replace(
            records[0],
            caution="; ".join(cautions),
            features=tuple(features),
            targets=tuple(targets),
        )


def _widest(columns: Sequence[Feature]) -> Feature:
    """A column with its range over the training data of all runs."""
    least = min((one.least for one in columns if one.least is not None), default=None)
    greatest = max((one.greatest for one in columns if one.greatest is not None), default=None)
    return replace(columns[0], least=least, greatest=greatest)


def ensemble(runs: Sequence[RunDirectory]) -> EnsembleDirectory:
    """Several runs as one estimator. Raises QexpError as `require_seeds`."""
    require_seeds(runs)
    return EnsembleDirectory(runs[0].path, runs[0].code_trusted, tuple(runs))


def require_seeds(directories: Sequence[RunDirectory]) -> None:
    """Raise QexpError unless runs are done, and are of one spec with a seed each."""
    if len({real_path(directory.path) for directory in directories}) < 2:
        raise QexpError("an ensemble, or a mean over seeds, needs at least two runs")
    for directory in directories:
        require_done(directory)
    by_spec: dict[str, list[str]] = {}
    specs = []
    for directory in directories:
        spec = directory.training_spec()
        # the run that it was pretrained from may follow its seed
        if isinstance(spec.get("pretrain"), dict):
            spec = {
                **spec,
                "pretrain": {key: value for key, value in spec["pretrain"].items() if key != "run"},
            }
        specs.append(spec)
        by_spec.setdefault(canonical(spec), []).append(directory.name)
    if len(by_spec) > 1:
        groups = "; ".join(
            ", ".join(names[:3]) + " …" * (len(names) > 3) for names in by_spec.values()
        )
        keys = some(list(differences(specs)), 3)
        raise QexpError(
            "an ensemble, or a mean over seeds, is of runs that differ by their seed alone; these"
            f" have {len(by_spec)} specs: {groups}; they differ in {keys}"
        )
    seeds: dict[int, str] = {}
    for directory in directories:
        other = seeds.setdefault(directory.record().seed, directory.name)
        if other != directory.name:
            raise QexpError(
                f"{other} and {directory.name} have the same seed and spec; leave one of them out"
            )


def stem(names: Sequence[str]) -> str:
    """What the names of runs have in common, `mogi` for mogi_0 and mogi_1; else the first of them
    and their number.
    """
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("0123456789").rstrip("._-")
    return common if NAME.fullmatch(common) else f"{names[0]}_and_{len(names) - 1}"
