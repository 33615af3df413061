// What the page knows, and the only code that asks the wasm module for anything.
// Sections read `state`, listen with `on`, and never call each other.
import { fault, guard, words } from "./dom.js";
import { percent } from "./show.js";

export const state = {
  mill: null,        // the wasm module: the first, until the second takes over
  later: [],         // ops whose cases are in the second
  whole: null,       // of the second: "loading", "ready", or { error }
  device: null,
  missing: null,     // { kind, reason } where there is no device
  roof: null,
  cases: [],
  rows: new Map(),   // case → Map("storage plan" → row), the newest of each
  active: null,      // "case" that is on the device now
  references: new Map(),
  fusion: new Map(), // storage → the comparison, or { error }
  weights: null,     // what the section on weights has; see openWeights
  running: null,     // { what, done, total, failed, label, stop } while a run over many cases goes on
};

const listeners = {};
export const on = (event, f) => (listeners[event] ??= []).push(guard(f));
/** Calls with whether kernels are running, as they begin and end. */
export const onBusy = (f) => { for (const event of ["running", "ran"]) on(event, () => f(Boolean(state.running))); };
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

const baseline = () => new URLSearchParams(location.search).get("caps") === "baseline";

// Both wasms take them, each once.
let shaders, whole;

/** One of the two wasms, by the name of its files. Not a static import: a file that is missing must be a sentence on the page, not an empty page. */
async function load(name) {
  const mill = await import(`../${name}.js`);
  await mill.default();
  return mill;
}

/** The same with its shaders. */
async function loaded(name) {
  const mill = await load(name);
  mill.provide(await shaders);
  return mill;
}

/** Loads the wasm and the shaders and opens the device. Resolves to the device, or null with `state.missing` set. */
export async function open() {
  const miss = (kind, reason) => { state.missing = { kind, reason: words(reason) }; return null; };
  // Both are on their way at once; a failure of the second is told where it is waited for.
  shaders = fetchShaders();
  shaders.catch(() => {});
  let kind = "wasm";
  try {
    const mill = await load("gristmill");
    kind = "shaders";
    mill.provide(await shaders);
    kind = "wasm";
    [state.cases, state.later] = [mill.cases(), mill.later()];
    state.mill = mill;
  } catch (e) {
    return miss(kind, e);
  }
  if (!isSecureContext) return miss("insecure", `${location.origin} is plain http, and browsers give WebGPU only to https and to localhost`);
  if (!navigator.gpu) return miss("api", "this browser has no navigator.gpu");
  try {
    return (state.device = await state.mill.open({ baseline: baseline() }));
  } catch (e) {
    const adapter = await navigator.gpu.requestAdapter().catch(() => null);
    return miss(adapter ? "device" : "adapter", e);
  }
}

let taken;

/**
 * Loads the second wasm, which has every case and the formats of weights; it takes over from the first, with a device of its own and
 * the roof that was measured. Asked for again it is there already; after a failure it is tried again.
 */
export function loadWhole() {
  if (taken) return taken;
  // Said at once, though what runs now may have to end first.
  tell("whole", (state.whole = "loading"));
  return (taken = alone(async () => {
    try {
      const mill = (whole ??= await loaded("whole"));
      if (state.device) await mill.open({ baseline: baseline() });
      if (state.roof?.copy) mill.keep_roof(state.roof);
      const cases = mill.cases();
      state.mill.close();
      Object.assign(state, { mill, cases, later: [], whole: "ready" });
    } catch (e) {
      taken = null;
      state.whole = { error: words(e) };
      throw e;
    } finally {
      tell("whole");
    }
  }));
}

/** Ends a run whose device is gone: what comes after it would fail as well, and says nothing about kernels. */
function lost(message) {
  if (!/the device is lost/i.test(message ?? "")) return false;
  if (state.running) state.running.stop = true;
  fault(`${message}. Reload the page to open it again.`);
  return true;
}

