"""Images a second of PGD in L-inf, beside Foolbox and torchattacks: the same frozen model, steps, batch and images.

Each package draws its own random start. What is timed is the attack alone: Foolbox's `run`, without its check of
the result, as neither of the others makes one.
"""

import statistics
from collections.abc import Callable, Iterator

import torch

from bench._subjects import Subject, subject
from bench._table import show
from bench._timing import fair, ratio

EPSILON, STEPS = 8 / 255, 5
OURS = "gazeshift Pgd"
LEVEL = 0.97  # how near counts as level, on a machine whose ratios differ by some per cent from round to round


def main(models: list[str], batch: int, rounds: int) -> None:
    """A table for each model."""
    for name in models or ["efficientnet_lite0", "resnet50"]:
        model = subject(name, batch)
        seconds = fair(dict(_attacks(model)), rounds)
        rows = [
            [attack, f"{batch / statistics.median(taken):.2f}", str(ratio(taken, seconds[OURS]))]
            for attack, taken in seconds.items()
        ]
        rates = {attack: ratio(taken, seconds[OURS]).median for attack, taken in seconds.items() if attack != OURS}
        show(
            f"{name}, PGD of {STEPS} steps, batch of {batch}",
            ["", "images a second", "our rate to theirs"],
            rows,
            *(
                f"our rate to that of {attack} {rate:.2f}, at least level: {'met' if rate >= LEVEL else 'NOT MET'}"
                for attack, rate in rates.items()
            ),
        )


def _attacks(model: Subject) -> Iterator[tuple[str, Callable[[], object]]]:
    from gazeshift.attacks.pgd import Pgd

    images, classifier = model.images, model.classifier
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    pgd = Pgd(epsilon=EPSILON, step=EPSILON / 4, steps=STEPS)
    yield OURS, lambda: pgd(classifier, images, labels, generator=torch.Generator().manual_seed(0))
    try:
        import foolbox

        wrapped = foolbox.PyTorchModel(classifier, bounds=(0, 1))
        linf = foolbox.attacks.LinfPGD(abs_stepsize=EPSILON / 4, steps=STEPS, random_start=True)
        yield "Foolbox LinfPGD", lambda: linf.run(wrapped, images, labels, epsilon=EPSILON)
    except ImportError as cause:
        print(f"Foolbox is left out ({cause}).")
    try:
        import torchattacks

        theirs = torchattacks.PGD(classifier, eps=EPSILON, alpha=EPSILON / 4, steps=STEPS, random_start=True)
        yield "torchattacks PGD", lambda: theirs(images, labels)
    except ImportError as cause:
        print(f"torchattacks is left out ({cause}): make bench installs it.")
