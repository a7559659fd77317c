"""``gazeshift look IMAGE...``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gazeshift.cli._progress import progress_shown


def look(
    images: Annotated[list[str], Parameter(required=True)],
    /,
    *,
    model: str = "efficientnet_lite0",
    layers: str = "trunk",
    cams: str = "grad_cam",
    pixels: Literal["fit", "as-is"] = "fit",
    out: Path = Path("gazeshift-look"),
    weights: str | None = None,
    input_size: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> list[str]:
    """Draw where a classifier looks in your own images, at every layer: overlays, raw arrays and a page.

    Examples: gazeshift look cat.jpg dog.png; gazeshift look photos/ --layers blocks --cams grad_cam,layer_cam

    Args:
        images: files, or a folder of images; here, or at an address (s3://, gs://, https://, hf://).
        model: see `gazeshift list models`.
        layers: convs, blocks, trunk, names, aliases or globs, with commas.
        cams: see `gazeshift list cams`, with commas.
        pixels: fit: files are resized and cropped for the model; as-is: they have its size already, such as attacked
            images that were saved, and those of another size are left out.
        out: folder for index.html, the overlay PNGs and maps.npz.
        weights: .safetensors or tensors-only .pt file instead of the model's own; `random` for none.
        input_size: resize and crop images to so many pixels: 224, or 64x128 (height x width).
        device: auto, cpu, cuda, cuda:1 or mps.
        batch_size: images side by side.
    """
    from gazeshift.cli._looking import look_at  # torch is not needed for --help

    with progress_shown() as progress:
        return look_at(
            images,
            out,
            model=model,
            layers=layers,
            cams=cams,
            pixels=pixels,
            weights=weights,
            input_size=input_size,
            device=device,
            batch_size=batch_size,
            progress=progress,
        )
