// Values of two and four bytes, 32 at a time; the others by the plain loops with wider registers.
#include <immintrin.h>

#include "kernels/planes_dense_kernel.hpp"

namespace featherweight::planes_dense {
namespace {

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(void* to, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(to), value); }

template <bool Turned>
inline __m256i turn16(__m256i v) {
    return Turned ? _mm256_or_si256(_mm256_slli_epi16(v, 1), _mm256_srli_epi16(v, 15)) : v;
}
template <bool Turned>
inline __m256i turn32(__m256i v) {
    return Turned ? _mm256_or_si256(_mm256_slli_epi32(v, 1), _mm256_srli_epi32(v, 31)) : v;
}
template <bool Turned>
inline __m256i turn_back16(__m256i v) {
    return Turned ? _mm256_or_si256(_mm256_srli_epi16(v, 1), _mm256_slli_epi16(v, 15)) : v;
}
template <bool Turned>
inline __m256i turn_back32(__m256i v) {
    return Turned ? _mm256_or_si256(_mm256_srli_epi32(v, 1), _mm256_slli_epi32(v, 31)) : v;
}

template <bool Turned>
void apart_wide(const std::uint16_t* values, std::size_t count, std::uint8_t* const* planes) {
    const __m256i low = _mm256_set1_epi16(0xFF);
    std::size_t j = 0;
    for (; j + 32 <= count; j += 32) {
        const __m256i a = turn16<Turned>(load(values + j)), b = turn16<Turned>(load(values + j + 16));
        const __m256i lows = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        const __m256i highs = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        store(planes[0] + j, _mm256_permute4x64_epi64(lows, 0xD8));  // packing works on halves
        store(planes[1] + j, _mm256_permute4x64_epi64(highs, 0xD8));
    }
    apart_from<std::uint16_t, Turned>(values, j, count, planes);
}

template <bool Turned>
void together_wide(const std::uint8_t* const* planes, std::size_t count, std::uint16_t* values) {
    std::size_t j = 0;
    for (; j + 32 <= count; j += 32) {
        const __m256i lows = _mm256_permute4x64_epi64(load(planes[0] + j), 0xD8);  // so that halves come out in order
        const __m256i highs = _mm256_permute4x64_epi64(load(planes[1] + j), 0xD8);
        store(values + j, turn_back16<Turned>(_mm256_unpacklo_epi8(lows, highs)));
        store(values + j + 16, turn_back16<Turned>(_mm256_unpackhi_epi8(lows, highs)));
    }
    together_from<std::uint16_t, Turned>(planes, j, count, values);
}

// The bytes of the four values of each half, lowest bytes first.
template <bool Turned>
inline __m256i grouped(const std::uint32_t* values) {
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm256_shuffle_epi8(turn32<Turned>(load(values)), order);
}

template <bool Turned>
void apart_wide(const std::uint32_t* values, std::size_t count, std::uint8_t* const* planes) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    std::size_t j = 0;
    for (; j + 32 <= count; j += 32) {
        const __m256i a = grouped<Turned>(values + j), b = grouped<Turned>(values + j + 8);
        const __m256i c = grouped<Turned>(values + j + 16), d = grouped<Turned>(values + j + 24);
        const __m256i first = _mm256_unpacklo_epi32(a, b), second = _mm256_unpacklo_epi32(c, d);
        const __m256i third = _mm256_unpackhi_epi32(a, b), fourth = _mm256_unpackhi_epi32(c, d);
        store(planes[0] + j, _mm256_permutevar8x32_epi32(_mm256_unpacklo_epi64(first, second), order));
        store(planes[1] + j, _mm256_permutevar8x32_epi32(_mm256_unpackhi_epi64(first, second), order));
        store(planes[2] + j, _mm256_permutevar8x32_epi32(_mm256_unpacklo_epi64(third, fourth), order));
        store(planes[3] + j, _mm256_permutevar8x32_epi32(_mm256_unpackhi_epi64(third, fourth), order));
    }
    apart_from<std::uint32_t, Turned>(values, j, count, planes);
}

template <bool Turned>
void together_wide(const std::uint8_t* const* planes, std::size_t count, std::uint32_t* values) {
    std::size_t j = 0;
    for (; j + 32 <= count; j += 32) {
        const __m256i a = load(planes[0] + j), b = load(planes[1] + j), c = load(planes[2] + j), d = load(planes[3] + j);
        const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
        const __m256i low2 = _mm256_unpacklo_epi8(c, d), high2 = _mm256_unpackhi_epi8(c, d);
        const __m256i first = turn_back32<Turned>(_mm256_unpacklo_epi16(low, low2));     // values 0-3, 16-19
        const __m256i second = turn_back32<Turned>(_mm256_unpackhi_epi16(low, low2));    // 4-7, 20-23
        const __m256i third = turn_back32<Turned>(_mm256_unpacklo_epi16(high, high2));   // 8-11, 24-27
        const __m256i fourth = turn_back32<Turned>(_mm256_unpackhi_epi16(high, high2));  // 12-15, 28-31
        store(values + j, _mm256_permute2x128_si256(first, second, 0x20));
        store(values + j + 8, _mm256_permute2x128_si256(third, fourth, 0x20));
        store(values + j + 16, _mm256_permute2x128_si256(first, second, 0x31));
        store(values + j + 24, _mm256_permute2x128_si256(third, fourth, 0x31));
    }
    together_from<std::uint32_t, Turned>(planes, j, count, values);
}

template <class Value>
void apart_avx2(const Value* values, std::size_t count, bool turned, std::uint8_t* const* planes) {
    turned ? apart_wide<true>(values, count, planes) : apart_wide<false>(values, count, planes);
}

template <class Value>
void together_avx2(const std::uint8_t* const* planes, std::size_t count, bool turned, Value* values) {
    turned ? together_wide<true>(planes, count, values) : together_wide<false>(planes, count, values);
}

}  // namespace

const Way<std::uint8_t> kBytesAvx2 = {apart_plainly, together_plainly, any_full_of};
const Way<std::uint16_t> kHalvesAvx2 = {apart_avx2, together_avx2, any_full_of};
const Way<std::uint32_t> kWordsAvx2 = {apart_avx2, together_avx2, any_full_of};
const Way<std::uint64_t> kDoublesAvx2 = {apart_plainly, together_plainly, any_full_of};

}  // namespace featherweight::planes_dense
