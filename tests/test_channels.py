"""Images of any number of channels and any aspect from end to end: attacked, saved, checked, exported, looked at."""

import base64
import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gazeshift as gs
from gazeshift import report
from gazeshift.cli._looking import look_at
from gazeshift.data import attacked_levels, export_set, open_set, set_rows, verify_set
from gazeshift.data._set_layout import FACTS, SCHEMA, put_together, taken_apart
from gazeshift.data._shards import Shard, describe_shard
from gazeshift.errors import DataError, OutputError
from gazeshift.manifest import StudyManifest
from gazeshift.records import Batch, Sample
from gazeshift.report.study import open_study
from gazeshift.runs.adversarial_set import run as _attack_run
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.serve.study_explorer._replay import StudyReplay

_pictures = pytest.importorskip("gazeshift.studies.chakraborty2022.pictures")
GAP, aspect, montage, tile = _pictures.GAP, _pictures.aspect, _pictures.montage, _pictures.tile
Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation
histograms = pytest.importorskip("gazeshift.studies.ding2022.rows").histograms

NETWORK = '''
import torch
from torch import nn

import gazeshift as gs


def network(channels, size):
    """Two convolutions and CAM's head, with weights from a seed; no class is ahead of the others on average."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        )
        for layer in (layers[0], layers[2], layers[6]):
            layer.weight.data.mul_(3)
            layer.bias.data.zero_()
        layers[6].bias.data -= layers(torch.rand(64, channels, 16, 16)).mean(0).detach()
    shape = gs.Preprocessing(resize=size, crop=size, channels=channels)
    return gs.Classifier(layers, name=f"net{channels}", preprocessing=shape, class_names=list("abcd"))


def grey():
    return network(1, 16)


def two():
    return network(2, 16)


def wide():
    return network(3, (16, 24))


def four():
    return network(4, (24, 16))


def five():
    return network(5, (16, 24))
'''
SHAPES = {"grey": (1, 16, 16), "two": (2, 16, 16), "wide": (3, 16, 24), "four": (4, 24, 16), "five": (5, 16, 24)}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
N, SPEC, EPSILON = 6, "pgd:steps=4", 26 / 255


def pixels(name: str) -> np.ndarray:
    """Images of 8-bit levels, (n, channels, h, w), each with stripes of its own in each channel."""
    random, (channels, height, width) = np.random.default_rng(0), SHAPES[name]
    rows = random.integers(0, 128, (N, channels, height, 1)) + random.integers(0, 128, (N, channels, 1, width))
    return rows.astype(np.uint8)


class Arrays:
    """A source of images that no file holds."""

    name, kind, skipped, notes, has_labels = "arrays", "arrays", (), (), False

    def __init__(self, levels: np.ndarray) -> None:
        self.ids, self.labels = tuple(f"{at}.npy" for at in range(len(levels))), (None,) * len(levels)
        self.images = torch.from_numpy(levels / 255).float()

    def __len__(self) -> int:
        return len(self.ids)

    def samples(self, *, ids=None, preprocessing=None):  # noqa: ARG002
        for at, own in enumerate(self.ids):
            if ids is None or own in ids:
                yield Sample(id=own, image=self.images[at], label=None, sha256="0")

    def batches(self, size, preprocessing=None):  # noqa: ARG002
        yield Batch(ids=self.ids[:size], images=self.images[:size], labels=None)


def write_images(folder: Path, name: str) -> Path:
    folder.mkdir()
    for at, levels in enumerate(pixels(name)):
        shown = levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0))
        Image.fromarray(shown).save(folder / f"{at}.png")
    return folder


