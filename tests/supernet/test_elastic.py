import dataclasses
import random
from pathlib import Path

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.errors import ArchitectureError, ConfigError, TrainingError
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.supernet.elastic import ElasticSupernet, covering_architecture, leading
from mobinas.supernet.elastic_training import (
    ElasticSettings,
    _ElasticRun,
    train_elastic,
    with_size,
)
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8, 12), (2, 3, 4, 5), (2, 4, 8), (OPS,), nodes=3)
UNIFORM = Probabilities.uniform(OPS, 3)
QUICK = ElasticSettings(epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=500), seed=0)


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
def test_names_and_full_shapes_agree_over_all_depths(stem: str) -> None:
    space = SearchSpace(Task(10, 3), (32,), tuple(range(2, 9)), (8,), (OPS,), nodes=3, stem=stem)
    seen: dict[str, torch.Size] = {}
    for depth in space.depths:
        module = GraphModule(lower(covering_architecture(space, depth)))
        for name, parameter in module.layers.named_parameters():
            assert seen.setdefault(name, parameter.shape) == parameter.shape


def test_every_architecture_finds_weights_of_its_own_shapes() -> None:
    supernet, rng = ElasticSupernet(SPACE, 0), random.Random(0)
    for _ in range(60):
        architecture = SPACE.sample(rng)
        expected = dict(GraphModule(lower(architecture)).layers.named_parameters())
        found = supernet.slices(architecture)
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


def test_leading_takes_the_first_entries_of_each_segment() -> None:
    tensor = torch.arange(12).view(1, 12)
    assert leading(tensor, 1, (4, 4, 4), (2, 2, 2)).tolist() == [[0, 1, 4, 5, 8, 9]]
    assert leading(tensor, 1, (12,), (3,)).tolist() == [[0, 1, 2]]
    assert leading(tensor, 1, (4, 8), (4, 8)) is tensor