const keep = (row) => {
  if (lost(row.message)) return row;
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
  if (c.real && !state.roof?.copy) await measureRoof();
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

/**
 * The section on weights: loads what it needs, and writes the matrix in each format on the CPU. `formats` are by bits; `lost` has what each
 * lost, by name, and `times` the row of its product.
 */
export async function openWeights() {
  await loadWhole();
  const w = await alone(() => ({ ...state.mill.formats(), matrix: state.mill.matrix(), lost: new Map(), times: new Map(), device: new Map() }));
  tell("weights", (state.weights = w));
  for (const { name } of w.formats) {
    await alone(async () => {
      if (!w.lost.has(name)) w.lost.set(name, await state.mill.quantized(name, false));
    });
    tell("weights", name);
    await pause();
  }
}

/** Decodes the matrix in a format on the device too, once. */
export const decodeOnDevice = (name) => alone(async () => {
  const w = state.weights, done = w.device.get(name);
  if (!state.device || (done && !done.error)) return;
  try {
    const got = await state.mill.quantized(name, true);
    w.lost.set(name, got);
    w.device.set(name, { same: got.same, of: got.decoded.length });
  } catch (e) { w.device.set(name, { error: words(e) }); }
  tell("weights", name);
});

/** Multiplies by a weight in each of these formats, checked and timed. */
export async function timeFormats(names) {
  await long("run", names, async (name, r) => {
    await roofFirst(r);
    r.label = `one row times a weight in ${name}`;
    tell("running");
    await decodeOnDevice(name);
    const row = await alone(async () => {
      try { return await state.mill.multiply(name); } catch (e) { return { ok: false, thrown: true, message: words(e) }; }
    });
    state.weights.times.set(name, row);
    if (!row.ok || state.weights.device.get(name)?.error) r.failed += 1;
    tell("weights", name);
  });
}

/** The names of the heads whose attention is shown. */
export async function openAttention() {
  await loadWhole();
  return state.mill.heads();
}

/** What the tokens of a sentence see of each other; see `attention` in www/src/whole.rs. */
export const attend = (asked) => alone(() => state.mill.attention(asked));

/** Picture, tokens and layers of the section on token skipping; see `film` in www/src/whole.rs. */
export async function openFilm() {
  await loadWhole();
  return alone(() => state.mill.film());
}

/** Scores and gates of a picture's patches in every layer; and, of the picture that was routed last, what the layers keep. */
export const routePatches = (pixels, alpha) => alone(() => state.mill.routed(pixels, alpha));
export const keepPatches = (schedule) => alone(() => state.mill.kept(schedule));

/**
 * Times the decoder layer of that section: of a ratio `{ us }`, of none what it takes with all tokens; see `dense_layer` in www/src/whole.rs. What goes
 * wrong is `{ error }`.
 */
export const timeLayer = (ratio) => alone(async () => {
  let error;
  // It may take so little that a busy processor hides it: then it is tried again.
  for (let tries = 0; tries < 3; tries += 1) {
    try { return ratio === null ? await state.mill.dense_layer() : { us: await state.mill.time_layer(ratio) }; } catch (e) { error = e; }
  }
  return { error: words(error) };
});

/** The same of many ratios, which can be stopped; `took` is told each. */
export const timeLayers = (ratios, took) => long("run", ratios, async (ratio, r) => {
  r.label = ratio === null ? "a decoder layer with all tokens" : `a decoder layer with ${percent(ratio)} of the patches`;
  tell("running");
  const timed = await timeLayer(ratio);
  if (timed.error) r.failed += 1;
  took(ratio, timed);
});

/** Sizes and formats of the section on adapters; see `adapters` in www/src/whole.rs. */
export async function openAdapters() {
  await loadWhole();
  return alone(() => state.mill.adapters());
}

/** What each adapter makes of the small weight. */
export const mergeAdapters = (asked) => alone(() => state.mill.merged(asked));

/** Merges of the size of a layer, checked and timed: pairs of a kind and its row. */
export async function timeMerges(kinds, asked) {
  const rows = [];
  await long("run", kinds, async (kind, r) => {
    await roofFirst(r);
    r.label = `merge of ${kind}`;
    tell("running");
    const row = await alone(() => state.mill.time_merge(kind, asked)).catch((e) => ({ ok: false, thrown: true, message: words(e) }));
    if (!row.ok) r.failed += 1;
    rows.push([kind, row]);
  });
  return rows;
}

/** The roof is part of the run: before it began, another could be asked for. */
async function roofFirst(r) {
  if (r.done > 0 || state.roof?.copy) return;
  r.label = "the roof";
  tell("running");
  await measureRoof();
}

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

/** Layers of real models, which would take a processor minutes. Each can be run by itself. */
export const tooMuch = (c) => c.heavy && (state.device?.kind ?? "CPU") === "CPU";

/**
 * Every case × storage × plan that has been loaded, or the part of it that was asked for; the rows, in order.
 * `storages` is "all", "first", or a list of names; `real` true or false keeps one kind of case; `only` is a set of case names;
 * `fusion` adds the comparison at the end.
 */
export async function runAll({ timed = true, storages = "all", plans = "all", real, only, fusion, onRow } = {}) {
  if (!state.device) throw new Error(`no device: ${state.missing?.reason ?? "not open yet"}`);
  const jobs = [];
  for (const c of state.cases) {
    if ((real !== undefined && c.real !== real) || (only && !only.has(c.name)) || tooMuch(c)) continue;
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

export const runReferences = (only) => long("reference", state.cases.filter((c) => !tooMuch(c) && (!only || only.has(c.name))), async (c, r) => {
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
  weights: state.weights?.formats.map(({ name, bits }) => ({
    name, bits, error: state.weights.lost.get(name)?.error ?? null, decoded_on_device: state.weights.device.get(name) ?? null, product: state.weights.times.get(name) ?? null,
  })),
});
