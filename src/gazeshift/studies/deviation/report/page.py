"""One HTML file from a study's tables: pure, offline, every name escaped."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from gazeshift.pictures import colour_table
from gazeshift.report import Report
from gazeshift.report.cube import Cube, cube
from gazeshift.report.embed import packed_json, plain_json, plotly
from gazeshift.report.study import Study
from gazeshift.report.tables_read import ReportData, read
from gazeshift.report.templates import day, duration, environment
from gazeshift.report.words import cam_name, levels, small
from gazeshift.studies.deviation.report.findings import sentences
from gazeshift.studies.deviation.report.gallery import SHADES, Gallery, gallery
from gazeshift.studies.deviation.report.outcomes import Outcome, health, outcomes
from gazeshift.studies.deviation.report.published import beside
from gazeshift.studies.deviation.report.series import Series, key, series
from gazeshift.studies.deviation.report.tables import RANKED, percent, tables, two
from gazeshift.studies.deviation.report.tiles import tiles

_PAGE, _LEAST = 2_550_000, 500_000
_NUMBERS = ("compare", "split", "structure")
_SCRIPTS = ("offline.js", "tables.js", "charts.js", "overlay.js", "gallery.js", "page.js")


def render(data: ReportData) -> str:
    """The report as one HTML page that needs no network. The same data give the same text."""
    found = cube(data)
    values, worked = series(found), outcomes(data, found.attacks)
    numbers = packed_json({part: values[part] for part in _NUMBERS})
    shown = gallery(data, found, room=max(_LEAST, _PAGE - len(plotly()) - len(numbers)))
    page = environment(*_SCRIPTS).get_template("page.html")
    return page.render(
        **_words(data, found, values, worked),
        findings=sentences(values, worked, _labels(data)),
        outcomes=[_outcome_cells(outcome) for outcome in worked],
        tables=tables(values, values["chosen"]),
        papers=beside(values),
        health=health(worked),
        gallery=shown,
        series=values,
        blob=plain_json({**_named(values), **_shown(shown)}),
        numbers=numbers,
        plotly=plotly(),
    )


def page(study: Study) -> Report:
    """The page of a finished study, and its findings."""
    data = read(study.folder)
    return Report(html=render(data), findings=findings(data))


def findings(data: ReportData) -> tuple[str, ...]:
    """The three findings that matter, one plain sentence or two each, with their figures."""
    found = cube(data)
    return sentences(series(found), outcomes(data, found.attacks), _labels(data))


def _words(data: ReportData, found: Cube, values: Series, worked: tuple[Outcome, ...]) -> dict[str, Any]:
    """What the page says in words and single numbers."""
    manifest = data.manifest
    choice = values["chosen"]
    compare = values["compare"][key(*(choice[axis] for axis in ("attack", "strength", "target", "cam", "images")))]
    return {
        "manifest": manifest,
        "manifest_text": json.dumps(manifest, indent=2, ensure_ascii=False, default=str),
        "title": f"How attacks move the gaze of {_of(manifest, 'model').get('name', 'the model')}",
        "created": day(manifest.get("created")),
        "duration": duration(manifest.get("seconds")),
        "labels": _labels(data),
        "small": small(len(found.images)),
        "compare": compare,
        "tiles": tiles(values, compare, worked),
        "ranked": RANKED,
        "images": _of(manifest, "images"),
        "model": _of(manifest, "model"),
        "undefined": manifest.get("undefined") or [],
        "cam_name": cam_name,
        "two": two,
    }


def _outcome_cells(outcome: Outcome) -> list[str]:
    low, high = outcome.interval
    sizes = outcome.sizes
    interval = f"{100 * low:.0f} to {100 * high:.0f} %" if outcome.correct else "–"
    return [
        outcome.attack.label,
        f"{outcome.strength:g}",
        f"{outcome.fooled} of {outcome.correct}",
        percent(outcome.fooled, outcome.correct),
        interval,
        f"{outcome.noise_fooled} of {outcome.noise_correct}" if outcome.noise_correct else "–",
        _decibels(sizes["psnr"]),
        _size(sizes["linf"][1]),
        _size(sizes["rms"][1]),
        f"{sizes['l2'][1]:.2f}" if math.isfinite(sizes["l2"][1]) else "–",
    ]


def _decibels(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = quartiles
    if math.isnan(middle):
        return "–"
    return f"{middle:.1f} ({low:.1f} to {high:.1f})" if math.isfinite(high) else f"{middle:.1f}".replace("inf", "∞")


def _size(value: float) -> str:
    return levels(value) if math.isfinite(value) else "–"


def _named(values: Series) -> dict[str, Any]:
    """The axes, and how people call the CAMs."""
    axes = {part: value for part, value in values.items() if part not in _NUMBERS}
    return {**axes, "names": {cam: cam_name(cam) for cam in values["cams"]}}


def _shown(shown: Gallery) -> dict[str, Any]:
    """What the page's script needs to draw the gallery."""
    colours = base64.b64encode(colour_table().tobytes()).decode()
    return {"gallery": shown.images, "maps": shown.packed, "shades": SHADES, "colours": colours}


def _labels(data: ReportData) -> str:
    return str(_of(data.manifest, "images").get("labels", "given"))


def _of(manifest: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = manifest.get(part)
    return found if isinstance(found, Mapping) else {}
