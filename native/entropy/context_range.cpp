#include "entropy/context_range.hpp"

#include <algorithm>
#include <limits>

#include "entropy/context_classes.hpp"
#include "entropy/context_levels.hpp"

namespace featherweight::context_range {
namespace {

template <Kind kKind>
std::int32_t level_of(std::uint32_t symbol) {
    if constexpr (kKind == Kind::bits) return static_cast<std::int32_t>(symbol);
    return static_cast<std::int32_t>(symbol >> 1 ^ (0 - (symbol & 1)));
}

template <Kind kKind>
std::uint32_t symbol_of(std::int32_t level) {
    const auto bits = static_cast<std::uint32_t>(level);
    if constexpr (kKind == Kind::bits) return bits;
    return bits << 1 ^ (0 - (bits >> 31));
}

template <Kind kKind, class Symbol>
void encode_levels(const Symbol* symbols, std::uint64_t count, const Geometry& geometry, Encoder& coder) {
    Levels<Encoder, kKind> levels(coder, geometry);
    while (count > 0) {
        const std::uint64_t here = std::min(count, geometry.columns);
        std::int32_t* const row = levels.next();
        for (std::uint64_t j = 0; j < here; ++j) row[j] = level_of<kKind>(symbols[j]);
        levels.row(here);
        symbols += here;
        count -= here;
    }
}

template <Kind kKind, class Symbol>
Fault decode_levels(Decoder& coder, const Geometry& geometry, Symbol* out, std::uint64_t count) {
    Levels<Decoder, kKind> levels(coder, geometry);
    while (count > 0) {
        const std::uint64_t here = std::min(count, geometry.columns);
        const std::int32_t* const row = levels.next();
        if (!levels.row(here)) return {Code::index, coder.at(), 0};
        for (std::uint64_t j = 0; j < here; ++j) {
            const std::uint32_t symbol = symbol_of<kKind>(row[j]);
            if (symbol >= geometry.alphabet) return {Code::index, coder.at(), symbol};
            out[j] = static_cast<Symbol>(symbol);
        }
        out += here;
        count -= here;
    }
    return {};
}

template <class Symbol>
Fault decode_classes(Decoder& coder, const Geometry& geometry, Symbol* out, std::uint64_t count) {
    Classes<Decoder> classes(coder, geometry.alphabet);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint32_t symbol = classes.symbol(0);
        if (classes.broken() || symbol >= geometry.alphabet) return {Code::index, coder.at(), symbol};
        out[i] = static_cast<Symbol>(symbol);
    }
    return {};
}

}  // namespace

template <class Symbol>
void encode(const Symbol* symbols, std::uint64_t count, const Geometry& geometry, std::vector<std::uint8_t>& out) {
    Encoder coder(out);
    if (geometry.kind == Kind::levels) {
        encode_levels<Kind::levels>(symbols, count, geometry, coder);
    } else if (geometry.kind == Kind::bits) {
        encode_levels<Kind::bits>(symbols, count, geometry, coder);
    } else {
        Classes<Encoder> classes(coder, geometry.alphabet);
        for (std::uint64_t i = 0; i < count; ++i) classes.symbol(symbols[i]);
    }
    coder.finish();
}

template <class Symbol>
Fault decode(const std::uint8_t* data, std::uint64_t size, const Geometry& geometry, Symbol* out, std::uint64_t count) {
    Decoder coder(data, size);
    Fault fault;
    if (geometry.kind == Kind::levels) {
        fault = decode_levels<Kind::levels>(coder, geometry, out, count);
    } else if (geometry.kind == Kind::bits) {
        fault = decode_levels<Kind::bits>(coder, geometry, out, count);
    } else {
        fault = decode_classes(coder, geometry, out, count);
    }
    if (fault) return fault;
    if (!coder.finished()) return {Code::decoded_size, coder.at(), static_cast<std::int64_t>(size)};
    return {};
}

template void encode(const std::uint8_t*, std::uint64_t, const Geometry&, std::vector<std::uint8_t>&);
template void encode(const std::uint16_t*, std::uint64_t, const Geometry&, std::vector<std::uint8_t>&);
template void encode(const std::uint32_t*, std::uint64_t, const Geometry&, std::vector<std::uint8_t>&);
template Fault decode(const std::uint8_t*, std::uint64_t, const Geometry&, std::uint8_t*, std::uint64_t);
template Fault decode(const std::uint8_t*, std::uint64_t, const Geometry&, std::uint16_t*, std::uint64_t);
template Fault decode(const std::uint8_t*, std::uint64_t, const Geometry&, std::uint32_t*, std::uint64_t);

}  // namespace featherweight::context_range
