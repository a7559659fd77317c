"""A gateway that really listens, around a tiny network; and clients as plain as they come."""

import contextlib
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from bench._gateways import random_detector
from PIL import Image

from gazeshift.serve.gateway.app import create_app
from gazeshift.serve.gateway.open import open_state
from gazeshift.serve.gateway.server import bound, config_of
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.gateway.state import GatewayState

SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's word; fails if the answer is not of an error's shape."""
        error = self.json["error"]
        assert set(self.json) == {"error"}
        assert set(error) == {"code", "message", "details"}
        assert isinstance(error["message"], str)
        return error["code"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A gateway that listens."""

    port: int
    state: GatewayState | None = None
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def ask(self, path: str, body: Any = None, method: str = "", timeout: float = 60, **headers: str) -> Answer:
        """One request on a connection of its own; underscores in the headers' names are hyphens."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
                line.request(method or ("GET" if body is None else "POST"), path, body, names)
            answer = line.getresponse()
            return Answer(status=answer.status, headers=dict(answer.headers.items()), body=answer.read())
        finally:
            line.close()

    def judge(self, image: bytes, query: str = "", **headers: str) -> Answer:
        return self.ask(f"/v1/judge{query}", image, **{"Content_Type": "image/png", **headers})

    def metric(self, name: str) -> float:
        """The sum over the labels."""
        lines = self.ask("/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{.*\}})? ", line))


def png(seed: int = 0, width: int = 40, height: int = 32, form: str = "PNG") -> bytes:
    """A random picture as a file."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def jpeg(scans: int, side: int = 64) -> bytes:
    """A progressive JPEG that goes so many times more over its pixels than it needs to."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * scans + content[-2:]


def form(image: bytes, name: str = "image", boundary: str = "cut-here") -> tuple[bytes, str]:
    """A multipart body with one file, and its content type."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="../../a.png"\r\n\r\n'
    return head.encode() + image + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def make_detector(folder: Path, model: str, threshold: float | None = None, side: int = SIDE) -> Path:
    """A stability detector that learned from random pictures; with a threshold, one that alarms above it."""
    made = random_detector(model, side)
    if threshold is not None:
        made = replace(made, scores=torch.full_like(made.scores, threshold))
    made.save(folder)
    return folder


@contextmanager
def running(settings: ServeSettings) -> Iterator[Running]:
    """A gateway in a thread of this process, on a free port."""
    settings = settings.model_copy(update={"port": 0, "device": "cpu"})
    state, sock = open_state(settings), bound(settings)
    server = uvicorn.Server(config_of(settings, create_app(state)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield Running(port=sock.getsockname()[1], state=state)
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()
        assert state.close(20)
        assert not thread.is_alive()


@contextmanager
def started(*flags: str, **environment: str) -> Iterator[Running]:
    """``gazeshift serve`` as a process of its own, on a free port; killed at the end if it still runs."""
    command = [sys.executable, "-m", "gazeshift", "serve", "--port", "0", "--device", "cpu", *flags]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        found = re.search(r"http://.*:(\d+)", greeting)
        assert found, greeting + process.stderr.read()  # type: ignore[union-attr]
        yield Running(port=int(found[1]), process=process)
    finally:
        process.kill()
        process.communicate()


def until(true: Any, seconds: float = 60) -> None:
    """Wait until something becomes true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.01)


def raw(port: int, *pieces: bytes, pause: float = 0.0, wait: float = 20) -> bytes:
    """Send pieces on a socket, and read until the other side closes or nothing comes any more."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as line:
        for piece in pieces:
            with contextlib.suppress(ConnectionError):
                line.sendall(piece)
            time.sleep(pause)
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := line.recv(65536):
                answer += piece
        return answer


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


def head(length: int | str, path: str = "/v1/judge", kind: str = "image/png", more: str = "") -> bytes:
    lines = f"Host: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}"
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode()


def refused(answer: Answer, status: int, code: str) -> str:
    assert (answer.status, answer.code) == (status, code), answer
    return answer.json["error"]["message"]
