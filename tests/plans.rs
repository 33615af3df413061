//! Which plan a device gets, for devices that we do not own; and what must be true of every plan. No GPU is needed.

#![allow(clippy::panic, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use gristmill::adapters::{AdapterSet, AttachParams, Room};
use gristmill::kv_steps::{CopyParams, NumbersParams, StateParams};
use gristmill::ops::adapter::{AdapterParams, ContractParams, FactorsParams};
use gristmill::ops::attention::AttentionParams;
use gristmill::ops::attention::Order;
use gristmill::ops::attention::prologue::{Projection, Prologue, PrologueParams};
use gristmill::ops::attention::rope::RopeParams;
use gristmill::ops::counted::{GridsParams, GridsStep};
use gristmill::ops::depth::{
    Choose, Combine, CombineParams, GRIDS, GRIDS_FOLD, Route, RouteParams, Select, SelectParams, SoftmaxParams, Take,
    TakeParams,
};
use gristmill::ops::linear::{Activation, DequantizeParams, DownParams, EncodeParams, Linear, LinearParams};
use gristmill::ops::little::GatherParams;
use gristmill::ops::norm::{HypersphereParams, NormParams, RmsNorm};
use gristmill::ops::prepare::PrepareParams;
use gristmill::ops::quantize::QuantizeParams;
use gristmill::ops::weight_merge::{AddParams, MergeKind, MixtureParams, ProductsParams, StockParams, WeightMerge};
use gristmill::plan::{Access, BIND_ALIGN_BYTES, Const, Indirect, PipelineKey, Source, Step, fold};
use gristmill::proof::cases;
use gristmill::wgsl::SHADERS;
use gristmill::{Caps, Elem, Error, Plan, Weight};

mod sweep;

use sweep::{Ask, Asked, Extent, Kind, Layer};

// ---- the table

/// The table that is kept, so that a change of a plan is seen.
const TABLE: &str = include_str!("plans.txt");

/// Typical problems.
fn typical() -> Vec<(&'static str, Ask)> {
    let rms = |rows, len, x| Ask::new(Kind::RmsNorm, rows, len, x);
    let fused = |rows, len, x| Ask { residual: Some(x), sum: true, ..rms(rows, len, x) };
    let layer = |rows, len, x| Ask { bias: Some(x), ..Ask::new(Kind::LayerNorm, rows, len, x) };
    let codes = |ask| Ask { y: Elem::I8, ..ask };
    vec![
        ("Llama-3-8B, prefill", Ask { kind: Kind::RmsCast, ..fused(512, 4096, Elem::Bf16) }),
        ("Llama-3-8B, decode", Ask { kind: Kind::RmsCast, ..fused(1, 4096, Elem::Bf16) }),
        ("Llama-3-8B, prefill, f16", fused(512, 4096, Elem::F16)),
        ("Llama-3-8B, decode, f16", fused(1, 4096, Elem::F16)),
        ("Llama-3-8B, prefill, f32", fused(512, 4096, Elem::F32)),
        ("Llama-3-8B, prefill to codes", codes(fused(512, 4096, Elem::F16))),
        ("Qwen3, heads of q and k", rms(512 * 40, 128, Elem::F16)),
        ("Gemma-3-4B, prefill", rms(512, 2560, Elem::Bf16)),
        ("Gemma-3-4B, decode", rms(1, 2560, Elem::Bf16)),
        ("ViT-B/16", layer(197, 768, Elem::F16)),
        ("ViT-B/16, a view at an odd element", Ask { start: 1, ..layer(197, 768, Elem::F16) }),
        ("BERT-base", layer(128, 768, Elem::F32)),
        ("few long rows", rms(4, 16_384, Elem::F16)),
        ("few long rows to codes", codes(layer(4, 16_384, Elem::F16))),
        ("one huge row", layer(1, 1 << 20, Elem::F32)),
        ("a million tiny rows", layer(1 << 20, 3, Elem::F32)),
        ("l2 over channels", Ask::new(Kind::L2Axis, 7 * 4096, 256, Elem::F32)),
        ("batch norm of images", Ask { bias: Some(Elem::F32), ..Ask::new(Kind::BatchSpatial, 96, 3136, Elem::F32) }),
        ("group norm", Ask { bias: Some(Elem::F16), ..Ask::new(Kind::GroupNorm, 64, 40_960, Elem::F16) }),
        ("Llama-3-8B, codes, prefill", Ask::new(Kind::QuantizeRows, 512, 4096, Elem::F16)),
        ("Llama-3-8B, codes, decode", Ask::new(Kind::QuantizeRows, 1, 4096, Elem::F16)),
        ("Llama-3-8B's MLP, codes that are not symmetric", Ask::new(Kind::QuantizeZero, 512, 14_336, Elem::Bf16)),
        ("SimbaV2", Ask { weight: None, ..Ask::new(Kind::HypersphericalStep, 256, 512, Elem::F32) }),
    ]
}

