"""The galleries of the study of Chakraborty et al. 2022, in the paper's order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from gazeshift.report.cells import records
from gazeshift.report.document import Gallery, Picture, Table
from gazeshift.report.study import Study
from gazeshift.report.words import called

NOTHING = "There are no pictures: the study was asked for none (--gallery 0)."
LAYERED = {"vgg": "Fig 6", "resnet50": "Fig 7", "resnet101": "Fig 8", "inception": "Fig 9", "xception": "Fig 10"}
Rows = Sequence[tuple[str, Sequence[Picture | None]]]


@dataclass(frozen=True)
class Shot:
    """A picture of the gallery: what it shows, and the class that the model saw; `layers` of how many layers, if so."""

    image: str
    kind: str
    model: str
    epsilon: float
    label: str
    predicted: str
    confidence: float | None
    top_left: str
    bottom_right: str
    layers: int | None
    picture: bytes


class PictureIndex:
    """The pictures of a study, asked for by what they show.

    Args:
        study: finished.
        source: whom the black-box attack was made on.
        levels: sizes of the change, above 0.
    """

    def __init__(self, study: Study, source: str, levels: Sequence[float]) -> None:
        shots = records(study.table("gallery"), Shot) if study.has("gallery") else []
        self.shots = {(shot.kind, shot.image, shot.model, shot.epsilon): shot for shot in shots}
        self.source, self.levels = source, tuple(levels)
        self.labels = {shot.image: shot.label for shot in reversed(shots)}
        self.images = tuple(dict.fromkeys(shot.image for shot in shots))
        self.models = tuple(dict.fromkeys(shot.model for shot in shots))

    def picture(self, kind: str, image: str, model: str, epsilon: float, *, lead: str = "") -> Picture | None:
        """A picture with the class that the model saw, framed where that is not the label's."""
        shot = self.shots.get((kind, image, model, epsilon))
        if shot is None:
            return None
        caption = lead or f"ε {epsilon:g}"
        if shot.predicted:
            caption += f": {shot.predicted}, {100 * (shot.confidence or 0):.0f} %"
        frame = "attacked" if shot.predicted and shot.predicted != shot.label else ""
        return Picture(webp=shot.picture, caption=caption, frame=frame)

    def heading(self, image: str) -> str:
        """Label and name of an image."""
        return f"{self.labels[image]} ({image})"

    def of_each(self, pictures: Callable[[str, str], Sequence[Picture | None]]) -> Rows:
        """A row for each image and model."""
        return [
            (f"{called(model)}, {self.heading(image)}", pictures(image, model))
            for image in self.images
            for model in self.models
        ]

    def shifts(self) -> Gallery | Table:
        """Figure 1: clean and attacked maps over their images."""
        largest = self.levels[-1]
        wanted = {
            ("image", 0.0): "clean",
            ("overlay", 0.0): "its map",
            ("image", largest): f"attacked, ε {largest:g}",
            ("overlay", largest): "its map",
        }
        rows = self.of_each(
            lambda image, model: [
                self.picture(kind, image, model, level, lead=lead) for (kind, level), lead in wanted.items()
            ]
        )
        return _gallery(
            "A region of participation that shifts",
            rows,
            item="Fig 1",
            about=f"Grad-CAM of the last layer for the class that the model sees, on the clean image and under the "
            f"attack made on {called(self.source)}. A red frame: not the label's class.",
            paper="faces with Grad-CAM before and after; some regions no longer take part, others begin to.",
            side=128,
        )

    def example(self) -> Gallery | Table:
        """Figure 2: one attack at the smallest size that fools its model."""
        for level, image in product(self.levels, self.images):
            clean, attacked = (self.shots.get(("image", image, self.source, size)) for size in (0.0, level))
            if clean and attacked and clean.predicted == attacked.label != attacked.predicted:
                return self._example(image, level)
        return Table(
            title="One attack that succeeds",
            head=["", "why"],
            rows=[["none", f"No image shown is right when clean and wrong under FGSM up to ε {max(self.levels):g}."]],
            item="Fig 2",
            paper="a face taken for another one at ε 0.01.",
        )

    def _example(self, image: str, level: float) -> Gallery | Table:
        pictures = [
            self.picture("image", image, self.source, 0.0, lead="clean"),
            self.picture("noise", image, self.source, level, lead="the change, enlarged"),
            self.picture("image", image, self.source, level, lead=f"attacked, ε {level:g}"),
        ]
        return _gallery(
            f"One attack that succeeds, on {called(self.source)}",
            [(self.heading(image), pictures)],
            item="Fig 2",
            about="The change is shown around grey, at full contrast.",
            paper="a face (ABD) taken for another one (Buckley) at ε 0.01.",
            side=192,
        )

    def black_box(self) -> Gallery | Table:
        """Figure 5: maps alone, models by sizes of the change."""
        rows = self.of_each(
            lambda image, model: [self.picture("map", image, model, level) for level in (0.0, *self.levels)]
        )
        return _gallery(
            "Maps under the black-box attack",
            rows,
            item="Fig 5",
            about=f"Grad-CAM of the last layer, alone. The attack was made on {called(self.source)}. Grey: a map "
            "without a positive value. A red frame: not the label's class.",
            paper="one face, five models, five ε: the bright region wanders as ε grows.",
        )

    def layered(self, model: str) -> Gallery | Table:
        """Figures 6 to 10: every layer of one model, for the attack made on itself."""
        rows = []
        about = "Grad-CAM of every layer"
        for image in self.images:
            tiles = [self.picture("layers", image, model, level) for level in (0.0, *self.levels)]
            rows.append((self.heading(image), tiles))
            first = self.shots.get(("layers", image, model, 0.0))
            if first:
                about = (
                    f"Grad-CAM of {first.layers} layers: {first.top_left} at the top left, then row by row to "
                    f"{first.bottom_right} at the bottom right"
                )
        return _gallery(
            f"Layer by layer: {called(model)}",
            rows,
            item=next((item for part, item in LAYERED.items() if part in model), "Fig 6–10"),
            about=f"{about}, for the class seen; FGSM made on the model itself. Grey: no positive value. A red frame: "
            "not the label's class.",
            paper="every layer of VGG16, ResNet50, ResNet101, InceptionNet v3 and XceptionNet, the last one at the "
            "top left.",
            side=192,
        )


def _gallery(
    title: str,
    rows: Rows,
    *,
    item: str,
    about: str,
    paper: str,
    side: int = 112,
) -> Gallery | Table:
    if not any(picture for _, pictures in rows for picture in pictures):
        return Table(title=title, head=["", "why"], rows=[["none", NOTHING]], item=item, paper=paper)
    return Gallery(title=title, rows=rows, item=item, about=about, paper=paper, side=side)
