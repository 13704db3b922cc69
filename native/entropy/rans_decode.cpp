#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>

#include "core/threads.hpp"
#include "entropy/rans.hpp"
#include "entropy/rans_lanes.hpp"
#include "featherweight/bytes.hpp"
#include "featherweight/cpu.hpp"

namespace featherweight::rans {

// What one block is decoded in.
struct Decoder::Scratch {
    std::unique_ptr<std::uint8_t[]> room;  // for the classes, where they do not fit into the place of the symbols
    std::uint8_t* classes = nullptr;
    std::array<std::uint32_t, kMaxLanes> states;
    Lanes lanes{};
    ClassCounts counts{};
    Bins bins{};
    Fault fault;
};

namespace {

constexpr std::uint64_t kMostBlocks = 1u << 12;  // at a time: counts of their symbols fit into 32 bits

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

// Two blocks together, as far as that pays.
void run_two([[maybe_unused]] Lanes& one, [[maybe_unused]] Lanes& other) {
#if defined(FEATHERWEIGHT_HAS_AVX512)
    if (one.count == kMaxLanes && other.count == kMaxLanes && may_use(Isa::avx512)) run_two__avx512(one, other);
#endif
}

void count_classes(const std::uint8_t* classes, const std::uint8_t* end, ClassCounts& counts) {
    for (; end - classes >= 8; classes += 8) count_eight(classes, counts);
    for (; classes != end; ++classes) ++counts[0][*classes];
}

// Adds the classes of one block to the bins of the symbols that are a class each.
void add_counts(const ClassCounts& counts, unsigned single, Bins& bins) {
    for (unsigned number = 0; number < single; ++number) {
        bins[number] += std::uint64_t{counts[0][number]} + counts[1][number] + counts[2][number] + counts[3][number];
    }
}

void add_pairs(const PairCounts& pairs, unsigned classes, ClassCounts& counts) {
    for (unsigned b = 0; b < classes; ++b) {
        std::uint32_t sum = 0;
        for (unsigned a = 0; a < classes; ++a) {
            const unsigned place = a | b << kPairBits;
            const std::uint32_t met = pairs[0][place] + pairs[1][place];
            counts[1][a] += met;
            sum += met;
        }
        counts[2][b] += sum;
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
    const Fault behind = next_blocks(std::min(most, kMostBlocks), found);
    std::vector<Scratch> scratches(found.size());  // and all memory, since threads must not throw
    if (sizeof(Symbol) > 1) {
        for (std::size_t i = 0; i < found.size(); ++i) scratches[i].room.reset(new std::uint8_t[found[i].count]);
    }
    parallel(threads, found.size(), 1, [&](std::size_t first, std::size_t last) {
        decode_blocks(found.data() + first, scratches.data() + first, last - first, out);
    });
    for (const Scratch& scratch : scratches) {
        if (scratch.fault) return scratch.fault;
        for (unsigned bin = 0; bin < kBins; ++bin) bins_[bin] += scratch.bins[bin];
    }
    return behind;
}

// Counts of pairs, all 0, for blocks of `count` symbols; null where they do not pay or there is no room for them.
std::unique_ptr<PairCounts> Decoder::pairs_for([[maybe_unused]] std::uint64_t count) const {
#if defined(FEATHERWEIGHT_HAS_AVX512)
    const bool useful = count == kBlock && model_.classes <= 1u << kPairBits && may_use(Isa::avx512);
#else
    const bool useful = false;
#endif
    if (!useful) return nullptr;
    std::unique_ptr<PairCounts> pairs(new (std::nothrow) PairCounts);
    for (unsigned b = 0; pairs != nullptr && b < model_.classes; ++b) {
        for (auto& table : *pairs) std::fill_n(table.begin() + (b << kPairBits), model_.classes, 0);
    }
    return pairs;
}

template <class Symbol>
void Decoder::decode_blocks(const Block* blocks, Scratch* scratches, std::size_t count, Symbol* out) const {
    if (count == 0) return;
    const std::unique_ptr<PairCounts> pairs = pairs_for(blocks[0].count);
    for (std::size_t i = 0; i < count; ++i) {
        Scratch& scratch = scratches[i];
        auto* const place = reinterpret_cast<std::uint8_t*>(out + blocks[i].first);
        std::uint8_t* const classes = sizeof(Symbol) > 1 ? scratch.room.get() : place;
        scratch.fault = begin_lanes(blocks[i], scratch, classes, pairs.get());
        if (i % 2 != 0) run_two(scratches[i - 1].lanes, scratch.lanes);
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (!scratches[i].fault) scratches[i].fault = decode_block(blocks[i], scratches[i], out + blocks[i].first);
    }
    if (pairs == nullptr) return;
    ClassCounts counts{};
    add_pairs(*pairs, model_.classes, counts);
    add_counts(counts, std::min(single_symbols(model_), model_.classes), scratches[0].bins);
}

template <class Symbol>
Fault Decoder::decode_block(const Block& block, Scratch& scratch, Symbol* out) const {
    std::uint64_t at = block.begin;
    if (const Fault fault = finish_lanes(block, scratch, at)) return fault;
    const unsigned single = single_symbols(model_);
    add_counts(scratch.counts, std::min(single, model_.classes), scratch.bins);
    if (sizeof(Symbol) > 1) std::copy(scratch.classes, scratch.classes + block.count, out);
    if (model_.classes > single) return decode_bits(block, at, scratch, out);
    return check_end(block, 8 * at);
}

// Puts the lanes of a block to work; without work where there is a fault, or only one class, which moves no state.
Fault Decoder::begin_lanes(const Block& block, Scratch& scratch, std::uint8_t* classes,
                           PairCounts* pairs) const {
    scratch.classes = classes;
    std::uint64_t at = block.begin;
    const unsigned count = lanes_of(block.count);
    if (block.end - at < kStateBytes * count) return {Code::span, at, static_cast<std::int64_t>(block.end - at)};
    for (unsigned lane = 0; lane < count; ++lane, at += kStateBytes) {
        scratch.states[lane] = load_little32(data_ + at);
        if (scratch.states[lane] < kLow) return {Code::ans, at, scratch.states[lane]};
    }
    const bool alone = model_.frequencies[model_.classes - 1] == kTotal;
    scratch.lanes = {scratch.states.data(),  count,           slots_.data(), data_ + at, data_ + block.end, classes,
                     alone ? 0 : block.count / count, &scratch.counts, pairs, classes};
    return {};
}

// All classes of a block, and how often each occurs; `at` comes to lie behind the words.
Fault Decoder::finish_lanes(const Block& block, Scratch& scratch, std::uint64_t& at) const {
    Lanes& lanes = scratch.lanes;
    std::uint8_t* const classes = scratch.classes;
    if (model_.frequencies[model_.classes - 1] == kTotal) {
        std::memset(classes, static_cast<int>(model_.classes - 1), block.count);
        scratch.counts[0][model_.classes - 1] = static_cast<std::uint32_t>(block.count);
        at = static_cast<std::uint64_t>(lanes.words - data_);
    } else {
        run_lanes(lanes);
        at = static_cast<std::uint64_t>(lanes.words - data_);
        for (auto place = static_cast<std::uint64_t>(lanes.classes - classes); place < block.count; ++place) {
            std::uint32_t& state = scratch.states[place % lanes.count];
            classes[place] = static_cast<std::uint8_t>(step(state, slots_.data()));
            if (state >= kLow) continue;
            if (block.end - at < 2) return early(block.end, place);
            state = state << 16 | load_little16(data_ + at);
            at += 2;
        }
        count_classes(lanes.uncounted, classes + block.count, scratch.counts);
    }
    for (unsigned lane = 0; lane < lanes.count; ++lane) {
        if (scratch.states[lane] != kLow) return {Code::ans, block.begin, scratch.states[lane]};
    }
    return {};
}

// The bits of symbols whose classes have several, and how often each bin occurs.
template <class Symbol>
struct Decoder::OwnBits {
    const std::uint8_t* bytes;
    std::uint64_t size;
    const Class* of;  // each class, those of one symbol too
    std::uint64_t alphabet;
    std::uint64_t bit = 0;
    std::array<std::array<std::uint32_t, kBins>, 2> bins{};

    // Eight symbols without a branch: which of them have bits of their own is hard to guess. They take 20 bits at most,
    // and all may be read. False, and nothing has moved, for one outside the alphabet.
    bool eight(const std::uint8_t* classes, Symbol* out) {
        std::uint64_t at = bit;
        std::uint32_t largest = 0;
        std::array<std::uint32_t, 8> symbols;
        for (unsigned j = 0; j < 8; ++j) {
            const auto [lowest, own] = of[classes[j]];
            const std::uint64_t window = load_big64(bytes + (at >> 3)) << (at & 7);
            symbols[j] = lowest + static_cast<std::uint32_t>(window >> 1 >> (63 - own));
            largest = std::max(largest, symbols[j]);
            at += own;
        }
        if (largest >= alphabet) return false;
        bit = at;
        for (unsigned j = 0; j < 8; ++j) {
            ++bins[j & 1][sizeof(Symbol) == 1 ? symbols[j] : bin_of(symbols[j])];
            out[j] = static_cast<Symbol>(symbols[j]);
        }
        return true;
    }
    bool has_eight() const { return size >= 32 && bit >> 3 <= size - 32; }

    // The next symbol of a class; false if its bits are not there or it lies outside the alphabet.
    bool one(std::uint8_t number, std::uint32_t& symbol) {
        const auto [lowest, own] = of[number];
        const std::uint64_t window = load_big64_within(bytes, size, bit >> 3) << (bit & 7);
        symbol = lowest + static_cast<std::uint32_t>(window >> 1 >> (63 - own));
        bit += own;
        if (bit > 8 * size || symbol >= alphabet) return false;
        ++bins[0][bin_of(symbol)];
        return true;
    }
};

// Completes the symbols of classes of several. `out` and the place of the classes may be the same.
template <class Symbol>
Fault Decoder::decode_bits(const Block& block, std::uint64_t at, Scratch& scratch, Symbol* out) const {
    const std::uint8_t* const classes = scratch.classes;
    const unsigned single = single_symbols(model_);
    std::array<Class, kMaxClasses> of;
    for (unsigned number = 0; number < model_.classes; ++number) of[number] = class_at(number, model_.split, model_.sub);
    OwnBits<Symbol> own{data_ + at, block.end - at, of.data(), alphabet_};
    for (std::uint64_t first = 0; first < block.count; first += 8) {
        const std::uint64_t behind = std::min<std::uint64_t>(first + 8, block.count);
        if (behind - first == 8 && !any_from(load_little64(classes + first), single)) continue;
        if (behind - first == 8 && own.has_eight() && own.eight(classes + first, out + first)) continue;
        for (std::uint64_t i = first; i < behind; ++i) {
            std::uint32_t symbol = 0;
            if (classes[i] < single) continue;
            if (!own.one(classes[i], symbol)) {
                if (own.bit > 8 * own.size) return early(block.end, i);
                return {Code::index, at + (own.bit >> 3), symbol};
            }
            out[i] = static_cast<Symbol>(symbol);
        }
    }
    for (unsigned bin = single; bin < kBins; ++bin) {  // classes of one symbol are counted already
        scratch.bins[bin] += std::uint64_t{own.bins[0][bin]} + own.bins[1][bin];
    }
    return check_end(block, 8 * at + own.bit);
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
