void FARRIER_KERNEL(void* const* buffers, const int64_t* scalars, int64_t task, void* scratch) {
  (void)scratch;
  (void)scalars;
  const float* const b0 = (const float*)buffers[0]; /* x */
  const float* const b1 = (const float*)buffers[1]; /* bias */
  float* const b2 = (float*)buffers[2]; /* y */
  const int64_t s0 = scalars[0];
  const int64_t s1 = scalars[1];
  const int64_t s2 = scalars[2];
  const int64_t first = task * 1000;
  const int64_t last = farrier_min_i64(first + 1000, s1);
  for (int64_t at = first; at < last;) {
    int64_t rest = at / s0;
    const int64_t start = at - rest * s0;
    const int64_t count = farrier_min_i64(s0 - start, last - at);
    const int64_t c0 = rest % s2;
    rest /= s2;
    const int64_t v0 = c0 * s0;
    FARRIER_SIMD
    for (int64_t i = 0; i < count; ++i) {
      const int64_t x = start + i;
      const int64_t v1 = v0 + x;
      const float v2 = b0[v1];
      const float v3 = b1[x];
      const float v4 = v2 + v3;
      const float v5 = v4 * 0.30000001192092896f;
      b2[v1] = v5;
    }
    at += count;
  }
}
