"""The measuring worker packed as one file that Python runs (a zipapp)."""

import io
import zipfile
from functools import lru_cache
from importlib import resources

# What the worker imports beside its own package, onnxruntime and NumPy.
_SOURCES = {
    "mobinas": ("errors.py", "locks.py", "runtime.py"),
    "mobinas.targets": ("__init__.py", "resources.py", "sizes.py", "spread.py"),
}
_WORKER = "predictors.worker"
_MAIN = "import sys\n\nfrom predictors.worker.answering import main\n\nsys.exit(main())\n"
_STUB = '"""Part of the measuring worker."""\n'
_ALWAYS = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def worker_archive() -> bytes:
    """The worker; the same bytes for the same sources."""
    files = {"__main__.py": _MAIN, "mobinas/__init__.py": _STUB, "predictors/__init__.py": _STUB}
    own = sorted(path.name for path in resources.files(_WORKER).iterdir() if path.name.endswith(".py"))
    for package, names in {**_SOURCES, _WORKER: own}.items():
        for name in names:
            text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
            files[f"{package.replace('.', '/')}/{name}"] = text
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ALWAYS), text)
    return b"#!/usr/bin/env python3\n" + buffer.getvalue()
