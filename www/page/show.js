// Numbers as text. Three significant digits: more would claim a precision that no timer here has.

const none = "–";
const is = (x) => typeof x === "number" && Number.isFinite(x);

export function sig(x, n = 3) {
  if (!is(x)) return none;
  if (x === 0) return "0";
  const digits = Math.min(20, Math.max(0, n - 1 - Math.floor(Math.log10(Math.abs(x)))));
  return x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const scaled = (x, steps) => {
  if (!is(x)) return none;
  const [size, unit] = steps.find(([s]) => Math.abs(x) >= s) ?? steps.at(-1);
  return `${sig(x / size)}\u00a0${unit}`;
};

export const time = (us) => scaled(us, [[1e6, "s"], [1e3, "ms"], [1, "µs"], [1e-3, "ns"]]);
export const rate = (giga, unit) => scaled(giga, [[1e3, "T" + unit], [1, "G" + unit], [1e-3, "M" + unit]]);
export const percent = (f) => (is(f) ? `${f < 0.0995 ? sig(f * 100, 2) : Math.round(f * 100)}\u00a0%` : none);
export const whole = (n) => (is(n) ? n.toLocaleString("en") : none);
export const plural = (n, one, many = one + "s") => `${whole(n)} ${n === 1 ? one : many}`;

export function bytes(b) {
  if (!is(b)) return none;
  const i = b >= 2 ** 30 ? 3 : b >= 2 ** 20 ? 2 : b >= 1024 ? 1 : 0;
  return `${sig(b / 1024 ** i).replace(/\.0+$/, "")}\u00a0${["B", "KiB", "MiB", "GiB"][i]}`;
}

/** Error over bound; `null` is what JSON makes of an error that is no number. */
export const overBound = (x) => (is(x) ? `${sig(x, 2)}×` : "no number");

/** 2.1·10⁻⁷ */
export function tiny(x) {
  if (!is(x)) return "not finite";
  if (x === 0) return "0";
  const [m, e] = x.toExponential(1).split("e");
  return `${m}·10${[...e.replace("+", "")].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
}
