"""A run as Python sees it, how to open one, and how it is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base import workspace as workspaces
from qexp.base.options import as_warning, checks_keywords, takes
from qexp.errors import NotFoundError, QexpError, SpecError, shortened, some, suggestion
from qexp.jobs import states
from qexp.kinds.options import (
    CalibrateOptions,
    EvaluateOptions,
    FiguresOptions,
    IntervalsOptions,
    LimitOptions,
)
from qexp.runs.catalog import Catalog, find_run, is_pattern, named_runs
from qexp.runs.options import ReportFile, VerifyOptions
from qexp.runs.order import RerunOptions
from qexp.store.directory import RunDirectory, annotate, retag, target_outside_of_runs
from qexp.store.evaluations import EvaluationRecord, evaluations_of, find_evaluation
from qexp.web.html import Pictures, Shown, View, fields_of
from qexp.web.listing import Listing, epochs_listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from qexp.results.calibration import Calibration
    from qexp.results.intervals import HeldOutIntervals
    from qexp.results.limit import Limit
    from qexp.runs.predict import Predictor
    from qexp.web.notebook import Estimates, Matrix, Posterior, ShownEvaluation, ShownNetwork
    from qexp.web.trust import ShownCalibration, ShownIntervals, ShownLimit, ShownVerification


class Run(Shown):
    """A run: its record, its files, and its trained network ready to predict."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    def __repr__(self) -> str:
        return f"<run {self.name}: {self.state}>"

    def view(self) -> View:
        """What a notebook or a terminal shows of it."""
        from qexp.web.run_page import run_view

        return run_view(self.directory)

    @property
    def name(self) -> str:
        """The name of the run, which is the name of its directory."""
        return self.directory.name

    @property
    def path(self) -> Path:
        """The directory of the run."""
        return self.directory.path

    @property
    def record(self) -> dict[str, Any]:
        """The document that `qexp show RUN --json` prints, with the present state."""
        from qexp.runs.facts import shown_record

        return shown_record(self.directory)

    @property
    def state(self) -> str:
        """The present state, such as "running" or "done"."""
        self.directory.record()  # raises NotFoundError or DamagedError
        return states.Watch().state(self.directory).value

    @property
    def seed(self) -> int | None:
        """The random seed; None for a run of weights from elsewhere."""
        return self.directory.record().seed

    @property
    def spec(self) -> dict[str, Any]:
        """The resolved experience, with its dataset and model."""
        return self.directory.spec()

    @property
    def results(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """part → output → metric → value, in the output's unit."""
        document = self.directory.record().document()
        results: dict[str, dict[str, dict[str, float | None]]] = document["results"]
        return results

    def network(self) -> ShownNetwork:
        """Its network as a table and a drawing; see `qexp.network`. Raises QexpError for a run of a
        program.
        """
        from qexp.kinds.layouts import layout_of_run
        from qexp.web.notebook import ShownNetwork

        return ShownNetwork(**fields_of(layout_of_run(self.directory)))

    @property
    def evaluations(self) -> dict[str, EvaluationRecord]:
        """Name → evaluation on other data: `results` by part, `independent`, `reasons`."""
        records = [evaluation.evaluation() for evaluation in evaluations_of(self.directory)]
        return {record.name: record for record in records}

    @property
    def limit(self) -> Limit | None:
        """The errors of the exact posteriors of its test samples, if `qexp.limit` computed them."""
        from qexp.results.limit import limit_of

        return limit_of(self.directory)

    @property
    def calibration(self) -> Calibration | None:
        """How sure its posteriors may be, if `qexp.calibrate` tested them; its head's first."""
        return next(iter(self.calibrations.values()), None)

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """Kind, such as "head", "refined", or "head_train" of a part → its last calibration."""
        from qexp.results.calibration import calibrations_of

        return calibrations_of(self.directory)

    def held_out_intervals(self, evaluation: str | None = None) -> HeldOutIntervals | None:
        """How many held-out rows, or rows of an evaluation, lie in the intervals by held-out
        errors, if known.

        evaluation  its name; the run's own held-out rows if left out
        """
        from qexp.results.intervals import intervals_of

        return intervals_of(
            self.directory if evaluation is None else find_evaluation(self.directory, evaluation)
        )

    @takes(EvaluateOptions)
    def evaluate(self, options: EvaluateOptions) -> ShownEvaluation:
        """Evaluate it on data other than its own test part, and keep the results in the run; see
        `qexp.evaluate`.

        The dataset's spec is searched in the workspace of the run if no other is named.
        """
        from qexp.runs.evaluate import evaluate
        from qexp.web.notebook import ShownEvaluation

        home = self.directory.workspace if options.workspace is None else options.home
        return ShownEvaluation(
            **fields_of(evaluate(self.directory.trusting(options.trust_code), home, options))
        )

    @property
    def pretrained_from(self) -> str:
        """The runs from which its weights were pretrained, the nearest first; else empty."""
        from qexp.store.provenance import lineage_text

        return lineage_text(self.directory.record().lineage)

    @property
    def own_code(self) -> str:
        """The file with its own code or command, and a summary of it; empty if it has none."""
        from qexp.spec.extensions import code_in_words

        code = self.directory.own_code()
        return (
            f"{workspaces.find(self.path.parent.parent).shown(code)} ({code_in_words(code)})"
            if code
            else ""
        )

    @property
    def metrics(self) -> Listing:
        """A dictionary per epoch: a table in a notebook, a data frame by `to_pandas()`."""
        return epochs_listed(self.directory.metrics())

    def matrix(self, name: str) -> Matrix:
        """A matrix of this run: an `xarray.Dataset`.

        name  that of its dataset, unless it was given one
        Raises NotFoundError.
        """
        from qexp.web.notebook import matrix_at

        names = self.directory.matrix_names()
        if name not in names:
            advice = (
                suggestion(name, names)
                if names
                else f"make it: qexp matrix {self.name} --dataset {name}"
            )
            raise NotFoundError(f"{self.name} has no matrix '{name}'; {advice}")
        return matrix_at(self.directory.matrices / name)

    def predict(self, *unnamed: object, **inputs: ArrayLike) -> Estimates:
        """Estimates from observations, both in the units of the spec:
        `run.predict(displacement=images)["depth"]`.

        unnamed  none; an array without a name is refused with the name that it needs
        inputs   variable → (sample, height, width), or (height, width) for a single sample, which
                 gives scalars. The images `displacement`, `displacement_1` and on may be the
                 channels of one array `displacement`. Rows of images run northwards: the first is
                 the southernmost. A `DataArray` of xarray is converted by its attribute `units` and
                 turned by its coordinates, if it has them; so is a file by `qexp.predict`, which
                 alone compares the size of pixels and the values with the training data, and finds
                 gaps
        returns  output → (sample,)
        Warns of samples with inputs or estimates outside the training data, of images and rows: see
        `qexp predict`. Raises QexpError for a missing input or one of another shape.
        """
        from qexp.web.notebook import Estimates

        if unnamed:
            name, *_ = self.spec["inputs"]
            raise QexpError(f"name the input: predict({name}=…)")
        return Estimates(self._predictor.predict(inputs, as_warning), self.directory.record().units)

    def predict_interval(
        self, coverage: float = 0.9, **inputs: ArrayLike
    ) -> dict[str, tuple[NDArray[Any], ...]]:
        """Output → lower and upper ends of the intervals of new rows or spectra, (sample,) each, or
        of classes which belong to sets, (sample, class), 1 or 0; see `qexp predict`.

        coverage  share of truths that the intervals hold
        inputs    as for `predict`
        Raises QexpError as `predict` does, and for a coverage that so few held-out rows or groups
        cannot promise.
        """
        return self._predictor.interval(inputs, coverage)

    def posterior(
        self,
        *,
        draws: int = 1000,
        seed: int = 0,
        refined: bool = False,
        recalibrated: str | None = None,
        **inputs: ArrayLike,
    ) -> Posterior:
        """Draws from the joint posterior given observations:
        `run.posterior(displacement=images)["depth"]`.

        For runs whose model ends in a posterior head, and with `refined` for all runs on images of
        a simulated dataset whose likelihood is known: the draws are then from the posterior of that
        likelihood, with the distributions of the dataset as prior, in the dataset's declared noise;
        the network's estimate is only a start. `made.summary()` has means and intervals,
        `made.corner()` draws them, `made.check(simulator, observed)` compares the observation with
        predictions; else it is a dataset of xarray, with `quantile`, and ArviZ takes it as it is.

        draws         number of draws for each sample
        seed          of the draws
        refined       by the known likelihood, instead of the network's head
        recalibrated  part of the distributions whose calibration tells how wide they are; see `qexp
                      predict`
        inputs        as for `predict`
        returns       output → (chain, draw, sample) with one chain, in the output's unit; without
                      `sample` for a single one; refined: all variables that vary and are no inputs.
                      Warns of draws that are not to be trusted
        Raises QexpError as `predict` does, for a run without posterior head, and refined for a
        likelihood that is not known, or pixels that are missing without a mask.
        """
        from qexp.web.notebook import Posterior

        if refined:
            made = self._predictor.refined(inputs, draws, seed, as_warning)
        else:
            made = self._predictor.posterior(inputs, draws, seed, recalibrated, as_warning)
        return Posterior(made.data_vars, made.coords, made.attrs)

    def log_prob(self, theta: Any, **inputs: ArrayLike) -> NDArray[np.float64]:
        """The logarithm of the posterior's density at values of the parameters, given observations.

        For runs whose model ends in a posterior head, also with `ensemble`: `run.log_prob(drawn,
        displacement=image)` of `drawn = run.posterior(displacement=image)`. Densities are per unit
        of each parameter, so that they integrate to 1 over all of them; beyond the ends of a prior
        they are 0, and their logarithm −∞.

        theta    parameter → values, such as a dictionary, a data frame or draws, or an array (...,
                 parameter) in the order of the model's outputs, in their units
        inputs   as for `predict`
        returns  in the shape of the values; given several samples, their last axis is that of the
                 samples, or has the length 1 for values that are the same for all
        Raises QexpError as `posterior` does.
        """
        return self._predictor.log_prob(theta, inputs, as_warning)

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the run has ended; returns its state. Raises QexpError after `timeout`
        seconds.

        timeout  seconds; without end if left out
        """
        return next(state for _, state in states.endings([self.directory], timeout)).value

    def stop(self, now: bool = False) -> str:
        """Stop the run, here or on the cluster, and wait for its end. Returns its state.

        now  kill it, without a last checkpoint
        """
        states.ask_to_stop(self.directory, now)
        return states.wait_for_end(self.directory).value

    def logs(self, attempt: int | None = None) -> str:
        """The log of an attempt.

        attempt  its number; the last one if left out
        """
        return "".join(self.log_pieces(attempt))

    def log_pieces(self, attempt: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """The log of an attempt in pieces.

        attempt  its number; the last one if left out
        follow   wait for more, until the run ends
        """
        return (states.follow_log if follow else states.read_log)(self.directory, attempt)

    def tag(self, *add: str, remove: Iterable[str] = ()) -> list[str]:
        """Add and remove tags; returns the tags afterwards.

        add     tags of letters, digits, dots, underscores and hyphens
        remove  tags that it has; others are no mistake
        """
        retag(self.path, add, remove)
        return list(self.directory.record().tags)

    @checks_keywords
    def note(self, text: str | None = None) -> str:
        """Set the note of the run; returns the note afterwards.

        text  an empty one deletes the note; if left out, nothing is changed
        """
        if text is not None:
            annotate(self.path, text)
        return self.directory.record().note

    @takes(RerunOptions)
    def rerun(self, options: RerunOptions) -> Run:
        """Train its spec once more, as a new run; see `qexp rerun`. Returns that."""
        from qexp.api.progress import display_of
        from qexp.runs.rerun import continue_run, rerun

        options = replace(options, display=display_of(options.display))
        return Run(
            (continue_run if options.resume else rerun)(
                self.directory, self.directory.workspace, options
            )
        )

    @takes(VerifyOptions)
    def verify(self, options: VerifyOptions) -> ShownVerification:
        """Train it again in another folder and compare all results bit by bit."""
        from qexp.api.progress import display_of
        from qexp.upkeep.verify import verify
        from qexp.web.trust import ShownVerification

        options = replace(options, display=display_of(options.display))
        return ShownVerification(
            **fields_of(verify(self.directory, self.directory.workspace, options))
        )

    @takes(FiguresOptions)
    def figures(self, options: FiguresOptions) -> Pictures:
        """Draw the figures again from the run's files; returns the paths of the pictures."""
        from qexp.kinds.figures import draw

        evaluation = options.evaluation
        directory = (
            self.directory if evaluation is None else find_evaluation(self.directory, evaluation)
        )
        folder = None if options.to is None else target_outside_of_runs(options.to) / self.name
        drawn = draw(
            directory, options.formats, options.drawn_with, options.only, options.warn, folder
        )
        return Pictures(drawn)

    @takes(ReportFile)
    def report(self, options: ReportFile) -> Path:
        """Write one HTML file about the run, or a PDF if its name ends in .pdf; see `qexp report`.

        returns  its path
        Raises QexpError if it cannot be written there.
        """
        from qexp.web.report import report

        target = Path(f"{self.name}.html" if options.to is None else options.to)
        return report(self.directory, target, options)

    def export(self, target: str | Path, format: str | None = None) -> Path:
        """Write the run to an archive.

        target  a file whose name ends in .zip
        format  "mlflow" adds it to a database of MLflow instead, such as mlflow.db
        """
        if format == "mlflow":
            from qexp.runs.trackers import export_to_mlflow

            export_to_mlflow(self.directory, Path(target))
            return Path(target)
        if format is not None:
            raise QexpError(f"`format={format}`: a run is exported as an archive, or to mlflow")
        from qexp.upkeep import archive

        archive.export(self.directory, target_outside_of_runs(target))
        return Path(target)

    def remove(self, stop: bool = False) -> None:
        """Move the run to its workspace's trash, from which `restore` brings it back.

        stop  it first, if it is running
        """
        from qexp.upkeep import trash

        if stop:
            self.stop()
        trash.removed([self.directory], self.directory.workspace)

    @cached_property
    def _predictor(self) -> Predictor:
        from qexp.runs.predict import Predictor

        return Predictor(self.directory)


def open_run(
    reference: Runs,
    *,
    trust_code: bool = False,
    workspace: str | Path | None = None,
    ensemble: bool = False,
) -> Run:
    """A run by its name, a unique prefix of it, a path, or its summary in `qexp.runs()`. Raises
    NotFoundError.

    trust_code  execute the code in `code/extensions.py` of an imported run when it predicts or is
                verified
    ensemble    several runs that differ by their seed alone, such as those of a pattern, are one
                that predicts; all that is no estimate, posterior or calibration is that of the
                first

    >>> qexp.open_run("mogi_quick_0").results["test"]["depth"].keys()
    dict_keys(['mae', ...])
    """
    return Run(directory_of(reference, workspace, trust_code, ensemble))


Runs = Run | str | Path | Mapping[str, Any] | Iterable["Runs"]
"""A run; a name, unique prefix, path or pattern; a summary of `qexp.runs()`; several of these."""


def references_of(runs: Runs, workspace: str | Path | None = None) -> list[str]:
    """Runs as the command line names them. Raises QexpError for what is no run."""
    if isinstance(runs, str | Path):
        return [str(runs)]
    if isinstance(runs, Run) or (isinstance(runs, Mapping) and "path" in runs):
        path = Path(runs.path if isinstance(runs, Run) else runs["path"])
        here = path.absolute().parent == workspaces.find(workspace).runs.absolute()
        return [path.name if here else str(path)]
    if isinstance(runs, Mapping) or not isinstance(runs, Iterable):
        raise QexpError(
            f"{shortened(repr(runs))} is no run: give a Run, a name, a pattern such as 'mogi_*', or"
            " a list"
        )
    return [reference for run in runs for reference in references_of(run, workspace)]


def open_runs(references: Runs, *, workspace: str | Path | None = None) -> list[Run]:
    """Runs by names, unique prefixes, paths and patterns such as "mogi_*", each once. Raises
    NotFoundError.

    >>> [run.seed for run in qexp.api.open_runs("mogi_quick_0")]
    [0]
    """
    names = references_of(references, workspace)
    return [Run(directory) for directory in named_runs(names, Catalog(workspaces.find(workspace)))]


def directory_of(
    run: Runs, workspace: str | Path | None, trust_code: bool = False, ensemble: bool = False
) -> RunDirectory:
    """The directory of a single run, or with `ensemble` of several that differ by their seed alone.

    Raises NotFoundError, and QexpError for several, or with `ensemble` for those that are no
    ensemble.
    """
    if isinstance(run, str) and not is_pattern(run):
        return find_run(run, Catalog(workspaces.find(workspace))).trusting(trust_code)
    runs = [run] if isinstance(run, Run) else open_runs(run, workspace=workspace)
    if ensemble and len(runs) > 1:
        from qexp.kinds.ensembles import ensemble as joined

        return joined([run.directory.trusting(trust_code) for run in runs])
    if len(runs) != 1:
        named = (
            f"{len(runs)} are named: {some([run.name for run in runs])}"
            if runs
            else "none is named"
        )
        raise QexpError(f"this takes one run, and {named}; call it for each of them")
    return runs[0].directory.trusting(trust_code)


@takes(EvaluateOptions)
def evaluate(run: Runs, options: EvaluateOptions) -> ShownEvaluation:
    """Evaluate a finished run on data other than its own test part.

    Errors, intervals, tables and figures are kept in the run, in evaluations/NAME/, without
    training or fitting anything. A warning says if the data are not independent of those that the
    run was trained on, or if that is unknown. Samples without truth are left out and counted.

    returns     the evaluation: its `directory`, whether it was `made` now, and `record` with
                `results` (part → output → metric → value), `intervals`, `independent` (None if
                unknown) and `reasons`
    Raises QexpError.

    >>> evaluation = qexp.evaluate("mogi_quick_0", "mogi_noisy", part="test")
    >>> evaluation.record.results["test"]["depth"]["mae"] > 0
    True
    """
    handle = Run(directory_of(run, options.workspace, options.trust_code))
    return handle.evaluate(**vars(replace(options, workspace=options.home.root)))


@takes(FiguresOptions)
def figures(runs: Runs, options: FiguresOptions) -> Pictures:
    """Draw the figures of finished runs again, from the numbers in their directories.

    Of files of draws, such as estimates_posterior.nc of qexp predict, the corner plot of a sample
    is drawn, and of several files their posteriors over each other: of a network and the known
    likelihood, or of two runs.

    runs     `Run` objects, names, unique prefixes, paths, patterns such as "mogi_*", and lists of
             them; or files of draws, such as "estimates_posterior.nc", whose posteriors of one
             sample are drawn over each other
    returns  the paths of the pictures

    >>> paths = qexp.figures("mogi_quick_0", formats=["pdf"], only="learning_curve")
    >>> paths[0].name
    'learning_curve.pdf'
    """
    names = references_of(runs)
    if not files_of_draws(names):
        return Pictures(path for run in open_runs(names) for path in run.figures(**vars(options)))
    if options.evaluation is not None:
        raise QexpError("`evaluation` is for runs, and these are files of draws; leave it out")
    from qexp.figures.canvas import use_style
    from qexp.figures.distributions import draw_corner

    folder = None if options.to is None else target_outside_of_runs(options.to)
    drawn = Pictures()
    with use_style(*options.drawn_with):
        for sample in options.only or ("",):
            drawn += draw_corner([*map(Path, names)], sample, folder, options.formats)
    return drawn


def files_of_draws(names: Sequence[str]) -> bool:
    """Whether files are named, such as those that `predict` writes with `draws`, and no runs."""
    return bool(names) and all(name.endswith(".nc") for name in names)


@takes(IntervalsOptions)
def intervals(run: Runs, options: IntervalsOptions) -> ShownIntervals:
    """Say how many held-out rows or spectra lie in intervals from the errors of the others, overall
    and by group.

    Training does this at its end; for runs of older versions it is done here. Each interval is as
    wide as the errors of other rows, or of other groups where whole groups are held out, require
    for its coverage: this is conformal prediction, on the scale of the loss. The interval of every
    row is kept in results/intervals.csv.

    returns     `unit` (what is exchangeable: "row", or the kind of group that is held out),
                `units`, and `coverages`: for each output, interval and group `covered` of `n` rows,
                its `range`, and `mean_width`
    Raises QexpError for a run without held-out estimates of numbers.

    >>> run = qexp.run("lunar_tio2")
    >>> qexp.intervals(run).unit
    'row'
    """
    from qexp.kinds.held_out import keep_intervals
    from qexp.web.trust import ShownIntervals, shown_in

    directory = directory_of(run, options.workspace, options.trust_code)
    states.require_done(directory)
    return shown_in(ShownIntervals, keep_intervals(directory), directory)


@takes(CalibrateOptions)
def calibrate(run: Runs, options: CalibrateOptions) -> ShownCalibration:
    """Test whether the posteriors of runs are too narrow, too wide or biased.

    New observations are simulated from values drawn from the prior. It is counted how often the
    posteriors' intervals and regions contain these values, and what ranks the values have: overall,
    and by where the estimates lie. The result is kept in the run and shown with it.

    run             a run; with `ensemble` several that differ by their seed alone, whose mixture is
                    tested
    returns         `outputs`: name → `coverage` of intervals, `p_value` of the ranks, `local`,
                    `width`; `density` and `balls`: coverage and `p_value` of regions of all
                    outputs; `exact`; `notices_narrow`, `notices_shift`
    Raises QexpError for a run without posteriors.

    Fresh simulations of a run on simulations in files: `qexp.calibrate(run, theta=theta,
    observed=x)`, or a dataset of them, `dataset="fresh"`.

    >>> run = qexp.run("mogi_posterior")
    >>> list(qexp.calibrate(run, draws=50, observations=100).outputs)
    ['depth', 'delta_volume']
    """
    from qexp.api.progress import counted
    from qexp.trust.calibration import calibrate
    from qexp.web.trust import ShownCalibration, shown_in

    directory = directory_of(run, options.workspace, options.trust_code, options.ensemble)
    if options.theta is not None:
        theta, observed = Run(directory)._predictor.simulated(options.theta, options.observed)
        options = replace(options, theta=theta, observed=observed)
    with counted(options.on_observation, "calibrating", "observations") as on_observation:
        options = replace(options, on_observation=on_observation)
        calibration = calibrate(directory, options.home, options)
    return shown_in(ShownCalibration, calibration, directory)


def named_run_or_dataset(reference: str, *, workspace: str | Path | None = None) -> Run | str:
    """The name of a dataset, or the run that a name means where no dataset has it. Raises SpecError
    for neither.

    >>> qexp.api.named_run_or_dataset("mogi"), qexp.api.named_run_or_dataset("mogi_quick_0")
    ('mogi', <run mogi_quick_0: done>)
    """
    from qexp.spec.resolution import locate

    try:
        locate("dataset", reference, workspaces.find(workspace))
    except SpecError as no_dataset:
        try:
            return open_run(reference, workspace=workspace)
        except NotFoundError:
            raise no_dataset from None
    return reference


@takes(LimitOptions)
def limit(options: LimitOptions) -> ShownLimit:
    """Compute the errors of the exact posteriors of simulated images with noise.

    The posterior of each test sample is integrated over up to two unknown variables, and sampled by
    importance if there are more. Variables that the network takes as inputs count as known. The
    prior is the whole distribution of each variable, training and test intervals. On average over
    that prior (`part=all`) no method has a mean absolute error below that of the posterior median
    (mae), nor a root mean square error below that of the posterior mean (rmse). Over the test
    intervals alone a method that knew these could do better.

    returns     `variables`: name → `mae` (of the exact posterior median), `rmse` (of the exact
                posterior mean), their standard errors `mae_error` and `rmse_error`, `unit`, and
                `difference`, which grids that are half as fine make, relative to `mae`; with more
                than two variables, posteriors are `sampled`: half of the draws makes that
                difference, and `doubted` is the number of those that are not to be trusted; `given`
                are the varying inputs of the network, which are known; `whole`, whether the samples
                are of the whole prior
    Raises QexpError if the dataset's posteriors cannot be computed.

    >>> limit = qexp.limit("mogi_noisy", samples=4)
    >>> list(limit.variables)
    ['depth', 'delta_volume']
    """
    from qexp.api.progress import counted
    from qexp.trust.limit import of_dataset, of_run
    from qexp.web.trust import ShownLimit

    with counted(options.on_sample, "integrating", "samples") as on_sample:
        options = replace(options, on_sample=on_sample)
        if options.run is None:
            return ShownLimit(**fields_of(of_dataset(options.home, options)))
        directory = directory_of(options.run, options.workspace, options.trust_code)
        return ShownLimit(**fields_of(of_run(directory, options.home, options)))
