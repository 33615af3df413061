// One row for every case of the case table: the same problems that the native tests and benchmarks run.
import { guard, h, swap, trouble } from "../page/dom.js";
import { bytes, percent, plural, sig, time, tiny, whole } from "../page/show.js";
import { cells, compared, errorWords, heads, rowName, table, verdict, worstOf } from "../page/marks.js";
import { code } from "../page/code.js";
import { loadWhole, on, rowsOf, runAll, runCase, runReference, runReferences, state, tooMuch } from "../page/mill.js";

const radio = (name, value, checked, onchange, ...label) => h("label", h("input", { type: "radio", name, value, checked, onchange }), h("span", label));
const complaint = (r) => `${r.storage} · ${r.plan}: ${r.message ?? `${errorWords(r)} in ${r.operand}`}`;
const COLUMNS = ["Storage", "Plan", "Check", "Of roof", "Median", "p20 – p80", "GB/s", "GFLOP/s", "Host", "Error", "Bound", "Moved"];

// A group of more cases scrolls in itself, or nobody would find what comes after it.
const LONG = 200;

// Without a device a run is a run of the reference.
let verb = "Run";

class Row {
  constructor(c) {
    this.c = c;
    this.storage = c.storages[0];
    this.id = `case-${c.name.replace(/\W+/g, "-")}`;
    this.text = [c.name, c.op, c.title, c.model, c.phase, c.shape].join(" ").toLowerCase();
    this.cells = h("div.cells");
    this.trouble = h("p.trouble", { hidden: true });
    this.panel = h("div.panel", { id: this.id, hidden: true });
    this.toggle = h("button.toggle", { "aria-expanded": "false", "aria-controls": this.id, onclick: () => this.open(this.panel.hidden) }, rowName(c, c.shape));
    this.element = h("li.case", { "data-case": c.name },
      h("div.row", this.toggle, this.cells, h("button.small.go", { "aria-label": `${verb}: ${c.name}`, onclick: () => this.run() }, verb)), this.trouble, this.panel);
    this.draw();
  }

  async run() {
    if (!state.device) return runReference(this.c);
    await this.choose();
    return runCase(this.c, this.storage, this.plan);
  }

  /** The row speaks for all results of its case: the best time, the worst error, and every failure. */
  draw() {
    const { c } = this, rows = rowsOf(c.name), ref = state.references.get(c.name), busy = state.active === c.name;
    const bad = rows.filter((r) => !r.ok), timed = rows.filter((r) => r.median_us > 0).sort((a, b) => b.roof_fraction - a.roof_fraction || a.median_us - b.median_us);
    const [worst] = rows.filter(compared).sort((a, b) => worstOf(b) > worstOf(a) ? 1 : -1);
    const kind = !rows.length ? "none" : bad.length ? "fail" : "pass";
    const says = busy ? verdict("none", "running…")
      : !rows.length && ref ? (ref.error ? verdict("fail", "error") : verdict("none", `${sig(ref.ms)} ms, CPU`))
      : verdict(kind, { none: "not run", fail: rows.length > 1 ? `${bad.length} of ${rows.length} fail` : "fail", pass: rows.length > 1 ? `${rows.length} pass` : "pass" }[kind]);
    swap(this.cells, cells(timed[0], worst, timed.slice(1).map((r) => r.roof_fraction), says, c.real));
    this.element.classList.toggle("busy", busy);
    this.element.dataset.state = kind;
    const words = bad[0] ? complaint(bad[0]) + (bad.length > 1 ? ` (and ${plural(bad.length - 1, "other")}: open the row)` : "") : ref?.error ?? "";
    this.trouble.hidden = !words;
    this.trouble.textContent = words;
    if (this.results) this.drawResults(rows, ref);
  }

  open(yes) {
    this.panel.hidden = !yes;
    this.toggle.setAttribute("aria-expanded", yes);
    // Built when first opened: nobody would look at the plans and shaders of hundreds of rows.
    if (yes && !this.results) this.build();
  }

