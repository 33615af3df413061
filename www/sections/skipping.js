// Token skipping: a picture cut into patches, the layers as a film of what each keeps, and what that saves.
import { Dials } from "../page/dials.js";
import { fault, guard, h, onWidth, swap, trouble } from "../page/dom.js";
import { landscape } from "../page/landscape.js";
import { later } from "../page/later.js";
import { either, onScheme, ramp } from "../page/paint.js";
import { bytes, percent, plural, rate, sig, time, overBound, whole } from "../page/show.js";
import { keepPatches, onBusy, openFilm, routePatches, state, timeLayer, timeLayers } from "../page/mill.js";

const { max, min, round, floor } = Math;

const CURVES = [
  ["shifted_cosine", "Shifted cosine", "Of its patches layer l of L keeps `cos(π·p)/2 + β`, where `p = l/(L − 1)`: slowly at the ends, quickly between."],
  ["linear", "Linear", "Of its patches layer l of L keeps `1/2 − p + β`, where `p = l/(L − 1)`: as many fewer from each layer to the next."],
];
const BETA = "The whole curve moves up or down: β is the mean of what it says.";
const ABOVE = "Layers of which the curve says more keep all, and have no router.";
const FLOOR = "No layer keeps less, whatever the curve says: the last ones end here.";
const ALPHA = "What a patch adds in the MLP, or takes past the layer, is multiplied by `g = α·tanh(r) + 1`. It ranks as its score r does: α changes no choice.";

const ALPHA_MOST = 0.8;
const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"}`;

