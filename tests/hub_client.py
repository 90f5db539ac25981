"""Run by test_files_hub.py in a process of its own: resolves each request on stdin and prints what came of it."""

import json
import sys
from pathlib import Path

from tfxlm.errors import TFXLMError
from tfxlm.files import resolve_folder

for request in json.load(sys.stdin):
    try:
        folder = resolve_folder(**request)
        found = {str(path.relative_to(folder)): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}
        print(json.dumps({"files": found}))
    except TFXLMError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
