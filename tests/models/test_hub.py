"""Models of timm from the Hugging Face hub and from folders: what people have fine-tuned, from a cache made here."""

import json
import pickle
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from timm.models import PretrainedCfg, save_for_hf

from gazeshift.errors import ModelError, UnknownNameError
from gazeshift.models import load

COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def network(classes=5, **options):
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=classes, **options).eval()


def saved(made, folder, *, safe=True, **config):
    """As timm writes a model for the hub."""
    save_for_hf(made, folder, model_config=config, safe_serialization=safe)
    return folder


def cached(cache, made, name="people/flowers", **options):
    """The folder of a downloaded model, as the hub's client keeps it."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    return saved(made, place / "snapshots" / COMMIT, **options)


def answers(made, found, size=64):
    images = torch.rand(2, found.channels, size, size)
    with torch.no_grad():
        return made((images - found.mean) / found.std), found(images)


@pytest.mark.parametrize("prefix", ["hf-hub", "hf_hub"])
def test_a_fine_tuned_model_with_its_names(cache, prefix):
    made = network()
    cached(cache, made, label_names=["rose", "lily", "iris", "poppy", "daisy"])
    found = load(f"timm:{prefix}:people/flowers", device="cpu")
    expected, logits = answers(made, found)
    assert torch.equal(logits, expected)
    assert found.class_names == ("rose", "lily", "iris", "poppy", "daisy")
    assert (found.name, found.source, found.wnids) == (f"timm:{prefix}:people/flowers",) * 2 + ((),)


def test_from_a_folder_with_pickled_weights(tmp_path):
    made = network()
    folder = saved(made, tmp_path / "mine", safe=False, label_names={"0": "rose", "3": "poppy"})
    assert [file.name for file in sorted(folder.iterdir())] == ["config.json", "pytorch_model.bin"]
    found = load(f"timm:local-dir:{folder}", device="cpu")
    expected, logits = answers(made, found)
    assert torch.equal(logits, expected)
    assert found.class_names == ("rose", "class 1", "class 2", "poppy", "class 4")


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_pickled_weights_run_no_code(cache, tmp_path, place):
    marker = tmp_path / "ran"
    folder = cached(cache, network(), safe=False) if place == "hub" else saved(network(), tmp_path / "mine", safe=False)
    torch.save({"fc.weight": Hostile(marker)}, folder / "pytorch_model.bin")
    spec = "timm:hf-hub:people/flowers" if place == "hub" else f"timm:local-dir:{folder}"
    with pytest.raises(ModelError, match=r"or hold more than tensors, and opening them could run code"):
        load(spec, device="cpu")
    assert not marker.exists()


class Hostile:
    """What unpickling would run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_the_hostile_file_would_run(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "ran"))).close()  # noqa: S301 - it is ours
    assert (tmp_path / "ran").exists()


def test_what_the_config_says_of_the_images(cache):
    made = network(in_chans=1)
    made.pretrained_cfg |= {"crop_mode": "squash", "crop_pct": 0.9, "mean": (0.4,), "std": (0.2,)}
    cached(cache, made)
    seen = load("timm:hf-hub:people/flowers", device="cpu").preprocessing
    assert (seen.resize, seen.crop, seen.fit, seen.channels) == ((177, 177), 160, "squash", 1)
    assert (seen.mean, seen.std) == ((0.4,), (0.2,))


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        (1000, None, "tench, Tinca tinca"),
        (1000, [f"kind {index}" for index in range(1000)], "kind 0"),
        (5, None, "class 0"),
        (5, ["too", "few"], "class 0"),
    ],
)
def test_imagenets_names_only_where_they_fit(tmp_path, classes, names, expected):
    folder = saved(network(classes), tmp_path / "mine", **({"label_names": names} if names else {}))
    assert load(f"timm:local-dir:{folder}", weights="random", device="cpu").class_name(0) == expected


