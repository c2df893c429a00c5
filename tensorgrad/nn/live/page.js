"use strict";
const by = (id) => document.getElementById(id), scenes = JSON.parse(by("scenes").textContent);
const PALETTE = ["#1374b8", "#d9740b", "#009e73", "#c44e9b", "#8a6d00", "#7b52ab", "#b3261e", "#3b8f8f", "#6b7280", "#9a6b3f"];
let scene, data, tell = () => {}, frame = null, chosen = null, drawn = true, stop = () => {}, colours, told = 0;
let refresh = { network: [], inspector: [], output: [] }; // what follows each frame, made with what it follows

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};
const write = (x) => (x === undefined || x === null ? "–" : Number.isFinite(x) ? String(+x.toPrecision(4)) : String(x)).replace("-", "−");
const percent = (x) => `${(100 * x).toFixed(x > 0.9995 || x < 0.0005 ? 0 : 1)} %`;
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const css = (color) => `rgb(${color.map(Math.round).join()})`;
const mix = (a, b, share) => a.map((from, k) => from + (b[k] - from) * share);
const largest = (values) => values.reduce((top, x) => Math.max(top, Math.abs(x)), 0) || 1;
function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(["page", "ink", "faint", "rule", "accent", "plus", "minus", "zero"].map((name) =>
    [name, rgb(style.getPropertyValue(`--${name}`).trim())]));
}
const tone = (x) => mix(colours.zero, x < 0 ? colours.minus : colours.plus, Math.min(1, Math.abs(x)) || 0);
const ink = (x) => mix([250, 250, 250], [16, 16, 16], Math.max(0, Math.min(1, x)));
const classColour = (k) => rgb(PALETTE[k % PALETTE.length]);
function paint(canvas, width, height, colour) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = colour(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  pen.putImageData(image, 0, 0);
}
function paintImage(canvas, row) {
  const [height, width, channels] = scene.image, size = height * width * channels;
  const pixels = data.x.subarray(row * size, (row + 1) * size), top = largest(pixels);
  const colour = channels === 3 && top <= 1;
  paint(canvas, width, height, (i) => colour ? [0, 1, 2].map((k) => 255 * pixels[3 * i + k]) : ink(pixels[i * channels] / top));
}
// A canvas as sharp as the screen, and a pen that counts in the page's own pixels.
function sharp(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

// Names of things

const label = (row) => (scene.classes && data.labels ? scene.classes[data.labels[row]] : "");
const held = (row) => row >= scene.trained;
function tellExample(row) {
  const given = scene.features.map((name, i) => `${name} = ${write(data.x[row * scene.features.length + i])}`);
  const target = scene.classes ? label(row) : [...data.y.subarray(row * scene.outputs, (row + 1) * scene.outputs)].map(write).join(", ");
  return [`Example ${row}${held(row) ? ", held out" : ""}`, ...given.slice(0, 4), `target ${target}`].join("; ");
}
const walked = (place) => (place === null ? null : frame.walk[place]);
const valueOf = (node) => (node.parameter === null ? walked(node.value) : frame.parameters[node.parameter]);

// The network, layer by layer

function buildNetwork() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), box = make("div", { class: "columns" }, svg);
  svg.setAttribute("class", "edges");
  svg.setAttribute("aria-hidden", "true");
  refresh.network = [];
  const columns = scene.columns.map((column, c) => {
    const units = column.kind === "box" ? [] : Array.from({ length: column.kind === "wide" ? 1 : column.shown }, (_, j) => unit(column, c, j));
    const more = column.shown < column.count && column.kind !== "box" ? `${column.shown} of ${column.count}` : "";
    box.append(make("div", { class: "column" }, make("h3", {}, column.title), make("small", {}, column.note),
      make("div", { class: `units ${column.kind}` }, ...units), make("small", {}, more || column.size)));
    return units;
  });
  const edges = scene.columns.flatMap(({ edges, shown }, c) => edges === null ? [] : columns[c].flatMap((to, j) =>
    columns[c - 1].map((from, i) => edge(svg, from, to, edges, i * shown + j, c))));
  const place = () => {
    const origin = box.getBoundingClientRect(), boxes = new Map(columns.flat().map((one) => [one, one.getBoundingClientRect()]));
    for (const { lines, from, to } of edges) {
      const [a, b] = [boxes.get(from), boxes.get(to)];
      const ends = { x1: a.right - origin.left, y1: a.top + a.height / 2 - origin.top, x2: b.left - origin.left, y2: b.top + b.height / 2 - origin.top };
      for (const line of lines) for (const [key, x] of Object.entries(ends)) line.setAttribute(key, x);
    }
  };
  by("network").replaceChildren(box);
  new ResizeObserver(place).observe(box);
  refresh.network.push(() => {
    for (const one of edges) {
      const weights = frame.parameters[one.parameter], weight = weights[one.place], strength = Math.abs(weight) / largest(weights);
      one.lines[0].setAttribute("stroke", css(weight < 0 ? colours.minus : colours.plus));
      one.lines[0].setAttribute("stroke-width", 0.4 + 5 * strength);
      one.lines[0].setAttribute("opacity", 0.25 + 0.75 * strength);
    }
  });
}
function edge(svg, from, to, parameter, place, c) {
  const lines = ["ink", "hit"].map((name) => {
    const line = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
    line.setAttribute("class", name);
    return line;
  });
  const node = scene.nodes.findIndex((one) => one.parameter === parameter);
  lines[1].addEventListener("mouseenter", () => hint(`${scene.nodes[node].name}: from ${from.title} to ${to.title}: ${write(frame.parameters[parameter][place])}`));
  lines[1].addEventListener("click", () => choose(node, place));
  return { lines, from, to, parameter, place };
}
function unit(column, c, j) {
  const canvas = make("canvas"), name = column.names?.[j] ?? (column.kind === "wide" ? column.title : `${column.title.split("(")[0]} ${j + 1}`);
  const filter = column.filters === null ? null : make("canvas", { class: "filter exact" });
  const button = make("button", { class: `unit ${scene.grid ? "" : "exact"}`, type: "button" }, ...(filter ? [filter] : []), canvas);
  if (column.names && c === 0 || column.last && column.names) button.append(make("span", {}, name));
  button.title = name;
  button.setAttribute("aria-label", name);
  const say = () => hint(`${name}: ${tellUnit(column, j)}`);
  button.addEventListener("mouseenter", say);
  button.addEventListener("focus", say);
  button.addEventListener("click", (event) => {
    let place = j;
    if (column.kind === "wide" && event.detail) { // the square under the pointer
      const box = canvas.getBoundingClientRect(), across = canvas.width, high = canvas.height;
      place = Math.floor(((event.clientY - box.top) / box.height) * high) * across + Math.floor(((event.clientX - box.left) / box.width) * across);
    }
    choose(column.node, Math.min(place, column.count - 1));
  });
  if (column.kind === "wide") canvas.style.cssText = "width: 8.5rem; height: auto";
  refresh.network.push(() => {
    button.setAttribute("aria-pressed", chosen?.node === column.node && (column.kind === "wide" || chosen.place === j));
    paintUnit(canvas, column, c, j);
    if (!filter) return;
    const { parameter, shape } = column.filters, all = frame.parameters[parameter], size = sizeOf(shape.slice(1)), top = largest(all);
    paint(filter, shape[3], shape[2], (i) => tone(all[j * size + i] / top));
  });
  return button;
}
function paintUnit(canvas, column, c, j) {
  if (c === 0 && scene.image) return paintImage(canvas, frame.example);
  if (scene.grid && column.kind === "units") {
    const { across, range: [low, high] } = scene.grid, down = scene.inputs === 2 ? across : 1;
    const surface = c ? frame.surface[column.surface] : null;
    const at = (i) => surface ? surface[i * column.count + j] : j ? high[1] - ((high[1] - low[1]) * Math.floor(i / across)) / (across - 1)
      : low[0] + ((high[0] - low[0]) * (i % across)) / (across - 1);
    let top = 0;
    for (let i = 0; i < across * down; i++) top = Math.max(top, Math.abs(at(i)));
    return paint(canvas, across, down, (i) => tone(at(i) / (top || 1)));
  }
  const values = c ? valueOf(scene.nodes[column.node]) : data.x.subarray(frame.example * column.count, (frame.example + 1) * column.count);
  const top = largest(values);
  if (column.kind === "maps") return paint(canvas, column.width, column.height, (i) => tone(values[i * column.count + j] / top));
  if (column.kind === "units") return paint(canvas, 1, 1, () => tone(values[j] / top));
  const across = Math.ceil(Math.sqrt(2 * column.count));
  paint(canvas, across, Math.ceil(column.count / across), (i) => (i < column.count ? tone(values[i] / top) : colours.page));
}
function tellUnit(column, j) {
  const node = scene.nodes[column.node], value = valueOf(node), g = walked(node.cotangent);
  if (column.kind !== "units") return `${node.name}, ${node.shape.join(" × ")}`;
  return `value ${write(value[j])}${g ? `, cotangent ${write(g[j])}` : ""} for this example`;
}
function hint(text) { by("hint").textContent = text; }

