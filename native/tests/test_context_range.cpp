#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "entropy/context_range.hpp"

namespace fw = featherweight;
namespace cr = featherweight::context_range;

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kMost = std::uint64_t{1} << 32;  // symbols of the largest alphabet

template <class Symbol>
fw::Fault decode(const Bytes& data, const cr::Geometry& geometry, std::vector<Symbol>& out) {
    const Bytes copy(data);  // of exactly this size: AddressSanitizer sees a read behind it
    return cr::decode(copy.data(), copy.size(), geometry, out.data(), out.size());
}

template <class Symbol>
Bytes encoded(const std::vector<Symbol>& symbols, const cr::Geometry& geometry) {
    Bytes data;
    cr::encode(symbols.data(), symbols.size(), geometry, data);
    return data;
}

template <class Symbol>
void check_block(const std::vector<Symbol>& symbols, const cr::Geometry& geometry) {
    const Bytes data = encoded(symbols, geometry);
    std::vector<Symbol> out(symbols.size());
    CHECK(!decode(data, geometry, out));
    CHECK(out == symbols);
    Bytes behind = {1, 255, 255};  // what is there already stays, carries included
    cr::encode(symbols.data(), symbols.size(), geometry, behind);
    CHECK(behind.size() == data.size() + 3 && behind[0] == 1 && behind[2] == 255);
    CHECK(std::equal(data.begin(), data.end(), behind.begin() + 3));
}

// Symbols below `alphabet`, mostly small; now and then any size up to the largest.
template <class Symbol>
std::vector<Symbol> drawn(std::uint64_t count, std::uint64_t alphabet, unsigned percent, std::uint64_t seed) {
    check::Random random(seed);
    std::vector<Symbol> symbols(count);
    for (Symbol& symbol : symbols) {
        std::uint64_t value = 0;
        while (random.below(100) < percent) ++value;
        if (random.below(50) == 0) value = random.next() >> (32 + random.below(32));
        symbol = static_cast<Symbol>(std::min(value, alphabet - 1));
    }
    return symbols;
}

cr::Geometry levels(std::uint64_t columns, std::uint32_t kernel, std::uint32_t width, std::uint64_t alphabet = kMost) {
    cr::Geometry geometry;
    geometry.kind = cr::Kind::levels;
    geometry.alphabet = alphabet;
    geometry.columns = columns, geometry.kernel = kernel, geometry.width = width;
    geometry.flat = false, geometry.mean = 4096;
    return geometry;
}

void test_levels() {
    for (const std::uint64_t columns : {1, 2, 3, 9, 60, 1000}) {
        for (const std::uint32_t kernel : {1, 2, 3, 9, 60}) {
            if (kernel > columns) continue;
            for (const std::uint32_t width : {std::uint32_t{1}, (kernel + 1) / 2, kernel}) {
                for (const unsigned percent : {1u, 50u, 97u}) {
                    cr::Geometry geometry = levels(columns, kernel, width);
                    geometry.trellis = percent == 50 ? columns : percent;
                    geometry.flat = percent == 97;
                    check_block(drawn<std::uint32_t>(1 + 700 * percent % 1777, kMost, percent, columns), geometry);
                    geometry.alphabet = 200;
                    check_block(drawn<std::uint8_t>(1777, 200, percent, columns), geometry);
                }
            }
        }
    }
}

void test_bits_and_classes() {
    for (const std::uint64_t columns : {1, 7, 300}) {
        cr::Geometry geometry = levels(columns, 1, 1, 2);
        geometry.kind = cr::Kind::bits;
        for (const unsigned percent : {2u, 50u, 98u}) check_block(drawn<std::uint8_t>(2000, 2, percent, 5), geometry);
    }
    for (const std::uint64_t alphabet : {2, 3, 5, 255, 256, 257, 40000, 65536}) {
        cr::Geometry geometry;
        geometry.alphabet = alphabet;
        check_block(drawn<std::uint16_t>(3000, alphabet, 80, alphabet), geometry);
    }
    cr::Geometry geometry;
    geometry.alphabet = kMost;
    check_block(drawn<std::uint32_t>(3000, kMost, 80, 9), geometry);
}

