"""Specs and data: a new workspace, checks, names and schemas, a look at data, synthetic data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.api.progress import notices, watching
from qexp.base import files, folders, workspace as workspaces
from qexp.base.options import ignore, takes
from qexp.base.workspace import PACKAGE, Workspace
from qexp.errors import NotFoundError, Problem, QexpError, extra, some, suggestion
from qexp.examples.kinds import EXAMPLES as KINDS_OF_EXAMPLES
from qexp.examples.options import IceOptions, ObservationOptions, XrfOptions
from qexp.kinds.options import (
    ImageOptions,
    NewOptions,
    PictureOptions,
    SampleOptions,
    ShowImagesOptions,
    ShowOptions,
    SimulateOptions,
    SubmitSimulationsOptions,
)
from qexp.spec.reading import read
from qexp.spec.resolution import EXTENDS, FOLDERS, REFERENCES, spec_in
from qexp.store.directory import target_outside_of_runs
from qexp.web.html import Pictures, Titled, View, fields_of

if TYPE_CHECKING:
    import xarray
    from numpy.typing import ArrayLike

    from qexp.api.listing import Listing
    from qexp.base.tables import Tables
    from qexp.examples import ice, observation, xrf
    from qexp.jobs.launchers import Submitted
    from qexp.runs.columns import Column
    from qexp.web.notebook import ShownLook, ShownNetwork

IGNORED = "/runs/\n/comparisons/\n/figures/\n/data/\n__pycache__/\n"

EXAMPLES = PACKAGE / "examples" if (PACKAGE / "examples/specs").is_dir() else PACKAGE.parent
"""Where the shipped specs and data are: inside an installed package, at the root of a checkout."""

STAND_INS = "*/stand_in_*.csv"
"""The data that are shipped: synthetic, so that every example runs."""


@dataclass(frozen=True, repr=False)
class Validation(Titled):
    """What checks of spec files have found."""

    files: Sequence[Path]
    """The files that were checked."""
    problems: Sequence[Problem]
    """What must be changed before anything can be trained."""
    warnings: Sequence[Problem]
    """What is allowed, but may not be intended."""
    right: int
    """Number of files without a problem."""
    waiting: int
    """Number of files that are right, but whose data have yet to be made by a command."""

    @property
    def wrong(self) -> int:
        """Number of files with problems."""
        return len(self.files) - self.right - self.waiting

    @property
    def in_words(self) -> str:
        """How many files are right."""
        if self.wrong:
            count = len(self.files)
            return f"{count} spec{'s' * (count != 1)}, {self.wrong} with problems"
        right = f"{self.right} spec{' is' if self.right == 1 else 's are'} right"
        if not self.waiting:
            return right
        return f"{right}, {self.waiting} wait{'s' * (self.waiting == 1)} for data"

    def remarks(self) -> list[str]:
        """The warnings, of those alike the first with the number and names of the other files."""
        alike: dict[Any, list[Problem]] = {}
        for warning in self.warnings:
            _, makes, command = warning.message.partition("; make it with: ")
            key = (command,) if makes else (warning.path, re.sub("'[^']*'", "", warning.message))
            alike.setdefault(key, []).append(warning)
        texts = []
        for first, *others in alike.values():
            files = list(dict.fromkeys(other.file for other in others if other.file != first.file))
            more = f"; {len(files)} more like it: {some(files)}" if files else ""
            texts.append(f"{first}{more}")
        return texts

    def view(self) -> View:
        """What a notebook or a terminal shows of it."""
        problems = "\n".join(map(str, self.problems))
        return View(self.in_words, cautions=self.remarks(), error=problems)


def validate(
    files: str | Path | Iterable[str | Path] | None = None, *, workspace: str | Path | None = None
) -> Validation:
    """Check spec files for everything that can be checked without training.

    files  a path or several; a name, such as "mogi_cnn", stands for the specs of that name in
           specs/; all if left out
    Raises NotFoundError if there are none.

    >>> qexp.validate("specs/datasets/mogi.json")
    <1 spec is right>
    """
    home = workspaces.find(workspace)
    everything = sorted(
        path for kind in FOLDERS.values() for path in (home.specs / kind).glob("*.json")
    )
    named = [files] if isinstance(files, str | Path) else files or ()
    paths = [path for file in named for path in _of_name(file, everything)] or everything
    if not paths:
        raise NotFoundError(f"no specs in {home.specs}")

    from qexp.kinds.experiments import examine, spec_cache  # loads torch

    # A dataset is reported once, not again by every experience that uses it.
    cache = spec_cache(home)
    findings = {path: examine(path, cache) for path in paths}
    awaited = dict.fromkeys(waiting for finding in findings.values() for waiting in finding.awaited)
    every = dict.fromkeys(problem for found in findings.values() for problem in found.problems)
    problems = [problem for problem in every if problem not in awaited]
    right = [path for path, finding in findings.items() if not finding.problems]
    doubtful = dict.fromkeys(problem for path in right for problem in findings[path].warnings)
    waiting = len(paths) - len(right) - len({problem.file for problem in problems})
    return Validation(
        paths,
        problems,
        [*awaited, *doubtful],
        len(right),
        waiting,
    )


def _of_name(file: str | Path, everything: Sequence[Path]) -> list[Path]:
    """A path, or the specs of a name. Raises NotFoundError for a name that none has."""
    if Path(file).suffix or Path(file).exists():
        return [Path(file)]
    own = [path for path in everything if path.stem == str(file)]
    if not own:
        names = {path.stem for path in everything}
        raise NotFoundError(f"no spec '{file}'; {suggestion(str(file), names)}")
    return own


def network(spec: str | Path, *, workspace: str | Path | None = None) -> ShownNetwork:
    """The network of a model or an experience, before any training: operations with output shapes,
    weights and multiplications, and a drawing, by `draw("network.svg")`.

    spec  a path, or a name, for an experience before a model
    Raises SpecError if the spec is wrong or waits for data, QexpError if it has no network.

    >>> qexp.network("mogi_quick").totals["weights"]
    90602
    """
    from qexp.kinds.layouts import layout_of_spec
    from qexp.web.notebook import ShownNetwork

    home = workspaces.find(workspace)
    paths = _of_name(spec, sorted(home.specs.glob("*/*.json")))
    chosen = next((path for path in paths if path.parent.name != "datasets"), paths[0])
    return ShownNetwork(**fields_of(layout_of_spec(chosen, home)))


def specs(kind: str | None = None, *, workspace: str | Path | None = None) -> Listing:
    """The specs of a workspace: `kind`, `name`, `path`, `runs` (how many there are), `description`,
    `problem`.

    kind  dataset, model or experience; all kinds if left out
    returns  a list of dictionaries, which notebooks show as a table; `to_pandas()` makes a data
             frame of it. `problem` is None, or why the file cannot be read

    >>> "mogi_quick" in [spec["name"] for spec in qexp.specs("experience")]
    True
    """
    from qexp.api.listing import Listing, every_run

    kinds = FOLDERS if kind is None else [_require_kind(kind)]
    home = workspaces.find(workspace)
    runs = every_run(warn=ignore, workspace=home.root)
    counts = Counter((kind, run.get(kind)) for run in runs for kind in FOLDERS)
    rows = []
    for kind in kinds:
        for path in sorted((home.specs / FOLDERS[kind]).glob("*.json")):
            description, problem = "", None
            try:
                document = read(path, home.shown(path))
                extends = f"extends {document[EXTENDS]}" if EXTENDS in document else ""
                described = document.get("description", extends)
                description = described if isinstance(described, str) else ""
                spec_in(kind, path, home)  # what it extends can be read, too
            except QexpError as error:
                problem = str(error)
            about: dict[str, Any] = {"kind": kind, "name": path.stem, "path": str(path)}
            about |= {"runs": counts[kind, path.stem], "description": description}
            rows.append({**about, "problem": problem})
    return Listing(rows, "specs", _columns)


def _columns(specs: Sequence[dict[str, Any]]) -> list[Column]:
    from qexp.runs.columns import Column

    names = ["kind", "name", "runs", "description"]
    if any(spec["problem"] for spec in specs):
        names.append("problem")
    return [Column(name, name, partial(_text, name), name == "runs") for name in names]


def _text(name: str, spec: dict[str, Any]) -> str:
    return "" if spec[name] is None else str(spec[name])


def tables(*, workspace: str | Path | None = None) -> Tables:
    """The tables of names that specs may use, with the entries of the workspace's own extensions.

    >>> qexp.api.tables()["losses"]["huber"].help
    '...'
    """
    from qexp.kinds.tables import tables_here
    from qexp.spec.schema import tables_of_types

    tables = tables_here(workspace)
    return {**tables_of_types(tables), **tables}


def schema(kind: str, *, workspace: str | Path | None = None) -> Mapping[str, Any]:
    """The JSON Schema of a kind of spec; `else` is that of one that extends no other.

    kind  dataset, model or experience

    >>> qexp.api.schema("model")["else"]["required"]
    ['inputs', 'outputs', 'operations', 'branches']
    """
    from qexp.kinds.tables import tables_here
    from qexp.spec.schema import editor_schema

    return editor_schema(_require_kind(kind), tables_here(workspace))


def _require_kind(kind: str) -> str:
    """The kind of spec. Raises QexpError if there is none of that name."""
    if kind not in FOLDERS:
        raise QexpError(f"no kind of spec '{kind}'; {suggestion(kind, FOLDERS)}")
    return kind


README = """# A workspace of qexp

