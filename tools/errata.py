"""Shows the evidence for docs/errata.md: ``python tools/errata.py`` for all of it, or the names of some.

Each function computes from the paper's printed numbers, or replays an arithmetic on made-up data, and gives lines of
text. Only ``mean-shift`` looks at photographs: the demo's, with the model that the package brings.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from gazeshift.data import demo_images
from gazeshift.measures.cosine import Cosine
from gazeshift.measures.nissim import Nissim
from gazeshift.measures.vid import Vid
from gazeshift.models import load, select, trace
from gazeshift.pipeline import attack, compare, look
from gazeshift.registry import build
from gazeshift.seeds import generator_for
from gazeshift.transforms.strength import Strengths

# Accuracies in percent as printed in Chakraborty et al. 2022: five models at five epsilons.
TABLE_1 = (
    *(91.89, 91.55, 90.87, 89.86, 89.86, 90.54, 91.89, 88.51, 78.04, 70.60, 90.87, 92.22, 89.18, 75.33, 61.82),
    *(88.51, 88.51, 57.09, 35.13, 25.33, 92.56, 92.56, 81.41, 69.59, 56.41),
)
TABLE_2 = (
    *(87.54, 85.60, 85.21, 84.82, 84.43, 94.16, 94.55, 90.66, 85.21, 75.09, 93.38, 93.38, 87.15, 84.82, 77.43),
    *(85.21, 84.82, 66.92, 47.85, 29.96, 89.49, 90.27, 71.20, 59.14, 45.13),
)
# Ding et al. 2022: confidences in percent, before > after, of the rows whose label is the same; the printed means.
ROWS = {
    "Table 8": (
        "95.10>98.37 47.62>62.43 78.84>88.14 99.12>99.10 61.83>97.89 78.38>79.32 80.22>77.62 92.53>92.45",
        "90.42>95.23 50.38>61.63 77.28>83.62 84.53>82.68 89.17>90.63 99.86>99.93 98.12>96.83",
        (7.710, 2.970),
    ),
    "Table 10": (
        "95.10>97.59 47.62>73.50 78.84>74.58 99.12>99.85 61.83>43.71 78.38>77.49 80.22>79.18 92.53>92.55",
        "90.42>77.46 89.17>90.00 99.86>95.81 98.12>95.73",
        (-0.601, -4.650),
    ),
    "Table 11": (
        "95.10>70.59 47.62>43.66 78.84>43.67 99.12>75.14 61.83>43.87 78.38>22.40 80.22>60.92",
        "90.42>41.27 50.38>43.85 84.53>52.46 20.44>6.17 89.17>90.63",
        (-25.79, -4.656),
    ),
    "Table 12": (
        "99.51>98.81 90.94>66.17 98.09>95.60 85.19>80.12 99.77>99.24 94.90>94.86 89.64>88.67 99.92>90.20",
        "55.10>49.49 72.13>56.50 88.98>89.90 60.23>58.00 23.30>10.15 10.29>2.05 99.96>79.01 13.99>13.17",
        (-5.523, -8.221),
    ),
}


def strengths() -> Iterator[str]:
    """What the released loop made of the nominal strengths."""
    released = Strengths(arithmetic="released")
    for nominal, attacked, base in zip(released.values, released.coefficients, released.bases, strict=True):
        yield f"strength {nominal:g}: {attacked:+g} of the perturbation; under the noise {base:+g} of it"


def truncation() -> Iterator[str]:
    """What a cast to 8 bit leaves of a perturbation of RMS 0.125 to 0.5 grey levels."""
    generator = generator_for(0, "truncation")
    seed = torch.randint(20, 236, (200_000,), generator=generator).double()
    uniform = torch.rand(seed.shape, generator=generator, dtype=torch.float64) - 0.5
    laplace = -uniform.sign() * (1 - 2 * uniform.abs()).log() / math.sqrt(2)  # of RMS 1
    for rms in (0.125, 0.25, 0.5):
        change = rms * laplace
        cut, rounded = (seed + change).floor() - seed, (seed + change).round() - seed
        yield (
            f"RMS {rms:g}: cut off to 8 bit RMS {cut.square().mean().sqrt():.2f}, mean {cut.mean():+.2f}; rounded, "
            f"{100 * (rounded != 0).double().mean():.1f} % of the values change"
        )


def chance() -> Iterator[str]:
    """How often noise itself counts as compromised."""
    first, second = np.random.default_rng(0).beta(8, 2, (2, 100_000))
    share = (first < np.median(second)).mean()
    yield f"two samples of one distribution: compromise probability {share:.3f}, so that 0.4 is below chance"


def jet() -> Iterator[str]:
    """How alike two maps look once they are coloured pictures, when they share nothing."""
    rows, columns = torch.meshgrid(torch.arange(56.0), torch.arange(56.0), indexing="ij")
    for sigma in (2, 5, 10):
        spread = ((rows - 28) ** 2) / (2 * sigma**2)
        first, second = (torch.exp(-spread - (columns - at) ** 2 / (2 * sigma**2)) for at in (12.0, 44.0))
        raw, coloured = (float(Cosine(space=space)(first[None], second[None])) for space in ("raw", "jet"))
        yield f"two blobs of sigma {sigma} in 56 pixels, 32 apart: cosine {raw:.2f}, of the jet pictures {coloured:.2f}"


def noisecam() -> Iterator[str]:
    """How far NoiseCAM differs from Grad-CAM++ at VGG-16's block2_conv1, by the weights' normalisation."""
    torch.manual_seed(0)
    classifier = load("torchvision:vgg16", weights="random", device="cpu")
    image = torch.nn.functional.interpolate(
        torch.rand((1, 3, 14, 14), generator=generator_for(0, "image")), (224, 224), mode="bicubic"
    ).clamp(0, 1)
    layer = select(classifier.layers((224, 224)), "block2_conv1", classifier.name)
    _, _, found = trace(classifier, image, layer, lambda _, a, g: (a.double(), g.double()))
    activations, gradients = next(iter(found.values()))
    for norm in ("none", "all", "positive"):
        weights = _weights(activations, gradients, norm)
        ratio = weights.mean() / gradients.clamp_min(0).mean()
        plus = (weights[..., None, None] * activations).sum(1)
        noise = plus - (gradients.clamp_min(0) * activations).sum(1)
        alike = torch.corrcoef(torch.stack([plus.flatten(), noise.flatten()]))[0, 1]
        yield (
            f"{norm}: mean weight {ratio:.3g} times the mean positive gradient; correlation with Grad-CAM++ "
            f"{alike:.4f}; {100 * (noise <= 0).double().mean():.0f} % of the map is blank"
        )


def _weights(activations: torch.Tensor, gradients: torch.Tensor, norm: str) -> torch.Tensor:
    """Channel weights of SPEC section 8.1 as printed there, in float64."""
    total = activations.sum((2, 3), keepdim=True)
    below = 2 * gradients**2 + total * gradients**3
    alpha = gradients**2 / torch.where(below == 0, 1.0, below)
    if norm != "none":
        part = alpha if norm == "all" else alpha * (gradients > 0)
        whole = part.sum((2, 3), keepdim=True)
        alpha = alpha / torch.where(whole == 0, 1.0, whole)
    return (alpha * gradients.clamp_min(0)).sum((2, 3))


def nissim() -> Iterator[str]:
    """Ends of NISSIM, and what unrelated maps have."""
    generator = generator_for(0, "nissim")
    first, second = (
        torch.nn.functional.interpolate(torch.rand((64, 1, 7, 7), generator=generator), (224, 224), mode="bilinear")[
            :, 0
        ]
        for _ in range(2)
    )
    yield f"a map with itself: {float(Nissim()(first, first).max()):.3f}, so the interval is closed at 0"
    yield f"unrelated maps of 7 x 7 pixels: {float(Nissim()(first, second).mean()):.2f}"


def mean_shift() -> Iterator[str]:
    """MOD at the last layer for FGSM and for random signs of the same size; EfficientNet-Lite0, the 20 demo images."""
    classifier = load("efficientnet_lite0", device="cpu")
    batch = demo_images().read(0, 20, classifier.preprocessing)
    last = select(classifier.layers((224, 224)), "trunk", classifier.name)[-1].name
    clean = look(classifier, batch.images, layers=last)
    drawn = [torch.randint(0, 2, batch.images.shape[1:], generator=generator_for(0, own)) for own in batch.ids]
    for epsilon in (0.01, 0.1):
        attacked = attack(classifier, batch.images, batch.labels, by=build("attacks", "fgsm", epsilon=epsilon)).images
        signs = (batch.images + epsilon * (2.0 * torch.stack(drawn) - 1)).clamp(0, 1)
        found = [look(classifier, images, layers=last) for images in (attacked, signs)]
        mods = [float(compare(clean, one, measures="nissim").table("nissim").mean()) for one in found]
        right = [int((one.predicted == batch.labels).sum()) for one in (clean, *found)]
        yield (
            f"epsilon {epsilon:g}: MOD {mods[0]:.3f} by FGSM, {mods[1]:.3f} by random signs, which is "
            f"{100 * mods[1] / mods[0]:.0f} % of it; classified right: {right[0]} clean, {right[1]} and {right[2]}"
        )


def vid() -> Iterator[str]:
    """Formula and text of VID differ."""
    values = np.array([[0.1, 0.3]])
    yield f"NISSIM 0.1 and 0.3: by the formula {Vid()(values)[0]:.2f} (deviation), by the text {values.var():.2f}"


def test_sets() -> Iterator[str]:
    """The smallest test sets that give all 25 printed accuracies."""
    for name, printed in (("Table 1", TABLE_1), ("Table 2", TABLE_2)):
        size = next(n for n in range(1, 2000) if all(_is_share(value, n) for value in printed))
        yield f"{name}: {size} images"


def _is_share(percent: float, n: int) -> bool:
    """Whether the percentage is k / n, rounded or cut off to two decimals."""
    return any(abs(100 * k / n - percent) <= 0.01 for k in (round(percent * n / 100) + d for d in (-1, 0, 1)))


def feature_maps() -> Iterator[str]:
    """The published differences are no root mean squares."""
    gap = 1148.25 - 1108.30
    yield f"pool_1_pad_35 - activation_1_35 = {gap:.2f}: zeros all around cannot raise a root mean square"
    yield f"{gap:.2f} over the {114**2 - 112**2} zeros is {gap / (114**2 - 112**2):.5f}; 1/sqrt(128) = {128**-0.5:.5f}"
    yield f"the largest over their pixels: {1148.25 / 114**2:.5f} and {1108.30 / 112**2:.5f}"
    yield f"by equation 4 the padded map has {112 / 114:.4f} of the other's value"


def change_statistics() -> Iterator[str]:
    """The statistics under Ding's tables, from their rows."""
    for name, (clean, attacked, printed) in ROWS.items():
        means = [_mean_change(rows.split()) for rows in (clean, attacked)]
        shown = ", ".join(f"{kind} {mean:+.3f}" for kind, mean in zip(("clean", "adversarial"), means, strict=True))
        yield f"{name}: {shown}; printed {printed[0]:+.3f} and {printed[1]:+.3f}"


