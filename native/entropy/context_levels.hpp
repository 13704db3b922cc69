// Levels and bits: magnitudes whose size is foretold by their row, their column and their neighbours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "entropy/context_model.hpp"
#include "entropy/context_range.hpp"

namespace featherweight::context_range {
namespace {

constexpr std::uint8_t kNextState[8][2] = {{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}};
constexpr std::uint32_t kShares[5] = {0, 4096, 2048, 1365, 1024};  // 4096 / n

inline std::uint32_t size_of(std::int64_t level) { return static_cast<std::uint32_t>(level < 0 ? -level : level); }

// The levels before one that count, zero where there is none.
struct Near {
    std::int64_t left, above, corner, before, up;  // in the kernel; in the channel before; in the row before
    std::uint32_t count;                           // how many of left, above, before, up there are
};

struct Guess {
    int scale;
    std::uint32_t shift;
    bool near;                       // whether neighbours are asked
    std::uint32_t left, before, up;  // sizes of neighbours in units of 2^shift, at most 3
};

// The place within a kernel: what of it lies before.
struct Place {
    bool left, above;
};

template <class Coder, Kind kKind>
class Levels {
public:
    Levels(Coder& coder, const Geometry& geometry)
        : coder_(coder), geometry_(geometry), model_(new Model), padding_(geometry.kernel + geometry.width + 2) {
        const std::size_t columns = static_cast<std::size_t>(geometry.columns);
        sums_.assign(columns, 0);
        counts_.resize(columns);
        for (std::size_t j = 0; j < columns; ++j) counts_[j] = static_cast<std::uint16_t>(log_of(j + kPrior));
        for (auto& row : rows_) row.assign(padding_ + columns, 0);
        for (std::uint32_t at = 0; at < geometry.kernel; ++at) {
            places_.push_back({at % geometry.width != 0, at >= geometry.width});
        }
        prior_ = static_cast<std::uint64_t>(geometry.mean) * kPrior;
    }

    // Room for the levels of the next row: an encoder puts them there before `row`, a decoder finds them there after it.
    std::int32_t* next() {
        std::swap(rows_[0], rows_[1]);
        return rows_[0].data() + padding_;
    }

    // One row of `count` levels, at most `columns`. False where a decoder met a magnitude that no alphabet has.
    bool row(std::uint64_t count) { return geometry_.kernel > 1 ? row_of<true>(count) : row_of<false>(count); }

private:
    // What changes from level to level: copied for each row, so that it stays in registers, for which all of the row is
    // inlined. Measured: a tenth faster than members of the class.
    struct Walk {
        Coder coder;
        std::uint64_t sum, limit;  // of magnitudes in the row; where its logarithm is another one
        int log;                   // of the sum
        std::uint64_t since;       // levels since the trellis started
        unsigned state;
        bool broken;

        void add(std::uint32_t size) {
            sum += static_cast<std::uint64_t>(size) << 12;
            if (sum >= limit) settle();
        }
        void settle() {
            log = log_of(sum);
            limit = number_of(log + 1);
        }
    };

    template <bool kKernel>
    bool row_of(std::uint64_t count) {
        std::int32_t* const now = rows_[0].data() + padding_;
        const std::int32_t* const up = rows_[1].data() + padding_;
        Walk walk{coder_, prior_, 0, 0, since_, state_, false};
        walk.settle();
        const int base = -log_of(number_ + kPrior) - log_of(geometry_.mean);
        const std::uint64_t trellis = geometry_.trellis;
        std::uint32_t place = 0;
        for (std::uint64_t j = 0; j < count; ++j) {
            const int column = log_of((sums_[j] << 12) + prior_) - counts_[j] + base;
            const int log = std::min(std::max(column + walk.log, 0), kLogs - 1);
            const std::int64_t level = one_level<kKernel>(walk, log, now, up, j, place);
            if (walk.broken) break;
            now[j] = static_cast<std::int32_t>(level);
            if (kKernel && ++place == geometry_.kernel) place = 0;
            const std::uint32_t size = size_of(level);
            walk.add(size);
            sums_[j] += size;
            if (trellis > 0) {
                walk.state = kNextState[walk.state][size & 1];
                if (++walk.since == trellis) walk.since = walk.state = 0;
            }
        }
        coder_ = walk.coder;
        since_ = walk.since;
        state_ = walk.state;
        ++number_;
        return !walk.broken;
    }

