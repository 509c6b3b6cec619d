import subprocess
import sys

IMPORT = "from mobinas.torchvision_ops import import_torchvision, operators_exist\n"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_models_and_datasets_import_with_or_without_compiled_operators() -> None:
    out = run_python(
        IMPORT
        + "before = operators_exist()\n"
        + "models = import_torchvision('torchvision.models')\n"
        + "datasets = import_torchvision('torchvision.datasets')\n"
        + "names = [hasattr(models, 'mobilenet_v3_small'), hasattr(datasets, 'CIFAR10')]\n"
        + "print(before, operators_exist(), *names)"
    )
    assert out == "False True True True"


def test_schemas_suffice_where_the_library_does_not_load() -> None:
    out = run_python(
        "import mobinas.torchvision_ops as ops\n"
        "import torch\n"
        "def refuse(path): raise OSError('cannot load')\n"
        "torch.ops.load_library = refuse\n"
        "vision = ops.import_torchvision()\n"
        "print(len(ops._definitions), ops.import_torchvision() is vision, len(ops._definitions))"
    )
    assert out == "1 True 1"


def test_nothing_is_defined_where_the_operators_exist() -> None:
    out = run_python(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor a, Tensor b, float c) -> Tensor')\n"
        "library.define('qnms(Tensor a, Tensor b, float c) -> Tensor')\n"
        "import mobinas.torchvision_ops as ops\n"
        "ops.import_torchvision()\n"
        "print(len(ops._definitions))"
    )
    assert out == "0"
