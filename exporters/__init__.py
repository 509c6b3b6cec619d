"""From a trained network to files that a device can run, verified before they may exist."""

import importlib
from typing import TYPE_CHECKING, Any

from exporters.base import Exported, Exporter, ModelFacts, Parity
from exporters.bundle import ExportBundle, export_bundle
from exporters.registry import find_format, format_names

if TYPE_CHECKING:
    from exporters.verify import compare_outputs

__all__ = [
    "ExportBundle",
    "Exported",
    "Exporter",
    "ModelFacts",
    "Parity",
    "compare_outputs",
    "export_bundle",
    "find_format",
    "format_names",
]

# What needs torch is imported at first use.
_LAZY = {"compare_outputs": "exporters.verify"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
