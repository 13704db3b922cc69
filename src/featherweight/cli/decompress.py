"""`featherweight decompress`: the weights of a compressed file as plain tensors for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featherweight.cli import contents
from featherweight.cli.late import Late
from featherweight.cli.options import Debug, File, Json
from featherweight.cli.output import check_target, document, line
from featherweight.cli.progress import waiting
from featherweight.report.text import bytes_text

if TYPE_CHECKING:
    from safetensors import torch as safetensors

    from featherweight.core import atomic
else:
    atomic = Late("featherweight.core.atomic")
    safetensors = Late("safetensors.torch")

Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.safetensors", help="The file to write.")]


def decompress(file: File, output: Output, json: Json = False, debug: Debug = False) -> None:
    """Decodes all weights and writes them as a .safetensors file, by the names they had in the network.

    Example: featherweight decompress lenet5.fwt -o lenet5.safetensors
    """
    check_target(output)
    with waiting("decoding", quiet=json), contents.opened(file) as reader:
        tensors = {name: encoding.to_tensor().detach().contiguous() for name, encoding in reader.encodings()}
        tensors |= {name: tensors[kept].clone() for name, kept in reader.aliases.items()}  # no shared storage there
        data = safetensors.save(tensors)
        atomic.write_atomically(output, data)
    if json:
        document({"file": str(file), "output": str(output), "tensors": len(tensors), "bytes": len(data)})
    else:
        line(f"{output}: {len(tensors)} tensors, {bytes_text(len(data))}")
