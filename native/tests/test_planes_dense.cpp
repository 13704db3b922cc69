// Every way of planes_dense_u64 against what its header says, a byte at a time; arrays of exactly the size, so that
// AddressSanitizer sees what lies behind them.

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "featherweight/cpu.hpp"
#include "kernels/planes_dense_u64.hpp"

namespace fw = featherweight;
namespace pd = featherweight::planes_dense;

namespace {

template <class Value>
void check_planes(std::size_t count, bool turned, check::Random& random) {
    std::vector<Value> values(count);
    for (Value& value : values) value = static_cast<Value>(random.next());
    std::vector<std::vector<std::uint8_t>> planes(sizeof(Value), std::vector<std::uint8_t>(count));
    std::vector<std::uint8_t*> places;
    for (auto& plane : planes) places.push_back(plane.data());
    pd::apart(values.data(), count, turned, places.data());
    for (std::size_t j = 0; j < count; ++j) {
        for (unsigned bit = 0; bit < 8 * sizeof(Value); ++bit) {
            const unsigned to = turned ? (bit + 1) % (8 * sizeof(Value)) : bit;
            CHECK((values[j] >> bit & 1) == (planes[to / 8][j] >> to % 8 & 1u));
        }
    }
    std::vector<Value> found(count);
    pd::together(places.data(), count, turned, found.data());
    CHECK(found == values);
}

template <class Value>
void check_full(std::size_t count, check::Random& random) {
    const auto mask = static_cast<Value>(Value{0x3C} << (8 * sizeof(Value) - 8));
    std::vector<Value> values(count);
    for (Value& value : values) value = static_cast<Value>(random.next() & ~(mask & (mask - 1)));  // one bit of it at most
    CHECK(!pd::any_full(values.data(), count, mask));
    for (std::size_t j = 0; j < count; j += 1 + random.below(7)) {
        const Value before = values[j];
        values[j] = static_cast<Value>(before | mask);
        CHECK(pd::any_full(values.data(), count, mask));
        values[j] = before;
    }
}

}  // namespace

int main() {
    check::Random random(11);
    for (int i = 0; i < fw::kIsas; ++i) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) continue;
        for (const std::size_t count : {0, 1, 2, 15, 31, 32, 33, 64, 95, 1000}) {
            for (const bool turned : {false, true}) {
                check_planes<std::uint16_t>(count, turned, random);
                check_planes<std::uint32_t>(count, turned, random);
                check_planes<std::uint64_t>(count, turned, random);
            }
            check_full<std::uint8_t>(count, random);
            check_full<std::uint16_t>(count, random);
            check_full<std::uint32_t>(count, random);
            check_full<std::uint64_t>(count, random);
        }
    }
    return check::failures();
}
