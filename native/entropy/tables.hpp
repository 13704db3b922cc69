// Statistics of symbols; the native side of src/featherweight/entropy/tables.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight {

// Adds to counts[s], 0 <= s < alphabet, how often s occurs among `count` symbols of type T (uint8_t, uint16_t, uint32_t).
// False when a symbol lies outside the alphabet; the counts are worth nothing then.
template <class T>
bool histogram(const T* symbols, std::size_t count, std::int64_t* counts, std::size_t alphabet);

// The largest of `count` symbols, 0 if there are none.
template <class T>
T largest(const T* symbols, std::size_t count);

}  // namespace featherweight
