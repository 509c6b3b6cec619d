"""A model and its manifest suffice: a script without MOBINAS answers as the pipeline, picture by picture."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from exporters.bundle import ExportBundle, export_bundle
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.config import load_config
from mobinas.pipeline.context import Contender
from mobinas.pipeline.export import facts_of
from mobinas.pipeline.job import run
from mobinas.train.data import ImageData, load_data
from mobinas.train.splits import Fractions, Part, Splits, split
from tests.train.picture_sets import cut_out, fill, fill_bytes, grey16, png, tiff

EXAMPLE = Path(__file__).parents[2] / "examples" / "classify.py"
RESOLUTION = 8


def exported(data: ImageData, directory: Path) -> tuple[ExportBundle, Splits]:
    """The bundle of an untrained network for these data, as the pipeline writes it."""
    splits = split(data, fractions=Fractions(0.4, 0.2, 0.2, 0.2))
    task = Task(len(data.classes), data.channels)
    contender = Contender.finalist(Architecture(CellBody(published("DARTS_V2"), 2, 4), RESOLUTION, task))
    facts = facts_of(splits, contender)
    bundle = export_bundle(
        contender.build(task, 0).eval(),
        directory,
        name="m",
        images=splits.normalisation(splits.training.batch(torch.arange(2), RESOLUTION)),
        manifest=facts.manifest(),
        metadata=facts.metadata(),
    )
    return bundle, splits


def logits(bundle: ExportBundle, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(bundle.model_path))
    found: np.ndarray = session.run(None, {"image": images})[0]
    return found


def of_pipeline(bundle: ExportBundle, data: ImageData, splits: Splits, n: int | None = None) -> np.ndarray:
    part = Part(data.images[:n], data.labels[:n])
    images = splits.normalisation(part.batch(torch.arange(len(part)), RESOLUTION))
    return logits(bundle, images.numpy())


def rgb(a: np.ndarray, i: int) -> np.ndarray:
    return np.stack([a, a[::-1], 255 - a], -1).astype("uint8")


def photo(a: np.ndarray, i: int) -> Image.Image:
    """A large JPEG that is not square, every second one turned by EXIF."""
    image = Image.fromarray(rgb(a, i)).resize((200, 150))
    exif = Image.Exif()
    exif[0x0112] = (1, 6, 3, 8)[i % 4]
    image.info["save"] = {"quality": 92, "exif": exif}
    return image


def palette(a: np.ndarray, i: int) -> Image.Image:
    image = Image.fromarray(rgb(a, i)).quantize(16)
    image.info["save"] = {"transparency": i} if i % 2 else {}
    return image


def hidden(a: np.ndarray, i: int) -> Image.Image:
    pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 4)).astype(np.uint8)
    pixels[..., 3] = np.where(a > 128, 255, a)
    return Image.fromarray(pixels)


KINDS: dict[str, Callable[[Path], Path]] = {
    "grey": lambda p: fill(p, lambda a, i: Image.fromarray(a.astype("uint8")[:, :11])),
    "photos": lambda p: fill(p, photo, "jpg"),
    "palette": lambda p: fill(p, palette),
    "alpha": lambda p: fill(p, lambda a, i: cut_out(a, 0)),
    "hidden colours": lambda p: fill(p, hidden, "webp"),
    "grey with alpha": lambda p: fill(p, lambda a, i: cut_out(a, 90).convert("LA")),
    "CMYK": lambda p: fill(p, lambda a, i: Image.fromarray(rgb(a, i)).convert("CMYK"), "jpg"),
    "1 bit": lambda p: fill(p, lambda a, i: Image.fromarray(a > 30)),
    "16 bits": lambda p: fill(p, lambda a, i: grey16(a * 16)),
    "16 bits with a transparent value": lambda p: fill_bytes(
        p, lambda a: png((a * 16)[..., None], 0, (220 * 16).to_bytes(2, "big")), "png"
    ),
    "signed": lambda p: fill_bytes(p, lambda a: tiff((a * 9 - 999)[..., None].astype("i2"), ">", 2), "tif"),
    "floats": lambda p: fill(p, lambda a, i: Image.fromarray((a / 300 - 0.2).astype("f4")), "tif"),
}


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image_size", [None, 12])
def test_every_kind_of_picture(
    kind: str, image_size: int | None, tmp_path: Path, example: dict[str, Any]
) -> None:
    folder = KINDS[kind](tmp_path / "set")
    data = load_data(str(folder), image_size=image_size)
    bundle, splits = exported(data, tmp_path / "m")
    steps = json.loads((tmp_path / "m" / "manifest.json").read_text())["preprocessing"]
    files = [path for name in data.classes for path in sorted((folder / name).iterdir())]
    inputs = np.concatenate([example["read_picture"](path, steps) for path in files])
    assert np.ptp(inputs, axis=0).max() > 0.5, "the pictures differ"
    np.testing.assert_allclose(logits(bundle, inputs), of_pipeline(bundle, data, splits), atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
def test_arrays(dtype: str, tmp_path: Path, example: dict[str, Any]) -> None:
    digits = load_digits()
    images = (digits.images[:200] * {"uint8": 15, "float32": 1 / 16, "int16": 100}[dtype]).astype(dtype)
    images = np.stack([images, images * 0 if dtype == "int16" else images[::-1], images[:, ::-1]], 1)
    np.savez(tmp_path / "d.npz", images=images, labels=digits.target[:200])
    data = load_data(str(tmp_path / "d.npz"), image_size=11)
    bundle, splits = exported(data, tmp_path / "m")
    steps = bundle.manifest["preprocessing"]
    inputs = np.concatenate([example["read_array"](image, steps) for image in images])
    np.testing.assert_allclose(logits(bundle, inputs), of_pipeline(bundle, data, splits), atol=2e-5)


def test_arrays_of_four_channels(tmp_path: Path, example: dict[str, Any]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 9, 9, 4), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(60) % 2)
    data = load_data(str(tmp_path / "d.npz"))
    assert data.channels == 3 and any("taken for RGBA" in note for note in data.notes)
    bundle, splits = exported(data, tmp_path / "m")
    steps = bundle.manifest["preprocessing"]
    inputs = np.concatenate([example["read_array"](image.transpose(2, 0, 1), steps) for image in images])
    np.testing.assert_allclose(logits(bundle, inputs), of_pipeline(bundle, data, splits), atol=2e-5)


def test_digits(tmp_path: Path, example: dict[str, Any]) -> None:
    data = load_data("digits")
    bundle, splits = exported(data, tmp_path / "m")
    steps = bundle.manifest["preprocessing"]
    assert (steps["source"], steps["value_range"]) == ("arrays", [0, 16])
    inputs = np.concatenate([example["read_array"](image, steps) for image in load_digits().images[:300]])
    np.testing.assert_allclose(logits(bundle, inputs), of_pipeline(bundle, data, splits, 300), atol=2e-5)


def test_the_manifest_and_the_file_say_the_same(tmp_path: Path) -> None:
    data = load_data(str(KINDS["alpha"](tmp_path / "set")))
    bundle, splits = exported(data, tmp_path / "m")
    steps = bundle.manifest["preprocessing"]
    assert steps == json.loads(
        next(p.value for p in onnx.load(bundle.model_path).metadata_props if p.key == "mobinas.preprocessing")
    )
    assert (steps["colour_order"], steps["background"], steps["exif_orientation"]) == (
        "RGB",
        [255, 255, 255],
        "applied",
    )
    assert [(s["height"], s["width"], s["filter"], s["keep_aspect"]) for s in steps["resize"]] == [
        (16, 16, "bilinear", False),
        (8, 8, "bilinear", False),
    ]
    assert steps["mean"] == list(splits.normalisation.mean) and steps["layout"] == "NCHW"


def test_the_example_classifies_from_the_command_line(tmp_path: Path) -> None:
    folder = KINDS["photos"](tmp_path / "set")
    exported(load_data(str(folder)), tmp_path / "m")
    command = [sys.executable, "-I", str(EXAMPLE), str(tmp_path / "m"), str(folder / "down" / "1.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split(": ")[1].split()[0] in ("across", "down")


def test_a_bundle_without_steps_is_told_to_be_made_anew(tmp_path: Path, example: dict[str, Any]) -> None:
    (tmp_path / "manifest.json").write_text('{"model": "model.onnx"}')
    with pytest.raises(SystemExit, match="run its job anew"):
        example["open_model"](tmp_path)


def place_of(image: torch.Tensor, images: torch.Tensor) -> int:
    return int((images == image).flatten(1).all(1).nonzero()[0, 0])


@pytest.mark.slow  # a whole job
@pytest.mark.parametrize("kind", ["photos", "16 bits"])
def test_the_accuracy_of_the_front_is_reached(kind: str, tmp_path: Path, example: dict[str, Any]) -> None:
    for n in range(5):
        KINDS[kind](tmp_path / "parts" / str(n))
    folder = tmp_path / "set"
    for path in sorted((tmp_path / "parts").rglob("*.*")):
        target = folder / path.parent.name / f"{path.parts[-3]}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            pixels = np.asarray(image).copy()
            # No two pictures are alike.
            pixels[: int(path.parts[-3]) + 1, :3] += 60
            Image.fromarray(pixels).save(target, exif=image.getexif())
    config = load_config("smoke", {"data": str(folder), "images.limit": 10_000, "search.trials": 4})
    front = run(config, tmp_path / "run")
    data = load_data(str(folder))
    parts = split(data, seed=config.seed)
    files = [path for name in data.classes for path in sorted((folder / name).iterdir())]
    for row in front.rows:
        directory = (tmp_path / "run" / row.onnx).parent
        session, manifest = example["open_model"](directory)
        for part, expected in ((parts.test, row.test_accuracy), (parts.select, row.accuracy)):
            chosen = [files[place_of(image, data.images)] for image in part.images]
            inputs = np.concatenate([example["read_picture"](p, manifest["preprocessing"]) for p in chosen])
            answers = session.run(None, {manifest["input"]["name"]: inputs})[0].argmax(1)
            right = [
                manifest["classes"][k] == path.parent.name for k, path in zip(answers, chosen, strict=True)
            ]
            assert np.mean(right) == expected