def test_wordnet_ids_as_names_are_imagenets(tmp_path):
    wnids = load("timm:test_resnet", weights="random", device="cpu").wnids
    described = {wnids[0]: "a fish"}
    folder = saved(network(1000), tmp_path / "mine", label_names=list(wnids), label_descriptions=described)
    found = load(f"timm:local-dir:{folder}", weights="random", device="cpu")
    assert (found.class_name(0), found.wnids) == ("tench, Tinca tinca", wnids)
    other = saved(network(2), tmp_path / "other", label_names=["n1", "n2"], label_descriptions={"n1": "a fish"})
    assert load(f"timm:local-dir:{other}", weights="random", device="cpu").class_names == ("a fish", "n2")


def test_weights_of_a_file_into_a_model_of_the_hub(cache, tmp_path):
    cached(cache, network())
    other = network(3)
    torch.save(other.state_dict(), tmp_path / "three.pt")
    found = load("timm:hf-hub:people/flowers", weights=str(tmp_path / "three.pt"), device="cpu")
    expected, logits = answers(other, found)
    assert torch.equal(logits, expected)


def config(folder: Path, **values: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_what_may_be_wrong_is_one_sentence(cache, tmp_path):
    transformers = config(tmp_path / "other", model_type="vit", architectures=["ViTForImageClassification"])
    newer = config(tmp_path / "newer", architecture="resnet5", pretrained_cfg={})
    strange = config(tmp_path / "strange", architecture="test_resnet", model_args={"no_such": 1})
    cached(cache, network(), name="people/cut")
    (cache / "models--people--cut" / "snapshots" / COMMIT / "model.safetensors").write_bytes(b"cut short")
    told = {
        "hf-hub:people/absent": "timm:hf-hub:people/absent is not on this machine and could not be downloaded (",
        "hf-hub:not a name": "Check the name, written owner/name or owner/name@revision; or download config.json and",
        "hf-hub:": "Check the name, written owner/name",
        "hf-hub:people/cut": "timm:hf-hub:people/cut cannot be loaded (",
        f"local-dir:{strange}": "cannot be loaded (",
        f"local-dir:{tmp_path}": f"no model of timm in {tmp_path} (",
        f"local-dir:{transformers}": "is no model of timm: its config.json names no architecture of timm.",
        f"local-dir:{newer}": "has the architecture 'resnet5', which timm ",
    }
    for name, words in told.items():
        with pytest.raises((ModelError, UnknownNameError)) as found:
            load(f"timm:{name}", device="cpu")
        assert words in str(found.value)
        assert "\n" not in str(found.value)


def test_a_model_without_classes_is_refused(cache):
    cached(cache, network(0), name="people/features")
    for spec in (
        "timm:vit_small_patch14_dinov2",
        "timm:vit_base_patch16_clip_224.openai",
        "timm:hf-hub:people/features",
    ):
        for weights in (None, "random"):
            with pytest.raises(ModelError, match=r"has no classes: it describes an image in .* which are no logits"):
                load(spec, weights=weights, device="cpu")


def test_a_file_with_a_head_makes_a_classifier_of_it(cache, tmp_path):
    cached(cache, network(0), name="people/features")
    made = network()
    torch.save(made.state_dict(), tmp_path / "five.pt")
    found = load("timm:hf-hub:people/features", weights=str(tmp_path / "five.pt"), device="cpu")
    expected, logits = answers(made, found)
    assert torch.equal(logits, expected)
    torch.save(network(0).state_dict(), tmp_path / "none.pt")
    with pytest.raises(ModelError, match=r"the file lacks fc.weight, fc.bias"):
        load("timm:hf-hub:people/features", weights=str(tmp_path / "none.pt"), device="cpu")


def test_every_tag_with_classes_is_accepted():
    """ImageNet's thousand or many more; all else that timm has describes images by embeddings."""
    from gazeshift.models.timm import _check_classes

    counts = {name: timm.get_pretrained_cfg(name).num_classes for name in timm.list_pretrained()}
    refused = set()
    for name, classes in counts.items():
        try:
            _check_classes(f"timm:{name}", classes, PretrainedCfg(num_classes=classes))
        except ModelError:
            refused.add(name)
    by_name = {name for name in counts if any(f"in{many}k" in name for many in (1, 12, 21, 22)) and counts[name]}
    assert not refused & by_name
    assert len(refused) > 300
