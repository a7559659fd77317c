"""Weights from a file: every format that people bring, and every way in which one is wrong."""

import argparse
import io
import pickle
import zipfile

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from gazeshift.errors import ModelError
from gazeshift.models import load

SPEC = "timm:test_resnet"


@pytest.fixture(scope="module")
def trained():
    """A network with other weights than the untrained one."""
    state = dict(load(SPEC, weights="random", device="cpu").module.state_dict())
    return {name: tensor * 1.5 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def expected(trained):
    classifier = load(SPEC, weights="random", device="cpu")
    classifier.module.load_state_dict(trained)
    return classifier


def same(found, expected):
    assert found.weights_sha256 == expected.weights_sha256


def prefixed(trained, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in trained.items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.pt", lambda state: state),
        ("plain.pth", lambda state: state),
        ("checkpoint.pth", lambda state: {"state_dict": state, "epoch": 3}),
        ("checkpoint2.pth", lambda state: {"model_state_dict": state, "loss": 0.1}),
        ("checkpoint3.pth", lambda state: {"model": state}),
        ("parallel.pt", lambda state: prefixed(state, "module.")),
        ("compiled.pt", lambda state: prefixed(state, "_orig_mod.")),
        ("both.pt", lambda state: prefixed(state, "module._orig_mod.")),
        ("other order.pt", lambda state: prefixed(state, "_orig_mod.module.")),
        ("inner.pt", lambda state: {name.replace("conv1.", "conv1.module."): state[name] for name in state}),
        ("lightning.ckpt", lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {"lr": 0.1}}),
        ("loss.ckpt", lambda state: {"state_dict": prefixed(state, "net.") | {"loss.weight": torch.ones(5)}}),
        ("deep.ckpt", lambda state: {"state_dict": prefixed(state, "net.backbone.module.")}),
        ("nested.pt", lambda state: {"model": {"state_dict": state, "epoch": 3}}),
        ("swa.pt", lambda state: prefixed(state, "module.") | {"n_averaged": torch.tensor(7)}),
        ("script.pt", lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, path="there")}),
    ],
)
def test_torch_files(tmp_path, trained, expected, name, content):
    torch.save(content(trained), tmp_path / name)
    found = load(SPEC, weights=str(tmp_path / name), device="cpu")
    same(found, expected)
    assert found.source == str(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "W.SafeTensors"])
def test_safetensors(tmp_path, trained, expected, name):
    save_file(trained, tmp_path / name)
    same(load(SPEC, weights=str(tmp_path / name), device="cpu"), expected)


@pytest.mark.parametrize(
    "content",
    [
        lambda plain, ema: {"state_dict": plain, "state_dict_ema": ema},  # timm's training script
        lambda plain, ema: {"model": plain, "model_ema": prefixed(ema, "module.") | {"n_averaged": torch.tensor(7)}},
        lambda plain, ema: {"state_dict": plain, "ema_state_dict": ema},
        lambda plain, ema: {"state_dict": prefixed(plain, "model.") | prefixed(ema, "model_ema.module.")},
        lambda _, ema: {"model": ema, "model_ema": None},  # none was kept
    ],
)
def test_averaged_weights_come_before_plain_ones(tmp_path, trained, expected, content):
    plain = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}
    torch.save(content(plain, trained), tmp_path / "both.pt")
    same(load(SPEC, weights=str(tmp_path / "both.pt"), device="cpu"), expected)


def test_two_networks_in_one_file_are_not_chosen_from(tmp_path, trained):
    torch.save(prefixed(trained, "student.") | prefixed(trained, "teacher."), tmp_path / "two.pt")
    with pytest.raises(ModelError, match=r"two.pt holds 2 networks \(student., teacher.\). Save the one that is meant"):
        load(SPEC, weights=str(tmp_path / "two.pt"), device="cpu")


