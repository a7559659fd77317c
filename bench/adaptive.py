"""How many images get past classifier and detector, by an attacker who knows both, against the size of the change.

Every line is one image, one attack, one size and one random start, appended to a file as soon as it is known: a run
that is killed goes on where it was. What got past within a small ball is past in every larger one, and what did not is
not tried in a smaller one.
"""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench._detect_sets import imagenet700, split
from bench._fitted import deployed
from gazeshift.calibrated import CalibratedDetector, fingerprints
from gazeshift.data import open_source
from gazeshift.evasion import DefendedModel, evade, evaded
from gazeshift.models import Classifier, load
from gazeshift.pipeline import attack, detector_inputs
from gazeshift.registry import build
from gazeshift.report.statistics import wilson
from gazeshift.seeds import generator_for
from gazeshift.studies.scorecard.report.adaptive import half

SIZES = {8: (1, 2, 4), None: (0.0625, 0.125, 0.25, 0.5)}  # x 1/255, for files of 8 bits and for images as they are
FIRST = {8: 1, None: 0.5}
AT_ONCE = 4
METHODS = ("joint", "orthogonal", "expectation")
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images as 8-bit files hold them.

    Args:
        ids: unique.
        images: (n, channels, h, w).
        labels: classes.
    """

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor

    def at(self, places: Sequence[int]) -> "Images":
        """Some of them."""
        some = torch.tensor(list(places), dtype=torch.long)
        return Images(ids=tuple(self.ids[at] for at in places), images=self.images[some], labels=self.labels[some])

    def draws(self, *names: str) -> list[torch.Generator]:
        """A generator for each."""
        return [generator_for(0, *names, one) for one in self.ids]


@dataclass(frozen=True, kw_only=True)
class Log:
    """The lines so far, and the file that they are in."""

    file: Path
    lines: list[Line]

    @classmethod
    def at(cls, file: Path) -> "Log":
        """What is there already; a last line cut short is left out."""
        told = file.read_text().split("\n")[:-1] if file.exists() else []
        file.write_text("".join(line + "\n" for line in told))
        return cls(file=file, lines=[json.loads(line) for line in told])

    def add(self, line: Line) -> None:
        """Written at once."""
        self.lines.append(line)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, method: str, image: str) -> list[Line]:
        """All of one attack on one image."""
        return [line for line in self.lines if (line["method"], line["image"]) == (method, image)]


def main(out: Path, spec: str = "stability", *, images: int, restarts: int, methods: Sequence[str]) -> None:
    """Attack what is missing, then print the table; its rows are in ``adaptive.jsonl``, for the scorecard.

    Args:
        out: folder, one for each detector.
        spec: of the detector, learned from clean images alone.
        images: test images that are classified right.
        restarts: random starts of each attack.
        methods: of the adaptive attack.
    """
    classifier = load("efficientnet_lite0", device="cpu")
    parts = split(imagenet700(), out / "parts")
    deployed = fitted(classifier, parts, out / "detector", spec)
    shown = correct(classifier, read(classifier, parts["test"], None), images)
    log = Log.at(out / "lines.jsonl")
    for bits in SIZES:
        opponent = DefendedModel(classifier=classifier, deployed=deployed, bits=bits)
        plain(opponent, shown, log)
        for restart in range(restarts):
            for method in methods:
                known(opponent, shown, log, method, restart)
    rows = list(table(log, deployed.name, shown.ids, methods))
    (out / "adaptive.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    show(rows)


def plain(opponent: DefendedModel, shown: Images, log: Log) -> None:
    """PGD that knows the classifier alone, at every size."""
    for size in SIZES[opponent.bits]:
        spec = f"pgd:epsilon={size}/255"
        done = {line["image"] for line in log.lines if (line["method"], line["size"]) == ("pgd", size)}
        for batch in pieces(shown, [at for at, name in enumerate(shown.ids) if name not in done]):
            made = attack(opponent.classifier, batch.images, batch.labels, by=spec, generator=batch.draws(spec))
            judged(opponent, batch, made.images, log, {"method": "pgd", "size": size, "restart": 0})


def known(opponent: DefendedModel, shown: Images, log: Log, method: str, restart: int) -> None:
    """The adaptive attack, on each image at the sizes where the answer is open."""
    while True:
        wanted = [open_size(log.of(method, name), opponent.bits, restart) for name in shown.ids]
        if not (sizes := {size for size in wanted if size is not None}):
            return
        size = max(sizes)
        spec = f"adaptive:epsilon={size}/255,method={method}"
        for batch in pieces(shown, [at for at, one in enumerate(wanted) if one == size]):
            made = evade(
                opponent.classifier,
                batch.images,
                batch.labels,
                opponent.deployed,
                by=spec,
                bits=opponent.bits,
                generator=batch.draws(spec, str(opponent.bits), str(restart)),
            )
            judged(opponent, batch, made.images, log, {"method": method, "size": size, "restart": restart})


def open_size(lines: Sequence[Line], bits: int | None, restart: int) -> float | None:
    """The size to try next on an image: up until one gets past, then down until one does not; None if nothing is open.

    A file of 8 bits that got past is such an image too.
    """
    past = min((line["size"] for line in lines if line["evaded"]), default=math.inf)
    here = [line["size"] for line in lines if (line["bits"], line["restart"]) == (bits, restart) and not line["evaded"]]
    failed = max(here, default=0)
    left = [size for size in SIZES[bits] if failed < size < past]
    if past < math.inf:
        return max(left, default=None)
    return min(left, default=None) if failed else FIRST[bits]


def judged(opponent: DefendedModel, batch: Images, made: Tensor, log: Log, told: Line) -> None:
    """One line for each image, with views that the attack has not seen."""
    fooled = opponent.classifier(opponent.arrived(made)).argmax(1) != batch.labels
    spent, at = time.process_time(), fooled.nonzero()[:, 0].tolist()
    found = evaded(
        opponent, made[fooled], batch.labels[fooled], generator=batch.at(at).draws("judge", *map(str, told.values()))
    )
    suspicion = dict(zip(at, found.suspicion.tolist(), strict=True))
    for place, name in enumerate(batch.ids):
        flagged = not suspicion.get(place, math.inf) <= opponent.threshold
        log.add(
            {
                "image": name,
                "bits": opponent.bits,
                **told,
                "misclassified": place in suspicion,
                "suspicion": suspicion.get(place),
                "evaded": place in suspicion and not flagged,
                "linf": 255 * (made[place] - batch.images[place]).abs().max().item(),
            }
        )
    print(
        f"{told} {opponent.bits} bits: {len(at)} misclassified, {int(found.evaded.sum())} past, "
        f"of {len(batch.ids)} [{spent:.0f} s]",
        flush=True,
    )


def table(log: Log, detector: str, ids: Sequence[str], methods: Sequence[str]) -> Iterator[Line]:
    """A row for each attack and size, over the images that were tried; ``any`` is the best of all adaptive ones."""
    for bits, sizes in SIZES.items():
        for name in ("pgd", *methods, *(("any",) if len(methods) > 1 else ())):
            for size in sizes:
                names = methods if name == "any" else (name,)
                told = [outcome(log, names, image, bits=bits, size=size) for image in ids]
                known_of = [one for one in told if one is not None]
                if known_of:
                    n, past, fooled = len(known_of), sum(one[1] for one in known_of), sum(one[0] for one in known_of)
                    yield {
                        "detector": detector,
                        "method": name,
                        "adaptive": name != "pgd",
                        "epsilon": size / 255,
                        "bits": bits,
                        "n": n,
                        "misclassified": fooled,
                        "flagged": fooled - past,
                        "evaded": past,
                        "interval": wilson(past, n),
                    }


def outcome(log: Log, names: Sequence[str], image: str, *, bits: int | None, size: float) -> tuple[bool, bool] | None:
    """Whether an image was misclassified, and got past, within a ball of this size; None if it was not tried."""
    lines = [line for one in names for line in log.of(one, image)]
    lines = [line for line in lines if line["bits"] in (bits, 8)]
    if "pgd" in names:
        lines = [line for line in lines if (line["size"], line["bits"]) == (size, bits)]
    within = [line for line in lines if line["size"] <= size]
    if not within and not any(line["size"] >= size and line["bits"] == bits for line in lines):
        return None
    return any(line["misclassified"] for line in within), any(line["evaded"] for line in within)


def show(rows: Sequence[Line]) -> None:
    """The table, and the ratios of sizes."""
    print(
        "| images | attack | epsilon x 255 | n | misclassified | without alarm | 95 % |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        low, high = row["interval"]
        kept = "8-bit files" if row["bits"] else "as they are"
        print(
            f"| {kept} | {row['method']} | {255 * row['epsilon']:g} | {row['n']} "
            f"| {row['misclassified'] / row['n']:.0%} | {row['evaded'] / row['n']:.0%} | {low:.0%} to {high:.0%} |"
        )
    for bits in SIZES:
        plain = [row for row in rows if (row["method"], row["bits"]) == ("pgd", bits)]
        for name in dict.fromkeys(row["method"] for row in rows if row["adaptive"]):
            reached = half([row for row in rows if (row["method"], row["bits"]) == (name, bits)], "evaded")
            for key, told in (("misclassified", "fooling the bare classifier"), ("evaded", "getting past")):
                base = half(plain, key)
                ratio = f"{reached / base:.2f}" if reached and base else "not reached"
                print(f"{bits} bits, {name}: half at {reached} / 255; plain PGD {told}: half at {base}; ratio {ratio}")


def pieces(shown: Images, places: Sequence[int]) -> Iterator[Images]:
    """A few at a time, so that a kill costs little."""
    for start in range(0, len(places), AT_ONCE):
        yield shown.at(places[start : start + AT_ONCE])


def read(classifier: Classifier, folder: Path, limit: int | None) -> Images:
    """Images of a part, and their labels."""
    names = {"class_names": classifier.class_names, "wnids": classifier.wnids}
    source = open_source(folder / "images", labels=folder / "labels.csv", **names)
    batch = source.read(0, limit, classifier.preprocessing)
    assert batch.labels is not None
    return Images(ids=batch.ids, images=(batch.images * 255).round() / 255, labels=batch.labels)


def correct(classifier: Classifier, shown: Images, most: int) -> Images:
    """The first that are classified as labelled."""
    with torch.no_grad():
        predicted = torch.cat([classifier(some).argmax(1) for some in shown.images.split(16)])
    return shown.at((predicted == shown.labels).nonzero()[:most, 0].tolist())


def fitted(
    classifier: Classifier, parts: Mapping[str, Path], folder: Path, spec: str = "stability"
) -> CalibratedDetector:
    """The detector, from 100 clean images and calibrated on 100 others; kept for the next run."""
    detector: Any = build("detectors", spec)
    if (folder / "detector.json").exists():
        kept = CalibratedDetector.load(folder)
        if kept.detector != detector:
            sys.exit(f"{folder} holds {kept.detector}, and {spec} was asked for. Name another folder: --out.")
        return kept
    learned, fresh = (read(classifier, parts[part], 100) for part in ("dev", "cal"))
    made = deployed(
        classifier,
        spec.partition(":")[0],
        detector,
        measured(classifier, detector, learned),
        measured(classifier, detector, fresh),
        side=learned.images.shape[-1],
        fitted_on=fingerprints(learned.images),
        calibrated_on=fingerprints(fresh.images),
    )
    made.save(folder)
    return made


def measured(classifier: Classifier, detector: Any, shown: Images) -> Tensor:
    """What the detector measures of images."""
    draws = pieces(shown, range(len(shown.ids)))
    return torch.cat(
        [
            detector.measure(detector_inputs(classifier, some.images, detector, generator=some.draws("fit")))
            for some in draws
        ]
    )
