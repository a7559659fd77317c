"""The one kind of model that every other part sees: frozen, images in [0, 1] in, logits out."""

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import TypedDict  # typing.TypedDict is not read by pydantic before Python 3.12

from gazeshift.errors import ModelError, SettingsError
from gazeshift.models._discovery import Layers, discover
from gazeshift.models._edge import PASSED_ON, as_images, as_logits, cannot_run, check_network, checked_names
from gazeshift.models._preprocessing import Pixels, Preprocessing, PreprocessingCard
from gazeshift.models._uncompiled import uncompile, unwrapped

SIZES = 64  # of images whose layers are remembered: a server may be sent any
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PublicModelCard(TypedDict):
    """What may be said of a model to anybody: nothing of this machine.

    `classes` is None where the model does not know their names.
    """

    name: str
    weights_sha256: str
    preprocessing: PreprocessingCard
    classes: int | None
    dtype: str


class ModelCard(PublicModelCard):
    """What a manifest says of a model; `source` is where its weights come from, such as a file."""

    source: str


@dataclass
class Passes:
    """Images sent forward and backward through a classifier, counted while `Classifier.counting` is open."""

    forwards: int = 0
    backwards: int = 0


class Classifier(nn.Module):
    """A frozen snapshot of a network that takes float images (n, channels, h, w) in [0, 1] and gives logits (n, c).

    The network is copied, put in eval mode and its weights frozen, so that the caller's own module is never touched
    and the SHA-256 stays true. Normalisation happens inside, so that a step of 1/255 means the same for every model.

    Args:
        module: takes normalised images, gives logits.
        name: how reports call it.
        preprocessing: how files become images, and the normalisation.
        class_names: one per class, or empty.
        wnids: WordNet ids, one per class, for ImageNet models; folders named by them are mapped through these.
        source: where the weights come from, for the manifest.
        own: False copies the module (the default for a module somebody else may still train).

    Raises:
        ModelError: the module is no `torch.nn.Module`, is scripted, or cannot be copied.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] = (),
        wnids: Sequence[str] = (),
        source: str = "",
        own: bool = False,
    ) -> None:
        super().__init__()
        with torch.inference_mode(mode=False):
            self.module = _snapshot(module, name, own=own)
            self.module.eval()  # before any pass: in training mode it would change the batch norms
            given = Preprocessing() if preprocessing is None else preprocessing
            if not isinstance(given, Preprocessing):
                raise SettingsError(f"preprocessing must be a gs.Preprocessing, got {type(given).__name__}.")
            self.preprocessing = given.for_channels(given.channels or _channels(self.module, given.size or (64, 64)))
            self.register_buffer("mean", torch.tensor(self.preprocessing.mean)[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor(self.preprocessing.std)[:, None, None], persistent=False)
        self.name, self.source = name, source
        self.class_names, self.wnids = checked_names(class_names), tuple(wnids)
        self.eval().requires_grad_(requires_grad=False)
        self.fast: Callable[[Tensor], Tensor] | None = None  # `answer` compiled, for passes that nobody looks into
        self._start()
        self._layers: dict[tuple[int, int], Layers] = {}

    def _start(self) -> None:
        self._local, self._lock = threading.local(), threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """All but what belongs to this process, so that a classifier can be copied and sent to a worker."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("_local", "_lock")}
        return kept | {"fast": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._start()

    def forward(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c"]:
        """Logits of images in [0, 1].

        Raises:
            ModelError: the network breaks off, or its answer is not one row of logits per image.
        """
        answer = self.answer if self.fast is None or _is_watched(self.module) else self.fast
        try:
            output = answer(images)
        except PASSED_ON:
            raise
        except Exception as cause:  # a network of the user's own may raise anything
            raise cannot_run(cause, images, self.name) from cause
        logits = as_logits(output, len(images), self.name)
        passes: Passes | None = getattr(self._local, "passes", None)
        if passes is not None:
            passes.forwards += len(images)
            if logits.requires_grad:
                logits.register_hook(lambda _: self._count_backward(passes, len(images)))  # type: ignore[no-untyped-call]
        return logits

    def answer(self, images: Tensor) -> Any:
        """The network's own answer, counted and checked nowhere: what `torch.compile` compiles."""
        return self.module(((images - self.mean) / self.std).to(self.dtype))

    def prepare(self, images: Any) -> Float[Tensor, "n channels h w"]:
        """A checked batch of images beside the weights; every entrance of the package begins here.

        Args:
            images: a floating tensor or NumPy array (n, channels, h, w) in [0, 1], a list of tensors or arrays
                (channels, h, w), or pictures of Pillow, which come to the model's size as files do. What lies within
                1e-6 of the range is clamped into it.

        Raises:
            BoundsError: wrong kind, shape, type or range; says what came and what to do.
        """
        return as_images(images, self.preprocessing, self.device)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: a classifier is a frozen snapshot. Train the network itself, then wrap it again."""
        if mode:
            raise ModelError("a Classifier is frozen in eval mode. Train the network itself, then wrap it again.")
        super().train(mode=False)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move and convert weights outside inference mode: no gradient could pass through what is made inside."""
        self.__dict__.pop("weights_sha256", None)  # a conversion changes the bytes
        with torch.inference_mode(mode=False):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @contextmanager
    def counting(self) -> Iterator[Passes]:
        """Count this thread's passes: ``with classifier.counting() as passes: ...``. What is counted inside counts."""
        before, passes = getattr(self._local, "passes", None), Passes()
        self._local.passes = passes
        try:
            yield passes
        finally:
            self._local.passes = before
            if before is not None:
                before.forwards += passes.forwards
                before.backwards += passes.backwards

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave this thread's passes out of every count: a grey image that shows the layers is nobody's pass."""
        before, self._local.passes = getattr(self._local, "passes", None), None
        try:
            yield
        finally:
            self._local.passes = before

    @staticmethod
    def _count_backward(passes: Passes, images: int) -> None:
        passes.backwards += images

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights; images are converted to it inside."""
        floats = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return next(floats, torch.float32)

    @property
    def input_size(self) -> Pixels | None:
        """Height and width of the images the preprocessing makes, one number for a square; None: the images' own."""
        return self.preprocessing.crop

    @property
    def size(self) -> tuple[int, int] | None:
        """The same, always as height and width."""
        return self.preprocessing.size

    @property
    def channels(self) -> int:
        """Of the images: 3 for colour, 1 for grey."""
        return len(self.mean)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 over names, types, shapes and bytes of all weights and buffers."""
        digest = hashlib.sha256()
        tensors = (
            self.module.named_parameters(remove_duplicate=False),
            self.module.named_buffers(remove_duplicate=False),
        )
        for name, tensor in chain(*tensors):
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return digest.hexdigest()

    def layers(self, size: tuple[int, int] | None = None) -> Layers:
        """Every layer that can be looked at, in the order of the forward pass, found by running one grey image.

        Args:
            size: height and width of the images; needed only if the classifier has no input size of its own.

        Raises:
            ModelError: the model cannot be run, or its input size is unknown and not given.
            NoMapsError: it has no convolution that gives a map, or most of it works on tokens.
        """
        if size is None and self.size is None:
            raise ModelError(
                f"{self.name} has no input size of its own, and its layers depend on it. Say which: 32, 224?"
            )
        size = size or self.size or (0, 0)
        with self._lock, self.uncounted():
            if size not in self._layers:
                while len(self._layers) >= SIZES:
                    del self._layers[next(iter(self._layers))]
                grey = partial(torch.full, (1, self.channels, *size), 0.5, device=self.device)
                self._layers[size] = discover(self.module, lambda: self(grey()), self.name)
            return self._layers[size]

    def __repr__(self) -> str:
        """What it is; ``print(classifier.module)`` shows the network."""
        size = "x".join(map(str, (self.channels, *(self.size or ("h", "w")))))
        classes = f"{len(self.class_names)} classes" if self.class_names else "classes without names"
        return f"Classifier({self.name}: {classes}, images {size}, {self.dtype} on {self.device})".replace("torch.", "")

    def class_name(self, index: int) -> str:
        """Name of a class, or ``class 7`` if the model does not know its names."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    def card(self) -> ModelCard:
        """What a manifest says of the model."""
        return {
            "name": self.name,
            "source": self.source,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.described(),
            "classes": len(self.class_names) or None,
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def prepared(classifier: Classifier, images: Any) -> Float[Tensor, "n channels h w"]:
    """`Classifier.prepare`, of what may be no classifier: where everything that takes a classifier and images begins.

    Raises:
        ModelError: a bare network, or something else.
        BoundsError: no batch of images.
    """
    if not isinstance(classifier, Classifier):
        raise ModelError(
            f"a Classifier is needed, got {type(classifier).__name__}. Wrap a network: gs.Classifier(network, "
            "name='mine', preprocessing=gs.Preprocessing(...)); or gs.load(name)."
        )
    return classifier.prepare(images)


def _is_watched(network: nn.Module) -> bool:
    """Whether somebody looks at the network's layers right now: compiled, it would show them nothing."""
    if torch._C._len_torch_function_stack():  # noqa: SLF001  # the only way to ask
        return True
    return any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())  # noqa: SLF001


def _snapshot(module: object, name: str, *, own: bool) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise ModelError(f"a classifier needs a torch.nn.Module, got {type(module).__name__} for {name}.")
    network = unwrapped(module, name)
    check_network(network, name)
    try:
        network = network if own else copy.deepcopy(network)
    except Exception as cause:  # a module of the user's own may hold anything
        raise ModelError(
            f"a classifier is a frozen copy of its network, and {name} cannot be copied ({cause}). "
            "Build it anew and hand it over with own=True."
        ) from cause
    uncompile(network)
    _leave_inference_mode(network)
    return network


def _channels(network: nn.Module, size: tuple[int, int]) -> int:
    """Channels of the images: 3, unless the first convolution takes others and the network cannot be run on 3.

    The first convolution alone does not tell: a network may turn pixels into channels, or colour into grey, before it.
    """
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels == 3:
        return 3
    try:
        with torch.no_grad():
            network(torch.full((1, 3, *size), 0.5, device=first.weight.device, dtype=first.weight.dtype))
    except Exception:  # it breaks in its own way
        return first.in_channels
    return 3


def _leave_inference_mode(network: nn.Module) -> None:
    """Replace weights made inside ``torch.inference_mode()``, which no gradient could pass. Shared ones stay shared."""
    made: dict[int, Tensor] = {}
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):  # noqa: SLF001
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_inference():
                    fresh = tensor.detach().clone()
                    is_weight = isinstance(tensor, nn.Parameter)
                    fresh = nn.Parameter(fresh, requires_grad=False) if is_weight else fresh
                    tensors[name] = made.setdefault(id(tensor), fresh)  # type: ignore[assignment]
