// The one prominent control, the readings below it, and the dock that shows a long run.
import { h, say, swap } from "../page/dom.js";
import { percent, plural, rate, sig, whole } from "../page/show.js";
import { allRows, loadWhole, on, runAll, runReferences, state, stop, tell, tooMuch } from "../page/mill.js";
import { download } from "./results.js";

const SCOPES = [
  ["Each case once", { storages: "first", plans: "best" }],
  ["Every storage, best plan", { plans: "best" }],
  ["Every storage and plan", {}],
];

function readings() {
  const rows = allRows(), bad = rows.filter((r) => !r.ok).length, best = Math.max(...rows.map((r) => r.roof_fraction ?? 0), 0);
  const one = (kind, name, value, note) => h(`div.${kind}`, h("dt", name), h("dd", value), h("dd.quiet", note));
  return [
    one("wide", "Device", state.device.name || "unnamed", state.device.kind),
    one("", "Copy roof", rate(state.roof?.copy_gb_s, "B/s"), state.roof?.copy ? "measured" : "not measured yet"),
    one("", "Best case", best ? percent(best) : "–", best > 1 ? "of the roof: from a cache" : "of the roof"),
    one(bad ? "bad" : "", "Checks", rows.length ? `${whole(rows.length - bad)} / ${whole(rows.length)}` : "–", !rows.length ? "nothing run yet" : bad ? `${whole(bad)} fail` : "all pass"),
  ];
}

export function mountControl(root) {
  mountDock(document.getElementById("dock"));
  if (!state.device) {
    const draw = () => {
      const here = state.cases.filter((c) => !tooMuch(c)).length;
      swap(root, here > 0 && h("p.buttons", h("button.main.big", { onclick: () => runReferences() }, `Run ${plural(here, "reference")} on the CPU`),
        h("span.quiet", "There is no GPU to run on here; below is what is missing.")));
    };
    on("whole", draw);
    return draw();
  }
  const scope = h("select", { "aria-label": "How much to run" }, SCOPES.map(([t], i) => h("option", { value: i }, t)));
  const go = h("button.main.big", { id: "run-all", onclick: async () => {
    if (state.running) return stop();
    // Until it is drawn anew: a second press would ask for a second run.
    go.disabled = true;
    await loadWhole();
    return runAll({ ...SCOPES[scope.value][1], fusion: true });
  } });
  const dl = h("dl.readings");
  const draw = () => {
    // How many there are is known when all are loaded.
    go.textContent = state.running ? "Stop" : state.whole === "loading" ? "Loading…" : state.later.length ? "Run all cases" : `Run all ${plural(state.cases.filter((c) => !tooMuch(c)).length, "case")}`;
    go.disabled = state.whole === "loading";
    swap(dl, readings());
  };
  swap(root, h("p.buttons", go, scope, h("span.quiet", "Measures the roof first. Nothing runs until you ask.")), dl);
  let due;
  for (const event of ["case", "roof", "running", "ran", "whole"]) on(event, () => { due ??= setTimeout(() => { due = null; draw(); }, 150); });
  draw();
}

function mountDock(dock) {
  const meter = h("progress", { "aria-label": "Progress" }), count = h("b"), label = h("span.what"), halt = h("button", { onclick: stop }, "Stop");
  let spoken = -1;
  on("running", () => {
    const r = state.running, tenth = Math.floor((r.done / r.total) * 10);
    if (spoken < 0) {
      dock.hidden = false;
      document.body.classList.add("milling");
      swap(dock, meter, h("div", count, label), halt);
    }
    meter.max = r.total;
    meter.value = r.done;
    count.textContent = `${whole(r.done)} / ${whole(r.total)}`;
    label.textContent = r.stop ? "Stopping after this one…" : r.label + (r.failed ? ` (${whole(r.failed)} failed)` : "");
    halt.disabled = r.stop;
    // Every tenth part aloud: a screen reader that reads every row would never finish.
    if (tenth > spoken) say(tenth ? `${tenth * 10} per cent, ${r.failed} failed.` : `Running ${plural(r.total, "step")}.`);
    spoken = Math.max(spoken, tenth);
  });
  on("ran", (r) => {
    spoken = -1;
    document.body.classList.remove("milling");
    const text = `${r.stop ? "Stopped: " : ""}${whole(r.done)} of ${plural(r.total, "step")} in ${sig(r.seconds)} s, ${r.failed ? whole(r.failed) : "none"} failed.`;
    const failing = () => { tell("show", "fail"); document.getElementById("cases").scrollIntoView(); };
    swap(dock, h("div", text), allRows().some((row) => !row.ok) && h("button", { onclick: failing }, "Show failing"),
      r.what === "run" && h("button", { onclick: download }, "Download JSON"), h("button", { onclick: () => { dock.hidden = true; } }, "Close"));
    say(text);
  });
}
