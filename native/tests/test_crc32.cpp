// crc32 against the definition, a bit at a time, for lengths around its steps, in pieces and at any address.

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/crc32.hpp"

namespace fw = featherweight;

namespace {

std::uint32_t by_bits(std::uint32_t before, const std::uint8_t* data, std::size_t size) {
    std::uint32_t value = ~before;
    for (std::size_t i = 0; i < size; ++i) {
        value ^= data[i];
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    }
    return ~value;
}

}  // namespace

int main() {
    if (!fw::has_fast_crc32()) return 0;
    const char* const digits = "123456789";
    CHECK(fw::crc32(0, reinterpret_cast<const std::uint8_t*>(digits), 9) == 0xCBF43926u);
    check::Random random(3);
    for (std::size_t size = 0; size < 400; ++size) {
        std::vector<std::uint8_t> data(size);  // of exactly this size: AddressSanitizer sees a read behind it
        for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(random.next());
        const std::uint32_t wanted = by_bits(0, data.data(), size);
        CHECK(fw::crc32(0, data.data(), size) == wanted);
        const std::size_t first = random.below(size + 1);
        CHECK(fw::crc32(fw::crc32(0, data.data(), first), data.data() + first, size - first) == wanted);
    }
    std::vector<std::uint8_t> zeros(100000);
    CHECK(fw::crc32(0, zeros.data(), zeros.size()) == by_bits(0, zeros.data(), zeros.size()));
    return check::failures();
}
