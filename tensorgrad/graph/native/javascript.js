// What the JavaScript of programs calls. The functions of numbers, s_, that are not here are made of prelude.c.
"use strict";
const STEPPED = 0, ANOTHER_BRANCH = 2, NO_SUCH_ROW = 3, TOO_LARGE = 5; // as in prelude.c
let result = STEPPED; // of the call that runs
const fround = Math.fround;

// Refuse arrays of other lengths: what lies behind the end of one would be read as NaN.
function requireSizes(name, what, arrays, sizes) {
  const found = Array.from(arrays, (x) => x.length);
  if (found.length !== sizes.length || found.some((n, k) => n !== sizes[k]))
    throw new RangeError(`${name}: expected arrays of ${sizes.join(", ")} numbers as ${what}, got ${found.join(", ")}`);
}

// Whole numbers that do not fit 32 bits are told of.
function s_to_whole(x) {
  if (x > -2147483649 && x < 2147483648) return Math.trunc(x);
  result = TOO_LARGE;
  return 0;
}
function s_add(x, y) { return s_to_whole(x + y); }
function s_sub(x, y) { return s_to_whole(x - y); }

function s_exp2(x) { return 2 ** x; }
function s_fmod(x, y) { return x % y; }
function s_pow(x, y) { return x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y; }
function s_fabs(x) { return Math.abs(x); }
function s_copysign(x, y) { return y < 0 || Object.is(y, -0) ? -Math.abs(x) : Math.abs(x); }
function s_fmax(x, y) { return x >= y || y !== y ? x : y; }
function s_fmin(x, y) { return x <= y || y !== y ? x : y; }
function s_rint(x) { // to the even one of two that are as near
  const down = Math.floor(x), over = x - down;
  const n = over < 0.5 || (over === 0.5 && down % 2 === 0) ? down : over >= 0.5 ? down + 1 : x;
  return n === 0 ? s_copysign(0, x) : n;
}
function s_ldexp(x, n) { // in parts that are numbers themselves
  const part = Math.max(-1000, Math.min(1000, n)), rest = Math.max(-1000, Math.min(1000, n - part));
  return x * 2 ** part * 2 ** rest * 2 ** Math.max(-1000, Math.min(1000, n - part - rest));
}

// erf(x) = 2/sqrt(pi) exp(-x^2) (x + 2x^3/3 + 4x^5/15 + ...), where nothing cancels.
function s_erf(x) {
  const size = Math.abs(x);
  if (!(size < 2)) return x !== x ? x : Math.sign(x) * (1 - s_erfc(size));
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
  return 1.1283791670955126 * Math.exp(-x * x) * sum;
}
// erfc(x) = exp(-x^2)/sqrt(pi) / (x + (1/2) / (x + (2/2) / (x + (3/2) / ...))), from its end.
function s_erfc(x) {
  if (!(x >= 2)) return 1 - s_erf(x);
  let below = x;
  for (let n = 80; n; n--) below = x + n / 2 / below;
  return (Math.exp(-x * x) * 0.5641895835477563) / below;
}
function s_gelu(x) { return 0.5 * x * s_erfc(-x * Math.SQRT1_2); }

// What layers do between steps, as between_steps.py tells. `random` gives numbers from 0 to less than 1.
function drawMask(mask, { keep }, random) {
  for (let i = 0; i < mask.length; i++) mask[i] = random() < keep ? 1 / keep : 0;
}
function moveRunning(runningMean, runningVariance, mean, variance, { momentum, unbiased }) {
  if (!mean.every(Number.isFinite) || !variance.every(Number.isFinite)) return; // it would be spoilt for good
  for (let i = 0; i < mean.length; i++) {
    runningMean[i] = (1 - momentum) * runningMean[i] + momentum * mean[i];
    runningVariance[i] = (1 - momentum) * runningVariance[i] + momentum * (variance[i] * unbiased);
  }
}

// Optimizers, as those of tensorgrad: options have their names and meaning.
const OPTIMIZERS = {
  MiniBatchSGD: {
    learning_rate: null, momentum: 0, dampening: 0, nesterov: false, weight_decay: 0, decoupled_weight_decay: false,
  },
  Adam: { learning_rate: 0.001, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0, amsgrad: false },
  AdamW: { learning_rate: 0.001, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, amsgrad: false },
};

