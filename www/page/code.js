// WGSL as it ran: numbered, with the splices that compose() marks shown as bands, and a little colour.
import { h } from "./dom.js";

const TOKEN = new RegExp([
  String.raw`(?<comment>//[^\n]*|/\*[\s\S]*?\*/)`,
  String.raw`(?<attr>@\w+)`,
  String.raw`(?<word>\b(?:alias|break|case|const|const_assert|continue|continuing|default|discard|else|enable|fn|for|if|let|loop|override|requires|return|struct|switch|var|while)\b)`,
  String.raw`(?<type>\b(?:bool|[iuf]32|f16|vec[234]\w?|array|atomic|ptr|function|private|workgroup|storage|uniform|read|write|read_write)\b)`,
  String.raw`(?<number>\b(?:0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?|\d[\d.]*(?:[eE][+-]?\d+)?)[iufh]?\b)`,
].join("|"), "g");

function lines(text) {
  const out = [[]];
  const put = (kind, s) => s.split("\n").forEach((part, i) => {
    if (i) out.push([]);
    if (part) out.at(-1).push(kind ? h(`span.${kind}`, part) : part);
  });
  let at = 0;
  for (const m of text.matchAll(TOKEN)) {
    put(null, text.slice(at, m.index));
    put(Object.keys(m.groups).find((k) => m.groups[k] !== undefined), m[0]);
    at = m.index + m[0].length;
  }
  put(null, text.slice(at));
  return out;
}

/** Copies, and says so on the button. Where there is no clipboard (plain http), or it is refused, the text is selected instead. */
export async function copy(button, text, source) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    source.hidden = false;
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: Ctrl+C";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
}

export function code({ kernel, wgsl }) {
  const text = wgsl.trimEnd(), plain = text.split("\n");
  const pre = h("pre", { tabindex: "0", "aria-label": `WGSL of ${kernel}` },
    h("code", lines(text).map((parts, i) => (/^\s*\/\/ ---- /.test(plain[i]) ? h("span.line.splice", plain[i], "\n") : h("span.line", parts, "\n")))));
  const button = h("button.small", { onclick: () => copy(button, wgsl, pre) }, "Copy");
  return h("details.code", { open: true }, h("summary", h("code", kernel), h("span.quiet", ` ${plain.length} lines`)), button, pre);
}
