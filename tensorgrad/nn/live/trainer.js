"use strict";
// The training itself, without a page: it runs in a worker, or in slices beside the page, or in Node.
// `programs` gives by its name a function that makes one; what else it calls is in the prelude of programs.

// Numbers from 0 to 1 by a seed (mulberry32), so that a reset begins the same training again.
function makeRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const ARRAYS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array };
function decode({ kind, base64, levels }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  if (!levels) return new ARRAYS[kind](bytes.buffer);
  const table = decode(levels); // few different numbers: each by its place in a table
  return table.constructor.from(bytes, (place) => table[place]);
}
const sizeOf = (shape) => shape.reduce((product, n) => product * n, 1);

// Outputs as shares of classes, as far as the loss or the last layer tells that they are that.
function sharesOf(output, { kind, scale }) {
  if (kind === "two") {
    const p = scale === "logits" ? 1 / (1 + Math.exp(-output[0])) : output[0];
    return [1 - p, p];
  }
  if (scale !== "logits") return Array.from(output);
  const top = Math.max(...output), powers = Array.from(output, (z) => Math.exp(z - top));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

class Trainer {
  constructor(scene, programs, makeOptimizer, post) {
    Object.assign(this, { scene, programs, makeOptimizer, post });
    this.x = decode(scene.x);
    this.y = decode(scene.y);
    this.labels = scene.labels ? decode(scene.labels) : this.y;
    this.rows = [0, 1].map((part) => (part ? scene.rows : scene.trained) - (part ? scene.trained : 0));
    this.initial = { parameters: scene.parameters.map(decode), buffers: scene.buffers.map(decode) };
    this.constants = scene.constants.map(decode);
    this.parameters = this.initial.parameters.map((array) => array.slice());
    this.buffers = this.initial.buffers.map((array) => array.slice());
    this.bound = {};
    this.options = { ...scene.optimizer.options };
    this.batch = scene.batch;
    this.speed = scene.speed;
    this.example = scene.trained < scene.rows ? scene.trained : 0;
    this.due = {};
    this.playing = false;
    this.shown = true;
    this.reset();
  }

  // What the page asks for

  reset() {
    this.parameters.forEach((array, i) => array.set(this.initial.parameters[i]));
    this.buffers.forEach((array, i) => array.set(this.initial.buffers[i]));
    this.optimizer = this.makeOptimizer(this.scene.optimizer.kind, this.permitted());
    this.randomOrder = makeRandom(this.scene.seed);
    this.randomDraws = makeRandom(this.scene.seed + 1);
    this.order = [];
    this.steps = this.seen = 0;
    this.problem = "";
    this.history = [];
    this.forget();
    this.frame(true);
  }
  play(playing) {
    this.playing = playing;
    this.owed = 0;
    this.last = performance.now();
    this.mark = [this.last, this.steps];
    if (!playing) this.frame(true);
  }
  advance(count) {
    for (let i = 1; i <= count && this.step(); i++) if (count > 1 && i % Math.ceil(count / 60) === 0) this.evaluate();
    this.frame(true);
  }
  set(name, value) {
    if (name === "batch" || name === "speed") this[name] = value;
    else {
      this.options = { ...this.options, [name]: value };
      this.optimizer.options = this.permitted();
    }
  }
  // Without a momentum there is neither Nesterov's nor its dampening.
  permitted() {
    return this.options.momentum === 0 ? { ...this.options, nesterov: false, dampening: 0 } : this.options;
  }
  edit(parameter, place, value) {
    this.parameters[parameter][place] = value;
    this.problem = "";
    this.frame(true);
  }
  look(example) {
    this.example = example;
    this.frame(true, true);
  }

  // Programs

  bind(name) {
    if (this.bound[name]) return this.bound[name];
    const { given, made, draws, ...told } = this.scene.programs[name], real = ARRAYS[this.scene.real];
    const array = ({ whole, shape }) => new (whole ? Int32Array : real)(sizeOf(shape));
    const bound = { ...told, run: this.programs[name](), made: made.map(array), inputs: {}, drawn: {} };
    bound.given = given.map(({ from, place, ...like }) => {
      if (from in this) return this[from][place]; // parameters, buffers, constants
      return (bound[from][place] = array(like));
    });
    bound.draws = draws.map((draw, i) => ({ ...draw, mask: bound.drawn[i] ?? [] }));
    return (this.bound[name] = bound);
  }
  // Call a program with some rows of the data.
  run(bound, rows) {
    const { x, y } = bound.inputs;
    for (const [from, to] of [[this.x, x], [this.y, y]]) {
      const wide = to ? to.length / rows.length : 0;
      for (let i = 0; to && i < rows.length; i++) {
        to.set(from.subarray(rows[i] * wide, (rows[i] + 1) * wide), i * wide);
      }
    }
    return this.call(bound);
  }
  call(bound) {
    if (!bound.run(bound.given, bound.made)) return true;
    this.problem ||= "A decision by a value, or an index, came out otherwise than when the page was made: these " +
      "are not the numbers of the network. Reset begins anew.";
    return (this.playing = false);
  }

  // Steps

  takeRows(count) {
    const rows = [];
    while (rows.length < count) {
      if (!this.order.length) { // the next epoch, in an order of its own
        this.order = Array.from({ length: this.scene.trained }, (_, i) => i);
        for (let i = this.order.length - 1; i > 0; i--) {
          const j = Math.floor(this.randomOrder() * (i + 1));
          [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
        }
      }
      rows.push(this.order.pop());
    }
    return rows;
  }
  step() {
    if (this.problem) return false;
    const bound = this.bind(`step_${this.batch}`), rows = this.takeRows(this.batch);
    this.draw(bound);
    const computed = this.run(bound, rows), [loss, output] = bound.made;
    const of = (list, places) => places.map((i) => list[i]);
    if (computed && (!Number.isFinite(loss[0]) ||
      !this.optimizer.step(of(this.parameters, this.scene.optimizer.trained), of(bound.made, bound.gradients)))) {
      this.problem = "The loss or a gradient is not finite, and nothing was changed. A smaller learning rate " +
        "usually helps; Reset begins anew.";
    }
    if (this.problem) return (this.playing = false);
    for (const { output, buffers, ...options } of bound.reports) {
      moveRunning(...of(this.buffers, buffers), ...bound.made.slice(output, output + 2), options);
    }
    this.steps += 1;
    this.seen += this.batch;
    this.tally.loss += this.scene.target.summed ? loss[0] : loss[0] * this.batch;
    this.tally.right += rows.filter((row, i) => this.isRight(output, row, i)).length;
    this.tally.rows += this.batch;
    return true;
  }
  draw({ draws }) {
    for (const { mask, ...options } of draws) drawMask(mask, options, this.randomDraws);
  }
  isRight(output, row, place) {
    const { kind, scale } = this.scene.target, { outputs } = this.scene;
    if (kind === "values") return false;
    const own = output.subarray(place * outputs, (place + 1) * outputs);
    return (kind === "two" ? +(own[0] > (scale === "logits" ? 0 : 0.5)) : argmax(own)) === this.labels[row];
  }
  forget() { this.tally = { loss: 0, right: 0, rows: 0 }; }

  // What is shown

  evaluate() {
    const { trained, rows, target } = this.scene, bound = this.bind("evaluate");
    const start = trained < rows ? trained : 0, wrong = [], count = Math.min(this.scene.measured, rows - start);
    let total = 0, right = 0;
    for (let i = 0; i < count; i++) { // of many that take long some, from everywhere
      const row = start + Math.floor((i * (rows - start)) / count);
      this.run(bound, [row]);
      const [loss, output] = bound.made;
      total += loss[0];
      if (target.kind === "values") wrong.push({ row, loss: loss[0], output: Array.from(output) });
      else if (this.isRight(output, row, 0)) right += 1;
      else {
        const shares = sharesOf(output, target), read = argmax(shares);
        wrong.push({ row, read, share: shares[read], loss: loss[0] });
      }
    }
    wrong.sort((a, b) => (target.kind === "values" ? b.loss - a.loss : b.share - a.share));
    const figures = { loss: total / count, right: right / count };
    this.evaluation = { total, right, count, mistakes: count - right, worst: wrong.slice(0, 12) };
    if (trained === rows) this.point = { step: this.steps, ...this.own(figures) };
    else this.point = { step: this.steps, ...this.own({}), heldLoss: figures.loss, heldRight: figures.right };
    const last = this.history.at(-1);
    if (last && last.step === this.steps) this.history.pop();
    this.history.push(this.point);
    if (this.history.length > 600) this.history = this.history.filter((_, i) => i % 2 === 0 || i > 500);
    this.forget();
  }
  // The loss of the steps since the last point; before the first, and after a change by hand, of none.
  own({ loss, right }) {
    const { tally } = this;
    if (tally.rows) return { loss: tally.loss / tally.rows, right: tally.right / tally.rows };
    return loss === undefined ? { loss: this.point?.loss, right: this.point?.right } : { loss, right };
  }
  // The outputs of every layer over the plane or line of the inputs, a row of points at once.
  survey() {
    const { grid: { range: [low, high], across }, inputs } = this.scene, down = inputs === 2 ? across : 1;
    const bound = this.bind("layers"), { x } = bound.inputs;
    this.surface = bound.made.map((array) => new Float32Array(array.length * down));
    for (let j = 0; j < down; j++) {
      for (let i = 0; i < across; i++) {
        x[i * inputs] = low[0] + ((high[0] - low[0]) * i) / (across - 1);
        if (inputs === 2) x[i * 2 + 1] = high[1] - ((high[1] - low[1]) * j) / (down - 1);
      }
      this.call(bound);
      bound.made.forEach((array, k) => this.surface[k].set(array, j * array.length));
    }
  }
  // Something that takes time is done where it has taken less than a fifth of the time so far.
  afford(what, must) {
    const begun = performance.now();
    if (!must && begun < (this.due[what] ?? 0)) return;
    this[what]();
    this.due[what] = begun + 33 + 5 * (performance.now() - begun);
  }
  frame(must = false, same = false) {
    if (!must && !this.shown) return; // the page has not drawn the last one yet
    if (!same) this.afford("evaluate", must);
    if (this.scene.grid && !same) this.afford("survey", must);
    const walk = this.bind("walk"), now = performance.now();
    this.run(walk, [this.example]);
    if (this.playing && now - this.mark[0] > 500) {
      this.rate = ((this.steps - this.mark[1]) / (now - this.mark[0])) * 1000;
      this.mark = [now, this.steps];
    }
    this.shown = false;
    const { parameters, surface, evaluation, history, example, steps, seen, problem, playing, rate } = this;
    this.post({
      parameters, surface, evaluation, history, example, steps, seen, problem, playing, rate, walk: walk.made,
    });
  }
  // A slice of time; the milliseconds to wait before the next.
  slice(length) {
    if (!this.playing) return 20;
    const begun = performance.now();
    this.owed = Math.min(this.owed + ((begun - this.last) * this.speed) / 1000, this.speed / 10 + 1);
    this.last = begun;
    while (this.owed >= 1 && this.step() && performance.now() - begun < length) this.owed -= 1;
    this.frame(!this.playing);
    return this.owed >= 1 ? 0 : 4;
  }
}

// Let a trainer serve a page: `receive` takes [method, ...arguments], or "shown" when a frame was drawn.
function serve(trainer, length) {
  let timer;
  const turn = () => (timer = setTimeout(turn, trainer.slice(length)));
  turn();
  const receive = ([method, ...rest]) => (method === "shown" ? (trainer.shown = true) : trainer[method](...rest));
  return { receive, end: () => clearTimeout(timer) };
}
// In a worker: the first message is the scene, the others are for the trainer.
function awaitScene() {
  let served;
  onmessage = ({ data }) => {
    if (served) return served.receive(data);
    served = serve(new Trainer(data, programs, makeOptimizer, (frame) => postMessage(frame)), 30);
  };
}
