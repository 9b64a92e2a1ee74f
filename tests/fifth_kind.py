"""A fifth kind of dataset, in an extension of a workspace: images in a folder, with numbers in
labels.csv.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import xarray

from qexp.base.quantities import Quantities
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import EvaluationData, EvaluationRequest, Independence
from qexp.kinds.figures import FIGURES_FOLDER, Pictures, learning_curve
from qexp.kinds.kind import KindData
from qexp.kinds.memory import Samples
from qexp.kinds.networks import load_model
from qexp.kinds.objects import dataset_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.prediction import FileKind, Prediction
from qexp.kinds.preview import Preview, Variable
from qexp.kinds.training import NetworkTraining
from qexp.metrics.metric import evaluate as evaluate_estimates
from qexp.networks.estimator import Estimator
from qexp.networks.network import Network
from qexp.networks.training import DrawnData, Trainer
from qexp.spec.kinds import Kind, KindDocuments
from qexp.spec.reading import Finding
from qexp.store.directory import RunDirectory

SCHEMAS: dict[str, Any] = {
    "split": "shares of training and validation among the images that are not for the test",
    "shared": ["layer_decay"],
    "experience": {
        "turn": {
            "description": "whether training images are turned at random",
            "type": "boolean",
            "default": False,
        }
    },
    "dataset": {
        "description": "samples are images in a folder, with numbers in labels.csv",
        "examples": [{"type": "images", "path": "spots", "labels": ["radius"]}],
        "type": "object",
        "required": ["path", "labels"],
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            "description": {"type": "string"},
            "type": {"const": "images"},
            "path": {"description": "the folder", "type": "string", "minLength": 1},
            "labels": {
                "description": "columns of labels.csv beside `file` and `part`",
                "type": "array",
                "items": {"$ref": "#/$defs/label"},
                "minItems": 1,
                "uniqueItems": True,
            },
            "units": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
            "fingerprint": {"type": "string"},
            "found": {"type": "string"},
        },
    },
    "$defs": {"label": {"type": "string", "minLength": 1}},
}


class ImageSpecs(KindDocuments):
    evaluated_by = "estimates.csv"

    schemas = SCHEMAS
    split_by_shares = True
    untrained: ClassVar[Mapping[str, Any]] = {"split": [0.8, 0.2]}
    split_words = "images are divided by shares, for example [0.8, 0.2]"

    def in_dataset(self, dataset: dict[str, Any], quantities: Quantities) -> Iterator[Finding]:
        for index, name in enumerate(dataset["labels"]):
            if name == "image":
                yield ("labels", index), "'image' is the image itself; rename the column"

    def trouble_with(self, evaluation: Path) -> str | None:
        return None if evaluation.stat().st_size else "it is empty"

    def summary(self, spec: dict[str, Any]) -> dict[str, str]:
        return {
            "images": f"{spec['dataset']['path']}, SHA-256 {spec['dataset']['fingerprint'][:16]}…"
        }


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


class ImageDataset:
    """Images, (sample, 1, y, x), and their labels, (sample, 1) each."""

    def __init__(self, path: Path, labels: Sequence[str], fingerprint: str | None) -> None:
        table = path / "labels.csv"
        if not table.is_file():
            raise DatasetError([(("path",), f"there is no {table}")])
        self.path, self.warnings = path, list[str]()
        content = table.read_bytes()
        lines = list(csv.DictReader(content.decode().splitlines()))
        missing = [index for index, name in enumerate(labels) if name not in lines[0]]
        if missing:
            raise DatasetError(
                [
                    (("labels", index), f"{table} has no column '{labels[index]}'")
                    for index in missing
                ]
            )
        arrays = [np.load(path / line["file"]) for line in lines]
        self.fingerprint = hashlib.sha256(
            content + b"".join(array.tobytes() for array in arrays)
        ).hexdigest()
        if fingerprint not in (None, self.fingerprint):
            raise DatasetError([(("fingerprint",), f"{path} has other images than before")])
        self.parts = np.array([line["part"] for line in lines])
        values = {name: [[float(line[name])] for line in lines] for name in labels}
        self.values = {name: torch.tensor(column) for name, column in values.items()}
        self.values["image"] = torch.from_numpy(np.stack(arrays)).float()[:, None]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(values.shape[1:]) for name, values in self.values.items()}

    def samples(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: values[rows] for name, values in self.values.items()}


class ImageKind(KindData[ImageDataset]):
    opened = 0
    """How many datasets were opened."""

    def dataset(
        self, document: dict[str, Any], tables: Tables, workspace: Workspace | None
    ) -> ImageDataset:
        self.opened += 1
        path = (
            Path(document["found"])
            if workspace is None
            else workspace.root / "data" / document["path"]
        )
        return ImageDataset(path, document["labels"], document.get("fingerprint"))

    def pinned(
        self, document: dict[str, Any], dataset: ImageDataset, workspace: Workspace
    ) -> dict[str, Any]:
        return {
            **document,
            "fingerprint": dataset.fingerprint,
            "found": str(dataset.path.absolute()),
        }

    def findings(
        self,
        document: dict[str, Any],
        dataset: ImageDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Iterator[Finding]:
        train = self._divided(document, dataset, Seeds(0))[0]
        if len(train) < document["batch_size"]:
            yield ("batch_size",), f"there are {len(train)} training images; use a smaller batch"

    def data(
        self,
        spec: dict[str, Any],
        dataset: ImageDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> DrawnData:
        train, validation = self._divided(spec, dataset, seeds)
        test = np.flatnonzero(dataset.parts == "test")
        return DrawnData(
            train=lambda epoch: dataset.samples(
                seeds.numpy("train", epoch, "order").permutation(train)
            ),
            validation=dataset.samples(validation),
            test=dataset.samples(test),
            train_size=len(train),
        )

    def parts(
        self, dataset: ImageDataset, spec: dict[str, Any] | None, tables: Tables, seed: int
    ) -> dict[str, np.ndarray]:
        test = {"test": np.flatnonzero(dataset.parts == "test")}
        if spec is None:
            return {"train": np.flatnonzero(dataset.parts != "test"), **test}
        train, validation = self._divided(spec, dataset, Seeds(seed))
        return {"train": train, "validation": validation, **test}

    def samples(self, document: dict[str, Any], dataset: ImageDataset) -> Samples:
        return Samples(int((dataset.parts != "test").sum()))

    def _divided(
        self, spec: dict[str, Any], dataset: ImageDataset, seeds: Seeds
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = seeds.numpy("split").permutation(np.flatnonzero(dataset.parts != "test"))
        count = round(spec["split"][0] * len(rows))
        return rows[:count], rows[count:]


def evaluate(attempt: Attempt, trainer: Trainer) -> Results:
    write_estimates(attempt, trainer.model, trainer.data.test)
    return Results({"test": trainer.evaluate(trainer.data.test)})


train = NetworkTraining(evaluate)


def write_estimates(
    attempt: Attempt, model: Estimator, samples: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    estimates = dict(model.estimate(samples))
    columns = [
        values[:, 0].tolist() for name in estimates for values in (samples[name], estimates[name])
    ]
    header = [column for name in estimates for column in (name, f"{name}_estimate")]
    attempt.directory.results.mkdir(exist_ok=True)
    write_table(attempt.directory.results / "estimates.csv", header, zip(*columns, strict=True))
    return estimates


def open_data(request: EvaluationRequest) -> EvaluationData:
    source = str(request.source)
    document = request.document or {**request.spec["dataset"], "path": source, "found": source}
    document.pop("fingerprint", None)
    dataset = dataset_of(document, request.tables, request.workspace)
    assert isinstance(dataset, ImageDataset)
    rows = np.arange(len(dataset.parts))
    request.chosen_part("all", ("all",), "images have no other parts here")

    def evaluate(
        attempt: Attempt, models: Sequence[Estimator], metrics: Mapping[str, Any]
    ) -> Results:
        truths = dataset.samples(rows)
        made = write_estimates(attempt, models[0], truths)
        return Results(
            {
                "all": {
                    name: evaluate_estimates(of, made[name], truths[name])
                    for name, of in metrics.items()
                }
            }
        )

    unknown = Independence(None, ("nobody compared the images",))
    document = {**document, "fingerprint": dataset.fingerprint}
    return EvaluationData(document, "all", "all", len(rows), lambda of: unknown, evaluate)


def estimates(directory: RunDirectory) -> Pictures:
    """Estimates against labels, a panel per label."""
    from matplotlib.figure import Figure

    with (directory.results / "estimates.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if f"{name}_estimate" in rows[0]]
    made = Figure(figsize=(3.0 * len(names), 3.0))
    for axis, name in zip(made.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axis.plot(*([float(row[key]) for row in rows] for key in (name, f"{name}_estimate")), ".")
        axis.set(xlabel=f"true {name}", ylabel=f"estimated {name}")
    yield FIGURES_FOLDER / "estimates", made


FIGURES = {"learning_curve": learning_curve, "estimates": estimates}


class LabelledImages(Preview[ImageDataset, np.ndarray]):
    counted = "images"

    def samples(self, count: int) -> xarray.Dataset:
        chosen = self.dataset.samples(self.some(self.parts[self.part], count))
        dims = {2: ("sample",), 4: ("sample", "y", "x")}
        made = {name: (dims[values.ndim], values.numpy()[:, 0]) for name, values in chosen.items()}
        return xarray.Dataset(made)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        chosen = self.dataset.samples(self.parts[self.part])
        return [Variable(name, "", values.numpy().ravel()) for name, values in chosen.items()]

    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Iterator[Any]:
        from matplotlib.figure import Figure

        count = samples.sizes["sample"]
        made = Figure(figsize=(1.5 * count, 2.0))
        for axis, image in zip(
            made.subplots(1, count, squeeze=False)[0], samples["image"], strict=True
        ):
            axis.imshow(image.values)
        made.suptitle(title)
        yield "samples", made


def _targets(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    return [(source, target)]


def _estimator(directory: RunDirectory, options: PredictOptions) -> partial[Prediction]:
    return partial(_predict, model=load_model(directory, torch.device("cpu")))


def _predict(
    source: Path,
    target: Path,
    *,
    chunk: int | None,
    overwrite: bool,
    progress: OnProgress,
    model: Estimator,
) -> Prediction:
    images = sorted(source.glob("*.npy"))
    if not images:
        raise QexpError(f"{source} has no images")
    if target.exists() and not overwrite:
        return Prediction(source, target, False, [target], [])
    made = model.estimate(
        {"image": torch.from_numpy(np.stack([np.load(path) for path in images])).float()[:, None]}
    )
    rows = zip(
        [path.name for path in images],
        *(values[:, 0].tolist() for values in made.values()),
        strict=True,
    )
    write_table(target, ["file", *made], rows)
    return Prediction(source, target, True, [target], [f"{len(images)} images"])


KINDS = {
    "images": Kind(
        documents=ImageSpecs(),
        data=ImageKind(),
        train=train,
        evaluate=open_data,
        predict=FileKind("images", _targets, _estimator),
        look=LabelledImages,
        figures=FIGURES,
    )
}
