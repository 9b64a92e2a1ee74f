"""The kinds of examples that a new workspace may begin with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from qexp.errors import QexpError, suggestion
from qexp.spec.reading import read
from qexp.spec.resolution import FOLDERS, REFERENCES

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "volcano": ("experiences/mogi_quick",),
    "rows": ("experiences/lunar_tio2", "experiences/lunar_tio2_by_mission", "datasets/lunar_tio2_features"),
    "fields": ("experiences/ice_cnn",),
    "spectra": ("experiences/msm_small", "experiences/toc_finetune", "experiences/toc_scratch"),
    "bare": (),
}
"""Kind → its specs, those of its tutorial; an experience brings the dataset and model that it names."""


def example_files(kinds: Collection[str], root: Path) -> Iterator[Path]:
    """The shipped specs of some kinds, and the data that they need, below the folder that holds specs/ and data/.

    Raises QexpError if there is no such kind.
    """
    if unknown := [kind for kind in kinds if kind not in EXAMPLES]:
        raise QexpError(f"`kind={unknown[0]}`: there are no such examples; {suggestion(unknown[0], EXAMPLES)}")
    waiting = [root / "specs" / f"{name}.json" for kind in kinds for name in EXAMPLES[kind]]
    for file in waiting:
        yield file
        document = read(file)
        waiting += [
            root / "specs" / FOLDERS[kind] / f"{document[kind]}.json" for kind in REFERENCES if kind in document
        ]
        if document.get("stand_in"):
            yield root / "data" / document["stand_in"]