    template <bool kKernel>
    FEATHERWEIGHT_INLINE std::int64_t one_level(Walk& walk, int log, const std::int32_t* now, const std::int32_t* up,
                                                std::uint64_t j, std::uint32_t place) {
        const std::int64_t level = now[j];
        if (!kKernel && log >= kLarge) return coded<kKernel>(walk, of_scale(log >> 3), Near{}, level);
        const Near near = kKernel ? in_kernel_near(now, up, j, place) : plain_near(now, up, j);
        std::uint64_t expected = kScale.numbers[log];
        if (near.count > 0) {
            const std::uint64_t sizes =
                std::uint64_t{size_of(near.left)} + size_of(near.above) + size_of(near.before) + size_of(near.up);
            expected = expected - (expected >> 2) + (sizes * kShares[near.count] >> 2);
        }
        Guess guess = of_scale(std::min(log_of(std::max<std::uint64_t>(expected, 1)) >> 3, kScales - 1));
        guess.near = true;
        const auto units = [&guess](std::uint32_t size) { return std::min(size >> guess.shift, 3u); };
        guess.left = units(size_of(near.left));
        guess.up = units(size_of(near.up));
        guess.before = units(std::max(size_of(near.before), size_of(near.above)));
        return coded<kKernel>(walk, guess, near, level);
    }

    FEATHERWEIGHT_INLINE Near in_kernel_near(const std::int32_t* now, const std::int32_t* up, std::uint64_t j,
                                             std::uint32_t place) const {
        const Place at = places_[place];
        const std::int32_t* const here = now + j;
        const std::ptrdiff_t width = geometry_.width, kernel = geometry_.kernel;
        Near near{};
        if (at.left) near.left = here[-1];
        if (at.above) near.above = here[-width];
        if (at.left && at.above) near.corner = here[-width - 1];
        const bool channel = j >= geometry_.kernel;
        if (channel) near.before = here[-kernel];
        near.up = up[j];
        near.count = static_cast<std::uint32_t>(at.left) + at.above + channel + (number_ > 0);
        return near;
    }

    FEATHERWEIGHT_INLINE Near plain_near(const std::int32_t* now, const std::int32_t* up, std::uint64_t j) const {
        const std::int32_t* const here = now + j;  // zeros lie before the row
        return {here[-1], 0, 0, here[-2], up[j], static_cast<std::uint32_t>((j > 0) + (j > 1) + (number_ > 0))};
    }

    // The smallest number of a logarithm from 64 on has that logarithm again, so that such a one may come here itself.
    FEATHERWEIGHT_INLINE static Guess of_scale(int scale) { return {scale, kScale.shift[scale], false, 0, 0, 0}; }

    template <bool kKernel>
    FEATHERWEIGHT_INLINE std::int64_t coded(Walk& walk, const Guess& guess, const Near& near, std::int64_t level) {
        const unsigned grid = walk.state & 1;
        const std::uint32_t given = size_of(level);
        Chance& wide = model_->some[guess.scale][grid];
        std::uint32_t some;
        if (guess.near) {
            const unsigned around = guess.left * 16 + guess.up * 4 + guess.before;
            some = both(walk.coder, wide, model_->some_near[std::min(guess.shift, 8u)][around][grid], given != 0);
        } else {
            some = one(walk.coder, wide, given != 0);
        }
        if (some == 0) return 0;
        if constexpr (kKind == Kind::bits) return 1;
        std::uint32_t negative = level < 0;
        unsigned around = 0;
        if (guess.near) {
            const int leaning = leaning_of<kKernel>(guess, near);
            negative = one(walk.coder, model_->sign[leaning], negative);
            const int agreement = negative != 0 ? kSigns - 1 - leaning : leaning;
            const std::uint32_t sizes = guess.left + guess.up + guess.before;
            around = static_cast<unsigned>(agreement) * kNear + std::min(sizes, kNear - 1u);
        } else if (geometry_.flat) {
            negative = one(walk.coder, model_->sign[kSigns / 2], negative);
        } else {
            negative = walk.coder.plain(1, negative);
        }
        const std::uint64_t size = magnitude(walk, guess, around, given - 1) + 1;
        if (size > 0x7FFFFFFFu + std::uint64_t{negative}) walk.broken = true;
        return negative != 0 ? -static_cast<std::int64_t>(size) : static_cast<std::int64_t>(size);
    }

