"""Writes docs/adapters.md from a real run of every attack of Foolbox, torchattacks and ART through our adapters.

``python tools/attack_table.py`` runs all (about half an hour on one core), ``... torchattacks art:DeepFool`` those
alone and keeps the other rows, ``--check`` says without a run whether the page fits the code's lists. Each attack is
run in a process of its own, under a time limit, on a small network that computes in float64, so that what differs
between an image alone and the same image in a batch is the attack's doing and no rounding. A run needs all three
packages, ``pip install -e '.[dev,apart]'``; ``--check`` looks at those that are there.
"""

import json
import multiprocessing
import os
import resource
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.attacks._adapter import CHANCE, Adapter, run_attack
from gazeshift.errors import GazeshiftError, MissingPackageError, SettingsError
from gazeshift.registry import find
from gazeshift.seeds import generator_for

FILE = Path(__file__).resolve().parent.parent / "docs" / "adapters.md"
PACKAGES = {"foolbox": "foolbox", "torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox"}
SECONDS = 60  # of the processor
TARGET, OTHER, CLASSES, SIZE, ALIKE = 0, 1, 5, 16, 1e-6  # the targets are no image's class
GAINS, BATCHES = (1.0, 30.0), ([0, 1, 2, 3], [3, 1], [2, 0])
# What attacks that take minutes with their defaults are run with. They are not tried side by side: what a short run
# shows need not hold for a long one, which may stop for the whole batch.
SHORT: Mapping[str, Mapping[str, Any]] = {
    "foolbox:BoundaryAttack": {"steps": 20},
    "foolbox:EADAttack": {"steps": 40, "binary_search_steps": 3, "initial_const": 10.0, "initial_stepsize": 0.05},
    "foolbox:GenAttack": {"steps": 20},
    "foolbox:HopSkipJumpAttack": {"steps": 1, "max_gradient_eval_steps": 100},
    "foolbox:L2CarliniWagnerAttack": {"steps": 20, "binary_search_steps": 2, "initial_const": 1.0},
    "foolbox:LinearSearchBlendedUniformNoiseAttack": {"directions": 100, "steps": 100},
    "foolbox:LinearSearchContrastReductionAttack": {"steps": 100},
    "foolbox:VirtualAdversarialAttack": {"steps": 5},
    "torchattacks:CW": {"steps": 20, "lr": 0.05},
    "torchattacks:EADEN": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": 1.0, "lr": 0.05},
    "torchattacks:EADL1": {"max_iterations": 20, "binary_search_steps": 2, "initial_const": 1.0, "lr": 0.05},
    "torchattacks:SPSA": {"nb_sample": 32},
    "torchattacks:Square": {"n_queries": 300},
    "art:AutoConjugateGradient": {"max_iter": 10},
    "art:AutoProjectedGradientDescent": {"max_iter": 10},
    "art:BoundaryAttack": {"max_iter": 5, "epsilon": 0.01},
    "art:CarliniL0Method": {"max_iter": 3, "binary_search_steps": 2, "learning_rate": 0.1, "initial_const": 10.0},
    "art:CarliniLInfMethod": {"max_iter": 3, "largest_const": 0.001, "learning_rate": 0.1},
    "art:ElasticNet": {"max_iter": 20, "binary_search_steps": 2, "learning_rate": 0.05, "initial_const": 1.0},
    "art:HopSkipJump": {"max_iter": 2, "max_eval": 100, "init_eval": 10},
    "art:PixelAttack": {"max_iter": 5, "th": 5},
    "art:RescalingAutoConjugateGradient": {"max_iter": 10},
    "art:ShadowAttack": {"nb_steps": 10},
    "art:SignOPTAttack": {"max_iter": 3, "num_trial": 10, "query_limit": 300},
    "art:SimBA": {"max_iter": 100},
    "art:SpatialTransformation": {"max_translation": 10.0, "num_translations": 3, "max_rotation": 20.0},
    "art:ThresholdAttack": {"max_iter": 5, "th": 5},
    "art:UniversalPerturbation": {"attacker": "fgsm", "max_iter": 2},
    "art:VirtualAdversarialMethod": {"max_iter": 1},
    "art:Wasserstein": {"max_iter": 5, "conjugate_sinkhorn_max_iter": 10, "projected_sinkhorn_max_iter": 10},
    "art:ZooAttack": {"max_iter": 5, "use_resize": False},
}
# The run does not show it of these. PGDL2: gradients of a mean over the batch are divided by their length plus 1e-10.
# FMN: it has the code of L1FMNAttack and LInfFMNAttack, of which it shows it.
COUPLED = ("torchattacks:PGDL2", "foolbox:L0FMNAttack", "foolbox:L2FMNAttack")
HOW = {
    "together": "attack images together",
    "one by one": "one by one",
    "needs a package": "need a package",
    "refused": "are refused",
}
EXTRAS = ("cma", "cv2", "kornia", "multiprocess", "numba")  # packages that some attacks import and we do not ask for
NO_EPSILON = "needs an epsilon"
INTRO = """# Attacks of other packages

`--attack foolbox:NAME`, `torchattacks:NAME` and `art:NAME` run attacks of those packages: every one that this page
does not call refused. It is written by `python tools/attack_table.py` from a real run of all of them on a small
network with {versions}.

* **together**: the images of a batch are attacked side by side. The run has shown, with the settings named and the
  defaults, that each gets what it gets alone and that its seed makes no difference. Other settings than numbers of
  steps and their sizes end this.
* **one by one**: the attack draws random numbers, or an image's result depends on the others of its batch. So that it
  does not, a run with a seed for each image (as every study and the command line have it) attacks them one at a time,
  whatever `--batch-size` says. So are those whose defaults take minutes: they were run with the short settings named.
* **needs a package**: what `pip install` must add.
* **refused**: with the sentence that says why.

*Target*: whether `target=3` sends the images towards class 3. *yes*: it may be given, and led there in the run; *not
reached*: it may be given, and the search found no image of that class; *needed*: it must be given; nothing: it is
refused; *another*: the package's attack has a setting of that name, which is something else. An image whose label is
the target comes back as it is. *Label*, *not looked at*: the attack leaves the class that the model gives the clean
image, or changes the image whatever that is; all others leave the label.

Losses of the DLR kind (`torchattacks:APGDT`, `torchattacks:AutoAttack`, `art:AutoAttack`, `loss=dlr`,
`loss_type=difference_logits_ratio`) need three or four classes and say so. All work in float32 or wider."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found out about an attack."""

    name: str
    how: str
    needs: str = ""
    ran_with: str = ""
    target: str = ""
    label: str = ""


