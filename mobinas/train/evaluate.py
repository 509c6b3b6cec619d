"""What a network answers."""

import torch
from torch import Tensor, nn

from mobinas.metrics.confusion import Confusion
from mobinas.train.memory_layout import as_input, usual_layout
from mobinas.train.splits import Normalisation, Part

# On two cores, at 32x32 pixels batches of 64 to 128 took 1.9 s for 1,000 images, of 512 2.9 s, of 8 3.5 s.
_PIXELS, _LEAST_IMAGES, _MOST_IMAGES = 2**17, 16, 512


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters of a network lie."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def logits_of(
    module: nn.Module,
    part: Part,
    *,
    resolution: int,
    normalisation: Normalisation,
    batch_size: int | None = None,
) -> Tensor:
    """The logits of all images of a part.

    Args:
        module: Runs in evaluation mode; its mode is restored.
        part: The images, on any device.
        resolution: To which they are resized, in pixels.
        normalisation: What is done to the pixels.
        batch_size: Images at a time, no matter for the result; by default as many as a
            CPU's caches hold.

    Returns:
        float32, [n, classes], on the CPU.
    """
    mode, device = module.training, device_of(module)
    if batch_size is None:
        in_caches = max(_LEAST_IMAGES, _PIXELS // resolution**2)
        batch_size = min(_MOST_IMAGES, in_caches) if device.type == "cpu" else _MOST_IMAGES
    layout = usual_layout(module)
    module.eval()
    try:
        with torch.inference_mode():
            results = []
            for start in range(0, len(part), batch_size):
                positions = torch.arange(start, min(start + batch_size, len(part)))
                images = part.batch(positions, resolution).to(device)
                output = module(as_input(normalisation(images), module, layout))
                results.append((output[0] if isinstance(output, tuple) else output).cpu())
    finally:
        module.train(mode)
    # A clone made outside of inference mode is an ordinary tensor.
    return torch.cat(results).clone()


def confusion_of(
    module: nn.Module,
    part: Part,
    *,
    resolution: int,
    normalisation: Normalisation,
    batch_size: int | None = None,
) -> Confusion:
    """What a network answers to a part's images: the class of the largest logit, the first of equals.

    Args:
        module: Runs in evaluation mode; its mode is restored.
        part: Images and labels.
        resolution: To which the images are resized, in pixels.
        normalisation: What is done to the pixels.
        batch_size: Images at a time, no matter for the result; by default as many as a
            CPU's caches hold.
    """
    logits = logits_of(
        module, part, resolution=resolution, normalisation=normalisation, batch_size=batch_size
    )
    return Confusion.of(part.labels.tolist(), logits.argmax(dim=1).tolist(), logits.shape[1])


def evaluate(
    module: nn.Module,
    part: Part,
    *,
    resolution: int,
    normalisation: Normalisation,
    batch_size: int | None = None,
) -> float:
    """The accuracy of `confusion_of`, in [0, 1]."""
    found = confusion_of(
        module, part, resolution=resolution, normalisation=normalisation, batch_size=batch_size
    )
    return found.share("accuracy").x
