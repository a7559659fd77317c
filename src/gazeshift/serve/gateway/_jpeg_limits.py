"""How often a JPEG file goes over its image. Few bytes can ask for thousands of passes over all pixels."""

import re

from gazeshift.serve.gateway.errors import GatewayError

MAX_SCANS = 100  # photographs have about 10, a file with a scan for every frequency has 65 or so
MAX_PASSES = 32  # times the most pixels allowed: what all scans together may go over
MAX_MARKERS = 10_000  # photographs have some dozens, and a few hundred with a large profile
START, END, BARE = 0xDA, 0xD9, {0x01, 0xD8}  # of a scan, of the image, and markers without a length
# Within a scan, FF is followed by 0 (it is data) or by D0 to D7 (a restart). Any other byte after it is the next
# marker, unless it is FF again, which fills.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def check_scans(scans: int, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG file that would take many times as long as others of its size.

    Args:
        scans: of the file, as `count_scans` has them.
        pixels: that its header claims.
        max_pixels: pixels allowed.

    Raises:
        GatewayError: too many scans, by themselves or for so many pixels.
    """
    allowed = min(MAX_SCANS, MAX_PASSES * max_pixels // max(1, pixels))
    if scans > allowed:
        raise GatewayError(
            422,
            "too_many_scans",
            f"the JPEG goes over its pixels more than {allowed} times, which takes too long, and was not decoded. Save "
            "it as a baseline JPEG.",
            details={"most": allowed},
        )


def count_scans(encoded: bytes) -> int:
    """Scans of the first image of a JPEG file, one more than `MAX_SCANS` if there are more; 0 of any other file.

    It steps over the segments as the decoder does: a marker within a segment, such as those of a preview, does not
    count, and neither does one behind the image's end.

    Raises:
        GatewayError: there are so many markers that reading them takes long.
    """
    if not encoded.startswith(b"\xff\xd8"):
        return 0
    at, scans, read = 2, 0, 0
    while scans <= MAX_SCANS:
        found = MARKER.search(encoded, at)
        start = found.start() if found else len(encoded)
        read += 1 if scans else 1 + start - at  # what lies between markers is read byte by byte before the first scan
        if read > MAX_MARKERS:
            raise GatewayError(422, "bad_image", "the JPEG has too many markers to be a picture. Save it anew.")
        if found is None or encoded[start + 1] == END:
            break
        kind, at = encoded[start + 1], found.end()
        scans += kind == START
        at += 0 if kind in BARE else max(2, int.from_bytes(encoded[at : at + 2]))
    return scans
