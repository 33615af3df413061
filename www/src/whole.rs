//! The exports of the second wasm alone: one weight in every format, the attention of a sentence, the patches that layers keep, and adapters.

use std::cell::RefCell;
use std::rc::Rc;

use gristmill::Dispatcher;
use gristmill::ops::depth::{Curve, Schedule};
use gristmill::proof::measure::{Roof, Timer};
use js_sys::Reflect;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsError, JsValue, wasm_bindgen};

use crate::adapters::{self, Asked, RANK_MOST};
use crate::attention::{self, Map, Sentence, Switches, TOKENS_MOST};
use crate::film::{self, Film, Timed};
use crate::weights::{self, Shown};
use crate::{Answer, caps, data, device, get, measured_roof, told, with};

/// The weight that is shown, and the formats that it can be written in.
struct Weights {
    values: Vec<f32>,
    formats: Vec<Shown>,
}

thread_local! {
    static WEIGHTS: RefCell<Option<Rc<Weights>>> = RefCell::default();
    static FILM: RefCell<Option<Rc<Film>>> = RefCell::default();
    static LAYER: RefCell<Option<Rc<Timed>>> = RefCell::default();
}

/// Takes a roof as [`roof`](crate::roof) gave it: it is the same device.
#[wasm_bindgen]
pub fn keep_roof(roof: JsValue) -> Result<(), JsError> {
    let roof = roof_from(&roof).ok_or_else(|| told("what was given is no roof"))?;
    with(|mill| mill.roof = Some(Rc::new(roof)));
    Ok(())
}

/// The formats.
#[wasm_bindgen]
pub fn formats() -> Answer {
    let weights = the_weights()?;
    data(&weights::formats_json(&weights.formats, &caps()))
}

/// The weight: rows of numbers, one after the other.
#[wasm_bindgen]
pub fn matrix() -> Result<js_sys::Float32Array, JsError> {
    Ok(the_weights()?.values.as_slice().into())
}

/// The weight in a format.
#[wasm_bindgen]
pub async fn quantized(format: &str, on_device: bool) -> Answer {
    let (weights, format) = shown(format)?;
    let packed = weights::encoded(&format, &weights.values).map_err(told)?;
    let decoded = packed.decode();
    let same = match with(|mill| mill.gpu.clone()) {
        Some(gpu) if on_device => Some(weights::same_on_device(&gpu, &packed, &decoded).await.map_err(told)?),
        _ => None,
    };
    let lost = weights::loss(&weights.values, &decoded);
    let answer = data(&lost.json(&format.label, packed.bytes(), same))?;
    put(&answer, "decoded", &js_sys::Float32Array::from(decoded.as_slice()))?;
    Ok(answer)
}

/// One row of activations times a large weight in a format. The roof is measured first, unless it has been.
#[wasm_bindgen]
pub async fn multiply(format: &str) -> Answer {
    let (_, format) = shown(format)?;
    let gpu = device()?;
    let roof = the_roof(&gpu).await?;
    data(&weights::multiply(&gpu, &format, &roof).await.map_err(told)?.json())
}

/// The heads.
#[wasm_bindgen]
pub fn heads() -> Answer {
    data(&attention::heads_json())
}

/// The attention of `{ tokens, heads, rope, causal }`: `plain`, and `switched` by `{ l2, rms, window, softcap, sink }`, which may be
/// absent each. Tokens beyond the most are left out.
#[wasm_bindgen]
pub async fn attention(asked: JsValue) -> Answer {
    let number = |name| get(&asked, name).and_then(|v| v.as_f64());
    let is = |name| get(&asked, name).is_some_and(|v| v.is_truthy());
    let tokens = get(&asked, "tokens").and_then(|v| v.dyn_into::<js_sys::Array>().ok()).unwrap_or_default();
    let tokens: Vec<String> = tokens.iter().filter_map(|t| t.as_string()).take(TOKENS_MOST).collect();
    if tokens.is_empty() {
        return Err(told("attention: there is no token"));
    }
    let heads = number("heads").map_or(1, |n| n as usize).clamp(1, attention::HEADS_MOST);
    let sentence = Sentence { tokens, heads, rope: is("rope"), causal: is("causal") };
    let switches = Switches {
        l2: number("l2").map(|v| v as f32),
        rms: is("rms"),
        window: number("window").map(|v| v as u32),
        softcap: number("softcap").unwrap_or_default() as f32,
        sink: number("sink").map(|v| v as f32),
    };
    let gpu = with(|mill| mill.gpu.clone());
    let answer = js_sys::Object::new();
    for (name, switches) in [("plain", Switches::default()), ("switched", switches)] {
        let map = match &gpu {
            Some(gpu) => sentence.on_device(gpu, &switches).await,
            None => sentence.on_host(&switches),
        };
        put(&answer, name, &map_data(&map.map_err(told)?)?)?;
    }
    Ok(answer.into())
}

