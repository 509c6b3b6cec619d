"""How people call the folders of a split: which part a folder's name speaks of, and what else it says."""

import re
from collections.abc import Sequence

Role = str
ROLES: tuple[Role, ...] = ("train", "val", "test", "ignore")
_WORDS: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainval", "trainvalid"),
    "val": ("val", "vals", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "tests", "eval", "evaluation", "evaluate", "holdout", "heldout"),
    "ignore": (
        *("unlabeled", "unlabelled", "unlabel", "unsup", "unsupervised", "extra", "extras", "submission"),
        *("pred", "preds", "predict", "prediction", "predictions"),
    ),
}
_ROLE_OF_WORD = {word: role for role, words in _WORDS.items() for word in words}
# What stands beside such a word without naming a class.
_NEUTRAL = frozenset(
    (
        *("image", "images", "img", "imgs", "pic", "pics", "picture", "pictures", "photo", "photos"),
        *("jpg", "jpeg", "jpegs", "jpegimages", "png", "pngs", "file", "files", "sample", "samples"),
        *("data", "dataset", "datasets", "set", "sets", "split", "splits", "folder", "folders", "dir"),
        *("full", "final", "new", "all", "only", "part", "subset", "small", "large", "raw", "clean"),
        *("aug", "augmented", "resized", "crop", "cropped", "seg", "segmented", "original", "originals"),
        *("processed", "preprocessed", "class", "classes", "label", "labeled", "labelled", "the", "my"),
        *("and", "single"),
    )
)
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")


def role_of(name: str) -> tuple[Role | None, str]:
    """The part that a folder's name speaks of, if any, and the words that remain.

    ``train-2020`` and ``imgs_train`` are ("train", ""), ``asl_alphabet_train`` is ("train", "asl alphabet"),
    ``cat`` is (None, "cat"). A word that stands for two parts, as in ``train_test``, speaks of none.
    """
    role, rest = None, []
    tokens = [token.lower() for token in _TOKEN.findall(name.replace("t10k", "test"))]
    for token in _joined(tokens):
        found = _role_of_token(token)
        if found is None:
            if token not in _NEUTRAL:
                rest.append(token)
        elif role is None or found == role:
            role = found
        else:
            return None, " ".join(tokens)
    return role, " ".join(rest)


def is_neutral(name: str) -> bool:
    """Whether a name, such as ``images`` or ``data_2``, says nothing of its content."""
    return role_of(name) == (None, "") and _TOKEN.search(name) is not None


def _joined(tokens: Sequence[str]) -> list[str]:
    """Words that are written as two: hold_out, un-labeled."""
    text = " ".join(tokens)
    for apart, whole in (("hold out", "holdout"), ("held out", "heldout"), ("un labe", "unlabe")):
        text = re.sub(rf"\b{apart}", whole, text)
    return text.split()


def _role_of_token(token: str) -> Role | None:
    if token in _ROLE_OF_WORD:
        return _ROLE_OF_WORD[token]
    for word, role in _ROLE_OF_WORD.items():
        # traindata, imgtrain; short words would be found in others.
        if token.startswith(word) and token[len(word) :] in _NEUTRAL:
            return role
        if token.endswith(word) and token[: -len(word)] in _NEUTRAL:
            return role
    return None
