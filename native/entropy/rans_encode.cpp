#include <array>
#include <cstring>
#include <memory>

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

constexpr std::uint32_t kSmall = 4096;  // classes and bins of smaller symbols are looked up: no branch to guess

struct SmallBins {
    std::array<std::uint16_t, kSmall> of;

    SmallBins() {
        for (std::uint32_t symbol = 0; symbol < kSmall; ++symbol) of[symbol] = static_cast<std::uint16_t>(bin_of(symbol));
    }
};

template <class Symbol>
void count_bins(const Symbol* symbols, std::uint64_t count, Bins& bins) {
    static const SmallBins small;
    const auto bin = [](std::uint32_t symbol) {
        if (sizeof(Symbol) == 1) return static_cast<unsigned>(symbol);
        return symbol < kSmall ? small.of[symbol] : bin_of(symbol);
    };
    // Four tables: equal symbols in a row would wait for each other's increment.
    std::array<std::array<std::uint32_t, kBins>, 4> tables;
    for (std::uint64_t first = 0; first < count; first += kBlock) {
        const Symbol* block = symbols + first;
        const std::uint64_t size = count - first < kBlock ? count - first : kBlock;
        for (auto& table : tables) table.fill(0);
        std::uint64_t i = 0;
        for (; i + 4 <= size; i += 4) {
            for (unsigned j = 0; j < 4; ++j) ++tables[j][bin(block[i + j])];
        }
        for (; i < size; ++i) ++tables[0][bin(block[i])];
        for (unsigned b = 0; b < kBins; ++b) {
            bins[b] += std::uint64_t{tables[0][b]} + tables[1][b] + tables[2][b] + tables[3][b];
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
    // For blocks of at most `most` symbols. The buffers are not filled: memory that nobody touches costs nothing.
    Encoder(const Model& model, std::uint64_t most)
        : model(model), moves(moves_of(model)), words(new std::uint16_t[most + 1]), words_end(words.get() + most + 1),
          classes(new std::uint8_t[most]), bits(new std::uint8_t[most * 20 / 8 + 16]) {
        for (unsigned number = 0; number < model.classes; ++number) {
            const auto [lowest, bits_of_own] = class_at(number, model.split, model.sub);
            own[number] = static_cast<std::uint8_t>(bits_of_own);
            for (std::uint32_t s = lowest; s < kSmall && s >> bits_of_own == lowest >> bits_of_own; ++s) {
                small[s] = static_cast<std::uint8_t>(number);
            }
        }
    }

    const Model model;
    const std::array<Move, kMaxClasses> moves;
    std::array<std::uint8_t, kSmall> small;     // the class of each smaller symbol, if it has one
    std::array<std::uint8_t, kMaxClasses> own;  // how many bits tell the symbols of a class apart
    std::unique_ptr<std::uint16_t[]> words;     // of one block, from the end
    std::uint16_t* words_end;
    std::unique_ptr<std::uint8_t[]> classes, bits;
    std::size_t bit_bytes = 0;  // of `bits` are in use

    // Adds one block to `out`.
    template <class Symbol>
    void encode_block(const Symbol* symbols, std::uint64_t count, std::vector<std::uint8_t>& out) {
        const std::uint8_t* numbers = classify(symbols, count);
        std::array<std::uint32_t, kMaxLanes> states;
        states.fill(kLow);
        const std::uint16_t* word = run_lanes(numbers, count, states.data());
        const unsigned lanes = lanes_of(count);
        const std::size_t at = out.size(), taken = 2 * static_cast<std::size_t>(words_end - word);
        out.resize(at + kStateBytes * lanes + taken + bit_bytes);
        std::uint8_t* to = out.data() + at;
        for (unsigned lane = 0; lane < lanes; ++lane, to += kStateBytes) store_little32(to, states[lane]);
        for (; word != words_end; ++word, to += 2) store_little16(to, *word);
        if (bit_bytes != 0) std::memcpy(to, bits.get(), bit_bytes);
    }

private:
    // The classes of the symbols, and in `bits` the bits of their own.
    template <class Symbol>
    const std::uint8_t* classify(const Symbol* symbols, std::uint64_t count) {
        bit_bytes = 0;
        const std::uint32_t single = single_symbols(model);
        if (model.classes <= single && sizeof(Symbol) == 1) return reinterpret_cast<const std::uint8_t*>(symbols);
        BitWriter writer(bits.get());
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint32_t symbol = symbols[i];
            const unsigned number = symbol < kSmall ? small[symbol] : class_of(symbol, model.split, model.sub);
            classes[i] = static_cast<std::uint8_t>(number);
            if (symbol < single) continue;
            writer.put(symbol & ((1u << own[number]) - 1), own[number]);
        }
        bit_bytes = static_cast<std::size_t>(writer.finish() - bits.get());
        return classes.get();
    }

    // Fills `words` from the end and moves the states; gives the first word.
    std::uint16_t* run_lanes(const std::uint8_t* numbers, std::uint64_t count, std::uint32_t* states) {
        if (model.frequencies[model.classes - 1] == kTotal) return words_end;  // the only class: it moves no state
        switch (lanes_of(count)) {
            case 1: return rounds<1>(numbers, count, states);
            case 2: return rounds<2>(numbers, count, states);
            case 4: return rounds<4>(numbers, count, states);
            case 8: return rounds<8>(numbers, count, states);
            case 16: return rounds<16>(numbers, count, states);
            default: return rounds<32>(numbers, count, states);
        }
    }

    template <unsigned N>
    std::uint16_t* rounds(const std::uint8_t* numbers, std::uint64_t count, std::uint32_t* states) {
        std::uint16_t* words_at = words_end;
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
