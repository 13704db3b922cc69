"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 (LeCun, Cortes and Burges 1998)."""

from dataclasses import dataclass
from typing import ClassVar

from featherweight.data.base import Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Form, Lookup
from featherweight.data.sources._idx import idx_form, read_idx_parts
from featherweight.data.sources._npz import read_npz

HOME = "http://yann.lecun.com/exdb/mnist/"
ARCHIVE = Form(
    files=("mnist.npz",),
    words="mnist.npz (arrays x_train uint8 (60000, 28, 28), y_train, x_test, y_test)",
    folders=("", "mnist"),
)
IDX = idx_form(
    folders=("mnist", "MNIST", "MNIST/raw"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        HOME,
    ),
    digests=(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Mnist(Source):
    """The complete set. "mnist_sample" is its small substitute, used only where the caller allows it."""

    substitute: ClassVar[str | None] = "mnist_sample"
    mean: tuple[float, ...] = (0.1307,)  # of the training images, 0..1
    std: tuple[float, ...] = (0.3081,)  # of the training images, 0..1

    def parts(self, lookup: Lookup) -> Parts:
        """Training and test part. Raises: MissingDataError, DataError."""
        form, paths = lookup.find("mnist", (ARCHIVE, IDX), HOME)
        parts = read_npz(paths[0]) if form is ARCHIVE else read_idx_parts(paths)
        return Parts(
            train=parts.get("train"),
            test=parts.get("test"),
            transform=Normalize(self.mean, self.std),
            classes=tuple("0123456789"),
            origin=str(paths[0] if form is ARCHIVE else paths[0].parent),
        )
