//! How long the adapters of a whole model are under way from the device's memory to where its layers read them.

use super::clock::now_us;
use super::skipping::{LayerSizes, matrix, numbers};
use crate::adapters::{LoadedAdapter, ModelAdapters, Room};
use crate::dispatch::{Dispatcher, Recorder};
use crate::error::Result;
use crate::formats::Format;
use crate::ops::adapter::Kind;
use crate::tensor::Elem;

/// The rank of the adapters that are swapped.
pub const SWAPPED_RANK: usize = 16;

/// What is done to all weights of a model at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// What.
    pub what: &'static str,
    /// Microseconds of the host: checking, recording and submitting.
    pub host_us: f64,
    /// From the first call until the device is done, in microseconds.
    pub whole_us: f64,
    /// Dispatches.
    pub dispatches: usize,
}

/// The swaps of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Swaps {
    /// The model.
    pub model: &'static str,
    /// The format of its weights.
    pub format: Format,
    /// How many weights have adapters.
    pub weights: usize,
    /// Each swap.
    pub swaps: Vec<Swap>,
}

/// Runs of each swap of which the one in the middle is told, after one that compiles its kernels.
const RUNS: usize = 5;

/// Times what a server does between two requests: adapters whose bytes are on the device already are attached to all linears of a model in
/// the place of others, scaled and taken away. Each is one submission, and no memory is had and no pipeline made after the first.
///
/// # Errors
/// What the dispatcher says.
pub async fn swapping(gpu: &Dispatcher, sizes: &LayerSizes, format: Format) -> Result<Swaps> {
    let mut live = ModelAdapters::new(Room::new(SWAPPED_RANK));
    let mut adapters = [(); 3].map(|()| LoadedAdapter::default());
    let of = |shape: [usize; 2]| gpu.upload(&numbers(shape[0] * shape[1]), shape, Elem::F16);
    let mut weights = 0;
    for layer in 0..sizes.layers {
        for (name, n, k) in sizes.matrices() {
            let name = format!("{layer}.{name}");
            live.add(gpu, &name, &matrix(gpu, format, n, k)?)?;
            let magnitude = gpu.upload(&vec![1.0; n], [n], Elem::F32)?;
            for (at, adapter) in adapters.iter_mut().enumerate() {
                let (a, b) = (of([SWAPPED_RANK, k])?, of([n, SWAPPED_RANK])?);
                let (a, b) = (&a, &b);
                let kind = if at < 2 { Kind::Lora { a, b } } else { Kind::Dora { a, b, magnitude: &magnitude } };
                adapter.insert(&name, kind, 1.0)?;
            }
            weights += 1;
        }
    }
    let [first, second, dora] = &adapters;
    // What follows needs what came before: a factor needs an adapter.
    type Does<'a> = Box<dyn Fn(&mut ModelAdapters, &mut Recorder<wgpu::CommandEncoder>, usize) -> Result<()> + 'a>;
    let steps: [(&'static str, Does<'_>); 5] = [
        ("LoRA by LoRA", Box::new(|l, r, run| l.attach(r, 0, if run % 2 == 0 { first } else { second }, 1.0))),
        ("factor of LoRA", Box::new(|l, r, run| l.scale(r, 0, 1.0 / (run + 1) as f32))),
        ("DoRA by DoRA", Box::new(|l, r, _| l.attach(r, 0, dora, 1.0))),
        ("factor of DoRA", Box::new(|l, r, run| l.scale(r, 0, 1.0 / (run + 1) as f32))),
        // Whatever was in the place, each weight loses it.
        ("detach and LoRA", Box::new(|l, r, _| l.detach(r, 0).and_then(|()| l.attach(r, 0, first, 1.0)))),
    ];
    let mut swaps = Vec::with_capacity(steps.len());
    for (what, does) in steps {
        let mut runs = Vec::with_capacity(RUNS);
        let mut dispatches = 0;
        for run in 0..=RUNS {
            gpu.wait().await?;
            let begun = now_us();
            let mut recorder = gpu.record()?;
            does(&mut live, &mut recorder, run)?;
            dispatches = recorder.dispatches();
            recorder.submit()?;
            let host_us = now_us() - begun;
            gpu.wait().await?;
            if run > 0 {
                runs.push((now_us() - begun, host_us));
            }
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (whole_us, host_us) = runs[RUNS / 2];
        swaps.push(Swap { what, host_us, whole_us, dispatches });
    }
    Ok(Swaps { model: sizes.model, format, weights, swaps })
}
