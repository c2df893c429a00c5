"""The text of a compiled program in C: what stands before it, its functions, and who runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.graph.native.plan import Buffer, Value, View, count_elements, place_in_arena
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
int step(void **arguments, int threads) {
  arg = arguments;
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


def write(program: Program, outputs: Sequence[tuple[str, Value]], gradients: Sequence[Value], slots: int) -> tuple[str, dict[str, Any]]:
    """The whole text, and what the caller must know: how many arguments of which kind there are, in order.

    Arguments are the leaves, then an array for each output, then one for each gradient.
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
    sums = _lay_out(program, "sums", 16)
    last = max((s for s, _ in program.stages), default=0)
    bounds = _bounds(program, last)
    out = [prelude(program)]
    out.append(f"#define SAMPLES {program.samples or 0}\n#define BLOCKS {program.blocks}\n#define SLOTS {slots}")
    out.append(f"#define ARENA {max(arena, 1)}\n#define KEPT {max(kept, 1)}\n#define PLAIN {max(plain, 16)}\n#define SUMS {max(sums, 16)}")
    out.append("static real plain[PLAIN] __attribute__((aligned(64)));\nstatic real all_sums[SLOTS][SUMS] __attribute__((aligned(64)));")
    out.append("static V *all_kept;\nstatic int result;")
    out.append(WORKERS)
    out += program.functions.values()
    leaves = len(program.arguments)
    stores: dict[int, list[str]] = {}
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
    out += _main(program, gradients, bounds, last, leaves + len(outputs))
    return "\n".join(out) + "\n", {"arguments": program.arguments}


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
    buffers = [b for b in program.buffers if b.role == role]
    if role == "sums":
        buffers.sort(key=lambda b: _stage_of(program, b))
    for buffer in buffers:
        buffer.offset = at
        at += -(-buffer.size // multiple) * multiple
    return at


def _stage_of(program: Program, buffer: Buffer) -> int:
    """The stage whose blocks add to a buffer of sums."""
    return min((s for (s, laned), c in program.stages.items() if laned and buffer in c.buffers), default=0)


def _bounds(program: Program, last: int) -> dict[int, tuple[int, int]]:
    """For every stage the part of the sums that its blocks add to."""
    found: dict[int, tuple[int, int]] = {}
    for buffer in program.buffers:
        if buffer.role == "sums":
            stage = _stage_of(program, buffer)
            low, high = found.get(stage, (buffer.offset, buffer.offset))
            found[stage] = min(low, buffer.offset), max(high, buffer.offset + -(-buffer.size // 16) * 16)
    return found


def _main(program: Program, gradients: Sequence[Value], bounds: dict[int, tuple[int, int]], last: int, first: int) -> list[str]:
    lines = [
        "static V *arenas[64];",
        "static void work(int thread) {",
        "  if (!arenas[thread]) arenas[thread] = aligned_alloc(64, sizeof(V) * ARENA);",
    ]
    final = max([last, *(s for s, _ in program.stages)])
    for stage in range(final + 1):
        if (stage, False) in program.stages:
            lines.append(f"  if (thread == 0) plain_{stage}();\n  meet();")
        if (stage, True) in program.stages:
            low, high = bounds.get(stage, (0, 0))
            lines.append("  for (int slot = thread; slot < SLOTS; slot += using) {")
            if high > low:
                lines.append(f"    memset(all_sums[slot] + {low}, 0, {high - low} * sizeof(real));")
            lines.append(f"    for (int block = slot; block < BLOCKS; block += SLOTS) blocks_{stage}(block, arenas[thread], all_sums[slot], block == slot);")
            lines.append("  }\n  meet();")
            if high > low:
                lines.append(f"  for (long i = {low} + {high - low}L / 16 * thread / using * 16, end = {low} + {high - low}L / 16 * (thread + 1) / using * 16; SLOTS > 1 && i < end; i++)")
                lines.append("    for (int slot = 1; slot < SLOTS; slot++) all_sums[0][i] += all_sums[slot][i];")
                lines.append("  meet();")
    for k, value in enumerate(gradients):
        view = value.view
        assert view is not None and view.batch is None
        base = {"sums": "all_sums[0]", "plain": "plain"}.get(view.buffer.role)
        number = {buffer: j for j, (buffer, _) in enumerate(program.arguments)}
        base = f"(real *)arg[{number[view.buffer]}]" if base is None else f"{base} + {view.buffer.offset}"
        shape = view.shape or (1,)
        strides = view.strides or (0,)
        head, *rest = shape
        inner = 1
        for n in rest:
            inner *= n
        lines.append(f"  {{ real *to = arg[{first + k}]; const real *from = {base};  // gradient of {value.name}")
        names = [f"i{j}" for j in range(len(shape))]
        text = place(names, strides, view.offset)
        dense, step = [], 1
        for j in reversed(range(len(shape))):
            dense.append(f"i{j} * {step}")
            step *= shape[j]
        loops = "".join(f"for (int i{j} = 0; i{j} < {n}; i{j}++) " for j, n in enumerate(shape) if j)
        lines.append(f"  for (int i0 = (int)({head}L * thread / using); i0 < (int)({head}L * (thread + 1) / using); i0++) {loops}to[{' + '.join(dense)}] = from[{text}]; }}")
    lines.append("}")
    return [line for line in lines if line]