  build() {
    const { c } = this;
    this.results = h("div");
    this.shaders = h("div");
    this.planBox = h("fieldset.plans");
    const pick = (s) => radio(`${this.id}-s`, s, s === this.storage, () => { this.storage = s; return this.show(); }, s);
    this.panel.append(h("p.quiet", h("code", c.name)),
      h("div.two", h("fieldset.segments", h("legend", "Storage"), h("div", c.storages.map(pick))), this.planBox),
      h("p.buttons", state.device && [h("button.main", { onclick: () => this.run() }, "Run this"), h("button", { onclick: () => runAll({ only: new Set([c.name]) }) }, "Run every storage and plan")],
        h("button", { onclick: () => runReference(c) }, "Reference, on the CPU")),
      this.results, this.shaders);
    this.draw();
    guard(() => this.show())();
  }

  /** Makes sure that a plan is chosen; the first is the best. */
  async choose() {
    this.plans = await state.mill.plans(this.c.name, this.storage);
    if (!this.plans.some((p) => p.name === this.plan)) this.plan = this.plans[0]?.name;
  }

  async show() {
    try {
      await this.choose();
      swap(this.planBox, h("legend", "Plan, best first"), this.plans.map((p) => radio(`${this.id}-p`, p.name, p.name === this.plan, () => { this.plan = p.name; return this.show(); },
        h("code", p.name), h("span.quiet", ` ${p.steps > 1 ? `${p.steps} steps. ` : ""}${p.why}`))));
      // The list was made anew under the finger or the focus that changed it.
      if (document.activeElement === document.body) this.planBox.querySelector(":checked")?.focus();
      const steps = await state.mill.shader(this.c.name, this.storage, this.plan);
      swap(this.shaders, h("h4", `The WGSL that ${state.device ? "runs" : "runs on the least device"}: ${this.storage}, ${this.plan}`), steps.map(code));
    } catch (e) { swap(this.shaders, trouble(e)); }
  }

  drawResults(rows, ref) {
    swap(this.results,
      h("h4", "Results so far"),
      rows.length ? table("Results of this case", COLUMNS, rows.map((r) => [r.storage, h("code", r.plan), r.ok ? verdict("pass") : verdict("fail", compared(r) ? "fail" : "error"),
        percent(r.roof_fraction), time(r.median_us), r.p20_us ? `${time(r.p20_us)} – ${time(r.p80_us)}` : "–", sig(r.gb_s), sig(r.gflop_s), time(r.host_us),
        compared(r) ? tiny(r.error) : "–", compared(r) ? tiny(r.bound) : "–", bytes(r.bytes)])) : h("p.quiet", "None yet."),
      rows.filter((r) => !r.ok).map((r) => trouble(complaint(r))),
      ref && [h("h4", "The reference, in f64 on the CPU"), ref.error ? trouble(ref.error) : [h("p", `${sig(ref.ms)} ms, with the making of its inputs and bounds`), h("pre.output", { tabindex: "0" }, ref.output)]]);
  }
}

const KINDS = [["all", "All"], ["real", "Real models"], ["hurts", "Shapes that hurt"], ["fail", "Failing"]];

