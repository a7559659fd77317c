"""Writes small, finished deviation studies with made-up numbers, for the tests of the report."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HOSTILE = "<script>alert(1)</script>.jpg"
ROWS = pa.schema(
    [
        ("image", pa.string()),
        ("label", pa.int32()),
        ("attack", pa.string()),
        ("epsilon", pa.float64()),
        ("strength", pa.float32()),
        ("kind", pa.string()),
        ("target", pa.string()),
        ("layer", pa.string()),
        ("layer_index", pa.int16()),
        ("cam", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float32()),
        ("blank", pa.int8()),
        ("switched", pa.bool_()),
        ("fooled", pa.bool_()),
        ("clean_correct", pa.bool_()),
    ]
)
IMAGES = pa.schema(
    [
        ("image", pa.string()),
        ("label", pa.int32()),
        ("attack", pa.string()),
        ("epsilon", pa.float64()),
        ("strength", pa.float32()),
        ("kind", pa.string()),
        ("clean_class", pa.int32()),
        ("clean_name", pa.string()),
        ("clean_confidence", pa.float32()),
        ("changed_class", pa.int32()),
        ("changed_name", pa.string()),
        ("changed_confidence", pa.float32()),
        ("margin", pa.float32()),
        ("psnr", pa.float32()),
        ("linf", pa.float32()),
        ("l2", pa.float32()),
        ("rms", pa.float32()),
        ("switched", pa.bool_()),
        ("success", pa.bool_()),
        ("clean_correct", pa.bool_()),
    ]
)
GALLERY = pa.schema(
    [
        ("image", pa.string()),
        ("attack", pa.string()),
        ("kind", pa.string()),
        ("target", pa.string()),
        ("layer", pa.string()),
        ("layer_index", pa.int16()),
        ("cam", pa.string()),
        ("height", pa.int16()),
        ("width", pa.int16()),
        ("map", pa.list_(pa.float32())),
        ("picture", pa.binary()),
    ]
)


def write_study(  # noqa: PLR0917
    folder: Path,
    images: int = 6,
    layers: int = 5,
    attacks: tuple[str, ...] = ("pgd", "fgsm"),
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0),
    cams: tuple[str, ...] = ("grad_cam", "layer_cam"),
    targets: tuple[str, ...] = ("predicted", "reference"),
    *,
    noise: bool = True,
    success: bool = True,
    defined: bool = True,
    labels: str = "given",
    shown: int = 2,
    size: int = 64,
    seed: int = 0,
) -> Path:
    """A finished study folder; the first image has a hostile name, and one map of it is undefined."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    names = [HOSTILE, *(f"animals/{i:04d}.jpg" for i in range(1, images))]
    layer_names = ["stem", *(f"blocks.{i}" for i in range(layers - 2)), "head"][-layers:]
    kinds = ("attacked", "noise") if noise else ("attacked",)
    outcomes = _outcomes(names, attacks, strengths, kinds, random, success=success)
    rows = _rows(names, outcomes, layer_names, targets, cams, random, defined=defined)
    pq.write_table(pa.Table.from_pylist(rows, ROWS), folder / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(outcomes, IMAGES), folder / "images.parquet")
    gallery = _gallery(names[:shown], attacks, kinds, targets, layer_names, cams, size, random)
    pq.write_table(pa.Table.from_pylist(gallery, GALLERY), folder / "gallery.parquet")
    manifest = _manifest(images, layer_names, attacks, strengths, cams, labels, size)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _epsilon(attack: str) -> float | None:
    return {"pgd": 2 / 255, "fgsm": 4 / 255}.get(attack)


