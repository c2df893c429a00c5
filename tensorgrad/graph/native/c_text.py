"""The text of a compiled program in C: what stands before it, its functions, and who runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.graph.native.plan import Buffer, Value, View, count_elements, dense_strides, place_in_arena
from tensorgrad.graph.native.program import Code, Program, place

PRELUDE = r"""#include <float.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef @REAL@ real;
typedef @WHOLE@ whole;
#define LANES @LANES@
#define REAL_MAX @MAX@
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
// A number for each sample of a block: real numbers, and whole numbers or masks of bits.
typedef real V __attribute__((vector_size(LANES * sizeof(real)), aligned(64), may_alias));
typedef whole W __attribute__((vector_size(LANES * sizeof(real)), aligned(64), may_alias));
// As many numbers of a row as a register has.
typedef real U __attribute__((vector_size(@VECTOR@ * sizeof(real)), aligned(sizeof(real)), may_alias));
static const V zero;

INLINE V all(real x) { V v = {0}; for (int l = 0; l < LANES; l++) v[l] = x; return v; }
INLINE W all_whole(whole x) { W v = {0}; for (int l = 0; l < LANES; l++) v[l] = x; return v; }
INLINE V to_real(W x) { return __builtin_convertvector(x, V); }
INLINE W to_whole(V x) { return __builtin_convertvector(x, W); }
INLINE V keep(W m, V a) { return (V)((W)a & m); }
INLINE V v_keep(W m, V a) { return (V)((W)a & m); }
INLINE V v_pick(W m, V a, V b) { return (V)(((W)a & m) | ((W)b & ~m)); }
INLINE real s_keep(whole m, real a) { return m ? a : 0; }
INLINE real s_pick(whole m, real a, real b) { return m ? a : b; }
INLINE real total(V v) { real sum = 0; for (int l = 0; l < LANES; l++) sum += v[l]; return sum; }

#define LANE_BY_LANE(name) INLINE V v_##name(V x) { V y; for (int l = 0; l < LANES; l++) y[l] = s_##name(x[l]); return y; }
#define LANE_BY_LANE_2(name) INLINE V v_##name(V x, V y) { V z; for (int l = 0; l < LANES; l++) z[l] = s_##name(x[l], y[l]); return z; }
#define LIBRARY(name, function) INLINE real s_##name(real x) { return function(x); } LANE_BY_LANE(name)
#define LIBRARY_2(name, function) INLINE real s_##name(real x, real y) { return function(x, y); } LANE_BY_LANE_2(name)
@LIBRARY@
INLINE V v_fabs(V x) { return (V)((W)x & ~(W)all((real)-0.0)); }
INLINE real s_fabs(real x) { return @F@fabs@S@(x); }
INLINE real s_max(real x, real y) { return x > y || x != x ? x : y; }
INLINE real s_min(real x, real y) { return x < y || x != x ? x : y; }
INLINE V v_max(V x, V y) { return v_pick((x > y) | (x != x), x, y); }
INLINE V v_min(V x, V y) { return v_pick((x < y) | (x != x), x, y); }
INLINE real s_relu(real x) { return x <= 0 ? 0 : x; }
INLINE V v_relu(V x) { return keep(~(x <= 0), x); }
INLINE whole s_is_top(real x, real top) { return -!(x < top || (top != top && x == x)); }
INLINE W v_is_top(V x, V top) { return ~((x < top) | ((top != top) & (x == x))); }
INLINE real s_sign(real x) { return x != x ? x : (real)((x > 0) - (x < 0)); }
LANE_BY_LANE(sign)
INLINE real s_square(real x) { return x * x; }
INLINE V v_square(V x) { return x * x; }
INLINE real s_reciprocal(real x) { return 1 / x; }
INLINE V v_reciprocal(V x) { return 1 / x; }
INLINE real s_deg2rad(real x) { return x * (real)0.017453292519943295; }
INLINE V v_deg2rad(V x) { return x * (real)0.017453292519943295; }
INLINE real s_rad2deg(real x) { return x * (real)57.29577951308232; }
INLINE V v_rad2deg(V x) { return x * (real)57.29577951308232; }
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
@EXP@
INLINE real s_sigmoid(real x) { real e = s_exp(-s_fabs(x)); return (x < 0 ? e : 1) / (1 + e); }
INLINE V v_sigmoid(V x) { V e = v_exp(-v_fabs(x)); return v_pick(x < 0, e, all(1)) / (1 + e); }
INLINE real s_softplus(real x) { return s_max(x, 0) + s_log1p(s_exp(-s_fabs(x))); }
INLINE V v_softplus(V x) { return v_max(x, zero) + v_log1p(v_exp(-v_fabs(x))); }
INLINE real s_silu(real x) { return x * s_sigmoid(x); }
INLINE V v_silu(V x) { return x * v_sigmoid(x); }
INLINE real s_gelu(real x) { return (real)0.5 * x * s_erfc(x * (real)-0.7071067811865476); }
LANE_BY_LANE(gelu)
INLINE real s_gelu_tanh(real x) { return x * s_sigmoid(2 * (real)0.7978845608028654 * x * (1 + (real)0.044715 * x * x)); }
INLINE V v_gelu_tanh(V x) { return x * v_sigmoid(2 * (real)0.7978845608028654 * x * (1 + (real)0.044715 * x * x)); }
INLINE real s_leaky_relu(real x, real slope) { return x > 0 ? x : slope * x; }
INLINE V v_leaky_relu(V x, V slope) { return v_pick(x > 0, x, slope * x); }
INLINE real s_elu(real x, real alpha) { return x > 0 ? x : alpha * s_expm1(x); }
INLINE V v_elu(V x, V alpha) { return v_pick(x > 0, x, alpha * v_expm1(v_min(x, zero))); }
INLINE real s_sinc(real x) { real y = (real)3.141592653589793 * x; return x == 0 ? 1 : s_sin(y) / y; }
LANE_BY_LANE(sinc)
INLINE real s_logaddexp(real x, real y) { return x == y ? x + (real)0.6931471805599453 : s_max(x, y) + s_log1p(s_exp(-s_fabs(x - y))); }
LANE_BY_LANE_2(logaddexp)
INLINE real s_logaddexp2(real x, real y) { return x == y ? x + 1 : s_max(x, y) + s_log1p(s_exp2(-s_fabs(x - y))) * (real)1.4426950408889634; }
LANE_BY_LANE_2(logaddexp2)
INLINE real s_finite(real x, real nan, real high, real low) { return x != x ? nan : x > REAL_MAX ? high : x < -REAL_MAX ? low : x; }
INLINE V v_finite(V x, V nan, V high, V low) { V y; for (int l = 0; l < LANES; l++) y[l] = s_finite(x[l], nan[l], high[l], low[l]); return y; }

