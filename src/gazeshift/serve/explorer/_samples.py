"""The demo's photographs as samples of the explorer: small ones for the list, whole ones to be looked at."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from gazeshift.data import demo_images
from gazeshift.errors import GazeshiftError
from gazeshift.pictures import encode_webp
from gazeshift.serve.gateway.errors import GatewayError

SIDE = 112


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Photographs by name.

    Args:
        places: their files.
        titles: what they show.
    """

    places: Mapping[str, Path]
    titles: Mapping[str, str]

    def listed(self) -> list[dict[str, str]]:
        """Name, title and a small picture of each."""
        return [
            {"name": name, "title": self.titles[name], "picture": _small(place)} for name, place in self.places.items()
        ]

    def content(self, name: str) -> bytes:
        """A photograph's bytes.

        Raises:
            GatewayError: there is none of that name.
        """
        place = self.places.get(name)
        if place is None:
            raise GatewayError(404, "not_found", "there is no such sample.")
        return place.read_bytes()


def open_samples(class_names: Sequence[str]) -> Samples:
    """The demo's photographs, titled by their class if the model knows ImageNet's; none if they are not installed."""
    try:
        source = demo_images()
    except GazeshiftError:
        return Samples(places={}, titles={})
    names = class_names if len(class_names) == 1000 else ()
    titles = {
        name: names[label].partition(",")[0] if names and label is not None else f"sample {at}"
        for at, (name, label) in enumerate(zip(source.ids, source.labels, strict=True), 1)
    }
    return Samples(places=dict(zip(source.ids, source.places, strict=True)), titles=titles)


@cache
def _small(place: Path) -> str:
    """Its middle as a data URL."""
    with Image.open(io.BytesIO(place.read_bytes())) as whole:
        picture = whole.convert("RGB")
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    return "data:image/webp;base64," + base64.b64encode(encode_webp(small, quality=70)).decode()
