"""Loading by name: sources, names, devices, sizes, and what the classifier then says of itself."""

import json
import subprocess
import sys

import pytest
import torch

from gazeshift.errors import DeviceError, ModelError, SettingsError, UnknownNameError
from gazeshift.models import Classifier, Preprocessing, choose_device, load


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("efficientnet_lite9", "no models named 'efficientnet_lite9'. Did you mean 'efficientnet_lite2'?"),
        ("resnet50", "no models named 'resnet50'. Known: efficientnet_lite0,"),
        ("resnet50", "Models of torchvision and timm are written torchvision:resnet50."),
        ("torchvision:resnet5", "torchvision has no classifier 'resnet5'. Did you mean 'resnet50'?"),
        (
            "torchvision:deeplabv3_resnet50",
            "has no classifier 'deeplabv3_resnet50' with gradients: it is a network for",
        ),
        ("torchvision:quantized_resnet50", "another task, or quantised. Did you mean 'resnet50'?"),
        ("torchvision:resnet50@IMAGENET1K_V3", "no weights 'IMAGENET1K_V3' of resnet50. Did you mean 'IMAGENET1K_V2'?"),
        ("timm:resnet5", "timm has no model 'resnet5'. Did you mean 'resnet50'?"),
        ("timm:resnet18.a1_in2k", "timm has no weights 'resnet18.a1_in2k'. Did you mean 'resnet18.a1_in1k'?"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(spec, hint):
    with pytest.raises(UnknownNameError) as told:
        load(spec, weights="random", device="cpu")
    assert hint in str(told.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spec": "torchvision"}, "'torchvision' names a source of models and not a model. Write torchvision:NAME"),
        ({"spec": "timm:"}, "names a source of models and not a model"),
        ({"spec": "efficientnet_lite0:224"}, "takes nothing after a colon, got 'efficientnet_lite0:224'"),
        *(
            (
                {"input_size": size},
                f"input_size must be a number of pixels such as 224, or height and width .*, got {told}.",
            )
            for size, told in [
                (0, "0"),
                (-3, "-3"),
                (32.5, "32.5"),
                ("64x", "'64x'"),
                ("x", "'x'"),
                ("64x128x3", "'64x128x3'"),
                ((64, 0), r"\(64, 0\)"),
                ((3, 64, 128), r"\(3, 64, 128\)"),
                (True, "True"),
            ]
        ),
        ({"class_names": "cat"}, "class_names must be a list with one name per class, got 'cat'"),
        ({"class_names": ["a", "b"]}, "got 2 for the 1000 classes of efficientnet_lite0"),
    ],
)
def test_settings_that_cannot_be_meant(options, message):
    with pytest.raises(SettingsError, match=message):
        load(**({"weights": "random", "device": "cpu"} | options))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "no device is called 'gpu'. Known: auto, cpu, cuda, cuda:0, mps."),
        ("", "no device is called ''"),
        ("cuda:-1", "no device is called 'cuda:-1'"),
        ("meta", "'meta' is no device to run a model on here"),  # torch knows it, and nothing runs there
        ("cuda:99", "'cuda:99' was asked for, and torch sees"),
    ],
)
def test_devices_that_are_not_there(device, message):
    with pytest.raises(DeviceError) as told:
        choose_device(device)
    assert message in str(told.value)


def test_cuda_without_a_gpu_is_refused_and_auto_takes_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"'cuda' was asked for, and torch sees no GPU here. Use --device cpu."):
        load("efficientnet_lite0", weights="random", device="cuda")


def test_auto_takes_the_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="'cuda:1' was asked for, and torch sees 1 GPU here"):
        choose_device("cuda:1")


def test_the_device_is_checked_before_anything_is_built():
    with pytest.raises(DeviceError):
        load("torchvision:no_such_model", device="gpu")


def test_input_size_keeps_the_models_ratio_of_resize_to_crop():
    classifier = load("torchvision:resnet18", weights="random", device="cpu", input_size=112)
    assert (classifier.preprocessing.resize, classifier.preprocessing.crop) == (128, 112)  # 256 to 224
    assert classifier.input_size == 112
    assert classifier.layers()[0].shape == (64, 56, 56)
    lite = load("efficientnet_lite0", weights="random", device="cpu", input_size=448)
    assert (lite.preprocessing.resize, lite.preprocessing.crop) == (512, 448)


@pytest.mark.parametrize("given", [(64, 128), [64, 128], "64x128"])
def test_a_rectangle_is_covered_without_distortion(given):
    seen = load("torchvision:resnet18", weights="random", device="cpu", input_size=given).preprocessing
    assert (seen.resize, seen.crop, seen.fit) == ((73, 146), (64, 128), "cover")  # 256 to 224
    assert seen.resized(300, 100) == (219, 73)
    assert seen.resized(100, 300) == (146, 438)


def test_a_model_that_squashes_squashes_to_a_rectangle():
    squashing = "timm:convnext_tiny.in12k_ft_in1k_384"
    seen = load(squashing, weights="random", device="cpu", input_size=(64, 128)).preprocessing
    assert (seen.resize, seen.crop, seen.fit) == ((64, 128), (64, 128), "squash")


def test_a_network_made_for_one_size_is_made_for_the_size_that_is_asked_for():
    classifier = load("timm:test_vit", weights="random", device="cpu", input_size=(64, 128))
    assert classifier.module.pos_embed.shape[1] == 1 + 4 * 8  # patches of 16 pixels
    assert classifier(torch.rand(1, 3, 64, 128)).shape == (1, 1000)


