"""The renkhoff2022 study: its rows against the paper's text in plain NumPy, what it leaves out, resuming, refusals."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

import gazeshift as gs
from gazeshift import cli
from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.errors import OutputError
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.studies.renkhoff2022.settings import Renkhoff2022
from gazeshift.transforms.matched_noise import MatchedNoise
from helpers.killing import check_killed
from helpers.renkhoff_study import ATTACK, make_settings
from helpers.small_study import make_images

TABLES = ("rows", "images", "gallery", "seeds", "coverage", "curves")


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path)


def rows_of(folder: Path, name: str = "rows") -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def fuzz() -> DLFuzz:
    return gs.build("attacks", ATTACK)


def opened(settings, count: int = 9):
    model = gs.load(settings["model"])
    return model, gs.open_source(settings["images"]).read(0, count, model.preprocessing)


def enlarged(raw: torch.Tensor) -> np.ndarray:
    maps = raw.double().clamp_min(0)[None, None]
    return torch.nn.functional.interpolate(maps, (32, 32), mode="bilinear").numpy().ravel()


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    """SPEC 1.4: both zero give 1, one of them 0."""
    if not one.any() or not two.any():
        return float(not one.any() and not two.any())
    return one @ two / np.sqrt((one @ one) * (two @ two))


def test_rows_are_those_of_the_papers_text(settings, tmp_path):
    """Equations 1 to 7, one example at a time: S + s N_a and S + s N_g, Grad-CAM at full size, cosine."""
    out = Renkhoff2022(**settings).run(tmp_path / "out")
    rows, (model, batch) = rows_of(out), opened(settings)
    compared = 0
    for at, name in enumerate(batch.ids):
        image = batch.images[at : at + 1]
        made = fuzz()(model, image, None, generator=[gs.generator_for(0, ATTACK, name)])
        clean = gs.look(model, image)
        mine = [row for row in rows if row["image"] == name]
        if gs.look(model, made).predicted.item() == clean.predicted.item():
            assert mine == []
            continue
        change = (made - image).double().numpy()
        draw = torch.randn(image.shape[1:], generator=gs.generator_for(0, "noise", ATTACK, name)).double().numpy()
        noise = change.mean() + change.std() * draw
        assert len(mine) == 2 * 2 * 2 * 2  # strengths, kinds, targets, layers
        for row in mine:
            step = row["strength"] * (change if row["kind"] == "attacked" else noise)
            shown = torch.from_numpy(np.clip(image.double().numpy() + step, 0, 1)).float()
            seen = gs.look(model, shown, target=clean.predicted if row["target"] == "reference" else None)
            one, two = (enlarged(look.maps(row["layer"])[0]) for look in (clean, seen))
            wanted = cosine(one, two)
            assert row["value"] == pytest.approx(wanted, abs=2e-5)
            assert row["switched"] == bool(seen.logits.argmax() != clean.logits.argmax())
            compared += 1
    assert compared > 30


def test_every_seed_is_recorded_and_those_that_were_wrong_are_told_apart(settings, tmp_path):
    out = Renkhoff2022(**settings).run(tmp_path / "out")
    seeds, rows, images = rows_of(out, "seeds"), rows_of(out), rows_of(out, "images")
    assert len(seeds) == 9
    assert len({seed["image"] for seed in seeds}) == 9
    hit = {seed["image"] for seed in seeds if seed["switched"]}
    assert 0 < len(hit) < 9
    assert {row["image"] for row in rows} == hit == {row["image"] for row in images}
    right = {seed["image"] for seed in seeds if seed["label"] == seed["clean_class"]}
    assert {row["image"] for row in rows if row["clean_correct"]} == hit & right
    assert {row["image"] for row in rows if row["fooled"]} == hit & right
    assert len(hit - right) > 0
    at_own = [row for row in images if row["strength"] == 1 and row["kind"] == "attacked"]
    assert all(row["switched"] for row in at_own)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["examples"] == len(hit)
    assert (manifest["images"]["used"], manifest["images"]["skipped"]) == (9, [])
    assert manifest["cost"]["ratio"] > 0


def test_cost_is_what_the_cells_took_to_the_passes_timed_between_them(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("gazeshift.runs.run.TIMING_SHARE", 1e9)  # after every cell
    timed = iter([(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)])
    monkeypatch.setattr("gazeshift.runs.run.pass_seconds", lambda *_: next(timed))
    settings |= {"batch_size": 3, "coverage_seeds": 0}
    first = json.loads((Renkhoff2022(**settings).run(tmp_path / "out") / "manifest.json").read_text())
    cost, passes = first["cost"], first["passes"]
    assert (cost["forward_seconds"], cost["backward_seconds"]) == (3, 4)
    assert cost["needed_seconds"] == 3 * passes["forwards"] + 4 * passes["backwards"]
    assert cost["ratio"] == pytest.approx(cost["seconds"] / cost["needed_seconds"], abs=1e-4)
    again = json.loads((Renkhoff2022(**settings).run(tmp_path / "out") / "manifest.json").read_text())
    assert again["cost"] == cost  # a resumed study times nothing it has timed


def test_coverage_curves_are_what_single_runs_cover(settings, tmp_path):
    """SPEC 4: every arm goes over the same seeds in the same order, each strength with tables of its own."""
    lively = ATTACK.replace("step=0.001", "step=0.1")  # so that strengths cover different neurons
    out = Renkhoff2022(**settings | {"batch_size": 2, "attack": lively}).run(tmp_path / "out")
    curves, (model, batch) = rows_of(out, "curves"), opened(settings, 3)
    assert {(row["arm"], row["strength"]) for row in curves} == {
        ("seeds", 0.0),
        *((arm, strength) for arm in ("adversarial", "random") for strength in (0.5, 1.0)),
    }
    for arm, mutation in (("adversarial", "gradient"), ("random", "gaussian")):
        for strength in (0.5, 1.0):
            own = gs.build("attacks", lively, accept="all", mutation=mutation)
            own = type(own)(**{**vars(own), "step": own.step * strength})
            draws = [gs.generator_for(0, "coverage", arm, f"{strength:g}", name) for name in batch.ids]
            found = own.run(model, batch.images, generator=draws)
            seen, wanted, alone = np.zeros(found.covered.shape[1], bool), [], []
            for covered in found.covered.numpy():
                seen |= covered
                wanted.append(seen.mean())
            mine = [row for row in curves if (row["arm"], row["strength"]) == (arm, strength)]
            assert [row["seed"] for row in mine] == [1, 2, 3]
            assert [row["image"] for row in mine] == list(batch.ids)
            np.testing.assert_allclose([row["coverage"] for row in mine], wanted, atol=1e-12)
            seen[:] = False
            for covered in found.clean_covered.numpy():
                seen |= covered
                alone.append(seen.mean())
            seeds = [row["coverage"] for row in curves if row["arm"] == "seeds"]
            np.testing.assert_allclose(seeds, alone, atol=1e-12)
            assert all(one >= other for one, other in zip(wanted, alone, strict=True))
            assert all(later >= earlier for earlier, later in pairwise(wanted))
    ends = {row["coverage"] for row in curves if row["seed"] == 3 and row["arm"] == "adversarial"}
    assert len(ends) == 2


def test_released_arithmetic_is_the_last_step_scaled_cumulatively(settings, tmp_path):
    """SPEC 5: S0 + c p with c = 0.25, -0.25, -0.25, 0.75, 3.75, and noise of p's size on S0 + b p."""
    changes = {"strengths": "0.25,0.5,1,2,4", "arithmetic": "released", "coverage_seeds": 0}
    out = Renkhoff2022(**settings | changes).run(tmp_path / "out")
    images, rows, (model, batch) = rows_of(out, "images"), rows_of(out), opened(settings)
    coefficients = dict(zip((0.25, 0.5, 1, 2, 4), (0.25, -0.25, -0.25, 0.75, 3.75), strict=True))
    bases = dict(zip((0.25, 0.5, 1, 2, 4), (0, -0.75, -1.25, -1.25, -0.25), strict=True))
    names = {row["image"] for row in images}
    later = 0
    for at, name in enumerate(batch.ids):
        if name not in names:
            continue
        draws = [gs.generator_for(0, ATTACK, name)]
        found = fuzz().run(model, batch.images[at : at + 1], generator=draws, stop=True).seeds[0].adversarials[0]
        later += found.iteration > 1
        step = found.image - found.before
        noise = MatchedNoise()(step[None], generator=[gs.generator_for(0, "noise", ATTACK, name)])[0]
        for row in images:
            if row["image"] == name:
                s = row["strength"]
                attacked, noisy = found.before + coefficients[s] * step, found.before + bases[s] * step + s * noise
                shown = (attacked if row["kind"] == "attacked" else noisy).clamp(0, 1)
                wanted = (shown - batch.images[at]).square().mean().sqrt().item()
                assert row["rms"] == pytest.approx(wanted, abs=1e-6)
    assert later > 0  # else the image before the last step is the seed
    alike = {s: [row["value"] for row in rows if row["strength"] == s and row["kind"] == "attacked"] for s in (0.5, 1)}
    assert alike[0.5] == alike[1]  # one and the same image
    assert json.loads((out / "manifest.json").read_text())["notes"] == []


