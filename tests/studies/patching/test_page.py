"""The patching study's page from tables made by hand: curves, half points, and verdicts that can fail."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr, wilcoxon

from gazeshift import report
from gazeshift.report.statistics import wilson
from gazeshift.report.study import open_study
from gazeshift.studies.patching.report.numbers import Curve, causes, earlier, moved_and_mending
from gazeshift.studies.patching.report.page import page
from gazeshift.studies.patching.rows import LAYERS, PATCHES

STEPS = (1, 2, 4, 8)


def write(folder, first, cosine, *, images=24, exact=True, flip=None):
    """A study: by layer and ranking the step at which an image turns, by layer the median cosine.

    Args:
        folder: to write.
        first: (layer, ranking, image) to the first k that turns it; 99 is never, but by all.
        cosine: by layer.
        images: fooled ones.
        exact: by layer, or for all.
        flip: ranking to the first k that turns a clean image, if not the same as `first`.
    """
    folder.mkdir()
    rows, layers = [], []
    for at, layer in enumerate(cosine):
        for image in range(images):
            name, whole = f"{image:03d}", exact if isinstance(exact, bool) else exact[layer]
            told = {"image": name, "layer": layer, "layer_index": at}
            layers.append(
                told
                | {"channels": 8, "height": 7, "width": 7, "exact": whole, "cosine": cosine[layer]}
                | {"cosine_reference": 0.5, "agreement": 0.25}
            )
            for direction in ("restore", "flip"):
                for ranking in ("effect", "rmse", "random"):
                    need = first(layer, ranking, image) if direction == "restore" or flip is None else flip(ranking)
                    rows += [
                        told
                        | {"direction": direction, "ranking": ranking, "k": k, "of": 8, "margin": 0.0}
                        | {"turned": k >= need or k == 8}
                        for k in STEPS
                    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PATCHES), folder / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(layers, schema=LAYERS), folder / "layers.parquet")
    manifest = {
        "schema": 1,
        "study": "patching",
        "status": "finished",
        "seed": 0,
        "model": {"name": "efficientnet_lite0"},
        "images": {"source": "photos", "asked": 40, "used": 40},
        "settings": {"unit": "channels", "factor": 2},
        "attacks": [{"name": "pgd"}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def document(folder):
    return page(open_study(folder))


def layers_of(count):
    return [f"layer{at}" for at in range(count)]


def ranked(layer, ranking, image):
    """The deeper, the earlier; by effect first, then by RMSE, then at random; not the same for every image."""
    slower = {"effect": 0, "rmse": 1, "random": 2}[ranking]
    return 2 ** max(0, min(3, 3 - int(layer[5:]) // 2 + slower + image % 2 - 1))


def test_half_lies_between_two_steps_on_the_logarithm():
    turned = np.array([[True, False, False, False], [True, True, True, False]])
    curve = Curve(steps=(2, 8), turned=turned)
    assert curve.shares == [0.25, 0.75]
    assert curve.half == pytest.approx(4.0)
    assert Curve(steps=(1, 2), turned=turned[::-1]).half == 1.0
    assert Curve(steps=(1, 2), turned=turned[:1].repeat(2, 0)).half is None
    assert curve.early.tolist() == [1.0, 0.0, 0.0, 0.0]
    low, high = curve.intervals
    assert (low[1], high[1]) == wilson(3, 4)


def test_numbers_are_those_of_the_tables(tmp_path):
    cosine = {name: 0.9 - 0.1 * at for at, name in enumerate(layers_of(8))}
    found = causes(open_study(write(tmp_path / "study", ranked, cosine)))
    assert [layer.name for layer in found] == layers_of(8)
    early = {
        (layer, ranking): np.mean([[k >= ranked(layer, ranking, image) for k in (1, 2, 4)] for image in range(24)], 1)
        for layer in cosine
        for ranking in ("effect", "rmse", "random")
    }
    for layer in found:
        assert np.allclose(layer.curves["restore", "rmse"].early, early[layer.name, "rmse"])
    test = moved_and_mending(found)
    mends = [early[name, "effect"].mean() for name in cosine]
    assert test.value == pytest.approx(spearmanr([-value for value in cosine.values()], mends).statistic)
    assert test.p < 0.01
    apart = earlier(found, "restore", "effect", "rmse")
    over = [np.mean([early[name, ranking] for name in cosine], 0) for ranking in ("effect", "rmse")]
    assert apart.value == pytest.approx((over[0] - over[1]).mean())
    assert apart.p == pytest.approx(wilcoxon(over[0] - over[1], alternative="greater").pvalue)


HELD = {name: 0.9 - 0.1 * at for at, name in enumerate(layers_of(8))}
TURNED_ROUND = {name: 0.2 + 0.1 * at for at, name in enumerate(layers_of(8))}


@pytest.mark.parametrize(
    ("claim", "cosine", "rankings", "seen"),
    [
        ("Layers whose maps", HELD, None, (24, "held")),
        ("Layers whose maps", TURNED_ROUND, None, (24, "did not hold")),
        ("Layers whose maps", dict.fromkeys(layers_of(8), 0.5), None, (24, "not tested")),
        ("Layers whose maps", {"layer0": 0.9, "layer6": 0.1}, None, (24, "not tested")),
        ("Layers whose maps", HELD, None, (8, "not tested")),
        ("Feature maps that change most", HELD, None, (24, "held")),
        ("Feature maps that change most", HELD, {"rmse": "random", "random": "rmse"}, (24, "did not hold")),
        ("Feature maps that change most", HELD, {"rmse": "random"}, (24, "did not hold")),
        ("Feature maps that change most", HELD, None, (19, "not tested")),
        ("Change alone", HELD, None, (24, "held")),
        ("Change alone", HELD, {"effect": "rmse", "rmse": "effect"}, (24, "did not hold")),
        ("Change alone", HELD, None, (3, "not tested")),
    ],
)
def test_every_claim_can_hold_and_fail(tmp_path, claim, cosine, rankings, seen):
    images, verdict = seen

    def first(layer, ranking, image):
        return ranked(layer, (rankings or {}).get(ranking, ranking), image)

    found = document(write(tmp_path / "study", first, cosine, images=images)).claims
    (one,) = [own for own in found if own.paper.startswith(claim)]
    assert one.held == verdict


@pytest.mark.parametrize(("claim", "verdict"), [("Feature maps that", "partly"), ("Change alone", "held")])
def test_an_order_that_matters_in_one_direction_holds_partly(tmp_path, claim, verdict):
    flip = {"effect": 1, "rmse": 4, "random": 4}.get
    (one,) = [own for own in document(write(tmp_path / "study", ranked, HELD, flip=flip)).claims if claim in own.paper]
    assert one.held == verdict
    assert one.ours.startswith("Replaced by ")
    assert "the right answer is back" in one.ours
    assert ("0.0 % of the steps later (p = 1)" in one.ours) == (verdict == "partly")


def test_findings_name_the_layer_and_what_is_by_construction(tmp_path):
    exact = {name: name != "layer3" for name in layers_of(8)}
    mends, breaks, around = document(write(tmp_path / "study", ranked, HELD, exact=exact)).findings[:3]
    assert mends.startswith("layer4 mends half of the 24 images with the smallest part: 1 of its 8 channels")
    assert breaks.startswith("layer4 breaks half of the 24 images")
    assert around == (
        "All activations of 7 of 8 layers give the clean answer exactly, by construction; paths of the network go "
        "around layer3."
    )
    whole = document(write(tmp_path / "other", ranked, HELD)).findings[2]
    assert whole.startswith("All activations of any layer give the clean answer exactly, by construction")


def test_the_page_holds_the_tables_and_charts(tmp_path):
    folder = write(tmp_path / "study", ranked, HELD)
    restore, flip, layers = document(folder).sections
    choice, halves = restore.items
    assert list(choice.charts) == layers_of(8)
    drawn = [trace for trace in choice.charts["layer0"].traces if trace.get("name")]
    assert [trace["name"] for trace in drawn] == ["by effect", "by RMSE", "at random"]
    assert halves.rows[6][:3] == ["layer6", "8", "1"]
    assert halves.rows[0][-1] == "100 % [86, 100]"
    assert layers.items[0].rows[2][:3] == ["layer2", "8 x 7 x 7", "0.70"]
    assert flip.title.startswith("How few attacked activations")
    made = report.make(folder)
    assert "by construction" in made.html
    assert len(made.html) < 2_500_000
