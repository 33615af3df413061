//! Adapters on a device: what must hold whatever the reference says, and what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::ops::adapter::{AdapterMerge, Kind, Order};
use gristmill::ops::linear::Dequantize;
use gristmill::proof::Attrs;
use gristmill::{Dispatcher, Elem, Error, Tensor, Weight};
use pollster::block_on;

const N: usize = 45;
const K: usize = 96;
const R: usize = 5;

fn gpu() -> Dispatcher {
    block_on(Dispatcher::request()).expect("a device")
}

fn read(tensor: &Tensor) -> Vec<f32> {
    block_on(tensor.read()).expect("numbers")
}

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn tensor(gpu: &Dispatcher, shape: &[usize], seed: usize) -> Tensor {
    gpu.upload(&values(shape.iter().product(), seed), shape, Elem::F32).expect("a tensor")
}

fn weight(gpu: &Dispatcher, format: Format, values: &[f32]) -> Weight {
    gpu.weight(&Packed::encode(format, N, K, values).expect("a weight")).expect("a weight on the device")
}

/// The tensors of a BoRA, which has those of all kinds of low rank.
struct Low {
    a: Tensor,
    b: Tensor,
    row: Tensor,
    col: Tensor,
    y: Tensor,
}

impl Low {
    fn new(gpu: &Dispatcher) -> Self {
        let y = gpu.zeros([N, K], Elem::F32).expect("a tensor");
        Self {
            a: tensor(gpu, &[R, K], 1),
            b: tensor(gpu, &[N, R], 2),
            row: tensor(gpu, &[N], 3),
            col: tensor(gpu, &[K], 4),
            y,
        }
    }

    fn lora(&self) -> Kind<'_> {
        Kind::Lora { a: &self.a, b: &self.b }
    }

    fn dora(&self) -> Kind<'_> {
        Kind::Dora { a: &self.a, b: &self.b, magnitude: &self.row }
    }

    fn bora(&self, order: Order) -> Kind<'_> {
        Kind::Bora { a: &self.a, b: &self.b, row: &self.row, col: &self.col, order }
    }
}

fn near(what: &str, got: f64, want: f64, bound: f64) {
    assert!((got - want).abs() <= bound, "{what}: {got}, not {want}");
}

#[test]
fn the_norms_of_the_last_step_are_its_magnitudes() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    for format in [Format::Dense, Format::Q4_0] {
        let w0 = weight(&gpu, format, &values(N * K, 0));
        for (kind, rows) in [(low.dora(), true), (low.bora(Order::ColRow), true), (low.bora(Order::RowCol), false)] {
            gpu.run(AdapterMerge::new(&w0, kind, 0.7, &low.y)).expect("a merge");
            let w = read(&low.y);
            let m = read(if rows { &low.row } else { &low.col });
            for (i, m) in m.iter().enumerate() {
                let along: Vec<f32> =
                    if rows { w[i * K..][..K].to_vec() } else { w[i..].iter().step_by(K).copied().collect() };
                let norm = along.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                // A sum of 96 squares, its root, a quotient, and 96 products rounded once.
                near("a norm", norm, f64::from(m.abs()), 64.0 * f64::from(f32::EPSILON) * f64::from(m.abs()));
            }
        }
    }
}

#[test]
fn what_was_merged_is_taken_out_again() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let (wide, block) = (tensor(&gpu, &[R, N], 5), tensor(&gpu, &[R, N / 5], 6));
    let (c, d) = (tensor(&gpu, &[N, R], 7), tensor(&gpu, &[R, K], 8));
    let (left, right) = (tensor(&gpu, &[1, 9, 12, 3], 9), tensor(&gpu, &[3, 5, 8, 1], 10));
    let cores = [&left, &right];
    let base = values(N * K, 0);
    let w0 = weight(&gpu, Format::Dense, &base);
    let loha = Kind::Loha { a1: &low.b, b1: &low.a, a2: &c, b2: &d };
    for kind in
        [low.lora(), loha, Kind::Miss { block: &wide }, Kind::MissMini { block: &block }, Kind::Mpo { cores: &cores }]
    {
        let merge = AdapterMerge::new(&w0, kind, 0.7, &low.y);
        gpu.run(merge).expect("a merge");
        let merged = read(&low.y);
        assert!(merged.iter().zip(&base).any(|(m, b)| (m - b).abs() > 0.1), "{kind:?} changes nothing");
        let back = weight(&gpu, Format::Dense, &merged);
        gpu.run(AdapterMerge { w0: &back, ..merge.reversed().expect("the reverse") }).expect("a merge");
        for (at, (got, want)) in read(&low.y).into_iter().zip(&base).enumerate() {
            // Both deltas are the same numbers: two sums are rounded, the larger of which is below 32.
            near(&format!("{kind:?}, {at}"), got.into(), f64::from(*want), 32.0 * f64::from(f32::EPSILON));
        }
    }
    for kind in [low.dora(), low.bora(Order::RowCol)] {
        assert!(AdapterMerge::new(&w0, kind, 0.7, &low.y).reversed().is_err(), "{kind:?} cannot be taken out");
    }
}

