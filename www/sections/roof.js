// The measured roof: what a copy and a chain of FMAs reach on this device. Everything else on the page is a fraction of it.
import { h, onWidth, swap, trouble } from "../page/dom.js";
import { bytes, rate, sig } from "../page/show.js";
import { measureRoof, on, rowsOf, state } from "../page/mill.js";

const H = 220, R = 8;
const text = (x, y, words, anchor, more) => h("text", { x, y, "text-anchor": anchor, ...more }, words);
const rule = (kind, x1, x2, y) => h(`line.${kind}`, { x1, x2, y1: y, y2: y });
const svg = (width, label, ...marks) => h("svg", { width, height: H, role: "img", "aria-label": label }, marks);

/** Copy bandwidth by size: columns, because sizes are few and the caches' step is the story. */
function copyChart(w, roof) {
  const T = 26, foot = H - 26, top = Math.max(...roof.copy.map((c) => c.gb_s), roof.copy_gb_s) * 1.04;
  const step = (w - R) / roof.copy.length, wide = Math.min(step * 0.62, 54), x = (i) => step * (i + 0.5), y = (g) => T + (foot - T) * (1 - g / top);
  return svg(w, `Copy bandwidth. ${roof.copy.map((c) => `${bytes(c.bytes)}: ${sig(c.gb_s)} GB/s`).join("; ")}`,
    rule("base", 0, w - R, foot),
    roof.copy.map((c, i) => [h("rect.fill", { x: x(i) - wide / 2, y: y(c.gb_s), width: wide, height: foot - y(c.gb_s) }), text(x(i), foot + 17, bytes(c.bytes), "middle")]),
    rule("roofline", 0, w - R, y(roof.copy_gb_s)),
    roof.copy.map((c, i) => text(x(i), y(c.gb_s) - 7, sig(c.gb_s), "middle", { class: "value" })));
}

/** The roofline: rate over intensity, both logarithmic, and a dot for the best result of every timed case. */
function roofline(w, roof) {
  const L = 44, T = 18, foot = H - 34, log = Math.log10, fma = roof.fma_gflop_s, ridge = fma / roof.copy_gb_s;
  const dots = state.cases.map((c) => rowsOf(c.name).filter((r) => r.gflop_s > 0 && r.bytes > 0).sort((a, b) => b.gflop_s - a.gflop_s)[0]).filter(Boolean);
  const left = Math.min(0.1, ...dots.map((r) => (r.flops / r.bytes) * 0.7)), right = Math.max(ridge * 8, ...dots.map((r) => (r.flops / r.bytes) * 1.4));
  const low = Math.min(roof.copy_gb_s * 0.02, ...dots.map((r) => r.gflop_s * 0.7)), high = fma * 1.6;
  const x = (v) => L + (log(v / left) / log(right / left)) * (w - L - R), y = (v) => foot - (log(v / low) / log(high / low)) * (foot - T);
  const tens = (a, b) => Array.from({ length: Math.floor(log(b)) - Math.ceil(log(a)) + 1 }, (_, i) => 10 ** (Math.ceil(log(a)) + i));
  return svg(w, `Roofline: memory ${rate(roof.copy_gb_s, "B/s")}, arithmetic ${rate(fma, "FLOP/s")}, ${dots.length} cases placed`,
    tens(low, high).map((v) => [rule("grid", L, w - R, y(v)), text(L - 7, y(v) + 4, v >= 1e3 ? `${v / 1e3} T` : `${Number(v.toPrecision(1))} G`, "end")]),
    tens(left, right).map((v) => text(x(v), foot + 16, String(v), "middle")),
    rule("base", L, w - R, foot), text(w - R, H - 3, "FLOP per byte", "end"),
    h("path.roofline", { d: `M${x(left)} ${y(left * roof.copy_gb_s)}L${x(ridge)} ${y(fma)}L${x(right)} ${y(fma)}` }),
    text(w - R, y(fma) - 7, rate(fma, "FLOP/s"), "end"), text(x(ridge / 4) - 8, y(fma / 4) - 6, rate(roof.copy_gb_s, "B/s"), "end", { class: "value" }),
    dots.map((r) => h(r.ok ? "circle.case" : "circle.case.bad", { cx: x(r.flops / r.bytes), cy: y(r.gflop_s), r: 4 },
      h("title", `${r.case}, ${r.storage}, ${r.plan}: ${rate(r.gflop_s, "FLOP/s")}`))));
}

const stat = (name, value, note) => h("div", h("dt", name), h("dd", value), h("dd.quiet", note));

export default {
  id: "roof",
  title: "The measured roof",
  lead: "What a plain copy and a chain of multiply-adds reach on this very device, now. A kernel is judged by its fraction of that, never by a data sheet.",
  mount(body) {
    if (!state.device) return false;
    const draw = () => {
      const r = state.roof;
      if (!r?.copy) {
        return swap(body, h("div.empty", r?.error && trouble(r.error),
          h("p", r?.busy ? "Measuring…" : "Not measured yet. It takes a few seconds and the whole GPU."),
          h("button", { disabled: r?.busy, onclick: measureRoof }, r?.error ? "Try again" : "Measure the roof")));
      }
      const w = body.clientWidth, half = w > 760 ? (w - 48) / 2 : w;
      swap(body,
        h("dl.stats",
          stat("Copy", rate(r.copy_gb_s, "B/s"), "read and write, past the caches"),
          stat("f32 FMA", rate(r.fma_gflop_s, "FLOP/s"), `ridge at ${sig(r.fma_gflop_s / r.copy_gb_s, 2)} FLOP/byte`),
          stat("f16 FMA", r.f16_gflop_s ? rate(r.f16_gflop_s, "FLOP/s") : "–", r.f16_gflop_s ? `×${sig(r.f16_gflop_s / r.fma_gflop_s, 2)} of f32` : "no f16 on this device"),
          stat("int8 dot", r.dot_gop_s ? rate(r.dot_gop_s, "OP/s") : "–", r.dot_gop_s ? `×${sig(r.dot_gop_s / r.fma_gflop_s, 2)} of f32` : "not on this device"),
          stat("Timer", r.timer, r.timer === "slope" ? "no timestamps: repeats are compared" : "on the GPU")),
        h("div.charts",
          h("figure", copyChart(half, r), h("figcaption", "Copy, GB/s, by size. ", h("i.key"), " the roof that is used")),
          h("figure", roofline(half, r), h("figcaption", "The roofline. A dot is the best result of a timed case"))));
    };
    // A redraw for every row would be hundreds in a long run: a few a second are enough.
    let due;
    on("case", () => { if (state.roof?.copy) due ??= setTimeout(() => { due = null; draw(); }, 400); });
    on("roof", draw);
    onWidth(body, draw);
  },
};
