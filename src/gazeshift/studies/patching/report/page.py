"""The page of the patching study: how few activations mend the answer, or break it, at which layer."""

import math
from collections.abc import Iterator, Sequence

from gazeshift.manifest import StudyManifest
from gazeshift.report.charts import lines
from gazeshift.report.document import NONE, Chart, Choice, Claim, Document, Section, Table, number, share
from gazeshift.report.statistics import wilson
from gazeshift.report.study import Study
from gazeshift.report.words import called, small
from gazeshift.studies.patching.report.numbers import (
    DIRECTIONS,
    RANKINGS,
    LayerCause,
    Test,
    causes,
    earlier,
    moved_and_mending,
)

__all__ = ["page"]

LABELS = {"effect": "by effect", "rmse": "by RMSE", "random": "at random"}
COLOURS = {"by effect": "--attacked", "by RMSE": "--third", "at random": "--noise"}
MIN_IMAGES, MIN_LAYERS, LEVEL = 20, 6, 0.05
TITLES = {
    "restore": "How few clean activations bring the right answer back?",
    "flip": "How few attacked activations break the clean image's answer?",
}


def page(study: Study) -> Document:
    """Everything that the page says."""
    manifest = study.entries(StudyManifest)
    found = causes(study)
    return Document(
        title=f"Which layers of {called(manifest.model.name)} cause the wrong answer?",
        paper="Activation patching (Vig et al. 2020; Meng et al. 2022), asked of an adversarial attack.",
        facts=_facts(manifest, found),
        findings=list(_findings(found, str(manifest.settings["unit"]))),
        claims=_claims(found),
        sections=list(_sections(found, str(manifest.settings["unit"]))),
        manifest=study.manifest,
        warnings=[] if found else ["The attack fooled no image, so there is nothing to mend. Make it stronger."],
    )


def _facts(manifest: StudyManifest, found: tuple[LayerCause, ...]) -> list[tuple[str, str]]:
    images = manifest.images
    fooled = _count(found)
    return [
        ("Model", called(manifest.model.name)),
        ("Images", f"{images.used} of {images.asked} from {images.source}, {fooled} of them fooled"),
        ("Attack", manifest.attacks[0].name),
        ("Layers", str(len(found))),
        ("Replaced", f"{manifest.settings['unit']}, {manifest.settings['factor']} times as many each time"),
        ("Seed", str(manifest.seed)),
    ]


def _count(found: tuple[LayerCause, ...]) -> int:
    return found[0].curves["restore", "effect"].turned.shape[1] if found else 0


def _findings(found: tuple[LayerCause, ...], unit: str) -> Iterator[str]:
    if not found:
        return
    n = _count(found)
    for direction, does in (("restore", "mends"), ("flip", "breaks")):
        halves = {layer.name: layer.curves[direction, "effect"].half for layer in found}
        known = {name: half for name, half in halves.items() if half is not None}
        if not known:
            yield f"No layer {does} the answer of half of the {n} images, however much of it is replaced."
            continue
        best = min(
            found, key=lambda layer: known.get(layer.name, float("inf")) / layer.curves[direction, "effect"].steps[-1]
        )
        curves = {ranking: best.curves[direction, ranking] for ranking in RANKINGS}
        others = ", ".join(f"{_units(curves[ranking].half)} {LABELS[ranking]}" for ranking in ("rmse", "random"))
        yield (
            f"{best.name} {does} half of the {n} images with the smallest part: {_units(curves['effect'].half)} of "
            f"its {curves['effect'].steps[-1]} {unit} chosen by effect ({others})."
        )
    around = [layer.name for layer in found if layer.exact < 1]
    if around:
        yield (
            f"All activations of {len(found) - len(around)} of {len(found)} layers give the clean answer exactly, by "
            f"construction; paths of the network go around {', '.join(around[:4])}"
            + (" and others." if len(around) > 4 else ".")
        )
    else:
        yield (
            "All activations of any layer give the clean answer exactly, by construction: nothing in this network goes "
            "around them. What tells layers apart is how few are enough."
        )
    if small(n):
        yield small(n)


def _units(half: float | None) -> str:
    return "more than all" if half is None else f"{half:.3g}"


def _claims(found: tuple[LayerCause, ...]) -> list[Claim]:
    """The papers' rankings, held against what mends."""
    if not found:
        return []
    n, correlation = _count(found), moved_and_mending(found)
    enough = n >= MIN_IMAGES
    return [
        Claim(
            paper="Layers whose maps move most under attack are the vulnerable ones (Renkhoff et al. 2022).",
            ours=(
                f"Over {correlation.n} layers, Spearman's correlation of how far Grad-CAM moves (median) with how "
                f"early the right answer comes back is {number(correlation.value)} (permutation p = {_p(correlation)})."
            ),
            held=_verdict([correlation], enough=enough and len(found) >= MIN_LAYERS),
            why=f"Test needs {MIN_LAYERS} layers and {MIN_IMAGES} fooled images. Null: no association between the two.",
        ),
        _order(
            found,
            "Feature maps that change most, by RMSE, are the sensitive ones (Ding et al. 2022).",
            "rmse",
            "random",
        ),
        _order(
            found,
            "Change alone does not say what matters: its effect on the answer does (attribution patching).",
            "effect",
            "rmse",
        ),
    ]