/// What must come of a merge into a format is what the encoder makes of the numbers of the same merge.
#[test]
fn a_merge_into_a_format_is_its_encoding_bit_for_bit() {
    let whole = gpu();
    let formats = [
        Format::Dense,
        Format::Q4_0,
        Format::Q8_0,
        Format::Q4_1,
        Format::Mxfp4,
        Format::Int8,
        Format::parse("bnb.nf4", &Attrs::default()).expect("nf4"),
        Format::parse("mlx.affine", &Attrs::default().with("bits", 3.0).with("group", 32.0)).expect("affine codes"),
        Format::parse("awq", &Attrs::default().with("group", 128.0)).expect("awq"),
        Format::parse("bnb.nf4", &Attrs::default().with("blocksize", 256.0)).expect("nf4"),
    ];
    // Scales of a row that are whole words, and that are not: 7 of a byte or two.
    let (n, short) = (40, &formats[..6]);
    for (k, base, formats) in [(512, Format::Dense, &formats[..]), (224, Format::Q4_0, short)] {
        let w0 = Packed::encode(base, n, k, &values(n * k, 0)).expect("a weight");
        for (i, format) in formats.iter().enumerate() {
            let empty = whole.weight_zeros(*format, Elem::F32, [n, k]).expect("a weight");
            // Every other one in parts that no other matrix has.
            let least = (empty.bytes() * 2 / 3).max(16 * 4 * k as u64 + 256);
            let parts = whole.restricted(|caps| caps.storage_binding_bytes = least);
            let gpu = if i % 2 == 1 { &parts } else { &whole };
            let (a, b) = (tensor(gpu, &[R, k], 1), tensor(gpu, &[n, R], 2));
            let (row, col, wide) = (tensor(gpu, &[n], 3), tensor(gpu, &[k], 4), tensor(gpu, &[R, n], 5));
            let (kind, scale) = match i % 4 {
                0 => (Kind::Lora { a: &a, b: &b }, -0.7),
                1 => (Kind::Dora { a: &a, b: &b, magnitude: &row }, 0.7),
                2 => (Kind::Miss { block: &wide }, 1.0),
                _ => (Kind::Bora { a: &a, b: &b, row: &row, col: &col, order: Order::RowCol }, 0.7),
            };
            let (w0, y) = (gpu.weight(&w0).expect("a weight"), gpu.zeros([n, k], Elem::F32).expect("numbers"));
            let w = gpu.weight_zeros(*format, Elem::F32, [n, k]).expect("a weight");
            gpu.run(AdapterMerge::new(&w0, kind, scale, &y)).expect("numbers");
            gpu.run(AdapterMerge::new(&w0, kind, scale, &w)).unwrap_or_else(|e| panic!("{format}: {e}"));
            let want = block_on(gpu.encode(&y, *format).expect("encoded").read_words()).expect("words");
            let got = block_on(w.read_words()).expect("words");
            let wrong = got.iter().zip(&want).filter(|(got, want)| got != want).count();
            assert!(wrong == 0 && got.len() == want.len(), "{kind:?} on {base} into {format}: {wrong} words");
            assert!(want.iter().any(|word| *word != 0), "{kind:?} on {base} into {format}: nothing");
        }
    }
}

#[test]
fn what_was_merged_into_few_bits_is_taken_out_again() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let base: Vec<f32> = values(N * K, 0).iter().map(|v| (v * 100.0).round() / 100.0).collect();
    let w0 = weight(&gpu, Format::Q8_0, &base);
    let merged = gpu.weight_zeros(Format::Q8_0, Elem::F32, [N, K]).expect("a weight");
    let back = gpu.weight_zeros(Format::Q8_0, Elem::F32, [N, K]).expect("a weight");
    let merge = AdapterMerge::new(&w0, low.lora(), 0.7, &merged);
    gpu.run(merge).expect("a merge");
    let reverse = AdapterMerge { w0: &merged, y: (&back).into(), ..merge.reversed().expect("the reverse") };
    gpu.run(reverse).expect("a merge");
    let numbers = |w: &Weight| {
        gpu.run(Dequantize { w, y: &low.y }).expect("decoded");
        read(&low.y)
    };
    let (merged, was) = (numbers(&merged), numbers(&w0));
    assert!(merged.iter().zip(&was).any(|(m, w)| (m - w).abs() > 0.1), "nothing was merged");
    for (at, (got, want)) in numbers(&back).into_iter().zip(was).enumerate() {
        // Twice rounded to a code: numbers are below 5, a code is a 127th of the largest of a block, and its scale an f16.
        near(&at.to_string(), got.into(), want.into(), 5.0 / 127.0 + 5.0 * 2f64.powi(-10));
    }
}

