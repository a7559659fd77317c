"""The README as a package index shows it: with links that lead to the repository, or with none."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
RELATIVE = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")


class Readme(MetadataHookInterface):
    """Sets `readme`, and `urls` once there is a public address.

    The one setting is ``public-address`` under ``[tool.hatch.metadata.hooks.custom]``: where people see the repository.
    """

    def update(self, metadata: dict) -> None:
        """Fill in what pyproject.toml calls dynamic."""
        text, address = (Path(self.root) / "README.md").read_text("utf-8"), self.config["public-address"]
        shown = for_index(text, address, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": shown}
        metadata["urls"] = {"Repository": address} if address else {}


def for_index(text: str, address: str, tag: str) -> str:
    """Markdown whose relative pictures and links lead to a tag of the repository at an address.

    Without an address, pictures are left out and links are their words. Code stays as it is.
    """

    def shown(found: re.Match[str]) -> str:
        is_picture, words, path = found.groups()
        if address:
            return f"{is_picture}[{words}]({address.rstrip('/')}/{'raw' if is_picture else 'blob'}/{tag}/{path})"
        return "" if is_picture else words

    parts = FENCE.split(text)
    parts[::2] = [RELATIVE.sub(shown, part) for part in parts[::2]]
    return "".join(parts)
