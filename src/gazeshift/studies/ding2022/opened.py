"""The study of Ding et al. 2022 opened: its run, and a set of it, with what everything about it needs."""

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import DataError, ModelError
from gazeshift.models import Classifier, select
from gazeshift.pipeline import look
from gazeshift.records import Attacked, Batch, Layer
from gazeshift.runs.examples import SetSource, attacked_pairs, open_pairs
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.ding2022.feature_maps import ranked_layers
from gazeshift.studies.ding2022.settings import Ding2022


class DingRun(Run[Ding2022]):
    """A run that finds its layers once."""

    @cached_property
    def layers(self) -> tuple[dict[str, Layer], Layer]:
        """Those whose maps are ranked, by the name shown, and the one where `cam` is defined."""
        last = last_layer(self.classifier, self.first.images.to(self.classifier.device))
        return ranked_layers(self.classifier, self.size, self.settings.layers), last


def begin(settings: Ding2022, out: Path, **how: Any) -> DingRun:
    """The run, over the first of its sets if there are several."""
    first = next(iter(settings.folders.values()), None)
    source = None if first is None else open_pairs(first, settings)
    return DingRun("ding2022", 1, settings, out, source=source, recipe=(begin, (settings, out)), **how)


def last_layer(classifier: Classifier, images: Float[Tensor, "n channels h w"]) -> Layer:
    """The layer where `cam` is defined: average pooling and one linear layer follow.

    Raises:
        ModelError: there is none.
    """
    layer = select(classifier.layers((images.shape[2], images.shape[3])), "trunk", classifier.name)[-1]
    if look(classifier, images[:1], layers=layer.name, cams="cam").maps(layer.name, "cam").isnan().any():
        raise ModelError(
            f"this study draws CAM, which needs average pooling and one linear layer at the end; {classifier.name} has "
            "another head. Choose a model such as torchvision:resnet50 or efficientnet_lite0."
        )
    return layer


class OpenedSet(Reopened):
    """A set of the study, with the model and the layers that everything about it needs.

    Args:
        work: the run.
        name: of the set.
        place: its folder.
    """

    def __init__(self, work: DingRun, name: str, place: Path) -> None:
        self.recipe, self.work, self.name = (OpenedSet, (work, name, place)), work, name
        self.settings, self.classifier, self.size = work.settings, work.classifier, work.size
        self.layers, self.last = work.layers
        self.source = open_pairs(place, work.settings).shown_to(work.classifier)
        check_size(self.source)
        self.scratch = work.store.folder / "scratch"

    def compute(self, cell: Cell, *, fill: Callable[..., CellResult], given: tuple[Any, ...] = ()) -> CellResult:
        """A cell of images: `fill` is called with the set, what is `given`, and the batch."""
        with self.work.reading(cell, source=self.source) as images:
            result = fill(self, *given, images.batch)
        return images.noted(result)

    def pairs(self, batch: Batch) -> Attacked:
        """The examples of a batch, both sides predicted anew."""
        return attacked_pairs(self.classifier, self.source.pairs(batch.ids))

    def cam(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n hl wl"]:
        """CAM of each image's own class."""
        return look(self.classifier, images, layers=self.last.name, cams="cam").maps(self.last.name, "cam")

    @property
    def pixels(self) -> Path:
        """The file that trainings read."""
        return self.scratch / f"{slug(self.name)}-{self.source.examples.identity[:20]}.npy"


def check_size(source: SetSource) -> None:
    """Refuse a set that is too small, or lacks clean images.

    Raises:
        DataError: it is.
    """
    if len(source) < 2:
        raise DataError(f"this study needs at least 2 examples, and {source.name} has {len(source)}. Use another set.")
    source.pairs(source.ids[:1])


def slug(name: str) -> str:
    """A set's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
