"""The layout rules that the code keeps: who imports whom, what is heavy, how long a file gets."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tfxlm

ROOT = Path(tfxlm.__file__).parent
MAX_LINES = 400
# Of a family's own files and of its body, beside docstrings and comments.
MAX_CODE_OF_A_FAMILY = 150

# A module imports only from lines above its own; modules on one line do not import each other.
LINES = (
    ("_version", "trees", "docstrings"),
    ("errors",),
    ("backend", "files"),
    ("checkpoints",),
    ("configs", "presets"),
    ("tokenizers", "layers"),
    ("heads", "data", "generation"),
    ("models",),
    ("training", "conversion", "inspection"),
    ("client",),
    ("pipelines",),
    ("export",),
    ("serve",),
    ("cli",),
    ("__main__",),
)
LINE_OF = {module: number for number, line in enumerate(LINES) for module in line}

# `presets` is data, which configurations are compared with.
SAME_LINE = {("configs", "presets")}

# `Model.export` leads to the exporter: inside a function, as Keras's own method does.
LATE = {("models/pretrained.py", "export")}

# Elsewhere TensorFlow comes through `backend`.
TENSORFLOW = (
    *("backend.py", "layers/fused_normalization.py", "layers/own_gradients.py", "models/fused_updates.py"),
    *("tokenizers/in_graph", "data/", "training/distribution.py", "training/summaries.py", "export/", "serve/"),
)

# `return_tensors="tf"` makes TensorFlow's tensors whatever Keras runs on, inside a function.
LATE_TENSORFLOW = ("tokenizers/encoding.py",)

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def tree_of(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def is_module(base: str, name: str) -> bool:
    """Whether ``from base import name`` names a module of tfxlm, and not something inside `base`."""
    if not base.startswith("tfxlm."):
        return base == "tfxlm"
    folder = ROOT.joinpath(*base.split(".")[1:])
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def imported_modules(file: str) -> Iterator[tuple[str, bool]]:
    """Full names of the modules that a file imports, and whether it does so inside a function."""
    tree = tree_of(file)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    package = ["tfxlm", *Path(file).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            names = [f"{base}.{alias.name}" if is_module(base, alias.name) else base for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) in inside


def home(file: str) -> str:
    """The module or package of tfxlm that a file is part of."""
    return Path(file).parts[0].removesuffix(".py")


def forbidden_imports(file: str) -> list[str]:
    own = home(file)
    wrong = []
    for name, late in imported_modules(file):
        parts = name.split(".")
        if parts[0] != "tfxlm" or len(parts) == 1 or parts[1] == own:
            continue
        other = parts[1] if parts[1] in LINE_OF else "__init__"
        allowed = (
            (other in LINE_OF and LINE_OF[other] < LINE_OF[own])
            or (own, other) in SAME_LINE
            or (late and (file, other) in LATE)
        )
        if not allowed:
            wrong.append(name)
    return wrong


def test_every_module_has_a_line() -> None:
    assert {home(file) for file in FILES} - {"__init__"} <= set(LINE_OF)


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_only_from_lines_above(file: str) -> None:
    assert forbidden_imports(file) == []


def test_the_rule_finds_what_it_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "layers" / "bad.py").write_text(
        "from tfxlm.models import x\nimport tfxlm.tokenizers\nfrom tfxlm import configs, export\n"
        "from ..heads import y\nfrom tfxlm.layers.masks import z\nfrom tfxlm import XLMConfig\n"
    )
    (tmp_path / "models" / "pretrained.py").write_text(
        "from tfxlm.export import e\ndef export():\n    from tfxlm.export import e\n    from tfxlm.serve import s\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert set(forbidden_imports("layers/bad.py")) == {
        "tfxlm.models",
        "tfxlm.tokenizers",
        "tfxlm.export",
        "tfxlm.heads",
        "tfxlm.XLMConfig",
    }
    assert sorted(forbidden_imports("models/pretrained.py")) == ["tfxlm.export", "tfxlm.serve"]


def test_packages_have_no_import_cycles() -> None:
    edges: dict[str, set[str]] = {}
    for file in FILES:
        if file == "__init__.py":
            continue
        module = "tfxlm." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        late = {name for name, inside in imported_modules(file) if inside}
        edges[module] = {name for name, _ in imported_modules(file)} - late
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in edges and module not in done:
            for other in sorted(edges[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


@pytest.mark.parametrize("file", FILES)
def test_files_are_short_and_have_a_subject(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert not any("util" in part or part in ("helpers.py", "common.py", "misc.py") for part in Path(file).parts)


def code_lines(text: str) -> int:
    """The lines with code, none of which are docstrings and comments."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            documented.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in documented]
    return sum(1 for line in lines if line and not line.startswith("#"))


def test_what_counts_as_code() -> None:
    text = '"""A module."""\n\n# Why.\nx = 1\n\ndef f():\n    """One.\n\n    Two.\n    """\n    return x\n'
    assert code_lines(text) == 3


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(("models/xlm", "models/roberta_backbone"))])
def test_what_is_particular_to_a_family_is_short(file: str) -> None:
    assert code_lines((ROOT / file).read_text(encoding="utf-8")) <= MAX_CODE_OF_A_FAMILY


@pytest.mark.parametrize("file", FILES)
def test_heavy_imports_stay_where_they_belong(file: str) -> None:
    imports = [(name.split(".")[0], late) for name, late in imported_modules(file)]
    roots = {root for root, late in imports if not (late and root == "tensorflow" and file in LATE_TENSORFLOW)}
    assert not roots & {"transformers", "tf_keras"}
    # `backend` looks into torch's trees when Keras itself runs on torch; weights are read without it.
    assert "torch" not in roots or file == "backend.py"
    if "tensorflow" in roots:
        assert file.startswith(TENSORFLOW), "TensorFlow comes through tfxlm.backend"


@pytest.mark.parametrize("module", ["tfxlm", "tfxlm.client", "tfxlm.configs", "tfxlm.errors", "tfxlm.tokenizers"])
def test_light_modules_import_no_tensorflow(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "heavy = {'tensorflow', 'keras', 'torch', 'jax', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT.parent)
    assert result.returncode == 0, result.stderr