fn map_data(map: &Map) -> Answer {
    let answer = data(&map.json())?;
    for (name, numbers) in [("weights", &map.weights), ("lse", &map.lse)] {
        put(&answer, name, &js_sys::Float32Array::from(numbers.as_slice()))?;
    }
    Ok(answer)
}

/// What of the film is always the same: picture, tokens, layers, and the layer that can be timed.
#[wasm_bindgen]
pub fn film() -> Answer {
    data(&film::shape_json(&caps()))
}

/// Routes a picture of RGBA through all layers, with gates `alpha·tanh(r) + 1`: scores and gates. It stays for [`kept`].
#[wasm_bindgen]
pub async fn routed(pixels: js_sys::Uint8Array, alpha: f32) -> Answer {
    let pixels = pixels.to_vec();
    let film = match with(|mill| mill.gpu.clone()) {
        Some(gpu) => Film::on_device(&gpu, &pixels, alpha).await,
        None => Film::on_host(&pixels, alpha),
    };
    let film = film.map_err(told)?;
    let answer = data(&film.json())?;
    for (name, numbers) in [("scores", &film.scores), ("gates", &film.gates)] {
        put(&answer, name, &js_sys::Float32Array::from(numbers.as_slice()))?;
    }
    FILM.set(Some(Rc::new(film)));
    Ok(answer)
}

/// What the layers keep of the picture by a schedule `{ curve, beta, above, floor }`, each as p-MoD has it where it is absent.
#[wasm_bindgen]
pub async fn kept(asked: JsValue) -> Answer {
    let film = FILM.with_borrow(Clone::clone).ok_or_else(|| told("kept: no picture has been routed"))?;
    let number = |name| get(&asked, name).and_then(|v| v.as_f64());
    let of = Schedule::new(2);
    let curve = get(&asked, "curve").and_then(|v| v.as_string());
    let schedule = Schedule {
        curve: curve.map_or(Ok(of.curve), |name| Curve::parse(&name)).map_err(told)?,
        beta: number("beta").unwrap_or(of.beta),
        skip_above: number("above").unwrap_or(of.skip_above),
        floor: number("floor").unwrap_or(of.floor),
        ..of
    };
    let kept = film.kept(with(|mill| mill.gpu.clone()).as_ref(), &schedule).await.map_err(told)?;
    let answer = data(&kept.json())?;
    put(&answer, "keep", &js_sys::Uint8Array::from(kept.keep.as_slice()))?;
    Ok(answer)
}

/// The layer that is timed, made anew: how long it takes over all tokens, with a router and without, and whether the two give the same. It stays for
/// [`time_layer`].
#[wasm_bindgen]
pub async fn dense_layer() -> Answer {
    let layer = Rc::new(Timed::new(&device()?).map_err(told)?);
    let whole = layer.whole().await.map_err(told)?;
    LAYER.set(Some(layer));
    data(&whole.json())
}

/// How long it takes where it keeps this part of its patches, in microseconds.
#[wasm_bindgen]
pub async fn time_layer(ratio: f32) -> Result<f64, JsError> {
    let layer = LAYER.with_borrow(Clone::clone).ok_or_else(|| told("time_layer: there is no layer yet"))?;
    layer.kept_us(ratio).await.map_err(told)
}

/// Sizes and formats of the section on adapters.
#[wasm_bindgen]
pub fn adapters() -> Answer {
    data(&adapters::shape_json(&caps()))
}