/// The devices of the table: all that [`Caps`] describes.
fn described() -> [(&'static str, Caps); 5] {
    [
        ("baseline", Caps::baseline()),
        ("apple_m", Caps::apple_m()),
        ("nvidia", Caps::nvidia()),
        ("adreno", Caps::adreno()),
        ("intel", Caps::intel()),
    ]
}

/// Typical linear layers.
fn layers() -> Vec<(String, Layer)> {
    let mut all = Vec::new();
    for (name, format) in [("f16", "dense"), ("Q4_0", "q4_0"), ("Q4_K", "q4_k"), ("AWQ-128", "awq-gemm")] {
        let w = sweep::weight(format, Elem::F16, 4096);
        for (part, n) in [("q", 4096), ("gate", 14_336)] {
            for (phase, m) in [("decode", 1), ("prefill", 512)] {
                all.push((format!("Llama-3-8B, {part}, {phase}"), Layer::new(name, w.clone(), m, n, Elem::F16)));
            }
        }
        if name != "f16" {
            for (phase, m) in [("decode", 4), ("prefill", 512)] {
                let codes = Layer { y: Elem::F16, ..Layer::new(name, w.clone(), m, 4096, Elem::I8) };
                all.push((format!("Llama-3-8B, q, int8 activations, {phase}"), codes));
            }
        }
        for (phase, m) in [("decode", 1), ("prefill", 512)] {
            let gate = Layer::new(format!("{name}, gate and up"), w.clone(), m, 14_336, Elem::F16);
            let gated = Layer { up: Some(w.clone()), activation: Activation::Silu, ..gate };
            all.push((format!("Llama-3-8B, MLP, {phase}"), gated));
        }
    }
    let wide = sweep::weight("dense", Elem::F32, 4096);
    all.push((
        "Llama-3-8B, logits, wider than a binding".into(),
        Layer::new("f32", wide.clone(), 1, 128_256, Elem::F32),
    ));
    all.push(("Llama-3-8B, logits of a prompt".into(), Layer::new("f32", wide, 512, 128_256, Elem::F32)));
    all
}

/// Token skipping in Llama-3-8B and in a model that sees.
fn skipping() -> gristmill::Result<Vec<(String, Asked)>> {
    let outline = |dims: [usize; 2], elem| gristmill::Tensor::outline(dims, elem);
    let mut all = Vec::new();
    let (x, kept) = (outline([2048, 4096], Elem::F16)?, outline([1024, 4096], Elem::F16)?);
    let (score, weight) = (outline([1, 2048], Elem::F32)?, outline([1, 4096], Elem::F16)?);
    let place = outline([1, 2048], Elem::U32)?;
    let route = Route { gate: Some(&score), ..Route::new(&x, &weight, &score) };
    all.push(("Llama-3-8B, router: 2048 rows of 4096".to_owned(), Asked::of(&route)?));
    let combine = Combine::new(&x, &kept, &kept, &score, &place, &x);
    all.push(("Llama-3-8B, end of a layer: 1024 of 2048 rows of 4096".to_owned(), Asked::of(&combine)?));
    let (list, weight) = (outline([1, 1024], Elem::U32)?, gristmill::Tensor::outline([4096], Elem::F16)?);
    let (normed, residual) = (
        gristmill::Tensor::outline([1, 1024, 4096], Elem::F16)?,
        gristmill::Tensor::outline([1, 1024, 4096], Elem::F16)?,
    );
    let grids = outline([GRIDS, 3], Elem::U32)?;
    let norm = RmsNorm { rows: Some(&list), weight: Some(&weight), sum: Some(&residual), ..RmsNorm::new(&x, &normed) };
    all.push(("Llama-3-8B, norm of kept rows: 1024 of 2048".to_owned(), Asked::of(&norm)?));
    let counted = RmsNorm { grids: Some(&grids), ..norm };
    all.push((
        "Llama-3-8B, norm of kept rows that the device has counted: up to 1024".to_owned(),
        Asked::of(&counted)?,
    ));
    let w = Weight::outline(&sweep::weight("dense", Elem::F16, 4096), 4096)?;
    let counted = Linear { grids: Some(&grids), ..Linear::new(&normed, &w, &residual) };
    all.push((
        "Llama-3-8B, a layer on kept rows that the device has counted: up to 1024".to_owned(),
        Asked::of(&counted)?,
    ));
    let row = gristmill::Tensor::outline([1, 4096], Elem::F16)?;
    let decoded = Linear { grids: Some(&grids), ..Linear::new(&row, &w, &row) };
    all.push(("Llama-3-8B, a layer on one row or none".to_owned(), Asked::of(&decoded)?));
    let from = Projection::Apart { q: Some(&normed), k: None, v: None };
    let prologue =
        Prologue { y: Some(&residual), grids: Some(&grids), order: Order::TokensFirst, ..Prologue::of(from, (32, 8)) };
    all.push((
        "Llama-3-8B, prologue of kept rows that the device has counted: up to 1024".to_owned(),
        Asked::of(&prologue)?,
    ));
    let (positions, of_kept) = (outline([1, 2048], Elem::I32)?, outline([1, 1024], Elem::I32)?);
    let take = Take { x: &positions, len: 1, rows: &list, y: &of_kept };
    all.push(("Llama-3-8B, positions of kept rows: 1024 of 2048".to_owned(), Asked::of(&take)?));
    for (samples, tokens) in [(1, 2048), (1, 65_536), (64, 131_072)] {
        let (score, count) =
            (outline([samples, tokens], Elem::F32)?, gristmill::Tensor::outline([samples], Elem::U32)?);
        let (words, grids) = (outline([samples, tokens], Elem::U32)?, outline([GRIDS, 3], Elem::U32)?);
        let select = Select::new(&score, Choose::Ratio(0.5), &count);
        let select = Select { index: Some(&words), place: Some(&words), grids: Some(&grids), ..select };
        all.push((format!("selection: {samples} × {tokens} tokens"), Asked::of(&select)?));
    }
    Ok(all)
}

/// The problems of the table, each with its title.
fn titled() -> Vec<(String, Asked)> {
    let told = |title: String, asked: gristmill::Result<Asked>| match asked {
        Ok(asked) => (title, asked),
        Err(error) => panic!("{title}: {error}"),
    };
    let asks = typical()
        .into_iter()
        .map(|(title, ask)| told(format!("{title}: {:?}, {} rows of {}", ask.kind, ask.rows, ask.len), ask.asked()));
    let layers = layers().into_iter().map(|(title, layer)| told(format!("{title}: {layer}"), layer.asked()));
    let numbers = [("q4_k", 4096), ("q4_0", 128_256)].map(|(format, n)| {
        let w = sweep::weight(format, Elem::F32, 4096);
        told(format!("dequantize, {n} by 4096 of {format}"), sweep::numbers(&w, n, Elem::F32))
    });
    let formats =
        [("q4_0", Elem::F16), ("int8", Elem::F32), ("group_ic", Elem::F16), ("bitnet", Elem::F16), ("bcq", Elem::F16)];
    let weights = formats.map(|(format, x)| {
        let w = sweep::weight(format, Elem::F32, 4096);
        told(format!("encode, 4096 by 4096 of {} into {format}", x.name()), sweep::encoded(&w, 4096, x))
    });
    let skipping = skipping().unwrap_or_else(|e| panic!("token skipping: {e}"));
    let merges = [
        "llama3-8b-q-dora-r16-f16-into-q4_0",
        "llama3-8b-q-dora-r16-f16-into-int8",
        "llama3-8b-q-lora-r16-q4_0",
        "llama3-8b-q-dora-r16-q4_0",
        "llama3-8b-q-bora-r16-f16",
        "mpo-5",
    ];
    let merges = merges.map(|name| {
        let name = format!("adapter_merge/{name}");
        let asked = sweep::case(&name, Elem::F16);
        told(name, asked)
    });
    let live = ["q4_0-dora-r16-m1", "q4_0-bora-r16-m1", "q4_0-eight-m8", "nf4-lora-r64-m512"].map(|name| {
        let name = format!("adapter_linear/llama3-8b-q-{name}");
        let asked = sweep::case(&name, Elem::F16);
        told(name, asked)
    });
    let attached = sweep::attached().into_iter().filter(|(name, _)| name.contains("of [4096, 4096]"));
    let attached = attached.map(|(title, asked)| told(title, asked));
    let whole = ["llama3-8b-q-task-3", "llama3-8b-q-model_stock-3", "xft-of-9"].map(|name| {
        let name = format!("weight_merge/{name}");
        let asked = sweep::case(&name, Elem::Bf16);
        told(name, asked)
    });
    let attention = [
        "qkv_prologue/llama3-8b-decode",
        "qkv_prologue/qwen3-0.6b-prefill",
        "qkv_prologue/olmo2-1b-prefill",
        "attention/llama3-8b-decode-1024",
        "attention/llama3-8b-decode-32768",
        "attention/llama3-8b-decode-8192-q8_0",
        "attention/qwen3-0.6b-decode-8192-q4_0",
        "attention/gemma3-4b-decode-32768",
        "attention/llama3-8b-prefill-512",
        "attention/llama3-8b-prefill-2048",
        "attention/gemma3-4b-prefill-512",
        "attention/vit-b16",
        "attention/mini-deit-b",
        "attention/ragged-paged",
        "attention/nan-for-some",
    ];
    let attention = attention.map(|name| told(name.to_owned(), sweep::case(name, Elem::F16)));
    let wide = "attention/wide".to_owned();
    let wide = told(format!("{wide} in f32"), sweep::case(&wide, Elem::F32));
    let attention = attention.into_iter().chain([wide]);
    asks.chain(layers)
        .chain(numbers)
        .chain(weights)
        .chain(skipping)
        .chain(merges)
        .chain(live)
        .chain(attached)
        .chain(whole)
        .chain(attention)
        .collect()
}

fn table() -> String {
    let mut text = String::new();
    for (title, asked) in titled() {
        let _ = writeln!(text, "{title}");
        for (device, caps) in described() {
            let plans = asked.plans(&caps).unwrap_or_else(|e| panic!("{title} on {device}: {e}"));
            let names: Vec<&str> = plans.iter().map(|p| p.name.as_str()).collect();
            let _ = writeln!(text, "  {device:<9} {}", names.join(", else "));
            // Steps that are told alike are told once.
            let mut lines: Vec<(String, usize)> = Vec::new();
            for step in &plans[0].steps {
                match lines.last_mut().filter(|(last, _)| *last == line(step)) {
                    Some((_, times)) => *times += 1,
                    None => lines.push((line(step), 1)),
                }
            }
            for (line, times) in lines {
                let again = if times > 1 { format!(" ({times} times)") } else { String::new() };
                let _ = writeln!(text, "            {line}{again}");
            }
        }
    }
    text
}

/// A step in a line: kernel, grid, how x and weights are read and y is written, and the numbers.
fn line(step: &Step) -> String {
    let [x, y, _] = step.grid;
    let mut line = format!("{:<18} {x:>5} × {y:<3}", step.key.kernel);
    if step.indirect.is_some() {
        line += " at most";
    }
    for (slot, filling) in &step.key.fillings {
        let wanted =
            ["x", "y", "q", "w", "w_dense", "w_field", "w_scale", "up", "into_nearest", "into_pack", "into_keep"]
                .contains(slot)
                && !filling.ends_with("/none")
                && !filling.ends_with("/zero");
        if wanted {
            let _ = write!(line, " {slot}={}", filling.rsplit('/').next().unwrap_or_default());
        }
    }
    for (name, value) in &step.key.consts {
        if let Const::U32(value) = value {
            let _ = write!(line, " {name}={value}");
        }
    }
    line
}

/// Set to write the table anew.
const BLESS: &str = "GRISTMILL_BLESS";

#[test]
fn devices_get_the_plans_of_the_table() {
    let now = table();
    if std::env::var_os(BLESS).is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plans.txt");
        std::fs::write(path, &now).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    let mut kept = TABLE.lines();
    for (number, is) in (1..).zip(now.lines()) {
        let was = kept.next().unwrap_or("(the end)");
        assert_eq!(
            was, is,
            "tests/plans.txt:{number}: left kept, right now; if that is meant, {BLESS}=1 cargo test --test plans"
        );
    }
    assert_eq!(kept.next(), None, "the kept table is longer");
}

// ---- what is true of every plan

/// The shaders that begin with an `enable` line: not for the baseline.
fn enabling() -> BTreeSet<&'static str> {
    let enables = |text: &str| text.lines().any(|l| l.trim_start().starts_with("enable "));
    SHADERS.iter().filter(|(_, text)| enables(text)).map(|(name, _)| *name).collect()
}

fn number(key: &PipelineKey, name: &str) -> Option<u64> {
    key.consts.iter().find_map(|(n, v)| match v {
        Const::U32(v) if *n == name => Some(u64::from(*v)),
        _ => None,
    })
}

/// What a step says of its work, from params of any kind.
struct Work {
    fold: u64,
    rows: u64,
    len: u64,
    slices: u64,
    /// Where y begins in its binding, in elements.
    y0: u64,
    /// The first row modulo the period of the channels, and the period.
    row0: (u64, u64),
}

/// The params of a step of a linear layer.
fn linear(step: &Step) -> LinearParams {
    *bytemuck::from_bytes(&step.params)
}

/// The params of a step that makes the terms of live adapters.
fn terms(step: &Step) -> DownParams {
    *bytemuck::from_bytes(&step.params)
}

/// The params of a step that decodes.
fn decoding(step: &Step) -> DequantizeParams {
    *bytemuck::from_bytes(&step.params)
}

/// The params of a step that encodes.
fn encoding(step: &Step) -> EncodeParams {
    *bytemuck::from_bytes(&step.params)
}

