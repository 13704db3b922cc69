// rANS streams from arbitrary bytes: decoded with every instruction set, which must agree in what they give or refuse;
// what is not refused must code to the same bytes again. And any symbols at all must come back.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "entropy/rans.hpp"
#include "featherweight/cpu.hpp"

namespace fw = featherweight;
namespace rans = featherweight::rans;

namespace {

void expect(bool holds) {
    if (!holds) std::abort();
}

using Bytes = std::vector<std::uint8_t>;

template <class Symbol>
fw::Fault decode(const Bytes& data, std::uint64_t alphabet, std::vector<Symbol>& out) {
    rans::Decoder decoder;
    fw::Fault fault = decoder.open(data.data(), data.size(), out.size(), alphabet);
    while (!fault && !decoder.done()) fault = decoder.decode(1, 1, out.data());
    return fault ? fault : decoder.finish(out.data());
}

template <class Symbol>
void from_stream(const Bytes& data, std::uint64_t count, std::uint64_t alphabet) {
    if (rans::Decoder().open(data.data(), data.size(), count, alphabet)) return;
    std::vector<Symbol> before;
    fw::Fault fault_before;
    for (int i = 0; i < fw::kIsas; ++i) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) continue;
        std::vector<Symbol> out(count);
        const fw::Fault fault = decode(data, alphabet, out);
        if (i == 0) {
            before = out, fault_before = fault;
            if (fault) continue;
            Bytes again;
            expect(rans::encode(out.data(), out.size(), again) && again == data);
        }
        expect(fault.code == fault_before.code && fault.offset == fault_before.offset);
        expect(fault || out == before);
    }
}

// Repeats the bytes as symbols, so that short inputs reach many lanes too.
template <class Symbol>
void from_symbols(const Bytes& bytes, std::uint64_t count, std::uint64_t alphabet) {
    std::vector<Symbol> symbols(count);
    std::uint64_t walk = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        walk = (walk * 5 + bytes[i % bytes.size()]) & 0xFFFFF;
        symbols[i] = static_cast<Symbol>((alphabet > 256 ? walk : bytes[i % bytes.size()]) % alphabet);
    }
    Bytes data;
    if (!rans::encode(symbols.data(), count, data)) return;
    std::vector<Symbol> out(count);
    expect(!decode(data, alphabet, out) && out == symbols);
    data[bytes[0] * 7u % data.size()] ^= static_cast<std::uint8_t>(1u << (bytes.back() & 7));
    from_stream<Symbol>(data, count, alphabet);
}

template <class Symbol>
void run(bool stream, const Bytes& bytes, std::uint64_t count, std::uint64_t alphabet) {
    if (stream) return from_stream<Symbol>(bytes, count, alphabet);
    from_symbols<Symbol>(bytes, count, alphabet);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 6) return 0;
    const unsigned kind = data[0];
    // Mostly short, for speed; now and then enough symbols for 4 lanes, and for 16, where vectors begin.
    const unsigned lanes = kind & 4 ? data[2] & 15 : 0;
    const std::uint64_t count = data[1] + (lanes == 15 ? 131072u : lanes > 12 ? 32768u : 16 * lanes);
    const std::uint64_t alphabet = 1u + data[3] + (data[4] << (kind >> 4 & 7) << 5);
    const Bytes bytes(data + 5, data + size);
    const std::uint64_t most = (kind & 3) == 0 ? 256 : (kind & 3) == 1 ? 1u << 16 : 1u << 20;
    const std::uint64_t used = alphabet < most ? alphabet : most;
    if ((kind & 3) == 0) run<std::uint8_t>(kind & 8, bytes, count, used);
    if ((kind & 3) == 1) run<std::uint16_t>(kind & 8, bytes, count, used);
    if ((kind & 3) > 1) run<std::uint32_t>(kind & 8, bytes, count, used);
    return 0;
}
