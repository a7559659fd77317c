"""The trainings and galleries of the study of Ding et al. 2022."""

from collections.abc import Sequence

import numpy as np

from gazeshift.report.charts import curves, lines
from gazeshift.report.document import Chart, Gallery, Picture, Table, number, share
from gazeshift.report.roc import auroc, roc
from gazeshift.studies.ding2022.report.numbers import SIDES, SetNumbers, Shown
from gazeshift.studies.ding2022.report.tables import short, table_or_dash

NOT_TRAINED = "This was left out (0 epochs were asked for)."
NO_PICTURES = "No example of this set fools the model, or no pictures were asked for."
KINDS = {
    "attacked": "attacked",
    "gaussian": "Gaussian noise",
    "resampled": "resized again",
    "clean": "clean",
}


TRAINED_ON = ("attacked", "gaussian")


def adversarial(one: SetNumbers) -> Table:
    """Tables 14 and 15: accuracy by size of the training set."""
    rows = []
    for found in one.trained:
        pairs = [(100 * found.after.accuracy(side), 100 * found.before.accuracy(side)) for side in SIDES]
        rows.append([str(found.size), *(f"{after:.2f} ({before:.2f})" for after, before in pairs)])
    held = one.training[0].validation if one.training else 0
    return table_or_dash(
        f"Trained on adversarial examples, {one.name}",
        ["training examples", "accuracy on clean images, %", "accuracy on adversarial images, %"],
        rows,
        f"After the last epoch; before training in parentheses. {held} images, both sides, none trained on. A "
        f"share of {held} images has a standard error of up to {50 / max(1, held) ** 0.5:.1f} points.",
        NOT_TRAINED,
        item="Table 15" if one.told.is_pgd else "Table 14",
        paper="10,000 to 40,000: clean 25.7, 31.5, 45.0, 67.4 (41.8); adversarial 11.8, 12.2, 15.7, 24.1 (0.13)"
        if one.told.is_pgd
        else "10,000 to 40,000: clean 15.1, 19.2, 30.0, 54.6 (41.8); adversarial 3.9, 5.7, 7.0, 19.7 (4.4)",
    )


def epochs(one: SetNumbers, side: str) -> Chart:
    """Accuracy on one side by epoch, for every size."""
    longest = max((len(found.epochs) for found in one.trained), default=0)
    series: dict[str, list[float | None]] = {}
    for found in one.trained:
        values = [epoch.accuracy(side) for epoch in found.epochs]
        series[f"{found.size} examples"] = [*values, *[None] * (longest - len(values))]
    return lines(
        f"Accuracy on {'clean' if side == 'clean' else 'adversarial'} images during training, {one.name}",
        [str(at) for at in range(longest)],
        series,
        x_title="epoch (0: before)",
        y_title="accuracy",
        y_range=(0, 1),
        empty="" if one.trained else NOT_TRAINED,
    )


def detector(one: SetNumbers) -> Table:
    """The detector and its controls, from scores and from hard labels."""
    rows = [
        [
            f"clean against {KINDS[trained_on]}",
            share(found.clean, 1),
            share(found.other, 1),
            number(found.auc_scores, 4),
            number(found.auc_hard, 4),
            str(found.n),
        ]
        for trained_on in TRAINED_ON
        if (found := one.detected(trained_on)) is not None
    ]
    return table_or_dash(
        f"A detector trained from nothing, {one.name}",
        ["trained to tell", "accuracy clean", "accuracy the others", "AUC of scores", "AUC of labels", "images"],
        rows,
        "Judged on images it never saw, both sides of each. The AUC of hard labels is the balanced accuracy.",
        NOT_TRAINED,
        item="Section 4.7",
        paper="98.42 % of clean and 99.07 % of adversarial images right, AUC 0.9875, which is that of hard labels",
    )


def suspected(one: SetNumbers) -> Table:
    """What each detector says of every kind of image."""
    rows = []
    for trained_on in TRAINED_ON:
        for kind, shown in KINDS.items():
            scores = one.said(kind, trained_on)
            if scores.size:
                alarm = float(np.mean(scores > 0.5))
                apart = number(auroc(scores, one.said("clean", trained_on)), 3) if kind != "clean" else "–"
                rows.append([f"{KINDS[trained_on]}: {shown}", share(alarm, 1), apart, str(len(scores))])
    about = (
        "Noise has the size of each image's perturbation; resized again means once more, by another filter. A "
        "detector of attacks should let both pass. One that does not has learned what a file went through, and not "
        "what an attack is."
    )
    return table_or_dash(
        f"What the detector takes for adversarial, {one.name}",
        ["trained on: shown", "called not clean", "AUC against clean", "images"],
        rows,
        about,
        about,
    )