def test_a_set_or_another_attack_tells_no_last_step_and_the_study_says_so(settings, tmp_path):
    changes = {"attack": "pgd:epsilon=0.2,steps=3", "arithmetic": "released", "coverage_seeds": 0}
    out = Renkhoff2022(**settings | changes).run(tmp_path / "out")
    assert any(
        "do not tell their last step" in note for note in json.loads((out / "manifest.json").read_text())["notes"]
    )
    assert len(rows_of(out)) > 0


def test_jet_pictures_are_more_alike_than_maps(settings, tmp_path):
    raw, jet = (
        [row["value"] for row in rows_of(Renkhoff2022(**settings | {"space": space}).run(tmp_path / space))]
        for space in ("raw", "jet")
    )
    assert len(raw) == len(jet)
    assert np.mean(jet) > np.mean(raw)
    assert all(0 <= value <= 1 for value in jet)


def test_eight_bits_change_what_small_strengths_are(settings, tmp_path):
    changes = {"strengths": "0.1", "coverage_seeds": 0}
    sizes = {}
    for kind in ("none", "round", "truncate"):
        out = Renkhoff2022(**settings | changes | {"eight_bit": kind}).run(tmp_path / kind)
        sizes[kind] = [row["rms"] * 255 for row in rows_of(out, "images")]
    assert max(sizes["none"]) < 0.1
    assert max(sizes["round"]) == 0
    assert min(sizes["truncate"]) > 0.4


