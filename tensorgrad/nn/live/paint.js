// Colours, pictures of numbers, and plots. `write` is the page's.
const CLASSES = "1374b8 d9740b 009e73 c44e9b 8a6d00 7b52ab b3261e 3b8f8f 6b7280 9a6b3f".split(" ");
const pad = 26; // beside and under a plot
let colours; // those of the page, light or dark
const largest = (values) => values.reduce((top, x) => Math.max(top, Math.abs(x)), 0) || 1;
function boundsOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) [low, high] = [Math.min(low, x), Math.max(high, x)];
  return [low, high];
}
const rgb = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
const css = (colour) => `rgb(${colour.map(Math.round)})`;
const mix = (a, b, share) => a.map((from, k) => from + (b[k] - from) * share);
const tone = (x) => mix(colours.zero, x < 0 ? colours.minus : colours.plus, Math.min(1, Math.abs(x) || 0));
const classColour = (k) => rgb(CLASSES[k % CLASSES.length]);
function readColours() {
  const style = getComputedStyle(document.documentElement), names = "page ink faint rule accent plus minus zero";
  const read = (name) => rgb(style.getPropertyValue(`--${name}`).trim().slice(1));
  colours = Object.fromEntries(names.split(" ").map((name) => [name, read(name)]));
}
function paint(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...colour(i), 255], 4 * i);
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
function drawAxes(pen, width, height, xs, ys, nameX, nameY) {
  const text = (words, x, y, align) => {
    pen.textAlign = align;
    pen.fillText(words, x, y);
  };
  pen.fillStyle = css(colours.faint);
  const [a, b, c, d] = [...xs, ...ys].map((x) => write(+x.toPrecision(3))), low = height - pad + 14;
  text(a, pad, low, "left");
  text(b, width - 4, low, "right");
  text(nameX, (width + pad) / 2, low, "center");
  pen.rotate(-Math.PI / 2);
  text(c, pad - height, 14, "left");
  text(d, -4, 14, "right");
  if (height > 150) text(nameY, (pad - height) / 2, 14, "center");
}
function trace(pen, points, colour, dash) {
  [pen.strokeStyle, pen.lineWidth] = [css(colour), 2];
  pen.setLineDash(dash);
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.stroke();
  pen.setLineDash([]);
}
