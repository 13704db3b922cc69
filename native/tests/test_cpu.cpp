#include "check.hpp"
#include "featherweight/bytes.hpp"
#include "featherweight/checked.hpp"
#include "featherweight/cpu.hpp"

#include <cstring>
#include <limits>

namespace fw = featherweight;

namespace {

void test_instruction_sets() {
    CHECK(fw::isa_available(fw::Isa::scalar));
    CHECK(fw::isa_available(fw::isa()));
    const fw::Isa before = fw::isa();
    CHECK(!fw::use_isa("abacus"));
    CHECK(fw::isa() == before);
    for (int i = 0; i < fw::kIsas; ++i) {
        const fw::Isa isa = static_cast<fw::Isa>(i);
        CHECK(fw::use_isa(fw::isa_name(isa)) == fw::isa_available(isa));
        if (fw::isa_available(isa)) CHECK(fw::isa() == isa);
    }
    CHECK(fw::use_isa("scalar"));
    CHECK(!fw::may_use(fw::Isa::sse41));
}

void test_checked_arithmetic() {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t out = 7;
    CHECK(!fw::multiply(1ULL << 32, 1ULL << 32, out) && out == 7);
    CHECK(fw::multiply((1ULL << 32) - 1, (1ULL << 32) + 1, out) && out == most);
    CHECK(fw::multiply(0, most, out) && out == 0);
    CHECK(!fw::add(most, 1, out) && out == 0);
    CHECK(fw::add(most - 1, 1, out) && out == most);
}

void test_bytes_at_any_address() {
    const std::uint8_t bytes[11] = {9, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11};
    CHECK(fw::load_big64(bytes + 1) == 0x0102030405060708ULL);
    CHECK(fw::load_little64(bytes + 1) == 0x0807060504030201ULL);
    CHECK(fw::load_big64_within(bytes, 11, 1) == 0x0102030405060708ULL);
    CHECK(fw::load_big64_within(bytes, 3, 1) == 0x0102ULL << 48);
    CHECK(fw::load_big64_within(bytes, 3, std::numeric_limits<std::uint64_t>::max()) == 0);
    std::uint8_t written[9] = {};
    fw::store_big64(written + 1, 0x0102030405060708ULL);
    CHECK(std::memcmp(written + 1, bytes + 1, 8) == 0);
    fw::store_little64(written + 1, 0x0807060504030201ULL);
    CHECK(std::memcmp(written + 1, bytes + 1, 8) == 0);
}

}  // namespace

int main() {
    test_instruction_sets();
    test_checked_arithmetic();
    test_bytes_at_any_address();
    return check::failures();
}
