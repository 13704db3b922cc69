#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "core/threads.hpp"
#include "entropy/rans.hpp"
#include "entropy/rans_lanes.hpp"
#include "featherweight/bytes.hpp"
#include "featherweight/cpu.hpp"

namespace featherweight::rans {

// What one block is decoded in.
struct Decoder::Scratch {
    std::unique_ptr<std::uint8_t[]> classes;  // of one block, where they do not fit into the place of the symbols
    Bins bins{};
    Fault fault;
};

namespace {

Fault early(std::uint64_t at, std::uint64_t place) { return {Code::decoded_size, at, static_cast<std::int64_t>(place)}; }

// One symbol of one lane; `taken` says whether a word has to follow.
inline std::uint32_t step(std::uint32_t& state, const std::uint32_t* slots) {
    const std::uint32_t entry = slots[state & (kTotal - 1)];
    state = (entry >> 20) * (state >> kPrecision) + (entry >> 8 & (kTotal - 1));
    return entry & 0xFF;
}

template <unsigned N>
void run_lanes(Lanes& lanes) {
    std::uint32_t states[N];
    std::memcpy(states, lanes.states, sizeof states);
    const std::uint8_t* words = lanes.words;
    std::uint8_t* classes = lanes.classes;
    std::uint64_t rounds = lanes.rounds;
    const std::uint32_t* const slots = lanes.slots;
    for (; rounds != 0 && lanes.end - words >= 2 * static_cast<int>(N); --rounds, classes += N) {
        for (unsigned lane = 0; lane < N; ++lane) {
            std::uint32_t x = states[lane];
            classes[lane] = static_cast<std::uint8_t>(step(x, slots));
            // Without a branch: whether a word is needed is as good as random.
            const std::uint32_t low = x < kLow, longer = x << 16 | load_little16(words);
            words += 2 * low;
            states[lane] = x ^ ((x ^ longer) & (0 - low));
        }
    }
    std::memcpy(lanes.states, states, sizeof states);
    lanes.words = words;
    lanes.classes = classes;
    lanes.rounds = rounds;
}

void run_lanes(Lanes& lanes) {
#if defined(FEATHERWEIGHT_HAS_AVX512)
    if (lanes.count >= 16 && may_use(Isa::avx512)) return run_lanes__avx512(lanes);
#endif
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (lanes.count >= 16 && may_use(Isa::avx2)) return run_lanes__avx2(lanes);
#endif
    switch (lanes.count) {
        case 1: return run_lanes<1>(lanes);
        case 2: return run_lanes<2>(lanes);
        case 4: return run_lanes<4>(lanes);
        case 8: return run_lanes<8>(lanes);
        case 16: return run_lanes<16>(lanes);
        default: return run_lanes<32>(lanes);
    }
}

// Adds the classes of one block to the bins of the symbols that are a class each.
void count_classes(const std::uint8_t* classes, std::uint64_t count, unsigned single, Bins& bins) {
    // Four tables: equal symbols in a row would wait for each other's increment.
    std::array<std::array<std::uint32_t, 256>, 4> tables{};
    std::uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        std::uint64_t eight = load_little64(classes + i);
        for (unsigned j = 0; j < 8; ++j, eight >>= 8) ++tables[j & 3][eight & 0xFF];
    }
    for (; i < count; ++i) ++tables[0][classes[i]];
    for (unsigned number = 0; number < single; ++number) {
        bins[number] += std::uint64_t{tables[0][number]} + tables[1][number] + tables[2][number] + tables[3][number];
    }
}

// Whether one of eight bytes is at least `single`, which is at most 128.
inline bool any_from(std::uint64_t bytes, unsigned single) {
    constexpr std::uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    return (((bytes & ~tops) + ones * (128 - single)) | bytes) & tops;
}

}  // namespace

