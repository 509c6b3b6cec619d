"""Users' functions and Datasets: items of every kind are read, what is wrong has the item's number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobinas.errors import DataError
from mobinas.train.adapters.labels import class_names, positions, to_labels
from mobinas.train.data import ImageData, load_data
from tests.train.picture_sets import cut_out, fill, grey16

MODULE = '''
import random
from pathlib import Path
import numpy as np, torch
from PIL import Image
HERE = Path(__file__).parent
FILES = sorted((HERE / "set").rglob("*.*"))
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 6, 6), dtype=np.uint8))

class Set:
    """A map-style Dataset: image and label of an item by functions of its number."""
    def __init__(self, image=lambda i: PIXELS[i], label=lambda i: i % 3, n=12, classes=None):
        self.image, self.label, self.n = image, label, n
        if classes: self.classes = classes
    def __len__(self): return self.n
    def __getitem__(self, i): return self.image(i), self.label(i)

NAMES = ["cat", "dog", "cow"]
def pictures(): return Set(lambda i: Image.open(FILES[i]), lambda i: FILES[i].parent.name, len(FILES))
def loaded():
    def image(i):
        with Image.open(FILES[i]) as image: image.load(); return image
    return Set(image, lambda i: FILES[i].parent.name, len(FILES))
def onehot(): return Set(label=lambda i: np.eye(3)[i % 3], classes=NAMES)
def onehot_tensors(): return Set(label=lambda i: torch.eye(3)[i % 3].long(), classes=NAMES)
def onehot_lists(): return Set(label=lambda i: [float(k == i % 3) for k in range(3)], classes=NAMES)
def onehot_array(): return PIXELS, torch.eye(3)[torch.arange(12) % 3]
def named(): return Set(label=lambda i: NAMES[i % 3], classes=NAMES)
def numbered(): return Set(label=lambda i: str(i % 3), classes=NAMES)
def floats(): return Set(label=lambda i: float(i % 3), classes=NAMES)
def scalars(): return Set(label=lambda i: torch.tensor(i % 3), classes=NAMES)
def halves(): return Set(lambda i: (PIXELS[i] / 255).half(), lambda i: torch.tensor(float(i % 3)).bfloat16())
def brain(): return Set(lambda i: (PIXELS[i] / 255).bfloat16())
def gradients(): return Set(lambda i: (PIXELS[i] / 255).requires_grad_())
def whole_gradients(): return (PIXELS / 255).requires_grad_(), [i % 3 for i in range(12)]
def strided(): return Set(lambda i: PIXELS[i].permute(1, 2, 0))
def uint16(): return Set(lambda i: PIXELS[i].to(torch.uint16) * 200)
def truth(): return Set(lambda i: PIXELS[i] > 128)
def dicts():
    class Dicts(Set):
        def __getitem__(self, i): return {"img": PIXELS[i], "label": i % 3}
    return Dicts(classes=NAMES)
def pairs(): return [(PIXELS[i], i % 3) for i in range(12)]
def lists(): return [PIXELS[i].numpy() for i in range(12)], [NAMES[i % 3] for i in range(12)]
def subset():
    return torch.utils.data.Subset(Set(classes=NAMES), range(12))
def three(): return Set(classes=NAMES), Set(n=6), Set(n=3)
def random_numbers():
    return np.random.randint(0, 256, (6, 5, 5)).astype("uint8"), [random.choice("ab") for _ in range(6)]
def augmented(): return Set(lambda i: torch.rand(3, 5, 5))

def fails(i):
    if i == 7: raise OSError("image file is truncated\\n(3 bytes)")
    return PIXELS[i]
def bad_item(): return Set(fails)
def bad_none(): return Set(lambda i: None if i == 5 else PIXELS[i])
def bad_label(): return Set(label=lambda i: None if i == 4 else i % 3)
def bad_half(): return Set(label=lambda i: 0.5)
def bad_two(): return Set(label=lambda i: [1, 1, 0] if i == 2 else [1, 0, 0])
def bad_mixed(): return Set(label=lambda i: "cat" if i == 9 else i % 3)
def bad_class(): return Set(label=lambda i: "dgo" if i == 6 else "dog", classes=NAMES)
def bad_number(): return Set(label=lambda i: 3 if i == 8 else 0, classes=NAMES)
def bad_nan(): return Set(lambda i: PIXELS[i] * (float("nan") if i == 3 else 1.0))
def bad_channels(): return Set(lambda i: PIXELS[i, :1] if i == 2 else PIXELS[i])
def bad_kind(): return Set(lambda i: Image.new("L", (6, 6)) if i == 1 else PIXELS[i])
def bad_path(): return Set(lambda i: "a.png")
def bad_keys():
    class Dicts(Set):
        def __getitem__(self, i): return {"pixels": PIXELS[i]}
    return Dicts()
def bad_length(): return [Set(lambda i: PIXELS[:12][i], n=14)][0]
def bad_empty(): return Set(n=0)
def bad_item_type(): return torch.arange(5.0).unbind()
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self): return iter([(PIXELS[0], 0)])
def bad_stream(): return Stream()
def bad_generator(): return ((PIXELS[i], i) for i in range(12))
def bad_exit(): raise SystemExit("no data\\nhere")
def bad_lengths(): return PIXELS, [0, 1]
def bad_scale(): return (PIXELS, [0, 1, 2] * 4), (PIXELS / 255, [0, 1, 2] * 4)
def vision():
    import torchvision
    return Set(lambda i: torchvision.transforms.functional.hflip(PIXELS[i]))
'''


def colours(a: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([a, a[::-1], 255 - a], -1).astype("uint8"))


def photo(a: np.ndarray, i: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = (1, 6, 3, 8)[i % 4]
    image = colours(a).resize((400, 300))
    image.info["save"] = {"exif": exif}
    return image


PICTURES = {
    "palette": (lambda a, i: colours(a).quantize(16), "png"),
    "CMYK": (lambda a, i: colours(a).convert("CMYK"), "tif"),
    "LA": (lambda a, i: cut_out(a, 0).convert("LA"), "png"),
    "RGBA": (lambda a, i: cut_out(a, (0, 90, 200)), "png"),
    "12 bits": (lambda a, i: grey16(a * 16), "png"),
    "photos": (photo, "jpg"),
}


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "sets.py").write_text(MODULE)
    return tmp_path / "sets.py"


def loaded(module: Path, name: str, **options: int) -> ImageData:
    return load_data(f"{module}:{name}", **options)  # type: ignore[arg-type]


def pixels() -> torch.Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, (12, 3, 6, 6), dtype=np.uint8)
    return torch.from_numpy(drawn)


@pytest.mark.parametrize(
    "name",
    ["onehot", "onehot_tensors", "onehot_lists", "named", "numbered", "floats", "scalars", "dicts", "subset"],
)
def test_labels_beside_classes(name: str, module: Path) -> None:
    data = loaded(module, name)
    assert data.classes == ("cat", "dog", "cow") and data.labels.tolist() == [0, 1, 2] * 4
    assert data.images.equal(pixels())


@pytest.mark.parametrize(
    "name", ["onehot_array", "halves", "brain", "gradients", "whole_gradients", "strided", "pairs", "lists"]
)
def test_images_of_every_kind(name: str, module: Path) -> None:
    data = loaded(module, name)
    # Half precision has 11 bits, bfloat16 8.
    assert (data.images.int() - pixels().int()).abs().max() <= (1 if name == "brain" else 0)
    assert len(data.classes) == 3 and data.preparation is not None


def test_other_types(module: Path) -> None:
    data = loaded(module, "uint16")
    assert data.preparation is not None and data.preparation.value_range == (0, 51000)
    assert data.images.equal(pixels())
    assert loaded(module, "truth").images.unique().tolist() == [0, 255]


def test_three_parts(module: Path) -> None:
    data = loaded(module, "three")
    assert data.select is not None and data.test is not None
    assert (len(data.images), len(data.select[0]), len(data.test[0])) == (12, 6, 3)


def test_global_generators_give_the_same_each_time(module: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = loaded(module, "random_numbers")
    assert torch.rand(3).equal(expected)
    assert first.digest == loaded(module, "random_numbers").digest
    assert any("differ each time" in note for note in loaded(module, "augmented").notes)
    assert not loaded(module, "named").notes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad_item", r"item 7 of bad_item cannot be read \(OSError: image file is truncated \(3 bytes\)\)"),
        ("bad_none", "item 5 of bad_none has a NoneType for an image; give a PIL image"),
        ("bad_label", "item 4 of bad_label has the label None; a label is"),
        ("bad_half", r"item 0 of bad_half has the label 0\.5"),
        ("bad_two", r"item 2 of bad_two has the label array\(\[1, 1, 0\]\), which is no one-hot row"),
        ("bad_mixed", "item 9 of bad_mixed has the label 'cat', item 0 0; give all labels in one way"),
        ("bad_class", "label 'dgo' of item 6 in bad_class is none of the 3 classes .*did you mean 'dog'"),
        ("bad_number", "label 3 of item 8 in bad_number is none of the 3 classes"),
        ("bad_nan", "item 3 of bad_nan holds NaN"),
        ("bad_channels", "item 2 of bad_channels has 1 channels, item 0 3"),
        ("bad_kind", "item 1 of bad_kind and item 0 are not both PIL images"),
        ("bad_path", "item 0 of bad_path has a str for an image"),
        ("bad_keys", "item 0 of bad_keys has the keys pixels; give 'image' and 'label'"),
        ("bad_length", r"item 12 of bad_length cannot be read \(IndexError"),
        ("bad_empty", "bad_empty holds no images"),
        ("bad_item_type", "returned a tuple of Tensor, Tensor"),
        ("bad_stream", "returned Stream, whose items have no numbers"),
        ("bad_generator", "returned generator, whose items have no numbers"),
        ("bad_exit", "failed with SystemExit: no data here"),
        ("bad_lengths", "bad_lengths has 12 images and 2 labels"),
        ("bad_scale", "the test part of bad_scale holds float32 from 0 to 1, the training images"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_items_number(name: str, message: str, module: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        loaded(module, name)
    assert "\n" not in str(caught.value)


def test_a_plain_import_of_torchvision_works_in_a_users_function(module: Path) -> None:
    assert loaded(module, "vision").images.equal(pixels().flip(-1))


def test_labels_in_order() -> None:
    assert class_names(to_labels(["10", "9", "2", "9"], "x")) == ("2", "9", "10")
    assert class_names(to_labels(np.array([[3], [1]]), "x")) == ("1", "3")
    assert class_names(to_labels(np.array([b"b", b"a"]), "x")) == ("a", "b")
    assert class_names(to_labels(torch.tensor([True, False]), "x")) == ("False", "True")
    assert positions([30, 10], ("10", "20", "30"), named=True, name="x").tolist() == [2, 0]
    assert positions(["1", "0"], ("a", "b"), named=True, name="x").tolist() == [1, 0]
    assert positions(["1", "0"], ("1", "0"), named=True, name="x").tolist() == [0, 1]
    for labels in (torch.tensor(3), 5, [[1, 2], [1, 2, 3]], [object()]):
        with pytest.raises(DataError, match="label"):
            to_labels(labels, "x")


@pytest.mark.parametrize("kind", ["palette", "CMYK", "LA", "RGBA", "12 bits", "photos"])
@pytest.mark.parametrize("image_size", [None, 9])
def test_pictures_are_read_as_in_folders(kind: str, image_size: int | None, module: Path) -> None:
    make, suffix = PICTURES[kind]
    folder = fill(module.parent / "set", make, suffix)
    data = load_data(f"{module}:pictures", image_size=image_size)
    expected = load_data(str(folder), image_size=image_size)
    assert data.images.equal(expected.images) and data.labels.equal(expected.labels)
    assert data.preparation == expected.preparation and data.classes == expected.classes
    if kind != "photos":  # decoded in full, which no draft can undo
        assert load_data(f"{module}:loaded", image_size=image_size).images.equal(expected.images)