specs/datasets     where samples come from
specs/models       networks
specs/experiences  which model is trained on which dataset, and how
data               files of data, which datasets name
runs               what was trained

`qexp new experience NAME data/FILE.csv` writes the first specs, `qexp run NAME` trains.
"""


def init(directory: str | Path, *, kind: str | Sequence[str] = ()) -> None:
    """Create a workspace with working examples.

    directory  where it is made; the folder is made, too, if there is none
    kind       volcano, rows, fields, spectra: the examples of its tutorial alone; bare: empty
               folders; or several. All examples if left out
    Raises QexpError if the directory is a workspace already.

    >>> qexp.init("my-volcano", kind="volcano")
    """
    directory = Path(directory)
    kinds = [kind] if isinstance(kind, str) else list(kind)
    if (directory / "specs").exists():
        raise QexpError(f"{directory} has a folder specs/ already; it is a workspace")
    specs = EXAMPLES / "specs"
    data = EXAMPLES / "data"
    if kinds:
        shipped = list(_example_files(kinds, EXAMPLES))
    else:
        shipped = [file for file in specs.rglob("*") if "__pycache__" not in file.parts]
        shipped += data.glob(STAND_INS)
    files.make_folder(directory)
    with files.writing(f"to {directory}"), folders.drafted(directory / "specs") as draft:
        for folder in FOLDERS.values():
            (draft / folder).mkdir()
        _copy((file for file in shipped if file.is_relative_to(specs)), specs, draft)
        _copy((file for file in shipped if file.is_relative_to(data)), data, directory / "data")
        (directory / "data").mkdir(exist_ok=True)
        texts = {".gitignore": IGNORED} if shipped else {".gitignore": IGNORED, "README.md": README}
        for name, text in texts.items():
            if not (directory / name).exists():
                (directory / name).write_text(text)
        draft.rename(directory / "specs")  # which makes it a workspace


def _example_files(kinds: Collection[str], root: Path) -> Iterator[Path]:
    """The shipped specs of some kinds, and the data that they need, below the folder that holds
    specs/ and data/.

    Raises QexpError if there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS_OF_EXAMPLES:
            known = suggestion(kind, KINDS_OF_EXAMPLES)
            raise QexpError(f"`kind={kind}`: there are no such examples; {known}")
    names = [name for kind in kinds for name in KINDS_OF_EXAMPLES[kind]]
    waiting = [root / "specs" / f"{name}.json" for name in names]
    for file in waiting:
        yield file
        document = read(file)
        for kind in REFERENCES:
            if kind in document:
                waiting.append(root / "specs" / FOLDERS[kind] / f"{document[kind]}.json")
        if document.get("stand_in"):
            yield root / "data" / document["stand_in"]


