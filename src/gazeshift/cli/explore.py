"""``gazeshift explore``."""

from pathlib import Path

from gazeshift.cli._extras import needing


def explore(
    folder: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    weights: str | None = None,
) -> None:
    """Open a finished study in the browser: filter and sort its images, and walk through the layers of each.

    Deviation, renkhoff2022 and scorecard studies. Pictures and maps that the study did not keep are drawn anew where
    its images and its model are still there. A model that is code (module:...) runs only if --model names it.

    Example: gazeshift explore demo-report

    Args:
        folder: a finished study's folder.
        host: address to listen on; the default answers this machine alone.
        port: 0 takes a free one and prints it.
        model: to draw maps with, if not the one that the study names.
        weights: its weights, likewise.
    """
    with needing("serve", "explore"):
        from gazeshift.serve.study_explorer.server import explore_study  # torch and FastAPI are not needed for --help
    explore_study(folder, host=host, port=port, model=model, weights=weights)
