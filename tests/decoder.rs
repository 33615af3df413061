//! Decoder layers: every flavour against the reference, through caches, and told of bad input.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by it")]

use gristmill::adapters::{AdapterAttach, AdapterSet, Room};
use gristmill::decoder::{
    DecoderLayer, Flavour, LayerScratch, LayerWeights, Matrix, Qkv, Router, Skipping, SkippingScratch, Tokens,
};
use gristmill::formats::{Format, Packed};
use gristmill::kv_cache::{Appended, Coming, KvCache, KvRoom, KvShape};
use gristmill::ops::adapter::{AdapterMerge, Kind};
use gristmill::ops::attention::prologue::{Angles, Turn};
use gristmill::ops::attention::tables::RopeTable;
use gristmill::ops::depth::{Choose, Gate, GateOf, GateOn};
use gristmill::ops::norm::RmsNorm;
use gristmill::ops::{Op, Problem};
use gristmill::proof::measure::{Effort, LayerSizes, SkippedLayer};
use gristmill::reference::{self, Array};
use gristmill::{Caps, Dispatcher, Elem, Encoder, Error, KvFormat, Recorder, Recording, Result, Tensor, Weight};
use pollster::block_on;

/// The residual stream, heads, heads of keys, numbers of a head, the feed-forward layer.
const SIZES: [usize; 5] = [64, 4, 2, 16, 96];

/// Rows of the tables.
const POSITIONS: usize = 40;

/// Numbers between −1 and 1, the same for the same seed.
fn noise(n: usize, seed: usize) -> Vec<f32> {
    let of = |i: usize| {
        let mixed = (i + 1 + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> 40;
        (mixed % 4001) as f32 / 2000.0 - 1.0
    };
    (0..n).map(of).collect()
}

fn array(shape: &[usize], values: &[f32]) -> Array {
    Array { shape: shape.to_vec(), data: values.iter().map(|v| f64::from(*v)).collect() }
}

/// A weight on the device with its bias, and as the reference has it.
struct Linear {
    w: Weight,
    bias: Option<Tensor>,
    host: reference::Matrix,
}

impl Linear {
    fn new(gpu: &Dispatcher, format: Format, [n, k]: [usize; 2], biased: bool, seed: usize) -> Result<Self> {
        // What goes through is as large as what went in.
        let values: Vec<f32> = noise(n * k, seed).iter().map(|v| v * (3.0 / k as f32).sqrt()).collect();
        let packed = Packed::encode(format, n, k, &values)?;
        let bias = biased.then(|| noise(n, seed + 1));
        let host = (array(&[n, k], &packed.decode()), bias.as_ref().map(|b| array(&[n], b)));
        let bias = bias.map(|b| gpu.upload(&b, [n], Elem::F32)).transpose()?;
        Ok(Self { w: gpu.weight(&packed)?, bias, host })
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix { bias: self.bias.as_ref(), ..(&self.w).into() }
    }
}

/// A vector on the device, and as the reference has it.
struct Vector {
    tensor: Tensor,
    host: Array,
}

impl Vector {
    fn about(gpu: &Dispatcher, mean: f32, n: usize, seed: usize) -> Result<Self> {
        let values: Vec<f32> = noise(n, seed).iter().map(|v| mean + v / 2.0).collect();
        Ok(Self { tensor: gpu.upload(&values, [n], Elem::F32)?, host: array(&[n], &values) })
    }
}

/// What is asked of a layer.
#[derive(Clone, Copy)]
struct Ask {
    flavour: Flavour,
    format: Format,
    packed: bool,
    biased: bool,
    /// Norms after branches.
    ends: bool,
    sinks: bool,
}

impl Ask {
    fn new(flavour: Flavour) -> Self {
        Self { flavour, format: Format::Dense, packed: false, biased: false, ends: false, sinks: false }
    }
}

/// The weights of a layer.
struct Made {
    ask: Ask,
    norms: [Vector; 2],
    ends: [Vector; 2],
    qk: [Vector; 2],
    sinks: Vector,
    qkv: [Linear; 3],
    packed: Linear,
    output: Linear,
    mlp: [Linear; 3],
}

impl Made {
    fn new(gpu: &Dispatcher, ask: Ask, seed: usize) -> Result<Self> {
        let [c, h, g, d, f] = SIZES;
        let about = 1.0 - ask.flavour.norm_offset;
        let linear = |n, k, i| Linear::new(gpu, ask.format, [n, k], ask.biased, seed + i);
        let qkv = [linear(h * d, c, 10)?, linear(g * d, c, 20)?, linear(g * d, c, 30)?];
        // The same numbers side by side. A block is within a row, so that it is the same codes.
        let values: Vec<f64> = qkv.iter().flat_map(|m| m.host.0.data.clone()).collect();
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        let packed = Packed::encode(Format::Dense, (h + 2 * g) * d, c, &values)?;
        let bias: Vec<f32> =
            qkv.iter().filter_map(|m| m.host.1.clone()).flat_map(|b| b.data).map(|v| v as f32).collect();
        let bias = ask.biased.then(|| gpu.upload(&bias, [bias.len()], Elem::F32)).transpose()?;
        Ok(Self {
            ask,
            norms: [Vector::about(gpu, about, c, seed + 1)?, Vector::about(gpu, about, c, seed + 2)?],
            ends: [Vector::about(gpu, about, c, seed + 3)?, Vector::about(gpu, about, c, seed + 4)?],
            qk: [Vector::about(gpu, about, d, seed + 5)?, Vector::about(gpu, about, d, seed + 6)?],
            sinks: Vector::about(gpu, 0.5, h, seed + 7)?,
            packed: Linear { w: gpu.weight(&packed)?, bias, host: qkv[0].host.clone() },
            qkv,
            output: linear(c, h * d, 40)?,
            mlp: [linear(f, c, 50)?, Linear::new(gpu, ask.format, [f, c], false, seed + 60)?, linear(c, f, 70)?],
        })
    }

    fn layer(&self) -> DecoderLayer<'_> {
        let Ask { flavour, packed, ends, sinks, .. } = self.ask;
        let [q, k, v] = &self.qkv;
        let apart = Qkv::Apart { q: q.matrix(), k: k.matrix(), v: v.matrix() };
        let qkv = if packed { Qkv::Packed(self.packed.matrix()) } else { apart };
        let [gate, up, down] = &self.mlp;
        let normed = flavour.qk_norm.is_some();
        let new = LayerWeights::new(
            (&self.norms[0].tensor, &self.norms[1].tensor),
            (qkv, &self.output.w),
            [&gate.w, &up.w, &down.w],
        );
        let weights = LayerWeights {
            q_norm: normed.then_some(&self.qk[0].tensor),
            k_norm: normed.then_some(&self.qk[1].tensor),
            sinks: sinks.then_some(&self.sinks.tensor),
            output: self.output.matrix(),
            attention_end: ends.then_some(&self.ends[0].tensor),
            gate: gate.matrix(),
            down: down.matrix(),
            mlp_end: ends.then_some(&self.ends[1].tensor),
            ..new
        };
        DecoderLayer { flavour, weights }
    }

    fn reference(&self) -> reference::DecoderLayer {
        let Ask { flavour: f, ends, sinks, .. } = self.ask;
        let hosts = |all: &[Linear; 3]| [0, 1, 2].map(|i| all[i].host.clone());
        reference::DecoderLayer {
            heads: f.heads,
            groups: f.groups,
            d: f.head_dim,
            eps: f64::from(f.eps),
            offset: f64::from(f.norm_offset),
            scale: f.scale.map_or(1.0 / (f.head_dim as f64).sqrt(), f64::from),
            softcap: f64::from(f.softcap),
            window: f.window.map(i64::from),
            activation: f.activation.name(),
            attention_norm: self.norms[0].host.clone(),
            qkv: hosts(&self.qkv),
            qk_norm: f.qk_norm.map(|_| [self.qk[0].host.clone(), self.qk[1].host.clone()]),
            sinks: sinks.then(|| self.sinks.host.data.clone()),
            output: self.output.host.clone(),
            attention_end: ends.then(|| self.ends[0].host.clone()),
            mlp_norm: self.norms[1].host.clone(),
            mlp: hosts(&self.mlp),
            mlp_end: ends.then(|| self.ends[1].host.clone()),
        }
    }
}

