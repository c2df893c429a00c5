// How products are summed up; words in capitals are replaced for each product by its numbers and loops.

// rows: samples in a and out; ROWS outputs by COLUMNS places in registers.
INLINE void NAME(const V *restrict a, const real *restrict b, V *restrict out, const real *restrict first) {
  V sums[ROWS][COLUMNS];
  for (int q = 0; q < ROWS; q++) for (int p = 0; p < COLUMNS; p++) sums[q][p] = START;
  LOOPS {
    const V *x = a + AT_A;
    const real *w = b + AT_B;
    UNROLL
    for (int q = 0; q < ROWS; q++) {
      UNROLL
      for (int p = 0; p < COLUMNS; p++) sums[q][p] += x[STEP_A] * w[STEP_B];
    }
  }
  for (int q = 0; q < ROWS; q++) for (int p = 0; p < COLUMNS; p++) out[STEP_OUT] = sums[q][p];
}

// windows: samples in a and b, summed over; ROWS by COLUMNS vectors in registers, added up across at the end.
INLINE void NAME(const V *restrict a, const V *restrict b, real *restrict out, int p0, int q0, W valid) {
  const V *xs[ROWS], *ys[COLUMNS];
  V sums[ROWS][COLUMNS];
  for (int p = 0; p < ROWS; p++) xs[p] = a + OF_A[p0 + p];
  for (int q = 0; q < COLUMNS; q++) ys[q] = b + OF_B[q0 + q];
  for (int p = 0; p < ROWS; p++) for (int q = 0; q < COLUMNS; q++) sums[p][q] = zero;
  LOOPS {
    const long i = AT_A, j = AT_B;
    UNROLL
    for (int p = 0; p < ROWS; p++) {
      const V x = xs[p][i];
      UNROLL
      for (int q = 0; q < COLUMNS; q++) sums[p][q] += x * ys[q][j];
    }
  }
  for (int p = 0; p < ROWS; p++)
    for (int q = 0; q < COLUMNS; q++)
      out[TO_A[p0 + p] + TO_B[q0 + q]] += total(v_keep(valid, sums[p][q]));
}

// outer: the same without more to sum over, and b turned; ROWS by COLUMNS vectors of the result in registers.
INLINE void NAME(const V *restrict a, const real *restrict b, real *restrict out) {
  U sums[ROWS][COLUMNS];
  for (int p = 0; p < ROWS; p++) for (int q = 0; q < COLUMNS; q++) sums[p][q] = (U){0};
  for (int block = 0; block < BLOCKS; block++) {
    const real *const x = (const real *)(a + (long)block * BLOCK), *const y = b + (long)block * LANES * WIDTH;
    for (int l = 0; l < LANES && block * LANES + l < SAMPLES; l++) {
      UNROLL
      for (int p = 0; p < ROWS; p++) {
        UNROLL
        for (int q = 0; q < COLUMNS; q++) sums[p][q] += *(const U *)(y + l * WIDTH + q * LANES) * x[STEP_A * LANES + l];
      }
    }
  }
  for (int p = 0; p < ROWS; p++) for (int q = 0; q < COLUMNS; q++) *(U *)(out + p * WIDTH + q * LANES) = sums[p][q];
}
