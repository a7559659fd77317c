"""Settings that no attack can run with are refused, with a hint at what was meant."""

from collections.abc import Callable

import pytest

from gazeshift.attacks._settings import check_size, check_steps
from gazeshift.attacks.fgsm import Fgsm
from gazeshift.attacks.gaussian import Gaussian
from gazeshift.attacks.pgd import Pgd
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.001, 8.0, 300.0, NAN, INF, -INF])
@pytest.mark.parametrize("make", [lambda bad: Fgsm(epsilon=bad), lambda bad: Pgd(epsilon=bad)])
def test_epsilon(make: Callable[[float], object], bad: float) -> None:
    with pytest.raises(BoundsError, match="epsilon must be above 0 and at most 1, got"):
        make(bad)


@pytest.mark.parametrize(
    "make", [lambda: Pgd(step=0.0), lambda: Pgd(step=NAN), lambda: Pgd(step=2.0), lambda: Gaussian(std=0.0)]
)
def test_other_sizes(make: Callable[[], object]) -> None:
    with pytest.raises(BoundsError, match=r"^(step|std) must be above 0 and at most 1, got"):
        make()


@pytest.mark.parametrize("mean", [-1.5, 2.0, NAN])
def test_mean(mean: float) -> None:
    with pytest.raises(BoundsError, match=r"mean must be in \[-1, 1\]"):
        Gaussian(mean=mean)


def test_8_bit_units_are_recognised() -> None:
    with pytest.raises(BoundsError) as caught:
        Fgsm(epsilon=8.0)
    assert str(caught.value) == (
        "epsilon must be above 0 and at most 1, got 8. Images are in [0, 1]. Did you mean 8/255?"
    )
    with pytest.raises(BoundsError, match=r"Did you mean 2\.5/255\?"):
        Pgd(step=2.5)
    with pytest.raises(BoundsError, match=r"A usual size is 8/255"):
        Fgsm(epsilon=300.0)


def test_ends_of_the_range_are_allowed() -> None:
    assert Fgsm(epsilon=1.0).epsilon == 1
    assert Pgd(epsilon=1e-9).epsilon == 1e-9
    assert Gaussian(mean=-1.0).mean == -1


def test_an_l2_ball_may_be_larger_than_1() -> None:
    assert Pgd(norm="l2", epsilon=3.0, step=1.5).epsilon == 3
    with pytest.raises(BoundsError, match="epsilon must be above 0 and finite, got inf"):
        Pgd(norm="l2", epsilon=INF)
    with pytest.raises(BoundsError, match="above 0 and finite, got -1"):
        Pgd(norm="l2", epsilon=-1.0)


@pytest.mark.parametrize("steps", [0, -3, 2.5, "10", True, None])
def test_steps(steps: object) -> None:
    with pytest.raises(BoundsError, match="steps must be a whole number, 1 or more, got"):
        check_steps(steps)


def test_pgd_checks_its_steps() -> None:
    with pytest.raises(BoundsError, match="steps"):
        Pgd(steps=0)


@pytest.mark.parametrize("size", ["8/255", None, True, 1j])
def test_what_is_no_number_is_refused(size: object) -> None:
    with pytest.raises(SettingsError, match="epsilon must be a number such as 8/255, got"):
        check_size("epsilon", size)


@pytest.mark.parametrize(("norm", "meant"), [("L2", "l2"), ("linff", "linf"), ("inf", "linf")])
def test_unknown_norm(norm: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"no norm named '{norm}'\. Did you mean '{meant}'"):
        Pgd(norm=norm)


def test_the_norm_is_known_for_every_attack() -> None:
    assert (Fgsm().norm, Pgd().norm, Pgd(norm="l2").norm, Gaussian().norm) == ("linf", "linf", "l2", None)
