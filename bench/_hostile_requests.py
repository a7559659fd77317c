"""Requests that no honest client sends, drawn from a seed, and what came back of each."""

import contextlib
import io
import json
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

PATHS = ("/v1/judge", "/v1/look", "/v1/judge?maps=all", "/v1/look?cams=grad_cam,noise_cam", "/explorer/see")
KINDS = ("image/png", "image/jpeg", "application/octet-stream", "image/svg+xml")
WRONG = (
    "text/html",
    "application/json",
    "multipart/mixed; boundary=a",
    "multipart/form-data",
    "",
    "image/png;;;=",
    "a/b\t",
)
NAMES = ("..%2f..%2fetc", "*", "[!a]*", "%00", "block*,*", "%F0%9F%90%9F", "a" * 1500, "'%20or%201=1", "NaN", "-1")
LIMITS = (503, 504)  # too much at once, no answer in time: a busy machine may say so
TOOK_LONG = 25.0  # seconds without an answer: a hang


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One request: pieces to send with pauses between them, and how the client leaves.

    Args:
        kind: what is wrong with it.
        pieces: bytes.
        pause: seconds after each piece.
        leaves: ``answered`` waits for the answer; ``closes`` and ``resets`` do not.
    """

    kind: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    leaves: str = "answered"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Args:
        kind: of the blow.
        status: of HTTP; 0 if the connection ended without an answer.
        seconds: until the answer was whole.
        fault: why this may not happen; empty if all is well.
    """

    kind: str
    status: int
    seconds: float
    fault: str = ""


def draw(chance: random.Random, pictures: Sequence[bytes]) -> Blow:
    """One blow of a random kind.

    Args:
        chance: where it is drawn from.
        pictures: honest image files to spoil.
    """
    kinds: tuple[Callable[[random.Random, bytes], Blow], ...] = (
        _mutated, _mutated, _mutated, _bomb, _form, _half, _slow, _mistyped, _long_head, _no_http, _asks_oddly,
    )  # fmt: skip
    return chance.choice(kinds)(chance, chance.choice(pictures))


def strike(port: int, blow: Blow) -> Outcome:
    """Send it on a connection of its own."""
    start = time.perf_counter()
    answer = b""
    with contextlib.suppress(ConnectionError, BrokenPipeError), socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(TOOK_LONG)
        try:
            for piece in blow.pieces:
                line.sendall(piece)
                time.sleep(blow.pause)
        except OSError:
            pass  # refused before all was sent; the answer is there to read
        if blow.leaves == "resets":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if blow.leaves == "answered":
            answer, hung = _read(line)
            if hung:
                return Outcome(kind=blow.kind, status=0, seconds=time.perf_counter() - start, fault="it hung")
    status, fault = _understood(answer)
    return Outcome(kind=blow.kind, status=status, seconds=time.perf_counter() - start, fault=fault)


def _read(line: socket.socket) -> tuple[bytes, bool]:
    """The first answer, or what came before the connection ended; whether nothing came for too long."""
    content = b""
    while not _is_whole(content):
        try:
            piece = line.recv(1 << 16)
        except TimeoutError:
            return content, True
        except OSError:
            break
        if not piece:
            break
        content += piece
    return content, False


def _is_whole(content: bytes) -> bool:
    head, body, length = _parted(content)
    return bool(head) and (length is None or len(body) >= length)


def _parted(content: bytes) -> tuple[bytes, bytes, int | None]:
    """Head and body of the first answer that is no 100 Continue, and the body's length if it is told."""
    head, _, body = content.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head, body, int(lengths[0]) if lengths else None


def _understood(content: bytes) -> tuple[int, str]:
    """The status, and what is wrong with the answer."""
    head, body, length = _parted(content)
    if not head:
        return 0, ""
    body = body[:length]  # what follows answers another request of the same connection
    status = int(head.split()[1])
    if status >= 500 and status not in LIMITS:
        return status, f"it answered {status}"
    if status >= 400 and body:
        try:
            if set(json.loads(body)["error"]) != {"code", "message", "details"}:
                return status, "an error of another shape"
        except (ValueError, KeyError, TypeError):
            return status, "an error that is no JSON"
    return status, "" if b"Traceback" not in body else "a traceback"


