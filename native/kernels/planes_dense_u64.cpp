#include "kernels/planes_dense_u64.hpp"

#include "featherweight/cpu.hpp"
#include "kernels/planes_dense_kernel.hpp"

namespace featherweight::planes_dense {
namespace {

template <class Value>
constexpr Way<Value> kPlain = {apart_plainly<Value>, together_plainly<Value>, any_full_of<Value>};

#if defined(FEATHERWEIGHT_HAS_AVX2)
const Way<std::uint8_t>& avx2(std::uint8_t) { return kBytesAvx2; }
const Way<std::uint16_t>& avx2(std::uint16_t) { return kHalvesAvx2; }
const Way<std::uint32_t>& avx2(std::uint32_t) { return kWordsAvx2; }
const Way<std::uint64_t>& avx2(std::uint64_t) { return kDoublesAvx2; }
#endif

template <class Value>
const Way<Value>& way() {
#if defined(FEATHERWEIGHT_HAS_AVX2)
    if (may_use(Isa::avx2)) return avx2(Value{});
#endif
    return kPlain<Value>;
}

}  // namespace

template <class Value>
void apart(const Value* values, std::size_t count, bool turned, std::uint8_t* const* planes) {
    way<Value>().apart(values, count, turned, planes);
}

template <class Value>
void together(const std::uint8_t* const* planes, std::size_t count, bool turned, Value* values) {
    way<Value>().together(planes, count, turned, values);
}

template <class Value>
bool any_full(const Value* values, std::size_t count, Value mask) {
    return way<Value>().any_full(values, count, mask);
}

template void apart(const std::uint16_t*, std::size_t, bool, std::uint8_t* const*);
template void apart(const std::uint32_t*, std::size_t, bool, std::uint8_t* const*);
template void apart(const std::uint64_t*, std::size_t, bool, std::uint8_t* const*);
template void together(const std::uint8_t* const*, std::size_t, bool, std::uint16_t*);
template void together(const std::uint8_t* const*, std::size_t, bool, std::uint32_t*);
template void together(const std::uint8_t* const*, std::size_t, bool, std::uint64_t*);
template bool any_full(const std::uint8_t*, std::size_t, std::uint8_t);
template bool any_full(const std::uint16_t*, std::size_t, std::uint16_t);
template bool any_full(const std::uint32_t*, std::size_t, std::uint32_t);
template bool any_full(const std::uint64_t*, std::size_t, std::uint64_t);

}  // namespace featherweight::planes_dense
