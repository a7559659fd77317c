"""The same maps by other packages, as their users get them: on an ordinary model, with each package's defaults.

None of them has NoiseCAM, so the most they can draw is three of the four CAMs. Each candidate makes its extractor
inside the measured time, as ours does its hooks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench._subjects import Subject


@dataclass(frozen=True, kw_only=True)
class Other:
    """One way to get maps of all layers, and what it includes."""

    name: str
    includes: str
    run: Callable[[], object]
    slow: bool = False  # a pass for each layer: measured in one round only


def others(subject: Subject) -> Iterator[Other | str]:
    """Every way that is installed; a sentence for every package that is not."""
    for package, ways in {"torchcam": _torchcam, "pytorch_grad_cam": _pytorch_grad_cam, "captum": _captum}.items():
        try:
            yield from ways(subject)
        except ImportError as cause:
            yield f"{package} is left out ({cause}): make bench installs it."


def _torchcam(subject: Subject) -> Iterator[Other]:
    from torchcam.methods import GradCAM, GradCAMpp, LayerCAM

    def draw(*methods: type) -> None:
        for method in methods:
            with method(subject.network, [f"1.{layer.name}" for layer in subject.layers]) as extractor:
                scores = subject.network(subject.images)
                extractor(scores.argmax(1).tolist(), scores)

    yield Other(name="TorchCAM", includes="1 CAM, list of layers, 1 pass", run=lambda: draw(GradCAM))
    yield Other(
        name="TorchCAM", includes="3 CAMs, list of layers, 3 passes", run=lambda: draw(GradCAM, GradCAMpp, LayerCAM)
    )


def _pytorch_grad_cam(subject: Subject) -> Iterator[Other]:
    from pytorch_grad_cam import GradCAM

    modules = [subject.network.get_submodule(f"1.{layer.name}") for layer in subject.layers]

    def draw(layers: list) -> None:
        with GradCAM(model=subject.network, target_layers=layers) as cam:
            cam(input_tensor=subject.images, targets=None)

    yield Other(name="pytorch-grad-cam", includes="1 CAM, all layers averaged into one map", run=lambda: draw(modules))
    yield Other(
        name="pytorch-grad-cam",
        includes=f"1 CAM, layer by layer, {len(modules)} passes",
        run=lambda: [draw([module]) for module in modules],
        slow=True,
    )


def _captum(subject: Subject) -> Iterator[Other]:
    from captum.attr import LayerGradCam

    modules = [subject.network.get_submodule(f"1.{layer.name}") for layer in subject.layers]
    classes = subject.network(subject.images).argmax(1)
    yield Other(
        name="Captum",
        includes=f"1 CAM, layer by layer, {len(modules)} passes, classes given",
        run=lambda: [LayerGradCam(subject.network, module).attribute(subject.images, classes) for module in modules],
        slow=True,
    )