def _copy(sources: Iterable[Path], source: Path, target: Path) -> None:
    """Copy files to the same places below another folder, each whole or not at all."""
    for file in sorted(sources):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(copy) as whole:
                whole.write(file.read_bytes())


@takes(NewOptions)
def new(options: NewOptions) -> list[Path]:
    """Write specs for a table, fields, images or simulations in files, or an observation.

    They can be run as they are, and are yours to change. Nothing that exists is overwritten.

    returns  the paths of the new files
    Raises QexpError if one of them exists already, or if the file is of another kind.

    >>> qexp.new("experience", "moon", "data/lunar/stand_in_TiO2.csv")[0].name
    'moon.json'
    """
    from qexp.runs.new import new_specs  # loads torch

    return new_specs(options.home, options)


def dataset(
    theta: ArrayLike,
    x: ArrayLike,
    names: Sequence[str] = (),
    *,
    prior: Any = None,
    units: Mapping[str, str] | None = None,
    groups: ArrayLike | None = None,
    name: str = "simulations",
    axes: Sequence[str] = (),
    workspace: str | Path | None = None,
) -> str:
    """Write simulations as data/NAME.npz, and a dataset of the type `simulated` that has them.

    theta    parameters, (simulation, parameter), in numpy, torch or pandas; columns that have
             names, as those of data frames, structured arrays, xarray and dictionaries, are taken
             by name, and contradictions are refused
    x        what was observed with them, (simulation, value), (simulation, y, x), (simulation,
             channel, y, x) or (simulation, y, x, channel). Names of the values of vectors are kept:
             what is observed is then taken by name, too
    names    of the parameters, in the order of columns without names; if left out those of the
             prior, of a data frame, or theta1 and on
    prior    what the parameters were drawn from: a frozen distribution of scipy.stats or a
             distribution of torch for each, in a list or a dictionary, or one of torch for all;
             that of the simulations if left out
    units    parameter → its unit
    groups   (simulation,): those with equal ones stay in one part
    name     of the dataset
    axes     of x, such as ["simulation", "y", "x", "channel"], where channels could be another axis
    returns  the name, which `posterior`, `samples` and others take. A dataset of that name with the
             same content stays
    Raises QexpError if another one is there, and SpecError.

    >>> import numpy as np
    >>> theta = np.random.default_rng(0).normal(size=(200, 2))
    >>> qexp.dataset(theta, theta**3, ["slope", "offset"], name="cubes")
    'cubes'
    """
    from qexp.runs.new import new_simulations  # loads torch

    with notices() as tell:
        for text in new_simulations(
            workspaces.find(workspace, create=True),
            name,
            theta,
            x,
            names,
            prior,
            units=units,
            groups=groups,
            axes=axes,
        ):
            tell(text)
    return name


