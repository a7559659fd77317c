"""What detectors have in common that look at the image alone, and ask for no maps."""

from collections.abc import Sequence
from typing import Self

from jaxtyping import Float
from torch import Tensor

from gazeshift.detectors._places import last
from gazeshift.records import Layer
from gazeshift.seeds import Generators


class FromAnswers:
    """A detector that draws no map and no view, looks at the last layer, and learns nothing; each may be overridden."""

    @property
    def cams(self) -> tuple[str, ...]:
        """None: no map is asked for."""
        return ()

    def layers(self, known: Sequence[Layer]) -> tuple[str, ...]:
        """The last of the trunk, because there must be one."""
        return last(known)

    def views(self, images: Float[Tensor, "n channels h w"], *, generator: Generators) -> tuple[Tensor, ...]:  # noqa: ARG002
        """None: the image alone is looked at."""
        return ()

    def fit(self, benign: Float[Tensor, "n f"], attacked: Float[Tensor, "m f"] | None = None) -> Self:  # noqa: ARG002
        """Itself: the threshold is all there is to learn, and calibration sets it."""
        return self
