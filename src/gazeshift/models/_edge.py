"""What enters a classifier and what leaves it, checked once: networks, images, labels, answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn
from warnings import warn

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from gazeshift.errors import BoundsError, GazeshiftError, ModelError, SettingsError
from gazeshift.models._preprocessing import Preprocessing, picture_input

ROUNDING = 1e-6  # by so much a value may lie outside [0, 1]: ``x - x.min()`` leaves float32 there
NO_GRADIENT = "Leave out detach(), no_grad(), inference_mode() and numpy() on the way from the images to the logits."
PASSED_ON = (GazeshiftError, Warning, MemoryError, torch.OutOfMemoryError)


def check_network(network: nn.Module, name: str) -> None:
    """Refuse networks that no gradient passes, and those whose weights are not there yet.

    Raises:
        ModelError: a quantised network, or one with lazy modules.
    """
    for part, module in network.named_modules():
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():  # type: ignore[misc]
            raise ModelError(
                f"{name} has weights without a shape yet ({type(module).__name__} {part}). Run one batch through the "
                "network first, or load its weights."
            )
        kind, tensors = type(module), [*module._parameters.values(), *module._buffers.values()]  # noqa: SLF001
        if ".quantized." in f"{kind.__module__}." or any(
            tensor is not None and tensor.is_quantized for tensor in tensors
        ):
            raise ModelError(
                f"{name} is quantised ({kind.__name__} {part}), and no gradients pass a quantised network. Give the "
                "float network that it was made from."
            )


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names as given.

    Raises:
        SettingsError: one text, whose letters would be the names, or something that is no text.
    """
    if isinstance(names, str | Mapping) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"class_names must be a list with one name per class, got {names!r}"[:200] + ".")
    return tuple(names)


def as_images(given: Any, preprocessing: Preprocessing, device: torch.device) -> Float[Tensor, "n channels h w"]:
    """A batch of images in [0, 1] beside the weights, from whatever plainly means one.

    Args:
        given: a floating tensor or NumPy array (n, channels, h, w); a list of tensors or arrays (channels, h, w); or
            one picture of Pillow or a list, which come to the model's size as files do.
        preprocessing: of the model.
        device: of the weights.

    Raises:
        BoundsError: wrong kind, shape, type or range; says what came and what to do.
    """
    images = _stacked(given, preprocessing)
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim != 4:
        _refuse_kind(images, given)
    if images.shape[1] != (preprocessing.channels or images.shape[1]):
        _refuse_channels(images, preprocessing.channels)
    if device.type == "mps" and images.dtype == torch.float64:
        images = images.float()  # there is no float64
    images = images.to(device)
    if not images.numel():
        return images
    low, high = images.amin().item(), images.amax().item()
    if low >= 0 and high <= 1:
        return images
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return images.clamp(0, 1)
    eight_bit = low >= 0 and 2 < high <= 255
    advice = "Divide 8-bit images by 255: images / 255." if eight_bit else "Pass images before normalisation."
    raise BoundsError(f"images must be in [0, 1], got [{low:.4g}, {high:.4g}]. The model normalises inside. {advice}")


def _stacked(given: Any, preprocessing: Preprocessing) -> Any:
    """The tensor that was meant, if it is plain which."""
    if isinstance(given, Image.Image):
        given = [given]
    if isinstance(given, np.ndarray):
        return _from_numpy(given)
    if not isinstance(given, list | tuple) or not given:
        return given
    parts = [_from_picture(one, preprocessing) if isinstance(one, Image.Image) else one for one in given]
    parts = [_from_numpy(one) if isinstance(one, np.ndarray) else one for one in parts]
    if not all(isinstance(one, Tensor) for one in parts):
        return given
    shapes = sorted({tuple(one.shape) for one in parts})
    if len(shapes) > 1:
        raise BoundsError(
            f"images of one batch must have one shape, got {shapes[0]} and {shapes[1]}. Bring them to one size first."
        )
    return torch.stack(parts) if parts[0].ndim == 3 else given


def _from_numpy(array: np.ndarray[Any, Any]) -> Any:
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=True)))
    except TypeError:  # texts, objects
        return array


def _from_picture(picture: Image.Image, preprocessing: Preprocessing) -> Tensor:
    image = picture_input(picture, preprocessing, "the picture")
    if picture.size == image.shape[:0:-1] and not preprocessing.keeps(*picture.size):
        warn(
            f"a picture of {picture.width} x {picture.height} pixels was resized and cropped to that same size, as "
            "files are, which undoes most attacks. If its pixels are the model's input, give them as a tensor.",
            stacklevel=2,
        )
    return image


def _refuse_kind(images: Any, given: Any) -> NoReturn:
    if isinstance(images, Tensor):
        kind, shape = str(images.dtype).removeprefix("torch."), tuple(images.shape)
        came = f"{kind} {shape}"
        if images.ndim == 4 and images.dtype == torch.uint8:
            advice = "Divide 8-bit images by 255: images / 255."
        elif images.ndim == 3:
            advice = "One image: images[None]; channels last: images.permute(2, 0, 1)[None]."
        else:
            advice = "Convert them: images.float()." if images.ndim == 4 else "Add the axes that are missing."
    else:
        inner = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
        came = f"{type(given).__name__}{inner}" + (f" of {given.dtype}" if isinstance(given, np.ndarray) else "")
        advice = "Give a tensor, a NumPy array, or a list of images of one size; files: gs.read_image(path)."
    raise BoundsError(f"images must be float (n, channels, h, w), got {came}. {advice}")


