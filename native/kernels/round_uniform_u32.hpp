// Weights to the whole numbers of steps that src/featherweight/numerics/scalar.py tells, as symbols 0, 1, 2, 3, 4 ... for
// 0, -1, 1, -2, 2 ... (uint8_t, uint16_t, uint32_t), and how often each size of a weight occurs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight::round_uniform {

// Of the nearest size n it is n from near[n] on, else n - 1 from zero[n] on, else 0; x = |w| / step is compared. There are
// `sizes` thresholds of each kind, at least one, and the last are those of all larger sizes.
struct Grid {
    float step;
    const float* near;
    const float* zero;
    std::size_t sizes;
};

constexpr float kCap = 1073741824.0f;  // levels that weights far beyond the grid get, and what is no number

// The symbols of float32 weights. Symbols that do not fit lose their highest bits.
template <class Symbol>
void rounded(const float* values, std::size_t count, const Grid& grid, Symbol* out);

template <class Symbol>
void rounded_avx2(const float* values, std::size_t count, const Grid& grid, Symbol* out);

// table[value] for each value; the table has 2^16 entries.
template <class Symbol>
void looked_up(const std::uint16_t* values, std::size_t count, const Symbol* table, Symbol* out);

// Adds how often each size occurs to `counts`: of 16 bits all but the sign (2^15 counts), of 32 bits the highest 16
// behind the sign (2^16 counts).
void count_sizes(const std::uint16_t* values, std::size_t count, std::int64_t* counts);
void count_sizes(const std::uint32_t* values, std::size_t count, std::int64_t* counts);

}  // namespace featherweight::round_uniform
