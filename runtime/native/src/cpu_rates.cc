#include "cpu_rates.h"

#include <algorithm>
#include <cstring>

#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace farrier {
namespace {

constexpr uint64_t bytes_read = uint64_t{1} << 28;  // more than caches hold
constexpr int64_t pieces = 256;
constexpr int repeats = 7;
constexpr int chains = 12;  // independent sums: as many as hide the latency of one
constexpr int64_t rounds = 20'000;

volatile uint64_t read_sink;
volatile float multiply_sink;

void read_piece(const uint64_t* at, uint64_t count) {
  uint64_t sums[8] = {};
  for (uint64_t i = 0; i < count; i += 8)
    for (uint64_t j = 0; j < 8; j++) sums[j] ^= at[i + j];
  for (const uint64_t sum : sums) read_sink = sum;
}

// Chains that began alike would be computed as one.
float first_of(int chain) { return 1.0F + 0.25F * static_cast<float>(chain); }

// Multiplies and adds in registers; how many values at once.
using Multiply = int (*)();

int multiply_portable() {
  float sums[4 * chains];
  for (int c = 0; c < 4 * chains; c++) sums[c] = first_of(c);
  for (int64_t r = 0; r < rounds; r++)
    for (float& sum : sums) sum = sum * 0.999F + 0.001F;
  for (const float sum : sums) multiply_sink = sum;
  return 4;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) int multiply_avx2() {
  __m256 sums[chains];
  for (int c = 0; c < chains; c++) sums[c] = _mm256_set1_ps(first_of(c));
  const __m256 a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(0.001F);
  for (int64_t r = 0; r < rounds; r++)
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, a, b);
  for (const __m256& sum : sums) multiply_sink = _mm256_cvtss_f32(sum);
  return 8;
}

__attribute__((target("avx512f"))) int multiply_avx512() {
  __m512 sums[chains];
  for (int c = 0; c < chains; c++) sums[c] = _mm512_set1_ps(first_of(c));
  const __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.001F);
  for (int64_t r = 0; r < rounds; r++)
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  for (const __m512& sum : sums) multiply_sink = _mm512_cvtss_f32(sum);
  return 16;
}
#endif

Multiply best_multiply() {
#if defined(__x86_64__)
  if (has_isa("avx512")) return multiply_avx512;
  if (has_isa("avx2")) return multiply_avx2;
#endif
  return multiply_portable;
}

}  // namespace

Rates cpu_rates(Device& cpu) {
  struct Buffer {
    Device& cpu;
    void* at;
    ~Buffer() { cpu.free(at); }
  };
  const Buffer buffer{cpu, cpu.alloc(bytes_read)};
  const auto* words = static_cast<const uint64_t*>(buffer.at);
  constexpr uint64_t piece = bytes_read / pieces;
  parallel(pieces, [&](int64_t i) { std::memset(static_cast<uint8_t*>(buffer.at) + static_cast<uint64_t>(i) * piece, 1, piece); });
  const Multiply multiply = best_multiply();
  const int lanes = multiply();
  const auto step = [&](Stream, size_t which) {
    if (which == 0)
      parallel(pieces, [&](int64_t i) { read_piece(words + static_cast<uint64_t>(i) * piece / 8, piece / 8); });
    else
      parallel(pieces, [&](int64_t) { multiply(); });
  };
  const double operations = 2.0 * lanes * chains * static_cast<double>(rounds) * static_cast<double>(pieces);
  Rates best;
  // The best of several: others may use the machine too.
  for (int i = 0; i < repeats; i++) {
    const Times times = cpu.time({2, step}, 1, nullptr);
    best.bytes = std::max(best.bytes, 1e3 * static_cast<double>(bytes_read) / times.steps[0]);
    best.operations = std::max(best.operations, 1e3 * operations / times.steps[1]);
  }
  return best;
}

}  // namespace farrier
