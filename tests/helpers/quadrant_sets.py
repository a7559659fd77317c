"""Small adversarial sets of the quadrant pictures, and what lies in their folders."""

import json
from pathlib import Path

from gazeshift.runs.adversarial_set.settings import SetSettings
from helpers.quadrants import make_quadrant_images, make_quadrant_network


def settings_for(folder: Path, **changed: object) -> SetSettings:
    """Ten quadrant pictures, shards of four, no probes."""
    images = folder / "images"
    if not images.exists():
        make_quadrant_images(images, 10)
    usual = {"images": images, "model": make_quadrant_network(folder), "epsilon": 16 / 255, "device": "cpu"}
    return SetSettings(**usual | {"shard_size": 4, "batch_size": 3, "health_images": 0} | changed)


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def shards_of(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.parquet"))
