"""How records show themselves: few lines, no tensors, nothing that a hostile name can do; and they stay plain data."""

import copy
import dataclasses
import importlib
import io
import math
import pickle
import pkgutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

import gazeshift
from gazeshift import records
from gazeshift.attacks._defended import DetectorOutput
from gazeshift.attacks.aoa.attack import AoaRun
from gazeshift.attacks.dlfuzz.result import Adversarial, DLFuzzTables, FuzzedSeed, FuzzResult
from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import AdversarialSet, ImageSource, Pairs, Verified
from gazeshift.detectors import _null
from gazeshift.detectors.confidence import Confidence
from gazeshift.evasion import Evasion
from gazeshift.measures.coverage import CoverageTable
from gazeshift.models import _neurons
from gazeshift.records import (
    Attacked,
    Batch,
    Comparison,
    DetectorInput,
    Evidence,
    Finding,
    Layer,
    LayerTrace,
    Sample,
    Skipped,
    Verdict,
)
from gazeshift.summaries import LINES, ROWS, Summary, fitted, listed

HOSTILE = "<script>alert(1)</script>\n\x1b[31m\u202e" + "long " * 40
NAMES = tuple(f"{HOSTILE} {at}" for at in range(1000))


def layer(name: str = "stem") -> Layer:
    return Layer(name=name, kinds=frozenset({"conv", "trunk"}), shape=(4, 2, 3), aliases=("first",), module=name)


def evidence(n: int, *, classes: int = 1000, layers: int = 12, names=NAMES, value: float = 0.0, channels: int = 3):
    """Every image's top class is 7, and its maps explain class 8."""
    logits = torch.full((n, classes), value)
    logits[:, 7] += 5
    trace = {
        f"{HOSTILE}{at}": LayerTrace(
            layer=layer(f"{HOSTILE}{at}"),
            maps={"grad_cam": torch.full((n, 2, 3), value), "layer_cam": torch.full((n, 2, 3), torch.nan)},
            poles=torch.zeros(n, dtype=torch.long),
            activation=torch.zeros(n, 4),
            gradient=torch.zeros(n, 4),
        )
        for at in range(layers)
    }
    return Evidence(
        images=torch.full((n, channels, 4, 6), 0.5),
        logits=logits,
        explained=torch.full((n,), 8),
        target="reference",
        score="logit",
        traces=trace,
        model=HOSTILE,
        class_names=names,
    )


def made(n: int, **of: object) -> list[Summary]:
    """One of each record, for n images."""
    seen = evidence(n, **of)
    value = torch.full((n,), of.get("value", 0.0))
    other = {"labels": torch.full((n,), 7), "clean_logits": seen.logits, "logits": -seen.logits}
    values = {(one, cam): {f"m{at}": value for at in range(6)} for one in seen.layers for cam in seen.cams}
    skipped = tuple(Skipped(id=HOSTILE, reason=HOSTILE * 10) for _ in range(n))
    ids = tuple(f"{HOSTILE}/{at}.png" for at in range(n))
    return [
        layer(HOSTILE),
        next(iter(seen.traces.values()), evidence(n).traces[f"{HOSTILE}0"]),
        seen,
        DetectorInput(own=seen, views=(seen, seen)),
        Verdict(
            seen=DetectorInput(own=seen),
            suspicion=value,
            p_value=value,
            is_attack=value.isnan(),
            threshold=0.5,
            false_alarms=0.05,
        ),
        Attacked(clean=seen.images, images=seen.images + value[:, None, None, None], forwards=1, backwards=1, **other),
        Comparison(values=values, blank={key: value.isnan().int() for key in values}, switched=value.isnan()),
        Finding(check=HOSTILE, level="note", detail=HOSTILE * 10),
        Sample(id=HOSTILE, image=torch.zeros(3, 4, 6), label=None, sha256="0" * 64),
        Skipped(id=HOSTILE, reason=HOSTILE * 10),
        Batch(ids=ids, images=seen.images, labels=None, skipped=skipped),
    ]


