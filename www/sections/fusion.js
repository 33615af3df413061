// Residual + norm + sum: one dispatch against three. The fused one reads the rows once.
import { h, swap, trouble } from "../page/dom.js";
import { sig, time } from "../page/show.js";
import { compareFusion, on, state, storagesOf } from "../page/mill.js";

const GOAL = 0.6;

export default {
  id: "fusion",
  title: "Fused or separate",
  lead: "Adding the residual, normalising, and keeping the sum: in one dispatch, which reads the rows once, and in three, which go through memory each time.",
  mount(body) {
    if (!state.device) return false;
    const storages = storagesOf(state.cases);
    const draw = () => {
      const got = storages.map((s) => [s, state.fusion.get(s)]), busy = got.some(([, f]) => f?.busy);
      const longest = Math.max(...got.map(([, f]) => f?.separate_us ?? 0)), part = (us) => `${(us / longest) * 100}%`;
      const lane = (name, us, ...marks) => h("div.stack", h("span", name), h("div.lane", marks), h("span.num", time(us)));
      const card = ([s, f]) => h("div.fuse",
        h("div.fhead", h("h3", s), h("span.quiet", f?.shape), h("button.small", { disabled: busy, onclick: () => compareFusion(s) }, "Compare", h("span.unseen", ` ${s}`))),
        f?.ratio ? [
          h("p.ratio", h("b", sig(f.ratio, 2)), ` of the time; the goal ${f.ratio <= GOAL ? `of ${GOAL} is met` : `is ${GOAL}`}`),
          lane("one dispatch", f.fused_us, h("i.s0", { style: `width:${part(f.fused_us)}` }), h("i.goal", { style: `left:${part(f.separate_us * GOAL)}` })),
          // The three are timed together and each alone: the length is the former, its parts are the latter.
          lane("three", f.separate_us, f.steps.map((x, i, all) => h(`i.s${i}`, { style: `width:${part((x.us / all.reduce((a, b) => a + b.us, 0)) * f.separate_us)}` }))),
          h("ul.legend", f.steps.map((x, i) => h("li", h(`i.s${i}`), `${x.name} ${time(x.us)}`))),
        ] : f?.error ? trouble(f.error) : h("p.quiet", f?.busy ? "Measuring…" : "Not measured yet."));
      swap(body,
        h("p.buttons", h("button", { disabled: busy, onclick: async () => { for (const s of storages) await compareFusion(s); } }, "Compare every storage"), h("span.quiet", h("i.key"), `goal: ${GOAL} of the three`)),
        h("div.fuses", got.map(card)));
    };
    on("fusion", draw);
    draw();
  },
};
