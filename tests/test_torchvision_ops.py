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


def test_a_plain_import_is_eased_and_loads_nothing_before() -> None:
    out = run_python(
        "import sys\n"
        "from mobinas.torchvision_ops import ease_import, operators_exist\n"
        "finders = len(sys.meta_path)\n"
        "ease_import(), ease_import()\n"
        "before = 'torch' in sys.modules, len(sys.meta_path) - finders\n"
        "import torchvision\n"
        "print(*before, operators_exist(), len(sys.meta_path) - finders, torchvision.ops.nms.__name__)"
    )
    assert out == "False 1 True 0 nms"


def test_nothing_is_done_where_torchvision_is_missing() -> None:
    out = run_python(
        "import importlib.util, sys\n"
        "from mobinas.torchvision_ops import ease_import\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'torchvision' else found(name)\n"
        "ease_import()\n"
        "sys.meta_path.append(type('Missing', (), {'find_spec': staticmethod(lambda *a: None)}))\n"
        "sys.path[:] = []\n"
        "try:\n"
        "    import torchvision\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error, 'torch' in sys.modules)"
    )
    assert out == "No module named 'torchvision' False"
