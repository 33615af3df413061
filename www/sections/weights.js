// One weight matrix in every format: a slider of formats, what the chosen one makes of the numbers, and bits against error and time.
import { guard, h, onWidth, swap, trouble } from "../page/dom.js";
import { bytes, percent, rate, sig, time, whole } from "../page/show.js";
import { later } from "../page/later.js";
import { onScheme, paint } from "../page/paint.js";
import { decodeOnDevice, on, onBusy, openWeights, state, timeFormats } from "../page/mill.js";

const L = 50, R = 12, T = 14;
// The colours of numbers are full at three times their RMS, those of errors at once the RMS: the same for every format.
const FULL = 3, FULL_ERROR = 1;
// So many numbers of a row are drawn; at first from here, across a column that is loud.
const SPAN = 64, START = { row: 100, column: 118 };

const { log10, max, min } = Math;
const text = (x, y, words, anchor, kind) => h("text", { x, y, "text-anchor": anchor, class: kind }, words);
const rule = (kind, x1, x2, y1, y2 = y1) => h(`line.${kind}`, { x1, x2, y1, y2 });
const svg = (w, height, label, ...marks) => h("svg", { width: w, height, role: "img", "aria-label": label }, marks);
const bits = (b) => `${sig(b, b < 10 ? 3 : 4).replace(/\.0+$/, "")}\u00a0bits`;
// Three digits, where a fraction of the roof has two: formats lie close together.
const part = (e) => (e === 0 ? "0" : `${sig(e * 100)}\u00a0%`);
const lost = (e) => (e === 0 ? "no error" : `${part(e)} error`);
const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

/** Bits, from 1 to 32, and something from `low` to `high`, both logarithmic; a dot for each point, the chosen one large and named. */
function chart(w, { label, points, low, high, mark, chosen, hover, choose, behind }) {
  const height = 304, foot = height - 40, x = (b) => L + 8 + (log10(b) / log10(34)) * (w - L - R - 8);
  const y = (v) => foot - (log10(max(v, low) / low) / log10(high / low)) * (foot - T);
  const tens = [];
  for (let p = Math.ceil(log10(low) - 1e-9); 10 ** p <= high * 1.001; p += 1) tens.push(10 ** p);
  const dot = (p) => h(p.bad ? "circle.case.bad" : "circle.case", { cx: x(p.bits), cy: y(p.value), r: 4.5 });
  const at = points.find((p) => p.i === chosen), left = at && x(at.bits) > w * 0.6;
  const nearest = (e) => {
    const box = drawn.getBoundingClientRect(), px = e.clientX - box.left, py = e.clientY - box.top;
    const [best] = points.map((p) => [p, (x(p.bits) - px) ** 2 + (y(p.value) - py) ** 2]).sort((a, b) => a[1] - b[1]);
    return best?.[1] < 24 ** 2 ? best[0].i : null;
  };
  const drawn = svg(w, height, label,
    tens.map((v) => [rule("grid", L, w - R, y(v)), text(L - 8, y(v) + 4, mark(v), "end")]),
    [1, 2, 3, 4, 6, 8, 16, 32].map((b) => [rule("base", x(b), x(b), foot, foot + 4), text(x(b), foot + 18, String(b), "middle")]),
    rule("base", L, w - R, foot), text(w - R, height - 6, "bits a weight", "end"),
    behind?.(x, y), points.filter((p) => p !== at).map(dot),
    at && [h("circle.case.chosen", { cx: x(at.bits), cy: y(at.value), r: 7 }), text(x(at.bits) + (left ? -13 : 13), y(at.value) - 9, at.name, left ? "end" : "start", "value")]);
  drawn.addEventListener("pointermove", guard((e) => hover(nearest(e))));
  drawn.addEventListener("pointerleave", guard(() => hover(null)));
  drawn.addEventListener("click", guard((e) => { const i = nearest(e); if (i !== null) choose(i); }));
  return drawn;
}

/** Numbers of a row, as they are and as they became. */
function rowChart(w, numbers, decoded) {
  const all = [0, ...numbers, ...decoded], low = min(...all), high = max(...all);
  const height = 170, step = (w - 2) / SPAN, x = (i) => 1 + (i + 0.5) * step, y = (v) => 8 + ((high - v) / (high - low || 1)) * (height - 16);
  const steps = [...decoded].flatMap((v, i) => [[x(i) - step / 2, y(v)], [x(i) + step / 2, y(v)]]);
  return svg(w, height, `${SPAN} numbers of a row: as they are, and as they became`, rule("grid", 0, w, y(0)),
    h("path.became", { d: path(steps) }), [...numbers].map((v, i) => h("circle.was", { cx: x(i), cy: y(v), r: 2.2 })));
}

