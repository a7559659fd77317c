"""A classifier and its detector: judge a batch, look at one image."""

import secrets
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector
from gazeshift.errors import ModelError
from gazeshift.models import Classifier, select
from gazeshift.pipeline import judge, look
from gazeshift.records import Evidence, Layer, VerdictDict
from gazeshift.registry import names
from gazeshift.serve.gateway import serialize
from gazeshift.serve.gateway.errors import GatewayError

MAX_MAPS = 256  # layers times CAMs in one answer


class GuardedModel:
    """A classifier and its detector as requests ask for them; all but `layers` belongs on the model's thread.

    Args:
        classifier: the model.
        deployed: its detector.
    """

    def __init__(self, classifier: Classifier, deployed: CalibratedDetector) -> None:
        self.classifier, self.deployed = classifier, deployed

    @cached_property
    def cams(self) -> tuple[str, ...]:
        """Names of the maps that can be asked for."""
        return tuple(names("cams"))

    def layers(self, size: tuple[int, int]) -> tuple[Layer, ...]:
        """Layers of the network for images of this height and width.

        Raises:
            GatewayError: it cannot take such images.
        """
        try:
            return self.classifier.layers(size)
        except (RuntimeError, ModelError) as cause:
            raise self._unsuitable(size, cause) from cause

    def judge(self, images: Sequence[Float[Tensor, "channels h w"]]) -> list[VerdictDict]:
        """An answer for each image, all of one size. Views are drawn for each anew, so that they cannot be foreseen."""
        draws = [torch.Generator().manual_seed(secrets.randbits(63)) for _ in images]
        try:
            found = judge(self.classifier, torch.stack(list(images)), self.deployed, generator=draws)
        except (RuntimeError, ModelError) as cause:
            raise self._unsuitable(tuple(images[0].shape[1:]), cause) from cause
        return [found.as_dict(at) for at in range(len(images))]

    def look(self, image: Float[Tensor, "channels h w"], layers: Sequence[str], cams: Sequence[str]) -> Evidence:
        """The maps of one image, on the CPU."""
        try:
            return look(self.classifier, image[None], layers=layers, cams=cams)
        except (RuntimeError, ModelError) as cause:
            raise self._unsuitable(tuple(image.shape[1:]), cause) from cause

    def chosen(self, layers: str, cams: str, size: tuple[int, int]) -> tuple[list[str], list[str]]:
        """Names of layers and CAMs that a request asks for, with commas; ``all`` for all layers of the trunk.

        Raises:
            UnknownNameError: no such layer or CAM.
            GatewayError: more maps than one answer holds.
        """
        drawn = [cam.strip() for cam in cams.split(",") if cam.strip()] or ["grad_cam"]
        for cam in drawn:
            if cam not in self.cams:
                known = ", ".join(self.cams)
                raise GatewayError(422, "unknown_name", f"no CAM is called {ascii(cam)[:60]}. Known: {known}.")
        asked = [one.strip() for one in layers.split(",") if one.strip()]
        asked = ["trunk" if one == "all" else one for one in asked] or ["trunk"]
        found = [layer.name for layer in select(self.layers(size), asked, serialize.public(self.classifier))]
        drawn = list(dict.fromkeys(drawn))
        if len(found) * len(drawn) > MAX_MAPS:
            raise GatewayError(
                422,
                "too_many_maps",
                f"{len(found)} layers with {len(drawn)} CAMs were asked for, and an answer holds {MAX_MAPS} maps. "
                "Name fewer.",
            )
        return found, drawn

    def _unsuitable(self, size: tuple[int, ...], cause: Exception) -> Exception:
        """A network without an input size of its own may fail on an image; anything else is an internal error."""
        if self.classifier.input_size is not None or isinstance(cause, torch.OutOfMemoryError):
            return cause
        height, width = size
        return GatewayError(
            422,
            "unsuitable_image",
            f"{serialize.public(self.classifier)} cannot take an image of {width} x {height} pixels. Send it larger.",
        )
