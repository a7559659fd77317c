"""The rows of one cell of the transfer study: a batch attacked on one model, and shown to all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import SettingsError
from gazeshift.models import Classifier
from gazeshift.pipeline import Part, attack
from gazeshift.records import Attacked, Batch
from gazeshift.runs.examples import fitted
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.transfer.settings import Transfer

AS_MADE = "as made"
ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("image", "source", "victim", "attack")),
        ("epsilon", pa.float64()),
        ("size", pa.string()),
        *((name, pa.int32()) for name in ("label", "clean_class", "attacked_class")),
        *((name, pa.float32()) for name in ("clean_confidence", "attacked_confidence", "margin")),
        *((name, pa.bool_()) for name in ("clean_correct", "error", "success")),
        *((name, pa.float32()) for name in ("linf", "l2", "rms")),
    ]
)
ROUNDS = 8  # of scaling; clipping to [0, 1] takes a little away each time


@dataclass(frozen=True)
class Show:
    """What every cell of one source needs.

    Args:
        source: name of the model that is attacked.
        models: every model by name, the source among them.
        attacks: every attack by its spec.
        settings: of the study.
    """

    source: str
    models: Mapping[str, Classifier]
    attacks: Mapping[str, Part]
    settings: Transfer

    def rows(self, batch: Batch) -> tuple[pa.Table, int]:
        """One row per image, attack, size and model; and how many images the source itself gets right."""
        rows, source = Rows(ROWS), self.models[self.source]
        if not batch.ids:
            return rows.table(), 0
        images = batch.images.to(source.device)
        clean = {name: self._answer(model, images) for name, model in self.models.items()}
        labels = clean[self.source].argmax(1) if batch.labels is None else batch.labels.to(source.device)
        self._check_classes(clean, labels)
        for spec, made in self.attacks.items():
            draws = [generator_for(self.settings.seed, spec, name) for name in batch.ids]
            found = attack(source, images, labels, by=made, generator=draws)
            for size, shown in self._sizes(found):
                for victim, model in self.models.items():
                    logits = self._answer(model, shown.images)
                    judged = replace(shown, clean_logits=clean[victim], logits=logits)
                    keys = {"source": self.source, "victim": victim, "attack": spec, "size": size}
                    _add(rows, batch.ids, judged, epsilon=getattr(made, "epsilon", None), **keys)
        return rows.table(), int((clean[self.source].argmax(1) == labels).sum())

    @torch.no_grad()
    def _answer(self, model: Classifier, images: Tensor) -> Float[Tensor, "n c"]:
        logits: Tensor = model(fitted(images, model.size, self.settings.fit))
        return logits.float()

    def _sizes(self, found: Attacked) -> Iterator[tuple[str, Attacked]]:
        yield AS_MADE, found
        rms = self.settings.rms
        if rms is not None:
            yield f"rms {rms * 255:g}/255", replace(found, images=scaled(found.clean, found.images, rms))

    def _check_classes(self, clean: Mapping[str, Tensor], labels: Tensor) -> None:
        own = clean[self.source].shape[1]
        for name, logits in clean.items():
            if logits.shape[1] != own:
                raise SettingsError(
                    f"transfer needs models of the same classes; {self.source} knows {own} and {name} "
                    f"{logits.shape[1]}. Leave one out."
                )
        if len(labels) and int(labels.max()) >= own:
            raise SettingsError(f"labels must be below {own}, the classes of {self.source}; got {int(labels.max())}.")


def scaled(
    clean: Float[Tensor, "n channels h w"], attacked: Float[Tensor, "n channels h w"], rms: float
) -> Float[Tensor, "n channels h w"]:
    """The same perturbation with a root mean square of `rms` after clipping to [0, 1]; none stays none.

    Where too much is clipped away, it stays below `rms`; the rows say what it is.
    """
    change = attacked - clean
    factor = torch.ones_like(change[:, :1, :1, :1])
    for _ in range(ROUNDS):
        size = ((clean + factor * change).clamp(0, 1) - clean).square().mean((1, 2, 3), keepdim=True).sqrt()
        factor = factor * torch.where(size > 0, rms / size, 1)
    return (clean + factor * change).clamp(0, 1)


def _add(rows: Rows, ids: tuple[str, ...], judged: Attacked, **keys: Any) -> None:
    clean, attacked = judged.clean_logits.softmax(1).max(1), judged.logits.softmax(1).max(1)
    rows.add(
        len(ids),
        image=list(ids),
        label=judged.labels,
        clean_class=clean.indices,
        attacked_class=attacked.indices,
        clean_confidence=clean.values,
        attacked_confidence=attacked.values,
        margin=judged.margin,
        clean_correct=judged.clean_correct,
        error=attacked.indices != judged.labels,
        success=judged.success,
        linf=judged.linf,
        l2=judged.l2,
        rms=judged.rms,
        **keys,
    )
