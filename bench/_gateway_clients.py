"""Clients of a gateway, in a process of their own so that they take little from it.

Reads one JSON object from its input and writes one: what was answered, and how long that took. The images are encoded
beforehand; each client is a thread that waits on its socket.
"""

import json
import socket
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

Answers = list[tuple[int, float]]
HEADERS = {"Content-Type": "image/jpeg"}


def ask(line: HTTPConnection, image: bytes) -> tuple[int, float]:
    """Status, 0 if there is no answer, and seconds of one request."""
    start = time.perf_counter()
    try:
        line.request("POST", "/v1/judge", image, HEADERS)
        answer = line.getresponse()
        answer.read()
    except (OSError, HTTPException):
        line.close()
        return 0, time.perf_counter() - start
    return answer.status, time.perf_counter() - start


def closed_loop(port: int, images: list[bytes], clients: int, seconds: float) -> tuple[Answers, float]:
    """Clients that each ask again as soon as they are answered; the answers, and seconds until the last one."""
    answers: Answers = []
    start = time.perf_counter()

    def client(number: int) -> None:
        line, at = HTTPConnection("127.0.0.1", port, timeout=300), number
        while time.perf_counter() - start < seconds:
            answers.append(ask(line, images[at % len(images)]))
            at += clients
        line.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, time.perf_counter() - start


def open_loop(port: int, images: list[bytes], rate: float, seconds: float) -> tuple[Answers, float]:
    """Requests at a fixed rate, whether answered or not; at the end all who still wait hang up."""
    answers: Answers = []
    lines: list[HTTPConnection] = []
    has_ended = threading.Event()
    start = time.perf_counter()

    def client(line: HTTPConnection, image: bytes) -> None:
        found = ask(line, image)
        if not has_ended.is_set():
            answers.append(found)

    at = 0
    while (wait := start + at / rate - time.perf_counter()) < 0 or at / rate < seconds:
        time.sleep(max(0.0, wait))
        lines.append(HTTPConnection("127.0.0.1", port, timeout=300))
        threading.Thread(target=client, args=(lines[-1], images[at % len(images)]), daemon=True).start()
        at += 1
    took = time.perf_counter() - start
    has_ended.set()
    for line in lines:
        if line.sock is not None:
            with suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)  # closing alone leaves it open while a thread reads from it
    return answers, took


def recovered(port: int, image: bytes) -> float:
    """Seconds from now until a fresh request has been answered with 200."""
    start = time.perf_counter()
    while ask(HTTPConnection("127.0.0.1", port, timeout=300), image)[0] != 200:
        time.sleep(0.05)
    return time.perf_counter() - start


def main() -> None:
    """Do what the input asks for."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    images = [Path(file).read_bytes() for file in asked["images"]]
    if "rate" in asked:
        answers, seconds = open_loop(asked["port"], images, asked["rate"], asked["seconds"])
        told = {"recovered": recovered(asked["port"], images[0])}
    else:
        answers, seconds = closed_loop(asked["port"], images, asked["clients"], asked["seconds"])
        told = {}
    print(json.dumps({"answers": answers, "seconds": seconds, **told}), flush=True)


if __name__ == "__main__":
    main()
