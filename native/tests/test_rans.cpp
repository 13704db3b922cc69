#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "entropy/rans.hpp"
#include "featherweight/cpu.hpp"

namespace fw = featherweight;
namespace rans = featherweight::rans;

namespace {

using Bytes = std::vector<std::uint8_t>;

// Decodes two blocks at a time; what comes out where all is well.
template <class Symbol>
fw::Fault decode(const Bytes& data, std::uint64_t alphabet, unsigned threads, std::vector<Symbol>& out) {
    const Bytes copy(data);  // of exactly this size: AddressSanitizer sees a read behind it
    rans::Decoder decoder;
    fw::Fault fault = decoder.open(copy.data(), copy.size(), out.size(), alphabet);
    if (fault) return fault;
    while (!decoder.done()) {
        fault = decoder.decode(2, threads, out.data());
        if (fault) return fault;
    }
    return decoder.finish(out.data());
}

// Symbols that get rarer by a constant factor, from 0 up to below `alphabet`.
template <class Symbol>
std::vector<Symbol> geometric(std::uint64_t count, std::uint64_t alphabet, unsigned percent, std::uint64_t seed) {
    check::Random random(seed);
    std::vector<Symbol> symbols(count);
    for (Symbol& symbol : symbols) {
        std::uint64_t value = 0;
        while (value + 1 < alphabet && random.below(100) < percent) ++value;
        symbol = static_cast<Symbol>(value);
    }
    symbols[0] = 0;
    symbols[1] = 1;
    return symbols;
}

template <class Symbol>
void check_stream(const std::vector<Symbol>& symbols, std::uint64_t alphabet) {
    Bytes data, again;
    CHECK(rans::encode(symbols.data(), symbols.size(), data));
    for (int i = 0; i < fw::kIsas; ++i) {
        if (!fw::use_isa(fw::isa_name(static_cast<fw::Isa>(i)))) continue;
        for (const unsigned threads : {1u, 2u, 4u}) {
            std::vector<Symbol> out(symbols.size());
            CHECK(!decode(data, alphabet, threads, out));
            CHECK(out == symbols);
        }
        CHECK(rans::encode(symbols.data(), symbols.size(), again));
        CHECK(again == data);
    }
}

void test_round_trips() {
    for (const std::uint64_t count : {2, 3, 100, 16383, 16384, 33000, 70001, 140003, 270001}) {
        for (const unsigned percent : {1u, 50u, 90u}) {
            check_stream(geometric<std::uint8_t>(count, 256, percent, count + percent), 256);
            check_stream(geometric<std::uint16_t>(count, 700, percent, count), 700);
        }
    }
    check_stream(geometric<std::uint32_t>(3000, 1u << 20, 99, 1), 1u << 20);
    check_stream(geometric<std::uint8_t>(3 * rans::kBlock + 5, 16, 70, 1), 16);
    check_stream(geometric<std::uint8_t>(2 * rans::kBlock, 256, 99, 1), 256);  // more classes than are counted in pairs
    check_stream(geometric<std::uint16_t>(4 * rans::kBlock + 3, 900, 95, 1), 900);
}

void test_streams_at_the_ends() {
    std::vector<std::uint32_t> apart(1000, 0);
    apart[7] = (1u << 20) - 1;
    check_stream(apart, 1u << 20);
    std::vector<std::uint16_t> one_class(1000, 1024);
    for (std::size_t i = 0; i < one_class.size(); i += 3) one_class[i] = 1279;
    check_stream(one_class, 1280);
    std::vector<std::uint16_t> all(1u << 16);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    check_stream(all, 1u << 16);
    Bytes data;
    const std::uint8_t same[3] = {5, 5, 5};
    CHECK(!rans::encode(same, 3, data) && data.empty());
    CHECK(!rans::encode(same, 0, data) && data.empty());
}

// Broken bytes are refused, or are what another stream codes to; what decoders read and write the sanitizers see.
void test_broken_bytes() {
    check::Random random(3);
    for (const std::uint64_t count : {std::uint64_t{60}, std::uint64_t{40000}, 2 * rans::kBlock + 9}) {
        const auto symbols = geometric<std::uint16_t>(count, 600, 85, 2);
        Bytes data;
        CHECK(rans::encode(symbols.data(), count, data));
        for (int round = 0; round < (count > rans::kBlock ? 12 : count > 1000 ? 150 : 3000); ++round) {
            Bytes broken(data);
            const auto kind = random.below(4);
            if (kind == 0) broken.resize(random.below(data.size()));
            if (kind == 1) broken.push_back(static_cast<std::uint8_t>(random.next()));
            if (kind >= 2) {
                const std::size_t reach = kind == 2 ? std::min<std::size_t>(40, data.size()) : data.size();
                broken[random.below(reach)] ^= static_cast<std::uint8_t>(1u << random.below(8));
            }
            std::vector<std::uint16_t> out(count);
            if (decode(broken, 600, 1 + static_cast<unsigned>(random.below(2)), out)) continue;
            Bytes again;
            CHECK(rans::encode(out.data(), count, again) && again == broken);
        }
    }
}

void test_counts_that_lie() {
    const auto symbols = geometric<std::uint8_t>(500, 30, 80, 4);
    Bytes data;
    CHECK(rans::encode(symbols.data(), symbols.size(), data));
    for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        rans::Decoder decoder;
        CHECK(decoder.open(data.data(), data.size(), count, 256).code == fw::Code::count);
    }
    rans::Decoder decoder;
    CHECK(decoder.open(data.data(), 0, 500, 256).code == fw::Code::count);
    CHECK(decoder.open(data.data(), data.size(), 500, 3).code == fw::Code::index);
    CHECK(!decoder.open(data.data(), data.size(), 500, 30));
}

}  // namespace

int main() {
    test_round_trips();
    test_streams_at_the_ends();
    test_broken_bytes();
    test_counts_that_lie();
    return check::failures();
}
