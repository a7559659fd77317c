"""How records show themselves: a few lines that say what a person needs to know, as text and as a table of HTML.

No tensor is printed and no list of class names; names come from files and models, so they are made printable, cut,
and escaped.
"""

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

LINES, ROWS = 8, 20  # of a text, of a table
HEAD, LINE, ALONE, NAME = 200, 88, 900, 24  # letters of a first line, a further one, a single one, and a name


class Summary:
    """Shows itself in at most 12 lines and 1,000 letters: its class, and what `_says` yields.

    For dataclasses made with ``repr=False``, as the usual one prints every tensor.
    """

    __slots__ = ()

    def _says(self) -> Iterable[str]:
        """What stands between the parentheses, then a line for each part; see `listed`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        head, *lines = self._says()
        first = f"{type(self).__name__}({fitted(head, HEAD if lines else ALONE)})"
        return "\n  ".join([first, *(fitted(line, LINE) for line in lines)])


def listed(count: int, line: Callable[[int], str], most: int = LINES) -> Iterator[str]:
    """The lines of the first parts, and how many more there are.

    >>> list(listed(4, lambda at: f"image {at}", most=2))
    ['image 0', 'image 1', '... and 2 more']
    """
    yield from (line(at) for at in range(min(count, most)))
    if count > most:
        yield f"... and {count - most:,} more"


def plural(count: int, name: str) -> str:
    """A number of things.

    >>> plural(1, "image"), plural(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {name}{'s' * (count != 1)}"


def finite(value: Any) -> float | None:
    """Six digits of a number, as JSON has it; None if it is not finite.

    >>> finite(1 / 3), finite(float("nan"))
    (0.333333, None)
    """
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def without_folders(name: str) -> str:
    """A model's name without the folder of the file that it comes from.

    >>> without_folders("module:/home/me/network.py:tiny")
    'module:network.py:tiny'
    """
    return re.sub(r"[^:]*[/\\]", "", name)


def percent(share: float) -> str:
    """A share as text.

    >>> percent(0.05), percent(0.914), percent(float('nan'))
    ('5 %', '91.4 %', 'nan %')
    """
    return f"{100 * share:.3g} %"


def size(shape: Sequence[int]) -> str:
    """Lengths of axes.

    >>> size((3, 224, 224))
    '3 x 224 x 224'
    """
    return " x ".join(map(str, shape))


def fitted(text: str, most: int = NAME) -> str:
    """The text on one line, its middle left out if it has more than `most` letters.

    >>> fitted("two" + chr(9) + "words").replace(chr(92), "/"), fitted("a very long name", 9)
    ('two/twords', 'a v...ame')
    """
    text, ends = printable(text), most - 3
    return text if len(text) <= most else f"{text[: ends - ends // 2]}...{text[len(text) - ends // 2 :]}"


def printable(text: str) -> str:
    """The text with line breaks and other control characters spelled out, so that a message stays one line.

    >>> print(printable("two" + chr(9) + "words.png").replace(chr(92), "/"))
    two/twords.png
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def class_name(names: Sequence[str], index: int) -> str:
    """Name of a class, or ``class 7`` where the model does not know its names."""
    return names[index] if 0 <= index < len(names) else f"class {index}"


def answer(logits: Any, names: Sequence[str]) -> str:
    """Top class of one image (c) and its softmax probability."""
    best = logits.detach().float().softmax(0).max(0)
    return f"{fitted(class_name(names, int(best.indices)))} ({percent(float(best.values))})"


def images_of(images: Any) -> str:
    """How many images there are, and their channels, height and width."""
    return f"{plural(len(images), 'image')} of {size(images.shape[1:])}"


def levels(value: Any) -> str:
    """A size in [0, 1] units as one in 8-bit levels.

    >>> levels(2 / 255)
    '2.00/255'
    """
    return f"{255 * float(value):.2f}/255"


def span(layers: Sequence[str]) -> str:
    """How many layers, and the first and the last of them.

    >>> span(["stem", "middle", "end"]), span([])
    ('3 layers (stem to end)', '0 layers')
    """
    ends = [fitted(name) for name in dict.fromkeys([*layers[:1], *layers[-1:]])]
    return plural(len(layers), "layer") + (f" ({' to '.join(ends)})" if ends else "")


def table(caption: str, head: Sequence[str], count: int, row: Callable[[int], Sequence[str]]) -> str:
    """HTML of a table for a notebook: the first `ROWS` rows, and how many more there are; all text is escaped."""
    rows = [_row("td", row(at)) for at in range(min(count, ROWS))]
    more = f"<p>... and {count - ROWS:,} more</p>" if count > ROWS else ""
    return (
        f"<table><caption>{_escaped(caption, HEAD)}</caption><thead>{_row('th', head)}</thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{more}"
    )


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{_escaped(cell, LINE)}</{kind}>" for cell in cells) + "</tr>"


def _escaped(text: str, most: int) -> str:
    return html.escape(fitted(text, most))
