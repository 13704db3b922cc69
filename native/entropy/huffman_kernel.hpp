// The inner loops, included by huffman.cpp and by huffman__<isa>.cpp, each of which gets a copy of its own.
#pragma once

#include "entropy/huffman.hpp"
#include "featherweight/bytes.hpp"

namespace featherweight::huffman {
namespace {

constexpr int kLanes = 4;  // blocks decoded in turn, so that one does not wait for its own look-ups

// One block on its way: `bit` is where its next code begins.
template <class T>
struct Lane {
    std::uint64_t bit;
    T* out;
    T* end;
};

// One symbol from the highest bits of `window`; gives its length.
template <class T>
inline unsigned one_symbol(const Lookup& lookup, std::uint64_t window, T* out) {
    std::uint32_t entry = lookup.one[window >> (64 - kKeyBits)];
    if ((entry & 15) == 0) {
        entry = lookup.more[(entry >> 4) + (window << kKeyBits >> (64 - Lookup::kMoreBits))];
    }
    *out = static_cast<T>(entry >> 4);
    return entry & 15;
}

// Symbol by symbol to the end of the block; zeros follow the data. Gives the bit behind the last code.
template <class T>
std::uint64_t finish(const Blocks& blocks, const Lookup& lookup, Lane<T> lane) {
    const std::uint64_t last = 8 * blocks.size;
    while (lane.out < lane.end) {
        if (lane.bit > last) return last + 1;
        const std::uint64_t window = load_big64_within(blocks.data, blocks.size, lane.bit >> 3) << (lane.bit & 7);
        lane.bit += one_symbol(lookup, window, lane.out++);
    }
    return lane.bit > last ? last + 1 : lane.bit;
}

// Three symbols of at most 15 bits from one window of at least 57 bits.
template <class T>
struct Single {
    static constexpr std::ptrdiff_t kSymbols = 3;  // written by one step at most

    static inline void step(const std::uint8_t* data, const Lookup& lookup, Lane<T>& lane) {
        std::uint64_t window = load_big64(data + (lane.bit >> 3)) << (lane.bit & 7);
        for (int i = 0; i < 3; ++i) {
            const unsigned length = one_symbol(lookup, window, lane.out + i);
            window <<= length;
            lane.bit += length;
        }
        lane.out += 3;
    }
};

// Four look-ups of up to three symbols. The first three take at most 15 bits each and leave 12 of the 57 for the fourth,
// which is left out where it is the beginning of a longer code.
struct Triple {
    static constexpr std::ptrdiff_t kSymbols = 16;  // 4 * 3, and what the last store writes beyond them

    static inline void step(const std::uint8_t* data, const Lookup& lookup, Lane<std::uint8_t>& lane) {
        std::uint64_t window = load_big64(data + (lane.bit >> 3)) << (lane.bit & 7);
        std::uint64_t bit = lane.bit;
        std::uint8_t* out = lane.out;
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t entry = lookup.three[window >> (64 - kKeyBits)];
            const unsigned count = entry >> 28;
            if (count == 0) {
                if (i == 3) break;
                const unsigned length = one_symbol(lookup, window, out++);
                window <<= length;
                bit += length;
                continue;
            }
            const unsigned length = entry >> 24 & 15;
            if (kLittleEndian) {
                std::memcpy(out, &entry, 4);
            } else {
                for (int s = 0; s < 3; ++s) out[s] = static_cast<std::uint8_t>(entry >> 8 * s);
            }
            out += count;
            window <<= length;
            bit += length;
        }
        lane.bit = bit;
        lane.out = out;
    }
};

// Decodes `lanes` blocks from block `first` on.
template <class T, class Step>
void decode_group(const Blocks& blocks, const Lookup& lookup, T* out, std::size_t first, int lanes) {
    Lane<T> lane[kLanes];
    for (int i = 0; i < lanes; ++i) {
        const std::size_t place = (first + i) * blocks.block;
        const std::size_t rest = blocks.count - place;
        lane[i] = {blocks.starts[first + i], out + place, out + place + (rest < blocks.block ? rest : blocks.block)};
    }
    if (lanes == kLanes && blocks.size >= 8) {
        const std::uint64_t last = 8 * (blocks.size - 8);  // 8 bytes can be read at a bit up to here
        const auto goes_on = [last](const Lane<T>& one) {
            return one.bit <= last && one.end - one.out >= Step::kSymbols;
        };
        Lane<T> a = lane[0], b = lane[1], c = lane[2], d = lane[3];
        while (goes_on(a) && goes_on(b) && goes_on(c) && goes_on(d)) {
            Step::step(blocks.data, lookup, a);
            Step::step(blocks.data, lookup, b);
            Step::step(blocks.data, lookup, c);
            Step::step(blocks.data, lookup, d);
        }
        lane[0] = a, lane[1] = b, lane[2] = c, lane[3] = d;
    }
    for (int i = 0; i < lanes; ++i) blocks.ends[first + i] = finish(blocks, lookup, lane[i]);
}

template <class T>
void decode_range(const Blocks& blocks, const Lookup& lookup, T* out, std::size_t first, std::size_t last) {
    for (std::size_t block = first; block < last; block += kLanes) {
        const int lanes = last - block < kLanes ? static_cast<int>(last - block) : kLanes;
        if constexpr (sizeof(T) == 1) {
            if (lookup.has_three) {
                decode_group<T, Triple>(blocks, lookup, out, block, lanes);
                continue;
            }
        }
        decode_group<T, Single<T>>(blocks, lookup, out, block, lanes);
    }
}

// `table` holds code << 4 | length for `known` symbols. Group symbols of at most (64 - 7) / Group bits are put together
// before they meet the bits that are waiting, so that only one addition a group depends on the group before.
template <class T, int Group>
std::uint64_t encode_all(const T* symbols, std::size_t count, const std::uint32_t* table, std::size_t known,
                         unsigned first, std::uint8_t* out, std::uint64_t capacity) {
    const auto entry_of = [table, known](T symbol) {
        if constexpr (sizeof(T) == 1) return table[symbol];  // always 256 entries
        return symbol < known ? table[symbol] : 0u;
    };
    if (capacity < 8) return 0;
    const std::uint8_t* const begin = out;
    const std::uint8_t* const last = out + (capacity - 8);  // 8 bytes can be written up to here
    std::uint64_t waiting = first == 0 ? 0 : static_cast<std::uint64_t>(out[0]) << 56 >> (64 - first) << (64 - first);
    unsigned bits = first;
    const auto put = [&](std::uint64_t word, unsigned length) {
        waiting |= length == 0 ? 0 : word << (64 - bits - length);
        bits += length;
        store_big64(out, waiting);
        out += bits >> 3;
        waiting <<= bits & ~7u;
        bits &= 7;
    };
    std::size_t i = 0;
    for (; i + Group <= count; i += Group) {
        std::uint64_t word = 0;
        unsigned length = 0;
        for (int k = 0; k < Group; ++k) {
            const std::uint32_t entry = entry_of(symbols[i + k]);
            word = word << (entry & 15) | entry >> 4;
            length += entry & 15;
        }
        if (out > last) return 0;
        put(word, length);
    }
    for (; i < count; ++i) {
        if (out > last) return 0;
        const std::uint32_t entry = entry_of(symbols[i]);
        put(entry >> 4, entry & 15);
    }
    if (out > last) return 0;
    store_big64(out, waiting);
    return 8 * static_cast<std::uint64_t>(out - begin) + bits;
}

}  // namespace
}  // namespace featherweight::huffman