class Frozen(nn.Module):
    """A small network in float64 behind float32 or float64 logits; with a gain, it is sure of all that it says."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(6, 8, 3, stride=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(8 * 7 * 7, CLASSES),
            ).double()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, in the type of the images."""
        logits: Tensor = (self.gain * self.layers(images.double())).to(images.dtype)
        return logits


def offered(package: str) -> dict[str, type]:
    """Every attack of a package; of two names for one, that of its class."""
    kinds = find("attacks", package)()._offered()  # noqa: SLF001
    return {kind.__name__: kind for _, kind in sorted(kinds.items())}


def installed() -> Iterator[str]:
    """The packages that are there."""
    for package in PACKAGES:
        with suppress(MissingPackageError):
            offered(package)
            yield package


def images_and_labels() -> tuple[Tensor, Tensor]:
    """Four images, one of them misclassified and one of strong contrast, which is harder to turn."""
    images = (torch.rand((4, 3, SIZE, SIZE), generator=generator_for(0, "table")) * 0.8 + 0.1).double()
    images[2] = (images[2] > 0.5).double()
    labels = Frozen()(images).argmax(1)
    labels[3] = (labels[3] + 1) % CLASSES
    return images, labels


def built(spec: str, **settings: Any) -> Adapter:
    """The adapter; with an epsilon if it cannot do without."""
    package, _, name = spec.partition(":")
    kind = find("attacks", package)
    try:
        return kind(name=name, **settings)
    except SettingsError as cause:
        if NO_EPSILON not in str(cause):
            raise
        return kind(name=name, epsilon=0.5, **settings)