// One node of the computation

function choose(node, place = null) {
  chosen = { node, place };
  buildInspector();
  if (frame) draw();
}
function buildInspector() {
  const { node: number, place } = chosen, node = scene.nodes[number], box = by("inspector");
  refresh.inspector = [];
  const follow = (element, text) => { refresh.inspector.push(() => { if (element.textContent !== text()) element.textContent = text(); }); return element; };
  const chips = scene.nodes.map((one, i) => make("button", { type: "button", "aria-pressed": i === number, onclick: () => { choose(i); by("inspector").querySelectorAll(".chips button")[i].focus(); } }, one.name));
  const example = make("input", { type: "number", min: 0, max: scene.rows - 1, id: "example", onchange: (event) => {
    const row = Math.round(+event.target.value);
    if (row >= 0 && row < scene.rows) tell("look", row);
  } });
  refresh.inspector.push(() => { if (document.activeElement !== example) example.value = frame.example; });
  box.replaceChildren(make("h2", {}, "One example, op by op"),
    make("div", { class: "row" }, make("label", { for: "example" }, "Example"), example, follow(make("span", { class: "note" }), () => tellExample(frame.example))),
    make("div", { class: "chips", role: "group", "aria-label": "Nodes of the computation" }, ...chips),
    make("h2", { id: "node" }, `${node.name} (${node.shape.join(" × ") || "a number"})`));
  if (node.call) box.append(make("p", {}, make("code", {}, `${node.name} = ${node.call}`)));
  addValues(box, node, place);
  for (const [to, formula] of node.vjps) box.append(make("p", {}, `vjp, to ${to}: `, make("code", {}, formula)));
  addWeights(box, node, place);
}
function addValues(box, node, place) {
  const size = sizeOf(node.shape), rows = [["value", () => valueOf(node)], ["cotangent", () => walked(node.cotangent)]];
  const shown = node.cotangent === null ? rows.slice(0, 1) : rows;
  if (node.tiles) {
    const { count, height, width, step, next } = node.tiles;
    for (const [name, values] of shown) {
      const tiles = Array.from({ length: Math.min(count, 16) }, () => make("canvas", { class: "exact", style: "width: 44px; height: 44px" }));
      const words = make("span", { class: "note" });
      box.append(make("p", { class: "row" }, `${name} `, ...tiles, words));
      refresh.inspector.push(() => {
        const all = values(), top = largest(all);
        tiles.forEach((tile, k) => paint(tile, width, height, (i) => tone(all[k * next + i * step] / top)));
        words.textContent = `orange up to ${write(top)}, blue down to ${write(-top)}${count > 16 ? `; 16 of ${count}` : ""}`;
      });
    }
    return;
  }
  const most = 24, first = place === null || size <= most ? 0 : Math.max(0, Math.min(place - 4, size - most)), count = Math.min(most, size);
  const table = make("table"), head = make("tr", {}, make("th", {}, "element"));
  for (let i = first; i < first + count; i++) head.append(make("th", {}, String(i)));
  if (size > 1) table.append(head);
  for (const [name, values] of shown) {
    const cells = Array.from({ length: count }, (_, i) => make("td", { class: first + i === place ? "now" : "" }));
    table.append(make("tr", {}, make("th", {}, name), ...cells));
    refresh.inspector.push(() => { const all = values(); cells.forEach((cell, i) => { cell.textContent = write(all[first + i]); }); });
  }
  box.append(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, table));
  if (size > count) box.append(make("p", { class: "note" }, `${count} of ${size} elements`));
}
// Numbers to change by hand: of a parameter, or of those that lead to a unit.
function addWeights(box, node, place) {
  const wanted = node.parameter !== null ? [[scene.nodes.indexOf(node), place]] : place === null ? [] : node.own.map((i) => [i, null]);
  for (const [number, only] of wanted) {
    const { name, shape, parameter } = scene.nodes[number], size = sizeOf(shape);
    let places = Array.from({ length: size }, (_, i) => i);
    if (node.parameter === null) places = places.filter((i) => (shape.length === 4 ? Math.floor(i / (size / shape[0])) : i % shape.at(-1)) === place);
    else if (size > 64 && only !== null) places = places.slice(Math.max(0, only - 8), only + 8);
    const numbers = places.slice(0, 64).map((i) => {
      const input = make("input", { type: "number", step: "any", onchange: (event) => {
        if (event.target.value !== "" && Number.isFinite(+event.target.value)) tell("edit", parameter, i, +event.target.value);
      } });
      refresh.inspector.push(() => { if (document.activeElement !== input) input.value = +frame.parameters[parameter][i].toPrecision(5); });
      return make("label", {}, placeName(shape, i), input);
    });
    if (!numbers.length) continue;
    box.append(make("h2", {}, `${name}: change ${numbers.length === 1 ? "it" : "them"} by hand`), make("div", { class: "numbers" }, ...numbers));
    if (numbers.length < size && node.parameter !== null) box.append(make("p", { class: "note" }, `${numbers.length} of ${size} numbers; choose a unit for those that lead to it`));
  }
}
function placeName(shape, i) {
  const place = [];
  for (const n of [...shape].reverse()) { place.unshift(i % n); i = Math.floor(i / n); }
  return `[${place.join(", ")}]`;
}

