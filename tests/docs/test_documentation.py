"""The code of the README and the pages runs as it is printed, and says what the text says."""

import re
from pathlib import Path

import torch

import gazeshift as gs
from helpers.small_study import make_images, make_network

ROOT = Path(__file__).resolve().parents[2]


def run_blocks(file: str, capsys, **names: object) -> tuple[dict, str]:
    """The code of a page, from top to bottom, where these names are known."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / file).read_text("utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, file, "exec"), names)  # noqa: S102
    return names, capsys.readouterr().out


def test_the_readme_runs(capsys):
    names, printed = run_blocks("README.md", capsys)
    assert names["found"].success.sum() >= 6
    similarity = names["gs"].compare(names["before"], names["after"]).table("cosine", "grad_cam").mean(1)
    assert similarity.shape == (18,)
    assert similarity[:16].mean() < 0.7 < similarity[-1]  # most layers look elsewhere, the last ones do not
    assert printed.count("tensor(") == 3


def test_the_tutorial_runs(capsys):
    names, printed = run_blocks("docs/tutorial.md", capsys)
    moved, same, noisy = (
        gs.compare(names["before"], other).table("cosine", "grad_cam").mean()
        for other in (names["after"], names["same_class"], names["noisy"])
    )
    assert moved < same < noisy
    assert "logits, 1000 classes" in printed


def test_the_code_of_the_other_pages_runs(tmp_path, run, monkeypatch, capfd):
    """It names a set, a study and a detector in the current folder; here they are those of a tiny network."""
    monkeypatch.chdir(tmp_path)
    given = ("--model", make_network(tmp_path), "--device", "cpu", "--images", make_images(tmp_path / "photos", 40))
    attack = ("pgd:steps=3", "--epsilon", "64/255", "--health-images", 0)
    for command in (
        ("attack", *attack, *given, "--out", "set"),
        ("study", "deviation", "--attack", "pgd:steps=3", "--strengths", 1, *given, "--out", "study"),
        ("detect", "fit", "--detector", "stability:shifts=2", "--false-alarms", 0.2, *given, "--out", "detector"),
    ):
        code, _, said = run(*command)
        assert code == 0, said
    classifier, source = gs.load(given[1], device="cpu"), gs.open_source("photos")
    batch = source.read(0, 4, classifier.preprocessing)
    known = {"gs": gs, "classifier": classifier, "images": batch.images, "labels": batch.labels}
    names, printed = run_blocks("docs/howto.md", capfd, network=torch.nn.Conv2d(3, 3, 3), **known)
    assert names["verdict"].suspicion.shape == (4,)
    assert printed.count("tensor(") == 3
    names, _ = run_blocks("docs/sets.md", capfd)
    assert len(names["found"]) == 40
    assert names["attacked"].shape == (3, 32, 32)


def test_every_relative_link_leads_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_notebook_shows_evidence_as_a_picture():
    model = gs.load("efficientnet_lite0")
    batch = gs.demo_images().read(0, 1, model.preprocessing)
    picture = gs.look(model, batch.images, layers="blocks.6.*")._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert torch.is_tensor(batch.images)
