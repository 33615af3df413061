//! Subgroups in a browser.
//!
//! wgpu 30 has no name for them there and so cannot ask for them (gfx-rs/wgpu issue 10146). But it makes its request
//! through `GPUAdapter.prototype.requestDevice`, which is replaced while ours is made by a function that adds `subgroups` to
//! what is required. What the device then can do is proved by doing it; whatever is missing on the way, there
//! are just no subgroups.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Proxy, Reflect};
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};
use wasm_bindgen::{JsCast as _, throw_val};

use crate::caps::Subgroups;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};

const FEATURE: &str = "subgroups";
const METHOD: &str = "requestDevice";

/// Makes a request, and says whether the browser was asked for subgroups with it. The request must leave for the browser
/// before `request` returns; its answer may take its time.
pub(super) fn asking_for_subgroups<T>(request: impl FnOnce() -> T) -> (T, bool) {
    let asked = Rc::new(Cell::new(false));
    let replaced = Replaced::new(asked.clone());
    let made = request();
    drop(replaced);
    (made, asked.get())
}

/// `gpu`, with subgroups where the device proves to have them; `asked` says whether it was asked for them.
pub(super) async fn with_proved_subgroups(gpu: Dispatcher, asked: bool) -> Result<Dispatcher> {
    let sizes = Subgroups { min: gpu.info().subgroup_min_size, max: gpu.info().subgroup_max_size };
    if !asked && gpu.caps().subgroups.is_none() {
        return Ok(gpu);
    }
    let proved = match gpu.proves(sizes).await {
        Ok(proved) => proved.then_some(sizes),
        Err(lost @ Error::Lost { .. }) => return Err(lost),
        Err(_) => None,
    };
    Ok(gpu.restricted(|caps| caps.subgroups = proved))
}

/// The method while it is replaced; dropping this puts the old one back.
struct Replaced {
    prototype: JsValue,
    method: Function,
    _apply: Closure<Apply>,
}

/// The trap of a [`Proxy`] around a function, which is how a closure of ours learns what `this` is.
type Apply = dyn Fn(Function, JsValue, Array) -> JsValue;

impl Replaced {
    fn new(asked: Rc<Cell<bool>>) -> Option<Self> {
        let prototype = get(&get(&js_sys::global(), "GPUAdapter")?, "prototype")?;
        let method: Function = get(&prototype, METHOD)?.dyn_into().ok()?;
        let apply = Closure::<Apply>::new(move |method: Function, adapter: JsValue, arguments: Array| {
            asked.set(require(&adapter, &arguments.get(0)).is_some());
            Reflect::apply(&method, &adapter, &arguments).unwrap_or_else(|e| throw_val(e))
        });
        let traps = Object::new();
        Reflect::set(&traps, &"apply".into(), apply.as_ref()).ok()?;
        let ours = Proxy::new(&method, &traps);
        Reflect::set(&prototype, &METHOD.into(), &ours).ok()?.then_some(Self { prototype, method, _apply: apply })
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // A prototype that took our method also takes its own back.
        let _ = Reflect::set(&self.prototype, &METHOD.into(), &self.method);
    }
}

/// Adds the feature to what the descriptor requires; `None` where the adapter does not have it.
fn require(adapter: &JsValue, descriptor: &JsValue) -> Option<()> {
    let features: Features = get(adapter, "features")?.unchecked_into();
    if !features.has(FEATURE).ok()? {
        return None;
    }
    let required: Array = get(descriptor, "requiredFeatures")?.dyn_into().ok()?;
    required.push(&FEATURE.into());
    Some(())
}

/// A property that is there.
fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &name.into()).ok().filter(|v| !v.is_null() && !v.is_undefined())
}

#[wasm_bindgen]
extern "C" {
    /// `GPUSupportedFeatures`, which is like a set.
    type Features;

    #[wasm_bindgen(method, catch)]
    fn has(this: &Features, name: &str) -> std::result::Result<bool, JsValue>;
}
