"""Opens what the gateway serves, and refuses settings that do not fit in one sentence, before anything listens."""

import os

import torch

from gazeshift.calibrated import open_guarded
from gazeshift.errors import SettingsError
from gazeshift.serve.gateway._batch_queue import BatchQueue
from gazeshift.serve.gateway._journal import Journal
from gazeshift.serve.gateway._metrics import Metrics
from gazeshift.serve.gateway.guarded_model import GuardedModel
from gazeshift.serve.gateway.intake import Intake
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.gateway.state import GatewayState

TOKEN = "GAZESHIFT_TOKEN"  # noqa: S105 - the name of the variable
MIN_TOKEN = 16


def open_state(settings: ServeSettings) -> GatewayState:
    """Model, detector and limits of one process; one image is judged, so that the first request need not wait.

    Raises:
        SettingsError: the detector does not belong to the model, or the token cannot be used.
        GazeshiftError: model, detector, or the place of the log cannot be used.
    """
    token = read_token(settings)
    deployed, classifier = open_guarded(
        settings.detector, model=settings.model, weights=settings.weights, device=settings.device
    )
    journal = Journal(file=settings.log, images=settings.keep_images)
    journal.check()
    metrics = Metrics(deployed.false_alarms)

    def count_batch(size: int, seconds: float) -> None:
        metrics.batches.observe(size)
        metrics.work.observe(seconds)

    state = GatewayState(
        settings=settings,
        classifier=classifier,
        deployed=deployed,
        batch_queue=BatchQueue(max_batch=settings.batch, wait=settings.wait_ms / 1000, on_batch=count_batch),
        intake=Intake(settings, classifier.preprocessing),
        metrics=metrics,
        journal=journal,
        token=token,
    )
    _warm_up(state)
    return state


def read_token(settings: ServeSettings) -> str:
    """The bearer token from a file or the environment; empty if there is none.

    Raises:
        SettingsError: the file cannot be read, or the token is shorter than 16 characters or holds others than ASCII.
    """
    token = os.environ.get(TOKEN, "")
    if settings.token_file is not None:
        try:
            token = settings.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise SettingsError(
                f"no token can be read from {settings.token_file} ({cause}). Check --token-file."
            ) from cause
    if (token or settings.token_file) and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise SettingsError(
            f"a token needs at least {MIN_TOKEN} printable ASCII characters, got {len(token)}. Make one: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'."
        )
    return token


def _warm_up(state: GatewayState) -> None:
    model = state.classifier
    if model.size is not None:
        grey = torch.full((model.channels, *model.size), 0.5)
        state.batch_queue.run(GuardedModel(model, state.deployed).judge, [grey]).result()
