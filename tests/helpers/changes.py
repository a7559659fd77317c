"""Every intervention that makes images, asked for with images alone."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gazeshift import registry
from gazeshift.seeds import generator_for

OF_NETWORKS = ("mask_maps", "scale_filters")
# Settings beside the usual ones under which the laws must hold too.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "bit_depth": ("bits=1", "bits=8"),
    "blur": ("sigma=2.5",),
    "jpeg": ("quality=20,subsample=false", "quality=100"),
    "matched_noise": ("per_channel=true",),
    "median": ("size=5",),
    "pca": ("mode=patch8", "mode=joint_rows"),
    "shift": ("right=3,down=-2",),
    "strength": ("arithmetic=released", "eight_bit=round", "eight_bit=truncate"),
}
SPECS = [
    spec
    for name in registry.names("transforms")
    if name not in OF_NETWORKS
    for spec in (name, *(f"{name}:{more}" for more in VARIANTS.get(name, ())))
]
UNBOUNDED = ("matched_noise", "pca")  # their docstrings say so
JOINT = (
    "matched_noise",
    "matched_noise:per_channel=true",
    "pca:mode=patch8",
    "pca:mode=joint_rows",
)  # channels that go together
VIEWS = [  # from an image alone to an image
    spec
    for spec in SPECS
    if list(inspect.signature(registry.build("transforms", spec)).parameters) == ["images", "generator"]
]


def images_of(
    n: int = 3, channels: int = 3, height: int = 21, width: int = 26, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Smooth images with a white and a black corner, where what leaves the range shows."""
    small = torch.rand((n, channels, 6, 7), generator=generator_for(0, "images"))
    images = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    images[..., : height // 3, : width // 3], images[..., -height // 3 :, -width // 3 :] = 1, 0
    return images.to(dtype)


def changed(spec: str, images: Tensor, *, first: int = 0) -> Tensor:
    """The changed images, several ones of each side by side where there are several strengths.

    Args:
        spec: of the intervention.
        images: what it is to change.
        first: number of the first image, from which its chance follows.
    """
    part = registry.build("transforms", spec)
    draws = [generator_for(1, str(at)) for at in range(first, first + len(images))]
    call = CALLS.get(spec.partition(":")[0], lambda part, images, draws: part(images, generator=draws))
    made: Tensor = call(part, images, draws)
    return made


def _change(images: Tensor, axis: int) -> Tensor:
    """A perturbation of at most 1/8, in steps that every floating type has."""
    change = (images.float().flip(axis) - images.float()) / 8
    return ((change * 256).round() / 256).to(images.dtype)


def _noise(part: Any, images: Tensor, draws: list[torch.Generator]) -> Tensor:
    return part(_change(images, 3), generator=draws)


def _strengths(part: Any, images: Tensor, _: object) -> Tensor:
    rows = part(images, _change(images, 3), _change(images, 2))
    return torch.cat([one for _, *pair in rows for one in pair], 1)


def _painted(part: Any, images: Tensor, draws: list[torch.Generator]) -> Tensor:
    region = part.region(images[:, 0, ::4, ::4], tuple(images.shape[2:]))
    return part(images, part.positions(region, generator=draws), 0.3)


CALLS: Mapping[str, Callable[[Any, Tensor, list[torch.Generator]], Tensor]] = {
    "matched_noise": _noise,
    "strength": _strengths,
    "roi_pixels": _painted,
}