@pytest.fixture(scope="module", params=SHAPES)
def made(request, tmp_path_factory):
    """A set of the images of one network: its name, the set's folder, the classifier, and what the attack gave."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    (folder / "channels_network.py").write_text(NETWORK)
    spec = f"module:{folder / 'channels_network.py'}:{name}"
    images = folder if name == "five" else write_images(folder / "images", name)
    chosen = SetSettings(
        images=images,
        model=spec,
        epsilon=EPSILON,
        device="cpu",
        shard_size=4,
        batch_size=3,
        health_images=2 * (name == "five"),
    )
    with pytest.MonkeyPatch.context() as patch:
        if name == "five":
            patch.setattr(_attack_run, "open_images", lambda *_: Arrays(pixels(name)))
        place = AttackRun(SPEC, chosen, folder / "set").run()
    classifier = gs.load(spec, device="cpu")
    suffix = "npy" if name == "five" else "png"
    chance = [gs.generator_for(0, SPEC, f"{at}.{suffix}") for at in range(N)]
    clean = torch.from_numpy(pixels(name) / 255).float()
    attacked = gs.attack(classifier, clean, by=gs.build("attacks", SPEC, epsilon=EPSILON), generator=chance)
    return name, place, classifier, attacked


def test_a_set_holds_every_channel_bit_by_bit(made):
    name, place, classifier, attacked = made
    found = open_set(place)
    whole = found.read()
    assert tuple(whole.images.shape[1:]) == SHAPES[name]
    assert torch.equal(whole.images, attacked.clean)
    assert torch.equal(whole.attacked, attacked.images)
    assert whole.facts["linf"].tolist() == attacked.linf.tolist()
    assert 0 < whole.facts["linf"].max() <= EPSILON + 1e-6
    picked = found.pick([found.ids[5], found.ids[0]])
    assert torch.equal(picked.attacked, attacked.images[[5, 0]])
    assert verify_set(found, classifier).problems == ()
    assert verify_set(found.for_channels(7), classifier).images == N, "what is stored is not decoded"


def test_an_export_holds_every_channel_or_is_refused_before_it_begins(made, tmp_path):
    name, place, classifier, attacked = made
    channels, out = SHAPES[name][0], tmp_path / "png"
    if channels > 4:
        with pytest.raises(OutputError, match=r"^a PNG file holds 1 to 4 channels, and the images of .* have 5\. "):
            export_set(open_set(place), out)
        assert not out.exists()
        return
    assert export_set(open_set(place), out).images == N
    levels = attacked_levels(attacked.clean, attacked.images, norm="linf", epsilon=EPSILON)
    for at in range(N):
        for half, wanted in (("clean", pixels(name)[at]), ("attacked", levels[at].numpy())):
            with Image.open(out / half / f"{at}.png") as picture:
                assert picture.mode == MODES[channels]
                np.testing.assert_array_equal(
                    np.asarray(picture).reshape(*wanted.shape[1:], -1).transpose(2, 0, 1), wanted
                )
    assert np.abs(levels.int().numpy() - pixels(name).astype(int)).max() <= 26
    again = open_set(out).for_channels(channels)
    assert torch.equal(again.read().images, attacked.clean)
    assert torch.equal(again.read().attacked, levels.float() / 255)
    verified = verify_set(open_set(out), classifier)  # decodes them as the model takes them
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    fooled = sum(row["success_8bit"] == "True" for row in rows)
    assert (verified.problems, verified.wrong) == ((), {"clean": 0, "attacked": fooled})
    assert fooled > 0


def test_a_page_of_looking_shows_every_image_in_its_aspect(made, tmp_path):
    name, place, _, _ = made
    channels, height, width = SHAPES[name]
    if channels > 4:
        pytest.skip("no file holds such images")
    spec = f"module:{place.parent / 'channels_network.py'}:{name}"
    look_at(
        [str(place.parent / "images")],
        tmp_path / "page",
        layers="trunk",
        cams="grad_cam",
        batch_size=4,
        progress=lambda *_: None,
        model=spec,
    )
    pages = sorted((tmp_path / "page").glob("*/image.png"))
    assert len(pages) == N
    for at, file in enumerate(pages):
        with Image.open(file) as picture:
            assert (picture.mode, picture.size) == ("RGB", (width, height))
            np.testing.assert_array_equal(np.asarray(picture)[:, :, 0], pixels(name)[at][0])
        for overlay in file.parent.glob("*.grad_cam.png"):
            with Image.open(overlay) as picture:
                assert picture.size == (width, height)
    said = (tmp_path / "page" / "index.html").read_text()
    assert ("channels 1 to 3 of 4" in said, "channel 1 of 2" in said) == (channels == 4, channels == 2)


def test_records_show_every_image(made):
    name, _, classifier, attacked = made
    evidence = gs.look(classifier, attacked.images)
    for record in (evidence, attacked):
        assert Image.open(io.BytesIO(record._repr_png_())).mode == "RGB"
        assert " x ".join(map(str, SHAPES[name])) in repr(record)


def test_a_study_and_its_explorer_show_every_image_in_its_aspect(made):
    name, place, _, _ = made
    _, height, width = SHAPES[name]
    if name not in {"grey", "wide"}:
        pytest.skip("a study of these says no more")
    asked = Deviation(
        images=place.parent / "images",
        model=f"module:{place.parent / 'channels_network.py'}:{name}",
        attack=["fgsm"],
        epsilon=EPSILON,
        device="cpu",
        gallery=1,
    )
    folder = asked.run(place.parent / "study", command="", progress=lambda *_: None)
    kept = [row for row in pq.read_table(folder / "gallery.parquet").to_pylist() if row["picture"]]
    assert {row["kind"] for row in kept} == {"clean", "attacked", "noise", "perturbation"}
    for row in kept:
        with Image.open(io.BytesIO(row["picture"])) as picture:
            assert (picture.mode, picture.size) == ("RGB", (width, height))
    again = StudyReplay(manifest=open_study(folder).entries(StudyManifest), model=str(asked.model))
    assert torch.equal((again.picture("3.png") * 255).round().byte(), torch.from_numpy(pixels(name)[3]))
    sides = again.drawn("3.png", "fgsm", 1.0)
    assert [tuple(shown.size) for side in sides.values() if (shown := png_of(side["picture"]))] == [(width, height)] * 3
    assert report.write(folder).stat().st_size > 10_000


def png_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_maps_of_a_study_have_the_aspect_of_its_images():
    images, found = torch.zeros(1, 3, 30, 60), torch.rand(4, 8)
    assert [aspect(images, side) for side in (48, 96)] == [(24, 48), (48, 96)]
    assert aspect(torch.zeros(1, 3, 64, 64), 48) == (48, 48)
    made = [tile(found, (24, 48)), tile(-found, (24, 48)), tile(found, (24, 48))]
    sheet = np.asarray(montage(made))
    assert sheet.shape == (24 + GAP + 24, 48 + GAP + 48, 3)
    np.testing.assert_array_equal(sheet[24 + GAP :, :48], made[2])
    assert (sheet[24 + GAP :, 48 + GAP :] == 255).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_histograms_of_any_channels(channels):
    levels = np.random.default_rng(channels).integers(0, 256, (2, channels, 6, 7))
    found = histograms(torch.from_numpy(levels / 255).float())
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels)
    names = ["red", "green", "blue"] if channels == 3 else [f"channel {at + 1}" for at in range(channels)]
    luminance = np.round((levels * weights[None, :, None, None]).sum(1)).astype(int)
    wanted = {"luminance": np.bincount(luminance.ravel(), minlength=256)}
    if channels > 1:
        wanted |= {name: np.bincount(levels[:, at].ravel(), minlength=256) for at, name in enumerate(names)}
    assert set(found) == set(wanted)
    for name, counts in wanted.items():
        assert np.abs(np.cumsum(found[name]) - np.cumsum(counts)).max() <= (name == "luminance"), name


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_any_shape_comes_back_from_a_shard_bit_by_bit(channels, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    clean, change = (torch.rand(2, channels, height, width, generator=generator) for _ in range(2))
    attacked = (clean + 0.2 * (change - 0.5)).clamp(0, 1)
    assert torch.equal(put_together(clean, *taken_apart(clean, attacked)), attacked)
    levels = attacked_levels(clean, attacked, norm="linf", epsilon=0.1)
    assert (levels.int() - (clean * 255).round().int()).abs().max() <= 25


def rows(images: torch.Tensor) -> pa.Table:
    facts = {
        field.name: torch.zeros(len(images)).to(torch.bool if field.type == pa.bool_() else torch.float32)
        for field in FACTS
    }
    facts = {name: values.int() if name.endswith("_class") else values for name, values in facts.items()}
    names = [f"{tuple(images.shape)}-{at}" for at in range(len(images))]
    return set_rows(
        ids=names,
        labels=torch.zeros(len(images), dtype=torch.int32),
        sha256=names,
        clean=images,
        attacked=images,
        facts=facts,
    )


def shard(folder: Path, table: pa.Table) -> Shard:
    pq.write_table(table, folder / "one.parquet", write_page_checksum=True)
    told = describe_shard(folder, folder / "one.parquet")
    return Shard(file=folder / "one.parquet", count=told["images"], size=told["bytes"], sha256=told["sha256"])


def test_a_shard_may_hold_images_of_one_size_and_different_channels(tmp_path):
    images = [torch.rand(2, channels, 3, 4) for channels in (1, 3, 2)]
    found = shard(tmp_path, pa.concat_tables([rows(some) for some in images]))
    for read in (list(found.batches(6)), list(found.pick(range(6)))):
        assert [tuple(pairs.images.shape) for pairs in read] == [(2, 1, 3, 4), (2, 3, 3, 4), (2, 2, 3, 4)]
        for pairs, wanted in zip(read, images, strict=True):
            assert torch.equal(pairs.images, wanted)


@pytest.mark.parametrize("sides", [(3, 5), (0, 0), (5, 0), (7, 7)])
def test_values_that_fill_no_image_are_damage(tmp_path, sides):
    table = rows(torch.rand(2, 1, 3, 4))
    for name, side in zip(("height", "width"), sides, strict=True):
        table = table.set_column(SCHEMA.get_field_index(name), name, pa.array([side] * 2, pa.int32()))
    found = shard(tmp_path, table)
    for read in (lambda: list(found.batches(2)), lambda: list(found.pick([0]))):
        with pytest.raises(
            DataError, match=rf"holds rows that are no images \(12 values for {sides[0]} x {sides[1]} pix"
        ):
            read()


def test_the_layout_has_no_column_for_channels():
    """Sets of earlier versions, of three channels, are the same bytes and open the same way."""
    assert SCHEMA.names[:9] == [
        "id",
        "label",
        "sha256",
        "height",
        "width",
        "clean",
        "perturbation",
        "exact_at",
        "exact_value",
    ]


def test_grey_pictures_beside_coloured_ones_are_read_as_the_model_takes_them(tmp_path):
    levels = np.random.default_rng(1).integers(0, 256, (16, 24)).astype(np.uint8)
    for half in ("clean", "attacked"):
        (tmp_path / half).mkdir()
        Image.fromarray(levels).save(tmp_path / half / "a.png")
        Image.fromarray(np.repeat(levels[:, :, None], 3, 2)).save(tmp_path / half / "b.png")
    found = open_set(tmp_path)
    colour, grey = found.read(), found.for_channels(1).read()
    assert (colour.images.shape, grey.images.shape) == ((2, 3, 16, 24), (2, 1, 16, 24))
    for pairs in (
        colour,
        grey,
        open_set(tmp_path, preprocessing=gs.Preprocessing(resize=None, crop=None, channels=1)).read(),
    ):
        for images in (pairs.images, pairs.attacked):
            assert torch.equal((images * 255).round(), torch.from_numpy(levels).float().expand(images.shape))
