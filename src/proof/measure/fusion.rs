//! What fusing saves: an op in one dispatch against the dispatches that do the same one after the other.

use std::collections::BTreeMap;

use super::skipping::numbers;
use super::{Add, Effort, LayerSizes, Stopwatch, measure};
use crate::dispatch::{Dispatcher, Recorder};
use crate::error::{Error, Result};
use crate::kv::{KvRows, Place};
use crate::ops::attention::Order;
use crate::ops::attention::prologue::{Angles, NormAxis, NormKind, Projection, Prologue, QkNorm, Start, Turn};
use crate::ops::attention::rope::Rope;
use crate::ops::attention::tables::RopeTable;
use crate::ops::norm::{RmsNorm, Scaler};
use crate::proof::AnyOp;
use crate::proof::run::side_by_side;
use crate::tensor::{Elem, Tensor};

/// The shape of Llama-3-8B's residual stream at a prefill of 2,048 tokens.
const SHAPE: [usize; 2] = [2048, 4096];

/// Tokens at which prologues are compared: a step of decoding, and prompts.
pub const FUSION_TOKENS: [usize; 3] = [1, 512, 2048];

/// Room for tokens in a cache, at least; a token that is decoded is the last that has it.
const ROOM: usize = 512;

/// A fused op beside its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// What is fused.
    pub what: &'static str,
    /// The shape of x, or whose projection it is and of how many tokens.
    pub shape: String,
    /// The bytes that the one dispatch moves as a part of those of all others: the ratio where bytes are all that counts.
    pub bytes: f64,
    /// Microseconds of the one dispatch.
    pub fused_us: f64,
    /// Microseconds of the others, one after the other.
    pub separate_us: f64,
    /// Each of those by itself, in microseconds.
    pub steps: Vec<(String, f64)>,
}

impl Fusion {
    /// The fused time as a part of the separate time.
    pub fn ratio(&self) -> f64 {
        self.fused_us / self.separate_us
    }
}

type Tensors = BTreeMap<String, Tensor>;
type Pass<'e> = Recorder<&'e mut wgpu::CommandEncoder>;
type Way<'a> = &'a dyn Fn(&mut Pass<'_>, &Tensors) -> Result<()>;

/// Two ways to the same numbers.
struct Ways<'a> {
    fused: Way<'a>,
    separate: &'a [(&'static str, Way<'a>)],
    /// What both make, and how far that may be apart, in units of its storage: of the number, and beside one of this magnitude.
    made: &'a [(&'static str, f32, f32)],
}

impl Ways<'_> {
    fn separate(&self, recorder: &mut Pass<'_>, t: &Tensors) -> Result<()> {
        self.separate.iter().try_for_each(|(_, step)| step(recorder, t))
    }

    /// Both ways give the same numbers, but for the roundings between steps.
    async fn check(&self, gpu: &Dispatcher, t: &Tensors, what: &'static str) -> Result<()> {
        let mut answers = Vec::with_capacity(2);
        for separate in [true, false] {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            // What one way has made is not there when the other begins.
            for (buffer, made) in self.made.iter().filter_map(|(name, ..)| Some((t[*name].buffer()?, &t[*name]))) {
                encoder.clear_buffer(buffer, made.offset_bytes(), Some(made.bytes().next_multiple_of(4)));
            }
            let mut recorder = gpu.record_into(&mut encoder)?;
            if separate {
                self.separate(&mut recorder, t)?;
            } else {
                (self.fused)(&mut recorder, t)?;
            }
            recorder.finish();
            gpu.scoped("fusion", || gpu.queue().submit([encoder.finish()]))?;
            let mut answer = Vec::with_capacity(self.made.len());
            for (name, ..) in self.made {
                answer.push(t[*name].read().await?);
            }
            answers.push(answer);
        }
        let (separate, fused) = (&answers[0], &answers[1]);
        for (i, (name, units, least)) in self.made.iter().enumerate() {
            let most = units * t[*name].elem().unit_roundoff() as f32;
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= most * a.abs().max(b.abs()).max(*least);
            let same = separate[i].iter().zip(&fused[i]).all(near);
            if !same || fused[i].iter().all(|v| *v == 0.0) {
                let message = format!("{name} of the fused {what} differs from that of its parts");
                return Err(Error::Device { what: "fusion".into(), message });
            }
        }
        Ok(())
    }

    /// Checks both, then times them, and each step by itself.
    async fn compare(
        &self,
        gpu: &Dispatcher,
        tensors: Tensors,
        (what, shape, bytes): (&'static str, String, f64),
        effort: &Effort,
    ) -> Result<Fusion> {
        self.check(gpu, &tensors, what).await?;
        let sets = side_by_side(gpu, &tensors, effort, 0)?;
        drop(tensors);
        let mut stopwatch = Stopwatch::new(gpu)?;
        let fused_us = time(&mut stopwatch, &sets, effort, self.fused).await?;
        let separate_us = time(&mut stopwatch, &sets, effort, &|r, t| self.separate(r, t)).await?;
        let mut steps = Vec::with_capacity(self.separate.len());
        for (name, step) in self.separate {
            steps.push(((*name).to_owned(), time(&mut stopwatch, &sets, effort, *step).await?));
        }
        Ok(Fusion { what, shape, bytes, fused_us, separate_us, steps })
    }
}