def test_a_concatenation_is_sliced_per_source_node() -> None:
    supernet = ElasticSupernet(SPACE, 0)
    architecture = SPACE.build(with_size(UNIFORM.chooser(random.Random(0)), max))
    narrow = dataclasses.replace(architecture, body=dataclasses.replace(architecture.body, width=2))
    found = supernet.slices(narrow)["head/linear.weight"]
    full = supernet.parameters["head/linear.weight"]
    nodes = full.shape[1] // 3
    expected = torch.cat([full[:, k * nodes : k * nodes + nodes // 4] for k in range(3)], dim=1)
    assert torch.equal(found, expected)
    name = next(k for k in supernet.slices(narrow) if k.endswith("conv.weight") and "match_cell" in k)
    full = supernet.parameters[name]
    channels = full.shape[1] // 3
    rows = full[: full.shape[0] // 4]
    expected = torch.cat([rows[:, k * channels : k * channels + channels // 4] for k in range(3)], dim=1)
    assert torch.equal(supernet.slices(narrow)[name], expected)


def test_the_full_width_is_a_module_with_the_same_weights() -> None:
    supernet = ElasticSupernet(SPACE, 0)
    architecture = SPACE.build(with_size(UNIFORM.chooser(random.Random(3)), max))
    module = GraphModule(lower(architecture)).train()
    with torch.no_grad():
        for name, parameter in module.layers.named_parameters():
            parameter.copy_(supernet.parameters[name])
    images = torch.randn(5, 1, 12, 12)
    logits = supernet.path(architecture, images)
    torch.testing.assert_close(logits, module(images))
    logits.square().sum().backward()
    module(images).square().sum().backward()
    for name, parameter in module.layers.named_parameters():
        torch.testing.assert_close(supernet.parameters[name].grad, parameter.grad, rtol=1e-3, atol=1e-4)


def test_a_narrow_path_reaches_its_slice_alone() -> None:
    supernet = ElasticSupernet(SPACE, 0)
    architecture = SPACE.build(with_size(UNIFORM.chooser(random.Random(1)), min))
    supernet.path(architecture, torch.randn(4, 1, 8, 8)).square().sum().backward()
    gradient = supernet.parameters["stem0/conv.weight"].grad
    assert gradient[:6].any() and not gradient[6:].any()
    held = {name for name, p in supernet.parameters.items() if p.grad is not None}
    assert held == set(supernet.slices(architecture))


def test_subnets_are_copies_and_leave_the_global_generator_alone() -> None:
    supernet, architecture = ElasticSupernet(SPACE, 0), SPACE.sample(random.Random(0))
    before = torch.random.get_rng_state()
    subnet = supernet.subnet(architecture)
    supernet.path(
        architecture, torch.randn(2, 1, *(architecture.resolution,) * 2, generator=torch.Generator())
    )
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.no_grad():
        subnet.layers["stem0/conv"].weight.zero_()
    assert supernet.parameters["stem0/conv.weight"].any()


def test_judging_is_deterministic_and_changes_nothing(digits: Splits) -> None:
    supernet, architecture = ElasticSupernet(SPACE, 0), SPACE.sample(random.Random(5))
    before = {k: v.clone() for k, v in supernet.state().items()}
    found = [
        supernet.judge(architecture, digits.training, digits.select, normalisation=digits.normalisation)
        for _ in range(2)
    ]
    assert found[0] == found[1] and found[0].n == len(digits.select)
    assert all(torch.equal(v, before[k]) for k, v in supernet.state().items())


def test_paths_hold_the_sandwich() -> None:
    supernet = ElasticSupernet(SPACE, 0)
    run = _ElasticRun(
        supernet,
        None,
        UNIFORM,
        ElasticSettings(random_paths=2, sandwich_every=2),
        0,
    )
    first, second = (list(run.paths(random.Random(0), step)) for step in range(2))
    assert [len(first), len(second)] == [4, 2]
    assert (first[0].resolution, first[0].body.depth, first[0].body.width) == (12, 5, 8)
    assert (first[-1].resolution, first[-1].body.depth, first[-1].body.width) == (8, 2, 2)
    assert all(SPACE.contains(path) for path in first + second)


@pytest.mark.slow
def test_training_beats_chance_by_far() -> None:
    splits = split(load_data("digits"), seed=0)
    supernet, rng = ElasticSupernet(SPACE, 0), random.Random(0)
    row = [0.0, 0.1, 0.6, 0.1, 0.1, 0.1]
    likely = Probabilities.of(OPS, [row] * 9, [row] * 9, [1] * 9, [1] * 9)
    losses = train_elastic(supernet, splits, likely, ElasticSettings(epochs=40), seed=0)
    assert losses[-1] < losses[0]
    judged = [
        supernet.judge(
            SPACE.build(with_size(likely.chooser(rng), max)),
            splits.training,
            splits.select,
            normalisation=splits.normalisation,
        )
        .share("accuracy")
        .x
        for _ in range(4)
    ]
    assert sum(judged) / 4 > 0.3


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_same_bits(digits: Splits, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole, part, path = ElasticSupernet(SPACE, 0), ElasticSupernet(SPACE, 0), tmp_path / "elastic.pt"
    expected = train_elastic(whole, digits, UNIFORM, QUICK, seed=0)

    def stop(done: int, total: int, text: str) -> None:
        # Progress comes before the checkpoint of its epoch; the second one finds the first on disk.
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_elastic(part, digits, UNIFORM, QUICK, seed=0, progress=stop, checkpoint=path)
    again = ElasticSupernet(SPACE, 0)
    assert train_elastic(again, digits, UNIFORM, QUICK, seed=0, checkpoint=path) == expected
    assert all(torch.equal(v, again.state()[k]) for k, v in whole.state().items())
    with pytest.raises(TrainingError, match="another seed"):
        train_elastic(again, digits, UNIFORM, QUICK, seed=1, checkpoint=path)


def test_save_and_load(tmp_path) -> None:  # type: ignore[no-untyped-def]
    supernet, path = ElasticSupernet(SPACE, 3), tmp_path / "weights.pt"
    supernet.save(path)
    loaded = ElasticSupernet.load(path, SPACE)
    assert all(torch.equal(v, loaded.state()[k]) for k, v in supernet.state().items())
    with pytest.raises(TrainingError, match="another space"):
        ElasticSupernet.load(path, dataclasses.replace(SPACE, depths=(3,)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="no whole"):
        ElasticSupernet.load(path, SPACE)


def test_bad_input(digits: Splits) -> None:
    supernet = ElasticSupernet(SPACE, 0)
    with pytest.raises(TrainingError, match="set it to"):
        train_elastic(supernet, digits, UNIFORM, ElasticSettings(batch_size=5000), seed=0)
    with pytest.raises(ConfigError, match="share"):
        ElasticSettings(uniform=2)
    other = dataclasses.replace(SPACE, op_sets=(("conv_5x5",),))
    with pytest.raises(ArchitectureError, match="conv_5x5"):
        supernet.slices(other.sample(random.Random(0)))


def test_a_loss_that_is_not_finite_stops_with_the_reason(digits: Splits) -> None:
    supernet = ElasticSupernet(SPACE, 0)
    with torch.no_grad():
        supernet.parameters["head/linear.bias"].fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        train_elastic(supernet, digits, UNIFORM, QUICK, seed=0)


def test_segments_sum_to_the_channels_for_grey_images_too() -> None:
    rng = random.Random(0)
    for _ in range(20):
        assert all(sum(n.segments) == n.shape[0] for n in lower(SPACE.sample(rng)).nodes)


def test_after_out_of_memory_the_training_goes_on_with_smaller_batches(
    digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, step = tmp_path / "elastic.pt", _ElasticRun.step

    def greedy(run: _ElasticRun, positions: torch.Tensor, *rest: object, **more: object) -> float:
        if run.losses and len(positions) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(run, positions, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(_ElasticRun, "step", greedy)
    supernet = ElasticSupernet(SPACE, 0)
    with pytest.raises(TrainingError, match=r"halve supernet\.elastic_batch_size \(now 64\)"):
        train_elastic(supernet, digits, UNIFORM, QUICK, seed=0, checkpoint=path)
    smaller = dataclasses.replace(QUICK, batch_size=32)
    assert len(train_elastic(supernet, digits, UNIFORM, smaller, seed=0, checkpoint=path)) == 2
