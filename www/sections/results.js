// Taking the numbers along.
import { h, say, swap } from "../page/dom.js";
import { plural } from "../page/show.js";
import { copy } from "../page/code.js";
import { allRows, on, report, state } from "../page/mill.js";

const json = () => JSON.stringify(report(), null, 1);

export function download() {
  const url = URL.createObjectURL(new Blob([json()], { type: "application/json" }));
  const name = (state.device.name || "device").replace(/[^\w.-]+/g, "-").toLowerCase();
  h("a", { href: url, download: `gristmill-${name}-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  say("The results were downloaded.");
}

export default {
  id: "results",
  title: "Take them along",
  lead: "The device, the roof, every row so far and the comparison, as JSON. The fields of a row are the columns of the recorded ones.",
  mount(body) {
    if (!state.device) return false;
    const what = h("span.quiet"), text = h("pre.output", { hidden: true });
    const button = h("button", { onclick: () => {
      text.textContent = json();
      return copy(button, text.textContent, text);
    } }, "Copy JSON");
    body.append(h("p.buttons", button, h("button", { onclick: download }, "Download JSON"), what), text);
    const draw = () => swap(what, allRows().length ? plural(allRows().length, "row") : "No rows yet.");
    on("case", draw);
    draw();
  },
};