// An optimizer whose `step` moves arrays of parameters against those of their gradients, in place; it gives false,
// and moves nothing, if a gradient is not finite. Its `options` may be assigned between steps.
function makeOptimizer(kind, options = {}) {
  if (!(kind in OPTIMIZERS)) throw new TypeError(`makeOptimizer: there is no ${kind}`);
  const optimizer = { kind, options: { ...OPTIMIZERS[kind], clip_value: null, clip_norm: null, ...options }, steps: 0 };
  const slots = new Map(); // of each array of parameters those that are kept for it, zeros at first
  const slot = (x, name) => {
    if (!slots.has(x)) slots.set(x, {});
    return (slots.get(x)[name] ??= new x.constructor(x.length));
  };
  const move = kind === "MiniBatchSGD" ? descend : adapt;
  optimizer.step = (parameters, gradients) => {
    requireSizes(kind, "gradients", gradients, Array.from(parameters, (x) => x.length));
    requireOptions(optimizer);
    if (!gradients.every((g) => g.every(Number.isFinite))) return false;
    const factor = clipFactor(gradients, optimizer.options), limit = optimizer.options.clip_value ?? Infinity;
    optimizer.steps += 1;
    parameters.forEach((x, k) => {
      const each = gradients[k], clipped = (i) => factor * Math.max(-limit, Math.min(limit, each[i]));
      move(optimizer, x, clipped, slots.get(x)?.velocity === undefined, (name) => slot(x, name));
    });
    return true;
  };
  requireOptions(optimizer);
  return optimizer;
}

function requireOptions({ kind, options }) {
  const known = { ...OPTIMIZERS[kind], clip_value: null, clip_norm: null };
  const one = (x) => typeof x === "number" && x >= 0 && x < Infinity, part = (x) => one(x) && x < 1;
  const above = (x) => one(x) && x > 0, flag = (x) => typeof x === "boolean", maybe = (x) => x === null || above(x);
  const pair = (x) => Array.isArray(x) && x.length === 2 && x.every(part);
  const checks = {
    learning_rate: one, momentum: part, dampening: part, nesterov: flag, weight_decay: one, decoupled_weight_decay: flag,
    betas: pair, eps: above, amsgrad: flag, clip_value: maybe, clip_norm: maybe,
  };
  for (const [name, x] of Object.entries(options)) {
    if (!(name in known)) throw new TypeError(`${kind}: there is no option ${name}`);
    if (!checks[name](x)) throw new RangeError(`${kind}: ${name} cannot be ${x}`);
  }
  for (const name of ["nesterov", "dampening"])
    if (options[name] && !options.momentum) throw new RangeError(`${kind}: ${name} needs a momentum above 0`);
}

// What gradients are scaled by after they were clipped by value, so that the norm of all of them is at most clip_norm.
function clipFactor(gradients, { clip_value, clip_norm }) {
  if (clip_norm === null) return 1;
  const limit = clip_value ?? Infinity;
  let top = 0, sum = 0; // scaled by the largest, squares are neither lost nor too large
  for (const g of gradients) for (const x of g) top = Math.max(top, Math.min(Math.abs(x), limit));
  for (const g of gradients) for (const x of g) sum += top && (Math.min(Math.abs(x), limit) / top) ** 2;
  return Math.min(1, clip_norm / (top * Math.sqrt(sum) + 1e-6));
}

function descend({ options: o }, x, gradient, first, slot) {
  const shrink = o.decoupled_weight_decay ? 1 - o.learning_rate * o.weight_decay : 1;
  const decay = o.decoupled_weight_decay ? 0 : o.weight_decay, keep = first ? 1 : 1 - o.dampening;
  const velocity = o.momentum ? slot("velocity") : null;
  for (let i = 0; i < x.length; i++) {
    let g = gradient(i) + decay * x[i];
    if (velocity) {
      velocity[i] = o.momentum * velocity[i] + keep * g;
      g = o.nesterov ? g + o.momentum * velocity[i] : velocity[i];
    }
    x[i] = shrink * x[i] - o.learning_rate * g;
  }
}

function adapt({ kind, options: o, steps }, x, gradient, first, slot) {
  const decoupled = kind === "AdamW", [b1, b2] = o.betas;
  const shrink = decoupled ? 1 - o.learning_rate * o.weight_decay : 1, decay = decoupled ? 0 : o.weight_decay;
  const mean = slot("mean"), square = slot("square"), largest = o.amsgrad ? slot("largest_square") : square;
  const root = Math.sqrt(1 - b2 ** steps), rate = (o.learning_rate * root) / (1 - b1 ** steps);
  for (let i = 0; i < x.length; i++) {
    const g = gradient(i) + decay * x[i];
    mean[i] = b1 * mean[i] + (1 - b1) * g;
    square[i] = b2 * square[i] + (1 - b2) * g * g;
    largest[i] = Math.max(largest[i], square[i]);
    x[i] = shrink * x[i] - (rate * mean[i]) / (Math.sqrt(largest[i]) + o.eps * root);
  }
}
