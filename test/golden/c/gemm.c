void FARRIER_KERNEL(void* const* buffers, const int64_t* scalars, int64_t task, void* scratch) {
  (void)scalars;
  const uint16_t* const b0 = (const uint16_t*)buffers[0]; /* x */
  const uint16_t* const b1 = (const uint16_t*)buffers[1]; /* w */
  float* const b2 = (float*)buffers[2]; /* y */
  const int64_t s0 = scalars[0];
  const int64_t s1 = scalars[1];
  const int64_t s2 = scalars[2];
  const int64_t s3 = scalars[3];
  const int64_t s4 = scalars[4];
  const int64_t s5 = scalars[5];
  const int64_t s6 = scalars[6];
  const int64_t s7 = scalars[7];
  const float v7 = (float)s0;
  const int64_t block = task % s2;
  int64_t rest = task / s2;
  const int64_t m0 = block * s3;
  const int64_t rows = farrier_min_i64(s3, s6 - m0);
  const int64_t panel0 = rest % s4 * s5;
  rest /= s4;
  const int64_t panels = farrier_min_i64(s5, s7 - panel0);
  const int64_t depth = s0;
  const int64_t steps = (depth + 384 - 1) / 384;
  const int64_t step = steps < 2 ? depth : ((depth + steps - 1) / steps + 15) / 16 * 16;
  float* const a = (float*)scratch;
  float* const c = a + 38400;
  const float* const x = a;
  const int64_t ldx = 0, whole = 0;
  /* The last tile has more rows than there are. */
  const int ragged = farrier_whole_bf16(rows) < rows;
  float stage0[96];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t m = m0 + r;
    const int64_t v0 = m * s0;
    double v6[FARRIER_LANES];
    for (int l = 0; l < FARRIER_LANES; ++l) v6[l] = 0;
    for (int64_t strip = 0; strip < s0; strip += 512) {
      float values[512];
      const int64_t count = farrier_min_i64(512, s0 - strip);
      FARRIER_SIMD
      for (int64_t i = 0; i < count; ++i) {
        const int64_t k = strip + i;
        const int64_t v1 = v0 + k;
        const float v2 = farrier_bf16_to_f32(b0[v1]);
        const float v3 = v2;
        const float v4 = v3 * v3;
        values[i] = v4;
      }
      farrier_lanes_sum_f32(v6, values, count);
    }
    const float v5 = (float)farrier_fold_sum_f32(v6);
    const float v8 = v5 / v7;
    const float v9 = v8 + 0.000009999999747378752f;
    const float v10 = 1.0f / __builtin_sqrtf(v9);
    stage0[r] = v10;
  }
  for (int64_t k0 = 0; k0 < depth; k0 += step) {
    const int64_t deep = farrier_min_i64(step, depth - k0);
    for (int64_t r = whole; r < rows; ++r) {
      const int64_t m = m0 + r;
      float* const to = a + r * FARRIER_LDA;
      const int64_t v11 = m * s0;
      FARRIER_SIMD
      for (int64_t i = 0; i < deep; ++i) {
        const int64_t k = k0 + i;
        const int64_t v12 = v11 + k;
        const float v13 = farrier_bf16_to_f32(b0[v12]);
        const float v14 = v13;
        const float v15 = v14 * stage0[r];
        const float v16 = farrier_round_bf16((float)v15);
        to[i] = v16;
      }
    }
    for (int64_t r = rows; ragged && r < (rows + 12 - 1) / 12 * 12; ++r)
      memset(a + r * FARRIER_LDA, 0, (size_t)deep * sizeof *a);
    farrier_block_bf16(rows, panels * 16, deep, x + k0, ldx, whole, a, b1 + panel0 * 16 * s0 + k0 * 16, 16 * s0, c, 528, k0 > 0);
  }
  const int64_t n0 = panel0 * 8;
  const int64_t width = farrier_min_i64(s1 - n0, panels * 8);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t m = m0 + r;
    const float* const from = c + r * 528;
    const int64_t v17 = m * s1;
    FARRIER_SIMD
    for (int64_t j = 0; j < width; ++j) {
      const int64_t n = n0 + j;
      const int64_t v18 = v17 + n;
      const float v19 = b2[v18];
      const float v20 = farrier_max_f32(from[j * 2 + 0], 0.0f);
      const float v21 = v20 * from[j * 2 + 1];
      const float v22 = v19 + v21;
      b2[v18] = v22;
    }
  }
}
