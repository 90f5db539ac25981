"""Folders on the hub or on disk, JSON, and writes that leave nothing half done.

Paths in, paths out: nothing here knows what a model is.
"""

from tfxlm.files.hub import inside, leads_out, resolve_folder, upload_folder
from tfxlm.files.reading import MAX_JSON_BYTES, describe_placeholder, read_json, read_most
from tfxlm.files.settings import parse_value, read_settings
from tfxlm.files.writing import (
    atomic_file,
    atomic_folder,
    json_text,
    make_folder,
    remove_folder,
    remove_leftovers,
    resumable_folder,
    work_folder,
    write_json,
)

__all__ = [
    "MAX_JSON_BYTES",
    "atomic_file",
    "atomic_folder",
    "describe_placeholder",
    "inside",
    "json_text",
    "leads_out",
    "make_folder",
    "parse_value",
    "read_json",
    "read_most",
    "read_settings",
    "remove_folder",
    "remove_leftovers",
    "resolve_folder",
    "resumable_folder",
    "upload_folder",
    "work_folder",
    "write_json",
]