async fn time(stopwatch: &mut Stopwatch, sets: &[Tensors], effort: &Effort, record: Way<'_>) -> Result<f64> {
    let mut turn = sets.iter().cycle();
    let [us, ..] = measure(stopwatch, effort, &mut |r| turn.next().map_or(Ok(()), |set| record(r, set))).await?;
    Ok(us)
}

/// As an op of the case table, which is compiled for it already.
fn run(recorder: &mut Pass<'_>, op: &dyn AnyOp) -> Result<()> {
    recorder.run(op)
}

/// Compares an RMS norm that adds the residual and writes the sum with the three dispatches of a library that does not fuse:
///
/// | dispatch | reads | writes |
/// |---|---|---|
/// | `add`: sum = x + residual | 2 | 1 |
/// | `rms_norm`: h = sum · rstd | 1 | 1 |
/// | `scale`: y = h · weight | 1 | 1 |
/// | all three in one | 2 | 2 |
///
/// These are the steps of Llama's published code, `weight * hidden.to(dtype)` by itself, and give the same numbers as
/// the fused op with `cast_before_weight`, which is checked before anything is timed. A library whose norm takes the weight needs
/// two dispatches and moves 5 where we move 4: its time is about that of the first two steps.
///
/// # Errors
/// What the dispatcher says, or that the two ways differ.
pub async fn fusion(gpu: &Dispatcher, storage: Elem, effort: &Effort) -> Result<Fusion> {
    let [rows, len] = SHAPE;
    let values = numbers(2 * rows * len);
    let (x, residual) = values.split_at(rows * len);
    let mut tensors = Tensors::new();
    tensors.insert("x".into(), gpu.upload(x, SHAPE, storage)?);
    tensors.insert("residual".into(), gpu.upload(residual, SHAPE, storage)?);
    tensors.insert("weight".into(), gpu.upload(&x[..len], [len], storage)?);
    for name in ["sum", "h", "y"] {
        tensors.insert(name.into(), gpu.zeros(SHAPE, storage)?);
    }
    let fused: Way<'_> = &|recorder, t| {
        run(
            recorder,
            &RmsNorm {
                residual: Some(&t["residual"]),
                weight: Some(&t["weight"]),
                sum: Some(&t["sum"]),
                cast_before_weight: true,
                ..RmsNorm::new(&t["x"], &t["y"])
            },
        )
    };
    let ways = Ways {
        fused,
        separate: &[
            ("add", &|recorder, t| recorder.run(Add { x: &t["x"], residual: &t["residual"], sum: &t["sum"] })),
            ("rms_norm", &|recorder, t| run(recorder, &RmsNorm::new(&t["sum"], &t["h"]))),
            ("scale", &|recorder, t| run(recorder, &Scaler::new(&t["h"], &t["weight"], &t["y"]))),
        ],
        made: &[("sum", 0.0, 0.0), ("y", 8.0, 0.0)],
    };
    let what = ("residual + norm + sum", format!("{rows} × {len}"), 4.0 / 7.0);
    ways.compare(gpu, tensors, what, effort).await
}