Fault Decoder::open(const std::uint8_t* data, std::uint64_t size, std::uint64_t count, std::uint64_t alphabet) {
    *this = Decoder{};
    data_ = data;
    size_ = size;
    count_ = count;
    alphabet_ = alphabet;
    if (const Fault fault = read_table(data, size, alphabet, model_, index_)) return fault;
    // A block takes its states at least: what a count costs in memory is bounded by the bytes.
    const std::uint64_t whole = count == 0 ? 0 : (count - 1) / kBlock, room = size - index_;
    const std::uint64_t last = kStateBytes * lanes_of(count - whole * kBlock);
    if (count < 2 || whole > room || (kSizeBytes + kStateBytes * kMaxLanes) * whole + last > room) {
        return {Code::count, size, static_cast<std::int64_t>(count)};
    }
    at_ = index_ + kSizeBytes * whole;
    slots_.resize(kTotal);
    std::uint32_t slot = 0;
    for (std::uint32_t number = 0; number < model_.classes; ++number) {
        const std::uint32_t frequency = model_.frequencies[number];
        for (std::uint32_t i = 0; i < frequency; ++i) slots_[slot++] = number | i << 8 | frequency << 20;
    }
    return {};
}

Fault Decoder::next_blocks(std::uint64_t most, std::vector<Block>& found) {
    for (; !done() && found.size() < most; ++next_) {
        std::uint64_t end = size_;
        const bool last = next_ + 1 == blocks();
        if (!last) {
            const std::uint64_t length = load_little16(data_ + index_) | std::uint64_t{data_[index_ + 2]} << 16;
            if (length > size_ - at_) return {Code::span, index_, static_cast<std::int64_t>(length)};
            index_ += kSizeBytes;
            end = at_ + length;
        }
        const std::uint64_t first = next_ * kBlock;
        found.push_back({at_, end, first, last ? count_ - first : kBlock});
        at_ = end;
    }
    return {};
}

template <class Symbol>
Fault Decoder::decode(std::uint64_t most, unsigned threads, Symbol* out) {
    std::vector<Block> found;
    const Fault behind = next_blocks(most, found);
    std::vector<Scratch> scratches(found.size());  // and all memory, since threads must not throw
    if (sizeof(Symbol) > 1) {
        for (std::size_t i = 0; i < found.size(); ++i) scratches[i].classes.reset(new std::uint8_t[found[i].count]);
    }
    parallel(threads, found.size(), 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = first; i < last; ++i) {
            scratches[i].fault = decode_block(found[i], scratches[i], out + found[i].first);
        }
    });
    for (const Scratch& scratch : scratches) {
        if (scratch.fault) return scratch.fault;
        for (unsigned bin = 0; bin < kBins; ++bin) bins_[bin] += scratch.bins[bin];
    }
    return behind;
}

template <class Symbol>
Fault Decoder::decode_block(const Block& block, Scratch& scratch, Symbol* out) const {
    std::uint8_t* classes = reinterpret_cast<std::uint8_t*>(out);
    if (sizeof(Symbol) > 1) classes = scratch.classes.get();
    std::uint64_t at = block.begin;
    if (const Fault fault = decode_lanes(block, classes, at)) return fault;
    const unsigned single = single_symbols(model_);
    count_classes(classes, block.count, std::min(single, model_.classes), scratch.bins);
    if (sizeof(Symbol) > 1) std::copy(classes, classes + block.count, out);
    if (model_.classes > single) return decode_bits(block, at, classes, scratch, out);
    return check_end(block, 8 * at);
}

