"""`featherweight show`: what is in a compressed file, tensor by tensor."""

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featherweight.cli import contents
from featherweight.cli.log_text import lines_of
from featherweight.cli.options import Debug, File, Json
from featherweight.cli.output import document, line, table
from featherweight.cli.progress import waiting
from featherweight.errors import UsageError
from featherweight.report.tables import facts
from featherweight.report.text import TIMES, bytes_text, count_text, percent, ratio, visible

if TYPE_CHECKING:
    from featherweight.container.reader import Reader
    from featherweight.container.report import FileReport


Log = Annotated[bool, typer.Option("--log", help="Print how the structure was changed, a line a step; nothing else.")]
Full = Annotated[
    bool, typer.Option("--full", help="With --log: print all of it, as JSON for fw.rebuild. The same as --log --json.")
]


def show(file: File, json: Json = False, log: Log = False, full: Full = False, debug: Debug = False) -> None:
    """Shows each tensor's encoding, density, bits, bytes and share, the totals, and where the file comes from.

    Example: featherweight show lenet5.fwt
    """
    if full and not log:
        raise UsageError("--full says how much of the log to print", value="--full", fix="Add --log.")
    if log:
        with contents.opened(file) as reader:
            _print_log(reader, whole=full or json)
        return
    with waiting("reading", quiet=json), contents.opened(file) as reader:
        found, rows = contents.report_of(reader), _rows(reader)
        extras = {name: _readable(data) for name, data in reader.extras.items()}
    if json:
        document({"file": str(file), **found.as_dict(), **_totals(found, rows), "tensors": rows, "extras": extras})
        return
    _print(found, rows, extras)


def _print_log(reader: "Reader", *, whole: bool) -> None:
    log = reader.log.to_dict()
    if whole:
        document(log)
        return
    for text in lines_of(log, {record.name: len(record.shape) for record in reader.tensors}):
        line(text)
    if log["steps"]:
        line("note: --log --full prints the whole log, as JSON for fw.rebuild")


def _rows(reader: "Reader") -> list[dict[str, Any]]:
    """One row a tensor, with what only the decoded tensor says: its nonzeros and its size in memory."""
    rows = []
    report = contents.report_of(reader)
    kept = dict(zip((tensor.name for tensor in report.tensors), report.tensors, strict=True))
    for name, encoding in reader.encodings():
        tensor, item_bytes = kept[name], encoding.dtype.itemsize
        rows.append(
            {
                "name": name,
                "shape": list(tensor.shape),
                "encoding": tensor.encoding,
                "elements": tensor.elements,
                "nonzeros": encoding.nonzeros,
                "density": encoding.nonzeros / tensor.elements if tensor.elements else None,
                "bits_per_weight": tensor.bits_per_weight,
                "bytes": tensor.bytes,
                "share": tensor.bytes / report.total_bytes,
                "dense_bytes": tensor.elements * item_bytes,
            }
        )
    return rows


def _totals(found: "FileReport", rows: list[dict[str, Any]]) -> dict[str, Any]:
    dense, elements = sum(row["dense_bytes"] for row in rows), sum(row["elements"] for row in rows)
    nonzeros = sum(row["nonzeros"] for row in rows)
    return {
        "elements": elements,
        "nonzeros": nonzeros,
        "density": nonzeros / elements if elements else None,
        "dense_bytes": dense,
        "ratio": dense / found.total_bytes,
    }


def _print(found: "FileReport", rows: list[dict[str, Any]], extras: dict[str, Any]) -> None:
    totals = _totals(found, rows)
    cells = [
        (
            row["name"],
            TIMES.join(map(str, row["shape"])) or "scalar",
            row["encoding"],
            count_text(row["elements"]),
            percent(row["density"]),
            f"{row['bits_per_weight']:.2f}",
            count_text(row["bytes"]),
            percent(row["share"]),
        )
        for row in rows
    ]
    bits = 8 * found.tensor_bytes / totals["elements"] if totals["elements"] else 0.0
    share = percent(found.tensor_bytes / found.total_bytes)
    whole = (count_text(totals["elements"]), percent(totals["density"]), f"{bits:.2f}", count_text(found.tensor_bytes))
    titles = ("tensor", "shape", "encoding", "weights", "not zero", "bits/weight", "bytes", "share")
    table(titles, [*cells, ("all tensors", "", "", *whole, share)], left=3, total=True)
    line(f"file         {count_text(found.total_bytes)} bytes, format {found.version[0]}.{found.version[1]}")
    line(f"dense        {bytes_text(totals['dense_bytes'])}, {ratio(totals['dense_bytes'], found.total_bytes)} larger")
    line(
        f"to run it    {count_text(found.overhead_bytes)} bytes beside tensors and extras, "
        f"of which graph {count_text(found.graph_bytes)}"
    )
    for name, size in found.extras.items():
        line(f"extra        {visible(name)}, {count_text(size)} bytes")
    for note in found.notes:
        line(f"note         {note}")
    provenance = extras.get("provenance")
    if isinstance(provenance, dict):
        line()
        for name, value in facts(provenance):
            line(f"{name:<28} {value}")


def _readable(data: bytes) -> Any:
    """An extra section as JSON where it is JSON, else its size: a file may hold sections of other programs."""
    try:
        return json_text.loads(data)
    except (ValueError, RecursionError):
        return {"bytes": len(data)}
