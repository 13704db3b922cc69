// The native coder by itself: what it writes it reads, with every instruction set, on any number of threads, and broken
// streams stay inside their bytes. That it equals the reference is shown in tests/entropy/test_huffman_native.py.

#include "check.hpp"
#include "core/threads.hpp"
#include "entropy/huffman.hpp"
#include "entropy/tables.hpp"
#include "featherweight/cpu.hpp"

#include <atomic>
#include <cstring>
#include <vector>

namespace fw = featherweight;
namespace hf = featherweight::huffman;

namespace {

// A full code: in order of the codes, symbols and lengths; for each symbol, its code and length.
struct Code {
    std::vector<std::uint32_t> order;
    std::vector<std::uint8_t> widths, lengths;
    std::vector<std::uint16_t> codes;
};

Code code_of(const std::vector<std::uint8_t>& widths, std::uint32_t stride) {
    Code code;
    code.widths = widths;
    code.lengths.assign(widths.size() * stride, 0);
    code.codes.assign(widths.size() * stride, 0);
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < widths.size(); ++i) {
        const std::uint32_t symbol = static_cast<std::uint32_t>((widths.size() - 1 - i) * stride);
        code.order.push_back(symbol);
        code.lengths[symbol] = widths[i];
        code.codes[symbol] = static_cast<std::uint16_t>(next >> (15 - widths[i]));
        next += 1u << (15 - widths[i]);
    }
    return code;
}

std::vector<std::vector<std::uint8_t>> shapes() {
    std::vector<std::vector<std::uint8_t>> found = {{1, 1}, {1, 2, 2}, std::vector<std::uint8_t>(256, 8)};
    std::vector<std::uint8_t> steep;
    for (std::uint8_t width = 1; width < 15; ++width) steep.push_back(width);
    steep.push_back(15);
    steep.push_back(15);
    found.push_back(steep);
    std::vector<std::uint8_t> mixed(3, 2);  // a quarter is left for codes of 13 to 15 bits
    mixed.resize(3 + 1024, 13);
    mixed.resize(3 + 1024 + 1024, 14);
    mixed.resize(3 + 1024 + 1024 + 2048, 15);
    found.push_back(mixed);
    return found;
}

template <class T>
void round_trip(const Code& code, std::size_t count, bool three, unsigned first, check::Random& random) {
    constexpr std::size_t block = 1024;
    std::vector<T> symbols(count);
    for (T& symbol : symbols) {
        const std::size_t near = random.below(code.order.size());
        symbol = static_cast<T>(code.order[random.below(2) ? near : near % 5 % code.order.size()]);
    }
    std::vector<std::uint64_t> starts((count + block - 1) / block), ends(starts.size());
    hf::sizes(symbols.data(), count, code.lengths.data(), code.lengths.size(), block, starts.data());
    std::uint64_t bits = first;
    for (std::uint64_t& start : starts) {
        const std::uint64_t size = start;
        start = bits;
        bits += size;
    }
    std::vector<std::uint8_t> coded((bits + 7) / 8 + 8, 0xff);
    const std::uint64_t end = hf::encode(symbols.data(), count, code.codes.data(), code.lengths.data(),
                                         code.codes.size(), first, coded.data(), coded.size());
    CHECK(end == bits);
    CHECK(first == 0 || coded[0] >> (8 - first) == (1 << first) - 1);  // what was there stays
    std::vector<std::uint8_t> small(coded.begin(), coded.end() - 9);
    CHECK(hf::encode(symbols.data(), count, code.codes.data(), code.lengths.data(), code.codes.size(), first,
                     small.data(), small.size()) == 0);
    coded.resize((bits + 7) / 8);  // not one byte more to read
    coded.shrink_to_fit();

    const auto lookup = hf::make_lookup(code.order.data(), code.widths.data(), code.order.size(), three);
    if (!CHECK(lookup != nullptr)) return;
    const hf::Blocks blocks = {coded.data(), coded.size(), starts.data(), ends.data(), block, count, starts.size()};
    for (const unsigned threads : {1u, 2u, 7u}) {
        std::vector<T> found(count);
        hf::decode(blocks, *lookup, found.data(), threads);
        CHECK(found == symbols);
        CHECK(ends.back() == bits);
        CHECK(std::equal(starts.begin() + 1, starts.end(), ends.begin()));
    }
}

