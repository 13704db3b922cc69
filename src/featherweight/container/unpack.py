"""The tensors of a file as a safetensors checkpoint, decoded and written one at a time."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch

from featherweight.container.reader import Reader
from featherweight.core.atomic import replacing, storage_errors, write_atomically
from featherweight.encodings import payload
from featherweight.errors import UsageError
from featherweight.frontends.safetensors_files import ENDING, INDEX_ENDING, bytes_of, lay_out, put

MEMORY = 800 * 2**20
"""Bytes that the tensors in work may take together; one that takes more is decoded alone."""


@dataclass(frozen=True)
class Unpacked:
    """What was written: the files (and the index of shards, if there are several), tensors and bytes of all."""

    files: tuple[Path, ...]
    index: Path | None
    tensors: int
    bytes: int


def unpack(
    reader: Reader,
    output: str | Path,
    *,
    shard_bytes: int | None = None,
    threads: int = 1,
    advance: Callable[[float], None] = lambda amount: None,
) -> Unpacked:
    """Writes all tensors under all their names, each in the type in which the network uses it.

    With `shard_bytes` there are as many files as it takes for none to hold more (a larger tensor has one for itself),
    called `name-00001-of-00003.safetensors`, and `name.safetensors.index.json` says what is where. A file appears
    when it is complete; the index is written last. `advance` hears of bytes that are done.

    Raises: FormatError for a damaged file, UsageError for a size of shards below 1, StorageError.
    """
    if shard_bytes is not None and shard_bytes < 1:
        raise UsageError("a shard holds at least one byte", where="shard_bytes", value=shard_bytes)
    target = Path(output)
    tensors = _tensors(reader)
    shards = _shards(tensors, shard_bytes)
    files = _names(target, len(shards))
    reader.check()
    written = 0
    for file, names in zip(files, shards, strict=True):
        written += _write(reader, file, {name: tensors[name] for name in names}, threads, advance)
    index = None
    if len(files) > 1:
        index = target.with_name(target.name.removesuffix(ENDING) + INDEX_ENDING)
        places = {name: file.name for file, names in zip(files, shards, strict=True) for name in names}
        total = sum(bytes_of(*kind) for kind in tensors.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2, ensure_ascii=False)
        write_atomically(index, text + "\n")
    return Unpacked(tuple(files), index, len(tensors), written)


_Kind = tuple[torch.dtype, tuple[int, ...]]


def _tensors(reader: Reader) -> dict[str, _Kind]:
    """Type and shape of each tensor by each of its names."""
    kinds = {record.name: (payload.dtype_of(record.shape, record.spec), record.shape) for record in reader.tensors}
    return kinds | {alias: kinds[name] for alias, name in reader.aliases.items()}


def _shards(tensors: Mapping[str, _Kind], most: int | None) -> list[list[str]]:
    """The names in order, cut where a shard would hold more than `most` bytes."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, kind in tensors.items():
        size = bytes_of(*kind)
        if most is not None and shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _names(target: Path, count: int) -> list[Path]:
    if count == 1:
        return [target]
    stem = target.name.removesuffix(ENDING)
    return [target.with_name(f"{stem}-{number:05d}-of-{count:05d}{ENDING}") for number in range(1, count + 1)]


def _write(
    reader: Reader, path: Path, tensors: Mapping[str, _Kind], threads: int, advance: Callable[[float], None]
) -> int:
    """One file; gives its bytes."""
    layout = lay_out(tensors)
    with replacing(path, size=layout.length) as file:
        file.write(layout.head)
        file.truncate(layout.length)
        file.flush()

        def decode(name: str) -> int:
            values = reader.tensor(name)
            with storage_errors(path, layout.length):
                put(file, layout.places[name], values)
            return bytes_of(*tensors[name])

        with ThreadPoolExecutor(max(threads, 1)) as pool:
            running: dict[Future[int], int] = {}
            for name in tensors:
                cost = 3 * bytes_of(*tensors[name])
                while running and (len(running) >= threads or sum(running.values()) + cost > MEMORY):
                    advance(_next(running))
                running[pool.submit(decode, name)] = cost
            while running:
                advance(_next(running))
    return layout.length


def _next(running: dict[Future[int], int]) -> int:
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    for one in finished:
        del running[one]
    return sum(one.result() for one in finished)
