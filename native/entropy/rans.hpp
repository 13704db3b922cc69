// Interleaved rANS with static frequencies. The specification is src/featherweight/entropy/rans.py and
// _rans_reference.py; every instruction set gives the same bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "entropy/rans_lanes.hpp"
#include "entropy/rans_model.hpp"
#include "featherweight/fault.hpp"

namespace featherweight::rans {

constexpr std::uint64_t kBlock = 1u << 18;  // symbols

// Replaces `out` by the coded stream; false, and `out` is empty, if no two symbols differ. Symbols are below 2^20;
// Symbol is std::uint8_t, std::uint16_t or std::uint32_t.
template <class Symbol>
bool encode(const Symbol* symbols, std::uint64_t count, std::vector<std::uint8_t>& out);

// A coded stream of `count` symbols below `alphabet` (at most 2^20). It has to outlive the decoder.
class Decoder {
public:
    // Reads the table; nothing else may be called if that is at fault.
    Fault open(const std::uint8_t* data, std::uint64_t size, std::uint64_t count, std::uint64_t alphabet);

    std::uint64_t blocks() const { return (count_ + kBlock - 1) / kBlock; }

    // Decodes up to `most` further blocks on up to `threads` threads into their places in `out`, which has room for all
    // symbols of the stream and whose type holds the alphabet. Work memory: 300 KB a block.
    template <class Symbol>
    Fault decode(std::uint64_t most, unsigned threads, Symbol* out);

    bool done() const { return next_ == blocks(); }

    // Behind the last block: whether the table is the one that a writer gives for the symbols.
    template <class Symbol>
    Fault finish(const Symbol* symbols) const;

private:
    struct Block {
        std::uint64_t begin, end, first, count;  // bytes of the stream; symbols
    };
    struct Scratch;
    template <class Symbol>
    struct OwnBits;

    Fault next_blocks(std::uint64_t most, std::vector<Block>& blocks);
    std::unique_ptr<PairCounts> pairs_for(std::uint64_t count) const;
    template <class Symbol>
    void decode_blocks(const Block* blocks, Scratch* scratches, std::size_t count, Symbol* out) const;
    template <class Symbol>
    Fault decode_block(const Block& block, Scratch& scratch, Symbol* out) const;
    Fault begin_lanes(const Block& block, Scratch& scratch, std::uint8_t* classes, PairCounts* pairs) const;
    Fault finish_lanes(const Block& block, Scratch& scratch, std::uint64_t& at) const;
    template <class Symbol>
    Fault decode_bits(const Block& block, std::uint64_t at, Scratch& scratch, Symbol* out) const;
    Fault check_end(const Block& block, std::uint64_t bit) const;

    const std::uint8_t* data_ = nullptr;
    std::uint64_t size_ = 0, count_ = 0, alphabet_ = 0;
    std::uint64_t index_ = 0;              // byte of the next size in the index
    std::uint64_t at_ = 0, next_ = 0;      // byte and number of the next block
    Model model_;
    Bins bins_{};                          // of all symbols that were decoded
    std::vector<std::uint32_t> slots_;     // see rans_lanes.hpp
};

}  // namespace featherweight::rans
