// What the page knows, and the only code that asks the wasm module for anything.
// Sections read `state`, listen with `on`, and never call each other.
import { guard, words } from "./dom.js";

export const state = {
  mill: null,        // the wasm module
  device: null,
  missing: null,     // { kind, reason } where there is no device
  roof: null,
  cases: [],
  rows: new Map(),   // case → Map("storage plan" → row), the newest of each
  active: null,      // "case" that is on the device now
  references: new Map(),
  fusion: new Map(), // storage → the comparison, or { error }
  running: null,     // { what, done, total, failed, label, stop } while a run over many cases goes on
};

const listeners = {};
export const on = (event, f) => (listeners[event] ??= []).push(guard(f));
export const tell = (event, detail) => listeners[event]?.forEach((f) => f(detail));

export const rowsOf = (name) => [...(state.rows.get(name)?.values() ?? [])];
export const allRows = () => state.cases.flatMap((c) => rowsOf(c.name));
export const storagesOf = (cases) => [...new Set(cases.flatMap((c) => c.storages))];

// One thing on the device at a time: two timings that overlap are both wrong. A run of one row that is asked for
// during a long run takes the next turn.
let last = Promise.resolve();
const alone = (work) => (last = last.then(work, work));

// The wasm runs on this thread; without a pause now and then nothing would be drawn and Stop could not be pressed.
// A timer rather than an animation frame, because a tab in the background gets none.
let paused = performance.now();
const pause = async () => {
  if (performance.now() - paused < 40) return;
  await new Promise((r) => setTimeout(r));
  paused = performance.now();
};

