"""Contract tests that every op, block, method, sampler, runner and export format passes, for extensions too.

A test suite subclasses a contract and says what it is about, as a pytest fixture::

    class TestMySampler(SamplerContract):
        @pytest.fixture
        def sampler(self) -> str:
            return "my_sampler"

Here they run over everything that is registered (``tests/contracts/``). For values in the messages of their
assertions, call ``pytest.register_assert_rewrite("mobinas.testing")`` in a conftest.py.
"""

import copy
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from exporters.base import RELATIVE_TOLERANCE, Exporter
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.blocks import BLOCKS
from mobinas.arch.ops import OPS
from mobinas.arch.space import SearchSpace
from mobinas.arch.stages import Stage, StageBody
from mobinas.errors import ExportError, TrainingError
from mobinas.graph.cost import cost
from mobinas.graph.draw_stages import draw_stages
from mobinas.graph.layers import BatchNorm2d, Graph
from mobinas.graph.lowering import lower, lower_op
from mobinas.graph.onnx_writer import write_onnx
from mobinas.metrics.objective import Objective
from mobinas.nets.module import GraphModule
from mobinas.progress import silent
from mobinas.runtime import open_session, run_batches
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.study import pareto_search
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.methods import METHODS
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.targets.target import Target
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split
from predictors.kernels import kernel_of
from predictors.layout import calls_of_graph
from predictors.runners.base import ModelFile, Runner
from predictors.steps import program_of
from predictors.worker.measuring import MeasuringPlan

__all__ = [
    "BlockContract",
    "ExporterContract",
    "MethodContract",
    "OpContract",
    "RunnerContract",
    "SamplerContract",
]

SPACE = SearchSpace(
    Task(10, 1), (8, 16), (3,), (4,), (("none", "skip_connect", "conv_3x3", "max_pool_3x3"),), nodes=2
)


def sample(seed: int) -> Architecture:
    """An architecture of a small space."""
    return SPACE.sample(random.Random(seed))


class OpContract:
    """An entry of `mobinas.arch.ops.OPS`; fixture ``op``: its name."""

    def test_it_keeps_the_channels_and_divides_the_map(self, op: str) -> None:
        """At both strides, in networks and in supernets."""
        for stride, search in ((1, False), (2, False), (1, True), (2, True)):
            graph = lower_op(op, (4, 8, 12), stride=stride, search=search)
            assert graph.nodes[graph.outputs[0]].shape == (4, 8 // stride, 12 // stride)
            norms = [node.layer for node in graph.nodes if isinstance(node.layer, BatchNorm2d)]
            assert all(norm.affine != search for norm in norms)

    def test_torch_and_onnx_runtime_compute_the_same(self, op: str) -> None:
        """From one lowering, with random weights and statistics."""
        for stride in (1, 2):
            graph = lower_op(op, (6, 8, 8), stride=stride)
            module = GraphModule(graph, seed=0)
            images = torch.randn(3, 6, 8, 8, generator=torch.Generator().manual_seed(1))
            module(images)  # moves the statistics of batch normalisation
            with torch.no_grad():
                expected = module.eval()(images).numpy()
            state = {name.removeprefix("layers."): t.numpy() for name, t in module.state_dict().items()}
            model = write_onnx(graph, state)
            onnx.checker.check_model(model, full_check=True)
            session = open_session(model, Target.local(), any_batch=True)
            found = run_batches(session, images.numpy())
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(np.abs(expected).max(), 1e-6))

    def test_its_parameters_are_those_of_the_torch_module(self, op: str) -> None:
        """The cost model counts what would be trained."""
        graph = lower_op(op, (6, 8, 8), stride=1)
        assert cost(graph).params == sum(p.numel() for p in GraphModule(graph, seed=0).parameters())

    def test_the_latency_predictor_knows_its_kernels(self, op: str) -> None:
        """An op without kernels costs nothing on any device, which only doing nothing does."""
        calls = calls_of_graph(lower_op(op, (6, 8, 8), stride=1), 1)
        assert calls or op == "skip_connect"
        assert OPS[op].name == op


class BlockContract:
    """An entry of `mobinas.arch.blocks.BLOCKS`; fixture ``block``: its name."""

    def stages(self, block: str) -> Iterator[Stage]:
        """Stages of two of it: all kernels and expansions, strides, widths, squeeze-excitation."""
        of = BLOCKS[block]
        sizes = itertools.product(of.kernels or (1,), of.expansions or (1,), (1, 2), (8, 12), (False, True))
        for kernel, expansion, stride, width, se in sizes:
            if (of.can_stride or stride == 1) and (of.can_excite or not se) and (of.steps or width == 8):
                yield Stage(block, width, 2, stride, kernel, expansion, se)

    def graphs(self, block: str) -> Iterator[Graph]:
        """A network of each of the stages."""
        for stage in self.stages(block):
            body = StageBody("3x3", 8, (stage,), activation="hardswish" if stage.se else "relu")
            yield lower(Architecture(body, 8, Task(5)))

    def test_it_brings_the_map_to_its_channels_and_size(self, block: str) -> None:
        """And nothing else stands between stem and classifier; what it costs is what is trained, merged."""
        for graph in self.graphs(block):
            pool = next(node for node in graph.nodes if node.name == "head/pool")
            channels, height, width = graph.nodes[pool.inputs[0]].shape
            assert channels in (8, 12) and height == width and height in (4, 8)
            inside = [node for node in graph.nodes if not node.name.startswith(("input", "stem0", "head/"))]
            assert all(node.name.split("/")[2] == block for node in inside)
            assert bool(inside) == bool(BLOCKS[block].steps)
            merged = GraphModule(graph.merged(), initialise=False)
            assert cost(graph).params == sum(p.numel() for p in merged.parameters())

    def test_torch_and_onnx_runtime_compute_the_same(self, block: str) -> None:
        """From one lowering, with random weights and statistics."""
        graphs = list(self.graphs(block))
        for graph in (*graphs[:2], *graphs[-2:]):
            module = GraphModule(graph, seed=0)
            images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
            module(images)  # moves the statistics of batch normalisation
            expected = module.eval()(images).detach().numpy()  # with gradients, layer by layer
            state = {name.removeprefix("layers."): t.numpy() for name, t in module.state_dict().items()}
            model = write_onnx(graph, state)
            onnx.checker.check_model(model, full_check=True)
            found = run_batches(open_session(model, Target.local(), any_batch=True), images.numpy())
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    def test_the_latency_predictor_knows_its_kernels(self, block: str) -> None:
        """In blocks of channels and without; the same work as the cost counter's where nothing is padded."""
        for graph in self.graphs(block):
            kernels = [kernel_of(call) for call in calls_of_graph(graph, 1)]
            assert not any(kernel.kind == "other" for kernel in kernels)
            assert sum(kernel.work for kernel in kernels if kernel.weight_bytes) == cost(graph).macs
            assert calls_of_graph(graph, 16)
            program_of(graph)

    def test_it_can_be_drawn(self, block: str) -> None:
        """By its name."""
        stage = next(self.stages(block))
        body = StageBody("3x3", 8, (stage,))
        boxes = [box for card in draw_stages(Architecture(body, 8, Task(5))).cards for box in card.boxes]
        assert [box.block for box in boxes if box.block] == [block] * (2 if BLOCKS[block].steps else 0)


class MethodContract:
    """A one-shot method; fixture ``method``: its name in `mobinas.supernet.methods.METHODS`."""

    def search(self, method: str) -> BilevelSearch:
        """One of the method's searches, at its start."""
        return BilevelSearch(SPACE, self.images(), self.settings(method), 0)

    def images(self) -> Splits:
        """A few digits."""
        return split(load_data("digits", limit=400), seed=0)

    def settings(self, method: str, epochs: int | None = None) -> MethodSettings:
        """Of a search of seconds; by default 2 epochs, or more where the method has more stages."""
        epochs = epochs or max(2, len(METHODS[method].stages))
        return MethodSettings(method=method, epochs=epochs, batch_size=64, warm_up_share=0.0)

    def test_every_parameter_is_in_one_optimiser(self, method: str) -> None:
        """None in both, none in neither."""
        search = self.search(method)
        weights, alphas = (
            {id(p) for group in (optimiser.param_groups if optimiser else ()) for p in group["params"]}
            for optimiser in (search.stage.weight_optimiser, search.stage.alpha_optimiser)
        )
        assert not weights & alphas
        assert weights | alphas == {id(p) for p in search.network.parameters()}

    def test_each_step_moves_its_own_parameters_and_leaves_no_gradient(self, method: str) -> None:
        """The architecture step moves no weight, the weight step no architecture parameter."""
        search = self.search(method)
        network = search.network
        alphas, weights = list(network.relaxation.parameters()), list(network.weight_parameters())
        old_alphas, old_weights = copy.deepcopy((alphas, weights))
        if alphas:
            search.alpha_step(torch.arange(64))
            assert all(p.grad is None for p in network.parameters())
            assert all(map(torch.equal, old_weights, weights))
            assert not any(map(torch.equal, old_alphas, alphas))
        old_alphas = copy.deepcopy(alphas)
        search.weight_step(torch.arange(64), 0.1)
        assert all(p.grad is None for p in network.parameters())
        assert all(map(torch.equal, old_alphas, alphas))
        assert not all(map(torch.equal, old_weights, weights))

    def test_it_learns_and_reports(self, method: str) -> None:
        """The loss falls along a stage; each epoch is told once; the genotype is one of the space."""
        told: list[int] = []
        settings = self.settings(method, 4 * len(METHODS[method].stages))
        result = search_supernet(
            SPACE, self.images(), settings, seed=0, progress=lambda done, _total, _text: told.append(done)
        )
        assert told == list(range(1, settings.epochs + 1))
        assert result.history[-1].weight_loss < result.history[-4].weight_loss
        assert SPACE.contains(Architecture(CellBody(result.genotype, 3, 4), 8, SPACE.task))
        assert all(0 <= r.alpha_entropy <= 1 and 0 <= (r.skip_share or 0) <= 1 for r in result.history)

    def test_a_resumed_search_ends_with_the_same_bits(self, method: str, tmp_path: Path) -> None:
        """Stopped within each epoch from the second on."""
        path, settings, images = tmp_path / "search.pt", self.settings(method), self.images()
        whole = search_supernet(SPACE, images, settings, seed=0)
        stops = list(range(2, settings.epochs + 1))

        def stop(done: int, _total: int, _text: str) -> None:
            if done in stops:
                stops.remove(done)
                raise InterruptedError

        while stops:
            try:
                search_supernet(SPACE, images, settings, seed=0, progress=stop, checkpoint=path)
            except InterruptedError:
                assert path.exists()
            else:
                raise AssertionError("the search was not interrupted")
        try:
            search_supernet(SPACE, images, settings, seed=1, checkpoint=path)
        except TrainingError as error:
            assert "another seed" in str(error)
        else:
            raise AssertionError("the checkpoint of another search was taken")
        again = search_supernet(SPACE, images, settings, seed=0, checkpoint=path)
        assert again.probabilities == whole.probabilities
        assert again.genotype == whole.genotype
        losses = [[record.weight_loss for record in result.history] for result in (whole, again)]
        assert losses[0] == losses[1]


class SamplerContract:
    """A sampler of the front search; fixture ``sampler``: its name."""

    space = ChoiceSpace({"a": (0, 1, 2, 3), "b": (0.0, 0.5, 1.0), "c": ("x", "y"), "d": ("only",)})
    objectives = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))

    def evaluate(self, choices: Choices) -> dict[str, float]:
        """A problem whose front is known: the more of ``a``, the slower and the more accurate."""
        a, b = float(choices["a"] or 0), float(choices["b"] or 0)
        return {
            "accuracy": 0.2 * a + 0.1 * (choices["c"] == "y") - 0.05 * b,
            "latency_s": 0.001 * (1 + a + b),
        }

    def search(self, sampler: str, n_trials: int, seed: int = 0, **options: Any) -> Any:
        """A search of that problem."""
        return pareto_search(
            self.space,
            self.evaluate,
            self.objectives,
            n_trials=n_trials,
            sampler=sampler,
            seed=seed,
            n_start=4,
            **options,
        )

    def test_the_seed_decides(self, sampler: str) -> None:
        """The same one gives the same search, another one another."""
        runs = [
            [e.candidate.digest for e in self.search(sampler, 12, seed=seed).history] for seed in (1, 1, 2)
        ]
        assert runs[0] == runs[1] != runs[2]

    def test_nothing_is_evaluated_twice_and_the_front_is_found(self, sampler: str) -> None:
        """A space of 24 candidates ends after 24 evaluations, whatever was asked."""
        result = self.search(sampler, 60)
        digests = [e.candidate.digest for e in result.history]
        assert len(digests) == len(set(digests)) == 24
        assert {(e.candidate["a"], e.candidate["b"], e.candidate["c"]) for e in result.members} == {
            (a, 0.0, "y") for a in range(4)
        }

    def test_a_resumed_search_ends_like_an_uninterrupted_one(self, sampler: str, tmp_path: Path) -> None:
        """In parts on one study file."""
        whole = self.search(sampler, 16)
        for part in (1, 5, 11, 16):
            resumed = self.search(sampler, part, storage=tmp_path / "study")
        assert [e.candidate for e in resumed.history] == [e.candidate for e in whole.history]
        assert resumed.front == whole.front


class ExporterContract:
    """An export format; fixture ``exporter``: the `Exporter`."""

    shape = (1, 16, 16)

    def module(self, seed: int = 0) -> GraphModule:
        """A small network with statistics of its own."""
        module = GraphModule(lower(sample(seed)), seed=seed)
        shape = (8, *module.graph.input_shape)
        module(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
        return module

    def export(self, exporter: Exporter, module: GraphModule, path: Path) -> torch.Tensor:
        """Writes the file and gives images to compare on."""
        shape = module.graph.input_shape
        exporter.requires(module, shape)
        exported = exporter.export(module, path, image_shape=shape, metadata={"mobinas.mean": "[0.5]"})
        assert exported.path == path and path.is_file() and exported.outputs == 10
        assert exported.params == sum(p.numel() for p in module.parameters())
        return torch.randn((16, *shape), generator=torch.Generator().manual_seed(9))

    def test_the_file_answers_like_the_network(self, exporter: Exporter, tmp_path: Path) -> None:
        """On each of several random networks."""
        for seed in range(3):
            module, path = self.module(seed), tmp_path / f"{seed}-{exporter.file_name}"
            images = self.export(exporter, module, path)
            parity = exporter.ensures(module.eval(), path, images, RELATIVE_TOLERANCE)
            assert parity.n == 16 and parity.max_rel_error <= RELATIVE_TOLERANCE

    def test_the_network_is_left_as_it_was(self, exporter: Exporter, tmp_path: Path) -> None:
        """Its weights, its statistics and its mode."""
        module = self.module().train()
        before = copy.deepcopy(module.state_dict())
        self.export(exporter, module, tmp_path / exporter.file_name)
        assert module.training
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())

    def test_the_file_of_another_network_is_refused(self, exporter: Exporter, tmp_path: Path) -> None:
        """As is one whose weights were changed afterwards."""
        module, path = self.module(), tmp_path / exporter.file_name
        images = self.export(exporter, module, path)
        with torch.no_grad():
            next(iter(module.parameters())).mul_(1.5)
        try:
            exporter.ensures(module.eval(), path, images, RELATIVE_TOLERANCE)
        except ExportError:
            return
        raise AssertionError("the file of a network with other weights was accepted")


class RunnerContract:
    """A runner; fixtures ``runner``: the `Runner`, ``target``: one that it can reach."""

    plan = MeasuringPlan(rounds=3, block_s=0.002, seed=0)

    def test_every_model_gets_one_measurement_of_its_own(self, runner: Runner, target: Target) -> None:
        """Under its digests, with raw samples in as many blocks as asked, on a named machine."""
        models = [ModelFile.of(sample(seed)) for seed in range(3)]
        results: dict[int, Any] = {}

        def keep(i: int, measurement: Any) -> None:
            assert i not in results
            results[i] = measurement

        runner.measure(models, target, self.plan, keep, silent)
        assert sorted(results) == [0, 1, 2]
        for i, found in results.items():
            assert found.structure_digest == models[i].structure_digest
            assert found.file_sha256 == models[i].file_sha256
            assert found.target_fingerprint == target.fingerprint
            assert (found.host, found.runtime_version) == (runner.host, runner.runtime_version)
            assert len(found.blocks_s) >= self.plan.rounds
            assert all(seconds > 0 for seconds in found.samples_s)
            assert found.interval_s[0] <= found.median_s <= found.interval_s[1]

    def test_no_model_is_no_work(self, runner: Runner, target: Target) -> None:
        """And no error."""
        runner.measure([], target, self.plan, lambda _i, _found: None, silent)