def tried(spec: str) -> Row:
    """Run an attack in all the ways that the table tells of."""
    name, settings, target = spec.partition(":")[2], dict(SHORT.get(spec, {})), {}
    try:
        attack = built(spec, settings=settings)
    except SettingsError as cause:
        if "attacks towards a class" not in str(cause):
            raise
        target = {"target": TARGET}
        attack = built(spec, settings=settings, **target)
    images, labels = images_and_labels()
    alone = each_alone(attack, images, labels)
    repeats = torch.equal(alone, each_alone(attack, images, labels))
    usual = {key: one.default for key, one in attack._known().items()}  # noqa: SLF001
    quiet = {key: off for key, off in CHANCE.items() if usual.get(key, off) != off}
    together = spec not in (*SHORT, *COUPLED) and same_in_any_batch(
        built(spec, settings=quiet, **target), images, labels
    )
    settings |= quiet if together else {}
    written = {"epsilon": attack.epsilon} if attack.epsilon == 0.5 else {}
    shown = ",".join(f"{key}={value}" for key, value in {**written, **target, **settings}.items())
    return Row(
        name=name,
        how="together" if together else "one by one" if repeats else "BROKEN",
        needs=", ".join(f"needs {name}" for name in EXTRAS if name in sys.modules) if repeats else "not seeded by us",
        ran_with=shown,
        target="needed" if target else led_there(spec, settings, images, alone),
        label="not looked at" if not target and torch.equal(alone, each_alone(attack, images, others(labels))) else "",
    )


def each_alone(attack: Adapter, images: Tensor, labels: Tensor, gain: float = 1.0) -> Tensor:
    """Each image attacked by itself, with a seed of its own."""
    pairs = zip(images.split(1), labels.split(1), strict=True)
    return torch.cat([attack(Frozen(gain), *pair, generator=generator_for(at)) for at, pair in enumerate(pairs)])


def others(labels: Tensor) -> Tensor:
    """Wrong labels."""
    return (labels + 1) % CLASSES


def same_in_any_batch(attack: Adapter, images: Tensor, labels: Tensor) -> bool:
    """Whether neither an image's batch nor its seed makes a difference, for sure networks either."""
    images, sizes = images.float() if attack.name in attack.single else images, list[int]()

    def run(seen: nn.Module, some: Tensor, its: Tensor) -> Tensor:
        sizes.append(len(some))
        return attack._run(seen, some, its)  # noqa: SLF001

    for gain in GAINS:
        alone = each_alone(attack, images, labels, gain)
        if int((alone != images).flatten(1).any(1).sum()) < 3:
            return False  # nothing was shown
        for at in BATCHES:
            try:
                made = run_attack(
                    run, Frozen(gain), images[at], labels[at], [generator_for(100 + one) for one in at],
                    spec=attack.spec, epsilon=attack.epsilon, norm=attack.norm, batched=True, harmless=attack.harmless,
                )  # fmt: skip
            except (GazeshiftError, RuntimeError, ValueError):
                return False
            if sizes.pop() != len(at) or sizes:  # it goes on one by one if something was drawn
                return False
            if (made - alone[at]).abs().max() > ALIKE:
                return False
    return True


def led_there(spec: str, settings: dict[str, Any], images: Tensor, untargeted: Tensor) -> str:
    """Whether a target may be given, and the attack then leads to it."""
    labels = images_and_labels()[1]
    try:
        attack = built(spec, settings=settings, target=TARGET)
        made = each_alone(attack, images, labels)
    except SettingsError:
        return ""
    if attack.target is None:
        return "another"  # a setting of its own
    tried = labels != TARGET
    if (made - images)[tried].abs().max() < ALIKE:
        return "not reached"
    same = torch.equal(made[tried], untargeted[tried])
    if same and torch.equal(each_alone(built(spec, settings=settings, target=OTHER), images, labels), untargeted):
        return "NO EFFECT"
    gained = (Frozen()(made).softmax(1) - Frozen()(images).softmax(1))[tried, TARGET]
    return "yes" if gained.mean() > 0 else "not reached"