def results(n: int, value: float = 0.0) -> list[Summary]:
    """One of each thing beside the records that holds a batch, for n images."""
    numbers, flags, images = torch.full((n,), value), torch.full((n,), value).isnan(), torch.full((n, 3, 4, 6), value)
    counts, ids = torch.arange(1000), tuple(f"{HOSTILE}{at}" for at in range(n))
    skipped = tuple(Skipped(id=own, reason=HOSTILE) for own in ids)
    found = Adversarial(
        image=torch.zeros(3, 4, 6),
        before=torch.zeros(3, 4, 6),
        **dict.fromkeys(("k", "pop", "depth", "iteration", "label"), 7),
        **dict.fromkeys(("confidence", "original_confidence", "l2", "l2_ratio", "linf", "rms", "coverage_gain"), value),
    )
    seed = FuzzedSeed(
        clean=torch.zeros(3, 4, 6),
        last=torch.zeros(3, 4, 6),
        true_label=None,
        stop_reason="",
        class_gradient=(value,) * n,
        coverage_gradient=(value,) * n,
        adversarials=(found,) * n,
        **dict.fromkeys(("position", "seed_index", "clean_label", "pops", "iterations"), 7),
        **dict.fromkeys(("clean_confidence", "coverage_after"), value),
    )
    tables, covered = DLFuzzTables(evaluated=counts, reported=counts), torch.zeros(n, 1000, dtype=torch.bool)
    pairs = Pairs(
        ids=ids, images=images, attacked=images, labels=None, facts={"success": flags.numpy()}, skipped=skipped
    )
    return [
        tables,
        found,
        seed,
        FuzzResult(
            seeds=(seed,) * n,
            layers={HOSTILE: 1000},
            tables=tables,
            before=None,
            clean_covered=covered,
            covered=covered,
            seconds=1.0,
        ),
        DetectorOutput(suspicion=numbers, logits=torch.zeros(3, n, 1000)),
        AoaRun(images=images, steps=flags.long(), blank=flags, halted=flags),
        pairs,
        AdversarialSet(
            path=Path(HOSTILE),
            manifest={"attack": {"name": HOSTILE}, "model": {"name": HOSTILE}, "counts": {"success": n}},
            pieces=(pairs,),
        ),
        ImageSource(
            name=HOSTILE,
            kind="folder",
            ids=ids,
            labels=(3,) * n,
            skipped=skipped,
            notes=ids,
            places=ids,
            fetch=open,
        ),
        Verified(images=n, predicted=True, largest=value, counts={}, wrong={}, problems=ids),
        _neurons.NeuronActivations(
            logits=torch.zeros(n, 1000), means=torch.zeros(n, 1000), values=torch.zeros(n, 1000)
        ),
        _neurons.Neurons(model=torch.relu, network=None, layers=(layer(HOSTILE),) * n),
        _null.NullDistribution(similarity=numbers, null=torch.zeros(n, 9), threshold=numbers),
        CalibratedDetector(
            name="confidence",
            detector=Confidence(),
            model={"name": HOSTILE},
            layers=ids,
            scores=numbers,
            false_alarms=0.05,
            fitted_on=ids,
            calibrated_on=ids,
        ),
        Evasion(misclassified=flags, flagged=flags, suspicion=numbers),
        CoverageTable(counts=counts, images=n, threshold=0.25),
    ]


CASES = {
    "large": {"n": 64},
    "one": {"n": 1},
    "empty": {"n": 0},
    "NaN": {"n": 64, "value": math.nan},
    "without names": {"n": 3, "names": ()},
    "few names": {"n": 3, "names": ("only one",)},
    "no layers": {"n": 3, "layers": 0},
    "one channel": {"n": 3, "channels": 1},
    "five channels": {"n": 3, "channels": 5},
    "two classes": {"n": 3, "classes": 8},
}


def check_short(one: Summary) -> None:
    text = repr(one)
    assert text.startswith(f"{type(one).__name__}(")
    assert str(one) == text
    assert len(text) < 1000, text
    assert text.count("\n") < 12, text
    assert "tensor(" not in text
    assert all(letter.isprintable() for letter in text.replace("\n", "")), "a name moved the cursor"


@pytest.mark.parametrize("case", CASES)
def test_every_record_says_what_it_is_in_few_lines(case):
    found = made(**CASES[case])
    there = {one for one in vars(records).values() if dataclasses.is_dataclass(one)}
    assert {type(one) for one in found} == there, "a record that this test does not know"
    for one in found:
        check_short(one)


@pytest.mark.parametrize(("n", "value"), [(64, 0.0), (1, 0.5), (0, 0.0), (64, math.nan)])
def test_whatever_else_holds_a_batch_says_it_in_few_lines(n, value):
    found = results(n, value)
    known = {type(one) for one in (*found, *made(1))}
    assert {one for one in subclasses() if one.__module__.startswith("gazeshift.")} == known
    for one in found:
        check_short(one)


def subclasses() -> set[type]:
    """Everything that shows itself by the same means, from every module of the package."""
    for module in pkgutil.walk_packages(gazeshift.__path__, "gazeshift."):
        if module.name.split(".")[1] in {"attacks", "data", "detectors", "evasion", "measures", "models", "records"}:
            importlib.import_module(module.name)
    return set(Summary.__subclasses__())


