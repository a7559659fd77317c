"""What a renkhoff2022 study's tables say, as arrays: similarity by strength, kind, target, layer and example."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.manifest import ManifestEntry, StudyManifest
from gazeshift.report.cube import Cube, cube
from gazeshift.report.statistics import Compromise, compromise
from gazeshift.report.study import Study
from gazeshift.report.tables_read import read_rows

COSINE = 0  # place of the one measure: of maps, or of jet pictures of them
PREDICTED, REFERENCE = 0, 1
ATTACKED, NOISE = 0, 1


class ArithmeticEntry(ManifestEntry):
    """How much of the perturbation each attacked image holds, and each noisy one, by strength."""

    coefficients: tuple[float, ...] = ()
    bases: tuple[float, ...] = ()


class SimilarityManifest(StudyManifest):
    """What the manifest of a study of examples says: also how it scaled them."""

    arithmetic: ArithmeticEntry = ArithmeticEntry()


@dataclass(frozen=True, kw_only=True)
class SeedOutcome:
    """What became of a seed; sizes are of its example's change, and PSNR is in dB."""

    image: str
    clean_correct: bool
    switched: bool
    l2: float
    linf: float
    rms: float
    psnr: float


@dataclass(frozen=True, kw_only=True)
class ExampleOutcome:
    """Whether an example, or noise in its place, changes the class at one strength."""

    strength: float
    kind: str
    switched: bool
    clean_correct: bool


@dataclass(frozen=True, kw_only=True)
class SimilarityNumbers:
    """A study's numbers.

    Args:
        manifest: of the study.
        seeds: in the order of the study.
        images: one per example, strength and kind.
        found: similarities by condition; None if there is no example at all.
        curves: coverage after each seed, by arm and strength.
    """

    manifest: SimilarityManifest
    seeds: Sequence[SeedOutcome]
    images: Sequence[ExampleOutcome]
    found: Cube | None
    curves: Mapping[tuple[str, float], Sequence[float]]

    @property
    def cube(self) -> Cube:
        """Similarities; there must be examples."""
        assert self.found is not None, "no example was found"  # noqa: S101
        return self.found

    @cached_property
    def strengths(self) -> tuple[float, ...]:
        """Ascending, as of the study's settings."""
        return tuple(sorted(self.manifest.settings["strengths"]))

    @property
    def own(self) -> int:
        """Place of the strength nearest to the attack as it was made."""
        return min(range(len(self.strengths)), key=lambda at: abs(self.strengths[at] - 1))

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers as the paper's axes name them (4-1), or by their own names."""
        aliases = {layer.name: (layer.name, *layer.aliases) for layer in self.manifest.layers}
        return tuple(short(aliases[name]) for name in self.cube.layers)

    @property
    def main(self) -> Bool[np.ndarray, " n"]:
        """Examples of seeds that were classified right."""
        fooled: Bool[np.ndarray, " n"] = self.cube.fooled[0]
        return fooled

    def values(self, target: int, kind: int, chosen: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "s l n"]:
        """Similarities of Grad-CAM to the clean map."""
        values: Float[np.ndarray, "s l n"] = self.cube.values[COSINE, 0, :, kind, target, 0][:, :, chosen]
        return values

    def levels(self, target: int, chosen: Bool[np.ndarray, " n"] | None = None) -> list[Compromise]:
        """Attack against noise, at each strength."""
        both = [self.values(target, kind, self.main if chosen is None else chosen) for kind in (ATTACKED, NOISE)]
        return [compromise(attacked, noise) for attacked, noise in zip(*both, strict=True)]

    def pooled(self, target: int) -> Compromise:
        """Attack against noise, all strengths together."""
        both = [np.concatenate(list(self.values(target, kind, self.main)), axis=1) for kind in (ATTACKED, NOISE)]
        return compromise(*both)


def numbers(study: Study) -> SimilarityNumbers:
    """Everything that the report counts."""
    manifest, rows = study.entries(SimilarityManifest), read_rows(study.folder)
    seeds, images = (
        study.table(name, [field.name for field in fields(kind)]).to_pylist()
        for name, kind in (("seeds", SeedOutcome), ("images", ExampleOutcome))
    )
    curves: dict[tuple[str, float], list[float]] = {}
    for row in study.table("curves").to_pylist() if study.has("curves") else ():
        curves.setdefault((row["arm"], row["strength"]), []).append(row["coverage"])
    return SimilarityNumbers(
        manifest=manifest,
        seeds=[SeedOutcome(**row) for row in seeds],
        images=[ExampleOutcome(**row) for row in images],
        found=cube(rows, manifest) if rows.num_rows else None,
        curves=curves,
    )


def short(names: Sequence[str]) -> str:
    """``4-1`` for VGG's block4_conv1, else the first name.

    >>> short(["features.18", "block4_conv1"]), short(["blocks.5.0"])
    ('4-1', 'blocks.5.0')
    """
    for name in names:
        found = re.fullmatch(r"block(\d+)_conv(\d+)", name)
        if found:
            return f"{found[1]}-{found[2]}"
    return names[0]


def percent(strength: float) -> str:
    """A strength as the paper writes it.

    >>> percent(0.25)
    '25 %'
    """
    return f"{100 * strength:g} %"


def mean(values: Any) -> float:
    """Mean of the defined values; NaN without one."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    return float(array.mean()) if array.size else float("nan")
