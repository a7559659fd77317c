"""See, measure and catch where an adversarial perturbation moves an image classifier's gaze.

>>> import gazeshift as gs                                    # doctest: +SKIP
>>> model = gs.load("efficientnet_lite0")                     # doctest: +SKIP
>>> found = gs.attack(model, images, labels, by="pgd")        # doctest: +SKIP
>>> before, after = gs.look(model, images), gs.look(model, found.images)  # doctest: +SKIP
>>> gs.compare(before, after).table("cosine").mean(1)         # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING
from warnings import warn

from gazeshift._renamed import install

if TYPE_CHECKING:
    from gazeshift.calibrated import CalibratedDetector
    from gazeshift.data import demo_images, open_set, open_source, read_image
    from gazeshift.errors import GazeshiftError
    from gazeshift.models import Classifier, Preprocessing, load, preflight
    from gazeshift.pipeline import attack, compare, detector_inputs, gaze, judge, look
    from gazeshift.records import Attacked, Comparison, DetectorInput, Evidence, Verdict
    from gazeshift.registry import build, find, names
    from gazeshift.seeds import generator_for

__version__ = "0.1.0"
install()

_PLACES = {
    "data": ("demo_images", "open_set", "open_source", "read_image"),
    "calibrated": ("CalibratedDetector",),
    "errors": ("GazeshiftError",),
    "models": ("Classifier", "Preprocessing", "load", "preflight"),
    "pipeline": ("attack", "compare", "detector_inputs", "gaze", "judge", "look"),
    "records": ("Attacked", "Comparison", "Evidence", "DetectorInput", "Verdict"),
    "registry": ("build", "find", "names"),
    "seeds": ("generator_for",),
}
_HOMES = {name: place for place, names in _PLACES.items() for name in names}
_RENAMED = {"Deployed": "CalibratedDetector", "Sighting": "DetectorInput", "sight": "detector_inputs"}  # until 0.3

__all__ = [
    "Attacked",
    "CalibratedDetector",
    "Classifier",
    "Comparison",
    "DetectorInput",
    "Evidence",
    "GazeshiftError",
    "Preprocessing",
    "Verdict",
    "attack",
    "build",
    "compare",
    "demo_images",
    "detector_inputs",
    "find",
    "gaze",
    "generator_for",
    "judge",
    "load",
    "look",
    "names",
    "open_set",
    "open_source",
    "preflight",
    "read_image",
]


def __getattr__(name: str) -> object:
    """Import a name from its module when it is first asked for, so that ``import gazeshift`` does not load torch."""
    if name in _RENAMED:
        warn(f"gazeshift.{name} is called gazeshift.{_RENAMED[name]} now.", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'gazeshift' has no attribute '{name}'")
    return getattr(import_module(f"gazeshift.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
