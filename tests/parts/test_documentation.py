"""The code in the README and the tutorial runs as it is printed, and says what the text says."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def run_blocks(file: str, capsys) -> tuple[dict, str]:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / file).read_text("utf-8"), flags=re.DOTALL)
    assert blocks
    names: dict = {}
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
    gs = names["gs"]
    moved, same, noisy = (
        gs.compare(names["before"], other).table("cosine", "grad_cam").mean()
        for other in (names["after"], names["same_class"], names["noisy"])
    )
    assert moved < same < noisy
    assert "logits, 1000 classes" in printed


def test_every_relative_link_leads_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_notebook_shows_evidence_as_a_picture():
    import gazeshift as gs

    model = gs.load("efficientnet_lite0")
    batch = gs.demo_images().read(0, 1, model.preprocessing)
    picture = gs.look(model, batch.images, layers="blocks.6.*")._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert torch.is_tensor(batch.images)
