"""The two trainings of Ding et al. 2022: the classifier on adversarial examples, and a detector from nothing."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from gazeshift.data import replace_file
from gazeshift.errors import DataError, SettingsError
from gazeshift.runs.examples import SetSource
from gazeshift.seeds import generator_for, normal

PIECE = 32
SHARES, HELD_OUT = (0.2, 0.4, 0.6, 0.8), 0.2
TRAINING = pa.schema(
    [
        *(("set", pa.string()), ("size", pa.int32()), ("epoch", pa.int16()), ("loss", pa.float32())),
        *((f"{side}_accuracy", pa.float64()) for side in ("clean", "attacked")),
        *(("validation", pa.int32()), ("kept", pa.bool_())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Who is trained on and who never is, by id; every smaller training set is part of the larger ones.

    Args:
        train: in the order in which sets of growing size take them.
        sizes: of the training sets.
        held: validation ids.
    """

    train: tuple[str, ...]
    sizes: tuple[int, ...]
    held: tuple[str, ...]


def shuffled(ids: Sequence[str], seed: int, *names: str) -> tuple[str, ...]:
    """The ids in an order that follows from the seed, the names and the ids."""
    order = torch.randperm(len(ids), generator=generator_for(seed, *names)).tolist()
    return tuple(sorted(ids)[at] for at in order)


def split(ids: Sequence[str], seed: int, sizes: Sequence[float] = (), validation: int | None = None) -> Split:
    """Training sets and a validation set by image id: by default 20, 40, 60 and 80 % to train on and 20 % held out.

    Raises:
        SettingsError: there are not so many examples.
    """
    n, mixed = len(ids), shuffled(ids, seed, "split")
    held = max(1, round(HELD_OUT * n)) if validation is None else validation
    if not sizes and n - held >= 1:
        sizes = [min(n - held, max(1, round(share * n))) for share in SHARES]
    wanted = tuple(sorted({int(size) for size in sizes}))
    if not wanted or held + wanted[-1] > n:
        most = wanted[-1] if wanted else 1
        raise SettingsError(
            f"training on {most} examples and validating on {held} others takes {most + held}, and the set has {n}. "
            "Lower --sizes or --validation."
        )
    return Split(train=mixed[held:], sizes=wanted, held=mixed[:held])


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """All pairs of a set as 8-bit images in a file, so that training may read them in any order.

    Args:
        file: of the pixels, (n, 2, 3, h, w): clean, then attacked.
        ids: in the file's order.
        labels: their classes.
    """

    file: Path
    ids: tuple[str, ...]
    labels: Mapping[str, int]

    def read(self, ids: Sequence[str], side: int) -> Float[Tensor, "n channels h w"]:
        """Images of one side (0 clean, 1 attacked) in [0, 1]."""
        levels: UInt8[np.ndarray, "n channels h w"] = self._levels[[self._places[own] for own in ids], side]
        return torch.from_numpy(np.ascontiguousarray(levels)).float() / 255

    def classes(self, ids: Sequence[str]) -> Int[Tensor, " n"]:
        """Labels of these ids."""
        return torch.tensor([self.labels[own] for own in ids], dtype=torch.long)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {own: at for at, own in enumerate(self.ids)}

    @cached_property
    def _levels(self) -> Any:
        return np.load(self.file, mmap_mode="r")


def write_pixels(file: Path, source: SetSource, labels: Mapping[str, int]) -> Pixels:
    """Round the pairs of these ids to 8 bits, as files hold them, into one file, unless it is there.

    Raises:
        DataError: the images differ in size, or one cannot be read any more.
    """
    ids = tuple(labels)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, lambda path: _fill(path, source, ids))
    return Pixels(file=file, ids=ids, labels=labels)


def _fill(path: Path, source: SetSource, ids: Sequence[str]) -> None:
    made: Any = None
    for at in range(0, len(ids), PIECE):
        pairs = source.pairs(ids[at : at + PIECE])
        clean = torch.empty(0) if pairs.images is None else pairs.images
        both = torch.stack([clean, pairs.attacked], 1)
        levels = (both * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        if made is None:
            made = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(ids), *levels.shape[1:]))
        if len(levels) != len(ids[at : at + PIECE]) or levels.shape[1:] != made.shape[1:]:
            raise DataError(
                f"training needs images of one size, all readable; {source.name} has others. Leave them out."
            )
        made[at : at + PIECE] = levels
    made.flush()


def forget(*files: Path) -> None:
    """Remove scratch files that are not needed any more."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def answers(
    network: nn.Module, read: Callable[[Sequence[str]], Tensor], ids: Sequence[str], place: torch.device
) -> Float[Tensor, "n c"]:
    """Logits of the images that `read` gives, a few at a time."""
    with torch.no_grad():
        pieces = [network(read(ids[at : at + PIECE]).to(place)).cpu() for at in range(0, len(ids), PIECE)]
    return torch.cat(pieces)


def accuracies(network: nn.Module, pixels: Pixels, ids: Sequence[str], place: torch.device) -> dict[str, float]:
    """Share of clean and of attacked images that are classified as labelled, and their mean as the ``score``."""
    labels = pixels.classes(ids)
    logits = [answers(network, partial(pixels.read, side=side), ids, place) for side in (0, 1)]
    right = [float((side.argmax(1) == labels).float().mean()) for side in logits]
    return {"clean": right[0], "attacked": right[1], "score": (right[0] + right[1]) / 2}


def rounded(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
    """Images as 8-bit files hold them."""
    return (images * 255).round().clamp(0, 255) / 255


def noisy(
    clean: Float[Tensor, "n channels h w"], attacked: Float[Tensor, "n channels h w"], ids: Sequence[str], seed: int
) -> Float[Tensor, "n channels h w"]:
    """Clean images with Gaussian noise of the same root mean square as each one's perturbation, in 8 bits."""
    size = (attacked - clean).square().mean((1, 2, 3), keepdim=True).sqrt()
    drawn = normal(clean.shape, [generator_for(seed, "noise", own) for own in ids], clean.device)
    return rounded(clean + size * drawn)


def resampled(images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
    """Clean images that went through one more resize (bilinear, 8/7, centre crop), in 8 bits."""
    height, width = images.shape[2], images.shape[3]
    grown = torch.nn.functional.interpolate(images, scale_factor=8 / 7, mode="bilinear", antialias=True)
    top, left = (grown.shape[2] - height) // 2, (grown.shape[3] - width) // 2
    return rounded(grown[:, :, top : top + height, left : left + width])