fn work(step: &Step) -> Work {
    if step.key.kernel == "linear/dequantize" {
        let p = decoding(step);
        let [fold, from, to, len, y0] = [p.fold, p.n0, p.n1, p.k, p.y0].map(u64::from);
        return Work { fold, rows: to - from, len, slices: 1, y0, row0: (0, 1) };
    }
    if step.key.kernel.starts_with("encode/") {
        // In the place of y stands the weight, of which each part is bound whole.
        let p = encoding(step);
        let [fold, from, to, scales] = [p.fold, p.n0, p.n1, p.scales].map(u64::from);
        let (rows, len) = match step.key.kernel {
            "encode/dense" => (to - from, p.w.blocks.into()),
            "encode/scales" | "encode/signs" => (1, p.runs.count.into()),
            "encode/magnitudes" => (1, p.blocks.into()),
            "encode/mean" => (1, 1),
            _ => (to - from, scales),
        };
        return Work { fold, rows, len, slices: 1, y0: 0, row0: (0, 1) };
    }
    match step.key.kernel {
        "adapter/factors" => {
            let p: FactorsParams = *bytemuck::from_bytes(&step.params);
            return Work { fold: p.fold.into(), rows: p.at.count.into(), len: 1, slices: 1, y0: 0, row0: (0, 1) };
        }
        "adapter/contract" => {
            let p: ContractParams = *bytemuck::from_bytes(&step.params);
            let [fold, alpha, n, k, rest_n, rest_k] = [p.fold, p.alpha, p.n, p.k, p.rest_n, p.rest_k].map(u64::from);
            return Work { fold, rows: alpha * n * rest_n, len: k * rest_k, slices: 1, y0: 0, row0: (0, 1) };
        }
        "adapter/attach" => {
            let p: AttachParams = *bytemuck::from_bytes(&step.params);
            let [fold, n, k, pairs, factors] =
                [p.fold, p.n, p.k, p.ranks.div_ceil(2), p.sums.count.div_ceil(4)].map(u64::from);
            // Eights of a, if it is stored, and of b, and quads of factors.
            let of_a = if p.every > 0 { 0 } else { 2 * pairs * k.div_ceil(8) };
            return Work { fold, rows: of_a + n.div_ceil(4) * pairs + factors, len: 1, slices: 1, y0: 0, row0: (0, 1) };
        }
        "adapter/header" => return Work { fold: 1, rows: 1, len: 1, slices: 1, y0: 0, row0: (0, 1) },
        "adapter/down" => {
            let p = terms(step);
            let [fold, rows, len] = [p.fold, p.m, p.pool.pairs / 2].map(u64::from);
            return Work { fold, rows, len, slices: 1, y0: 0, row0: (0, 1) };
        }
        kernel if kernel.starts_with("adapter/") => {
            let p: AdapterParams = *bytemuck::from_bytes(&step.params);
            let [fold, from, to, len, y0, slices] = [p.fold, p.n0, p.n1, p.k, p.y0, p.slices].map(u64::from);
            return Work { fold, rows: to - from, len, slices, y0, row0: (0, 1) };
        }
        _ => {}
    }
    if step.key.kernel.starts_with("linear/") {
        // What of y they write is seen to apart from this: `check_layer`.
        let p = linear(step);
        let [fold, rows, len, slices, y0] = [p.fold, p.m, p.n, p.slices, p.y0].map(u64::from);
        return Work { fold, rows, len, slices, y0, row0: (0, 1) };
    }
    if step.key.kernel.starts_with("attention/prologue") {
        let p: PrologueParams = *bytemuck::from_bytes(&step.params);
        let [fold, tokens, count] = [p.fold, p.tokens, p.count].map(u64::from);
        let [d, e] = [p.d, p.e].map(u64::from);
        return Work { fold, rows: tokens * count, len: d.max(e), slices: 1, y0: p.y0.into(), row0: (0, 1) };
    }
    if step.key.kernel.starts_with("attention/") {
        let p: AttentionParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, slices, y0] = [p.fold, p.rows, p.values.width, p.splits, p.y0].map(u64::from);
        return Work { fold, rows, len, slices, y0, row0: (0, 1) };
    }
    if step.key.kernel.starts_with("rope/") {
        let p: RopeParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, y0] = [p.fold, p.rows, p.d, p.y0].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0, row0: (p.row0.into(), u64::MAX) };
    }
    if step.key.kernel == "little/gather" {
        let p: GatherParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows] = [p.fold, p.end - p.first].map(u64::from);
        return Work { fold, rows, len: 1, slices: 1, y0: 0, row0: (0, 1) };
    }
    if step.key.kernel == "kv/numbers" {
        let p: NumbersParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, y0] = [p.fold, p.count, p.rows.width, p.y0].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0, row0: (p.row0.into(), u64::MAX) };
    }
    if step.key.kernel == "kv/copy" {
        let p: CopyParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows] = [p.fold, p.a + p.b].map(u64::from);
        return Work { fold, rows, len: 1, slices: 1, y0: 0, row0: (0, 1) };
    }
    if step.key.kernel == "kv/state" {
        let p: StateParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows] = [p.fold, (p.layers * p.count).max(p.entries)].map(u64::from);
        return Work { fold, rows, len: 1, slices: 1, y0: 0, row0: (0, 1) };
    }
    if step.key.kernel.starts_with("norm/hypersphere") {
        let p: HypersphereParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, y0] = [p.fold, p.rows, p.len, p.y0].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0, row0: (0, 1) };
    }
    if step.key.kernel.starts_with("prepare/") {
        let p: PrepareParams = *bytemuck::from_bytes(&step.params);
        let y0 = if step.key.kernel == "prepare/prune" { p.at3 } else { p.at8 };
        let wide = ["prepare/rescale", "prepare/prune", "prepare/pick"].contains(&step.key.kernel);
        let [fold, rows, len, y0] = [p.fold, p.n, if wide { p.width } else { p.k }, y0].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0, row0: (0, 1) };
    }
    match step.key.kernel {
        "weight_merge/add" => {
            let p: AddParams = *bytemuck::from_bytes(&step.params);
            let [fold, rows, len, y0] = [p.fold, p.n, p.k, p.y0].map(u64::from);
            return Work { fold, rows, len, slices: 1, y0, row0: (0, 1) };
        }
        "weight_merge/products" => {
            let p: ProductsParams = *bytemuck::from_bytes(&step.params);
            let [fold, rows, len] = [p.fold, p.n, p.len].map(u64::from);
            return Work { fold, rows, len, slices: 1, y0: 0, row0: (0, 1) };
        }
        "weight_merge/stock" => {
            let p: StockParams = *bytemuck::from_bytes(&step.params);
            return Work { fold: p.fold.into(), rows: p.count.into(), len: 1, slices: 1, y0: 0, row0: (0, 1) };
        }
        "weight_merge/mixture" => {
            let p: MixtureParams = *bytemuck::from_bytes(&step.params);
            return Work { fold: p.fold.into(), rows: p.count.into(), len: 1, slices: 1, y0: 0, row0: (0, 1) };
        }
        _ => {}
    }
    if step.key.kernel.starts_with("quantize/") {
        let p: QuantizeParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, y0] = [p.fold, p.rows, p.len, p.q0].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0, row0: (0, 1) };
    }
    if step.key.kernel == "depth/route" {
        let p: RouteParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len] = [p.fold, p.rows, p.len].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0: p.score0.into(), row0: (0, 1) };
    }
    if step.key.kernel == "depth/route_softmax" {
        let p: SoftmaxParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len] = [p.fold, p.samples, p.tokens].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0: 0, row0: (0, 1) };
    }
    if step.key.kernel == "depth/combine" {
        let p: CombineParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len] = [p.fold, p.rows, p.len].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0: p.y0.into(), row0: (0, 1) };
    }
    if step.key.kernel == "depth/grids" {
        return Work { fold: 1, rows: 1, len: 1, slices: 1, y0: 0, row0: (0, 1) };
    }
    if step.key.kernel == "depth/take" {
        let p: TakeParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len] = [p.fold, p.rows, p.len].map(u64::from);
        return Work { fold, rows, len, slices: 1, y0: p.y0.into(), row0: (0, 1) };
    }
    if step.key.kernel.starts_with("depth/select_") {
        let p: SelectParams = *bytemuck::from_bytes(&step.params);
        let [fold, rows, len, slices] = [p.fold, p.samples, p.tokens, p.tiles].map(u64::from);
        return Work { fold, rows, len, slices, y0: 0, row0: (0, 1) };
    }
    let p: NormParams = *bytemuck::from_bytes(&step.params);
    let [fold, rows, len, slices, y0] = [p.fold, p.rows, p.len, p.slices, p.y0].map(u64::from);
    Work { fold, rows, len, slices, y0, row0: (p.row0.into(), p.period.into()) }
}

/// The workgroups that a step needs, the jobs that each takes, and its invocations.
fn groups(step: &Step) -> (u64, u64, u64) {
    let Work { rows, len, slices, .. } = work(step);
    let of_layer = step.key.kernel.starts_with("linear/") && step.key.kernel != "linear/dequantize";
    let outputs = if of_layer { u64::from(linear(step).n1 - linear(step).n0) } else { 0 };
    let constant = |name| number(&step.key, name).unwrap_or_else(|| panic!("{} sets no {name}", step.key));
    let (jobs, each, invocations) = match step.key.kernel {
        "norm/row" | "norm/row_again" | "norm/hypersphere" | "quantize/row" | "quantize/again" | "depth/route" => {
            (rows, constant("ROWS"), constant("ROWS") * constant("LANES"))
        }
        "prepare/row_stats" | "prepare/row_product" => (rows, constant("ROWS"), constant("ROWS") * constant("LANES")),
        "prepare/column_stats" | "prepare/column_product" => (len.div_ceil(4), 8, 256),
        "weight_merge/add" => (rows * len.div_ceil(4), 512, 256),
        "weight_merge/products" => (rows, constant("ROWS"), constant("ROWS") * constant("LANES")),
        "weight_merge/stock" => (rows * constant("LANES"), 256, 256),
        "weight_merge/mixture" => (rows, 64, 64),
        "prepare/factors" => (rows, 64, 64),
        "prepare/rescale" => (rows * len.div_ceil(4), 256, 256),
        "prepare/prune" => (rows * len / constant("OF"), 64, 64),
        "prepare/pick" => (len, 64, 64),
        "norm/naive" | "norm/hypersphere_naive" | "quantize/naive" => (rows, 64, 64),
        "norm/axis" => (rows, 32, 256),
        "norm/elementwise" => (rows * len.div_ceil(4), 256, 256),
        "norm/split_merge" | "norm/hypersphere_wide" => (rows, 1, 256),
        "norm/split_stats" | "norm/split_max" | "norm/split_apply" => (rows * slices, 1, 256),
        "linear/naive" => (rows.div_ceil(constant("ROWS")) * outputs.div_ceil(4), 64, 64),
        "linear/gemv" | "linear/gemv_dot" => {
            // Teams of LANES lanes, each of which has four outputs.
            let teams = constant("LANE_COUNT") / constant("LANES");
            // Before them come those that make terms.
            (u64::from(linear(step).makers) + outputs.div_ceil(4 * teams) * slices, 1, constant("LANE_COUNT"))
        }
        "linear/merge" => (rows * outputs.div_ceil(4), 64, 64),
        "linear/tiled" | "linear/tiled_dot" => {
            let gated = step.key.consts.contains(&("GATED", Const::Bool(true)));
            let cols = constant("COLS") / if gated { 2 } else { 1 };
            let lanes = constant("COLS") / 8 * constant("ROWS") / constant("LANE_ROWS");
            (rows.div_ceil(constant("ROWS")) * outputs.div_ceil(cols) * slices, 1, lanes)
        }
        "linear/tiled_coop" => {
            let gated = step.key.consts.contains(&("GATED", Const::Bool(true)));
            let cols = constant("COLS") / if gated { 2 } else { 1 };
            let lanes = constant("ROWS") / constant("SUB_ROWS") * constant("COLS") / 32 * constant("SUBGROUP");
            (rows.div_ceil(constant("ROWS")) * outputs.div_ceil(cols) * slices, 1, lanes)
        }
        "linear/dequantize" => (rows * len.div_ceil(32), 64, 64),
        // Scales, each of LANES lanes.
        "encode/dense" => (rows * len, 256, 64),
        "encode/blocks" | "encode/scales" => (rows * len, 64 / constant("LANES"), 64),
        "encode/codes" | "encode/sparse" => (rows * len, 64, 64),
        // A workgroup for the numbers of a scale, or for a share of all.
        "encode/signs" => (rows * len, 1, constant("LANE_COUNT")),
        "encode/magnitudes" | "encode/mean" => (rows * len, 1, 64),
        "depth/route_softmax" | "depth/select_one" => (rows, 1, 256),
        "depth/combine" => (rows * len.div_ceil(4), 256, 256),
        "depth/take" => (rows * len, 256, 256),
        "depth/grids" => (1, 1, 8),
        // A histogram for each digit.
        "depth/select_clear" => (rows * 3, 1, 256),
        "depth/select_count" | "depth/select_sum" | "depth/select_place" => (rows * slices, 1, 256),
        "depth/select_naive" | "depth/select_naive_place" => (rows * len, 64, 64),
        "depth/select_grids" => (1, 1, 64),
        "depth/select_compact" => {
            let p: SelectParams = *bytemuck::from_bytes(&step.params);
            let [samples, tokens, places] = [p.samples, p.tokens, p.places].map(u64::from);
            ((samples * tokens.max(places)).max(samples + 1), 64, 64)
        }
        "adapter/factors" | "adapter/attach" => (rows, 64, 64),
        "adapter/contract" => (rows * len, 64, 64),
        "adapter/header" => (1, 1, 1),
        "adapter/down" => (rows.div_ceil(constant("ROWS")) * len, 1, constant("LANES")),
        kernel @ ("adapter/merge" | "adapter/encode" | "adapter/row_norms" | "adapter/col_norms") => {
            let lanes = constant("LANE_COUNT");
            // Tiles of 256 columns.
            let (down, across) = (rows.div_ceil(lanes / 8 * constant("LANE_ROWS")), len.div_ceil(256));
            let tiles = match kernel {
                "adapter/merge" | "adapter/encode" => down * across,
                "adapter/row_norms" => down * slices,
                _ => slices * across,
            };
            (tiles, 1, lanes)
        }
        "attention/naive" => (rows * len.div_ceil(256), 1, 64),
        kernel @ ("attention/split" | "attention/tiled" | "attention/tiled_coop") => {
            let p: AttentionParams = *bytemuck::from_bytes(&step.params);
            let [batch, heads, kv_heads, queries] = [p.batch, p.heads, p.kv_heads, p.queries].map(u64::from);
            let of_heads = step.key.consts.contains(&("KV_HEAD", Const::Bool(true)));
            let shared = if of_heads { 1 } else { heads / kv_heads };
            // Of elements of the batch that differ, as many as there may be.
            let tiles = match step.key.consts.contains(&("RAGGED_Q", Const::Bool(true))) {
                true => shared * queries / constant("ROWS") + batch,
                false => batch * (shared * queries).div_ceil(constant("ROWS")),
            };
            let lanes = match kernel {
                "attention/tiled_coop" => {
                    constant("ROWS") / constant("SUB_ROWS") * constant("PARTS") * constant("SUBGROUP")
                }
                _ => constant("LANE_COUNT"),
            };
            (heads / shared * tiles * u64::from(p.splits), 1, lanes)
        }
        "attention/merge" => (rows, 1, constant("LANE_COUNT")),
        "attention/mixed" => {
            let p: AttentionParams = *bytemuck::from_bytes(&step.params);
            let [batch, queries] = [p.batch, p.queries].map(u64::from);
            let tiles = match step.key.consts.contains(&("RAGGED_Q", Const::Bool(true))) {
                true => queries / constant("QUERIES") + batch,
                false => batch * queries.div_ceil(constant("QUERIES")),
            };
            (tiles, 1, constant("LANE_COUNT"))
        }
        "attention/mixed_naive" => {
            let heads = constant("HEADS");
            (rows / heads * (heads * len.div_ceil(4)).div_ceil(64), 1, 64)
        }
        "rope/pairs" => {
            let p: RopeParams = *bytemuck::from_bytes(&step.params);
            let half = u64::from(p.half);
            (rows * (half.div_ceil(4) + (len - 2 * half).div_ceil(8)), 64, 64)
        }
        "rope/naive" => (rows * len, 64, 64),
        "attention/prologue" => (rows, constant("ROWS"), constant("LANE_COUNT")),
        "attention/prologue_naive" => (rows, 64, 64),
        "attention/prologue_full" => {
            // Of each token, queries, keys and values as far as they are asked for.
            let p: PrologueParams = *bytemuck::from_bytes(&step.params);
            let ends = [0, p.heads, p.heads + p.groups, p.heads + 2 * p.groups];
            let kinds = ends.windows(2).filter(|of| p.first < of[1] && of[0] < p.first + p.count).count() as u64;
            (u64::from(p.tokens) * kinds, 1, constant("LANE_COUNT"))
        }
        "little/gather" | "kv/copy" | "kv/state" => (rows, 64, 64),
        "kv/numbers" => (rows * len.div_ceil(32), 64, 64),
        other => panic!("how many workgroups {other} needs is not said here"),
    };
    (jobs.div_ceil(each), each, invocations)
}

