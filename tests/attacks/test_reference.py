"""The reference files: written as they always were, read as they always were."""

import hashlib
from dataclasses import replace

import pytest
import torch
from forge import Forge, Section, Value
from reference import FOLDER, LARGE, golden

from featherweight.container import pack
from featherweight.container.pack import load, open_file, repack
from featherweight.encodings._spec import coders, encodings, parse

NAMES = sorted(golden())


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def made(name):
    return golden()[name]


@pytest.fixture
def path(name):
    return FOLDER / f"{name}.fwt"


def test_the_folder_holds_these_files_and_no_others():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


def test_writing_gives_the_same_bytes_as_ever(made, path, tmp_path):
    assert made.save(tmp_path / "file") == path.read_bytes()


def test_reading_gives_the_same_tensors_as_ever(made, path):
    model = load(path, nonfinite=made.nonfinite)
    wanted = {name: tensor for name, tensor in made.model.state_dict().items() if "num_batches" not in name}
    found = model.state_dict()
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(bits(found[name]), bits(tensor)), name


def bits(tensor):
    """The bytes of a tensor: tells NaN from NaN and 0 from -0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def test_writing_what_was_read_gives_the_same_bytes(made, path, tmp_path):
    with open_file(path, nonfinite=made.nonfinite) as reader:
        again = replace(made, graph=None, extras=dict(reader.extras))
    assert again.save(tmp_path / "again", load(path, nonfinite=made.nonfinite)) == path.read_bytes()


def test_every_coder_and_encoding_has_a_reference():
    """And those of the tiers hold streams of each kind in the file of their own."""
    used = {}
    for name in NAMES:
        with open_file(FOLDER / f"{name}.fwt", nonfinite="allow") as reader:
            nodes = [node for record in reader.tensors for node in parse(record.shape, record.spec).walk()]
        used[name] = {code for node in nodes for code, _ in node.streams}, {node.kind.code for node in nodes}
    assert set().union(*(codes for codes, _ in used.values())) == set(coders())
    assert set().union(*(kinds for _, kinds in used.values())) == set(encodings())
    assert used["interleaved"][0] >= {3}
    assert used["in_context"][0] >= {4}


def test_repacking_gives_the_same_bytes(path, tmp_path):
    repack(path, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_forge_gives_the_same_bytes(made, path):
    """The format has two writers that share no code."""
    with open_file(path, nonfinite=made.nonfinite) as reader:
        tensors = [
            Section(record.name, reader.payload(index), record.shape, record.spec)
            for index, record in enumerate(reader.tensors)
        ]
        extras = [Section(name, data) for name, data in reader.extras.items()]
        numbers = {record.name: index for index, record in enumerate(reader.tensors)}
        aliases = [[alias, numbers[name]] for alias, name in reader.aliases.items()]
        decoded = reader.prefix.decoded_bytes
        flags, graph = reader.prefix.flags, reader.header.graph
    forged = Forge(tensors, plain(graph), aliases, extras, decoded, flags=flags).build()
    assert forged == path.read_bytes()


def plain(graph):
    """The graph with the forge's own kind of reference."""
    if isinstance(graph, list):
        return [plain(item) for item in graph]
    return Value(graph.index) if hasattr(graph, "index") and not isinstance(graph, int | str | bytes) else graph


def test_report_accounts_for_every_byte(path):
    found = pack.describe(path)
    parts = found.header_bytes + found.tensor_bytes + found.extra_bytes + found.checksum_bytes + found.padding_bytes
    assert 40 + parts + 32 == found.total_bytes == path.stat().st_size
    assert sum(row.bytes for row in found.tensors) == found.tensor_bytes
    assert sum(found.extras.values()) == found.extra_bytes
    assert found.sha256 == hashlib.sha256(path.read_bytes()[:-32]).hexdigest()


def test_large_sections_are_aligned_and_small_ones_are_tight():
    with open_file(FOLDER / f"{LARGE}.fwt") as reader:
        padded = {section.name: section.padding for section in reader.sections if section.padding}
        large = next(section for section in reader.sections if section.length >= 65536)
    assert padded == {"large": large.padding}
    assert large.start % 64 == 0


def test_what_is_needed_to_run_a_small_network_takes_less_than_1_kib():
    found = pack.describe(FOLDER / "deep_compression.fwt")
    assert found.overhead_bytes < 500
    assert 0 < found.graph_bytes < found.header_bytes


def test_one_file_has_exponents_apart_from_mantissas():
    with open_file(FOLDER / "exact.fwt") as reader:
        forms = {record.name: record.spec[1] // 512 for record in reader.tensors}
    assert forms == {"single": 1, "brain": 1, "short": 1, "few": 0}
