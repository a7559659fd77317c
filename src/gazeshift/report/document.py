"""The page of a paper's study as data: sections of charts, tables and pictures, each under the paper's own number.

A study's page is a file in this folder whose one public function takes a `Study` and gives a `Document`; `_paper.py`
turns that into HTML. Charts are built from numbers by `_charts.py`, which also makes the table under each of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text.

    Args:
        title: what it shows; with the paper's number if it stands for one of the paper's (``Table 3``).
        head: names of the columns.
        rows: cells as text; the first of each row names it.
        about: one or two sentences.
        item: the figure or table of the paper that it stands for, such as ``Table 3``; empty if there is none.
        paper: what the paper has there, in short; shown beside ours.
        name: of the element in the page; made from the title if empty.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str = ""
    item: str = ""
    paper: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing by Plotly, with its numbers as a table.

    Args:
        title: what it shows.
        traces: as Plotly takes them; a colour may be a name of the page's style sheet (``--attacked``).
        layout: beyond what all charts share; the same holds for colours.
        head: names of the columns of its table.
        rows: its numbers as text.
        about, item, paper, name: as of `Table`.
        empty: why there is nothing to draw; then there are no traces.
        wide: takes the whole width.
    """

    title: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str = ""
    item: str = ""
    paper: str = ""
    name: str = ""
    empty: str = ""
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Charts of the same kind, of which the reader chooses one.

    Args:
        title: what they show.
        label: of the choice.
        charts: by what is chosen, the first one shown at first; their own captions are not shown.
        about, item, paper, name: as of `Table`.
    """

    title: str
    label: str
    charts: Mapping[str, Chart]
    about: str = ""
    item: str = ""
    paper: str = ""
    name: str = ""


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
class Gallery:
    """Pictures in rows.

    Args:
        title: what it shows.
        rows: a heading for each row, and its pictures; None leaves a gap.
        about, item, paper, name: as of `Table`.
        side: width of a picture on the screen, in pixels.
    """

    title: str
    rows: Sequence[tuple[str, Sequence[Picture | None]]]
    about: str = ""
    item: str = ""
    paper: str = ""
    name: str = ""
    side: int = 112


Item = Table | Chart | Choice | Gallery


@dataclass(frozen=True, kw_only=True)
class Section:
    """Charts, choices of charts, tables and galleries under one heading.

    Args:
        title: a question or a topic.
        items: what it holds, in order.
        about: paragraphs before them.
    """

    title: str
    items: Sequence[Item]
    about: Sequence[str] = ()


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
        paper: the paper's reference, in one line.
        facts: terms and what they are in this study, for the head of the page.
        findings: the few sentences that matter, with their figures; also printed on the terminal.
        claims: the paper's findings beside ours.
        sections: in order.
        manifest: of the study.
        warnings: what a reader must know before believing the numbers.
    """

    title: str
    paper: str
    facts: Sequence[tuple[str, str]]
    findings: Sequence[str]
    claims: Sequence[Claim]
    sections: Sequence[Section]
    manifest: Mapping[str, Any]
    warnings: Sequence[str] = field(default_factory=tuple)


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