export default {
  id: "cases",
  title: "Cases",
  lead: "The shapes of real models are checked and timed. The shapes that hurt (odd, empty, huge, ill-conditioned) are checked. A case passes when its error is within the bound derived for it.",
  mount(body) {
    if (!state.cases.length) return false;
    if (!state.device) verb = "Reference";
    const byName = new Map(), dirty = new Set();
    let all, groups, ops;
    const visible = (rows) => rows.filter((r) => !r.element.hidden);

    const text = h("input", { type: "search", placeholder: "Model, shape, name…", "aria-label": "Filter by text", oninput: () => filter() });
    const op = h("select", { "aria-label": "Filter by op", onchange: () => filter() });
    const kind = h("fieldset.segments", h("legend.unseen", "Kind of case"), h("div", KINDS.map(([v, t], i) => radio("kind", v, !i, () => filter(), t))));
    const count = h("span.quiet", { "aria-live": "polite" }), list = h("div");

    const group = (name) => {
      const rows = all.filter((r) => r.c.op === name), tally = h("span.quiet");
      const go = () => {
        const only = new Set(visible(rows).map((r) => r.c.name));
        return state.device ? runAll({ storages: "first", plans: "best", only }) : runReferences(only);
      };
      const section = h("section.group", heads(h("h3", name, " ", tally), h("button.small", { "aria-label": `Run group: ${name}`, onclick: go }, "Run group")),
        h(rows.length > LONG ? "ul.long" : "ul", rows.map((r) => r.element)));
      return { section, draw() {
        const seen = visible(rows), n = (s) => seen.filter((r) => r.element.dataset.state === s).length, heavy = seen.filter((r) => tooMuch(r.c)).length;
        section.hidden = !seen.length;
        tally.textContent = [plural(seen.length, "case"), n("pass") && `${n("pass")} pass`, n("fail") && `${n("fail")} fail`,
          heavy && `${heavy} too much for this processor, run only one by one`].filter(Boolean).join(", ");
      } };
    };

    /** The ops whose cases are in the second wasm: one row for each, until they are there. */
    const absent = () => {
      const loading = state.whole === "loading", note = h("p.quiet", "These cases are in a second WebAssembly file, with the encoders and decoders of every weight format, which is loaded when it is asked for.");
      const section = h("section.group.absent", { "aria-busy": loading && "true" },
        h("div.card", h("div", h("h3", state.later.join(", ")), note),
          h("button", { disabled: loading, onclick: loadWhole }, loading ? "Loading the cases…" : state.whole?.error ? "Try again" : "Load the cases")),
        state.whole?.error && trouble(state.whole.error));
      return { section, draw() { section.hidden = Boolean(op.value && !state.later.includes(op.value)); } };
    };

    const build = () => {
      for (const c of state.cases) if (!byName.has(c.name)) byName.set(c.name, new Row(c));
      all = state.cases.map((c) => byName.get(c.name));
      ops = [...new Set(state.cases.map((c) => c.op))];
      const chosen = op.value;
      swap(op, h("option", { value: "" }, "Every op"), [...ops, ...state.later].map((o) => h("option", o)));
      op.value = chosen;
      groups = ops.map(group);
      if (state.later.length) groups.push(absent());
      swap(list, groups.map((g) => g.section));
      filter();
    };

    const filter = () => {
      const want = text.value.toLowerCase().split(/\s+/), k = kind.querySelector(":checked").value;
      for (const r of all) {
        const fits = k === "all" || (k === "fail" ? r.element.dataset.state === "fail" : r.c.real === (k === "real"));
        r.element.hidden = !(fits && (!op.value || op.value === r.c.op) && want.every((w) => r.text.includes(w)));
      }
      const n = visible(all).length;
      count.textContent = n === all.length ? plural(n, "case") : n ? `${whole(n)} of ${plural(all.length, "case")}` : "No case fits.";
      groups.forEach((g) => g.draw());
    };

    // Rows change many times a second in a long run; each is drawn at most once a frame.
    const flush = guard(() => { dirty.forEach((r) => r.draw()); dirty.clear(); groups.forEach((g) => g.draw()); });
    on("case", (name) => { if (!dirty.size) setTimeout(flush, 16); dirty.add(byName.get(name)); });
    on("whole", build);
    on("show", (v) => { kind.querySelector(`[value=${v}]`).checked = true; text.value = op.value = ""; filter(); });

    body.append(h("div.filters", { role: "search" }, text, op, kind, count), list);
    build();
  },
};
