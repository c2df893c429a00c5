// Numbers as text, colours, pictures of numbers, and plots.
const writeTo = (digits, x) => {
  const size = Math.abs(x);
  if (!Number.isFinite(x)) return `${x ?? "–"}`.replace("-", "−");
  const text = x && (size < 1e-4 || size >= 1e7) ? x.toExponential(size < 1 ? 1 : 2).replace("+", "")
    : String(Number.isInteger(x) ? x : +x.toPrecision(digits));
  return text.replaceAll("-", "−");
};
const write = (x) => writeTo(4, x);
const percent = (x) => (Number.isFinite(x) ? `${(100 * x).toFixed(1)}\u00a0%` : "–"); // in one line
const rgb = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
const CLASSES = "1374b8 d9740b 009e73 c44e9b 8a6d00 7b52ab b3261e 3b8f8f 6b7280 9a6b3f".split(" ").map(rgb);
const pad = 26; // beside and under a plot
let colours; // those of the page, light or dark
let tones; // of numbers from -1 to 1, as the words that a picture has in memory
const largest = (values) => values.reduce((top, x) => Math.max(top, Math.abs(x)), 0) || 1;
function boundsOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) [low, high] = [Math.min(low, x), Math.max(high, x)];
  return [low, high];
}
const css = (colour) => `rgb(${colour.map(Math.round)})`;
const mix = (a, b, share) => a.map((from, k) => from + (b[k] - from) * share);
const tone = (x) => mix(colours.zero, x < 0 ? colours.minus : colours.plus, Math.min(1, Math.abs(x) || 0));
const classColour = (k) => CLASSES[k % CLASSES.length];
function readColours() {
  const style = getComputedStyle(document.documentElement), names = "page ink faint rule line accent plus minus zero";
  const read = (name) => rgb(style.getPropertyValue(`--${name}`).trim().slice(1));
  colours = Object.fromEntries(names.split(" ").map((name) => [name, read(name)]));
  tones = Array.from({ length: 511 }, (_, i) => word(tone((i - 255) / 255)));
}
function paint(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(colour(i), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}
const word = ([red, green, blue]) => new Uint32Array(Uint8Array.of(red + 0.5, green + 0.5, blue + 0.5, 255).buffer)[0];
// Numbers as colours: most of what a frame draws, and so made without an object for each. `value` gives the i-th.
function paintTones(canvas, width, height, value, top = 0) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height), all = width * height;
  const words = new Uint32Array(image.data.buffer), blank = word(colours.page), find = !top;
  for (let i = 0; find && i < all; i++) if (Math.abs(value(i)) > top) top = Math.abs(value(i));
  for (let i = 0; i < all; i++) {
    const x = value(i);
    words[i] = x === undefined ? blank : tones[255 + Math.round(255 * Math.max(-1, Math.min(1, x / top || 0)))];
  }
  pen.putImageData(image, 0, 0);
}
// A pen on a canvas as sharp as the screen, which counts in the page's own pixels.
function sharpen(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}
// The ends of an axis, with as many digits as tell them apart.
function tellEnds(ends) {
  const [low, high] = ends, digits = 3 + Math.max(0, Math.floor(Math.log10(largest(ends) / (high - low || 1e-9))));
  return ends.map((x) => writeTo(12, +x.toPrecision(Math.min(digits, 12))));
}
const shorten = (text, most) => (text.length > Math.max(8, most) ? `${text.slice(0, Math.max(8, most))}…` : text);
function drawAxes(pen, width, height, xs, ys, nameX, nameY) {
  const text = (words, x, y, align) => {
    pen.textAlign = align;
    pen.fillText(words, x, y);
  };
  pen.fillStyle = css(colours.faint);
  const [a, b, c, d] = [...tellEnds(xs), ...tellEnds(ys)], low = height - pad + 14;
  text(a, pad, low, "left");
  text(b, width - 4, low, "right");
  text(shorten(nameX, width / 7 - 18), (width + pad) / 2, low, "center");
  pen.rotate(-Math.PI / 2);
  text(c, pad - height, 14, "left");
  text(d, -4, 14, "right");
  if (height > 150) text(shorten(nameY, height / 7 - 18), (pad - height) / 2, 14, "center");
}
function trace(pen, points, colour, dash) {
  [pen.strokeStyle, pen.lineWidth] = [css(colour), 2];
  pen.setLineDash(dash);
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.stroke();
  pen.setLineDash([]);
}
// The history of a figure; `frame` and `holds` are the page's.
function drawCurve(canvas, name, own, held) {
  const { pen, width, height } = sharpen(canvas), points = frame.history, over = 17; // the name stands there
  const last = points.at(-1) ?? {}, end = last.step || 1;
  const values = points.flatMap((point) => [point[own], point[held]]).filter(Number.isFinite);
  const [low, top] = name === "accuracy" ? [boundsOf([0.5, ...values])[0], 1] : [0, boundsOf([1e-9, ...values])[1]];
  pen.strokeStyle = css(colours.rule);
  pen.strokeRect(pad, over, width - pad - 4, height - pad - over);
  for (const [key, colour, dash] of [[own, colours.accent, []], [held, colours.plus, [5, 4]]]) {
    trace(pen, points.filter((point) => Number.isFinite(point[key])).map((point) => [
      pad + (point.step / end) * (width - pad - 4), over + ((top - point[key]) / (top - low)) * (height - pad - over),
    ]), colour, dash);
  }
  [pen.fillStyle, pen.textAlign] = [css(colours.faint), "left"];
  pen.fillText(name, pad, over - 5);
  drawAxes(pen, width, height, [0, end], [low, top], "step", "");
  const other = holds() ? `, held out ${write(last[held])}` : "";
  canvas.setAttribute("aria-label", `Curve of the ${name}: now ${write(last[own])}${other}`);
}
// An example that is an image, in the colours of all data; of the page's `scene` and `data`.
function paintImage(canvas, row) {
  const [height, width, channels] = scene.image, pixels = rowOf(data.x, row), [low, high] = data.ends;
  const share = (i) => (pixels[i] - low) / (high - low);
  paint(canvas, width, height, (i) => (channels === 3 ? [0, 1, 2].map((k) => 255 * share(3 * i + k))
    : mix([250, 250, 250], [16, 16, 16], share(i))));
}
