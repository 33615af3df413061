//! What fusing saves: residual, norm and sum in one dispatch against the three that do the same one after the other.

use std::collections::BTreeMap;

use super::roof::noise;
use super::{Add, Effort, Stopwatch, measure};
use crate::dispatch::{Dispatcher, Recorder};
use crate::error::{Error, Result};
use crate::ops::norm::{RmsNorm, Scaler};
use crate::proof::AnyOp;
use crate::proof::run::side_by_side;
use crate::tensor::{Elem, Tensor};

/// The shape of Llama-3-8B's residual stream at a prefill of 2,048 tokens.
const SHAPE: [usize; 2] = [2048, 4096];

/// A fused norm beside its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// The shape of x.
    pub shape: String,
    /// Microseconds of the one dispatch.
    pub fused_us: f64,
    /// Microseconds of the three, one after the other.
    pub separate_us: f64,
    /// Each of the three by itself, in microseconds.
    pub steps: Vec<(String, f64)>,
}

impl Fusion {
    /// The fused time as a part of the separate time. Where bytes are all that counts it is 4/7.
    pub fn ratio(&self) -> f64 {
        self.fused_us / self.separate_us
    }
}

type Tensors = BTreeMap<String, Tensor>;
type Pass<'e> = Recorder<&'e mut wgpu::CommandEncoder>;

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
    // Between -1 and 1.
    let values: Vec<f32> = noise(2 * rows * len).into_iter().map(|w| w.cast_signed() as f32 / 2f32.powi(31)).collect();
    let (x, residual) = values.split_at(rows * len);
    let mut tensors = Tensors::new();
    tensors.insert("x".into(), gpu.upload(x, SHAPE, storage)?);
    tensors.insert("residual".into(), gpu.upload(residual, SHAPE, storage)?);
    tensors.insert("weight".into(), gpu.upload(&x[..len], [len], storage)?);
    for name in ["sum", "h", "y"] {
        tensors.insert(name.into(), gpu.zeros(SHAPE, storage)?);
    }
    check(gpu, &tensors).await?;
    let sets = side_by_side(gpu, &tensors, effort.rotate_bytes)?;
    drop(tensors);

    let mut stopwatch = Stopwatch::new(gpu)?;
    let fused_us = time(&mut stopwatch, &sets, effort, fused).await?;
    let separate_us = time(&mut stopwatch, &sets, effort, |r, t| {
        add(r, t)?;
        norm(r, t)?;
        scale(r, t)
    })
    .await?;
    let mut steps = Vec::with_capacity(3);
    steps.push(("add".to_owned(), time(&mut stopwatch, &sets, effort, add).await?));
    steps.push(("rms_norm".to_owned(), time(&mut stopwatch, &sets, effort, norm).await?));
    steps.push(("scale".to_owned(), time(&mut stopwatch, &sets, effort, scale).await?));
    Ok(Fusion { shape: format!("{rows} × {len}"), fused_us, separate_us, steps })
}

fn fused(recorder: &mut Pass<'_>, t: &Tensors) -> Result<()> {
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
}

fn add(recorder: &mut Pass<'_>, t: &Tensors) -> Result<()> {
    recorder.run(Add { x: &t["x"], residual: &t["residual"], sum: &t["sum"] })
}

fn norm(recorder: &mut Pass<'_>, t: &Tensors) -> Result<()> {
    run(recorder, &RmsNorm::new(&t["sum"], &t["h"]))
}

fn scale(recorder: &mut Pass<'_>, t: &Tensors) -> Result<()> {
    run(recorder, &Scaler::new(&t["h"], &t["weight"], &t["y"]))
}

/// As an op of the case table, which is compiled for it already.
fn run(recorder: &mut Pass<'_>, op: &dyn AnyOp) -> Result<()> {
    recorder.run(op)
}

async fn time(
    stopwatch: &mut Stopwatch,
    sets: &[Tensors],
    effort: &Effort,
    record: impl Fn(&mut Pass<'_>, &Tensors) -> Result<()>,
) -> Result<f64> {
    let mut turn = sets.iter().cycle();
    let [us, ..] = measure(stopwatch, effort, &mut |r| turn.next().map_or(Ok(()), |set| record(r, set))).await?;
    Ok(us)
}

/// Both ways give the same sum and, but for two roundings, the same y.
async fn check(gpu: &Dispatcher, t: &Tensors) -> Result<()> {
    let mut answers = Vec::with_capacity(2);
    for separate in [true, false] {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut recorder = gpu.record_into(&mut encoder)?;
        if separate {
            add(&mut recorder, t)?;
            norm(&mut recorder, t)?;
            scale(&mut recorder, t)?;
        } else {
            fused(&mut recorder, t)?;
        }
        recorder.finish();
        gpu.scoped("fusion", || gpu.queue().submit([encoder.finish()]))?;
        answers.push((t["sum"].read().await?, t["y"].read().await?));
    }
    let unit = t["y"].elem().unit_roundoff() as f32;
    let near = |a: &f32, b: &f32| (a - b).abs() <= 8.0 * unit * a.abs().max(b.abs());
    let (separate, fused) = (&answers[0], &answers[1]);
    let same = separate.0 == fused.0 && separate.1.iter().zip(&fused.1).all(|(a, b)| near(a, b));
    let zero = fused.1.iter().all(|y| *y == 0.0);
    if same && !zero {
        return Ok(());
    }
    Err(Error::Device { what: "fusion".into(), message: "the fused norm differs from its three parts".into() })
}
