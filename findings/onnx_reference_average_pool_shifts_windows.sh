#!/usr/bin/env bash
# What one would guess: where onnxruntime and onnx's own ReferenceEvaluator differ, the reference is right; and
# ceil_mode=1 can only change the last window, since it adds one behind the others.
#
# What happens: for AveragePool with ceil_mode=1 the reference spreads the missing pixels over both ends: where two
# or more are missing, half of them are put before the first pixel. All windows shift and every value is
# wrong, the first included. Rows 1..7 with kernel 3 and stride 3: onnxruntime gives 2, 5, 7, and the reference
# gives 1.5, 4, 6. With one missing pixel, or without ceil_mode, the two agree, and so does MaxPool, always.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
#
# Why it matters: the reference is what an exporter's tests compare with; a correct writer of AveragePool fails
# them, and one that is bent to pass gives wrong networks. Nothing at opset 11, 19 or 22 differs in this.
#
# What to do instead: compare pools with ceil_mode with a second runtime or with a sum written by hand.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("versions:", {name: version(name) for name in ("onnx", "onnxruntime", "numpy")})


def both(op, width, kernel, stride, opset=19, ceil=1):
    row = np.arange(1, width + 1, dtype=np.float32).reshape(1, 1, width)
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[kernel], strides=[stride], ceil_mode=ceil)
    graph = helper.make_graph([node], "net", [value("x", [1, 1, width])], [value("y", [1, 1, None])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = session.run(None, {"x": row})[0].ravel().tolist()
    return runs, ReferenceEvaluator(model).run(None, {"x": row})[0].ravel().tolist()


def by_hand(width, kernel, stride):
    row = np.arange(1, width + 1)
    return [float(row[start : start + kernel].mean()) for start in range(0, width, stride)]


wrong = True
for opset in (11, 19, 22):
    runtime, reference = both("AveragePool", 7, 3, 3, opset)
    print(f"AveragePool opset {opset}, 1..7, kernel 3, stride 3: onnxruntime {runtime}, reference {reference}")
    wrong &= runtime == by_hand(7, 3, 3) == [2, 5, 7] and reference == [1.5, 4, 6]
agree = []
for name, found in {
    "one missing pixel (1..8)": both("AveragePool", 8, 3, 3),
    "no ceil_mode": both("AveragePool", 7, 3, 3, ceil=0),
    "MaxPool": both("MaxPool", 7, 3, 3),
}.items():
    print(f"{name}: onnxruntime {found[0]}, reference {found[1]}")
    agree.append(np.allclose(*found))
if not (wrong and all(agree)):
    sys.exit("CHANGED: the reference's AveragePool no longer shifts its windows")
print("AS DESCRIBED: the reference shifts all windows where ceil_mode has two or more pixels too few")
PY
"$work/venv/bin/python" "$work/try.py"
