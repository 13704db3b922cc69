// Numbers of a fixed width; the native side of src/featherweight/entropy/raw.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight::raw {

// Fills out[0..count) with the numbers of `width` bits (0..32, and not above those of T) that lie in `data` one behind
// the other, highest bit first. The caller knows that count * width bits are there.
template <class T>
void decode(const std::uint8_t* data, std::size_t size, unsigned width, T* out, std::size_t count);

}  // namespace featherweight::raw
