"""Thousands of hostile requests at a running gateway: no 500, no hang, no growth.

Generated from the interface's own OpenAPI (schemathesis), and by `_hostile_requests`: spoiled images, bombs, odd forms,
half-sent bodies, slow clients, wrong content types, huge headers, bytes that are hardly HTTP. The gateway is a process
of its own with a small network, so that what is measured is the gateway; its memory is read after each tenth.
"""

import io
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench._gateways import Served, serving, small_detector
from bench._hostile_requests import LIMITS, Blow, Outcome, draw, head, strike
from bench._table import show

CLIENTS = 4
FROM_OPENAPI = 0.3  # of all requests
GROWTH = 1.1  # of memory, from the largest images allowed to the end


def main(count: int, seed: int = 0) -> None:
    """Send `count` requests and print a table; ends with code 1 if one was answered wrongly."""
    with tempfile.TemporaryDirectory() as folder, serving(small_detector(Path(folder)), "--timeout", "20") as served:
        outcomes, memory = attacked(served, count, seed)
        files = len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))
    faults = [one for one in outcomes if one.fault]
    rows = []
    for kind in dict.fromkeys(one.kind for one in outcomes):
        own = [one for one in outcomes if one.kind == kind]
        statuses = Counter(one.status or "no answer" for one in own)
        slowest = max(one.seconds for one in own)
        told = ", ".join(f"{many} x {status}" for status, many in sorted(statuses.items(), key=str))
        rows.append([kind, str(len(own)), told, f"{slowest:.1f}", str(sum(bool(one.fault) for one in own))])
    megabytes_told = ", ".join(f"{one:.0f}" for one in memory)
    show(
        f"{len(outcomes)} hostile requests",
        ["kind", "requests", "answers", "slowest, s", "wrong"],
        rows,
        f"Memory of the gateway after the largest images, then after each tenth, MB: {megabytes_told}. "
        f"{'It does not grow.' if steady(memory) else 'IT GROWS.'} Open files at the end: {files}.",
        *[f"{one.kind}: {one.fault} ({one.status})" for one in faults[:20]],
    )
    if faults or not steady(memory):
        sys.exit(1)


def attacked(served: Served, count: int, seed: int) -> tuple[list[Outcome], list[float]]:
    """What came of the requests, and the gateway's memory in MB after the largest images, then after each tenth."""
    chance, pictures = random.Random(seed), files_of(seed)  # noqa: S311
    outcomes, memory = _largest(served.port), [megabytes(served.process.pid)]
    for part in range(10):
        many = count * (part + 1) // 10 - count * part // 10
        found = from_openapi(served.port, round(many * FROM_OPENAPI), seed + part)  # fewer where there are no more
        blows = [draw(chance, pictures) for _ in range(many - len(found))]
        outcomes += found + _struck(served.port, blows)
        if served.process.poll() is not None:
            sys.exit("the gateway died")
        memory.append(megabytes(served.process.pid))
    return outcomes, memory


def _struck(port: int, blows: Sequence[Blow]) -> list[Outcome]:
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda blow: strike(port, blow), blows))


def _largest(port: int) -> list[Outcome]:
    """Images of nearly as many pixels as are allowed, so that what decoding takes is taken before it is measured."""
    file = io.BytesIO()
    Image.new("RGB", (8000, 3900)).save(file, "PNG")
    sent = head("/v1/judge", len(file.getvalue())) + file.getvalue()
    return _struck(port, [Blow(kind="largest image", pieces=(sent,))] * CLIENTS)


def megabytes(pid: int) -> float:
    """Resident memory of a process, as Linux tells it."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def steady(memory: Sequence[float]) -> bool:
    """Whether memory at the end is what the largest images took before."""
    return memory[-1] <= GROWTH * memory[0]


def files_of(seed: int) -> list[bytes]:
    """Honest image files of all formats."""
    random_numbers = np.random.default_rng(seed)
    found = []
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        for width, height in ((48, 36), (300, 200)):
            coarse = random_numbers.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse).resize((width, height)).save(file, form)
            found.append(file.getvalue())
    return found


def from_openapi(port: int, count: int, seed: int) -> list[Outcome]:
    """Requests that schemathesis makes of the interface's own description, half of them against it.

    Checks: no server error but those that keep limits, and status, content type and body as the description says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(_generated(port, count, seed))


def _generated(port: int, count: int, seed: int) -> Iterator[Outcome]:
    import schemathesis
    from schemathesis.checks import load_all_checks

    load_all_checks()
    description = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    operations = [found.ok() for found in description.get_all_operations()]
    modes = [
        (operation, mode)
        for operation in operations
        for mode in schemathesis.GenerationMode
        if mode.is_positive or operation.method == "post"  # the others take nothing that could be wrong
    ]
    for place, (operation, mode) in enumerate(modes):
        share = count * (place + 1) // len(modes) - count * place // len(modes)
        yield from _of_operation(operation, mode, share, seed)


def _of_operation(operation: Any, mode: Any, count: int, seed: int) -> list[Outcome]:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    outcomes: list[Outcome] = []
    if not count:
        return outcomes

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        outcomes.append(_sent(case))

    send()
    return outcomes


def _sent(case: Any) -> Outcome:
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    start, fault = time.perf_counter(), ""
    answer = case.call(timeout=25)
    described = [content_type_conformance, response_schema_conformance, status_code_conformance]
    try:
        case.validate_response(
            answer, checks=described if answer.status_code in LIMITS else [*described, not_a_server_error]
        )
    except FailureGroup as failures:
        fault = "; ".join(f"{case.method} {case.path}: {one.title}" for one in failures.exceptions)
    except Exception as failure:  # a single failure is raised as it is
        fault = f"{case.method} {case.path}: {failure}"[:300]
    return Outcome(kind="from OpenAPI", status=answer.status_code, seconds=time.perf_counter() - start, fault=fault)