@pytest.mark.parametrize(
    ("spec", "network", "head"),
    [
        (SPEC, lambda: timm.create_model("test_resnet", num_classes=5), "fc"),
        ("timm:test_vit", lambda: timm.create_model("test_vit", num_classes=5), "head"),
        ("torchvision:resnet18", lambda: torchvision.models.resnet18(num_classes=5), "fc"),
        ("torchvision:mobilenet_v3_small", lambda: torchvision.models.mobilenet_v3_small(num_classes=5), "classifier"),
        ("torchvision:googlenet", lambda: with_new_head(torchvision.models.googlenet(init_weights=False)), "fc"),
        ("efficientnet_lite0", lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5), "classifier"),
    ],
)
def test_the_head_says_how_many_classes_there_are(tmp_path, spec, network, head):
    """Fine-tuned weights: the answers are those of the network that was trained, and ImageNet's names are not its."""
    torch.manual_seed(0)
    own = network().eval()
    assert head in [name for name, _ in own.named_children()]
    torch.save({"state_dict": prefixed(own.state_dict(), "model.")}, tmp_path / "five.ckpt")
    found = load(spec, weights=str(tmp_path / "five.ckpt"), device="cpu")
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(found(images), own((images - found.mean) / found.std))
    assert found(images).shape == (2, 5)
    assert (found.class_names, found.wnids) == ((), ())
    named = load(spec, weights=str(tmp_path / "five.ckpt"), device="cpu", class_names=list("abcde"))
    assert named.class_names == tuple("abcde")


def with_new_head(network):
    """As people fine-tune a network with auxiliary heads: those keep their thousand classes."""
    network.fc = torch.nn.Linear(network.fc.in_features, 5)
    network.transform_input = True
    return network


def test_a_thousand_classes_are_imagenets(tmp_path, trained):
    torch.save(trained, tmp_path / "plain.pt")
    assert load(SPEC, weights=str(tmp_path / "plain.pt"), device="cpu").class_name(0) == "tench, Tinca tinca"


def test_a_head_of_another_form_is_told_with_its_names(tmp_path):
    network = torchvision.models.resnet18(num_classes=5)
    network.fc = torch.nn.Sequential(torch.nn.Dropout(), network.fc)
    torch.save(network.state_dict(), tmp_path / "five.pth")
    with pytest.raises(ModelError) as told:
        load("torchvision:resnet18", weights=str(tmp_path / "five.pth"), device="cpu")
    assert str(told.value) == (
        f"the weights in {tmp_path / 'five.pth'} are not those of torchvision:resnet18: the file lacks fc.weight, "
        "fc.bias; it has too much fc.1.weight, fc.1.bias. Name the architecture that they were trained with; a network "
        "of your own is named module:FILE.py:FUNCTION."
    )


def test_weights_for_other_channels_are_told_with_both_shapes(tmp_path):
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict() | {"conv1.weight": torch.ones(64, 1, 7, 7)},
               tmp_path / "grey.pth")  # fmt: skip
    with pytest.raises(ModelError, match=r"other shapes conv1.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\), fc"):
        load("torchvision:resnet18", weights=str(tmp_path / "grey.pth"), device="cpu")


def test_half_precision_is_widened(tmp_path, trained):
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in trained.items()}
    save_file(half, tmp_path / "half.safetensors")
    found = load(SPEC, weights=str(tmp_path / "half.safetensors"), device="cpu")
    assert found.dtype == torch.float32
    for name, tensor in found.module.state_dict().items():
        assert torch.equal(tensor, half[name].to(tensor.dtype))


def test_a_networks_own_attribute_called_module_is_no_prefix(tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.module = torch.nn.Conv2d(3, 2, 3)\n"
        "    def forward(self, images):\n        return self.module(images).mean((2, 3))\n"
    )
    weights = {"module.weight": torch.ones(2, 3, 3, 3), "module.bias": torch.zeros(2)}
    save_file(weights, tmp_path / "own.safetensors")
    found = load(f"module:{tmp_path / 'own.py'}:Net", weights=str(tmp_path / "own.safetensors"), device="cpu")
    assert found(torch.ones(1, 3, 8, 8)).tolist() == [[27.0, 27.0]]


