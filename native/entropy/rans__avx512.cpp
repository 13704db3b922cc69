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

// Lanes of one block in registers: V vectors of sixteen. Pairs: the classes of both vectors are counted together.
template <unsigned V, bool Pairs>
struct Held {
    __m512i states[V];
    const std::uint8_t* words;
    std::uint8_t* classes;
    alignas(32) std::uint16_t pairs[16];

    explicit Held(const Lanes& lanes) : words(lanes.words), classes(lanes.classes) {
        for (unsigned v = 0; v < V; ++v) states[v] = _mm512_loadu_si512(lanes.states + 16 * v);
    }
    bool has_round(const Lanes& lanes) const { return lanes.end - words >= 32 * static_cast<int>(V); }

    void round(const Lanes& lanes) {
        __m512i found[V];
        for (unsigned v = 0; v < V; ++v) {
            found[v] = step(states[v], lanes.slots, words);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(classes + 16 * v), _mm512_cvtepi32_epi8(found[v]));
        }
        if constexpr (Pairs) {
            const __m512i number = _mm512_set1_epi32((1 << kPairBits) - 1);
            const __m512i other = _mm512_slli_epi32(_mm512_and_si512(found[1], number), kPairBits);
            const __m512i both = _mm512_or_si512(_mm512_and_si512(found[0], number), other);
            _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), _mm512_cvtepi32_epi16(both));
        }
    }
    void count(const Lanes& lanes) {
        if constexpr (Pairs) {
            for (unsigned i = 0; i < 16; ++i) ++(*lanes.pairs)[i & 1][pairs[i]];
        } else {
            for (unsigned i = 0; i < 2 * V; ++i) count_eight(classes + 8 * i, *lanes.counts);
        }
        classes += 16 * V;
    }
    void give_back(Lanes& lanes, std::uint64_t rounds) {
        for (unsigned v = 0; v < V; ++v) _mm512_storeu_si512(lanes.states + 16 * v, states[v]);
        lanes.words = words;
        lanes.uncounted = lanes.classes = classes;
        lanes.rounds = rounds;
    }
};

template <unsigned V, bool Pairs>
void run(Lanes& lanes) {
    Held<V, Pairs> held(lanes);
    std::uint64_t rounds = lanes.rounds;
    for (; rounds != 0 && held.has_round(lanes); --rounds) {
        held.round(lanes);
        held.count(lanes);
    }
    held.give_back(lanes, rounds);
}

template <bool Pairs>
void run_both(Lanes& one, Lanes& other) {
    Held<2, Pairs> first(one), second(other);
    std::uint64_t done = 0;
    for (; done < one.rounds && done < other.rounds && first.has_round(one) && second.has_round(other); ++done) {
        first.round(one);
        second.round(other);
        first.count(one);
        second.count(other);
    }
    first.give_back(one, one.rounds - done);
    second.give_back(other, other.rounds - done);
}

}  // namespace

void run_lanes__avx512(Lanes& lanes) {
    if (lanes.count == 32) lanes.pairs ? run<2, true>(lanes) : run<2, false>(lanes);
    if (lanes.count == 16) run<1, false>(lanes);
}

void run_two__avx512(Lanes& one, Lanes& other) {
    one.pairs && other.pairs ? run_both<true>(one, other) : run_both<false>(one, other);
}

}  // namespace featherweight::rans
