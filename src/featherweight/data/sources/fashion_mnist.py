"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

from dataclasses import dataclass

from featherweight.data.base import Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Form, Lookup
from featherweight.data.sources._idx import idx_form, read_idx_parts
from featherweight.data.sources._npz import read_npz

HOME = "https://github.com/zalandoresearch/fashion-mnist"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
ARCHIVE = Form(
    files=("fashion_mnist.npz",),
    words="fashion_mnist.npz (arrays x_train uint8 (60000, 28, 28), y_train, x_test, y_test)",
    folders=("", "fashion_mnist"),
)
IDX = idx_form(
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    digests=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Source):
    """The complete set; Debian and Ubuntu carry it as the package dataset-fashion-mnist."""

    mean: tuple[float, ...] = (0.2860,)  # of the training images, 0..1
    std: tuple[float, ...] = (0.3530,)  # of the training images, 0..1

    def parts(self, lookup: Lookup) -> Parts:
        """Training and test part. Raises: MissingDataError, DataError."""
        form, paths = lookup.find("fashion_mnist", (ARCHIVE, IDX), HOME)
        parts = read_npz(paths[0]) if form is ARCHIVE else read_idx_parts(paths)
        return Parts(
            train=parts.get("train"),
            test=parts.get("test"),
            transform=Normalize(self.mean, self.std),
            classes=CLASSES,
            origin=str(paths[0] if form is ARCHIVE else paths[0].parent),
        )
