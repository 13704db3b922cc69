// Eight states a vector. Words go to the lanes that need one in order of the lanes: a table of all 256 patterns says
// which of the next eight words each lane takes.
#include <immintrin.h>

#include <cstdint>

#include "entropy/rans_lanes.hpp"

namespace featherweight::rans {
namespace {

struct Places {
    std::uint8_t of[256][8];
};

constexpr Places make_places() {
    Places places{};
    for (int mask = 0; mask < 256; ++mask) {
        std::uint8_t next = 0;
        for (int lane = 0; lane < 8; ++lane) places.of[mask][lane] = mask >> lane & 1 ? next++ : std::uint8_t{0};
    }
    return places;
}

alignas(64) constexpr Places kPlaces = make_places();

// One round of eight lanes: moves the state, gives the entries that hold the classes.
inline __m256i step(__m256i& state, const std::uint32_t* slots, const std::uint8_t*& words) {
    const __m256i slot = _mm256_and_si256(state, _mm256_set1_epi32(0xFFF));
    const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(slots), slot, 4);
    const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(entry, 8), _mm256_set1_epi32(0xFFF));
    const __m256i high = _mm256_srli_epi32(state, 12);
    const __m256i moved = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_srli_epi32(entry, 20), high), offset);
    const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(moved, 16), _mm256_setzero_si256());
    const auto mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
    const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPlaces.of[mask]));
    const __m256i taken = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(next), _mm256_cvtepu8_epi32(places));
    state = _mm256_blendv_epi8(moved, _mm256_or_si256(_mm256_slli_epi32(moved, 16), taken), low);
    words += 2 * _mm_popcnt_u32(mask);
    return _mm256_and_si256(entry, _mm256_set1_epi32(0xFF));
}

inline void store(__m256i a, __m256i b, __m256i c, __m256i d, std::uint8_t* out) {
    const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works on halves
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(packed, order));
}

inline void store(__m256i a, __m256i b, std::uint8_t* out) {
    const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xD8);
    const __m128i packed = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
}

template <unsigned V>
void run(Lanes& lanes) {
    __m256i states[V];
    for (unsigned v = 0; v < V; ++v) states[v] = _mm256_loadu_si256(reinterpret_cast<__m256i*>(lanes.states) + v);
    const std::uint8_t* words = lanes.words;
    std::uint8_t* classes = lanes.classes;
    std::uint64_t rounds = lanes.rounds;
    const std::uint32_t* slots = lanes.slots;
    for (; rounds != 0 && lanes.end - words >= 16 * static_cast<int>(V); --rounds, classes += 8 * V) {
        __m256i found[V];
        for (unsigned v = 0; v < V; ++v) found[v] = step(states[v], slots, words);
        if constexpr (V == 4) store(found[0], found[1], found[2], found[3], classes);
        if constexpr (V == 2) store(found[0], found[1], classes);
        for (unsigned i = 0; i < V; ++i) count_eight(classes + 8 * i, *lanes.counts);
    }
    for (unsigned v = 0; v < V; ++v) _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes.states) + v, states[v]);
    lanes.words = words;
    lanes.classes = classes;
    lanes.uncounted = classes;
    lanes.rounds = rounds;
}

}  // namespace

void run_lanes__avx2(Lanes& lanes) {
    if (lanes.count == 32) run<4>(lanes);
    if (lanes.count == 16) run<2>(lanes);
}

}  // namespace featherweight::rans