/// The tables, and what the reference reads of them.
struct Tables {
    cos: Tensor,
    sin: Tensor,
    host: [Array; 2],
}

impl Tables {
    fn new(gpu: &Dispatcher) -> Result<Self> {
        let table = RopeTable::new(10_000.0, SIZES[3]);
        let (cos, sin) = gpu.rope_table(&table, POSITIONS, Elem::F32)?;
        let host = [block_on(cos.read())?, block_on(sin.read())?].map(|t| array(&[POSITIONS, SIZES[3] / 2], &t));
        Ok(Self { cos, sin, host })
    }

    fn turn(&self) -> Turn<'_> {
        let Self { cos, sin, .. } = self;
        Turn { cos, sin, angles: Angles::Appended, interleaved: false, before_norm: false }
    }

    /// What the reference makes of a layer's tokens from position 0 on.
    fn want(&self, made: &Made, x: &Array) -> Array {
        let (h, m) = reference::decoder_layer(&made.reference(), x, (&self.host[0], &self.host[1]));
        h.with(h.data.iter().zip(&m.data).map(|(h, m)| h + m).collect())
    }
}

/// Each of ten ops adds up to 96 terms, whose roundings are as likely up as down: ten of 2^-24 of the largest number, and weights are such that
/// what goes through stays as large. What is stored in less is rounded eight times on its way.
fn near(what: &str, got: &[f32], want: &[f64], stored: Elem) {
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let bound =
        largest * (10.0 * 10.0 * 2f64.powi(-24) + if stored == Elem::F32 { 0.0 } else { 8.0 * stored.unit_roundoff() });
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
    assert!(got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() <= bound), "{what}: {worst} of {bound}");
}

fn asks() -> Vec<(&'static str, Ask)> {
    let [_, h, g, d, _] = SIZES;
    let llama = Ask::new(Flavour::llama(h, g, d));
    let gemma = Flavour { window: Some(3), scale: Some(0.3), ..Flavour::gemma2(h, g, d) };
    let biased = Ask { ends: true, biased: true, sinks: true, ..llama };
    vec![
        ("llama in q4_0", Ask { format: Format::Q4_0, ..llama }),
        ("qwen2, packed", Ask { packed: true, biased: true, ..llama }),
        ("qwen3 in q8_0", Ask { format: Format::Q8_0, ..Ask::new(Flavour::qwen3(h, g, d)) }),
        ("gemma 2", Ask { ends: true, ..Ask::new(Flavour { softcap: 2.0, ..gemma }) }),
        (
            "gemma 3, biased, with sinks",
            Ask { flavour: Flavour { window: Some(2), ..Flavour::gemma3(h, g, d) }, ..biased },
        ),
    ]
}

#[test]
fn every_flavour_is_what_the_reference_says() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let (batch, each, c) = (2, 7, SIZES[0]);
    for (at, (name, ask)) in asks().into_iter().enumerate() {
        let made = Made::new(&gpu, ask, 100 * at)?;
        let narrow = [(Elem::Bf16, Elem::F16), (Elem::F32, Elem::F16)];
        for (stream, inner) in [(Elem::F32, Elem::F32)].into_iter().chain(narrow.into_iter().filter(|_| at == 0)) {
            let values = stream.decode(&stream.encode(&noise(batch * each * c, at + 5)));
            let x = gpu.upload(&values, [batch, each, c], stream)?;
            let y = gpu.zeros([batch, each, c], Elem::F32)?;
            let layer = made.layer();
            // For more tokens than there are.
            let scratch = LayerScratch::new(&gpu, &layer, batch * each + 3, stream, inner)?;
            let mut rec = gpu.record()?;
            layer.record(&mut rec, &scratch, &Tokens { turn: Some(tables.turn()), ..Tokens::new(&x, &y) }, None)?;
            rec.submit()?;
            let got = block_on(y.read())?;
            for (sample, (values, got)) in values.chunks(each * c).zip(got.chunks(each * c)).enumerate() {
                let want = tables.want(&made, &array(&[each, c], values));
                near(
                    &format!("{name}, {} and {}, sample {sample}", stream.name(), inner.name()),
                    got,
                    &want.data,
                    if stream.unit_roundoff() > inner.unit_roundoff() { stream } else { inner },
                );
            }
        }
    }
    Ok(())
}

/// A GGUF file of the architecture llama has row `i + D/2·half` of a head of queries and keys at `2i + half`.
#[test]
fn rows_of_queries_and_keys_in_gguf_order_turn_by_neighbours() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, h, g, d, _], each) = (SIZES, 7);
    let made = Made::new(&gpu, Ask::new(Flavour::llama(h, g, d)), 3)?;
    let in_order = |matrix: &Linear| {
        let rows: Vec<&[f64]> = matrix.host.0.data.chunks(c).collect();
        let at = |row: usize| rows[row / d * d + row % d / 2 + d / 2 * (row % 2)];
        let values: Vec<f32> = (0..rows.len()).flat_map(at).map(|v| *v as f32).collect();
        gpu.weight(&Packed::encode(Format::Dense, rows.len(), c, &values)?)
    };
    let (q, k) = (in_order(&made.qkv[0])?, in_order(&made.qkv[1])?);
    let layer = made.layer();
    let qkv = Qkv::Apart { q: (&q).into(), k: (&k).into(), v: made.qkv[2].matrix() };
    let layer = DecoderLayer { weights: LayerWeights { qkv, ..layer.weights }, ..layer };
    let scratch = LayerScratch::new(&gpu, &layer, each, Elem::F32, Elem::F32)?;
    let values = noise(each * c, 8);
    let (x, y) = (gpu.upload(&values, [1, each, c], Elem::F32)?, gpu.zeros([1, each, c], Elem::F32)?);
    let run = |interleaved| {
        let turn = Some(Turn { interleaved, ..tables.turn() });
        let mut rec = gpu.record()?;
        layer.record(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(&x, &y) }, None)?;
        rec.submit()?;
        block_on(y.read())
    };
    let want = tables.want(&made, &array(&[each, c], &values));
    near("by neighbours", &run(true)?, &want.data, Elem::F32);
    let worst = run(false)?.iter().zip(&want.data).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
    assert!(worst > 0.01, "by halves it is the same within {worst}");
    Ok(())
}

/// A recording, and what its closure gave.
fn kept<T>(
    gpu: &Dispatcher,
    record: impl FnOnce(&mut Recorder<wgpu::CommandEncoder>) -> Result<T>,
) -> Result<(Recording, T)> {
    let mut given = None;
    let recording = gpu.keep(|rec| record(rec).map(|t| given = Some(t)))?;
    Ok((recording, given.unwrap()))
}

