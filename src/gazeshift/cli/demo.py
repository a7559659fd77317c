"""``gazeshift demo``."""

from pathlib import Path

from gazeshift.cli._study import long_run, write_report
from gazeshift.registry import find


def demo(*, out: Path = Path("demo-report"), seed: int = 0, device: str = "auto", batch_size: int = 10) -> list[str]:
    """Attack a real ImageNet classifier on 20 images and report where its gaze went. Needs no network.

    FGSM and PGD at 2/255 on EfficientNet-Lite0, at five strengths, against Gaussian noise of the same size; all
    layers, all CAMs. Takes about a minute and a half on two cores.

    Example: gazeshift demo --out demo-report

    Args:
        out: folder for report.html, rows.parquet and manifest.json; if it holds an unfinished demo, it goes on.
        seed: everything random follows from it.
        device: auto, cpu, cuda, cuda:1 or mps.
        batch_size: images side by side.
    """
    settings = find("studies", "deviation")(
        attack=("fgsm", "pgd"), epsilon=2 / 255, seed=seed, device=device, batch_size=batch_size
    )
    with long_run(None, device) as how:
        settings.run(out, **how)
    return write_report(out)
