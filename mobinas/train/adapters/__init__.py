"""The kinds of data that `load_data` understands, one file each."""

from mobinas.errors import DataError, did_you_mean
from mobinas.train.adapters import digits, folder, function, idx, npz, torchvision_sets
from mobinas.train.adapters.base import Adapter

# The first that accepts a description takes it, so fixed names win over folders of that name, and Debian's
# files of Fashion-MNIST over a download.
ADAPTERS: tuple[Adapter, ...] = (
    digits.ADAPTER,
    idx.ADAPTER,
    torchvision_sets.ADAPTER,
    npz.ADAPTER,
    function.ADAPTER,
    folder.ADAPTER,
)


def adapter_for(spec: str) -> Adapter:
    """The adapter that takes this description of data.

    Raises:
        DataError: None does; with the nearest name.
    """
    for adapter in ADAPTERS:
        if adapter.accepts(spec):
            return adapter
    names = [name for adapter in ADAPTERS for name in adapter.names]
    raise DataError(f"no data set or folder '{spec}'{did_you_mean(spec, names)}")
