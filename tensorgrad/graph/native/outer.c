// Samples in a and b, and nothing else summed over; b is turned, ROWS by COLUMNS of its vectors are in registers.
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
