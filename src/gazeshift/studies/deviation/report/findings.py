"""The three findings that matter, each one plain sentence with its figures and its number of images."""

from collections.abc import Sequence

from gazeshift.report.measure_scale import COSINE
from gazeshift.report.words import cam_name, measure_name, small
from gazeshift.studies.deviation.report.outcomes import Outcome
from gazeshift.studies.deviation.report.series import SPLIT, AgainstNoise, ClassGroup, Selection, Series
from gazeshift.studies.deviation.report.tables import percent, ranking, two


def sentences(series: Series, outcomes: Sequence[Outcome], labels: str) -> tuple[str, ...]:
    """Did the attacks work; how far did the gaze move, and where; was it more than a switched class."""
    choice = series.chosen
    chosen = [o for o in outcomes if o.strength == series.strengths[choice.strength]]
    return _success(chosen, labels), _moved(series, choice), _split(series, choice)


def beyond_chance(compare: AgainstNoise) -> tuple[int, int] | None:
    """Layers compromised more often than chance explains, of all with a probability; None: too few images to tell."""
    limit = compare.band[1]
    known = [value for value in compare.probability if value is not None]
    return None if limit >= 1000 else (sum(value > limit for value in known), len(known))


def _success(outcomes: Sequence[Outcome], labels: str) -> str:
    whose = (
        "correctly classified images" if labels == "given" else "images (judged by the model's own clean prediction)"
    )
    if not any(o.correct for o in outcomes):
        return "No clean image was classified correctly, so the attacks had nothing to win and no success rate exists."
    best = max(outcomes, key=lambda o: o.fooled / o.correct if o.correct else -1)
    low, high = (f"{100 * bound:.0f}" for bound in best.interval)
    text = f"{best.attack.label} changed the class of {best.fooled} of {best.correct} {whose} "
    text += f"({percent(best.fooled, best.correct)}, 95 % interval {low} to {high} %)"
    if best.strength != 1:
        text += f" at strength {best.strength:g}"
    return text + _others([o for o in outcomes if o is not best]) + _noise(best)


def _others(outcomes: Sequence[Outcome]) -> str:
    return "".join(f"; {o.attack.label} changed {o.fooled} of {o.correct}" for o in outcomes[:4])


def _noise(outcome: Outcome) -> str:
    if not outcome.noise_correct:
        return "; there is no matched noise to compare with."
    return (
        f"; Gaussian noise of the same mean and deviation changed {outcome.noise_fooled} of {outcome.noise_correct} "
        f"({percent(outcome.noise_fooled, outcome.noise_correct)})."
    )


def _moved(series: Series, choice: Selection) -> str:
    compare, measure = series.compared(choice), series.measure(choice)
    order = ranking(compare, measure)
    cam, attack = cam_name(series.cams[choice.cam]), series.attacks[choice.attack]
    if not order:
        return f"No {cam} map is defined both before and after {attack}, so nothing can be said about the gaze."
    first, attacked, noise = order[0], compare.attacked, compare.noise
    text = f"Under {attack} the gaze ({cam}, {_whose(series, choice)}) moves furthest at layer {series.layers[first]}: "
    text += f"median {what(series)} to the clean map {two(attacked.median[first])} "
    text += f"(quartiles {two(attacked.low[first])} to {two(attacked.high[first])}, "
    text += f"{_images(attacked.count[first], choice)})"
    if noise.median[first] is None:
        return text + "; there is no matched noise to compare with."
    text += f" against {two(noise.median[first])} under matched noise; {_chance(compare)}."
    return f"{text} {small(attacked.count[first])}".strip()


def what(series: Series) -> str:
    """What the measure shown first says: ``similarity`` by cosine, another one by its name."""
    measure = series.measure(series.chosen)
    return measure.noun if measure.name == COSINE else f"{measure.noun} ({measure_name(measure.name)})"


def _chance(compare: AgainstNoise) -> str:
    found = beyond_chance(compare)
    if found is None:
        return "with so few images no compromise probability can be told from chance"
    above, known = found
    limit = two(compare.band[1])
    return f"{above} of {known} layers are compromised more often than chance explains (probability above {limit})"


def _split(series: Series, choice: Selection) -> str:
    attack, groups = series.attacks[choice.attack], series.split[choice.key(SPLIT)]
    switched, stayed = groups.switched, groups.stayed
    if not switched.images:
        kept = stayed.attacked[series.targets[0]].total
        lost = "similarity is lost" if what(series) == "similarity" else f"{what(series)} there is"
        return (
            f"No image changed its class under {attack}, so what {lost} "
            f"(mean over layers {two(kept)}, matched noise {two(stayed.noise.total)}) is a moved gaze alone."
        )
    if len(series.targets) < 2:
        return (
            f"Only the {series.targets[0]} class was explained, so a switched class and a moved gaze cannot be "
            "told apart: run the study with both targets."
        )
    return _remains(series, attack, switched)


def _remains(series: Series, attack: str, switched: ClassGroup) -> str:
    own, same = (switched.attacked[target].total for target in ("predicted", "reference"))
    noise, measure = switched.noise.total, series.measure(series.chosen)
    if own is None or same is None:
        return f"Where {attack} changed the class, no map is defined on both sides, so nothing can be said of the gaze."
    count = switched.images
    text = f"Where {attack} changed the class ({count} image{'s' * (count != 1)}), mean {what(series)} over all layers "
    text += f"is {two(own)} if each image's own class is explained and {two(same)} if the clean image's class is "
    text += "explained "
    if noise is None:
        return text + "on both sides; there is no matched noise to compare with."
    text += f"on both sides (matched noise {two(noise)}): "
    lost, left = (measure.alike(noise, 1000) - measure.alike(value, 1000) for value in (own, same))
    if lost < 20:
        less = "less" if what(series) == "similarity" else "further"
        return text + f"hardly {less} than under noise, so the gaze stayed where it was."
    return text + f"{percent(max(0, min(left, lost)), lost)} of the loss is a moved gaze, the rest the switched class."


def _whose(series: Series, choice: Selection) -> str:
    target = series.targets[choice.target]
    return "each image's own class" if target == "predicted" else "the clean image's class"


def _images(count: int, choice: Selection) -> str:
    fooled = " fooled" if choice.images == "fooled" else ""
    return f"{count}{fooled} image{'s' * (count != 1)}"
