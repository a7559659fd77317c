"""Runs the explorer of a study."""

import logging
import sys
import warnings
from pathlib import Path

from gazeshift.serve.gateway.origin import hosts_of
from gazeshift.serve.gateway.server import Server, bound, config_of
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.study_explorer.app import create_study_app


def explore_study(folder: Path, *, host: str, port: int, model: str | None, weights: str | None) -> None:
    """Serve the explorer of a study's folder until it is interrupted.

    Raises:
        GazeshiftError: no finished study, or the address cannot be had.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = ServeSettings(host=host, port=port)
    app = create_study_app(folder, model=model, weights=weights, hosts=hosts_of(settings))
    sock = bound(settings)
    if not settings.is_local:
        warnings.warn(f"{host} is open to other machines: anyone may look at this study and its images.", stacklevel=2)
    name = f"[{host}]" if ":" in host else host
    print(f"The study in {folder} is open at http://{name}:{sock.getsockname()[1]} (Ctrl-C closes it)", flush=True)  # noqa: T201
    Server(config_of(settings, app)).run(sockets=[sock])
