#!/usr/bin/env bash
# What one would guess: auto_pad="SAME_UPPER" with stride 1 keeps the size of the picture, for MaxPool and
# AveragePool as for Conv, with or without dilations. Where a runtime can't, it refuses the model.
#
# What happens: onnxruntime computes the padding from the kernel without its dilation and then pools with the
# dilation, so 7 pixels become 5 and all values stand elsewhere. The model is valid, onnx's strict shape inference
# and onnx's reference say 7, and a declared output of 7 is only a warning in the log: run returns 5. The same
# attributes on a Conv are refused by onnxruntime with an error.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
#
# Why it matters: networks that come from tools with "same" padding carry auto_pad. With a global pool behind it
# the classifier still runs and returns other scores. Latency is measured on a smaller map than was designed.
#
# What to do instead: write explicit pads into the file: the total is (out - 1) * stride + (kernel - 1) * dilation
# + 1 - in; compare the shapes that a run returns with the inferred ones. (onnxruntime takes explicit pads only
# below the undilated kernel size; beyond that a Pad node has to stand in front.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

ort.set_default_logger_severity(4)
print("versions:", {name: version(name) for name in ("onnxruntime", "onnx", "numpy")})
row = np.arange(1, 8, dtype=np.float32).reshape(1, 1, 7)


def pool(op, size=7, **attributes):
    value = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, width])
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3], dilations=[2], **attributes)
    graph = helper.make_graph([node], "net", [value("x", 7)], [value("y", size)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": row})[0].ravel().tolist(), model


seen = {}
for op in ("MaxPool", "AveragePool"):
    seen[op], model = pool(op, auto_pad="SAME_UPPER")
    print(f"{op}, kernel 3, dilation 2, SAME_UPPER, 7 pixels, declared and inferred output 7")
    print("   onnxruntime:", seen[op])
    if op == "MaxPool":
        print("   reference:  ", ReferenceEvaluator(model).run(None, {"x": row})[0].ravel().tolist())
seen["explicit"], _ = pool("MaxPool", pads=[2, 2])
print("MaxPool with the same padding written out, pads=[2, 2]:", seen["explicit"])

kernel = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3], [1.0, 1.0, 1.0])
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 7])
node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2], auto_pad="SAME_UPPER")
graph = helper.make_graph([node], "net", [value("x")], [value("y")], [kernel])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
try:
    ort.InferenceSession(model.SerializeToString()).run(None, {"x": row})
    seen["Conv"] = "runs"
except Exception as error:
    seen["Conv"] = "refused" if "Dilation not supported" in str(error) else str(error)
print("Conv with the same attributes is", seen["Conv"])

expected = {
    "MaxPool": [4, 5, 6, 7, 6],
    "AveragePool": [3, 3, 4, 5, 5],
    "explicit": [3, 4, 5, 6, 7, 6, 7],
    "Conv": "refused",
}
if seen != expected:
    sys.exit(f"CHANGED: {seen}, expected {expected}")
print("AS DESCRIBED: the pools return 5 pixels where the standard, and the file itself, say 7")
PY
"$work/venv/bin/python" "$work/try.py"
