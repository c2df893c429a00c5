// What a program is made of: numbers, vectors of them, and functions of both. SINGLE and LANES are defined before.
// Of its functions those of numbers, s_, are read by alone.py too, which knows how they are written here.
#define _GNU_SOURCE  // for sched_getcpu
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if SINGLE
typedef float real;
typedef int32_t whole;
#define F(name) name##f
#define REAL_MAX FLT_MAX
#else
typedef double real;
typedef int64_t whole;
#define F(name) name
#define REAL_MAX DBL_MAX
#endif
#define INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#define UNROLL _Pragma("GCC unroll 32")
// A number for each sample of a block: real numbers, and whole numbers or masks of bits.
typedef real V __attribute__((vector_size(LANES * sizeof(real)), may_alias));
typedef whole W __attribute__((vector_size(LANES * sizeof(real)), may_alias));
// As many numbers of a row as a register has.
typedef real U __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
static const V zero;
// What a step returns, and what makes it return something else than 0.
enum { STEPPED, NOT_FINITE, ANOTHER_BRANCH, NO_SUCH_ROW, NO_MEMORY, TOO_LARGE, TROUBLES = 16 };
static int result;

INLINE V all(real x) { V v = {0}; for (int l = 0; l < LANES; l++) v[l] = x; return v; }
INLINE W all_whole(whole x) { W v = {0}; for (int l = 0; l < LANES; l++) v[l] = x; return v; }
INLINE V to_real(W x) { return __builtin_convertvector(x, V); }
typedef double D __attribute__((vector_size(LANES * sizeof(double)), may_alias));
#define in_double(x) __builtin_convertvector(x, D)
// Whole numbers that do not fit are told of: NumPy's may have more bits.
INLINE whole s_to_whole(real x) {
  const real end = (real)(SINGLE ? 2147483648.0 : 9223372036854775808.0);
  if (x >= -end && x < end) return (whole)x;
  result = TOO_LARGE;
  return 0;
}
INLINE W v_to_whole(V x) { W y; for (int l = 0; l < LANES; l++) y[l] = s_to_whole(x[l]); return y; }
#define WHOLE(name) \
  INLINE whole s_##name(whole x, whole y) { whole z; if (__builtin_##name##_overflow(x, y, &z)) result = TOO_LARGE; return z; } \
  INLINE W v_##name(W x, W y) { W z; for (int l = 0; l < LANES; l++) z[l] = s_##name(x[l], y[l]); return z; }
WHOLE(add) WHOLE(sub)
INLINE V v_keep(W m, V a) { return (V)((W)a & m); }
INLINE V v_pick(W m, V a, V b) { return (V)(((W)a & m) | ((W)b & ~m)); }
INLINE real s_keep(whole m, real a) { return m ? a : 0; }
INLINE real s_pick(whole m, real a, real b) { return m ? a : b; }
typedef real Q __attribute__((vector_size(16), may_alias));
INLINE real total(V v) {  // by halves: one after the other would take as long as the products before it
  Q sums[sizeof(V) / sizeof(Q)];
  memcpy(sums, &v, sizeof v);
  for (int n = sizeof(V) / sizeof(Q) / 2; n; n /= 2) for (int i = 0; i < n; i++) sums[i] += sums[i + n];
  for (int n = 8 / (int)sizeof(real); n; n /= 2) for (int i = 0; i < n; i++) sums[0][i] += sums[0][i + n];
  return sums[0][0];
}