// The classes of one block; `at` comes to lie behind the words.
Fault Decoder::decode_lanes(const Block& block, std::uint8_t* classes, std::uint64_t& at) const {
    std::array<std::uint32_t, kMaxLanes> states;
    const unsigned count = lanes_of(block.count);
    if (block.end - at < kStateBytes * count) return {Code::span, at, static_cast<std::int64_t>(block.end - at)};
    for (unsigned lane = 0; lane < count; ++lane, at += kStateBytes) {
        states[lane] = load_little32(data_ + at);
        if (states[lane] < kLow) return {Code::ans, at, states[lane]};
    }
    if (model_.frequencies[model_.classes - 1] == kTotal) {  // the only class: it moves no state
        std::memset(classes, static_cast<int>(model_.classes - 1), block.count);
    } else {
        Lanes lanes{states.data(), count, slots_.data(), data_ + at, data_ + block.end, classes, block.count / count};
        run_lanes(lanes);
        at = static_cast<std::uint64_t>(lanes.words - data_);
        for (auto place = static_cast<std::uint64_t>(lanes.classes - classes); place < block.count; ++place) {
            std::uint32_t& state = states[place % count];
            classes[place] = static_cast<std::uint8_t>(step(state, slots_.data()));
            if (state >= kLow) continue;
            if (block.end - at < 2) return early(block.end, place);
            state = state << 16 | load_little16(data_ + at);
            at += 2;
        }
    }
    for (unsigned lane = 0; lane < count; ++lane) {
        if (states[lane] != kLow) return {Code::ans, block.begin, states[lane]};
    }
    return {};
}

// Completes the symbols of classes of several. `classes` and `out` may be the same place.
template <class Symbol>
Fault Decoder::decode_bits(const Block& block, std::uint64_t at, const std::uint8_t* classes, Scratch& scratch,
                           Symbol* out) const {
    const unsigned single = single_symbols(model_);
    std::array<Class, kMaxClasses> of;
    for (unsigned number = single; number < model_.classes; ++number) {
        of[number] = class_at(number, model_.split, model_.sub);
    }
    const std::uint8_t* const bytes = data_ + at;
    const std::uint64_t size = block.end - at;
    std::uint64_t bit = 0;
    for (std::uint64_t first = 0; first < block.count; first += 8) {
        const std::uint64_t behind = std::min<std::uint64_t>(first + 8, block.count);
        if (behind - first == 8 && !any_from(load_little64(classes + first), single)) continue;
        for (std::uint64_t i = first; i < behind; ++i) {
            if (classes[i] < single) continue;
            const auto [lowest, own] = of[classes[i]];
            const std::uint64_t window = load_big64_within(bytes, size, bit >> 3) << (bit & 7);
            const auto symbol = lowest + static_cast<std::uint32_t>(window >> 1 >> (63 - own));
            bit += own;
            if (bit > 8 * size) return early(block.end, i);
            if (symbol >= alphabet_) return {Code::index, at + (bit >> 3), symbol};
            ++scratch.bins[bin_of(symbol)];
            out[i] = static_cast<Symbol>(symbol);
        }
    }
    return check_end(block, 8 * at + bit);
}

// Whether a block whose symbols take the stream up to `bit` ends there, with zero bits up to a whole byte.
Fault Decoder::check_end(const Block& block, std::uint64_t bit) const {
    const std::uint64_t end = (bit + 7) / 8;
    if (bit % 8 != 0 && (data_[end - 1] & ((1u << (8 - bit % 8)) - 1)) != 0) return {Code::padding, end - 1, 0};
    if (end != block.end) {
        return {block.end == size_ ? Code::decoded_size : Code::span, end, static_cast<std::int64_t>(block.end)};
    }
    return {};
}

template <class Symbol>
Fault Decoder::finish(const Symbol* symbols) const {
    std::uint64_t same = 1;
    while (same < count_ && symbols[same] == symbols[0]) ++same;
    if (same == count_ || !choose(bins_).same_table(model_)) return {Code::ans, 0, 0};
    return {};
}

template Fault Decoder::decode(std::uint64_t, unsigned, std::uint8_t*);
template Fault Decoder::decode(std::uint64_t, unsigned, std::uint16_t*);
template Fault Decoder::decode(std::uint64_t, unsigned, std::uint32_t*);
template Fault Decoder::finish(const std::uint8_t*) const;
template Fault Decoder::finish(const std::uint16_t*) const;
template Fault Decoder::finish(const std::uint32_t*) const;

}  // namespace featherweight::rans