#[test]
fn layers_with_a_cache_go_on_where_they_were() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, _, groups, d, _], batch, most) = (SIZES, 2, 12);
    let [(_, first), .., (_, second)] = &asks()[..] else { panic!("too few") };
    let made = [Made::new(&gpu, *first, 1000)?, Made::new(&gpu, *second, 2000)?];
    let layers = [made[0].layer(), made[1].layer()];
    let scratch = LayerScratch::new(&gpu, &layers[0], batch * 6, Elem::F32, Elem::F32)?;
    let values = noise(batch * most * c, 9);
    let want: Vec<Array> =
        values.chunks(most * c).map(|x| tables.want(&made[1], &tables.want(&made[0], &array(&[most, c], x)))).collect();
    let of_step = |from: usize, each: usize| -> Vec<f32> {
        (0..batch).flat_map(|sample| &values[(sample * most + from) * c..][..each * c]).copied().collect()
    };
    let check = |what: &str, y: &Tensor, from: usize| -> Result<()> {
        let got = block_on(y.read())?;
        for (want, got) in want.iter().zip(got.chunks(got.len() / batch)) {
            near(&format!("{what}, tokens from {from}"), got, &want.data[from * c..][..got.len()], Elem::F32);
        }
        Ok(())
    };
    for room in [KvRoom::Static { tokens: most }, KvRoom::Paged { page: 4, pages: 6, each: 3 }] {
        let (keys, values) = (KvFormat::F32, KvFormat::F32);
        let mut cache = KvCache::new(&gpu, KvShape { layers: 2, batch, groups, d, e: d, keys, values }, room)?;
        // Both layers in one submission, the second in place of what the first has made.
        fn step<E: Encoder>(
            rec: &mut Recorder<E>,
            (layers, scratch): (&[DecoderLayer<'_>], &LayerScratch),
            cache: &mut KvCache,
            (x, y): (&Tensor, &Tensor),
            of: Tokens<'_>,
        ) -> Result<Appended> {
            let appended = cache.append(rec, 0..layers.len(), Coming::Each(x.shape().dims()[1]))?;
            for (i, layer) in layers.iter().enumerate() {
                let of_layer = cache.layer(i)?;
                let x = if i == 0 { x } else { y };
                layer.record(rec, scratch, &Tokens { x, y, ..of }, Some(&of_layer))?;
            }
            Ok(appended)
        }
        let mut done = 0;
        for each in [6, 1, 2] {
            let (x, y) = (
                gpu.upload(&of_step(done, each), [batch, each, c], Elem::F32)?,
                gpu.zeros([batch, each, c], Elem::F32)?,
            );
            let of = Tokens { turn: Some(tables.turn()), longest: Some(done + each), ..Tokens::new(&x, &y) };
            let mut rec = gpu.record()?;
            step(&mut rec, (&layers, &scratch), &mut cache, (&x, &y), of)?;
            rec.submit()?;
            check(&format!("{room:?}"), &y, done)?;
            done += each;
        }
        // The last three are one recording.
        let (x, y) = (gpu.zeros([batch, 1, c], Elem::F32)?, gpu.zeros([batch, 1, c], Elem::F32)?);
        let of = Tokens { turn: Some(tables.turn()), ..Tokens::new(&x, &y) };
        let (recording, appended) = kept(&gpu, |rec| step(rec, (&layers, &scratch), &mut cache, (&x, &y), of))?;
        assert!(recording.dispatches() >= 20, "{recording:?}");
        let held = gpu.holdings();
        while done < most {
            if done > 9 {
                cache.again(&appended)?;
            }
            x.write(&of_step(done, 1))?;
            let mut rec = gpu.record()?;
            rec.replay(&recording)?;
            assert_eq!(rec.dispatches(), recording.dispatches());
            rec.submit()?;
            check(&format!("{room:?}, replayed"), &y, done)?;
            done += 1;
        }
        assert_eq!(gpu.holdings(), held);
        assert_eq!(cache.length(1, 1), Some(most));
        let told = cache.again(&appended).unwrap_err().to_string();
        assert_eq!(told, "kv cache: needs 13 of room for tokens, but there are 12");
    }
    let mut cache = KvCache::new(
        &gpu,
        KvShape { layers: 1, batch: 1, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 },
        KvRoom::Paged { page: 2, pages: 4, each: 4 },
    )?;
    let (_, appended) = kept(&gpu, |rec| cache.append(rec, 0..1, Coming::Each(1)))?;
    cache.again(&appended)?;
    assert!(cache.again(&appended).unwrap_err().to_string().contains("pages of its own"));
    assert_eq!(cache.length(0, 0), Some(2));
    Ok(())
}

/// Positions of B samples from here on.
fn positions(gpu: &Dispatcher, batch: usize, from: usize, each: usize) -> Result<Tensor> {
    let all: Vec<i64> = (0..batch * each).map(|i| (from + i % each) as i64).collect();
    gpu.positions(&all, [batch, each], POSITIONS)
}

/// The matrices of a layer: q, k, v, output, gate, up, down.
fn with_matrices<'a>(layer: &DecoderLayer<'a>, matrices: [Matrix<'a>; 7]) -> DecoderLayer<'a> {
    let [q, k, v, output, gate, up, down] = matrices;
    let (qkv, up_adapters) = (Qkv::Apart { q, k, v }, up.adapters);
    let weights = LayerWeights { qkv, output, gate, up: up.w, up_adapters, down, ..layer.weights };
    DecoderLayer { weights, ..*layer }
}

#[test]
fn a_layer_with_adapters_is_the_layer_of_merged_weights() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let ([c, ..], batch, each, rank) = (SIZES, 2, 7, 4);
    for (at, (name, ask)) in asks().into_iter().filter(|(_, ask)| !ask.packed).enumerate() {
        let made = Made::new(&gpu, ask, 6000 + 100 * at)?;
        let plain = made.layer();
        let Qkv::Apart { q, k, v } = plain.weights.qkv else { panic!("three matrices") };
        let LayerWeights { output, gate, up, down, .. } = plain.weights;
        let matrices = [q, k, v, output, gate, up.into(), down];
        let (mut sets, mut merged) = (Vec::<AdapterSet>::new(), Vec::<Weight>::new());
        for (i, Matrix { w, .. }) in matrices.iter().enumerate() {
            let (n, k) = (w.n(), w.k());
            let of = |shape: [usize; 2], seed| gpu.upload(&noise(shape[0] * shape[1], seed), shape, Elem::F32);
            let (a, b) = (of([rank, k], 40 + i)?, of([n, rank], 60 + i)?);
            // The delta is a fourth of the weight.
            let (kind, scale) = (Kind::Lora { a: &a, b: &b }, 0.25 / (k as f32).sqrt());
            let set = gpu.adapter_set([n, k], Room { adapters: 2, elem: Elem::F32, ..Room::new(rank) })?;
            gpu.run(AdapterAttach::new(w, kind, scale, &set, 1))?;
            sets.push(set);
            let whole = gpu.weight_zeros(Format::Dense, Elem::F32, [n, k])?;
            gpu.run(AdapterMerge::new(w, kind, scale, &whole))?;
            merged.push(whole);
        }
        // The second sample has the adapter, the first none: once as an empty place, once as no place.
        let index: Vec<u8> =
            (0..batch * each).flat_map(|t| [0i32, -1, 1][if t < each { t % 2 } else { 2 }].to_le_bytes()).collect();
        let index = gpu.upload_bytes(&index, [batch, each], Elem::I32)?;
        let live = with_matrices(&plain, std::array::from_fn(|i| Matrix { adapters: Some(&sets[i]), ..matrices[i] }));
        let live = DecoderLayer { weights: LayerWeights { adapter_index: Some(&index), ..live.weights }, ..live };
        let whole = with_matrices(&plain, std::array::from_fn(|i| Matrix { w: &merged[i], ..matrices[i] }));
        let x = gpu.upload(&noise(batch * each * c, at + 5), [batch, each, c], Elem::F32)?;
        let scratch = LayerScratch::new(&gpu, &plain, batch * each, Elem::F32, Elem::F32)?;
        let of_skipping = SkippingScratch::new(&gpu, &plain, [batch, each, each], Elem::F32)?;
        let weight = gpu.upload(&noise(c, 77), [c], Elem::F32)?;
        let run = |layer: &DecoderLayer<'_>, choose: Option<Choose>| {
            let y = gpu.zeros([batch, each, c], Elem::F32)?;
            let (mut rec, tokens) = (gpu.record()?, Tokens::new(&x, &y));
            match choose {
                None => layer.record(&mut rec, &scratch, &tokens, None)?,
                Some(choose) => {
                    let skipping = Skipping::new(Router::new(&weight, choose), &of_skipping);
                    layer.record_routed(&mut rec, &scratch, &tokens, &skipping, None).map(drop)?;
                }
            }
            rec.submit()?;
            block_on(y.read())
        };
        // All tokens; some, as many of each sample; or as many as there are, of which only the device knows.
        for choose in [None, Some(Choose::Ratio(0.6)), Some(Choose::Above(0.0))] {
            let (got, plain, whole) = (run(&live, choose)?, run(&plain, choose)?, run(&whole, choose)?);
            let (half, what) = (each * c, format!("{name} by {choose:?}"));
            let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            near(&format!("{what}, no adapter"), &got[..half], &wide(&plain[..half]), Elem::F32);
            near(&format!("{what}, an adapter"), &got[half..], &wide(&whole[half..]), Elem::F32);
            let apart = plain[half..].iter().zip(&whole[half..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart > 0.05, "{what}: the adapter changes {apart}");
        }
    }
    Ok(())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn keeping_every_token_is_the_dense_layer_bit_for_bit() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, ..], batch, each) = (SIZES, 2, 9);
    let made = Made::new(&gpu, asks()[0].1, 3000)?;
    let layer = made.layer();
    for stream in [Elem::F32, Elem::F16] {
        let x = gpu.upload(&noise(batch * each * c, 11), [batch, each, c], stream)?;
        let places = positions(&gpu, batch, 0, each)?;
        let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
        let scratch = LayerScratch::new(&gpu, &layer, batch * each, stream, Elem::F32)?;
        let of_skipping = SkippingScratch::new(&gpu, &layer, [batch, each, each], stream)?;
        let dense = gpu.zeros([batch, each, c], stream)?;
        let mut rec = gpu.record()?;
        layer.record(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(&x, &dense) }, None)?;
        rec.submit()?;
        let want = bits(&block_on(dense.read())?);
        assert!(want.iter().filter(|v| **v != 0).count() > want.len() / 2);
        let weight = gpu.upload(&noise(c, 12), [c], Elem::F32)?;
        let none = gpu.zeros([batch, each], Elem::U8)?;
        let all = Router { gate: Gate { alpha: 0.0, ..Gate::TANH_NORM }, ..Router::new(&weight, Choose::Ratio(1.0)) };
        let no_target = Router::new(&weight, Choose::Ratio(0.3));
        let above = Router { choose: Choose::Above(f32::NEG_INFINITY), ..all };
        for (what, router, target) in
            [("all", all, None), ("no target", no_target, Some(&none)), ("above", above, None)]
        {
            let y = gpu.zeros([batch, each, c], stream)?;
            let skipping = Skipping { target, ..Skipping::new(router, &of_skipping) };
            let mut rec = gpu.record()?;
            layer.record_routed(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(&x, &y) }, &skipping, None)?;
            rec.submit()?;
            assert_eq!(bits(&block_on(y.read())?), want, "{what}, {}", stream.name());
        }
    }
    Ok(())
}

