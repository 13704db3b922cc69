// What a decoder of hostile bytes gives back instead of an exception.
#pragma once

#include <cstdint>

namespace featherweight {

// The rule that was broken. The numbers are those of CODES in src/featherweight/core/native.py.
enum class Code : std::int32_t {
    ok = 0,
    count = 1,         // E_COUNT: more symbols than the bytes can hold
    span = 2,          // E_SPAN: a part lies outside the bytes, or does not end where the next begins
    decoded_size = 3,  // E_DECODED_SIZE: the bytes end too early or too late
    padding = 4,       // E_PADDING: unused bits that are not zero
    index = 5,         // E_INDEX: a symbol outside the alphabet
    huffman = 6,       // E_HUFFMAN: a table that no writer gives
    ans = 7,           // E_ANS: a table, state or stream that no writer gives
    overflow = 8,      // E_OVERFLOW: sizes whose product does not fit
};

// The first broken rule: where it was noticed (byte offset in the coded stream) and the offending value.
struct Fault {
    Code code = Code::ok;
    std::uint64_t offset = 0;
    std::int64_t value = 0;

    explicit operator bool() const { return code != Code::ok; }
};

}  // namespace featherweight