#define LANE_BY_LANE(name) INLINE V v_##name(V x) { V y; for (int l = 0; l < LANES; l++) y[l] = s_##name(x[l]); return y; }
#define LANE_BY_LANE_2(name) INLINE V v_##name(V x, V y) { V z; for (int l = 0; l < LANES; l++) z[l] = s_##name(x[l], y[l]); return z; }
#define LIBRARY(name) INLINE real s_##name(real x) { return F(name)(x); } LANE_BY_LANE(name)
#define LIBRARY_2(name) INLINE real s_##name(real x, real y) { return F(name)(x, y); } LANE_BY_LANE_2(name)
LIBRARY(exp2) LIBRARY(expm1) LIBRARY(log) LIBRARY(log2) LIBRARY(log10) LIBRARY(log1p) LIBRARY(sqrt)
LIBRARY(cbrt) LIBRARY(sin) LIBRARY(cos) LIBRARY(tan) LIBRARY(asin) LIBRARY(acos) LIBRARY(atan) LIBRARY(sinh)
LIBRARY(cosh) LIBRARY(tanh) LIBRARY(asinh) LIBRARY(acosh) LIBRARY(atanh) LIBRARY(erf) LIBRARY(erfc)
LIBRARY(floor) LIBRARY(ceil) LIBRARY(trunc) LIBRARY(rint) LIBRARY_2(pow) LIBRARY_2(atan2) LIBRARY_2(hypot)
LIBRARY_2(fmod) LIBRARY_2(copysign) LIBRARY_2(fmax) LIBRARY_2(fmin)
INLINE real s_exp(real x) { return F(exp)(x); }
INLINE real s_ldexp(real x, whole n) { return F(ldexp)(x, (int)(n < -9999 ? -9999 : n > 9999 ? 9999 : n)); }
INLINE V v_ldexp(V x, W n) { V y; for (int l = 0; l < LANES; l++) y[l] = s_ldexp(x[l], n[l]); return y; }
INLINE V v_fabs(V x) { return (V)((W)x & ~(W)all((real)-0.0)); }
INLINE real s_fabs(real x) { return F(fabs)(x); }
INLINE real s_max(real x, real y) { return x > y || x != x ? x : y; }
INLINE real s_min(real x, real y) { return x < y || x != x ? x : y; }
INLINE V v_max(V x, V y) { return v_pick((x > y) | (x != x), x, y); }
INLINE V v_min(V x, V y) { return v_pick((x < y) | (x != x), x, y); }
INLINE real s_relu(real x) { return x <= 0 ? 0 : x; }
INLINE V v_relu(V x) { return v_keep(~(x <= 0), x); }
INLINE whole s_is_top(real x, real top) { return -!(x < top || (top != top && x == x)); }
INLINE W v_is_top(V x, V top) { return ~((x < top) | ((top != top) & (x == x))); }
INLINE real s_sign(real x) { return x != x ? x : (real)((x > 0) - (x < 0)); }
LANE_BY_LANE(sign)
#define ALIKE(name, y) INLINE real s_##name(real x) { return y; } INLINE V v_##name(V x) { return y; }
ALIKE(square, x * x)
ALIKE(reciprocal, 1 / x)
ALIKE(deg2rad, x * (real)0.017453292519943295)
ALIKE(rad2deg, x * (real)57.29577951308232)
INLINE real s_remainder(real x, real y) { real r = s_fmod(x, y); return r != 0 ? ((r < 0) != (y < 0) ? r + y : r) : s_copysign(0, y); }
LANE_BY_LANE_2(remainder)
INLINE real s_floor_divide(real x, real y) {
  if (y == 0) return x / y;
  real r = s_fmod(x, y), d = (x - r) / y;
  if (r != 0 && (y < 0) != (r < 0)) d -= 1;
  real f = s_floor(d);
  return d == 0 ? s_copysign(0, x / y) : d - f > (real)0.5 ? f + 1 : f;
}
LANE_BY_LANE_2(floor_divide)
INLINE real s_heaviside(real x, real h) { return x != x ? x : x == 0 ? h : (real)(x > 0); }
LANE_BY_LANE_2(heaviside)

