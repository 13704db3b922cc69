// The same loops with the shifts of BMI2, which take any register for their count and leave the flags alone.
#include "entropy/huffman_kernel.hpp"
#include "entropy/huffman_ways.hpp"

namespace featherweight::huffman {

const Ways<std::uint8_t> kBytesAvx2 = {decode_range<std::uint8_t>, encode_all<std::uint8_t, 4>, encode_all<std::uint8_t, 3>};
const Ways<std::uint16_t> kWordsAvx2 = {decode_range<std::uint16_t>, encode_all<std::uint16_t, 4>, encode_all<std::uint16_t, 3>};
const Ways<std::uint32_t> kLongsAvx2 = {decode_range<std::uint32_t>, encode_all<std::uint32_t, 4>, encode_all<std::uint32_t, 3>};

}  // namespace featherweight::huffman
