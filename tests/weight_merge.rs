//! Merges of whole weights on a device: what must hold whatever the reference says, and what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::ops::weight_merge::{MergeKind, WeightMerge};
use gristmill::{Elem, Error, Tensor};

mod device;

use device::{gpu, read, tensor};

const SHAPE: [usize; 2] = [21, 44];

#[test]
fn what_is_the_same_stays_as_it_is() {
    let gpu = gpu();
    let (w, other, y) =
        (tensor(&gpu, &SHAPE, 1), tensor(&gpu, &SHAPE, 2), gpu.zeros(SHAPE, Elem::F32).expect("a tensor"));
    // More than a step can bind.
    let same = [&w; 9];
    let stock = |per_row| MergeKind::ModelStock { per_row, clamp: true };
    let told: [(&[&Tensor], MergeKind<'_>); 6] = [
        (&same, MergeKind::Task { alpha: 0.3 }),
        (&same, stock(false)),
        (&same, stock(true)),
        (&[&w, &other], MergeKind::Lerp { t: 0.0 }),
        (&[&other, &w], MergeKind::Lerp { t: 1.0 }),
        (&[&w, &other], MergeKind::Ema { decay: 1.0 }),
    ];
    for (weights, kind) in told {
        gpu.run(WeightMerge { weights, kind, y: &y }).expect("a merge");
        assert_eq!(read(&y), read(&w), "{kind:?} of {} weights", weights.len());
    }
}

#[test]
fn a_task_that_was_added_is_forgotten_again() {
    let gpu = gpu();
    let of = |seed| tensor(&gpu, &SHAPE, seed);
    let (w, first, second) = (of(1), of(2), of(3));
    let (y, back) = (gpu.zeros(SHAPE, Elem::F32).expect("a tensor"), gpu.zeros(SHAPE, Elem::F32).expect("a tensor"));
    gpu.run(WeightMerge { weights: &[&w, &first, &second], kind: MergeKind::Task { alpha: 0.5 }, y: &y })
        .expect("a merge");
    // y − 0.5·(first − w) − 0.5·(second − w), which is w.
    let factors = [1.0, 1.0, -0.5, -0.5];
    let kind = MergeKind::Weighted { factors: &factors };
    gpu.run(WeightMerge { weights: &[&y, &w, &first, &second], kind, y: &back }).expect("a merge");
    for (got, want) in read(&back).into_iter().zip(read(&w)) {
        // Some ten roundings of numbers below 4.
        assert!((got - want).abs() <= 40.0 * f32::EPSILON, "{got}, not {want}");
    }
}

#[test]
fn bad_merges_are_told_and_nothing_is_written() {
    let gpu = gpu();
    let of = |shape: &[usize]| tensor(&gpu, shape, 0);
    let (w, wide, flat, codes) = (of(&SHAPE), of(&[21, 45]), of(&[924]), gpu.zeros(SHAPE, Elem::I8).expect("a tensor"));
    let (a, y) = (of(&[2]), gpu.zeros(SHAPE, Elem::F32).expect("a tensor"));
    let stock = MergeKind::ModelStock { per_row: true, clamp: false };
    let told: [(&[&Tensor], MergeKind<'_>, &str); 11] = [
        (&[], MergeKind::Mean, "there are no weights, but this kind merges 1 or more"),
        (&[&w], MergeKind::Lerp { t: 0.5 }, "there are 1 weights, but this kind merges 2"),
        (&[&w; 3], MergeKind::Ema { decay: 0.5 }, "there are 3 weights, but this kind merges 2"),
        (&[&w], MergeKind::Task { alpha: 1.0 }, "there are 1 weights, but this kind merges 2 or more"),
        (&[&w; 2], stock, "there are 2 weights, but this kind merges 3 or more"),
        (&[&w, &wide], MergeKind::Mean, "w.1 has shape [21, 45], but w.0 has [21, 44]"),
        (&[&w, &codes], MergeKind::Mean, "w is stored as i8, but must be f32, f16 or bf16"),
        (&[&w, &w], MergeKind::Lerp { t: f32::NAN }, "t = NaN, but it must be a finite number"),
        (&[&w; 2], MergeKind::Weighted { factors: &[1.0] }, "there are 1 factors for 2 weights"),
        (
            &[&w; 2],
            MergeKind::Xft { a: &a, lambda: 0.75 },
            "a has shape [2], but there are 1 weights beside the shared one",
        ),
        (&[&wide; 2], MergeKind::Mean, "y has shape [21, 44], but w.0 has [21, 45]"),
    ];
    for (weights, kind, text) in told {
        let error = gpu.run(WeightMerge { weights, kind, y: &y }).expect_err(text);
        assert_eq!(error.to_string(), format!("weight_merge: {text}"));
    }
    // More than a step can bind: the first is read by another step than the one that writes.
    let many = [&y, &w, &w, &w, &w, &w, &w, &w, &w];
    let error = gpu.run(WeightMerge { weights: &many, kind: MergeKind::Mean, y: &y }).expect_err("y is merged");
    assert_eq!(error, Error::Shared { op: "weight_merge", output: "y".to_owned(), other: "w".to_owned() });
    let line = gpu.zeros([924], Elem::F32).expect("a tensor");
    let error = gpu.run(WeightMerge { weights: &[&flat; 3], kind: stock, y: &line }).expect_err("rows of a line");
    assert_eq!(error.to_string(), "weight_merge: w.0 has shape [924], which has no rows");
    assert!(read(&y).iter().chain(&read(&line)).all(|v| *v == 0.0), "something was written");
}