#[test]
fn weights_that_no_merge_writes_are_told() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let w0 = weight(&gpu, Format::Dense, &values(N * K, 0));
    let told = |y: &Weight| gpu.run(AdapterMerge::new(&w0, low.lora(), 1.0, y)).expect_err("it is told").to_string();
    let iq4 = weight(&gpu, Format::Iq4Nl, &values(N * K, 0));
    assert_eq!(told(&iq4), "adapter_merge: y = gguf.iq4_nl, but it is encoded on the host only");
    let other = gpu.weight_zeros(Format::Q8_0, Elem::F32, [N, 32]).expect("a weight");
    assert_eq!(told(&other), "adapter_merge: y is [45, 32], but w0 is [45, 96]");
    let mut parts = Packed::encode(Format::Q8_0, N, K, &values(N * K, 0)).expect("packed").parts().clone();
    for name in ["sparse.row", "sparse.col"] {
        parts.insert(name.into(), Part::new(Dtype::I32, &[1], vec![0; 4]));
    }
    parts.insert("sparse.value".into(), Part::new(Dtype::F32, &[1], vec![0; 4]));
    let sparse = gpu.weight(&Packed::new(Format::Q8_0, N, K, parts).expect("a side list")).expect("a weight");
    assert_eq!(told(&sparse), "adapter_merge: y = gguf.q8_0, but to some of its rows a side list is added");
    assert!(gpu.run(AdapterMerge::new(&w0, low.lora(), 1.0, &w0)).is_err(), "a base that is written");
}

#[test]
fn bad_adapters_are_told_and_nothing_is_written() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let w0 = weight(&gpu, Format::Dense, &values(N * K, 0));
    let other = |shape: &[usize]| tensor(&gpu, shape, 0);
    let (b4, long, flat) = (other(&[N, 4]), other(&[K]), other(&[R * K]));
    let (block, wide, ints) = (other(&[11, 4, 4]), other(&[R, 7]), gpu.zeros([R, K], Elem::I8).expect("a tensor"));
    let (left, right) = (other(&[1, 9, 12, 3]), other(&[2, 5, 8, 1]));
    let cores = [&left, &right];
    let told: Vec<(Kind<'_>, f32, &str)> = vec![
        (Kind::Lora { a: &low.a, b: &b4 }, 1.0, "adapter_merge: lora_A has rank 5, but lora_B has 4"),
        (Kind::Lora { a: &flat, b: &low.b }, 1.0, "adapter_merge: lora_A has shape [480], but must be [R, K]"),
        (
            Kind::Lora { a: &ints, b: &low.b },
            1.0,
            "adapter_merge: lora_A is stored as i8, but must be f32, f16 or bf16",
        ),
        (low.lora(), f32::NAN, "adapter_merge: scale = NaN, but it must be a finite number"),
        (
            Kind::Dora { a: &low.a, b: &low.b, magnitude: &long },
            1.0,
            "adapter_merge: lora_magnitude_vector has shape [96], but w0 has N = 45",
        ),
        (Kind::Bat { block: &block }, 1.0, "adapter_merge: w0 is [45, 96], which blocks of 4 × 4 do not divide"),
        (Kind::Miss { block: &wide }, 1.0, "adapter_merge: miss_block has shape [5, 7], but w0 has N = 45"),
        (
            Kind::MissMini { block: &wide },
            1.0,
            "adapter_merge: miss_block has shape [5, 7], whose width does not divide N = 45",
        ),
        (Kind::Mpo { cores: &cores }, 1.0, "adapter_merge: core 1 has shape [2, 5, 8, 1], but the bond before it is 3"),
        (
            Kind::Mpo { cores: &cores[..1] },
            1.0,
            "adapter_merge: the last of 1 cores ends with a bond of 3, but it must be 1",
        ),
        (Kind::Mpo { cores: &[] }, 1.0, "adapter_merge: the last of 0 cores ends with a bond of 0, but it must be 1"),
    ];
    for (kind, scale, text) in told {
        let error = gpu.run(AdapterMerge::new(&w0, kind, scale, &low.y)).expect_err(text);
        assert_eq!(error.to_string(), text);
    }
    let narrow = gpu.zeros([K, N], Elem::F32).expect("a tensor");
    let error = gpu.run(AdapterMerge::new(&w0, low.lora(), 1.0, &narrow)).expect_err("y of another shape");
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(read(&low.y).iter().all(|v| *v == 0.0), "something was written");
}
