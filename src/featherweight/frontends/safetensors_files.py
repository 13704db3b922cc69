"""Checkpoints in the safetensors format, tensor by tensor: one file, or shards with or without their index.

A file is the length of its header (8 bytes, little-endian), the header (JSON: name to type, shape and place), and the
values. The library checks the header; the values are read here piece by piece, because a mapped file counts as memory
of the process once it was looked at, and a checkpoint may be larger than that.

A sharded checkpoint is a directory of such files, or the `*.safetensors.index.json` beside them, whose `weight_map`
says which file has which tensor.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from featherweight.errors import StorageError, TaskError

ENDING, INDEX_ENDING = ".safetensors", ".safetensors.index.json"

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""The number types that a compressed file can hold, by their names in a safetensors header."""

_ORDER = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL")
"""In which the library writes tensors: by type, widest first, then by name."""

_MAX_HEADER = 100_000_000  # bytes; the limit of the format
_ALIGNMENT = 8


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint: what it is and where its values lie (little-endian, row-major)."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    start: int  # byte of the file
    length: int  # bytes

    def read(self) -> Tensor:
        """The values, read from the file into memory of their own.

        Raises: StorageError when the file has become shorter or cannot be read.
        """
        data = np.empty(self.length, np.uint8)  # bytearray() would write zeros all over it first
        view, done = data.data, 0
        try:
            with self.file.open("rb", buffering=0) as file:
                file.seek(self.start)
                while done < self.length:
                    count = file.readinto(view[done:])
                    if not count:
                        fix = "Do not change a checkpoint while it is read."
                        raise StorageError("became shorter", where=f"{self.file} ({self.name})", value=done, fix=fix)
                    done += count
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror}", where=f"{self.file} ({self.name})") from error
        if not self.length:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.from_numpy(data).view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """All tensors of a checkpoint, in the order of their files; nothing of their values is read yet."""

    name: str
    entries: tuple[Entry, ...]
    files: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """What all values take."""
        return sum(entry.length for entry in self.entries)

    def meta(self) -> dict[str, Tensor]:
        """Tensors of these names, types and shapes without values."""
        return {entry.name: torch.empty(entry.shape, dtype=entry.dtype, device="meta") for entry in self.entries}

    def load(self) -> dict[str, Tensor]:
        """All tensors, with their values. Raises: StorageError."""
        return {entry.name: entry.read() for entry in self.entries}


def is_checkpoint(name: str) -> bool:
    """Whether a name looks like a checkpoint: a file, an index of shards, or a directory."""
    return name.endswith((ENDING, INDEX_ENDING)) or Path(name).is_dir()


def open_checkpoint(name: str | Path) -> Checkpoint:
    """The checkpoint of this name; reads the headers alone.

    Raises: TaskError for a file that is missing or broken, a tensor that is missing, given twice or of a type that a
    compressed file cannot hold.
    """
    path = Path(name)
    if path.is_dir():
        return _directory(path)
    if not path.is_file():
        raise TaskError("there is no such file", where="task", value=str(name), fix="Check the path.")
    if path.name.endswith(INDEX_ENDING):
        return _indexed(path)
    return _collected(path.stem, [path])


def _directory(path: Path) -> Checkpoint:
    """By its index where there is exactly one, else all files together."""
    indices, files = sorted(path.glob(f"*{INDEX_ENDING}")), sorted(path.glob(f"*{ENDING}"))
    if len(indices) > 1:
        found = [item.name for item in indices]
        raise TaskError("holds several checkpoints", where=str(path), value=found, fix="Name one of these files.")
    if indices:
        return _indexed(indices[0], path.resolve().name)
    if not files:
        raise TaskError("holds no safetensors file", where=str(path), value=0, fix="Check the path.")
    return _collected(path.resolve().name, files)


