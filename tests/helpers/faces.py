"""Class folders of coloured pictures, and a small folder of VGGFace2's layout with faces made of dots."""

from pathlib import Path

import numpy as np
from PIL import Image

from helpers.small_study import NETWORK, make_network

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [180, 180, 60]])
EYES = np.array([[20.0, 30.0], [40.0, 30.0], [30.0, 42.0], [23.0, 52.0], [37.0, 52.0]])


def make_classes(folder: Path, *, classes: int = 3, images: int = 10, side: int = 32) -> Path:
    """Noisy pictures of one colour per class, told apart with ease."""
    random = np.random.default_rng(0)
    for label in range(classes):
        for number in range(images):
            own = folder / f"class-{label}" / f"{number:02d}.png"
            own.parent.mkdir(parents=True, exist_ok=True)
            noise = random.integers(-50, 50, (side, side, 3))
            Image.fromarray((COLOURS[label] + noise).clip(0, 255).astype(np.uint8)).save(own)
    return folder


def make_vggface2(folder: Path, *, identities: int = 3, images: int = 6) -> Path:
    """The released layout. The first face of the first identity has no landmarks, one box leaves its picture."""
    (folder / "bb_landmark").mkdir(parents=True)
    meta = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    boxes, points = ["NAME_ID,X,Y,W,H"], ["NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y"]
    random = np.random.default_rng(0)
    for label in range(identities):
        identity = f"n{label + 1:06d}"
        meta.append(f'{identity}, "Person_{label}", {images}, 1, f')
        for number in range(images):
            name, angle = f"{identity}/{number + 1:04d}_01", 0.2 * (number - 2)
            file = folder / "train" / f"{name}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            landmarks = (EYES - EYES.mean(0)) @ turn + [40, 45]
            draw_face(landmarks, COLOURS[label], random).save(file, quality=95)
            corner = (-6, 8) if number == 1 else (12, 15)
            boxes.append(f'"{name}",{corner[0]},{corner[1]},55,62')
            if (label, number) != (0, 0):
                points.append(f'"{name}",' + ",".join(f"{value:.3f}" for value in landmarks.ravel()))
    (folder / "identity_meta.csv").write_text("\n".join(meta) + "\n")
    (folder / "bb_landmark" / "loose_bb_train.csv").write_text("\n".join(boxes) + "\n")
    (folder / "bb_landmark" / "loose_landmark_train.csv").write_text("\n".join(points) + "\n")
    return folder


def draw_face(landmarks: np.ndarray, colour: np.ndarray, random: np.random.Generator) -> Image.Image:
    """A coloured picture with a black dot at each landmark."""
    pixels = colour + random.integers(-20, 20, (90, 80, 3))
    y, x = np.mgrid[:90, :80] + 0.5
    for across, down in landmarks:
        pixels[(x - across) ** 2 + (y - down) ** 2 < 9] = 0
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def small_settings(folder: Path, images: Path) -> dict:
    """Of a study that two networks, which differ in their weights alone, finish in a second or two."""
    other = folder / "other_network.py"
    other.write_text(NETWORK.replace("manual_seed(0)", "manual_seed(1)"))
    return {
        "images": images,
        "models": f"{make_network(folder)},module:{other}:tiny",
        "input_size": 32,
        "epsilons": "0,0.05,0.2",
        "epochs": 8,
        "learning_rate": 0.05,
        "gallery": 1,
        "device": "cpu",
        "batch_size": 2,
    }
