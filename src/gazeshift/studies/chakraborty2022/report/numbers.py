"""The numbers of the study of Chakraborty et al. 2022, from its rows; and those that the paper printed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gazeshift.measures.mod import Mod
from gazeshift.measures.vid import Vid
from gazeshift.report.cells import tuples
from gazeshift.report.similarity import mean
from gazeshift.report.study import Study
from gazeshift.studies.chakraborty2022.manifest import ChakrabortyManifest

LEVELS = (0.0, 0.01, 0.05, 0.075, 0.1)  # of the paper
PAPER = ("VGG16", "ResNet50", "ResNet101", "InceptionNet v3", "XceptionNet")
RAW = (  # the paper's table 1
    (91.89, 91.55, 90.87, 89.86, 89.86),
    (90.54, 91.89, 88.51, 78.04, 70.60),
    (90.87, 92.22, 89.18, 75.33, 61.82),
    (88.51, 88.51, 57.09, 35.13, 25.33),
    (92.56, 92.56, 81.41, 69.59, 56.41),
)
ALIGNED = (  # its table 2
    (87.54, 85.60, 85.21, 84.82, 84.43),
    (94.16, 94.55, 90.66, 85.21, 75.09),
    (93.38, 93.38, 87.15, 84.82, 77.43),
    (85.21, 84.82, 66.92, 47.85, 29.96),
    (89.49, 90.27, 71.20, 59.14, 45.13),
)
MOD = (  # its table 3
    (0.0, 0.098875, 0.117416, 0.121993, 0.127394),
    (0.0, 0.127743, 0.241743, 0.269364, 0.292002),
    (0.0, 0.084589, 0.208446, 0.245334, 0.262114),
    (0.0, 0.160696, 0.275883, 0.296766, 0.295898),
    (0.0, 0.162345, 0.255316, 0.272804, 0.27981),
)
ACCESS = {"black_box": "black box", "white_box": "white box", "random": "random signs"}


@dataclass(frozen=True, kw_only=True)
class ChakrabortyNumbers:
    """Everything that the page says in numbers.

    Args:
        columns: of the rows, as arrays.
        conditions: kinds of picture, ``raw`` first.
        models: in the order of the settings.
        levels: sizes of the change, above 0.
        source: whom the black-box attack was made on.
        unrelated: NISSIM of clean maps of different images, by condition and model.
        include_zero: whether epsilon 0 counts as a level of VID.
    """

    columns: Mapping[str, np.ndarray]
    conditions: tuple[str, ...]
    models: tuple[str, ...]
    levels: tuple[float, ...]
    source: str
    unrelated: Mapping[tuple[str, str], float]
    include_zero: bool

    @cached_property
    def shown(self) -> str:
        """The kind of picture whose maps are shown: aligned faces where there are some, as in the paper."""
        return self.conditions[-1]

    def at(self, **wanted: Any) -> Bool[np.ndarray, " rows"]:
        """Which rows have these values."""
        found = np.ones(len(self.columns["image"]), dtype=bool)
        for name, value in wanted.items():
            found &= self.columns[name] == value
        return found

    def attacked(
        self, access: str, level: float, target: str = "predicted", **wanted: str
    ) -> Bool[np.ndarray, " rows"]:
        """Which rows of the kind shown are of one attack, size and class explained."""
        return self.at(condition=self.shown, access=access, epsilon=level, target=target, **wanted)

    def images(self, condition: str) -> tuple[str, ...]:
        """Ids of the test images of one kind."""
        own = self.at(condition=condition, model=self.models[0], access="clean")
        return tuple(sorted(map(str, self.columns["image"][own])))

    def accuracy(
        self, condition: str, model: str, access: str = "black_box", among: Collection[str] | None = None
    ) -> list[float]:
        """Top-1 accuracy at epsilon 0 and at every level; of the images in `among` alone, if given."""
        found = []
        for level in (0.0, *self.levels):
            kind = access if level else "clean"
            own = self.at(condition=condition, model=model, access=kind, epsilon=level, target="predicted")
            if among is not None:
                own &= np.isin(self.columns["image"], list(among))
            found.append(mean(self.columns["correct"][own]))
        return found

    def nissim(self, model: str, access: str = "black_box", target: str = "predicted") -> Float[np.ndarray, "n levels"]:
        """One row per image of the kind shown, in the order of their ids; undefined images left out."""
        columns = []
        for level in self.levels:
            own = self.attacked(access, level, target, model=model)
            order = np.argsort(self.columns["image"][own], kind="stable")
            columns.append(self.columns["nissim"][own][order])
        stacked = np.stack(columns, axis=1).astype(float)
        return np.asarray(stacked[np.isfinite(stacked).all(axis=1)])

    def mod(self, model: str, access: str = "black_box", target: str = "predicted") -> list[float]:
        """MOD at epsilon 0 and at every level."""
        return [0.0, *map(float, Mod()(self.nissim(model, access, target)))]

    def mean_shift(self, access: str = "black_box", target: str = "predicted") -> list[float]:
        """Mean of the models' MOD, the last row of the paper's table 3."""
        return mean_row([self.mod(model, access, target) for model in self.models])

    def vid(self, model: str, access: str = "black_box") -> Float[np.ndarray, " n"]:
        """VID of every image."""
        values = self.nissim(model, access)
        if self.include_zero:
            values = np.concatenate([np.zeros((len(values), 1)), values], axis=1)
        return np.asarray(Vid()(values))

    def by_switch(self, model: str, level: float) -> tuple[float, float, float, int, int]:
        """NISSIM under the black-box attack where the class switched, for the own class and for the clean image's,
        and where it stayed; and how many images these are.
        """
        own, reference = (
            self.attacked("black_box", level, target, model=model) for target in ("predicted", "reference")
        )
        switched, nissim = self.columns["switched"], self.columns["nissim"]
        there, stayed = own & switched, own & ~switched
        means = [mean(nissim[part]) for part in (there, reference & switched, stayed)]
        return means[0], means[1], means[2], int(there.sum()), int(stayed.sum())

    def success(self, model: str, level: float, access: str = "white_box") -> tuple[int, int]:
        """How many images an attack fools, and how many are right when clean."""
        own = self.attacked(access, level, model=model)
        right = self.columns["clean_correct"][own]
        return int((right & ~self.columns["correct"][own]).sum()), int(right.sum())

    def psnr(self, access: str, model: str) -> list[float]:
        """Mean PSNR over the images at every level, in decibels."""
        return [mean(self.columns["psnr"][self.attacked(access, level, model=model)]) for level in self.levels]

    def without_blanks(self, access: str, level: float) -> tuple[int, int, float]:
        """Comparisons of all models with a blank map on one side or both, all of them, and MOD without the former."""
        own = self.attacked(access, level)
        blank, values = self.columns["blank"][own] > 0, self.columns["nissim"][own]
        return int(blank.sum()), len(blank), mean(values[~blank])

    @cached_property
    def blanks(self) -> tuple[int, int]:
        """How many comparisons had a blank map on one side or both, and how many there are."""
        own = self.at(condition=self.shown, target="predicted") & (self.columns["access"] != "clean")
        return int((self.columns["blank"][own] > 0).sum()), int(own.sum())


def mean_row(rows: Sequence[Sequence[float]]) -> list[float]:
    """Mean of each column."""
    return [float(value) for value in np.mean(np.asarray(rows, dtype=float), axis=0)]


def read_numbers(study: Study, told: ChakrabortyManifest) -> ChakrabortyNumbers:
    """The numbers of a finished study.

    Raises:
        DataError: a table is absent or damaged.
    """
    table = study.table("rows")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    for name in ("correct", "clean_correct", "switched"):
        columns[name] = columns[name].astype(bool)
    apart: dict[tuple[str, str], list[float]] = {}
    for condition, model, nissim in tuples(study.table("unrelated"), "condition", "model", "nissim"):
        apart.setdefault((condition, model), []).append(nissim)
    return ChakrabortyNumbers(
        columns=columns,
        conditions=tuple(told.conditions),
        models=tuple(told.models),
        levels=told.levels,
        source=told.attacked,
        unrelated={kind: mean(values) for kind, values in apart.items()},
        include_zero=told.asked.include_zero,
    )