// Rows of samples into lanes and back. Behind the last sample of a last block stand copies of it.
INLINE void load(V *restrict to, const real *restrict x, int size, int count) {
  for (int l = 0; l < LANES; l++) {
    const real *row = x + (long)(l < count ? l : count - 1) * size;
    for (int i = 0; i < size; i++) ((real *)to)[(long)i * LANES + l] = row[i];
  }
}
INLINE void load_whole(W *restrict to, const whole *restrict x, int size, int count) {
  for (int l = 0; l < LANES; l++) {
    const whole *row = x + (long)(l < count ? l : count - 1) * size;
    for (int i = 0; i < size; i++) ((whole *)to)[(long)i * LANES + l] = row[i];
  }
}
INLINE void turn(real *restrict to, const V *restrict x, int size, int step, int width) {
  for (int l = 0; l < LANES; l++) {
    for (int i = 0; i < size; i++) to[l * width + i] = ((const real *)x)[(long)i * step * LANES + l];
    for (int i = size; i < width; i++) to[l * width + i] = 0;
  }
}
"""

EXP = {
    np.dtype(np.float32): r"""INLINE V v_exp(V x) {
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
  y = v_pick(high, all(INFINITY), keep(~low, y));
  return v_pick(nan, x, y);
}""",
    np.dtype(np.float64): r"""INLINE V v_exp(V x) {
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
  y = v_pick(high, all(INFINITY), keep(~low, y));
  return v_pick(nan, x, y);
}""",
}
_ONE = "exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc floor ceil trunc rint".split()
_TWO = "pow atan2 hypot fmod copysign fmax fmin".split()

WORKERS = r"""
// Threads: the caller is number 0; the others wait for a step, awake for a moment and then asleep.
static int workers = 0, using = 1;
static atomic_int steps, arrived, turns, finished;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static void **arg;
static void work(int thread);
#if defined(__x86_64__) || defined(__i386__)
#define RELAX __builtin_ia32_pause()
#else
#define RELAX ((void)0)
#endif
static void meet(void) {
  if (using == 1) return;
  const int turn = atomic_load(&turns);
  if (atomic_fetch_add(&arrived, 1) == using - 1) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&turns, 1);
  } else {
    for (long i = 0; atomic_load(&turns) == turn; i++) { if (i < 2000) RELAX; else sched_yield(); }
  }
}
static void *serve(void *number) {
  int seen = 0;
  for (;;) {
    for (int i = 0; i < 4000 && atomic_load(&steps) == seen; i++) RELAX;
    if (atomic_load(&steps) == seen) {
      pthread_mutex_lock(&lock);
      while (atomic_load(&steps) == seen) pthread_cond_wait(&wake, &lock);
      pthread_mutex_unlock(&lock);
    }
    seen++;
    if ((int)(intptr_t)number < using) { work((int)(intptr_t)number); atomic_fetch_add(&finished, 1); }
  }
  return 0;
}
static void forget_workers(void) { workers = 0; pthread_mutex_init(&lock, 0); pthread_cond_init(&wake, 0); }
int step(void **arguments, int threads, int update) {
  static int watched;
  if (!watched) { pthread_atfork(0, 0, forget_workers); watched = 1; }
  arg = arguments;
  result = 0;
  mode = update;
  if (!all_kept) all_kept = aligned_alloc(64, sizeof(V) * KEPT * BLOCKS);
  while (workers < threads - 1) {
    pthread_t thread;
    if (pthread_create(&thread, 0, serve, (void *)(intptr_t)(workers + 1))) break;
    pthread_detach(thread);
    workers++;
  }
  using = threads < workers + 1 ? threads : workers + 1;
  if (using > 1) {
    atomic_store(&finished, 0);
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&steps, 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
  }
  work(0);
  for (long i = 0; using > 1 && atomic_load(&finished) < using - 1; i++) { if (i < 2000) RELAX; else sched_yield(); }
  return result;
}
"""


UPDATE = r"""
// The gradients, in the caller's memory or, where a step is to be made of them, in the program's own.
INLINE real *gradient(int k) { return mode ? own_gradients + gradient_at[k] : (real *)arg[FIRST + k]; }
static void add_up_slots(long start, long end, int thread) {
  const long n = (end - start) / 16;
  for (long i = start + n * thread / using * 16, stop = start + n * (thread + 1) / using * 16; i < stop; i++)
    for (int slot = 1; slot < SLOTS; slot++) all_sums[0][i] += all_sums[slot][i];
}
INLINE double sum_of_squares(const real *x, long n) {
  U sum = {0};
  long i = 0;
  for (; i + (long)(sizeof(U) / sizeof(real)) <= n; i += sizeof(U) / sizeof(real)) { const U v = *(const U *)(x + i); sum += v * v; }
  double total = 0;
  for (; i < n; i++) total += (double)x[i] * x[i];
  for (int l = 0; l < (int)(sizeof(U) / sizeof(real)); l++) total += sum[l];
  return total;
}
// A step of gradient descent, of elements from .. to of a parameter; options: rate, momentum, dampening, nesterov,
// decay, decoupled, first, and the factor of clipping by norm.
static void descend(real *restrict p, real *restrict v, const real *restrict g, long n, const double *o) {
  const real rate = o[0], momentum = o[1], keep_ = 1 - o[2], decay = o[4], shrink = 1 - o[0] * o[4], scale = o[7];
  const int nesterov = o[3] != 0, decoupled = o[5] != 0, first = o[6] != 0;
  for (long i = 0; i < n; i++) {
    real x = g[i] * scale, w = p[i];
    if (decay != 0 && decoupled) w *= shrink;
    else if (decay != 0) x += w * decay;
    if (momentum != 0) {
      v[i] = v[i] * momentum + (first ? x : x * keep_);
      x = nesterov ? v[i] * momentum + x : v[i];
    }
    p[i] = w - x * rate;
  }
}
// A step of Adam; options: rate, first beta, second beta, eps, decay, decoupled, steps before this, largest.
static void adapt(real *restrict p, real *restrict mean, real *restrict square, real *restrict largest, const real *restrict g, long n, const double *o) {
  const double root = sqrt(1 - pow(o[2], o[6] + 1));
  const real b1 = o[1], b2 = o[2], c1 = 1 - o[1], c2 = 1 - o[2], decay = o[4], shrink = 1 - o[0] * o[4], scale = o[7];
  const real eps = o[3] * root, rate = o[0] * root / (1 - pow(o[1], o[6] + 1));
  const int decoupled = o[5] != 0;
  for (long i = 0; i < n; i++) {
    real x = g[i] * scale, w = p[i];
    if (decay != 0 && decoupled) w *= shrink;
    else if (decay != 0) x += w * decay;
    mean[i] = mean[i] * b1 + x * c1;
    square[i] = square[i] * b2 + x * x * c2;
    real under = square[i];
    if (largest) under = largest[i] = s_max(largest[i], under);
    p[i] = w - mean[i] / (@F@sqrt@S@(under) + eps) * rate;
  }
}
"""
FINISH = r"""
static double clip_by_value(int unit, double limit) {
  const int k = unit_of[unit], part = unit - first_unit[k];
  const long rows = gradient_rows[k], each = gradient_sizes[k] / rows;
  const long from = rows * part / unit_parts[k] * each, to = rows * (part + 1) / unit_parts[k] * each;
  real *const g = own_gradients + gradient_at[k] + from;
  for (long i = 0; i < to - from; i++) g[i] = s_max(s_min(g[i], (real)limit), (real)-limit);
  return sum_of_squares(g, to - from);
}
// Of the gradients of which a step is made.
static double total_of_squares(void) {
  double total = 0;
  for (int unit = 0; unit < UNITS; unit++) if (arg[FIRST + 1 + 5 * unit_of[unit]]) total += squares[unit];
  return total;
}
static void finish(int thread) {
  for (int unit = thread; unit < UNITS; unit += using) collect(unit);
  if (!mode) return;
  meet();
  double total = total_of_squares();
  // No step is made of what is not finite, or of what the function would have computed in another way.
  if (!(total < INFINITY) || !may_step()) { result = 1; return; }
  const double clip = ((double *)arg[FIRST])[0], limit = ((double *)arg[FIRST])[1];
  if (limit < INFINITY) {
    meet();
    for (int unit = thread; unit < UNITS; unit += using) squares[unit] = clip_by_value(unit, limit);
    meet();
    total = total_of_squares();
  }
  const double scale = clip > 0 ? clip / (sqrt(total) + 1e-6) : 1;
  for (int unit = thread; unit < UNITS; unit += using) {
    const int k = unit_of[unit], part = unit - first_unit[k];
    const long rows = gradient_rows[k], each = gradient_sizes[k] / rows;
    const long from = rows * part / unit_parts[k] * each, to = rows * (part + 1) / unit_parts[k] * each;
    void **const its = arg + FIRST + 1 + 5 * k;  // parameter, three slots, options
    if (!its[0]) continue;
    double o[8];
    memcpy(o, its[4], 7 * sizeof(double));
    o[7] = scale < 1 ? scale : 1;
    real *const p = (real *)its[0] + from, *const g = own_gradients + gradient_at[k] + from;
    real *slots[3];
    for (int j = 0; j < 3; j++) slots[j] = its[1 + j] ? (real *)its[1 + j] + from : 0;
    if (mode == 1) descend(p, slots[0], g, to - from, o);
    else adapt(p, slots[0], slots[1], slots[2], g, to - from, o);
  }
}
"""


def prelude(program: Program) -> str:
    single = program.dtype == np.float32
    end = "f" if single else ""
    library = [f"LIBRARY({n}, {n}{end})" for n in _ONE if n != "exp"] + [f"LIBRARY_2({n}, {n}{end})" for n in _TWO]
    library.append(f"INLINE real s_exp(real x) {{ return exp{end}(x); }}")
    words = {
        "REAL": "float" if single else "double", "WHOLE": "int32_t" if single else "int64_t", "LANES": str(program.lanes),
        "VECTOR": str(program.vector), "MAX": "FLT_MAX" if single else "DBL_MAX", "F": "", "S": end,
        "LIBRARY": "\n".join(library), "EXP": EXP[program.dtype],
    }  # fmt: skip
    text = PRELUDE
    for key, word in words.items():
        text = text.replace(f"@{key}@", word)
    return text


def declare(buffer: Buffer, number: dict[Buffer, int], added_to: bool) -> str:
    """A local name for a buffer."""
    element = ("W" if buffer.whole else "V") if buffer.laned else ("whole" if buffer.whole else "real")
    start = {
        "argument": lambda: f"arg[{number[buffer]}]", "arena": lambda: f"arena + {buffer.offset}", "kept": lambda: f"kept + {buffer.offset}",
        "plain": lambda: f"plain + {buffer.offset}",
        "sums": lambda: f"{'sums' if added_to else 'all_sums[0]'} + {buffer.offset}",
    }[buffer.role]()  # fmt: skip
    cast = f"({element} *)"
    restrict = "const " if buffer.role == "argument" else ""
    return f"{restrict}{element} *const {buffer.name} = {cast}({start});" + (f"  // {buffer.note}" if buffer.note else "")


def write(
    program: Program, outputs: Sequence[tuple[str, Value]], gradients: Sequence[Value], slots: int, guards: Sequence[bool] = ()
) -> tuple[str, dict[str, Any]]:
    """The whole text, and what the caller must know: how many arguments of which kind there are, in order.

    Arguments are the leaves, then an array for each output, then one for each gradient. The first output is the
    loss, of which no step is made if it is not finite; the last are conditions, of which none is made unless
    they are as ``guards`` says.
    """
    for name, value in outputs:
        program.need(value)
    for value in gradients:
        program.need(value)
    number = {buffer: k for k, (buffer, _) in enumerate(program.arguments)}
    for (stage, laned), code in program.stages.items():
        for buffer in code.buffers:
            if buffer.role == "arena":
                pass
    arena = 0
    for stage in {s for s, _ in program.stages}:
        own = [b for b in program.buffers if b.role == "arena" and any(b in c.buffers for (s, _), c in program.stages.items() if s == stage)]
        arena = max(arena, place_in_arena(own))
    kept = _lay_out(program, "kept", 1)
    plain = _lay_out(program, "plain", 16)
    last = max((s for s, _ in program.stages), default=0)
    _store(program, outputs, last)
    sums, bounds = _lay_out_sums(program, gradients)
    out = [prelude(program)]
    out.append(f"#define SAMPLES {program.samples or 0}\n#define BLOCKS {program.blocks}\n#define SLOTS {slots}")
    out.append(f"#define ARENA {max(arena, 1)}\n#define KEPT {max(kept, 1)}\n#define PLAIN {max(plain, 16)}\n#define SUMS {max(sums, 16)}")
    out.append("static real plain[PLAIN] __attribute__((aligned(64)));\nstatic real all_sums[SLOTS][SUMS] __attribute__((aligned(64)));")
    out.append("static V *all_kept;\nstatic int result, mode;")
    out.append(WORKERS)
    out += program.functions.values()
    number = {buffer: k for k, (buffer, _) in enumerate(program.arguments)}
    for (stage, laned), code in sorted(program.stages.items()):
        if laned:
            out.append(f"static void blocks_{stage}(int block, V *restrict arena, real *restrict sums, int fresh) {{")
            out.append("  const int count = SAMPLES - block * LANES < LANES ? SAMPLES - block * LANES : LANES;")
            out.append("  W valid; for (int l = 0; l < LANES; l++) valid[l] = l < count ? -1 : 0;")
            out.append("  V *const kept = all_kept + (long)block * KEPT;")
        else:
            out.append(f"static void plain_{stage}(void) {{")
        out += [f"  {declare(b, number, laned and _stage_of(program, b) == stage)}" for b in code.buffers]
        out += code.lines
        out.append("}")
    for jobs in program.shared.values():
        for name, _, code in jobs:
            out.append(f"static void {name}shared(int unit) {{\n  V *const kept = all_kept;")
            out += [f"  {declare(b, number, False)}" for b in code.buffers]
            out += [*code.lines, "}"]
    out.append(_may_step(len(program.arguments), [value for _, value in outputs], guards))
    single = "f" if program.dtype == np.float32 else ""
    out += [x.replace("@F@", "").replace("@S@", single) for x in _main(program, gradients, bounds, len(program.arguments) + len(outputs))]
    return "\n".join(out) + "\n", {"arguments": program.arguments}


def _may_step(first: int, outputs: Sequence[Value], guards: Sequence[bool]) -> str:
    """A function that says whether the loss is finite and all conditions are as they were."""
    tests = [f"isfinite(*(real *)arg[{first}])"] if not outputs[0].whole else []
    start = len(outputs) - len(guards)
    for k, outcome in enumerate(guards, start):
        element = "whole" if outputs[k].whole else "real"
        tests.append(f"(*({element} *)arg[{first + k}] != 0) == {int(outcome)}")
    return f"static int may_step(void) {{ return {' && '.join(tests) or '1'}; }}"


def _store(program: Program, outputs: Sequence[tuple[str, Value]], last: int) -> None:
    """Write the outputs into the caller's memory."""
    leaves = len(program.arguments)
    for k, (_, value) in enumerate(outputs):
        view = value.view
        assert view is not None
        code = program.code(value.stage if value.laned else last + 1, value.laned)
        element = "whole" if value.whole else "real"
        size = count_elements(value.shape, value.batch)
        if value.laned:
            code.put(f"for (int l = 0; l < count; l++) {{")
            names = ["" if j == value.batch else f"i{j}" if n != 1 else "0" for j, n in enumerate(view.shape)]
            dense = _dense_index(value)
            code.put(f"  {element} *row = ({element} *)arg[{leaves + k}] + ((long)block * LANES + l) * {size};")
            with code.loops(*((f"i{j}", n) for j, n, _ in view.axes())):
                code.put(f"row[{dense}] = {program.point(view.buffer, code)}[{view.at(names)}][l];")
            code.put("}")
            if value.batch != 0:
                raise NotImplementedError("an output whose samples are not along the first axis")
        else:
            names = [f"i{j}" if n != 1 else "0" for j, n in enumerate(view.shape)]
            with code.loops(*((f"i{j}", n) for j, n in enumerate(view.shape))):
                code.put(f"(({element} *)arg[{leaves + k}])[{_dense_index(value)}] = {program.point(view.buffer, code)}[{view.at(names)}];")


