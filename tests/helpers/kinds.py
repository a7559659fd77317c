"""Every kind of model, image, label and file that people bring, and what comes of it: for tests and documentation.

`tests/laws/test_kinds.py` brings each through every entrance; ``docs/kinds.md`` is written from the same list.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

import gazeshift as gs
from gazeshift.data import ImageSource

SIZE = 16
P = gs.Preprocessing(resize=SIZE, crop=SIZE)
EVERYWHERE = ("attack", "look", "detector_inputs", "judge", "preflight")
GRADIENTS = ("attack", "look", "detector_inputs", "judge")
MAPS = ("look", "detector_inputs", "judge")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind.

    Args:
        group: a section of the page.
        what: it is, for the page.
        make: of models: gives the classifier; of images and labels: changes a plain batch or its labels; of files:
            writes one into a folder; of weights and folders: writes into a folder and opens what is there.
        refused: a part of the sentence that refuses it; empty if it works.
        at: entrances that refuse it; the others take it.
        note: for the page: what is made of it, or what to do.
    """

    group: str
    what: str
    make: Callable[..., Any]
    refused: str = ""
    at: Collection[str] = EVERYWHERE
    note: str


class Net(nn.Module):
    """A convolution, a norm, and a linear head on the mean; `first` and `last` change what it takes and gives."""

    def __init__(self, channels: int = 3, classes: int = 4, first: Any = None, last: Any = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm, self.head = nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, classes)
        self.first, self.last = first, last

    def forward(self, images: Tensor) -> Any:
        images = self.first(images) if self.first else images
        logits = self.head(self.norm(self.conv(images)).relu().mean((2, 3)))
        return self.last(logits) if self.last else logits


class Masked(Net):
    def forward(self, images: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
        return super().forward(images * mask)


class WithoutGradients(Net):
    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, images: Tensor) -> Any:
        with self.mode():
            return super().forward(images)


class Tokens(nn.Module):
    """A small transformer: a patch embedding, then attention over tokens."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patch, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 4)
            self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3)))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.patch(images).flatten(2).transpose(1, 2)).mean(1))
        return logits


class Answer:
    """What transformers' models return."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def in_inference_mode(batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return batch.clone()


def classifier(network: Any = None, preprocessing: Any = P, **options: Any) -> gs.Classifier:
    return gs.Classifier(network or Net(**options), name="toy", preprocessing=preprocessing)


def quantised() -> nn.Module:
    from torch.ao.quantization import quantize_dynamic

    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    return quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3))


def scripted() -> Any:
    return torch.jit.trace(Net().eval(), torch.rand(1, 3, SIZE, SIZE))


def rectangle() -> gs.Classifier:
    return classifier(preprocessing=gs.Preprocessing(resize=(12, 20), crop=(12, 20)))


def broken() -> nn.Module:
    network = Net()
    network.head.bias.data[0] = torch.nan
    return network


def grown(logits: Tensor) -> Tensor:
    return torch.cat([logits, logits])


def picture(values: Any, mode: str | None = None) -> Image.Image:
    made = Image.fromarray(values)
    return made.convert(mode) if mode else made


def levels(*shape: int, kind: Any = np.uint8, top: int = 256) -> Any:
    return np.random.default_rng(0).integers(0, top, shape).astype(kind)


