"""Whatever enters is handled as a person would expect, or refused in one sentence of ours, alike at every entrance."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import gazeshift as gs
from gazeshift import cli
from gazeshift.detectors.feature_squeezing import FeatureSqueezing
from gazeshift.errors import GazeshiftError
from gazeshift.seeds import generator_for
from helpers.kinds import KINDS, SIZE, Kind, P, classifier, levels, picture

EPSILON = 8 / 255


def judged(model: Any, images: Any, labels: Any) -> Any:
    """A verdict by a detector that is fitted to any model by nothing but its name."""
    detector = FeatureSqueezing()
    card = json.loads(json.dumps(model.card())) if isinstance(model, gs.Classifier) else {}
    size = getattr(model, "size", None) or (SIZE, SIZE)
    layers = detector.layers(model.layers(size)) if isinstance(model, gs.Classifier) else ()
    deployed = gs.CalibratedDetector(
        name="feature_squeezing",
        detector=detector,
        model=card,
        layers=layers,
        scores=torch.arange(100.0),
        false_alarms=0.05,
        fitted_on=(),
        calibrated_on=(),
    )
    return gs.judge(model, images, deployed, generator=generator_for(0, "kinds"))


ENTRANCES: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "attack": lambda model, images, labels: gs.attack(model, images, labels, by=f"fgsm:epsilon={EPSILON}"),
    "look": lambda model, images, labels: gs.look(model, images, target=labels),
    "detector_inputs": lambda model, images, _: gs.detector_inputs(
        model, images, FeatureSqueezing(), generator=generator_for(0, "kinds")
    ),
    "judge": judged,
    "preflight": gs.preflight,
}


def named(kinds: list[Kind]) -> list[Any]:
    return [pytest.param(kind, id=f"{kind.group}: {kind.what}") for kind in kinds]


def brought(kind: Kind) -> tuple[Any, Any, Any]:
    """Classifier, images and labels with this kind among them; a classifier may be refused while it is made."""
    labels = torch.tensor([0, 1, 2])
    made = kind.make() if kind.group == "models" else classifier()
    shape = (getattr(made, "channels", 3), *(getattr(made, "size", None) or (SIZE, SIZE)))
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    if kind.group == "images":
        images = kind.make(images)
    if kind.group == "labels":
        labels = kind.make(labels)
    return made, images, labels


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("kind", named([kind for kind in KINDS if kind.group in ("models", "images", "labels")]))
@pytest.mark.filterwarnings("ignore:.*(quantiz|TorchScript|torch.jit|enable_nested_tensor|lazy):Warning")
def test_every_kind_at_every_entrance(kind: Kind, entrance: str) -> None:
    if not kind.refused or entrance not in kind.at:
        check_answer(entrance, *brought(kind))
        return
    with pytest.raises(GazeshiftError) as told:
        ENTRANCES[entrance](*brought(kind))
    sentence = str(told.value)
    assert kind.refused in sentence
    assert "\n" not in sentence
    assert len(sentence) < 500


def check_answer(entrance: str, model: Any, images: Any, labels: Any) -> None:
    """What came back is what the plain float32 batch would have given."""
    found = ENTRANCES[entrance](model, images, labels)
    plain = model.prepare(images).detach().float().clone()
    with torch.no_grad():
        logits = model(plain)
    if entrance == "attack":
        moved = (found.images.double() - found.clean.double()).abs().amax((1, 2, 3))
        assert found.images.dtype == (images.dtype if isinstance(images, torch.Tensor) else found.images.dtype)
        assert (moved <= EPSILON + 1e-7).all()
        assert (moved > 0.9 * EPSILON).all()
        torch.testing.assert_close(found.clean_logits, logits, rtol=0.02, atol=0.02)
        return
    evidence = {"look": lambda: found, "detector_inputs": lambda: found.own, "judge": lambda: found.seen.own}.get(
        entrance
    )
    if evidence:
        torch.testing.assert_close(evidence().logits, logits, rtol=0.05, atol=0.05, equal_nan=True)
        undefined = logits.isnan().any()
        assert all(maps.isnan().any() == undefined for one in evidence().traces.values() for maps in one.maps.values())
        assert entrance != "judge" or not undefined or found.is_attack.all()
    else:
        assert all(finding.level in ("ok", "note") for finding in found)


@pytest.mark.parametrize("kind", named([kind for kind in KINDS if kind.group == "files"]))
def test_every_kind_of_file(kind: Kind, tmp_path: Path) -> None:
    place = kind.make(tmp_path)
    if not kind.refused:
        image = gs.read_image(place, P)
        assert image.shape == (3, SIZE, SIZE)
        assert 0 <= image.min() <= image.max() <= 1
        return
    with pytest.raises(GazeshiftError) as told:
        gs.read_image(place, P)
    assert kind.refused in str(told.value)
    assert str(place) in str(told.value)


@pytest.mark.parametrize("kind", named([kind for kind in KINDS if kind.group in ("weights", "folders")]))
def test_every_kind_of_weights_and_folder(kind: Kind, tmp_path: Path) -> None:
    if not kind.refused:
        found = kind.make(tmp_path)
        assert len(found(torch.rand(1, 3, 32, 32))[0] if kind.group == "weights" else found) in (5, 1, 2)
        return
    with pytest.raises(GazeshiftError) as told:
        kind.make(tmp_path)
    assert kind.refused in str(told.value)
    assert "\n" not in str(told.value)


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "look": ("look",),
    "attack": ("attack", "fgsm", "--images"),
    "study": ("study", "deviation", "--attack", "fgsm", "--images"),
    "detect": ("detect", "fit", "--detector", "feature_squeezing", "--false-alarms", "0.5", "--images"),
}
REFUSING = {
    "look": "look",
    "attack": "attack",
    "study": "look",
    "detect": "look",
}  # which entrance a command begins with
ONCE = [kind for kind in KINDS if kind.group == "models" and kind.refused and "nn.Module" not in kind.what]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for at in range(3):
        picture(levels(SIZE, SIZE, 3)).save(folder / f"{at}.png")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", named(ONCE))
@pytest.mark.filterwarnings("ignore:.*(quantiz|TorchScript|torch.jit|enable_nested_tensor|lazy):Warning")
def test_the_command_line_refuses_the_same(
    kind: Kind, command: str, photographs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make = f"def made():\n    return KINDS[{KINDS.index(kind)}].make()\n"
    (tmp_path / "own.py").write_text(f"from helpers.kinds import KINDS\n\n\n{make}")
    given = (*COMMANDS[command], str(photographs), "--model", f"module:{tmp_path / 'own.py'}:made")
    with pytest.raises(SystemExit) as ended:
        cli.main([*given, "--out", str(tmp_path / "out")])
    told = capfd.readouterr().err
    if REFUSING[command] in kind.at or "preflight" in kind.at:
        assert ended.value.code == 2, told
        last = told.strip().splitlines()[-1]
        assert last.startswith("gazeshift: ")
        assert kind.refused in last
        assert "Traceback" not in told
    else:
        assert ended.value.code == 0, told


SETTINGS: Mapping[str, Callable[[Any, Any], Any]] = {
    "no attack": lambda model, images: gs.attack(model, images, by=3),
    "an attack's class": lambda model, images: gs.attack(model, images, by=FeatureSqueezing),
    "an unknown attack": lambda model, images: gs.attack(model, images, by="pgdd"),
    "no layers": lambda model, images: gs.look(model, images, layers=3),
    "empty layers": lambda model, images: gs.look(model, images, layers=[]),
    "an unknown layer": lambda model, images: gs.look(model, images, layers="layer9"),
    "no CAM": lambda model, images: gs.look(model, images, cams=None),
    "an unknown CAM": lambda model, images: gs.look(model, images, cams="gradcam"),
    "an unknown score": lambda model, images: gs.look(model, images, score="loss"),
    "generators for other images": lambda model, images: gs.attack(model, images, generator=[torch.Generator()]),
    "a seed for a generator": lambda model, images: gs.attack(model, images, generator=3),
    "tensors to compare": lambda _, images: gs.compare(images, images),
    "looks at other layers": lambda model, images: gs.compare(gs.look(model, images), gs.look(model, images[:1])),
    "no measure": lambda model, images: gs.compare(gs.look(model, images), gs.look(model, images), measures=3),
    "a folder for a detector": lambda model, images: gs.judge(model, images, "detector"),
    "no model": lambda *_: gs.load(3),
    "an unknown model": lambda *_: gs.load("resnet50"),
    "a text as class names": lambda *_: gs.Classifier(torch.nn.Flatten(), name="toy", class_names="cat"),
    "a dict as preprocessing": lambda *_: gs.Classifier(torch.nn.Flatten(), name="toy", preprocessing={"crop": 3}),
    "no images at all": lambda model, images: gs.preflight(model, images[:0]),
    "a folder that is not there": lambda *_: gs.open_source("nowhere"),
    "a number as a folder": lambda *_: gs.open_source(3),
    "nothing as a file": lambda *_: gs.read_image(None),
}


@pytest.mark.parametrize("call", SETTINGS.values(), ids=SETTINGS)
def test_what_is_no_setting(call: Callable[[Any, Any], Any]) -> None:
    images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with pytest.raises(GazeshiftError) as told:
        call(classifier(), images)
    assert "\n" not in str(told.value)