# A look at data, and synthetic data sets.


@takes(SampleOptions)
def samples(options: SampleOptions) -> xarray.Dataset:
    """Samples of a part of a dataset, with the dimension `sample` and units in the attributes; see
    `qexp data show`.

    The first samples of a larger `count` have the same true values, but other noise, which is drawn
    for all together.

    Raises QexpError and SpecError.

    >>> samples = qexp.samples("mogi", "test", count=3)
    >>> samples["displacement"].dims
    ('sample', 'y', 'x')
    """
    from qexp.runs.look import open_view, samples_of

    return samples_of(open_view(options.home, options)[1], options.count)


@takes(ImageOptions)
def images(options: ImageOptions) -> xarray.Dataset:
    """Images of a simulated dataset at chosen values, in the variables' units; others have their
    fixed values.

    Those over a variable are at the centres of its cells, as of a matrix; see `qexp data show
    --at`.

    returns  image → (variables of `over`, y, x), with coordinates in the units of the spec; NaN for
             impossible sources, and for pixels that noise hides
    Raises QexpError for a variable that varies and has no value, and for values that no source can
    have.

    >>> images = qexp.images("mogi", at={"delta_volume": 2.0}, over={"depth": (1, 3, 4)})
    >>> images["displacement"].sizes["depth"]
    4
    """
    from qexp.trust.images_at import images_at

    return images_at(options.home, options)


@takes(ShowImagesOptions)
def show_images(options: ShowImagesOptions) -> Pictures:
    """Draw the images at chosen values, over one or two variables as a grid; see `images` and
    `show_data`.

    returns  the paths of the pictures, one per image and format

    >>> depths = {"depth": (1, 3, 4)}
    >>> pictures = qexp.show_images("mogi", at={"delta_volume": 2.0}, over=depths, out="look")
    >>> pictures[0].name
    'at_displacement.png'
    """
    from qexp.trust.images_at import draw_images, images_at

    images = images_at(options.home, options)
    folder = _folder_of(options, options.dataset, options.home)
    return Pictures(draw_images(images, folder, options.formats, options.drawn_with))


@takes(ShowOptions)
def show_data(options: ShowOptions) -> ShownLook:
    """Look at a dataset: samples as pictures with their values, histograms, and a table of numbers;
    see `qexp data show`.

    Held-out intervals are grey in histograms, and groups such as cores have a figure of their own.
    For images and fields, typical values to divide them by are printed as a piece of a spec.

    returns  `samples`, the `summary` of each variable, a `proposal` of typical values, and the
             paths of the `figures`
    Raises QexpError and SpecError.

    >>> look = qexp.show_data("mogi", "test", count=3, out="look")
    >>> look.samples.sizes["sample"]
    3
    """
    from qexp.runs.look import look
    from qexp.web.notebook import ShownLook

    folder = _folder_of(options, options.experience or options.dataset or "", options.home)
    return ShownLook(**fields_of(look(options.home, options, folder)))


