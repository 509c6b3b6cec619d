#!/usr/bin/env bash
# What one would guess: extra_options={"CalibMaxIntermediateOutputs": 10} of quantize_static saves memory and changes
# nothing else: it is documented to merge the ranges of 10 batches at a time and to give the same result as without.
#
# What happens: after every 10 batches the collected ranges are thrown away before they were merged. What counts is
# the last, incomplete group alone: with 16 batches and the option at 5, one batch of 16. Scales get too
# small and activations saturate. Where the option divides the number of batches nothing is left, and the call ends
# with "No data is collected."
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
#
# Why it matters: the option is for those with many calibration pictures. The more they take the more is forgotten,
# and accuracy after quantisation depends on the remainder of a division and on the order of the pictures.
#
# What to do instead: leave the option out and calibrate on fewer pictures, or call collect_data of a calibrator
# several times with a part of the batches each: that merges as it should.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, create_calibrator, quantize_static

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
print("versions:", {name: version(name) for name in ("onnxruntime", "onnx", "numpy")})

# The brightest value of batch k is 16 - k: each batch adds less than those before it.
batches = [np.linspace(0, 16 - k, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8) for k in range(16)]
kernel = np.random.default_rng(2).normal(size=(4, 3, 3, 3)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])],
    [numpy_helper.from_array(kernel, "w")],
)
source = folder / "net.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)


class Pictures(CalibrationDataReader):
    def __init__(self, chosen):
        self.left = iter(chosen)

    def get_next(self):
        batch = next(self.left, None)
        return None if batch is None else {"x": batch}


def find_brightest(option):
    """The largest value that the input's scale can show."""
    target = folder / "quantised.onnx"
    extra = {} if option is None else {"CalibMaxIntermediateOutputs": option}
    try:
        quantize_static(
            source, target, Pictures(batches), activation_type=QuantType.QUInt8, extra_options=extra
        )
    except ValueError as error:
        return str(error)
    scales = {i.name: numpy_helper.to_array(i) for i in onnx.load(target).graph.initializer}
    return round(float(scales["x_scale"]) * 255, 3)


print("16 batches of up to 16, 15, ... 1; the largest value that the quantised input can show:")
seen = {option: find_brightest(option) for option in (None, 100, 7, 5, 4)}
for option, found in seen.items():
    print(f"   CalibMaxIntermediateOutputs={option}: {found}")
calibrator = create_calibrator(source, augmented_model_path=str(folder / "augmented.onnx"))
for start in range(0, 16, 5):
    calibrator.collect_data(Pictures(batches[start : start + 5]))
parts = round(float(np.max(calibrator.compute_data().data["x"].range_value[1])), 3)
print("collect_data called with 5 batches at a time:", parts)

expected = {None: 16, 100: 16, 7: 2, 5: 1, 4: "No data is collected."}
if seen != expected or parts != 16:
    sys.exit(f"CHANGED: {seen}, {parts}, expected {expected}")
print("AS DESCRIBED: only the batches after the last full group are calibrated on")
PY
"$work/venv/bin/python" "$work/try.py" "$work"
