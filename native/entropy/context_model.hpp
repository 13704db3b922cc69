// What the symbols around one say about it: the contexts of levels and bits.
#pragma once

#include <cstdint>
#include <vector>

#include "entropy/context_coder.hpp"

namespace featherweight::context_range {
namespace {

// A logarithm to base 2 in sixteenths, of numbers from 1 on: exponent, then the next four bits of the number.
inline int log_of(std::uint64_t number) {
    const int exponent = 63 - leading_zeros(number);
    const auto mantissa = exponent >= 4 ? number >> (exponent - 4) : number << (4 - exponent);
    return exponent * 16 + static_cast<int>(mantissa & 15);
}

// The smallest number of this logarithm, rounded down to a whole one.
constexpr std::uint64_t number_of(int log) {
    const int exponent = log >> 4;
    const std::uint64_t mantissa = 16 + (log & 15);
    return exponent >= 4 ? mantissa << (exponent - 4) : mantissa >> (4 - exponent);
}

constexpr int kScales = 80;          // classes of expected magnitude, two to the octave, from 1/4096 on
constexpr int kLogs = kScales * 8;   // their logarithms in sixteenths
constexpr int kLarge = 176;          // half a level: from here on only kernels have neighbours that matter
constexpr std::uint32_t kOne = 4096; // expected magnitudes are in 1/4096
constexpr int kPrior = 8;            // magnitudes that the mean of the tensor counts for in each row and column
constexpr std::uint32_t kPriorCount = 3;  // bits that the first probabilities count for
constexpr int kSteps = 20;           // a magnitude in units of 2^shift goes up to here one by one
constexpr int kSigns = 11;           // classes of what the neighbours in a kernel say about a sign
constexpr int kNear = 7;             // classes of how large neighbours are

// What is known of each class of expected magnitude e before anything was coded: magnitudes fall geometrically.
struct Scales {
    std::uint64_t expected[kScales];  // the middle of the class, in 1/4096
    std::uint32_t shift[kScales];     // low bits that are coded apart: the least with e / 2^shift <= 2.5
    std::uint32_t some[kScales];      // probability of not 0, in 1/65536
    std::uint32_t more[kScales];      // probability of another 2^shift, in 1/65536
    std::uint64_t numbers[kLogs];     // number_of
    constexpr Scales() : expected(), shift(), some(), more(), numbers() {
        for (int scale = 0; scale < kScales; ++scale) {
            const std::uint64_t e = number_of(scale * 8 + 4);
            const std::uint64_t p = (e << 16) / (e + kOne);
            std::uint64_t q = p;
            std::uint32_t bits = 0;
            for (; (e >> bits) > kOne * 5 / 2; ++bits) q = q * q >> 16;
            expected[scale] = e;
            shift[scale] = bits;
            some[scale] = bounded(static_cast<std::uint32_t>(p));
            more[scale] = static_cast<std::uint32_t>(q < 8192 ? 8192 : q);
        }
        for (int log = 0; log < kLogs; ++log) numbers[log] = number_of(log);
    }
};
inline constexpr Scales kScale;

// All probabilities of a block; `[2]` is for the two grids of dependent quantization.
struct Model {
    Chance some[kScales][2];             // magnitude is not 0, by scale
    Chance some_near[9][64][2];          // the same, by shift and three neighbours
    Chance more[kScales][2][kSteps];     // another step of magnitude, by scale
    Chance more_near[kSigns * kNear][2][kSteps];  // the same, by agreement and size of the neighbours
    Chance low[kScales][4][4];           // the two highest of the low bits, by scale and steps
    Chance sign[kSigns];
    Chance escape[32];                   // how long what is beyond the steps is
    Model();
};

inline Model::Model() : some_near(), more_near() {
    for (int scale = 0; scale < kScales; ++scale) {
        for (int grid = 0; grid < 2; ++grid) {
            some[scale][grid] = chance(kScale.some[scale], kPriorCount);
            for (Chance& one : more[scale][grid]) one = chance(kScale.more[scale], kPriorCount);
        }
        for (auto& steps : low[scale]) {
            for (Chance& one : steps) one = kHalf;
        }
    }
    for (Chance& one : sign) one = chance(32768, kPriorCount);
    for (Chance& one : escape) one = kHalf;
}

template <class Coder>
FEATHERWEIGHT_INLINE std::uint32_t one(Coder& coder, Chance& seen, std::uint32_t bit) {
    if (coder.bit(bounded(seen >> 16), bit) != 0) {
        learn(seen, 1);
        return 1;
    }
    learn(seen, 0);
    return 0;
}

// The mean of two opinions. `near` that was never asked begins with what `wide` says.
template <class Coder>
FEATHERWEIGHT_INLINE std::uint32_t both(Coder& coder, Chance& wide, Chance& near, std::uint32_t bit) {
    if ((near & kMaxCount) == 0) near = (wide & ~kMaxCount) | 2;
    if (coder.bit(bounded(((wide >> 16) + (near >> 16)) >> 1), bit) != 0) {
        learn(wide, 1);
        learn(near, 1);
        return 1;
    }
    learn(wide, 0);
    learn(near, 0);
    return 0;
}

// The lowest `bits` bits of a number, the highest first, each as likely 0 as 1.
template <class Coder>
FEATHERWEIGHT_INLINE std::uint32_t plain(Coder& coder, unsigned bits, std::uint32_t value) {
    std::uint32_t done = 0;
    while (bits > 0) {
        const unsigned part = bits > 16 ? 16 : bits;
        bits -= part;
        done = done << part | coder.plain(part, value >> bits & ((1u << part) - 1));
    }
    return done;
}

}  // namespace
}  // namespace featherweight::context_range