#[test]
fn permuting_skipped_tokens_changes_only_their_own_rows() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, ..], each) = (SIZES, 29);
    let made = Made::new(&gpu, asks()[1].1, 4000)?;
    let layer = made.layer();
    let places = positions(&gpu, 1, 0, each)?;
    let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
    let scratch = LayerScratch::new(&gpu, &layer, each, Elem::F32, Elem::F32)?;
    let of_skipping = SkippingScratch::new(&gpu, &layer, [1, each, each], Elem::F32)?;
    let weight = gpu.upload(&noise(c, 13), [c], Elem::F32)?;
    let keep = gpu.zeros([1, each], Elem::U8)?;
    let run = |values: &[f32]| -> Result<[Vec<f32>; 2]> {
        let (x, y) = (gpu.upload(values, [1, each, c], Elem::F32)?, gpu.zeros([1, each, c], Elem::F32)?);
        let router = Router::new(&weight, Choose::Ratio(0.4));
        let skipping = Skipping { keep: Some(&keep), ..Skipping::new(router, &of_skipping) };
        let mut rec = gpu.record()?;
        layer.record_routed(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(&x, &y) }, &skipping, None)?;
        rec.submit()?;
        Ok([block_on(y.read())?, block_on(keep.read())?])
    };
    let values = noise(each * c, 14);
    let [y, kept] = run(&values)?;
    let skipped: Vec<usize> = (0..each).filter(|i| kept[*i] == 0.0).collect();
    assert_eq!(skipped.len(), each - 11);
    // Each skipped token goes to the place of the next.
    let (mut turned, mut from) = (values.clone(), (0..each).collect::<Vec<_>>());
    for (i, to) in skipped.iter().enumerate() {
        from[*to] = skipped[(i + 1) % skipped.len()];
        turned[to * c..][..c].copy_from_slice(&values[from[*to] * c..][..c]);
    }
    let [again, kept_again] = run(&turned)?;
    assert_eq!(kept, kept_again);
    for (i, from) in from.iter().enumerate() {
        assert_eq!(bits(&again[i * c..][..c]), bits(&y[from * c..][..c]), "token {i}");
    }
    Ok(())
}

#[test]
fn layers_that_are_skipped_keep_what_is_kept() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, _, groups, d, _], batch, each, more) = (SIZES, 2, 13, 2);
    let asks = asks();
    let sigmoid = Gate { of: GateOf::Sigmoid, alpha: 1.0, bias: 0.25 };
    let runs = [
        (asks[0].1, Choose::Ratio(0.5), Gate::TANH_NORM, GateOn::Mlp, true),
        (asks[4].1, Choose::Above(3.0), sigmoid, GateOn::Layer, false),
    ];
    for (at, (ask, choose, gate, gate_on, scale_skipped)) in runs.into_iter().enumerate() {
        let made = Made::new(&gpu, ask, 5000 + 100 * at)?;
        let layer = made.layer();
        let values = noise(batch * (each + more) * c, 21 + at);
        let of = |sample: usize, from: usize, n: usize| &values[(sample * (each + more) + from) * c..][..n * c];
        let both = |from: usize, n: usize| [of(0, from, n), of(1, from, n)].concat();
        // The last tokens of sample 1 are padding; in both every third is no target.
        let is_target: Vec<bool> = (0..batch * each).map(|i| i % 3 != 0).collect();
        let is_valid: Vec<bool> = (0..batch * each).map(|i| i < batch * each - 4).collect();
        let flags = |all: &[bool]| all.iter().map(|b| f32::from(u8::from(*b))).collect::<Vec<_>>();
        let target = gpu.upload(&flags(&is_target), [batch, each], Elem::U8)?;
        let valid = gpu.upload(&flags(&is_valid), [batch, each], Elem::U8)?;
        let router_values = noise(c, 31);
        let weight = gpu.upload(&router_values, [1, c], Elem::F32)?;
        let bias = gpu.upload(&[0.125], [1], Elem::F32)?;

        let (cos, sin) = (&tables.host[0], &tables.host[1]);
        let x = array(&[batch, each, c], &both(0, each));
        let router_values: Vec<f64> = router_values.iter().map(|v| f64::from(*v)).collect();
        let (score, _) = reference::mod_route(&x, &router_values, 0.125);
        let candidates: Vec<bool> = is_target.iter().zip(&is_valid).map(|(t, v)| *t && *v).collect();
        let gates: Vec<f64> = reference::gates(gate.of.name(), &score, &candidates, each)
            .into_iter()
            .map(|g| f64::from(gate.alpha) * g + f64::from(gate.bias))
            .collect();
        let chosen = |best: &[f64]| match choose {
            Choose::Above(least) => best.iter().filter(|s| **s > f64::from(least)).count(),
            _ => choose.of(best.len()),
        };
        let score = Array { shape: vec![batch, each], data: score };
        let selected = reference::mod_select(&score, &is_target, &is_valid, each, chosen);
        // The kept tokens of each sample, and then those that come later.
        let rows = |table: &Array, of: &[usize]| Array {
            shape: vec![of.len(), table.shape[1]],
            data: of.iter().flat_map(|i| table.data[i * table.shape[1]..][..table.shape[1]].to_vec()).collect(),
        };
        let (mut h, mut m) = (vec![0.0; batch * each * c], vec![0.0; batch * each * c]);
        let (mut later, mut counts) = (Vec::new(), Vec::new());
        for sample in 0..batch {
            let count = selected.count[sample] as usize;
            let kept = selected.index[sample * each..][..count].iter().map(|i| *i as usize - sample * each);
            let all: Vec<usize> = kept.chain(each..each + more).collect();
            let x = rows(&array(&[each + more, c], of(sample, 0, each + more)), &all);
            let angles = (rows(cos, &all), rows(sin, &all));
            let (of_h, of_m) = reference::decoder_layer(&made.reference(), &x, (&angles.0, &angles.1));
            h[sample * each * c..][..count * c].copy_from_slice(&of_h.data[..count * c]);
            m[sample * each * c..][..count * c].copy_from_slice(&of_m.data[..count * c]);
            later.extend(of_h.data.iter().zip(&of_m.data).skip(count * c).map(|(h, m)| h + m));
            counts.push(count);
        }
        assert!(counts[0] != counts[1] && counts.iter().all(|n| *n > 4 && *n < 12), "{counts:?}");
        let on_layer = gate_on == GateOn::Layer;
        let want = reference::mod_combine(&x, &h, &m, &gates, &selected.place, on_layer, scale_skipped);

        let scratch = LayerScratch::new(&gpu, &layer, batch * each, Elem::F32, Elem::F32)?;
        let of_skipping = SkippingScratch::new(&gpu, &layer, [batch, each, each], Elem::F32)?;
        let shape = KvShape { layers: 2, batch, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
        let mut cache = KvCache::new(&gpu, shape, KvRoom::Static { tokens: each + more })?;
        let told = [0, 1].map(|b| candidates[b * each..][..each].iter().filter(|is| **is).count());
        let router = Router { bias: Some(&bias), gate, gate_on, scale_skipped, ..Router::new(&weight, choose) };
        let skipping = Skipping {
            target: Some(&target),
            valid: Some(&valid),
            candidates: (at == 0).then_some(&told[..]),
            ..Skipping::new(router, &of_skipping)
        };
        let x = gpu.upload(&both(0, each), [batch, each, c], Elem::F32)?;
        let y = gpu.zeros([batch, each, c], Elem::F32)?;
        let places = positions(&gpu, batch, 0, each)?;
        let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
        let mut rec = gpu.record()?;
        let tokens = Tokens { turn, ..Tokens::new(&x, &y) };
        layer.record_routed(&mut rec, &scratch, &tokens, &skipping, Some((&mut cache, 1)))?;
        rec.submit()?;
        near(&format!("routed {at}"), &block_on(y.read())?, &want.data, Elem::F32);
        assert_eq!(cache.length(1, 0), None);

        let x = gpu.upload(&both(each, more), [batch, more, c], Elem::F32)?;
        let y = gpu.zeros([batch, more, c], Elem::F32)?;
        let places = positions(&gpu, batch, each, more)?;
        let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
        let mut rec = gpu.record()?;
        cache.append(&mut rec, 1..2, Coming::Each(more))?;
        let of_layer = cache.layer(1)?;
        layer.record(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(&x, &y) }, Some(&of_layer))?;
        rec.submit()?;
        near(&format!("routed {at}, what comes later"), &block_on(y.read())?, &later, Elem::F32);
    }
    Ok(())
}