/// Compares a prologue, from a packed projection of some tokens to queries and to a cache of the same storage, with the dispatches that do one
/// of its parts each, and read and write whole tensors as other ops do:
///
/// | dispatch | reads and writes |
/// |---|---|
/// | `split`: queries, keys and values apart | H + 2·G heads of each token |
/// | `norm q`, `norm k`: an RMS norm of each head, where the model has one | H + G |
/// | `rope q`, `rope k`: both turned | H + G |
/// | `append k`, `append v`: into the rows of the cache | 2·G |
/// | all in one | H + 2·G |
///
/// Both ways give the same numbers but for the roundings between steps, which is checked before anything is timed. A library whose ops read
/// rows that lie apart needs no split: its time is about that of the other steps.
///
/// # Errors
/// What the dispatcher says, or that the two ways differ.
pub async fn prologue_fusion(
    gpu: &Dispatcher,
    sizes: &LayerSizes,
    tokens: usize,
    storage: Elem,
    effort: &Effort,
) -> Result<Fusion> {
    let flavour = sizes.flavour;
    let (h, g, d, eps) = (flavour.heads, flavour.groups, flavour.head_dim, flavour.eps);
    let normed = flavour.qk_norm.is_some();
    let room = tokens.max(ROOM);
    let start = room - tokens;
    let positions: Vec<i64> = (start as i64..room as i64).collect();
    let (cos, sin) = gpu.rope_table(&RopeTable::new(500_000.0, d), room, Elem::F32)?;
    let packed = (h + 2 * g) * d;
    let mut tensors = Tensors::from([
        ("qkv".into(), gpu.upload(&numbers(tokens * packed), [1, tokens, packed], storage)?),
        ("q weight".into(), gpu.upload(&numbers(d), [d], storage)?),
        ("k weight".into(), gpu.upload(&numbers(2 * d)[d..], [d], storage)?),
        ("cos".into(), cos),
        ("sin".into(), sin),
        ("lengths".into(), gpu.upload_bytes(&(start as i32).to_le_bytes(), [1], Elem::I32)?),
        ("positions".into(), gpu.positions(&positions, [1, tokens], room)?),
    ]);
    for (names, heads) in [(&["q", "q normed", "y"][..], h), (&["k", "k normed", "k turned", "v"], g)] {
        for name in names {
            tensors.insert((*name).into(), gpu.zeros([1, tokens, heads, d], storage)?);
        }
    }
    for name in ["keys", "values"] {
        tensors.insert(name.into(), gpu.zeros([1, g, room, d], storage)?);
    }

    let fused: Way<'_> = &|recorder, t| {
        let (keys, values) = (KvRows::of(&t["keys"])?, KvRows::of(&t["values"])?);
        let (q_weight, k_weight) = (Some(&t["q weight"]), Some(&t["k weight"]));
        let norm = QkNorm { q_weight, k_weight, axis: NormAxis::Head, ..QkNorm::new(NormKind::Rms, eps) };
        let (cos, sin, angles) = (&t["cos"], &t["sin"], Angles::Appended);
        run(
            recorder,
            &Prologue {
                norm: normed.then_some(norm),
                rope: Some(Turn { cos, sin, angles, interleaved: false, before_norm: false }),
                order: Order::TokensFirst,
                start: Start::Lengths(&t["lengths"]),
                ..Prologue::new(&t["qkv"], (h, g), &t["y"], &keys, &values)
            },
        )
    };
    let norm = |recorder: &mut Pass<'_>, t: &Tensors, [x, y, weight]: [&str; 3]| {
        run(recorder, &RmsNorm { weight: Some(&t[weight]), eps, ..RmsNorm::new(&t[x], &t[y]) })
    };
    let turn = |recorder: &mut Pass<'_>, t: &Tensors, [plain, after_norm, y]: [&str; 3]| {
        let x = &t[if normed { after_norm } else { plain }];
        let (positions, order) = (Some(&t["positions"]), Order::TokensFirst);
        run(recorder, &Rope { positions, order, ..Rope::new(x, &t["cos"], &t["sin"], &t[y]) })
    };
    let split: Way<'_> = &|recorder, t| {
        let (keys, values) = (KvRows::of(&t["k"])?, KvRows::of(&t["v"])?);
        let place = Place::Tokens;
        let apart = Prologue::new(&t["qkv"], (h, g), &t["q"], &keys, &values);
        run(recorder, &Prologue { order: Order::TokensFirst, place, ..apart })
    };
    let append_k: Way<'_> = &|recorder, t| {
        let (keys, start) = (KvRows::of(&t["keys"])?, Start::Lengths(&t["lengths"]));
        let from = Projection::Apart { q: None, k: Some(&t["k turned"]), v: None };
        run(recorder, &Prologue { keys: Some(&keys), start, ..Prologue::of(from, (h, g)) })
    };
    let append_v: Way<'_> = &|recorder, t| {
        let (values, start) = (KvRows::of(&t["values"])?, Start::Lengths(&t["lengths"]));
        let from = Projection::Apart { q: None, k: None, v: Some(&t["v"]) };
        run(recorder, &Prologue { values: Some(&values), start, ..Prologue::of(from, (h, g)) })
    };
    let norms: [(_, Way<'_>); 2] = [
        ("norm q", &|recorder, t| norm(recorder, t, ["q", "q normed", "q weight"])),
        ("norm k", &|recorder, t| norm(recorder, t, ["k", "k normed", "k weight"])),
    ];
    let rest: [(_, Way<'_>); 4] = [
        ("rope q", &|recorder, t| turn(recorder, t, ["q", "q normed", "y"])),
        ("rope k", &|recorder, t| turn(recorder, t, ["k", "k normed", "k turned"])),
        ("append k", append_k),
        ("append v", append_v),
    ];
    let of_norms = if normed { &norms[..] } else { &[] };
    let separate = [&[("split", split)][..], of_norms, &rest].concat();
    // Sums of two products of numbers below 2, each rounded before and after the turn.
    let turned = if normed { 12.0 } else { 4.0 };
    let made = [("y", turned, 1.0), ("keys", turned, 1.0), ("values", 0.0, 0.0)];
    let times = |normed: bool| if normed { 2 } else { 1 };
    let moved = (h + 2 * g) + times(normed) * (h + g) + 2 * g;
    let shape = format!("{}, {tokens} token{}", sizes.model, if tokens == 1 { "" } else { "s" });
    let what = ("QKV prologue", shape, (h + 2 * g) as f64 / moved as f64);
    Ways { fused, separate: &separate, made: &made }.compare(gpu, tensors, what, effort).await
}
