#include "entropy/huffman.hpp"

#include <algorithm>
#include <vector>

#include "core/threads.hpp"
#include "entropy/huffman_kernel.hpp"
#include "entropy/huffman_ways.hpp"
#include "featherweight/cpu.hpp"

namespace featherweight::huffman {
namespace {

template <class T>
constexpr Ways<T> kPlain = {decode_range<T>, encode_all<T, 4>, encode_all<T, 3>};

#if defined(FEATHERWEIGHT_HAS_AVX2)
const Ways<std::uint8_t>& fast_ways(std::uint8_t) { return kBytesAvx2; }
const Ways<std::uint16_t>& fast_ways(std::uint16_t) { return kWordsAvx2; }
const Ways<std::uint32_t>& fast_ways(std::uint32_t) { return kLongsAvx2; }
#endif

template <class T>
const Ways<T>& ways() {
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (may_use(Isa::avx2)) return fast_ways(T{});
#endif
    return kPlain<T>;
}

bool is_full(const std::uint8_t* lengths, std::size_t used) {
    std::uint64_t room = std::uint64_t{1} << kMaxLength;
    for (std::size_t i = 0; i < used; ++i) {
        if (lengths[i] < 1 || lengths[i] > kMaxLength || (i > 0 && lengths[i] < lengths[i - 1])) return false;
        const std::uint64_t taken = std::uint64_t{1} << (kMaxLength - lengths[i]);
        if (taken > room) return false;
        room -= taken;
    }
    return room == 0;
}

void fill_three(Lookup& lookup) {
    for (std::uint32_t key = 0; key < Lookup::kSize; ++key) {
        std::uint32_t entry = 0, bits = 0, count = 0, rest = key;
        while (count < 3) {
            const std::uint32_t next = lookup.one[rest];
            const std::uint32_t length = next & 15;
            if (length == 0 || bits + length > kKeyBits) break;
            entry |= (next >> 4) << 8 * count++;
            bits += length;
            rest = rest << length & (Lookup::kSize - 1);
        }
        lookup.three[key] = entry | bits << 24 | count << 28;
    }
    lookup.has_three = true;
}

}  // namespace

std::unique_ptr<Lookup> make_lookup(const std::uint32_t* symbols, const std::uint8_t* lengths, std::size_t used,
                                    bool three) {
    if (!is_full(lengths, used)) return nullptr;
    std::unique_ptr<Lookup> lookup(new Lookup);  // 176 KB, left as they are: a full code fills what is read
    lookup->has_three = false;
    std::uint32_t code = 0;  // 15 bits
    for (std::size_t i = 0; i < used; ++i) {
        if (symbols[i] >= 1u << (three ? 8 : 28)) return nullptr;
        const std::uint32_t entry = symbols[i] << 4 | lengths[i];
        const std::uint32_t next = code + (1u << (kMaxLength - lengths[i]));
        if (lengths[i] <= kKeyBits) {
            std::fill(lookup->one + (code >> Lookup::kMoreBits), lookup->one + (next >> Lookup::kMoreBits), entry);
        } else {
            // the 8 entries behind each beginning of longer codes lie at 8 times that beginning
            std::fill(lookup->more + code, lookup->more + next, entry);
            lookup->one[code >> Lookup::kMoreBits] = code >> Lookup::kMoreBits << Lookup::kMoreBits << 4;
        }
        code = next;
    }
    if (three) fill_three(*lookup);
    return lookup;
}

template <class T>
void decode(const Blocks& blocks, const Lookup& lookup, T* out, unsigned threads) {
    const auto range = ways<T>().decode_range;
    parallel(threads, blocks.blocks, kLanes, [&blocks, &lookup, out, range](std::size_t first, std::size_t last) {
        range(blocks, lookup, out, first, last);
    });
}

template <class T>
void sizes(const T* symbols, std::size_t count, const std::uint8_t* lengths, std::size_t alphabet, std::size_t block,
           std::uint64_t* sizes) {
    std::uint8_t padded[256] = {};
    std::copy(lengths, lengths + std::min<std::size_t>(alphabet, 256), padded);
    for (std::size_t start = 0; start < count; start += block) {
        const std::size_t end = std::min(count, start + block);
        std::uint64_t sum = 0;
        for (std::size_t i = start; i < end; ++i) {
            if constexpr (sizeof(T) == 1) {
                sum += padded[symbols[i]];
            } else {
                sum += symbols[i] < alphabet ? lengths[symbols[i]] : 0;
            }
        }
        *sizes++ = sum;
    }
}

template <class T>
std::uint64_t encode(const T* symbols, std::size_t count, const std::uint16_t* codes, const std::uint8_t* lengths,
                     std::size_t alphabet, unsigned first, std::uint8_t* out, std::uint64_t capacity) {
    std::vector<std::uint32_t> table(std::max<std::size_t>(alphabet, 256));
    std::uint8_t longest = 0;
    for (std::size_t s = 0; s < alphabet; ++s) {
        const std::uint32_t length = std::min<std::uint32_t>(lengths[s], kMaxLength);
        table[s] = (codes[s] & ((1u << length) - 1)) << 4 | length;
        longest = std::max(longest, lengths[s]);
    }
    const auto way = longest < kMaxLength ? ways<T>().encode_short : ways<T>().encode_long;
    return way(symbols, count, table.data(), alphabet, first & 7, out, capacity);
}

template void decode(const Blocks&, const Lookup&, std::uint8_t*, unsigned);
template void decode(const Blocks&, const Lookup&, std::uint16_t*, unsigned);
template void decode(const Blocks&, const Lookup&, std::uint32_t*, unsigned);
template void sizes(const std::uint8_t*, std::size_t, const std::uint8_t*, std::size_t, std::size_t, std::uint64_t*);
template void sizes(const std::uint16_t*, std::size_t, const std::uint8_t*, std::size_t, std::size_t, std::uint64_t*);
template void sizes(const std::uint32_t*, std::size_t, const std::uint8_t*, std::size_t, std::size_t, std::uint64_t*);
template std::uint64_t encode(const std::uint8_t*, std::size_t, const std::uint16_t*, const std::uint8_t*, std::size_t,
                              unsigned, std::uint8_t*, std::uint64_t);
template std::uint64_t encode(const std::uint16_t*, std::size_t, const std::uint16_t*, const std::uint8_t*, std::size_t,
                              unsigned, std::uint8_t*, std::uint64_t);
template std::uint64_t encode(const std::uint32_t*, std::size_t, const std::uint16_t*, const std::uint8_t*, std::size_t,
                              unsigned, std::uint8_t*, std::uint64_t);

}  // namespace featherweight::huffman
