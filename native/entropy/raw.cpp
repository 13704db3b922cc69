#include "entropy/raw.hpp"

#include <algorithm>

#include "featherweight/bytes.hpp"

namespace featherweight::raw {

template <class T>
void decode(const std::uint8_t* data, std::size_t size, unsigned width, T* out, std::size_t count) {
    if (width == 0) {
        std::fill_n(out, count, T{0});
        return;
    }
    const unsigned shift = 64 - width;
    const std::size_t safe = size < 8 ? 0 : std::min<std::uint64_t>(count, (std::uint64_t{size - 8} * 8 + 7) / width);
    std::uint64_t bit = 0;
    std::size_t i = 0;
    for (; i < safe; ++i, bit += width) out[i] = static_cast<T>(load_big64(data + (bit >> 3)) << (bit & 7) >> shift);
    for (; i < count; ++i, bit += width) {
        out[i] = static_cast<T>(load_big64_within(data, size, bit >> 3) << (bit & 7) >> shift);
    }
}

template void decode(const std::uint8_t*, std::size_t, unsigned, std::uint8_t*, std::size_t);
template void decode(const std::uint8_t*, std::size_t, unsigned, std::uint16_t*, std::size_t);
template void decode(const std::uint8_t*, std::size_t, unsigned, std::uint32_t*, std::size_t);

}  // namespace featherweight::raw
