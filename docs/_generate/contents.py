"""The order of the pages. It stands here, so that pages are plain Markdown and read well wherever
they are shown.
"""

from __future__ import annotations

from typing import Any

from _generate import design, notebooks, reference

CONTENTS: dict[str, list[str]] = {
    "index": [
        "install",
        "tutorials/index",
        "how-to/index",
        "explanation/index",
        "reference/index",
        "coming-from/index",
        "benchmarks",
        "gallery",
        "glossary",
        "troubleshooting",
        "design/index",
        "project/changes",
        "project/contributing",
    ],
    "tutorials/index": notebooks.TUTORIALS,
    "how-to/index": [
        "own-data",
        "observe-displacements",
        "observed-deformation",
        "source-posterior",
        "detection",
        "time-series",
        "network-for-one-volcano",
        "simulation-based-inference",
        "own-simulations",
        "slow-simulator",
        "own-physics",
        "sources-and-views",
        "posteriors",
        "refined-posteriors",
        "calibrate",
        "own-table",
        "own-fields",
        "own-spectra",
        "classes",
        "look-at-data",
        "sweeps",
        "tune",
        "pretraining",
        "several-processes",
        "weights-from-elsewhere",
        "matrices",
        "evaluate",
        "predict",
        "predict-images",
        "export",
        "track",
        "programs",
        "pipelines",
        "import-runs",
        "slurm",
        "grid-engine",
        "htcondor",
        "resume-and-repair",
        "browser",
        "sharing",
        "find-runs",
        "actions",
        "python",
        "packages",
    ],
    "explanation/index": [
        "specs-and-runs",
        "run-directory",
        "held-out-intervals",
        "honest-validation",
        "data-leakage",
        "same-bits",
        "scale",
        "stability",
        "vdi-differences",
    ],
    "coming-from/index": [
        "mlflow-wandb",
        "hydra-optuna",
        "sbi-bayesflow",
        "scikit-learn",
        "mintpy-gbis",
        "vsm-beat",
        "qanat",
        "vdi",
        "dl-im",
        "dle",
        "max",
    ],
}
"""Page → the pages below it, relative to its folder."""


def below(page: str) -> list[str]:
    if page == "reference/index":
        return [
            name.removeprefix("reference/")
            for name in reference.PAGES
            if name.startswith("reference/")
        ]
    if page in ("reference/commands", "reference/python"):
        return [
            name.removeprefix("reference/")
            for name in reference.PAGES
            if name.startswith(f"{page}/")
        ]
    if page == "design/index":
        return ["house", *(note.stem for note in design.notes())]
    return CONTENTS.get(page, [])


def add(app: Any, page: str, source: list[str]) -> None:
    """Give a page its table of contents, which shows in the sidebar."""
    if pages := below(page):
        source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def read_again(
    app: Any, environment: Any, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """The pages with contents, whose files do not change when their contents do."""
    return sorted(page for page in environment.found_docs if below(page))
