"""A study's `Document` as one offline HTML file: pure, every name escaped."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gazeshift.pictures import colour_table
from gazeshift.report.document import Chart, Choice, Document, Item, MapViewer, Section, Table, Variants
from gazeshift.report.embed import packed_json, plain_json, plotly
from gazeshift.report.templates import day, duration, environment


def page(document: Document) -> str:
    """The page; the same document gives the same text."""
    names, items = dict(_named(document)), list(_items(document))
    viewers = any(isinstance(item, MapViewer) for item in items)
    scripts = ["document.js", *["menus.js"] * bool(document.menus), *["overlay.js", "maps.js"] * viewers]
    return (
        environment(*scripts)
        .get_template("document.html")
        .render(
            document=document,
            manifest=document.manifest,
            manifest_text=json.dumps(document.manifest, indent=2, ensure_ascii=False, default=str),
            created=day(document.manifest.get("created")),
            duration=duration(document.manifest.get("seconds")),
            kind=_kind,
            name=lambda item: names[id(item)],
            first=lambda item: item.items[_first(document, item)],
            explored=lambda section: any(isinstance(item, Variants | MapViewer) for item in _flat(section)),
            source=_source,
            viewer=_viewer,
            numbers=packed_json(_numbers(document, names)),
            plotly=plotly(),
        )
    )


def numbers_room(document: Document) -> int:
    """Bytes that plotly.js and the numbers of a document take in its page, whatever else it holds."""
    return len(plotly()) + len(packed_json(_numbers(document, dict(_named(document)))))


def _flat(section: Section) -> Iterator[Item]:
    for item in section.items:
        yield from item if isinstance(item, tuple) else (item,)


def _items(document: Document) -> Iterator[Item]:
    """What the sections hold, and the charts of choices."""
    for item in (item for section in document.sections for item in _flat(section)):
        yield item
        if isinstance(item, Choice):
            yield from item.charts.values()


def _named(document: Document) -> Iterator[tuple[int, str]]:
    """A name for every section and item, unique in the page."""
    taken: set[str] = set()
    things: list[Section | Item] = [*document.sections, *_items(document)]
    for thing in things:
        wanted = thing.name or re.sub(r"[^a-z0-9]+", "-", thing.title.lower()).strip("-")[:40] or "item"
        name, count = wanted, 2
        while name in taken:
            name, count = f"{wanted}-{count}", count + 1
        taken.add(name)
        yield id(thing), name


def _kind(item: object) -> str:
    return type(item).__name__.lower()


def _numbers(document: Document, names: Mapping[int, str]) -> dict[str, object]:
    """Drawings by name, variants packed, and what the maps' viewer says."""
    numbers: dict[str, object] = {}
    for item in _items(document):
        if isinstance(item, Chart):
            numbers[names[id(item)]] = _drawing(item)
        elif isinstance(item, Variants):
            numbers[names[id(item)]] = {"menus": item.menus, **_variants(item)}
        elif isinstance(item, MapViewer):
            numbers["similar"] = [asdict(image)["similar"] for image in item.images]
    return numbers


def _first(document: Document, item: Variants) -> str:
    first = {menu.name: menu.first for menu in document.menus}
    return ".".join(first[name] for name in item.menus)


def _variants(item: Variants) -> dict[str, object]:
    """What all variants have, by its path in them, and what varies as one list for each path: it packs best so."""
    leaves = [dict(_leaves(_variant(each))) for each in item.items.values()]
    same, varies = dict[str, object](), dict[str, object]()
    for path in dict.fromkeys(path for each in leaves for path in each):
        values = [each.get(path) for each in leaves]
        if all(value == values[0] for value in values):
            same[path] = values[0]
        else:
            varies[path] = values
    return {"keys": list(item.items), "same": same, "varies": varies}


def _variant(item: Chart | Table) -> dict[str, object]:
    """What depends on the choice; the table by columns."""
    shown = {**_drawing(item), "empty": item.empty} if isinstance(item, Chart) else {}
    return {**shown, "about": item.about, "columns": [list(column) for column in zip(*item.rows, strict=True)]}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Plain values and lists of plain values, with the names and places that lead to them."""
    if isinstance(value, list) and value and all(isinstance(part, list | Mapping) for part in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}/{name}" if path else str(name))
    else:
        yield path, value


def _drawing(chart: Chart) -> dict[str, object]:
    return {"traces": list(chart.traces), "layout": dict(chart.layout)}


def _source(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _viewer(item: MapViewer) -> str:
    """What the page's script needs to draw the maps."""
    colours = base64.b64encode(colour_table().tobytes()).decode()
    parts = {part: getattr(item, part) for part in ("layers", "first", "maps", "shades")}
    images = [{name: part for name, part in asdict(image).items() if name != "similar"} for image in item.images]
    return plain_json({**parts, "images": images, "colours": colours})