def roc_chart(one: SetNumbers) -> Chart:
    """ROC of the detectors."""
    series, summary = {}, {}
    for trained_on in TRAINED_ON:
        found = one.detected(trained_on)
        if found is not None:
            name = "adversarial" if trained_on == "attacked" else "control: Gaussian noise"
            series[name] = roc(one.said(trained_on, trained_on), one.said("clean", trained_on))
            summary[name] = f"AUC {found.auc_scores:.4f}"
    return curves(
        f"ROC of the detector, {one.name}",
        series,
        x_title="false positive rate",
        y_title="true positive rate",
        summary=summary,
        diagonal=True,
        empty="" if series else NOT_TRAINED,
    )


def _row(one: SetNumbers, kinds: Sequence[str], images: Sequence[str]) -> list[Picture | None]:
    """Pictures of these kinds and images, with the model's answers."""
    shown = {(each.image, each.kind): each for each in reversed(one.gallery)}
    return [_picture(shown.get((image, kind))) for image in images for kind in kinds]


def _picture(shown: Shown | None) -> Picture | None:
    if shown is None:
        return None
    answer = f"{short(shown.name)}, {100 * (shown.confidence or 0):.0f} %" if shown.name else ""
    return Picture(webp=shown.picture, caption=answer)


def _images(one: SetNumbers) -> list[str]:
    return list(dict.fromkeys(each.image for each in one.gallery if each.kind == "clean"))


def _gallery(
    title: str, rows: Sequence[tuple[str, Sequence[Picture | None]]], item: str, paper: str, about: str = ""
) -> Gallery | Table:
    kept = [row for row in rows if any(picture is not None for picture in row[1])]
    if not kept:
        return Table(title=title, head=["pictures"], rows=[["–"]], about=NO_PICTURES, item=item, paper=paper)
    return Gallery(title=title, rows=kept, item=item, paper=paper, about=about)


def histogram_gallery(one: SetNumbers) -> Gallery | Table:
    """Figure 2: clean image, histogram, adversarial image, histogram."""
    kinds = ("clean", "clean_histogram", "attacked", "attacked_histogram")
    rows = [(image, _row(one, kinds, [image])) for image in _images(one)]
    about = "Columns: clean image, its histogram of luminance, adversarial image, its histogram."
    return _gallery(f"Images and their histograms, {one.name}", rows, "Fig 2", "four columns, the same four", about)


def cam_gallery(one: SetNumbers) -> Gallery | Table:
    """Figure 3: clean images, their CAM, adversarial images, their CAM."""
    names = {"clean": "clean", "clean_cam": "CAM", "attacked": "adversarial", "attacked_cam": "CAM"}
    rows = [(name, _row(one, [kind], _images(one))) for kind, name in names.items()]
    return _gallery(f"Where the class is seen, {one.name}", rows, "Fig 3", "four rows; the salient region moves")


def feature_gallery(one: SetNumbers) -> Gallery | Table:
    """Figure 4: the feature maps that change most, clean above adversarial."""
    rows = [
        (name, [Picture(webp=each.picture, caption=each.map) for each in one.gallery if each.kind == f"feature_{side}"])
        for side, name in (("clean", "clean"), ("attacked", "adversarial"))
    ]
    paper = "four pairs that the eye cannot tell apart"
    return _gallery(f"The feature maps that change most, {one.name}", rows, "Fig 4", paper, "One scale for each pair.")


def two_class_gallery(one: SetNumbers, classes: str) -> Gallery | Table:
    """Figure 5: six rows, CAM of the classifier and of the detector on both sides."""
    kinds = {
        "clean": "clean",
        "clean_cam": f"CAM, {classes}",
        "detector_clean_cam": "CAM, 2 classes",
        "attacked": "adversarial",
        "attacked_cam": f"CAM, {classes}",
        "detector_attacked_cam": "CAM, 2 classes",
    }
    rows = [(name, _row(one, [kind], _images(one))) for kind, name in kinds.items()]
    about = "The two-class network sees the middle of the image in 8 bits; it never saw these images in training."
    return _gallery(f"Two networks on the same images, {one.name}", rows, "Fig 5", "six rows, the same six", about)
