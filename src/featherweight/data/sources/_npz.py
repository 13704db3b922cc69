"""Arrays of an .npz file as parts: `x_train`, `y_train`, `x_test`, ... or JPEG streams. Never unpickles."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.data.base import Part
from featherweight.data.sources._images import Jpegs
from featherweight.errors import DataError

SPLITS = ("train", "validation", "test")
LAYOUT = (
    "Name the arrays x_train, y_train, x_test, y_test (or jpeg_train, offset_train, y_train, ... for JPEG streams); "
    "x and y alone are a training part."
)

Arrays = Mapping[str, NDArray[np.generic]]


def read_npz(path: Path) -> dict[str, Part]:
    """The parts in the file by split ("train", "validation", "test").

    Images uint8 may have their channels last, (n, h, w, 1 or 3); they come back as (n, c, h, w) or (n, h, w). Floats
    become float32, other integers int64, targets of integers int64.

    Raises: DataError when the file is unreadable, holds Python objects, or has no arrays of these names.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, TypeError) as error:
        raise DataError("is no readable .npz file of plain arrays", where=str(path), value=str(error)) from error
    parts = {split: part for split in SPLITS if (part := _part(arrays, f"_{split}", path)) is not None}
    whole = _part(arrays, "", path)
    if whole is not None:
        parts.setdefault("train", whole)
    if not parts:
        raise DataError("has no arrays of known names", where=str(path), value=sorted(arrays), fix=LAYOUT)
    return parts


def _part(arrays: Arrays, ending: str, path: Path) -> Part | None:
    target = arrays.get(f"y{ending}")
    jpeg, offset, plain = (arrays.get(f"{name}{ending}") for name in ("jpeg", "offset", "x"))
    if target is None or (plain is None and jpeg is None):
        return None
    where = f"{path}: part {ending.lstrip('_') or 'x'}"
    if plain is not None:
        inputs = _inputs(plain, where)
    elif jpeg is not None and offset is not None:
        inputs = Jpegs(jpeg, offset, where=where).decoded()
    else:
        raise DataError("JPEG streams need an array of offsets", where=where, value=f"offset{ending}", fix=LAYOUT)
    return Part(inputs, _target(target, where))


def _inputs(array: NDArray[np.generic], where: str) -> Tensor:
    if array.dtype == np.uint8:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        channels_last = tensor.dim() == 4 and tensor.shape[3] in (1, 3) and tensor.shape[1] not in (1, 3)
        return tensor.permute(0, 3, 1, 2).contiguous() if channels_last else tensor
    return _number(array, where)


def _target(array: NDArray[np.generic], where: str) -> Tensor:
    return _number(array, where)


def _number(array: NDArray[np.generic], where: str) -> Tensor:
    if array.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.dtype.kind in "iub":
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
    raise DataError("arrays must hold numbers", where=where, value=str(array.dtype))
