// The one file that knows Python: checks types, shapes and contiguity, lets the interpreter go, calls.
//
// A function of a room is bound in that room's part below. Arrays come in as contiguous numpy arrays; what a decoder
// finds broken goes back as a tuple (code, offset, value), which core/native.py turns into an error.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "core/crc32.hpp"
#include "entropy/context_range.hpp"
#include "entropy/huffman.hpp"
#include "entropy/rans.hpp"
#include "entropy/raw.hpp"
#include "entropy/tables.hpp"
#include "featherweight/checked.hpp"
#include "featherweight/cpu.hpp"
#include "featherweight/fault.hpp"
#include "kernels/levels_uniform_f32.hpp"
#include "kernels/planes_dense_u64.hpp"
#include "kernels/round_uniform_u32.hpp"

namespace nb = nanobind;
namespace fw = featherweight;

namespace {

// ---- what every part needs ----

template <class T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // const T: read only arrays too
using Symbols = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableSymbols = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A wrong call from Python; what a stream says is never told this way.
void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// Calls with a null pointer of the type of the symbols, which must be uint8, uint16 or uint32.
template <class Any, class Call>
auto by_type(const Any& symbols, const Call& call) {
    if (symbols.dtype() == nb::dtype<std::uint8_t>()) return call(static_cast<std::uint8_t*>(nullptr));
    if (symbols.dtype() == nb::dtype<std::uint16_t>()) return call(static_cast<std::uint16_t*>(nullptr));
    require(symbols.dtype() == nb::dtype<std::uint32_t>(), "symbols must be uint8, uint16 or uint32");
    return call(static_cast<std::uint32_t*>(nullptr));
}

// Calls with the place of the symbols, with the interpreter let go.
template <class Any, class Call>
auto on_symbols(const Any& symbols, const Call& call) {
    return by_type(symbols, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        using Place = std::conditional_t<std::is_same_v<Any, Symbols>, const T*, T*>;
        const auto place = static_cast<Place>(symbols.data());
        const nb::gil_scoped_release released;
        return call(place);
    });
}

[[maybe_unused]] nb::tuple as_tuple(const fw::Fault& fault) {
    return nb::make_tuple(static_cast<int>(fault.code), fault.offset, fault.value);
}

// ---- core: the processor ----

std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (int i = 0; i < fw::kIsas; ++i) {
        if (fw::isa_available(static_cast<fw::Isa>(i))) names.emplace_back(fw::isa_name(static_cast<fw::Isa>(i)));
    }
    return names;
}

std::uint32_t crc32(Array<const std::uint8_t> data, std::uint32_t before) {
    const nb::gil_scoped_release released;
    return fw::crc32(before, data.data(), data.size());
}

void bind_core(nb::module_& m) {
    if (fw::has_fast_crc32()) {
        m.def("crc32", &crc32, nb::arg("data").noconvert(), nb::arg("before"),
              "The same as zlib.crc32; only where it is faster.");
    }
    m.def("isas", &isas, "The instruction sets that can be chosen here, the plainest first.");
    m.def("isa", [] { return fw::isa_name(fw::isa()); }, "The instruction set in use.");
    m.def("use_isa", [](const std::string& name) { return fw::use_isa(name.c_str()); }, nb::arg("name"),
          "Chooses an instruction set; False, and nothing changes, for one that is not available here.");
}

// ---- entropy: tables ----

void histogram(Symbols symbols, Array<std::int64_t> counts) {
    const bool inside = on_symbols(symbols, [&](auto* at) {
        return fw::histogram(at, symbols.size(), counts.data(), counts.size());
    });
    require(inside, "a symbol lies outside the alphabet");
}

std::uint32_t largest(Symbols symbols) {
    return on_symbols(symbols, [&](auto* at) { return std::uint32_t{fw::largest(at, symbols.size())}; });
}

void bind_tables(nb::module_& m) {
    m.def("largest", &largest, nb::arg("symbols").noconvert(), "The largest symbol, 0 if there are none.");
    m.def("histogram", &histogram, nb::arg("symbols").noconvert(), nb::arg("counts").noconvert(),
          "Adds to counts[s] how often s occurs among the symbols.");
}

