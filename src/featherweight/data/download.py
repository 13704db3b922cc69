"""Downloads of public files into the user cache, each checked against its published digest."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pooch
from pooch import HTTPDownloader

TIMEOUT_SECONDS = 15.0
"""Longest silence of a server that is waited for."""


def fetch(files: Sequence[str], mirrors: Sequence[str], hashes: Sequence[str], folder: Path) -> tuple[Path, ...] | str:
    """The files under `folder`, downloaded from the first mirror that has them all; or why not, in one line.

    `hashes` are "sha256:<hex>", one a file: a file with another digest is not kept.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    why = "no address is known"
    for mirror in mirrors:
        try:
            return tuple(_one(mirror + file, known, folder) for file, known in zip(files, hashes, strict=True))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong digest is a ValueError
            why = _line(error)
    return why


def _one(address: str, known: str, folder: Path) -> Path:
    downloader = HTTPDownloader(progressbar=False, timeout=TIMEOUT_SECONDS)
    name = address.rsplit("/", 1)[-1]
    return Path(pooch.retrieve(address, known_hash=known, fname=name, path=folder, downloader=downloader))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if len(text) < 90 else f"{type(error).__name__}: {text[:87]}..."
