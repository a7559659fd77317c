"""Refuses settings that no attack can run with, and says what was probably meant."""

import math
from numbers import Integral, Real

from gazeshift.errors import BoundsError, SettingsError, UnknownNameError, did_you_mean

NORMS = ("linf", "l2")


def check_norm(norm: str) -> None:
    """Refuse a norm that we have no ball for.

    Raises:
        UnknownNameError: names the nearest.
    """
    if norm not in NORMS:
        raise UnknownNameError(f"no norm named '{norm}'. {did_you_mean(str(norm).lower(), NORMS)}")


def check_size(name: str, size: object, *, most: float = 1.0) -> None:
    """Refuse a size of a change that is not a finite number above 0 and at most `most`, in [0, 1] units.

    Raises:
        SettingsError: not a number.
        BoundsError: out of range; 8 is answered with 8/255.
    """
    number = check_number(name, size)
    if 0 < number <= most and math.isfinite(number):
        return
    wanted = f"above 0 and at most {most:g}" if math.isfinite(most) else "above 0 and finite"
    is_8_bit = most == 1 < number <= 255
    hint = f"Did you mean {number:g}/255?" if is_8_bit else "A usual size is 8/255."
    raise BoundsError(f"{name} must be {wanted}, got {number:g}. Images are in [0, 1]. {hint}")


def check_ball(norm: str, epsilon: object, step: object | None) -> None:
    """Refuse a norm, a radius, or a length of steps (None: the attack's usual one) that make no ball.

    Raises:
        UnknownNameError: no such norm.
        SettingsError: not a number.
        BoundsError: out of range.
    """
    check_norm(norm)
    for name, size in (("epsilon", epsilon), ("step", step)):
        if size is not None or name == "epsilon":
            check_size(name, size, most=1.0 if norm == "linf" else math.inf)


def check_number(name: str, number: object) -> float:
    """The setting as a float; refuse what is not a number.

    Raises:
        SettingsError: says what came.
    """
    if isinstance(number, bool) or not isinstance(number, Real):
        raise SettingsError(f"{name} must be a number such as 8/255, got {number!r} ({type(number).__name__}).")
    return float(number)


def check_steps(steps: object) -> None:
    """Refuse a number of steps that is not a whole number from 1.

    Raises:
        BoundsError: says what came.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise BoundsError(f"steps must be a whole number, 1 or more, got {steps!r}. Each step is one gradient.")


def check_whole(name: str, number: object, *, least: int) -> None:
    """Refuse what is not a whole number from `least`.

    Raises:
        BoundsError: says what came.
    """
    if isinstance(number, bool) or not isinstance(number, Integral) or number < least:
        raise BoundsError(f"{name} must be a whole number, {least} or more, got {number!r}.")
