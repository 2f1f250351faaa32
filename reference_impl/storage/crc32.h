// CRC-32 as zip archives have it (polynomial 0x04c11db7, reflected). *Local*.
#pragma once

#include <cstdint>
#include <string_view>

namespace shardcts::reference {

// Of bytes that continue those whose checksum is `before`; 0: they are the first.
uint32_t Crc32(std::string_view bytes, uint32_t before = 0);

// The same without instructions that not every processor has.
uint32_t PortableCrc32(std::string_view bytes, uint32_t before = 0);

}  // namespace shardcts::reference