def test_a_set_gives_the_same_rows_as_attacking_now(settings, tmp_path):
    now = Renkhoff2022(**settings).run(tmp_path / "now")
    asked = SetSettings(images=settings["images"], model=settings["model"], device="cpu", health_images=0)
    made = AttackRun(ATTACK, asked, tmp_path / "set").run()
    given = {key: value for key, value in settings.items() if key != "images"}
    out = Renkhoff2022(**given | {"set": made}).run(tmp_path / "out")
    first, second = rows_of(now), rows_of(out)
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=1e-4)
        assert {**one, "value": 0} == {**other, "value": 0}
    assert rows_of(now, "curves") == rows_of(out, "curves")


def test_the_batch_size_changes_no_number(settings, tmp_path):
    four, three = (Renkhoff2022(**settings | {"batch_size": size}).run(tmp_path / str(size)) for size in (4, 3))
    keys = ("image", "strength", "kind", "target", "layer")
    first, second = ({tuple(row[key] for key in keys): row["value"] for row in rows_of(out)} for out in (four, three))
    assert first.keys() == second.keys()
    np.testing.assert_allclose(list(first.values()), [second[key] for key in first], atol=1e-4)
    assert rows_of(four, "curves") == rows_of(three, "curves")


def test_no_example_at_all_is_said_and_no_error(settings, tmp_path, capfd):
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items() if key != "attack"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", "renkhoff2022", *flags, "--attack", "dlfuzz:step=1e-9", "--out", str(tmp_path / "out")])
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err
    assert "No adversarial example was found" in said.out
    assert rows_of(tmp_path / "out") == []
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No adversarial example was found among them, so there is nothing to compare" in page


def test_a_killed_study_ends_with_the_same_bytes(settings, tmp_path):
    check_killed(Renkhoff2022, settings | {"batch_size": 2}, tmp_path, TABLES, times=3)


@pytest.mark.slow
def test_a_study_killed_20_times_ends_with_the_same_bytes(settings, tmp_path):
    make_images(settings["images"], 60)
    check_killed(Renkhoff2022, settings | {"batch_size": 1, "coverage_seeds": 12}, tmp_path, TABLES, times=20)


def test_other_settings_in_the_same_folder_are_refused(settings, tmp_path):
    out = Renkhoff2022(**settings | {"limit": 3}).run(tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"other settings \(arithmetic: default there, released now\)"):
        Renkhoff2022(**settings | {"limit": 3, "arithmetic": "released"}).run(out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"attack": "dlfuz"}, "no attacks named 'dlfuz'. Did you mean 'dlfuzz'"),
        ({"attack": "dlfuzz:stepp=1"}, "Did you mean 'step'"),
        ({"attack": "dlfuzz,pgd"}, "this study makes one attack"),
        ({"strengths": "0"}, "strengths must be finite and above 0"),
        ({"strengths": "much"}, "much"),
        ({"layers": "secnd"}, "Did you mean 'second'"),
        ({"arithmetic": "release"}, "'default' or 'released'"),
        ({"space": "rgb"}, "'raw' or 'jet'"),
    ],
)
def test_bad_settings_end_in_a_sentence(settings, tmp_path, bad, message):
    with pytest.raises((gs.GazeshiftError, ValidationError), match=message):
        Renkhoff2022(**settings | bad).run(tmp_path / "out")


def test_quick_takes_the_demo_images_and_few_of_them():
    quick = Renkhoff2022(quick=True)
    assert (quick.images, quick.limit, quick.coverage_seeds) == (None, 10, 2)
    assert Renkhoff2022(quick=True, limit=3).limit == 3