// ---- entropy: huffman ----

struct HuffmanLookup {
    std::unique_ptr<fw::huffman::Lookup> lookup;

    HuffmanLookup(Array<const std::uint32_t> symbols, Array<const std::uint8_t> lengths, bool three) {
        require(symbols.size() == lengths.size(), "as many symbols as lengths");
        lookup = fw::huffman::make_lookup(symbols.data(), lengths.data(), symbols.size(), three);
        require(lookup != nullptr, "the lengths must ascend and form a full code");
    }
};

void huffman_decode(Array<const std::uint8_t> data, Array<const std::uint64_t> starts, const HuffmanLookup& lookup,
                    std::size_t block, WritableSymbols out, Array<std::uint64_t> ends, unsigned threads) {
    require(block > 0 && starts.size() == (out.size() + block - 1) / block, "one start for each block");
    require(ends.size() == starts.size(), "one end for each block");
    require(!lookup.lookup->has_three || out.itemsize() == 1, "three symbols at a time are bytes");
    const fw::huffman::Blocks blocks = {data.data(), data.size(), starts.data(), ends.data(),
                                        block,       out.size(),  starts.size()};
    on_symbols(out, [&](auto* at) { fw::huffman::decode(blocks, *lookup.lookup, at, threads); });
}

void huffman_sizes(Symbols symbols, Array<const std::uint8_t> lengths, std::size_t block, Array<std::uint64_t> sizes) {
    require(block > 0 && sizes.size() == (symbols.size() + block - 1) / block, "one size for each block");
    on_symbols(symbols, [&](auto* at) {
        fw::huffman::sizes(at, symbols.size(), lengths.data(), lengths.size(), block, sizes.data());
    });
}

std::uint64_t huffman_encode(Symbols symbols, Array<const std::uint16_t> codes, Array<const std::uint8_t> lengths,
                             unsigned first, Array<std::uint8_t> out) {
    require(codes.size() == lengths.size(), "as many codes as lengths");
    require(first < 8, "the first bit lies in the first byte");
    const std::uint64_t end = on_symbols(symbols, [&](auto* at) {
        return fw::huffman::encode(at, symbols.size(), codes.data(), lengths.data(),
                                   codes.size(), first, out.data(), out.size());
    });
    require(end > 0 || symbols.size() == 0, "the codes do not fit");
    return end;
}

void bind_huffman(nb::module_& m) {
    nb::class_<HuffmanLookup>(m, "HuffmanLookup", "What every 12 bits of a stream begin with.")
        .def(nb::init<Array<const std::uint32_t>, Array<const std::uint8_t>, bool>(), nb::arg("symbols").noconvert(),
             nb::arg("lengths").noconvert(), nb::arg("three"));
    m.def("huffman_decode", &huffman_decode, nb::arg("data").noconvert(), nb::arg("starts").noconvert(),
          nb::arg("lookup"), nb::arg("block"), nb::arg("out").noconvert(), nb::arg("ends").noconvert(),
          nb::arg("threads"), "Decodes blocks of `block` symbols that begin at the bits `starts`.");
    m.def("huffman_sizes", &huffman_sizes, nb::arg("symbols").noconvert(), nb::arg("lengths").noconvert(),
          nb::arg("block"), nb::arg("sizes").noconvert(), "The bits that the codes of each block take.");
    m.def("huffman_encode", &huffman_encode, nb::arg("symbols").noconvert(), nb::arg("codes").noconvert(),
          nb::arg("lengths").noconvert(), nb::arg("first"), nb::arg("out").noconvert(),
          "Writes codes from bit `first` of `out` on; gives the bit behind the last one.");
}

// ---- entropy: context_range ----

// The fields of a Geometry, in their order.
using Geometry =
    std::tuple<int, std::uint64_t, std::uint64_t, std::uint32_t, std::uint32_t, std::uint64_t, bool, std::uint64_t>;

