// Numbers at any address, in either byte order. Everything here has internal linkage, so that files compiled for one
// instruction set may include it without leaking their code into the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#include <intrin.h>
#include <stdlib.h>
#endif

namespace featherweight {
namespace {

[[maybe_unused]] inline std::uint64_t swapped(std::uint64_t value) {
#if defined(_MSC_VER)
    return _byteswap_uint64(value);
#else
    return __builtin_bswap64(value);
#endif
}

// How many zeros a number above 0 begins with.
[[maybe_unused]] inline int leading_zeros(std::uint64_t number) {
#if defined(_MSC_VER)
    unsigned long place;
    _BitScanReverse64(&place, number);
    return 63 - static_cast<int>(place);
#else
    return __builtin_clzll(number);
#endif
}

constexpr bool kLittleEndian =
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    false;
#else
    true;
#endif

// The 8 bytes at `from` as a number, highest byte first. The caller knows that they are there.
[[maybe_unused]] inline std::uint64_t load_big64(const std::uint8_t* from) {
    std::uint64_t value;
    std::memcpy(&value, from, 8);
    return kLittleEndian ? swapped(value) : value;
}

// The 8 bytes at `from` as a number, lowest byte first. The caller knows that they are there.
[[maybe_unused]] inline std::uint64_t load_little64(const std::uint8_t* from) {
    std::uint64_t value;
    std::memcpy(&value, from, 8);
    return kLittleEndian ? value : swapped(value);
}

[[maybe_unused]] inline void store_big64(std::uint8_t* to, std::uint64_t value) {
    const std::uint64_t stored = kLittleEndian ? swapped(value) : value;
    std::memcpy(to, &stored, 8);
}

[[maybe_unused]] inline void store_little64(std::uint8_t* to, std::uint64_t value) {
    const std::uint64_t stored = kLittleEndian ? value : swapped(value);
    std::memcpy(to, &stored, 8);
}

// Like load_big64, with zeros for the bytes at and behind `size`.
[[maybe_unused]] inline std::uint64_t load_big64_within(const std::uint8_t* data, std::uint64_t size, std::uint64_t at) {
    if (at < size && size - at >= 8) return load_big64(data + at);
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < 8; ++i) value = value << 8 | (at < size && i < size - at ? data[at + i] : 0);
    return value;
}

}  // namespace
}  // namespace featherweight