/// k of 0, no candidates, a threshold that nobody passes, a sample of padding: with a cache and without.
#[test]
fn a_layer_may_keep_nothing() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, _, groups, d, _], batch, each) = (SIZES, 2, 5);
    let made = Made::new(&gpu, asks()[0].1, 6000)?;
    let layer = made.layer();
    let x = gpu.upload(&noise(batch * each * c, 41), [batch, each, c], Elem::F32)?;
    let same = bits(&block_on(x.read())?);
    let places = positions(&gpu, batch, 0, each)?;
    let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
    let scratch = LayerScratch::new(&gpu, &layer, batch * each, Elem::F32, Elem::F32)?;
    let of_skipping = SkippingScratch::new(&gpu, &layer, [batch, each, each], Elem::F32)?;
    let weight = gpu.upload(&noise(c, 42), [c], Elem::F32)?;
    let flags = |flags: [f32; 2]| {
        let all = flags.map(|f| vec![f; each]).concat();
        gpu.upload(&all, [batch, each], Elem::U8)
    };
    let (none, half) = (flags([0.0, 0.0])?, flags([1.0, 0.0])?);
    let router = |choose| Router { scale_skipped: false, ..Router::new(&weight, choose) };
    let of = |choose| Skipping::new(router(choose), &of_skipping);
    let asks = [
        ("k = 0", of(Choose::Count(0)), [0, 0]),
        ("a ratio of 0", of(Choose::Ratio(0.0)), [0, 0]),
        ("nobody passes", of(Choose::Above(f32::INFINITY)), [0, 0]),
        ("all padding", Skipping { valid: Some(&none), ..of(Choose::Ratio(0.5)) }, [0, 0]),
        (
            "no candidates, half padding",
            Skipping { target: Some(&none), valid: Some(&half), ..of(Choose::Count(0)) },
            [5, 0],
        ),
        ("half padding", Skipping { valid: Some(&half), ..of(Choose::Ratio(0.5)) }, [2, 0]),
        (
            "half padding, told",
            Skipping { valid: Some(&half), candidates: Some(&[5, 0]), ..of(Choose::Ratio(0.5)) },
            [2, 0],
        ),
    ];
    let shape = KvShape { layers: 1, batch, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
    let one = each * c;
    for (what, skipping, counts) in asks {
        let mut ys = Vec::new();
        for room in [None, Some(KvRoom::Static { tokens: 8 }), Some(KvRoom::Paged { page: 2, pages: 8, each: 4 })] {
            let y = gpu.zeros([batch, each, c], Elem::F32)?;
            let mut cache = room.map(|room| KvCache::new(&gpu, shape, room)).transpose()?;
            let mut rec = gpu.record()?;
            let tokens = Tokens { turn, ..Tokens::new(&x, &y) };
            let of_layer = cache.as_mut().map(|cache| (cache, 0));
            let appended = layer.record_routed(&mut rec, &scratch, &tokens, &skipping, of_layer)?;
            assert_eq!(appended.is_some(), cache.is_some());
            rec.submit()?;
            if let Some(cache) = cache {
                assert_eq!(block_on(cache.layer(0)?.lengths.read())?, counts.map(|n| n as f32), "{what}");
            }
            let y = block_on(y.read())?;
            // Padding and what is skipped pass unchanged.
            assert_eq!(bits(&y[one..]), same[one..], "{what}");
            let passed = y.chunks(c).zip(same.chunks(c)).filter(|(y, x)| bits(y) == *x).count();
            assert_eq!(passed, batch * each - counts[0], "{what}");
            ys.push(bits(&y));
        }
        assert!(ys.iter().all(|y| *y == ys[0]), "{what}");
    }
    Ok(())
}

