// Samples in a and b, summed over; ROWS by COLUMNS vectors in registers, added up across at the end. All blocks have
// their places as the first has, which the tables tell: they are constants in every load.
INLINE void NAME(const V *restrict a, const V *restrict b, real *restrict out, W valid) {
  V sums[ROWS][COLUMNS];
  for (int p = 0; p < ROWS; p++) for (int q = 0; q < COLUMNS; q++) sums[p][q] = zero;
  LOOPS {
    const V *const x = a + AT_A, *const y = b + AT_B;
    UNROLL
    for (int k = 0; k < ROWS * COLUMNS; k++) {  // of the fewer factors all stay in registers, of the others one
      const int p = ROWS < COLUMNS ? k % ROWS : k / COLUMNS, q = ROWS < COLUMNS ? k / ROWS : k % COLUMNS;
      sums[p][q] += x[OF_A[p]] * y[OF_B[q]];
    }
  }
  for (int p = 0; p < ROWS; p++)
    for (int q = 0; q < COLUMNS; q++) out[TO_A[p] + TO_B[q]] += total(v_keep(valid, sums[p][q]));
}