class Film {
  constructor(body, shape) {
    Object.assign(this, { body, shape, layer: floor(shape.layers / 2), patch: null, turn: 0, times: new Map() });
    [this.high, this.wide] = shape.pixels;
    [this.rows, this.columns] = shape.grid;
    this.patches = this.rows * this.columns;
    this.asked = { curve: "shifted_cosine", beta: 0.5, above: 0.85, floor: 0.15, alpha: 0.2 };
    this.picture = h("canvas", { width: this.wide, height: this.high });
    this.mask = h("canvas", { width: this.columns, height: this.rows });
    this.kept = h("canvas", { width: this.wide, height: this.high });
    const mill = (on) => landscape(on, this.wide, this.high);

    const dials = (this.dials = new Dials("skipping", this.asked, (key, value) => this.set(key, value)));
    this.file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => this.open(this.file.files[0]) });
    this.back = h("button.small", { hidden: true, onclick: () => { this.draws(mill, false); this.soon(); } }, "The mill again");
    const own = h("div.buttons", h("button.small", { onclick: () => this.file.click() }, "Open a picture…"), this.back, this.file);
    this.stats = h("dl.stats");
    this.troubles = h("div");
    this.frames = Array.from({ length: shape.layers }, (_, i) => this.frame(i));
    this.canvases = Object.fromEntries(["kept", "gates", "stay"].map((k) => [k, h("canvas", { role: "img" })]));
    this.pick = h("input", { type: "range", id: "skipping-patch", min: 0, max: this.patches - 1, value: 0, oninput: () => this.choose(Number(this.pick.value)) });
    this.hint = h("p.hint");
    this.chart = h("div");
    this.lanes = h("div.lanes");
    this.timer = h("button", { onclick: () => this.measure((all) => [all[this.layer]]) }, "Time this layer");
    this.timers = h("span.buttons.at", this.timer, h("button", { onclick: () => this.measure((all) => all) }, "Time all layers"));
    const view = (key, title, scale) => h(`figure.of-${key}`, h("figcaption", h("b", title), h("span.with")), this.canvases[key], scale);
    swap(body,
      h("p.quiet.made", `${this.rows} × ${this.columns} patches and ${shape.tokens - this.patches} tokens of text, which are never skipped, go through ${shape.layers} layers of the shape of Qwen3-0.6B. `,
        "What a patch is like (light, warmth, detail, how rare its colour is, borders, how near to the middle) and what each router likes are made up; nothing is trained, and layers leave the patches as they are. Scores, gates and choices are the kernels’."),
      h("div.dials",
        dials.dial("curve", "Schedule", dials.radios("curve", "Schedule", CURVES), CURVES[0][2]), dials.dial("beta", "Shift", dials.range("beta", 0.1, 0.9, 0.02), BETA), dials.dial("floor", "Least ratio", dials.range("floor", 0.02, 0.5, 0.01), FLOOR),
        dials.dial("above", "Left alone above", dials.range("above", 0.5, 1, 0.01), ABOVE), dials.dial("alpha", "Gate", dials.range("alpha", 0, ALPHA_MOST, 0.02), ALPHA), dials.dial("own", "Picture", own, "It stays in this browser: it is cut and routed here.")),
      this.stats, this.troubles,
      h("fieldset.film", h("legend.unseen", "Layer"), this.frames.map((f) => f.label)),
      h("div.maps", view("kept", "What it keeps"),
        view("gates", "Its gates", h("p.scale", h("span", `g = ${sig(1 - ALPHA_MOST, 2)}`), h("i"), h("span", sig(1 + ALPHA_MOST, 3)))),
        view("stay", "How long patches stay", h("p.scale.even", h("span", "no layer"), h("i"), h("span", `all ${shape.layers}`)))),
      h("div.along", h("label", { for: "skipping-patch" }, "Patch by patch"), this.pick), this.hint,
      h("div.two.costs",
        h("figure", h("figcaption", h("b", "Operations of each layer"), "of one that keeps all"), this.chart,
          h("figcaption.keys", [["hollow", "all tokens"], ["solid", "what is kept, its router included"], ["key", "the part of the patches"], state.device && ["dot.took", "time, as measured"]]
            .filter(Boolean).map(([key, says]) => h("span", h(`i.${key}`), says)))),
        h("figure", h("figcaption", h("b.timed"), state.device && this.timers), this.lanes)));
    for (const canvas of Object.values(this.canvases)) {
      canvas.addEventListener("pointermove", guard((e) => this.point(e, canvas)));
      canvas.addEventListener("pointerdown", guard((e) => this.point(e, canvas)));
      // A finger that is lifted leaves too: what it chose stays.
      canvas.addEventListener("pointerleave", guard((e) => { if (e.pointerType !== "touch") this.choose(null); }));
    }
    onScheme(guard(() => this.draw()));
    onWidth(body, () => this.draw());
    this.draws(mill, false);
    this.tell();
  }

  frame(i) {
    const canvas = h("canvas", { width: this.wide / 2, height: this.high / 2, "aria-hidden": "true" }), count = h("span");
    const radio = h("input", { type: "radio", name: "skipping-layer", value: i, checked: i === this.layer, onchange: () => { this.layer = i; this.drawLayer(); } });
    return { canvas, count, radio, label: h("label.frame", radio, canvas, h("span.edge", h("span", h("span.unseen", "Layer "), String(i)), count)) };
  }

  set(key, value) {
    this.asked[key] = value;
    this.tell();
    this.soon();
  }

  soon() {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.compute().catch(fault), 100);
  }

  /** What the dials stand at. */
  tell() {
    const a = this.asked, { dials } = this;
    for (const [key, words] of [["beta", `β = ${sig(a.beta, 2)}`], ["above", sig(a.above, 2)], ["floor", sig(a.floor, 2)], ["alpha", `α = ${a.alpha ? sig(a.alpha, 2) : "0"}`]]) {
      dials.stands(key, words);
    }
    dials.says("curve", CURVES.find(([name]) => name === a.curve)[2]);
  }

  /** A picture of one's own, as much of it as fits. */
  async open(file) {
    if (!file) return;
    try {
      const image = await createImageBitmap(file), by = max(this.wide / image.width, this.high / image.height), [w, t] = [image.width * by, image.height * by];
      this.draws((on) => { on.imageSmoothingQuality = "high"; on.drawImage(image, (this.wide - w) / 2, (this.high - t) / 2, w, t); }, true);
      this.soon();
    } catch (e) {
      swap(this.troubles, trouble(new Error(`${file.name} is no picture that this browser can open: ${e.message}`)));
    }
    this.file.value = "";
  }

  draws(work, own) {
    const on = this.picture.getContext("2d", { willReadFrequently: true });
    on.clearRect(0, 0, this.wide, this.high);
    work(on);
    this.back.hidden = !own;
    this.pixels = new Uint8Array(on.getImageData(0, 0, this.wide, this.high).data.buffer);
  }

  async compute() {
    const turn = (this.turn += 1), { alpha, ...schedule } = this.asked;
    this.body.setAttribute("aria-busy", "true");
    try {
      // What is kept is of the picture that was routed last: both are asked for at once, and nothing comes between.
      const { pixels } = this, routes = this.asking?.pixels !== pixels || this.asking.alpha !== alpha;
      if (routes) this.asking = { pixels, alpha, routed: routePatches(pixels, alpha) };
      const [routed, got] = await Promise.all([this.asking.routed, keepPatches(schedule)]);
      // Another was asked for meanwhile.
      if (turn !== this.turn) return;
      Object.assign(this, { routed: { alpha, ...routed }, got });
      swap(this.troubles);
    } catch (e) {
      if (turn !== this.turn) return;
      this.asking = null;
      swap(this.troubles, trouble(e));
    }
    this.body.removeAttribute("aria-busy");
    this.draw();
  }

  keeps(layer, patch) { return this.got.keep[layer * this.shape.tokens + patch] === 1; }
  of(numbers, layer, patch) { return numbers[layer * this.shape.tokens + patch]; }
  keptOf(layer) { let n = 0; for (let p = 0; p < this.patches; p += 1) n += this.keeps(layer, p); return n; }
  stays(patch) { let n = 0; for (let l = 0; l < this.shape.layers; l += 1) n += this.keeps(l, patch); return n; }

  draw() {
    const { got } = this;
    if (!got) return;
    this.frames.forEach((f, i) => {
      this.drawKept(f.canvas.getContext("2d"), i, f.canvas.width, f.canvas.height, 0.2);
      const n = this.keptOf(i);
      swap(f.count, got.layers[i].routed ? String(n) : "all", h("span.unseen", n < this.patches ? ` of ${this.patches} patches` : " patches"));
    });
    this.drawStats();
    this.drawLayer();
  }

  /** The picture, in which what layer `i` skips is faint. */
  drawKept(to, i, w, t, faint) {
    const mask = this.mask.getContext("2d"), cut = this.kept.getContext("2d"), cells = mask.createImageData(this.columns, this.rows);
    for (let p = 0; p < this.patches; p += 1) cells.data[4 * p + 3] = this.keeps(i, p) ? 255 : 0;
    mask.putImageData(cells, 0, 0);
    cut.globalCompositeOperation = "copy";
    cut.drawImage(this.picture, 0, 0);
    cut.globalCompositeOperation = "destination-in";
    cut.imageSmoothingEnabled = false;
    cut.drawImage(this.mask, 0, 0, this.wide, this.high);
    to.clearRect(0, 0, w, t);
    to.globalAlpha = faint;
    to.drawImage(this.picture, 0, 0, w, t);
    to.globalAlpha = 1;
    to.drawImage(this.kept, 0, 0, w, t);
  }

  drawStats() {
    const { got, routed, shape } = this, all = shape.layers * shape.tokens, sum = (key) => got.layers.reduce((n, l) => n + l[key], 0);
    const stat = (kind, name, value, note) => h(`div.${kind}`, h("dt", name), h("dd", value), h("dd.quiet", note));
    const there = got.different !== null, asked = got.layers.filter((l) => l.routed).length * shape.tokens, [flops, cache] = [got.flops, got.cache_bytes].map((n) => n * shape.layers), giga = (n) => rate(n / 1e9, "FLOP");
    const times = got.layers.map((_, i) => this.timeOf(i)), known = times.every((t) => t !== null), took = times.reduce((n, t) => n + t, 0), us = this.dense?.dense_us;
    swap(this.stats,
      stat(got.different ? "bad.difference" : "difference", "Unlike the host", there ? whole(got.different) : "–", there ? `of ${whole(asked)} places of tokens` : "no WebGPU: the host’s own"),
      stat(there && !((routed.worst ?? Infinity) <= 1) ? "bad.worst" : "worst", "Error over bound", there ? overBound(routed.worst) : "–", there ? "of scores and gates" : "nothing to compare"),
      stat("tokens", "Tokens kept", percent(sum("rows") / all), `${whole(sum("rows"))} of ${whole(all)} in all layers`),
      stat("flops", "Operations", percent(sum("flops") / flops), `${giga(sum("flops"))} of ${giga(flops)}`),
      stat("cache", "KV cache", percent(sum("cache_bytes") / cache), `${bytes(sum("cache_bytes"))} of ${bytes(cache)}, f16`),
      stat("time", "Time", known ? percent(took / shape.layers) : "–", known ? `${time(took * us)} of ${time(shape.layers * us)}${shape.timed_width < shape.width ? ", of small layers" : ""}` : state.device ? "of all layers: not timed yet" : "no WebGPU"));
  }

  drawLayer() {
    const { got, layer, shape } = this, of = got?.layers[layer];
    if (!of) return;
    this.frames[layer].radio.checked = true;
    const n = this.keptOf(layer), name = `Layer ${layer}`, says = of.routed ? `keeps ${n} of ${this.patches} patches` : "keeps all: it has no router";
    this.body.querySelector(".of-kept b").textContent = name;
    this.body.querySelector(".of-kept .with").textContent = says;
    this.canvases.kept.setAttribute("aria-label", `${name} ${says}`);
    const { alpha } = this.routed;
    const from = 1 - alpha, to = 1 + alpha;
    this.body.querySelector(".of-gates .with").textContent = `from ${sig(from, 2)} to ${sig(to, 3)}`;
    this.canvases.gates.setAttribute("aria-label", `The gates of layer ${layer}, from ${sig(from, 2)} to ${sig(to, 3)}, and around what it keeps a line`);
    this.canvases.stay.setAttribute("aria-label", "Of each patch, how many layers keep it");
    swap(this.body.querySelector(".timed"), `Layer ${layer} beside one that keeps all`);
    this.drawViews();
    this.drawChart();
    this.drawLanes();
  }

  drawViews() {
    const { got, layer, rows, columns } = this, style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name);
    const dots = window.devicePixelRatio || 1, look = ramp(), sign = either(ALPHA_MOST);
    for (const [key, canvas] of Object.entries(this.canvases)) {
      const w = canvas.clientWidth, t = (w * this.high) / this.wide, side = w / columns;
      if (!w) return;
      Object.assign(canvas, { width: round(w * dots), height: round(t * dots) });
      canvas.style.height = `${t}px`;
      const to = canvas.getContext("2d");
      to.scale(dots, dots);
      if (key === "kept") this.drawKept(to, layer, w, t, 0.18);
      for (let p = 0; p < this.patches; p += 1) {
        const x = (p % columns) * side, y = floor(p / columns) * side;
        if (key === "gates") to.fillStyle = sign(this.of(this.routed.gates, layer, p) - 1);
        if (key === "stay") to.fillStyle = look((this.stays(p) / this.shape.layers) ** 2);
        if (key !== "kept") to.fillRect(x + 0.25, y + 0.25, side - 0.5, side - 0.5);
      }
      if (key === "kept") {
        to.strokeStyle = colour("--card");
        to.lineWidth = 1;
        to.globalAlpha = 0.35;
        to.beginPath();
        for (let i = 1; i < columns; i += 1) { to.moveTo(i * side, 0); to.lineTo(i * side, t); }
        for (let i = 1; i < rows; i += 1) { to.moveTo(0, i * side); to.lineTo(w, i * side); }
        to.stroke();
        to.globalAlpha = 1;
      }
      if (key === "gates" && got.layers[layer].routed) {
        // Around what is kept.
        const is = (row, column) => row >= 0 && column >= 0 && row < rows && column < columns && this.keeps(layer, row * columns + column);
        to.strokeStyle = colour("--ink");
        to.lineWidth = 1.25;
        to.beginPath();
        for (let row = 0; row <= rows; row += 1) {
          for (let column = 0; column <= columns; column += 1) {
            const [x, y] = [column * side, row * side];
            if (is(row, column) !== is(row - 1, column)) { to.moveTo(x, y); to.lineTo(x + side, y); }
            if (is(row, column) !== is(row, column - 1)) { to.moveTo(x, y); to.lineTo(x, y + side); }
          }
        }
        to.stroke();
      }
      if (this.patch !== null) {
        to.strokeStyle = colour("--grain");
        to.lineWidth = 2.5;
        to.strokeRect((this.patch % columns) * side, floor(this.patch / columns) * side, side, side);
      }
    }
    this.drawHint();
  }

  drawHint() {
    const { got, layer, patch, columns, shape, routed } = this;
    if (patch === null) return swap(this.hint, "Point at a patch to read its score, its gate and its rank.");
    const score = this.of(routed.scores, layer, patch);
    let before = 0;
    for (let p = 0; p < this.patches; p += 1) { const s = this.of(routed.scores, layer, p); before += s > score || (s === score && p < patch); }
    const place = `Patch ${floor(patch / columns)}, ${patch % columns}`, n = this.stays(patch);
    const says = [`score ${sig(score, 3)}, gate ${sig(this.of(routed.gates, layer, patch), 4)}, `, `${ordinal(before + 1)} of ${this.patches} in layer ${layer}: `,
      h("b", !got.layers[layer].routed ? "no router" : this.keeps(layer, patch) ? "kept" : "skipped"), `. ${plural(n, "layer")} of ${shape.layers} keep${n === 1 ? "s" : ""} it.`];
    swap(this.hint, h("b", place), ": ", says);
    this.pick.setAttribute("aria-valuetext", this.hint.textContent);
  }

  point(e, canvas) {
    const box = canvas.getBoundingClientRect(), at = (v, size, n) => min(max(floor((v / size) * n), 0), n - 1);
    this.choose(at(e.clientY - box.top, box.height, this.rows) * this.columns + at(e.clientX - box.left, box.width, this.columns));
  }

  choose(patch) {
    if (patch === this.patch || !this.got) return;
    this.patch = patch;
    if (patch !== null) this.pick.value = patch;
    this.drawViews();
  }

  drawChart() {
    const { got, layer, shape } = this, w = this.chart.clientWidth, n = shape.layers;
    if (!w) return;
    const L = 42, foot = 228, height = foot + 24, step = (w - L - 2) / n, times = got.layers.map((_, i) => this.timeOf(i)), high = max(1, ...times), y = (v) => foot - (v / high) * (foot - 10), x = (i) => L + i * step;
    const bar = (kind, i, v) => h(`rect.${kind}`, { x: x(i) + step * 0.14, y: y(v), width: step * 0.72, height: max(foot - y(v), 0) });
    const part = (i) => this.keptOf(i) / this.patches, steps = got.layers.map((_, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(part(i)).toFixed(1)}H${x(i + 1).toFixed(1)}`);
    const drawn = h("svg", { width: w, height, role: "img", "aria-label": `Operations of each layer: ${got.layers.map((l, i) => `${i}: ${percent(l.flops / got.flops)}`).join(", ")}` },
      [0, 0.5, 1].map((v) => [h("line.grid", { x1: L, x2: w, y1: y(v), y2: y(v) }), h("text", { x: L - 8, y: y(v) + 4, "text-anchor": "end" }, `${v * 100} %`)]),
      got.layers.map((l, i) => [bar("hollow", i, 1), bar(i === layer ? "fill.chosen" : "fill", i, l.flops / got.flops),
        (n <= 28 ? i % 3 === 0 : i % 4 === 0) && h("text", { x: x(i) + step / 2, y: foot + 17, "text-anchor": "middle", class: i === layer && "value" }, String(i))]),
      h("path.roofline.dashed", { d: steps.join("") }),
      times.map((t, i) => t && h("circle.took", { cx: x(i) + step / 2, cy: y(t), r: min(step / 5, 3.5) })), h("line.base", { x1: L, x2: w, y1: foot, y2: foot }));
    drawn.addEventListener("click", guard((e) => {
      this.layer = min(max(floor((e.clientX - drawn.getBoundingClientRect().left - L) / step), 0), n - 1);
      this.drawLayer();
    }));
    swap(this.chart, drawn);
  }

  /** What a layer takes, as a part of what one takes that keeps all; none where it is not known. */
  timeOf(i) {
    const { ratio, routed } = this.got.layers[i], us = routed ? this.times.get(ratio)?.us : this.dense?.dense_us;
    return this.dense?.dense_us && us ? us / this.dense.dense_us : null;
  }

  took(ratio, timed) {
    if (ratio === null) this.dense = timed;
    else this.times.set(ratio, timed);
    this.drawTimes();
  }

  /** Times some of the layers anew, and the one that keeps all, which they are held against. */
  async measure(some) {
    if (!this.got) return;
    const ratios = some(this.got.layers).filter((l) => l.routed).map((l) => l.ratio);
    this.follows = true;
    await timeLayers([null, ...new Set(ratios)], (ratio, timed) => this.took(ratio, timed));
    this.drawTimes();
  }

  /** Once somebody has asked for a time it follows the sliders: what is chosen now is timed, and nothing else waits. */
  async follow() {
    const { ratio, routed } = this.got.layers[this.layer];
    if (!this.follows || this.following || state.running || !this.dense?.dense_us || !routed || this.times.has(ratio)) return;
    this.following = true;
    this.lanes.setAttribute("aria-busy", "true");
    const timed = await timeLayer(ratio);
    this.following = false;
    this.lanes.removeAttribute("aria-busy");
    this.took(ratio, timed);
  }

  drawTimes() {
    this.drawStats();
    this.drawChart();
    this.drawLanes();
  }

  drawLanes() {
    const { shape, got, layer, dense } = this, of = got.layers[layer], timed = this.times.get(of.ratio), part = this.timeOf(layer);
    this.timer.hidden = !of.routed;
    const longest = max(1, part ?? 0), giga = (n) => rate(n / 1e9, "FLOP");
    const lane = (kind, name, value, says) => h(`div.share.${kind}`, h("p", h("b", name), h("span.quiet", says)),
      h("div.lane", h("i.whole", { style: `width:${100 / longest}%` }), h("i.s0", { style: `width:${((value ?? 0) / longest) * 100}%` })), h("span.num", percent(value)));
    const less = shape.timed_width < shape.width ? ` This device is a processor: the layer is ${shape.timed_width} wide instead of ${shape.width}, and there are ${shape.timed_tokens} tokens instead of ${shape.tokens}, as many fewer of which are kept.` : "";
    const what = `One decoder layer of Qwen3-0.6B with made-up weights in f16, recorded once and replayed: norms, products, RoPE, attention and feed-forward over what is kept, with router, selection and the end of the layer.${less}`;
    const same = dense?.dense_us && [`With every token kept, the layer with a router takes ${sig(dense.routed_us / dense.dense_us, 2)} times as long, and `,
      h(dense.different ? "b.bad" : "span", dense.different ? `${whole(dense.different)} of its ${whole(dense.of)} numbers differ` : `all ${whole(dense.of)} numbers are those of the dense layer, bit for bit`), ". "];
    const wrong = dense?.error ?? timed?.error;
    swap(this.lanes,
      part && h("p.ratio", h("b", sig(part, 2)), " of the dense layer’s time"),
      lane("flops", "Operations", of.flops / got.flops, `${giga(of.flops)} of ${giga(got.flops)}`),
      lane("cache", "KV cache", of.cache_bytes / got.cache_bytes, `${bytes(of.cache_bytes)} of ${bytes(got.cache_bytes)}`),
      lane("time", "Time", part, part ? `${time(part * dense.dense_us)} of ${time(dense.dense_us)}` : !state.device ? "no WebGPU" : this.following ? "is measured…" : "not timed yet"),
      wrong && trouble(wrong),
      !state.device ? h("p.quiet", "Times need WebGPU, which is missing here. Choices and costs are computed on the CPU.")
        : [!of.routed && h("p.quiet", "This layer keeps all tokens: it is the one that others are compared with."), same && h("p.quiet.same", same), h("p.quiet", what)]);
    guard(() => this.follow())();
  }
}

export default {
  id: "skipping",
  title: "Token skipping",
  lead: "A picture cut into patches, and what each layer keeps of it: routers score the patches, a schedule says how many go on, and the others are passed by.",
  mount(body) {
    if (!state.mill) return false;
    let view;
    later(body, {
      words: "The kernels of token skipping are in the second WebAssembly file, which is loaded when it is asked for.",
      busyWords: "Loading the kernels of token skipping…", button: "Open the film",
    }, async () => {
      const shape = await openFilm();
      view = new Film(body, shape);
      await view.compute();
    });
    onBusy((busy) => { if (view) for (const button of view.timers.children) button.disabled = busy; });
  },
};