/** The texts of all shaders by name: the wasm does not have them. */
async function fetchShaders() {
  const file = "shaders.json", answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file} could not be fetched: the server says ${answer.status} ${answer.statusText}`.trimEnd());
  return answer.json().catch((e) => { throw new Error(`${file} cannot be read: ${words(e)}`); });
}

/** Loads the wasm and the shaders and opens the device. Resolves to the device, or null with `state.missing` set. */
export async function open() {
  const miss = (kind, reason) => { state.missing = { kind, reason: words(reason) }; return null; };
  // Both are on their way at once; a failure of the second is told where it is waited for.
  const shaders = fetchShaders();
  shaders.catch(() => {});
  let kind = "wasm";
  try {
    // Not a static import: a file that is missing must be a sentence on the page, not an empty page.
    const mill = await import("../gristmill.js");
    await mill.default();
    kind = "shaders";
    mill.provide(await shaders);
    kind = "wasm";
    state.cases = await mill.cases();
    state.mill = mill;
  } catch (e) {
    return miss(kind, e);
  }
  if (!isSecureContext) return miss("insecure", `${location.origin} is plain http, and browsers give WebGPU only to https and to localhost`);
  if (!navigator.gpu) return miss("api", "this browser has no navigator.gpu");
  try {
    const baseline = new URLSearchParams(location.search).get("caps") === "baseline";
    return (state.device = await state.mill.open({ baseline }));
  } catch (e) {
    const adapter = await navigator.gpu.requestAdapter().catch(() => null);
    return miss(adapter ? "device" : "adapter", e);
  }
}

const keep = (row) => {
  if (!state.rows.has(row.case)) state.rows.set(row.case, new Map());
  state.rows.get(row.case).set(`${row.storage} ${row.plan}`, row);
  return row;
};

const NUMBERS = ["error", "bound", "worst", "operand", "median_us", "p20_us", "p80_us", "bytes", "flops", "gb_s", "gflop_s", "roof_fraction", "host_us"];

/** A run that threw is a row too: a test that counts rows must see it. */
const broken = (c, storage, plan, error) => ({
  ...Object.fromEntries(NUMBERS.map((n) => [n, null])),
  case: c.name, op: c.op, storage, plan, ok: false, thrown: true, message: words(error),
});

const once = (c, storage, plan, timed, error) => alone(async () => {
  state.active = c.name;
  tell("case", c.name);
  try {
    if (error) throw error;
    return keep(await state.mill.run(c.name, storage, plan, timed));
  } catch (e) {
    return keep(broken(c, storage, plan, e));
  } finally {
    state.active = null;
    tell("case", c.name);
  }
});

/** Runs one case. Shapes that hurt are checked and not timed: they are too small for a time to mean anything. */
export async function runCase(c, storage, plan) {
  if (c.real && !state.roof) await measureRoof();
  return once(c, storage, plan, c.real);
}

export const measureRoof = () => alone(async () => {
  if (state.roof?.copy) return true;
  tell("roof", (state.roof = { busy: true }));
  try { state.roof = await state.mill.roof(); } catch (e) { state.roof = { error: words(e) }; }
  tell("roof");
  return !state.roof.error;
});

export const compareFusion = (storage) => alone(async () => {
  state.fusion.set(storage, { busy: true });
  tell("fusion");
  try { state.fusion.set(storage, await state.mill.fusion(storage)); } catch (e) { state.fusion.set(storage, { error: words(e) }); }
  tell("fusion");
  return !state.fusion.get(storage).error;
});

export const runReference = (c) => alone(async () => {
  await pause();
  try { state.references.set(c.name, await state.mill.reference(c.name)); } catch (e) { state.references.set(c.name, { error: words(e) }); }
  tell("case", c.name);
});

async function long(what, jobs, one) {
  if (state.running) throw new Error("a run is going on already: stop it first");
  const r = (state.running = { what, done: 0, total: jobs.length, failed: 0, label: "", stop: false, since: performance.now() });
  tell("running");
  try {
    for (const job of jobs) {
      if (r.stop) break;
      await one(job, r);
      r.done += 1;
      tell("running");
      await pause();
    }
  } finally {
    r.seconds = (performance.now() - r.since) / 1e3;
    state.running = null;
    tell("ran", r);
  }
}

/**
 * Every case × storage × plan, or the part of it that was asked for; the rows, in order.
 * `storages` is "all", "first", or a list of names; `real` true or false keeps one kind of case; `only` is a set of case names;
 * `fusion` adds the comparison at the end.
 */
export async function runAll({ timed = true, storages = "all", plans = "all", real, only, fusion, onRow } = {}) {
  if (!state.device) throw new Error(`no device: ${state.missing?.reason ?? "not open yet"}`);
  const jobs = [];
  for (const c of state.cases) {
    if ((real !== undefined && c.real !== real) || (only && !only.has(c.name))) continue;
    const some = storages === "first" ? c.storages.slice(0, 1) : c.storages.filter((s) => storages === "all" || storages.includes(s));
    for (const storage of some) {
      try {
        const all = await state.mill.plans(c.name, storage);
        if (!all.length) throw new Error(`${c.op}: no plan for ${storage}`);
        for (const p of plans === "best" ? all.slice(0, 1) : all) jobs.push({ c, storage, plan: p.name });
      } catch (error) { jobs.push({ c, storage, plan: "–", error }); }
    }
  }
  if (timed && !state.roof?.copy) jobs.unshift({ label: "the roof", work: measureRoof });
  if (fusion) jobs.push(...storagesOf(state.cases).map((s) => ({ label: `fused against separate, ${s}`, work: () => compareFusion(s) })));
  const rows = [];
  await long("run", jobs, async ({ c, storage, plan, error, label, work }, r) => {
    r.label = label ?? `${c.name} · ${storage} · ${plan}`;
    tell("running");
    const row = work ? { ok: await work() } : await once(c, storage, plan, timed && c.real, error);
    if (!row.ok) r.failed += 1;
    if (work) return;
    rows.push(row);
    onRow?.(row);
  });
  return rows;
}

export const runReferences = (only) => long("reference", state.cases.filter((c) => !only || only.has(c.name)), async (c, r) => {
  r.label = c.name;
  tell("running");
  await runReference(c);
  if (state.references.get(c.name).error) r.failed += 1;
});

export const stop = () => { if (state.running) state.running.stop = true; tell("running"); };

/** What Copy and Download hand out: enough to tell later where each number came from. */
export const report = () => ({
  page: location.href, date: new Date().toISOString(), browser: navigator.userAgent,
  device: state.device, roof: state.roof?.copy ? state.roof : null,
  rows: allRows(), fusion: Object.fromEntries(state.fusion),
});