/// Where the part of an operand begins that a step reaches: in elements of the operand. What it does not bind is nowhere.
fn begins(asked: &Asked, step: &Step, binding: u32, head: u32) -> Option<u64> {
    let bind = step.binds.iter().find(|b| b.binding == binding)?;
    let Source::Operand(operand) = bind.source else { return None };
    let Extent { first, size, .. } = asked.operands.get(operand).copied().flatten()?;
    Some((bind.offset_bytes + u64::from(head) * size).checked_sub(first)? / size)
}

/// A linear layer's steps write every output once, of the rows that they read; each by the weights of its outputs.
fn check_layer(who: &str, asked: &Asked, plan: &Plan) {
    // The parts of y that were written: rows and outputs.
    let mut written: Vec<[u64; 4]> = Vec::new();
    // Of each part of a weight, its first row and the rows that were asked of it.
    let mut parts = BTreeMap::new();
    let mut size = (0, 0);
    // Of the terms of live adapters, the pool, the rows of x, the first word, and the words of a row.
    let mut made: Vec<(Source, u64, u64, u64, u64)> = Vec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        let who = format!("{who}, step {}", step.key);
        let bound =
            |step: &Step, binding| step.binds.iter().find(|b| b.binding == binding).map(|b| (b.source, b.access));
        if step.key.kernel == "adapter/down" {
            let p = terms(step);
            let x = begins(asked, step, 1, p.x0).unwrap_or_else(|| panic!("{who}: x is not bound"));
            let row0 = x / u64::from(p.k);
            assert_eq!(
                (x, begins(asked, step, 2, p.index0).unwrap_or(row0)),
                (row0 * u64::from(p.k), row0),
                "{who}: rows"
            );
            assert_eq!(bound(step, 4), Some((Source::Scratch(0), Access::Write)), "{who}: terms");
            let (pool, _) = bound(step, 3).unwrap_or_else(|| panic!("{who}: no pool"));
            made.push((pool, row0, row0 + u64::from(p.m), p.pool.terms.into(), 4 + 2 * u64::from(p.pool.pairs)));
            continue;
        }
        let p = linear(step);
        let [m, n, k, n0, n1] = [p.m, p.n, p.k, p.n0, p.n1].map(u64::from);
        assert!(n0 < n1 && n1 <= n && m > 0, "{who}: {m} rows of outputs {n0} to {n1} of {n}");
        let row0 = begins(asked, step, 1, p.x0).map(|x| x / k);
        let row0 = row0.unwrap_or_else(|| panic!("{who}: x is not bound"));
        assert_eq!(begins(asked, step, 1, p.x0), Some(row0 * k), "{who}: x begins inside a row");
        for (name, binding, head, width) in
            [("residual", 3, p.residual0, n), ("row_scale", 4, p.row_scale0, 1), ("y", 5, p.y0, n)]
        {
            let at = begins(asked, step, binding, head).unwrap_or(row0 * width);
            assert_eq!(at, row0 * width, "{who}: x begins at row {row0}, {name} elsewhere");
        }
        assert_eq!(begins(asked, step, 2, p.bias0).unwrap_or(0), 0, "{who}: the bias");
        for (binding, at) in [(10, p.live), (11, p.up_live)] {
            let Some((pool, _)) = bound(step, binding) else { continue };
            if p.makers > 0 {
                // It makes them itself, on a tray of their own.
                let (tray, access) = bound(step, 13).unwrap_or_else(|| panic!("{who}: no tray"));
                assert!(matches!(tray, Source::Operand(_)) && access == Access::Write, "{who}: the tray");
                assert_eq!(step.binds.iter().filter(|b| b.source == tray).count(), 1, "{who}: the tray");
                continue;
            }
            let words = 4 + 2 * u64::from(at.pairs);
            // Steps that make them follow each other, wherever this one begins.
            let here = made
                .iter()
                .filter(|t| t.0 == pool && t.4 == words && t.3 + row0 * words == u64::from(at.terms) + t.1 * words);
            let rows: u64 = here.map(|t| t.2.min(row0 + m).saturating_sub(t.1.max(row0))).sum();
            assert_eq!(rows, m, "{who}: rows of terms from row {row0} on");
            assert_eq!(bound(step, 12), Some((Source::Scratch(0), Access::Read)), "{who}: terms");
        }
        for (binding, at) in [(6, p.w), (7, p.up)] {
            let Some(bind) = step.binds.iter().find(|b| b.binding == binding) else { continue };
            let Source::Operand(part) = bind.source else { panic!("{who}: a weight is scratch") };
            let part = parts.entry((binding, part)).or_insert((u64::from(at.row0), n0, n1));
            assert_eq!((part.0, k), (at.row0.into(), at.k.into()), "{who}: a part of a weight");
            (part.1, part.2) = (part.1.min(n0), part.2.max(n1));
        }
        if p.slices > 1 && step.key.kernel != "linear/merge" {
            // The sums of all slices are there, and merged next.
            let matrices = if step.binds.iter().any(|b| b.binding == 7) { 2 } else { 1 };
            let bytes = u64::from(p.slices) * matrices * m * (n1 - n0).div_ceil(4) * 16;
            let scratch = |step: &Step, access| {
                let same = |b: &&gristmill::plan::Bind| b.binding == 8 && b.access == access;
                step.binds.iter().find(same).map(|b| (b.source, b.size_bytes))
            };
            // Before them come the terms of live adapters.
            let sums = Source::Scratch(usize::from(!made.is_empty()));
            assert_eq!(scratch(step, Access::Write), Some((sums, bytes)), "{who}: the sums of slices");
            let next = plan.steps.get(i + 1).unwrap_or_else(|| panic!("{who}: nothing merges"));
            assert_eq!(next.key.kernel, "linear/merge", "{who}");
            assert_eq!(scratch(next, Access::Read), Some((sums, bytes)), "{who}: what is merged");
            let to = linear(next);
            assert_eq!((to.slices, to.m, to.n0, to.n1), (p.slices, p.m, p.n0, p.n1), "{who}: what is merged");
            continue;
        }
        let y = step.binds.iter().find(|b| b.binding == 5).unwrap_or_else(|| panic!("{who}: y is not bound"));
        assert_eq!(y.access, Access::Write, "{who}: y is not written");
        let Source::Operand(y) = y.source else { panic!("{who}: y is scratch") };
        let Extent { first, end, size: bytes } = asked.operands[y].unwrap_or_else(|| panic!("{who}: no y"));
        size = ((end - first) / bytes, k);
        written.push([row0, row0 + m, n0, n1]);
    }
    for (i, a) in written.iter().enumerate() {
        let over = |b: &&[u64; 4]| a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3];
        assert_eq!(written[..i].iter().find(over), None, "{who}: written twice: {a:?}");
    }
    let all: u64 = written.iter().map(|[m0, m1, n0, n1]| (m1 - m0) * (n1 - n0)).sum();
    assert_eq!(all, size.0, "{who}: outputs written, and outputs of y");
    // The parts of a weight follow each other, and each has the rows that are asked of it.
    for ((binding, _), (row0, from, to)) in &parts {
        assert!(row0 <= from, "{who}: binding {binding} begins at row {row0}, but row {from} is asked of it");
        let next = parts.iter().filter(|((b, _), _)| b == binding).map(|(_, p)| p.0).filter(|next| next > row0).min();
        assert!(next.is_none_or(|next| *to <= next), "{who}: row {to} is asked of a part that ends before {next:?}");
    }
}