def worker(spec: str, found: "SimpleQueue[Any]") -> None:
    """Run one attack; what the packages print is nobody's concern."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    name = spec.partition(":")[2]
    try:
        found.put(asdict(tried(spec)))
    except MissingPackageError as cause:
        found.put(asdict(Row(name=name, how="needs a package", needs=str(cause).rpartition("pip install ")[2])))
    except GazeshiftError as cause:
        found.put(asdict(Row(name=name, how="refused", needs=str(cause))))
    except BaseException as cause:
        found.put(asdict(Row(name=name, how="BROKEN", needs=f"{type(cause).__name__}: {cause}")))


def found_out(spec: str) -> Row:
    """What a process of its own finds out about an attack in its time."""
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=worker, args=(spec, found))
    process.start()
    process.join()
    if found.empty():
        return Row(name=spec.partition(":")[2], how="BROKEN", needs=f"its process ended, perhaps after {SECONDS} s")
    return Row(**found.get())


def page(rows: Mapping[str, list[Row]]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version(pip_name)}" for name, pip_name in PACKAGES.items())
    return INTRO.format(versions=versions) + sections(rows)


def sections(rows: Mapping[str, list[Row]]) -> str:
    """What the page says of each package."""
    lines = [""]
    for package, its in rows.items():
        counts = {how: sum(row.how == how for row in its) for how in HOW}
        told = ", ".join(f"{count} {HOW[how]}" for how, count in counts.items() if count)
        lines += ["", f"## {package}", "", f"{len(its)} attacks: {told}."]
        lines += ["", "| attack | images are attacked | run with | target | label |", "|---|---|---|---|---|"]
        lines += [line(row) for row in its if row.how not in ("refused", "BROKEN")]
        refused = [row for row in its if row.how in ("refused", "BROKEN")]
        if refused:
            lines += ["", "| refused | why |", "|---|---|", *(f"| `{row.name}` | {row.needs} |" for row in refused)]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    """A row of the first table of a package."""
    how = f"{row.how}: {row.needs}" if row.needs else row.how
    return f"| `{row.name}` | {how} | {f'`{row.ran_with}`' if row.ran_with else ''} | {row.target} | {row.label} |"


def rows_of(text: str) -> dict[str, list[Row]]:
    """The rows that a page was written from."""
    rows: dict[str, list[Row]] = {}
    for written in text.splitlines():
        cells = [cell.strip().strip("`") for cell in written.strip("|").split(" | ")]
        if written.startswith("## "):
            rows[written[3:]] = its = []
        elif written.startswith("| `") and len(cells) == 5:
            how, _, needs = cells[1].partition(": ")
            its.append(Row(name=cells[0], how=how, needs=needs, ran_with=cells[2], target=cells[3], label=cells[4]))
        elif written.startswith("| `"):
            its.append(Row(name=cells[0], how="refused", needs=cells[1]))
    return rows


def misfits(rows: Mapping[str, list[Row]]) -> Iterator[str]:
    """Where a page and the code's lists differ."""
    for package in installed():
        kind, its = find("attacks", package), rows.get(package, [])
        named, known = {row.name for row in its}, set(offered(package))
        yield from (f"{package}:{name} is on one side alone" for name in sorted(named ^ known))
        yield from (f"{package}:{row.name}: {row.needs}" for row in its if "BROKEN" in row.how)
        yield from (f"{package}:{row.name} takes a target for nothing" for row in its if row.target == "NO EFFECT")
        for what, listed, shown in (
            ("together", set(kind.batched), {row.name for row in its if row.how == "together"}),
            ("refused", set(kind.refused), {row.name for row in its if row.how == "refused"}),
            ("always targeted", set(kind.always_targeted), {row.name for row in its if row.target == "needed"}),
        ):
            yield from (f"{package}:{name} is {what} on one side alone" for name in sorted(listed ^ shown))


def main(asked: list[str]) -> None:
    """Run what is asked for, and write the page."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much, once for all processes
    rows = rows_of(FILE.read_text("utf-8")) if FILE.is_file() else {}
    for package in PACKAGES:
        before = {row.name: row for row in rows.get(package, [])}
        for name in offered(package):
            spec = f"{package}:{name}"
            if not asked or package in asked or spec in asked or name not in before:
                before[name] = found_out(spec)
                print(spec, json.dumps(asdict(replace(before[name], name=""))), flush=True)
        rows[package] = [before[name] for name in sorted(offered(package))]
        FILE.write_text(page(rows), "utf-8")
    print("\n".join(misfits(rows)))


if __name__ == "__main__":
    if "--check" not in sys.argv:
        main(sys.argv[1:])
    elif problems := list(misfits(rows_of(FILE.read_text("utf-8")))):
        sys.exit("docs/adapters.md does not fit the code:\n" + "\n".join(problems))