def _order(found: tuple[LayerCause, ...], paper: str, ranking: str, than: str) -> Claim:
    """Whether replacing in one order turns answers earlier than in another, in both directions."""
    mends, breaks = tests = [earlier(found, direction, ranking, than) for direction in DIRECTIONS]
    return Claim(
        paper=paper,
        ours=(
            f"Replaced {LABELS[ranking]} and not {LABELS[than]}, the right answer is back {_sooner(mends)}, and the "
            f"clean image's is broken {_sooner(breaks)}; Wilcoxon over {mends.n} images."
        ),
        held=_verdict(tests, enough=mends.n >= MIN_IMAGES),
        why=f"Test needs {MIN_IMAGES} fooled images. Null: the order makes no difference. Partly: in one direction.",
    )


def _sooner(test: Test) -> str:
    """How much earlier, in parts of the steps before all units."""
    return f"{100 * abs(test.value):.1f} % of the steps {'sooner' if test.value > 0 else 'later'} (p = {_p(test)})"


def _verdict(tests: Sequence[Test], *, enough: bool) -> str:
    if not enough or any(math.isnan(test.p) for test in tests):
        return "not tested"
    held = [test.p < LEVEL and test.value > 0 for test in tests]
    return "held" if all(held) else "partly" if any(held) else "did not hold"


def _p(test: Test) -> str:
    return NONE if math.isnan(test.p) else f"{test.p:.2g}"


def _sections(found: tuple[LayerCause, ...], unit: str) -> Iterator[Section]:
    if not found:
        return
    for direction in DIRECTIONS:
        charts = {layer.name: _chart(layer, direction, unit) for layer in found}
        about = f"Share of the fooled images, by how many {unit} of the layer are replaced; bands are 95 % intervals."
        yield Section(
            title=TITLES[direction],
            items=[
                Choice(title="Replaced at one layer", label="Layer", charts=charts, about=about),
                _halves(found, direction, unit),
            ],
        )
    yield Section(title="Is a layer that looks elsewhere a cause?", items=[_layers(found)])


def _chart(layer: LayerCause, direction: str, unit: str) -> Chart:
    curves = {LABELS[ranking]: layer.curves[direction, ranking] for ranking in RANKINGS}
    return lines(
        f"{layer.name}, {layer.channels} x {layer.side[0]} x {layer.side[1]}",
        [str(step) for step in next(iter(curves.values())).steps],
        {name: curve.shares for name, curve in curves.items()},
        x_title=f"{unit} replaced",
        y_title="share turned",
        y_range=(0.0, 1.05),
        level=0.5,
        band={name: curve.intervals for name, curve in curves.items()},
        colours=COLOURS,
        wide=True,
    )


def _halves(found: tuple[LayerCause, ...], direction: str, unit: str) -> Table:
    rows = []
    for layer in found:
        curves = [layer.curves[direction, ranking] for ranking in RANKINGS]
        whole = curves[0].turned[-1]
        low, high = wilson(int(whole.sum()), len(whole))
        at_all = f"{share(float(whole.mean()))} [{100 * low:.0f}, {100 * high:.0f}]"
        rows.append([layer.name, str(curves[0].steps[-1]), *(_units(curve.half) for curve in curves), at_all])
    return Table(
        title=f"How many {unit} turn half of the images",
        head=["layer", f"all {unit}", *(LABELS[ranking] for ranking in RANKINGS), "turned by all"],
        rows=rows,
        about="Between two steps, on the logarithm of their number.",
    )


def _layers(found: tuple[LayerCause, ...]) -> Table:
    return Table(
        title="Symptom and cause, by layer",
        head=["layer", "maps", "cosine (median)", "early", "effect and RMSE", "exact"],
        rows=[
            [
                layer.name,
                f"{layer.channels} x {layer.side[0]} x {layer.side[1]}",
                number(layer.cosine),
                number(float(layer.curves["restore", "effect"].early.mean())),
                number(layer.agreement),
                share(layer.exact),
            ]
            for layer in found
        ],
        about=(
            "cosine: of Grad-CAM to the clean image's, each image's own class; low is a gaze that moved. early: share "
            "of the steps before all units at which the answer was back, chosen by effect. effect and RMSE: median "
            "rank correlation of the two. exact: images whose clean answer all activations give, to "
            "a thousandth of the largest logit."
        ),
    )
