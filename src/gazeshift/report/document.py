"""A study's page as data: sections of charts, tables and pictures, and menus that choose what they show.

A study's page is ``report/page.py`` in the study's folder: one function from a `Study` to a `Document`, which `html.py`
turns into HTML. Charts are built from numbers by `charts.py`, which also makes the table under each of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "–"
Plotly = Mapping[str, Any]  # a trace or a layout, in the format of plotly.js
Head = Sequence[str | tuple[str, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """What every figure and table of a page has.

    Args:
        title: what it shows; with the paper's number if it stands for one of the paper's (``Table 3``).
        about: one or two sentences.
        item: the figure or table of the paper that it stands for, such as ``Table 3``; empty if there is none.
        paper: what the paper has there, in short; shown beside ours.
        name: of the element in the page; made from the title if empty.
    """

    title: str
    about: str = ""
    item: str = ""
    paper: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Table(Captioned):
    """Rows of text.

    Args:
        head: names of the columns; a pair is a name over several of them.
        rows: cells as text; the first of each row names it.
        strong: places of the rows that matter most.
        words: cells are sentences and may break into lines.
        closed: shown only when asked for.
    """

    head: Head
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()
    words: bool = False
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart(Captioned):
    """A drawing by Plotly, with its numbers as a table.

    Args:
        traces: as Plotly takes them; a colour may be a name of the page's style sheet (``--attacked``), and a part of
            one, which is mixed with the background (``--attacked 0.5``).
            ``hover`` is what is said of a point after its value, with cells of its row of the table: ``n {2}``; of
            `Variants` alone.
        layout: beyond what all charts share; the same holds for colours. ``places`` of the ``xaxis`` are names of
            0, 1, 2 and so on, of which as many are written as there is room for.
        head: names of the columns of its table, as of `Table`; without them there is no table.
        rows: its numbers as text.
        empty: why there is nothing to draw; then there are no traces.
        wide: takes the whole width.
    """

    traces: Sequence[Plotly]
    layout: Plotly
    head: Head
    rows: Sequence[Sequence[str]]
    empty: str = ""
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice(Captioned):
    """Charts of the same kind, of which the reader chooses one.

    Args:
        label: of the choice.
        charts: by what is chosen, the first one shown at first; their own captions are not shown.
    """

    label: str
    charts: Mapping[str, Chart]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a gallery.

    Args:
        webp: the file; see `gazeshift.pictures.encode_webp`.
        caption: below it.
        frame: ``attacked``, ``ok`` or ``noise`` for a coloured frame, or empty.
    """

    webp: bytes
    caption: str = ""
    frame: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery(Captioned):
    """Pictures in rows.

    Args:
        rows: a heading for each row, and its pictures; None leaves a gap.
        side: width of a picture on the screen, in pixels.
    """

    rows: Sequence[tuple[str, Sequence[Picture | None]]]
    side: int = 112


@dataclass(frozen=True, kw_only=True)
class Menu:
    """A choice at the head of the sections that depend on it, for all of their items at once.

    Args:
        name: by which items ask for it.
        label: of the choice.
        options: what the reader chooses from, by value.
        first: the value that is chosen at first.
    """

    name: str
    label: str
    options: Mapping[str, str]
    first: str


@dataclass(frozen=True, kw_only=True)
class Variants(Captioned):
    """A chart or a table for everything that can be chosen from menus of the document.

    Args:
        menus: names of the menus that it depends on.
        items: one chart or table for every choice, by the chosen values in this order, joined by points (``0.2.all``).
            They differ in their numbers alone: titles and heads are those of the first choice. What is `about` them
            stands below the caption.
    """

    menus: Sequence[str]
    items: Mapping[str, "Chart | Table"]


