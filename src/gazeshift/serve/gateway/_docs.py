"""The interface as a page to read: made from its OpenAPI, without scripts, so that it works offline."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

METHODS = ("get", "post", "put", "patch", "delete")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ info.title }} {{ info.version }}: the interface</title>
<style>
:root { color-scheme: light dark; --quiet: #667085; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; border-top: 1px solid var(--line); padding-top: 1.25rem; }
h2 code { font-size: 1.05rem; } .method { text-transform: uppercase; font-weight: 700; margin-right: .5rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top;
  padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { width: 6rem; }
.quiet { color: var(--quiet); } pre { white-space: pre-wrap; padding: .75rem; background: #8881; border-radius: 6px; }
</style>
<main>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description | code }} The same as JSON: <a href="openapi.json">openapi.json</a>.</p>
<pre>curl -F image=@photo.jpg ADDRESS/v1/judge
curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg 'ADDRESS/v1/look?cams=grad_cam,layer_cam'</pre>
{% for path, method, route in routes %}
<h2 id="{{ method }}{{ path }}"><span class="method">{{ method }}</span><code>{{ path }}</code></h2>
<p>{{ (route.description or route.summary) | code }}</p>
{% if route.parameters or route.requestBody %}<table><tr><th scope="col">takes</th><th scope="col"></th></tr>
{% for one in route.parameters %}<tr><td><code>?{{ one.name }}=</code></td>
<td>{{ (one.schema.enum or [one.schema.type]) | join(' or ') }}
{%- if one.schema.default %}, {{ one.schema.default }} if not given{% endif %}</td></tr>
{% endfor %}
{% if route.requestBody %}<tr><td>body</td><td>{{ route.requestBody.content | join(', ') }}</td></tr>{% endif %}
</table>{% endif %}
<table><tr><th scope="col">answers</th><th scope="col"></th></tr>
{% for status, answer in route.responses.items() %}<tr><td><code>{{ status }}</code></td>
<td>{{ answer.description | code }}{% for name in answer.fields %}<br><code>{{ name[0] }}</code>
<span class="quiet">{{ name[1] }}</span>{% endfor %}</td></tr>{% endfor %}
</table>
{% endfor %}
</main></html>
"""


def page(openapi: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    shapes = openapi.get("components", {}).get("schemas", {})
    routes = [
        (path, method, _with_fields(route, shapes))
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
        if method in METHODS
    ]
    environment = Environment(autoescape=True)
    environment.filters["code"] = _code
    return environment.from_string(PAGE).render(info=openapi["info"], routes=routes)


def _code(text: str) -> Markup:
    """Escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


def _with_fields(route: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """A route with the fields of its good answer listed."""
    answers = {status: {**answer, "fields": []} for status, answer in route["responses"].items()}
    for status, answer in answers.items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2"):
            answer["fields"] = _fields(shapes.get(schema.get("$ref", "").rpartition("/")[2], {}))
    return {**route, "responses": answers}


def _fields(shape: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, one.get("description", "")) for name, one in shape.get("properties", {}).items()]
