//! Random norms: any op, shape, axis, storage, alignment and mixture of operands, by every plan, against the reference.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::proof::cases::{Case, Fill, Input, Output, Stored};
use gristmill::proof::{Attrs, Prepared};
use gristmill::{Dispatcher, Elem};
use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What is drawn.
#[derive(Clone, Debug)]
struct Draw {
    op: &'static str,
    rows: Vec<usize>,
    len: usize,
    storage: Elem,
    out: Option<Elem>,
    skew: usize,
    weight: bool,
    bias: bool,
    residual: bool,
    stats: bool,
    codes: bool,
    fill: Fill,
}

fn draws() -> impl Strategy<Value = Draw> {
    let elem = || prop_oneof![Just(Elem::F32), Just(Elem::F16), Just(Elem::Bf16)];
    let op = prop_oneof![Just("layer_norm"), Just("rms_norm"), Just("l2_norm"), Just("crms_norm")];
    // Short, long and very long rows; four in five lengths are odd in some way.
    let len = prop_oneof![4 => 1..300usize, 2 => 300..5000usize, 1 => 8000..9000usize, 1 => (1..40usize).prop_map(|n| n * 64)];
    let fill = prop_oneof![
        3 => Just(Fill::Normal { mean: 0.0, deviation: 1.0 }),
        1 => Just(Fill::Normal { mean: 3.0, deviation: 0.5 }),
        1 => Just(Fill::Special),
        1 => Just(Fill::Constant(0.0)),
    ];
    let flags = prop::array::uniform5(any::<bool>());
    let rows = prop::collection::vec(0..6usize, 0..3);
    (op, rows, len, elem(), prop::option::of(elem()), 0..9usize, flags, fill).prop_map(
        |(op, rows, len, storage, out, skew, [weight, bias, residual, stats, codes], fill)| {
            let affine = matches!(op, "layer_norm" | "rms_norm");
            Draw {
                op,
                rows,
                len,
                storage,
                out,
                skew,
                weight: weight && affine,
                bias: bias && affine,
                residual,
                stats: stats && affine,
                // A scale of NaN leaves codes that nothing is said of.
                codes: codes && fill != Fill::Special,
                fill,
            }
        },
    )
}

fn case(draw: &Draw) -> Case {
    let shape: Vec<usize> = draw.rows.iter().copied().chain([draw.len]).collect();
    let rows: usize = draw.rows.iter().product();
    let x = if draw.op == "crms_norm" { "z" } else { "x" };
    let normal = Fill::Normal { mean: 0.0, deviation: 1.0 };
    let input = |role, shape: &[usize], fill| Input { role, shape: shape.to_vec(), fill, stored: Stored::Activation };
    let output = |role, shape: &[usize], stored| Output { role, shape: shape.to_vec(), stored };
    let mut inputs = vec![input(x, &shape, draw.fill)];
    let out = if draw.codes { Some(Elem::I8) } else { draw.out };
    let mut outputs = vec![output("y", &shape, out.map_or(Stored::Activation, Stored::Always))];
    if draw.weight {
        inputs.push(input("weight", &[draw.len], Fill::Uniform(0.5, 1.5)));
    }
    if draw.bias {
        inputs.push(input("bias", &[draw.len], normal));
    }
    if draw.residual {
        inputs.push(input("residual", &shape, normal));
        outputs.push(output("sum", &shape, Stored::Activation));
    }
    if draw.stats {
        outputs.push(output("stats", &[rows, 2], Stored::Always(Elem::F32)));
    }
    if draw.codes {
        outputs.push(output("scale", &[rows], Stored::Always(Elem::F32)));
    }
    Case {
        name: format!("{}/drawn", draw.op),
        op: draw.op,
        title: String::new(),
        model: "",
        phase: "",
        attrs: Attrs::default().with("eps", 1e-5),
        inputs,
        weights: Vec::new(),
        outputs,
        storages: vec![draw.storage],
        real: false,
        skew: draw.skew,
        flops: 0,
    }
}

/// The same draws each time, unless more are asked for; in halves by two devices, as one compiles one kernel at a time.
#[test]
fn every_plan_of_any_norm_is_within_its_bound() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(80u32);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| by_draws(1, cases / 2));
        by_draws(0, cases.div_ceil(2));
        other.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
    });
}

fn by_draws(seed: u8, cases: u32) {
    let gpu = block_on(Dispatcher::request()).expect("a device");
    let mut runner = TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, ..Config::default() },
        TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]),
    );
    let result = runner.run(&draws(), |draw| {
        let case = case(&draw);
        let prepared = Prepared::new(&gpu, &case, draw.storage).map_err(|e| TestCaseError::fail(e.to_string()))?;
        for plan in prepared.plans().map_err(|e| TestCaseError::fail(e.to_string()))? {
            let verdict = block_on(prepared.run(&plan.name)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(verdict.ok(), "{plan}{verdict}");
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