def file(name: str, write: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def prefixed(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def png(name: str, values: Any, mode: str | None = None) -> Callable[[Path], Path]:
    return file(name, lambda path: picture(values, mode).save(path))


ONE_LOGIT = "a classifier must give a logit for each of two classes or more, toy gave float32"
ROWS = "a classifier must give one row of logits per image"
NONE = "this model gives none. Leave out detach(), no_grad(), inference_mode() and numpy()"
WRAP = "wrap it in a `torch.nn.Module` that returns the logits alone"
FLOAT = "leave it out on the way from the images to the logits"


def model(
    what: str, make: Callable[[], Any], refused: str = "", *, note: str, at: Collection[str] = EVERYWHERE
) -> Kind:
    return Kind(group="models", what=what, make=make, refused=refused, note=note, at=at)


def images(what: str, make: Callable[[Tensor], Any], refused: str = "", *, note: str) -> Kind:
    return Kind(group="images", what=what, make=make, refused=refused, note=note)


def labels(what: str, make: Callable[[Tensor], Any], refused: str = "", *, note: str) -> Kind:
    refusing = ("attack", "look", "preflight")
    return Kind(group="labels", what=what, make=make, refused=refused, note=note, at=refusing)


def a_file(what: str, make: Callable[[Path], Path], refused: str = "", *, note: str) -> Kind:
    return Kind(group="files", what=what, make=make, refused=refused, note=note, at=("read_image",))


def weights(what: str, spec: str, save: Callable[[nn.Module], Any], refused: str = "", *, note: str) -> Kind:
    """Weights of a five-class network in a checkpoint as training scripts write them."""

    def opened(folder: Path) -> gs.Classifier:
        torch.save(save(timm.create_model("test_resnet", num_classes=5)), folder / "five.pth")
        return gs.load(spec, weights=str(folder / "five.pth"), device="cpu")

    return Kind(group="weights", what=what, make=opened, refused=refused, note=note, at=("load",))


def a_folder(what: str, names: Collection[str], refused: str = "", *, note: str, table: str = "", **given: Any) -> Kind:
    """A folder with pictures of these names, and perhaps a table of labels."""

    def opened(folder: Path) -> ImageSource:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            picture(levels(SIZE, SIZE, 3)).save(folder / name, "PNG")
        if table:
            (folder / "labels.csv").write_text(table)
        return gs.open_source(folder, **given)

    return Kind(group="folders", what=what, make=opened, refused=refused, note=note, at=("open_source",))


TEN = tuple(sorted(str(number) for number in range(12)))  # "0", "1", "10", "11", "2"...
KINDS = (
    model("a CNN for colour images", classifier, note="the usual case"),
    model("a network for 1 channel", lambda: classifier(channels=1), note="files are read as grey"),
    model("a network for 2 channels", lambda: classifier(channels=2), note="files must be grey with transparency"),
    model("a network for 4 channels", lambda: classifier(channels=4), note="files must have transparency"),
    model(
        "a network for 5 channels and more",
        lambda: classifier(channels=5),
        note="give tensors, in Python; pictures show the first three channels",
    ),
    model("a network for rectangles", rectangle, note="`Preprocessing(crop=(12, 20))`, `--input-size 12x20`"),
    model("an answer that carries its `.logits`", lambda: classifier(last=Answer), note="they are taken"),
    model("a dict with `logits`", lambda: classifier(last=lambda z: {"logits": z}), note="they are taken"),
    model(
        "logits (n, classes, 1, 1)", lambda: classifier(last=lambda z: z[..., None, None]), note="they are flattened"
    ),
    model(
        "weights in bfloat16",
        lambda: classifier(Net().bfloat16()),
        note="images are converted inside; gradients are float32",
    ),
    model("DataParallel around a network", lambda: classifier(nn.DataParallel(Net())), note="it is unwrapped"),
    model(
        "a transformer, an MLP-Mixer",
        lambda: classifier(Tokens()),
        "toy works on tokens, as transformers and MLP-Mixers do",
        at=MAPS,
        note="it can be attacked; its maps are not drawn yet, so look at a convolutional network",
    ),
    model("one logit, (n, 1)", lambda: classifier(classes=1), ONE_LOGIT, note="give `torch.cat([-z, z], 1) / 2`"),
    model("one logit, (n,)", lambda: classifier(classes=1, last=lambda z: z[:, 0]), ONE_LOGIT, note="likewise"),
    model("a class number", lambda: classifier(last=lambda z: z.argmax(1)), "toy gave int64", note="give the logits"),
    model("a tuple", lambda: classifier(last=lambda z: (z, z)), ROWS, note=WRAP),
    model("a list", lambda: classifier(last=lambda z: [z, z]), ROWS, note=WRAP),
    model("a dict without `logits`", lambda: classifier(last=lambda z: {"out": z}), ROWS, note=WRAP),
    model("nothing", lambda: classifier(last=lambda _: None), ROWS, note="return the logits"),
    model("one row for the whole batch", lambda: classifier(last=lambda z: z.mean(0)), ROWS, note="one row per image"),
    model(
        "crops folded into the batch",
        lambda: classifier(last=grown),
        "crops of each image are folded into the batch, average them",
        note="average the crops' logits in a module around it",
    ),
    model(
        "a map of logits (segmentation)",
        lambda: classifier(last=lambda z: z[..., None, None].expand(-1, 4, 2, 2)),
        ROWS,
        note=WRAP,
    ),
    model(
        "a forward pass with a second argument",
        lambda: classifier(Masked()),
        "missing 1 required positional argument: 'mask'. Wrap it in a torch.nn.Module",
        note="wrap it in a `torch.nn.Module` whose forward takes images alone",
    ),
    model(
        "a forward pass that raises",
        lambda: classifier(last=lambda z: z @ z),
        "toy cannot be run on",
        note="its own words are told; mend it",
    ),
    model(
        "NaN logits",
        lambda: classifier(broken()),
        "NaN or infinite logits",
        at=("attack", "preflight"),
        note="check the weights; its maps are undefined and marked so, its verdicts are alarms",
    ),
    model("detach() on the way", lambda: classifier(last=Tensor.detach), NONE, at=GRADIENTS, note=FLOAT),
    model("no_grad() on the way", lambda: classifier(WithoutGradients(torch.no_grad)), NONE, at=GRADIENTS, note=FLOAT),
    model(
        "inference_mode() on the way",
        lambda: classifier(WithoutGradients(torch.inference_mode)),
        "Leave out detach(), no_grad(), inference_mode() and numpy()",
        note=FLOAT,
    ),
    model("a quantised network", lambda: classifier(quantised()), "toy is quantised", note="give the float network"),
    model(
        "lazy modules", lambda: classifier(lazy()), "weights without a shape yet", note="run one batch through it first"
    ),
    model(
        "a scripted or traced network",
        lambda: classifier(scripted()),
        "scripted or traced",
        note="give the Python network",
    ),
    model(
        "a bare `nn.Module`",
        Net,
        "a Classifier is needed, got Net. Wrap a network",
        note="`gs.Classifier(network, name=...)`",
    ),
    model(
        "a function",
        lambda: classifier(lambda x: x),
        "needs a torch.nn.Module, got function",
        note="put it into a module",
    ),
    images("float32 in [0, 1], (n, channels, h, w)", lambda x: x, note="the usual case"),
    images("float64", Tensor.double, note="attacked in float64 and given back so"),
    images("float16", Tensor.half, note="attacked in float32, given back in float16, inside the ball"),
    images("bfloat16", Tensor.bfloat16, note="likewise"),
    images("a NumPy array", Tensor.numpy, note="floating, in [0, 1]"),
    images("a list of tensors or arrays", list, note="of one size"),
    images(
        "pictures of Pillow",
        lambda x: [picture(levels(SIZE, SIZE, 3)) for _ in x],
        note="come to the model's size as files do",
    ),
    images("values up to 1e-6 outside [0, 1]", lambda x: x - x.min() - 3e-8, note="are clamped"),
    images("tensors that ask for gradients", lambda x: x.clone().requires_grad_(), note="their history is left alone"),
    images("tensors made in inference mode", in_inference_mode, note="are copied where needed"),
    images("channels-last memory", lambda x: x.contiguous(memory_format=torch.channels_last), note="any strides"),
    images(
        "8-bit numbers", lambda x: (x * 255).byte(), "Divide 8-bit images by 255: images / 255.", note="`images / 255`"
    ),
    images("0 to 255 as floats", lambda x: x * 255, "Divide 8-bit images by 255: images / 255.", note="`images / 255`"),
    images(
        "normalised images",
        lambda x: x * 4 - 2,
        "Pass images before normalisation.",
        note="the model normalises inside",
    ),
    images("NaN", lambda x: x * torch.nan, "images must be in [0, 1], got [nan, nan]", note="leave them out"),
    images("one image without a batch", lambda x: x[0], "One image: images[None]", note="`images[None]`"),
    images(
        "channels last",
        lambda x: x.permute(0, 2, 3, 1),
        "Channels last: images.permute(0, 3, 1, 2).",
        note="as it says",
    ),
    images(
        "another number of channels",
        lambda x: x[:, :1],
        "images must be float (n, 3, h, w) for this model",
        note="see models",
    ),
    images("sizes that differ", lambda x: [x[0], x[1, :, :9]], "must have one shape", note="bring them to one size"),
    images(
        "a path", lambda _: "cat.png", "got str. Give a tensor", note="`gs.read_image(path)`, `gs.open_source(folder)`"
    ),
    images("nothing", lambda _: None, "got NoneType", note="give images"),
    labels("none", lambda _: None, note="the model's own answers are left, or explained"),
    labels("a tensor of whole numbers", lambda y: y, note="the usual case"),
    labels("int32, uint8", lambda y: y.byte(), note="any whole type"),
    labels("a list", Tensor.tolist, note="is converted"),
    labels("a NumPy array", Tensor.numpy, note="is converted"),
    labels(
        "a class that the model has not",
        lambda y: y + 2,
        "one class from 0 to 3 per image",
        note="check the class list",
    ),
    labels("negative classes", lambda y: y - 1, "one class from 0 to 3 per image", note="leave unknown ones out"),
    labels("floats", Tensor.float, "must be 3 whole numbers", note="whole numbers"),
    labels(
        "names",
        lambda _: ["cat", "dog", "eel"],
        "must be 3 whole numbers",
        note="class numbers, in Python; names work in files",
    ),
    labels("too few", lambda y: y[:2], "must be 3 whole numbers", note="one per image"),
    labels("one-hot rows", lambda y: nn.functional.one_hot(y, 4), "must be 3 whole numbers", note="`labels.argmax(1)`"),
    labels("booleans", lambda y: y > 0, "must be 3 whole numbers", note="class numbers"),
    a_file(
        "8-bit colour", png("a.png", levels(20, 30, 3)), note="resized and cropped as the model's own transform does"
    ),
    a_file("8-bit grey", png("a.png", levels(20, 30)), note="repeated for a colour model"),
    a_file("16-bit grey", png("a.png", levels(20, 30, kind=np.uint16, top=65536)), note="keeps its 16 bits"),
    a_file("transparency", png("a.png", levels(20, 30, 4)), note="laid over white, unless the model takes it"),
    a_file("CMYK", file("a.jpg", lambda path: picture(levels(20, 30, 3)).convert("CMYK").save(path)), note="converted"),
    a_file("a palette", png("a.png", levels(20, 30, 3), "P"), note="converted"),
    a_file("an animation", file("a.gif", lambda path: picture(levels(20, 30)).save(path)), note="its first frame"),
    a_file(
        "32-bit float grey in [0, 1]",
        file("a.tif", lambda path: picture(np.full((20, 30), 0.5, np.float32)).save(path)),
        note="taken as it is",
    ),
    a_file(
        "32-bit float grey beyond [0, 1]",
        file("a.tif", lambda path: picture(np.full((20, 30), 7.0, np.float32)).save(path)),
        "holds 32-bit floats from 7 to 7",
        note="rescale it, or save 8 bits",
    ),
    a_file("no image", file("a.png", lambda path: path.write_text("no")), "is not an image", note="leave it out"),
    a_file("an empty file", file("a.png", lambda path: path.touch()), "is empty (zero bytes)", note="copy it again"),
    a_file("fewer than 8 pixels on a side", png("a.png", levels(4, 30, 3)), "is 30 x 4 pixels", note="leave it out"),
    a_file(
        "HEIC, DICOM and others",
        file("a.heic", lambda path: path.write_bytes(b"ftypheic")),
        "is not an image",
        note="convert it to PNG; in a folder such files are left out, counted and named",
    ),
    weights(
        "a state dict with another head", "timm:test_resnet", lambda n: n.state_dict(), note="classes from its head"
    ),
    weights("DataParallel's", "timm:test_resnet", lambda n: prefixed(n, "module."), note="the prefix is taken off"),
    weights("Lightning's", "timm:test_resnet", lambda n: {"state_dict": prefixed(n, "model.")}, note="likewise"),
    weights(
        "averaged (EMA) beside plain",
        "timm:test_resnet",
        lambda n: {"state_dict": {}, "state_dict_ema": n.state_dict()},
        note="the averaged are taken: training validates them",
    ),
    weights(
        "of another network",
        "timm:test_vit",
        lambda n: n.state_dict(),
        "are not those of timm:test_vit",
        note="--model",
    ),
    weights(
        "a whole pickled module",
        "timm:test_resnet",
        lambda n: n,
        "opening it could run code",
        note="save the state dict",
    ),
    weights(
        "for a detector of objects",
        "torchvision:fasterrcnn_resnet50_fpn",
        lambda n: n.state_dict(),
        "it is a network for another task",
        note="give a classifier",
    ),
    a_folder(
        "class folders by name", ["cat/a.png", "dog/b.png"], class_names=("cat", "dog"), note="never by their order"
    ),
    a_folder("class folders by number", ["0/a.png", "1/b.png"], class_names=("cat", "dog"), note="if all are numbers"),
    a_folder(
        "class folders that are names and other classes' numbers",
        ["10/a.png", "2/b.png"],
        "is the name of class 2 and the number of class 10",
        class_names=TEN,
        note="give the classes other names: --classes",
    ),
    a_folder(
        "class folders for a model without names",
        ["cat/a.png", "dog/b.png"],
        "--classes",
        note="name them: --classes, class_names=",
    ),
    a_folder(
        "a table of labels",
        ["a.png"],
        table="file,label\na.png,dog\n",
        class_names=("cat", "dog"),
        note="names, wnids, numbers",
    ),
    a_folder(
        "labels that are names and other classes' numbers",
        ["a.png"],
        "is the name of class 2 and the number of class 10",
        table="file,label\na.png,10\n",
        class_names=TEN,
        note="give the classes other names: --classes",
    ),
    a_folder(
        "labels such as 1.0",
        ["a.png"],
        "1.0",
        table="file,label\na.png,1.0\n",
        class_names=("cat", "dog"),
        note="write 1",
    ),
    a_folder("files that are no pictures among others", ["a.png", "b.heic"], note="left out, counted and named"),
    a_folder("nothing but such files", ["b.heic"], "no images in the folder", note="convert them"),
)
