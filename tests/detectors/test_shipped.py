"""The detector that comes with the package: bound to the embedded model, and of some use."""

import json
import re
from pathlib import Path

import pytest
import torch

import gazeshift as gs
from gazeshift import cli
from gazeshift.errors import SettingsError

IMAGES = 4


def test_it_is_small_and_names_no_place_of_the_machine_it_was_made_on() -> None:
    folder = Path(gs.__file__).parent / "detectors" / "shipped" / "efficientnet_lite0"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 300_000
    text = (folder / "detector.json").read_text()
    assert not re.search(r"(?<![\w.])/\w+/", text)
    assert json.loads(text)["facts"]["sets"] == {}
    deployed = gs.CalibratedDetector.load(folder)
    assert len(deployed.fitted_on) == 400
    assert len(deployed.calibrated_on) == 150
    assert not set(deployed.fitted_on) & set(deployed.calibrated_on)


def test_without_a_detector_it_judges_and_attacks_are_more_suspicious(capfd: pytest.CaptureFixture[str]) -> None:
    places = gs.demo_images().places[:IMAGES]
    with pytest.raises(SystemExit) as ended:
        cli.main(["detect", "score", *map(str, places), "--json", "--device", "cpu", "--seed", "0"])
    assert ended.value.code == 0
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    classifier, deployed = gs.load(device="cpu"), gs.CalibratedDetector.shipped()
    images = torch.stack([gs.read_image(place, classifier.preprocessing) for place in places])
    attacked = gs.attack(classifier, images, by="pgd:epsilon=4/255,steps=5").images
    found = gs.judge(classifier, attacked, deployed, generator=torch.Generator().manual_seed(0))
    assert [Path(one["file"]).name for one in said] == [Path(place).name for place in places]
    assert all(one["threshold"] == pytest.approx(deployed.threshold, rel=1e-5) for one in said)
    assert found.is_attack.all()
    assert found.suspicion.min() > max(one["suspicion"] for one in said)


def test_models_without_one_are_told() -> None:
    with pytest.raises(SettingsError, match="no detector ships for torchvision:vgg16, only for efficientnet_lite0"):
        gs.CalibratedDetector.shipped("torchvision:vgg16")