def head(
    path: str, length: int | str, kind: str = "image/png", *more: str, method: str = "POST", version: str = "HTTP/1.1"
) -> bytes:
    """The head of a request; its connection closes after the answer."""
    lines = [f"{method} {path} {version}", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "Connection: close", *more, "", ""]).encode("latin-1")


def _whole(kind: str, path: str, body: bytes, content_type: str) -> Blow:
    return Blow(kind=kind, pieces=(head(path, len(body), content_type) + body,))


def _mutated(chance: random.Random, picture: bytes) -> Blow:
    """An image with some bytes changed, cut out, doubled, or cut off."""
    content = bytearray(picture)
    for _ in range(chance.choice((1, 1, 3, 10, 100))):
        at, many = chance.randrange(len(content)), chance.choice((1, 4, 64))
        change = chance.randrange(5)
        if change <= 1:
            content[at] = chance.randrange(256)
        elif change == 2 and len(content) > 2 * many:
            del content[at : at + many]
        elif change == 3:
            content[at:at] = content[at : at + many]
        else:
            content[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
    if chance.random() < 0.2:
        del content[chance.randrange(1, len(content) + 1) :]
    return _whole("mutated image", chance.choice(PATHS), bytes(content), chance.choice(KINDS))


def _bomb(chance: random.Random, _: bytes) -> Blow:
    """A small file that claims to be large."""
    width, height = (chance.choice((1, 9, 5000, 65535, 2**31 - 1)) for _ in range(2))
    shape = struct.pack(">IIBBBBB", width, height, chance.choice((1, 8, 16)), chance.choice((0, 2, 3, 6)), 0, 0, 0)
    lines = zlib.compress(b"\0" * chance.choice((10, 10_000, 1_000_000)))
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", shape), (b"IDAT", lines), (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    size = struct.pack("<ii", width % 2**31, -(height % 2**31))
    bmp = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<I", 40)
        + size
        + struct.pack("<HHIIIIII", 1, 24, *[0] * 6)
    )
    gif = (
        b"GIF89a"
        + struct.pack("<HH", width % 65536, height % 65536)
        + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;"
    )
    bombs = (png, bmp, gif, _many_scans(chance))
    return _whole("bomb", chance.choice(PATHS), chance.choice(bombs), "application/octet-stream")


