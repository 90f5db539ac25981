"""Run by test_files_hub.py in a process of its own: does what each request on stdin asks and prints what came of it."""

import json
import sys
from pathlib import Path

from tfxlm import inspect_checkpoint
from tfxlm.errors import TFXLMError
from tfxlm.files import resolve_folder, upload_folder

for request in json.load(sys.stdin):
    try:
        if "repo_id" in request:
            print(json.dumps({"url": upload_folder(**request)}))
            continue
        if "inspect" in request:
            inspection = inspect_checkpoint(request.pop("inspect"), **request)
            print(json.dumps({"found": inspection.to_dict()}))
            continue
        folder = resolve_folder(**request)
        found = {str(path.relative_to(folder)): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}
        print(json.dumps({"files": found}))
    except TFXLMError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
