// The trellis eight levels at a time. Its machine is linear over GF(2) (numerics/trellis.py): with p the parities of the
// levels, state[i] & 1 = state[i - 4] & 1 ^ p[i - 2] ^ p[i - 3], so that four places in a row do not depend on each other.
#include <immintrin.h>

#include "kernels/levels_uniform_kernel.hpp"

namespace featherweight::levels_uniform {
namespace {

inline __m256i eight(const std::uint8_t* from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
inline __m256i eight(const std::uint16_t* from) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline __m256i eight(const std::uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline __m256i eight(const std::int32_t* from) {
    const __m256i levels = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm256_xor_si256(_mm256_slli_epi32(levels, 1), _mm256_srai_epi32(levels, 31));
}

inline void put_eight(std::int32_t* out, __m256, __m256i multiples) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), multiples);
}
inline void put_eight(float* out, __m256 step, __m256i multiples) {
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(multiples), step));
}

// The last bits of the states that follow on `state` if all levels are even, in both halves.
inline __m256i odd_ahead(unsigned state) {
    alignas(16) std::int32_t odd[4];
    for (std::int32_t& place : odd) {
        place = static_cast<std::int32_t>(state & 1);
        state = after(state, 0);
    }
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(odd)));
}

// The state behind eight levels, from the last bits of the last four states and the parities of the levels. The last
// bits of the states that would follow on even levels are b0, b0 ^ b1 and b1 ^ b2 of the state b2 b1 b0.
inline unsigned state_behind(__m256i odd, __m256i parity) {
    alignas(32) std::uint32_t o[8], p[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(o), odd);
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), parity);
    const std::uint32_t first = o[4] ^ p[6] ^ p[5], second = o[5] ^ p[7] ^ p[6], third = o[6] ^ p[7];
    const std::uint32_t middle = first ^ second;
    return first | middle << 1 | (third ^ middle) << 2;
}

template <class Level, class Out>
unsigned dependent_eight(const Level* levels, std::size_t count, unsigned state, float step, Out* out) {
    if (count < 8) return dependent(levels, count, state, step, out);
    const __m256i one = _mm256_set1_epi32(1), none = _mm256_setzero_si256();
    const __m256 steps = _mm256_set1_ps(step);
    __m256i before = none, odd = odd_ahead(state);  // the parities before, and the states' last bits four places before
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256i symbols = eight(levels + i), below = _mm256_and_si256(symbols, one);
        const __m256i doubled = _mm256_add_epi32(symbols, below);  // 2 |level|
        const __m256i parity = _mm256_and_si256(_mm256_srli_epi32(doubled, 1), one);
        const __m256i middle = _mm256_permute2x128_si256(before, parity, 0x21);
        const __m256i changes = _mm256_xor_si256(_mm256_alignr_epi8(parity, middle, 8), _mm256_alignr_epi8(parity, middle, 4));
        const __m256i sums = _mm256_xor_si256(changes, _mm256_permute2x128_si256(changes, changes, 0x08));
        const __m256i odds = _mm256_xor_si256(sums, odd);
        odd = _mm256_permute2x128_si256(odds, odds, 0x11);
        before = parity;
        const __m256i lower = _mm256_andnot_si256(_mm256_cmpeq_epi32(symbols, none), odds);
        const __m256i mask = _mm256_sub_epi32(none, below);
        const __m256i sizes = _mm256_sub_epi32(doubled, lower);
        put_eight(out + i, steps, _mm256_sub_epi32(_mm256_xor_si256(sizes, mask), mask));
    }
    return dependent(levels + i, count - i, state_behind(odd, before), step, out + i);
}

}  // namespace

template <class Level>
unsigned multiples_avx2(const Level* levels, const Part& part, std::int32_t* out) {
    return in_pieces(levels, part, kNoSteps, out, dependent_eight<Level, std::int32_t>);
}

template <class Level>
unsigned values_avx2(const Level* levels, const Part& part, const Steps& steps, float* out) {
    return in_pieces(levels, part, steps, out, dependent_eight<Level, float>);
}

template unsigned multiples_avx2(const std::uint8_t*, const Part&, std::int32_t*);
template unsigned multiples_avx2(const std::uint16_t*, const Part&, std::int32_t*);
template unsigned multiples_avx2(const std::uint32_t*, const Part&, std::int32_t*);
template unsigned multiples_avx2(const std::int32_t*, const Part&, std::int32_t*);
template unsigned values_avx2(const std::uint8_t*, const Part&, const Steps&, float*);
template unsigned values_avx2(const std::uint16_t*, const Part&, const Steps&, float*);
template unsigned values_avx2(const std::uint32_t*, const Part&, const Steps&, float*);
template unsigned values_avx2(const std::int32_t*, const Part&, const Steps&, float*);

}  // namespace featherweight::levels_uniform
