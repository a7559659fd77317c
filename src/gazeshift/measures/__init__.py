"""Measures. One file is one number per image, from two maps, two images, or one attack at several strengths.

A measure's class variables say what its numbers mean. ``compares`` says of what: ``maps`` (raw ones, whose scales do
not count), ``scaled maps`` (in [0, 1]), ``images``, ``neurons``, or ``levels`` of an attack. ``per`` says for what one
number is: ``image`` or ``level``. `lowest`, `highest` and `same` are its range and what two equal things have.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # pages use measures of numbers, and load no torch
    from torch import Tensor

__all__ = ["MapMeasure", "SparesResizing"]


class MapMeasure(Protocol):
    """A measure of two batches of maps."""

    @property
    def lowest(self) -> float:
        """Lower end of its range."""

    @property
    def highest(self) -> float:
        """Upper end of its range."""

    @property
    def same(self) -> float:
        """What two equal maps have."""

    def __call__(self, first: "Tensor", second: "Tensor", /) -> "Tensor":
        """One number per pair of maps (n, h, w)."""


@runtime_checkable
class SparesResizing(Protocol):
    """A measure that compares maps as if they were resized, at their own resolution."""

    def enlarged(self, first: "Tensor", second: "Tensor", size: tuple[int, int], /) -> "Tensor":
        """One number per pair of maps (n, h, w), as for maps resized bilinearly to `size`."""
