"""``gazeshift set info|verify|export SET``."""

from pathlib import Path

from cyclopts import App, Parameter

from gazeshift.cli._progress import progress_shown

EPILOGUE = """Examples:

  gazeshift set info set
  gazeshift set verify set
  gazeshift set export set --out pictures
  gazeshift set info DAmageNet --clean ILSVRC2012_img_val"""

app = App(
    name="set",
    help="Look into an adversarial set, check it, or export it as PNG files.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
)


@app.command
def info(
    folder: Path, /, *, clean: Path | None = None, labels: Path | None = None, classes: Path | None = None
) -> list[str]:
    """Say what a set holds: model, attack, counts and the health of the run.

    Example: gazeshift set info set

    Args:
        folder: a set, DAmageNet, or folders clean and attacked.
        clean: of attacked images from elsewhere, the folder of clean ones.
        labels: likewise, a CSV with columns file and label, or val.txt.
        classes: likewise, a file of class names, if the labels are names: see `gazeshift study`.
    """
    from gazeshift.cli._sets import described, names_in  # torch is not needed for --help
    from gazeshift.data import open_set

    return described(open_set(folder, clean=clean, labels=labels, class_names=names_in(classes)))


@app.command
def verify(
    folder: Path,
    /,
    *,
    clean: Path | None = None,
    classes: Path | None = None,
    model: str | None = None,
    weights: str | None = None,
    input_size: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> list[str]:
    """Read a whole set again: hashes, norms, counts, and every prediction on the model it was made for.

    Example: gazeshift set verify set

    Args:
        folder: a set, DAmageNet, or folders clean and attacked.
        clean: of attacked images from elsewhere, the folder of clean ones.
        classes: likewise, a file of class names, if the labels are names: see `gazeshift study`.
        model: the model, if the set's manifest does not lead to it any more.
        weights: its weights, likewise.
        input_size: likewise.
        device: auto, cpu, cuda, cuda:1 or mps.
        batch_size: images side by side.
    """
    from gazeshift.cli._sets import model_of, names_in, verified
    from gazeshift.data import open_set

    found = open_set(folder, clean=clean, class_names=names_in(classes))
    classifier = model_of(found, model=model, weights=weights, input_size=input_size, device=device)
    with progress_shown() as progress:
        return verified(found, classifier, size=batch_size, progress=progress)


@app.command
def export(folder: Path, /, *, out: Path) -> list[str]:
    """Write a set as PNG files in folders clean and attacked, with labels.csv; rounded so that epsilon still holds.

    Example: gazeshift set export set --out pictures

    Args:
        folder: a set.
        out: an empty or new folder.
    """
    from gazeshift.cli._sets import exported
    from gazeshift.data import open_set

    with progress_shown() as progress:
        return exported(open_set(folder), out, progress=progress)
