"""Settings of a noisecam2023 study that ends in seconds, on a network that small steps fool."""

from pathlib import Path

from helpers import renkhoff_study as _renkhoff_study


def make_settings(folder: Path, images: int = 12) -> dict:
    made = _renkhoff_study.make_settings(folder, images)
    return {
        "images": made["images"],
        "model": made["model"],
        "attack": "fgsm:epsilon=8/255",
        "strengths": "0.5,1",
        "noise_images": 20,
        "behaviour_images": 2,
        "gallery": 1,
        "device": "cpu",
        "batch_size": 4,
    }
