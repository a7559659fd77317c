"""Images of one origin: known by id from the start, decoded only when asked for."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from gazeshift.data.decode import decode
from gazeshift.errors import DataError, ImageError, SettingsError
from gazeshift.models import Preprocessing
from gazeshift.records import Batch, Sample, Skipped
from gazeshift.summaries import Summary, fitted, listed, plural, printable

WORKERS = min(4, os.cpu_count() or 1)
AHEAD = 2 * WORKERS


@dataclass(frozen=True, kw_only=True, repr=False)
class ImageSource(Summary):
    """Images of one origin, in a fixed order. Decodes lazily: memory does not grow with the number of images.

    Args:
        name: what reports call it.
        kind: ``files``, ``folder``, ``class_folders``, ``parquet`` or ``demo``.
        ids: one per image, unique and sorted.
        labels: class index of each image; None throughout if the source has no labels.
        skipped: what was left out before any image was opened (no label, no such file).
        notes: sentences about what was ignored, for the manifest.
        places: where each image's bytes are.
        fetch: gives the bytes at a place; its second argument names the image in messages.
    """

    name: str
    kind: str
    ids: tuple[str, ...]
    labels: tuple[int | None, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    places: tuple[Any, ...]
    fetch: Callable[[Any, str], bytes]

    def __len__(self) -> int:
        """Number of images, among them those that will turn out unreadable."""
        return len(self.ids)

    @property
    def has_labels(self) -> bool:
        """Whether the images have labels. A source has one for every image or for none."""
        return any(label is not None for label in self.labels)

    def _says(self) -> Iterator[str]:
        labels = f"{plural(len(set(self.labels)), 'label')}" if self.has_labels else "no labels"
        left_out = f"; {len(self.skipped):,} skipped" if self.skipped else ""
        yield f"{fitted(self.name, 60)} ({self.kind}): {plural(len(self), 'image')}, {labels}{left_out}"
        yield from listed(len(self.notes), lambda at: self.notes[at], 2)
        yield from listed(len(self.skipped), lambda at: f"skipped {self.skipped[at].id}: {self.skipped[at].reason}", 2)

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        preprocessing: Preprocessing | None = None,
        *,
        ids: Sequence[str] | None = None,
    ) -> Batch:
        """The images from `start` to before `stop`, or those of the given ids in that order, as one batch.

        Raises:
            DataError: an unknown id, or images of different sizes.
        """
        return _stacked(self.samples(start, stop, preprocessing, ids=ids), self.has_labels, preprocessing)

    def batches(self, size: int, preprocessing: Preprocessing | None = None) -> Iterator[Batch]:
        """Every image, `size` ids at a time; unreadable ones leave their batch smaller.

        Raises:
            DataError: images of different sizes in one batch.
        """
        if size < 1:
            raise SettingsError(f"a batch needs at least 1 image, got a size of {size}.")
        samples = self.samples(preprocessing=preprocessing)
        while group := tuple(islice(samples, size)):
            yield _stacked(group, self.has_labels, preprocessing)

    def samples(
        self,
        start: int = 0,
        stop: int | None = None,
        preprocessing: Preprocessing | None = None,
        *,
        ids: Sequence[str] | None = None,
    ) -> Iterator[Sample | Skipped]:
        """One by one, in order, decoded a few ahead in threads; an unreadable image comes as `Skipped`."""
        return _in_order(partial(self._sample, preprocessing), self._positions(start, stop, ids))

    def take(self, limit: int, seed: int | None = None) -> "ImageSource":
        """The first `limit` images, or with a seed a random choice of that many; all of them if there are fewer."""
        if limit < 1:
            raise SettingsError(f"limit must be at least 1 image, got {limit}.")
        if limit >= len(self):
            return self
        chosen = range(limit) if seed is None else np.random.default_rng(seed).choice(len(self), limit, replace=False)
        positions = sorted(int(position) for position in chosen)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in positions),
            labels=tuple(self.labels[i] for i in positions),
            places=tuple(self.places[i] for i in positions),
        )

    @cached_property
    def _noted(self) -> list[str]:
        return []

    def _note(self, text: str) -> None:
        """Warn of an image that looks wrong; of a whole folder of them once."""
        if not self._noted:
            self._noted.append(text)
            warnings.warn(f"{text} Others like it are not named.", stacklevel=2)

    def _positions(self, start: int, stop: int | None, ids: Sequence[str] | None) -> Sequence[int]:
        if ids is None:
            return range(len(self))[start:stop]
        for wanted in ids:
            if wanted not in self._known:
                raise DataError(f"{printable(self.name)} holds no image with the id '{printable(wanted)}'.")
        return [self._known[wanted] for wanted in ids]

    @cached_property
    def _known(self) -> Mapping[str, int]:
        """Position of each id; made once, for a study asks for a few of very many images at a time."""
        return {own: position for position, own in enumerate(self.ids)}

    def _sample(self, preprocessing: Preprocessing | None, position: int) -> Sample | Skipped:
        own = self.ids[position]
        try:
            encoded = self.fetch(self.places[position], own)
            image = decode(encoded, preprocessing, name=own, note=self._note)
        except ImageError as cause:
            return Skipped(id=own, reason=str(cause))
        digest = hashlib.sha256(encoded).hexdigest()
        return Sample(id=own, image=image, label=self.labels[position], sha256=digest)


def assemble(
    *,
    name: str,
    kind: str,
    places: Mapping[str, object],
    labels: Mapping[str, int] | None,
    fetch: Callable[[Any, str], bytes],
    skipped: Iterable[Skipped] = (),
    notes: Iterable[str] = (),
) -> ImageSource:
    """A source with its ids sorted. If there are labels, images without one are left out and recorded."""
    bare = [] if labels is None else [Skipped(id=own, reason="no label") for own in sorted(places) if own not in labels]
    ids = tuple(sorted(places if labels is None else places.keys() & labels.keys()))
    return ImageSource(
        name=name,
        kind=kind,
        ids=ids,
        labels=tuple(None if labels is None else labels[own] for own in ids),
        skipped=(*skipped, *bare),
        notes=tuple(notes),
        places=tuple(places[own] for own in ids),
        fetch=fetch,
    )


def _in_order(function: Callable[[int], Sample | Skipped], positions: Sequence[int]) -> Iterator[Sample | Skipped]:
    """Results in the order of the positions, at most `AHEAD` of them computed before they are asked for."""
    waiting: deque[Future[Sample | Skipped]] = deque()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="gazeshift-read") as pool:
        for position in positions:
            waiting.append(pool.submit(function, position))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _stacked(results: Iterable[Sample | Skipped], has_labels: bool, preprocessing: Preprocessing | None) -> Batch:
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for result in results:
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            _check_same_size([*samples[:1], result])
            samples.append(result)
    size, channels = (preprocessing and preprocessing.size) or (0, 0), (preprocessing and preprocessing.channels) or 3
    return Batch(
        ids=tuple(sample.id for sample in samples),
        images=torch.stack([sample.image for sample in samples]) if samples else torch.empty(0, channels, *size),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64) if has_labels else None,
        skipped=tuple(skipped),
    )


def _check_same_size(samples: list[Sample]) -> None:
    first, last = samples[0], samples[-1]
    (high, wide), (other_high, other_wide) = first.image.shape[1:], last.image.shape[1:]
    if (high, wide) != (other_high, other_wide):
        raise DataError(
            f"images of one batch must have one size, but '{printable(first.id)}' is {wide} x {high} pixels and "
            f"'{printable(last.id)}' is {other_wide} x {other_high}. Bring them to one size with --input-size "
            f"{min(high, wide, other_high, other_wide)}, or take one image per batch."
        )
