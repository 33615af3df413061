// Elements, and the two places where the page speaks up: faults (seen) and say (heard).

const SVG = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title"]);
const there = (x) => x != null && x !== false;

/** h("button.small", { onclick: f }, "text", [more, nodes]). The attributes may be left out, nulls are skipped, and text is never HTML. */
export function h(spec, ...kids) {
  const [tag, ...names] = spec.split(".");
  const e = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (names.length) e.setAttribute("class", names.join(" "));
  if (Object.getPrototypeOf(kids[0] ?? "") === Object.prototype) {
    for (const [k, v] of Object.entries(kids.shift())) {
      if (k.startsWith("on")) e.addEventListener(k.slice(2), guard(v));
      else if (there(v)) e.setAttribute(k, v === true ? "" : v);
    }
  }
  e.append(...kids.flat(3).filter(there));
  return e;
}

export const swap = (e, ...kids) => e.replaceChildren(...kids.flat(3).filter(there));

/** Text in which `backticks` are code. */
export const prose = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", part) : part));

export const words = (error) => String(error?.message ?? error);

export const trouble = (error) => h("p.trouble", words(error));

/** Shows a failure that nobody planned for. */
export function fault(error, where) {
  console.error(error);
  const text = (where ? where + ": " : "") + words(error), box = document.getElementById("faults");
  // A failure in something that runs a thousand times is one failure.
  if ([...box.children].some((p) => p.firstChild.data === text)) return;
  const p = h("p", text, h("button", { onclick: () => p.remove(), "aria-label": "Dismiss" }, "×"));
  box.append(p);
}

/** The same function, whose failures, thrown or awaited, are shown. */
export const guard = (f) => (...a) => {
  try {
    const r = f(...a);
    r?.catch?.(fault);
    return r;
  } catch (e) { fault(e); }
};

/** Calls in the next frame when an element has become wider or narrower, and at first. */
export function onWidth(e, f) {
  let width;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width) return;
    width = contentRect.width;
    requestAnimationFrame(guard(f));
  }).observe(e);
}

export const say = (text) => { document.getElementById("say").textContent = text; };
