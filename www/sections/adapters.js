// Adapters: one small weight, and what LoRA, DoRA and BoRA make of it, as the lengths of its rows and columns and the directions of its rows.
import { Dials } from "../page/dials.js";
import { fault, guard, h, onWidth, swap, trouble } from "../page/dom.js";
import { later } from "../page/later.js";
import { onScheme, paint } from "../page/paint.js";
import { bytes, percent, sig, time, overBound, tiny } from "../page/show.js";
import { mergeAdapters, onBusy, openAdapters, state, timeMerges } from "../page/mill.js";

const { abs, acos, max, min, round, sqrt, floor, PI } = Math;

const KINDS = [
  ["base", "Base", "w"],
  ["lora", "LoRA", "V = w + s·b·a"],
  ["dora", "DoRA", "m·V / ‖V‖, by rows"],
  ["bora", "BoRA", ""],
];
const ORDERS = [["rows", "Rows first"], ["columns", "Columns first"]];
const NAMES = { f32: "f32", q8_0: "Q8_0", q4_0: "Q4_0" };
const RANK = "`a` is [R, K] and `b` [N, R]: their product has R terms, here a bump each.";
const SCALE = "What the product is multiplied with: α/R, or α/√R.";
const MAGNITUDE = "What training does to m: at 0 it is the norms of the base, beside it a wave makes some longer and others shorter. LoRA has none.";
const ORDER = "BoRA divides by norms twice. The norms of the last step are its magnitudes; those of the first are not.";
const FORMAT = "The base is decoded where it is added to, and m begins at the norms of what is decoded.";
// Rows are shown divided by their norms, so that the mean square is 1: this many have the full colour.
const FULL = 2.5;
// Of a picture, so much is for the lengths of rows, and so much for those of columns.
const SHARE = 0.22;

const sum = (list) => list.reduce((x, y) => x + y, 0);

