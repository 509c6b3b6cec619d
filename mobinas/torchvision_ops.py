"""Imports torchvision where its compiled operators cannot be loaded.

Wheels from PyPI are linked against the CUDA build of torch. Beside a CPU-only torch their library does not
load, and ``import torchvision`` fails with ``operator torchvision::nms does not exist``, because it registers
shape functions for operators that nobody defined. Data sets, transforms and models need none of them: schemas
suffice.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# The schemas live as long as the Library that defined them.
_definitions: "list[torch.library.Library]" = []


def import_torchvision(module: str = "torchvision") -> ModuleType:
    """Imports torchvision or one of its modules; the only road by which this project does.

    Args:
        module: ``torchvision``, ``torchvision.datasets``, ``torchvision.models`` ...
    """
    ease_import()
    return importlib.import_module(module)


def ease_import() -> None:
    """From now on a plain ``import torchvision`` works in this process, also in a user's code.

    Nothing is loaded before somebody imports it, and an import that would work by itself goes as it would.
    """
    if "torchvision" not in sys.modules and not any(
        isinstance(finder, _Preparing) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Preparing())


class _Preparing(MetaPathFinder):
    """Finds nothing; sees to the operators when torchvision is about to be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Always None, so that the import goes on by the usual finders."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            if importlib.util.find_spec("torchvision") is not None:
                _provide_operators()
        return None


def _provide_operators() -> None:
    import torch

    if operators_exist() or _load_library():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _definitions.append(library)


def operators_exist() -> bool:
    """Whether this process knows ``torchvision::nms``, from the library or from here."""
    import torch

    return hasattr(torch.ops.torchvision, "nms")


def _load_library() -> bool:
    """Loads the compiled operators as torchvision itself would; defining them first would make that fail."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("_C*.*")):
            try:
                torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
            except (ImportError, OSError):
                continue
            return operators_exist()
    return False
