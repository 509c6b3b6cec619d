import subprocess
import sys

import torch

from mobinas.torchvision_ops import import_torchvision, operators_exist


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_models_and_datasets_import_here() -> None:
    assert hasattr(import_torchvision("torchvision.models"), "mobilenet_v3_small")
    assert hasattr(import_torchvision("torchvision.datasets"), "CIFAR10")
    assert operators_exist()


def test_schemas_are_defined_once_where_the_library_does_not_load() -> None:
    out = run_python(
        "import mobinas.torchvision_ops as ops\n"
        "import torch\n"
        "def refuse(path): raise OSError('cannot load')\n"
        "torch.ops.load_library = refuse\n"
        "before = ops.operators_exist()\n"
        "vision = ops.import_torchvision()\n"
        "print(before, ops.operators_exist(), ops.import_torchvision() is vision, len(ops._definitions))"
    )
    assert out == "False True True 1"


def test_nothing_is_defined_where_the_operators_exist() -> None:
    import_torchvision()
    library = torch.ops.torchvision.nms
    import_torchvision()
    assert torch.ops.torchvision.nms is library
