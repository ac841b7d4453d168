void FARRIER_KERNEL(void* const* buffers, const int64_t* scalars, int64_t task, void* scratch) {
  (void)scratch;
  (void)scalars;
  const uint16_t* const b0 = (const uint16_t*)buffers[0]; /* x */
  const float* const b1 = (const float*)buffers[1]; /* gamma */
  uint16_t* const b2 = (uint16_t*)buffers[2]; /* y */
  float* const b3 = (float*)buffers[3]; /* mean */
  const int64_t s0 = scalars[0];
  const int64_t s1 = scalars[1];
  const int64_t s2 = scalars[2];
  const float v6 = (float)s0;
  const int64_t last = farrier_min_i64((task + 1) * s2, s1);
  for (int64_t at = task * s2; at < last; ++at) {
    int64_t rest = at;
    const int64_t c0 = rest % s1;
    rest /= s1;
    const int64_t v0 = c0 * s0;
    double v5[FARRIER_LANES];
    for (int l = 0; l < FARRIER_LANES; ++l) v5[l] = 0;
    for (int64_t strip = 0; strip < s0; strip += 512) {
      float values[512];
      const int64_t count = farrier_min_i64(512, s0 - strip);
      FARRIER_SIMD
      for (int64_t i = 0; i < count; ++i) {
        const int64_t k = strip + i;
        const int64_t v1 = v0 + k;
        const float v2 = farrier_bf16_to_f32(b0[v1]);
        const float v3 = v2;
        values[i] = v3;
      }
      farrier_lanes_sum_f32(v5, values, count);
    }
    const float v4 = (float)farrier_fold_sum_f32(v5);
    const float v7 = v4 / v6;
    double v14[FARRIER_LANES];
    for (int l = 0; l < FARRIER_LANES; ++l) v14[l] = 0;
    for (int64_t strip = 0; strip < s0; strip += 512) {
      float values[512];
      const int64_t count = farrier_min_i64(512, s0 - strip);
      FARRIER_SIMD
      for (int64_t i = 0; i < count; ++i) {
        const int64_t k = strip + i;
        const int64_t v8 = v0 + k;
        const float v9 = farrier_bf16_to_f32(b0[v8]);
        const float v10 = v9;
        const float v11 = v10 - v7;
        const float v12 = v11 * v11;
        values[i] = v12;
      }
      farrier_lanes_sum_f32(v14, values, count);
    }
    const float v13 = (float)farrier_fold_sum_f32(v14);
    const float v15 = v13 / v6;
    const float v16 = v15 + 0.000009999999747378752f;
    const float v17 = 1.0f / __builtin_sqrtf(v16);
    FARRIER_SIMD
    for (int64_t k = 0; k < s0; ++k) {
      const int64_t v18 = v0 + k;
      const float v19 = farrier_bf16_to_f32(b0[v18]);
      const float v20 = v19;
      const float v21 = v20 - v7;
      const float v22 = v21 * v17;
      const float v23 = b1[k];
      const float v24 = v22 * v23;
      b2[v18] = farrier_f32_to_bf16(v24);
    }
    b3[c0] = v7;
  }
}
