"""Opens the batch of a model that was traced with a fixed one."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

# A batch that hardly any network has as a number of its own, so that its traces can be told.
TRACED_BATCH = 8191


def open_batch(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with a symbolic batch, or None where the traced one has sunk into its arithmetic.

    torch.onnx takes half the time with a fixed batch (10 instead of 20 s of CPU time for mobilenet_v3_small).
    The number then stands in the shapes of inputs and outputs, and as the leading size in Reshape, where -1
    says the same. Anywhere else it is left to an export with symbolic shapes.

    Args:
        model: Traced with `TRACED_BATCH` images; not changed.
    """
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    graph = opened.graph
    for value in (*graph.input, *graph.output):
        leading = value.type.tensor_type.shape.dim[0]
        if leading.dim_value != TRACED_BATCH:
            return None
        leading.dim_param = "batch"
    shapes, batched = _reshape_targets(graph), _of_batches(graph)
    for tensor in graph.initializer:
        if TRACED_BATCH in tensor.dims:
            return None
        if tensor.data_type != TensorProto.INT64:
            continue
        sizes = numpy_helper.to_array(tensor)
        if not (sizes % TRACED_BATCH == 0).any(where=sizes > 0):
            continue
        if tensor.name not in shapes or sizes[0] != TRACED_BATCH or not _can_open(sizes):
            return None
        # Beside a size that is left open, as in view(len(x), -1), 0 takes the one of what is reshaped.
        leading_size = -1 if (sizes[1:] > 0).all() else 0
        if leading_size == 0 and tensor.name not in batched:
            return None
        tensor.CopyFrom(numpy_helper.from_array(np.concatenate([[leading_size], sizes[1:]]), tensor.name))
        for node in graph.node if leading_size == 0 else ():
            if node.op_type == "Reshape" and node.input[1] == tensor.name:
                del node.attribute[:]  # allowzero, the only one, would take the 0 for a size
    if any(TRACED_BATCH in (a.i, *a.ints) for node in graph.node for a in node.attribute):
        return None
    del graph.value_info[:]
    return shape_inference.infer_shapes(opened)


def _reshape_targets(graph: onnx.GraphProto) -> set[str]:
    """Constants that are the shape of a Reshape and nothing else."""
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    others = {
        name
        for node in graph.node
        for k, name in enumerate(node.input)
        if node.op_type != "Reshape" or k != 1
    }
    return targets - others


def _of_batches(graph: onnx.GraphProto) -> set[str]:
    """Shapes of Reshapes all of which take a batch."""
    known = {v.name: v.type.tensor_type.shape.dim for v in (*graph.input, *graph.value_info)}
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    batches = {graph.input[0].name, *(n for n, d in known.items() if d and d[0].dim_value == TRACED_BATCH)}
    others = {node.input[1] for node in reshapes if node.input[0] not in batches}
    return {node.input[1] for node in reshapes} - others


def _can_open(sizes: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> bool:
    rest = sizes[1:]
    given = rest[rest != -1]
    return bool((given > 0).all() and len(rest) - len(given) < 2 and not (given % TRACED_BATCH == 0).any())
