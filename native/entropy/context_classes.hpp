// Symbols that are no numbers: bit by bit down a tree, beside the symbol before.
#pragma once

#include <cstdint>
#include <vector>

#include "entropy/context_model.hpp"
#include "entropy/context_range.hpp"

namespace featherweight::context_range {
namespace {

constexpr unsigned kTreeBits = 8;    // symbols of at most this many bits are coded by a tree of their own
constexpr unsigned kLengthBits = 6;  // others by their length in bits, the bits behind the highest
constexpr unsigned kHeadBits = 3;    // of which the first are learned

template <class Coder>
class Classes {
public:
    Classes(Coder& coder, std::uint64_t alphabet) : coder_(coder), bits_(bits_of(alphabet - 1)) {
        if (bits_ == 0) bits_ = 1;
        const unsigned depth = bits_ <= kTreeBits ? bits_ : kLengthBits;
        wide_.assign(std::size_t{1} << depth, chance(32768, 1));
        near_.assign(std::size_t{kKinds} << depth, 0);
        heads_.assign(std::size_t{64} << kHeadBits, chance(32768, 1));
        depth_ = depth;
    }

    std::uint32_t symbol(std::uint32_t given) {
        if (bits_ <= kTreeBits) {
            const std::uint32_t found = tree(given);
            before_ = found >> (depth_ > 3 ? depth_ - 3 : 0);
            return found;
        }
        const unsigned length = tree(bits_of(given));
        before_ = length / 8;
        if (length < 2) return length;
        if (length > 32) {
            broken_ = true;
            return 0;
        }
        return tail(length, given);
    }

    bool broken() const { return broken_; }

private:
    static constexpr unsigned kKinds = 8;

    static unsigned bits_of(std::uint64_t number) { return number == 0 ? 0 : 64 - static_cast<unsigned>(leading_zeros(number)); }

    std::uint32_t tree(std::uint32_t given) {
        std::uint32_t node = 1;
        for (unsigned left = depth_; left-- > 0;) {
            const std::size_t near = (static_cast<std::size_t>(before_) << depth_) + node;
            node = node * 2 + both(coder_, wide_[node], near_[near], given >> left & 1);
        }
        return node - (1u << depth_);
    }

    // The bits behind the highest of a symbol of `length` bits.
    std::uint32_t tail(unsigned length, std::uint32_t given) {
        unsigned left = length - 1;
        std::uint32_t node = 1;
        for (unsigned i = 0; i < kHeadBits && left > 0; ++i) {
            --left;
            Chance& seen = heads_[(std::size_t{length} << kHeadBits) + node];
            node = node * 2 + one(coder_, seen, given >> left & 1);
        }
        const std::uint32_t rest = plain(coder_, left, given & ((left < 32 ? 1u << left : 0u) - 1));
        return static_cast<std::uint32_t>(std::uint64_t{node} << left | rest);
    }

    Coder& coder_;
    unsigned bits_, depth_ = 0;
    std::uint32_t before_ = 0;  // what is asked of the symbol before: its first three bits, or an eighth of its length
    std::vector<Chance> wide_, near_, heads_;
    bool broken_ = false;
};

}  // namespace
}  // namespace featherweight::context_range
