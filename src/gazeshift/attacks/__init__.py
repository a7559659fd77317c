"""One file, one attack: frozen settings, callable on (model, images, labels, generator), giving attacked images.

Every attack says in which norm it stays within `epsilon`: ``norm`` is ``linf``, ``l2`` or None (no bound).
"""

from gazeshift.attacks._defended import DetectorOutput
from gazeshift.attacks._gradient import loss_gradient
from gazeshift.attacks._precision import returned

__all__ = ["DetectorOutput", "loss_gradient", "returned"]
