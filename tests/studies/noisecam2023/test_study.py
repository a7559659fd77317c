"""The noisecam2023 study: its verdicts by hand, its parts, resuming, and what it says when nothing is found."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from sklearn.cluster import DBSCAN

import gazeshift as gs
from gazeshift import cli, report
from gazeshift.detectors.behaviour_deviation import BehaviourDeviation
from gazeshift.errors import UnknownNameError
from gazeshift.pipeline import detector_inputs
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from gazeshift.studies.noisecam2023.verdicts import parts
from helpers.killing import check_killed
from helpers.noisecam_study import make_settings

TABLES = ("rows", "images", "seeds", "measured", "pictures", "verdicts", "fitted", "behaviour")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return make_settings(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return Noisecam2023(**settings).run(tmp_path_factory.mktemp("run") / "out")


def rows_of(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def ran(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0


def found(settings):
    """Model, and the clean and attacked images of those examples that the attack finds, by id."""
    model = gs.load(settings["model"], device="cpu")
    batch = gs.open_source(settings["images"]).read(0, 12, model.preprocessing)
    attack = gs.build("attacks", settings["attack"])
    made = gs.attack(model, batch.images, batch.labels, by=attack)
    flipped = (made.logits.argmax(1) != made.clean_logits.argmax(1)).nonzero()[:, 0].tolist()
    return model, {batch.ids[at]: (made.clean[at], made.images[at]) for at in flipped}


def noise_map(model, image):
    """NoiseCAM of the second layer at the image's size: Grad-CAM++, normalised over positive gradients, - LayerCAM."""
    (trace,) = gs.look(model, image[None], layers="second", cams=["noise_cam"]).traces.values()
    raw = trace.maps["noise_cam"].double().clamp_min(0)
    wide = torch.nn.functional.interpolate(raw[:, None], tuple(image.shape[1:]), mode="bilinear")[0, 0].numpy()
    return float(raw.max()), wide


def clusters(wide):
    if wide.max() <= wide.min():
        return 0
    points = np.argwhere((wide - wide.min()) / (wide.max() - wide.min()) > 0.5)
    return len({*DBSCAN(eps=2, min_samples=3).fit_predict(points)} - {-1}) if len(points) else 0


def test_verdicts_are_those_computed_by_hand(settings, finished):
    model, examples = found(settings)
    assert len(examples) >= 4
    verdicts = [
        row
        for row in rows_of(finished, "verdicts")
        if (row["alpha_norm"], row["factor"], row["binarise"]) == ("positive", "none", "gate")
    ]
    benign = [
        row["peak"]
        for row in verdicts
        if row["part"] == "calibration" and (row["kind"], row["strength"]) in {("clean", 0.0), ("noise", 1.0)}
    ]
    gate = np.quantile(benign, 0.95)
    (fitted,) = [
        row
        for row in rows_of(finished, "fitted")
        if (row["alpha_norm"], row["factor"], row["binarise"]) == ("positive", "none", "gate")
    ]
    assert fitted["gate"] == pytest.approx(gate)
    assert fitted["benign"] == len(benign)
    for name, pair in examples.items():
        for kind, strength, image in (("clean", 0.0, pair[0]), ("attacked", 1.0, pair[1])):
            peak, wide = noise_map(model, image)
            (row,) = [row for row in verdicts if (row["image"], row["kind"], row["strength"]) == (name, kind, strength)]
            assert row["peak"] == pytest.approx(peak, rel=1e-4)
            assert row["clusters"] == (clusters(wide) if peak >= gate else 0)
            assert row["is_attack"] == (row["clusters"] > 3)
            assert row["fooled"] == (kind == "attacked")


def test_the_deviation_is_that_of_the_detector(settings, finished):
    model, examples = found(settings)
    rows = [row for row in rows_of(finished, "behaviour") if row["kind"] == "clean"]
    assert len(rows) == 2
    assert rows_of(finished, "behaviour")[0].keys() >= {"components", "residual_std"}
    detector = BehaviourDeviation(noise_images=20)
    for row in rows:
        draws = [gs.generator_for(0, "views", "clean", "0", row["image"])]
        reading = detector.read(detector_inputs(model, examples[row["image"]][0][None], detector, generator=draws))
        assert row["similarity"] == pytest.approx(reading.similarity.item(), abs=1e-5)
        assert row["null_mean"] == pytest.approx(reading.mean.item(), abs=1e-5)
        assert row["p_value"] == pytest.approx(reading.p_value.item())
        assert row["is_attack"] == (row["similarity"] < row["threshold"])


def test_every_combination_has_its_rows(settings, finished):
    _, examples = found(settings)
    measured = rows_of(finished, "measured")
    # one layer x 3 normalisations x 3 factors x 5 ways at clean, attacked and noise; one x 5 at the other strength
    assert len(measured) == len(examples) * (3 * 45 + 2 * 5)
    assert len(rows_of(finished, "fitted")) == 45
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["examples"] == len(examples)
    assert manifest["parts"] == {"calibration": 6, "test": 6}
    assert manifest["images"]["used"] == 12
    assert manifest["cost"]["ratio"] > 0


def test_an_image_calibrates_or_tests():
    names = [f"{at:03d}" for at in range(100)]
    one, again, other = (parts(names, 0.3, seed) for seed in (0, 0, 1))
    assert one == again != other
    assert sum(part == "calibration" for part in one.values()) == 30
    assert set(one) == set(names)


def test_a_set_gives_the_same_examples(settings, finished, tmp_path):
    argv = ["attack", "fgsm", "--epsilon", "8/255", "--images", str(settings["images"])]
    ran([*argv, "--model", settings["model"], "--device", "cpu", "--out", str(tmp_path / "set")])
    kept = {key: value for key, value in settings.items() if key not in {"images", "attack"}}
    out = Noisecam2023(**kept, set=tmp_path / "set").run(tmp_path / "out")
    one, two = ({row["image"] for row in rows_of(folder, "measured")} for folder in (finished, out))
    assert one == two


def test_a_killed_study_ends_with_the_same_bytes(settings, tmp_path):
    check_killed(Noisecam2023, settings, tmp_path, TABLES, times=2)


def test_no_example_is_said_and_is_no_error(settings, tmp_path, capsys):
    argv = ["study", "noisecam2023", "--images", str(settings["images"]), "--model", settings["model"]]
    argv += ["--attack", "fgsm:epsilon=1e-7", "--device", "cpu", "--out", str(tmp_path / "out")]
    ran(argv)
    assert "No image's class was changed, so there is nothing to detect" in capsys.readouterr().out
    assert "No image&#39;s class was changed" in (tmp_path / "out" / "report.html").read_text()


def test_no_calibration_image_is_said(settings, tmp_path):
    out = Noisecam2023(**settings | {"calibration": 0, "behaviour_images": 0}).run(tmp_path / "out")
    assert "nothing was calibrated: gates are 0" in report.make(out).html


def test_what_it_refuses(settings, tmp_path):
    with pytest.raises(ValidationError):
        Noisecam2023(**settings | {"strengths": "0.5,strong"})
    with pytest.raises(ValidationError):
        Noisecam2023(**settings | {"binarise": "otzu"})
    with pytest.raises(UnknownNameError, match="has no layer 'thirdd'"):
        Noisecam2023(**settings | {"noise_layer": "thirdd"}).run(tmp_path / "out")