def _many_scans(chance: random.Random) -> bytes:
    """A JPEG that goes over its many pixels as often as its few bytes say."""
    file = io.BytesIO()
    Image.new("L", (chance.choice((64, 2000)), 2000), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * chance.choice((10, 90, 20_000)) + content[-2:]


def _form(chance: random.Random, picture: bytes) -> Blow:
    """A multipart form that is odd, or none."""
    cut = chance.choice(("cut", "-" * 69, "a b", "ä", ""))
    name = chance.choice(("image", "image", "photo", "", "../../image", "\0", "image\r\nX: y"))
    file = "../../etc/" + "a" * chance.choice((1, 9000))
    part = f'--{cut}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
    body = part.encode("latin-1") + picture + b"\r\n"
    body *= chance.choice((1, 1, 3))
    if chance.random() < 0.3:
        body = (f"--{cut}\r\nA: b\r\n\r\n\r\n" * 2000).encode("latin-1") + body
    body += f"--{cut}--".encode("latin-1") if chance.random() < 0.7 else b""
    if chance.random() < 0.3:
        body = body.replace(b"\r\n", b"\n", chance.choice((1, 3, 100)))
    kind = f"multipart/form-data; boundary={chance.choice((cut, chr(34) + cut + chr(34), 'other', cut + ';' * 50))}"
    return _whole("odd form", chance.choice(PATHS), body, kind)


def _half(chance: random.Random, picture: bytes) -> Blow:
    """A body that ends early, with the connection."""
    sent = head(chance.choice(PATHS), len(picture)) + picture
    end = chance.randrange(1, len(sent))
    return Blow(kind="half a request", pieces=(sent[:end],), leaves=chance.choice(("closes", "resets")))


def _slow(chance: random.Random, picture: bytes) -> Blow:
    """An image in small pieces; some clients lose patience."""
    sent = head(chance.choice(PATHS), len(picture)) + picture
    step = max(1, len(sent) // chance.choice((3, 10, 20)))
    pieces = tuple(sent[at : at + step] for at in range(0, len(sent), step))
    leaves = chance.choice(("answered", "answered", "closes", "resets"))
    return Blow(kind="slow client", pieces=pieces, pause=chance.choice((0.0, 0.01, 0.03)), leaves=leaves)


def _mistyped(chance: random.Random, picture: bytes) -> Blow:
    """A good image under a wrong content type."""
    return _whole("wrong content type", chance.choice(PATHS), picture, chance.choice(WRONG))


def _long_head(chance: random.Random, picture: bytes) -> Blow:
    """Headers that are too long, too many, or odd."""
    more = chance.choice(
        (
            [f"X-Long: {'x' * chance.choice((8_000, 40_000, 200_000))}"],
            [f"X-{number}: y" for number in range(chance.choice((50, 500, 5000)))],
            ["Authorization: Bearer " + "\xff" * 100, "Cookie: " + "a=b; " * 500],
            ["Expect: 100-continue"],
            ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13"],
            ["Accept-Encoding: " + "gzip," * 1000, "Range: bytes=0-1,1-2"],
        )
    )
    return Blow(kind="odd headers", pieces=(head(chance.choice(PATHS), len(picture), "image/png", *more), picture))


def _no_http(chance: random.Random, picture: bytes) -> Blow:
    """Bytes that are hardly HTTP, or contradict themselves."""
    path = chance.choice(PATHS)
    chunked = head(path, 5, "image/png", "Transfer-Encoding: chunked")
    chunks = chunked.replace(b"Content-Length: 5\r\n", b"")
    chunks += chance.choice((b"zz\r\n", b"ffffffffffffffffff\r\nx", b"-5\r\n"))
    method = chance.choice(("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "A" * 100))
    version = chance.choice(("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTCPCP/1.0"))
    sent = chance.choice(
        (
            picture,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + picture[:200],
            b"POST http://other.example/v1/judge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            head(path, "-1") + picture,
            head(path, "1e3") + picture,
            head(path, len(picture), "image/png", "Content-Length: 3") + picture,
            chunked + b"5\r\nhello\r\n0\r\n\r\n",
            chunks,
            head(path, len(picture), method=method) + picture,
            head(path, len(picture), version=version) + picture,
            (head(path, 0) * 20).replace(b"Connection: close\r\n", b""),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        )
    )  # fmt: skip
    return Blow(
        kind="hardly HTTP", pieces=(sent, b"\r\n\r\n"), leaves=chance.choice(("answered", "answered", "closes"))
    )


def _asks_oddly(chance: random.Random, picture: bytes) -> Blow:
    """A good image, and odd names and numbers in the query or the path."""
    name, other = chance.choice(NAMES), chance.choice(NAMES)
    path = chance.choice(
        (
            f"/v1/judge?maps={name}",
            f"/v1/look?cams={name}&layers={other}",
            f"/v1/look?layers={name}&layers={other}&cams=",
            f"/explorer/see?attack=pgd&epsilon={name}&steps={other}",
            f"/explorer/samples/{name}",
            f"/page/{name}",
            f"/{name}/../{other}",
            "/v1/judge?" + "a=b&" * 400,
        )
    )
    return _whole("odd query", path, picture, "image/png")
