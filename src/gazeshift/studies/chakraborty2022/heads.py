"""New heads for frozen models: the split of the images, features computed once, and the training on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gazeshift.errors import DataError
from gazeshift.models import Classifier
from gazeshift.records import Batch, Layer
from gazeshift.runs.settings import Progress
from gazeshift.runs.training import History, Schedule, Shuffled, train
from gazeshift.seeds import generator_for
from gazeshift.studies.chakraborty2022.collection import Collection, members, shuffled
from gazeshift.studies.chakraborty2022.headed import WithNewHead

PARTS = ("train", "val", "test")
HELD_OUT = 0.1  # of each class, for validation and again for the test
FEATURES = pa.schema([("image", pa.string()), ("features", pa.list_(pa.float32()))])
EPOCHS = pa.schema(
    [
        ("condition", pa.string()),
        ("model", pa.string()),
        ("epoch", pa.int16()),
        ("loss", pa.float32()),
        ("accuracy", pa.float32()),
        ("kept", pa.bool_()),
    ]
)


def split(found: Collection, seed: int) -> dict[str, str]:
    """Part of every image, by its id: 10 % of each class to test, 10 % to choose the epoch, the others to train.

    Both are at least one image, and follow from the seed, the class's name and its ids alone.

    Raises:
        DataError: a class has fewer than three images.
    """
    parts: dict[str, str] = {}
    for label, ids in members(found.source).items():
        name = found.names[label]
        if len(ids) < len(PARTS):
            raise DataError(
                f"class '{name}' has {len(ids)} image{'s' * (len(ids) > 1)}, and a class needs at least 3: one each "
                "to train, to choose the epoch and to test. Add images, or leave the class out."
            )
        held = max(1, round(HELD_OUT * len(ids)))
        for at, own in enumerate(shuffled(ids, seed, "split", name)):
            parts[own] = "test" if at < held else "val" if at < 2 * held else "train"
    return parts


def feature_model(body: Classifier, layer: Layer) -> Classifier:
    """A classifier's body that answers with its last layer's features, averaged over the pixels."""
    headed = WithNewHead(body.module, layer, nn.Identity())
    return Classifier(headed, name=body.name, preprocessing=body.preprocessing, source=body.source, own=True)


def feature_rows(model: Classifier, batch: Batch) -> pa.Table:
    """One row per image of a batch."""
    if not batch.ids:
        return FEATURES.empty_table()
    with torch.no_grad():
        found: Tensor = model(batch.images.to(model.device)).float().cpu()
    return pa.table({"image": list(batch.ids), "features": list(found.numpy())}, schema=FEATURES)


def examples(table: pa.Table, labels: Mapping[str, int], parts: Mapping[str, str], part: str) -> TensorDataset:
    """Features and classes of the images of one part that could be read, in the order of the table.

    Raises:
        DataError: none could.
    """
    ids = table["image"].to_pylist()
    at = [place for place, own in enumerate(ids) if parts.get(own) == part]
    if not at:
        raise DataError(f"no image of the part '{part}' can be used, and heads need some. Add images.")
    width = len(table["features"][at[0]])
    values = np.asarray(table["features"].combine_chunks().flatten()).reshape(-1, width)[at]
    known = torch.tensor([labels[ids[place]] for place in at], dtype=torch.long)
    return TensorDataset(torch.from_numpy(values.copy()), known)


def train_head(
    given: Mapping[str, TensorDataset],
    *,
    classes: int,
    dropout: float,
    schedule: Schedule,
    batch_size: int,
    checkpoint: Path,
    identity: str,
    progress: Progress = lambda *_: None,
) -> tuple[nn.Linear, History]:
    """A linear head trained on features with dropout before it; the epoch with the best validation accuracy.

    Args:
        given: features and classes of the parts ``train`` and ``val``.
        classes: number of classes.
        dropout: share of features left out in each step.
        schedule: of the training.
        batch_size: examples of a step.
        checkpoint: file that a killed training goes on from.
        identity: whatever else the result depends on.
        progress: called with (steps done, steps in all, what).
    """
    learn, (features, labels) = given["train"], given["val"].tensors
    head = _fresh(features.shape[1], classes, schedule.seed)
    network = nn.Sequential(nn.Dropout(dropout), head)

    def evaluate(network: nn.Module) -> Mapping[str, float]:
        right = network(features).argmax(1) == labels
        return {"score": float(right.float().mean())}

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    told = Shuffled(count=len(learn), batch_size=batch_size, load=learn.__getitem__)
    history = train(
        network, told, schedule=schedule, evaluate=evaluate, checkpoint=checkpoint, identity=identity, progress=progress
    )
    return head, history


def _fresh(features: int, classes: int, seed: int) -> nn.Linear:
    """A linear layer with torch's usual random weights, from the seed; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(seed, "head", str(features), str(classes)).initial_seed() % 2**63)
        return nn.Linear(features, classes)


def headed(body: Classifier, layer: Layer, head: nn.Linear, names: Sequence[str]) -> Classifier:
    """The body with its new head, as a classifier of the new classes, on the body's device."""
    module = WithNewHead(body.module, layer, head.to(body.device))
    source = f"{body.source}, new head of {len(names)} classes"
    made = Classifier(
        module, name=body.name, preprocessing=body.preprocessing, class_names=names, source=source, own=True
    )
    return made.to(body.device)


def epoch_rows(history: History, **keys: Any) -> pa.Table:
    """One row per epoch."""
    rows = [
        {**keys, "epoch": at + 1, "loss": epoch["loss"], "accuracy": epoch["score"], "kept": at == history.kept}
        for at, epoch in enumerate(history.epochs)
    ]
    return pa.Table.from_pylist(rows, schema=EPOCHS)
