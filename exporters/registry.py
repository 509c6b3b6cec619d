"""Export formats by name: each file of `exporters.formats` is one."""

import importlib
import pkgutil

import exporters.formats
from exporters.base import Exporter
from mobinas.errors import ExportError, did_you_mean


def format_names() -> tuple[str, ...]:
    """The names that `find_format` knows; nothing heavy is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(exporters.formats.__path__)))


def find_format(name: str) -> Exporter:
    """The exporter of a format.

    Args:
        name: The name of a file in `exporters/formats/`.

    Returns:
        That file's `EXPORTER`.

    Raises:
        ExportError: An unknown name.
    """
    if name not in format_names():
        raise ExportError(f"unknown export format '{name}'{did_you_mean(name, format_names())}")
    exporter: Exporter = importlib.import_module(f"exporters.formats.{name}").EXPORTER
    return exporter