def _outcomes(names, attacks, strengths, kinds, random, *, success):
    """Rows of images.parquet."""
    rows = []
    for i, name in enumerate(names):
        correct = i % 5 != 4
        for attack in attacks:
            power = {"pgd": 0.6, "fgsm": 1.6}.get(attack, 1.0) + 0.5 * random.random()
            for strength in strengths:
                for kind in kinds:
                    switched = bool(success and kind == "attacked" and strength >= power)
                    budget = (_epsilon(attack) or 0.02) * strength
                    rows.append(
                        {
                            "image": name,
                            "label": i,
                            "attack": attack,
                            "epsilon": _epsilon(attack),
                            "strength": strength,
                            "kind": kind,
                            "clean_class": i if correct else i + 1,
                            "clean_name": "tench & <b>co</b>" if i == 0 else f"class {i}",
                            "clean_confidence": 0.5 + 0.4 * random.random(),
                            "changed_class": i + 7 if switched else (i if correct else i + 1),
                            "changed_name": f"class {i + 7}" if switched else f"class {i}",
                            "changed_confidence": 0.4 + 0.5 * random.random(),
                            "margin": (power - strength) * 5,
                            "psnr": -20 * np.log10(budget * 0.8),
                            "linf": budget if kind == "attacked" else budget * 3.2,
                            "l2": budget * 0.8 * 388,
                            "rms": budget * 0.8,
                            "switched": switched,
                            "success": switched and correct,
                            "clean_correct": correct,
                        }
                    )
    return rows


def _rows(names, outcomes, layers, targets, cams, random, *, defined):  # noqa: PLR0917
    """Rows of rows.parquet: attacked maps move most in the middle, noise hardly moves them."""
    fooled = {(o["image"], o["attack"]) for o in outcomes if o["strength"] == 1 and o["success"]}
    rows = []
    for outcome in outcomes:
        for target in targets:
            for index, layer in enumerate(layers):
                depth = np.sin(np.pi * (index + 1) / (len(layers) + 1))
                for cam in cams:
                    fall = 0.5 * depth * (1.0 if target == "predicted" and outcome["switched"] else 0.7)
                    fall *= min(1.5, outcome["strength"] ** 0.4) if outcome["kind"] == "attacked" else 0.15
                    cosine = float(np.clip(1 - fall + 0.06 * random.standard_normal(), 0, 1))
                    hole = not defined or (
                        outcome["image"] == HOSTILE and layer == layers[-1] and cam == cams[-1] and cam != cams[0]
                    )
                    rows += [
                        {
                            **{
                                key: outcome[key] for key in ("image", "label", "attack", "epsilon", "strength", "kind")
                            },
                            "target": target,
                            "layer": layer,
                            "layer_index": index,
                            "cam": cam,
                            **measured,
                            "switched": outcome["switched"],
                            "fooled": (outcome["image"], outcome["attack"]) in fooled,
                            "clean_correct": outcome["clean_correct"],
                        }
                        for measured in _measured(cosine, outcome["kind"], hole=hole, defined=defined)
                    ]
    return rows


def _measured(cosine, kind, *, hole, defined):
    """In the hole the clean and the attacked map are blank, and the one under noise is not finite."""
    if hole and defined and kind == "attacked":
        values, blank = {"cosine": 1.0, "nissim": 0.0}, 3
    elif hole:
        values, blank = {"cosine": float("nan"), "nissim": float("nan")}, 1
    else:
        values, blank = {"cosine": cosine, "nissim": (1 - cosine) * 0.45}, 0
    return [{"measure": measure, "value": value, "blank": blank} for measure, value in values.items()]


def _gallery(names, attacks, kinds, targets, layers, cams, size, random):  # noqa: PLR0917
    """Rows of gallery.parquet."""
    rows = []
    for number, name in enumerate(names):
        base = _photograph(size, number)
        rows.append(_picture(name, "", "clean", base))
        rows += _maps(name, "", "clean", targets, layers, cams, size, random, number)
        for attack in attacks:
            delta = random.choice([-1.0, 1.0], base.shape)
            rows.append(_picture(name, attack, "perturbation", 127.5 + 127.5 * delta))
            for kind in kinds:
                rows.append(_picture(name, attack, kind, base + 2 * delta))
                rows += _maps(name, attack, kind, targets, layers, cams, size, random, number)
    return rows


def _photograph(size, number):
    down, across = np.mgrid[:size, :size] / size
    disc = ((down - 0.5) ** 2 + (across - 0.35 - 0.1 * number) ** 2 < 0.06) * 120
    return np.stack([60 + 90 * down + disc, 110 + 40 * across + 0.3 * disc, 160 - 80 * down], axis=2)


