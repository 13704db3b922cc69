"""The command `featherweight`: its verbs, its version, and the one place where every exception ends."""

import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from featherweight.cli import failures
from featherweight.cli.compress import compress
from featherweight.cli.decompress import decompress
from featherweight.cli.evaluate import evaluate
from featherweight.cli.report import report
from featherweight.cli.resume import resume
from featherweight.cli.show import show
from featherweight.cli.techniques import techniques
from featherweight.cli.verify import verify
from featherweight.core.version import VERSION

_VERBS = (compress, resume, show, evaluate, report, techniques, verify, decompress)


class Verbs(TyperGroup):
    """The group of all verbs; turns whatever goes wrong into one line and an exit code."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Runs the command line and leaves the process with one of `failures.CODES`."""
        asked = args[0] if args else options.get("args")
        given = list(sys.argv[1:] if asked is None else asked)
        options |= {"args": given, "standalone_mode": False, "prog_name": "featherweight"}
        try:
            code = super().main(**options)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the last catch; it tells, then exits
            sys.exit(failures.tell(error, debug="--debug" in given))
        sys.exit(code if isinstance(code, int) else 0)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featherweight {VERSION}")
        raise typer.Exit


def _overview(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Makes trained neural networks small and fast.

    A network, some data and a budget go in; one small file that runs comes out.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


def _build() -> typer.Typer:
    built = typer.Typer(
        name="featherweight",
        cls=Verbs,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="Example: featherweight compress examples/lenet5.py:task --recipe deep_compression -o lenet5.fwt",
    )
    built.callback()(_overview)
    for verb in _VERBS:
        first, _, example = (verb.__doc__ or "").partition("Example:")
        built.command(name=verb.__name__, help=first.strip(), epilog=f"Example: {' '.join(example.split())}")(verb)
    return built


app = _build()


def main() -> NoReturn:
    """What the console command `featherweight` calls."""
    command = get_command(app)
    command.main()
    raise SystemExit  # main() has left already; this tells the type checker


__all__ = ["app", "main"]