fw::context_range::Geometry context_geometry(const Geometry& fields) {
    using fw::context_range::Kind;
    const auto [kind, alphabet, columns, kernel, width, trellis, flat, mean] = fields;
    const std::uint64_t most = std::uint64_t{1} << 32;
    const bool sizes = columns >= 1 && columns <= most && kernel >= 1 && kernel <= columns && width >= 1 && width <= kernel;
    const bool kinds = kind >= 0 && kind <= 2 && alphabet >= 2 && alphabet <= most;
    require(sizes && kinds && mean >= 1 && mean <= std::uint64_t{1} << 40, "no such geometry");
    return {static_cast<Kind>(kind), alphabet, columns, kernel, width, trellis, flat, mean};
}

nb::bytes context_encode(Symbols symbols, const Geometry& fields) {
    const auto geometry = context_geometry(fields);
    std::vector<std::uint8_t> out;
    on_symbols(symbols, [&](auto* at) { fw::context_range::encode(at, symbols.size(), geometry, out); });
    return nb::bytes(out.data(), out.size());
}

nb::tuple context_decode(Array<const std::uint8_t> data, WritableSymbols out, const Geometry& fields) {
    const auto geometry = context_geometry(fields);
    const bool fits = out.itemsize() >= 4 || geometry.alphabet <= std::uint64_t{1} << (8 * out.itemsize());
    require(fits, "the alphabet does not fit in this type");
    return as_tuple(on_symbols(out, [&](auto* at) {
        return fw::context_range::decode(data.data(), data.size(), geometry, at, out.size());
    }));
}

void bind_context_range(nb::module_& m) {
    m.def("context_encode", &context_encode, "One coded block.");
    m.def("context_decode", &context_decode, "Decodes one block into `out`; gives a fault.");
}

// ---- entropy: rans ----

nb::object rans_encode(Symbols symbols) {
    std::vector<std::uint8_t> coded;
    const bool differ = on_symbols(symbols, [&](auto* at) { return fw::rans::encode(at, symbols.size(), coded); });
    if (!differ) return nb::none();
    return nb::bytes(coded.data(), coded.size());
}

class RansDecoder {
  public:
    explicit RansDecoder(Array<const std::uint8_t> data) : data_(std::move(data)) {}

    nb::tuple open(std::uint64_t count, std::uint64_t alphabet) {
        count_ = count;
        const fw::Fault fault = decoder_.open(data_.data(), data_.size(), count, alphabet);
        ready_ = !fault;
        return as_tuple(fault);
    }

    bool done() const {
        require(ready_, "open comes first");
        return decoder_.done();
    }

    nb::tuple decode(WritableSymbols out, std::uint64_t most, unsigned threads) {
        require(ready_ && out.size() == count_, "room for the symbols of the stream that was opened");
        return as_tuple(on_symbols(out, [&](auto* at) {
            const fw::Fault fault = decoder_.decode(most, threads, at);
            return fault || !decoder_.done() ? fault : decoder_.finish(at);
        }));
    }

  private:
    Array<const std::uint8_t> data_;  // the decoder reads it
    fw::rans::Decoder decoder_;
    std::uint64_t count_ = 0;
    bool ready_ = false;
};

void bind_rans(nb::module_& m) {
    m.def("rans_encode", &rans_encode, nb::arg("symbols").noconvert(), "The coded stream; None if no two symbols differ.");
    nb::class_<RansDecoder>(m, "RansDecoder", "A coded stream on its way.")
        .def(nb::init<Array<const std::uint8_t>>(), nb::arg("data").noconvert())
        .def("open", &RansDecoder::open, nb::arg("count"), nb::arg("alphabet"))
        .def_prop_ro("done", &RansDecoder::done)
        .def("decode", &RansDecoder::decode, nb::arg("symbols").noconvert(), nb::arg("most"), nb::arg("threads"));
}

// ---- entropy: raw ----

std::uint32_t raw_decode(Array<const std::uint8_t> data, unsigned width, WritableSymbols out) {
    require(width <= 8 * out.itemsize(), "the numbers do not fit in this type");
    std::uint64_t bits = 0;
    require(fw::multiply(out.size(), width, bits) && bits <= std::uint64_t{8} * data.size(), "the bytes are too few");
    return on_symbols(out, [&](auto* at) {
        fw::raw::decode(data.data(), data.size(), width, at, out.size());
        return std::uint32_t{fw::largest(at, out.size())};
    });
}

