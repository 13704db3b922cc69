// What every way of planes_dense_u64.hpp shares: the loops of one value, which compilers make loops of several.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/planes_dense_u64.hpp"

namespace featherweight::planes_dense {
namespace {

template <class Value>
constexpr unsigned kTop = 8 * sizeof(Value) - 1;  // the place of the sign

template <class Value, bool Turned>
void apart_from(const Value* values, std::size_t first, std::size_t count, std::uint8_t* const* planes) {
    for (std::size_t j = first; j < count; ++j) {
        Value value = values[j];
        if constexpr (Turned) value = static_cast<Value>(value << 1 | value >> kTop<Value>);
        for (unsigned i = 0; i < sizeof(Value); ++i) planes[i][j] = static_cast<std::uint8_t>(value >> 8 * i);
    }
}

template <class Value, bool Turned>
void together_from(const std::uint8_t* const* planes, std::size_t first, std::size_t count, Value* values) {
    for (std::size_t j = first; j < count; ++j) {
        Value value = 0;
        for (unsigned i = 0; i < sizeof(Value); ++i) value = static_cast<Value>(value | Value{planes[i][j]} << 8 * i);
        if constexpr (Turned) value = static_cast<Value>(value >> 1 | value << kTop<Value>);
        values[j] = value;
    }
}

template <class Value>
void apart_plainly(const Value* values, std::size_t count, bool turned, std::uint8_t* const* planes) {
    turned ? apart_from<Value, true>(values, 0, count, planes) : apart_from<Value, false>(values, 0, count, planes);
}

template <class Value>
void together_plainly(const std::uint8_t* const* planes, std::size_t count, bool turned, Value* values) {
    turned ? together_from<Value, true>(planes, 0, count, values) : together_from<Value, false>(planes, 0, count, values);
}

// Without a way out of the loop, which compilers then do for several values at once.
template <class Value>
bool any_full_of(const Value* values, std::size_t count, Value mask) {
    Value found = 0;
    for (std::size_t j = 0; j < count; ++j) {
        found = static_cast<Value>(found | ((values[j] & mask) == mask ? Value{1} : Value{0}));
    }
    return found != 0;
}

}  // namespace
}  // namespace featherweight::planes_dense
