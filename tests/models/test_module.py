"""A model of one's own, by ``module:``: where it is looked for, what it may say of itself, and how it may fail."""

import sys

import pytest
import torch

from gazeshift.errors import DataError, ModelError
from gazeshift.models import load

NETWORK = """
import torch
from torch import nn

CLASSES = ["cat", "dog"]

class Net(nn.Module):
    input_size = {size}
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    def forward(self, images):
        return self.head(torch.relu(self.conv(images)).mean((2, 3)))

def make():
    torch.manual_seed(0)
    return Net()

number = 3
def fails(): raise KeyError("no such file")
def leaves(): raise SystemExit("usage: train.py")
def gives_state(): return Net().state_dict()
def needs(path): return Net()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, holding a module and a package under names of their own in every test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own.py").write_text(NETWORK.format(size=32))
    return tmp_path


def loaded(spec, **options):
    return load(f"module:{spec}", device="cpu", **options)


def test_from_a_file(folder):
    classifier = loaded(f"{folder / 'own.py'}:make")
    assert classifier.name == f"module:{folder / 'own.py'}:make"
    assert classifier.source == f"{folder / 'own.py'}:make()"
    assert classifier.class_names == ("cat", "dog")
    assert (classifier.preprocessing.resize, classifier.input_size) == (32, 32)
    assert classifier.preprocessing.mean == (0.0, 0.0, 0.0)
    assert [layer.name for layer in classifier.layers()] == ["conv"]
    torch.testing.assert_close(classifier.mean.flatten(), torch.zeros(3))


def test_from_a_relative_path_and_by_a_class(folder):
    assert loaded("own.py:Net").class_names == ("cat", "dog")


def test_from_the_current_folder(folder):
    package = folder / "people_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inner" / "nets.py").write_text(NETWORK.format(size=None))
    before = [*sys.path]
    classifier = loaded("people_package.inner.nets:make")
    assert sys.path == before
    assert classifier.input_size is None
    assert loaded("people_package.inner.nets:make").weights_sha256 == classifier.weights_sha256
    for name in [name for name in sys.modules if name.startswith("people_package")]:
        del sys.modules[name]


def test_a_file_may_import_what_lies_beside_it_even_when_called(folder):
    (folder / "beside_it.py").write_text(NETWORK.format(size=16))
    (folder / "script.py").write_text("def make():\n    import beside_it\n    return beside_it.make()\n")
    assert loaded(f"{folder / 'script.py'}:make").input_size == 16
    del sys.modules["beside_it"]


def test_a_file_hides_no_module_of_its_name(folder):
    (folder / "json.py").write_text(NETWORK.format(size=8))
    (folder / "torch.py").write_text("raise RuntimeError('this is not torch')")
    (folder / "torch.py").unlink()
    before = sys.modules["json"]
    assert loaded(f"{folder / 'json.py'}:make").input_size == 8
    assert sys.modules["json"] is before


def test_a_changed_file_is_read_anew(folder):
    assert loaded("own.py:make").input_size == 32
    (folder / "own.py").write_text(NETWORK.format(size=4096))
    assert loaded("own.py:make").input_size == 4096


@pytest.mark.parametrize(
    ("said", "size", "channels"),
    [
        ("64", 64, 3),
        ("(64, 64)", 64, 3),
        ("[3, 64, 64]", 64, 3),
        ("(3, 48, 48)", 48, 3),
        ("(32, 64)", (32, 64), 3),
        ("(3, 64, 128)", (64, 128), 3),
        ("(1, 28, 28)", 28, 1),
        ("[4, 16, 24]", (16, 24), 4),
        ("(6, 28, 28)", 28, 6),
        ("None", None, 3),
    ],
)
def test_the_input_size_as_people_write_it(folder, said, size, channels):
    (folder / "own.py").write_text(NETWORK.format(size=said).replace("Conv2d(3, 4, 3)", f"Conv2d({channels}, 4, 3)"))
    classifier = loaded("own.py:make")
    assert (classifier.input_size, classifier.channels) == (size, channels)
    height, width = classifier.size or (20, 30)
    assert classifier(torch.rand(2, channels, height, width)).shape == (2, 2)


def test_a_rectangle_is_covered_and_not_distorted(folder):
    """A picture of a round thing shows it round: twice as wide as high, the middle half is taken."""
    (folder / "own.py").write_text(NETWORK.format(size="(3, 16, 16)"))
    square = loaded("own.py:make").preprocessing
    wide = loaded("own.py:make", input_size=(16, 32)).preprocessing
    assert (square.resized(80, 40), wide.resized(80, 40), wide.resized(40, 80)) == ((32, 16), (32, 16), (32, 64))


@pytest.mark.parametrize("said", ["(64, 64, 3)", "0", "-1", "'large'", "32.5", "()", "(1, 3, 32, 32)", "(0, 8, 8)"])
def test_an_input_size_that_is_none(folder, said):
    (folder / "own.py").write_text(NETWORK.format(size=said))
    with pytest.raises(
        ModelError, match=r"says input_size = .*Let it say one number, such as 224, or \(height, width\)"
    ):
        loaded("own.py:make")


def test_a_given_input_size_and_class_names_win(folder):
    classifier = loaded("own.py:make", input_size=20, class_names=["a", "b"])
    assert (classifier.preprocessing.resize, classifier.input_size) == (20, 20)
    assert classifier.class_names == ("a", "b")


def test_class_names_of_the_network_come_first(folder):
    with (folder / "own.py").open("a") as file:
        file.write('\nclass Named(Net):\n    class_names = ("x", "y")\n')
    assert loaded("own.py:Named").class_names == ("x", "y")


def test_without_an_input_size_the_layers_ask_for_one(folder):
    (folder / "own.py").write_text(NETWORK.format(size=None))
    classifier = loaded("own.py:make")
    with pytest.raises(ModelError, match="has no input size of its own, and its layers depend on it"):
        classifier.layers()
    assert classifier.layers((12, 20))[0].shape == (4, 10, 18)


def test_weights_are_loaded_into_the_copy(folder):
    shared = NETWORK + "\nSHARED = make()\ndef shared(): return SHARED\n"
    (folder / "own.py").write_text(shared.format(size=32))
    state = {name: torch.ones_like(value) for name, value in loaded("own.py:make").module.state_dict().items()}
    torch.save(state, folder / "ones.pt")
    classifier = loaded("own.py:shared", weights=str(folder / "ones.pt"))
    assert all(bool((value == 1).all()) for value in classifier.module.state_dict().values())
    assert classifier.source == str(folder / "ones.pt")


def test_somebody_elses_module_stays_as_it_was(folder):
    """The function may give a network that lives on and is still being trained."""
    (folder / "kept_here.py").write_text(NETWORK.format(size=32) + "\nKEPT = make()\ndef kept(): return KEPT\n")
    classifier = loaded("kept_here:kept")
    kept = sys.modules.pop("kept_here").KEPT
    assert kept.training
    assert all(weight.requires_grad for weight in kept.parameters())
    with torch.no_grad():
        kept.head.bias.add_(1)
    assert not torch.equal(classifier.module.head.bias, kept.head.bias)


def test_a_function_may_give_a_classifier(folder):
    with (folder / "own.py").open("a") as file:
        file.write(
            "\ndef ready():\n    from gazeshift.models import Classifier, Preprocessing\n"
            "    half = (0.5, 0.5, 0.5)\n"
            "    return Classifier(make(), name='ready', preprocessing=Preprocessing(resize=40, crop=32, mean=half))\n"
        )
    classifier = loaded("own.py:ready")
    assert (classifier.name, classifier.preprocessing.resize) == ("ready", 40)
    half = loaded("own.py:ready", input_size=16)
    assert (half.preprocessing.resize, half.input_size) == (20, 16)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("own", "is named module:PACKAGE.MODULE:FUNCTION, got module:own"),
        ("own:", "is named module:PACKAGE.MODULE:FUNCTION"),
        ("nowhere.py:make", "no Python file at nowhere.py"),
        ("nowhere:make", "nowhere cannot be imported (No module named 'nowhere'). Run from the folder that holds it"),
        ("own.py:mak", "own.py has no function 'mak'. It has: Net, fails, gives_state, leaves, make, needs."),
        ("own.py:number", "own.py has no function 'number'"),
        ("own.py:fails", "own.py:fails() failed (KeyError: 'no such file'). It is called without arguments"),
        ("own.py:leaves", "own.py:leaves() failed (SystemExit: usage: train.py)"),
        ("own.py:needs", "own.py:needs() failed (TypeError: needs() missing 1 required positional argument: 'path')"),
        ("own.py:gives_state", "own.py:gives_state() must give a torch.nn.Module, got OrderedDict"),
        ("wrong.py:make", "wrong.py cannot be imported: SyntaxError: "),
        ("script.py:make", "script.py cannot be imported: SystemExit: usage: script.py"),
        ("lacking.py:make", "lacking.py cannot be imported (No module named 'surely_not_installed')"),
    ],
)
def test_what_may_go_wrong_is_one_sentence(folder, spec, message):
    (folder / "wrong.py").write_text("def make(:\n")
    (folder / "script.py").write_text("import sys\nsys.exit('usage: script.py')\n")
    (folder / "lacking.py").write_text("import surely_not_installed\n")
    with pytest.raises(ModelError) as told:
        loaded(spec)
    assert message in str(told.value)


def test_our_own_errors_pass_as_they_are(folder):
    with (folder / "own.py").open("a") as file:
        file.write(
            "\ndef told():\n    from gazeshift.errors import DataError\n    raise DataError('put the data there')\n"
        )
    with pytest.raises(DataError, match=r"^put the data there$"):
        loaded("own.py:told")


def test_the_real_vgg16(data_folder, monkeypatch):
    """A user's own VGG-16 on CIFAR-10, from its folder and by its file: 85 % of its test images."""
    from gazeshift.data import open_source

    folder = data_folder / "vgg16_cifar10"
    by_file = load(f"module:{folder / 'vgg16_cifar10.py'}:vgg16_cifar10", device="cpu", input_size=32)
    monkeypatch.chdir(folder)
    by_name = load("module:vgg16_cifar10:vgg16_cifar10", device="cpu", input_size=32)
    assert by_name.weights_sha256 == by_file.weights_sha256
    assert by_name.class_names[:3] == ("airplane", "automobile", "bird")
    source = open_source(folder / "test", class_names=by_name.class_names).take(200, 0)
    right = total = 0
    for batch in source.batches(50, by_name.preprocessing):
        with torch.no_grad():
            right += int((by_name(batch.images).argmax(1) == batch.labels).sum())
        total += len(batch.ids)
    assert total == 200
    assert right >= 160


def test_a_file_that_was_changed_a_moment_ago_is_read_as_it_is_now(tmp_path, monkeypatch):
    """Python's cache goes by the second and the size."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, text = tmp_path / "net.py", "from torch import nn\n\n\ndef make():\n    return nn.Conv2d(3, {}, 1)\n"
    for channels in (4, 5):
        file.write_text(text.format(channels))
        assert load(f"module:{file}:make", device="cpu").module.out_channels == channels
