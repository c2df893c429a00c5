// Gradients are taken from where they lie, and a step is made of them.
struct gradient {
  const char *name;
  const real *source;               // where it begins in the program's memory
  int leaf;                         // if it does not, the argument of the caller that it is in
  int slots;                        // that hold a part of it each,
  long slot_step;                   // so far from one another
  long offset, row_step, steps[2];  // the steps of its rows, and of two loops in a row
  long rows, lengths[2];
  long at;                          // its place in own_gradients
  int stays;                        // whether it is as wanted where it lies
};
static const struct gradient gradients[GRADIENTS];
static real own_gradients[ROOM] ALIGNED;
static double squares[2][UNITS], scale;  // as gradients are, and clipped by value; by the norm

// The work on gradients is shared in units, each of some elements in rows of one: those of all beginnings, then of all
// that follows, as threads share the rows of each.
struct unit { int k; long from, to; };
static const struct unit units[UNITS];
static real *find_gradient(int k) {
  const struct gradient *g = &gradients[k];
  if (mode <= 0) return (real *)arg[FIRST + k + (mode ? 1 + 5 * GRADIENTS : 0)];
  return g->stays ? (real *)g->source + g->offset : own_gradients + g->at;
}

// In single precision squares overflow where numbers do not, and are soon 0: then it is done again in double.
static double sum_of_squares(const real *x, long n) {
  U sum = {0};
  long i = 0;
  for (; i + LANES <= n; i += LANES) {
    const U v = *(const U *)(x + i);
    sum += v * v;
  }
  double total = 0;
  for (; i < n; i++) total += (double)x[i] * x[i];
  for (int l = 0; l < LANES; l++) total += sum[l];
#if SINGLE
  if (total < n * 1e-30 || !(total < INFINITY)) for (i = 0, total = 0; i < n; i++) total += (double)x[i] * x[i];
#endif
  return total;
}

// A unit of a gradient, row by row, from the memory of the program or the caller; what slots hold is added up.
// For an update it is clipped by value at once.
static void collect(int unit, int thread) {
  const struct unit part = units[unit];
  if (part.from == part.to || (mode && !arg[FIRST + 1 + 5 * part.k])) return;  // it may be nowhere by now
  const struct gradient *g = &gradients[part.k];
  real *const to = find_gradient(part.k) + part.from;
  const long each = g->lengths[0] * g->lengths[1], first = part.from / each, rows = (part.to - part.from) / each;
  for (int slot = 0; slot < g->slots && !(mode < 0 || (mode && g->stays)); slot++) {
    const real *const from = (g->source ? g->source + slot * g->slot_step : (const real *)arg[g->leaf]) + g->offset;
    for (long row = 0; row < rows; row++) {
      for (long i = 0; i < g->lengths[0]; i++) {
        const long n = g->lengths[1], step = g->steps[1];
        const real *const x = from + (first + row) * g->row_step + i * g->steps[0];
        real *const y = to + row * each + i * n;
        if (slot) for (long j = 0; j < n; j++) y[j] += x[j * step];
        else if (step == 1) memcpy(y, x, n * sizeof(real));
        else for (long j = 0; j < n; j++) y[j] = x[j * step];
      }
    }
  }
  if (!mode) return;
  const long n = part.to - part.from;
  const real limit = ((const double *)arg[FIRST])[1];
  squares[0][unit] = squares[1][unit] = sum_of_squares(to, n);
  if (!(limit < INFINITY)) return;
  for (long i = 0; i < n; i++) to[i] = s_max(s_min(to[i], limit), -limit);
  squares[1][unit] = sum_of_squares(to, n);
}

// A step of gradient descent, of elements of a parameter; options: rate, momentum, dampening, nesterov, decay,
// decoupled, first, and the factor of clipping by norm.
static void descend(real *restrict p, real *restrict v, const real *restrict g, long n, const double *o) {
  const real rate = o[0], momentum = o[1], keep = 1 - o[2], decay = o[4], shrink = 1 - o[0] * o[4], scale = o[7];
  const int nesterov = o[3] != 0, decoupled = o[5] != 0, first = o[6] != 0;
  for (long i = 0; i < n; i++) {
    real x = g[i] * scale, w = p[i];
    if (decay != 0 && decoupled) w *= shrink;
    else if (decay != 0) x += w * decay;
    if (momentum != 0) {
      v[i] = v[i] * momentum + (first ? x : x * keep);
      x = nesterov ? v[i] * momentum + x : v[i];
    }
    p[i] = w - x * rate;
  }
}

// A step of Adam; options: rate, first beta, second beta, eps, decay, decoupled, steps before this, and the factor.
static void adapt(
  real *restrict p, real *restrict mean, real *restrict square, real *restrict largest, const real *restrict g, long n,
  const double *o
) {
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
    p[i] = w - mean[i] / (F(sqrt)(under) + eps) * rate;
  }
}

// A unit of the parameter of a gradient: arguments are its values, three arrays of its optimizer, and options.
static void update(int unit, int thread) {
  if (result) return;
  const struct unit part = units[unit];
  void **const its = arg + FIRST + 1 + 5 * part.k;
  if (!its[0]) return;  // no parameter of the optimizer
  double options[8];
  memcpy(options, its[4], 7 * sizeof(double));
  options[7] = scale;
  const real *const g = find_gradient(part.k) + part.from;
  real *x[4];
  for (int j = 0; j < 4; j++) x[j] = its[j] ? (real *)its[j] + part.from : 0;
  if (mode < 0) feclearexcept(FE_ALL_EXCEPT);
  if (abs(mode) == 1) descend(x[0], x[1], g, part.to - part.from, options);
  else adapt(x[0], x[1], x[2], x[3], g, part.to - part.from, options);
  if (mode >= 0) return;
  const int found = fetestexcept(FE_ALL_EXCEPT);  // numbered as by NumPy
  const int told = (found & FE_DIVBYZERO ? 1 : 0) + (found & FE_OVERFLOW ? 2 : 0) + (found & FE_INVALID ? 8 : 0);
  if (told) atomic_fetch_or(&troubles, TROUBLES | told);
}

// Whether a step is made, not of what is not finite, nor of such a loss; and the factor of clipping by norm.
static void decide(int task, int thread) {
  double totals[2] = {0};  // of the gradients of which a step is made
  for (int unit = 0; unit < UNITS; unit++)
    for (int k = 0; k < 2; k++) if (arg[FIRST + 1 + 5 * units[unit].k]) totals[k] += squares[k][unit];
  const double limit = *(const double *)arg[FIRST];
  scale = limit > 0 ? fmin(limit / (sqrt(totals[1]) + 1e-6), 1) : 1;
  if (!result && !(totals[0] < INFINITY && (mode < 0 || isfinite(*(real *)arg[0])))) result = NOT_FINITE;
}
