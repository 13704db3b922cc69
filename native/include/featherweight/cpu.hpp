// Which instruction sets this processor has, and which of them is in use.
#pragma once

namespace featherweight {

// In order of preference; a kernel takes the highest one up to isa() that it was written for.
enum class Isa : int { scalar = 0, sse41 = 1, avx2 = 2, avx512 = 3, neon = 4 };
constexpr int kIsas = 5;

const char* isa_name(Isa isa);

// Whether this build has code for it, the processor runs it, and the operating system keeps its registers.
bool isa_available(Isa isa);

// The one in use: the highest available one, unless use_isa chose another.
Isa isa();

// Chooses by name; false, and nothing changes, for a name that is unknown or not available here.
bool use_isa(const char* name);

// Whether kernels written for `wanted` may run now. neon and the x86 sets never meet on one processor.
inline bool may_use(Isa wanted) { return static_cast<int>(isa()) >= static_cast<int>(wanted); }

}  // namespace featherweight