/** How many errors of which size. */
function errorChart(w, { bins, reach, error }) {
  const height = 170, foot = height - 24, top = max(...bins), step = w / bins.length, y = (n) => foot - (n / top) * (foot - 8);
  return svg(w, height, `How many errors of which size: between ${percent(reach)} of the RMS below and above`,
    bins.map((n, i) => h("rect.fill", { x: i * step + 0.5, y: y(n), width: max(step - 1, 1), height: foot - y(n) })), rule("base", 0, w, foot),
    error ? [[0, `−${percent(reach)}`, "start"], [w / 2, "0", "middle"], [w, percent(reach), "end"]].map(([at, words, anchor]) => text(at, height - 6, words, anchor))
      : text(w / 2, height - 6, "no error at all", "middle"));
}

/** Those that no other beats: less error than all with fewer bits. */
const best = (points) => points.filter((p, i) => points.slice(0, i).every((q) => q.value > p.value)).filter((p) => p.value > 0);

const scale = (most, words) => h("p.scale", h("span", `−${most}`), h("i"), h("span", `${most} ${words}`));

class Weights {
  constructor(body, w) {
    Object.assign(this, { body, w, at: { ...START } });
    this.i = max(w.formats.findIndex((f) => f.name === "gguf.q4_0"), 0);
    this.slider = h("input", { type: "range", id: "format", min: 0, max: w.formats.length - 1, step: 1, value: this.i, "aria-label": "Format, by bits a weight", oninput: () => this.choose(Number(this.slider.value)) });
    this.pick = h("select", { "aria-label": "Format by name", onchange: () => this.choose(Number(this.pick.value)) }, w.formats.map((f, i) => h("option", { value: i }, `${f.name}, ${bits(f.bits)}`)));
    this.name = h("p.format");
    this.stats = h("dl.stats");
    this.troubles = h("div");
    this.canvases = Object.fromEntries(["was", "became", "off"].map((k) => [k, h("canvas", { role: "img", width: w.side, height: w.side })]));
    this.hint = h("p.quiet.hint");
    this.errors = h("figure");
    this.times = h("figure");
    this.row = h("figure");
    this.bins = h("figure");
    const side = `${w.side} × ${w.side}`;
    const number = (key, label, most) => h("input", { type: "number", min: 0, max: most, value: this.at[key], "aria-label": label, oninput: (e) => {
      const v = Number(e.target.value);
      if (e.target.value !== "" && Number.isInteger(v) && v >= 0 && v <= most) { this.at[key] = v; this.drawRow(); }
    } });
    this.inputs = { row: number("row", "Row", w.side - 1), column: number("column", "First column", w.side - SPAN) };
    const picture = (key, title, key2) => h(`figure.of-${key}`, h("figcaption", h("b", title)), this.canvases[key], key2);
    this.timeOne = h("button", { onclick: () => timeFormats([this.format.name]) }, "Time this format");
    this.timeAll = h("button.main", { onclick: () => timeFormats(w.formats.map((f) => f.name)) }, "Time every format");
    swap(body,
      h("div.pickers", h("label", { for: "format" }, "Fewer bits"), this.slider, h("span", { "aria-hidden": "true" }, "More bits"), this.pick),
      this.name, this.stats, this.troubles,
      h("div.pictures",
        picture("was", `The weight, ${side}`, scale(FULL, "RMS")), picture("became", "In this format", scale(FULL, "RMS")),
        picture("off", "What it is off by", scale(FULL_ERROR, "RMS"))),
      this.hint,
      h("div.charts", h("figure", h("figcaption", h("b", "Along a row"), h("span.at", "row ", this.inputs.row, " from column ", this.inputs.column)), this.row,
        h("figcaption", h("i.dot"), " a number  ", h("i.stroke"), " in this format")),
      h("figure", h("figcaption", h("b", "Errors"), h("span.at", "how many of which size, of the weight’s RMS")), this.bins)),
      h("div.charts.tall", h("figure", h("figcaption", h("b", "Bits against error")), this.errors,
        h("figcaption", "RMS of the errors over RMS of the weight. ", h("i.front"), " no other has less error in fewer bits. ", h("i.key"), " 2⁻ᵇ: the least for independent normal numbers")),
      h("figure", h("figcaption", h("b", "Bits against time"), state.device && h("span.buttons.at", this.timeOne, this.timeAll)), this.times)),
      h("p.quiet.tell", { "aria-hidden": "true" }));
    this.told = body.querySelector(".tell");
    for (const canvas of Object.values(this.canvases)) {
      canvas.addEventListener("pointermove", guard((e) => this.point(e, canvas)));
      canvas.addEventListener("pointerleave", guard(() => this.point(null)));
      canvas.addEventListener("click", guard((e) => this.point(e, canvas, true)));
    }
    onScheme(guard(() => this.drawPictures()));
    onWidth(body, () => this.draw());
    this.point(null);
    this.paintWas();
    this.choose(this.i);
  }