def _indexed(path: Path, name: str = "") -> Checkpoint:
    places = _weight_map(path)
    files = [path.parent / file for file in dict.fromkeys(places.values())]
    for file in files:
        if not file.is_file():
            raise TaskError("a shard is missing", where=str(path), value=file.name, fix="Download it beside the index.")
    checkpoint = _collected(name or path.name.removesuffix(INDEX_ENDING), files)
    found = {entry.name: entry for entry in checkpoint.entries}
    for tensor, shard in places.items():
        if tensor not in found:
            raise TaskError(f"the shard {shard} lacks a tensor that the index names", where=str(path), value=tensor)
        if found[tensor].file.name != shard:
            where = found[tensor].file.name
            raise TaskError(
                f"a tensor lies in {where}, not in {shard} as the index says", where=str(path), value=tensor
            )
    extra = [entry.name for entry in checkpoint.entries if entry.name not in places]
    if extra:
        raise TaskError("a shard holds a tensor that the index does not name", where=str(path), value=extra[0])
    return checkpoint


def _weight_map(path: Path) -> Mapping[str, str]:
    """Tensor to file name, as the index says; a file name is nothing but a name."""
    try:
        index = _parsed(path.read_bytes(), path)
    except OSError as error:
        raise TaskError(f"cannot be read: {error.strerror}", where=str(path)) from error
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise TaskError("the index has no weight_map", where=str(path), value=sorted(index))
    for tensor, file in places.items():
        plain = isinstance(file, str) and file.endswith(ENDING) and Path(file).name == file and "\\" not in file
        if not plain:
            raise TaskError("is no name of a shard beside the index", where=f"{path} ({tensor})", value=file)
    return places


def _collected(name: str, files: Iterable[Path]) -> Checkpoint:
    found: dict[str, Entry] = {}
    paths = tuple(files)
    for path in paths:
        for entry in _entries(path):
            if entry.name in found:
                other = found[entry.name].file.name
                raise TaskError(f"a tensor lies in {other} and again in {path.name}", where=name, value=entry.name)
            found[entry.name] = entry
    if not found:
        raise TaskError("holds no tensors", where=str(paths[0]), value=0)
    return Checkpoint(name, tuple(found.values()), paths)


def _entries(path: Path) -> Iterator[Entry]:
    """The tensors of one file in the order of their values."""
    try:
        with safe_open(path, framework="pt"):
            pass  # opening checks that header, types, shapes and places fit together and cover the file
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = _parsed(file.read(min(size, _MAX_HEADER)), path)
    except (SafetensorError, OSError) as error:
        raise TaskError("is no readable safetensors file", where=str(path), value=str(error)) from error
    header.pop("__metadata__", None)
    for name, item in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        dtype = TYPES.get(item["dtype"])
        if dtype is None:
            fix = f"Convert it to one of {', '.join(TYPES)}."
            raise TaskError("a number type that cannot be kept", where=f"{path} ({name})", value=item["dtype"], fix=fix)
        begin, end = item["data_offsets"]
        yield Entry(name, dtype, tuple(item["shape"]), path, 8 + size + begin, end - begin)


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise TaskError("a name is given twice", where=str(path), value=double)
        return made

    try:
        value = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"holds no valid JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise TaskError("holds no JSON object", where=str(path), value=type(value).__name__)
    return value


# writing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """One file to be written: its first bytes, and the place of each tensor's values."""

    head: bytes
    places: Mapping[str, int]  # byte of the file
    length: int  # bytes


def lay_out(tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> Layout:
    """Where the tensors (name to type and shape) go in one file: the same bytes as the library writes.

    Raises: StorageError for a type that safetensors has no name for.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    for name, (dtype, _) in tensors.items():
        if dtype not in names:
            raise StorageError("a number type that safetensors does not have", where=name, value=str(dtype))
    order = sorted(tensors, key=lambda name: (_ORDER.index(names[tensors[name][0]]), name))
    header, relative, at = {}, {}, 0
    for name in order:
        dtype, shape = tensors[name]
        end = at + bytes_of(dtype, shape)
        header[name] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [at, end]}
        relative[name], at = at, end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    return Layout(head, {name: len(head) + place for name, place in relative.items()}, len(head) + at)


def bytes_of(dtype: torch.dtype, shape: Iterable[int]) -> int:
    """What the values of a tensor take."""
    count = dtype.itemsize
    for size in shape:
        count *= size
    return count


def put(file: BinaryIO, start: int, tensor: Tensor) -> None:
    """Writes the values of a tensor at byte `start`; several threads may write to different places of one file."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    view: memoryview = flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
    done = 0
    while done < len(view):
        done += os.pwrite(file.fileno(), view[done:], start + done)
