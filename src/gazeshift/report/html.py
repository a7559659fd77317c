"""A study's `Document` as one offline HTML file: pure, every name escaped."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gazeshift.report.document import Chart, Choice, Document, Item, Section
from gazeshift.report.embed import packed_json, plotly
from gazeshift.report.templates import day, duration, environment


def page(document: Document) -> str:
    """The page; the same document gives the same text."""
    names = dict(_named(document))
    charts = {names[id(item)]: _drawing(item) for item in _items(document) if isinstance(item, Chart)}
    return (
        environment("offline.js", "document.js")
        .get_template("document.html")
        .render(
            document=document,
            manifest=document.manifest,
            manifest_text=json.dumps(document.manifest, indent=2, ensure_ascii=False, default=str),
            created=day(document.manifest.get("created")),
            duration=duration(document.manifest.get("seconds")),
            kind=_kind,
            name=lambda item: names[id(item)],
            source=_source,
            numbers=packed_json(charts),
            plotly=plotly(),
        )
    )


def _items(document: Document) -> Iterator[Item]:
    """What the sections hold, and the charts of choices."""
    for item in (item for section in document.sections for item in section.items):
        yield item
        if isinstance(item, Choice):
            yield from item.charts.values()


def _named(document: Document) -> Iterator[tuple[int, str]]:
    """A name for every section and item, unique in the page."""
    taken: set[str] = set()
    things: list[Section | Item] = [*document.sections, *_items(document)]
    for thing in things:
        wanted = getattr(thing, "name", "") or re.sub(r"[^a-z0-9]+", "-", thing.title.lower()).strip("-")[:40] or "item"
        name, count = wanted, 2
        while name in taken:
            name, count = f"{wanted}-{count}", count + 1
        taken.add(name)
        yield id(thing), name


def _kind(item: object) -> str:
    return type(item).__name__.lower()


def _drawing(chart: Chart) -> Mapping[str, Any]:
    return {"traces": list(chart.traces), "layout": dict(chart.layout)}


def _source(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
