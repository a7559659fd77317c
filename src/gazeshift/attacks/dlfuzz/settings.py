"""Settings of differential fuzzing, and what they may be."""

from dataclasses import dataclass

from gazeshift.attacks._settings import check_number, check_size, check_whole
from gazeshift.attacks.dlfuzz.result import PICKS
from gazeshift.errors import BoundsError, SettingsError, check_known

STRATEGIES = ("0", "1", "2", "3", "uniform")
CHOICES = {
    "scope": ("all", "conv_only"),
    "signs": ("cover", "code"),
    "class_score": ("prob", "logit"),
    "balance": ("none", "rms"),
    "mutation": ("gradient", "gaussian"),
    "limit": ("hard", "queue"),
    "reference": ("seed", "item"),
    "accept": ("flipped", "all"),
    "tables": ("own", "shared"),
}


def split(strategies: object) -> tuple[str, ...]:
    """Names of the strategies that a setting means: ``1``, ``"1+3"``, ``("0", "uniform")``.

    Raises:
        SettingsError: none, or one twice.
        UnknownNameError: names the nearest.
    """
    given = strategies if isinstance(strategies, tuple | list) else str(strategies).split("+")
    names = tuple(str(name).strip() for name in given)
    for name in names:
        check_known(name, STRATEGIES, f"no DLFuzz strategy named '{name}'")
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"strategies must be different ones, joined by '+', got {strategies!r}. Usual: 1, or 0+2.")
    return names


@dataclass(frozen=True, kw_only=True)
class DLFuzzSettings:
    """What `DLFuzz` is asked for, which says what each of them means."""

    strategies: str | int | tuple[str, ...] = "1"
    n_neurons: int = 10
    threshold: float = 0.25
    scope: str = "all"
    signs: str = "cover"
    class_score: str = "prob"
    predict_weight: float = 0.5
    coverage_weight: float = 0.5
    balance: str = "none"
    eps_norm: float = 1e-12
    step: float = 0.5 / 255
    iterations: int = 3
    delta: float = 0.02
    limit: str = "hard"
    queue_gain: float = 0.01
    seed_index: int = 0
    max_pops: int = 100
    reference: str = "seed"
    mutation: str = "gradient"
    accept: str = "flipped"
    tables: str = "own"
    pick: str = "first"

    def __post_init__(self) -> None:
        object.__setattr__(self, "balance", self.balance or "none")  # a written ``balance=none`` arrives as None
        split(self.strategies)
        check_known(self.pick, PICKS, f"no pick named '{self.pick}'")
        for name, choices in CHOICES.items():
            given = getattr(self, name)
            check_known(given, choices, f"DLFuzz has no {name} '{given}'")
        check_size("step", self.step)
        for name in ("eps_norm", "delta"):
            check_size(name, getattr(self, name), most=float("inf"))
        for name in ("threshold", "queue_gain"):
            if not 0 <= check_number(name, getattr(self, name)) < 1:
                raise BoundsError(f"{name} must be from 0 to below 1, got {getattr(self, name):g}.")
        for name in ("predict_weight", "coverage_weight"):
            if not 0 <= check_number(name, getattr(self, name)) < float("inf"):
                raise BoundsError(f"{name} must be 0 or more and finite, got {getattr(self, name):g}. 0.5 is usual.")
        for name, least in (("n_neurons", 0), ("iterations", 1), ("seed_index", 0), ("max_pops", 1)):
            check_whole(name, getattr(self, name), least=least)