def _picture(name, attack, kind, pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "WEBP", quality=80)
    place = {"target": "", "layer": "", "layer_index": -1, "cam": "", "height": len(pixels), "width": len(pixels)}
    return {"image": name, "attack": attack, "kind": kind, **place, "map": [], "picture": buffer.getvalue()}


def _maps(name, attack, kind, targets, layers, cams, size, random, number):  # noqa: PLR0917
    rows = []
    for target in targets:
        for index, layer in enumerate(layers):
            side = _side(size, index, len(layers))
            down, across = (np.mgrid[:side, :side] + 0.5) / side
            moved = 0.3 if kind == "attacked" and target == "predicted" else 0.12 if kind == "attacked" else 0.0
            for cam in cams:
                heat = np.exp(-((down - 0.5 + moved) ** 2 + (across - 0.35 - 0.1 * number - moved) ** 2) / 0.05)
                heat = heat + 0.15 * random.standard_normal((side, side)) - 0.1
                if name == HOSTILE and index == len(layers) - 1 and cam == cams[-1] and cam != cams[0]:
                    heat = -np.abs(heat) if kind != "noise" else np.full_like(heat, np.nan)
                place = {"layer": layer, "layer_index": index, "cam": cam, "height": side, "width": side}
                rows.append(
                    {"image": name, "attack": attack, "kind": kind, "target": target, **place}
                    | {"map": heat.astype(np.float32).ravel(), "picture": None}
                )
    return rows


def _side(size, index, layers):
    """Height and width of a layer's maps: half the image at first, then coarser."""
    return max(2, size // 2 ** (1 + index * 4 // layers))


def _manifest(images, layers, attacks, strengths, cams, labels, size):  # noqa: PLR0917
    return {
        "schema": 1,
        "study": "deviation",
        "command": "gazeshift study deviation --images 'photos & <more>' --attacks " + " ".join(attacks),
        "created": "2025-01-02T03:04:05+00:00",
        "gazeshift": "0.1.0",
        "versions": {"python": "3.11.2", "torch": "2.6.0", "numpy": "2.0.0"},
        "seed": 0,
        "device": "cpu",
        "seconds": 83.4,
        "model": {
            "name": "small_net",
            "source": "module:small_net:small_net",
            "weights_sha256": "ab" * 32,
            "preprocessing": {
                "resize": None,
                "crop": size,
                "interpolation": "bicubic",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
            },
            "classes": 1000,
            "dtype": "float32",
        },
        "settings": {"strengths": list(strengths), "targets": ["predicted", "reference"], "batch": 4, "seed": 0},
        "images": {
            "source": "photos & <more>",
            "kind": "folder",
            "asked": images + 1,
            "used": images,
            "labels": labels,
            "skipped": [{"id": "broken</td>.jpg", "reason": "cannot be decoded"}],
        },
        "preflight": [
            {"check": "range", "level": "ok", "detail": "Images lie in [0, 1]."},
            {"check": "accuracy", "level": "note", "detail": "80 % of the images are classified as labelled."},
        ],
        "layers": [
            {
                "name": name,
                "kind": "block",
                "shape": [16, _side(size, i, len(layers)), _side(size, i, len(layers))],
                "aliases": [],
                "followed_by": "stride" if i == 0 else "",
            }
            for i, name in enumerate(layers)
        ],
        "cams": list(cams),
        "measures": [
            {"name": "cosine", "lowest": -1.0, "highest": 1.0, "same": 1.0, "about": "Cosine of two maps."},
            {"name": "nissim", "lowest": 0.0, "highest": 1.0, "same": 0.0, "about": "How unlike two maps are."},
        ],
        "attacks": [{"name": attack, "settings": {"epsilon": _epsilon(attack), "steps": 10}} for attack in attacks],
        "undefined": [
            {
                "cam": cams[-1],
                "layer": layers[-1],
                "kind": "clean",
                "count": 1,
                "of": images,
                "reason": "no positive value",
            }
        ],
        "passes": {"forwards": 1234, "backwards": 567},
        "notes": ["A note of the study."],
    }