  get format() { return this.w.formats[this.i]; }
  get result() { return this.w.lost.get(this.format.name); }

  choose(i) {
    this.i = i;
    this.slider.value = this.pick.value = i;
    const f = this.format, r = this.result;
    this.slider.setAttribute("aria-valuetext", `${f.name}, ${bits(f.bits)}${r ? `, ${lost(r.error)}` : ""}`);
    this.draw();
    // The device follows when the slider rests: a slide across all of them need not decode all of them.
    clearTimeout(this.rest);
    if (state.device && r) this.rest = setTimeout(guard(() => decodeOnDevice(this.format.name)), 200);
  }

  /** Something about a format is new. */
  news(name) {
    const here = name === this.format.name;
    if (here && this.result && !this.w.device.has(name)) return this.choose(this.i);
    if (here) return this.draw();
    this.dueCharts ??= setTimeout(guard(() => { this.dueCharts = null; this.drawCharts(); }), 100);
  }

  draw() {
    const { w, format: f, result: r } = this, d = w.device.get(f.name), t = w.times.get(f.name), product = `One row × [${w.multiplied}, ${w.multiplied}]`;
    swap(this.name, h("b", f.name), " ", h("span.quiet", f.holds));
    const stat = (kind, name, value, note) => h(`div.${kind}`, h("dt", name), h("dd", value), h("dd.quiet", note));
    swap(this.stats,
      stat("bits", "Bits a weight", sig(f.bits, f.bits < 10 ? 3 : 4).replace(/\.0+$/, ""), "with scales and tables, K = 4096"),
      stat("lost", "Error", r ? part(r.error) : "…", r ? `RMS over RMS; largest ${part(r.largest)}` : "computing"),
      stat(!d || d.same === d.of && !d.error ? "same" : "bad", "On this device", !state.device ? "–" : d?.error ? "failed" : d ? (d.same === d.of ? "bit for bit" : "differs") : "…",
        !state.device ? "no WebGPU: decoded on the CPU only" : d?.error ? "why is said below" : d ? `${whole(d.same)} of ${whole(d.of)} decoded as on the host` : "decoding"),
      stat(t && !t.ok ? "bad" : "time", product, t ? (t.ok ? time(t.median_us) : "failed") : "–", t?.ok ? `checked, ${percent(t.roof_fraction)} of the roof` : state.device ? "not timed yet" : "needs WebGPU"),
      stat("rate", "Rate", t?.ok ? rate(t.gb_s, "B/s") : "–", t?.ok ? `${bytes(t.bytes)}, by ${t.plan}` : `a layer of ${whole(w.multiplied ** 2)} weights`));
    const wrong = [d?.error, t && !t.ok && (t.message ?? "the product is wrong")].filter(Boolean);
    swap(this.troubles, wrong.map(trouble));
    if (this.shown !== r) this.drawPictures();
    this.drawRow();
    this.drawCharts();
    this.hover(null);
  }

  paintWas() {
    const { w } = this, rms = w.rms ??= Math.sqrt(w.matrix.reduce((s, v) => s + v * v, 0) / w.matrix.length);
    this.most = FULL * rms;
    paint(this.canvases.was, w.side, this.most, (i) => w.matrix[i]);
    this.canvases.was.setAttribute("aria-label", `The weight: ${w.side} × ${w.side} numbers, smooth grooves, three loud columns and a few outliers`);
  }

  drawPictures() {
    const { w, result: r } = this;
    this.paintWas();
    if (!r) return;
    this.shown = r;
    paint(this.canvases.became, w.side, this.most, (i) => r.decoded[i]);
    paint(this.canvases.off, w.side, FULL_ERROR * w.rms, (i) => r.decoded[i] - w.matrix[i]);
    this.canvases.became.setAttribute("aria-label", `The weight in ${r.name}`);
    this.canvases.off.setAttribute("aria-label", `What ${r.name} is off by: ${lost(r.error)}`);
  }

  /** The number under the pointer; a click draws its row. */
  point(e, canvas, pin) {
    const { w, result: r } = this;
    if (!e || !r) return swap(this.hint, "Point at a number to read it; a click draws its row below.");
    const box = canvas.getBoundingClientRect(), on = (v, size) => max(0, min(w.side - 1, Math.floor((v / size) * w.side)));
    const row = on(e.clientY - box.top, box.height), column = on(e.clientX - box.left, box.width), i = row * w.side + column;
    swap(this.hint, `Row ${row}, column ${column}: `, h("b", `${sig(w.matrix[i])} → ${sig(r.decoded[i])}`), `, off by ${sig(r.decoded[i] - w.matrix[i], 2)}.`);
    if (!pin) return;
    this.at = { row, column: max(0, min(w.side - SPAN, column - SPAN / 2)) };
    for (const key of ["row", "column"]) this.inputs[key].value = this.at[key];
    this.drawRow();
  }

