// Canonical Huffman codes of at most 15 bits; the bytes are defined by src/featherweight/entropy/huffman.py.
//
// Table and index of a stream are Python's business: here come the codes, block by block. Bits fill a byte from the
// highest to the lowest. T is uint8_t, uint16_t or uint32_t throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace featherweight::huffman {

constexpr int kMaxLength = 15;
constexpr int kKeyBits = 12;  // of the first look-up; longer codes take a second one

// What every 12 bits begin with. 4096 entries of 4 bytes: a quarter to a half of a first-level cache.
struct Lookup {
    static constexpr std::uint32_t kSize = 1u << kKeyBits;
    static constexpr int kMoreBits = kMaxLength - kKeyBits;

    // symbol << 4 | length; or, for the beginning of longer codes, place in `more` << 4
    std::uint32_t one[kSize];
    // Up to three symbols below 256 whose codes fit: symbols in the low bytes | bits of all << 24 | how many << 28
    std::uint32_t three[kSize];
    // For the next 3 bits behind 12: like `one`
    std::uint32_t more[kSize << kMoreBits];
    bool has_three;
};

// A look-up for `used` codes: `symbols` in order of their codes and the length of each. Null unless the lengths ascend,
// lie in 1..15 and form a full code, and the symbols are below 2^28. With `three`, which needs symbols below 256, the
// look-up of several symbols at once is made too.
std::unique_ptr<Lookup> make_lookup(const std::uint32_t* symbols, const std::uint8_t* lengths, std::size_t used, bool three);

struct Blocks {
    const std::uint8_t* data;   // the coded bytes
    std::uint64_t size;         // how many
    const std::uint64_t* starts;  // the bit where each block begins, at most 8 * size
    std::uint64_t* ends;        // out: the bit behind each block; 8 * size + 1 for one that needs bits behind the end
    std::size_t block;          // symbols of each block but the last
    std::size_t count;          // symbols of all blocks
    std::size_t blocks;
};

// Decodes all blocks into `out`, shape (count,), on at most `threads` threads.
template <class T>
void decode(const Blocks& blocks, const Lookup& lookup, T* out, unsigned threads);

// The bits that the codes of each block of `block` symbols take, into sizes[(count + block - 1) / block].
template <class T>
void sizes(const T* symbols, std::size_t count, const std::uint8_t* lengths, std::size_t alphabet, std::size_t block,
           std::uint64_t* sizes);

// Writes the codes of all symbols from bit `first` (0..7) of out[0] on; the bits before are kept, those behind the last
// code up to a whole byte are zero. Gives the bit behind the last code, or 0 when `capacity` bytes (8 more than the codes
// need) are too few. A symbol outside the alphabet counts as one without a code.
template <class T>
std::uint64_t encode(const T* symbols, std::size_t count, const std::uint16_t* codes, const std::uint8_t* lengths,
                     std::size_t alphabet, unsigned first, std::uint8_t* out, std::uint64_t capacity);

}  // namespace featherweight::huffman