@pytest.mark.parametrize("case", CASES)
def test_records_stay_plain_data(case):
    for one in made(**CASES[case]):
        for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one), dataclasses.replace(one)):  # noqa: S301
            assert type(again) is type(one)
            assert repr(again) == repr(one)
        assert again is not one
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.anything = 1


def small() -> tuple[Evidence, Attacked]:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(9.0)], [0.0, 0.0]])
    seen = dataclasses.replace(
        evidence(3, classes=8, layers=0, names=("cat", "dog")),
        logits=logits,
        explained=torch.tensor([0, 0, 0]),
        model="net",
        traces={name: evidence(3, layers=1).traces[f"{HOSTILE}0"] for name in ("stem", "middle", "end")},
    )
    images = seen.images.clone()
    images[1] += 8 / 255
    images[0, 0, 0, 0] -= 2 / 255
    attacked = Attacked(
        clean=seen.images,
        images=images,
        labels=torch.tensor([0, 1, 1]),
        clean_logits=logits,
        logits=torch.tensor([[1.0, 1.0], [math.log(4.0), 0.0], [0.0, 0.0]]),
        forwards=1,
        backwards=1,
        class_names=("cat", "dog"),
    )
    return seen, attacked


def test_evidence_by_hand():
    maps = "grad_cam and layer_cam of the reference class at 3 layers (stem to end)"
    assert repr(small()[0]).split("\n") == [
        f"Evidence(3 images of 3 x 4 x 6 seen by net; {maps})",
        "  0: cat (75 %)",
        "  1: dog (90 %), maps of cat",
        "  2: cat (50 %)",
    ]


def test_a_verdict_by_hand():
    verdict = Verdict(
        seen=DetectorInput(own=small()[0]),
        suspicion=torch.tensor([0.25, 1.5, math.nan]),
        p_value=torch.tensor([0.5, 0.01, 0.01]),
        is_attack=torch.tensor([False, True, True]),
        threshold=0.52,
        false_alarms=0.05,
    )
    assert repr(verdict).split("\n") == [
        "Verdict(3 images: 2 attacks, 1 clean; threshold 0.52 for 5 % false alarms)",
        "  0: clean, suspicion 0.25, p 0.5, cat (75 %)",
        "  1: attack, suspicion 1.5, p 0.01, dog (90 %)",
        "  2: attack, suspicion nan, p 0.01, cat (50 %)",
    ]
    assert cells(verdict._repr_html_())[:11] == [
        *("image", "verdict", "suspicion", "p", "predicted class"),
        *("0", "clean", "0.25", "0.5", "cat (75 %)"),
        "1",
    ]


def test_an_attack_by_hand():
    size = "L-inf up to 8.00/255, RMS up to 8.00/255"
    assert repr(small()[1]).split("\n") == [
        f"Attacked(3 images of 3 x 4 x 6: 1 of 2 fooled that were right before; {size})",
        "  0: cat (75 %) -> cat (50 %), not fooled, L-inf 2.00/255",
        "  1: dog (90 %) -> cat (80 %), fooled, L-inf 8.00/255",
        "  2: cat (50 %) -> cat (50 %), wrong before, L-inf 0.00/255",
    ]
    bare = dataclasses.replace(small()[1], class_names=())
    assert "  1: class 1 (90 %) -> class 0 (80 %), fooled" in repr(bare)


def test_a_comparison_by_hand():
    found = Comparison(
        values={
            ("stem", "grad_cam"): {"cosine": torch.tensor([0.5, 1.0])},
            ("end", "grad_cam"): {"cosine": torch.tensor([0.25, math.nan])},
            ("stem", "cam"): {"cosine": torch.tensor([math.nan, math.nan])},
        },
        blank={},
        switched=torch.tensor([True, False]),
    )
    assert repr(found).split("\n") == [
        "Comparison(grad_cam and cam at 2 layers (stem to end); the predicted class switched in 1 of 2 images)",
        "  cosine of grad_cam: mean 0.583, 0.25 at end to 0.75 at stem, 1 undefined",
        "  cosine of cam: undefined",
    ]
    table = ["layer", "cosine of grad_cam", "cosine of cam", "stem", "0.750", "nan", "end", "0.250", ""]
    assert cells(found._repr_html_()) == table


