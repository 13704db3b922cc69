// Sixteen states a vector. Words go to the lanes that need one in order of the lanes, which is what expanding does.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC's own header: its bug 105593
#endif
#include <immintrin.h>

#include <cstdint>

#include "entropy/rans_lanes.hpp"

namespace featherweight::rans {
namespace {

// One round of sixteen lanes: moves the state, gives the entries that hold the classes.
inline __m512i step(__m512i& state, const std::uint32_t* slots, const std::uint8_t*& words) {
    const __m512i slot = _mm512_and_si512(state, _mm512_set1_epi32(0xFFF));
    const __m512i entry = _mm512_i32gather_epi32(slot, slots, 4);
    const __m512i offset = _mm512_and_si512(_mm512_srli_epi32(entry, 8), _mm512_set1_epi32(0xFFF));
    const __m512i high = _mm512_srli_epi32(state, 12);
    const __m512i moved = _mm512_add_epi32(_mm512_mullo_epi32(_mm512_srli_epi32(entry, 20), high), offset);
    const __mmask16 low = _mm512_cmplt_epu32_mask(moved, _mm512_set1_epi32(1 << 16));
    const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
    state = _mm512_mask_or_epi32(moved, low, _mm512_slli_epi32(moved, 16), _mm512_maskz_expand_epi32(low, next));
    words += 2 * _mm_popcnt_u32(low);
    return entry;
}

template <unsigned V>
void run(Lanes& lanes) {
    __m512i states[V];
    for (unsigned v = 0; v < V; ++v) states[v] = _mm512_loadu_si512(lanes.states + 16 * v);
    const std::uint8_t* words = lanes.words;
    std::uint8_t* classes = lanes.classes;
    std::uint64_t rounds = lanes.rounds;
    const std::uint32_t* slots = lanes.slots;
    for (; rounds != 0 && lanes.end - words >= 32 * static_cast<int>(V); --rounds, classes += 16 * V) {
        for (unsigned v = 0; v < V; ++v) {
            const __m128i found = _mm512_cvtepi32_epi8(step(states[v], slots, words));  // keeps the lowest byte
            _mm_storeu_si128(reinterpret_cast<__m128i*>(classes + 16 * v), found);
        }
    }
    for (unsigned v = 0; v < V; ++v) _mm512_storeu_si512(lanes.states + 16 * v, states[v]);
    lanes.words = words;
    lanes.classes = classes;
    lanes.rounds = rounds;
}

}  // namespace

void run_lanes__avx512(Lanes& lanes) {
    if (lanes.count == 32) run<2>(lanes);
    if (lanes.count == 16) run<1>(lanes);
}

}  // namespace featherweight::rans
