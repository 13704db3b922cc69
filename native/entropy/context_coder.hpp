// A binary range coder of 64 bits that moves 32 at a time, and the probabilities that it is told.
#pragma once

#include <cstdint>
#include <vector>

#include "featherweight/bytes.hpp"

// For what the loop over levels calls, so that the coder stays in registers.
#if defined(_MSC_VER)
#define FEATHERWEIGHT_INLINE __forceinline
#else
#define FEATHERWEIGHT_INLINE inline __attribute__((always_inline))
#endif

namespace featherweight::context_range {
namespace {

constexpr unsigned kCountBits = 10;
constexpr std::uint32_t kMaxCount = (1u << kCountBits) - 1;
constexpr std::uint32_t kHalf = 1u << 31;
constexpr std::uint32_t kLeast = 24, kMost = 65536 - 24;  // probability of a 1, in 1/65536

// The probability of a 1 in the upper 22 bits, how many bits it was learned from in the lower 10.
using Chance = std::uint32_t;

// 65536 / (count + 1.5): how far a bit moves the probability that `count` bits have made.
struct Rates {
    std::uint32_t of[kMaxCount + 1];
    constexpr Rates() : of() {
        for (std::uint32_t n = 0; n <= kMaxCount; ++n) of[n] = 131072 / (2 * n + 3);
    }
};
inline constexpr Rates kRates;

[[maybe_unused]] inline Chance chance(std::uint32_t probability, std::uint32_t count) {
    return probability << 16 | count;
}

FEATHERWEIGHT_INLINE void learn(Chance& seen, std::uint32_t bit) {
    const std::uint32_t count = seen & kMaxCount;
    const std::int32_t p = static_cast<std::int32_t>(seen >> kCountBits);
    const std::int32_t goal = static_cast<std::int32_t>((bit << 22) - bit);
    const std::int64_t step = static_cast<std::int64_t>(goal - p) * kRates.of[count] >> 16;
    seen = static_cast<std::uint32_t>(p + static_cast<std::int32_t>(step)) << kCountBits |
           (count < kMaxCount ? count + 1 : count);
}

constexpr std::uint32_t bounded(std::uint32_t probability) {
    return probability < kLeast ? kLeast : probability > kMost ? kMost : probability;
}

// How to end: what to add to `low` for the number in low..low+range-1 with the most zero bits at its end, by eights.
struct End {
    std::uint64_t more;
    unsigned zeros;  // 32..64; range is at least 2^32
};

inline End end_of(std::uint64_t low, std::uint64_t range) {
    if (0 - low < range) return {0 - low, 64};
    for (unsigned zeros = 56;; zeros -= 8) {
        const std::uint64_t more = (0 - low) & ((std::uint64_t{1} << zeros) - 1);
        if (more < range) return {more, zeros};
    }
}

class Encoder {
public:
    explicit Encoder(std::vector<std::uint8_t>& out) : out_(&out), begin_(out.size()) {}

    FEATHERWEIGHT_INLINE std::uint32_t bit(std::uint32_t probability, std::uint32_t value) {
        const std::uint64_t bound = (range_ >> 16) * probability;
        if (value != 0) {
            range_ = bound;
        } else {
            add(bound);
            range_ -= bound;
        }
        move();
        return value;
    }

    // The lowest `bits` (1..16) bits of a number, each 0 or 1 equally likely.
    FEATHERWEIGHT_INLINE std::uint32_t plain(unsigned bits, std::uint32_t value) {
        range_ >>= bits;
        add(range_ * value);
        move();
        return value;
    }

    // The number with the most zero bytes at its end that decodes, without those bytes. What was moved on stays, so
    // that a block is as long as what it holds, to 4 bytes.
    void finish() {
        const End end = end_of(low_, range_);
        add(end.more);
        for (unsigned bits = 64; bits > end.zeros; bits -= 8) out_->push_back(static_cast<std::uint8_t>(low_ >> (bits - 8)));
    }

private:
    void add(std::uint64_t amount) {
        low_ += amount;
        if (low_ >= amount) return;
        for (std::size_t i = out_->size(); i > begin_ && ++(*out_)[i - 1] == 0; --i) {
        }
    }
    void put() {
        for (int shift = 56; shift >= 32; shift -= 8) out_->push_back(static_cast<std::uint8_t>(low_ >> shift));
        low_ <<= 32;
    }
    FEATHERWEIGHT_INLINE void move() {
        if (range_ >> 32 != 0) return;
        range_ <<= 32;
        put();
    }

    std::vector<std::uint8_t>* out_;
    std::size_t begin_;
    std::uint64_t low_ = 0, range_ = ~std::uint64_t{0};
};

class Decoder {
public:
    Decoder(const std::uint8_t* data, std::uint64_t size) : data_(data), size_(size) {
        window_ = load_big64_within(data, size, 0);
        at_ = 8;
        broken_ = window_ == ~std::uint64_t{0};
        code_ = broken_ ? 0 : window_;
    }

    FEATHERWEIGHT_INLINE std::uint32_t bit(std::uint32_t probability, std::uint32_t) {
        const std::uint64_t bound = (range_ >> 16) * probability;
        if (code_ < bound) {
            range_ = bound;
            move();
            return 1;
        }
        code_ -= bound;
        range_ -= bound;
        move();
        return 0;
    }

    FEATHERWEIGHT_INLINE std::uint32_t plain(unsigned bits, std::uint32_t) {
        range_ >>= bits;
        // A single bit, a sign, is as often 0 as 1: neither a division nor a branch, which would be guessed wrong.
        std::uint64_t value = bits > 1 ? code_ / range_ : std::uint64_t{code_ >= range_};
        code_ -= bits > 1 ? value * range_ : range_ & (0 - value);
        if (code_ >= range_ || value >> bits != 0) {
            broken_ = true;
            value = 0;
            code_ = 0;
        }
        move();
        return static_cast<std::uint32_t>(value);
    }

    bool broken() const { return broken_; }
    std::uint64_t at() const { return at_ < size_ ? at_ : size_; }

    // Whether the bytes end as `Encoder::finish` ends them.
    bool finished() const {
        const End end = end_of(window_ - code_, range_);
        return !broken_ && end.more == code_ && size_ == at_ - end.zeros / 8;
    }

private:
    FEATHERWEIGHT_INLINE void move() {
        if (range_ >> 32 != 0) return;
        range_ <<= 32;
        const std::uint64_t next = load_big64_within(data_, size_, at_) >> 32;
        code_ = code_ << 32 | next;
        window_ = window_ << 32 | next;
        at_ += 4;
    }

    const std::uint8_t* data_;
    std::uint64_t size_, at_;
    std::uint64_t code_, window_, range_ = ~std::uint64_t{0};
    bool broken_;
};

}  // namespace
}  // namespace featherweight::context_range