// What it has learned

function buildOutput() {
  const box = by("output"), { view } = scene;
  refresh.output = [];
  box.replaceChildren(make("h2", {}, { plane: "The outputs over the inputs", line: "The fit", rows: "The worst errors" }[view]
    ?? (scene.target.kind === "values" ? "The worst errors" : "The worst mistakes")));
  if (view === "plane" || view === "line") addPlane(box, view);
  else addWorst(box);
  addShares(box);
}
function addPlane(box, view) {
  const canvas = make("canvas", { class: "output", role: "img", onclick: (event) => {
    const { places } = canvas, area = canvas.getBoundingClientRect(), at = [event.clientX - area.left, event.clientY - area.top];
    const far = places.map(([x, y]) => (x - at[0]) ** 2 + (y - at[1]) ** 2);
    tell("look", far.indexOf(Math.min(...far)));
  } });
  box.append(canvas, make("p", { class: "note" }, `Click on a point to follow it through the network.${scene.rows > scene.trained ? " Rings are held out." : ""}`));
  const back = make("canvas"), { range: [low, high], across } = scene.grid, { outputs, target: { kind } } = scene;
  const values = kind === "values" ? [Math.min(...data.y), Math.max(...data.y)] : null;
  const colourOf = (own) => {
    if (values) return tone((2 * (own[0] - values[0])) / (values[1] - values[0] || 1) - 1);
    const shares = sharesOf(own, scene.target), total = shares.reduce((sum, p) => sum + Math.max(0, p), 0) || 1;
    return shares.reduce((sum, p, k) => mix(sum, [0, 0, 0], 0).map((old, i) => old + (Math.max(0, p) / total) * classColour(k)[i]), [0, 0, 0]);
  };
  refresh.output.push(() => {
    const { pen, width, height } = sharp(canvas), surface = frame.surface.at(-1), pad = 26;
    const toX = (x) => pad + ((x - low[0]) / (high[0] - low[0])) * (width - pad - 4), bounds = view === "line" ? lineBounds(surface) : [low[1], high[1]];
    const toY = (y) => height - pad - ((y - bounds[0]) / (bounds[1] - bounds[0] || 1)) * (height - pad - 4);
    if (view === "plane") {
      paint(back, across, across, (i) => mix(colourOf(surface.subarray(i * outputs, (i + 1) * outputs)), colours.page, 0.45));
      pen.drawImage(back, pad, 4, width - pad - 4, height - pad - 4);
    } else {
      pen.strokeStyle = css(colours.plus);
      pen.lineWidth = 2.5;
      pen.beginPath();
      for (let i = 0; i < across; i++) pen.lineTo(toX(low[0] + ((high[0] - low[0]) * i) / (across - 1)), toY(surface[i]));
      pen.stroke();
    }
    canvas.places = Array.from({ length: scene.rows }, (_, row) => [toX(data.x[row * scene.inputs]), toY(view === "plane" ? data.x[row * 2 + 1] : data.y[row])]);
    canvas.places.forEach(([x, y], row) => {
      const colour = css(view === "line" ? colours.accent : values ? colourOf(data.y.subarray(row * outputs)) : classColour(data.labels[row]));
      pen.beginPath();
      pen.arc(x, y, row === frame.example ? 7 : 3.2, 0, 7);
      pen.fillStyle = held(row) ? css(colours.page) : colour;
      pen.strokeStyle = row === frame.example ? css(colours.ink) : held(row) ? colour : css(colours.page);
      pen.lineWidth = row === frame.example ? 3 : held(row) ? 1.8 : 0.8;
      pen.fill();
      pen.stroke();
    });
    axes(pen, width, height, pad, [low[0], high[0]], bounds, scene.features[0], view === "plane" ? scene.features[1] : "target");
    canvas.setAttribute("aria-label", `${view === "plane" ? "The outputs over the plane of the inputs, with the data" : "The curve of the outputs over the input, with the data"}. ${figuresText()}`);
  });
}
function lineBounds(surface) {
  const all = [...surface, ...data.y], low = Math.min(...all), high = Math.max(...all), room = 0.05 * (high - low || 1);
  return [low - room, high + room];
}
function axes(pen, width, height, pad, [x0, x1], [y0, y1], nameX, nameY) {
  pen.fillStyle = css(colours.faint);
  const put = (text, x, y, align) => { pen.textAlign = align; pen.fillText(text, x, y); };
  put(write(+x0.toPrecision(3)), pad, height - pad + 13, "left");
  put(write(+x1.toPrecision(3)), width - 4, height - pad + 13, "right");
  if (nameX) put(nameX, (width + pad) / 2, height - pad + 13, "center");
  pen.save();
  pen.rotate(-Math.PI / 2);
  put(write(+y0.toPrecision(3)), -(height - pad), 11, "left");
  put(write(+y1.toPrecision(3)), -4, 11, "right");
  if (nameY) put(nameY, -(height - pad) / 2, 11, "center");
  pen.restore();
}
function addWorst(box) {
  const list = make("div", { class: "worst" }), words = make("p", { class: "note" });
  box.append(words, list);
  refresh.output.push(() => {
    const { worst, mistakes, count } = frame.evaluation, values = scene.target.kind === "values";
    words.textContent = values ? `Of ${count} examples those with the largest loss.`
      : `${mistakes} mistake${mistakes === 1 ? "" : "s"} in ${count}${scene.rows > scene.trained ? " held-out" : ""} examples; first those it is most sure of.`;
    while (list.children.length > worst.length) list.lastChild.remove();
    worst.forEach((each, k) => {
      let button = list.children[k];
      if (!button) {
        button = list.appendChild(make("button", { type: "button", onclick: () => tell("look", +button.dataset.row) }, ...(scene.image ? [make("canvas", { class: "exact" })] : []), make("span")));
      }
      const text = values ? `example ${each.row}: ${each.output.slice(0, 3).map(write).join(", ")}; loss ${write(each.loss)}`
        : `${label(each.row)}, read as ${scene.classes[each.read]}, ${scene.target.scale ? percent(each.share) : write(each.share)}`;
      if (button.lastChild.textContent !== text) button.lastChild.textContent = text;
      if (scene.image && button.dataset.row !== String(each.row)) paintImage(button.firstChild, each.row);
      button.dataset.row = each.row;
    });
  });
}
function addShares(box) {
  if (!scene.classes) return;
  const title = make("h2", { style: "margin-top: .8rem" }), bars = make("div", { class: "bars" });
  box.append(title, bars);
  const rows = scene.classes.slice(0, 12).map((name) => {
    const bar = make("i"), number = make("span");
    bars.append(make("span", {}, name), make("div", {}, bar), number);
    return { bar, number };
  });
  refresh.output.push(() => {
    title.textContent = `Example ${frame.example}${held(frame.example) ? ", held out" : ""}: it is ${label(frame.example)}`;
    const shares = sharesOf(valueOf(scene.nodes[scene.columns.at(-1).node]), scene.target);
    rows.forEach(({ bar, number }, k) => {
      bar.style.width = `${100 * Math.max(0, Math.min(1, shares[k]))}%`;
      bar.style.display = "block";
      bar.style.background = css(classColour(k));
      number.textContent = scene.target.scale ? percent(shares[k]) : write(shares[k]);
    });
  });
}

