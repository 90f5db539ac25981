"""Where the examples are, and the quickstart script as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "examples" / "checkpoint"
LANGUAGES = ("en", "de", "fr", "ru", "ar")


def load_quickstart() -> ModuleType:
    """Imports ``examples/quickstart.py``, which lies outside the package."""
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "examples" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their own module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