// exp(x) = 2^n exp(r), n whole and abs(r) <= log(2) / 2, where exp(r) is a polynomial.
#if SINGLE
INLINE V v_exp(V x) {
  const W low = x < -103.98f, high = x > 88.73f, nan = x != x;
  V y = v_pick(low | high | nan, zero, x);
  V n = y * 1.44269504f;
  n = (n + 12582912.0f) - 12582912.0f;
  V r = y - n * 0.693359375f; r = r - n * -2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f; p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f; p = p * (r * r) + r + 1.0f;
  W k = __builtin_convertvector(n, W), h = k >> 1;
  y = p * (V)((h + 127) << 23) * (V)((k - h + 127) << 23);
  y = v_pick(high, all(INFINITY), v_keep(~low, y));
  return v_pick(nan, x, y);
}
#else
INLINE V v_exp(V x) {
  const W low = x < -745.2, high = x > 709.79, nan = x != x;
  V y = v_pick(low | high | nan, zero, x);
  V n = y * 1.4426950408889634;
  n = (n + 6755399441055744.0) - 6755399441055744.0;
  V r = y - n * 6.93147180369123816490e-01; r = r - n * 1.90821492927058770002e-10;
  V p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0; p = p * r + 1.0 / 3628800.0; p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0; p = p * r + 1.0 / 5040.0; p = p * r + 1.0 / 720.0; p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0; p = p * r + 1.0 / 6.0; p = p * r + 0.5; p = p * (r * r) + r + 1.0;
  W k = __builtin_convertvector(n, W), h = k >> 1;
  y = p * (V)((h + 1023) << 52) * (V)((k - h + 1023) << 52);
  y = v_pick(high, all(INFINITY), v_keep(~low, y));
  return v_pick(nan, x, y);
}
#endif
INLINE real s_sigmoid(real x) { real e = s_exp(-s_fabs(x)); return (x < 0 ? e : 1) / (1 + e); }
INLINE V v_sigmoid(V x) { V e = v_exp(-v_fabs(x)); return v_pick(x < 0, e, all(1)) / (1 + e); }
INLINE real s_softplus(real x) { return s_max(x, 0) + s_log1p(s_exp(-s_fabs(x))); }
INLINE V v_softplus(V x) { return v_max(x, zero) + v_log1p(v_exp(-v_fabs(x))); }
INLINE real s_silu(real x) { return x * s_sigmoid(x); }
INLINE V v_silu(V x) { return x * v_sigmoid(x); }
// What is rounded off its argument y, erfc magnifies by y * y: it is made good by the slope.
INLINE real s_gelu(real x) {
  const double root = 0.7071067811865475244;
  const real y = -x * (real)root, lost = F(fma)(-x, (real)root, -y) - x * (real)(SINGLE ? root - (real)root : -4.833646656726457e-17);
  const real slope = y > 0 && y < 40 ? (real)-1.1283791670955126 * s_exp(-y * y) : 0;
  return (real)0.5 * x * (s_erfc(y) + (slope != 0 ? slope * lost : 0));
}
LANE_BY_LANE(gelu)
INLINE real s_gelu_tanh(real x) { return x * s_sigmoid(2 * (real)0.7978845608028654 * x * (1 + (real)0.044715 * x * x)); }
INLINE V v_gelu_tanh(V x) { return x * v_sigmoid(2 * (real)0.7978845608028654 * x * (1 + (real)0.044715 * x * x)); }
INLINE real s_leaky_relu(real x, real slope) { return x > 0 ? x : slope * x; }
INLINE V v_leaky_relu(V x, V slope) { return v_pick(x > 0, x, slope * x); }
INLINE real s_elu(real x, real alpha) { return x > 0 ? x : alpha * s_expm1(x); }
INLINE V v_elu(V x, V alpha) { return v_pick(x > 0, x, alpha * v_expm1(v_min(x, zero))); }
INLINE real s_sinc(real x) {  // whole turns are taken off before the sine
  const real pi = (real)3.141592653589793, turns = s_rint(x), y = s_sin(pi * (x - turns)) / pi / x;
  return x == 0 ? 1 : s_fmod(turns, 2) == 0 ? y : -y;
}
LANE_BY_LANE(sinc)
INLINE real s_logaddexp(real x, real y) { return x == y ? x + (real)0.6931471805599453 : s_max(x, y) + s_log1p(s_exp(-s_fabs(x - y))); }
LANE_BY_LANE_2(logaddexp)
INLINE real s_logaddexp2(real x, real y) { return x == y ? x + 1 : s_max(x, y) + s_log1p(s_exp2(-s_fabs(x - y))) * (real)1.4426950408889634; }
LANE_BY_LANE_2(logaddexp2)
INLINE real s_finite(real x, real nan, real high, real low) { return x != x ? nan : x > REAL_MAX ? high : x < -REAL_MAX ? low : x; }
INLINE V v_finite(V x, V nan, V high, V low) { V y; for (int l = 0; l < LANES; l++) y[l] = s_finite(x[l], nan[l], high[l], low[l]); return y; }

// The row of an index, which counts from the end if it is negative.
INLINE whole find_row(whole row, whole rows) {
  row += row < 0 ? rows : 0;
  if (row >= 0 && row < rows) return row;
  result = NO_SUCH_ROW;
  return 0;
}

// Rows of samples into lanes, in some order or as they lie. Behind the last sample of the last block stand copies of it.
// Bits are copied, be they of real or of whole numbers.
typedef whole bits __attribute__((may_alias));
INLINE void load(void *restrict to, const void *restrict rows, const int64_t *order, int size, int block, int count) {
  const bits *row[LANES];
  for (int l = 0; l < LANES; l++) {
    const int64_t sample = (int64_t)block * LANES + (l < count ? l : count - 1);
    row[l] = (const bits *)rows + (order ? order[sample] : sample) * size;
  }
  for (int i = 0; i < size; i++) for (int l = 0; l < LANES; l++) ((bits *)to)[(long)i * LANES + l] = row[l][i];
}
// And back, into an array of shape outer x samples x inner.
INLINE void store(void *restrict to, const void *restrict x, int outer, int samples, int inner, int block, int count) {
  for (int o = 0; o < outer; o++)
    for (int l = 0; l < count; l++) {
      bits *row = (bits *)to + ((long)o * samples + (long)block * LANES + l) * inner;
      for (int i = 0; i < inner; i++) row[i] = ((const bits *)x)[((long)o * inner + i) * LANES + l];
    }
}
// Elements of the samples of a block, which lie some step apart, as rows that are filled up with zeros.
INLINE void turn(real *restrict to, const V *restrict x, int size, int step, int width) {
  for (int l = 0; l < LANES; l++) {
    for (int i = 0; i < size; i++) to[l * width + i] = ((const real *)x)[(long)i * step * LANES + l];
    for (int i = size; i < width; i++) to[l * width + i] = 0;
  }
}
