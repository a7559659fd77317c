"""What was seen of one image as a document for the report's machinery: one HTML file that works offline."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gazeshift import __version__, pictures
from gazeshift.data import FIT
from gazeshift.records import ANSWER
from gazeshift.report.charts import bars
from gazeshift.report.document import Document, Gallery, Item, Picture, Section, Table, number, share
from gazeshift.report.words import cam_name
from gazeshift.serve.explorer.analysis import CAMS, REFERENCE, Analysis
from gazeshift.serve.explorer.serialize import AttackOutcome, PictureSide, attack_json, moved_json, side_json
from gazeshift.serve.gateway.intake import Upload
from gazeshift.serve.gateway.serialize import card, public
from gazeshift.serve.gateway.state import GatewayState

Sides = dict[str, PictureSide]
SIDES = ("image", "attacked")
COLOURS = {"image": "--fourth", "attacked": "--attacked"}
CHECKS = (
    ("pixels", "the image, and the attacked one, were seen as 8-bit files of the model's size hold them"),
    ("views", "all random numbers follow from the seed; the detector saw both pictures under the same views"),
)
VIEWING = "Each map is divided by its own largest value; pictures are for viewing, the numbers come from the raw maps."


def document(state: GatewayState, analysis: Analysis, upload: Upload, title: str, seconds: float) -> Document:
    """The evidence of one image, as it came and attacked, with what is needed to repeat it.

    Args:
        state: of the gateway.
        analysis: of the image.
        upload: the image as it came.
        title: what to call it.
        seconds: that seeing it took.
    """
    names = SIDES if analysis.attack_request else SIDES[:1]
    sides = {name: side_json(analysis.targets, analysis.verdict, at) for at, name in enumerate(names)}
    attack = attack_json(analysis)
    return Document(
        title=f"What {public(state.classifier)} saw in “{title}”",
        paper="Evidence of a single image, saved from the explorer.",
        facts=[
            ("Image", f"{upload.form}, {upload.size[0]} x {upload.size[1]} pixels"),
            ("SHA-256 of the file", upload.sha256),
            ("Model", public(state.classifier)),
            ("Detector", f"{state.deployed.name}, at most {share(state.deployed.false_alarms, 1)} false alarms"),
        ],
        findings=list(_findings(sides, attack)),
        claims=(),
        sections=[_answers(sides), _maps(analysis, names), *_moved(analysis), *_reasons(sides)],
        manifest=_manifest(state, analysis, upload, attack) | {"seconds": round(seconds, 2)},
    )


def _findings(sides: Sides, attack: AttackOutcome | None) -> Iterator[str]:
    for name, side in sides.items():
        best, verdict = side["answers"][0], side["verdict"]
        said = f"The {'attacked version' if name == 'attacked' else 'image'} is classified as {best['name']} "
        said += f"({share(best['confidence'], 1)}). "
        if verdict:
            where = "above" if verdict["is_attack"] else "not above"
            said += f"Its suspicion is {number(verdict['suspicion'])}, {where} the threshold of "
            said += (
                f"{number(verdict['threshold'])}: {'an attack' if verdict['is_attack'] else 'no sign of an attack'} "
            )
            said += f"(p = {verdict['p_value']:.2g})."
        yield said
    if attack:
        outcome = "switched the answer" if attack["success"] else "did not switch the answer"
        yield f"{attack['name'].upper()} with {attack['epsilon']}/255 and {attack['steps']} steps {outcome}."


def _answers(sides: Sides) -> Section:
    tables = [
        Table(
            title=f"Likeliest classes, {name}",
            head=["class", "probability"],
            rows=[[answer["name"], share(answer["confidence"], 2)] for answer in side["answers"]],
        )
        for name, side in sides.items()
    ]
    return Section(title="Answers", items=tables)


def _maps(analysis: Analysis, names: Sequence[str]) -> Section:
    evidence = analysis.targets.get(REFERENCE, analysis.evidence)
    whole = [_shown(pictures.photograph(evidence.images[at]), name) for at, name in enumerate(names)]
    rows: list[tuple[str, list[Picture | None]]] = [("", [*whole])]
    for layer in evidence.layers:
        drawn: list[Picture | None] = [
            _shown(pictures.overlay(evidence.images[at], evidence.maps(layer, cam)[at]), f"{name}, {cam_name(cam)}")
            for cam in CAMS
            for at, name in enumerate(names)
        ]
        rows.append((layer, drawn))
    explained = evidence.class_names[int(evidence.explained[0])] if evidence.class_names else "the image's class"
    about = f"All maps explain {explained}, the class of the image as it came. {VIEWING}"
    return Section(
        title="Maps of every layer", items=[Gallery(title="Where the evidence lies", rows=rows, about=about)]
    )


def _shown(picture: Any, caption: str) -> Picture:
    return Picture(webp=pictures.encode_webp(picture), caption=caption)


def _moved(analysis: Analysis) -> Iterator[Section]:
    if not analysis.moved:
        return
    layers, items = list(analysis.evidence.layers), list[Item]()
    for target, found in analysis.moved.items():
        series = {cam_name(cam): values for cam, values in moved_json(found).items()}
        whose = "the clean image's class" if target == REFERENCE else "each picture's own class"
        items.append(
            bars(
                f"Similarity for {whose}",
                layers,
                series,
                y_title="cosine similarity",
                y_range=(0, 1),
                about="Of the attacked map to the clean one; low: the layer moved.",
                wide=True,
            )
        )
    yield Section(title="Which layers moved", items=items)


def _reasons(sides: Sides) -> Iterator[Section]:
    reasons = {name: side["verdict"]["reasons"] for name, side in sides.items() if side["verdict"]}
    reasons = {name: one for name, one in reasons.items() if one["layers"]}
    if not reasons:
        return
    first = next(iter(reasons.values()))
    layers = [layer for layer in first["layers"] if layer != ANSWER]
    by_layer = {side: [one["layers"][name] for name in layers] for side, one in reasons.items()}
    by_view = {side: [*one["views"].values()] for side, one in reasons.items()}
    items = [
        bars(title, names, parts, digits=3, y_title="part of the suspicion", colours=COLOURS, wide=True)
        for title, names, parts in (
            ("Parts by layer", layers, by_layer),
            ("Parts by view", list(first["views"]), by_view),
        )
    ]
    if ANSWER in first["layers"]:
        shares = {
            side: [sum(one["layers"][layer] or 0 for layer in layers), one["layers"][ANSWER]]
            for side, one in reasons.items()
        }
        items.append(
            bars("Gaze or answer", ["all layers", "the answer"], shares, digits=3, y_title="part", colours=COLOURS)
        )
    about = "How much more each layer and view moved than it does for clean images, as a part of the suspicion."
    yield Section(title="What raised the suspicion", items=items, about=[about])


def _manifest(
    state: GatewayState, analysis: Analysis, upload: Upload, attack: AttackOutcome | None
) -> dict[str, object]:
    return {
        "study": "single-image",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "gazeshift": __version__,
        "device": str(state.classifier.device),
        "model": card(state.classifier),
        "detector": {"name": state.deployed.name, "layers": state.deployed.layers},
        "image": {"sha256": upload.sha256, "format": upload.form, "size": upload.size, "pixels": upload.pixels},
        "attack": {key: value for key, value in attack.items() if key != "perturbation"} if attack else None,
        "seed": analysis.seed,
        "command": _command(analysis, upload),
        "preflight": [{"check": check, "level": "ok", "detail": detail} for check, detail in CHECKS],
    }


def _command(analysis: Analysis, upload: Upload) -> str:
    """What gives this page again, from the same file and the same gateway."""
    asked = analysis.attack_request
    attack = f"attack={asked.name}&epsilon={asked.levels}&steps={asked.steps}&" if asked else ""
    pixels = "" if upload.pixels == FIT else f"&pixels={upload.pixels}"
    return (
        "curl -H 'Content-Type: application/octet-stream' --data-binary @FILE -o evidence.html "
        f"'http://ADDRESS/explorer/report?{attack}seed={analysis.seed}{pixels}'"
    )
