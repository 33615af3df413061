// A section whose code is in the second wasm: a button loads it.
import { h, swap, trouble } from "./dom.js";

/** `show` loads what it needs and fills the body; where it fails, that is said, and it can be tried again. */
export function later(body, { words, busyWords, button }, show) {
  let empty;
  const draw = (busy, error) => {
    const before = empty;
    empty = h("div.empty", { "aria-busy": busy && "true" }, error && trouble(error),
      h("p", busy ? busyWords : words), h("button", { disabled: busy, onclick: open }, error ? "Try again" : busy ? "Loading…" : button));
    if (!before) swap(body, empty);
    else if (before.isConnected) before.replaceWith(empty);
    // What is shown already stays, under what went wrong.
    else body.prepend(trouble(error));
  };
  const open = async () => {
    draw(true);
    try { await show(); } catch (e) { draw(false, e); }
  };
  draw(false);
}
