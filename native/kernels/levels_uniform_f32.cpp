#include "kernels/levels_uniform_f32.hpp"

#include "featherweight/cpu.hpp"
#include "kernels/levels_uniform_kernel.hpp"

namespace featherweight::levels_uniform {

template <class Level>
unsigned multiples(const Level* levels, const Part& part, std::int32_t* out) {
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (may_use(Isa::avx2)) return multiples_avx2(levels, part, out);
#endif
    return in_pieces(levels, part, kNoSteps, out, dependent<Level, std::int32_t>);
}

template <class Level>
unsigned values(const Level* levels, const Part& part, const Steps& steps, float* out) {
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (may_use(Isa::avx2)) return values_avx2(levels, part, steps, out);
#endif
    return in_pieces(levels, part, steps, out, dependent<Level, float>);
}

template unsigned multiples(const std::uint8_t*, const Part&, std::int32_t*);
template unsigned multiples(const std::uint16_t*, const Part&, std::int32_t*);
template unsigned multiples(const std::uint32_t*, const Part&, std::int32_t*);
template unsigned multiples(const std::int32_t*, const Part&, std::int32_t*);
template unsigned values(const std::uint8_t*, const Part&, const Steps&, float*);
template unsigned values(const std::uint16_t*, const Part&, const Steps&, float*);
template unsigned values(const std::uint32_t*, const Part&, const Steps&, float*);
template unsigned values(const std::int32_t*, const Part&, const Steps&, float*);

}  // namespace featherweight::levels_uniform
