// Rows that the native benchmark recorded on other devices. Never mixed with what was measured here.
import { h, swap, trouble, words } from "../page/dom.js";
import { plural } from "../page/show.js";
import { cells, heads, rowName, verdict } from "../page/marks.js";
import { state } from "../page/mill.js";

const NUMBERS = ["median_us", "p20_us", "p80_us", "bytes", "flops", "gb_s", "gflop_s", "roof_fraction", "error", "bound", "host_us"];

/** Quoted fields, doubled quotes, either line ending: adapter names hold commas. */
function readCsv(text) {
  const table = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    table.at(-1).push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === "") break;
    if (end !== ",") table.push([]);
  }
  const [names, ...lines] = table.filter((l) => l.length > 1);
  return (lines ?? []).map((l) => {
    const r = Object.fromEntries(names.map((n, i) => [n, l[i]]));
    for (const n of NUMBERS) r[n] = r[n] ? Number(r[n]) : null;
    return r;
  });
}

/** One set for each adapter, newest first; in it of each case and storage the rows of the day and commit that measured it last, by the newest driver. */
async function load() {
  const index = await fetch("results/index.json");
  if (index.status === 404) return [];
  if (!index.ok) throw new Error(`results/index.json: ${index.status}`);
  const sets = new Map();
  for (const name of await index.json()) {
    const file = await fetch(`results/${name}`);
    if (!file.ok) throw new Error(`results/${name}: ${file.status}`);
    for (const r of readCsv(await file.text())) {
      if (!sets.has(r.adapter)) sets.set(r.adapter, { adapter: r.adapter, date: "", runs: new Map() });
      const set = sets.get(r.adapter), key = `${r.driver} ${r.case} ${r.storage}`, last = set.runs.get(key);
      if (last?.date === r.date && last.commit === r.commit) last.plans.set(r.plan, r);
      else if (!last || r.date >= last.date) set.runs.set(key, { ...r, plans: new Map([[r.plan, r]]) });
      if (r.date >= set.date) Object.assign(set, { date: r.date, driver: r.driver, commit: r.commit });
    }
  }
  for (const set of sets.values()) set.rows = [...set.runs.values()].filter((run) => run.driver === set.driver).flatMap((run) => [...run.plans.values()]);
  return [...sets.values()].sort((a, b) => (a.date < b.date ? 1 : -1));
}

/** The best plan of each case and storage, with the others as marks. */
function lines(rows) {
  const best = new Map();
  for (const r of rows) {
    const key = `${r.case} ${r.storage}`;
    if (!(best.get(key)?.roof_fraction >= r.roof_fraction)) best.set(key, r);
  }
  return [...best.values()].map((r) => {
    const c = state.cases.find((c) => c.name === r.case) ?? { title: r.case }, worst = r.error ? r.error / r.bound : 0;
    const others = rows.filter((o) => o !== r && o.case === r.case && o.storage === r.storage).map((o) => o.roof_fraction);
    return h("li.case", h("div.row", h("div", rowName(c, r.storage, r.plan)),
      h("div.cells", cells(r, { ...r, worst, ok: worst <= 1 }, others, worst <= 1 ? verdict("pass", "passed") : verdict("fail", "failed"))), h("span.tag", { title: r.commit }, r.date)));
  });
}

export default {
  id: "recorded",
  title: "Recorded elsewhere",
  lead: "Rows that the native benchmark wrote on other devices, each beside the roof of its own device. Nothing here was measured in this browser.",
  mount(body) {
    body.append(h("p.quiet", "Reading the recorded rows…"));
    load().then((sets) => {
      if (!sets.length) return swap(body, h("p.empty", "There are no recorded rows next to this page."));
      const list = h("div");
      const show = (set) => {
        const { rows } = set, ops = [...new Set(rows.map((r) => r.op))];
        swap(list, h("p.stamp", h("b", "Recorded"), ` on ${set.adapter}, driver ${set.driver}. Each row has its date; the newest are of commit `, h("code", set.commit), "."),
          ops.map((op, i) => {
            const mine = rows.filter((r) => r.op === op);
            return h("details.group", { open: !state.device && !i }, h("summary", h("h3", op), h("span.quiet", ` ${plural(mine.length, "row")}`)), heads(h("span"), h("span")), h("ul", lines(mine)));
          }));
      };
      const pick = h("select", { "aria-label": "Recorded on", onchange: () => show(sets[pick.value]) }, sets.map((s, i) => h("option", { value: i }, `${s.adapter}, ${s.date}`)));
      swap(body, h("div.filters", pick), list);
      show(sets[0]);
    }).catch((e) => swap(body, trouble(`The recorded rows could not be read: ${words(e)}`)));
  },
};