@dataclass(frozen=True, kw_only=True)
class LayerTexts:
    """How alike an image's maps are to the clean ones, for every layer.

    Args:
        attacked: as text.
        noise: likewise, under noise.
        gap: between the two.
        framed: places of the layers that moved most.
    """

    attacked: Sequence[str]
    noise: Sequence[str]
    gap: Sequence[str]
    framed: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ViewedImage:
    """An image of the maps' viewer.

    Args:
        id: its name.
        pictures: by kind and attack (``attacked.0``, ``clean.-1``), as addresses that hold the file.
        captions: of these.
        stayed: those of the same class as the clean image.
        similar: by measure, attack, target and CAM (``0.0.1.0``).
    """

    id: str
    pictures: Mapping[str, str]
    captions: Mapping[str, str]
    stayed: Sequence[str]
    similar: Mapping[str, LayerTexts]


@dataclass(frozen=True, kw_only=True)
class MapViewer:
    """Maps over their pictures, at any layer and opacity; one per page.

    It depends on the menus measure, attack, cam and target.

    Args:
        title: what it shows.
        layers: names, in order.
        first: place of the layer that is shown at first.
        images: in order.
        maps: base64 of gzip of: length of an index in 4 bytes (little end first), the index as JSON, all maps. The
            index gives [height, width, offset] by image, kind, attack, target, CAM and layer; an offset of -1 is a map
            without a positive value, -2 one that is not finite.
        shades: of the maps.
        name: as of `Captioned`.
    """

    title: str
    layers: Sequence[str]
    first: int
    images: Sequence[ViewedImage]
    maps: str
    shades: int
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms and what they mean.

    Args:
        entries: meanings by term.
        title, name: as of `Captioned`.
    """

    entries: Mapping[str, str]
    title: str = ""
    name: str = ""


Item = Table | Chart | Choice | Gallery | Variants | MapViewer | Terms


@dataclass(frozen=True, kw_only=True)
class Section:
    """Charts, choices of charts, tables and galleries under one heading.

    Args:
        title: a question or a topic.
        items: what it holds, in order; a tuple stands side by side where there is room.
        about: paragraphs before them.
        name: of the element in the page; made from the title if empty.
    """

    title: str
    items: Sequence[Item | tuple[Item, ...]]
    about: Sequence[str] = ()
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the paper beside what was measured.

    Args:
        paper: the paper's finding, with its number.
        ours: what this study found.
        held: ``held``, ``did not hold``, ``partly`` or ``not tested``.
        why: reasons why the two may differ.
    """

    paper: str
    ours: str
    held: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything that a study's page says.

    Args:
        title: of the page.
        paper: the paper's reference, in one line; empty if the study is of none.
        facts: terms and what they are in this study, for the head of the page.
        findings: the few sentences that matter, with their figures; also printed on the terminal.
        claims: the paper's findings beside ours.
        sections: in order.
        manifest: of the study.
        warnings: what a reader must know before believing the numbers.
        tiles: the numbers to see first: the figure, what it is, and what to hold it against.
        menus: choices that the items of neighbouring sections share.
        checks: beyond those of the manifest, each with ``check``, ``level`` (ok, note or error) and ``detail``.
        repeat: terms and what they are, for those who want to repeat the study.
    """

    title: str
    paper: str
    facts: Sequence[tuple[str, str]]
    findings: Sequence[str]
    claims: Sequence[Claim]
    sections: Sequence[Section]
    manifest: Mapping[str, Any]  # as the file has it, to be shown whole
    warnings: Sequence[str] = ()
    tiles: Sequence[tuple[str, str, str]] = ()
    menus: Sequence[Menu] = ()
    checks: Sequence[Mapping[str, str]] = ()
    repeat: Sequence[tuple[str, str]] = ()


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals; a dash if there is none.

    >>> number(0.125), number(float("nan")), number(12.0, 0)
    ('0.12', '–', '12')
    """
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"


def share(value: float | None, digits: int = 0) -> str:
    """A share of one as percent; a dash if there is none.

    >>> share(0.5), share(0.123, 1)
    ('50 %', '12.3 %')
    """
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"
