"""Every kind of run gives the same bytes from one process and from workers."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gazeshift.runs.adversarial_set.run import make_set
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.detector.run import fit, recalibrate
from gazeshift.runs.detector.settings import CalibrateSettings, FitSettings
from gazeshift.runs.executors import Scale, executor
from helpers.faces import make_classes, small_settings
from helpers.small_study import make_images, make_network
from helpers.workers import Job, alone, tables

Chakraborty2022 = pytest.importorskip("gazeshift.studies.chakraborty2022.settings").Chakraborty2022
Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation
Ding2022 = pytest.importorskip("gazeshift.studies.ding2022.settings").Ding2022
Noisecam2023 = pytest.importorskip("gazeshift.studies.noisecam2023.settings").Noisecam2023
Renkhoff2022 = pytest.importorskip("gazeshift.studies.renkhoff2022.settings").Renkhoff2022
Scorecard = pytest.importorskip("gazeshift.studies.scorecard.settings").Scorecard
Transfer = pytest.importorskip("gazeshift.studies.transfer.settings").Transfer

COUNT = 50


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Pictures to fit on and others to test on, a model, and a set of each half."""
    folder = tmp_path_factory.mktemp("home")
    model = make_network(folder)
    for part in ("fit", "fresh"):
        make_images(folder / part, 2 * COUNT)
        names = [f"{number:03d}.png" for number in range(2 * COUNT)]
        mine = names[:COUNT] if part == "fit" else names[COUNT:]
        for name in set(names) - set(mine):
            (folder / part / name).unlink()
        lines = (folder / part / "labels.csv").read_text().splitlines()
        kept = [line for line in lines if line.split(",")[0] in ("file", *mine)]
        (folder / part / "labels.csv").write_text("\n".join(kept) + "\n")
        made = SetSettings(model=model, images=folder / part, epsilon=0.9, health_images=0)
        alone(Job(start=partial(make_set, "pgd"), settings=made, out=folder / f"set-{part}"))
    fitted = FitSettings(model=model, images=folder / "fit", set=(str(folder / "set-fit"),), false_alarms=0.1)
    alone(Job(start=fit, settings=fitted, out=folder / "detector"))
    return folder


@pytest.fixture(scope="module")
def check_same() -> Iterator[Callable[..., None]]:
    """From two workers the same files as from one process: byte by byte, and as many as expected."""
    with executor(Scale(workers=2), device="cpu") as workers:  # the same two for all kinds of runs, one after the other

        def check(job: Job, folder: Path, *, expected: int) -> None:
            one = tables(alone(job.into(folder / "one")))
            two = tables(job.into(folder / "two")(executor=workers))
            assert sorted(one) == sorted(two)
            assert len(one) == expected
            assert [name for name in one if one[name] != two[name]] == []

        yield check


def shared(home: Path, part: str = "fit", limit: int = 18) -> dict:
    return {"model": f"module:{home / 'tiny_network.py'}:tiny", "images": home / part, "limit": limit, "batch_size": 4}


SMALL = {"epochs": 1, "detector_epochs": 0}
STUDIES = {
    "deviation": (Deviation, {"attack": "pgd:steps=2", "epsilon": 0.3, "strengths": "1"}, 3),
    "renkhoff2022": (Renkhoff2022, {"attack": "fgsm:epsilon=0.9", "coverage_seeds": 6, "strengths": "1,2"}, 6),
    "noisecam2023": (Noisecam2023, {"attack": "fgsm:epsilon=0.9", "strengths": "1"}, 7),
    "ding2022": (Ding2022, {"attack": "fgsm,pgd", "epsilon": 0.9, "limit": 8, **SMALL}, 8),
}


@pytest.mark.parametrize("name", STUDIES)
def test_study(name, home, check_same, tmp_path):
    kind, more, expected = STUDIES[name]
    layers = {} if name == "ding2022" else {"layers": "convs"}
    settings = kind(**{**shared(home), **layers, **more})
    check_same(Job(start=kind.run, settings=settings, out=tmp_path), tmp_path, expected=expected)


def test_transfer(home, check_same, tmp_path):
    other = home / "other"
    other.mkdir()
    make_network(other)
    settings = Transfer(
        **shared(home), attack="fgsm,pgd", epsilon=0.3, victims=f"module:{other / 'tiny_network.py'}:tiny"
    )
    check_same(Job(start=Transfer.run, settings=settings, out=tmp_path), tmp_path, expected=2)


def test_chakraborty_trains_heads_between_its_stages(check_same, tmp_path):
    settings = Chakraborty2022(**small_settings(tmp_path, make_classes(tmp_path / "images")))
    check_same(Job(start=Chakraborty2022.run, settings=settings, out=tmp_path), tmp_path, expected=6)


def test_attack(home, check_same, tmp_path):
    settings = SetSettings(**shared(home), epsilon=0.9, shard_size=5, health_images=2)
    check_same(Job(start=partial(make_set, "pgd"), settings=settings, out=tmp_path), tmp_path, expected=4)


def test_fit_calibrate_and_evaluate_a_detector(home, check_same, tmp_path):
    model, sets = {"model": f"module:{home / 'tiny_network.py'}:tiny"}, (f"pgd={home / 'set-fit'}",)
    fitted = FitSettings(**model, images=home / "fit", set=sets, false_alarms=0.1)
    check_same(Job(start=fit, settings=fitted, out=tmp_path), tmp_path / "fit", expected=3)
    again = CalibrateSettings(**model, images=home / "fresh", detector=home / "detector", false_alarms=0.1)
    check_same(Job(start=recalibrate, settings=again, out=tmp_path), tmp_path / "calibrate", expected=3)
    asked = {"detector": (str(home / "detector"),), "set": (f"pgd={home / 'set-fresh'}",)}
    settings = Scorecard(**model, images=home / "fresh", benign="jpeg:quality=75", **asked)
    check_same(Job(start=Scorecard.run, settings=settings, out=tmp_path), tmp_path / "evaluate", expected=2)
