#!/usr/bin/env bash
# What one would guess: MaxPool and AveragePool with the same kernel, stride, pads and ceil_mode=1 have the same
# size of output, in every runtime; and a maximum is one of the pixels.
#
# What happens: where the last window of ceil_mode would stand in the padding alone, onnxruntime (and PyTorch) leave
# it out, for both pools. OpenVINO leaves it out for AveragePool and keeps it for MaxPool, so the map is one
# column wider and the column holds -3.4e38, the lowest float32. onnx's shape inference agrees with OpenVINO for
# MaxPool at opset 12 and with onnxruntime at opset 22; OpenVINO does the same at both.
#
# Versions: openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
#
# Why it matters: a network that onnxruntime verified is deployed with OpenVINO. A ReLU behind the pool turns the
# column into zeros, so nothing looks broken; a mean over the map is then too small, and a Concat of the two pools
# is refused.
#
# What to do instead: write networks so that no window starts in the padding: ceil_mode=0 with pads that give
# the same windows; compare the shape of every pool in each runtime that is a target.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
import openvino
from onnx import TensorProto, helper

ort.set_default_logger_severity(4)
print("versions:", {name: version(name) for name in ("openvino", "onnxruntime", "onnx", "numpy")})
row = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5)


def build(opset, *nodes):
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(list(nodes), "net", [value("x", [1, 1, 1, 5])], [value("y", [1, 1, 1, None])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def pool(op, output):
    return helper.make_node(
        op, ["x"], [output], kernel_shape=[1, 2], strides=[1, 3], pads=[0, 1, 0, 1], ceil_mode=1
    )


def run_both(model):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", exact)
    return session.run(None, {"x": row})[0].ravel().tolist(), compiled({0: row})[0].ravel().tolist()


lowest = float(np.finfo(np.float32).min)
seen = {}
for opset in (12, 22):
    for op in ("MaxPool", "AveragePool"):
        model = build(opset, pool(op, "y"))
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0]
        width = inferred.type.tensor_type.shape.dim[3].dim_value
        seen[op, opset] = (*run_both(model), width)
        print(f"{op} opset {opset}: onnxruntime {seen[op, opset][0]}, OpenVINO {seen[op, opset][1]},", end="")
        print(f" inferred width {width}")
mean = helper.make_node("GlobalAveragePool", ["r"], ["y"])
seen["mean"] = run_both(build(12, pool("MaxPool", "p"), helper.make_node("Relu", ["p"], ["r"]), mean))
print("mean over ReLU over MaxPool: onnxruntime {}, OpenVINO {}".format(*seen["mean"]))

right = all(
    seen["MaxPool", opset][:2] == ([1, 4], [1, 4, lowest])
    and seen["AveragePool", opset][:2] == ([1, 3.5], [1, 3.5])
    for opset in (12, 22)
)
right &= seen["MaxPool", 12][2] == 3 and seen["MaxPool", 22][2] == 2
right &= seen["mean"][0] == [2.5] and np.allclose(seen["mean"][1], [5 / 3])
if not right:
    sys.exit(f"CHANGED: {seen}")
print("AS DESCRIBED: OpenVINO's MaxPool returns a window that lies in the padding, as the lowest float")
PY
"$work/venv/bin/python" "$work/try.py"
