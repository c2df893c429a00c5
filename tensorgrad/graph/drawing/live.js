// The live mode of the player: other numbers for leaves, and all that follows from them, by `engine`.
"use strict";
const live = walk.live, typed = { f: Float32Array, d: Float64Array, i: Int32Array, b: Int32Array };
const given = live.given.map(([kind, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new typed[kind](bytes.buffer);
});
const recorded = given.map((x) => x.slice());
const made = live.made.map(({ kind, shape }) => new typed[kind](shape.reduce((a, b) => a * b, 1)));
const PRINTED = 48; // numbers of an array that are shown, as in values.py
let changed = false, texts = [], painted = [];

// Numbers as Python's format writes them with `digits` digits, and as its repr does with six.
function brief(x, digits = 4) {
  if (!Number.isFinite(x)) return x !== x ? "nan" : x > 0 ? "inf" : "-inf";
  const [, exponent] = x.toExponential(digits - 1).split("e"), trim = (text) => text.replace(/\.?0+$/, "");
  if (exponent >= -4 && exponent < digits) {
    const text = x.toFixed(digits - 1 - exponent);
    return text.includes(".") ? trim(text) : text;
  }
  const [mantissa] = x.toExponential(digits - 1).split("e"), size = String(Math.abs(exponent)).padStart(2, "0");
  return `${mantissa.includes(".") ? trim(mantissa) : mantissa}e${exponent < 0 ? "-" : "+"}${size}`;
}
function number(x) {
  const value = Number(brief(x, 6));
  if (!Number.isFinite(x) || Math.abs(value) >= 1e16 || (value && Math.abs(value) < 1e-4)) return brief(x, 6);
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
// A small array as NumPy prints it in lines of 50; a large one by its range, mean and norm.
function long(x, { kind, shape }) {
  const whole = { i: String, b: (n) => (n ? "True" : "False") }[kind];
  if (!shape.length) return (whole ?? number)(x[0]);
  if (x.length <= PRINTED) return nest(x, shape, whole ?? ((n) => brief(n)), 0, " ", 50);
  const many = `${x.length.toLocaleString("en")} values`, lost = x.filter((n) => !Number.isFinite(n)).length;
  if (kind === "b") return many;
  if (lost) return `${many}, ${lost.toLocaleString("en")} of them not finite`;
  const fold = (f, start) => x.reduce((a, b) => f(a, b), start), mean = fold((a, b) => a + b, 0) / x.length;
  const range = `from ${brief(fold(Math.min, Infinity))} to ${brief(fold(Math.max, -Infinity))}`;
  return `${many} ${range}, mean ${brief(mean)}, norm ${brief(Math.sqrt(fold((a, b) => a + b * b, 0)))}`;
}
function nest(x, [length, ...rest], word, start, indent, width) {
  const step = rest.reduce((a, b) => a * b, 1), all = Array.from({ length }, (_, i) => start + i * step);
  if (rest.length) {
    const parts = all.map((place) => indent + nest(x, rest, word, place, indent + " ", width - 1));
    return `[${parts.join("," + "\n".repeat(rest.length)).slice(indent.length)}]`;
  }
  let text = "", row = indent;
  for (const [i, place] of all.entries()) {
    const next = word(x[place]);
    if (row.length + next.length > width - 1 && row.length > indent.length) {
      text += row.trimEnd() + "\n";
      row = indent;
    }
    row += next + (i < length - 1 ? ", " : "");
  }
  return `[${(text + row).slice(indent.length)}]`;
}

// The tiles of an array, as pictures.py cuts them, with its numbers of now.
function repaint(picture, x, shape) {
  const [, rows, columns, channels] = picture.filters ? [0, shape[2], shape[3], shape[1]] : shape;
  const step = Math.ceil(Math.max(rows, columns) / 32), tones = [];
  for (let tile = 0; tile < picture.count; tile++)
    for (let i = 0; i < rows; i += step)
      for (let j = 0; j < columns; j += step)
        tones.push(x[picture.filters ? (tile * channels * rows + i) * columns + j : (i * columns + j) * channels + tile]);
  const finite = tones.map(Math.abs).filter(Number.isFinite), top = finite.reduce((a, b) => Math.max(a, b), 0) || 1;
  const bytes = Int8Array.from(tones, (tone) => (Number.isFinite(tone) ? Math.round((127 * tone) / top) : -128));
  return { ...picture, address: undefined, top: brief(top), tones: bytes };
}

valueOf = (entry) => {
  if (!changed || entry.made === undefined) return entry.value;
  return (texts[entry.made] ??= long(made[entry.made], live.made[entry.made]));
};
pictureOf = (entry) => {
  const picture = pictures[entry.picture], k = entry.made;
  if (!changed || k === undefined) return picture;
  return (painted[k] ??= repaint(picture, made[k], live.made[k].shape));
};

// What can be changed: an element of a leaf, in the field, on the slider or by dragging its node to and fro.
const section = document.createElement("section");
section.id = "live";
by("panel").after(section);
section.innerHTML = `<h3>Change a number</h3>
  <p><select id="leaf" aria-label="Of which tensor"></select> <span id="places"></span></p>
  <p><input id="number" type="number" aria-label="Its value">
    <input id="drag" type="range" aria-label="Drag its value"> <button id="recorded" disabled>As recorded</button></p>
  <p id="told" role="status">or drag a node that is given, to and fro</p>`;
if (live.decided.length) {
  add(section, "p", `Kept as recorded, whatever the numbers are now: the conditions in ${live.decided.join(", ")}.`).id = "kept";
}
by("panel").setAttribute("aria-live", "off"); // it would be read out at every move
let leaf = null, places = [];
const element = () => leaf.shape.reduce((place, length, axis) => place * length + places[axis], 0);
const size = (x) => x.reduce((most, n) => (Number.isFinite(n) ? Math.max(most, Math.abs(n)) : most), 0) || 1;

function choose(next) {
  [leaf, places] = [next, next.shape.map(() => 0)];
  by("leaf").value = live.leaves.indexOf(leaf);
  by("places").replaceChildren();
  leaf.shape.forEach((length, axis) => {
    const field = add(by("places"), "input");
    Object.assign(field, { type: "number", min: 0, max: length - 1, value: 0, disabled: length === 1 });
    field.setAttribute("aria-label", `Index along axis ${axis}`);
    field.addEventListener("input", () => {
      if (!field.validity.valid || field.value === "") return;
      places[axis] = +field.value;
      offer();
    });
  });
  offer();
}
function offer() { // the element that is chosen
  const x = given[leaf.given], value = x[element()], range = 2 * Math.max(size(recorded[leaf.given]), Math.abs(value));
  const step = leaf.whole ? 1 : 10 ** Math.floor(Math.log10(range / 20));
  const ends = leaf.whole ? [-Math.ceil(range), Math.ceil(range)] : [-range, range];
  Object.assign(by("drag"), { min: ends[0], max: ends[1], step: leaf.whole ? 1 : range / 400 });
  by("number").step = step;
  by("drag").value = value;
  by("number").value = leaf.whole ? value : Number(value.toPrecision(7));
}
function change(value) {
  const x = given[leaf.given], place = element(), before = x[place];
  x[place] = value;
  const refused = compute();
  if (refused) {
    x[place] = before;
    compute();
  }
  refresh(refused && `${leaf.title} cannot be ${value}: ${refused}`);
  return !refused;
}
function compute() {
  const reasons = {
    [ANOTHER_BRANCH]: "the function would do something else than what was recorded",
    [NO_SUCH_ROW]: "it is an index, and out of range", [TOO_LARGE]: "a whole number is too large",
  };
  const result = engine(given, made);
  return result && reasons[result];
}
function refresh(refused) {
  changed = given.some((x, k) => x.some((n, i) => !Object.is(n, recorded[k][i])));
  [texts, painted] = [[], []];
  for (const [name, image] of Object.entries(images)) image.setAttribute("href", paint(pictureOf(nodes[name])));
  draw();
  by("recorded").disabled = !changed;
  by("told").textContent = refused || `${nodes[live.output].title}: ${line(valueOf(nodes[live.output]))}`;
  by("told").className = refused ? "refused" : "";
}

live.leaves.forEach((each, k) => { add(by("leaf"), "option", each.title).value = k; });
by("leaf").addEventListener("input", (event) => choose(live.leaves[event.target.value]));
by("number").addEventListener("input", () => {
  const value = by("number").valueAsNumber;
  if (Number.isFinite(value) && (!leaf.whole || Number.isInteger(value)) && change(value)) by("drag").value = value;
});
by("drag").addEventListener("input", () => {
  change(+by("drag").value);
  const value = given[leaf.given][element()];
  by("number").value = leaf.whole ? value : Number(value.toPrecision(4));
});
by("recorded").addEventListener("click", () => {
  given.forEach((x, k) => x.set(recorded[k]));
  compute();
  refresh();
  offer();
});
for (const each of live.leaves) {
  const g = figures[each.node];
  if (!g) continue;
  g.classList.add("live");
  g.addEventListener("pointerdown", (event) => {
    if (leaf !== each) choose(each);
    const from = event.clientX, start = given[each.given][element()], range = +by("drag").max;
    g.setPointerCapture(event.pointerId);
    const move = ({ clientX }) => {
      const value = start + ((clientX - from) / 200) * range;
      change(each.whole ? Math.round(value) : value);
      offer();
      hide();
    };
    g.addEventListener("pointermove", move);
    g.addEventListener("lostpointercapture", () => g.removeEventListener("pointermove", move), { once: true });
  });
  g.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    choose(each);
    by("number").focus();
  });
}
if (live.leaves.length) choose(live.leaves[0]);