void bind_raw(nb::module_& m) {
    m.def("raw_decode", &raw_decode, nb::arg("data").noconvert(), nb::arg("width"), nb::arg("out").noconvert(),
          "Numbers of `width` bits, highest bit first; gives the largest, 0 if there are none.");
}

// ---- kernels: levels_uniform ----

// Calls with the place of levels: symbols, or int32 for levels themselves.
template <class Call>
auto on_levels(const Symbols& levels, const Call& call) {
    if (levels.dtype() != nb::dtype<std::int32_t>()) return on_symbols(levels, call);
    const nb::gil_scoped_release released;
    return call(static_cast<const std::int32_t*>(levels.data()));
}

unsigned levels_uniform_i32(Symbols levels, std::size_t first, std::size_t trellis, unsigned state,
                            Array<std::int32_t> out) {
    require(out.size() == levels.size() && state < 8, "one multiple for each level");
    return on_levels(levels, [&](auto* at) {
        return fw::levels_uniform::multiples(at, {first, levels.size(), trellis, state}, out.data());
    });
}

unsigned levels_uniform_f32(Symbols levels, std::size_t first, std::size_t trellis, unsigned state,
                            Array<const float> steps, std::size_t columns, Array<float> out) {
    require(out.size() == levels.size() && state < 8, "one value for each level");
    std::uint64_t reach = 0;
    require(columns > 0 && fw::multiply(steps.size(), columns, reach), "a step is that of one level or more");
    require(first <= reach && levels.size() <= reach - first, "a step for each level");
    return on_levels(levels, [&](auto* at) {
        return fw::levels_uniform::values(at, {first, levels.size(), trellis, state}, {steps.data(), columns}, out.data());
    });
}

void bind_levels_uniform(nb::module_& m) {
    m.def("levels_uniform_i32", &levels_uniform_i32, nb::arg("levels").noconvert(), nb::arg("first"), nb::arg("trellis"),
          nb::arg("state"), nb::arg("out").noconvert(),
          "The multiples of the step that levels (int32, or as symbols) stand for; gives the state behind them.");
    m.def("levels_uniform_f32", &levels_uniform_f32, nb::arg("levels").noconvert(), nb::arg("first"), nb::arg("trellis"),
          nb::arg("state"), nb::arg("steps").noconvert(), nb::arg("columns"), nb::arg("out").noconvert(),
          "Their weights, a step for each `columns` levels of the tensor; gives the state behind them.");
}

// ---- kernels: planes_dense ----

using Values = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableValues = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Calls with a null pointer of the type of values of two bytes or more.
template <class Any, class Call>
auto by_value_type(const Any& values, const Call& call) {
    if (values.dtype() == nb::dtype<std::uint16_t>()) return call(static_cast<std::uint16_t*>(nullptr));
    if (values.dtype() == nb::dtype<std::uint32_t>()) return call(static_cast<std::uint32_t*>(nullptr));
    require(values.dtype() == nb::dtype<std::uint64_t>(), "values must be uint16, uint32 or uint64");
    return call(static_cast<std::uint64_t*>(nullptr));
}

// Where the planes lie, which must be as many as a value has bytes and as long as there are values.
template <class Byte>
std::array<Byte*, 8> plane_places(const std::vector<Array<Byte>>& planes, std::size_t size, std::size_t count) {
    require(planes.size() == size, "a plane for each byte of a value");
    std::array<Byte*, 8> places{};
    for (std::size_t i = 0; i < size; ++i) {
        require(planes[i].size() == count, "a byte in each plane for each value");
        places[i] = planes[i].data();
    }
    return places;
}

void planes_apart(Values values, bool turned, std::vector<Array<std::uint8_t>> planes) {
    const auto places = plane_places(planes, values.itemsize(), values.size());
    by_value_type(values, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const nb::gil_scoped_release released;
        fw::planes_dense::apart(static_cast<const T*>(values.data()), values.size(), turned, places.data());
    });
}

void planes_together(std::vector<Array<const std::uint8_t>> planes, bool turned, WritableValues out) {
    const auto places = plane_places(planes, out.itemsize(), out.size());
    by_value_type(out, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const nb::gil_scoped_release released;
        fw::planes_dense::together(places.data(), out.size(), turned, static_cast<T*>(out.data()));
    });
}

