"""Types and devices: float64 is asked for where there is one, and the whole toolkit runs where there is none."""

import re
from pathlib import Path

import pytest
import torch

import gazeshift
from gazeshift import registry
from gazeshift.calibrated import CalibratedDetector
from gazeshift.evasion import DefendedModel
from gazeshift.model_edits.mask_maps import MaskMaps
from gazeshift.model_edits.scale_filters import ScaleFilters
from gazeshift.models import coverage_curve, preflight
from gazeshift.pipeline import attack, compare, detector_inputs, judge, look
from gazeshift.precision import exact, placed, wide
from gazeshift.seeds import each, generator_for, normal, uniform
from gazeshift.serve.gateway.serialize import likeliest
from helpers.fake_mps import OnMps, fake_mps
from helpers.networks import Linear, Plain, Residual, classifier_of, images_of, seeded

SOURCE = Path(gazeshift.__file__).parent
ADAPTERS = ("art", "foolbox", "torchattacks")  # what these do on a device is theirs
ATTACKS = [name for name in registry.names("attacks") if name not in ADAPTERS]
NETWORKS = [Plain, Residual, Linear]
# Files that ask for float64 themselves, because what they hold is on the CPU wherever the model is.
ON_THE_CPU = {
    "attacks/_adapter.py",  # seeds of packages
    "attacks/dlfuzz/choice.py",  # weights of neurons, chosen on the CPU
    "attacks/dlfuzz/loop.py",  # coverage tables
    "attacks/dlfuzz/seed.py",
    "data/_set_verify.py",  # images of files
    "detectors/behaviour_deviation.py",  # what was measured
    "detectors/mahalanobis.py",
    "detectors/noisecam_dbscan.py",
    "detectors/pytorch_ood.py",
    "detectors/stability.py",
    "transforms/jpeg.py",  # tables of numbers
    "enlarged.py",
    "models/_edge.py",  # refuses it
    "models/_neurons.py",  # weights, copied to the CPU
    "models/_preflight.py",  # logits, likewise
    "runs/detector/run.py",  # numbers of tables
    "studies/scorecard/run.py",
}


def test_the_device_that_is_not_there_refuses_what_mps_refuses():
    with fake_mps():
        values = torch.rand(2, 3).to("mps")
        assert isinstance(values, OnMps)
        for wide_one in (values.double, lambda: values.sum(dtype=torch.float64), lambda: values.to(torch.float64)):
            with pytest.raises(TypeError, match="MPS framework doesn't support float64"):
                wide_one()
        with pytest.raises(TypeError, match="MPS framework doesn't support float64"):
            torch.zeros(2, dtype=torch.float64, device="mps")
        with pytest.raises(RuntimeError, match="on the same device, got mps:0 and cpu"):
            values + torch.rand(2, 3)
        with pytest.raises(NotImplementedError, match="not currently implemented for the MPS device"):
            torch.ops.aten._fused_dropout(values, 0.5)
        with pytest.raises(TypeError, match="to numpy"):
            values.numpy()
        assert torch.equal(values.cpu().double().float(), values.cpu())


def test_float64_where_there_is_one_else_on_the_cpu():
    values = torch.tensor([1.5, -2.0])
    assert exact(values).dtype == torch.float64
    assert exact(values.to("meta")).device.type == "meta"
    with fake_mps():
        moved = values.to("mps").requires_grad_()
        found = exact(moved)
        assert (found.device.type, found.dtype, found.tolist()) == ("cpu", torch.float64, [1.5, -2.0])
        (slope,) = torch.autograd.grad(found.square().sum(), moved)
        assert (slope.device.type, slope.dtype, slope.tolist()) == ("mps", torch.float32, [3.0, -4.0])
        assert placed(found.detach(), moved.device).dtype == torch.float32
        assert placed(torch.tensor([7]), moved.device).dtype == torch.int64
    assert placed(exact(values), torch.device("cpu")).dtype == torch.float64


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_types_are_widened_and_others_left(given, wanted):
    values = torch.ones(2, dtype=given)
    assert wide(values).dtype == wanted
    assert (wide(values) is values) == (given == wanted)