void test_round_trips() {
    check::Random random(1);
    for (const auto& widths : shapes()) {
        for (const std::size_t count : {1u, 5u, 1024u, 5000u, 20000u}) {
            const unsigned first = static_cast<unsigned>(random.below(8));
            if (widths.size() <= 256) {
                round_trip<std::uint8_t>(code_of(widths, 1), count, true, first, random);
                round_trip<std::uint8_t>(code_of(widths, 1), count, false, first, random);
            }
            round_trip<std::uint16_t>(code_of(widths, 3), count, false, first, random);
            round_trip<std::uint32_t>(code_of(widths, 101), count, false, first, random);
        }
    }
}

void test_codes_that_are_not_full() {
    const std::uint32_t symbols[3] = {0, 1, 2};
    const auto made = [&symbols](std::vector<std::uint8_t> widths) {
        return hf::make_lookup(symbols, widths.data(), widths.size(), false) != nullptr;
    };
    CHECK(made({1, 1}) && made({1, 2, 2}));
    CHECK(!made({}) && !made({1}) && !made({1, 2}) && !made({1, 1, 1}) && !made({2, 1, 2}));
    CHECK(!made({0, 1, 1}) && !made({1, 16}) && !made({1, 255}));
    const std::uint32_t large[2] = {0, 1u << 28};
    const std::uint8_t ones[2] = {1, 1};
    CHECK(hf::make_lookup(large, ones, 2, false) == nullptr);
}

void test_blocks_that_need_bits_behind_the_end() {
    const Code code = code_of({1, 2, 2}, 1);
    const auto lookup = hf::make_lookup(code.order.data(), code.widths.data(), 3, true);
    const std::vector<std::uint8_t> coded(3, 0xff);  // twelve codes of 2 bits
    const std::uint64_t starts[3] = {0, 20, 24};
    std::uint64_t ends[3] = {};
    std::uint8_t out[24];
    hf::decode(hf::Blocks{coded.data(), 3, starts, ends, 8, 24, 3}, *lookup, out, 1);
    CHECK(ends[0] == 16 && ends[1] == 25 && ends[2] == 25);
    hf::decode(hf::Blocks{nullptr, 0, starts, ends, 24, 24, 1}, *lookup, out, 1);
    CHECK(ends[0] == 1);
}

void test_symbols_outside_the_alphabet() {
    const std::uint16_t symbols[4] = {0, 1, 60000, 1};
    const Code code = code_of({1, 1}, 1);
    std::uint64_t size = 0;
    hf::sizes(symbols, 4, code.lengths.data(), 2, 4, &size);
    CHECK(size == 3);
    std::uint8_t out[16];
    CHECK(hf::encode(symbols, 4, code.codes.data(), code.lengths.data(), 2, 0, out, 16) == 3);
    std::int64_t counts[2] = {};
    CHECK(!fw::histogram(symbols, 4, counts, 2));
    const std::uint8_t bytes[5] = {0, 1, 1, 2, 0};
    CHECK(!fw::histogram(bytes, 5, counts, 2));
    std::int64_t three[3] = {10, 0, 0};
    CHECK(fw::histogram(bytes, 5, three, 3) && three[0] == 12 && three[1] == 2 && three[2] == 1);
}

void test_parts_of_threads() {
    for (const unsigned threads : {0u, 1u, 3u, 1000u}) {
        for (const std::size_t items : {0u, 1u, 4u, 5u, 103u}) {
            std::vector<std::atomic<int>> visits(items);
            fw::parallel(threads, items, 4, [&visits](std::size_t first, std::size_t last) {
                for (std::size_t i = first; i < last; ++i) ++visits[i];
            });
            bool once = true;
            for (const auto& count : visits) once = once && count == 1;
            CHECK(once);
        }
    }
}

}  // namespace

int main() {
    test_codes_that_are_not_full();
    test_blocks_that_need_bits_behind_the_end();
    test_symbols_outside_the_alphabet();
    test_parts_of_threads();
    for (int i = 0; i < fw::kIsas; ++i) {
        if (fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) test_round_trips();
    }
    return check::failures();
}
