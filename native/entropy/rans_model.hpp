// What rANS knows of a stream: classes, their frequencies, and the table that says both. The specification is
// src/featherweight/entropy/_rans_model.py; names and order are the same here.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "featherweight/fault.hpp"

namespace featherweight::rans {

constexpr unsigned kPrecision = 12;
constexpr std::uint32_t kTotal = 1u << kPrecision;  // the sum of all frequencies
constexpr unsigned kMaxClasses = 256;
constexpr unsigned kBins = 304;  // symbols below 256, then four for each power of two up to 2^20

using Bins = std::array<std::uint64_t, kBins>;

struct Model {
    std::uint8_t split = 0, sub = 0, digits = 0, flat = 0;
    unsigned classes = 0;                           // 1..256; the last one has a grade above 0
    std::array<std::uint16_t, kMaxClasses> grades;  // those at and behind `classes` are not defined
    std::array<std::uint32_t, kMaxClasses> frequencies;

    bool same_table(const Model& other) const;
};

// floor(log2 value) for value above 0.
inline unsigned power_of(std::uint32_t value) {
#if defined(_MSC_VER)
    unsigned power = 0;
    while (value >>= 1) ++power;
    return power;
#else
    return 31u - static_cast<unsigned>(__builtin_clz(value));
#endif
}

// The bin of a symbol below 2^20.
inline unsigned bin_of(std::uint32_t symbol) {
    if (symbol < 256) return symbol;
    const unsigned power = power_of(symbol);
    return 256 + 4 * (power - 8) + ((symbol >> (power - 2)) & 3);
}

inline unsigned class_of(std::uint32_t symbol, unsigned split, unsigned sub) {
    if (symbol < 1u << split) return symbol;
    const unsigned power = power_of(symbol);
    return (1u << split) + ((power - split) << sub) + ((symbol >> (power - sub)) & ((1u << sub) - 1));
}

// Symbols below are a class each, whose number they are. With split = sub the first larger ones are too.
inline unsigned single_symbols(const Model& model) { return 1u << (model.split + (model.split == model.sub ? 1 : 0)); }

// The lowest symbol of a class, and how many bits tell its symbols apart.
struct Class {
    std::uint32_t lowest, own;
};
inline Class class_at(unsigned number, unsigned split, unsigned sub) {
    if (number < 1u << split) return {number, 0};
    const unsigned above = number - (1u << split), own = split + (above >> sub) - sub;
    return {((1u << sub) + (above & ((1u << sub) - 1))) << own, own};
}

// The model of a stream with these numbers of symbols in the bins, at least two in all.
Model choose(const Bins& bins);

// Appends the table, filled up with zero bits to whole bytes.
void write_table(const Model& model, std::vector<std::uint8_t>& out);

// Reads a table and gives the byte behind it.
Fault read_table(const std::uint8_t* data, std::uint64_t size, std::uint64_t alphabet, Model& model, std::uint64_t& end);

}  // namespace featherweight::rans
