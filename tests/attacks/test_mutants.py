"""Files changed with knowledge of the format, all checksums repaired: a typed error, or a right file after all."""

import random

import pytest
import torch
from mutate import mutant, put_together, take_apart
from reference import REFERENCES

from featherweight.container import pack
from featherweight.container.limits import Limits
from featherweight.container.pack import load_bytes
from featherweight.container.reader import Reader
from featherweight.container.source import MemorySource
from featherweight.container.spec import FLAG_NONFINITE
from featherweight.container.writer import Contents, pieces
from featherweight.encodings import payload
from featherweight.errors import FormatError

LIMITS = Limits(decoded_bytes=2**20, extra_bytes=2**16)
NAMES = sorted(REFERENCES)


def verdict(data):
    """The code of the error, or "right" for a file that decodes and whose parts, written again, give it again."""
    try:
        model = load_bytes(data, limits=LIMITS, nonfinite="allow")
    except FormatError as error:
        return error.code
    with Reader(MemorySource(data), limits=LIMITS, nonfinite="allow") as reader:
        again = written_again(reader)
        values = {name: reader.tensor(name) for name, _ in model.named_parameters()}
    assert again == data
    for name, value in model.named_parameters():
        assert torch.equal(value.reshape(-1).view(torch.uint8), values[name].reshape(-1).view(torch.uint8))
    return "right"


def written_again(reader):
    bodies = []
    for record in reader.tensors:
        packed = payload.encode(reader.encoding(record.name), like=record.spec)
        assert packed.spec == record.spec
        bodies.append(lambda data=packed.data: data)
    bodies += [lambda data=data: data for data in reader.extras.values()]
    if reader.graph is not None:  # what was read as a graph has this one plain form
        plain = pack._plain(reader.graph, reader.tensors)
        assert plain == reader.header.graph
    nonfinite = bool(reader.prefix.flags & FLAG_NONFINITE)
    return b"".join(pieces(Contents(reader.header, bodies, nonfinite, reader.prefix.minor)))


def campaign(tmp_path, count, seed):
    """How many mutants got which verdict."""
    rng, verdicts = random.Random(seed), {}
    originals = [REFERENCES[name](1).save(tmp_path / name) for name in NAMES]
    for number in range(count):
        data = mutant(originals[number % len(originals)], rng)
        try:
            found = verdict(data)
        except Exception as error:
            (tmp_path / f"mutant-{seed}-{number}.fwt").write_bytes(data)
            raise AssertionError(f"mutant {number} of seed {seed}, {NAMES[number % len(NAMES)]}: {error!r}") from error
        verdicts[found] = verdicts.get(found, 0) + 1
    return verdicts


@pytest.mark.parametrize("name", NAMES)
def test_taking_apart_and_putting_together_changes_nothing(name, tmp_path):
    data = REFERENCES[name](1).save(tmp_path / "file")
    assert put_together(take_apart(data)) == data
    assert verdict(data) == "right"


def test_mutants_give_a_typed_error_or_are_right_files(tmp_path):
    verdicts = campaign(tmp_path, 5_000, seed=1)
    assert verdicts["right"] > 200  # values may change: such a file is as right as any
    assert len(verdicts) > 12, verdicts


@pytest.mark.slow
def test_two_hundred_thousand_mutants(tmp_path):
    verdicts = campaign(tmp_path, 200_000, seed=2)
    assert sum(verdicts.values()) == 200_000
    assert len(verdicts) > 15, verdicts
