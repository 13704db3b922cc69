#include "entropy/tables.hpp"

#include <array>
#include <memory>

namespace featherweight {
namespace {

// Four tables, so that equal symbols in a row do not wait for each other's store. Chunks keep 32-bit counts from wrapping.
bool histogram_of_bytes(const std::uint8_t* symbols, std::size_t count, std::int64_t* counts, std::size_t alphabet) {
    constexpr std::size_t chunk = std::size_t{1} << 30;
    bool inside = true;
    for (std::size_t start = 0; start < count; start += chunk) {
        const std::size_t end = count - start < chunk ? count : start + chunk;
        std::array<std::array<std::uint32_t, 256>, 4> tables{};
        std::size_t i = start;
        for (; i + 4 <= end; i += 4) {
            ++tables[0][symbols[i]];
            ++tables[1][symbols[i + 1]];
            ++tables[2][symbols[i + 2]];
            ++tables[3][symbols[i + 3]];
        }
        for (; i < end; ++i) ++tables[0][symbols[i]];
        for (std::size_t s = 0; s < 256; ++s) {
            const std::int64_t sum =
                std::int64_t{tables[0][s]} + tables[1][s] + tables[2][s] + std::int64_t{tables[3][s]};
            if (s < alphabet) {
                counts[s] += sum;
            } else if (sum != 0) {
                inside = false;
            }
        }
    }
    return inside;
}

}  // namespace

template <class T>
bool histogram(const T* symbols, std::size_t count, std::int64_t* counts, std::size_t alphabet) {
    for (std::size_t i = 0; i < count; ++i) {
        if (symbols[i] >= alphabet) return false;
        ++counts[symbols[i]];
    }
    return true;
}

template <>
bool histogram(const std::uint8_t* symbols, std::size_t count, std::int64_t* counts, std::size_t alphabet) {
    return histogram_of_bytes(symbols, count, counts, alphabet);
}

template bool histogram(const std::uint16_t*, std::size_t, std::int64_t*, std::size_t);
template bool histogram(const std::uint32_t*, std::size_t, std::int64_t*, std::size_t);

template <class T>
T largest(const T* symbols, std::size_t count) {
    T found = 0;
    for (std::size_t i = 0; i < count; ++i) found = symbols[i] > found ? symbols[i] : found;
    return found;
}

template std::uint8_t largest(const std::uint8_t*, std::size_t);
template std::uint16_t largest(const std::uint16_t*, std::size_t);
template std::uint32_t largest(const std::uint32_t*, std::size_t);

}  // namespace featherweight
