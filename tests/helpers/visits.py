"""A page in Chromium, and what it said and asked for while it was open."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

SERIOUS = ("serious", "critical")


def overheard(page: Any) -> tuple[list[str], list[str]]:
    """What a page says (console, errors, dialogs) and what it asks for, from now on."""
    said, asked = list[str](), list[str]()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    return said, asked


class Visit:
    """One page in a context of its own.

    Args:
        browser: Chromium.
        address: of the page.
        width: of the window, in pixels; 375 is a phone.
        scheme: light or dark.
        scripts: whether they run.
    """

    def __init__(
        self, browser: Any, address: str, width: int = 1280, scheme: str = "light", *, scripts: bool = True
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            accept_downloads=True,
            is_mobile=width < 500,
            has_touch=width < 500,
            reduced_motion="reduce",
            java_script_enabled=scripts,
        )
        self.page, self.address = self.context.new_page(), address
        self.said, self.asked = overheard(self.page)
        self.page.set_default_timeout(60_000)
        self.page.goto(address)

    def ready(self) -> "Visit":
        """Wait until the page has drawn itself."""
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self

    def charts(self, height: int = 200) -> int:
        """How many charts are shown, each of them drawn and higher than so many pixels."""
        shown = self.page.locator("[data-chart]:visible")
        for at in range(shown.count()):
            assert shown.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > height
        return shown.count()

    def load_images(self, width: int = 0) -> None:
        """Have every picture loaded, those that wait to be scrolled to as well, and wider than so many pixels."""
        self.page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
        self.page.wait_for_function(
            "width => [...document.images].every(image => image.complete && image.naturalWidth > width)", arg=width
        )

    def items(self) -> list[str]:
        """Figures and tables of the paper that the page marks."""
        return self.page.locator(".item").all_inner_texts()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def drawn(self, kind: str) -> bytes:
        """The picture of one kind on the stage, as a PNG."""
        text = self.page.evaluate(
            "kind => document.querySelector(`#stage canvas[data-kind=${kind}]`).toDataURL()", kind
        )
        return base64.b64decode(text.partition(",")[2])

    def too_wide(self) -> list[str]:
        """Elements that stick out to the right, but for those that scroll by themselves."""
        return self.page.evaluate(
            "() => { const width = document.documentElement.clientWidth;"
            "const out = [...document.querySelectorAll('body *')].filter(part =>"
            " !part.closest('.scroll, .film, .unseen, .skip') && part.getBoundingClientRect().right > width + 1);"
            "const wide = document.documentElement.scrollWidth > width ? ['the page itself'] : [];"
            "return [...wide, ...out.map(part => part.outerHTML.slice(0, 90))] }"
        )

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical, with the elements."""
        script = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
        self.page.evaluate(script)
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]


def quick(run: Callable[..., tuple[int, str, str]], study: str, folder: Path, *flags: str) -> tuple[str, str]:
    """Address of the page of a study's quick form, run as a command; and what the command said."""
    words = ["study", study, "--quick", *flags, "--device", "cpu", "--out", str(folder / "out")]
    with patch("sys.argv", ["gazeshift", *words]):  # which the page shows
        code, said, faults = run(*words)
    assert code == 0, faults
    return (folder / "out" / "report.html").as_uri(), said


@contextmanager
def visit(browser: Any, address: str, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """A page that must keep silent: no word on the console, no request elsewhere."""
    made = Visit(browser, address, width, scheme)
    try:
        yield made.ready()
        assert made.said == []
        home = address.split("#", maxsplit=1)[0]
        assert [url for url in made.asked if not url.startswith((home, "data:", "blob:"))] == []
    finally:
        made.context.close()