// Figures and curves

function figures() {
  const last = frame.history.at(-1) ?? {}, classes = scene.target.kind !== "values", heldOut = scene.rows > scene.trained;
  return [["step", frame.steps.toLocaleString("en")], ["epoch", (frame.seen / scene.trained).toFixed(1)],
    ["loss", write(last.loss)], ...(heldOut ? [["held-out loss", write(last.heldLoss)]] : []),
    ...(classes ? [["accuracy", last.right === undefined ? "–" : percent(last.right)]] : []),
    ...(classes && heldOut ? [["held-out accuracy", percent(last.heldRight ?? 0)]] : []),
    ["steps a second", frame.playing && frame.rate ? write(Math.round(frame.rate)) : "–"]];
}
const figuresText = () => figures().slice(0, -1).map(([name, value]) => `${name} ${value}`).join(", ");
function buildFigures() {
  by("figures").replaceChildren(...figures().map(([name]) => make("div", {}, make("dt", {}, name), make("dd"))));
  const curves = [["loss", "loss", "heldLoss"], ...(scene.target.kind === "values" ? [] : [["accuracy", "right", "heldRight"]])];
  const drawings = curves.map(([name, own, other]) => {
    const canvas = make("canvas", { class: "curve", role: "img" });
    return { canvas, name, own, other, figure: make("div", {}, canvas) };
  });
  const keys = make("p", { class: "note" }, make("span", { class: "key" }), " training, as it goes ");
  if (scene.rows > scene.trained) keys.append(make("span", { class: "key held" }), " held out");
  by("curves").replaceChildren(...drawings.map(({ figure }) => figure), keys);
  return () => {
    figures().forEach(([, value], i) => { by("figures").children[i].lastChild.textContent = value; });
    for (const drawing of drawings) drawCurve(drawing);
  };
}
function drawCurve({ canvas, name, own, other }) {
  const { pen, width, height } = sharp(canvas), pad = 26, points = frame.history, last = Math.max(1, points.at(-1)?.step ?? 1);
  const values = points.flatMap((point) => [point[own], point[other]]).filter(Number.isFinite);
  const top = name === "accuracy" ? 1 : Math.max(1e-9, ...values);
  const low = name === "accuracy" ? Math.min(0.5, ...values) : 0;
  pen.strokeStyle = css(colours.rule);
  pen.strokeRect(pad, 4, width - pad - 4, height - pad - 4);
  for (const [key, colour, dash] of [[own, colours.accent, []], [other, colours.plus, [5, 4]]]) {
    pen.strokeStyle = css(colour);
    pen.lineWidth = 2;
    pen.setLineDash(dash);
    pen.beginPath();
    for (const point of points) {
      if (Number.isFinite(point[key])) pen.lineTo(pad + (point.step / last) * (width - pad - 4), height - pad - ((point[key] - low) / (top - low)) * (height - pad - 4));
    }
    pen.stroke();
  }
  axes(pen, width, height, pad, [0, last], [low, top], "step", name);
  const end = points.at(-1) ?? {}, first = points[0] ?? {};
  canvas.setAttribute("aria-label", `Curve of the ${name}: in training from ${write(first[own])} to ${write(end[own])}${end[other] === undefined ? "" : `, held out from ${write(first[other])} to ${write(end[other])}`}`);
}

