"""`featherweight verify`: is a file what was written?"""

from featherweight.cli import contents
from featherweight.cli.options import Debug, File, Json
from featherweight.cli.output import document, line
from featherweight.cli.progress import waiting
from featherweight.report.text import bytes_text


def verify(file: File, json: Json = False, debug: Debug = False) -> None:
    """Checks every checksum, decodes every tensor and reads the graph. Exit code 0: all is well; 65: damaged.

    Example: featherweight verify lenet5.fwt
    """
    with waiting("checking", quiet=json), contents.opened(file) as reader:
        reader.verify()
        found = contents.report_of(reader)
    if json:
        document({"file": str(file), "ok": True, **found.as_dict()})
    else:
        line(f"{file}: ok, {len(found.tensors)} tensors, {bytes_text(found.total_bytes)}, sha256 {found.sha256}")
