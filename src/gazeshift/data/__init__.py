"""Where images come from: files, folders with labels, class folders, Parquet tables and the demo's own twenty."""

from gazeshift.data._decode import read_image
from gazeshift.data._open import demo_images, open_source
from gazeshift.data._source import ImageSource
from gazeshift.data._write import replace_file, write_error

__all__ = ["ImageSource", "demo_images", "open_source", "read_image", "replace_file", "write_error"]