    // What the neighbours foretell of the sign: 0 (surely negative) .. 10 (surely positive).
    template <bool kKernel>
    FEATHERWEIGHT_INLINE static int leaning_of(const Guess& guess, const Near& near) {
        const std::int64_t fourfold = kKernel ? 2 * (near.left + near.above) - near.corner : 2 * (near.left + near.up);
        const auto unit = static_cast<std::int64_t>(4 * kScale.expected[guess.scale]);
        const std::int64_t size = std::min<std::int64_t>(fourfold < 0 ? -fourfold : fourfold, std::int64_t{1} << 40);
        const std::int64_t steps = std::min<std::int64_t>((size * 3 * kOne + unit / 2) / unit, kSigns / 2);
        return static_cast<int>(kSigns / 2 + (fourfold < 0 ? -steps : steps));
    }

    // A magnitude less one.
    FEATHERWEIGHT_INLINE std::uint64_t magnitude(Walk& walk, const Guess& guess, unsigned around, std::uint32_t given) {
        const std::uint32_t high = given >> guess.shift;
        const unsigned grid = walk.state & 1;
        Chance* const wide = model_->more[guess.scale][grid];
        Chance* const near = model_->more_near[around][grid];
        std::uint64_t steps = 0;
        for (; steps < kSteps; ++steps) {
            const std::uint32_t bit = high > steps;
            const std::uint32_t more =
                guess.near ? both(walk.coder, wide[steps], near[steps], bit) : one(walk.coder, wide[steps], bit);
            if (more == 0) break;
        }
        if (steps == kSteps) steps += beyond(walk.coder, high - kSteps);
        if (guess.shift == 0) return steps;
        return steps << guess.shift | low_bits(walk, guess, std::min<std::uint64_t>(steps, 3), given);
    }

    FEATHERWEIGHT_INLINE std::uint64_t low_bits(Walk& walk, const Guess& guess, std::uint64_t steps, std::uint32_t given) {
        Chance* const seen = model_->low[guess.scale][steps];
        unsigned left = guess.shift - 1;
        std::uint32_t bits = one(walk.coder, seen[walk.state & 1], given >> left & 1);
        if (left > 1) {
            --left;
            bits = bits * 2 + one(walk.coder, seen[2 + bits], given >> left & 1);
        }
        return std::uint64_t{bits} << left | plain(walk.coder, left, given & ((1u << left) - 1));
    }

    // Elias gamma: how many bits the number plus one has, then those below the highest.
    FEATHERWEIGHT_INLINE std::uint64_t beyond(Coder& coder, std::uint32_t given) {
        const std::uint64_t number = std::uint64_t{given} + 1;
        unsigned bits = 0;
        while (bits < 31 && one(coder, model_->escape[bits], number >> (bits + 1) != 0) != 0) ++bits;
        const std::uint32_t rest = plain(coder, bits, static_cast<std::uint32_t>(number & ((std::uint64_t{1} << bits) - 1)));
        return (std::uint64_t{1} << bits | rest) - 1;
    }

    Coder& coder_;
    const Geometry& geometry_;
    std::unique_ptr<Model> model_;
    std::size_t padding_;
    std::vector<std::uint64_t> sums_;    // of magnitudes, by column
    std::vector<std::uint16_t> counts_;  // logarithm of the magnitudes that a row has had, by column
    std::vector<std::int32_t> rows_[2];  // this row and the one before
    std::vector<Place> places_;
    std::uint64_t prior_ = 0, number_ = 0, since_ = 0;
    unsigned state_ = 0;
};

}  // namespace
}  // namespace featherweight::context_range
