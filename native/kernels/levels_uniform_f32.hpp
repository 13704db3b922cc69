// What the levels of src/featherweight/encodings/uniform.py come to: multiples of the step, and weights.
//
// Levels are symbols (uint8_t, uint16_t, uint32_t: 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ...) or themselves (int32_t),
// in row-major order, at most 2^30 - 1 in size. A tensor may be gone through in parts: `first` is the place of the first
// level of a part in the tensor, `state` (0..7) that of the trellis before it, and what is given back that behind it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight::levels_uniform {

struct Part {
    std::size_t first;
    std::size_t count;
    std::size_t trellis;  // levels after which the trellis (numerics/trellis.py) begins anew in state 0; 0: there is none
    unsigned state;
};

struct Steps {
    const float* steps;  // one for each `columns` levels of the tensor
    std::size_t columns;
};

// The multiples: the levels themselves without a trellis.
template <class Level>
unsigned multiples(const Level* levels, const Part& part, std::int32_t* out);

// multiple * step, the multiple rounded to float first.
template <class Level>
unsigned values(const Level* levels, const Part& part, const Steps& steps, float* out);

template <class Level>
unsigned multiples_avx2(const Level* levels, const Part& part, std::int32_t* out);

template <class Level>
unsigned values_avx2(const Level* levels, const Part& part, const Steps& steps, float* out);

}  // namespace featherweight::levels_uniform
