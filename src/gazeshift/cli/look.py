"""``gazeshift look IMAGE...``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gazeshift.cli._progress import progress_shown


def look(
    images: Annotated[list[str], Parameter(required=True)],
    /,
    *,
    model: str = "efficientnet_lite0",
    layers: str = "trunk",
    cams: str = "grad_cam",
    out: Path = Path("gazeshift-look"),
    weights: str | None = None,
    input_size: int | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> None:
    """Draw where a classifier looks in your own images, at every layer: overlays, raw arrays and a page.

    Examples: gazeshift look cat.jpg dog.png; gazeshift look photos/ --layers blocks --cams grad_cam,layer_cam

    Args:
        images: files, or a folder of images; here, or at an address (s3://, gs://, https://, hf://).
        model: see `gazeshift list models`.
        layers: convs, blocks, trunk, names, aliases or globs, with commas.
        cams: see `gazeshift list cams`, with commas.
        out: folder for index.html, the overlay PNGs and maps.npz.
        weights: .safetensors or tensors-only .pt file instead of the model's own; `random` for none.
        input_size: resize and crop images to this many pixels.
        device: auto, cpu, cuda, cuda:1 or mps.
        batch_size: images side by side.
    """
    from gazeshift.cli._looking import look_at  # torch is not needed for --help

    with progress_shown() as progress:
        looked = look_at(
            images,
            out,
            model=model,
            layers=layers,
            cams=cams,
            weights=weights,
            input_size=input_size,
            device=device,
            batch_size=batch_size,
            progress=progress,
        )
    for line in looked:
        print(line)  # noqa: T201
