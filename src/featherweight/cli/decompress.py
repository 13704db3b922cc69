"""`featherweight decompress`: the weights of a compressed file as plain tensors for other programs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featherweight.cli import contents
from featherweight.cli.late import Late
from featherweight.cli.options import Debug, File, Json, Threads
from featherweight.cli.output import check_source, check_target, document, line, news
from featherweight.cli.progress import shown
from featherweight.errors import UsageError
from featherweight.report.text import bytes_text

if TYPE_CHECKING:
    from featherweight.container import unpack
    from featherweight.recipes import stream as streams
else:
    streams = Late("featherweight.recipes.stream")
    unpack = Late("featherweight.container.unpack")

Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.safetensors", help="The file to write.")]
ShardSize = Annotated[
    str,
    typer.Option(
        "--shard-size",
        metavar="SIZE",
        help="Several files of at most this size and their index, e.g. 5GB or 500MB (default: one file).",
    ),
]
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def decompress(
    file: File,
    output: Output,
    shard_size: ShardSize = "",
    threads: Threads = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Decodes all weights and writes them as safetensors, by the names and in the types they had in the network.

    Tensors are decoded and written one by one, so that a file may hold more than the memory does.

    Example: featherweight decompress lenet5.fwt -o lenet5.safetensors
    """
    check_target(output)
    most = _size(shard_size) if shard_size else None
    with contents.for_pieces(check_source(file)) as reader, shown(quiet=json) as progress:
        decoded = reader.prefix.decoded_bytes
        with progress.bar(f"{file.name}: tensors", decoded) as bar:
            workers = threads or streams.cores()
            made = unpack.unpack(reader, output, shard_bytes=most, threads=workers, advance=bar.advance)
        nonfinite = reader.prefix.nonfinite
    if nonfinite and not json:
        news("some tensors hold NaN or infinity, as they did when they were compressed")
    if json:
        told = {"file": str(file), "output": str(output), "tensors": made.tensors, "bytes": made.bytes}
        if made.index is not None:
            told |= {"output": str(made.index), "files": [str(path) for path in made.files]}
        document(told | ({"nonfinite": True} if nonfinite else {}))
    elif made.index is not None:
        line(f"{made.index}: {made.tensors} tensors in {len(made.files)} files, {bytes_text(made.bytes)}")
    else:
        line(f"{output}: {made.tensors} tensors, {bytes_text(made.bytes)}")


def _size(text: str) -> int:
    """Bytes that a text like "5GB" or "1.5 GiB" means. Raises: UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?B|B)?", text.strip().upper())
    size = int(float(found[1]) * _UNITS[found[2] or "B"]) if found else 0
    if size < 1:
        raise UsageError("is no size of a file", where="--shard-size", value=text, fix="Write it as 5GB or 500MiB.")
    return size
