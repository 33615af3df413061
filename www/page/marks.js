// The drawn marks that several sections share. Every mark says in words what it shows: colour is never the only carrier.
import { h } from "./dom.js";
import { percent, rate, sig, time, tiny } from "./show.js";

// The track ends a little past the roof, so that a case that runs out of a cache can be seen to beat it.
const END = 1.15;
const along = (f) => `${(Math.min(Math.max(f, 0), END) / END) * 100}%`;

/** The fraction of the roof: one bar, the roof as a line, and a small mark for every other result. */
const bar = (fraction, others) => h("div.bar", { role: "img", "aria-label": `${fraction == null ? "no" : percent(fraction)} fraction of the roof` },
  h(fraction > END ? "div.track.past" : "div.track",
    fraction != null && h("i.fill", { style: `width:${along(fraction)}` }),
    others.filter(Number.isFinite).map((f) => h("i.other", { style: `left:${along(f)}` })),
    h("i.roofline", { style: `left:${along(1)}` })),
  h("span.pct", fraction == null ? "" : percent(fraction)));

// Errors spread over decades, and the only mark that matters is the bound: log scale, 10⁻⁴ to 10 times the bound.
const LOW = -4, HIGH = 1;
const onLog = (r) => `${Math.min(Math.max((Math.log10(r) - LOW) / (HIGH - LOW), 0.02), 0.98) * 100}%`;

/** Whether outputs were held against the reference: else there is a message in place of an error. */
export const compared = (row) => !row.thrown && (row.ok || Boolean(row.operand));

/** Error over bound. It is endless where an error is no number, or where none is allowed. */
export const worstOf = (row) => (row.ok ? row.worst ?? 0 : (row.bound > 0 && row.worst) || Infinity);

function gauge(row) {
  if (!row) return h("div.errors", h("div.gauge"));
  const w = worstOf(row);
  return h(w > 1 ? "div.errors.over" : "div.errors",
    h("div.gauge", { role: "img", "aria-label": errorWords(row) },
      h("i.stem", { style: `width:${onLog(w)}` }), h("i.dot", { style: `left:${onLog(w)}` }), h("i.bound", { style: `left:${onLog(1)}` })),
    h("span.num", Number.isFinite(w) ? `${sig(w, 2)}×` : row.error === null ? "no number" : "none allowed"));
}

export const errorWords = (row) => `error ${tiny(row.error)}, bound ${tiny(row.bound)}`;

const axis = (marks) => h("div.axis", marks.map(([text, left]) => h("span", { style: `left:${left}` }, text)));

/** The cells of a row, measured or recorded; `best` may be missing (not timed), `worst` too (not run). */
export const cells = (best, worst, others, state, real = true) => [
  real ? bar(best?.roof_fraction, others) : h("div.bar.untimed", "checked, not timed"),
  h("span.num.time", best ? time(best.median_us) : real ? "–" : ""),
  h("span.num.gbs", best ? rate(best.gb_s, "B/s") : real ? "–" : ""),
  gauge(worst), state];

/** The heads of the same grid: the heads of the bars are their axes. */
export const heads = (name, last) => h("div.row.heads", name,
  h("div.cells", { "aria-hidden": "true" }, axis([0, 0.25, 0.5, 0.75, 1].map((f) => [f === 1 ? "roof" : f * 100, along(f)])),
    h("span.num", "time"), h("span.num", "rate"), axis([["10⁻³", onLog(1e-3)], ["bound", onLog(1)]]), h("span")), last);

/** What tells a row apart comes first, with the model where there is one; the op is the group's heading already. */
export function rowName(c, ...more) {
  const model = c.model && !c.title.includes(c.model);
  const first = model ? [c.model, `${c.phase} ${c.title}`] : [c.title], second = model ? more : [c.phase, ...more];
  return [["span.title", first], ["span.sub", second]].map(([k, t]) => h(k, t.filter(Boolean).join(" · ")));
}

const SIGNS = { pass: "✓ ", fail: "✗ " };
export const verdict = (kind, text = kind) => h(`span.verdict.${kind}`, SIGNS[kind] && h("span", { "aria-hidden": "true" }, SIGNS[kind]), text);

/** A table that scrolls sideways inside itself, so that the page never does. Rows are arrays of cells. */
export const table = (label, names, rows) => h("div.scroll", { role: "region", tabindex: "0", "aria-label": label },
  h("table", h("thead", h("tr", names.map((t) => h("th", { scope: "col" }, t)))), h("tbody", rows.map((r) => h("tr", r.map((c) => h("td", c)))))));
