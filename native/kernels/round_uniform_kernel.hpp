// What every way of round_uniform_u32.hpp shares: one weight at a time.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/round_uniform_u32.hpp"

namespace featherweight::round_uniform {
namespace {

constexpr float kWhole = 8388608.0f;  // 2^23: from here on every float is a whole number

template <class Symbol>
void rounded_plainly(const float* values, std::size_t first, std::size_t count, const Grid& grid, Symbol* out) {
    const float last = static_cast<float>(grid.sizes - 1);
    for (std::size_t i = first; i < count; ++i) {
        const float x = std::fabs(values[i]) / grid.step;
        float nearest = x < kWhole ? (x + kWhole) - kWhole : x;  // to the even one of two that are equally near
        nearest = nearest < kCap ? nearest : kCap;
        const auto place = static_cast<std::size_t>(nearest < last ? nearest : last);
        const float lower = x >= grid.zero[place] ? nearest - 1.0f : 0.0f;
        const auto size = static_cast<std::int32_t>(x >= grid.near[place] ? nearest : lower);
        const auto symbol = 2 * static_cast<std::uint32_t>(size) - (std::signbit(values[i]) && size != 0 ? 1u : 0u);
        out[i] = static_cast<Symbol>(symbol);
    }
}

}  // namespace
}  // namespace featherweight::round_uniform
