"""What the papers printed, beside what was measured here, and why the two need not agree."""

from dataclasses import replace

from gazeshift.report.document import NONE
from gazeshift.report.measure_scale import COSINE
from gazeshift.studies.deviation.report.series import STRUCTURE, Selection, Series
from gazeshift.studies.deviation.report.tables import ranking, three, two

Row = tuple[str, str, str, str]


def beside(series: Series) -> tuple[Row, ...]:
    """Quantity, what the paper prints, ours, and why they may differ; the papers compare by cosine and NISSIM."""
    names = [measure.name for measure in series.measures]
    cosine = replace(series.chosen, measure=names.index(COSINE)) if COSINE in names else None
    return _probability(series, cosine), _layers(series, cosine), _dissimilarity(series)


def _probability(series: Series, choice: Selection | None) -> Row:
    compare = series.compared(replace(choice, strength=0)) if choice else None
    known = [value for value in compare.probability if value is not None] if compare else []
    mean = two(round(sum(known) / len(known))) if known else NONE
    return (
        "Compromise probability at the lowest strength",
        "about 0.40 at strength 0.25 (Renkhoff et al. 2022 and Tan et al. 2023: VGG-16, DLFuzz, ImageNet)",
        f"{mean} at strength {series.strengths[0]:g} (mean over layers, {series.attacks[series.chosen.attack]})",
        "Another model and attack. In the released code the perturbation is subtracted anew at every strength, so "
        "that the images of strengths 0.5 and 1 are one and the same, and they point away from the attack. "
        "Chance is 0.50, so 0.40 is no effect.",
    )


def _layers(series: Series, choice: Selection | None) -> Row:
    order = ranking(series.compared(choice), series.measure(choice)) if choice else []
    return (
        "Layers whose gaze moves most",
        "block4_conv1 and block5_conv1 (Renkhoff et al. 2022: VGG-16)",
        " and ".join(series.layers[place] for place in order[:2]) or NONE,
        "Another model. The papers compare pictures of maps in jet colours, in which two disjoint spots still "
        "have a similarity of 0.5 to 0.9; here the maps themselves are compared.",
    )


def _dissimilarity(series: Series) -> Row:
    choice, ours = series.chosen, NONE
    structure = series.structure.get(choice.key(STRUCTURE))
    if structure:
        value, strength = structure.attacked.mod[choice.strength][-1], f"strength {series.strengths[choice.strength]:g}"
        ours = f"{three(value)} ({series.attacks[choice.attack]}, {strength}, {series.layers[-1]})"
    return (
        "MOD at the last layer",
        "0.085 to 0.162 at epsilon 2.55/255 and 0.127 to 0.296 at 25.5/255 "
        "(Chakraborty et al. 2022: FGSM made on ResNet-50, five models, faces)",
        ours,
        "Other images, models and budgets; the paper transfers one attack to all models, here the attack knows "
        "the model. At a coarse last layer 0.25 to 0.30 already means unrelated maps.",
    )
