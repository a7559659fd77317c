"""The interface as a page to read: made from its OpenAPI, without scripts, so that it works offline."""

import re
from collections.abc import Mapping

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup, escape


def page(openapi: Mapping[str, object]) -> str:
    """HTML of an OpenAPI document."""
    loader = PackageLoader("gazeshift.serve", "gateway")
    environment = Environment(autoescape=True, loader=loader, undefined=ChainableUndefined)
    environment.filters["code"] = _code
    return environment.get_template("docs.html").render(openapi)


def _code(text: str) -> Markup:
    """Escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped
