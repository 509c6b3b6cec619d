"""Inputs of every kind: with a batch, without one, open, fixed, of any type."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import convolved, mapped, model_of, product, turned, value, weights

from mobinas.errors import MeasurementError, MobinasError, PredictorError
from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import load_measurements, measure
from predictors.model_file import ModelFile
from predictors.models.latency import LatencyPredictor
from predictors.networks import Layout, kernels_of

SHORT: dict = {"rounds": 1, "max_rounds": 1, "block_s": 0.001}


def chw() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["u"]),
        helper.make_node("Conv", ["u", "k"], ["y"]),
    ]
    axis = numpy_helper.from_array(np.array([0]), "axis")
    inputs, outputs = [value("x", [3, 8, 8])], [value("y", [1, 4, 6, 6])]
    return model_of(nodes, inputs, outputs, [weights("k", 4, 3, 3, 3), axis])


def test_inputs_without_a_batch_are_measured_as_they_are() -> None:
    anchors = product(["batch", 3, 4, 8], [8, 5], ["batch", 3, 4, 5])
    models = [chw(), mapped([64]), mapped([]), mapped([8, 8, 3]), anchors]
    seen = measure(models, Target.local(), **SHORT)
    assert [one.resources.images.value for one in seen] == [None, None, None, None, 1]
    assert seen[0].images_per_s == (None, "no dimension is known to be a batch (x is [3, 8, 8])")
    assert seen[4].images_per_s.value == pytest.approx(1 / seen[4].median_s)
    assert [k.output[0] for k in seen[0].kernels if k.op == "Conv"] == [1]  # the model adds the axis itself


@pytest.mark.parametrize(
    ("model", "batch", "images"),
    [
        (convolved(["batch", 3, 8, 8], ["batch", 4]), 4, 4),
        (convolved([None, 3, 8, 8], [None, 4]), 4, 4),
        (convolved(["unk__6", 3, 8, 8], ["unk__7", 4]), 4, 4),
        (convolved(["b", 3, 8, 8], [1, 4]), 4, 4),
        (convolved([-1, 3, 8, 8], [-1, 4]), 4, 4),
        (convolved([4, 3, 8, 8], [4, 4]), 4, 4),
        (convolved([1, 3, 8, 8], [1, 4]), 1, 1),
        (product(["s0", 8], ["s1", 8, 8], [None, None, None]), 3, 3),
        (turned(["s0", 8], [None, None]), 1, None),
        (mapped([3, 8, 8]), 3, 3),
        (mapped([5, 8, 8]), 3, None),
        (mapped(["rows", 8]), 1, None),
        (mapped(["batch", "2*s0"]), 2, 2),
    ],
)
def test_images_are_counted_where_a_batch_is_known(
    model: onnx.ModelProto, batch: int, images: int | None
) -> None:
    found, reason = ModelFile.of(model).images(batch)
    assert found == images and bool(reason) == (images is None)


def test_a_bound_batch_counts() -> None:
    target, model = Target.fake(), convolved(["batch", 3, 8, 8], ["batch", 4])
    one, eight = (measure([model], target, bindings=b)[0] for b in ({}, {"batch": 8}))
    assert (one.resources.images.value, eight.resources.images.value) == (1, 8)
    assert eight.median_s > one.median_s


def test_a_log_keeps_the_images(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    seen = measure([chw(), sample(0)], Target.fake(), log=log)
    assert load_measurements(log) == seen


@pytest.mark.parametrize("height", [8, 24])
def test_one_rule_binds_sizes_everywhere(
    fake_predictor: LatencyPredictor, tmp_path: Path, height: int
) -> None:
    path, fixed = tmp_path / "open.onnx", convolved([1, 3, height, 8], [1, 4])
    onnx.save(convolved(["batch", 3, "height", "width"], ["batch", 4]), path)
    bindings = {"height": height, "width": 8}
    (seen,), (same,) = measure([path], Target.fake(), bindings=bindings), measure([fixed], Target.fake())
    assert seen.median_s == pytest.approx(same.median_s, rel=0.02)
    mean_s = fake_predictor.predict([path], bindings=bindings).mean_s
    np.testing.assert_array_equal(mean_s, fake_predictor.predict([fixed]).mean_s)
    np.testing.assert_array_equal(mean_s, fake_predictor.predict([ModelFile.of(path, bindings)]).mean_s)
    adapted = fake_predictor.adapt(
        [sample(k) for k in range(5)], [1e-3, 2e-3, 3e-3, 1e-3, 5e-3], target=Target()
    )
    np.testing.assert_array_equal(
        adapted.predict([path], bindings=bindings).mean_s, adapted.predict([fixed]).mean_s
    )


@pytest.mark.parametrize(
    ("model", "bindings", "text"),
    [
        (convolved(["batch", 3, "height", "width"], ["batch", 4]), {}, "--bind height=224 --bind width=224"),
        (convolved(["batch", 3, "height", 8], ["batch", 4]), {"heigth": 9}, "did you mean 'height'"),
        (convolved(["batch", 3, None, None], ["batch", 4]), {}, "no name to bind"),
        (convolved([8, 3, 8, 8], [8, 4]), {}, "fixed batch of 8"),
        (mapped([0, 3]), {}, "holds nothing"),
        (mapped(None), {}, "does not say the shape"),
        (mapped([1, 2], dtype=TensorProto.STRING), {}, r"'x' is tensor\(string\); inputs must be numeric"),
        (mapped([1, 2], dtype=TensorProto.BFLOAT16), {}, r"'x' is tensor\(bfloat16\)"),
        (
            model_of(
                [helper.make_node("SequenceLength", ["x"], ["y"])],
                [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)],
                [value("y", [], TensorProto.INT64)],
            ),
            {},
            "'x' is sequence",
        ),
    ],
)
def test_what_cannot_be_measured_cannot_be_predicted_either(
    fake_predictor: LatencyPredictor, model: onnx.ModelProto, bindings: dict[str, int], text: str
) -> None:
    for target in (Target.fake(), Target.local()):
        with pytest.raises(MeasurementError, match=f"g: .*{text}") as measuring:
            measure([model], target, bindings=bindings)
        assert "\n" not in str(measuring.value)
    with pytest.raises(PredictorError, match=f"g: .*{text}"):
        fake_predictor.predict([model], bindings=bindings)


NUMBERS = ["FLOAT", "FLOAT16", "DOUBLE", "BOOL"] + [
    f"{u}INT{bits}" for u in ("", "U") for bits in (8, 16, 32, 64)
]


def test_inputs_of_all_numbers_run() -> None:
    kinds = [getattr(TensorProto, name) for name in NUMBERS]
    nodes = [
        helper.make_node("Cast", [name], [f"{name}_out"], to=TensorProto.FLOAT if kind != 1 else 10)
        for name, kind in zip(NUMBERS, kinds, strict=True)
    ]
    inputs = [value(name, ["batch", 4], kind) for name, kind in zip(NUMBERS, kinds, strict=True)]
    outputs = [value(node.output[0], ["batch", 4], 1 if node.input[0] != "FLOAT" else 10) for node in nodes]
    (seen,) = measure([model_of(nodes, inputs, outputs)], Target(batch=2), **SHORT)
    assert len(seen.kernels) == len(NUMBERS) and {k.output for k in seen.kernels} == {(2, 4)}


def test_older_files_list_constants_among_their_inputs() -> None:
    w = weights("w", 8, 8)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    old = model_of(
        [node], [value("x", ["b", 8]), value("w", [8, 8])], [value("y", ["b", 8])], [w], ir_version=3
    )
    bare = model_of([node], [value("x", ["b", 8])], [value("y", ["b", 8])], [w], ir_version=3)
    new = model_of([node], [value("x", ["b", 8])], [value("y", ["b", 8])], [w])
    for model in (old, bare):
        assert kernels_of(model, Layout()) == kernels_of(new, Layout())
        assert ModelFile.of(model).images(1).value == 1


def test_models_without_inputs() -> None:
    constant = model_of([helper.make_node("Relu", ["w"], ["y"])], [], [value("y", [4])], [weights("w", 4)])
    (seen,) = measure([constant], Target.local(), **SHORT)
    assert seen.images_per_s == (None, "the model has no inputs")
    with pytest.raises(PredictorError, match="nothing is left to compute"):
        kernels_of(constant, Layout(block=8))


def test_operators_that_the_runtime_lacks_are_one_line() -> None:
    odd = helper.make_node("Odd", ["x"], ["y"], domain="my.ops")
    domains = [helper.make_opsetid("my.ops", 1)]
    model = model_of([odd], [value("x", ["batch", 4])], [value("y", ["batch", 4])], domains=domains)
    for ask in (lambda: measure([model], Target.local()), lambda: kernels_of(model, Layout(block=8))):
        with pytest.raises(MobinasError, match=r"g: .*has no operator my\.ops:Odd") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_inputs_are_left_as_they_were(fake_predictor: LatencyPredictor) -> None:
    model = convolved(["batch", 3, "height", "width"], ["batch", 4])
    before = model.SerializeToString(deterministic=True)
    fake_predictor.predict([model], bindings={"height": 8, "width": 8})
    measure([model], Target.fake(), bindings={"height": 8, "width": 8})
    assert model.SerializeToString(deterministic=True) == before