/// What LoRA, DoRA and BoRA make of a weight, by `{ format, rank, scale, magnitude, columns_first }`.
#[wasm_bindgen]
pub async fn merged(asked: JsValue) -> Answer {
    let asked = asked_merge(&asked);
    let shown = match with(|mill| mill.gpu.clone()) {
        Some(gpu) => asked.on_device(&gpu).await,
        None => asked.on_host(),
    };
    let shown = shown.map_err(told)?;
    let answer = data(&shown.json())?;
    let [rows, columns] = &shown.magnitudes;
    let numbers = [("made", &shown.made), ("base", &shown.base), ("rows", rows), ("columns", columns)];
    for (name, numbers) in
        numbers.into_iter().chain(adapters::KINDS.into_iter().zip(shown.merged.iter().map(|m| &m.weight)))
    {
        put(&answer, name, &js_sys::Float32Array::from(numbers.as_slice()))?;
    }
    Ok(answer)
}

/// A merge of the size of a layer. The roof is measured first, unless it has been.
#[wasm_bindgen]
pub async fn time_merge(kind: &str, asked: JsValue) -> Answer {
    let gpu = device()?;
    let roof = the_roof(&gpu).await?;
    data(&adapters::time_merge(&gpu, kind, &asked_merge(&asked), &roof).await.map_err(told)?.json())
}

fn asked_merge(asked: &JsValue) -> Asked {
    let number = |name| get(asked, name).and_then(|v| v.as_f64()).unwrap_or_default();
    Asked {
        format: get(asked, "format").and_then(|v| v.as_string()).unwrap_or_default(),
        rank: (number("rank") as usize).clamp(1, RANK_MOST),
        scale: number("scale") as f32,
        magnitude: number("magnitude") as f32,
        columns_first: get(asked, "columns_first").is_some_and(|v| v.is_truthy()),
    }
}

/// The roof, measured now unless it has been; and what ran last is let go.
async fn the_roof(gpu: &Dispatcher) -> Result<Rc<Roof>, JsError> {
    match with(|mill| (mill.kept.take(), mill.roof.clone()).1) {
        Some(roof) => Ok(roof),
        None => measured_roof(gpu).await.map_err(told),
    }
}

fn put(object: &JsValue, name: &str, value: &JsValue) -> Result<(), JsError> {
    Reflect::set(object, &name.into(), value).map(drop).map_err(|_| told("the numbers could not be handed over"))
}

fn the_weights() -> Result<Rc<Weights>, JsError> {
    if let Some(weights) = WEIGHTS.with_borrow(Clone::clone) {
        return Ok(weights);
    }
    let weights = Rc::new(Weights { values: weights::matrix(), formats: weights::formats().map_err(told)? });
    WEIGHTS.set(Some(weights.clone()));
    Ok(weights)
}

fn shown(label: &str) -> Result<(Rc<Weights>, Shown), JsError> {
    let weights = the_weights()?;
    let shown = weights.formats.iter().find(|s| s.label == label).cloned();
    Ok((weights, shown.ok_or_else(|| told(format!("there is no format {label}")))?))
}

fn roof_from(roof: &JsValue) -> Option<Roof> {
    let value = |of: &JsValue, name| get(of, name)?.as_f64();
    let copies = get(roof, "copy")?.dyn_into::<js_sys::Array>().ok()?;
    let copies = copies.iter().map(|copy| Some((value(&copy, "bytes")? as u64, value(&copy, "gb_s")?)));
    let timer = get(roof, "timer")?.as_string()?;
    Some(Roof {
        copies: copies.collect::<Option<_>>()?,
        copy_gb_s: value(roof, "copy_gb_s")?,
        fma_gflop_s: value(roof, "fma_gflop_s")?,
        f16_gflop_s: value(roof, "f16_gflop_s"),
        // No browser has them.
        matrix_gflop_s: None,
        dot_gop_s: value(roof, "dot_gop_s"),
        timer: [Timer::Timestamps, Timer::Slope].into_iter().find(|t| t.name() == timer)?,
    })
}
