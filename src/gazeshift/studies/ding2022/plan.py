"""Who does what in a set of the study of Ding et al. 2022, and what its manifest says of sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from gazeshift.records import Finding
from gazeshift.studies.ding2022.feature_maps import Ranking
from gazeshift.studies.ding2022.manifest import DingSetEntry, HalvesEntry
from gazeshift.studies.ding2022.opened import OpenedSet
from gazeshift.studies.ding2022.rows import filters
from gazeshift.studies.ding2022.training_data import Split, shuffled, split

SOUND = 0.7  # clean accuracy below which an ImageNet model was preprocessed in another way than it was trained


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """Who does what in one set.

    Args:
        labels: class of every pair.
        fooled: images that the model gets right, and wrong after the attack.
        found: feature maps at both ends of the ranking.
        chosen: fooled images to change.
        shown: images of the gallery.
        parts: of adversarial training.
        halves: ids that the detector learns from, and those that judge it: both sides of an image in one half.
    """

    labels: dict[str, int]
    fooled: tuple[str, ...]
    found: Ranking
    chosen: tuple[str, ...]
    shown: tuple[str, ...]
    parts: Split
    halves: tuple[tuple[str, ...], tuple[str, ...]]


def set_plan(opened: OpenedSet, seen: pa.Table, found: Ranking) -> SetPlan:
    """Who is painted, shown, trained on and held out."""
    settings, ids = opened.settings, seen["image"].to_pylist()
    fooled = tuple(seen.filter(pc.field("success"))["image"].to_pylist())
    mixed = shuffled(ids, settings.seed, "detector")
    halves = mixed[: len(ids) // 2], mixed[len(ids) // 2 :]
    chosen = tuple(sorted(shuffled(fooled, settings.seed, "examples")[: settings.examples]))
    unseen = tuple(own for own in fooled if own in set(halves[1]))
    return SetPlan(
        labels=dict(zip(ids, seen["label"].to_pylist(), strict=True)),
        fooled=fooled,
        found=found,
        chosen=chosen,
        shown=(unseen or chosen)[: settings.gallery],
        parts=split(ids, settings.seed, settings.sizes, settings.validation),
        halves=halves,
    )


def set_entry(opened: OpenedSet, seen: pa.Table, plan: SetPlan) -> DingSetEntry:
    """What the manifest says of a set."""
    return DingSetEntry(
        name=opened.name,
        source=opened.source.name,
        attack=opened.source.examples.manifest.get("attack"),
        pairs=seen.num_rows,
        labels="given" if opened.source.has_labels else "predicted",
        clean_correct=pc.sum(seen["clean_correct"]).as_py(),
        fooled=len(plan.fooled),
        examples=plan.chosen,
        most=plan.found.most,
        least=plan.found.least,
        filters_most=filters(opened, plan.found.most),
        filters_least=filters(opened, plan.found.least),
        sizes=plan.parts.sizes,
        validation=len(plan.parts.held),
        detector=HalvesEntry(train=len(plan.halves[0]), validation=len(plan.halves[1])),
    )


def baseline_check(sets: Sequence[DingSetEntry]) -> tuple[Finding, ...]:
    """Whether the model is as good on clean images as it should be before it is trained further."""
    findings = []
    for one in sets:
        share = one.clean_correct / one.pairs
        detail = f"{share:.3f} of {one.pairs} clean images of {one.name} are classified as labelled, untrained"
        if share < SOUND:
            detail += "; as with the paper's 0.418, check that preprocessing and labels are the model's"
        findings.append(Finding(check="baseline accuracy", level="ok" if share >= SOUND else "note", detail=detail))
    return tuple(findings)
