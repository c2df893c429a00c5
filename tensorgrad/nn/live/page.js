"use strict";
// The page: it draws the frames that a `Trainer` sends, and tells it what is clicked, moved and typed.
const by = (id) => document.getElementById(id), scenes = JSON.parse(by("scenes").textContent);
let scene, data, frame = null, chosen, pending = false, shownAt = 0, told = 0, tell, stop = () => {};
const follow = { network: [], inspector: [], output: [], figures: [] }; // what each frame brings up to date

function make(tag, attributes = {}, ...children) {
  const element = document.createElementNS(tag === "svg" || tag === "line" ? "http://www.w3.org/2000/svg"
    : "http://www.w3.org/1999/xhtml", tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
const put = (element, text) => element.textContent === text || (element.textContent = text);
const range = (count) => Array.from({ length: count }, (_, i) => i);
function rowOf(array, row) {
  const wide = array.length / scene.rows;
  return array.subarray(row * wide, (row + 1) * wide);
}
const isHeld = (row) => row >= scene.trained, holds = () => scene.rows > scene.trained;
const labelOf = (row) => scene.classes[data.labels[row]];
const valueOf = (node) => (node.parameter === null ? frame.walk[node.value] : frame.parameters[node.parameter]);
const cotangentOf = (node) => (node.cotangent === null ? null : frame.walk[node.cotangent]);
function tellExample(row) {
  const given = scene.features.slice(0, 4).map((name, i) => `${name} = ${write(rowOf(data.x, row)[i])}`);
  const target = scene.classes ? labelOf(row) : Array.from(rowOf(data.y, row).slice(0, 4), write).join(", ");
  return [isHeld(row) ? "held out" : "trained on", ...given, `target ${target}`].join("; ");
}
function placeName(shape, i) {
  return `[${shape.map((n, k) => Math.floor(i / sizeOf(shape.slice(k + 1))) % n).join(", ")}]`;
}

// The network, layer by layer
function buildNetwork() {
  const svg = make("svg", { class: "edges", "aria-hidden": "true" }), box = make("div", { class: "columns" }, svg);
  box.style.setProperty("--unit", scene.image ? "40px" : "36px");
  follow.network = [];
  const columns = scene.columns.map((column, c) => {
    const units = range(column.shown).map((j) => buildUnit(column, c, j));
    const { kind, shown, count } = column, some = kind === "maps" && 1 < shown && shown < count;
    const size = column.size + (some ? `, ${shown} of ${count} maps` : "");
    box.append(make("div", { class: "column" }, make("h3", {}, column.title), make("small", {}, column.note),
      make("div", { class: `units ${column.kind}` }, ...units), make("small", {}, size)));
    return units;
  });
  const edges = scene.columns.flatMap(({ edges }, c) => (edges === null ? [] : buildEdges(svg, columns, c, edges)));
  new ResizeObserver(() => {
    const origin = box.getBoundingClientRect(), at = (unit) => unit.getBoundingClientRect();
    for (const { lines, from, to } of edges) {
      const [a, b] = [at(from), at(to)], left = a.right - origin.left, top = (a.top + a.bottom) / 2 - origin.top;
      const ends = { x1: left, y1: top, x2: b.left - origin.left, y2: (b.top + b.bottom) / 2 - origin.top };
      for (const line of lines) for (const [key, x] of Object.entries(ends)) line.setAttribute(key, x);
    }
  }).observe(box);
  by("network").replaceChildren(box);
}
function buildEdges(svg, columns, c, parameter) {
  const node = scene.nodes.findIndex((one) => one.parameter === parameter), wide = columns[c].length;
  const { name, shape } = scene.nodes[node];
  const edges = columns[c - 1].flatMap((from, i) => columns[c].map((to, j) => {
    const place = i * wide + j, value = () => frame.parameters[parameter][place];
    const say = () => hint(`${name}${placeName(shape, place)}, from ${from.title} to ${to.title}: ${write(value())}`);
    const hit = make("line", { class: "hit", onmouseenter: say, onclick: () => choose(node, place) });
    const edge = { lines: [make("line"), hit], from, to };
    svg.append(...edge.lines);
    return edge;
  }));
  follow.network.push(() => {
    const weights = frame.parameters[parameter], top = largest(weights);
    edges.forEach(({ lines: [line] }, place) => {
      const share = Math.abs(weights[place]) / top || 0;
      line.setAttribute("stroke", `var(--${weights[place] < 0 ? "minus" : "plus"})`);
      line.setAttribute("stroke-width", 0.4 + 5 * share);
      line.setAttribute("opacity", 0.2 + 0.8 * share);
    });
  });
  return edges;
}
function buildUnit(column, c, j) {
  const node = scene.nodes[column.node], wide = column.kind === "wide", canvas = make("canvas");
  const name = column.names?.[j] ?? node.name + (wide || column.count === 1 ? "" : `[${j}]`);
  const filter = column.filters ? make("canvas", { class: "filter" }) : "";
  const label = column.names ? make("span", {}, name) : "";
  const say = () => hint(`${name}: ${tellUnit(column, node, j)}`);
  const button = make("button", {
    class: `unit ${scene.grid ? "" : "exact"} ${scene.image && !c ? "photo" : ""}`, title: name,
     "aria-label": name, onmouseenter: say, onfocus: say, onclick: ({ detail, clientX, clientY }) => {
      const area = canvas.getBoundingClientRect(), { width, height } = canvas; // the square under the pointer
      const across = Math.floor(((clientX - area.left) / area.width) * width);
      const down = Math.floor(((clientY - area.top) / area.height) * height);
      choose(column.node, wide && detail ? Math.min(down * width + across, column.count - 1) : j);
    },
  }, filter, canvas, label);
  follow.network.push(() => {
    button.setAttribute("aria-pressed", chosen.node === column.node && (wide || chosen.place === j));
    paintUnit(canvas, column, node, c, j);
    if (!filter) return;
    const { parameter, shape } = column.filters, all = frame.parameters[parameter], top = largest(all);
    const start = j * sizeOf(shape.slice(1));
    paintTones(filter, shape[3], shape[2], (i) => all[start + i], top);
  });
  return button;
}
function paintUnit(canvas, column, node, c, j) {
  if (c === 0 && scene.image) return paintImage(canvas, frame.example);
  if (scene.grid && column.kind === "units") {
    const { across, range: [low, high] } = scene.grid, down = scene.inputs === 2 ? across : 1;
    const surface = c ? frame.surface[column.surface] : null, width = high[j] - low[j];
    const line = (i) => (j ? high[1] - (width * Math.floor(i / across)) / (down - 1)
      : low[0] + (width * (i % across)) / (across - 1)); // the input itself
    return paintTones(canvas, across, down, surface ? (i) => surface[i * column.count + j] : line);
  }
  const values = valueOf(node), top = largest(values), { count, kind, width, height } = column;
  if (kind === "maps") return paintTones(canvas, width, height, (i) => values[i * count + j], top);
  if (kind === "units") return paintTones(canvas, 1, 1, () => values[j], top);
  const across = column.across ?? Math.ceil(Math.sqrt(2 * count));
  paintTones(canvas, across, Math.ceil(count / across), (i) => values[i], top);
}
function tellUnit(column, node, j) {
  if (column.kind !== "units" || !frame) return node.shape.join(" × ");
  const g = cotangentOf(node);
  return `value ${write(valueOf(node)[j])}${g ? `, cotangent ${write(g[j])}` : ""} in example ${frame.example}`;
}
const hint = (text) => put(by("hint"), text);

// One node of the computation
function choose(node, place = null) {
  chosen = { node, place };
  buildInspector();
  draw();
}
function buildInspector() {
  const { node: number, place } = chosen, node = scene.nodes[number], words = make("span", { class: "note" });
  follow.inspector = [];
  const example = make("input", { type: "number", min: 0, max: scene.rows - 1, id: "example", onchange: () => {
    const row = Math.round(+example.value);
    if (example.value !== "" && row >= 0 && row < scene.rows) tell("look", row);
  } });
  const chips = scene.nodes.map(({ name }, i) => make("button", { "aria-pressed": i === number, onclick: () => {
    choose(i);
    by("chips").children[i].focus(); // the button that was clicked is gone
  } }, name));
  follow.inspector.push(() => {
    if (document.activeElement !== example) example.value = frame.example;
    put(words, tellExample(frame.example));
  });
  const vjps = node.vjps.map(([to, formula]) => make("li", {}, `to ${to}: `, make("code", {}, formula)));
  by("inspector").replaceChildren(
    make("h2", {}, "One example, op by op"),
    make("div", { class: "row" }, make("label", { for: "example" }, "Example"), example, words),
    make("div", { class: "row", id: "chips", role: "group", "aria-label": "Nodes of the computation" }, ...chips),
    make("h2", { id: "node" }, `${node.name}${node.shape.length ? `, ${node.shape.join(" × ")}` : ""}`),
    ...(node.call ? [make("p", {}, make("code", {}, `${node.name} = ${node.call}`))] : []),
    ...buildValues(node, place),
    ...(vjps.length ? [make("h2", {}, "The vjp: what it sends back of its cotangent g"), make("ul", {}, ...vjps)] : []),
    ...buildNumbers(node, place));
}
function buildValues(node, place) {
  const shown = [["value", () => valueOf(node)], ["cotangent", () => cotangentOf(node)]];
  if (node.cotangent === null) shown.pop();
  const size = sizeOf(node.shape), most = node.tiles ? 16 : 24;
  if (node.tiles) {
    const { count, height, width, step, next } = node.tiles;
    return shown.map(([name, find]) => {
      const tiles = range(Math.min(count, most)).map(() => make("canvas", { class: "tile" }));
      const note = make("span", { class: "note" });
      follow.inspector.push(() => {
        const all = find(), top = largest(all);
        tiles.forEach((tile, k) => paintTones(tile, width, height, (i) => all[k * next + i * step], top));
        put(note, `orange ${write(top)}, blue ${write(-top)}${count > most ? `; ${most} of ${count}` : ""}`);
      });
      return make("p", { class: "row" }, name, ...tiles, note);
    });
  }
  const first = near(place, most, size), places = range(Math.min(most, size));
  const heads = places.map((i) => make("th", { scope: "col" }, placeName(node.shape, first + i)));
  const rows = shown.map(([name, find]) => {
    const cells = places.map((i) => make("td", { class: first + i === place ? "now" : "" }));
    follow.inspector.push(() => cells.forEach((cell, i) => put(cell, write(find()[first + i]))));
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
  });
  const table = make("table", {}, ...(size > 1 ? [make("tr", {}, make("td"), ...heads)] : []), ...rows);
  return [make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, table),
    ...(size > most ? [make("p", { class: "note" }, `${most} of ${size} elements`)] : [])];
}
// Where to begin, to show so many elements with a chosen one among them.
const near = (place, most, size) => Math.max(0, Math.min((place ?? 0) - 4, size - most));
// Numbers to change by hand: of a parameter, or of those that lead to a unit.
function buildNumbers(node, place) {
  const itself = node.parameter !== null, most = 24;
  const owners = itself ? [node] : place === null ? [] : node.own.map((i) => scene.nodes[i]);
  return owners.flatMap(({ name, shape, parameter }) => {
    const size = sizeOf(shape), filters = shape.length === 4;
    const unitOf = (i) => (filters ? Math.floor((i * shape[0]) / size) : i % shape.at(-1));
    const all = range(size).filter((i) => itself || unitOf(i) === place), first = itself ? near(place, most, size) : 0;
    const inputs = all.slice(first, first + most).map((i) => {
      const input = make("input", { type: "number", step: "any", onchange: () => {
        if (input.value !== "" && Number.isFinite(+input.value)) tell("edit", parameter, i, +input.value);
      } });
      follow.inspector.push(() => {
        if (document.activeElement !== input) input.value = +frame.parameters[parameter][i].toPrecision(4);
      });
      return make("label", {}, placeName(shape, i), input);
    });
    const some = all.length > most ? `, ${most} of ${all.length}` : "";
    return [make("h2", {}, `${name}: change by hand${some}`), make("div", { class: "numbers" }, ...inputs)];
  });
}

// What it has learned
function buildOutput() {
  const { view } = scene, values = scene.target.kind === "values", worst = values ? "errors" : "mistakes";
  const title = { plane: "The outputs over the inputs", line: "The outputs over the input" }[view]
    ?? `The worst ${worst}`;
  follow.output = [];
  by("output").replaceChildren(make("h2", {}, title), ...(scene.grid && view !== "rows" ? buildPlane(view === "plane")
    : buildWorst(values)), ...(scene.classes ? buildShares() : []));
}
function buildPlane(plane) {
  let places = [];
  const canvas = make("canvas", { class: "output", role: "img", onclick: ({ offsetX, offsetY }) => {
    const far = places.map(([x, y]) => (x - offsetX) ** 2 + (y - offsetY) ** 2);
    tell("look", places[far.indexOf(boundsOf(far)[0])][2]);
  } });
  const rows = range(scene.rows).filter((row) => row % Math.ceil(scene.rows / 2000) === 0); // of many some
  const back = make("canvas"), { range: [low, high], across } = scene.grid, { outputs, features } = scene;
  const { classes, target } = scene, ends = classes ? null : boundsOf(data.y);
  const lineColour = (k) => (classes || outputs > 1 ? classColour(k) : colours.plus);
  const colourOf = (own) => {
    if (ends) return tone((2 * (own[0] - ends[0])) / (ends[1] - ends[0] || 1) - 1);
    const shares = sharesOf(own, target).map((p) => Math.max(0, p));
    const total = shares.reduce((sum, p) => sum + p, 0) || 1;
    return [0, 1, 2].map((i) => shares.reduce((sum, p, k) => sum + (p / total) * classColour(k)[i], 0));
  };
  follow.output.push(() => {
    const { pen, width, height } = sharpen(canvas), wide = width - pad - 4, tall = height - pad - 4;
    const surface = frame.surface.at(-1), at = (i) => surface.subarray(i * outputs, (i + 1) * outputs);
    const lines = plane ? [] : range(across).map((i) => (classes ? sharesOf(at(i), target) : at(i)));
    const bounds = plane ? [low[1], high[1]] : target.scale ? [0, 1] : boundsOf([...surface, ...(ends ?? [])]);
    const toX = (x) => pad + ((x - low[0]) / (high[0] - low[0])) * wide;
    const toY = (y) => 4 + ((bounds[1] - y) / (bounds[1] - bounds[0] || 1)) * tall;
    if (plane) {
      paint(back, across, across, (i) => mix(colourOf(at(i)), colours.page, 0.45));
      pen.drawImage(back, pad, 4, wide, tall);
    }
    for (const k of range(lines[0]?.length ?? 0)) {
      trace(pen, lines.map((line, i) => [pad + (wide * i) / (across - 1), toY(line[k])]), lineColour(k), []);
    }
    const heights = (row, x, y) => (plane ? [y] : classes // of a class: where its line is
      ? [lines[Math.round(((x - low[0]) / (high[0] - low[0])) * (across - 1))][data.labels[row]]] : rowOf(data.y, row));
    places = [...rows, frame.example].flatMap((row) => { // the example over the others
      const [x, y] = rowOf(data.x, row);
      return Array.from(heights(row, x, y), (height, k) => [toX(x), toY(height), row, k]);
    });
    places.forEach(([x, y, row, k]) => {
      const colour = classes ? classColour(data.labels[row]) : plane ? colourOf(rowOf(data.y, row))
        : outputs > 1 ? classColour(k) : colours.accent;
      const is = row === frame.example, held = isHeld(row), rim = plane && ends ? colours.line : colour;
      const line = is ? colours.ink : held || rim === colours.line ? rim : colours.page;
      pen.beginPath();
      pen.arc(x, y, is ? 7 : 3.2, 0, 7);
      [pen.fillStyle, pen.strokeStyle] = [css(held ? colours.page : colour), css(line)];
      pen.lineWidth = is ? 3 : held ? 1.8 : 0.8;
      pen.fill();
      pen.stroke();
    });
    drawAxes(pen, width, height, [low[0], high[0]], bounds, features[0],
      plane ? features[1] : !classes ? "target" : target.scale ? "probability" : "output");
    const what = plane ? "Outputs over the inputs" : "Outputs over the input";
    canvas.setAttribute("aria-label", `${what}, with the data: ${tellFigures()}`);
  });
  const rings = holds() ? " Rings are held out." : "";
  const where = plane || !classes ? "" : " A point stands where the line of its own class is.";
  return [canvas, make("p", { class: "note" }, `Click on a point to follow it through the network.${rings}${where}`)];
}
function buildWorst(values) {
  const list = make("div", { class: `worst ${scene.image ? "" : "words"}` }), words = make("p", { class: "note" });
  const list3 = (numbers) => Array.from(numbers.slice(0, 3), write).join(", ") + (numbers.length > 3 ? ", …" : "");
  const sure = (share) => (scene.target.scale ? percent(share) : write(share));
  follow.output.push(() => {
    const { worst, right, count } = frame.evaluation, held = holds() ? "held-out examples" : "examples";
    put(words, values ? `Output for target: those of ${count} ${held} with the largest loss.`
      : right === count ? `All ${count} ${held} are right.`
      : `${count - right} of ${count} ${held} are mistaken; first those it is most sure of. A click follows one.`);
    while (list.children.length > worst.length) list.lastChild.remove();
    worst.forEach(({ row, read, share, loss, output }, k) => {
      const button = list.children[k] ?? list.appendChild(make("button", {
        onclick: ({ currentTarget }) => tell("look", +currentTarget.dataset.row),
      }, scene.image ? make("canvas") : "", make("span")));
      put(button.lastChild, values ? `${row}: ${list3(output)} for ${list3(rowOf(data.y, row))}, loss ${write(loss)}`
        : `${scene.image ? "" : `${row}: `}${labelOf(row)}, read as ${scene.classes[read]}, ${sure(share)}`);
      if (scene.image && button.dataset.row !== String(row)) paintImage(button.firstChild, row);
      button.dataset.row = row;
    });
  });
  return [words, list];
}
function buildShares() {
  const title = make("h2", { id: "whose" }), last = scene.nodes[scene.columns.at(-1).node];
  const most = 20, { classes } = scene, many = classes.length > most; // of which the likeliest are shown
  const bars = classes.slice(0, most).map(() => [make("span"), make("i"), make("span")]);
  follow.output.push(() => {
    const shares = sharesOf(valueOf(last), scene.target);
    const { example } = frame, held = isHeld(example) ? ", held out" : "";
    const order = many ? range(classes.length).sort((i, j) => shares[j] - shares[i]) : range(classes.length);
    put(title, `Example ${example}${held}, is ${labelOf(example)}`);
    bars.forEach(([name, bar, number], i) => {
      const k = order[i];
      put(name, classes[k]);
      bar.style.cssText = `width: ${100 * Math.max(0, Math.min(1, shares[k]))}%; background: ${css(classColour(k))}`;
      put(number, scene.target.scale ? percent(shares[k]) : write(shares[k]));
    });
  });
  const cells = bars.flatMap(([name, bar, number]) => [name, make("div", {}, bar), number]);
  const note = many ? [make("p", { class: "note" }, `The ${most} likeliest of ${classes.length} classes.`)] : [];
  return [title, make("div", { class: "bars" }, ...cells), ...note];
}

// Figures and curves
function listFigures() {
  const last = frame?.history.at(-1) ?? {}, classes = scene.target.kind !== "values";
  return Object.entries({
    step: write(frame?.steps), epoch: ((frame?.seen ?? 0) / scene.trained).toFixed(1), loss: write(last.loss),
    ...(holds() ? { "held-out loss": write(last.heldLoss) } : {}),
    ...(classes ? { accuracy: percent(last.right) } : {}),
    ...(classes && holds() ? { "held-out accuracy": percent(last.heldRight) } : {}),
    "steps a second": frame?.playing && frame.rate ? write(+frame.rate.toPrecision(2)) : "–",
  });
}
const tellFigures = () => listFigures().slice(0, -1).map(([name, value]) => `${name} ${value}`).join(", ");
function buildFigures() {
  const values = listFigures().map(() => make("dd"));
  by("figures").replaceChildren(...listFigures().map(([name], i) => make("div", {}, make("dt", {}, name), values[i])));
  const curves = [["loss", "loss", "heldLoss"], ...(scene.classes ? [["accuracy", "right", "heldRight"]] : [])];
  const canvases = curves.map(() => make("canvas", { class: "curve", role: "img" }));
  const keys = [make("span", { class: "key" }), " training "];
  if (holds()) keys.push(make("span", { class: "key held" }), " held out");
  by("curves").replaceChildren(...canvases, make("p", { class: "note" }, ...keys));
  follow.figures = canvases.map((canvas, k) => () => drawCurve(canvas, ...curves[k]));
  follow.figures.push(() => listFigures().forEach(([, value], i) => put(values[i], value)));
}

// Controls
function buildControls() {
  const lists = { ...scene.optimizer.options }; // of which a slider may move one entry
  by("controls").replaceChildren(...scene.controls.map(({ name, label, kind, low, high, choices, value, place }) => {
    const id = `set-${name}${place ?? ""}`, set = (x) => {
      lists[name] = place === undefined ? x : lists[name].map((old, i) => (i === place ? x : old));
      tell("set", name, lists[name]);
    };
    const tick = ({ target }) => set(target.checked), box = { id, type: "checkbox", checked: value, onchange: tick };
    if (kind === "flag") return make("label", {}, label, make("input", box));
    const of10 = (t) => +(10 ** t).toPrecision(2), none = low - 0.05;
    const [start, end, at, read] = {
      choice: [0, choices?.length - 1, choices?.indexOf(value), (t) => choices[t]],
      log: [low, high, Math.log10(value), of10],
      log0: [none, high, value ? Math.log10(value) : none, (t) => (t < low ? 0 : of10(t))],
      linear: [low, high, value, (t) => +t.toPrecision(3)],
    }[kind];
    const output = make("output", { for: id }), step = kind === "choice" ? 1 : "any";
    const slider = make("input", { id, type: "range", min: start, max: end, step, value: at, oninput: () => {
      set(read(+slider.value));
      print(read(+slider.value));
    } });
    const print = (x) => {
      output.textContent = x === scene.fastest && name === "speed" ? "as many as it can" : write(x);
      slider.setAttribute("aria-valuetext", output.textContent);
    };
    print(value);
    return make("label", { for: id }, label, output, slider);
  }));
}

// Scenes, and the frames that come from the training
function openScene(index) {
  stop();
  scene = scenes[index];
  data = { x: decode(scene.x), y: decode(scene.y), labels: decode(scene.labels ?? scene.y) };
  const [low, high] = boundsOf(data.x); // of images, in which 0 and 1 are the ends where they can be
  data.ends = [Math.min(0, low), low < 0 || scene.image?.[2] === 1 ? high : Math.max(1, high)];
  frame = null;
  start(index);
  buildNetwork();
  choose(scene.columns.at(-1).node, 0);
  buildOutput();
  buildFigures();
  buildControls();
  hint("Point at a unit or an edge for its numbers; click for more.");
}
function start(index) {
  const text = ["prelude", `programs${index}`, "trainer"].map((id) => by(id).textContent).join("\n"), mine = scene;
  const take = (next) => {
    if (scene !== mine) return;
    frame = next;
    if (!pending) requestAnimationFrame(show);
    pending = true;
  };
  // Where no worker can be made the page does the training itself, a few milliseconds at a time.
  const inSlices = () => {
    const { programs, makeOptimizer } = new Function(`${text}\nreturn { programs, makeOptimizer };`)();
    const { receive, end } = serve(new Trainer(mine, programs, makeOptimizer, take), 8);
    [tell, stop] = [(...message) => receive(message), end];
  };
  try {
    const address = URL.createObjectURL(new Blob([text, "\nawaitScene();"], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = (event) => take(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      if (frame) return put(by("problem"), event.message);
      worker.terminate();
      inSlices();
    };
    worker.postMessage(scene);
    tell = (...message) => worker.postMessage(message);
    stop = () => worker.terminate();
  } catch {
    inSlices();
  }
}
const calm = matchMedia("(prefers-reduced-motion: reduce)");
function show(now) {
  const wait = calm.matches && frame?.playing ? 500 - (now - shownAt) : 0;
  if (wait > 0) return void setTimeout(() => requestAnimationFrame(show), wait);
  [pending, shownAt] = [false, now];
  draw();
  tell("shown");
}
function draw() {
  if (!frame) return;
  for (const list of Object.values(follow)) for (const bringUpToDate of list) bringUpToDate();
  put(by("problem"), frame.problem);
  put(by("play"), frame.playing ? "Pause" : "Play");
  by("play").classList.toggle("playing", frame.playing);
  by("step").disabled = frame.playing;
  if (frame.playing && Date.now() - told < 5000) return; // a screen reader is not told of every step
  told = Date.now();
  put(by("live"), tellFigures());
}

const press = { play: () => tell("play", !frame?.playing), step: () => tell("advance", 1), reset: () => tell("reset") };
for (const [id, action] of Object.entries(press)) by(id).addEventListener("click", action);
addEventListener("keydown", (event) => {
  const own = event.key === " " ? "button, input, select, [tabindex]" : "input, select, [tabindex]"; // keys of theirs
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest(own)) return;
  const action = { " ": press.play, ArrowRight: frame?.playing ? null : press.step }[event.key];
  if (action) event.preventDefault();
  action?.();
});
for (const change of [matchMedia("(prefers-color-scheme: dark)"), window]) {
  change.addEventListener(change === window ? "resize" : "change", () => draw(readColours()));
}
readColours();
by("scene").append(...scenes.map(({ title }, i) => make("option", { value: i }, title)));
by("scene").hidden = scenes.length < 2;
by("scene").addEventListener("change", () => openScene(+by("scene").value));
const asked = new Set(location.hash.slice(1).split("&")); // such as #digits&steps=300
by("scene").value = Math.max(0, scenes.findIndex(({ key }) => asked.has(key)));
openScene(+by("scene").value);
for (const each of asked) if (/^steps=\d{1,5}$/.test(each)) tell("advance", +each.slice(6));
