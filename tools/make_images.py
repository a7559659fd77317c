"""Make the image folders of the published results from public sources, the same bytes, and check every one.

``python tools/make_images.py imagenet700 CHECKOUT OUT``: one photograph for each of 700 ImageNet classes, from a
checkout of github.com/EliSchwartz/imagenet-sample-images at commit bc69043e2862758a1906c6a24a792bb28c6bb2ff: as RGB,
the short side brought to 288 pixels where it is longer (bicubic, sizes rounded), JPEG of quality 93 without chroma
subsampling.

``python tools/make_images.py tiny_imagenet50 TINY OUT``: 120 training and 50 validation images for each of 50 classes,
copied from the unpacked tiny-imagenet-200.zip (cs231n.stanford.edu).

Which images, and the SHA-256 of what must come out, stand in ``tools/images``.
"""

import argparse
import csv
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

LISTS = Path(__file__).resolve().parent / "images"
SIDE, QUALITY = 288, 93


def imagenet700(checkout: Path, out: Path) -> Iterator[str]:
    """Write the 700 photographs and their labels; yields what is missing or differs."""
    rows = _listed("imagenet700")
    (out / "images").mkdir(parents=True, exist_ok=True)
    for row in rows:
        found = sorted(checkout.glob(f"{row['wnid']}_*.JPEG"))
        if not found:
            yield f"{checkout} has no {row['wnid']}_*.JPEG"
            continue
        target = out / "images" / row["file"]
        shrink(found[0], target)
        yield from _compared(hashlib.sha256(target.read_bytes()), row["sha256"], str(target))
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["file", "label", "wnid", "name"], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def shrink(photograph: Path, target: Path) -> None:
    """One photograph as it is used."""
    with Image.open(photograph) as opened:
        image = opened.convert("RGB")
    short = min(image.size)
    if short > SIDE:
        image = image.resize((round(image.width * SIDE / short), round(image.height * SIDE / short)), Image.BICUBIC)
    image.save(target, "JPEG", quality=QUALITY, subsampling=0)


def tiny_imagenet50(tiny: Path, out: Path) -> Iterator[str]:
    """Copy the images of 50 classes; yields what is missing or differs. A class's hash is over its files in order."""
    for row in _listed("tiny_imagenet50"):
        part, wnid = row["part"], row["wnid"]
        inside = tiny / part / "images" if part == "val" else tiny / part / wnid / "images"
        names = [f"{'val' if part == 'val' else wnid}_{number}.JPEG" for number in row["numbers"].split()]
        missing = [name for name in names if not (inside / name).is_file()]
        if missing:
            yield f"{inside} has no {missing[0]}" + (f" and lacks {len(missing) - 1} more" if len(missing) > 1 else "")
            continue
        target, digest = out / part / wnid, hashlib.sha256()
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(inside / name, target / name)
            digest.update((target / name).read_bytes())
        yield from _compared(digest, row["sha256"], str(target))


def _listed(name: str) -> list[dict[str, str]]:
    with (LISTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _compared(found: "hashlib._Hash", wanted: str, place: str) -> Iterator[str]:
    if found.hexdigest() != wanted:
        yield f"{place} should have SHA-256 {wanted[:12]}..., and has {found.hexdigest()[:12]}..."


MADE = {"imagenet700": imagenet700, "tiny_imagenet50": tiny_imagenet50}


def main() -> int:
    """The exit status: 1 if an image is missing or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MADE)
    parser.add_argument("source", type=Path, help="the checkout, or the unpacked archive")
    parser.add_argument("out", type=Path, help="folder to write")
    asked = parser.parse_args()
    if not asked.source.is_dir():
        parser.error(f"{asked.source} is no folder. Name the checkout, or the unpacked archive.")
    problems = list(MADE[asked.name](asked.source, asked.out))
    for problem in problems[:10]:
        print(problem)
    print(f"{asked.out}: " + (f"{len(problems)} problems" if problems else "every image is as it should be"))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
