// Folds four times 16 bytes at a time: a block of 128 bits is, modulo the polynomial, as good as any other with the same
// remainder, so that one may be multiplied up to the place of a later one and added there. What is left in the end, 16
// bytes, and a rest go through the checksum byte by byte.
//
// Vinodh Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009.
#include "core/crc32.hpp"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FEATHERWEIGHT_CRC32 1
#include <immintrin.h>
#endif

#include <array>

namespace featherweight {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
        table[byte] = value;
    }
    return table;
}

constexpr std::array<std::uint32_t, 256> kTable = make_table();

std::uint32_t bytewise(std::uint32_t crc, const std::uint8_t* data, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) crc = crc >> 8 ^ kTable[(crc ^ data[i]) & 0xFF];
    return crc;
}

#if defined(FEATHERWEIGHT_CRC32)

#define FEATHERWEIGHT_PCLMUL __attribute__((target("pclmul,sse4.1")))

FEATHERWEIGHT_PCLMUL inline __m128i load(const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// `block` moved up by as many bits as `powers` stand for, and `next` added.
FEATHERWEIGHT_PCLMUL inline __m128i folded(__m128i block, __m128i powers, __m128i next) {
    const __m128i low = _mm_clmulepi64_si128(block, powers, 0x00), high = _mm_clmulepi64_si128(block, powers, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// At least 64 bytes.
FEATHERWEIGHT_PCLMUL std::uint32_t by_folding(std::uint32_t crc, const std::uint8_t* data, std::size_t size) {
    const __m128i by512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);  // x^(512-32), x^(512+32), reflected, modulo
    const __m128i by128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);  // x^(128-32), x^(128+32)
    __m128i a = _mm_xor_si128(load(data), _mm_cvtsi32_si128(static_cast<int>(crc)));
    __m128i b = load(data + 16), c = load(data + 32), d = load(data + 48);
    for (data += 64, size -= 64; size >= 64; data += 64, size -= 64) {
        a = folded(a, by512, load(data));
        b = folded(b, by512, load(data + 16));
        c = folded(c, by512, load(data + 32));
        d = folded(d, by512, load(data + 48));
    }
    a = folded(folded(folded(a, by128, b), by128, c), by128, d);
    for (; size >= 16; data += 16, size -= 16) a = folded(a, by128, load(data));
    alignas(16) std::uint8_t left[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(left), a);
    return bytewise(bytewise(0, left, 16), data, size);
}

#endif

}  // namespace

bool has_fast_crc32() {
#if defined(FEATHERWEIGHT_CRC32)
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#else
    return false;
#endif
}

std::uint32_t crc32(std::uint32_t before, const std::uint8_t* data, std::size_t size) {
#if defined(FEATHERWEIGHT_CRC32)
    if (size >= 64) return ~by_folding(~before, data, size);
#endif
    return ~bytewise(~before, data, size);
}

}  // namespace featherweight
