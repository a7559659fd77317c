"""Every CAM once more: slow NumPy in float64, one image and one channel at a time, from the formulas of the papers."""

import numpy as np

POLE = 1e-3  # |2 + S g| below this leaves the sum


def slow_cam(name: str, activations: np.ndarray, gradients: np.ndarray, alpha_norm: str = "none") -> np.ndarray:
    """Raw signed maps (n, h, w) of activations and gradients (n, k, h, w)."""
    function = {
        "cam": _cam,
        "grad_cam": _grad_cam,
        "layer_cam": _layer_cam,
        "grad_cam_pp": lambda *given: _grad_cam_pp(*given, alpha_norm),
        "noise_cam": lambda *given: _noise_cam(*given, alpha_norm),
    }[name]
    pairs = zip(activations.astype(np.float64), gradients.astype(np.float64), strict=True)
    return np.stack([function(one, gradient) for one, gradient in pairs])


def slow_poles(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """How many (channel, pixel) pairs with a positive gradient lie at a pole, per image."""
    sums = activations.astype(np.float64).sum((2, 3), keepdims=True)
    return ((np.abs(2 + sums * gradients.astype(np.float64)) < POLE) & (gradients > 0)).sum((1, 2, 3))


def _cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The head's weights are the gradients summed over the pixels, if these are the same at every pixel."""
    if any(np.ptp(gradient) > 1e-5 * np.abs(gradients).max() for gradient in gradients):
        return np.full(activations.shape[1:], np.nan)
    return sum(gradient.sum() * one for one, gradient in zip(activations, gradients, strict=True))


def _grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return sum(gradient.mean() * one for one, gradient in zip(activations, gradients, strict=True))


def _layer_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return sum(np.maximum(gradient, 0) * one for one, gradient in zip(activations, gradients, strict=True))


def _grad_cam_pp(activations: np.ndarray, gradients: np.ndarray, alpha_norm: str) -> np.ndarray:
    return sum(_weight(one, gradient, alpha_norm) * one for one, gradient in zip(activations, gradients, strict=True))


def _noise_cam(activations: np.ndarray, gradients: np.ndarray, alpha_norm: str) -> np.ndarray:
    return sum(
        (_weight(one, gradient, alpha_norm) - np.maximum(gradient, 0)) * one
        for one, gradient in zip(activations, gradients, strict=True)
    )


def _weight(one: np.ndarray, gradient: np.ndarray, alpha_norm: str) -> float:
    """SPEC 8.1, steps 1 to 3, with E = 1."""
    alpha = np.zeros_like(gradient)
    kept = (gradient != 0) & (np.abs(2 + one.sum() * gradient) >= POLE)
    g = gradient[kept]
    alpha[kept] = g**2 / (2 * g**2 + one.sum() * g**3)
    if alpha_norm != "none":
        total = alpha.sum() if alpha_norm == "all" else alpha[gradient > 0].sum()
        alpha = alpha / (total or 1)
    return float((alpha * np.maximum(gradient, 0)).sum())
