// The values of src/featherweight/encodings/dense.py as planes (one stream for each of their bytes, lowest first) and back,
// and whether all of them are finite. A value is a number of its size, whatever it stands for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight::planes_dense {

// plane[i][j] = byte i of value j, which is turned one bit to the left first where that is asked.
template <class Value>
void apart(const Value* values, std::size_t count, bool turned, std::uint8_t* const* planes);

// The values that `apart` takes apart like this.
template <class Value>
void together(const std::uint8_t* const* planes, std::size_t count, bool turned, Value* values);

// Whether a value has all bits of `mask`, which is not 0: with the exponent's bits, whether it is infinite or NaN.
template <class Value>
bool any_full(const Value* values, std::size_t count, Value mask);

// One way to do all that.
template <class Value>
struct Way {
    void (*apart)(const Value*, std::size_t, bool, std::uint8_t* const*);
    void (*together)(const std::uint8_t* const*, std::size_t, bool, Value*);
    bool (*any_full)(const Value*, std::size_t, Value);
};

extern const Way<std::uint8_t> kBytesAvx2;
extern const Way<std::uint16_t> kHalvesAvx2;
extern const Way<std::uint32_t> kWordsAvx2;
extern const Way<std::uint64_t> kDoublesAvx2;

}  // namespace featherweight::planes_dense
