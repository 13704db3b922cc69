// Arithmetic on sizes that come from a file: never wraps, says so instead.
#pragma once

#include <cstdint>
#include <limits>

namespace featherweight {

// out = a * b; false, and out untouched, when it does not fit.
inline bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
    if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return false;
    out = a * b;
    return true;
}

// out = a + b; false, and out untouched, when it does not fit.
inline bool add(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
    if (b > std::numeric_limits<std::uint64_t>::max() - a) return false;
    out = a + b;
    return true;
}

}  // namespace featherweight
