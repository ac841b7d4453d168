#include "dtype.h"

#include <algorithm>
#include <iterator>

namespace farrier {
namespace {

constexpr uint8_t Int = 0, UInt = 1, Float = 2, Bfloat = 4, Bool = 6;

constexpr DType dtypes[] = {
    {"bool", "BOOL", {Bool, 8, 1}},
    {"i2", "", {Int, 2, 1}},
    {"i4", "", {Int, 4, 1}},
    {"i8", "I8", {Int, 8, 1}},
    {"i16", "I16", {Int, 16, 1}},
    {"i32", "I32", {Int, 32, 1}},
    {"i64", "I64", {Int, 64, 1}},
    {"u2", "", {UInt, 2, 1}},
    {"u4", "", {UInt, 4, 1}},
    {"u8", "U8", {UInt, 8, 1}},
    {"u16", "U16", {UInt, 16, 1}},
    {"u32", "U32", {UInt, 32, 1}},
    {"u64", "U64", {UInt, 64, 1}},
    {"f16", "F16", {Float, 16, 1}},
    {"bf16", "BF16", {Bfloat, 16, 1}},
    {"f32", "F32", {Float, 32, 1}},
    {"f64", "F64", {Float, 64, 1}},
    {"e4m3fn", "F8_E4M3", {10, 8, 1}},
    {"e4m3fnuz", "F8_E4M3FNUZ", {11, 8, 1}},
    {"e5m2", "F8_E5M2", {12, 8, 1}},
    {"e5m2fnuz", "F8_E5M2FNUZ", {13, 8, 1}},
    {"e8m0", "F8_E8M0", {14, 8, 1}},
    {"e2m1", "F4", {17, 4, 1}},
};

bool equal(const farrier_dtype& a, const farrier_dtype& b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

}  // namespace

const DType* dtype_named(std::string_view name) {
  const auto* found = std::find_if(std::begin(dtypes), std::end(dtypes), [&](const DType& d) { return d.name == name; });
  return found == std::end(dtypes) ? nullptr : found;
}

bool same_dtype(const DType& dtype, const farrier_dtype& dl) {
  // Bytes of 0 and 1 came as uint8 before DLPack had a bool.
  return equal(dtype.dl, dl) || (dtype.dl.code == Bool && dl.code == UInt && dl.bits == 8 && dl.lanes == 1);
}

std::string dtype_text(const farrier_dtype& dl) {
  for (const DType& d : dtypes)
    if (equal(d.dl, dl)) return std::string(d.name);
  return "DLPack type (" + std::to_string(dl.code) + ", " + std::to_string(dl.bits) + ", " + std::to_string(dl.lanes) + ")";
}

bool element_count(const std::vector<int64_t>& shape, int64_t& count) {
  // A zero elsewhere must not hide an overflow, nor an overflow a zero: bound the product of the others.
  int64_t product = 1;
  bool zero = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return false;
    if (dim == 0) zero = true;
    else if (__builtin_mul_overflow(product, dim, &product)) return false;
  }
  count = zero ? 0 : product;
  return true;
}

bool byte_size(const DType& dtype, const std::vector<int64_t>& shape, int64_t& bytes) {
  int64_t count = 0, bits = 0;
  if (!element_count(shape, count) || __builtin_mul_overflow(count, int64_t{dtype.dl.bits}, &bits)) return false;
  bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
  return true;
}

bool tensor_bytes(const farrier_tensor& tensor, uint64_t& bytes) {
  uint64_t bits = tensor.dtype.bits;
  for (int32_t d = 0; d < tensor.ndim; d++)
    if (tensor.shape[d] < 0 || __builtin_mul_overflow(bits, static_cast<uint64_t>(tensor.shape[d]), &bits)) return false;
  bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
  return true;
}

bool is_dense(const farrier_tensor& tensor) {
  if (tensor.strides == nullptr) return true;
  int64_t stride = 1;
  for (int32_t d = tensor.ndim - 1; d >= 0; d--) {
    if (tensor.shape[d] == 0) return true;
    if (tensor.shape[d] != 1 && tensor.strides[d] != stride) return false;
    stride *= tensor.shape[d];
  }
  return true;
}

std::string shape_text(const int64_t* dims, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; i++) {
    if (i > 0) text += ",";
    text += std::to_string(dims[i]);
  }
  return text + "]";
}

}  // namespace farrier
