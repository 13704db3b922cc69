// The ways to run the inner loops, one for each instruction set they are compiled for.
#pragma once

#include "entropy/huffman.hpp"

namespace featherweight::huffman {

template <class T>
struct Ways {
    void (*decode_range)(const Blocks&, const Lookup&, T* out, std::size_t first, std::size_t last);
    // Up to 14 bits a code; up to 15.
    std::uint64_t (*encode_short)(const T*, std::size_t, const std::uint32_t*, std::size_t, unsigned, std::uint8_t*, std::uint64_t);
    std::uint64_t (*encode_long)(const T*, std::size_t, const std::uint32_t*, std::size_t, unsigned, std::uint8_t*, std::uint64_t);
};

#if defined(FEATHERWEIGHT_HAS_AVX2)
extern const Ways<std::uint8_t> kBytesAvx2;
extern const Ways<std::uint16_t> kWordsAvx2;
extern const Ways<std::uint32_t> kLongsAvx2;
#endif

}  // namespace featherweight::huffman
