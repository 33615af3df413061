// No device: which part is missing, and how to turn it on in this browser. The versions are from the status page of the
// WebGPU working group, which is linked below: this list will age, that one is kept.
import { h, prose, trouble } from "../page/dom.js";
import { state } from "../page/mill.js";

const ua = navigator.userAgent;
// An iPad says that it is a Mac; no Mac has a touch screen.
const ios = /iPhone|iPad|iPod/.test(ua) || (/Mac/.test(ua) && navigator.maxTouchPoints > 1);
const android = /Android/.test(ua), firefox = /Firefox/.test(ua), chromium = /Chrome|Edg/.test(ua) && !ios;
const linux = /Linux/.test(ua) && !android;

const UNSAFE = "`chrome://flags/#enable-unsafe-webgpu`";
const REASON = "`chrome://gpu` names the reason in its WebGPU line (a blocked driver, for example); “Use graphics acceleration when available” must be on in `chrome://settings/system`.";

const GUIDES = [
  ["Chrome or Edge on Windows, macOS, ChromeOS", chromium && !linux && !android,
    "On by default since version 113: update the browser.",
    REASON,
    `Windows on Arm, or a blocked driver: enable ${UNSAFE} and relaunch.`],
  ["Chrome, Chromium or Edge on Linux", chromium && linux,
    "On by default since 144 with Intel Gen12 and later, and since 147 with NVIDIA and driver 535.183.01 or later.",
    `Anything else: enable ${UNSAFE} and \`chrome://flags/#enable-vulkan\` and relaunch, or start it with \`--enable-unsafe-webgpu --ozone-platform=x11 --use-angle=vulkan --enable-features=Vulkan,VulkanFromANGLE\``,
    "`vulkaninfo --summary` must list a device (Debian and Ubuntu: the package `mesa-vulkan-drivers`).",
    "No GPU at all: `--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader` runs the kernels on the CPU.",
    REASON],
  ["Chrome on Android", chromium && android,
    "On by default since 121 on Android 12 and later with a Qualcomm or Arm GPU, and since 139 on Android 16 with an Imagination GPU.",
    `Other phones: enable ${UNSAFE} and relaunch. Some drivers stay blocked; \`chrome://gpu\` names the reason.`],
  ["Firefox", firefox,
    "On by default on Windows since 141, and on Apple silicon since 147 (145 on macOS 26). Update first.",
    "Elsewhere (Linux, Intel Macs): set `dom.webgpu.enabled` to true in `about:config` and restart. If nothing changes, use Firefox Nightly, where it is on.",
    "Android: the same setting in Firefox Nightly; where `about:config` is closed, `chrome://geckoview/content/config.xhtml` opens it.",
    "`about:support`, under Graphics, names the reason when a driver is blocked."],
  ["Safari, and every browser on iPhone and iPad", ios || (!chromium && !firefox && /Safari/.test(ua)),
    "On by default in Safari 26 on macOS, iOS, iPadOS and visionOS 26: update the system.",
    "iOS and iPadOS 18: Settings › Apps › Safari › Advanced › Feature Flags › WebGPU.",
    "Older macOS: Safari › Settings › Advanced › “Show features for web developers”, then Feature Flags › WebGPU."],
];

const port = location.port || 80, tunnel = location.port || 8080;
const INSECURE = ["An address that browsers trust", true,
  `On the machine that serves this page, open \`http://localhost:${port}/\`: localhost counts as secure.`,
  `From another machine, bring the port over with \`ssh -L ${tunnel}:localhost:${port} ${location.hostname}\` and open \`http://localhost:${tunnel}/\``,
  "Or serve the page over https.",
  `For a test, in Chrome or Edge: add \`${location.origin}\` to \`chrome://flags/#unsafely-treat-insecure-origin-as-secure\``];

const SAYS = {
  insecure: ["This address has no WebGPU", "The page came over plain http from another machine. Browsers give WebGPU to https and to localhost only."],
  api: ["This browser has no WebGPU", "There is no navigator.gpu: the browser is too old, or WebGPU is turned off in it."],
  adapter: ["WebGPU is here, but no adapter", "The browser gave no GPU to run on: its driver is missing, blocked, or turned off."],
  device: ["There is an adapter, but it could not be opened", "Closing other tabs that use the GPU, or restarting the browser, often helps."],
  wasm: ["The kernels could not be loaded", "The WebAssembly module is not next to this page, or this browser refused it. “cargo xtask web” builds it and serves the page."],
  shaders: ["The shaders could not be loaded", "The WGSL of all kernels is one file, shaders.json, next to this page. “cargo xtask web” writes it and serves the page."],
};

const guide = (open) => ([name, , ...steps]) => h("details", { open }, h("summary", name), h("ol", steps.map((s) => h("li", prose(s)))));

export function missing() {
  const { kind, reason } = state.missing, [head, why] = SAYS[kind];
  const card = h("div.missing", { "data-kind": kind }, h("h3", head), h("p", why), kind in { adapter: 1, device: 1, wasm: 1, shaders: 1 } && trouble(reason));
  if (kind in { wasm: 1, shaders: 1 }) return [card];
  const list = kind === "insecure" ? [INSECURE] : GUIDES, mine = list.filter((g) => g[1]), rest = list.filter((g) => !g[1]);
  return [card, h("h3.label", kind !== "insecure" && mine.length ? "In this browser" : "How to turn it on"), ...mine.map(guide(true)),
    ...(mine.length && rest.length ? [h("details.others", h("summary", "Other browsers"), rest.map(guide(false)))] : rest.map(guide(false))),
    h("p.quiet", "Who has WebGPU today: ", h("a", { href: "https://github.com/gpuweb/gpuweb/wiki/Implementation-Status" }, "the working group’s status page"),
      ". Until then, recorded rows show what the kernels did elsewhere, and the f64 reference runs on the CPU.")];
}