def test_nobody_else_asks_for_float64():
    """Of a tensor that may lie on any device: `precision.exact` asks."""
    asks = re.compile(r"\.double\(\)|torch\.(float64|double)\b")
    found = {str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if asks.search(file.read_text())}
    assert found - {"precision.py"} <= ON_THE_CPU


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("differentiable", [False, True])
def test_a_look_and_a_comparison_without_float64(network, differentiable):
    settings = {
        "layers": "*",
        "cams": [*registry.names("cams"), "grad_cam_pp:alpha_norm=all"],
        "differentiable": differentiable,
    }
    measures = {"cosine": registry.build("measures", "cosine"), "jet": registry.build("measures", "cosine:space=jet")}
    others = ("nissim", "ssim", "area", "correlation", "displacement")
    measures |= {name: registry.build("measures", name) for name in others}
    first, second = images_of(3), images_of(3, seed=2)
    known = classifier_of(seeded(network))
    wanted = [look(known, images, **settings) for images in (first, second)]
    with fake_mps():
        found = [look(classifier_of(seeded(network)).to("mps"), images, **settings) for images in (first, second)]
        assert found[0].logits.device.type == "mps"
        assert likeliest(found[0], 0)[0]["class"] == int(found[0].predicted[0])
        for one, other in zip(found, wanted, strict=True):
            for layer in other.layers:
                for cam in other.cams:
                    maps, own = one.maps(layer, cam).detach().cpu(), other.maps(layer, cam).detach()
                    size = max(float(own.nan_to_num().abs().max()), 1e-6)
                    torch.testing.assert_close(maps / size, own / size, atol=1e-4, rtol=0, equal_nan=True)
        moved, still = compare(*found, measures=measures), compare(*wanted, measures=measures)
        for place, values in still.values.items():
            for name, numbers in values.items():
                here = moved.values[place][name].detach().cpu()
                torch.testing.assert_close(here, numbers.detach(), atol=1e-2, rtol=0, equal_nan=True)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_without_float64(name):
    images, labels = images_of(2), torch.tensor([1, 2])
    settings = {"strategies": "0+1+2+3+uniform"} if name == "dlfuzz" else {}
    part = registry.build("attacks", name, **settings)
    wanted = attack(classifier_of(seeded(Plain)), images, labels, by=part)
    with fake_mps():
        found = attack(classifier_of(seeded(Plain)).to("mps"), images, labels, by=part)
        assert found.images.device.type == "mps"
        apart = (found.images.cpu() - wanted.images).abs()
        assert (apart > 1e-4).float().mean() < 0.05  # a sign may turn where a gradient is nothing but rounding


@pytest.fixture(scope="module")
def deployed():
    classifier, detector = classifier_of(seeded(Plain)), registry.build("detectors", "stability", shifts=2)
    draws = [generator_for(0, str(at)) for at in range(40)]
    measured = detector.measure(detector_inputs(classifier, images_of(40, seed=5), detector, generator=draws))
    learned = detector.fit(measured[:20])
    return CalibratedDetector(
        name="stability",
        detector=learned,
        model=classifier.card(),
        layers=detector.layers(classifier.layers((16, 16))),
        scores=learned.score(measured[20:]),
        false_alarms=0.1,
        fitted_on=(),
        calibrated_on=(),
    )


def test_a_verdict_and_an_attack_on_it_without_float64(deployed):
    known, images = classifier_of(seeded(Plain)), images_of(3)
    wanted = judge(known, images, deployed, generator=generator_for(3))
    with fake_mps():
        moved = classifier_of(seeded(Plain)).to("mps")
        verdict = judge(moved, images, deployed, generator=generator_for(3))
        assert verdict.is_attack.tolist() == wanted.is_attack.tolist()
        torch.testing.assert_close(verdict.p_value.cpu(), wanted.p_value)
        torch.testing.assert_close(verdict.suspicion.cpu(), wanted.suspicion, atol=1e-3, rtol=0)
        opponent = DefendedModel(classifier=moved, deployed=deployed)
        knowing = registry.build("attacks", "adaptive", steps=2, opponent=opponent)
        assert attack(moved, images, torch.tensor([0, 1, 2]), by=knowing).images.device.type == "mps"


def test_preflight_without_float64():
    known = classifier_of(seeded(Plain))
    with fake_mps():
        found = preflight(classifier_of(seeded(Plain)).to("mps"), images_of(3))
    assert [one.check for one in found] == [one.check for one in preflight(known, images_of(3))]


@pytest.mark.parametrize("change", ["mask", "filters"])
def test_changes_of_networks_without_float64(change):
    def changed(classifier, images):
        if change == "filters":
            context = ScaleFilters(factor=2.0)(classifier, {"convs.1": [0, 3]})
        else:
            layer = next(layer for layer in classifier.layers((16, 16)) if "conv" in layer.kinds)
            context = MaskMaps()(classifier, {layer: [0, 3]})
        with context as now, torch.no_grad():
            return now(images)

    wanted = changed(classifier_of(seeded(Plain)), images_of(2))
    with fake_mps():
        found = changed(classifier_of(seeded(Plain)).to("mps"), images_of(2).to("mps"))
        torch.testing.assert_close(found.cpu(), wanted, atol=1e-5, rtol=1e-5)


def test_draws_and_curves_come_beside_the_images():
    with fake_mps():
        place = torch.device("mps")
        for kind in (normal, uniform):
            drawn = kind((2, 3), [generator_for(0), generator_for(1)], place)
            assert (drawn.device.type, drawn.dtype) == ("mps", torch.float32)
            assert kind((2, 3), generator_for(0), place).device.type == "mps"
        assert len(each(generator_for(0), 3)) == 3
        curve = coverage_curve(torch.tensor([[True, False], [True, True]]).to("mps"))
        assert curve.tolist() == [0.5, 1.0]
        assert coverage_curve(torch.zeros(0, 2, dtype=torch.bool).to("mps")).shape == (0,)
