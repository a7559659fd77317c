"""How pages put numbers and names in words."""

from gazeshift.report.statistics import standard_error

SMALL = 50
CAM_NAMES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "noise_cam": "NoiseCAM",
    "cam": "CAM",
}
MEASURE_NAMES = {"cosine": "Cosine", "nissim": "NISSIM"}


def small(count: int) -> str:
    """A warning if so few images say little; empty if there are enough.

    >>> small(20)
    'With 20 images a share has a standard error of up to 0.11.'
    """
    if count >= SMALL or not count:
        return ""
    return f"With {count} image{'s' * (count != 1)} a share has a standard error of up to {standard_error(count):.2f}."


def cam_name(cam: str) -> str:
    """How papers write a CAM's name; settings stay behind it."""
    name, colon, settings = cam.partition(":")
    return CAM_NAMES.get(name, name) + colon + settings


def measure_name(measure: str, *, inside: bool = False) -> str:
    """How papers write a measure's name, at the beginning of a sentence or `inside` it; settings stay behind it.

    >>> measure_name("cosine:space=jet"), measure_name("nissim", inside=True), measure_name("cosine", inside=True)
    ('Cosine:space=jet', 'NISSIM', 'cosine')
    """
    name, colon, settings = measure.partition(":")
    written = MEASURE_NAMES.get(name, name)
    return (written if written.isupper() or not inside else name) + colon + settings


def levels(epsilon: float) -> str:
    """A size in [0, 1] units as people write it: 0.0078 is 2/255."""
    steps = epsilon * 255
    near = round(steps * 4) / 4
    return f"{near:g}/255" if abs(steps - near) < 1e-3 else f"{steps:.3g}/255"


def called(model: str) -> str:
    """A model's name as people write it.

    >>> called("efficientnet_lite0"), called("torchvision:vgg16")
    ('EfficientNet-Lite0', 'vgg16')
    """
    if model.startswith("efficientnet_lite"):
        return f"EfficientNet-Lite{model.removeprefix('efficientnet_lite')}"
    return model.split(":", 1)[1] if model.startswith(("torchvision:", "timm:")) else model
