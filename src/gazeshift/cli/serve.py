"""``gazeshift serve``."""

from typing import Annotated

from cyclopts import Parameter

from gazeshift.cli._extras import needing
from gazeshift.runs.executors.memory import keep_freed_memory
from gazeshift.serve.gateway.settings import ServeSettings


def serve(*, settings: Annotated[ServeSettings | None, Parameter(name="*", negative="")] = None) -> None:
    """Put a classifier and its detector behind HTTP: images in, verdicts out, and a page to explore them.

    Examples: gazeshift serve; gazeshift serve --detector detector --policy block --log verdicts.jsonl

    The page is at the address it prints, what can be asked at /docs. SIGTERM ends it within five seconds.
    """
    with needing("serve", "serve"):
        from gazeshift.serve.gateway import server  # torch and FastAPI are not needed for --help
    server.serve(settings or ServeSettings(), keep_freed_memory)
