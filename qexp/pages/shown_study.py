"""Studies that show themselves in notebooks and terminals."""

from __future__ import annotations

from qexp.analysis.studies.results import Study
from qexp.fragments.pictures import picture
from qexp.fragments.view import Shown, View
from qexp.pages.shown_comparison import fields_of
from qexp.quantities import in_words


class ShownStudy(Shown, Study):
    """The results of a study."""

    def __repr__(self) -> str:
        return f"<study of {self.output} {self.metric} over {', '.join(self.axes)}>"

    def view(self) -> View:
        pictures = [picture(path.stem, path) for path in self.files if path.suffix == ".png" and path.is_file()]
        unfinished = [f"{name} is {state.words}, and is not counted" for name, state in self.unfinished.items()]
        title = f"Study of {in_words(self.output)} {self.metric} over {', '.join(self.axes)}"
        differences = self.differences()
        more = {"differences between experiences, two by two": differences} if differences else {}
        return View(title, cautions=unfinished, parts=[*pictures, self.results(), *self.remarks()], more=more)


def studied(made: Study) -> ShownStudy:
    return ShownStudy(**fields_of(made))
