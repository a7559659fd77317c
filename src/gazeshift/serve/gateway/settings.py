"""Settings of the gateway."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gazeshift.registry import value

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # what requests may hold; files on disk may be of more kinds
Number = Annotated[float, BeforeValidator(lambda given: value(given) if isinstance(given, str) else given)]


class ServeSettings(BaseModel):
    """What the gateway needs to know. All limits are per process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(None, description="See `gazeshift list models`; none: the detector's.")
    weights: str | None = Field(None, description=".safetensors or tensors-only .pt file; `random` for none.")
    detector: Path | None = Field(None, description="Folder of a detector; none: the one that ships for the model.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    host: str = Field("127.0.0.1", description="Address to listen on; the default answers this machine alone.")
    port: int = Field(8000, ge=0, le=65535, description="0 takes a free one and prints it.")
    workers: int = Field(1, ge=1, le=64, description="Processes, each with the model.")
    policy: Literal["flag", "block"] = Field("flag", description="Answer an attack with a warning, or refuse it.")
    max_body: Number = Field(16, gt=0, le=512, description="Largest request, in MiB.")
    max_pixels: Number = Field(32, gt=0, le=64, description="Most pixels of an image, in millions.")
    queue: int = Field(32, ge=1, le=4096, description="Requests that may wait; beyond it the answer is 503.")
    timeout: Number = Field(30, gt=0, le=3600, description="Seconds for a request, from its head to its answer.")
    batch: int = Field(8, ge=1, le=256, description="Most images judged side by side.")
    wait_ms: Number = Field(5, ge=0, le=1000, description="Milliseconds to wait for more images.")
    token_file: Path | None = Field(
        None, description="File with the bearer token that requests must bring; or set GAZESHIFT_TOKEN."
    )
    log: Path | None = Field(None, description="File for a JSON line per verdict: the image's hash, not the image.")
    keep_images: Path | None = Field(None, description="Folder for the images as well, named by their hash.")

    @property
    def body_bytes(self) -> int:
        """Largest request, in bytes."""
        return int(self.max_body * 2**20)

    @property
    def pixels(self) -> int:
        """Most pixels of an image."""
        return int(self.max_pixels * 1_000_000)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
