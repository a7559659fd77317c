"""The file in a multipart form, read in memory by python-multipart; nothing of it ever reaches the disk.

Starlette's `MultiPartParser`, which wraps the same reader, does not fit: it takes a form whose last boundary is
missing, decodes a file that was sent without a file name as text, and writes files of more than 1 MiB to the disk.
"""

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gazeshift.serve.gateway.errors import GatewayError

MAX_PARTS = 100  # a form for one image has a few
SHOWN = 5  # names of fields in a message


class _Fields:
    """Collects the content of the field of one name, and counts such fields; others are passed over."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.found = bytearray()
        self.count = self.parts = 0
        self.names: list[bytes] = []
        self.is_whole = False
        self._header, self._value = bytearray(), bytearray()
        self._takes = False

    def callbacks(self) -> Any:
        return {
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._headed,
            "on_part_begin": self._begun,
            "on_part_data": self._filled,
            "on_end": self._ended,
        }

    def _ended(self) -> None:
        self.is_whole = True

    def _begun(self) -> None:
        self._takes, self.parts = False, self.parts + 1
        if self.parts > MAX_PARTS:
            raise FormParserError

    def _headed(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self.names = [*self.names, name][:SHOWN]
            self._takes = name == self.name
            self.count += self._takes
        self._header, self._value = bytearray(), bytearray()

    def _filled(self, data: bytes, start: int, end: int) -> None:
        if self._takes:
            self.found += data[start:end]


def only_file(content: bytes, parameters: str, name: str) -> bytes:
    """The content of the form's only field of that name.

    Args:
        content: the body.
        parameters: of the content type, with the boundary.
        name: of the field.

    Raises:
        GatewayError: no boundary, no form, no such field or several, more than `MAX_PARTS` parts, or the form is cut
            off.
    """
    fields = _Fields(name)
    boundary = parse_options_header(f"multipart/form-data;{parameters}".encode("latin-1"))[1].get(b"boundary", b"")
    if not boundary:
        raise GatewayError(400, "bad_form", "the form's content type names no boundary.")
    try:
        parser = MultipartParser(boundary, fields.callbacks())
        parser.write(content)
    except FormParserError as cause:
        found = f"has more than {MAX_PARTS} parts" if fields.parts > MAX_PARTS else "is malformed"
        raise GatewayError(400, "bad_form", f"the form {found}.") from cause
    if not fields.is_whole:
        raise GatewayError(400, "bad_form", "the form is cut off: its last boundary is missing.")
    if not fields.count:
        came = ", ".join(ascii(one.decode("utf-8", "replace"))[:40] for one in fields.names) or "no field"
        raise GatewayError(422, "no_image", f"the form has no field '{name}', got {came}.")
    if fields.count > 1:
        message = f"the form has {fields.count} fields '{name}', and one is taken at a time. Send each by itself."
        raise GatewayError(422, "many_images", message)
    return bytes(fields.found)
