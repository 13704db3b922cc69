// Huffman blocks from arbitrary bytes: any full code, any places of blocks, any data; decoded with every instruction set,
// which must agree, and encoded again, which must give the same bits.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "entropy/huffman.hpp"
#include "featherweight/cpu.hpp"

namespace fw = featherweight;
namespace hf = featherweight::huffman;

namespace {

void expect(bool holds) {
    if (!holds) std::abort();
}

// Takes bytes from the front of the input, zeros when it is used up.
struct Bytes {
    const std::uint8_t* data;
    std::size_t size;
    std::uint8_t next() {
        if (size == 0) return 0;
        --size;
        return *data++;
    }
};

// Ascending lengths of a full code: each byte says how much the length may grow; what is left at 15 bits fills up.
std::vector<std::uint8_t> widths(Bytes& bytes, std::size_t most) {
    std::vector<std::uint8_t> found;
    std::uint32_t room = 1u << 15;
    std::uint8_t width = static_cast<std::uint8_t>(1 + bytes.next() % 15);
    while (room > 0) {
        const std::uint8_t byte = bytes.next();
        if (byte < 64 && width < 15) width = static_cast<std::uint8_t>(width + 1 + byte % (15 - width));
        const std::uint32_t left = room - (1u << (15 - width));
        if (found.size() + 2 > most && left > 0) return {};
        found.push_back(width);
        room = left;
    }
    return found;
}

template <class T>
void decode(Bytes bytes, const hf::Lookup& lookup, std::size_t block, std::size_t count, const hf::Blocks& where,
            const std::vector<std::uint8_t>& lengths, const std::vector<std::uint16_t>& codes) {
    std::vector<T> out(count), before;
    std::vector<std::uint64_t> ends(where.blocks), ends_before;
    for (int i = 0; i < fw::kIsas; ++i) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) continue;
        hf::Blocks blocks = where;
        blocks.data = bytes.data, blocks.size = bytes.size, blocks.ends = ends.data();
        blocks.block = block, blocks.count = count;
        std::memset(out.data(), 0, sizeof(T) * count);
        hf::decode(blocks, lookup, out.data(), 1);
        const bool inside = ends[0] <= 8 * bytes.size;
        if (i > 0) expect(ends == ends_before);
        if (i > 0 && inside) expect(std::memcmp(out.data(), before.data(), sizeof(T) * (count < block ? count : block)) == 0);
        before = out, ends_before = ends;
        if (!inside || where.starts[0] != 0) continue;
        const std::size_t first = count < block ? count : block;
        std::vector<std::uint8_t> coded(ends[0] / 8 + 9);
        expect(hf::encode(out.data(), first, codes.data(), lengths.data(), lengths.size(), 0, coded.data(), coded.size()) ==
               ends[0]);
        expect(std::memcmp(coded.data(), bytes.data, ends[0] / 8) == 0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes = {data, size};
    const std::uint8_t kind = bytes.next();
    const std::size_t block = 1u + bytes.next() * (kind & 8 ? 64u : 1u);
    const std::size_t count = 1u + bytes.next() * (kind & 16 ? 64u : 1u);
    const std::vector<std::uint8_t> ascending = widths(bytes, kind % 3 == 0 ? 256 : 4096);
    if (ascending.empty()) return 0;
    std::vector<std::uint32_t> order(ascending.size());
    std::vector<std::uint16_t> codes(order.size());
    std::uint32_t code = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        order[i] = static_cast<std::uint32_t>(i);
        codes[i] = static_cast<std::uint16_t>(code >> (15 - ascending[i]));
        code += 1u << (15 - ascending[i]);
    }
    const auto lookup = hf::make_lookup(order.data(), ascending.data(), order.size(), kind % 3 == 0 && (kind & 4) != 0);
    expect(lookup != nullptr);
    std::vector<std::uint64_t> starts((count + block - 1) / block);
    std::uint64_t at = 0;
    for (std::uint64_t& start : starts) {
        start = at;
        at += bytes.next() * (kind & 32 ? 1u : 1u << 20);
    }
    hf::Blocks where = {};
    where.starts = starts.data(), where.blocks = starts.size();
    if (kind % 3 == 0) decode<std::uint8_t>(bytes, *lookup, block, count, where, ascending, codes);
    if (kind % 3 == 1) decode<std::uint16_t>(bytes, *lookup, block, count, where, ascending, codes);
    if (kind % 3 == 2) decode<std::uint32_t>(bytes, *lookup, block, count, where, ascending, codes);
    return 0;
}