  drawRow() {
    const { w, result: r, at } = this, wide = this.row.clientWidth;
    if (!r || !wide) return;
    const from = at.row * w.side + at.column, was = w.matrix.subarray(from, from + SPAN), became = r.decoded.subarray(from, from + SPAN);
    swap(this.row, rowChart(wide, was, became));
    swap(this.bins, errorChart(this.bins.clientWidth, r));
  }

  hover(i) {
    const f = this.w.formats[i ?? this.i], r = this.w.lost.get(f.name), t = this.w.times.get(f.name);
    const facts = [bits(f.bits), r && lost(r.error), t?.ok && time(t.median_us), t?.ok && rate(t.gb_s, "B/s")].filter(Boolean);
    swap(this.told, h("b", f.name), ` · ${facts.join(" · ")}`, i !== null && i !== this.i && " · click to choose");
  }

  drawCharts() {
    const { w } = this, wide = this.errors.clientWidth;
    if (!wide) return;
    const common = { chosen: this.i, hover: (i) => this.hover(i), choose: (i) => this.choose(i) };
    const points = w.formats.map((f, i) => ({ ...f, i, value: w.lost.get(f.name)?.error })).filter((p) => p.value !== undefined);
    const front = best(points), limit = Array.from({ length: 60 }, (_, i) => 1 + i * 0.2).filter((b) => 2 ** -b >= 1e-4);
    swap(this.errors, chart(wide, { ...common, points, low: 1e-4, high: 2, mark: (v) => `${v * 100} %`,
      label: `Bits against error of ${points.length} formats, such as ${front.map((p) => `${p.name}: ${bits(p.bits)}, ${part(p.value)}`).join("; ")}`,
      behind: (x, y) => [h("path.roofline.dashed", { d: path(limit.map((b) => [x(b), y(2 ** -b)])) }), front.length > 1 && h("path.front", { d: path(front.map((p) => [x(p.bits), y(p.value)])) })] }));
    const timed = w.formats.map((f, i) => ({ ...f, i, row: w.times.get(f.name) })).filter((p) => p.row?.median_us > 0).map((p) => ({ ...p, value: p.row.median_us }));
    if (!timed.length) {
      return swap(this.times, h("div.empty", h("p", state.device ? `Not timed yet: one row of activations times a weight of ${w.multiplied} × ${w.multiplied} in each format, checked and timed on this device. It takes the whole GPU for a while.`
        : "Times need WebGPU, which is missing here. Bits and errors are computed on the CPU.")));
    }
    const us = timed.map((p) => p.value), roof = state.roof?.copy_gb_s, least = (b) => (w.multiplied ** 2 * b) / 8 / roof / 1e3;
    const ends = roof ? [1, 32].map((b) => [b, least(b)]) : [], [low, high] = [min(...us, ...ends.map(([, t]) => t)), max(...us, ...ends.map(([, t]) => t))];
    swap(this.times, chart(wide, { ...common, points: timed, low: 10 ** Math.floor(log10(low)), high: 10 ** Math.ceil(log10(high)), mark: (v) => time(v).replace(/\.0+/, ""),
      label: `Bits against time of ${timed.length} formats, such as ${timed.filter((p) => p.i === this.i || p.name === "gguf.q4_0" || p.name === "dense f32").map((p) => `${p.name}: ${bits(p.bits)}, ${time(p.value)}`).join("; ")}`,
      behind: (x, y) => ends.length && h("path.roofline.dashed", { d: path(ends.map(([b, t]) => [x(b), y(t)])) }) }),
      h("figcaption", `One row times [${w.multiplied}, ${w.multiplied}], the best plan of each format. `, h("i.key"), " the roof: the weight’s bytes at the copy’s bandwidth"));
  }
}

export default {
  id: "weights",
  title: "Weights",
  lead: "One matrix in every format that can be written: what it costs in bits, what it loses, and how long this device takes to multiply by it. All of it is computed here, now.",
  mount(body) {
    if (!state.mill) return false;
    let view;
    later(body, {
      words: "The encoders and decoders of every format are a second WebAssembly file, which is loaded when it is asked for.",
      busyWords: "Loading the encoders and decoders…", button: "Open the formats",
    }, openWeights);
    on("weights", (name) => {
      if (!view) view = new Weights(body, state.weights);
      else if (name) view.news(name);
    });
    onBusy((busy) => { if (view) view.timeOne.disabled = view.timeAll.disabled = busy; });
  },
};
