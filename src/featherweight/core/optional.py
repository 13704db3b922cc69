"""Optional extras on first use, with the pip line in the error."""

from types import ModuleType

from featherweight.core.catalog import module_named
from featherweight.errors import MissingExtraError


def need(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports `module`, or says which extra of featherweight brings it.

    A broken installation can fail with more than ImportError (torchvision beside a CPU torch raises RuntimeError).

    Raises: MissingExtraError.
    """
    try:
        return module_named(module)
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which did not import",
            value=str(error),
            fix=f"Install it with: pip install 'featherweight[{extra}]'",
        ) from error
