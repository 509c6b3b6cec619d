"""Parameter and MAC counts of the published cells, counted once on the original model classes."""

import pytest

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published, published_names
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower

# name: CIFAR params, with auxiliary head, CIFAR MACs, ImageNet params, ImageNet MACs
COUNTS = {
    "NASNet": (3830950, 4288944, 603452448, 5564320, 604031616),
    "AmoebaNet": (3145078, 3603072, 488931552, 4627360, 526746624),
    "DARTS_V1": (3169414, 3645840, 500987520, 4510432, 505864704),
    "DARTS_V2": (3349342, 3825768, 528359040, 4718752, 529911552),
    "PC_DARTS_cifar": (3634678, 4111104, 556670592, 5270560, 571137408),
    "PC_DARTS_image": (3721510, 4197936, 570466944, 5342464, 581627328),
    "PDARTS": (3433798, 3910224, 532174464, 4944352, 542819328),
    "DrNAS_cifar10": (4099294, 4575720, 635135616, 5738464, 633832320),
    "DrNAS_imagenet": (4048750, 4525176, 617938560, 5726368, 624405504),
}


def test_every_published_genotype_has_counts() -> None:
    assert set(published_names()) == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_cifar_form(name: str) -> None:
    params, params_with_auxiliary, macs, _, _ = COUNTS[name]
    architecture = Architecture(CellBody(published(name), depth=20, width=36), 32, Task(10))
    assert cost(lower(architecture)).params == params
    assert cost(lower(architecture)).macs == macs
    assert cost(lower(architecture, auxiliary=True)).params == params_with_auxiliary


@pytest.mark.parametrize("name", COUNTS)
def test_imagenet_form(name: str) -> None:
    *_, params, macs = COUNTS[name]
    body = CellBody(published(name), depth=14, width=48, stem="imagenet")
    counted = cost(lower(Architecture(body, 224, Task(1000))))
    assert counted.params == params
    assert counted.macs == macs
