// The attention of a sentence: maps without and with what models add to it, side by side, and one row of them as bars.
import { Dials } from "../page/dials.js";
import { fault, guard, h, onWidth, swap, trouble } from "../page/dom.js";
import { later } from "../page/later.js";
import { either, onScheme, ramp } from "../page/paint.js";
import { percent, plural, sig, overBound, tiny } from "../page/show.js";
import { attend, openAttention, state } from "../page/mill.js";

const START = "The miller milled the grain: the mill grinds grain, the water turns the mill.";
const TOKENS_MOST = 32;
const { exp, log, max, min, round } = Math;

const SPLITS = [["words", "Words"], ["letters", "Letters"]];
const split = (text, by) => (by === "letters" ? [...text].filter((c) => c.trim()) : text.match(/[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]/gu) ?? []);

const NORMS = [
  ["none", "None", "Logits are `q·k/√D`: what has a long key is heard by all."],
  ["l2", "ℓ2, gain", "Queries and keys have length 1, and a gain says how sharp it gets: `g·(q/‖q‖₂)·(k/‖k‖₂)`."],
  ["rms", "RMS", "Queries and keys are divided by `√(mean x² + ε)`: logits are `√D` times a cosine, however loud a word is."],
];
const GAINS = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 30];
const CAPS = [0, 50, 30, 20, 15, 10, 7, 5, 4, 3, 2, 1];
const SINKS = [null, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const TURN = "Pairs of numbers turn by `p·10000^(−2i/D)`: logits know the distance `p − t`. Without it all places are alike.";
const CAUSAL = "A token sees itself and those before it: `t ≤ p`.";
const WINDOW = "A token sees those at most n places away: `|p − t| ≤ n`.";
const CAP = "Logits bend until they end at ±c: `c·tanh(l/c)`.";
const SINK = "Each head has one more logit s, without a value: `exp(s)` more in the sum takes weight from all others.";
const HEADS = "All heads run in one dispatch, each with queries and keys of its own: `[1, H, L, D]`.";

/** A canvas in the pixels of the screen. Gives what draws on it, in the pixels of the page. */
function canvasOf(canvas, width, height) {
  const dots = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: round(width * dots), height: round(height * dots) });
  canvas.style.height = `${height}px`;
  const on = canvas.getContext("2d");
  on.scale(dots, dots);
  return on;
}

const FONT = 12;

/** A word that fits. */
function fitted(on, word, room) {
  if (on.measureText(word).width <= room) return word;
  const letters = [...word];
  while (letters.length > 1 && on.measureText(`${letters.join("")}…`).width > room) letters.pop();
  return `${letters.join("")}…`;
}

