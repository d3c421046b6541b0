"""What runs on other devices needs the standard library, NumPy and a runtime, and an old Python will do."""

import ast
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from stdc_search.latency.remote import program

ROOT = Path(__file__).parents[2] / "stdc_search"
FILES = [ROOT / "errors.py", ROOT / "storage.py", *sorted((ROOT / "device").glob("*.py"))]
ALLOWED = {"numpy", "onnxruntime", "openvino", "ncnn", "stdc_search", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_of_the_device_need_python_3_9_numpy_and_a_runtime(path):
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {name.split(".")[0] for name in names} <= ALLOWED
    ours = {name for name in names if name.startswith("stdc_search")}
    assert {name.split(".")[1] for name in ours} <= {"device", "errors", "storage"}


def test_the_program_holds_these_files():
    with zipfile.ZipFile(BytesIO(program())) as archive:
        assert {Path(name).name for name in archive.namelist()} == {path.name for path in FILES}
