#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace farrier {

// SHA-256 (FIPS 180-4) of `bytes` bytes, in lower-case hexadecimal.
std::string sha256(const void* data, size_t bytes);

}  // namespace farrier
