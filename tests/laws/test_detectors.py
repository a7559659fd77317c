"""What every detector must do. A new file in detectors/ is tested here by itself."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import helpers.networks
from gazeshift import registry
from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors import SaysWhy, calibrate
from gazeshift.pipeline import detector_inputs, rows_of
from gazeshift.records import DetectorInput
from gazeshift.seeds import generator_for
from helpers.fake_mps import fake_mps
from helpers.networks import CLASSES, Plain, classifier_of, images_of, seeded

TINY = f"module:{helpers.networks.__file__}:Plain"
SUPERVISED = ("Binary",)  # cannot learn without adversarial images
# Settings that make a part quick or complete, and settings beside these under which the laws must hold too.
NEEDED: dict[str, dict[str, Any]] = {
    "behaviour_deviation": {"noise_images": 20},
    "binary": {"network": TINY, "epochs": 2},
    "pytorch_ood": {"settings": {"k": 3}},
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "behaviour_deviation": [{"rule": "median", "by": "z"}, {"cleaning": "joint_rows", "by": "p_value"}],
    "stability": [
        {"side": "both"},
        {
            "features": ("grad_cam", "layer_cam", "grad_cam_norm", "layer_cam_norm", "logits"),
            "shifts": 0,
            "others": "blur",
        },
    ],
    "confidence": [{"by": "energy"}, {"by": "entropy"}, {"by": "margin"}],
    "feature_squeezing": [{"squeezers": ("shift", "jpeg")}],
    "mahalanobis": [{"at": "trunk"}, {"at": "convs", "per_class": 3}],
    "noisecam_dbscan": [{"binarise": "absolute"}, {"factor": "logit", "binarise": "otsu"}, {"grid": "native"}],
    "pytorch_ood": [{"name": "KLMatching", "settings": {}}, {"name": "GMM", "settings": {}}],
}
CASES = [
    pytest.param(registry.build("detectors", name, **NEEDED.get(name, {}) | more), id=f"{name} {more}")
    for name in registry.names("detectors")
    for more in [{}, *VARIANTS.get(name, [])]
]


@pytest.fixture(params=CASES)
def detector(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def classifier() -> Any:
    return classifier_of(seeded(Plain))


def generators(n: int, start: int = 0) -> list[torch.Generator]:
    return [generator_for(0, "law", str(at)) for at in range(start, start + n)]


def seen(classifier: Any, detector: Any, images: Any, start: int = 0) -> DetectorInput:
    return detector_inputs(classifier, images, detector, generator=generators(len(images), start))


def fitted(classifier: Any, detector: Any) -> Any:
    clean, others = (detector.measure(seen(classifier, detector, images_of(24, seed=seed))) for seed in (5, 6))
    return detector.fit(clean, others if type(detector).__name__ in SUPERVISED else None)


def scored(classifier: Any, detector: Any, images: Any, start: int = 0) -> Any:
    return detector.score(detector.measure(seen(classifier, detector, images, start)))


def test_is_frozen_settings(detector: Any) -> None:
    assert dataclasses.is_dataclass(detector)
    field = dataclasses.fields(detector)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(detector, field, None)


def test_asks_for_layers_and_maps_that_there_are(detector: Any, classifier: Any) -> None:
    known = classifier.layers((16, 16))
    wanted = detector.layers(known)
    assert wanted
    assert set(wanted) <= {layer.name for layer in known}
    assert all(callable(registry.build("cams", name)) for name in detector.cams)


def test_views_are_images_and_repeat_themselves(detector: Any) -> None:
    images = images_of()
    before = images.clone()
    first, again = (detector.views(images, generator=generators(4)) for _ in range(2))
    assert len(first) == len(again)
    for one, two in zip(first, again, strict=True):
        assert one.shape == images.shape
        assert one.min() >= 0
        assert one.max() <= 1
        assert torch.equal(one, two)
    assert torch.equal(images, before)


def test_views_are_explained_for_the_class_of_the_image(detector: Any, classifier: Any) -> None:
    found = seen(classifier, detector, images_of(4))
    assert all(torch.equal(view.explained, found.own.predicted) for view in found.views)


def test_one_score_for_each_image_whatever_its_company(detector: Any, classifier: Any) -> None:
    images, learned = images_of(5), fitted(classifier, detector)
    together = scored(classifier, learned, images)
    assert together.shape == (5,)
    assert together.isfinite().all()
    alone = [scored(classifier, learned, images[at : at + 1], at).item() for at in range(5)]
    torch.testing.assert_close(together.double(), torch.tensor(alone).double(), atol=1e-3, rtol=1e-3)


def test_no_images_have_no_scores(detector: Any, classifier: Any) -> None:
    learned = fitted(classifier, detector)
    measured = learned.measure(seen(classifier, learned, images_of(1)[:0]))
    assert measured.shape == (0, learned.measure(seen(classifier, learned, images_of(1))).shape[1])
    assert learned.score(measured).shape == (0,)
    if isinstance(learned, SaysWhy):
        assert learned.reasons(measured).shape[:2] == (0, len(learned.names))


def test_fitting_leaves_the_detector_as_it_was(detector: Any, classifier: Any) -> None:
    before, state = dataclasses.asdict(detector), torch.get_rng_state()
    learned = fitted(classifier, detector)
    assert type(learned) is type(detector)
    assert dataclasses.asdict(detector) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("where", [torch.no_grad, torch.inference_mode])
def test_learns_and_scores_wherever_it_is_called(detector: Any, classifier: Any, where: Any) -> None:
    expected = scored(classifier, fitted(classifier, detector), images_of(5))
    with where():
        found = scored(classifier, fitted(classifier, detector), images_of(5))
    assert torch.equal(found, expected)


def test_a_file_of_it_scores_as_it_does(detector: Any, classifier: Any, tmp_path: Path) -> None:
    learned = fitted(classifier, detector)
    measured = learned.measure(seen(classifier, learned, images_of(5)))
    CalibratedDetector(
        name=type(detector).__module__.rpartition(".")[2],
        detector=learned,
        model=classifier.card(),
        layers=tuple(detector.layers(classifier.layers((16, 16)))),
        scores=torch.arange(19.0),
        false_alarms=0.1,
        fitted_on=(),
        calibrated_on=(),
    ).save(tmp_path)
    again = CalibratedDetector.load(tmp_path).detector
    assert again == learned  # the settings
    assert torch.equal(again.score(measured), learned.score(measured))


def test_what_is_measured_of_an_image_is_its_own(detector: Any, classifier: Any) -> None:
    whole = seen(classifier, detector, images_of(12, seed=5))
    parts = [
        DetectorInput(own=own, views=tuple(views))
        for own, *views in ((rows_of(one, slice(at, at + 1)) for one in (whole.own, *whole.views)) for at in range(12))
    ]
    together = detector.measure(whole)
    assert together.dtype == torch.float64
    torch.testing.assert_close(torch.cat([detector.measure(part) for part in parts]), together, atol=1e-6, rtol=1e-6)


def test_a_device_without_float64_gives_the_same_scores(detector: Any, classifier: Any) -> None:
    learned, images = fitted(classifier, detector), images_of(5)
    wanted = scored(classifier, learned, images)
    with fake_mps():
        moved = classifier_of(seeded(Plain)).to("mps")
        measured = learned.measure(seen(moved, learned, images.to("mps")))
        assert measured.device.type == "cpu"
        torch.testing.assert_close(learned.score(measured), wanted, atol=1e-4, rtol=1e-4)


class AnyChannels(nn.Module):
    """A small network for images of so many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.norm(self.second(self.first(images).relu())).relu()
        return self.head(maps.mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_have_any_number_of_channels_and_are_rectangles(detector: Any, channels: int) -> None:
    classifier = classifier_of(seeded(lambda: AnyChannels(channels)))

    def drawn(seed: int, n: int) -> torch.Tensor:
        coarse = torch.rand((n, channels, 4, 5), generator=generator_for(seed, "channels"))
        return nn.functional.interpolate(coarse, (10, 14), mode="bicubic").clamp(0, 1)

    clean = detector.measure(seen(classifier, detector, drawn(5, 20)))
    learned = detector.fit(clean, clean.flip(0) if type(detector).__name__ in SUPERVISED else None)
    scores = scored(classifier, learned, drawn(7, 5))
    assert scores.shape == (5,)
    assert scores.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_images_have_half_views_and_are_scored_as_they_are_in_float32(
    detector: Any, classifier: Any, dtype: torch.dtype
) -> None:
    learned, images = fitted(classifier, detector), images_of(5).to(dtype)
    halves, wholes = (learned.views(one, generator=generators(5)) for one in (images, images.float()))
    for half, whole in zip(halves, wholes, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), whole, atol=torch.finfo(dtype).eps, rtol=0)
    found = seen(classifier, learned, images)
    assert learned.measure(found).dtype == torch.float64
    assert learned.score(learned.measure(found)).isfinite().all()


def test_an_attacker_has_a_gradient_through_the_views(detector: Any) -> None:
    """A black border, as of a picture that was padded, has components and differences of nothing."""
    images = images_of(2)
    images[..., :5, :] = 0
    images.requires_grad_()
    views = detector.views(images, generator=generators(2))
    if not views:
        pytest.skip("looks at the image alone")
    (found,) = torch.autograd.grad(sum(view.square().sum() for view in views), images)
    assert found.isfinite().all()
    assert (found[..., 5:, :] != 0).double().mean() > 0.3


def test_false_alarms_on_fresh_clean_images_stay_under_the_rate(detector: Any, classifier: Any) -> None:
    learned = fitted(classifier, detector)
    scores = scored(classifier, learned, images_of(80, seed=9))
    rates = []
    for split in range(60):
        order = torch.randperm(80, generator=generator_for(split, "split"))
        line = calibrate(scores[order[:39]], 0.1)
        rates.append(float((scores[order[39:]] > line).float().mean()))
    assert sum(rates) / len(rates) <= 0.1 + 0.02
