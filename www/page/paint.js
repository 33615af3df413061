// Matrices as pictures: a number is a pixel, ochre below zero and blue-green above, on the colour of a card.

const colour = (name) => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
  return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16));
};

// Steps to either side of zero; the root makes what is small visible.
const STEPS = 255;

/** The colours of the scheme that is on, as one table of pixels. */
function table() {
  const [low, none, high] = ["--grain", "--card", "--water"].map(colour), bytes = new Uint8ClampedArray(4 * (2 * STEPS + 1));
  for (let i = -STEPS; i <= STEPS; i += 1) {
    const end = i < 0 ? low : high, t = Math.abs(i) / STEPS;
    bytes.set([...none.map((c, j) => c + (end[j] - c) * t), 255], 4 * (i + STEPS));
  }
  return new Uint32Array(bytes.buffer);
}

/** Fills a canvas of side × side pixels with numbers; those of `most` or more have the full colour. */
export function paint(canvas, side, most, value) {
  const look = table(), image = new ImageData(side, side), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i += 1) {
    const v = value(i), t = Math.min(Math.sqrt(Math.abs(v) / most), 1);
    pixels[i] = look[STEPS + Math.round(Math.sign(v) * t * STEPS)];
  }
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const css = (c) => `rgb(${c.map(Math.round).join()})`;
const between = (a, b, t) => a.map((c, j) => c + (b[j] - c) * t);

/** The colour of a weight from 0 to 1, by its root: from that of a card through blue-green to that of ink; what is no number has that of a fault. */
export function ramp() {
  const stops = ["--card", "--water-3", "--water", "--ink"].map(colour), bad = css(colour("--bad"));
  return (v) => {
    if (Number.isNaN(v)) return bad;
    const at = Math.sqrt(Math.min(Math.max(v, 0), 1)) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
    return css(between(stops[i], stops[i + 1], at - i));
  };
}

/** The colour of a number of either sign, full at `most`: as `paint` has it. */
export function either(most) {
  const [low, none, high, bad] = ["--grain", "--card", "--water", "--bad"].map(colour);
  return (v) => css(Number.isNaN(v) ? bad : between(none, v < 0 ? low : high, Math.sqrt(Math.min(Math.abs(v) / most, 1))));
}

/** Calls when the colours change. */
export const onScheme = (f) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", f);
