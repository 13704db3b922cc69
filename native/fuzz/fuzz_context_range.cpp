// Blocks of the small tier from arbitrary bytes, of any kind and any tensor: what decodes must code to the same bytes
// again, and whatever happens must not depend on what lay in the output before. And any symbols at all must come back.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "entropy/context_range.hpp"

namespace fw = featherweight;
namespace cr = featherweight::context_range;

namespace {

using Bytes = std::vector<std::uint8_t>;

void expect(bool holds) {
    if (!holds) std::abort();
}

// Takes bytes from the front of the input, zeros when it is used up.
struct Reader {
    const std::uint8_t* data;
    std::size_t size;
    std::uint8_t next() {
        if (size == 0) return 0;
        --size;
        return *data++;
    }
};

template <class Symbol>
void from_stream(const Bytes& data, const cr::Geometry& geometry, std::uint64_t count) {
    std::vector<Symbol> out(count, 0), other(count, static_cast<Symbol>(~Symbol{0}));
    const fw::Fault fault = cr::decode(data.data(), data.size(), geometry, out.data(), count);
    const fw::Fault again = cr::decode(data.data(), data.size(), geometry, other.data(), count);
    expect(fault.code == again.code && fault.offset == again.offset && fault.value == again.value);
    expect(fault.offset <= data.size());
    if (fault) {
        expect(fault.code == fw::Code::index || fault.code == fw::Code::decoded_size);
        return;
    }
    expect(out == other);
    Bytes coded;
    cr::encode(out.data(), count, geometry, coded);
    expect(coded == data);
}

// Symbols whose size goes with that of the bytes, so that short inputs reach small and huge levels alike.
template <class Symbol>
void from_symbols(Reader bytes, const cr::Geometry& geometry, std::uint64_t count) {
    std::vector<Symbol> symbols(count), out(count);
    const Reader first = bytes;
    for (Symbol& symbol : symbols) {
        if (bytes.size == 0) bytes = first;
        const std::uint64_t byte = bytes.next();
        const std::uint64_t value = byte < 224 ? byte >> 3 & byte : (byte * 0x9E3779B97F4A7C15u) >> (byte & 31) >> 32;
        symbol = static_cast<Symbol>(value % geometry.alphabet);
    }
    Bytes data;
    cr::encode(symbols.data(), count, geometry, data);
    expect(!cr::decode(data.data(), data.size(), geometry, out.data(), count) && out == symbols);
    if (data.empty()) return;
    data[first.size * 7u % data.size()] ^= static_cast<std::uint8_t>(1u << (first.size & 7));
    from_stream<Symbol>(data, geometry, count);
}

template <class Symbol>
void run(bool stream, Reader bytes, cr::Geometry geometry, std::uint64_t count) {
    const std::uint64_t most = std::uint64_t{1} << (8 * sizeof(Symbol));
    if (geometry.alphabet > most) geometry.alphabet = most;
    if (stream) return from_stream<Symbol>(Bytes(bytes.data, bytes.data + bytes.size), geometry, count);
    from_symbols<Symbol>(bytes, geometry, count);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Reader bytes = {data, size};
    const std::uint8_t way = bytes.next(), wide = bytes.next();
    cr::Geometry geometry;
    geometry.kind = static_cast<cr::Kind>(way % 3);
    geometry.alphabet = geometry.kind == cr::Kind::bits ? 2 : (std::uint64_t{2} + (wide & 7)) << (wide >> 3 & 31) >> 2;
    if (geometry.alphabet < 2) geometry.alphabet = 2;
    if (geometry.alphabet > std::uint64_t{1} << 32) geometry.alphabet = std::uint64_t{1} << 32;
    geometry.columns = 1u + bytes.next() * (way & 64 ? 16u : 1u);
    geometry.kernel = static_cast<std::uint32_t>(1 + bytes.next() % geometry.columns);
    geometry.width = 1 + bytes.next() % geometry.kernel;
    geometry.trellis = bytes.next();
    geometry.flat = (way & 128) != 0;
    geometry.mean = std::uint64_t{1} << bytes.next() % 41;
    const std::uint64_t count = 1u + bytes.next() * (way & 32 ? 16u : 1u);
    const bool stream = (way & 16) != 0;
    if (wide < 64) run<std::uint8_t>(stream, bytes, geometry, count);
    if (wide >= 64 && wide < 128) run<std::uint16_t>(stream, bytes, geometry, count);
    if (wide >= 128) run<std::uint32_t>(stream, bytes, geometry, count);
    return 0;
}