def _refuse_channels(images: Tensor, channels: int | None) -> NoReturn:
    is_last = images.shape[3] == channels
    advice = "Channels last: images.permute(0, 3, 1, 2)." if is_last else "Preprocessing(channels=...) says how many."
    raise BoundsError(
        f"images must be float (n, {channels}, h, w) for this model, got {str(images.dtype).removeprefix('torch.')} "
        f"{tuple(images.shape)}. {advice}"
    )


def as_classes(given: Any, logits: Tensor, what: str) -> Int[Tensor, " n"]:
    """Classes as 64-bit indices beside the logits; on a GPU an index out of range would end the process.

    Args:
        given: one whole number per image: a tensor, a NumPy array or a list.
        logits: (n, classes).
        what: they are called, for the message: ``labels``.

    Raises:
        BoundsError: not one class of the model per image.
    """
    n, count = logits.shape
    try:
        classes = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError):
        classes = None
    whole = classes is not None and not classes.dtype.is_floating_point and not classes.dtype.is_complex
    if classes is not None and whole and classes.dtype != torch.bool and classes.shape == (n,):
        classes = classes.to(torch.long)
        if not n or 0 <= classes.min() <= classes.max() < count:
            return classes.clone().to(logits.device)
    shape = () if classes is None else tuple(classes.shape)
    short = repr(given)[:60] if not isinstance(given, Tensor | np.ndarray) else f"{given.tolist()}"
    came = short if classes is None or classes.numel() <= 8 else f"{shape} {classes.dtype}".replace("torch.", "")
    if classes is not None and whole and shape == (n,) and n > 8:
        came = f"{int(classes.min())} to {int(classes.max())}"
    raise BoundsError(f"{what} must be {n} whole numbers, one class from 0 to {count - 1} per image, got {came}.")


def as_logits(output: Any, n: int, name: str) -> Float[Tensor, "n c"]:
    """A network's answer as one row of logits per image.

    What carries its logits by that name (the outputs of transformers) is opened; (n, classes, 1, 1) is flattened.

    Raises:
        ModelError: something else; says what came, and how to wrap the network.
    """
    logits = output
    if not isinstance(output, Tensor):
        logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[2:] == (1, 1):
        logits = logits.flatten(1)
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2) or len(logits) != n:
        _refuse_answer(logits if isinstance(logits, Tensor) else output, n, name)
    if logits.ndim == 1 or logits.shape[1] < 2 or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise ModelError(
            f"a classifier must give a logit for each of two classes or more, {name} gave {kind} "
            f"{tuple(logits.shape)}. From one logit z of a yes-no model, (n, 1), give torch.cat([-z, z], 1) / 2."
        )
    return logits


def check_finite(logits: Float[Tensor, "n c"], name: str) -> None:
    """Refuse logits that no class can be taken from.

    Raises:
        ModelError: NaN or infinite ones; says of how many images.
    """
    bad = int((~logits.isfinite().all(1)).sum())
    if bad:
        raise ModelError(
            f"{name} gives NaN or infinite logits for {bad} of {len(logits)} images. Check its weights and that it "
            "expects images in [0, 1]."
        )


def _refuse_answer(output: Any, n: int, name: str) -> NoReturn:
    came, advice = type(output).__name__, "Wrap it in a torch.nn.Module that returns them."
    if isinstance(output, Tensor):
        came = str(tuple(output.shape))
        if output.ndim == 2 and n and len(output) > n and len(output) % n == 0:
            crops = len(output) // n
            advice = (
                f"If {crops} crops of each image are folded into the batch, average them: "
                f"logits.unflatten(0, ({n}, {crops})).mean(1) in a torch.nn.Module around it."
            )
    elif isinstance(output, Mapping):
        came = f"a {came} of {', '.join(map(repr, list(output)[:5]))}"
    elif isinstance(output, Sequence) and not isinstance(output, str):
        came = f"a {came} of {', '.join(_kind(one) for one in list(output)[:5])}"
    raise ModelError(
        f"a classifier must give one row of logits per image, ({n}, classes); {name} gave {came}. {advice}"
    )


def _kind(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


@contextmanager
def backward_explained() -> Iterator[None]:
    """Say what is wrong with a network that calls `torch.utils.checkpoint` by itself, when its gradients are asked for.

    Raises:
        ModelError: the network recomputes parts of itself in the backward pass.
    """
    try:
        yield
    except RuntimeError as cause:
        if "checkpoint" not in str(cause).lower():
            raise
        raise ModelError(
            "the network recomputes parts of itself in the backward pass (torch.utils.checkpoint), where they cannot "
            "be watched. Switch that off: it saves memory in training alone."
        ) from cause


def cannot_run(cause: Exception, images: Tensor, name: str) -> ModelError:
    """The error for a network that breaks off: its own words, on which images, and what to do about it."""
    n, *shape = images.shape
    reason = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}".removesuffix(": ")
    advice = ""
    if isinstance(cause, TypeError) and "argument" in reason:
        advice = ". Wrap it in a torch.nn.Module whose forward takes images alone."
    if "inference tensor" in reason.lower():
        advice = f" {NO_GRADIENT}"
    of = f"{n} image{'s'[: n != 1]} of {' x '.join(map(str, shape))}"
    return ModelError(f"{name} cannot be run on {of}: {reason}{advice}")