/// One token at a time is kept or not by a threshold, with a cache that holds those that were; recorded once and replayed.
#[test]
fn single_tokens_are_kept_or_not_and_replayed() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, _, groups, d, _], batch, prompt, steps) = (SIZES, 2, 4, 6);
    let made = Made::new(&gpu, asks()[2].1, 6500)?;
    let layer = made.layer();
    let scratch = LayerScratch::new(&gpu, &layer, batch * prompt, Elem::F32, Elem::F32)?;
    let of_skipping = SkippingScratch::new(&gpu, &layer, [batch, 1, 1], Elem::F32)?;
    let router = noise(c, 52);
    let weight = gpu.upload(&router, [c], Elem::F32)?;
    let by = Router {
        gate: Gate { alpha: 0.0, ..Gate::TANH_NORM },
        scale_skipped: false,
        ..Router::new(&weight, Choose::Above(0.0))
    };
    let skipping = Skipping::new(by, &of_skipping);
    let shape = KvShape { layers: 1, batch, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
    for room in [KvRoom::Static { tokens: 12 }, KvRoom::Paged { page: 12, pages: 2, each: 1 }] {
        let [mut cache, mut plain] = [KvCache::new(&gpu, shape, room)?, KvCache::new(&gpu, shape, room)?];
        let x = gpu.upload(&noise(batch * prompt * c, 53), [batch, prompt, c], Elem::F32)?;
        let y = gpu.zeros([batch, prompt, c], Elem::F32)?;
        for cache in [&mut cache, &mut plain] {
            let mut rec = gpu.record()?;
            cache.append(&mut rec, 0..1, Coming::Each(prompt))?;
            let tokens = Tokens { turn: Some(tables.turn()), ..Tokens::new(&x, &y) };
            layer.record(&mut rec, &scratch, &tokens, Some(&cache.layer(0)?))?;
            rec.submit()?;
        }
        let (x, y) = (gpu.zeros([batch, 1, c], Elem::F32)?, gpu.zeros([batch, 1, c], Elem::F32)?);
        let places = gpu.zeros([batch, 1], Elem::I32)?;
        let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
        let tokens = Tokens { turn, ..Tokens::new(&x, &y) };
        let (step, appended) =
            kept(&gpu, |rec| layer.record_routed(rec, &scratch, &tokens, &skipping, Some((&mut cache, 0))))?;
        let mut all = 0;
        for i in 0..steps {
            let values = noise(batch * c, 60 + i);
            x.write(&values)?;
            places.write(&[(prompt + i) as f32; 2])?;
            if i > 0 {
                cache.again(appended.as_ref().unwrap())?;
            }
            let mut rec = gpu.record()?;
            rec.replay(&step)?;
            rec.submit()?;
            let got = block_on(y.read())?;
            let score = |x: &[f32]| x.iter().zip(&router).map(|(x, w)| x * w).sum::<f32>();
            for (b, x_of) in values.chunks(c).enumerate() {
                let got = &got[b * c..][..c];
                if score(x_of) <= 0.0 {
                    assert_eq!(bits(got), bits(x_of), "{room:?}, step {i}, sample {b}");
                    continue;
                }
                all += 1;
                let mut rec = gpu.record()?;
                plain.append(&mut rec, 0..1, Coming::To { sequence: b, tokens: 1 })?;
                layer.record(&mut rec, &scratch, &tokens, Some(&plain.layer(0)?))?;
                rec.submit()?;
                let want: Vec<f64> = block_on(y.read())?[b * c..][..c].iter().map(|v| f64::from(*v)).collect();
                near(&format!("{room:?}, step {i}, sample {b}"), got, &want, Elem::F32);
            }
            let lengths = |cache: &KvCache| block_on(cache.layer(0)?.lengths.read());
            assert_eq!(lengths(&cache)?, lengths(&plain)?, "{room:?}, step {i}");
        }
        assert!((3..batch * steps - 2).contains(&all), "{all}");
        assert_eq!(cache.length(0, 0), None);
        // Tokens have skipped the layer, and nobody knows which of the last.
        let mut rec = gpu.record()?;
        let told = cache.take_back(&mut rec, 0, 1).unwrap_err().to_string();
        assert!(told.contains("layer 0 surely holds 0"), "{told}");
        cache.append(&mut rec, 0..1, Coming::Each(1))?;
        let before = rec.dispatches();
        let tokens = Tokens { turn: Some(tables.turn()), ..tokens };
        let told = layer.record(&mut rec, &scratch, &tokens, Some(&cache.layer(0)?)).unwrap_err().to_string();
        assert_eq!(
            told,
            "decoder layer: tokens have skipped the layer: places in its cache are no positions, which must be told"
        );
        assert_eq!(rec.dispatches(), before);
    }
    Ok(())
}

/// A wrong number of candidates: what finds no room skips the layer, what does not come is not in the cache.
#[test]
fn a_wrong_promise_of_candidates_loses_no_count() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let tables = Tables::new(&gpu)?;
    let ([c, _, groups, d, _], each) = (SIZES, 20);
    let made = Made::new(&gpu, asks()[0].1, 6800)?;
    let layer = made.layer();
    let x = gpu.upload(&noise(each * c, 61), [1, each, c], Elem::F32)?;
    let places = positions(&gpu, 1, 0, each)?;
    let turn = Some(Turn { angles: Angles::Positions(&places), ..tables.turn() });
    let scratch = LayerScratch::new(&gpu, &layer, each, Elem::F32, Elem::F32)?;
    let of_skipping = SkippingScratch::new(&gpu, &layer, [1, each, each], Elem::F32)?;
    let weight = gpu.upload(&noise(c, 62), [c], Elem::F32)?;
    let shape = KvShape { layers: 1, batch: 1, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
    let run = |real: usize, told: Option<usize>| -> Result<(Vec<f32>, f32)> {
        let target: Vec<f32> = (0..each).map(|i| f32::from(u8::from(i < real))).collect();
        let target = gpu.upload(&target, [1, each], Elem::U8)?;
        let told = told.map(|n| [n]);
        let router = Router { scale_skipped: false, ..Router::new(&weight, Choose::Ratio(0.5)) };
        let candidates = told.as_ref().map(|n| &n[..]);
        let skipping = Skipping { target: Some(&target), candidates, ..Skipping::new(router, &of_skipping) };
        let mut cache = KvCache::new(&gpu, shape, KvRoom::Static { tokens: each })?;
        let y = gpu.zeros([1, each, c], Elem::F32)?;
        let mut rec = gpu.record()?;
        let tokens = Tokens { turn, ..Tokens::new(&x, &y) };
        layer.record_routed(&mut rec, &scratch, &tokens, &skipping, Some((&mut cache, 0)))?;
        rec.submit()?;
        Ok((block_on(y.read())?, block_on(cache.layer(0)?.lengths.read())?[0]))
    };
    let wide = |y: &[f32]| y.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    // 10 of 10 that nobody may skip, and 5 of 10.
    let (right, length) = run(10, None)?;
    assert_eq!(length, 15.0);
    let (y, length) = run(10, Some(5))?;
    assert_eq!(length, 15.0);
    near("17 places for 15", &y, &wide(&right), Elem::F32);
    // None of 5 may skip, it was said, and so all would be kept.
    let (right, length) = run(5, None)?;
    assert_eq!(length, 17.0);
    let (y, length) = run(5, Some(0))?;
    assert_eq!(length, 17.0);
    near("20 places for 17", &y, &wide(&right), Elem::F32);
    // 16 are kept, of which the last finds no room.
    let (right, length) = run(8, None)?;
    assert_eq!(length, 16.0);
    let (y, length) = run(8, Some(10))?;
    assert_eq!(length, 15.0);
    let (last, x) = ((each - 1) * c, block_on(x.read())?);
    near("15 places for 16", &y[..last], &wide(&right[..last]), Elem::F32);
    assert_eq!(bits(&y[last..]), bits(&x[last..]));
    Ok(())
}

/// Rows that are read through a list must be in one binding, but what is not read so need not.
#[test]
fn listed_rows_are_counted_in_their_own_bytes() -> Result<()> {
    let (tokens, c) = (8_192, 4_096);
    let of = |shape: &[usize], elem| Tensor::outline(shape, elem);
    let (x, weight) = (of(&[1, tokens, c], Elem::F16)?, of(&[c], Elem::F32)?);
    let (rows, sum, y) = (of(&[1, 64], Elem::U32)?, of(&[1, 64, c], Elem::F16)?, of(&[1, 64, c], Elem::F32)?);
    let norm = RmsNorm { weight: Some(&weight), rows: Some(&rows), sum: Some(&sum), ..RmsNorm::new(&x, &y) };
    assert!(!norm.problem()?.plans(&Caps::baseline())?.is_empty());
    let x = of(&[1, 2 * tokens, c], Elem::F16)?;
    let told = RmsNorm { x: &x, ..norm }.problem()?.plans(&Caps::baseline()).unwrap_err();
    assert!(matches!(told, Error::Limit { need: 134_217_728, .. }), "{told}");
    Ok(())
}