/// Steps that encode write the rows of a weight one after the other, from the same rows of x, each part of it as a whole.
fn check_encode(who: &str, asked: &Asked, plan: &Plan) {
    let (mut row, mut found, mut scales) = (0, None, 0);
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        let p = encoding(step);
        let [n0, n1, k, row0] = [p.n0, p.n1, p.w.k, p.w.row0].map(u64::from);
        assert_eq!((n0, p.first), (row, p.n0), "{who}: the rows before end at {row}");
        let runs = finds_scales(step);
        let leaves = step.binds.iter().find(|b| b.binding == 3).map(|b| (b.access, b.source, b.size_bytes));
        if runs {
            found = leaves.map(|(_, source, bytes)| (p.n0, p.n1, source, bytes));
            check_scales(&who, step);
            if p.runs.count > 0 {
                scales = if n0 == row0 { 0 } else { scales };
                assert_eq!(p.runs.scale0, scales, "{who}: the scales before");
                scales += p.runs.count;
            }
        } else if step.key.kernel == "encode/codes" {
            let before = leaves.map(|(_, source, bytes)| (p.n0, p.n1, source, bytes));
            assert!(before.is_some() && before == found, "{who}: the scales of these rows are not found before");
        }
        assert!(n0 < n1 && (n0 - row0) % 16 == 0, "{who}: rows {n0} to {n1} of a part that begins at {row0}");
        if step.key.kernel != "encode/mean" {
            assert_eq!(begins(asked, step, 1, p.x0), Some(n0 * k), "{who}: x");
        }
        let into = step.binds.iter().find(|b| b.binding == 2);
        if step.key.kernel == "encode/magnitudes" {
            assert!(into.is_none(), "{who}: it writes no weight");
            continue;
        }
        let into = into.unwrap_or_else(|| panic!("{who}: no weight"));
        assert_eq!(into.access, Access::Write, "{who}: the weight is not written");
        let Source::Operand(part) = into.source else { panic!("{who}: the weight is scratch") };
        let whole = asked.operands[part].map(|e| (e.first, e.end));
        assert_eq!(
            whole,
            Some((into.offset_bytes, into.offset_bytes + into.size_bytes)),
            "{who}: a part of the weight"
        );
        if runs {
            continue;
        }
        row = n1;
        if step.key.kernel == "encode/dense" {
            continue;
        }
        let lanes = number(&step.key, "LANES").unwrap_or(1);
        let reach = u64::from(p.turns) * lanes;
        assert!(reach >= p.blocks.into() && reach < u64::from(p.blocks) + lanes, "{who}: {reach} blocks in reach");
        let blocks = u64::from(p.blocks) * u64::from(p.scales);
        assert!(blocks >= k.div_ceil(32) && (blocks - u64::from(p.blocks)) * 32 < k, "{who}: {blocks} blocks of {k}");
        let flat = step.key.consts.contains(&("FLAT", Const::Bool(true)));
        assert!(!flat || blocks * 32 == k && p.turns == 1 && lanes == u64::from(p.blocks), "{who}: it is not flat");
    }
    let x = asked.operands[0].unwrap_or_else(|| panic!("{who}: no x"));
    let k = plan.steps.last().map_or(0, |s| u64::from(encoding(s).w.k));
    assert_eq!(row * k, (x.end - x.first) / x.size, "{who}: numbers written, and numbers of x");
}

/// The kernel finds scales, and makes no codes.
fn finds_scales(step: &Step) -> bool {
    ["encode/scales", "encode/signs", "encode/magnitudes", "encode/mean"].contains(&step.key.kernel)
}

/// A step that finds scales has every number of a dispatch once, and room for what it leaves.
fn check_scales(who: &str, step: &Step) {
    let p = encoding(step);
    let left = match step.key.kernel {
        "encode/magnitudes" | "encode/mean" => {
            let shares = u64::from(p.blocks);
            assert!((1..=256).contains(&shares), "{who}: {shares} shares");
            // A turn of them all is 8 quads of each of their lanes.
            let (quads, turn) = ((u64::from(p.n1 - p.n0) * u64::from(p.w.k)).div_ceil(4), shares * 64 * 8);
            let turns = u64::from(p.turns);
            assert!(turns * turn >= quads && (turns - 1) * turn < quads, "{who}: {turns} turns for {quads} quads");
            16 + 12 * shares
        }
        _ => {
            check_runs(who, &p);
            16 * u64::from(p.runs.count)
        }
    };
    let scratch = step.binds.iter().find(|b| b.binding == 3).map_or(0, |b| b.size_bytes);
    assert!(scratch >= left, "{who}: {scratch} bytes for {left}");
}

/// Scales have every number of a dispatch once.
fn check_runs(who: &str, p: &EncodeParams) {
    let r = p.runs;
    let all = (p.n1 - p.n0) * p.w.k;
    let mut seen = vec![false; all as usize];
    for scale in 0..r.count {
        let before = scale % r.per * r.minor;
        let at = scale / r.per * r.major + before;
        let (len, runs) = (r.minor.min(r.width - before), r.runs.min((all - at).div_ceil(r.apart)));
        for (run, i) in (0..runs).flat_map(|run| (0..len).map(move |i| (run, i))) {
            let place = (at + run * r.apart + i) as usize;
            assert!(!seen[place], "{who}: number {place} has two scales");
            seen[place] = true;
        }
    }
    assert!(seen.iter().all(|seen| *seen), "{who}: a number has no scale");
}

/// The steps of a merge into a weight write each of its rows once, in order; what is encoded was merged right before, into scratch that
/// is no matrix.
fn check_merge_into(who: &str, plan: &Plan) {
    let (mut merged, mut written, mut n) = (0, 0, 0);
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        let rows = |seen: u64, [from, to]: [u32; 2]| {
            assert!(u64::from(from) == seen && from < to, "{who}: rows {from} to {to} after {seen}");
            u64::from(to)
        };
        match step.key.kernel {
            "adapter/merge" | "adapter/encode" => {
                let p: AdapterParams = *bytemuck::from_bytes(&step.params);
                n = p.n.into();
                merged = rows(merged, [p.n0, p.n1]);
                if step.key.kernel == "adapter/encode" {
                    written = rows(written, [p.n0, p.n1]);
                } else {
                    let y = step.binds.iter().find(|b| b.binding == 5).unwrap_or_else(|| panic!("{who}: no y"));
                    assert!(matches!(y.source, Source::Scratch(_)), "{who}: y is not scratch");
                    let end = u64::from(p.n1 - p.first) * u64::from(p.k) * 4;
                    assert!(
                        p.first == written as u32 && end <= y.size_bytes,
                        "{who}: {end} bytes from row {}",
                        p.first
                    );
                }
            }
            kernel if kernel.starts_with("encode/") => {
                let p = encoding(step);
                if finds_scales(step) {
                    check_scales(&who, step);
                    continue;
                }
                written = rows(written, [p.n0, p.n1]);
                assert_eq!(written, merged, "{who}: what is written has been merged");
                assert!(
                    (p.n0 - p.w.row0).is_multiple_of(16),
                    "{who}: row {} of a part that begins at {}",
                    p.n0,
                    p.w.row0
                );
            }
            _ => {}
        }
    }
    assert_eq!((written, merged), (n, n), "{who}: rows written and merged");
}

/// The steps of a router take every row of x once, and each row's score is where the row is.
fn check_route(who: &str, asked: &Asked, plan: &Plan) {
    let mut seen = 0;
    for step in plan.steps.iter().filter(|s| s.key.kernel == "depth/route") {
        let p: RouteParams = *bytemuck::from_bytes(&step.params);
        let (rows, len) = (u64::from(p.rows), u64::from(p.len));
        assert_eq!(begins(asked, step, 1, p.x0), Some(seen * len), "{who}: x");
        assert_eq!(begins(asked, step, 4, p.score0), Some(seen), "{who}: the scores");
        assert_eq!(begins(asked, step, 5, p.gates0).unwrap_or(seen), seen, "{who}: the gates");
        assert_eq!(begins(asked, step, 2, p.weight0), Some(0), "{who}: the weight");
        seen += rows;
    }
    let score = asked.operands[3].unwrap_or_else(|| panic!("{who}: no scores"));
    assert_eq!(seen, (score.end - score.first) / score.size, "{who}: rows, and scores");
}

/// The steps that end a layer take every token together with every kept row once, and what is not kept with one part of them.
fn check_combine(who: &str, asked: &Asked, plan: &Plan) {
    let (mut tokens, mut kept, mut pairs, mut of_rest, mut len) = (0, 0, 0, 0, 1);
    for step in &plan.steps {
        let p: CombineParams = *bytemuck::from_bytes(&step.params);
        let [rows, first, end] = [p.rows, p.first, p.end].map(u64::from);
        len = u64::from(p.len);
        let row0 = begins(asked, step, 5, p.place0).unwrap_or_else(|| panic!("{who}: no places"));
        for (name, binding, head, width) in [("x", 1, p.x0, len), ("gate", 4, p.gate0, 1), ("y", 6, p.y0, len)] {
            let at = begins(asked, step, binding, head).unwrap_or(row0 * width);
            assert_eq!(at, row0 * width, "{who}: places begin at row {row0}, {name} elsewhere");
        }
        for (name, binding, head) in [("h", 2, p.h0), ("m", 3, p.m0)] {
            let at = begins(asked, step, binding, head).unwrap_or(first * len);
            assert_eq!(at, first * len, "{who}: {name} does not begin at row {first}");
        }
        (tokens, kept) = (tokens.max(row0 + rows), kept.max(end));
        pairs += rows * (end - first);
        of_rest += if p.rest == 1 { rows } else { 0 };
    }
    let of = |i: usize| asked.operands[i].map_or(0, |o| (o.end - o.first) / o.size);
    if plan.steps.is_empty() {
        return assert_eq!(of(0), 0, "{who}: nothing is done");
    }
    assert_eq!((tokens, of_rest, kept), (of(4), of(4), of(1) / len), "{who}: tokens, those not kept, kept rows");
    assert_eq!(pairs, tokens * kept, "{who}: tokens with kept rows");
}

/// Attention writes y once, all of it, and what little operands become is there before it is read.
fn check_attention(who: &str, asked: &Asked, plan: &Plan) {
    let mut written = BTreeSet::new();
    let mut times = 0;
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        for bind in &step.binds {
            match (bind.source, bind.access) {
                (Source::Scratch(i), Access::Write) => _ = written.insert(i),
                (Source::Scratch(i), Access::Read) => {
                    assert!(written.contains(&i), "{who}: scratch {i} is not written")
                }
                (Source::Operand(i), access) => {
                    let Extent { first, end, size } = asked.operands[i].unwrap_or_else(|| panic!("{who}: no {i}"));
                    let reached = bind.offset_bytes..bind.offset_bytes + bind.size_bytes;
                    if step.key.kernel != "little/gather" && bind.binding != 7 {
                        assert!(
                            reached.contains(&first) && end <= reached.end,
                            "{who}: {reached:?} of {first} to {end}"
                        );
                    }
                    if access == Access::Write && bind.binding == 5 {
                        times += 1;
                        assert_eq!(work(step).y0 * size + bind.offset_bytes, first, "{who}: y begins elsewhere");
                    }
                }
            }
        }
    }
    assert!(times == 1 || plan.steps.is_empty(), "{who}: y is written {times} times");
}

