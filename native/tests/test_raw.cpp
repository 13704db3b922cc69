// Numbers of a fixed width against reading them bit by bit.

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "entropy/raw.hpp"

namespace {

template <class T>
void check_width(unsigned width, std::size_t count, check::Random& random) {
    std::vector<std::uint8_t> data((count * width + 7) / 8);  // of exactly this size: AddressSanitizer sees a read behind it
    for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(random.next());
    std::vector<T> out(count, T{1});
    featherweight::raw::decode(data.data(), data.size(), width, out.data(), count);
    for (std::size_t i = 0; i < count; ++i) {
        std::uint64_t number = 0;
        for (std::size_t bit = i * width; bit < (i + 1) * width; ++bit) {
            number = number << 1 | (data[bit / 8] >> (7 - bit % 8) & 1);
        }
        CHECK(out[i] == number);
    }
}

}  // namespace

int main() {
    check::Random random(1);
    for (unsigned width = 0; width <= 32; ++width) {
        for (std::size_t count = 0; count < 40; ++count) {
            if (width <= 8) check_width<std::uint8_t>(width, count, random);
            if (width <= 16) check_width<std::uint16_t>(width, count, random);
            check_width<std::uint32_t>(width, count, random);
        }
    }
    return check::failures();
}
