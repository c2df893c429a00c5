// Samples in a and b, summed over; ROWS by COLUMNS vectors in registers, added up across at the end.
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