def test_a_size_that_a_network_cannot_take():
    with pytest.raises(ModelError, match="vit_b_16 takes images of 224 x 224 pixels alone, got 112 x 112"):
        load("torchvision:vit_b_16", weights="random", device="cpu", input_size=112)


@pytest.mark.parametrize(("tag", "resize"), [("", 232), ("@IMAGENET1K_V1", 256), ("@IMAGENET1K_V2", 232)])
def test_weights_of_torchvision_by_their_tag(tag, resize):
    classifier = load(f"torchvision:resnet50{tag}", weights="random", device="cpu")
    assert (classifier.preprocessing.resize, classifier.name) == (resize, f"torchvision:resnet50{tag}")


def test_the_tag_chooses_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda url, *_, **__: asked.append(url) or refuse())

    def refuse():
        raise OSError("no network")

    with pytest.raises(ModelError, match=r"Put mobilenet_v2-b0353104.pth into"):
        load("torchvision:mobilenet_v2@IMAGENET1K_V1", device="cpu")
    with pytest.raises(ModelError, match=r"Put mobilenet_v2-7ebf99e0.pth into"):
        load("torchvision:mobilenet_v2", device="cpu")
    assert [url.split("/")[-1] for url in asked] == ["mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"]


def test_weights_of_features_are_no_classifier():
    with pytest.raises(
        ModelError, match=r"VGG16_Weights.IMAGENET1K_FEATURES are of features alone and have no classes"
    ):
        load("torchvision:vgg16@IMAGENET1K_FEATURES", device="cpu")


def test_torchvisions_preprocessing():
    seen = load("torchvision:mobilenet_v3_small", weights="random", device="cpu").preprocessing
    assert seen == Preprocessing(
        resize=256, crop=224, interpolation="bilinear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


def test_timms_preprocessing_uses_its_crop_percentage():
    seen = load("timm:xception", weights="random", device="cpu").preprocessing
    assert (seen.resize, seen.crop, seen.interpolation) == (333, 299, "bicubic")  # floor(299 / 0.8975)
    assert (seen.mean, seen.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_imagenet_names_and_wordnet_ids_belong_together():
    classifier = load("torchvision:resnet18", weights="random", device="cpu", input_size=64)
    assert (len(classifier.class_names), len(classifier.wnids)) == (1000, 1000)
    assert (classifier.class_name(0), classifier.wnids[0]) == ("tench, Tinca tinca", "n01440764")
    assert (classifier.class_name(999)[:13], classifier.wnids[999]) == ("toilet tissue", "n15075141")
    assert classifier.class_name(1000) == "class 1000"


def test_class_names_can_be_given():
    names = [f"kind {index}" for index in range(1000)]
    classifier = load("timm:test_resnet", weights="random", device="cpu", class_names=names)
    assert (classifier.class_names, classifier.class_name(1)) == (tuple(names), "kind 1")


def test_inception_gets_the_normalisation_its_weights_expect():
    """Its weights want another normalisation inside; without weights it is left off."""
    assert not load("torchvision:inception_v3", weights="random", device="cpu").module.transform_input


def test_the_card_can_be_written_as_json():
    classifier = load("timm:test_resnet", weights="random", device="cpu")
    card = json.loads(json.dumps(classifier.card()))
    assert card["name"] == "timm:test_resnet"
    assert card["source"] == "random"
    assert (card["classes"], card["dtype"]) == (1000, "float32")
    assert card["preprocessing"]["std"] == [0.5, 0.5, 0.5]
    assert len(card["weights_sha256"]) == 64


def test_random_weights_are_the_same_in_every_process_and_leave_the_random_state_alone():
    """A study of an untrained network must be repeatable and resumable: its cells are named by this hash."""
    state = torch.get_rng_state()
    here = {spec: load(spec, weights="random", device="cpu").weights_sha256 for spec in SMALL}
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert load(SMALL[0], weights="random", device="cpu").weights_sha256 == here[SMALL[0]]
    code = (
        "import sys, torch; from gazeshift.models import load; torch.manual_seed(5)\n"
        "for spec in sys.argv[1:]: sys.stdout.write(load(spec, weights='random', device='cpu').weights_sha256 + '\\n')"
    )
    there = subprocess.run([sys.executable, "-c", code, *SMALL], capture_output=True, text=True, check=True)
    assert there.stdout.split() == [*here.values()]


SMALL = ("timm:test_resnet", "torchvision:squeezenet1_1", "efficientnet_lite0")


def test_a_bit_of_a_weight_or_buffer_changes_the_hash():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    network.register_buffer("hidden", torch.zeros(2), persistent=False)
    plain = Classifier(network, name="toy").weights_sha256
    assert Classifier(network, name="other name").weights_sha256 == plain
    for tensor in (network[0].weight, network[1].running_var, network.hidden):
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1)[0] = torch.nextafter(tensor.view(-1)[0], torch.tensor(9.0))
        assert Classifier(network, name="toy").weights_sha256 != plain
        with torch.no_grad():
            tensor.copy_(before)
    assert Classifier(network, name="toy").weights_sha256 == plain


def test_the_hash_follows_a_conversion_and_not_a_move():
    classifier = load("timm:test_resnet", weights="random", device="cpu")
    before = classifier.weights_sha256
    assert classifier.to("cpu").weights_sha256 == before
    assert classifier.to(torch.bfloat16).weights_sha256 != before
    assert classifier.card()["dtype"] == "bfloat16"
    assert classifier(torch.rand(1, 3, 64, 64)).dtype == torch.bfloat16


def test_what_a_file_that_torchvision_left_half_written_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ModelError, match=r"Put squeezenet1_1-b8a52dc0.pth into .*checkpoints, or name a file"):
        load("torchvision:squeezenet1_1", device="cpu")
