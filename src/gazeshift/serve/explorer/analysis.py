"""What the explorer shows of an image: answers, maps of every layer, a verdict, and the same of an attacked one."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import attacked_levels
from gazeshift.errors import BoundsError, check_known
from gazeshift.models import Classifier
from gazeshift.pipeline import attack, compare, judge, look, rows_of
from gazeshift.records import Attacked, Comparison, Evidence, Verdict
from gazeshift.registry import build
from gazeshift.runs.parts import cam_specs
from gazeshift.seeds import generator_for
from gazeshift.transforms.bit_depth import BitDepth

CAMS = tuple(name for name in cam_specs(["all"]) if name != "cam")  # which most layers do not define
ATTACKS = ("fgsm", "pgd")
MAX_LEVELS, MAX_STEPS = 16, 40
PREDICTED, REFERENCE = "predicted", "reference"


@dataclass(frozen=True, kw_only=True)
class AttackRequest:
    """An attack as the page asks for it, within bounds that keep it short.

    Args:
        name: ``fgsm`` or ``pgd``.
        levels: epsilon in steps of 1/255, 0 to 16; 0 changes nothing.
        steps: of PGD, 1 to 40.

    Raises:
        UnknownNameError: another attack.
        BoundsError: a number out of range.
    """

    name: str = "pgd"
    levels: int = 4
    steps: int = 10

    def __post_init__(self) -> None:
        check_known(self.name, ATTACKS, f"the explorer has no attack '{self.name}'")
        for what, number, minimum, maximum in (
            ("epsilon", self.levels, 0, MAX_LEVELS),
            ("steps", self.steps, 1, MAX_STEPS),
        ):
            if not minimum <= number <= maximum:
                unit = "/255" if what == "epsilon" else ""
                raise BoundsError(f"{what} must be from {minimum} to {maximum}{unit}, got {number}. Move the slider.")

    @property
    def epsilon(self) -> float:
        """Largest change of a value, in [0, 1] units."""
        return self.levels / 255

    def __call__(self, model: Classifier, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        """The attacked images as 8-bit files hold them, within epsilon."""
        if not self.levels:
            return images
        settings = {"steps": self.steps} if self.name == "pgd" else {}
        made = build("attacks", self.name, epsilon=self.epsilon, **settings)(model, images, labels, generator=generator)
        return attacked_levels(images, made, norm="linf", epsilon=self.epsilon).to(images) / 255


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What the model and its detector say of an image and, if it was attacked, of the attacked version.

    Args:
        targets: which class the maps explain, to the evidence of one or two images, clean first: each one's own
            (``predicted``); and if the class switched, the clean image's of both (``reference``).
        verdict: on each, or None without a detector.
        attack_request: the attack, or None.
        attacked: what it made, or None.
        moved: target to how far each map of the attacked version lies from the clean one's; empty without an attack.
        seed: repeats all of it.
    """

    targets: dict[str, Evidence]
    verdict: Verdict | None
    attack_request: AttackRequest | None = None
    attacked: Attacked | None = None
    moved: dict[str, Comparison] = field(default_factory=dict)
    seed: int = 0

    @property
    def evidence(self) -> Evidence:
        """Each image explained for its own class."""
        return self.targets[PREDICTED]


def analyse(
    classifier: Classifier,
    deployed: CalibratedDetector | None,
    image: Float[Tensor, "channels h w"],
    *,
    seed: int,
    attack_request: AttackRequest | None = None,
) -> Analysis:
    """Look at an image, and at its attacked version, with all maps; and judge both.

    Everything is seen as an 8-bit file holds it, so that a picture saved from the page gets the same answers.

    Args:
        classifier: the model.
        deployed: a detector for it, or None.
        image: in [0, 1].
        seed: of the attack's start and the detector's views.
        attack_request: how to attack it; None leaves it alone.
    """
    images, attacked = BitDepth(bits=8)(image[None].to(classifier.device)), None
    if attack_request is not None:
        attacked = attack(classifier, images, by=attack_request, generator=generator_for(seed, "attack"))
        images = torch.cat([images, attacked.images])
    targets = {PREDICTED: look(classifier, images, cams=CAMS)}
    predicted = targets[PREDICTED].predicted
    if (predicted != predicted[:1]).any():
        targets[REFERENCE] = look(classifier, images, cams=CAMS, target=predicted[:1].repeat(len(images)))
    draws = [generator_for(seed, "views") for _ in images]  # the same views of both, so that they can be compared
    return Analysis(
        targets=targets,
        verdict=None if deployed is None else judge(classifier, images, deployed, generator=draws),
        attack_request=attack_request,
        attacked=attacked,
        moved={name: _moved(one) for name, one in targets.items()} if attack_request is not None else {},
        seed=seed,
    )


def _moved(evidence: Evidence) -> Comparison:
    first, second = (rows_of(evidence, slice(at, at + 1)) for at in (0, 1))
    return compare(first, second, measures="cosine")
