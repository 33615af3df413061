//! Weights on a device: wider than a binding, in parts of different sizes, with side lists; what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use std::collections::BTreeMap;

use gristmill::checkpoint::Checkpoint;
use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::ops::linear::{Activation, Dequantize, Linear};
use gristmill::proof::Attrs;
use gristmill::{Dispatcher, Elem, Error, Weight};
use safetensors::tensor::TensorView;

mod device;

use device::{gpu, read};

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0).collect()
}

/// Formats whose scales follow rows, blocks of rows, the flat matrix, and every number.
fn formats() -> Vec<(Format, usize, usize)> {
    let parse = |name: &str, attrs: Attrs| Format::parse(name, &attrs).unwrap_or_else(|e| panic!("{e}"));
    let a = Attrs::default;
    vec![
        (Format::Dense, 203, 50),
        (Format::Q4_0, 203, 256),
        (Format::Q4K, 203, 256),
        (Format::Q6K, 61, 512),
        (Format::Sparse24, 203, 132),
        (parse("bnb.nf4", a()), 203, 99),
        (parse("group_ic", a().with("bits", 3.0).with("group", 24.0)), 203, 99),
        (parse("fp8.e4m3", a().with("block", gristmill::proof::Value::List(vec![16.0, 32.0]))), 203, 99),
        (parse("bcq", a().with("bits", 3.0).with("group", 32.0)), 224, 80),
        (parse("hqq", a().with("bits", 4.0).with("group", 64.0).with("axis", 0.0)), 192, 99),
        (parse("gptq", a().with("bits", 4.0).with("group", 64.0)), 200, 256),
        (parse("lut16", a().with("group", 50.0)), 203, 99),
    ]
}

