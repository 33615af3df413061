// The device card; without a device, what is missing and how to turn it on.
import { h, swap } from "../page/dom.js";
import { bytes, whole } from "../page/show.js";
import { table } from "../page/marks.js";
import { state } from "../page/mill.js";
import { missing } from "./missing.js";

const amount = (v, unit) => (unit === "bytes" ? bytes(v) : whole(v));

// Where a lower number is the better one (alignments) a factor would read as its opposite, so these have none.
const times = ({ name, value, baseline }) => (!baseline || !value || /^min_|align/.test(name) ? "" : value === baseline ? "=" : `×${Number((value / baseline).toPrecision(2))}`);

function chips(list) {
  const note = h("p.note", { "aria-live": "polite" }, "Choose a capability to read what it gives, or what its absence costs.");
  const buttons = list.map((c) => {
    // Hover, focus and tap all show the note in one place: a floating tip would be cut off on a phone.
    const show = () => {
      buttons.forEach((b) => b.setAttribute("aria-pressed", b === button));
      swap(note, h("b", `${c.name}: ${c.there ? "there" : "missing"}. `), c.note.replace(/^missing:\s*/i, ""));
    };
    const button = h(`button.chip.${c.there ? "there" : "gone"}`, { "aria-pressed": "false", onclick: show, onfocus: show, onpointerenter: show },
      h("span", { "aria-hidden": "true" }, c.there ? "●" : "○"), ` ${c.name} `, h("span.quiet", c.there ? "there" : "missing"));
    return button;
  });
  return [h("div.chips", { role: "group", "aria-label": "Capabilities" }, buttons), note];
}

export default {
  id: "device",
  get title() { return state.device ? "Device" : "No device"; },
  get lead() { return state.device ? "What the browser says about the GPU it lent us. Which plan runs is decided from these facts alone." : "The kernels need WebGPU. This is what is missing here, and how to turn it on."; },
  mount(body) {
    if (!state.device) return body.append(...missing());
    const d = state.device, baseline = /[?&]caps=baseline\b/.test(location.search);
    const facts = [["Kind", d.kind], ["Vendor", d.vendor], ["Architecture", d.architecture], ["API", d.api], ["Driver", d.driver]].filter(([, v]) => v);
    body.append(h("div.two",
      h("div",
        h("h3.adapter", d.name || "An adapter without a name"),
        h("dl.facts", facts.map(([k, v]) => h("div", h("dt", k), h("dd", v)))),
        h("h3.label", "Capabilities"), chips(d.chips),
        h("p.quiet", baseline
          ? ["Narrowed to the WebGPU baseline: only what every device has is used. ", h("a", { href: location.pathname }, "Use all of this device")]
          : ["Every kernel has a plan for the baseline tier too. ", h("a", { href: "?caps=baseline" }, "Run as a baseline device")])),
      h("div",
        h("h3.label", "Limits, beside the WebGPU baseline"),
        table("Limits", ["Limit", "Here", "Baseline", "Ratio"], d.limits.map((l) =>
          [l.name.replace(/_bytes$/, "").replaceAll("_", " "), amount(l.value, l.unit), l.baseline ? amount(l.baseline, l.unit) : "–", times(l)])))));
  },
};