def _folder_of(options: PictureOptions, name: str, home: Workspace) -> Path:
    """The folder of the figures of a dataset or experience."""
    if options.out is not None:
        return target_outside_of_runs(options.out)
    return home.root / "figures" / Path(name).stem


@takes(SimulateOptions)
def simulate(options: SimulateOptions) -> list[Path]:
    """Simulate samples of a dataset once, for training by a simulator that is slow; see `qexp data
    simulate`.

    They are kept in data/NAME.nc, without noise, and specs/datasets/NAME.json is the dataset that
    reads them. After an interruption the same command continues; several of it, in other shells or
    on other machines, share the work. Simulations that fail are counted.

    returns  the file of the simulations, data/NAME.nc, and the spec of their dataset,
             specs/datasets/NAME.json
    Raises QexpError for a mistake in the simulator's code, or where the name has other simulations;
    RunFailedError if all failed. Interrupted at any time, it continues where it was.

    >>> [file, spec] = qexp.simulate("mogi", 20)
    >>> qexp.samples("mogi_simulated", count=5)["depth"].sizes
    Frozen({'sample': 5})
    """
    with watching(options.watch, options.dataset) as watch:
        made: list[Path] = _simulator(replace(options, watch=watch)).run()
    return made


@takes(SubmitSimulationsOptions)
def submit_simulations(options: SubmitSimulationsOptions) -> Submitted:
    """Simulate on a cluster, by `jobs` processes, the last of which writes the dataset; see
    `simulate`.

    returns  `jobs`: process → job, and the `folder` of the launch

    >>> qexp.api.submit_simulations("mogi", 20_000, jobs=8, launcher=cluster)  # doctest: +SKIP
    """
    submitted: Submitted = _simulator(options).submit(options)
    return submitted


def _simulator(options: SimulateOptions) -> Any:
    from qexp.kinds.experiments import read_dataset, spec_cache
    from qexp.spec.kinds import load_stage

    cache = spec_cache(options.home)
    path, document = read_dataset(options.dataset, cache)
    return load_stage(document, "simulate")(path, document, cache, options)


@takes(IceOptions)
def make_ice(options: IceOptions) -> list[ice.WrittenGlacier]:
    """Simulate glaciers: shallow ice on random beds, in the format of 2Dto2D-DLE; see `qexp data
    ice`.

    Each is a folder with an ex.nc: thickness, surface, bed and velocities over time. The same seed
    gives the same files.

    returns    per glacier its `folder`, `frames`, time `steps` and `seconds`

    >>> written = qexp.make_ice("made/ice", glaciers=3, size=40, frames=2, test=1)
    >>> len(written)
    3
    """
    from qexp.examples.ice import write

    out = target_outside_of_runs(options.out)
    with watching(options.watch, "ice") as watch:
        return write(replace(options, out=out, watch=watch))


@takes(XrfOptions)
def make_xrf(options: XrfOptions) -> xrf.WrittenCores:
    """Simulate XRF spectra of sediment cores, in the layout of published ones: spe/, target/,
    info.csv, val.csv; see `qexp data xrf`.

    All are in pretrain/, those with CaCO3 and TOC, in wt%, in caco3/ and toc/ as well. The same
    seed gives the same files.

    returns     the `folders` with spectra, and the numbers of `spectra` and of `labelled` ones

    >>> qexp.make_xrf("made/xrf", cores=3, spectra=3, labelled=2, test=1, validation=1).spectra
    9
    """
    with extra("spectra"):
        from qexp.examples.xrf import write

    out = target_outside_of_runs(options.out)
    with watching(options.watch, "xrf") as watch:
        return write(replace(options, out=out, watch=watch))


@takes(ObservationOptions)
def make_observation(options: ObservationOptions) -> observation.WrittenObservation:
    """Simulate what satellites and GNSS stations see of a source below a volcano, in files for qexp
    observe; see `qexp data observation`.

    Two tracks as GeoTIFF, with correlated noise, offsets and gaps; elevations, on which the
    displacement depends as qexp invert computes it; a table of stations; and truth.json, which says
    what was put in. The same seed gives the same files.

    returns     the `folder`, the `command` that reads its files, and the `truth` that was put in

    >>> made = qexp.make_observation("made/unrest", at={"depth": 2.5}, size=40)
    >>> made.truth["parameters"]["depth"]
    {'value': 2.5, 'unit': 'km'}
    """
    from qexp.examples.observation import write
    from qexp.kinds.tables import tables_here

    return write(
        replace(options, out=target_outside_of_runs(options.out)), tables_here(options.workspace)
    )
