#include <array>
#include <cstring>

#include "entropy/rans.hpp"
#include "entropy/rans_lanes.hpp"
#include "featherweight/bytes.hpp"

namespace featherweight::rans {
namespace {

constexpr unsigned kReciprocal = 44;  // x f < 2^44 for every state x that is divided by f: the product below is exact

// What moves a state for one class. A class that is alone moves nothing and has none.
struct Move {
    std::uint64_t reciprocal;  // 2^44 / f, rounded up
    std::uint32_t limit;       // f 2^20: a state as large gives away a word first
    std::uint16_t start;       // of the class's part
    std::uint16_t rest;        // 4096 - f
};

std::array<Move, kMaxClasses> moves_of(const Model& model) {
    std::array<Move, kMaxClasses> moves{};
    std::uint32_t start = 0;
    for (unsigned i = 0; i < model.classes; ++i) {
        const std::uint64_t f = model.frequencies[i];
        if (f == 0 || f == kTotal) continue;
        moves[i] = {((std::uint64_t{1} << kReciprocal) + f - 1) / f, static_cast<std::uint32_t>(f << (32 - kPrecision)),
                    static_cast<std::uint16_t>(start), static_cast<std::uint16_t>(kTotal - f)};
        start += static_cast<std::uint32_t>(f);
    }
    return moves;
}

template <class Symbol>
void count_bins(const Symbol* symbols, std::uint64_t count, Bins& bins) {
    // Four tables: equal symbols in a row would wait for each other's increment.
    std::array<std::array<std::uint32_t, kBins>, 4> tables;
    for (std::uint64_t first = 0; first < count; first += kBlock) {
        const Symbol* block = symbols + first;
        const std::uint64_t size = count - first < kBlock ? count - first : kBlock;
        for (auto& table : tables) table.fill(0);
        std::uint64_t i = 0;
        for (; i + 4 <= size; i += 4) {
            for (unsigned j = 0; j < 4; ++j) ++tables[j][bin_of(block[i + j])];
        }
        for (; i < size; ++i) ++tables[0][bin_of(block[i])];
        for (unsigned bin = 0; bin < kBins; ++bin) {
            bins[bin] += std::uint64_t{tables[0][bin]} + tables[1][bin] + tables[2][bin] + tables[3][bin];
        }
    }
}

// Bits, the first one in the highest place of the first byte. `out` has room for them, and for 8 bytes more.
class BitWriter {
  public:
    explicit BitWriter(std::uint8_t* out) : at_(out) {}

    void put(std::uint32_t value, unsigned width) {  // at most 20 bits
        rest_ = rest_ << width | value;
        filled_ += width;
        if (filled_ >= 32) flush();
    }
    // The end of the bytes.
    const std::uint8_t* finish() {
        flush();
        if (filled_ != 0) *at_++ = static_cast<std::uint8_t>(rest_ << (8 - filled_));
        return at_;
    }

  private:
    void flush() {
        if (filled_ == 0) return;
        store_big64(at_, rest_ << (64 - filled_));
        at_ += filled_ / 8;
        filled_ %= 8;
    }

    std::uint8_t* at_;
    std::uint64_t rest_ = 0;  // the lowest `filled_` bits are still to be written, 0..51 of them
    unsigned filled_ = 0;
};

struct Encoder {
    // For blocks of at most `count` symbols.
    Encoder(const Model& model, std::uint64_t count) : model(model), moves(moves_of(model)), words(count + 1) {
        for (unsigned symbol = 0; symbol < small.size(); ++symbol) {
            small[symbol] = static_cast<std::uint8_t>(class_of(symbol, model.split, model.sub));
        }
    }

    const Model model;
    const std::array<Move, kMaxClasses> moves;
    std::array<std::uint8_t, 256> small;  // the class of each symbol below 256
    std::vector<std::uint16_t> words;     // of one block, from the end
    std::vector<std::uint8_t> classes, bits;
    std::size_t bit_bytes = 0;            // of `bits` are in use