def _dense_index(value: Value) -> str:
    names, step, terms = [], 1, []
    for j in reversed(range(len(value.shape))):
        if j == value.batch:
            continue
        if value.shape[j] != 1:
            terms.append(f"i{j} * {step}" if step != 1 else f"i{j}")
        step *= value.shape[j]
    return " + ".join(reversed(terms)) or "0"


def _lay_out(program: Program, role: str, multiple: int) -> int:
    at = 0
    for buffer in [b for b in program.buffers if b.role == role]:
        buffer.offset = at
        at += -(-buffer.size // multiple) * multiple
    return at


def _lay_out_sums(program: Program, gradients: Sequence[Value]) -> tuple[int, dict[int, tuple[int, int, int]]]:
    """Place the sums stage by stage: what is read in later stages first, then what is a gradient alone.

    For every stage: where its sums begin, where those end that are added up at once, and where all end.
    """
    last: dict[Buffer, int] = {}
    for (stage, laned), code in program.stages.items():
        for buffer in code.buffers:
            last[buffer] = max(last.get(buffer, 0), 2 * stage + laned)
    final = {v.view.buffer for v in gradients if v.view is not None}
    at, bounds = 0, {}
    buffers = [b for b in program.buffers if b.role == "sums"]
    for stage in sorted({_stage_of(program, b) for b in buffers}):
        start = at
        own = [b for b in buffers if _stage_of(program, b) == stage]
        alone = lambda b: b in final and last[b] == 2 * stage + 1
        for buffer in sorted(own, key=alone):
            if alone(buffer) and (stage, 1) not in bounds:
                bounds[stage, 1] = at
            buffer.offset = at
            at += -(-buffer.size // 16) * 16
        bounds[stage, 0], bounds[stage, 2] = start, at
        bounds.setdefault((stage, 1), at)
    return at, {s: (bounds[s, 0], bounds[s, 1], bounds[s, 2]) for s, k in bounds if k == 0}


def _stage_of(program: Program, buffer: Buffer) -> int:
    """The stage whose blocks add to a buffer of sums."""
    return min((s for (s, laned), c in program.stages.items() if laned and buffer in c.buffers), default=0)


def _main(program: Program, gradients: Sequence[Value], bounds: dict[int, tuple[int, int, int]], first: int) -> list[str]:
    lines = [
        "static V *arenas[64];",
        "static void work(int thread) {",
        "  if (!arenas[thread]) arenas[thread] = aligned_alloc(64, sizeof(V) * ARENA);",
    ]
    final = max([0, *(s for s, _ in program.stages)])
    for stage in range(final + 1):
        if (stage, False) in program.stages:
            lines.append(f"  if (thread == 0) plain_{stage}();\n  meet();")
        if (stage, True) in program.stages:
            start, middle, end = bounds.get(stage, (0, 0, 0))
            lines.append("  for (int slot = thread; slot < SLOTS; slot += using) {")
            if end > start:
                lines.append(f"    memset(all_sums[slot] + {start}, 0, {end - start} * sizeof(real));")
            lines.append(f"    for (int block = slot; block < BLOCKS; block += SLOTS) blocks_{stage}(block, arenas[thread], all_sums[slot], block == slot);")
            lines.append("  }\n  meet();")
            for name, units, _ in program.shared.get(stage, []):
                lines.append(f"  for (int unit = {units} * thread / using; unit < {units} * (thread + 1) / using; unit++) {name}shared(unit);")
            if program.shared.get(stage):
                lines.append("  meet();")
            if middle > start:
                lines.append(f"  if (SLOTS > 1) add_up_slots({start}, {middle}, thread);\n  meet();")
    lines.append("  finish(thread);\n}")
    number = {buffer: j for j, (buffer, _) in enumerate(program.arguments)}
    units, table = 0, []
    copies = ["static void collect(int unit) {"]
    for k, value in enumerate(gradients):
        view = value.view
        assert view is not None and view.batch is None
        size = count_elements(value.shape, None)
        rows = value.shape[0] if value.shape else 1
        parts = min(rows, 16)
        slots = "SLOTS" if view.buffer.role == "sums" and view.buffer.offset >= bounds[_stage_of(program, view.buffer)][1] else "1"
        base = {"sums": "all_sums[slot]", "plain": "plain"}.get(view.buffer.role)
        base = f"(real *)arg[{number[view.buffer]}]" if base is None else f"{base} + {view.buffer.offset}"
        copies.append(f"  if (unit >= {units} && unit < {units + parts}) {{  // gradient {k}: {value.name}")
        copies.append(f"    const int from = (int)({rows}L * (unit - {units}) / {parts}), to = (int)({rows}L * (unit - {units} + 1) / {parts});")
        copies.append(f"    real *const g = gradient({k}) + (long)from * {size // rows};")
        copies.append(f"    for (int slot = 0; slot < {slots}; slot++) {{")
        copies.append(f"      const real *const x = {base} + {view.offset};")
        index = [f"i{j}" for j in range(len(value.shape))]
        loops = "".join(f"for (int i{j} = 0; i{j} < {n}; i{j}++) " for j, n in enumerate(value.shape) if j)
        dense, _ = dense_strides(value.shape, None)
        at = place(["(i0 - from)", *index[1:]], dense, 0) if index else "0"
        read = place(index, view.strides, 0)
        head = "for (int i0 = from; i0 < to; i0++) " if index else ""
        copies.append(f"      if (slot == 0) {head}{loops}g[{at}] = x[{read}];")
        copies.append(f"      else {head}{loops}g[{at}] += x[{read}];")
        copies.append("    }")
        copies.append(f"    squares[unit] = sum_of_squares(g, (long)(to - from) * {size // rows});\n  }}")
        table.append((units, parts, rows, size))
        units += parts
    copies.append("}")
    offsets, at = [], 0
    for *_, size in table:
        offsets.append(at)
        at += -(-size // 16) * 16
    many = max(len(table), 1)
    head = [
        f"#define GRADIENTS {len(table)}\n#define UNITS {units}\n#define FIRST {first}",
        f"static real own_gradients[{max(at, 16)}] __attribute__((aligned(64)));",
        f"static double squares[{max(units, 1)}];",
        f"static const long gradient_at[{many}] = {{{', '.join(map(str, offsets)) or '0'}}}, gradient_rows[{many}] = {{{', '.join(str(r) for *_, r, _ in table) or '0'}}}, gradient_sizes[{many}] = {{{', '.join(str(n) for *_, n in table) or '0'}}};",
        f"static const int unit_of[{max(units, 1)}] = {{{', '.join(str(k) for k, (_, parts, *_) in enumerate(table) for _ in range(parts)) or '0'}}}, first_unit[{many}] = {{{', '.join(str(u) for u, *_ in table) or '0'}}}, unit_parts[{many}] = {{{', '.join(str(p) for _, p, *_ in table) or '0'}}};",
        UPDATE,
    ]
    return [*head, *copies, FINISH, *lines]
