// Samples in a and out; ROWS outputs by COLUMNS places in registers.
INLINE void NAME(const V *restrict a, const real *restrict b, V *restrict out, const real *restrict first) {
  V sums[ROWS][COLUMNS];
  (void)first;  // a bias, if there is one
  for (int q = 0; q < ROWS; q++) for (int p = 0; p < COLUMNS; p++) sums[q][p] = START;
  LOOPS {
    const V *x = a + AT_A;
    const real *w = b + AT_B;
    // Steps this long no processor foresees.
    for (int q = 0; AHEAD && q < ROWS; q += 64 / (int)sizeof(real)) __builtin_prefetch(w + AHEAD + q);
    UNROLL
    for (int q = 0; q < ROWS; q++) {
      UNROLL
      for (int p = 0; p < COLUMNS; p++) sums[q][p] += x[STEP_A] * w[STEP_B];
    }
  }
  for (int q = 0; q < ROWS; q++) for (int p = 0; p < COLUMNS; p++) out[STEP_OUT] = sums[q][p];
}