class View {
  constructor(body, names) {
    Object.assign(this, { body, names, head: 0, row: 7, column: null, turn: 0 });
    this.asked = { text: START, by: "words", heads: 6, norm: "l2", gain: 5, rope: true, causal: true, window: 0, cap: 0, sink: 0 };
    this.text = h("input", { type: "text", id: "sentence", value: START, maxlength: 200, autocomplete: "off", spellcheck: "false", oninput: () => this.set("text", this.text.value) });
    const dials = (this.dials = new Dials("attention", this.asked, (key, value) => this.set(key, value)));
    this.gain = dials.range("gain", 0, GAINS.length - 1);
    this.gain.setAttribute("aria-label", "Gain");
    this.told = h("p.quiet");
    this.stats = h("dl.stats");
    this.troubles = h("div");
    this.heads = h("fieldset.hearing");
    this.canvases = Object.fromEntries(["plain", "switched", "change"].map((k) => [k, h("canvas", { role: "img" })]));
    this.pick = h("input", { type: "range", id: "attention-row", min: 0, oninput: () => { this.column = null; this.choose(Number(this.pick.value)); } });
    this.bars = h("figure");
    this.hint = h("p.hint");
    const map = (key, title, scale) => h(`figure.of-${key}`, h("figcaption", h("b", title), h("span.with")), this.canvases[key], scale);
    const weights = () => h("p.scale.weights", h("span", "0"), h("i"), h("span", "1"));
    swap(body,
      h("div.sentence", h("label", { for: "sentence" }, "A sentence"), this.text, dials.radios("by", "Tokens are", SPLITS)), this.told,
      h("div.dials",
        dials.dial("norm", "QK-norm", h("div.norm", dials.radios("norm", "QK-norm", NORMS), this.gain), NORMS[0][2]),
        dials.dial("softcap", "Softcap", dials.range("cap", 0, CAPS.length - 1), CAP),
        dials.dial("sink", "Sinks", dials.range("sink", 0, SINKS.length - 1), SINK),
        dials.dial("window", "Window", dials.range("window", 0, 16), WINDOW),
        dials.dial("causal", "Causal", dials.tick("causal"), CAUSAL),
        dials.dial("rope", "RoPE", dials.tick("rope"), TURN),
        dials.dial("heads", "Heads", dials.range("heads", 1, names.length), HEADS)),
      this.heads, this.stats, this.troubles,
      h("div.maps", map("plain", "Without", weights()), map("switched", "With", weights()),
        map("change", "What changes", h("p.scale", h("span", "less"), h("i"), h("span", "more")))),
      h("div.along", h("label", { for: "attention-row" }, "Along the row of"), this.pick), this.hint, this.bars);
    for (const canvas of Object.values(this.canvases)) {
      canvas.addEventListener("pointermove", guard((e) => this.point(e, canvas)));
      canvas.addEventListener("pointerdown", guard((e) => this.point(e, canvas)));
      // A finger that is lifted leaves too: what it chose stays.
      canvas.addEventListener("pointerleave", guard((e) => { if (e.pointerType !== "touch") this.point(null); }));
    }
    onScheme(guard(() => this.draw()));
    onWidth(body, () => this.draw());
    this.tell();
  }

