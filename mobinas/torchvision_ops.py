"""Imports torchvision where its compiled operators cannot be loaded.

Wheels from PyPI are linked against the CUDA build of torch. Beside a CPU-only torch their library does not
load, and ``import torchvision`` fails with ``operator torchvision::nms does not exist``, because it registers
shape functions for operators that nobody defined. Data sets, transforms and models need none of them: schemas
suffice.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# The schemas live as long as the Library that defined them.
_definitions: list[torch.library.Library] = []


def import_torchvision(module: str = "torchvision") -> ModuleType:
    """Imports torchvision or one of its modules; the only road by which this project does.

    Args:
        module: ``torchvision``, ``torchvision.datasets``, ``torchvision.models`` ...
    """
    if not operators_exist() and not _load_library():
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _definitions.append(library)
    return importlib.import_module(module)


def operators_exist() -> bool:
    """Whether this process knows ``torchvision::nms``, from the library or from here."""
    return hasattr(torch.ops.torchvision, "nms")


def _load_library() -> bool:
    """Loads the compiled operators as torchvision itself would; defining them first would make that fail."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("_C*.*")):
            try:
                torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
            except (ImportError, OSError):
                continue
            return operators_exist()
    return False
