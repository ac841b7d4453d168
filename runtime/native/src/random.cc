// Random weights from a counter: the same bits on every device and for any number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "pool.h"
#include "sources.h"

namespace farrier {
namespace {

uint64_t splitmix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double value_of(const SourceSpec& spec, uint64_t index) {
  const uint64_t z = splitmix64(spec.seed + (index + 1) * 0x9e3779b97f4a7c15);
  const double u = static_cast<double>(static_cast<int64_t>(z >> 11)) * 0x1p-52 - 1;
  return spec.shift + spec.scale * u;
}

// Rounds to nearest even with `mantissa` explicit bits; `least` is the smallest number that has them all (f64 in).
template <int mantissa>
double rounded(double value, double least) {
  if (std::fabs(value) < least) {
    const double unit = std::ldexp(least, -mantissa);
    return std::nearbyint(value / unit) * unit;
  }
  if (!std::isfinite(value)) return value;
  // A carry out of the mantissa is one of the exponent, as it should be.
  constexpr int dropped = 52 - mantissa;
  uint64_t bits = 0;
  std::memcpy(&bits, &value, 8);
  bits += ((uint64_t{1} << (dropped - 1)) - 1) + ((bits >> dropped) & 1);
  bits &= ~uint64_t{0} << dropped;
  std::memcpy(&value, &bits, 8);
  return value;
}

uint16_t f16_bits(double value) {
  const double r = std::clamp(rounded<10>(value, 0x1p-14), -65504.0, 65504.0);
  const float f = static_cast<float>(std::fabs(r));
  uint32_t bits = 0;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = std::signbit(r) ? 0x8000 : 0;
  // Below 2^-14 the f16 is denormal: a multiple of 2^-24.
  if (f < 0x1p-14f) return static_cast<uint16_t>(sign | static_cast<uint32_t>(f * 0x1p24f));
  return static_cast<uint16_t>(sign | (((bits >> 23) - 127 + 15) << 10) | ((bits >> 13) & 0x3ff));
}

uint16_t bf16_bits(double value) {
  const auto f = static_cast<float>(rounded<7>(value, 0x1p-126));
  uint32_t bits = 0;
  std::memcpy(&bits, &f, 4);
  return static_cast<uint16_t>(bits >> 16);
}

template <class T>
T clamped(double value) {
  const double r = std::nearbyint(value);
  if (r <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (r >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(r);
}

template <class T, class Convert>
void fill(const SourceSpec& spec, uint64_t first, uint64_t bytes, uint8_t* out, Convert&& convert) {
  constexpr uint64_t piece = 1 << 16;
  const uint64_t count = bytes / sizeof(T);
  parallel(static_cast<int64_t>((count + piece - 1) / piece), [&](int64_t task) {
    const uint64_t from = static_cast<uint64_t>(task) * piece;
    for (uint64_t i = from; i < std::min(count, from + piece); i++) {
      const T value = convert(value_of(spec, first + i));
      std::memcpy(out + i * sizeof(T), &value, sizeof(T));
    }
  });
}

}  // namespace

void make_random(const SourceSpec& spec, uint64_t first, uint64_t bytes, uint8_t* out) {
  const std::string_view name = spec.dtype->name;
  const auto as = [&]<class T>(T, auto&& convert) { fill<T>(spec, first, bytes, out, convert); };
  if (name == "f64") return as(double{}, [](double v) { return v; });
  if (name == "f32") return as(float{}, [](double v) { return static_cast<float>(v); });
  if (name == "f16") return as(uint16_t{}, f16_bits);
  if (name == "bf16") return as(uint16_t{}, bf16_bits);
  if (name == "i64") return as(int64_t{}, clamped<int64_t>);
  if (name == "i32") return as(int32_t{}, clamped<int32_t>);
  if (name == "i16") return as(int16_t{}, clamped<int16_t>);
  if (name == "i8") return as(int8_t{}, clamped<int8_t>);
  if (name == "u64") return as(uint64_t{}, clamped<uint64_t>);
  if (name == "u32") return as(uint32_t{}, clamped<uint32_t>);
  if (name == "u16") return as(uint16_t{}, clamped<uint16_t>);
  if (name == "u8") return as(uint8_t{}, clamped<uint8_t>);
  fail("E_TYPE_UNSUPPORTED", "tensor " + quoted(spec.name) + ": random values of " + std::string(name) + " are not supported");
}

}  // namespace farrier