#[test]
fn bad_input_is_told_and_nothing_is_recorded() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let ask = Ask::new(Flavour::llama(4, 2, 16));
    let made = Made::new(&gpu, ask, 7)?;
    let (layer, [c, ..]) = (made.layer(), SIZES);
    let scratch = LayerScratch::new(&gpu, &layer, 6, Elem::F32, Elem::F32)?;
    let zeros = |dims: &[usize], elem| gpu.zeros(dims, elem).unwrap();
    let mut rec = gpu.record()?;
    let mut told = |layer: &DecoderLayer<'_>, x: &Tensor, y: &Tensor| {
        let told = layer.record(&mut rec, &scratch, &Tokens::new(x, y), None).unwrap_err().to_string();
        assert_eq!(rec.dispatches(), 0, "{told}");
        told
    };
    let x = zeros(&[1, 6, c], Elem::F32);
    let y = zeros(&[1, 6, c], Elem::F32);
    assert_eq!(
        told(&layer, &zeros(&[6, c], Elem::F32), &y),
        "decoder layer: x has shape [6, 64], which is not [B, L, 64]"
    );
    assert_eq!(
        told(&layer, &x, &zeros(&[1, 5, c], Elem::F32)),
        "decoder layer: y has shape [1, 5, 64], but x has [1, 6, 64]"
    );
    assert!(told(&layer, &zeros(&[1, 6, c], Elem::F16), &y).starts_with("decoder layer: x is stored as f16"));
    assert_eq!(
        told(&layer, &zeros(&[2, 6, c], Elem::F32), &zeros(&[2, 6, c], Elem::F32)),
        "decoder layer: 12 tokens want 1536 numbers, but the scratch has room for 768"
    );
    // As many numbers of a token, but more of keys.
    let of = |heads, groups| DecoderLayer { flavour: Flavour::llama(heads, groups, 16), ..layer };
    let few = LayerScratch::new(&gpu, &of(4, 1), 6, Elem::F32, Elem::F32)?;
    let error = of(2, 2).record(&mut gpu.record()?, &few, &Tokens::new(&x, &y), None).unwrap_err();
    assert_eq!(error.to_string(), "decoder layer: 6 tokens want 192 numbers, but the scratch has room for 96");
    // What the last of its ops does not take.
    let weights = LayerWeights { down: Matrix { bias: Some(&x), ..layer.weights.down }, ..layer.weights };
    assert_eq!(told(&DecoderLayer { weights, ..layer }, &x, &y), "linear: bias has shape [1, 6, 64], but w has N = 64");
    let weights = LayerWeights { q_norm: Some(&made.qk[0].tensor), ..layer.weights };
    assert!(told(&DecoderLayer { weights, ..layer }, &x, &y).contains("no norm of queries and keys"));
    let flavour = Flavour::qwen3(4, 2, 16);
    assert!(
        told(&DecoderLayer { flavour, weights }, &x, &y).contains("q_norm and k_norm one is given, but not the other")
    );
    let flavour = Flavour { head_dim: usize::MAX, ..layer.flavour };
    assert!(told(&DecoderLayer { flavour, ..layer }, &x, &y).contains("4 heads and 2 groups of 18446744073709551615"));
    layer.record(&mut rec, &scratch, &Tokens::new(&x, &x), None)?;
    rec.submit()?;

    // With routing.
    let of_skipping = SkippingScratch::new(&gpu, &layer, [1, 6, 3], Elem::F32)?;
    let weight = zeros(&[c], Elem::F32);
    let half = Skipping::new(Router::new(&weight, Choose::Ratio(0.5)), &of_skipping);
    let mut rec = gpu.record()?;
    let mut told = |skipping: &Skipping<'_>, tokens: &Tokens<'_>| {
        let told = layer.record_routed(&mut rec, &scratch, tokens, skipping, None).unwrap_err().to_string();
        assert_eq!(rec.dispatches(), 0, "{told}");
        told
    };
    let tokens = Tokens::new(&x, &y);
    assert!(told(&half, &Tokens { y: &x, ..tokens }).contains("shares its buffer"));
    let tables = Tables::new(&gpu)?;
    assert!(told(&half, &Tokens { turn: Some(tables.turn()), ..tokens }).contains("turn by positions"));
    let more = Skipping { router: Router { choose: Choose::Count(4), ..half.router }, ..half };
    assert!(told(&more, &tokens).contains("the scratch of skipping has room for 3"));
    let narrow = zeros(&[c - 1], Elem::F32);
    let narrow = Skipping { router: Router { weight: &narrow, ..half.router }, ..half };
    assert!(told(&narrow, &tokens).starts_with("mod_route: weight has shape [63]"));
    assert!(told(&Skipping { candidates: Some(&[7]), ..half }, &tokens).contains("candidates are [7]"));
    // Positions of another storage, and more tokens than the tables have rows.
    let words = zeros(&[1, 6], Elem::U32);
    let turned = |places, rows: usize| -> Result<[Tensor; 3]> {
        let view = |of: &Tensor| of.view(0, [rows, 8]);
        Ok([view(&tables.cos)?, view(&tables.sin)?, places])
    };
    let mut by = |[cos, sin, places]: [Tensor; 3]| {
        let turn = Turn { cos: &cos, sin: &sin, angles: Angles::Positions(&places), ..tables.turn() };
        told(&half, &Tokens { turn: Some(turn), ..tokens })
    };
    assert_eq!(by(turned(words, 8)?), "decoder layer: positions is stored as u32, but must be i32");
    let past = by(turned(positions(&gpu, 1, 0, 6)?, 5)?);
    assert_eq!(past, "decoder layer: the table has 5 rows, position 5 is past it");
    // A cache that is full.
    let shape = KvShape { layers: 1, batch: 1, groups: 2, d: 16, e: 16, keys: KvFormat::F32, values: KvFormat::F32 };
    let mut cache = KvCache::new(&gpu, shape, KvRoom::Static { tokens: 2 })?;
    // One to which nothing has come, of which a recording that is kept may be made nevertheless.
    let of_layer = cache.layer(0)?;
    let early = layer.record(&mut rec, &scratch, &tokens, Some(&of_layer)).unwrap_err();
    assert!(early.to_string().contains("KvCache::append makes room"), "{early}");
    assert_eq!(rec.dispatches(), 0);
    gpu.keep(|rec| layer.record(rec, &scratch, &tokens, Some(&of_layer)))?;
    let full = layer.record_routed(&mut rec, &scratch, &tokens, &half, Some((&mut cache, 0))).unwrap_err();
    assert_eq!(full.to_string(), "kv cache: needs 3 of room for tokens, but there are 2");
    assert_eq!((rec.dispatches(), cache.length(0, 0)), (0, Some(0)));
    layer.record_routed(&mut rec, &scratch, &tokens, &half, None)?;
    rec.submit()?;
    let index = zeros(&[1, 5], Elem::I32);
    let weights = LayerWeights { adapter_index: Some(&index), ..layer.weights };
    let mut rec = gpu.record()?;
    let error = DecoderLayer { weights, ..layer }.record_routed(&mut rec, &scratch, &tokens, &half, None).unwrap_err();
    assert!(error.to_string().contains("adapter_index has shape [1, 5], but x has [1, 6] tokens"), "{error}");
    assert_eq!(rec.dispatches(), 0);
    Ok(())
}

