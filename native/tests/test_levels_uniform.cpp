// Every way of levels_uniform_f32 against the trellis as numerics/trellis.py tells it.

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "featherweight/cpu.hpp"
#include "kernels/levels_uniform_f32.hpp"

namespace fw = featherweight;
namespace lu = featherweight::levels_uniform;

namespace {

constexpr unsigned kNext[8][2] = {{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}};

std::vector<std::int32_t> wanted(const std::vector<std::int32_t>& levels, std::size_t trellis) {
    std::vector<std::int32_t> out(levels.size());
    unsigned state = 0;
    for (std::size_t i = 0; i < levels.size(); ++i) {
        if (trellis == 0) {
            out[i] = levels[i];
            continue;
        }
        if (i % trellis == 0) state = 0;
        const int sign = (levels[i] > 0) - (levels[i] < 0);
        out[i] = 2 * levels[i] - sign * static_cast<int>(state & 1);
        state = kNext[state][levels[i] & 1];
    }
    return out;
}

template <class Level>
std::vector<Level> as(const std::vector<std::int32_t>& levels) {
    std::vector<Level> out;
    for (const std::int32_t level : levels) {
        out.push_back(static_cast<Level>(sizeof(Level) == 4 && Level(-1) < Level(0) ? level
                                         : level < 0                               ? -2 * level - 1
                                                                                   : 2 * level));
    }
    return out;
}

template <class Level>
void check_levels(const std::vector<std::int32_t>& plain, std::size_t trellis, std::size_t columns, check::Random& random) {
    const std::vector<Level> levels = as<Level>(plain);
    const std::vector<std::int32_t> multiples = wanted(plain, trellis);
    std::vector<float> steps((levels.size() + columns - 1) / columns);
    for (float& step : steps) step = 0.001f * static_cast<float>(1 + random.below(999));
    for (int i = 0; i < fw::kIsas; ++i) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) continue;
        std::vector<std::int32_t> found(levels.size());
        std::vector<float> values(levels.size());
        unsigned state = 0;
        for (std::size_t first = 0; first < levels.size();) {
            const std::size_t count = 1 + random.below(levels.size() - first);
            const std::vector<Level> some(levels.begin() + static_cast<std::ptrdiff_t>(first),
                                          levels.begin() + static_cast<std::ptrdiff_t>(first + count));
            std::vector<std::int32_t> part(count);  // of exactly this size: AddressSanitizer sees a write behind it
            std::vector<float> weights(count);
            const unsigned after = lu::multiples(some.data(), {first, count, trellis, state}, part.data());
            const unsigned same =
                lu::values(some.data(), {first, count, trellis, state}, {steps.data(), columns}, weights.data());
            CHECK(after == same && after < 8);
            state = after;
            for (std::size_t j = 0; j < count; ++j) {
                found[first + j] = part[j];
                values[first + j] = weights[j];
            }
            first += count;
        }
        CHECK(found == multiples);
        for (std::size_t j = 0; j < levels.size(); ++j) {
            CHECK(values[j] == static_cast<float>(multiples[j]) * steps[j / columns]);
        }
    }
}

}  // namespace

int main() {
    check::Random random(7);
    for (const std::size_t count : {1, 7, 8, 9, 16, 25, 64, 333, 1000}) {
        for (const std::size_t trellis : {std::size_t{0}, std::size_t{1}, std::size_t{9}, std::size_t{24}, count}) {
            for (const std::size_t columns : {std::size_t{1}, std::size_t{9}, std::size_t{40}, count}) {
                for (const std::uint64_t largest : {1u, 3u, 120u, 30000u, (1u << 30) - 1}) {
                    std::vector<std::int32_t> levels(count);
                    for (std::int32_t& level : levels) {
                        level = static_cast<std::int32_t>(random.below(2 * largest + 1)) - static_cast<std::int32_t>(largest);
                    }
                    if (largest <= 120) check_levels<std::uint8_t>(levels, trellis, columns, random);
                    if (largest <= 30000) check_levels<std::uint16_t>(levels, trellis, columns, random);
                    check_levels<std::uint32_t>(levels, trellis, columns, random);
                    check_levels<std::int32_t>(levels, trellis, columns, random);
                }
            }
        }
    }
    return check::failures();
}
