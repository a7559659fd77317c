"""Settings that the commands share which judge images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How images are judged.

    Args:
        detector: folder of a detector; none: the one that ships for the model.
        pixels: fit: files are resized and cropped for the model, which undoes most attacks; as-is: they have its size
            already, and those of another size are left out.
        model: the model, if the detector's own name does not lead to it any more.
        weights: its weights, likewise.
        device: auto, cpu, cuda, cuda:1 or mps.
        batch_size: images side by side.
    """

    detector: Path | None = None
    pixels: Literal["fit", "as-is"] = "fit"
    model: str | None = None
    weights: str | None = None
    device: str = "auto"
    batch_size: int = 8
