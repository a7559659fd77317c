"""The page of the study of Chakraborty et al. 2022: its numbers by hand, its claims, and every figure and table."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift import report
from gazeshift.errors import DataError
from gazeshift.report.document import Gallery
from gazeshift.report.study import Study, open_study
from gazeshift.report.words import called
from gazeshift.studies.chakraborty2022.manifest import ChakrabortyManifest
from gazeshift.studies.chakraborty2022.report.claims import claims, findings
from gazeshift.studies.chakraborty2022.report.numbers import (
    ALIGNED,
    MOD,
    RAW,
    ChakrabortyNumbers,
    mean_row,
    read_numbers,
)
from gazeshift.studies.chakraborty2022.report.page import page as chakraborty2022
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022
from helpers.faces import make_classes, make_vggface2, small_settings

MODELS = ("torchvision:vgg16", "torchvision:inception_v3")
LEVELS = (0.01, 0.1)


def row(image, model, access, epsilon, *, right, nissim, target="predicted", condition="raw"):
    clean = access == "clean"
    return {
        "condition": condition,
        "image": f"{image}.png",
        "model": model,
        "access": access,
        "epsilon": epsilon,
        "target": target,
        "label": 0,
        "clean_class": 0,
        "changed_class": 0 if right else 1,
        "confidence": 0.5,
        "clean_correct": True,
        "correct": right,
        "switched": not right and not clean,
        "nissim": nissim,
        "ssim": 1 - 2 * nissim,
        "blank": 0,
        "psnr": np.inf if clean else -20 * np.log10(epsilon),
    }


def write(folder: Path, *, fooled: int, conditions=("raw",)) -> Path:
    """Two images and two models; the first `fooled` images are fooled at the largest size, Inception's always first."""
    rows = []
    for condition in conditions:
        for model in MODELS:
            for image in range(2):
                rows.append(row(image, model, "clean", 0.0, right=True, nissim=0.0, condition=condition))
                for access in ("black_box", "white_box", "random"):
                    for level in LEVELS:
                        wrong = level == 0.1 and access != "random" and (image < fooled) and "inception" in model
                        size = (0.1 + 0.1 * image) * (2 if level == 0.1 else 1) * (0.5 if access == "random" else 1)
                        size += 0.05 * ("inception" in model)
                        for target in ("predicted", "reference"):
                            less = 0.02 * (target == "reference") * wrong
                            about = {"right": not wrong, "nissim": size - less, "target": target}
                            rows.append(row(image, model, access, level, condition=condition, **about))
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    unrelated = [
        {"condition": condition, "model": model, "image": "0.png", "nissim": 0.3}
        for model in MODELS
        for condition in conditions
    ]
    pq.write_table(pa.Table.from_pylist(unrelated), folder / "unrelated.parquet")
    head = {"layer": "last", "epochs": 3, "kept": 2, "validation_accuracy": 0.9}
    manifest = {
        "schema": 1,
        "study": "chakraborty2022",
        "status": "finished",
        "models": {model: {} for model in MODELS},
        "attacked": MODELS[0],
        "levels": LEVELS,
        "unit": 1.0,
        "class_names": ["a", "b"],
        "parts": {"train": 8, "val": 2, "test": 2},
        "conditions": {name: {"tested": 2, "heads": dict.fromkeys(MODELS, head)} for name in conditions},
        "images": {"source": "faces", "kind": "class_folders", "asked": 12, "used": 12, "skipped": []},
        "settings": {},
        "seconds": 1.0,
        "created": "2022-01-01T00:00:00+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def opened(study: Study) -> ChakrabortyNumbers:
    return read_numbers(study, study.entries(ChakrabortyManifest))


@pytest.fixture
def numbers(tmp_path):
    return opened(open_study(write(tmp_path / "study", fooled=1)))


def test_numbers_by_hand(numbers):
    vgg, inception = MODELS
    assert numbers.accuracy("raw", inception) == [1.0, 1.0, 0.5]
    assert numbers.accuracy("raw", inception, "random") == [1.0, 1.0, 1.0]
    assert numbers.accuracy("raw", inception, among={"0.png"}) == [1.0, 1.0, 0.0]
    assert numbers.mod(vgg) == pytest.approx([0.0, 0.15, 0.3])
    assert numbers.mod(inception) == pytest.approx([0.0, 0.2, 0.35])
    assert numbers.mean_shift() == pytest.approx([0.0, 0.175, 0.325])
    assert numbers.mod(inception, target="reference") == pytest.approx([0.0, 0.2, 0.34])
    # 0.1 and 0.2, 0.2 and 0.4: half of the distance
    assert numbers.vid(vgg) == pytest.approx([0.05, 0.1])
    assert numbers.by_switch(inception, 0.1) == pytest.approx((0.25, 0.23, 0.45, 1, 1))
    assert numbers.success(inception, 0.1) == (1, 2)
    assert numbers.without_blanks("black_box", 0.1) == pytest.approx((0, 4, 0.325))
    numbers.columns["blank"] = 2 * numbers.at(image="1.png")
    assert numbers.without_blanks("black_box", 0.1) == pytest.approx((2, 4, 0.225))
    assert numbers.psnr("black_box", vgg) == pytest.approx([40.0, 20.0])


def test_epsilon_zero_as_a_level_inflates_vid(tmp_path):
    folder = write(tmp_path / "study", fooled=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"settings": {"include_zero": True}}))
    found = opened(open_study(folder)).vid(MODELS[0])
    assert found[0] == pytest.approx(np.std([0, 0.1, 0.2]))