  set(key, value) {
    this.asked[key] = value;
    this.tell();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.compute().catch(fault), 120);
  }

  get tokens() { return split(this.asked.text, this.asked.by); }
  get window() { return this.asked.window ? 17 - this.asked.window : null; }

  /** What the switches stand at. */
  tell() {
    const a = this.asked, all = this.tokens.length, { dials } = this;
    const norm = NORMS.find(([name]) => name === a.norm);
    dials.stands("norm", a.norm === "l2" ? `g = ${GAINS[a.gain]}` : "");
    dials.says("norm", norm[2]);
    this.gain.hidden = a.norm !== "l2";
    this.gain.setAttribute("aria-valuetext", String(GAINS[a.gain]));
    dials.stands("softcap", a.cap ? `c = ${CAPS[a.cap]}` : "off");
    dials.stands("sink", a.sink ? `s = ${SINKS[a.sink]}` : "off");
    dials.stands("window", this.window === null ? "off" : `n = ${this.window}`);
    dials.stands("heads", `H = ${a.heads}`);
    swap(this.told, `${plural(min(all, TOKENS_MOST), "token")}${all > TOKENS_MOST ? ` of ${all}: the others are left out` : ""}. `,
      "Queries and keys are made up, nothing is trained: each head has a rule, which its name says, and a little of seeded chance.");
  }

  async compute() {
    const a = this.asked, turn = (this.turn += 1), tokens = this.tokens.slice(0, TOKENS_MOST);
    if (!tokens.length) return this.body.removeAttribute("aria-busy");
    const asked = {
      tokens, heads: a.heads, rope: a.rope, causal: a.causal,
      l2: a.norm === "l2" ? GAINS[a.gain] : null, rms: a.norm === "rms", window: this.window, softcap: CAPS[a.cap], sink: SINKS[a.sink],
    };
    this.body.setAttribute("aria-busy", "true");
    try {
      const got = await attend({ ...asked, tokens: tokens.map((t) => t.toLowerCase()) });
      // Another was asked for meanwhile.
      if (turn !== this.turn) return;
      this.got = { ...asked, ...got };
      swap(this.troubles);
    } catch (e) {
      if (turn !== this.turn) return;
      this.got = null;
      swap(this.troubles, trouble(e));
    }
    this.body.removeAttribute("aria-busy");
    this.draw();
  }

  /** What row `row` of the head gives to the tokens, and to the sink. */
  rowOf(map, row, head = this.head) {
    const n = this.got.tokens.length, at = head * n + row;
    const sink = map === this.got.switched && this.got.sink !== null ? exp(this.got.sink - map.lse[at]) : null;
    return { weights: map.weights.subarray(at * n, (at + 1) * n), sink, lse: map.lse[at] };
  }

  sees(row, column, map) {
    const { causal, window } = this.got;
    return !(causal && column > row) && (map !== this.got.switched || window === null || Math.abs(row - column) <= window);
  }

  draw() {
    const { got } = this;
    if (!got) return;
    const n = got.tokens.length;
    this.head = min(this.head, got.heads - 1);
    this.row = min(this.row, n - 1);
    this.pick.max = n - 1;
    this.drawHeads();
    this.drawStats();
    this.drawMaps();
    this.choose(this.row);
  }

  drawStats() {
    const { got } = this, n = got.tokens.length, s = got.switched, p = got.plain;
    // Over the rows of the head: how many tokens a row is spread over, the largest logit, and what goes into the sink.
    const over = (map, what) => Array.from({ length: n }, (_, row) => what(this.rowOf(map, row)));
    const mean = (list) => list.reduce((x, y) => x + y, 0) / n;
    const spread = (map) => mean(over(map, ({ weights }) => { const sum = weights.reduce((x, y) => x + y, 0); return exp(-weights.reduce((x, w) => x + (w > 0 ? (w / sum) * log(w / sum) : 0), 0)); }));
    const logit = (map) => max(...over(map, ({ weights, lse }) => log(max(...weights)) + lse));
    const sink = mean(over(s, (r) => r.sink ?? 0));
    const stat = (kind, name, value, note) => h(`div.${kind}`, h("dt", name), h("dd", value), h("dd.quiet", note));
    // Of a device `null` is no number.
    const both = (key) => max(...[s, p].map((map) => map[key] ?? Infinity)), off = both("difference"), worst = both("worst"), there = s.plans.length > 0;
    const wrong = there && !(worst <= 1);
    swap(this.stats,
      stat(wrong ? "bad.difference" : "difference", "Off from the host", there ? tiny(off) : "–", there ? "the largest difference of a weight" : "no WebGPU: the host’s own"),
      stat(wrong ? "bad.worst" : "worst", "Error over bound", there ? overBound(worst) : "–", there ? `by ${[...new Set(s.plans)].join(" and ")}` : "nothing to compare"),
      stat("spread", "A row is spread over", `${sig(spread(s), 2)} tokens`, `without: ${sig(spread(p), 2)}`),
      stat("logit", "Largest logit", sig(logit(s), 2), `without: ${sig(logit(p), 2)}`),
      stat("sunk", "Into the sink", got.sink === null ? "–" : percent(sink), got.sink === null ? "there is none" : "of the weight of all rows"));
  }

  drawHeads() {
    const { got } = this, n = got.tokens.length, look = ramp();
    if (this.heads.childElementCount !== got.heads + 1) {
      swap(this.heads, h("legend.label", "Head"), this.names.slice(0, got.heads).map((name, i) => h("label.head",
        h("input", { type: "radio", name: "attention-head", value: i, checked: i === this.head, onchange: () => { this.head = i; this.draw(); } }),
        h("canvas", { "aria-hidden": "true" }), h("span", name))));
    }
    [...this.heads.querySelectorAll("canvas")].forEach((canvas, head) => {
      canvas.width = canvas.height = n;
      const on = canvas.getContext("2d");
      for (let row = 0; row < n; row += 1) {
        this.rowOf(got.switched, row, head).weights.forEach((w, column) => { on.fillStyle = look(w); on.fillRect(column, row, 1, 1); });
      }
    });
    this.heads.querySelectorAll("input")[this.head].checked = true;
  }

  drawMaps() {
    const { got } = this, weight = ramp(), change = either(1);
    const value = (map) => (row, column) => this.rowOf(map, row).weights[column];
    const of = { plain: value(got.plain), switched: value(got.switched) };
    of.change = (row, column) => of.switched(row, column) - of.plain(row, column);
    const on = [got.l2 !== null && "QK-norm", got.rms && "QK-norm", got.softcap && "softcap", got.sink !== null && "sinks", got.window !== null && "window"].filter(Boolean);
    this.body.querySelector(".of-plain .with").textContent = "softmax of q·k/√D";
    this.body.querySelector(".of-switched .with").textContent = on.length ? on.join(", ") : "nothing is switched on";
    for (const [key, canvas] of Object.entries(this.canvases)) this.drawMap(canvas, key, of[key], key === "change" ? change : weight);
    this.described();
  }

  drawMap(canvas, key, value, look) {
    const { got } = this, n = got.tokens.length, wide = canvas.clientWidth, style = getComputedStyle(document.documentElement);
    if (!wide) return;
    const colour = (name) => style.getPropertyValue(name);
    let on = canvas.getContext("2d");
    const font = (bold) => `${bold ? "600 " : ""}${FONT}px ${style.getPropertyValue("--sans")}`;
    on.font = font(true);
    const longest = max(...got.tokens.map((t) => on.measureText(t).width)), label = min(longest, 62) + 8, flat = got.tokens.every((t) => [...t].length === 1);
    const head = flat ? FONT + 8 : label, sunk = got.sink !== null && key !== "plain";
    const cell = min((wide - label) / (n + (got.sink !== null ? 1.5 : 0)), 56), left = label + (got.sink !== null ? 1.5 * cell : 0);
    on = canvasOf(canvas, wide, head + n * cell + 2);
    const gap = cell > 8 ? 1 : 0, box = (x, y) => on.fillRect(x + gap / 2, y + gap / 2, cell - gap, cell - gap);
    this.where = { label, head, cell, left };
    on.textBaseline = "middle";
    for (let row = 0; row < n; row += 1) {
      const y = head + row * cell, here = row === this.row;
      on.font = font(here);
      on.fillStyle = colour(here ? "--ink" : "--soft");
      on.textAlign = "right";
      if (cell >= FONT - 3) on.fillText(fitted(on, got.tokens[row], label - 8), label - 6, y + cell / 2);
      for (let column = 0; column < n; column += 1) {
        const x = left + column * cell, seen = this.sees(row, column, key === "plain" ? got.plain : got.switched) || (key === "change" && this.sees(row, column, got.plain));
        on.fillStyle = seen ? look(value(row, column)) : colour("--sunk");
        if (seen) box(x, y);
        else if (cell > 5) on.fillRect(x + cell / 2 - 1, y + cell / 2 - 1, 2, 2);
      }
      if (!sunk) continue;
      const { sink } = this.rowOf(got.switched, row);
      on.fillStyle = look(sink);
      box(label, y);
    }
    on.font = font(false);
    on.fillStyle = colour("--soft");
    const top = (word, x, colour) => {
      on.save();
      on.translate(x + cell / 2, head - 6);
      if (!flat) on.rotate(-Math.PI / 2);
      on.textAlign = flat ? "center" : "left";
      if (colour) on.fillStyle = colour;
      on.fillText(fitted(on, word, label - 8), 0, flat ? -FONT / 2 + 2 : 0);
      on.restore();
    };
    if (cell >= FONT - 3) got.tokens.forEach((word, i) => top(word, left + i * cell));
    if (sunk) top(flat ? "↓" : "sink", label, colour("--grain"));
    on.strokeStyle = colour("--ink");
    on.lineWidth = 1.5;
    const from = sunk ? label : left;
    on.strokeRect(from, head + this.row * cell, left + n * cell - from, cell);
  }

  described() {
    const { got } = this, name = this.names[this.head];
    this.canvases.plain.setAttribute("aria-label", `Head “${name}” without: ${got.tokens.length} tokens, each row what one gives to the others`);
    this.canvases.switched.setAttribute("aria-label", `Head “${name}” with ${this.body.querySelector(".of-switched .with").textContent}`);
    this.canvases.change.setAttribute("aria-label", `Head “${name}”: the second map less the first`);
  }

  /** The row under the pointer, and what is said of the weight there. */
  point(e, canvas) {
    const { got, where } = this;
    this.column = null;
    if (!got || !where) return;
    if (e) {
      const box = canvas.getBoundingClientRect(), n = got.tokens.length;
      const column = Math.floor((e.clientX - box.left - where.left) / where.cell), row = Math.floor((e.clientY - box.top - where.head) / where.cell);
      if (row < 0 || row >= n) return;
      this.column = column >= 0 && column < n ? column : null;
      return this.choose(row);
    }
    this.choose(this.row);
  }

  choose(row) {
    const { got } = this;
    if (!got) return;
    const moved = row !== this.row;
    this.row = row;
    this.pick.value = row;
    if (moved) this.drawMaps();
    const p = this.rowOf(got.plain, row), s = this.rowOf(got.switched, row), c = this.column;
    const most = [...s.weights].map((w, i) => [w, i]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([w]) => w > 0.005);
    const token = (i) => `${got.tokens[i]} (${i + 1})`;
    this.pick.setAttribute("aria-valuetext", `${token(row)}: most to ${most.map(([w, i]) => `${token(i)} ${percent(w)}`).join(", ")}`);
    swap(this.hint, h("b", token(row)), c !== null
      ? [" gives ", h("b", token(c)), !this.sees(row, c, got.plain) ? " nothing: it is not seen." : [` ${percent(p.weights[c])} without, `, this.sees(row, c, got.switched) ? `${percent(s.weights[c])} with.` : "and with the window nothing."]]
      : [" gives most to ", most.map(([w, i], k) => [k > 0 && ", ", h("b", token(i)), ` ${percent(w)}`]), s.sink !== null && `; ${percent(s.sink)} go into the sink`, "."]);
    swap(this.bars, this.barChart(p, s), h("figcaption", h("i.hollow"), " without  ", h("i.solid"), " with. All that a row gives, the sink included, is 1."));
  }

  barChart(p, s) {
    const { got } = this, w = this.bars.clientWidth, n = got.tokens.length, sunk = s.sink !== null;
    if (!w) return null;
    const L = 38, steps = n + (sunk ? 1.5 : 0), step = (w - L - 4) / steps, upright = step < 7 * max(...got.tokens.map((t) => min(t.length, 9)), sunk ? 4 : 1) + 2, foot = 138, height = foot + (upright ? 70 : 26);
    const y = (v) => foot - v * (foot - 10), x = (i) => L + (i + (sunk ? 1.5 : 0)) * step;
    const bar = (kind, from, v) => h(`rect.${kind}`, { x: from, y: y(v), width: max(step * 0.36, 1.5), height: max(foot - y(v), 0) });
    const name = (words, at, kind) => h("text", { class: kind, ...(upright ? { transform: `translate(${at + step / 2 + 4} ${foot + 8}) rotate(-90)`, "text-anchor": "end" } : { x: at + step / 2, y: foot + 18, "text-anchor": "middle" }) }, words.length > 9 ? `${words.slice(0, 8)}…` : words);
    return h("svg", { width: w, height, role: "img", "aria-label": `What ${got.tokens[this.row]} gives to each token, without and with` },
      [0, 0.5, 1].map((v) => [h("line.grid", { x1: L, x2: w, y1: y(v), y2: y(v) }), h("text", { x: L - 8, y: y(v) + 4, "text-anchor": "end" }, String(v))]),
      sunk && [bar("sink", L + step * 0.32, s.sink), name("sink", L, "sunk")],
      got.tokens.map((token, i) => [bar("hollow", x(i) + step * 0.12, p.weights[i]), bar("fill", x(i) + step * 0.52, s.weights[i]), name(token, x(i), i === this.row && "value")]),
      h("line.base", { x1: L, x2: w, y1: foot, y2: foot }));
  }
}

export default {
  id: "attention",
  title: "Attention",
  lead: "What each token of a sentence sees of the others, without and with what models add: the weights as the kernels give them, beside the host’s.",
  mount(body) {
    if (!state.mill) return false;
    later(body, {
      words: "The kernels of attention are in a second WebAssembly file, which is loaded when it is asked for.",
      busyWords: "Loading the kernels of attention…", button: "Open the map",
    }, async () => {
      const names = await openAttention();
      await new View(body, names).compute();
    });
  },
};