/// The steps of a merge of weights write y from its first number to its last; of each part of it every weight is added once, and what they
/// take from scratch has been written.
fn check_weight_merge(who: &str, asked: &Asked, plan: &Plan) {
    let Extent { first, end, size } = asked.operands[0].unwrap_or_else(|| panic!("{who}: no y"));
    let weights = asked.operands.len() - 2;
    let (mut next, mut written, mut added) = (first, BTreeSet::new(), BTreeSet::new());
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        for bind in &step.binds {
            match (bind.source, bind.access) {
                (Source::Scratch(i), Access::Write) => _ = written.insert(i),
                (Source::Scratch(i), Access::Read) => {
                    assert!(written.contains(&i), "{who}: scratch {i} is not written")
                }
                _ => {}
            }
        }
        if step.key.kernel != "weight_merge/add" {
            continue;
        }
        let Work { rows, len, y0, .. } = work(step);
        for bind in step.binds.iter().filter(|b| (3..9).contains(&b.binding)) {
            let Source::Operand(i) = bind.source else { panic!("{who}: a weight is scratch") };
            assert!(added.insert(i), "{who}: operand {i} is added twice");
        }
        let Some(y) = step.binds.iter().find(|b| b.source == Source::Operand(0)) else { continue };
        assert_eq!(y.offset_bytes + y0 * size, next, "{who}: y goes on elsewhere");
        next += rows * len * size;
        // The weight of the differences is bound as such.
        let others =
            plan.steps.iter().any(|s| s.binds.iter().any(|b| b.binding == 1 && b.source == Source::Operand(2)));
        assert_eq!(added.len(), weights - usize::from(others), "{who}: not every weight is added");
        added.clear();
    }
    assert_eq!(next, end, "{who}: y is not written to its end");
}

/// The steps of a prologue make each row of a token that is asked for, once; what they gather before, they have all of.
fn check_prologue(who: &str, asked: &Asked, plan: &Plan) {
    let mut next = None;
    let mut written = BTreeSet::new();
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        for bind in &step.binds {
            match (bind.source, bind.access) {
                (Source::Scratch(i), Access::Write) => _ = written.insert(i),
                (Source::Scratch(i), Access::Read) => {
                    assert!(written.contains(&i), "{who}: scratch {i} is not written")
                }
                (Source::Operand(i), _) if step.key.kernel.starts_with("attention/") => {
                    // Little operands may share a buffer; the others are bound whole.
                    let Extent { first, end, .. } =
                        asked.operands[i].unwrap_or_else(|| panic!("{who}: no operand {i}"));
                    let to = bind.offset_bytes + bind.size_bytes;
                    assert!(bind.offset_bytes <= first && end <= to, "{who}: operand {i} is not all bound");
                }
                _ => {}
            }
        }
        if step.key.kernel == "little/gather" {
            continue;
        }
        let p: PrologueParams = *bytemuck::from_bytes(&step.params);
        assert!(next.is_none_or(|next| next == p.first), "{who}: begins at row {} of a token", p.first);
        next = Some(p.first + p.count);
        assert!(p.first + p.count <= p.heads + 2 * p.groups, "{who}: more rows than a token has");
    }
}

/// Grids on the device: those that a selection made are those of such steps, and others are made before, all of them. Gives the plan
/// without the steps that make them.
fn check_counted(who: &str, asked: &Asked, plan: &Plan) -> Plan {
    let (makers, steps): (Vec<Step>, _) = plan.steps.iter().cloned().partition(|s| s.key.kernel == "depth/grids");
    let made = makers.iter().flat_map(|step| {
        let p: GridsParams = *bytemuck::from_bytes(&step.params);
        [p.s0, p.s1, p.s2, p.s3, p.s4, p.s5, p.s6].into_iter().take(p.count as usize)
    });
    let made: Vec<GridsStep> = made.collect();
    let mut next = 0;
    for step in &steps {
        let who = format!("{who}, step {}", step.key);
        if let Some(groups) = step.groups {
            let (have, needed) = (step.grid.map(u64::from).iter().product::<u64>(), groups.of(groups.most));
            assert!(have >= needed && have < needed + u64::from(step.grid[1]), "{who}: {groups:?} for {:?}", step.grid);
            assert_eq!(groups.of(0), 0, "{who}: workgroups for no rows");
        }
        let Some(Indirect { source, offset_bytes }) = step.indirect else {
            assert!(makers.is_empty() || step.groups.is_none(), "{who}: it has all workgroups");
            continue;
        };
        let groups = step.groups.unwrap_or_else(|| panic!("{who}: no groups"));
        match source {
            Source::Operand(i) => {
                let first = asked.operands[i].unwrap_or_else(|| panic!("{who}: no grids")).first;
                let rows = 1 << ((offset_bytes - first) / 12);
                assert_eq!((groups.first, groups.times, groups.tile * groups.each), (0, 1, rows), "{who}");
                assert!(
                    groups.of(groups.most) <= GRIDS_FOLD.into() && rows <= 256,
                    "{who}: a fold that it does not have"
                );
            }
            Source::Scratch(i) => {
                assert_eq!(offset_bytes, next as u64 * 12, "{who}");
                assert_eq!(plan.scratch_bytes[i], made.len() as u64 * 12, "{who}");
                let GridsStep { first, most, tile, times, each, fold, .. } = made[next];
                let told = [first, most, tile, times, each, fold].map(u64::from);
                let fold = step.grid[0].into();
                assert_eq!(told, [groups.first, groups.most, groups.tile, groups.times, groups.each, fold], "{who}");
                next += 1;
            }
        }
    }
    assert_eq!(next, made.len(), "{who}: grids that nobody asks for");
    Plan { steps, ..plan.clone() }
}

/// The grid of a step has all workgroups that it needs, and every number of a row is somebody's.
fn check_grid(who: &str, caps: &Caps, plan: &Plan, step: &Step) {
    let Work { fold, len, slices, .. } = work(step);

    // The grid.
    let [x, y, z] = step.grid.map(u64::from);
    let (needed, jobs, invocations) = groups(step);
    assert!(x.max(y) <= u64::from(caps.workgroups) && z == 1, "{who}: grid {x} × {y} × {z}");
    assert_eq!(fold, x, "{who}: the kernel is told another fold");
    assert!(x * y >= needed && x * y < needed + y.max(1), "{who}: {x} × {y} workgroups where {needed} are needed");
    assert!(x * y * jobs <= 1 << 32, "{who}: jobs cannot be counted in 32 bits");
    assert!(invocations <= u64::from(caps.invocations), "{who}: {invocations} invocations");

    // Every number of a row is somebody's.
    // A router walks along a long row in turns.
    let whole = step.key.kernel != "depth/route";
    let lanes = number(&step.key, "TEAM").or(number(&step.key, "LANES"));
    let of_row = (lanes, number(&step.key, "CHUNKS"));
    // Rows of codes are whole blocks.
    let len = if step.key.kernel.starts_with("attention/prologue") { len.next_multiple_of(32) } else { len };
    if let ((Some(lanes), Some(chunks)), true) = (of_row, whole) {
        assert!(lanes.is_power_of_two(), "{who}: {lanes} lanes");
        assert!(
            lanes * chunks * 4 >= len && lanes * (chunks - 1) * 4 < len,
            "{who}: {lanes} lanes, {chunks} chunks for {len}"
        );
        assert!(chunks <= 8, "{who}: {chunks} chunks are too many registers");
    }
    if let Some(chunks) = number(&step.key, "CHUNKS").filter(|_| step.key.kernel.starts_with("norm/split_")) {
        let slice = 256 * 4 * chunks;
        assert!(slices * slice >= len && (slices - 1) * slice < len, "{who}: {slices} slices of {slice} for {len}");
        let merge = plan.steps.iter().find_map(|s| number(&s.key, "SLICE"));
        assert_eq!(merge, Some(slice), "{who}: split_merge is told another slice");
    }
}

/// Everything that holds of any plan for these caps.
fn check(who: &str, asked: &Asked, caps: &Caps, plan: &Plan) {
    let who = format!("{who} by {}", plan.name);
    let plan = &check_counted(&who, asked, plan);
    for (i, bytes) in plan.scratch_bytes.iter().enumerate() {
        assert!(*bytes <= caps.storage_binding_bytes.min(caps.buffer_bytes), "{who}: scratch {i} has {bytes} bytes");
    }
    // Of these ops the rows are seen to apart.
    let into = plan.op == "adapter_merge" && asked.operands[0].is_none();
    let apart =
        into || ["linear", "encode", "attention", "weight_merge"].contains(&plan.op) || plan.op.starts_with("mod_");
    match plan.op {
        "linear" => check_layer(&who, asked, plan),
        "encode" => check_encode(&who, asked, plan),
        "adapter_merge" if into => check_merge_into(&who, plan),
        "mod_route" => check_route(&who, asked, plan),
        "mod_combine" => check_combine(&who, asked, plan),
        "attention" => check_attention(&who, asked, plan),
        "qkv_prologue" => check_prologue(&who, asked, plan),
        "weight_merge" => check_weight_merge(&who, asked, plan),
        _ => {}
    }
    // They write rows that no order tells.
    let scattered = ["qkv_prologue", "kv_copy", "kv_state", "adapter_attach", "adapter_scale"].contains(&plan.op);
    let mut rows_seen = 0;
    for step in &plan.steps {
        let who = format!("{who}, step {}", step.key);
        check_grid(&who, caps, plan, step);

        // The bindings.
        assert!(step.binds.len() <= caps.storage_buffers as usize, "{who}: {} storage buffers", step.binds.len());
        for bind in &step.binds {
            let (end, binding) = (bind.offset_bytes + bind.size_bytes, bind.binding);
            assert!(
                bind.offset_bytes.is_multiple_of(BIND_ALIGN_BYTES),
                "{who}: binding {binding} begins at {}",
                bind.offset_bytes
            );
            assert!(
                bind.size_bytes.is_multiple_of(4) && bind.size_bytes > 0,
                "{who}: binding {binding} has {} bytes",
                bind.size_bytes
            );
            assert!(
                bind.size_bytes <= caps.storage_binding_bytes,
                "{who}: binding {binding} has {} bytes",
                bind.size_bytes
            );
            match bind.source {
                Source::Operand(i) => {
                    let operand =
                        asked.operands.get(i).copied().flatten().unwrap_or_else(|| panic!("{who}: no operand {i}"));
                    let inside =
                        bind.offset_bytes + BIND_ALIGN_BYTES > operand.first && end <= operand.end.next_multiple_of(4);
                    assert!(inside, "{who}: binding {binding} is bytes {} to {end} of {operand:?}", bind.offset_bytes);
                }
                Source::Scratch(i) => {
                    let have = plan.scratch_bytes.get(i).copied().unwrap_or_default();
                    assert!(end <= have, "{who}: binding {binding} needs {end} bytes of scratch {i}, which has {have}");
                }
            }
        }

        // Every row is written once: steps that write y take up where the last one left off.
        if apart || scattered {
            continue;
        }
        let Work { rows, len, y0, row0, .. } = work(step);
        let y_binding = match step.key.kernel {
            "linear/dequantize" | "adapter/merge" => 5,
            // Sums and factors, which are scratch.
            kernel if kernel.starts_with("adapter/") => continue,
            "prepare/rescale" => 8,
            "prepare/prune" => 3,
            // A number for each row or column, or for each place.
            kernel if kernel.starts_with("prepare/") => {
                rows_seen += rows;
                continue;
            }
            "kv/numbers" => 2,
            kernel if kernel.starts_with("rope/") => 5,
            kernel if kernel.starts_with("quantize/") => 2,
            kernel if kernel.starts_with("norm/hypersphere") => 5,
            _ => 6,
        };
        let Some(written) = step.binds.iter().find(|b| b.binding == y_binding) else { continue };
        assert_eq!(written.access, Access::Write, "{who}: y is not written");
        let Source::Operand(operand) = written.source else { panic!("{who}: y is scratch") };
        let Extent { first, size, .. } = asked.operands[operand].unwrap_or_else(|| panic!("{who}: no y"));
        let from = written.offset_bytes + y0 * size;
        assert_eq!(
            from,
            first + rows_seen * len * size,
            "{who}: y is written from byte {from}, but {rows_seen} rows were before"
        );
        assert!(
            from + rows * len * size <= written.offset_bytes + written.size_bytes,
            "{who}: y reaches past its binding"
        );
        assert_eq!(row0.0, rows_seen % row0.1, "{who}: the first row");
        rows_seen += rows;
    }
    if apart || scattered {
        return;
    }
    if plan.op == "kv_numbers" {
        let y = asked.operands[1].unwrap_or_else(|| panic!("{who}: no y"));
        assert_eq!(rows_seen * plan.steps.last().map_or(1, |s| work(s).len), (y.end - y.first) / y.size, "{who}");
        return;
    }
    match plan.op {
        "matrix_stats" | "matrix_vector" => {
            let w = asked.operands[0].unwrap_or_else(|| panic!("{who}: no w"));
            let len = plan.steps.last().map_or(1, |s| work(s).len);
            assert_eq!(rows_seen * len, (w.end - w.first) / w.size, "{who}: numbers of rows that were seen, and of w");
            return;
        }
        "scale_factors" | "pick" => {
            assert!(plan.steps.len() <= 1, "{who}: {} steps", plan.steps.len());
            return;
        }
        "rescale" | "prune" => {
            let y = asked.operands.last().copied().flatten().unwrap_or_else(|| panic!("{who}: no y"));
            let len = plan.steps.last().map_or(1, |s| work(s).len);
            assert_eq!(rows_seen * len, (y.end - y.first) / y.size, "{who}: numbers written, and numbers of y");
            return;
        }
        _ => {}
    }
    // As many as x has, or where rows are listed, y.
    let listed = ["rms_norm", "layer_norm"].contains(&plan.op) && asked.operands[10].is_some();
    let x = asked.operands[if listed { 4 } else { 0 }].unwrap_or_else(|| panic!("{who}: no x"));
    let len = plan.steps.last().map_or(1, |s| work(s).len);
    assert_eq!(rows_seen * len, (x.end - x.first) / x.size, "{who}: numbers written, and numbers of x");
}

