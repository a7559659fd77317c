"""Where images come from: files, folders with labels, class folders, Parquet tables, the demo's own twenty; and sets.

An adversarial set is what an attack made of such images: `open_set`, `verify_set`, `export_set`.
"""

from gazeshift.data._class_names import read_class_names
from gazeshift.data._eight_bit import attacked_levels
from gazeshift.data._open_set import open_set
from gazeshift.data._set_export import Exported, export_set
from gazeshift.data._set_layout import SET, join_rows, set_options, set_rows
from gazeshift.data._set_verify import Verified, counted, verify_set
from gazeshift.data._sets import AdversarialSet, Pairs, SetManifest
from gazeshift.data._shards import describe_shard
from gazeshift.data._write import made_folder, replace_file, write_error
from gazeshift.data.decode import read_image
from gazeshift.data.image_source import ImageSource
from gazeshift.data.open_images import demo_images, open_source
from gazeshift.data.pixels import FIT, Handling, PictureReader
from gazeshift.summaries import printable

__all__ = [
    "FIT",
    "SET",
    "AdversarialSet",
    "Exported",
    "Handling",
    "ImageSource",
    "Pairs",
    "PictureReader",
    "SetManifest",
    "Verified",
    "attacked_levels",
    "counted",
    "demo_images",
    "describe_shard",
    "export_set",
    "join_rows",
    "made_folder",
    "open_set",
    "open_source",
    "printable",
    "read_class_names",
    "read_image",
    "replace_file",
    "set_options",
    "set_rows",
    "verify_set",
    "write_error",
]
