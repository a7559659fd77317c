"""From a request's bytes to an image the classifier takes, within limits that hold before anything costs."""

import hashlib
import io
from dataclasses import dataclass

from jaxtyping import Float
from PIL import Image
from starlette.requests import Request
from starlette.types import Receive
from torch import Tensor

from gazeshift.data.decode import decode
from gazeshift.data.pillow_warnings import quiet_pillow
from gazeshift.data.pixels import AS_IS, FIT, Handling, check_as_is, geometry, upright_size
from gazeshift.models import Preprocessing
from gazeshift.serve.gateway._jpeg_limits import check_scans, count_scans
from gazeshift.serve.gateway._multipart import only_file
from gazeshift.serve.gateway.errors import GatewayError
from gazeshift.serve.gateway.settings import FORMATS, ServeSettings

FIELD = "image"
RAW = "application/octet-stream"
HELD = 8  # times the largest body: what all uploads together may hold


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image as it came and as the classifier takes it.

    Args:
        image: in [0, 1], resized and cropped.
        size: width and height that the file says it has, upright.
        form: its format, ``JPEG``.
        sha256: of the file.
        encoded: the file.
        is_kept: whether the classifier takes every pixel of the file as it is.
        pixels: how it was to be taken.
    """

    image: Float[Tensor, "channels h w"]
    size: tuple[int, int]
    form: str
    sha256: str
    encoded: bytes
    is_kept: bool = True
    pixels: Handling = FIT

    @property
    def resized_from(self) -> list[int] | None:
        """The file's width and height, if it is resized or cropped for the classifier, to the same size perhaps."""
        return None if self.is_kept else list(self.size)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a request brought, not yet looked into: the parameters of its content type if it is a form, else None."""

    content: bytes
    form: str | None


class Intake:
    """Reads bodies and decodes images. What all uploads together hold in memory is bounded too.

    Args:
        settings: the limits.
        preprocessing: of the classifier.
    """

    def __init__(self, settings: ServeSettings, preprocessing: Preprocessing) -> None:
        self.settings, self.preprocessing = settings, preprocessing
        self.held = 0

    async def body(self, request: Request) -> Body:
        """A request's body, an image or a form.

        Raises:
            GatewayError: too large, of another type, cut off, or the uploads together are too large.
        """
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        kind = kind.strip().lower()
        if kind not in ("multipart/form-data", RAW) and not kind.startswith("image/"):
            raise GatewayError(
                415,
                "unsupported_media_type",
                f"send the image as multipart field '{FIELD}', or its bytes as image/* or {RAW}; got "
                f"{ascii(kind)[1:-1][:80] or 'no content type'}.",
            )
        self._check_declared(request)
        content = await self._read(request.receive)
        return Body(content=content, form=parameters if kind == "multipart/form-data" else None)

    def picture(self, body: Body, pixels: Handling = FIT) -> Upload:
        """The image of a request; takes a while, so it belongs on a thread.

        Raises:
            GatewayError: a form without an image, or as in `decode`.
            ImageError: as in `decode`.
        """
        return self.decode(body.content if body.form is None else only_file(body.content, body.form, FIELD), pixels)

    def decode(self, encoded: bytes, pixels: Handling = FIT) -> Upload:
        """The image behind the bytes; its header is checked before anything is decoded.

        Raises:
            GatewayError: another format, too many pixels, or too many scans over them.
            ImageError: empty, damaged, cut off, too small, or of another size than the model's though it is to be taken
                as it is.
        """
        scans = count_scans(encoded)  # first, for Pillow's own walk over the markers is slow
        try:
            form, size = _header(encoded)
        except Image.DecompressionBombError as cause:
            raise self._too_many("an enormous number of") from cause
        if size[0] * size[1] > self.settings.pixels:
            raise self._too_many(f"{size[0]} x {size[1]}")
        check_scans(scans, size[0] * size[1], self.settings.pixels)
        if pixels == AS_IS and encoded:
            check_as_is(size, self.preprocessing, "the image")
        image = decode(encoded, geometry(self.preprocessing, pixels), name="the image")
        return Upload(
            image=image,
            size=size,
            form=form,
            sha256=hashlib.sha256(encoded).hexdigest(),
            encoded=encoded,
            is_kept=pixels == AS_IS or self.preprocessing.keeps(*size),
            pixels=pixels,
        )

    def _too_many(self, claimed: str) -> GatewayError:
        return GatewayError(
            422,
            "too_many_pixels",
            f"the image claims {claimed} pixels, more than the {self.settings.max_pixels:g} million allowed, and was "
            "not decoded. Shrink it first.",
            details={"most": self.settings.pixels},
        )

    def _check_declared(self, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.settings.body_bytes:
            raise self._too_large()

    async def _read(self, receive: Receive) -> bytes:
        """The body, refused as soon as it grows too large."""
        content, held = bytearray(), 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GatewayError(400, "cut_off", "the request ended before its body was complete.")
                content += message.get("body", b"")
                if len(content) > self.settings.body_bytes:
                    raise self._too_large()
                self.held, held = self.held + len(content) - held, len(content)
                if self.held > HELD * self.settings.body_bytes:
                    raise GatewayError(
                        503, "busy", "too many uploads at once. Try again in 1 s.", headers={"Retry-After": "1"}
                    )
                if not message.get("more_body", False):
                    return bytes(content)
        finally:
            self.held -= held

    def _too_large(self) -> GatewayError:
        return GatewayError(
            413,
            "too_large",
            f"the request is larger than the {self.settings.max_body:g} MiB allowed. Send a smaller image.",
            details={"most": self.settings.body_bytes},
            headers={"Connection": "close"},
        )


def _header(encoded: bytes) -> tuple[str, tuple[int, int]]:
    """Format, width and height that the first bytes tell; ("", (0, 0)) where `decode` shall say what is wrong."""
    if not encoded:
        return "", (0, 0)
    try:
        with quiet_pillow(), Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return image.format or "", upright_size(image)
    except Image.DecompressionBombError:
        raise
    except Exception as cause:  # Pillow's readers raise nearly anything on a crafted file
        raise GatewayError(
            422,
            "bad_image",
            f"the image must be one of {', '.join(FORMATS)}, and its first bytes intact.",
        ) from cause
