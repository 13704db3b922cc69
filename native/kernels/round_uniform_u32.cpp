#include "kernels/round_uniform_u32.hpp"

#include "featherweight/cpu.hpp"
#include "kernels/round_uniform_kernel.hpp"

namespace featherweight::round_uniform {

template <class Symbol>
void rounded(const float* values, std::size_t count, const Grid& grid, Symbol* out) {
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (may_use(Isa::avx2)) return rounded_avx2(values, count, grid, out);
#endif
    rounded_plainly(values, 0, count, grid, out);
}

template <class Symbol>
void looked_up(const std::uint16_t* values, std::size_t count, const Symbol* table, Symbol* out) {
    for (std::size_t i = 0; i < count; ++i) out[i] = table[values[i]];
}

void count_sizes(const std::uint16_t* values, std::size_t count, std::int64_t* counts) {
    for (std::size_t i = 0; i < count; ++i) ++counts[values[i] & 0x7FFF];
}

void count_sizes(const std::uint32_t* values, std::size_t count, std::int64_t* counts) {
    for (std::size_t i = 0; i < count; ++i) ++counts[(values[i] & 0x7FFFFFFF) >> 15];
}

template void rounded(const float*, std::size_t, const Grid&, std::uint8_t*);
template void rounded(const float*, std::size_t, const Grid&, std::uint16_t*);
template void rounded(const float*, std::size_t, const Grid&, std::uint32_t*);
template void looked_up(const std::uint16_t*, std::size_t, const std::uint8_t*, std::uint8_t*);
template void looked_up(const std::uint16_t*, std::size_t, const std::uint16_t*, std::uint16_t*);
template void looked_up(const std::uint16_t*, std::size_t, const std::uint32_t*, std::uint32_t*);

}  // namespace featherweight::round_uniform