class Adapters {
  constructor(body, shape) {
    Object.assign(this, { body, shape, row: 24, turn: 0, times: new Map() });
    this.asked = { format: "f32", rank: 3, scale: 1, magnitude: 0.3, order: "rows" };
    const dials = (this.dials = new Dials("adapters", this.asked, (key, value) => this.set(key, value)));
    this.troubles = h("div");
    this.timer = h("button.small", { onclick: () => this.measure() }, "Time the merges");
    this.pick = h("input", { type: "range", id: "adapters-row", min: 0, max: shape.side - 1, value: this.row, oninput: () => this.choose(Number(this.pick.value)) });
    this.hint = h("p.hint");
    this.kinds = KINDS.map(([key, name, formula]) => ({
      key, name, canvas: h("canvas", { role: "img" }), picture: h("canvas"), facts: h("dl.facts"), scatter: h("div.scatter"), formula: h("span.with", formula),
    }));
    const [n, k] = shape.timed;
    swap(body,
      h("p.quiet.made", `A weight of ${shape.side} × ${shape.side}, the furrows of a millstone, and an adapter of bumps: both are made up, nothing is trained. `,
        "The merges are the kernels’. Bars are norms, at the left of rows and below of columns; the picture is of the rows divided by their norms: where they point."),
      h("div.dials",
        dials.dial("scale", "Scale", dials.range("scale", 0, 3, 0.05), SCALE), dials.dial("magnitude", "Magnitude", dials.range("magnitude", -0.9, 0.9, 0.05), MAGNITUDE),
        dials.dial("rank", "Rank", dials.range("rank", 1, shape.rank, 1), RANK),
        dials.dial("order", "BoRA", dials.radios("order", "Order of BoRA", ORDERS), ORDER), dials.dial("format", "Base in", dials.radios("format", "Format of the base", shape.formats.map((f) => [f, NAMES[f] ?? f])), FORMAT),
        h("div.dial", h("p.dial-name", "Merge times"), state.device ? h("div.buttons", this.timer) : null,
          h("p.quiet", state.device ? `Of [${n}, ${k}] in f16, with this base and rank: checked, and timed on this device.` : "They need WebGPU, which is missing here: the pictures are the host’s."))),
      this.troubles,
      h("div.kinds", this.kinds.map((k) => h(`figure.of-${k.key}`, h("figcaption", h("b", k.name), k.formula), k.canvas, k.facts))),
      h("p.quiet.key-line", h("i.bar-key"), " norm  ", h("i.tick-key"), " the magnitude m that the adapter has for it"),
      h("div.along", h("label", { for: "adapters-row" }, "Row by row"), this.pick), this.hint,
      h("h3.plots", "How far rows turn, and how much longer they get"),
      h("div.kinds.scatters", this.kinds.map((k) => h("figure", h("figcaption", h("b", k.name)), k.scatter))));
    for (const { canvas } of this.kinds) {
      for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, guard((e) => this.point(e, canvas)));
    }
    onScheme(guard(() => this.draw()));
    onWidth(body, () => this.draw());
    this.tell();
  }

  set(key, value) {
    this.asked[key] = value;
    this.tell();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.compute().catch(fault), 80);
  }

  /** What the dials stand at. */
  tell() {
    const a = this.asked, { dials } = this;
    dials.stands("scale", `s = ${a.scale ? sig(a.scale, 2) : "0"}`);
    dials.stands("magnitude", a.magnitude ? `${a.magnitude < 0 ? "−" : "+"}${Math.round(abs(a.magnitude) * 100)} %` : "that of the base");
    dials.stands("rank", `R = ${a.rank}`);
  }

  get request() {
    const { order, ...asked } = this.asked;
    return { ...asked, columns_first: order === "columns" };
  }

  async compute() {
    const turn = (this.turn += 1), asked = { ...this.asked };
    this.body.setAttribute("aria-busy", "true");
    try {
      const got = await mergeAdapters(this.request);
      // Another was asked for meanwhile.
      if (turn !== this.turn) return;
      this.got = { ...got, asked };
      this.measured();
      swap(this.troubles);
    } catch (e) {
      if (turn !== this.turn) return;
      swap(this.troubles, trouble(e));
    }
    this.body.removeAttribute("aria-busy");
    this.draw();
  }

  /** Norms of all weights, and what each row became. */
  measured() {
    const { got } = this, { side } = this.shape;
    for (const k of this.kinds) {
      const w = got[k.key], rows = new Float64Array(side), columns = new Float64Array(side), along = new Float64Array(side);
      w.forEach((v, i) => {
        rows[floor(i / side)] += v * v;
        columns[i % side] += v * v;
        along[floor(i / side)] += v * got.base[i];
      });
      Object.assign(k, { weight: w, rows: rows.map(sqrt), columns: columns.map(sqrt), along });
    }
    const [base] = this.kinds;
    for (const k of this.kinds) {
      k.turned = k.along.map((dot, n) => (acos(max(-1, min(1, dot / (k.rows[n] * base.rows[n]) || 0))) * 180) / PI);
      k.longer = k.rows.map((v, n) => v / base.rows[n]);
    }
    // The same for all of them, so that bars can be compared.
    this.longest = [max(...got.rows, ...this.kinds.flatMap((k) => [...k.rows])), max(...got.columns, ...this.kinds.flatMap((k) => [...k.columns]))];
  }

  /** The magnitudes of a kind, of rows and of columns, where it has them. */
  given(key) {
    const { got } = this;
    return [key === "dora" || key === "bora" ? got.rows : null, key === "bora" ? got.columns : null];
  }

  draw() {
    if (!this.got) return;
    for (const k of this.kinds) {
      paint(k.picture, this.shape.side, FULL, (i) => (k.weight[i] / k.rows[floor(i / this.shape.side)]) * sqrt(this.shape.side) || 0);
      this.drawFacts(k);
    }
    this.kinds[3].formula.textContent = this.got.asked.order === "rows" ? "by rows, then by columns" : "by columns, then by rows";
    this.drawPictures();
    this.drawScatters();
    this.drawHint();
  }

  drawPictures() {
    const { side } = this.shape, style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name), dots = window.devicePixelRatio || 1;
    for (const k of this.kinds) {
      const w = k.canvas.clientWidth;
      if (!w) return;
      const strip = round(w * SHARE), size = w - strip, step = size / side, gap = 5, bar = strip - gap - 3;
      Object.assign(k.canvas, { width: round(w * dots), height: round(w * dots) });
      k.canvas.style.height = `${w}px`;
      const to = k.canvas.getContext("2d");
      to.scale(dots, dots);
      to.imageSmoothingEnabled = false;
      to.drawImage(k.picture, strip, 0, size, size);
      const thick = max(step - 0.8, step * 0.7), [rows, columns] = this.given(k.key), long = (v, all) => (v / all) * bar;
      for (let i = 0; i < side; i += 1) {
        const at = i * step + (step - thick) / 2, [left, low] = [long(k.rows[i], this.longest[0]), long(k.columns[i], this.longest[1])];
        to.fillStyle = colour(i === this.row ? "--ink" : "--water-2");
        to.fillRect(strip - gap - left, at, left, thick);
        to.fillStyle = colour("--water-3");
        to.fillRect(strip + at, size + gap, thick, low);
        to.fillStyle = colour("--grain");
        if (rows) to.fillRect(strip - gap - long(rows[i], this.longest[0]) - 1, i * step, 2, step);
        if (columns) to.fillRect(strip + i * step, size + gap + long(columns[i], this.longest[1]) - 1, step, 2);
      }
      to.strokeStyle = colour("--ink");
      to.lineWidth = 1;
      to.strokeRect(strip - 0.5, this.row * step - 1, size + 1, step + 2);
      k.canvas.setAttribute("aria-label", `${k.name}: rows from ${sig(min(...k.rows), 2)} to ${sig(max(...k.rows), 2)} long, turned from those of the base by ${round(max(...k.turned))}° at most`);
    }
  }

  drawFacts(k) {
    const { got } = this, fact = (kind, name, value, note) => h(`div.${kind}`, h("dt", name), h("dd", value, note && h("span.quiet", ` ${note}`)));
    if (k.key === "base") {
      const lost = sqrt(sum([...got.base].map((v, i) => (v - got.made[i]) ** 2)) / sum([...got.made].map((v) => v * v)));
      return swap(k.facts, fact("holds", "Format", NAMES[got.asked.format]), fact("size", "Size", bytes(got.bytes)), fact("lost", "Lost in it", lost ? percent(lost) : "nothing", lost ? "RMS over RMS" : ""));
    }
    const of = got.merged.find((m) => m.kind === k.key), there = Boolean(of.plan), wrong = there && !((of.worst ?? Infinity) <= 1);
    const [rows, columns] = this.given(k.key), off = (norms, given) => given && max(...norms.map((v, i) => abs(v - abs(given[i])) / (abs(given[i]) || 1)));
    const apart = (e) => (e === null ? "no m" : e < 1e-4 ? `|m|, off ${tiny(e)}` : `not |m|, off ${percent(e)}`);
    const row = this.times.get(this.timeKey(k.key, got.asked));
    swap(k.facts,
      fact(wrong ? "bad" : "difference", "Off from the host", there ? tiny(of.difference) : "–", there ? "" : "no WebGPU"),
      fact(wrong ? "bad" : "worst", "Error over bound", there ? overBound(of.worst) : "–"),
      fact("rows", "Rows’ norms", apart(off(k.rows, rows))),
      fact("columns", "Columns’ norms", apart(off(k.columns, columns))),
      fact(row && !row.ok ? "bad" : "time", "Merge", row ? (row.ok ? time(row.median_us) : "failed") : "not timed yet", row?.ok ? `${percent(row.roof_fraction)} of the roof, ${overBound(row.worst ?? 0)} bound` : ""));
  }

  drawScatters() {
    const turns = max(15, ...this.kinds.flatMap((k) => [...k.turned])), most = max(1.5, ...this.kinds.flatMap((k) => [...k.longer])) * 1.05, right = Math.ceil(turns / 30) * 30;
    for (const k of this.kinds) {
      const w = k.scatter.clientWidth;
      if (!w) return;
      const L = 34, height = min(w, 230), foot = height - 36, x = (d) => L + (d / right) * (w - L - 8), y = (v) => foot - (v / most) * (foot - 8), label = (v) => `×${v}`;
      const marks = [0, 1, 2, 3, 4, 6, 8].filter((v) => v <= most && (most < 5 || v % 2 === 0 || v === 1));
      const dots = [...k.turned].map((d, n) => n !== this.row && h("circle.case", { cx: x(d), cy: y(k.longer[n]), r: 3.2 }));
      swap(k.scatter, h("svg", { width: w, height, role: "img", "aria-label": `${k.name}: rows turn by up to ${round(max(...k.turned))}° and become ${sig(min(...k.longer), 2)} to ${sig(max(...k.longer), 2)} times as long` },
        marks.map((v) => [h("line.grid", { x1: L, x2: w, y1: y(v), y2: y(v) }), h("text", { x: L - 7, y: y(v) + 4, "text-anchor": "end" }, label(v))]),
        [0, right / 2, right].map((d, i) => h("text", { x: x(d), y: foot + 17, "text-anchor": ["start", "middle", "end"][i] }, `${sig(d, 3).replace(/\.0+$/, "")}°`)),
        h("line.base", { x1: L, x2: w, y1: y(0), y2: y(0) }), dots,
        h("circle.case.chosen", { cx: x(k.turned[this.row]), cy: y(k.longer[this.row]), r: 6 })));
    }
  }

  drawHint() {
    const n = this.row, [base, ...others] = this.kinds, [rows] = this.given("dora");
    swap(this.hint, h("b", `Row ${n}`), ` is ${sig(base.rows[n])} long. `, others.map((k, i) => [i ? "; " : "", h("b", k.name), ` makes it ${sig(k.rows[n])} and turns it by ${sig(k.turned[n], 2)}°`]), `. Its m is ${sig(rows[n])}.`);
    this.pick.setAttribute("aria-valuetext", this.hint.textContent);
  }

  point(e, canvas) {
    const box = canvas.getBoundingClientRect(), row = floor(((e.clientY - box.top) / (box.height * (1 - SHARE))) * this.shape.side);
    if (row >= 0 && row < this.shape.side) this.choose(row);
  }

  choose(row) {
    if (row === this.row || !this.got) return;
    this.row = row;
    this.pick.value = row;
    this.drawPictures();
    this.drawScatters();
    this.drawHint();
  }

  timeKey(kind, { format, rank, order }) { return `${kind} ${format} ${rank} ${kind === "bora" ? order : ""}`; }

  async measure() {
    const asked = { ...this.asked }, kinds = KINDS.slice(1).map(([key]) => key);
    for (const [kind, row] of await timeMerges(kinds, this.request)) this.times.set(this.timeKey(kind, asked), row);
    swap(this.troubles, [...this.times.values()].filter((row) => !row.ok).map((row) => trouble(row.message ?? "the merge is wrong")));
    this.draw();
  }
}

export default {
  id: "adapters",
  title: "Adapters",
  lead: "One small weight and what LoRA, DoRA and BoRA make of it: how long its rows are, where they point, how exact the merge is and how long it takes.",
  mount(body) {
    if (!state.mill) return false;
    let view;
    later(body, {
      words: "The kernels of adapters are in the second WebAssembly file, which is loaded when it is asked for.",
      busyWords: "Loading the kernels of adapters…", button: "Open the adapters",
    }, async () => {
      const shape = await openAdapters();
      view = new Adapters(body, shape);
      await view.compute();
    });
    onBusy((busy) => { if (view) view.timer.disabled = busy; });
  },
};
