"""How many images one inference of a model takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mobinas.targets.resources import Reading, reading
from mobinas.targets.sizes import Value, batch_names, fixed_batch, says_batch
from predictors.onnx_values import inputs_of, outputs_of

if TYPE_CHECKING:
    import onnx


def images_of(model: "onnx.ModelProto", batch: int, bindings: Mapping[str, int]) -> Reading:
    """The batch of a model, where it is known to be one.

    An open dimension is known by its name, or if an output begins with it, too, as the model says or as
    follows from its operators; a fixed one as `fixed_batch` says.

    Args:
        model: With its sizes as in the file; weights are not needed.
        batch: Of the target.
        bindings: Sizes of open dimensions by their names.
    """
    inputs = inputs_of(model)
    if not inputs:
        return Reading(None, "the model has no inputs")
    names = batch_names(inputs, outputs_of(model))
    nameless = [value for value in inputs if value.sizes[:1] == (None,)]
    if not names and not nameless:
        fixed = fixed_batch(inputs, outputs_of(model), batch)
        return _unknown(inputs) if fixed is None else reading(fixed)
    known = {name for name in names if says_batch(name)} or names & _begun(outputs_of(model))
    if not known:
        spelled = {_spelled(value) for value in nameless}
        known = (names | spelled) & _begun(_followed(model, nameless))
    sizes = {bindings.get(name, batch) for name in known}
    if len(sizes) > 1:
        return Reading(None, f"{', '.join(sorted(known))} have different sizes")
    return reading(sizes.pop()) if sizes else _unknown(inputs)


def _unknown(inputs: list[Value]) -> Reading:
    return Reading(None, f"no dimension is known to be a batch ({', '.join(map(str, inputs))})")


def _begun(outputs: list[Value]) -> set[str]:
    return {value.sizes[0] for value in outputs if value.sizes and isinstance(value.sizes[0], str)}


def _spelled(value: Value) -> str:
    return f"first of {value.name}"


def _followed(model: "onnx.ModelProto", nameless: list[Value]) -> list[Value]:
    """The outputs whose shapes follow from the inputs', whatever the model says of them."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = {value.name: _spelled(value) for value in nameless}
    for value in copy.graph.input:
        if value.name in names:
            value.type.tensor_type.shape.dim[0].dim_param = names[value.name]
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return outputs_of(onnx.shape_inference.infer_shapes(copy, data_prop=True))
    except Exception:
        # onnx raises its own InferenceError as well as plain RuntimeError.
        return []
