"""ONNX: networks of this project through their Graph, any other module through torch.onnx."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from exporters.base import Exported, Exporter, ImageShape, Parity
from exporters.onnx_batch import TRACED_BATCH, open_batch
from exporters.onnx_cost import count_macs
from exporters.onnx_tidy import tidy
from exporters.verify import compare_outputs, evaluating
from mobinas.content import is_our_onnx
from mobinas.errors import ExportError
from mobinas.files import check_ours, write_atomic
from mobinas.graph.cost import Cost, layer_cost
from mobinas.graph.layers import Graph
from mobinas.graph.onnx_writer import INPUT_NAME, OPSET, OUTPUT_NAME, Floats, reached, write_onnx

# The lowest that torch.onnx writes without converting afterwards.
_FOREIGN_OPSET = 18
# A protocol buffer holds at most 2 GiB, of which the graph needs some.
_MAX_WEIGHT_BYTES = 2**31 - 2**24
# Raised inside torch itself while it exports, whatever the module.
_TORCH_WARNINGS = (
    (FutureWarning, r".*isinstance\(treespec, LeafSpec\).* is deprecated"),
    (DeprecationWarning, r"The feature will be removed\. Please remove usage of this function"),
)


class OnnxExporter:
    """Writes ``model.onnx``, float32, with an open batch, input ``image`` and output ``logits``."""

    name = "onnx"
    file_name = "model.onnx"

    def requires(self, module: nn.Module, image_shape: ImageShape) -> None:
        """Refuses what is no float32 module with finite weights for such images; see `Exporter`."""
        if not isinstance(module, nn.Module):
            raise ExportError(f"cannot export a {type(module).__name__}; give a torch.nn.Module")
        graph = _graph_of(module)
        if graph is not None and graph.input_shape != image_shape:
            wanted = "x".join(map(str, graph.input_shape))
            raise ExportError(f"images are {'x'.join(map(str, image_shape))}; this network takes {wanted}")
        size = 0
        for key, tensor in module.state_dict().items():
            size += tensor.nbytes
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ExportError(f"'{key}' is {tensor.dtype}; call module.float() before the export")
            if not torch.isfinite(tensor).all():
                raise ExportError(f"'{key}' is not finite; train again with a lower learning rate")
        if size > _MAX_WEIGHT_BYTES:
            raise ExportError(
                f"weights take {size / 2**30:.1f} GiB; a single ONNX file holds less than 2 GiB"
            )

    def export(
        self, module: nn.Module, path: Path, *, image_shape: ImageShape, metadata: Mapping[str, str]
    ) -> Exported:
        """Writes the file; see `Exporter`."""
        check_ours(path, is_our_onnx, "an ONNX file of mobinas")
        graph = _graph_of(module)
        if graph is not None:
            model, opset = write_onnx(graph, _weights(module), metadata=metadata), OPSET
            counted = _cost(graph)
            params, macs = counted.params, counted.macs
        else:
            model, opset = foreign_model(module, image_shape, metadata), _FOREIGN_OPSET
            params, macs = sum(p.numel() for p in module.parameters()), count_macs(model)
        write_atomic(path, model.SerializeToString(deterministic=True))
        outputs = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        return Exported(path, opset, "fp32", outputs, params, macs)

    def ensures(self, module: nn.Module, path: Path, images: Tensor, tolerance: float) -> Parity:
        """Compares the outputs of module and file; see `Exporter`."""
        return compare_outputs(module, path, images, tolerance=tolerance)


def _graph_of(module: nn.Module) -> Graph | None:
    """What a `mobinas.nets.module.GraphModule` computes; that room is not this one's to import."""
    graph = getattr(module, "graph", None)
    return graph if isinstance(graph, Graph) else None


def _weights(module: nn.Module) -> dict[str, Floats]:
    return {
        key.removeprefix("layers."): tensor.detach().cpu().numpy()
        for key, tensor in module.state_dict().items()
        if not key.endswith(".num_batches_tracked")
    }


def _cost(graph: Graph) -> Cost:
    """Cost without an auxiliary classifier."""
    nodes = [graph.nodes[position] for position in reached(graph, graph.outputs[0])]
    return sum((layer_cost(node.layer, node.shape) for node in nodes), Cost(0, 0))


def foreign_model(module: nn.Module, image_shape: ImageShape, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Any module as an ONNX model, through torch.onnx; its batch is open.

    Args:
        module: From images [batch, *image_shape] to logits.
        image_shape: (channels, height, width).
        metadata: Texts to keep inside the file.

    Raises:
        ExportError: torch.onnx cannot translate it.
    """
    fixed = open_batch(_traced(module, image_shape, TRACED_BATCH, symbolic=False))
    # A batch of 2: torch.export takes a dimension of 1 for a constant.
    opened = fixed or _traced(module, image_shape, 2, symbolic=True)
    if not opened.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ExportError(
            f"{type(module).__name__} fixes the number of images, as len(x) in its forward does; "
            "take x.shape[0] or -1 there"
        )
    return tidy(opened, metadata)


def _traced(module: nn.Module, image_shape: ImageShape, batch: int, *, symbolic: bool) -> onnx.ModelProto:
    tensor = next(module.parameters(), torch.empty(0))
    # Tracing looks at the shape alone, so one stored zero stands for all images.
    example = torch.zeros(1, device=tensor.device).expand(batch, *image_shape)
    shapes = ({0: torch.export.Dim("batch")},) if symbolic else None
    try:
        with evaluating(module), warnings.catch_warnings():
            for category, message in _TORCH_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=shapes,
                opset_version=_FOREIGN_OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        # torch.onnx wraps whatever the module's own code raises; the innermost cause says most.
        raise ExportError(
            f"torch.onnx cannot export {type(module).__name__}: {_cause(error)}; check that its forward "
            "takes one batch of images and has no branches on their values"
        ) from error
    assert program is not None, "torch.onnx.export returns a program unless it is given a path"
    return program.model_proto


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


EXPORTER: Exporter = OnnxExporter()
