// Context-modelled adaptive binary range coding of one block; the specification is
// src/featherweight/entropy/context_range.py and _context_reference.py. Names and order are the same here.
#pragma once

#include <cstdint>
#include <vector>

#include "featherweight/fault.hpp"

namespace featherweight::context_range {

// What the symbols of a block are, and the tensor that they come from.
enum class Kind : int {
    levels = 0,  // integers in zigzag order
    bits = 1,    // 0 and 1
    classes = 2, // numbers without further meaning
};

// All sizes are at least 1.
struct Geometry {
    Kind kind = Kind::classes;
    std::uint64_t alphabet = 1;  // at most 2^32; 2 for bits
    std::uint64_t columns = 1;   // of a row; a block is whole rows, or a part of one
    std::uint32_t kernel = 1;    // weights of a filter's kernel that follow each other in a row
    std::uint32_t width = 1;     // of a row of that kernel
    std::uint64_t trellis = 0;   // symbols after which the state of dependent quantization starts anew; 0: not dependent
    bool flat = true;            // the tensor has one row only
    std::uint64_t mean = 1;      // magnitude to start from, in 1/4096
};

// Appends the coded block to `out`. Symbol is std::uint8_t, std::uint16_t or std::uint32_t; all are below the alphabet.
template <class Symbol>
void encode(const Symbol* symbols, std::uint64_t count, const Geometry& geometry, std::vector<std::uint8_t>& out);

// Decodes `count` symbols into `out`. Anything but what `encode` gives for them is a fault.
template <class Symbol>
Fault decode(const std::uint8_t* data, std::uint64_t size, const Geometry& geometry, Symbol* out, std::uint64_t count);

}  // namespace featherweight::context_range
