"""What a detector measures of a batch of images, as a cell's table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from gazeshift.calibrated import fingerprints
from gazeshift.data import Pairs
from gazeshift.detectors import Detector
from gazeshift.errors import DataError
from gazeshift.models import Classifier
from gazeshift.pipeline import detector_inputs
from gazeshift.records import Attacked, Batch
from gazeshift.runs.examples import SetSource, attacked_pairs
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.transforms.bit_depth import BitDepth

MEASURED = pa.schema(
    [
        ("set", pa.string()),
        ("image", pa.string()),
        ("print", pa.string()),
        ("predicted", pa.int32()),
        ("measured", pa.list_(pa.float64())),
    ]
)


def eight_bit(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
    """Images as 8-bit files of this size hold them: what every detector is fitted on, calibrated on and asked about."""
    return BitDepth(bits=8)(images)


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor:
    """What sees images for a detector.

    Args:
        classifier: the model.
        detector: fitted or not; what it measures is the same.
        seed: of the run, from which the views of each image follow.
    """

    classifier: Classifier
    detector: Detector
    seed: int

    def measured(
        self, images: Float[Tensor, "n channels h w"], names: Sequence[Sequence[str]]
    ) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n c"]]:
        """What the detector measures of 8-bit images, and their logits; each image's views follow from its names."""
        draws = [generator_for(self.seed, "view", *own) for own in names]
        seen = detector_inputs(self.classifier, images, self.detector, generator=draws)
        return self.detector.measure(seen), seen.own.logits

    def clean(self, batch: Batch) -> CellResult:
        """A cell of clean images: fingerprint, predicted class and what the detector measures."""
        rows, right = Rows(MEASURED), 0
        if batch.ids:
            images = eight_bit(batch.images.to(self.classifier.device))
            predicted = self._add(rows, "", batch.ids, images)
            right = 0 if batch.labels is None else int((predicted.cpu() == batch.labels).sum())
        return CellResult({"rows": rows.table()}, CellNotes(right=right))

    def attacked(self, name: str, source: SetSource, batch: Batch) -> CellResult:
        """A cell of a set: its examples that fool the classifier as 8-bit images, and were right before."""
        rows, pairs = Rows(MEASURED), source.pairs(batch.ids)
        example = judged(self.classifier, pairs)
        hit = example.success.nonzero()[:, 0]
        if len(hit):
            self._add(rows, name, [pairs.ids[at] for at in hit.tolist()], example.images[hit])
        return CellResult({"rows": rows.table()}, CellNotes(examples=len(hit)))

    def _add(self, rows: Rows, name: str, ids: Sequence[str], images: Float[Tensor, "n channels h w"]) -> Tensor:
        found, logits = self.measured(images, [(name, one) for one in ids])
        predicted = logits.argmax(1)
        told = {"print": list(fingerprints(images)), "predicted": predicted, "measured": list(found.numpy())}
        rows.add(len(ids), set=name, image=list(ids), **told)
        return predicted


def judged(classifier: Classifier, pairs: Pairs) -> Attacked:
    """A set's examples as 8-bit images, both sides predicted anew."""
    if pairs.images is None:
        raise DataError("a set without clean images does not tell which of its examples fooled the classifier.")
    rounded = replace(pairs, images=eight_bit(pairs.images), attacked=eight_bit(pairs.attacked))
    return attacked_pairs(classifier, rounded)