def test_another_networks_weights_name_the_first_keys(tmp_path, trained):
    torch.save(trained, tmp_path / "other.pt")
    with pytest.raises(ModelError) as told:
        load("torchvision:squeezenet1_1", weights=str(tmp_path / "other.pt"), device="cpu")
    assert f"the weights in {tmp_path / 'other.pt'} are not those of torchvision:squeezenet1_1" in str(told.value)
    assert ": the file lacks features.0.weight, features.0.bias, " in str(told.value)
    assert "; it has too much conv1.0.weight, " in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


def test_a_missing_or_reshaped_weight_is_not_overlooked(tmp_path, trained):
    first, *_ = trained
    torch.save({name: tensor for name, tensor in trained.items() if name != first}, tmp_path / "less.pt")
    torch.save(trained | {first: torch.zeros(1)}, tmp_path / "shape.pt")
    torch.save(trained | {"extra": torch.zeros(1)}, tmp_path / "more.pt")
    told = (("less", f"lacks {first}"), ("shape", rf"{first} \(1,\) instead of"), ("more", "has too much extra"))
    for name, words in told:
        with pytest.raises(ModelError, match=words):
            load(SPEC, weights=str(tmp_path / f"{name}.pt"), device="cpu")


class Hostile:
    """What unpickling would run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("form", ["pickle", "torch", "legacy"])
def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path, form):
    marker, file = tmp_path / "ran", tmp_path / "hostile.pt"
    content = {"weight": Hostile(marker)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(ModelError, match="holds more than tensors, and opening it could run code"):
        load(SPEC, weights=str(file), device="cpu")
    assert not marker.exists()
    if form == "pickle":
        pickle.loads(file.read_bytes())["weight"].close()  # noqa: S301 - it is ours, and shows that it would have run
        assert marker.exists()


def test_a_whole_saved_model_is_refused(tmp_path):
    torch.save(torch.nn.Conv2d(3, 4, 3), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="holds more than tensors"):
        load(SPEC, weights=str(tmp_path / "model.pt"), device="cpu")


def broken(kind, trained, file):
    stream = io.BytesIO()
    if kind == "missing":
        return
    if kind == "folder":
        file.mkdir()
    elif kind in ("cut.pt", "cut early.pt"):
        torch.save(trained, stream)
        whole = stream.getvalue()
        file.write_bytes(whole[: len(whole) // 2 if kind == "cut.pt" else 3])
    elif kind == "cut.safetensors":
        save_file(trained, file)
        file.write_bytes(file.read_bytes()[:-100])
    elif kind == "archive.pt":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("readme.txt", "no weights")
    elif kind == "numbers.pt":
        torch.save({"epoch": 3}, file)
    elif kind == "list.pt":
        torch.save([torch.zeros(1)], file)
    elif kind == "none.pt":
        torch.save({}, file)
    else:
        file.write_bytes({"empty.pt": b"", "page.pt": b"<html>404</html>", "text.safetensors": b"hello"}[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no weights at"),
        ("folder", "no weights at"),
        ("cut.pt", "cannot be read as weights"),
        ("cut early.pt", "cannot be read as weights"),
        ("cut.safetensors", "cannot be read as weights"),
        ("archive.pt", "cannot be read as weights"),
        ("empty.pt", "cannot be read as weights"),
        ("page.pt", "cannot be read as weights"),
        ("text.safetensors", "cannot be read as weights"),
        ("numbers.pt", "holds no state dict"),
        ("list.pt", "holds no state dict"),
        ("none.pt", "holds no state dict"),
    ],
)
def test_what_is_no_file_of_weights(tmp_path, trained, kind, message):
    file = tmp_path / kind
    broken(kind, trained, file)
    with pytest.raises(ModelError) as told:
        load(SPEC, weights=str(file), device="cpu")
    assert message in str(told.value)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)
