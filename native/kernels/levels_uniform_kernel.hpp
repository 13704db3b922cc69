// What every way of levels_uniform_f32.hpp shares: one level, and the parts of a tensor with one step and one trellis.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/levels_uniform_f32.hpp"

namespace featherweight::levels_uniform {
namespace {

// NEXT of numerics/trellis.py: four bits for each 2 * state + parity, the first lowest.
constexpr std::uint64_t kNext = 0x6413750246315720ULL;

[[maybe_unused]] inline unsigned after(unsigned state, unsigned parity) {
    return static_cast<unsigned>(kNext >> (8 * state + 4 * parity)) & 7;
}

[[maybe_unused]] inline std::uint32_t symbol_of(std::uint8_t symbol) { return symbol; }
[[maybe_unused]] inline std::uint32_t symbol_of(std::uint16_t symbol) { return symbol; }
[[maybe_unused]] inline std::uint32_t symbol_of(std::uint32_t symbol) { return symbol; }
[[maybe_unused]] inline std::uint32_t symbol_of(std::int32_t level) {
    return static_cast<std::uint32_t>(level) << 1 ^ static_cast<std::uint32_t>(level >> 31);
}

// `size` with the sign of a symbol: odd ones are below 0.
[[maybe_unused]] inline std::int32_t with_sign(std::uint32_t size, std::uint32_t symbol) {
    const std::uint32_t mask = 0 - (symbol & 1);
    return static_cast<std::int32_t>((size ^ mask) - mask);
}

[[maybe_unused]] inline std::uint32_t size_of(std::uint32_t symbol) { return (symbol >> 1) + (symbol & 1); }

inline void put(std::int32_t* out, float, std::int32_t multiple) { *out = multiple; }
inline void put(float* out, float step, std::int32_t multiple) { *out = static_cast<float>(multiple) * step; }

template <class Level, class Out>
void plain(const Level* levels, std::size_t count, float step, Out* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t symbol = symbol_of(levels[i]);
        put(out + i, step, with_sign(size_of(symbol), symbol));
    }
}

template <class Level, class Out>
unsigned dependent(const Level* levels, std::size_t count, unsigned state, float step, Out* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t symbol = symbol_of(levels[i]), size = size_of(symbol);
        put(out + i, step, with_sign(2 * size - (state & (symbol != 0 ? 1u : 0u)), symbol));
        state = after(state, size & 1);
    }
    return state;
}

inline std::size_t smaller(std::size_t one, std::size_t other) { return one < other ? one : other; }

// Goes through a part by pieces that have one step and lie within one run of the trellis: read(levels, count, state,
// step, out) gives the state behind a piece.
template <class Level, class Out, class Read>
unsigned in_pieces(const Level* levels, const Part& part, const Steps& steps, Out* out, const Read& read) {
    unsigned state = part.state;
    for (std::size_t done = 0; done < part.count;) {
        const std::size_t place = part.first + done;
        std::size_t count = smaller(part.count - done, steps.columns - place % steps.columns);
        if (part.trellis != 0) {
            const std::size_t within = place % part.trellis;
            if (within == 0) state = 0;
            count = smaller(count, part.trellis - within);
        }
        const float step = steps.steps == nullptr ? 0.0f : steps.steps[place / steps.columns];
        if (part.trellis == 0) {
            plain(levels + done, count, step, out + done);
        } else {
            state = read(levels + done, count, state, step, out + done);
        }
        done += count;
    }
    return state;
}

constexpr Steps kNoSteps = {nullptr, ~std::size_t{0}};

}  // namespace
}  // namespace featherweight::levels_uniform
