"""Functions of the user, named ``package.module:function`` or ``path/file.py:function``."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mobinas.errors import MobinasError, did_you_mean
from mobinas.torchvision_ops import ease_import


def is_function_name(spec: str) -> bool:
    """Whether the text has one of the two forms."""
    where, colon, name = spec.rpartition(":")
    dotted = all(part.isidentifier() for part in where.split("."))
    return bool(colon) and name.isidentifier() and (where.endswith(".py") or dotted)


def load_function(spec: str, error: type[MobinasError]) -> Callable[..., Any]:
    """Imports a function; the working directory is searched, too.

    Raises:
        MobinasError: Of the given kind, where it cannot be imported.
    """
    where, _, name = spec.rpartition(":")
    ease_import()
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    except (Exception, SystemExit) as cause:
        raise error(f"cannot import '{where}' ({type(cause).__name__}: {cause}); check the path") from cause
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        hint = did_you_mean(name, known) if known else ""
        raise error(f"'{where}' has no function '{name}'{hint}")
    found: Callable[..., Any] = function
    return found


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mobinas_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataset classes of worker processes look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_package(name: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)
