"""look() with four CAMs at all layers, beside one plain and one bare pass and beside other packages."""

import statistics
from collections.abc import Callable
from functools import partial

from bench._others import Other, others
from bench._subjects import SUBJECTS, Subject, bare, ours, plain, subject
from bench._table import show, verdict
from bench._timing import fair, ratio, seconds_of

PLAIN, BARE, FOUR = "plain pass", "bare pass", "gazeshift look()"
TO_PLAIN, TO_BARE = 0.80, 1.25  # targets for the models below
WITH_TARGET = ("resnet50", "vgg16")
INCLUDES = {
    PLAIN: "forward, backward with gradients of all parameters; no map",
    BARE: "forward, backward to the first asked layer, weights frozen; no map",
    FOUR: "4 CAMs of all layers, all it does for a user",
}


def main(models: list[str], batch: int, rounds: int) -> None:
    """A table for each model."""
    for name in models or SUBJECTS:
        measure(subject(name, batch), rounds)


def measure(model: Subject, rounds: int) -> None:
    """Print a model's table."""
    found = list(others(model))
    rivals = {f"{other.name}\t{other.includes}": other for other in found if isinstance(other, Other)}
    quick: dict[str, Callable[[], object]] = {
        PLAIN: partial(plain, model),
        BARE: partial(bare, model),
        FOUR: partial(ours, model),
        "gazeshift look()\t1 CAM (Grad-CAM) of all layers": partial(ours, model, ("grad_cam",)),
        **{name: other.run for name, other in rivals.items() if not other.slow},
    }
    seconds = fair(quick, rounds)
    for name, other in rivals.items():
        if other.slow:
            seconds[name] = [seconds_of(other.run)]
    show(
        f"{model.name}, {model.selector} ({len(model.layers)} layers), batch of {len(model.images)}: time of the maps",
        ["", "what it includes", "seconds", "ratio to plain", "ratio to bare"],
        [_row(name, taken, seconds) for name, taken in seconds.items()],
        *(_targets(seconds) if model.name in WITH_TARGET else ()),
        *(sentence for sentence in found if isinstance(sentence, str)),
    )


def _row(name: str, taken: list[float], seconds: dict[str, list[float]]) -> list[str]:
    title, _, includes = name.partition("\t")
    ratios = []
    for reference in (PLAIN, BARE):
        if len(taken) == 1:  # measured once: beside the reference's median
            ratios.append(f"{taken[0] / statistics.median(seconds[reference]):.1f} (once)")
        else:
            ratios.append(str(ratio(taken, seconds[reference])))
    return [title, includes or INCLUDES[name], f"{statistics.median(taken):.3f}", *ratios]


def _targets(seconds: dict[str, list[float]]) -> list[str]:
    to_plain, to_bare = (ratio(seconds[FOUR], seconds[name]).median for name in (PLAIN, BARE))
    return [
        f"4 CAMs to plain pass {to_plain:.2f}, {verdict(to_plain, TO_PLAIN)}",
        f"4 CAMs to bare pass  {to_bare:.2f}, {verdict(to_bare, TO_BARE)}",
    ]
