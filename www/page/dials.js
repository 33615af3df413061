// Dials: sliders and switches, each with its name, what it stands at, and a sentence on what it does.
import { h, prose, swap } from "./dom.js";

export class Dials {
  /** `asked` has what each stands at; `set(key, value)` hears of a change. Ids and names begin with that of the section. */
  constructor(section, asked, set) {
    Object.assign(this, { section, asked, set, all: {} });
  }

  range(key, min, max, step) {
    return h("input", { type: "range", id: `${this.section}-${key}`, min, max, step, value: this.asked[key], oninput: (e) => this.set(key, Number(e.target.value)) });
  }

  tick(key) {
    return h("input", { type: "checkbox", id: `${this.section}-${key}`, checked: this.asked[key], onchange: (e) => this.set(key, e.target.checked) });
  }

  /** One of a list of [value, name]. */
  radios(key, label, list) {
    return h("fieldset.segments", h("legend.unseen", label), h("div", list.map(([value, name]) =>
      h("label", h("input", { type: "radio", name: `${this.section}-${key}`, value, checked: value === this.asked[key], onchange: () => this.set(key, value) }), h("span", name)))));
  }

  dial(key, name, control, note) {
    const at = h("b.at"), says = h("p.quiet", prose(note)), ticks = control.type === "checkbox";
    this.all[key] = { at, says, control };
    return h(`div.dial.of-${key}`,
      h("p.dial-name", ticks ? h("label", control, name) : control.id ? h("label", { for: control.id }, name) : h("span", name), at), !ticks && control, says);
  }

  /** What a dial stands at, in words. */
  stands(key, words) {
    const { at, control } = this.all[key];
    swap(at, words);
    if (control.type === "range") control.setAttribute("aria-valuetext", words);
  }

  /** Another sentence. */
  says(key, note) {
    swap(this.all[key].says, prose(note));
  }
}