def test_the_papers_mean_shift_is_the_mean_of_its_models():
    assert mean_row(MOD) == pytest.approx([0.0, 0.12685, 0.219761, 0.241252, 0.251444], abs=2e-6)


@pytest.mark.parametrize(("printed", "n"), [(RAW, 296), (ALIGNED, 257)])
def test_the_papers_accuracies_are_counts_of_its_test_images(printed, n):
    for share in np.ravel(printed):
        assert abs(share - 100 * round(share * n / 100) / n) < 0.0101


def test_claims_say_what_held(numbers):
    held = {claim.paper.split(" ")[0]: claim for claim in claims(numbers)}
    assert held["Attacks"].held == "held"
    assert held["Wide"].held == "held"
    assert held["The"].paper
    by_text = [(claim.paper[:24], claim.held) for claim in claims(numbers)]
    assert dict(by_text)["The gaze shifts further "] == "held"
    assert dict(by_text)["The model whose gaze mov"] == "held"
    assert dict(by_text)["The dissimilarity is why"] == "did not hold"
    assert dict(by_text)["An attack of ε 0.01 succ"] == "did not hold"
    assert dict(by_text)["Aligning and cropping th"] == "not tested"


def test_findings_have_their_figures(numbers):
    text = " ".join(findings(numbers))
    assert "vgg16 100 % to 100 %, inception_v3 100 % to 50 %" in text
    assert "0 of 2 fooled, inception_v3 1 of 2 fooled" in text
    assert "mean shift 0.325" in text
    assert "0.300 apart" in text


def test_a_study_that_fooled_nobody_says_so(tmp_path):
    folder = write(tmp_path / "study", fooled=0)
    document = chakraborty2022(open_study(folder))
    assert any("No attack succeeded" in warning for warning in document.warnings)
    page = report.make(folder).html
    assert "No attack succeeded" in page
    assert "–" in page
    assert "the study was asked for none" in page


def test_both_kinds_of_picture_are_compared_on_common_images(tmp_path):
    document = chakraborty2022(open_study(write(tmp_path / "study", fooled=1, conditions=("raw", "aligned"))))
    titles = [item.title for section in document.sections for item in section.items]
    assert "Both kinds of picture, on the test images that both have" in titles
    claim = next(claim for claim in document.claims if claim.paper.startswith("Aligning"))
    assert "on the 2 common images" in claim.ours


@pytest.mark.parametrize("faces", [True, False])
def test_every_figure_and_table_of_the_paper_is_there(tmp_path, faces):
    images = make_vggface2(tmp_path / "set", images=8) if faces else make_classes(tmp_path / "set")
    folder = Chakraborty2022(**small_settings(tmp_path, images)).run(tmp_path / "out")
    document = chakraborty2022(open_study(folder))
    items = [item for section in document.sections for item in section.items]
    wanted = {"Fig 1", "Fig 2", "Fig 3", "Fig 4", "Fig 5", "Fig 6–10", "Table 1", "Table 2", "Table 3"}
    assert wanted <= {item.item for item in items}
    assert all(item.paper for item in items if item.item)
    galleries = [item for item in items if isinstance(item, Gallery)]
    assert all(picture.webp for gallery in galleries for _, row in gallery.rows for picture in row if picture)
    text = json.dumps([[item.about, item.title] for item in items])
    assert "body." not in text
    assert "_box" not in text


def test_models_are_called_as_people_write_them():
    assert called("timm:xception") == "xception"
    assert called("efficientnet_lite2") == "EfficientNet-Lite2"


def test_a_damaged_manifest_is_named(tmp_path):
    folder = write(tmp_path / "study", fooled=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"levels": ["large"]}))
    with pytest.raises(DataError, match=r"manifest.json is damaged at levels.0"):
        report.make(folder)
