void FARRIER_KERNEL(void* const* buffers, const int64_t* scalars, int64_t task, void* scratch) {
  (void)scalars;
  const float* const b0 = (const float*)buffers[0]; /* xq */
  const float* const b1 = (const float*)buffers[1]; /* xk */
  const float* const b2 = (const float*)buffers[2]; /* xv */
  const int64_t* const b3 = (const int64_t*)buffers[3]; /* length */
  const float* const b4 = (const float*)buffers[4]; /* bias */
  float* const b5 = (float*)buffers[5]; /* y */
  const int64_t s0 = scalars[0];
  const int64_t s1 = scalars[1];
  const int64_t s2 = scalars[2];
  const int64_t s3 = scalars[3];
  const int64_t s4 = scalars[4];
  const int64_t s5 = scalars[5];
  const int64_t s6 = scalars[6];
  const int64_t s7 = scalars[7];
  const int64_t s8 = scalars[8];
  const int64_t s9 = scalars[9];
  const int64_t s10 = scalars[10];
  const int64_t s11 = scalars[11];
  const int64_t s12 = scalars[12];
  const int64_t s13 = scalars[13];
  const int64_t row0 = task % s8 * s9;
  const int64_t rows = farrier_min_i64(s9, s10 - row0);
  int64_t rest = task / s8;
  const int64_t g = rest % s12;
  rest /= s12;
  const int64_t b = rest % s13;
  rest /= s13;
  const int64_t v0 = b3[b];
  const int64_t v1 = s0 < v0 ? s0 : v0;
  const int64_t v2 = s1 + v0;
  const int64_t v4 = b * s3 + g * s4;
  const int64_t v8 = b * s5 + g * s6;
  const int64_t v15 = s7 + v0;
  float* const queries = (float*)scratch;
  float* const scores = queries + 19200;
  float* const keys = scores + 19200;
  float* const values = keys + 8192;
  float* const out = values + 8192;
  float* const gathered = out + 3840;
  float top[48];
  double total[48];
  int64_t first[48], end[48], from = INT64_MAX, to = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t r = (row0 + i) / s11, q = (row0 + i) % s11;
    const int64_t v3 = v2 + q;
    first[i] = farrier_max_i64(0L, 0);
    end[i] = farrier_min_i64(v3, v1);
    if (first[i] < end[i]) {
      from = farrier_min_i64(from, first[i]);
      to = farrier_max_i64(to, end[i]);
    }
    top[i] = -__builtin_inff();
    total[i] = 0;
    const int64_t v5 = v4 + q * s2 + r * 64L;
    for (int64_t d0 = 0; d0 < 64; d0 += 384) {
      float* const at = queries + (d0 / 384 * 48 + i) * FARRIER_LDA;
      FARRIER_SIMD
      for (int64_t x = 0; x < farrier_min_i64(384, 64 - d0); ++x) {
        const int64_t d = d0 + x;
        const int64_t v6 = v5 + d;
        const float v7 = b0[v6];
        at[x] = v7;
      }
    }
    memset(out + i * 80, 0, 80 * sizeof *out);
  }
  for (int64_t k0 = from; k0 < to; k0 += 128) {
    const int64_t count = farrier_min_i64(128, to - k0);
    for (int64_t j0 = 0; j0 < count; j0 += 16) {
      const int64_t full = farrier_min_i64(16, count - j0);
      for (int64_t j = 0; j < full; ++j) {
        const int64_t k = k0 + j0 + j;
        float* const at = gathered + j * 80;
        const int64_t v9 = v8 + k * 64L;
        FARRIER_SIMD
        for (int64_t d = 0; d < 64; ++d) {
          const int64_t v10 = v9 + d;
          const float v11 = b1[v10];
          at[d] = v11;
        }
      }
      farrier_transpose_f32(keys + j0 * 64, gathered, 80, 64);
    }
    for (int64_t d0 = 0; d0 < 64; d0 += 384)
      farrier_block_f32(rows, (count + 15) / 16 * 16, farrier_min_i64(384, 64 - d0),
          queries, 0, 0, queries + d0 / 384 * 48 * FARRIER_LDA, keys + d0 * 16, 64 * 16, scores, FARRIER_LDA, d0 > 0);
    for (int64_t i = 0; i < rows; ++i) {
      float* const s = scores + i * FARRIER_LDA;
      const int64_t low = farrier_min_i64(farrier_max_i64(first[i] - k0, 0), count);
      const int64_t high = farrier_max_i64(farrier_min_i64(end[i] - k0, count), low);
      const int64_t r = (row0 + i) / s11, q = (row0 + i) % s11;
      const int64_t v16 = v15 + q;
      FARRIER_SIMD
      for (int64_t j = low; j < high; ++j) {
        const int64_t k = k0 + j;
        const float score = s[j] * 0.125f;
        const _Bool v17 = k <= v16;
        float v18;
        if (v17) {
          const float v19 = b4[k];
          const float v20 = score + v19;
          v18 = v20;
        } else {
          v18 = (-__builtin_inff());
        }
        s[j] = v18;
      }
      /* NaN stays NaN; a row with nothing unmasked so far keeps -inf and adds nothing. */
      float lanes[FARRIER_LANES];
      for (int l = 0; l < FARRIER_LANES; ++l) lanes[l] = top[i];
      farrier_lanes_max_f32(lanes, s + low, high - low);
      const float highest = farrier_fold_max_f32(lanes);
      if (highest == -__builtin_inff() || low == high) {
        memset(s, 0, (size_t)count * sizeof *s);
        continue;
      }
      for (int64_t j = 0; j < low; ++j) s[j] = 0;
      FARRIER_SIMD
      for (int64_t j = low; j < high; ++j) {
        const float difference = s[j] - highest;
        const _Bool v21 = difference < (-104.0f);
        const float v22 = v21 ? (-104.0f) : difference;
        const _Bool v23 = 89.0f < v22;
        const float v24 = v23 ? 89.0f : v22;
        const float v25 = farrier_mad_f32(v24, 1.4426950216293335f, 12582912.0f);
        const float v26 = v25 - 12582912.0f;
        const float v27 = farrier_mad_f32(v26, (-0.693359375f), v24);
        const float v28 = farrier_mad_f32(v26, 0.00021219444170128554f, v27);
        const float v29 = v28 * v28;
        const float v30 = farrier_mad_f32(0.0013939759228378534f, v28, 0.008368994109332561f);
        const float v31 = farrier_mad_f32(v30, v28, 0.041666414588689804f);
        const float v32 = farrier_mad_f32(v31, v28, 0.166665181517601f);
        const float v33 = farrier_mad_f32(v32, v28, 0.5f);
        const float v34 = farrier_mad_f32(v29, v33, v28);
        const float v35 = v34 + 1.0f;
        const int32_t v36 = (int32_t)farrier_bits_f32(v25);
        const int32_t v37 = v36 - (1262485504);
        const int32_t v38 = v37 >> 1;
        const int32_t v39 = v38 + (127);
        const int32_t v40 = v39 << 23;
        const float v41 = farrier_f32_bits(v40);
        const float v42 = v35 * v41;
        const int32_t v43 = v37 - v38;
        const int32_t v44 = v43 + (127);
        const int32_t v45 = v44 << 23;
        const float v46 = farrier_f32_bits(v45);
        const float v47 = v42 * v46;
        s[j] = v47;
      }
      for (int64_t j = high; j < count; ++j) s[j] = 0;
      double sums[FARRIER_LANES];
      for (int l = 0; l < FARRIER_LANES; ++l) sums[l] = 0;
      farrier_lanes_sum_f32(sums, s + low, high - low);
      float rescale = 1;
      if (top[i] != highest) {
        const float difference = top[i] - highest;
        const _Bool v48 = difference < (-104.0f);
        const float v49 = v48 ? (-104.0f) : difference;
        const _Bool v50 = 89.0f < v49;
        const float v51 = v50 ? 89.0f : v49;
        const float v52 = farrier_mad_f32(v51, 1.4426950216293335f, 12582912.0f);
        const float v53 = v52 - 12582912.0f;
        const float v54 = farrier_mad_f32(v53, (-0.693359375f), v51);
        const float v55 = farrier_mad_f32(v53, 0.00021219444170128554f, v54);
        const float v56 = v55 * v55;
        const float v57 = farrier_mad_f32(0.0013939759228378534f, v55, 0.008368994109332561f);
        const float v58 = farrier_mad_f32(v57, v55, 0.041666414588689804f);
        const float v59 = farrier_mad_f32(v58, v55, 0.166665181517601f);
        const float v60 = farrier_mad_f32(v59, v55, 0.5f);
        const float v61 = farrier_mad_f32(v56, v60, v55);
        const float v62 = v61 + 1.0f;
        const int32_t v63 = (int32_t)farrier_bits_f32(v52);
        const int32_t v64 = v63 - (1262485504);
        const int32_t v65 = v64 >> 1;
        const int32_t v66 = v65 + (127);
        const int32_t v67 = v66 << 23;
        const float v68 = farrier_f32_bits(v67);
        const float v69 = v62 * v68;
        const int32_t v70 = v64 - v65;
        const int32_t v71 = v70 + (127);
        const int32_t v72 = v71 << 23;
        const float v73 = farrier_f32_bits(v72);
        const float v74 = v69 * v73;
        rescale = v74;
        FARRIER_SIMD
        for (int64_t x = 0; x < 80; ++x) out[i * 80 + x] *= rescale;
      }
      total[i] = total[i] * rescale + farrier_fold_sum_f32(sums);
      top[i] = highest;
    }
    for (int64_t j = 0; j < count; ++j) {
      const int64_t k = k0 + j;
      const int64_t v12 = v8 + k * 64L;
      for (int64_t e0 = 0; e0 < 64; e0 += 16) {
        float* const at = values + e0 * 128 + j * 16;
        FARRIER_SIMD
        for (int64_t x = 0; x < farrier_min_i64(16, 64 - e0); ++x) {
          const int64_t e = e0 + x;
          const int64_t v13 = v12 + e;
          const float v14 = b2[v13];
          at[x] = v14;
        }
      }
    }
    farrier_block_f32(rows, 64, count, scores, 0, 0, scores, values, 128 * 16, out, 80, 1);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t r = (row0 + i) / s11, q = (row0 + i) % s11;
    const float inverse = total[i] == 0 ? 0.0f : (float)(1.0 / total[i]);
    const float* const o = out + i * 80;
    const int64_t v75 = v4 + q * s2 + r * 64L;
    FARRIER_SIMD
    for (int64_t e = 0; e < 64; ++e) {
      const float acc = o[e] * inverse;
      const int64_t v76 = v75 + e;
      b5[v76] = acc;
    }
  }
}
