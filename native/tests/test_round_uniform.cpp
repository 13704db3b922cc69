// Every way of round_uniform_u32 against the choice between three levels as numerics/scalar.py tells it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check.hpp"
#include "featherweight/cpu.hpp"
#include "kernels/round_uniform_u32.hpp"

namespace fw = featherweight;
namespace ru = featherweight::round_uniform;

namespace {

std::uint32_t wanted(float value, const ru::Grid& grid) {
    const float x = std::fabs(value) / grid.step;
    const double whole = std::nearbyint(static_cast<double>(x));
    const float nearest = whole < double{ru::kCap} ? static_cast<float>(whole) : ru::kCap;
    const std::size_t last = grid.sizes - 1;
    const std::size_t place = nearest < static_cast<float>(last) ? static_cast<std::size_t>(nearest) : last;
    float size = x >= grid.zero[place] ? nearest - 1 : 0;
    if (x >= grid.near[place]) size = nearest;
    const auto level = static_cast<std::uint32_t>(size);
    return 2 * level - (std::signbit(value) && level != 0 ? 1 : 0);
}

float some(check::Random& random, float step) {
    const float infinity = std::numeric_limits<float>::infinity();
    const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f, infinity, -infinity, 1e30f * step, -0.5f * step, 2.5f * step};
    if (random.below(8) == 0) return odd[random.below(sizeof(odd) / sizeof(*odd))];
    const float size = std::ldexp(static_cast<float>(random.below(1 << 24)), -static_cast<int>(random.below(24))) * step;
    return random.below(2) == 0 ? size : -size;
}

template <class Symbol>
void check_rounded(const std::vector<float>& values, const ru::Grid& grid) {
    std::vector<Symbol> right(values.size()), out(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) right[i] = static_cast<Symbol>(wanted(values[i], grid));
    for (int isa = 0; isa < fw::kIsas; ++isa) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(isa)))) continue;
        ru::rounded(values.data(), values.size(), grid, out.data());
        CHECK(out == right);
    }
}

void check_grids(check::Random& random) {
    for (int round = 0; round < 400; ++round) {
        const float step = std::ldexp(1.0f + static_cast<float>(random.below(128)) / 128, static_cast<int>(random.below(40)) - 30);
        const std::size_t sizes = 1 + random.below(round % 2 == 0 ? 5 : 300);
        std::vector<float> near(sizes), zero(sizes);
        for (std::size_t n = 0; n < sizes; ++n) {
            near[n] = static_cast<float>(n) + static_cast<float>(random.below(1000)) / 500 - 1;
            zero[n] = static_cast<float>(n) + static_cast<float>(random.below(1000)) / 500 - 1;
        }
        near[0] = zero[0] = near[sizes - 1] = zero[sizes - 1] = -std::numeric_limits<float>::infinity();
        std::vector<float> values(random.below(70));
        for (float& value : values) value = some(random, step);
        const ru::Grid grid = {step, near.data(), zero.data(), sizes};
        check_rounded<std::uint8_t>(values, grid);  // also where the symbols do not fit: they lose the same bits
        check_rounded<std::uint16_t>(values, grid);
        check_rounded<std::uint32_t>(values, grid);
    }
}

// What is no number gets 0, and nothing outside of the thresholds is read.
void check_no_numbers() {
    const float thresholds[] = {-std::numeric_limits<float>::infinity()};
    const std::vector<float> values(19, std::numeric_limits<float>::quiet_NaN());
    for (int isa = 0; isa < fw::kIsas; ++isa) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(isa)))) continue;
        std::vector<std::uint32_t> out(values.size(), 7);
        ru::rounded(values.data(), values.size(), {1.0f, thresholds, thresholds, 1}, out.data());
        CHECK(out == std::vector<std::uint32_t>(values.size(), 0));
    }
}

void check_tables_and_counts(check::Random& random) {
    std::vector<std::uint32_t> table(1 << 16);
    for (std::uint32_t& symbol : table) symbol = static_cast<std::uint32_t>(random.next());
    std::vector<std::uint16_t> values(1001);
    std::vector<std::uint32_t> wide(1001), found(1001);
    std::vector<std::int64_t> counts(1 << 15, 3), wide_counts(1 << 16), right(1 << 15, 3), wide_right(1 << 16);
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<std::uint16_t>(random.next());
        wide[i] = static_cast<std::uint32_t>(random.next());
        float value = 0;  // its size without the sign, and without the 15 lowest bits
        std::memcpy(&value, &wide[i], sizeof(value));
        value = std::fabs(value);
        std::uint32_t size = 0;
        std::memcpy(&size, &value, sizeof(size));
        ++right[values[i] & 0x7FFF];
        ++wide_right[size / 32768];
    }
    ru::looked_up(values.data(), values.size(), table.data(), found.data());
    for (std::size_t i = 0; i < values.size(); ++i) CHECK(found[i] == table[values[i]]);
    ru::count_sizes(values.data(), values.size(), counts.data());
    ru::count_sizes(wide.data(), wide.size(), wide_counts.data());
    CHECK(counts == right);
    CHECK(wide_counts == wide_right);
}

}  // namespace

int main() {
    check::Random random(11);
    check_grids(random);
    check_no_numbers();
    check_tables_and_counts(random);
    return check::failures();
}