def test_small_records_by_hand():
    assert repr(layer()) == "Layer(stem: 4 x 2 x 3, conv and trunk, also first)"
    trace = evidence(2, layers=1).traces[f"{HOSTILE}0"]
    assert repr(dataclasses.replace(trace, layer=layer())).split("\n") == [
        "LayerTrace(stem: 2 images, 4 channels)",
        "  grad_cam: 2 x 3",
        "  layer_cam: 2 x 3, 2 undefined",
    ]
    assert repr(Finding(check="range", level="ok", detail="in [0, 1].")) == "Finding(ok, range: in [0, 1].)"
    assert repr(Skipped(id="a.png", reason="empty")) == "Skipped(a.png: empty)"
    sample = Sample(id="a.png", image=torch.zeros(1, 8, 9), label=3, sha256="")
    assert repr(sample) == "Sample(a.png: 1 x 8 x 9, label 3)"
    batch = Batch(
        ids=tuple("abcde"),
        images=torch.zeros(5, 1, 8, 9),
        labels=torch.arange(5),
        skipped=(Skipped(id="f", reason="empty"),),
    )
    assert repr(batch).split("\n") == [
        "Batch(5 images of 1 x 8 x 9; 1 skipped)",
        *(f"  {at}: {'abcde'[at]}, label {at}" for at in range(4)),
        "  ... and 1 more",
        "  skipped f: empty",
    ]


def test_results_by_hand():
    images = torch.zeros(2, 1, 8, 9)
    pairs = Pairs(ids=("a", "b"), images=images, attacked=images, labels=None)
    assert repr(pairs) == "Pairs(2 images of 1 x 8 x 9, with clean ones, without labels)\n  0: a\n  1: b"
    told = {"attack": {"name": "pgd"}, "model": {"name": "net"}, "counts": {"success": 1}}
    assert repr(AdversarialSet(path=Path("set"), manifest=told, pieces=(pairs,))) == (
        "AdversarialSet(set: 2 examples of pgd on net, 1 that fool it)"
    )
    assert repr(AdversarialSet(path=Path("set"), manifest={}, pieces=())) == "AdversarialSet(set: 0 examples)"
    ready = CalibratedDetector(
        name="confidence",
        detector=Confidence(),
        model={"name": "net"},
        layers=("stem", "end"),
        scores=torch.arange(100.0),
        false_alarms=0.05,
        fitted_on=("a",),
        calibrated_on=(),
    )
    assert repr(ready).split("\n") == [
        "CalibratedDetector(confidence for net at 2 layers (stem to end); fitted on 1 image, calibrated on 100)",
        f"  threshold {ready.threshold:.3g} for 5 % false alarms",
    ]
    flags = torch.tensor([True, True, False])
    found = Evasion(misclassified=flags, flagged=~flags, suspicion=torch.zeros(3))
    assert repr(found) == "Evasion(3 images: 2 misclassified, 1 flagged, 2 evaded)"


class Cells(HTMLParser):
    """Tags, and the text of the cells, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.cells = [], []

    def handle_starttag(self, tag, _attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def parsed(html: str) -> Cells:
    parser = Cells()
    parser.feed(html)
    return parser


def cells(html: str) -> list[str]:
    return parsed(html).cells


@pytest.mark.parametrize("case", CASES)
def test_tables_in_a_notebook_hold_no_tag_of_a_hostile_name(case):
    shown = [one for one in made(**CASES[case]) if hasattr(one, "_repr_html_")]
    assert {type(one).__name__ for one in shown} == {"Verdict", "Comparison"}
    for one in shown:
        page = one._repr_html_()
        assert set(parsed(page).tags) <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
        assert len(page) < 40_000
        assert "tensor(" not in page


def test_a_table_ends_after_its_rows_and_says_what_is_left():
    page = next(one for one in made(64) if isinstance(one, Verdict))._repr_html_()
    assert page.count("<tr>") == ROWS + 1
    assert f"... and {64 - ROWS} more" in page
    assert "more" not in next(one for one in made(ROWS) if isinstance(one, Verdict))._repr_html_()


@pytest.mark.parametrize("case", CASES)
def test_pictures_in_a_notebook(case):
    shown = [one for one in made(**CASES[case]) if hasattr(one, "_repr_png_")]
    assert {type(one).__name__ for one in shown} == {"Evidence", "DetectorInput", "Attacked"}
    for one in shown:
        picture = Image.open(io.BytesIO(one._repr_png_()))
        assert picture.format == "PNG"
        assert max(picture.size) < 2000


def test_lists_say_how_much_is_left():
    assert [*listed(LINES, str)] == [str(at) for at in range(LINES)]
    assert [*listed(LINES + 1, str)][-1] == "... and 1 more"
    assert [len(fitted("x" * length, 9)) for length in range(8, 12)] == [8, 9, 9, 9]
