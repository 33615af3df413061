// The page: opens the mill and mounts the sections, in order. A section is one module with
// { id, title, lead, mount(body) }; mount may return false where it has nothing to show. A new one is one line in SECTIONS.
import { fault, guard, h, say } from "./page/dom.js";
import { loadWhole, open, runAll, state } from "./page/mill.js";
import { mountControl } from "./sections/control.js";
import device from "./sections/device.js";
import roof from "./sections/roof.js";
import attention from "./sections/attention.js";
import skipping from "./sections/skipping.js";
import adapters from "./sections/adapters.js";
import weights from "./sections/weights.js";
import cases from "./sections/cases.js";
import fusion from "./sections/fusion.js";
import recorded from "./sections/recorded.js";
import results from "./sections/results.js";

const SECTIONS = [device, roof, attention, skipping, weights, adapters, cases, fusion, results, recorded];
// Without a device the recorded rows are the best thing to see: they come before the references.
const WITHOUT = [device, recorded, attention, skipping, weights, adapters, cases];

addEventListener("error", (e) => fault(e.error ?? e.message));
addEventListener("unhandledrejection", (e) => fault(e.reason));

function mountSections() {
  const root = document.getElementById("sections"), links = document.getElementById("links");
  let number = 0;
  for (const s of state.device ? SECTIONS : WITHOUT) {
    const body = h("div"), section = h("section", { id: s.id, "aria-labelledby": `${s.id}-title` });
    root.append(section);
    try {
      if (s.mount(body) === false) { section.remove(); continue; }
    } catch (e) { fault(e, s.title); }
    number += 1;
    section.append(h("header", h("span.nth", { "aria-hidden": "true" }, String(number)), h("h2", { id: `${s.id}-title` }, s.title), h("p.lead", s.lead)), body);
    links.append(h("li", h("a", { href: `#${s.id}` }, s.title)));
  }
}

const ready = open().then((got) => {
  guard(mountControl)(document.getElementById("control"));
  mountSections();
  document.body.dataset.ready = got ? "device" : "missing";
  say(got ? `Ready: ${got.name}.` : `No WebGPU device. ${state.missing.reason}`);
  return got ?? { missing: state.missing.reason };
});

// For the browser test, and for anyone with a console.
window.gristmill = { ready, cases: () => state.cases, loadWhole, runAll };
