"""Datasets of several classes of generated images, from their documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qexp.base.quantities import NOISE
from qexp.errors import DatasetError, suggestion
from qexp.kinds.files import refuse
from qexp.kinds.images.spec import MERGED, fixed_values, in_members
from qexp.networks.shapes import written
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import Generator
from qexp.simulation.mixture import Mixture
from qexp.spec.reading import Document, Finding, Findings, Where


def mixture_of(
    document: Document,
    generator: Callable[[Document], Generator],
    make: Callable[[Document], GeneratedDataset],
) -> Mixture:
    """The dataset of a document with classes. Raises DatasetError with the problems of all classes.

    generator  from the document of a class's samples to what makes their images
    make       from the same, without variables that such images do not have, to their dataset
    """
    ((variable, classes),) = document["classes"].items()
    members = dict[str, GeneratedDataset]()
    used = dict[tuple[str, str], None]()

    def of_class(name: str, member: Document) -> Iterable[Finding]:
        try:
            one = _without_foreign(member, classes[name], generator(member))
            for key in MERGED:
                used.update(dict.fromkeys((key, each) for each in one[key]))
            members[name] = make(one)
        except DatasetError as error:
            return error.findings
        return ()

    findings = list(in_members(document, of_class))
    for key in MERGED:
        for name in document[key]:
            if (key, name) not in used:
                other = suggestion(name, [each for _, each in used])
                findings.append(((key, name), f"no class has a variable '{name}'; {other}"))
    refuse(findings)
    probabilities = [own["probability"] for own in classes.values()]
    mixture = Mixture.of_members(variable, members, probabilities)
    refuse(_in_mixture(mixture, ("classes", variable)))
    return mixture


def _without_foreign(member: Document, own: Document, generator: Generator) -> Document:
    """The document of a class without the variables of others, which its images do not have."""
    mentioned = [*fixed_values(member), *member["varyings"], *member["distributions"]]
    needed = {*generator.required(mentioned), NOISE}
    kept = {}
    for key in MERGED:
        names = needed | own.get(key, {}).keys()
        kept[key] = {name: value for name, value in member[key].items() if name in names}
    return {**member, **kept}


def _in_mixture(mixture: Mixture, where: Where) -> Findings:
    """A class variable with the name of another, and classes with other images than the first."""
    first = next(iter(mixture.members.values()))
    images = {name: first.shapes()[name] for name in first.images}
    for name, member in mixture.members.items():
        shapes = member.shapes()
        if mixture.variable in shapes:
            yield where, f"the images of '{name}' have a variable of this name; choose another"
        if {image: shapes[image] for image in member.images} != images:
            wanted = ", ".join(f"{image} {written(shape)}" for image, shape in images.items())
            yield (*where, name), f"its images must be those of the first class: {wanted}"
