"""The transfer study's table, a line for each source, size, attack and victim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gazeshift.report.cells import Estimate
from gazeshift.report.study import Study
from gazeshift.studies.transfer.manifest import TransferManifest

AS_MADE = "as made"


@dataclass(frozen=True, kw_only=True)
class TransferLine:
    """What one attack, made on one model at one size, did to one victim; the columns of ``table.parquet``.

    Args:
        source: model that was attacked.
        attack: spec.
        size: as made, or scaled.
        victim: model that was shown the images.
        white_box: whether that is the source.
        n: images.
        clean_error, clean_error_low, clean_error_high: share that is wrong when clean, and its interval.
        error, error_low, error_high: and when attacked.
        clean_right: images that are right when clean.
        fooled: those of them that are wrong when attacked.
        rms, linf, l2: size of the change in [0, 1] units: mean, largest, mean.
        only_here, only_first: images wrong under this attack alone, and under the first attack alone.
        against_first, against_first_low, against_first_high: difference of the error rates, and its interval.
    """

    source: str
    attack: str
    size: str
    victim: str
    white_box: bool
    n: int
    clean_error: float
    clean_error_low: float
    clean_error_high: float
    error: float
    error_low: float
    error_high: float
    clean_right: int
    fooled: int
    rms: float
    linf: float
    l2: float
    only_here: int
    only_first: int
    against_first: float
    against_first_low: float
    against_first_high: float

    @property
    def clean(self) -> Estimate:
        """Share of clean images that are wrong."""
        return Estimate(self.clean_error, self.clean_error_low, self.clean_error_high)

    @property
    def attacked(self) -> Estimate:
        """Share of attacked images that are wrong."""
        return Estimate(self.error, self.error_low, self.error_high)

    @property
    def said(self) -> str:
        """The size in words."""
        return self.size if self.size == AS_MADE else self.size.replace("rms ", "scaled to RMS ")


@dataclass(frozen=True, kw_only=True)
class TransferTable:
    """The study's table, and how its things are called in the page.

    Args:
        lines: one per source, size, attack and victim, in the order of the settings.
        names: of the models, without the paths that they came by.
        attacks: specs, in order.
        sources: models that were attacked, in order.
    """

    lines: Sequence[TransferLine]
    names: Mapping[str, str]
    attacks: Sequence[str]
    sources: Sequence[str]

    @property
    def sizes(self) -> list[str]:
        """As made, and scaled if it was asked for; the last one compares the attacks best."""
        return list(dict.fromkeys(line.size for line in self.lines))

    def pick(self, **wanted: str | bool) -> list[TransferLine]:
        """The lines that have these values."""
        return [line for line in self.lines if all(getattr(line, key) == value for key, value in wanted.items())]


def read_table(study: Study, told: TransferManifest) -> TransferTable:
    """The table of a finished study.

    Raises:
        DataError: it is absent or damaged.
    """
    return TransferTable(
        lines=[TransferLine(**line) for line in study.table("table").to_pylist()],
        names=_names(list(told.models)),
        attacks=[attack.name for attack in told.attacks],
        sources=told.sources,
    )


def _names(models: Sequence[str]) -> dict[str, str]:
    """A model of a file is called by its function, unless two are called the same."""
    short = {model: model.rsplit(":", 1)[-1] if model.startswith("module:") else model for model in models}
    return short if len(set(short.values())) == len(models) else {model: model for model in models}