// Controls

function buildControls() {
  by("controls").replaceChildren(...scene.controls.map((control) => {
    const { name, label, kind, low, high, choices } = control, id = `set-${name}${control.place ?? ""}`;
    const start = control.value, read = { value: start };
    if (kind === "flag") return make("label", { for: id }, label, make("input", { id, type: "checkbox", checked: start, onchange: (event) => tell("set", name, event.target.checked) }));
    const scale = { log: [Math.log10, (t) => +(10 ** t).toPrecision(2)], log0: [(v) => (v ? Math.log10(v) : low - 0.1), (t) => (t < low ? 0 : +(10 ** t).toPrecision(2))],
      linear: [(v) => v, (t) => t], choice: [(v) => choices.indexOf(v), (t) => choices[t]] }[kind];
    const ends = kind === "choice" ? [0, choices.length - 1, 1] : kind === "log0" ? [low - 0.1, high, 0.1] : [low, high, kind === "log" ? 0.05 : 0.01];
    const text = () => (read.value === scene.fastest && name === "speed" ? "as fast as it goes" : write(read.value));
    const output = make("output", { for: id }, text());
    const slider = make("input", { id, type: "range", min: ends[0], max: ends[1], step: ends[2] === 0.01 ? "any" : ends[2], value: scale[0](start), oninput: () => {
      read.value = scale[1](+slider.value);
      if (kind === "linear") read.value = +read.value.toPrecision(3);
      if (control.place === undefined) tell("set", name, read.value);
      else tell("set", name, (pairs[name] = pairs[name].map((old, i) => (i === control.place ? read.value : old))));
      output.textContent = text();
      slider.setAttribute("aria-valuetext", text());
    } });
    slider.setAttribute("aria-valuetext", text());
    return make("label", { for: id }, label, output, slider);
  }));
  const pairs = Object.fromEntries(Object.entries(scene.optimizer.options).filter(([, value]) => Array.isArray(value)));
}

