// What encoder and decoder of lanes share, and the inner loops of the decoder for each instruction set.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "featherweight/bytes.hpp"

namespace featherweight::rans {

constexpr unsigned kMaxLanes = 32;
constexpr std::uint64_t kStateBytes = 4, kSizeBytes = 3;
constexpr std::uint32_t kLow = 1u << 16;  // states are kLow..2^32-1 between symbols

// How often each class occurred. Four tables: equal classes in a row would wait for each other's increment.
using ClassCounts = std::array<std::array<std::uint32_t, 256>, 4>;

// How often class b in one lane met class a in another: [a + b 2^7]. Half as many increments, and two tables of them.
constexpr unsigned kPairBits = 7;  // for models of at most so many classes
using PairCounts = std::array<std::array<std::uint32_t, 1u << 2 * kPairBits>, 2>;

// Lanes at work: `rounds` rounds of one symbol a lane are left. Kernels stop where fewer words are left than one round
// may take; what is left then, the caller decodes with a check before every word.
struct Lanes {
    std::uint32_t* states;
    unsigned count;              // 1, 2, 4, 8, 16 or 32
    const std::uint32_t* slots;  // 4096: class | (slot - start of the class) << 8 | frequency << 20
    const std::uint8_t* words;   // the next one, two bytes each
    const std::uint8_t* end;
    std::uint8_t* classes;       // where the next one goes
    std::uint64_t rounds;
    ClassCounts* counts;
    PairCounts* pairs;              // where to count instead, if that can be; null if not
    const std::uint8_t* uncounted;  // the first class that was not counted yet; kernels may leave them all
};

void run_lanes__avx2(Lanes& lanes);  // for 16 and 32 lanes: eight wait for each other longer than the plain loop takes
void run_lanes__avx512(Lanes& lanes);

// Two blocks of 32 lanes side by side, as far as both go: the lanes of one work while those of the other wait.
void run_two__avx512(Lanes& one, Lanes& other);

namespace {  // bytes.hpp says why

// How many states take turns in a block of `count` symbols: a power of two, one for 2^13 symbols.
[[maybe_unused]] inline unsigned lanes_of(std::uint64_t count) {
    unsigned lanes = 1;
    while (lanes < kMaxLanes && count >> 13 >= 2 * lanes) lanes *= 2;
    return lanes;
}

// Beside a kernel's waiting for its states this costs next to nothing.
[[maybe_unused]] inline void count_eight(const std::uint8_t* classes, ClassCounts& counts) {
    std::uint64_t eight = load_little64(classes);
    for (unsigned j = 0; j < 8; ++j, eight >>= 8) ++counts[j & 3][eight & 0xFF];
}

[[maybe_unused]] inline std::uint32_t load_little16(const std::uint8_t* from) {
    std::uint16_t value;
    std::memcpy(&value, from, 2);
    return kLittleEndian ? value : static_cast<std::uint16_t>(value << 8 | value >> 8);
}

[[maybe_unused]] inline void store_little16(std::uint8_t* to, std::uint16_t value) {
    const auto stored = kLittleEndian ? value : static_cast<std::uint16_t>(value << 8 | value >> 8);
    std::memcpy(to, &stored, 2);
}

[[maybe_unused]] inline std::uint32_t load_little32(const std::uint8_t* from) {
    return load_little16(from) | load_little16(from + 2) << 16;
}

[[maybe_unused]] inline void store_little32(std::uint8_t* to, std::uint32_t value) {
    store_little16(to, static_cast<std::uint16_t>(value));
    store_little16(to + 2, static_cast<std::uint16_t>(value >> 16));
}

}  // namespace
}  // namespace featherweight::rans
