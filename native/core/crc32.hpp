// CRC-32 as in zlib (ISO 3309, reflected polynomial 0xEDB88320), where the processor multiplies without carries.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight {

// Whether crc32 below is worth calling here; elsewhere zlib's is as fast as any.
bool has_fast_crc32();

// The checksum of what has the checksum `before` with `size` bytes behind it; 0 for nothing. Needs has_fast_crc32().
std::uint32_t crc32(std::uint32_t before, const std::uint8_t* data, std::size_t size);

}  // namespace featherweight