// Every size of a level, both signs, at every mean to start from: the largest shifts, escapes and sums.
void test_levels_at_the_ends() {
    for (std::uint64_t mean = 1; mean <= std::uint64_t{1} << 40; mean <<= 3) {
        std::vector<std::uint32_t> symbols;
        for (unsigned bit = 0; bit < 32; ++bit) {
            for (const std::uint32_t less : {2u, 1u, 0u}) symbols.push_back((std::uint32_t{1} << bit) - less);
        }
        symbols.push_back(~std::uint32_t{0});
        symbols.insert(symbols.end(), 500, ~std::uint32_t{0});
        symbols.insert(symbols.end(), 300, 0);
        for (const std::uint32_t kernel : {1, 6}) {
            cr::Geometry geometry = levels(12, kernel, kernel == 1 ? 1 : 3);
            geometry.mean = mean;
            check_block(symbols, geometry);
            std::reverse(symbols.begin(), symbols.end());
        }
    }
}

// All ones leave the lower end of the range where it is; all zeros push it to the upper one.
void test_one_symbol() {
    for (const std::uint64_t count : {1, 2, 1000, 300000}) {
        cr::Geometry geometry = levels(count, 1, 1, 2);
        geometry.kind = cr::Kind::bits, geometry.flat = true;
        for (const std::uint8_t symbol : {0, 1}) {
            std::vector<std::uint8_t> same(count, symbol);
            check_block(same, geometry);
            CHECK((encoded(same, geometry).size() + 4) * 15150 >= count);  // what the reader's limit rests on
            same[0] ^= 1;
            check_block(same, geometry);
            CHECK((encoded(same, geometry).size() + 4) * 15150 >= count);
        }
    }
    cr::Geometry bytes;
    bytes.alphabet = 256;
    check_block(std::vector<std::uint8_t>(5000, 255), bytes);
}

// Broken bytes are refused, or are what other symbols code to; what the decoder reads and writes the sanitizers see.
void test_broken_bytes() {
    check::Random random(3);
    for (const std::uint32_t kernel : {1, 9}) {
        const cr::Geometry geometry = levels(45, kernel, kernel == 1 ? 1 : 3);
        const auto symbols = drawn<std::uint32_t>(400, kMost, 70, kernel);
        const Bytes data = encoded(symbols, geometry);
        for (int round = 0; round < 3000; ++round) {
            Bytes broken(data);
            const auto how = random.below(4);
            if (how == 0) broken.resize(random.below(data.size()));
            if (how == 1) broken.push_back(static_cast<std::uint8_t>(random.next()));
            if (how >= 2) broken[random.below(data.size())] ^= static_cast<std::uint8_t>(1u << random.below(8));
            std::vector<std::uint32_t> out(symbols.size());
            const fw::Fault fault = decode(broken, geometry, out);
            CHECK(fault.offset <= broken.size());
            if (!fault) CHECK(encoded(out, geometry) == broken);
        }
    }
}

void test_hostile_bytes() {
    for (const std::uint8_t fill : {0, 1, 0x7F, 0x80, 0xFE, 0xFF}) {
        for (const std::size_t size : {0, 1, 7, 8, 9, 12, 500}) {
            for (const cr::Kind kind : {cr::Kind::levels, cr::Kind::bits, cr::Kind::classes}) {
                cr::Geometry geometry = levels(40, 10, 5, kind == cr::Kind::bits ? 2 : 1000);
                geometry.kind = kind;
                std::vector<std::uint16_t> out(3000);
                const Bytes data(size, fill);
                if (!decode(data, geometry, out)) CHECK(encoded(out, geometry) == data);
            }
        }
    }
    cr::Geometry geometry = levels(10, 1, 1, 3);  // levels 0, -1, 1
    std::vector<std::uint8_t> out(10);
    CHECK(decode(encoded(std::vector<std::uint8_t>(10, 3), geometry), geometry, out).code == fw::Code::index);
    geometry.kind = cr::Kind::bits, geometry.alphabet = 2;
    CHECK(decode(Bytes(8, 255), geometry, out).code == fw::Code::decoded_size);  // no number below the range
    CHECK(decode(Bytes(), geometry, out).code == fw::Code::ok);
    CHECK(decode(Bytes(1, 0), geometry, out).code == fw::Code::decoded_size);
}

}  // namespace

int main() {
    test_levels();
    test_bits_and_classes();
    test_levels_at_the_ends();
    test_one_symbol();
    test_broken_bytes();
    test_hostile_bytes();
    return check::failures();
}
