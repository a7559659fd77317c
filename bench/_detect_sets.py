"""The images and adversarial sets of the detection bench: imagenet700 split once by image, attacked in many ways."""

import csv
import os
import sys
from pathlib import Path

import torch

from gazeshift.seeds import generator_for

PARTS = {"dev": 400, "cal": 150, "test": 150}
CHEAP = {
    "fgsm-2": "fgsm:epsilon=2/255",
    "fgsm-4": "fgsm:epsilon=4/255",
    "pgd-1": "pgd:epsilon=1/255",
    "pgd-2": "pgd:epsilon=2/255",
    "pgd-4": "pgd:epsilon=4/255",
    "pgd-8": "pgd:epsilon=8/255",
    "mifgsm-4": "mifgsm:epsilon=4/255",
    "dlfuzz": "dlfuzz",
    "transfer-8": "mifgsm:epsilon=8/255",  # made on another model
}
COSTLY = {  # DeepFool goes five times as far as the boundary: of twice as far, no example survives 8-bit files
    "deepfool": "foolbox:L2DeepFoolAttack,steps=15,candidates=5,overshoot=4",
    "cw-l2": "torchattacks:CW,c=1,steps=60",
    "square-8": "torchattacks:Square,epsilon=8/255,n_queries=300",
    "aoa": "aoa",
}
OTHER = {"efficientnet_lite0": "efficientnet_lite1"}  # where transfer comes from; for all others it is Lite0
LIMITS = {"dev": (160, 80), "test": (150, 100)}  # images for the cheap and for the costly attacks
SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240}


def imagenet700() -> Path:
    """The folder of images and labels; ends the program if it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    images = Path(os.environ.get("GAZESHIFT_DATA", default)) / "imagenet700"
    if not images.is_dir():
        sys.exit(f"{images} is absent. Set GAZESHIFT_DATA to the folder that holds imagenet700.")
    return images


def split(images: Path, out: Path) -> dict[str, Path]:
    """Folders of links to the images of each part, each with its labels.csv; the same split every time."""
    with (images / "labels.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    order = torch.randperm(len(rows), generator=generator_for(0, "split")).tolist()
    folders, at = {}, 0
    for part, count in PARTS.items():
        folder = folders[part] = out / part
        (folder / "images").mkdir(parents=True, exist_ok=True)
        chosen = [rows[place] for place in sorted(order[at : at + count])]
        for row in chosen:
            link = folder / "images" / row["file"]
            if not link.is_symlink():
                link.symlink_to((images / "images" / row["file"]).resolve())
        with (folder / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["file", "label"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(chosen)
        at += count
    return folders


def made(folders: dict[str, Path], out: Path, part: str, model: str) -> dict[str, Path]:
    """The sets of one part, those that are missing made now; name of the attack -> folder.

    Costly attacks are made on EfficientNet-Lite0 alone.
    """
    from gazeshift.runs.adversarial_set.run import AttackRun
    from gazeshift.runs.adversarial_set.settings import SetSettings

    found = {}
    for name, spec in {**CHEAP, **(COSTLY if model == "efficientnet_lite0" else {})}.items():
        settings = SetSettings(
            images=folders[part] / "images",
            labels=folders[part] / "labels.csv",
            limit=LIMITS[part][name in COSTLY],
            model=OTHER.get(model, "efficientnet_lite0") if name == "transfer-8" else model,
            input_size=SIZES[model],
            device="cpu",
            health_images=0,
        )
        found[name] = AttackRun(spec, settings, out / part / name).run()
        print(f"{part} {name} made", flush=True)
    return found