/// All plans, checked; none where a single row is longer than a binding, and the error says so.
fn check_all(who: &str, asked: &Asked, caps: &Caps, enabling: &BTreeSet<&str>) -> Vec<Plan> {
    let plans = match asked.plans(caps) {
        Ok(plans) => plans,
        Err(Error::Limit { limit, need, have, .. }) => {
            let has = caps.storage_binding_bytes;
            let longest = has.min(i32::MAX as u64) - BIND_ALIGN_BYTES;
            assert!(need > longest, "{who}: {need} bytes would have fitted");
            // What is told is less than what is needed.
            let told = if need > has { has } else { longest };
            assert_eq!((limit, have), ("storage_binding_bytes", told), "{who}");
            return Vec::new();
        }
        Err(other) => panic!("{who}: {other}"),
    };
    let names: BTreeSet<&str> = plans.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), plans.len(), "{who}: two plans of one name among {names:?}");
    let last = plans.last().unwrap_or_else(|| panic!("{who}: no plan"));
    for plan in &plans {
        check(who, asked, caps, plan);
        for key in plan.keys() {
            assert!(caps.int8_products || !key.kernel.ends_with("_dot"), "{who} by {}: {}", plan.name, key.kernel);
        }
        for (slot, filling) in plan.keys().flat_map(|k| &k.fillings) {
            let needs = enabling.contains(filling);
            assert!(!needs || caps.f16 || !filling.contains("f16"), "{who} by {}: {slot} is {filling}", plan.name);
            assert!(
                !needs || caps.subgroups.is_some() || !filling.contains("subgroup"),
                "{who} by {}: {filling}",
                plan.name
            );
            let size = plan.keys().find_map(|key| number(key, "SUBGROUP"));
            assert!(
                !filling.contains("/matrix/")
                    || caps.matrix_units().is_some_and(|units| {
                        let cells = if units.from_vectors { "_quads" } else { "" };
                        filling.ends_with(&format!("/m{}{cells}", units.size)) && size == Some(units.subgroup.into())
                    }),
                "{who} by {}: {filling}",
                plan.name
            );
            assert!(
                !needs || !std::ptr::eq(plan, last),
                "{who}: the last plan must run anywhere, but {slot} is {filling}"
            );
        }
    }
    let baseline = Caps::baseline();
    for step in &last.steps {
        assert!(
            step.binds.len() <= baseline.storage_buffers as usize,
            "{who}: the last plan binds {}",
            step.binds.len()
        );
        if ["rope", "qkv_prologue"].contains(&last.op) {
            continue;
        }
        let (_, _, invocations) = groups(step);
        assert!(invocations <= u64::from(baseline.invocations), "{who}: the last plan has {invocations} invocations");
    }
    plans
}

#[test]
fn plans_hold_to_what_they_are_told() {
    let enabling = enabling();
    let mut plans = 0;
    for (problem, asked) in sweep::problems() {
        for (device, caps) in sweep::devices() {
            let who = format!("{problem} on {device}");
            let checked = check_all(&who, &asked, &caps, &enabling);
            assert!(!checked.is_empty(), "{who}: no plan");
            plans += checked.len();
        }
    }
    let _ = writeln!(std::io::stderr(), "plans: {plans} plans checked");
}

#[test]
fn huge_problems_are_split_by_rows() {
    let enabling = enabling();
    let mut split = 0;
    let kinds = [
        Kind::LayerNorm,
        Kind::RmsNorm,
        Kind::L2Axis,
        Kind::BatchSpatial,
        Kind::GroupNorm,
        Kind::HypersphericalStep,
        Kind::QuantizeZero,
    ];
    for kind in kinds {
        for len in [1usize, 3, 4, 100, 4096, 8192, 20_000, 1 << 20, (1 << 24) + 4] {
            for elements in [1usize << 28, (1 << 31) - 1, 1 << 31, 5 << 30] {
                for x in [Elem::F32, Elem::Bf16] {
                    for start in [0, 1, 64] {
                        let residual = Some(Elem::F32);
                        let ask =
                            Ask { residual, sum: true, stats: true, start, ..Ask::new(kind, elements / len, len, x) };
                        let asked = ask.asked().unwrap_or_else(|e| panic!("{ask:?}: {e}"));
                        for (device, caps) in described() {
                            let plans = check_all(&format!("{ask:?} on {device}"), &asked, &caps, &enabling);
                            let Some(best) = plans.first() else { continue };
                            let kernel = best.steps[0].key.kernel;
                            split += usize::from(best.steps.iter().filter(|s| s.key.kernel == kernel).count() > 1);
                        }
                    }
                }
            }
        }
    }
    assert!(split > 500, "only {split} plans were split");
}

#[test]
fn layers_with_live_adapters_are_split() {
    let enabling = enabling();
    let outline = |dims: &[usize], elem| gristmill::Tensor::outline(dims, elem).expect("an outline");
    let (m, n, k) = (100_000, 50, 640);
    let w = gristmill::Weight::outline(&sweep::weight("q4_0", Elem::F32, k), n).expect("a weight");
    let (x, y, index) = (outline(&[m, k], Elem::F32), outline(&[m, n], Elem::F32), outline(&[m], Elem::I32));
    let room = Room { adapters: 3, ..Room::new(9) };
    let set = AdapterSet::outline([n, k], room).expect("a set");
    let layer = Linear { adapters: Some(&set), adapter_index: Some(&index), ..Linear::new(&x, &w, &y) };
    let gated = Linear { up: Some(&w), up_adapters: Some(&set), ..layer };
    for (name, layer, matrices) in [("one matrix", layer, 1), ("two matrices", gated, 2)] {
        let asked = Asked::of(&layer).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (device, caps) in described() {
            let who = format!("live adapters of {name} on {device}");
            let parts = if caps.storage_binding_bytes < 4 * (m * k) as u64 { 2 } else { 1 };
            for plan in check_all(&who, &asked, &caps, &enabling) {
                let down = plan.steps.iter().filter(|step| step.key.kernel == "adapter/down").count();
                assert_eq!(down, parts * matrices, "{who} by {}: steps that make terms", plan.name);
            }
        }
    }
    // A decode step is one dispatch, and two by other plans for few rows.
    let (x, y) = (outline(&[1, k], Elem::F16), outline(&[1, n], Elem::F16));
    let layer = Linear { adapters: Some(&set), ..Linear::new(&x, &w, &y) };
    let asked = Asked::of(&layer).unwrap_or_else(|e| panic!("{e}"));
    for (device, caps) in described() {
        let plans = check_all(&format!("a decode step on {device}"), &asked, &caps, &enabling);
        let few: Vec<_> = plans.iter().filter(|plan| plan.name.starts_with("gemv")).collect();
        let steps: Vec<_> = few.iter().map(|plan| plan.steps.len()).collect();
        assert!(steps.len() > 1 && steps[0] == 1 && steps[1..].iter().all(|n| *n == 2), "a decode step on {device}");
        // For more ranks than are little beside a weight there is no such plan.
        let wide = AdapterSet::outline([n, k], Room::new(65)).expect("a set");
        let asked = Asked::of(&Linear { adapters: Some(&wide), ..layer }).unwrap_or_else(|e| panic!("{e}"));
        for plan in check_all(&format!("many ranks on {device}"), &asked, &caps, &enabling) {
            assert!(plan.steps.len() > 1, "many ranks on {device} by {}", plan.name);
        }
    }
}

