// The one file that knows Python: checks types, shapes and contiguity, lets the interpreter go, calls.
//
// A function of a room is bound in that room's part below. Arrays come in as contiguous numpy arrays; what a decoder
// finds broken goes back as a tuple (code, offset, value), which core/native.py turns into an error.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "featherweight/cpu.hpp"
#include "featherweight/fault.hpp"

namespace nb = nanobind;
namespace fw = featherweight;

namespace {

// ---- core: the processor ----

std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (int i = 0; i < fw::kIsas; ++i) {
        if (fw::isa_available(static_cast<fw::Isa>(i))) names.emplace_back(fw::isa_name(static_cast<fw::Isa>(i)));
    }
    return names;
}

void bind_core(nb::module_& m) {
    m.def("isas", &isas, "The instruction sets that can be chosen here, the plainest first.");
    m.def("isa", [] { return fw::isa_name(fw::isa()); }, "The instruction set in use.");
    m.def("use_isa", [](const std::string& name) { return fw::use_isa(name.c_str()); }, nb::arg("name"),
          "Chooses an instruction set; False, and nothing changes, for one that is not available here.");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The native floor of featherweight; reached through featherweight.core.native alone.";
    bind_core(m);
}
