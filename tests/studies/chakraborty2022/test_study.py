"""The study of Chakraborty et al. 2022: its rows against a computation by hand, resuming, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from skimage.metrics import structural_similarity

import gazeshift as gs
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.errors import DataError, OutputError
from gazeshift.runs.store import Store
from gazeshift.studies.chakraborty2022.collection import open_collection
from gazeshift.studies.chakraborty2022.pictures import GAP, TILE, montage
from gazeshift.studies.chakraborty2022.rows import direction, moved
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022
from helpers.faces import make_classes, make_vggface2, small_settings
from helpers.killing import check_killed
from helpers.small_study import NETWORK, make_network

TABLES = ("rows", "maps", "gallery", "unrelated", "training", "split")


@pytest.fixture
def settings(tmp_path):
    return small_settings(tmp_path, make_classes(tmp_path / "images"))


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("chakraborty")
    given = small_settings(folder, make_vggface2(folder / "faces", images=8))
    return Chakraborty2022(**given).run(folder / "out"), given


def rows(folder: Path, where: str = "true") -> list[dict]:
    found = duckdb.sql(f"SELECT * FROM '{folder / 'rows.parquet'}' WHERE {where}")  # noqa: S608
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def slow_nissim(first: torch.Tensor, second: torch.Tensor) -> float:
    """As the paper has it, from raw maps, with scikit-image."""
    large = []
    for raw in (first, second):
        positive = raw.double().clamp_min(0)[None, None]
        found = torch.nn.functional.interpolate(positive, (32, 32), mode="bilinear")[0, 0].numpy()
        large.append(found / (found.max() or 1))
    return (1 - structural_similarity(*large, data_range=1.0)) / 2


class Slow:
    """The network with its new head, written out."""

    def __init__(self, folder: Path, condition: str, place: int) -> None:
        torch.manual_seed(place)
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 12, 3, padding=1, stride=2)
        (file,) = (folder / "heads").glob(f"{condition}-{place}-*.safetensors")
        from safetensors.torch import load_file

        state = load_file(file)
        self.weight, self.bias = state["best.1.weight"], state["best.1.bias"]

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(image[None] - 0.5))))

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        return (self.maps(image).mean((2, 3)) @ self.weight.T + self.bias)[0]

    def grad_cam(self, image: torch.Tensor, label: int) -> torch.Tensor:
        return (self.weight[label][:, None, None] * self.maps(image)[0]).sum(0) / 256

    def step(self, image: torch.Tensor, label: int) -> torch.Tensor:
        asked = image.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(self.logits(asked)[None], torch.tensor([label]))
        return torch.autograd.grad(loss, asked)[0].sign()


@pytest.mark.parametrize("condition", ["raw", "aligned"])
def test_rows_are_those_computed_by_hand(done, condition):
    out, given = done
    models = given["models"].split(",")
    slow = [Slow(out, condition, place) for place in (0, 1)]
    test = [row["image"] for row in pq.read_table(out / "split.parquet").to_pylist() if row["part"] == "test"]
    found = open_collection(given["images"])
    source = found.source if condition == "raw" else found.aligned
    geometry = gs.models.Preprocessing(resize=32, crop=32)
    checked = switched = 0
    for own in test:
        batch = source.read(ids=[own], preprocessing=geometry)
        image, label = batch.images[0], int(own.split("/")[1][1:]) - 1
        black = slow[0].step(image, label)
        for place, model in enumerate(models):
            net = slow[place]
            for access, towards in (("black_box", black), ("white_box", net.step(image, label))):
                changed = (image + 0.2 * towards).clamp(0, 1)
                before, after = (int(net.logits(one).argmax()) for one in (image, changed))
                for target, classes in (("predicted", (before, after)), ("reference", (before, before))):
                    (row,) = rows(
                        out,
                        f"condition = '{condition}' AND image = '{own}' AND model = '{model}' AND access = '{access}' "
                        f"AND epsilon = 0.2 AND target = '{target}'",
                    )
                    assert (row["clean_class"], row["changed_class"]) == (before, after)
                    pair = [net.grad_cam(one, cls).detach() for one, cls in zip((image, changed), classes, strict=True)]
                    assert row["nissim"] == pytest.approx(slow_nissim(*pair), abs=1e-4)
                    assert row["ssim"] == pytest.approx(1 - 2 * row["nissim"], abs=1e-6)
                    error = float((changed - image).square().mean())
                    assert row["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
                    checked, switched = checked + 1, switched + (before != after)
    assert checked == 8 * len(test)
    assert switched or condition == "aligned"


def test_every_combination_has_its_row(done):
    out, _ = done
    count = {kind: len({row["image"] for row in rows(out, f"condition = '{kind}'")}) for kind in ("raw", "aligned")}
    assert count["raw"] >= count["aligned"] >= 2
    # two models x (one clean row + 3 accesses x 2 sizes x 2 targets)
    assert len(rows(out)) == sum(count.values()) * 2 * (1 + 3 * 2 * 2)
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["conditions"]) == ["raw", "aligned"]
    assert [lost["id"] for lost in manifest["without_landmarks"]] == ["train/n000001/0001_01.jpg"]
    assert manifest["class_names"] == ["Person 0", "Person 1", "Person 2"]
    assert manifest["parts"] == {"train": 18, "val": 3, "test": 3}
    assert manifest["cost"]["ratio"] > 0
    assert {row["nissim"] for row in rows(out, "access = 'clean'")} == {0.0}


def test_on_the_source_both_attacks_are_one(done):
    out, given = done
    first = given["models"].split(",")[0]
    black, white = (
        [row | {"access": ""} for row in rows(out, f"model = '{first}' AND access = '{access}'")]
        for access in ("black_box", "white_box")
    )
    assert black == white


def test_random_signs_have_the_size_of_the_attack(done):
    out, _ = done
    for row in rows(out, "access = 'random'"):
        assert row["psnr"] >= -20 * np.log10(row["epsilon"]) - 1e-3


def test_clean_maps_of_different_images_are_compared(done):
    out, _ = done
    maps = [row for row in pq.read_table(out / "maps.parquet").to_pylist() if row["condition"] == "raw"]
    model = maps[0]["model"]
    own = [row for row in maps if row["model"] == model]
    raw = [torch.tensor(row["map"]).reshape(row["height"], row["width"]) for row in own]
    wanted = [slow_nissim(raw[at], raw[(at + 1) % len(raw)]) for at in range(len(raw))]
    found = pq.read_table(out / "unrelated.parquet").to_pylist()
    got = [row["nissim"] for row in found if (row["condition"], row["model"]) == ("raw", model)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_the_gallery_has_every_picture(done):
    out, _ = done
    found = pq.read_table(out / "gallery.parquet").to_pylist()
    kinds = {kind: sum(row["kind"] == kind for row in found) for kind in ("image", "map", "overlay", "layers", "noise")}
    assert kinds == {"image": 6, "map": 6, "overlay": 6, "layers": 6, "noise": 2}
    sheet = next(row for row in found if row["kind"] == "layers")
    assert (sheet["top_left"], sheet["bottom_right"], sheet["layers"]) == ("second", "first", 2)
    assert {row["condition"] for row in found} == {"aligned"}
    assert all(row["picture"][:4] == b"RIFF" for row in found)


def test_a_montage_goes_from_the_top_left_row_by_row():
    tiles = [np.full((TILE, TILE, 3), 10 * at, dtype=np.uint8) for at in range(5)]
    sheet = np.asarray(montage(tiles))
    step = TILE + GAP
    assert sheet.shape == (2 * step - GAP, 3 * step - GAP, 3)
    assert [sheet[0, 0, 0], sheet[0, 2 * step, 0], sheet[step, 0, 0], sheet[step, step, 0]] == [0, 20, 30, 40]
    assert sheet[step, 2 * step, 0] == 255


@pytest.mark.parametrize("size", [0.01, 0.1])
def test_one_direction_gives_fgsm_of_every_size(tmp_path, size):
    classifier = gs.load(make_network(tmp_path))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[0, :, :8], images[1, :, :8] = 0.0, 1.0
    labels = torch.tensor([0, 1, 2, 0])
    wanted = Fgsm(epsilon=size)(classifier, images, labels, generator=torch.Generator())
    assert torch.equal(moved(images, direction(classifier, images, labels), size), wanted)


def test_symmetric_sizes_are_half(settings, tmp_path):
    out = Chakraborty2022(**settings | {"range": "symmetric", "epsilons": "0.1", "gallery": 0}).run(tmp_path / "out")
    found = rows(out, "access = 'black_box'")
    for row in found:
        assert row["psnr"] == pytest.approx(26.02, abs=0.3)  # 0.05 in images in [0, 1]


def test_the_batch_size_changes_no_number(settings, tmp_path):
    one, two = (
        Chakraborty2022(**settings | {"batch_size": size, "gallery": 0}).run(tmp_path / str(size)) for size in (2, 3)
    )
    order = "ORDER BY condition, image, model, access, epsilon, target"
    first, second = rows(one, f"true {order}"), rows(two, f"true {order}")
    assert [row["changed_class"] for row in first] == [row["changed_class"] for row in second]
    np.testing.assert_allclose([r["nissim"] for r in first], [r["nissim"] for r in second], atol=1e-4)


def test_limit_keeps_the_heads_and_attacks_fewer_images(settings, tmp_path):
    whole = Chakraborty2022(**settings).run(tmp_path / "whole")
    some = Chakraborty2022(**settings | {"limit": 2}).run(tmp_path / "some")
    assert len({row["image"] for row in rows(whole)}) == 3
    assert len({row["image"] for row in rows(some)}) == 2
    assert (whole / "training.parquet").read_bytes() == (some / "training.parquet").read_bytes()


def test_models_of_different_sizes_see_the_same_change_resized(settings, tmp_path):
    large = tmp_path / "large_network.py"
    large.write_text(NETWORK.replace("input_size = 32", "input_size = 48"))
    models = f"{settings['models'].split(',')[0]},module:{large}:tiny"
    given = settings | {"models": models, "native": True, "gallery": 1}
    out = Chakraborty2022(**given).run(tmp_path / "out")
    sizes = {row["height"] for row in pq.read_table(out / "maps.parquet").to_pylist()}
    assert sizes == {16, 24}


def test_a_finished_study_is_not_done_again(settings, tmp_path, monkeypatch):
    out = Chakraborty2022(**settings).run(tmp_path / "out")
    before = {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}
    monkeypatch.setattr(Store, "save", lambda *_: pytest.fail("a cell was done again"))
    Chakraborty2022(**settings).run(out)
    assert before == {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}


def test_other_settings_in_the_same_folder_are_refused(settings, tmp_path):
    out = Chakraborty2022(**settings).run(tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"other settings \(epochs: 8 there, 9 now\)"):
        Chakraborty2022(**settings | {"epochs": 9}).run(out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_damaged_checkpoint_and_a_damaged_part_are_made_again(settings, tmp_path):
    out = Chakraborty2022(**settings).run(tmp_path / "out")
    before = {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}
    for file in (next((out / "heads").glob("*")), next((out / "parts").glob("*.features.parquet"))):
        file.write_bytes(file.read_bytes()[:60])
    Chakraborty2022(**settings).run(out)
    assert before == {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}
    checks = json.loads((out / "manifest.json").read_text())["preflight"]
    assert any("damaged" in check["detail"] for check in checks)


def test_a_killed_study_ends_with_the_same_bytes(settings, tmp_path):
    check_killed(Chakraborty2022, settings, tmp_path, TABLES, times=4)  # in features, trainings and attacks


def test_unreadable_images_are_skipped_and_counted_once(settings, tmp_path):
    (settings["images"] / "class-0" / "03.png").write_bytes(b"not an image")
    out = Chakraborty2022(**settings | {"gallery": 0}).run(tmp_path / "out")
    images = json.loads((out / "manifest.json").read_text())["images"]
    assert (images["asked"], images["used"]) == (30, 29)
    assert [skip["id"] for skip in images["skipped"]] == ["class-0/03.png"]


def test_a_class_with_one_image_is_named(settings, tmp_path):
    for file in sorted((settings["images"] / "class-2").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match="class 'class-2' has 1 image, and a class needs at least 3"):
        Chakraborty2022(**settings).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fewer_than_two_classes_are_refused(settings, tmp_path):
    images = settings["images"] / "class-0"
    with pytest.raises(DataError, match="at least two classes, and class-0 holds"):
        Chakraborty2022(**settings | {"images": images}).run(tmp_path / "out")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epsilons": "0"}, "one of them above 0"),
        ({"epsilons": "0,8"}, "must lie in"),
        ({"epsilons": "much"}, "valid number"),
        ({"source": "vgg"}, "is none of the models"),
        ({"set": "folder"}, "leave out --set"),
        ({"weights": "a,b,c"}, "weights name 3 files for 2 models"),
        ({"limit": 1}, "greater than or equal to 2"),
    ],
)
def test_bad_settings_end_in_a_sentence(settings, bad, message):
    given = {key: value for key, value in settings.items() if not (key == "images" and "set" in bad)}
    with pytest.raises(ValidationError, match=message):
        Chakraborty2022(**given | bad)


def test_models_are_those_named_or_the_packaged_ones():
    assert Chakraborty2022().chosen[0] == "efficientnet_lite0"
    assert Chakraborty2022(model="timm:xception").chosen == ("timm:xception",)
    assert Chakraborty2022(models="a,b,a", weights="random").chosen == ("a", "b")
    assert Chakraborty2022(models="a,b", weights="x.pt,y.pt").weights_of(1) == "y.pt"
    assert Chakraborty2022(models="a,b", source="b").attacked == "b"


def test_describing_the_study_needs_no_torch():
    code = "import sys; import gazeshift.studies.chakraborty2022.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