#[test]
fn wide_layers_are_split() {
    let enabling = enabling();
    let dense = |k| sweep::weight("dense", Elem::F32, k);
    let mut split = BTreeSet::new();
    for (m, n, k) in [(1usize, 128_256usize, 4096usize), (8, 128_256, 4096), (512, 128_256, 4096), (100_000, 50, 640)] {
        for (x, start) in [(Elem::F32, 0), (Elem::F16, 1), (Elem::Bf16, 4)] {
            for up in [None, Some(sweep::weight("q4_0", Elem::F32, k))] {
                let base = Layer::new("dense", dense(k), m, n, x);
                let layer = Layer { up, start, residual: Some(Elem::F32), row_scale: true, bias: Some(x), ..base };
                let asked = layer.asked().unwrap_or_else(|e| panic!("{layer}: {e}"));
                for (device, caps) in described() {
                    let plans = check_all(&format!("{layer} on {device}"), &asked, &caps, &enabling);
                    split.extend(plans.iter().map(|p| p.steps.len()));
                }
            }
        }
    }
    assert!(split.len() > 5 && split.contains(&16), "splits into {split:?} steps only");
    // Few rows that do not fit together, and a row that does not fit alone.
    for (m, n, k) in [(8, 1 << 23, 1), (1, 1 << 25, 1), (1, (1 << 25) - 64, 1), (3, (1 << 25) - 63, 1)] {
        let layer = Layer::new("dense", dense(k), m, n, Elem::F32);
        let asked = layer.asked().unwrap_or_else(|e| panic!("{layer}: {e}"));
        for (device, caps) in described() {
            check_all(&format!("{layer} on {device}"), &asked, &caps, &enabling);
        }
    }
    for n in [1 << 25, (1 << 26) + 3] {
        let asked = sweep::numbers(&dense(1), n, Elem::F32).unwrap_or_else(|e| panic!("{n} numbers: {e}"));
        for (device, caps) in described() {
            let plans = check_all(&format!("{n} numbers on {device}"), &asked, &caps, &enabling);
            assert!(!plans.is_empty(), "{n} numbers on {device}: no plan");
        }
    }
}

#[test]
fn wide_merges_are_split() {
    let enabling = enabling();
    for format in ["dense", "q4_0"] {
        let w = sweep::weight(format, Elem::F32, 4096);
        let mut merges: Vec<_> = [(false, Elem::F32), (true, Elem::F32), (true, Elem::F16)]
            .map(|(bora, y)| sweep::merge(&w, 128_256, bora, y))
            .into();
        merges.extend(["q8_0", "int8", "dense"].map(|into| sweep::merge_into(&w, 128_256, into)));
        for asked in merges {
            let asked = asked.unwrap_or_else(|e| panic!("{format}: {e}"));
            for (device, caps) in described() {
                let who = format!("a merge into {format} on {device}");
                let plans = check_all(&who, &asked, &caps, &enabling);
                // Every part of the base has slices of its own, and the factors take all of them.
                for step in plans.iter().flat_map(|p| &p.steps).filter(|s| s.key.kernel == "adapter/col_norms") {
                    let p: AdapterParams = *bytemuck::from_bytes(&step.params);
                    let bytes = step.binds.iter().find(|b| b.binding == 3).map_or(0, |b| b.size_bytes);
                    assert!(u64::from(p.slice0 + p.slices) * 4096 * 4 <= bytes, "{who}: slices past the sums");
                }
            }
        }
    }
}

/// A merge reads the base once for each norm and once to merge, into whatever it goes, and has no matrix of numbers in memory.
#[test]
fn a_merge_streams_the_base_once_and_once_for_a_norm() {
    let (mut seen, mut kernels) = (0, BTreeSet::new());
    for case in cases::all().iter().filter(|c| c.name.starts_with("adapter_merge/llama3-8b-q-")) {
        let asked = sweep::case(&case.name, Elem::F16).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let norms = ["lora", "dora", "bora"].iter().position(|kind| case.name.contains(kind)).unwrap_or_default();
        for (device, caps) in described() {
            for plan in asked.plans(&caps).unwrap_or_else(|e| panic!("{}: {e}", case.name)) {
                let who = format!("{} on {device} by {}", case.name, plan.name);
                let mut rows = 0;
                for step in &plan.steps {
                    kernels.insert(step.key.kernel);
                    if step.binds.iter().any(|b| b.binding == 6) {
                        let p: AdapterParams = *bytemuck::from_bytes(&step.params);
                        rows += p.n1 - p.n0;
                    }
                }
                assert_eq!(rows as usize, 4096 * (1 + norms), "{who}: rows of the base that are read");
                let scratch: u64 = plan.scratch_bytes.iter().sum();
                assert!(scratch <= 9 << 20, "{who}: {scratch} bytes of scratch, where a matrix has 64 MiB");
                seen += 1;
            }
        }
    }
    assert!(
        seen > 100 && kernels.contains("adapter/encode") && kernels.contains("encode/blocks"),
        "{seen}: {kernels:?}"
    );
}

#[test]
fn merges_of_weights_are_split() {
    let enabling = enabling();
    let mut steps = BTreeSet::new();
    for (shape, count, start) in
        [([128_256usize, 4096usize], 3, 0), ([70, 52], 2, 4), ([70, 51], 14, 1), ([1 << 20, 3], 8, 0)]
    {
        let of = |i: usize| {
            let elem = sweep::FLOATS[i % 3];
            let all = gristmill::Tensor::outline([shape[0] * shape[1] + start], elem);
            all.and_then(|t| t.view(start, shape)).unwrap_or_else(|e| panic!("{e}"))
        };
        let (all, y): (Vec<_>, _) = ((0..count).map(of).collect(), of(1));
        let weights: Vec<_> = all.iter().collect();
        let stock = |per_row| MergeKind::ModelStock { per_row, clamp: false };
        for kind in [MergeKind::Mean, MergeKind::Task { alpha: 0.5 }, stock(false), stock(true)] {
            let Ok(asked) = Asked::of(&WeightMerge { weights: &weights, kind, y: &y }) else { continue };
            let small = |kib: u64| {
                (format!("bindings of {kib} KiB"), Caps { storage_binding_bytes: kib << 10, ..Caps::intel() })
            };
            let small = [small(17), small(96)];
            let small = small.into_iter().filter(|_| shape[0] < 100);
            for (device, caps) in described().into_iter().map(|(d, c)| (d.to_string(), c)).chain(small) {
                let who = format!("{kind:?} of {count} of {shape:?} with {device}");
                steps.extend(check_all(&who, &asked, &caps, &enabling).first().map(|p| p.steps.len()));
            }
        }
    }
    assert!(steps.len() > 6 && steps.contains(&16), "splits into {steps:?} steps only");
}

#[test]
fn small_bindings_split_small_problems() {
    let enabling = enabling();
    let mut steps = BTreeSet::new();
    for (kind, rows, len) in [
        (Kind::RmsNorm, 1000, 48),
        (Kind::LayerNorm, 77, 9000),
        (Kind::L2Axis, 700, 48),
        (Kind::GroupNorm, 90, 50),
        (Kind::QuantizeZero, 500, 50),
    ] {
        for kib in [1u64, 2, 3, 37, 64] {
            for start in 0..5 {
                for x in sweep::FLOATS {
                    let ask = Ask { start, residual: Some(x), sum: true, stats: true, ..Ask::new(kind, rows, len, x) };
                    let asked = ask.asked().unwrap_or_else(|e| panic!("{ask:?}: {e}"));
                    let caps = Caps { storage_binding_bytes: kib << 10, ..Caps::intel() };
                    let who = format!("{ask:?} with bindings of {kib} KiB");
                    steps.extend(check_all(&who, &asked, &caps, &enabling).first().map(|p| p.steps.len()));
                }
            }
        }
    }
    assert!(steps.len() > 10, "splits into {steps:?} steps only");
}

#[test]
fn small_bindings_split_routers_and_ends_of_layers() {
    let enabling = enabling();
    let mut steps = BTreeSet::new();
    for (tokens, kept, len) in [(100, 60, 48), (333, 333, 1), (90, 0, 37), (17, 50, 250)] {
        for kib in [1u64, 2, 3, 37, 64] {
            for start in 0..5 {
                for elem in sweep::FLOATS {
                    let outline = |dims: &[usize], elem| {
                        let all: usize = dims.iter().product();
                        let all = gristmill::Tensor::outline([all + start], elem);
                        all.and_then(|t| t.view(start, dims)).unwrap_or_else(|e| panic!("{e}"))
                    };
                    let (x, y, h) = (&[tokens, len], outline(&[tokens, len], Elem::F32), outline(&[kept, len], elem));
                    let x = outline(x, elem);
                    let (gate, place) = (outline(&[tokens], Elem::F32), outline(&[tokens], Elem::U32));
                    let weight = outline(&[len], elem);
                    let asked = [
                        Asked::of(&Combine::new(&x, &h, &h, &gate, &place, &y)),
                        Asked::of(&Route { gate: Some(&gate), ..Route::new(&x, &weight, &gate) }),
                    ];
                    let caps = Caps { storage_binding_bytes: kib << 10, ..Caps::intel() };
                    for asked in asked {
                        let asked = asked.unwrap_or_else(|e| panic!("{e}"));
                        let who = format!("{tokens} tokens of {len}, {kept} kept, bindings of {kib} KiB");
                        steps.extend(check_all(&who, &asked, &caps, &enabling).first().map(|p| p.steps.len()));
                    }
                }
            }
        }
    }
    assert!(steps.len() > 10, "splits into {steps:?} steps only");
}

#[test]
fn a_fold_covers_all_groups() {
    for limit in [1u32, 2, 7, 255, 65_535, u32::MAX] {
        let most = u64::from(limit) * u64::from(limit);
        let some =
            [0, 1, 2, 3, 100, 65_534, 65_535, 65_536, 131_071, 1 << 24, (1 << 31) + 1, 4_294_836_224, 4_294_836_225];
        for groups in some.into_iter().chain([most, most.saturating_add(1), u64::from(limit), u64::from(limit) + 1]) {
            let folded = fold(groups, limit);
            assert_eq!(folded.is_some(), groups <= most, "{groups} groups, limit {limit}: {folded:?}");
            let Some([x, y, z]) = folded else { continue };
            assert!(x <= limit && y <= limit && z == 1, "{groups} groups, limit {limit}: {folded:?}");
            let made = u64::from(x) * u64::from(y);
            assert!(
                made >= groups.max(1) && made < groups.max(1) + u64::from(y),
                "{groups} groups, limit {limit}: {folded:?}"
            );
        }
    }
}

#[test]
fn nothing_to_compute_is_a_plan_without_steps() {
    for dims in [[0usize, 8], [3, 0]] {
        let x = gristmill::Tensor::outline(dims, Elem::F32).expect("a shape");
        let w = gristmill::Tensor::outline([dims[1]], Elem::F32).expect("a shape");
        use gristmill::{Op as _, Problem as _};
        let problem = gristmill::ops::norm::Scaler::new(&x, &w, &x).problem().expect("a problem");
        let plan = problem.plan(&Caps::baseline()).expect("a plan");
        assert_eq!((plan.name.as_str(), plan.steps.len()), ("empty", 0));
    }
}

#[test]
fn an_outline_cannot_be_read_or_written() {
    let x = gristmill::Tensor::outline([4], Elem::F32).expect("a shape");
    let outline = |e| matches!(e, Error::Outline { .. });
    assert!(x.write(&[0.0; 4]).is_err_and(outline));
    assert!(pollster::block_on(x.read()).is_err_and(outline));
    assert!(x.buffer().is_none() && x.dispatcher().is_none());
}