// Opening a scene, and the frames that come from the training

const reading = matchMedia("(prefers-reduced-motion: reduce)");
function open(index) {
  stop();
  scene = scenes[index];
  data = { x: decode(scene.x), y: decode(scene.y), labels: scene.labels && decode(scene.labels) };
  frame = null;
  const take = (next) => {
    frame = next;
    if (drawn) requestAnimationFrame(show);
    drawn = false;
  };
  start(index, take);
  buildNetwork();
  choose(scene.columns.at(-1).node, 0);
  buildOutput();
  buildControls();
  hint("Point at a unit or an edge for its numbers; click for more.");
  follow = null;
}
let follow = null, shownAt = 0;
function show(now) {
  drawn = true;
  if (!frame) return;
  if (reading.matches && frame.playing && now - shownAt < 500) return void setTimeout(() => tell("shown"), 500 - (now - shownAt));
  shownAt = now;
  draw();
  tell("shown");
}
function draw() {
  follow ??= buildFigures();
  for (const list of Object.values(refresh)) for (const each of list) each();
  follow();
  by("problem").textContent = frame.problem;
  by("play").textContent = frame.playing ? "⏸ Pause" : "▶ Play";
  by("play").setAttribute("aria-pressed", frame.playing);
  by("step").disabled = frame.playing;
  const now = Date.now();
  if (!frame.playing || now - told > 5000) { // a screen reader is not told of every step
    told = now;
    by("live").textContent = figuresText();
  }
}
function start(index, take) {
  const text = `${by("prelude").textContent}\n${by(`programs${index}`).textContent}\n${by("trainer").textContent}`;
  const begin = `${text}\nlet receive, waiting = [];
    onmessage = ({ data }) => {
      if (receive) return receive(data);
      const trainer = new Trainer(data, programs, makeOptimizer, (frame) => postMessage(frame));
      receive = serve(trainer, 30);
    };`;
  try {
    const address = URL.createObjectURL(new Blob([begin], { type: "text/javascript" })), worker = new Worker(address);
    worker.onmessage = (event) => take(event.data);
    worker.onerror = (event) => { if (!frame) { event.preventDefault(); worker.terminate(); inSlices(text, take); } };
    worker.postMessage(scene);
    tell = (...message) => worker.postMessage(message);
    stop = () => { worker.terminate(); URL.revokeObjectURL(address); };
  } catch {
    inSlices(text, take);
  }
}
// Where no worker can be made the page does the training itself, a few milliseconds at a time.
function inSlices(text, take) {
  const { programs, makeOptimizer } = new Function(`${text}\nreturn { programs, makeOptimizer };`)();
  const receive = serve(new Trainer(scene, programs, makeOptimizer, take), 8);
  tell = (...message) => receive(message);
  stop = () => {};
}

const press = { play: () => tell("play", !frame?.playing), step: () => tell("advance", 1), reset: () => tell("reset") };
for (const [id, action] of Object.entries(press)) by(id).addEventListener("click", action);
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|BUTTON)$/.test(event.target.tagName)) return;
  const action = { " ": press.play, ArrowRight: frame?.playing ? null : press.step }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); if (frame) draw(); });
addEventListener("resize", () => { if (frame) draw(); });
readColours();
scenes.forEach(({ title }, i) => by("scene").append(make("option", { value: i }, title)));
by("scene").hidden = scenes.length < 2;
by("scene").addEventListener("change", (event) => open(+event.target.value));
const asked = Math.max(0, scenes.findIndex(({ key }) => key && location.hash === `#${key}`));
by("scene").value = asked;
open(asked);
