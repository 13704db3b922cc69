#include "featherweight/cpu.hpp"

#include <atomic>
#include <cstring>

namespace featherweight {
namespace {

constexpr const char* kNames[kIsas] = {"scalar", "sse41", "avx2", "avx512", "neon"};

std::atomic<int> chosen{-1};  // -1: nobody has asked yet

Isa best() {
    for (int i = kIsas - 1; i > 0; --i) {
        if (isa_available(static_cast<Isa>(i))) return static_cast<Isa>(i);
    }
    return Isa::scalar;
}

}  // namespace

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool isa_available(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return true;
#if defined(FEATHERWEIGHT_HAS_SSE41)
        case Isa::sse41:
            return __builtin_cpu_supports("sse4.1");
#endif
#if defined(FEATHERWEIGHT_HAS_AVX2)
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                   __builtin_cpu_supports("fma");
#endif
#if defined(FEATHERWEIGHT_HAS_AVX512)
        case Isa::avx512:
            return isa_available(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#endif
#if defined(FEATHERWEIGHT_HAS_NEON)
        case Isa::neon:
            return true;  // part of the aarch64 baseline
#endif
        default:
            return false;
    }
}

Isa isa() {
    int now = chosen.load(std::memory_order_relaxed);
    if (now < 0) {
        now = static_cast<int>(best());
        chosen.store(now, std::memory_order_relaxed);
    }
    return static_cast<Isa>(now);
}

bool use_isa(const char* name) {
    for (int i = 0; i < kIsas; ++i) {
        if (std::strcmp(kNames[i], name) == 0 && isa_available(static_cast<Isa>(i))) {
            chosen.store(i, std::memory_order_relaxed);
            return true;
        }
    }
    return false;
}

}  // namespace featherweight