    // Adds one block to `out`.
    template <class Symbol>
    void encode_block(const Symbol* symbols, std::uint64_t count, std::vector<std::uint8_t>& out) {
        const std::uint8_t* numbers = classify(symbols, count);
        std::array<std::uint32_t, kMaxLanes> states;
        states.fill(kLow);
        const std::uint64_t first = run_lanes(numbers, count, states.data());
        const unsigned lanes = lanes_of(count);
        const std::size_t at = out.size(), taken = 2 * (words.size() - first);
        out.resize(at + kStateBytes * lanes + taken + bit_bytes);
        std::uint8_t* to = out.data() + at;
        for (unsigned lane = 0; lane < lanes; ++lane, to += kStateBytes) store_little32(to, states[lane]);
        for (std::uint64_t i = first; i < words.size(); ++i, to += 2) store_little16(to, words[i]);
        if (bit_bytes != 0) std::memcpy(to, bits.data(), bit_bytes);
    }

private:
    // The classes of the symbols, and in `bits` the bits of their own.
    template <class Symbol>
    const std::uint8_t* classify(const Symbol* symbols, std::uint64_t count) {
        bit_bytes = 0;
        const std::uint32_t single = 1u << model.split;  // symbols below are a class each
        if (model.classes <= single && sizeof(Symbol) == 1) return reinterpret_cast<const std::uint8_t*>(symbols);
        classes.resize(count);
        bits.resize(count * 20 / 8 + 16);
        BitWriter writer(bits.data());
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint32_t symbol = symbols[i];
            const unsigned number = symbol < 256 ? small[symbol] : class_of(symbol, model.split, model.sub);
            classes[i] = static_cast<std::uint8_t>(number);
            if (symbol < single) continue;
            const unsigned own = class_at(number, model.split, model.sub).own;
            writer.put(symbol & ((1u << own) - 1), own);
        }
        bit_bytes = static_cast<std::size_t>(writer.finish() - bits.data());
        return classes.data();
    }

    // Fills `words` from the end and moves the states; gives the place of the first word.
    std::uint64_t run_lanes(const std::uint8_t* numbers, std::uint64_t count, std::uint32_t* states) {
        std::uint16_t* words_at = words.data() + words.size();
        if (model.frequencies[model.classes - 1] == kTotal) return words.size();
        switch (lanes_of(count)) {
            case 1: words_at = rounds<1>(numbers, count, states, words_at); break;
            case 2: words_at = rounds<2>(numbers, count, states, words_at); break;
            case 4: words_at = rounds<4>(numbers, count, states, words_at); break;
            case 8: words_at = rounds<8>(numbers, count, states, words_at); break;
            case 16: words_at = rounds<16>(numbers, count, states, words_at); break;
            default: words_at = rounds<32>(numbers, count, states, words_at); break;
        }
        return static_cast<std::uint64_t>(words_at - words.data());
    }

    template <unsigned N>
    std::uint16_t* rounds(const std::uint8_t* numbers, std::uint64_t count, std::uint32_t* states, std::uint16_t* words_at) {
        std::uint64_t i = count;
        for (; i % N != 0; --i) words_at = step(states[(i - 1) % N], numbers[i - 1], words_at);
        for (; i != 0; i -= N) {
            for (unsigned lane = N; lane != 0; --lane) {
                words_at = step(states[lane - 1], numbers[i - N + lane - 1], words_at);
            }
        }
        return words_at;
    }

    std::uint16_t* step(std::uint32_t& state, std::uint8_t number, std::uint16_t* words_at) const {
        const Move& move = moves[number];
        std::uint32_t x = state;
        // Written whether it counts or not: there is room for one word more than there are symbols.
        const bool full = x >= move.limit;
        words_at[-1] = static_cast<std::uint16_t>(x);
        words_at -= full;
        x = full ? x >> 16 : x;
        const auto quotient = static_cast<std::uint32_t>(x * move.reciprocal >> kReciprocal);
        state = x + move.start + quotient * move.rest;
        return words_at;
    }
};

}  // namespace

template <class Symbol>
bool encode(const Symbol* symbols, std::uint64_t count, std::vector<std::uint8_t>& out) {
    out.clear();
    std::uint64_t same = 1;
    while (same < count && symbols[same] == symbols[0]) ++same;
    if (same >= count) return false;
    Bins bins{};
    count_bins(symbols, count, bins);
    Encoder encoder(choose(bins), count < kBlock ? count : kBlock);
    write_table(encoder.model, out);
    std::size_t index = out.size();
    out.resize(index + kSizeBytes * ((count - 1) / kBlock));
    for (std::uint64_t first = 0; first < count; first += kBlock) {
        const std::size_t before = out.size();
        encoder.encode_block(symbols + first, count - first < kBlock ? count - first : kBlock, out);
        if (count - first <= kBlock) break;
        const std::size_t size = out.size() - before;
        for (unsigned i = 0; i < kSizeBytes; ++i) out[index++] = static_cast<std::uint8_t>(size >> (8 * i));
    }
    return true;
}

template bool encode(const std::uint8_t*, std::uint64_t, std::vector<std::uint8_t>&);
template bool encode(const std::uint16_t*, std::uint64_t, std::vector<std::uint8_t>&);
template bool encode(const std::uint32_t*, std::uint64_t, std::vector<std::uint8_t>&);

}  // namespace featherweight::rans
