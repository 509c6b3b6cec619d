"""Classifies pictures with an exported model: NumPy, Pillow, onnxruntime and the model's manifest.json alone.

    python examples/classify.py runs/digits/models/NAME picture.png ...

Nothing of MOBINAS is imported, so the functions may be copied into a program of one's own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def eight_bit(image: Image.Image, value_range: list[float] | None) -> Image.Image:
    """Maps pixels of more than 8 bits to 0..255; others stay as they are."""
    rawmode = str(image.tile[0].args) if getattr(image, "tile", None) else ""
    if image.mode in ("RGB", "RGBA") and ";16" in rawmode:
        raise SystemExit(
            "Pillow reads the high bytes alone of pictures with several 16-bit channels; convert them"
        )
    if not image.mode.startswith("I") and image.mode != "F":
        return image
    if value_range is None:
        raise SystemExit("pixels have more than 8 bits, which no training picture had; convert them")
    low, high = value_range
    values = np.asarray(image).astype(np.float64)
    pixels = np.rint((values - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    made = Image.fromarray(pixels)
    if "transparency" in image.info:
        made.putalpha(
            Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8))
        )
    made.getexif()[0x0112] = image.getexif().get(0x0112, 1)
    return made


def flat(image: Image.Image, steps: dict[str, Any]) -> Image.Image:
    """Upright, without transparency, in the colours of the training pictures."""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, (*steps["background"], 255))
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image.convert("L" if steps["colour_order"] == "grey" else "RGB")


def read_picture(path: str | Path, steps: dict[str, Any]) -> np.ndarray:
    """The network's input from a picture file, float32 [1, channels, height, width]."""
    with Image.open(path) as image:
        if steps["jpeg_draft"] is not None:
            image.draft(None, (steps["jpeg_draft"], steps["jpeg_draft"]))
        image = flat(eight_bit(image, steps["value_range"]), steps)
    for step in steps["resize"]:
        image = image.resize((step["width"], step["height"]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)
    return normalised(pixels, steps)


def read_array(values: np.ndarray, steps: dict[str, Any]) -> np.ndarray:
    """The same from an array as the training images were, [channels, height, width] or [height, width]."""
    if steps["value_range"] is not None:
        low, high = steps["value_range"]
        values = np.rint((values.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255)
    channels = values.astype(np.uint8).reshape(-1, *values.shape[-2:])
    if len(channels) == 4 and steps["background"] is not None:
        rgba = Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))
        channels = np.asarray(flat(rgba, steps)).transpose(2, 0, 1)
    images = [Image.fromarray(np.ascontiguousarray(channel)) for channel in channels]
    for step in steps["resize"]:
        images = [i.resize((step["width"], step["height"]), Image.Resampling.BILINEAR) for i in images]
    return normalised(np.stack([np.asarray(i) for i in images]), steps)


def normalised(pixels: np.ndarray, steps: dict[str, Any]) -> np.ndarray:
    """From 0..255, [channels, height, width], to the network's input."""
    mean, std = (np.array(steps[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
    return ((pixels * steps["scale"] - mean) / std).astype(np.float32)[None]


def open_model(folder: str | Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """The session of a model, and its manifest."""
    manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    if not manifest.get("preprocessing"):
        raise SystemExit(
            f"{folder} does not say how pictures are prepared; run its job anew with this version"
        )
    return onnxruntime.InferenceSession(str(Path(folder) / manifest["model"])), manifest


if __name__ == "__main__":
    model, facts = open_model(sys.argv[1])
    for name in sys.argv[2:]:
        logits = model.run(None, {facts["input"]["name"]: read_picture(name, facts["preprocessing"])})[0][0]
        shares = np.exp(logits - logits.max())
        best = int(logits.argmax())
        print(f"{name}: {facts['classes'][best]} ({shares[best] / shares.sum():.1%})")
