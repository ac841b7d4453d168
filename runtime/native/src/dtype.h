// Element types by farrier's names, and their DLPack codes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "farrier.h"

namespace farrier {

struct DType {
  std::string_view name;
  std::string_view safetensors;  // "" where that format has none
  farrier_dtype dl;
};

// nullptr if there is none of that name.
const DType* dtype_named(std::string_view name);
bool same_dtype(const DType& dtype, const farrier_dtype& dl);
std::string dtype_text(const farrier_dtype& dl);

// Product of dimensions, and bytes of so many elements; false on overflow or a negative dimension.
bool element_count(const std::vector<int64_t>& shape, int64_t& count);
bool byte_size(const DType& dtype, const std::vector<int64_t>& shape, int64_t& bytes);
// Bytes of a caller's tensor; false where no memory holds it.
bool tensor_bytes(const farrier_tensor& tensor, uint64_t& bytes);
// Row-major without gaps.
bool is_dense(const farrier_tensor& tensor);
std::string shape_text(const int64_t* dims, size_t rank);

}  // namespace farrier