def _mean_change(rows: Sequence[str]) -> float:
    pairs = [row.split(">") for row in rows]
    return sum(float(after) - float(before) for before, after in pairs) / len(rows)


def detector() -> Iterator[str]:
    """The binary detector's epochs and its area under the curve."""
    yield f"47000 steps of 32 images are {47000 / (50000 / 32):.1f} epochs of 50,000"
    yield f"mean of 98.42 % and 99.07 %: {(98.42 + 99.07) / 2:.3f} %, the published area under the curve"


EVIDENCE: Mapping[str, Callable[[], Iterator[str]]] = {
    "strengths": strengths,
    "truncation": truncation,
    "chance": chance,
    "jet": jet,
    "noisecam": noisecam,
    "nissim": nissim,
    "mean-shift": mean_shift,
    "vid": vid,
    "test-sets": test_sets,
    "feature-maps": feature_maps,
    "change-statistics": change_statistics,
    "detector": detector,
}


def main(wanted: Sequence[str]) -> None:
    """Print the evidence of these names, or all."""
    unknown = [name for name in wanted if name not in EVIDENCE]
    if unknown:
        sys.exit(f"no evidence named '{unknown[0]}'. Known: {', '.join(EVIDENCE)}.")
    for name in wanted or EVIDENCE:
        print(f"{name}: {(EVIDENCE[name].__doc__ or '').strip()}")
        for line in EVIDENCE[name]():
            print(f"  {line}")


if __name__ == "__main__":
    main(sys.argv[1:])