/// The same weight with a side list on some of its rows.
fn with_side(w: &Packed<'static>) -> Packed<'static> {
    let mut parts: BTreeMap<String, Part<'static>> = w.parts().clone();
    let words = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (rows, cols): (Vec<i32>, Vec<i32>) = (0..40).map(|i| (i * 37 % w.n() as i32, i * 11 % w.k() as i32)).unzip();
    let added = values(40).iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    parts.insert("sparse.row".into(), Part::new(Dtype::I32, &[40], words(&rows)));
    parts.insert("sparse.col".into(), Part::new(Dtype::I32, &[40], words(&cols)));
    parts.insert("sparse.value".into(), Part::new(Dtype::F32, &[40], added));
    Packed::new(w.format(), w.n(), w.k(), parts).expect("a side list")
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Of zeros the sign is all the same.
    values.iter().map(|v| if *v == 0.0 { 0 } else { v.to_bits() }).collect()
}

#[test]
fn a_weight_wider_than_a_binding_is_split_by_rows_without_the_caller_noticing() {
    let gpu = gpu();
    for (format, n, k) in formats() {
        let packed = Packed::encode(format, n, k, &values(n * k)).unwrap_or_else(|e| panic!("{format}: {e}"));
        let sides = [Format::Q4_0, Format::Dense].contains(&format).then(|| packed.clone());
        for packed in sides.into_iter().chain([with_side(&packed)]) {
            let whole = gpu.weight(&packed).expect("whole");
            let small = gpu.restricted(|caps| caps.storage_binding_bytes = whole.bytes() * 2 / 3);
            let parts = small.weight(&packed).expect("in parts");
            let decoded = small.zeros([n, k], Elem::F32).expect("memory");
            small.run(Dequantize { w: &parts, y: &decoded }).unwrap_or_else(|e| panic!("{format}: {e}"));
            assert_eq!(bits(&read(&decoded)), bits(&packed.decode()), "{format}");
            for m in [1, 21] {
                let plans = |gpu: &Dispatcher, w: &Weight| {
                    let x = gpu.upload(&values(m * k), [m, k], Elem::F32).expect("x");
                    let bias = gpu.upload(&values(n), [n], Elem::F32).expect("bias");
                    let y = gpu.zeros([m, n], Elem::F32).expect("y");
                    let op = Linear {
                        bias: Some(&bias),
                        up: Some(w),
                        activation: Activation::Silu,
                        ..Linear::new(&x, w, &y)
                    };
                    let run = |plan: &gristmill::Plan| {
                        let mut recorder = gpu.record().expect("a recorder");
                        recorder.run_plan(op, &plan.name).unwrap_or_else(|e| panic!("{format}: {e}"));
                        recorder.submit().expect("submitted");
                        (plan.name.clone(), plan.steps.len(), read(&y))
                    };
                    // Every plan where most are used, and one elsewhere: how parts are found does not hang on the format.
                    let every = format == Format::Q4_0;
                    gpu.plans(op)
                        .expect("plans")
                        .iter()
                        .filter(|p| every || p.name == "naive")
                        .map(run)
                        .collect::<Vec<_>>()
                };
                let known = plans(&gpu, &whole);
                for (name, steps, y) in plans(&small, &parts) {
                    assert!(steps > 1, "{format} by {name} is in one part");
                    let (_, _, want) = known.iter().find(|(of, ..)| *of == name).unwrap_or(&known[0]);
                    for (i, (a, b)) in y.iter().zip(want).enumerate() {
                        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{format} by {name}: {a} at {i}, not {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn rows_to_which_much_is_added_make_shorter_parts() {
    let (n, k) = (64, 32);
    let mut parts = Packed::encode(Format::Dense, n, k, &values(n * k)).expect("encoded").parts().clone();
    // A hundred entries in each of the last 16 rows.
    let words = |values: Vec<i32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let added: Vec<u8> = values(1600).iter().flat_map(|v| v.to_le_bytes()).collect();
    parts.insert("sparse.row".into(), Part::new(Dtype::I32, &[1600], words((0..1600).map(|i| 48 + i % 16).collect())));
    parts.insert("sparse.col".into(), Part::new(Dtype::I32, &[1600], words((0..1600).map(|i| i % 32).collect())));
    parts.insert("sparse.value".into(), Part::new(Dtype::F32, &[1600], added));
    let packed = Packed::new(Format::Dense, n, k, parts).expect("a side list");
    let small = gpu().restricted(|caps| caps.storage_binding_bytes = 10 << 10);
    let (w, y) = (small.weight(&packed).expect("in parts"), small.zeros([n, k], Elem::F32).expect("y"));
    for step in small.plans(Dequantize { w: &w, y: &y }).expect("plans").iter().flat_map(|plan| &plan.steps) {
        assert!(step.binds.iter().all(|bind| bind.size_bytes <= 10 << 10), "{step:?}");
    }
    small.run(Dequantize { w: &w, y: &y }).expect("run");
    assert_eq!(bits(&read(&y)), bits(&packed.decode()));
}

#[test]
fn two_weights_in_parts_of_different_sizes_meet_in_one_layer() {
    let gpu = gpu();
    let small = gpu.restricted(|caps| caps.storage_binding_bytes = 16 << 10);
    let (n, k) = (190, 256);
    let of = |format| Packed::encode(format, n, k, &values(n * k)).expect("encoded");
    let (q4, q8) = (of(Format::Q4_0), of(Format::Q8_0));
    let run = |gpu: &Dispatcher| {
        let x = gpu.upload(&values(3 * k), [3, k], Elem::F32).expect("x");
        let (w, up) = (gpu.weight(&q4).expect("w"), gpu.weight(&q8).expect("up"));
        let y = gpu.zeros([3, n], Elem::F32).expect("y");
        gpu.run(Linear { up: Some(&up), ..Linear::new(&x, &w, &y) }).expect("run");
        read(&y)
    };
    for (a, b) in run(&small).iter().zip(run(&gpu)) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a}, not {b}");
    }
}

/// The numbers of a weight on a device.
fn decoded(gpu: &Dispatcher, w: &Weight) -> Vec<f32> {
    let y = gpu.zeros([w.n(), w.k()], Elem::F32).expect("memory");
    gpu.run(Dequantize { w, y: &y }).unwrap_or_else(|e| panic!("{}: {e}", w.format()));
    read(&y)
}

#[test]
fn matrices_below_each_other_are_each_as_by_itself() {
    let (gpu, k) = (gpu(), 256);
    let parse = |name: &str, attrs: Attrs| Format::parse(name, &attrs).unwrap_or_else(|e| panic!("{e}"));
    let a = Attrs::default;
    let mut all = Format::all();
    all.retain(|format| format.encodes());
    all.extend([
        parse("fp8.e4m3", a().with("block", gristmill::proof::Value::List(vec![16.0, 32.0]))),
        // Its blocks end within matrices.
        parse("fp8.e4m3", a().with("block", gristmill::proof::Value::List(vec![40.0, 32.0]))),
        parse("hqq", a().with("bits", 4.0).with("group", 32.0).with("axis", 0.0)),
        parse("group_ic", a().with("bits", 3.0).with("group", 32.0)),
        parse("lut16", a().with("group", 32.0)),
        parse("gptq", a().with("bits", 3.0).with("group", 64.0)),
        parse("bcq", a().with("bits", 3.0).with("group", 32.0)),
    ]);
    let mut refused = Vec::new();
    for format in all {
        let made = |n: usize, by: f32| {
            let values: Vec<f32> = values(n * k).into_iter().map(|v| v * by).collect();
            Packed::encode(format, n, k, &values).unwrap_or_else(|e| panic!("{format}: {e}"))
        };
        let first = [made(64, 1.0), made(32, 0.3), made(96, -7.0)];
        for matrices in [first.clone(), first.map(|w| if w.n() == 32 { with_side(&w) } else { w })] {
            let each: Vec<f32> = matrices.iter().flat_map(Packed::decode).collect();
            let whole = match gpu.weight_stacked(&matrices.each_ref()) {
                Ok(whole) => whole,
                Err(error) => {
                    refused.push(format!("{format}: {error}"));
                    break;
                }
            };
            assert_eq!([whole.n(), whole.k()], [192, k], "{format}");
            assert_eq!(bits(&decoded(&gpu, &whole)), bits(&each), "{format}");
            let small = gpu.restricted(|caps| caps.storage_binding_bytes = whole.bytes() * 2 / 3);
            // Groups of many rows may leave no place to part it.
            if let Ok(parts) = small.weight_stacked(&matrices.each_ref()) {
                assert_eq!(bits(&decoded(&small, &parts)), bits(&each), "{format} in parts");
            }
        }
    }
    assert_eq!(
        refused,
        [
            "bcq: weight_stacked: matrix 1 of 3: its groups are of 32 rows, but those of the first of 64",
            "hqq: weight_stacked: matrix 1 of 3: its scales follow no rows, and would run over its end"
        ]
    );
}

#[test]
fn a_scale_of_a_whole_matrix_serves_its_rows_below_others() {
    let (gpu, k) = (gpu(), 64);
    let one = |format, n: usize, scale: f32, codes: &str, name: &str| {
        let codes = (
            codes.to_owned(),
            Part::new(Dtype::U8, &[n, k], (0..n * k).map(|i| (i * 37 % 120) as u8).collect::<Vec<u8>>()),
        );
        let scale = (name.to_owned(), Part::new(Dtype::F32, &[1], scale.to_le_bytes().to_vec()));
        Packed::new(format, n, k, BTreeMap::from([codes, scale])).unwrap_or_else(|e| panic!("{e}"))
    };
    let fp8 = Format::parse("fp8.e4m3", &Attrs::default()).expect("a format");
    for heights in [[128, 128, 128], [96, 32, 32], [32, 96, 17], [7, 5, 3]] {
        let [q, k, v] = [(heights[0], 0.5), (heights[1], 3.0), (heights[2], 0.01)]
            .map(|(n, scale)| one(fp8, n, scale, "weight", "weight_scale"));
        let whole = gpu.weight_stacked(&[&q, &k, &v]).expect("a weight");
        let small = gpu.restricted(|caps| caps.storage_binding_bytes = whole.bytes() * 2 / 3);
        let each = [&q, &k, &v].into_iter().flat_map(Packed::decode).collect::<Vec<_>>();
        for gpu in [&gpu, &small] {
            let whole = gpu.weight_stacked(&[&q, &k, &v]).expect("a weight");
            assert_eq!(bits(&decoded(gpu, &whole)), bits(&each));
        }
        // A device would find another scale for each of them.
        let x = gpu.zeros([whole.n(), whole.k()], Elem::F32).expect("x");
        let error = gpu.run(gristmill::ops::linear::Encode { x: &x, w: &whole }).expect_err("it is told");
        assert_eq!(error.to_string(), "encode: w = fp8.e4m3, but it is encoded on the host only");
    }
}

#[test]
fn rows_that_are_repeated_have_what_is_added_to_them() {
    let gpu = gpu();
    for format in [Format::Dense, Format::Q4_0] {
        let sample = with_side(&Packed::encode(format, 8, 64, &values(8 * 64)).expect("encoded"));
        for n in [8, 24] {
            let want: Vec<f32> = (0..n / 8).flat_map(|_| sample.decode()).collect();
            let small = gpu.restricted(|caps| caps.storage_binding_bytes = 3 << 10);
            for gpu in [&gpu, &small] {
                let w = gpu.weight_repeated(&sample, n).expect("a weight");
                assert_eq!(bits(&decoded(gpu, &w)), bits(&want), "{format}, {n} rows");
            }
        }
        // Dense or not, it stands below what has nothing added, and above.
        let plain = Packed::encode(format, 8, 64, &values(8 * 64)).expect("encoded");
        for all in [[&sample, &plain], [&plain, &sample]] {
            let each: Vec<f32> = all.into_iter().flat_map(Packed::decode).collect();
            assert_eq!(bits(&decoded(&gpu, &gpu.weight_stacked(&all).expect("a weight"))), bits(&each), "{format}");
        }
        let told = Weight::outline(&sample, 0).expect_err("no rows").to_string();
        assert_eq!(told, "outline: n = 0, but it must be at least 1 and fit 32 bits");
        let told = gpu.weight_repeated(&sample, 1 << 32).expect_err("too many rows").to_string();
        assert_eq!(told, "weight_repeated: n = 4294967296, but it must be at least 1 and fit 32 bits");
    }
}

#[test]
fn columns_in_groups_by_a_list_are_those_of_all_matrices() {
    let (gpu, k) = (gpu(), 64);
    let format = Format::parse("gptq", &Attrs::default().with("bits", 4.0).with("group", 32.0)).expect("a format");
    let of = |n: usize, group: fn(usize) -> usize| {
        let mut parts = Packed::encode(format, n, k, &values(n * k)).expect("encoded").parts().clone();
        let list: Vec<u8> = (0..k).flat_map(|k| (group(k) as i32).to_le_bytes()).collect();
        parts.insert("g_idx".to_owned(), Part::new(Dtype::I32, &[k], list));
        Packed::new(format, n, k, parts).expect("a list")
    };
    let (q, v) = (of(24, |k| k % 2), of(8, |k| k % 2));
    let each: Vec<f32> = [&q, &v].into_iter().flat_map(Packed::decode).collect();
    assert_eq!(bits(&decoded(&gpu, &gpu.weight_stacked(&[&q, &v]).expect("a weight"))), bits(&each));
    let error = gpu.weight_stacked(&[&q, &of(8, |k| k / 2 % 2)]).expect_err("another list").to_string();
    assert_eq!(error, "weight_stacked: matrix 1 of 2: its columns have other groups than those of the first");
}

#[test]
fn matrices_that_cannot_stand_below_each_other_are_told() {
    let gpu = gpu();
    let of = |format, n: usize, k: usize| Packed::encode(format, n, k, &values(n * k)).expect("encoded");
    let told = |all: &[&Packed<'_>], text: &str| {
        let error = gpu.weight_stacked(all).expect_err(text).to_string();
        assert_eq!(error, format!("weight_stacked: {text}"));
    };
    let (q4, q8, wide) = (of(Format::Q4_0, 8, 64), of(Format::Q8_0, 8, 64), of(Format::Q4_0, 8, 96));
    let (long, half) = (of(Format::Dense, 8, 64), {
        let part = Part::new(Dtype::F16, &[8, 64], Elem::F16.encode(&values(512)));
        Packed::new(Format::Dense, 8, 64, BTreeMap::from([("w".to_owned(), part)])).expect("f16")
    });
    told(&[], "there are no matrices");
    told(&[&q4, &q4, &q8], "matrix 2 of 3: it is gguf.q8_0, but the first is gguf.q4_0");
    told(&[&q4, &wide], "matrix 1 of 2: it has K = 96, but the first has 64");
    told(&[&long, &half], "matrix 1 of 2: its numbers are stored otherwise than those of the first");
}

#[test]
fn a_weight_of_a_checkpoint_goes_to_the_device() {
    let (n, k) = (12, 96);
    let bytes = Elem::Bf16.encode(&values(n * k));
    let view = TensorView::new(safetensors::Dtype::BF16, vec![n, k], &bytes).expect("a tensor");
    let file = safetensors::serialize([("layer.weight", view)], None).expect("a file");
    let checkpoint = Checkpoint::from_bytes(file).expect("a checkpoint");
    let packed = checkpoint.weight("layer.weight").expect("a weight");
    let gpu = gpu();
    let (w, y) = (gpu.weight(&packed).expect("w"), gpu.zeros([n, k], Elem::F32).expect("y"));
    gpu.run(Dequantize { w: &w, y: &y }).expect("run");
    assert_eq!(bits(&read(&y)), bits(&Elem::Bf16.decode(&bytes)));
}

#[test]
fn rows_too_wide_for_a_binding_are_told() {
    let small = gpu().restricted(|caps| caps.storage_binding_bytes = 512);
    let packed = Packed::encode(Format::Dense, 8, 1024, &values(8 * 1024)).expect("encoded");
    let told = small.weight(&packed).expect_err("it does not fit");
    assert!(matches!(told, Error::Limit { need: 16384, have: 512, .. }), "{told}");
}

#[test]
fn bad_operands_are_told_and_nothing_is_written() {
    let gpu = gpu();
    let w = gpu.weight(&Packed::encode(Format::Q4_0, 6, 64, &values(6 * 64)).expect("encoded")).expect("w");
    let other = gpu.weight(&Packed::encode(Format::Q4_0, 5, 64, &values(5 * 64)).expect("encoded")).expect("w");
    let tensor = |shape: &[usize], elem| gpu.zeros(shape, elem).expect("memory");
    let y = gpu.upload(&[7.5; 12], [2, 6], Elem::F32).expect("y");
    let (x, wide) = (tensor(&[2, 64], Elem::F32), tensor(&[2, 65], Elem::F32));
    let (codes, five) = (tensor(&[2, 64], Elem::I8), tensor(&[5], Elem::F32));
    let told = |op: Linear<'_>, part: &str| {
        let error = gpu.run(op).expect_err(part).to_string();
        assert!(error.starts_with("linear: ") && error.contains(part), "{error:?} does not say {part:?}");
    };
    told(Linear::new(&wide, &w, &y), "x has shape [2, 65], but w has K = 64");
    told(Linear::new(&x, &other, &y), "y has shape [2, 6], but w has N = 5");
    told(Linear { up: Some(&other), ..Linear::new(&x, &w, &y) }, "up is [5, 64], but w is [6, 64]");
    told(Linear { bias: Some(&five), ..Linear::new(&x, &w, &y) }, "bias has shape [5], but w has N = 6");
    told(Linear { row_scale: Some(&five), ..Linear::new(&x, &w, &y) }, "row_scale has shape [5], but x has 2 rows");
    told(Linear { x_scale: Some(&five), ..Linear::new(&x, &w, &y) }, "i8 where x_scale is given");
    told(Linear::new(&codes, &w, &y), "x is stored as i8");
    told(Linear { residual: Some(&y), ..Linear::new(&x, &w, &y) }, "residual");
    assert_eq!(read(&y), vec![7.5; 12]);
    let numbers = tensor(&[6, 63], Elem::F32);
    let error = gpu.run(Dequantize { w: &w, y: &numbers }).expect_err("a shape").to_string();
    assert!(error.contains("y has shape [6, 63], but w is [6, 64]"), "{error}");
}