/// Tables of eight rows. What goes past them writes nothing: neither a step, nor a replay, nor one of layers that hold fewer tokens than there
/// are positions.
#[test]
fn positions_past_the_table_are_told_before_anything_is_written() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let made = Made::new(&gpu, Ask::new(Flavour::llama(4, 2, 16)), 7)?;
    let (layer, [c, _, groups, d, _], rows) = (made.layer(), SIZES, 8);
    let scratch = LayerScratch::new(&gpu, &layer, 9, Elem::F32, Elem::F32)?;
    let tables = Tables::new(&gpu)?;
    let (cos, sin) = (tables.cos.view(0, [rows, d / 2])?, tables.sin.view(0, [rows, d / 2])?);
    let turn = Turn { cos: &cos, sin: &sin, ..tables.turn() };
    let (x, y) = (gpu.upload(&noise(9 * c, 3), [9, c], Elem::F32)?, gpu.upload(&noise(9 * c, 4), [9, c], Elem::F32)?);
    let first = |n: usize| -> Result<[Tensor; 2]> { Ok([x.view(0, [1, n, c])?, y.view(0, [1, n, c])?]) };
    let past = |op, position| Error::Position { op, rows: rows as u64, position };
    let shape = KvShape { layers: 2, batch: 1, groups, d, e: d, keys: KvFormat::F32, values: KvFormat::F32 };
    let of_cache = |room| KvCache::new(&gpu, shape, KvRoom::Static { tokens: room });
    /// Lengths and rows of a layer, as the device has them.
    fn held(cache: &KvCache, layer: usize) -> Result<Vec<f32>> {
        let layer = cache.layer(layer)?;
        let lengths = [block_on(layer.starts.read())?, block_on(layer.lengths.read())?];
        Ok([lengths.concat(), block_on(layer.keys.read())?, block_on(layer.values.read())?].concat())
    }

    // Without a cache the place is that in x.
    let [a, b] = first(9)?;
    let before = bits(&block_on(y.read())?);
    let mut rec = gpu.record()?;
    let tokens = Tokens { turn: Some(turn), ..Tokens::new(&a, &b) };
    assert_eq!(layer.record(&mut rec, &scratch, &tokens, None), Err(past("qkv_prologue", 8)));
    assert_eq!(rec.dispatches(), 0);
    rec.submit()?;
    assert_eq!(bits(&block_on(y.read())?), before);

    // Six tokens, one by a recording and one by its replay are as many as there are rows.
    let mut cache = of_cache(12)?;
    let ([a, b], [a1, b1], [a3, b3]) = (first(6)?, first(1)?, first(3)?);
    let [six, one, three] =
        [(&a, &b), (&a1, &b1), (&a3, &b3)].map(|(x, y)| Tokens { turn: Some(turn), ..Tokens::new(x, y) });
    let mut rec = gpu.record()?;
    cache.append(&mut rec, 0..1, Coming::Each(6))?;
    layer.record(&mut rec, &scratch, &six, Some(&cache.layer(0)?))?;
    rec.submit()?;
    let (step, appended) = kept(&gpu, |rec| {
        let appended = cache.append(rec, 0..1, Coming::Each(1))?;
        layer.record(rec, &scratch, &one, Some(&cache.layer(0)?)).map(|()| appended)
    })?;
    for again in [false, true] {
        if again {
            cache.again(&appended)?;
        }
        let mut rec = gpu.record()?;
        rec.replay(&step)?;
        rec.submit()?;
    }
    assert_eq!(cache.again(&appended), Err(past("kv cache", 8)));
    assert_eq!(cache.length(0, 0), Some(8));

    // The layer alone says so where room has been made already. The next that is recorded may turn by a longer table; what was recorded
    // before turns by its own.
    let mut rec = gpu.record()?;
    cache.append(&mut rec, 0..1, Coming::Each(3))?;
    let made_room = rec.dispatches();
    assert_eq!(layer.record(&mut rec, &scratch, &three, Some(&cache.layer(0)?)), Err(past("qkv_prologue", 10)));
    assert_eq!(rec.dispatches(), made_room);
    layer.record(&mut rec, &scratch, &Tokens { turn: Some(tables.turn()), ..three }, Some(&cache.layer(0)?))?;
    rec.submit()?;
    assert_eq!(cache.again(&appended), Err(past("kv cache", 11)));

    // A cache that was told the tables says so before.
    let mut cache = of_cache(12)?;
    cache.turn_by(rows);
    let mut rec = gpu.record()?;
    cache.append(&mut rec, 0..1, Coming::Each(6))?;
    layer.record(&mut rec, &scratch, &six, Some(&cache.layer(0)?))?;
    rec.submit()?;
    let before = bits(&held(&cache, 0)?);
    let mut rec = gpu.record()?;
    for coming in [Coming::Each(3), Coming::To { sequence: 0, tokens: 3 }] {
        assert_eq!(cache.append(&mut rec, 0..1, coming).unwrap_err(), past("kv cache", 8));
    }
    assert_eq!((rec.dispatches(), cache.length(0, 0)), (0, Some(6)));
    rec.submit()?;
    assert_eq!(bits(&held(&cache, 0)?), before);

    // Layer 1 keeps half of the prompt; positions are those of all of it.
    let weight = gpu.upload(&noise(c, 31), [c], Elem::F32)?;
    let of_skipping = SkippingScratch::new(&gpu, &layer, [1, 9, 5], Elem::F32)?;
    let skipping = Skipping::new(Router::new(&weight, Choose::Ratio(0.5)), &of_skipping);
    let (nine, all) = (first(9)?, positions(&gpu, 1, 0, 9)?);
    let routed = |rec: &mut Recorder<_>, cache: &mut KvCache, [x, y]: &[Tensor; 2]| {
        let places = all.view(0, [1, x.shape().dims()[1]])?;
        let tokens = Tokens { turn: Some(Turn { angles: Angles::Positions(&places), ..turn }), ..Tokens::new(x, y) };
        layer.record_routed(rec, &scratch, &tokens, &skipping, Some((cache, 1)))
    };
    let mut rec = gpu.record()?;
    assert_eq!(routed(&mut rec, &mut cache, &nine).unwrap_err(), past("decoder layer", 8));
    assert_eq!((rec.dispatches(), cache.length(1, 0)), (0, Some(0)));
    routed(&mut rec, &mut cache, &first(6)?)?;
    // Two tokens more have positions; the third does not, though layer 1 holds but five then.
    cache.append(&mut rec, 0..2, Coming::Each(1))?;
    let appended = cache.append(&mut rec, 0..2, Coming::Each(1))?;
    rec.submit()?;
    let (lengths, before) = ([cache.length(0, 0), cache.length(1, 0)], bits(&held(&cache, 1)?));
    let mut rec = gpu.record()?;
    assert_eq!(cache.append(&mut rec, 0..2, Coming::Each(1)).unwrap_err(), past("kv cache", 8));
    assert_eq!(cache.again(&appended), Err(past("kv cache", 8)));
    assert_eq!((rec.dispatches(), [cache.length(0, 0), cache.length(1, 0)]), (0, lengths));
    assert_eq!(lengths, [Some(8), Some(5)]);
    rec.submit()?;
    assert_eq!(bits(&held(&cache, 1)?), before);

    // What is uploaded is judged there.
    let told = gpu.positions(&[0, 4099, 2, 4096], [4], 4096).unwrap_err();
    assert_eq!(told.to_string(), "positions: the table has 4096 rows, position 4099 is past it");
    let told = gpu.positions(&[3, -1], [2], 4096).unwrap_err().to_string();
    assert_eq!(told, "positions: position = -1, but it must not be below 0");
    assert_eq!(block_on(gpu.positions(&[7, 0], [1, 2], rows)?.read())?, [7.0, 0.0]);
    Ok(())
}

#[test]
fn a_layer_that_is_timed_gives_what_the_dense_one_gives_where_it_keeps_all() -> Result<()> {
    let gpu = block_on(Dispatcher::request())?;
    let [width, _, _, _, hidden] = SIZES;
    let sizes = LayerSizes { model: "a small one", flavour: Flavour::qwen3(4, 2, 16), width, hidden, layers: 1 };
    let layer = SkippedLayer::new(&gpu, &sizes, Format::Dense, [12, 9], Elem::F32)?;
    assert_eq!(block_on(layer.differences(Choose::Ratio(1.0)))?, [0, 12 * width]);
    assert!(block_on(layer.differences(Choose::Ratio(0.5)))?[0] > width);
    for kept in [None, Some(Choose::Ratio(0.5))] {
        let [median, low, high] = block_on(layer.time(kept, &Effort::page()))?;
        assert!(0.0 < low && low <= median && median <= high, "{low} {median} {high}");
    }
    Ok(())
}
