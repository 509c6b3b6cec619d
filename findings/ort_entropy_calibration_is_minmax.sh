#!/usr/bin/env bash
# What one would guess: quantize_static(calibrate_method=CalibrationMethod.Entropy) looks for the clipping range
# that loses the least information, so it cuts away a few extreme values that MinMax keeps.
#
# What happens: the written file is the same, byte for byte. The entropy search counts into 128 bins and starts
# with a range of 128 bins, so it has exactly one candidate: the whole range. quantize_static passes on neither
# of the two numbers, and all batches are collected before the histogram is made, so the histogram does not grow
# either. One value of 1000 among a hundred thousand of at most 5 decides the scale, with both methods.
# Called directly, with num_bins=2048, the same calibrator cuts the range from 1000 to about 116.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
#
# Why it matters: people who compare "MinMax against Entropy" in a search over quantised networks compare a
# method with itself. An outlier in the calibration pictures is never cut.
#
# What to do instead: build the calibrator with create_calibrator(..., extra_options={"num_bins": 2048}) and give
# its ranges on through extra_options["TensorQuantOverrides"]; or clean the calibration pictures.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import contextlib
import io
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import create_calibrator, quantize_static

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
print("versions:", {name: version(name) for name in ("onnxruntime", "onnx", "numpy")})

generator = np.random.default_rng(7)
batches = [generator.normal(size=(8, 3, 16, 16)).clip(-5, 5).astype(np.float32) for _ in range(16)]
batches[5][0, 0, 0, 0] = 1000.0
kernel = generator.normal(size=(4, 3, 3, 3)).astype(np.float32)
nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Conv", ["r", "w"], ["y"], pads=[1, 1, 1, 1])]
graph = helper.make_graph(
    nodes,
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 16, 16])],
    [numpy_helper.from_array(kernel, "w")],
)
onnx.save(
    helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx"
)


class Pictures(CalibrationDataReader):
    def __init__(self):
        self.left = iter(batches)

    def get_next(self):
        batch = next(self.left, None)
        return None if batch is None else {"x": batch}


def quantise(method):
    target = folder / f"{method.name}.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            folder / "net.onnx",
            target,
            Pictures(),
            quant_format=QuantFormat.QDQ,
            calibrate_method=method,
            activation_type=QuantType.QUInt8,
        )
    scales = {i.name: numpy_helper.to_array(i) for i in onnx.load(target).graph.initializer}
    return target.read_bytes(), float(scales["r_scale"])


def find_range(bins):
    calibrator = create_calibrator(
        folder / "net.onnx",
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.Entropy,
        extra_options={"num_bins": bins},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator.collect_data(Pictures())
        return float(calibrator.compute_data().data["r"].range_value[1])


minmax, minmax_scale = quantise(CalibrationMethod.MinMax)
entropy, entropy_scale = quantise(CalibrationMethod.Entropy)
default, fine = find_range(128), find_range(2048)
print(f"scale of the activation: MinMax {minmax_scale:.6f}, Entropy {entropy_scale:.6f}")
print("the two files are equal byte for byte:", minmax == entropy)
print(f"upper end of the range that Entropy finds: {default:.3f} with 128 bins, {fine:.3f} with 2048 bins")

if not (minmax == entropy and abs(minmax_scale - 1000 / 255) < 1e-5 and default == 1000 and fine < 200):
    sys.exit("CHANGED: Entropy through quantize_static is no longer MinMax")
print("AS DESCRIBED: CalibrationMethod.Entropy through quantize_static writes the file of MinMax")
PY
"$work/venv/bin/python" "$work/try.py" "$work"