bool any_full(Values values, std::uint64_t mask) {
    require(mask != 0, "every value has all bits of no bits");
    const auto call = [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const nb::gil_scoped_release released;
        return fw::planes_dense::any_full(static_cast<const T*>(values.data()), values.size(), static_cast<T>(mask));
    };
    if (values.dtype() == nb::dtype<std::uint8_t>()) return call(static_cast<std::uint8_t*>(nullptr));
    return by_value_type(values, call);
}

void bind_planes_dense(nb::module_& m) {
    m.def("planes_apart", &planes_apart, nb::arg("values").noconvert(), nb::arg("turned"), nb::arg("planes"),
          "The bytes of values, each in its plane, lowest first; turned one bit to the left first where asked.");
    m.def("planes_together", &planes_together, nb::arg("planes"), nb::arg("turned"), nb::arg("out").noconvert(),
          "The values whose bytes lie in planes like these.");
    m.def("any_full", &any_full, nb::arg("values").noconvert(), nb::arg("mask"),
          "Whether a value has all bits of the mask.");
}

// ---- kernels: round_uniform ----

void round_uniform_counts(Values values, Array<std::int64_t> counts) {
    const bool wide = values.dtype() == nb::dtype<std::uint32_t>();
    require(wide || values.dtype() == nb::dtype<std::uint16_t>(), "values must be uint16 or uint32");
    require(counts.size() == std::size_t{1} << (wide ? 16 : 15), "a count for each size");
    const nb::gil_scoped_release released;
    if (wide) return fw::round_uniform::count_sizes(static_cast<const std::uint32_t*>(values.data()), values.size(), counts.data());
    fw::round_uniform::count_sizes(static_cast<const std::uint16_t*>(values.data()), values.size(), counts.data());
}

void round_uniform_table(Array<const std::uint16_t> values, Symbols table, WritableSymbols out) {
    require(table.size() == std::size_t{1} << 16 && table.dtype() == out.dtype(), "a symbol of this type for each value");
    require(out.size() == values.size(), "one symbol for each value");
    on_symbols(out, [&](auto* at) {
        using T = std::remove_pointer_t<decltype(at)>;
        fw::round_uniform::looked_up(values.data(), values.size(), static_cast<const T*>(table.data()), at);
    });
}

void round_uniform_f32(Array<const float> values, float step, Array<const float> near, Array<const float> zero,
                       WritableSymbols out) {
    require(out.size() == values.size(), "one symbol for each value");
    const bool few = near.size() >= 1 && near.size() <= std::size_t{1} << 20;  // a float has room for their number
    require(few && zero.size() == near.size(), "as many thresholds of both kinds, at least one");
    const fw::round_uniform::Grid grid = {step, near.data(), zero.data(), near.size()};
    on_symbols(out, [&](auto* at) { fw::round_uniform::rounded(values.data(), values.size(), grid, at); });
}

void bind_round_uniform(nb::module_& m) {
    m.def("round_uniform_counts", &round_uniform_counts, nb::arg("values").noconvert(), nb::arg("counts").noconvert(),
          "Adds how often each size (all bits but the sign; of 32 bits the highest 16 of them) occurs to `counts`.");
    m.def("round_uniform_table", &round_uniform_table, nb::arg("values").noconvert(), nb::arg("table").noconvert(),
          nb::arg("out").noconvert(), "The symbol of each value by a table of 2^16.");
    m.def("round_uniform_f32", &round_uniform_f32, nb::arg("values").noconvert(), nb::arg("step"),
          nb::arg("near").noconvert(), nb::arg("zero").noconvert(), nb::arg("out").noconvert(),
          "The levels of values on a grid with these thresholds, as symbols.");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The native floor of featherweight; reached through featherweight.core.native alone.";
    bind_core(m);
    bind_tables(m);
    bind_huffman(m);
    bind_context_range(m);
    bind_rans(m);
    bind_raw(m);
    bind_levels_uniform(m);
    bind_planes_dense(m);
    bind_round_uniform(m);
}
