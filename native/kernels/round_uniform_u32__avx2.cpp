// Eight weights at a time; their thresholds are gathered.
#include <immintrin.h>

#include "kernels/round_uniform_kernel.hpp"

namespace featherweight::round_uniform {
namespace {

inline void put_eight(std::uint32_t* out, __m256i symbols) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), symbols);
}

// The lowest 16 bits of each, one behind the other.
inline __m128i lower_halves(__m256i symbols) {
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(symbols, order), 0x08);
    return _mm256_castsi256_si128(halves);
}

inline void put_eight(std::uint16_t* out, __m256i symbols) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), lower_halves(symbols));
}

inline void put_eight(std::uint8_t* out, __m256i symbols) {
    const __m128i low = _mm_and_si128(lower_halves(symbols), _mm_set1_epi16(0xFF));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(low, low));
}

}  // namespace

template <class Symbol>
void rounded_avx2(const float* values, std::size_t count, const Grid& grid, Symbol* out) {
    const __m256 step = _mm256_set1_ps(grid.step), cap = _mm256_set1_ps(kCap), one = _mm256_set1_ps(1.0f);
    const __m256 last = _mm256_set1_ps(static_cast<float>(grid.sizes - 1)), sign = _mm256_set1_ps(-0.0f);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256 value = _mm256_loadu_ps(values + i);
        const __m256 x = _mm256_div_ps(_mm256_andnot_ps(sign, value), step);
        const __m256 whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m256 nearest = _mm256_min_ps(whole, cap);  // the cap for what is no number
        const __m256i place = _mm256_cvtps_epi32(_mm256_min_ps(nearest, last));
        const __m256 from_near = _mm256_cmp_ps(x, _mm256_i32gather_ps(grid.near, place, 4), _CMP_GE_OQ);
        const __m256 from_zero = _mm256_cmp_ps(x, _mm256_i32gather_ps(grid.zero, place, 4), _CMP_GE_OQ);
        const __m256 lower = _mm256_and_ps(from_zero, _mm256_sub_ps(nearest, one));
        const __m256i size = _mm256_cvtps_epi32(_mm256_blendv_ps(lower, nearest, from_near));
        const __m256i below = _mm256_srli_epi32(_mm256_castps_si256(value), 31);  // 1 for values below 0
        const __m256i zero = _mm256_cmpeq_epi32(size, _mm256_setzero_si256());
        put_eight(out + i, _mm256_sub_epi32(_mm256_slli_epi32(size, 1), _mm256_andnot_si256(zero, below)));
    }
    rounded_plainly(values, i, count, grid, out);
}

template void rounded_avx2(const float*, std::size_t, const Grid&, std::uint8_t*);
template void rounded_avx2(const float*, std::size_t, const Grid&, std::uint16_t*);
template void rounded_avx2(const float*, std::size_t, const Grid&, std::uint32_t*);

}  // namespace featherweight::round_uniform
