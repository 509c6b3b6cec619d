"""Compares a model file with the torch module it was made from."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from exporters.base import RELATIVE_TOLERANCE, Parity
from mobinas.errors import ExportError, MeasurementError
from mobinas.runtime import open_session, run_batches
from mobinas.targets.target import Target

if TYPE_CHECKING:
    import onnxruntime

Floats = npt.NDArray[np.float32]
_BATCH = 64


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode, and each part of it back into its own afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def module_outputs(module: nn.Module, images: Tensor) -> Floats:
    """The first output of a module in evaluation mode, on the module's own device.

    Args:
        module: From images to logits, or to a tuple that starts with them.
        images: [n, channels, height, width].
    """
    tensor = next(module.parameters(), images)
    pieces = []
    with evaluating(module), torch.no_grad():
        for batch in torch.split(images, _BATCH):
            result = module(batch.to(tensor.device))
            pieces.append(result[0] if isinstance(result, tuple) else result)
    outputs: Floats = torch.cat(pieces).cpu().numpy()
    return outputs


def compare_outputs(
    module: nn.Module, model_path: Path, images: Tensor, *, tolerance: float = RELATIVE_TOLERANCE
) -> Parity:
    """Runs the same images through a module and through its file.

    The first image is run alone as well: a file whose batch was frozen at export must not pass. Pictures of
    one colour must stay finite where the module's do: exporters drop an epsilon of 1e-8 beside a norm.

    Args:
        module: What was exported; left as it was.
        model_path: The ONNX file.
        images: Normalised float32 images, [n, channels, height, width], n at least 1.
        tolerance: Largest accepted difference, relative to the module's largest absolute output.

    Returns:
        The differences seen.

    Raises:
        ExportError: The outputs differ by more than that in value or shape, are not finite, or the file does
            not run.
    """
    if images.ndim != 4 or len(images) == 0 or images.dtype != torch.float32:
        raise ExportError(
            f"images are {images.dtype} of shape {list(images.shape)}; parity needs normalised float32 "
            "images [n, channels, height, width], at least one"
        )
    wanted = module_outputs(module, images)
    try:
        session = open_session(model_path, Target(), any_batch=True)
        got = _through_file(session, images.cpu().numpy(), tolerance)
        _check_plain_pictures(module, session, images)
    except MeasurementError as error:
        raise ExportError(f"the exported file does not run: {error}") from error
    parity = _parity(wanted, got)
    if not parity.max_rel_error <= tolerance:
        raise ExportError(
            f"the file's outputs differ from the network's by {parity.max_rel_error:.1e} of the largest "
            f"(allowed {tolerance:.0e}, on {parity.n} images, {parity.agreeing_share:.1%} choose the same "
            "class); nothing was kept, check for layers that act at random or on the whole batch"
        )
    return parity


def _through_file(session: "onnxruntime.InferenceSession", images: Floats, tolerance: float) -> Floats:
    alone, together = run_batches(session, images[:1], 1), run_batches(session, images, _BATCH)
    same_shape = alone.shape == together[:1].shape
    if not same_shape or np.abs(alone - together[:1]).max() > tolerance * np.abs(together).max():
        raise ExportError(
            "the file's output for an image depends on the others in its batch; nothing was kept"
        )
    return together


def _check_plain_pictures(module: nn.Module, session: "onnxruntime.InferenceSession", images: Tensor) -> None:
    colours = (float(images.min()), 0.0, float(images.max()))
    plain = torch.stack([torch.full_like(images[0], colour) for colour in colours])
    wanted, got = module_outputs(module, plain), run_batches(session, plain.cpu().numpy(), _BATCH)
    finite = np.isfinite(wanted).reshape(len(plain), -1).all(axis=1)
    if not np.isfinite(got[finite]).all():
        raise ExportError(
            "the file's outputs for a picture of one colour are not finite where the network's are; nothing "
            "was kept, the export drops small constants: add 1e-6 or more where the network divides"
        )


def _parity(wanted: Floats, got: Floats) -> Parity:
    if wanted.shape != got.shape:
        raise ExportError(f"the file's outputs have shape {got.shape}, the network's {wanted.shape}")
    if not np.isfinite(wanted).all():
        raise ExportError("the network's outputs are not finite; train it again with a lower learning rate")
    if not np.isfinite(got).all():
        raise ExportError("the file's outputs are not finite where the network's are; nothing was kept")
    error = float(np.abs(wanted.astype(np.float64) - got).max())
    scale = float(np.abs(wanted).max())
    flat = (wanted.reshape(len(wanted), -1), got.reshape(len(got), -1))
    agreeing = float((flat[0].argmax(axis=1) == flat[1].argmax(axis=1)).mean())
    relative = error / scale if scale > 0 else (0.0 if error == 0 else 1.0)
    return Parity(error, relative, agreeing, len(wanted))
