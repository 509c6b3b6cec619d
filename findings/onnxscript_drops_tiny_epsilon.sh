#!/usr/bin/env bash
# What one would guess: an optimizer of graphs removes `x + c` only where c is exactly 0, and `x * c` only
# where c is exactly 1, so a guard against a division by zero, `x / (sum + 1e-8)`, is still there afterwards.
#
# What happens: onnxscript.optimizer.optimize compares the constant with 0 and with 1 up to a tolerance
# (1e-8 and about 1e-5). `Add` of a scalar 1e-8 or 1e-12 is removed, so is `Mul` by 1.000001. A network that
# gave 0 for an empty picture gives NaN after it. The same constant with one axis, [1e-8], is kept.
# torch.onnx.export with dynamo=True runs this optimizer by default, so the exported file has lost its epsilon
# while the exporter says nothing (seen with torch 2.13.0: dynamo=False and optimize=False keep it).
#
# Versions: onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
#
# Why it matters: epsilons of 1e-8 and 1e-12 stand in normalisations, losses and attention. A comparison of the
# exported network with the trained one on ordinary pictures passes; the constant picture (a black frame, a
# dead channel) breaks in production.
#
# What to do instead: export with optimize=False, or use an epsilon of 1e-6 and above, and let the check after
# an export contain a constant, all-zero picture.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer

print("versions:", {name: version(name) for name in ("onnxscript", "onnx", "onnxruntime", "numpy")})


def build(nodes, constants, axes=()):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
    weights = [numpy_helper.from_array(np.asarray(c, np.float32), name) for name, c in constants.items()]
    weights += [numpy_helper.from_array(np.array([1]), name) for name in axes]
    graph = helper.make_graph(nodes, "net", [value("x")], [value("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def kinds(model):
    return [node.op_type for node in model.graph.node]


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel().tolist()


def normalise(epsilon):
    nodes = [
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("ReduceSum", ["size", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "epsilon"], ["guarded"]),
        helper.make_node("Div", ["x", "guarded"], ["y"]),
    ]
    return build(nodes, {"epsilon": epsilon}, axes=["axis"])


seen = {}
zero = np.zeros((1, 4), np.float32)
for epsilon in (1e-6, 1e-8, 1e-12):
    model = normalise(epsilon)
    before = run(model, zero)
    small = optimizer.optimize(model)
    after = run(small, zero)
    seen[f"x / (sum + {epsilon})"] = ("Add" in kinds(small), np.isnan(after).all())
    print(f"x / (sum + {epsilon}) of an all-zero picture: {before} before, {after} after; nodes {kinds(small)}")
one = lambda op, c: kinds(optimizer.optimize(build([helper.make_node(op, ["x", "c"], ["y"])], {"c": c})))
seen["Mul 1.000001"] = one("Mul", 1.000001)
seen["Mul 1.001"] = one("Mul", 1.001)
seen["Add [1e-8], one axis"] = one("Add", [1e-8])
print("Mul by 1.000001 becomes", seen["Mul 1.000001"], "and Mul by 1.001", seen["Mul 1.001"])
print("Add of [1e-8], the same number with one axis, stays", seen["Add [1e-8], one axis"])

expected = {
    "x / (sum + 1e-06)": (True, False),
    "x / (sum + 1e-08)": (False, True),
    "x / (sum + 1e-12)": (False, True),
    "Mul 1.000001": ["Identity"],
    "Mul 1.001": ["Mul"],
    "Add [1e-8], one axis": ["Add"],
}
if seen != expected:
    sys.exit(f"CHANGED: {seen}, expected {expected}")
print("AS DESCRIBED: the optimizer removes an epsilon of 1e-8 and below, and the network then gives NaN")
PY
"$work/venv/bin/python" "$work/try.py"
