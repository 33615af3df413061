//! Adapters on a device: what must hold whatever the reference says, and what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use std::borrow::Cow;
use std::process::Command;

use gristmill::adapters::{AdapterAttach, AdapterScale, LoadedAdapter, ModelAdapters};
use gristmill::checkpoint::Checkpoint;
use gristmill::formats::bitnet::Bitnet;
use gristmill::formats::fp8::Fp8;
use gristmill::formats::group_ic::GroupIc;
use gristmill::formats::{Format, Group, Packed, Part};
use gristmill::ops::adapter::{AdapterMerge, Kind, Order};
use gristmill::ops::linear::{Dequantize, Linear};
use gristmill::proof::Attrs;
use gristmill::{AdapterSet, Dispatcher, Elem, Error, Magnitudes, Recorder, Room, Tensor, Weight};
use pollster::block_on;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

mod device;

use device::{gpu, read, tensor, values};

const N: usize = 45;
const K: usize = 96;
const R: usize = 5;

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
        Format::Q6K,
        // By slabs of 16 rows, of which the last has half of those that share a scale.
        Format::GroupIc(GroupIc { bits: 4, group: Group::Of(16) }),
        Format::Tq2_0,
        Format::Fp8E4m3(Fp8 { block: Some([16, 96]) }),
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
            let host = Packed::encode(*format, n, k, &block_on(y.read()).expect("numbers")).expect("encoded");
            let want = block_on(gpu.weight(&host).expect("a weight").read_words()).expect("words");
            let got = block_on(w.read_words()).expect("words");
            let wrong = got.iter().zip(&want).filter(|(got, want)| got != want).count();
            assert!(wrong == 0 && got.len() == want.len(), "{kind:?} on {base} into {format}: {wrong} words");
            assert!(want.iter().any(|word| *word != 0), "{kind:?} on {base} into {format}: nothing");
        }
    }
}

/// Weights whose scales are means: of all numbers, of which there is one slab, and of what is left of groups, by slabs.
#[test]
fn means_of_a_merge_are_those_of_the_host() {
    let attrs = |group: f64, cols: f64| Attrs::default().with("bits", 3.0).with("group", group).with("cols", cols);
    let bcq = |group, cols| Format::parse("bcq", &attrs(group, cols)).expect("bcq");
    let (n, k) = (96, 120);
    let whole = gpu();
    let small = whole.restricted(|caps| caps.storage_binding_bytes = 48 * k as u64 * 4 + 256);
    for (gpu, format) in [
        (&whole, Format::Bitnet(Bitnet::default())),
        (&whole, bcq(-1.0, 8.0)),
        (&small, bcq(16.0, 8.0)),
        (&small, bcq(48.0, 3.0)),
    ] {
        let (a, b) = (tensor(gpu, &[R, k], 1), tensor(gpu, &[n, R], 2));
        let w0 = gpu.weight(&Packed::encode(Format::Dense, n, k, &values(n * k, 0)).expect("a weight")).expect("w0");
        let (y, w) =
            (gpu.zeros([n, k], Elem::F32).expect("y"), gpu.weight_zeros(format, Elem::F32, [n, k]).expect("w"));
        gpu.run(AdapterMerge::new(&w0, Kind::Lora { a: &a, b: &b }, 0.7, &y)).expect("numbers");
        gpu.run(AdapterMerge::new(&w0, Kind::Lora { a: &a, b: &b }, 0.7, &w))
            .unwrap_or_else(|e| panic!("{format}: {e}"));
        let host = Packed::encode(format, n, k, &block_on(y.read()).expect("numbers")).expect("encoded");
        let want = block_on(gpu.weight(&host).expect("a weight").read_words()).expect("words");
        assert_eq!(block_on(w.read_words()).expect("words"), want, "{format}");
    }
}

/// The last slab has four rows, three of which share scales, and one more; behind it lies what the slab before has left.
#[test]
fn a_group_that_the_last_slab_ends_has_its_own_rows_only() {
    let (n, k, format) = (52, 64, Format::GroupIc(GroupIc { bits: 4, group: Group::Of(3) }));
    // What is beside scales takes 16 bytes each.
    let gpu = gpu().restricted(|caps| caps.storage_binding_bytes = 48 * 22 * 16 + 256);
    let (a, b) = (tensor(&gpu, &[R, k], 1), tensor(&gpu, &[n, R], 2));
    let w0 = gpu.weight(&Packed::encode(Format::Dense, n, k, &values(n * k, 0)).expect("a weight")).expect("w0");
    let (y, w) = (gpu.zeros([n, k], Elem::F32).expect("y"), gpu.weight_zeros(format, Elem::F32, [n, k]).expect("w"));
    gpu.run(AdapterMerge::new(&w0, Kind::Lora { a: &a, b: &b }, 0.7, &y)).expect("numbers");
    gpu.run(AdapterMerge::new(&w0, Kind::Lora { a: &a, b: &b }, 0.7, &w)).expect("a weight");
    let host = Packed::encode(format, n, k, &block_on(y.read()).expect("numbers")).expect("encoded");
    let want = block_on(gpu.weight(&host).expect("a weight").read_words()).expect("words");
    assert_eq!(block_on(w.read_words()).expect("words"), want);
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
    let mut one = Packed::encode(Format::Int8, N, K, &values(N * K, 0)).expect("packed").parts().clone();
    one.insert("weight_scale".into(), Part::new(gristmill::formats::Dtype::F32, &[1], vec![0; 4]));
    let one = gpu.weight(&Packed::new(Format::Int8, N, K, one).expect("one scale")).expect("a weight");
    assert_eq!(told(&one), "adapter_merge: y = int8, but one scale serves all of it");
    let other = gpu.weight_zeros(Format::Q8_0, Elem::F32, [N, 32]).expect("a weight");
    assert_eq!(told(&other), "adapter_merge: y is [45, 32], but w0 is [45, 96]");
    let mut parts = Packed::encode(Format::Q8_0, N, K, &values(N * K, 0)).expect("packed").parts().clone();
    for name in ["sparse.row", "sparse.col"] {
        parts.insert(name.into(), Part::new(gristmill::formats::Dtype::I32, &[1], vec![0; 4]));
    }
    parts.insert("sparse.value".into(), Part::new(gristmill::formats::Dtype::F32, &[1], vec![0; 4]));
    let sparse = gpu.weight(&Packed::new(Format::Q8_0, N, K, parts).expect("a side list")).expect("a weight");
    assert_eq!(told(&sparse), "adapter_merge: y = gguf.q8_0, but to some of its rows a side list is added");
    assert!(gpu.run(AdapterMerge::new(&w0, low.lora(), 1.0, &w0)).is_err(), "a base that is written");
    // Three blocks of a row are coded by way of numbers: no step has both weights.
    let w0 = weight(&gpu, Format::Q4_0, &values(N * K, 0));
    let before = block_on(w0.read_words()).expect("words");
    let told = gpu.run(AdapterMerge::new(&w0, low.lora(), 1.0, &w0)).expect_err("it is told");
    assert_eq!(told, Error::Shared { op: "adapter_merge", output: "y".to_owned(), other: "w0".to_owned() });
    assert_eq!(block_on(w0.read_words()).expect("words"), before);
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
    let (cores, two) = ([&left, &right], other(&[1, 2, 1, 1]));
    let twos = [&two; 64];
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
        (
            Kind::Mpo { cores: &twos },
            1.0,
            "adapter_merge: the cores make [18446744073709551615, 1], but w0 is [45, 96]",
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

// ---- live

/// Rows of x.
const M: usize = 6;

/// Room for three adapters of any kind, rounded to nothing.
const ROOM: Room = Room { adapters: 3, rank: 8, elem: Elem::F32, magnitudes: Magnitudes::Both };

/// A layer with a set of adapters.
struct Layer {
    gpu: Dispatcher,
    x: Tensor,
    w0: Weight,
    set: AdapterSet,
    y: Tensor,
}

impl Layer {
    fn new(gpu: &Dispatcher, format: Format) -> Self {
        Self {
            gpu: gpu.clone(),
            x: tensor(gpu, &[M, K], 20),
            w0: weight(gpu, format, &values(N * K, 0)),
            set: gpu.adapter_set([N, K], ROOM).expect("a set"),
            y: gpu.zeros([M, N], Elem::F32).expect("a tensor"),
        }
    }

    fn attach(&self, place: usize, kind: Kind<'_>, scale: f32) {
        self.gpu.run(AdapterAttach::new(&self.w0, kind, scale, &self.set, place)).expect("an adapter");
    }

    fn scale(&self, place: usize, scale: Option<f32>) {
        self.gpu.run(AdapterScale { set: &self.set, place, scale }).expect("a scale");
    }

    fn plain(&self) -> Vec<f32> {
        self.gpu.run(Linear::new(&self.x, &self.w0, &self.y)).expect("a layer");
        read(&self.y)
    }

    fn live(&self, index: Option<&[i32]>) -> Vec<f32> {
        let bytes = index.map(|index| bytemuck::cast_slice::<i32, u8>(index).to_vec());
        let index = bytes.map(|bytes| self.gpu.upload_bytes(&bytes, [M], Elem::I32).expect("an index"));
        let layer = Linear::new(&self.x, &self.w0, &self.y);
        self.gpu.run(Linear { adapters: Some(&self.set), adapter_index: index.as_ref(), ..layer }).expect("a layer");
        read(&self.y)
    }
}

/// The norms of rows of K numbers.
fn norms(rows: &[f32]) -> Vec<f64> {
    rows.chunks(K).map(|row| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()).collect()
}

#[test]
fn live_and_merged_agree() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    for format in [Format::Dense, Format::Q4_0, Format::Q8_0] {
        let layer = Layer::new(&gpu, format);
        for kind in [low.lora(), low.dora(), low.bora(Order::RowCol), low.bora(Order::ColRow)] {
            layer.attach(0, kind, 0.25);
            let live = layer.live(None);
            gpu.run(AdapterMerge::new(&layer.w0, kind, 0.25, &low.y)).expect("a merge");
            let merged = gpu.encode(&low.y, Format::Dense).expect("a weight");
            gpu.run(Linear::new(&layer.x, &merged, &layer.y)).expect("a layer");
            let (w, x) = (norms(&read(&low.y)), norms(&read(&layer.x)));
            for (at, (live, merged)) in live.into_iter().zip(read(&layer.y)).enumerate() {
                // A term of either sum is rounded 32 times in its block, 3 times for blocks and 20 beside; of the live one 5 times more for
                // ranks, and both norms have 96 squares. What is rounded is no more than the base and the adapter, which together are less
                // than three times the merged weight.
                let roundings = 2.0 * (32.0 + 3.0 + 20.0 + 5.0) + 2.0 * 96.0;
                let bound = roundings * f64::from(f32::EPSILON) / 2.0 * 3.0 * x[at / N] * w[at % N];
                near(&format!("{format} {kind:?}, {at}"), live.into(), merged.into(), bound);
            }
        }
    }
}

/// What stands beside the codes of either of two matrices is multiplied as a number of theirs is, with the factors of its column too.
#[test]
fn side_lists_are_as_numbers_of_the_weight() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let mut parts = Packed::encode(Format::Q8_0, N, K, &values(N * K, 0)).expect("packed").parts().clone();
    let of_i32 = |values: [i32; 3]| {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        Part::new(gristmill::formats::Dtype::I32, &[3], bytes)
    };
    parts.insert("sparse.row".into(), of_i32([0, 7, N as i32 - 1]));
    parts.insert("sparse.col".into(), of_i32([5, 66, K as i32 - 1]));
    let beside = Part::new(gristmill::formats::Dtype::F32, &[3], Elem::F32.encode(&[3.0, -5.0, 7.0]));
    parts.insert("sparse.value".into(), beside);
    let packed = Packed::new(Format::Q8_0, N, K, parts).expect("a side list");
    let listed = gpu.weight(&packed).expect("a weight");
    let dense = weight(&gpu, Format::Dense, &packed.decode());
    let (x, y) = (tensor(&gpu, &[M, K], 20), gpu.zeros([M, N], Elem::F32).expect("a tensor"));
    let set_of = |w: &Weight| {
        let set = gpu.adapter_set([N, K], ROOM).expect("a set");
        gpu.run(AdapterAttach::new(w, low.bora(Order::RowCol), 0.25, &set, 0)).expect("an adapter");
        set
    };
    let (of_listed, of_dense) = (set_of(&listed), set_of(&dense));
    let live = |w, set| Linear { adapters: Some(set), ..Linear::new(&x, w, &y) };
    let gated = |w| Linear { up: Some(w), ..Linear::new(&x, w, &y) };
    for (what, op, same) in
        [("live", live(&listed, &of_listed), live(&dense, &of_dense)), ("gated", gated(&listed), gated(&dense))]
    {
        gpu.run(same).expect("a layer");
        let want = read(&y);
        let largest = want.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        // All plans end a sum alike: the best and the last are enough.
        let plans = gpu.plans(op).expect("plans");
        for plan in [&plans[0], &plans[plans.len() - 1]] {
            let mut recorder = gpu.record().expect("a recorder");
            recorder.run_plan(op, &plan.name).expect("recorded");
            recorder.submit().expect("submitted");
            // Far less than what is beside the codes makes of the largest.
            let bound = f64::from(largest) * if plan.operands.is_some() { 1e-2 } else { 1e-5 };
            for (at, (got, want)) in read(&y).into_iter().zip(&want).enumerate() {
                near(&format!("{what}, {at}: {plan}"), got.into(), f64::from(*want), bound);
            }
        }
    }
}

#[test]
fn each_row_has_its_own_adapter_and_others_have_none() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let layer = Layer::new(&gpu, Format::Q4_0);
    assert_eq!(layer.live(None), layer.plain(), "an empty place is an adapter");
    layer.attach(0, low.lora(), 0.5);
    layer.attach(2, low.bora(Order::RowCol), 1.5);
    let all = |place: i32| layer.live(Some(&[place; M]));
    let (first, last, none) = (all(0), all(2), all(-1));
    assert_eq!(none, layer.plain(), "no adapter is an adapter");
    assert_eq!(all(1), none, "an empty place is an adapter");
    assert!(first.iter().zip(&none).all(|(a, b)| a != b) && last.iter().zip(&first).all(|(a, b)| a != b));
    let index = [2, 0, 3, -1, i32::MIN, 0];
    for (row, got) in layer.live(Some(&index)).chunks(N).enumerate() {
        let want = match index[row] {
            0 => &first,
            2 => &last,
            _ => &none,
        };
        assert_eq!(got, &want[row * N..][..N], "row {row}");
    }
}

/// Layers of one row, one after the other on the same sets: in turn with two matrices, with one, and with an index.
struct OneRow {
    layer: Layer,
    sets: [AdapterSet; 2],
    index: Vec<Tensor>,
    xs: Vec<Tensor>,
    ys: Vec<Tensor>,
}

impl OneRow {
    fn new(gpu: &Dispatcher) -> Self {
        let low = Low::new(gpu);
        let layer = Layer::new(gpu, Format::Q4_0);
        layer.attach(0, low.lora(), 0.5);
        layer.attach(2, low.dora(), 1.5);
        let sets = [1.0, -2.0].map(|scale| {
            let set = gpu.adapter_set([N, K], Room { magnitudes: Magnitudes::Rows, ..ROOM }).expect("a set");
            gpu.run(AdapterAttach::new(&layer.w0, low.lora(), scale, &set, 0)).expect("an adapter");
            set
        });
        let place = |i: i32| gpu.upload_bytes(&i.to_le_bytes(), [1], Elem::I32).expect("an index");
        Self {
            index: [0, 2, -1].map(place).into(),
            xs: (0..9).map(|i| tensor(gpu, &[1, K], 40 + i)).collect(),
            ys: (0..9).map(|_| gpu.zeros([1, N], Elem::F32).expect("a row")).collect(),
            layer,
            sets,
        }
    }

    fn op(&self, i: usize) -> Linear<'_> {
        let (w, [first, second]) = (&self.layer.w0, &self.sets);
        let plain = Linear::new(&self.xs[i], w, &self.ys[i]);
        match i % 3 {
            0 => Linear { adapters: Some(first), up: Some(w), up_adapters: Some(second), ..plain },
            1 => Linear { adapters: Some(first), ..plain },
            _ => Linear { adapters: Some(&self.layer.set), adapter_index: Some(&self.index[i / 3]), ..plain },
        }
    }

    /// What they make, by plans whose names begin so, after a recording of them all was replayed so many times.
    fn by(&self, plan: &str, times: usize) -> Vec<f32> {
        let gpu = &self.layer.gpu;
        let recording = gpu.keep(|rec| {
            for i in 0..self.xs.len() {
                let named = gpu.plans(self.op(i))?.into_iter().find(|p| p.name.starts_with(plan)).expect("a plan");
                rec.run_plan(self.op(i), &named.name)?;
            }
            Ok(())
        });
        let mut rec = gpu.record().expect("a recorder");
        let recording = recording.expect("a recording");
        (0..times).for_each(|_| rec.replay(&recording).expect("a replay"));
        rec.submit().expect("commands");
        self.ys.iter().flat_map(read).collect()
    }
}

/// Where the next test writes what it made, where it runs with other shaders.
const WRITE_TO: &str = "GRISTMILL_TEST_OUTPUTS";
const ONE_ROW: &str = "a_layer_of_one_row_makes_its_own_terms_whenever_they_come";

#[test]
fn a_layer_of_one_row_makes_its_own_terms_whenever_they_come() {
    let rows = OneRow::new(&gpu());
    // What the last dispatch, or the last but one, has left is not seen.
    let made = rows.by("gemv_here", 1);
    assert_eq!(rows.by("gemv_here", 2), made, "other numbers the second and third time");
    if let Ok(path) = std::env::var(WRITE_TO) {
        std::fs::write(path, bytemuck::cast_slice(&made)).expect("a file");
        return;
    }
    // As in `live_and_merged_agree`; no number is larger than some hundreds.
    let bound = 120.0 * 256.0 * f64::from(f32::EPSILON);
    for (at, (made, want)) in made.iter().zip(rows.by("naive", 1)).enumerate() {
        near(&format!("layer {}, output {}", at / N, at % N), f64::from(*made), want.into(), bound);
    }
    // To the same bits where nobody looks for terms, and where who makes them comes last, so that others find what is left there.
    let dir = std::env::temp_dir().join(format!("gristmill-late-{}", std::process::id()));
    let id = "group.x + group.y * linear_params.fold";
    let (first, last) = (format!("let id = {id};"), format!("let id = make_groups() - 1u - ({id});"));
    for (what, file, from, to) in [
        ("nobody looks", "lib/make", "#const POLLS = 64u", "#const POLLS = 0u"),
        ("makers come last", "linear/gemv", &first, &last),
    ] {
        let (outputs, shaders) = (dir.join(what), dir.join(format!("shaders, {what}")));
        for (name, text) in gristmill::wgsl::SHADERS {
            let changed = if *name == file { text.replace(from, to) } else { (*text).to_owned() };
            assert_eq!(changed != *text, *name == file, "{what}: {name}");
            let path = shaders.join(name).with_extension("wgsl");
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, changed).expect("a file");
        }
        let mut test = Command::new(std::env::current_exe().expect("this program"));
        test.args(["--exact", ONE_ROW]).env(WRITE_TO, &outputs).env("GRISTMILL_SHADERS", shaders);
        let done = test.output().expect("a process");
        assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stdout));
        let bits = std::fs::read(outputs).expect("outputs");
        assert!(bits == bytemuck::cast_slice::<f32, u8>(&made), "{what}: other bits");
    }
    std::fs::remove_dir_all(dir).expect("the folder is gone");
}

#[test]
fn adapters_are_replaced_and_scaled_and_taken_away_without_memory_or_pipelines() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let layer = Layer::new(&gpu, Format::Q4_0);
    let (a, b) = (tensor(&gpu, &[2, K], 11), tensor(&gpu, &[N, 2], 12));
    let swap = || {
        layer.attach(0, low.lora(), 0.5);
        let first = layer.live(None);
        layer.scale(0, Some(1.0));
        let twice = layer.live(None);
        // Fewer ranks than before: nothing of the last adapter is left.
        layer.attach(0, Kind::Lora { a: &a, b: &b }, 1.0);
        let second = layer.live(None);
        layer.attach(0, low.dora(), 1.0);
        layer.attach(0, Kind::Lora { a: &a, b: &b }, 1.0);
        assert_eq!(layer.live(None), second, "something of the last adapter is left");
        layer.scale(0, None);
        let none = layer.live(None);
        layer.scale(0, Some(1.0));
        assert_eq!(layer.live(None), none, "an empty place was scaled");
        (first, twice, second, none)
    };
    let (first, twice, second, none) = swap();
    assert_eq!(none, layer.plain(), "it is still there");
    for at in 0..M * N {
        // y = base + scale·delta, of numbers below 2^8 that are rounded some 60 times.
        let (delta, double) = (first[at] - none[at], twice[at] - none[at]);
        near("twice the scale", double.into(), 2.0 * f64::from(delta), 64.0 * 256.0 * f64::from(f32::EPSILON));
    }
    let fresh = Layer::new(&gpu, Format::Q4_0);
    fresh.attach(0, Kind::Lora { a: &a, b: &b }, 1.0);
    assert_eq!(fresh.live(None), second, "what was there before is seen");
    let before = gpu.holdings();
    assert_eq!(swap().2, second);
    let after = gpu.holdings();
    assert_eq!(before, after, "something was had for a swap");
}

#[test]
fn bad_live_adapters_are_told_and_nothing_is_written() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let layer = Layer::new(&gpu, Format::Q4_0);
    let small = gpu.adapter_set([N, K], Room { magnitudes: Magnitudes::None, rank: 4, ..ROOM }).expect("a set");
    let rows = gpu.adapter_set([N, K], Room { magnitudes: Magnitudes::Rows, ..ROOM }).expect("a set");
    let other = gpu.adapter_set([K, N], ROOM).expect("a set");
    let other_shape = |shape: &[usize]| tensor(&gpu, shape, 0);
    let (a4, b4, block) = (other_shape(&[4, K]), other_shape(&[N, 4]), other_shape(&[15, 3, 3]));
    let core = other_shape(&[1, N, K, 1]);
    let cores = [&core];
    let dora4 = Kind::Dora { a: &a4, b: &b4, magnitude: &low.row };
    let told: Vec<(&AdapterSet, Kind<'_>, f32, usize, &str)> = vec![
        (&small, low.lora(), 1.0, 0, "adapter_attach: the adapter has rank 5, but the set has room for 4"),
        (&small, dora4, 1.0, 0, "adapter_attach: the adapter has magnitudes of rows, for which the set has no room"),
        (
            &rows,
            low.bora(Order::RowCol),
            1.0,
            0,
            "adapter_attach: the adapter has magnitudes of columns, for which the set has no room",
        ),
        (&other, low.lora(), 1.0, 0, "adapter_attach: the set is for [96, 45], but w0 is [45, 96]"),
        (
            &layer.set,
            low.lora(),
            1.0,
            3,
            "adapter_attach: place = 3, but it must be less than the adapters that the set has room for",
        ),
        (&layer.set, low.lora(), f32::INFINITY, 0, "adapter_attach: scale = inf, but it must be a finite number"),
        (
            &layer.set,
            Kind::Bat { block: &block },
            1.0,
            0,
            "adapter_attach: BAT multiplies the base, so that it must be merged",
        ),
        (
            &layer.set,
            Kind::Mpo { cores: &cores },
            1.0,
            0,
            "adapter_attach: an MPO is of no low rank, so that it must be merged",
        ),
        (
            &layer.set,
            Kind::Loha { a1: &low.b, b1: &low.a, a2: &low.b, b2: &low.a },
            1.0,
            0,
            "adapter_attach: the adapter has rank 25, but the set has room for 8",
        ),
    ];
    for (set, kind, scale, place, text) in told {
        let error = gpu.run(AdapterAttach::new(&layer.w0, kind, scale, set, place)).expect_err(text);
        assert_eq!(error.to_string(), text);
    }
    let Layer { x, w0, set, y, .. } = &layer;
    let plain = Linear::new(x, w0, y);
    let (five, floats) = (gpu.zeros([5], Elem::I32).expect("a tensor"), gpu.zeros([M], Elem::F32).expect("a tensor"));
    let told: Vec<(Linear<'_>, &str)> = vec![
        (Linear { adapters: Some(&other), ..plain }, "linear: adapters are for [96, 45], but w is [45, 96]"),
        (Linear { up_adapters: Some(set), ..plain }, "linear: up_adapters are given, but no second matrix"),
        (
            Linear { up: Some(w0), up_adapters: Some(set), ..plain },
            "linear: up_adapters have magnitudes of columns, so that each matrix wants an x of its own",
        ),
        (Linear { adapter_index: Some(&five), ..plain }, "linear: adapter_index is given, but no adapters"),
        (
            Linear { adapters: Some(set), adapter_index: Some(&five), ..plain },
            "linear: adapter_index has shape [5], but x has 6 rows",
        ),
        (
            Linear { adapters: Some(set), adapter_index: Some(&floats), ..plain },
            "linear: adapter_index is stored as f32, but must be i32",
        ),
    ];
    for (layer, text) in told {
        assert_eq!(gpu.run(layer).expect_err(text).to_string(), text);
    }
    for (name, room) in [
        ("adapters", Room { adapters: 0, ..ROOM }),
        ("rank", Room { rank: 0, ..ROOM }),
        ("elem", Room { elem: Elem::I8, ..ROOM }),
    ] {
        let error = gpu.adapter_set([N, K], room).expect_err(name);
        assert!(matches!(error, Error::Value { name: told, .. } if told == name), "{error}");
    }
    let error = AdapterSet::outline([1 << 30, 1 << 30], ROOM).expect_err("a set of an exabyte");
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    assert!(read(&layer.y).iter().all(|v| *v == 0.0), "something was written");
}

/// A device with just so much binds the pool; one with less does not grant the set.
#[test]
fn a_set_that_is_granted_can_be_attached_to() {
    let gpu = gpu();
    let of = |bytes| gpu.restricted(|caps| caps.storage_binding_bytes = bytes);
    let told = of(1 << 10).adapter_set([N, K], ROOM).expect_err("a set beyond the device");
    let Error::Limit { need, .. } = told else { panic!("{told}") };
    let told = of(need + 255).adapter_set([N, K], ROOM).expect_err("a set that a binding may not reach");
    assert_eq!(
        told.to_string(),
        format!("adapter_set: needs {need} of storage_binding_bytes, but there are {}", need - 1)
    );
    let layer = Layer::new(&of(need + 256), Format::Q4_0);
    layer.attach(0, Low::new(&layer.gpu).lora(), 1.0);
}

// ---- of a model

/// The weights of a model: N rows of K.
const NAMES: [&str; 3] = ["m.0.q.weight", "m.0.k.weight", "m.1.q.weight"];

struct Model {
    gpu: Dispatcher,
    weights: Vec<Weight>,
    live: ModelAdapters,
}

impl Model {
    fn new(gpu: &Dispatcher) -> Self {
        let mut live = ModelAdapters::new(ROOM);
        let weights: Vec<Weight> = (0..3).map(|i| weight(gpu, Format::Q4_0, &values(N * K, 30 + i))).collect();
        for (name, w) in NAMES.iter().zip(&weights) {
            live.add(gpu, name, w).expect("a set");
        }
        Self { gpu: gpu.clone(), weights, live }
    }

    /// What each weight makes of x with the adapters in a place.
    fn outputs(&self, place: i32) -> Vec<Vec<f32>> {
        let gpu = &self.gpu;
        let (x, y) = (tensor(gpu, &[1, K], 20), gpu.zeros([1, N], Elem::F32).expect("a tensor"));
        let index = gpu.upload_bytes(&place.to_le_bytes(), [1], Elem::I32).expect("an index");
        let of = |(name, w): (&&str, &Weight)| {
            let layer = Linear::new(&x, w, &y);
            gpu.run(Linear { adapters: self.live.get(name), adapter_index: Some(&index), ..layer }).expect("a layer");
            read(&y)
        };
        NAMES.iter().zip(&self.weights).map(of).collect()
    }

    fn record(&mut self, what: impl Fn(&mut ModelAdapters, &mut Recorder<wgpu::CommandEncoder>)) {
        let mut recorder = self.gpu.record().expect("a recorder");
        what(&mut self.live, &mut recorder);
        recorder.submit().expect("a submission");
    }
}

/// A file of PEFT: a LoRA of rank 2 for each of these modules.
fn peft(modules: &[&str], dora: bool) -> Checkpoint<'static> {
    let floats = |n: usize, seed: usize| values(n, seed).into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let mut tensors = Vec::new();
    for (i, module) in modules.iter().enumerate() {
        let name = |of: &str| format!("base_model.model.{module}.{of}");
        tensors.push((name("lora_A.weight"), vec![2, K], floats(2 * K, 40 + i)));
        tensors.push((name("lora_B.weight"), vec![N, 2], floats(N * 2, 50 + i)));
        if dora {
            tensors.push((name("lora_magnitude_vector"), vec![N], floats(N, 60 + i)));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let model = safetensors::serialize(views, None).expect("a file");
    let config = format!(
        r#"{{"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["q","k"],"bias":"none","use_dora":{dora}}}"#
    );
    let files = [("adapter_model.safetensors", model), ("adapter_config.json", config.into_bytes())];
    let files = files.map(|(name, bytes)| (name.to_owned(), Cow::Owned(bytes)));
    Checkpoint::from_files(files.into_iter().collect()).expect("a checkpoint")
}

#[test]
fn a_file_is_attached_to_a_model_and_swapped() {
    let gpu = gpu();
    let load = |modules: &[&str], dora| {
        let file = peft(modules, dora);
        gpu.load_adapters(&file.adapters().expect("adapters")).expect("tensors on the device")
    };
    let (first, second) = (load(&["m.0.q", "m.0.k"], false), load(&["m.1.q", "m.0.k"], true));
    assert_eq!((first.rank(), first.weights().collect::<Vec<_>>()), (2, vec![NAMES[1], NAMES[0]]));
    let mut model = Model::new(&gpu);
    let plain = model.outputs(-1);
    model.record(|live, recorder| live.attach(recorder, 1, &first, 1.0).expect("an adapter"));
    assert_eq!(model.outputs(0), plain, "another place");
    let with_first = model.outputs(1);
    // Each weight is told.
    model.record(|live, recorder| {
        live.attach(recorder, 1, &first, 1.0).expect("an adapter");
        assert_eq!(recorder.dispatches(), NAMES.len());
    });
    // By hand: the file's scale is 3/2.
    let layer = Layer { w0: model.weights[0].clone(), x: tensor(&gpu, &[M, K], 20), ..Layer::new(&gpu, Format::Q4_0) };
    let (a, b) = (tensor(&gpu, &[2, K], 40), tensor(&gpu, &[N, 2], 50));
    layer.attach(0, Kind::Lora { a: &a, b: &b }, 1.5);
    assert_eq!(with_first[0], layer.live(None)[..N], "another adapter than by hand");
    assert!(with_first[1] != plain[1] && with_first[2] == plain[2], "the file has two weights");
    // Another in the same place: nothing of the first is left at the weight that the second leaves alone.
    model.record(|live, recorder| live.attach(recorder, 1, &second, 1.0).expect("an adapter"));
    let with_second = model.outputs(1);
    assert!(with_second[0] == plain[0] && with_second[2] != plain[2] && with_second[1] != with_first[1]);
    // A factor and back, of an adapter with magnitudes and of one without.
    for (adapter, want) in [(&second, &with_second), (&first, &with_first)] {
        model.record(|live, recorder| live.attach(recorder, 1, adapter, 1.0).expect("an adapter"));
        model.record(|live, recorder| live.scale(recorder, 1, 2.0).expect("a factor"));
        assert_eq!(model.live.factor(1), Some(2.0));
        let twice = model.outputs(1);
        assert!(twice[1] != want[1]);
        let mut fresh = Model::new(&gpu);
        fresh.record(|live, recorder| live.attach(recorder, 1, adapter, 2.0).expect("an adapter"));
        assert_eq!(fresh.outputs(1), twice, "a factor is as good as another attaching");
        model.record(|live, recorder| live.scale(recorder, 1, 1.0).expect("a factor"));
        assert_eq!(&model.outputs(1), want);
    }
    model.record(|live, recorder| live.detach(recorder, 1).expect("nothing"));
    assert_eq!((model.outputs(1), model.live.factor(1)), (plain, None));
}

#[test]
fn names_without_a_weight_are_listed_and_nothing_is_attached() {
    let gpu = gpu();
    let mut model = Model::new(&gpu);
    let plain = model.outputs(-1);
    let file = peft(&["m.0.q", "m.7.q", "m.8.k"], false);
    let strange = gpu.load_adapters(&file.adapters().expect("adapters")).expect("tensors on the device");
    let mut wrong = LoadedAdapter::default();
    let (a, b) = (tensor(&gpu, &[9, K], 1), tensor(&gpu, &[N, 9], 2));
    let low = Low::new(&gpu);
    wrong.insert(NAMES[1], low.lora(), 1.0).expect("an adapter");
    wrong.insert(NAMES[2], Kind::Lora { a: &a, b: &b }, 1.0).expect("an adapter");
    let told = [
        (0, &strange, 1.0, "model_adapters: 2 of 3 names match no weight: m.7.q.weight, m.8.k.weight"),
        (
            0,
            &wrong,
            1.0,
            "model_adapters: the adapter of m.1.q.weight: adapter_attach: the adapter has rank 9, but the set has room for 8",
        ),
        (3, &wrong, 1.0, "model_adapters: place = 3, but it must be less than the adapters that there is room for"),
        (0, &wrong, f32::NAN, "model_adapters: factor = NaN, but it must be a finite number"),
    ];
    for (place, adapter, factor, text) in told {
        let mut recorder = gpu.record().expect("a recorder");
        let error = model.live.attach(&mut recorder, place, adapter, factor).expect_err(text);
        assert_eq!(error.to_string(), text);
        assert_eq!(recorder.dispatches(), 0, "{text}");
    }
    let mut recorder = gpu.record().expect("a recorder");
    let error = model.live.scale(&mut recorder, 0, 1.0).expect_err("an empty place");
    assert_eq!(error.to_string(), "model_adapters: place 0 is empty");
    let error = wrong.insert(NAMES[1], low.lora(), 1.0).expect_err("a second");
    assert_eq!(error.to_string(), "model_adapters: there are two adapters of m.0.k.weight");
    let error = model.live.add(&gpu, NAMES[0], &model.weights[0]).expect_err("a second");
    assert_eq!(error.to_string(), "model_adapters: there are two weights m.0.q.weight");
    assert_eq!(model.outputs(0), plain);
}

/// A tensor of another device, an overflow of one weight: what came before it is not recorded either.
#[test]
fn what_fails_at_one_weight_is_recorded_of_none() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let mut model = Model::new(&gpu);
    let elsewhere = tensor(&device::gpu(), &[N, R], 2);
    let mut first = LoadedAdapter::default();
    first.insert(NAMES[0], low.lora(), 1.0).expect("an adapter");
    first.insert(NAMES[2], low.lora(), 4.0).expect("an adapter");
    let mut foreign = LoadedAdapter::default();
    foreign.insert(NAMES[1], low.lora(), 1.0).expect("an adapter");
    foreign.insert(NAMES[2], Kind::Lora { a: &low.a, b: &elsewhere }, 1.0).expect("an adapter");
    model.record(|live, recorder| live.attach(recorder, 0, &first, 1.0).expect("an adapter"));
    let was = model.outputs(0);
    let mut recorder = gpu.record().expect("a recorder");
    let error = model.live.attach(&mut recorder, 0, &foreign, 1.0).expect_err("a foreign tensor");
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!((recorder.dispatches(), model.live.factor(0)), (0, Some(1.0)), "of the foreign one");
    let error = model.live.scale(&mut recorder, 0, 2e38).expect_err("an overflow").to_string();
    assert!(error.contains("scale = inf, but it must be a finite number"), "{error}");
    assert_eq!((recorder.dispatches(), model.live.factor(0)), (0, Some(1.0)), "of the overflow");
    // The recorder can be used on.
    model.live.scale(&mut recorder, 0, 1.0).expect("a factor");
    recorder.submit().expect("a submission");
    assert_eq!(model.outputs(0), was);
}

/// A recorder that nobody submits: what the host was told to attach has never come to the device.
#[test]
fn what_was_never_submitted_is_not_relied_on() {
    let gpu = gpu();
    let low = Low::new(&gpu);
    let of = |names: &[&str]| {
        let mut adapter = LoadedAdapter::default();
        names.iter().for_each(|name| adapter.insert(name, low.lora(), 1.0).expect("an adapter"));
        adapter
    };
    let (first, second, third) = (of(&NAMES[..2]), of(&NAMES[2..]), of(&NAMES[2..]));
    type Then<'a> = (&'a str, Box<dyn Fn(&mut ModelAdapters, &mut Recorder<wgpu::CommandEncoder>) + 'a>, bool);
    let then: [Then<'_>; 3] = [
        ("attached", Box::new(|live, rec| live.attach(rec, 1, &third, 1.0).expect("an adapter")), true),
        ("scaled", Box::new(|live, rec| live.scale(rec, 1, 1.0).expect("a factor")), true),
        ("taken away", Box::new(|live, rec| live.detach(rec, 1).expect("nothing")), false),
    ];
    for (what, does, has) in then {
        let mut model = Model::new(&gpu);
        let plain = model.outputs(1);
        model.record(|live, recorder| live.attach(recorder, 1, &first, 1.0).expect("an adapter"));
        let mut dropped = gpu.record().expect("a recorder");
        model.live.attach(&mut dropped, 1, &second, 1.0).expect("an adapter");
        drop(dropped);
        model.record(|live, recorder| does(live, recorder));
        let outputs = model.outputs(1);
        assert_eq!(outputs[..2], plain[..2], "{what}: the first is there still");
        assert_eq!(outputs[2] != plain[2], has, "{what}");
    }
}

#[test]
fn room_for_more_adapters_than_there_can_be_is_told() {
    let mut live = ModelAdapters::new(Room { adapters: usize::MAX, ..ROOM });
    let w = weight(&gpu(), Format::Q4_0, &values(N * K, 0));
    let error = live.add(&gpu(), "w", &w).expect_err("no room").to_string();
    assert_eq!(error, "adapter_set: adapters = 18446744073709551615, but it must be at least 1 and fit 31 bits");
}

/// A file of PEFT of these tensors of a module, with a configuration.
fn peft_of(config: &str, tensors: &[(&str, &[usize], usize)]) -> Checkpoint<'static> {
    let floats = |shape: &[usize], seed| values(shape.iter().product(), seed).into_iter().flat_map(f32::to_le_bytes);
    let named = tensors.iter().map(|(name, shape, seed)| {
        (format!("base_model.model.{name}"), shape.to_vec(), floats(shape, *seed).collect::<Vec<u8>>())
    });
    let named: Vec<_> = named.collect();
    let views = named.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let model = safetensors::serialize(views, None).expect("a file");
    let files = [("adapter_model.safetensors", model), ("adapter_config.json", config.as_bytes().to_vec())];
    let files = files.map(|(name, bytes)| (name.to_owned(), Cow::Owned(bytes)));
    Checkpoint::from_files(files.into_iter().collect()).expect("a checkpoint")
}

#[test]
fn a_file_is_merged_as_it_is_live() {
    let gpu = gpu();
    let layer = Layer::new(&gpu, Format::Q8_0);
    let y = gpu.zeros([N, K], Elem::F32).expect("a tensor");
    let x = norms(&read(&layer.x));
    let dora = peft(&["m.0.q"], true);
    let dora = gpu.load_adapters(&dora.adapters().expect("adapters")).expect("tensors on the device");
    let merged = |loaded: &LoadedAdapter| {
        let (kind, scale) = loaded.get(NAMES[0]).expect("an adapter");
        gpu.run(AdapterMerge::new(&layer.w0, kind, scale, &y)).expect("a merge");
        let w = gpu.encode(&y, Format::Dense).expect("a weight");
        gpu.run(Linear::new(&layer.x, &w, &layer.y)).expect("a layer");
        read(&layer.y)
    };
    let want = merged(&dora);
    let w = norms(&read(&y));
    let (kind, scale) = dora.get(NAMES[0]).expect("an adapter");
    assert_eq!(scale, 1.5);
    layer.attach(0, kind, scale);
    for (at, (live, merged)) in layer.live(None).into_iter().zip(want).enumerate() {
        // As in `live_and_merged_agree`.
        let roundings = 2.0 * (32.0 + 3.0 + 20.0 + 2.0) + 2.0 * 96.0;
        let bound = roundings * f64::from(f32::EPSILON) / 2.0 * 3.0 * x[at / N] * w[at % N];
        near(&format!("output {at}"), live.into(), merged.into(), bound);
    }
    // BAT is merged only: in blocks of 3 × 3, w + w·b + b.
    let config = r#"{"peft_type":"BONE","r":3,"target_modules":["q"],"init_weights":"bat"}"#;
    let bat = peft_of(config, &[("m.0.q.bone_block", &[N / 3, 3, 3], 70)]);
    let bat = gpu.load_adapters(&bat.adapters().expect("adapters")).expect("tensors on the device");
    merged(&bat);
    let got = read(&y);
    gpu.run(Dequantize { w: &layer.w0, y: &y }).expect("decoded");
    let (base, block) = (read(&y), values(N * 3, 70));
    for (at, got) in got.into_iter().enumerate() {
        let (n, k) = (at / K, at % K);
        let b = |i: usize, j: usize| f64::from(block[n / 3 * 9 + i * 3 + j]);
        let row: f64 = (0..3).map(|i| f64::from(base[n * K + k / 3 * 3 + i]) * b(i, k % 3)).sum();
        // Numbers below 8, rounded five times.
        let want = f64::from(base[at]) + row + b(n % 3, k % 3);
        near(&format!("BAT, {at}"), got.into(), want, 5.0 * 8.0 * f64::from(f32::EPSILON));
    }
    let mut model = Model::new(&gpu);
    let mut recorder = gpu.record().expect("a recorder");
    let error = model.live.attach(&mut recorder, 0, &bat, 1.0).expect_err("BAT is not live").to_string();
    assert!(error.contains("BAT multiplies the base, so that it must be merged"), "{error}");
    let mut rest = bat.clone();
    rest.retain(|name| name != NAMES[0]);
    assert_eq!((rest.weights().count(), recorder.dispatches()), (0, 0));
}

#[test]
fn what_a_file_replaces_as_a_whole_is_not_lost() {
    let gpu = gpu();
    let config = r#"{"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["q"],"bias":"all","modules_to_save":["lm_head"]}"#;
    let file = peft_of(
        config,
        &[
            ("m.0.q.lora_A.weight", &[2, K], 1),
            ("m.0.q.lora_B.weight", &[N, 2], 2),
            ("m.0.q.base_layer.bias", &[N], 3),
            ("lm_head.weight", &[7, K], 4),
        ],
    );
    let mut adapters = file.adapters().expect("adapters");
    let error = gpu.load_adapters(&adapters).expect_err("whole tensors").to_string();
    assert!(
        error.starts_with(
            "model_adapters: 2 tensors of the file stand for whole ones of the base, lm_head.weight, m.0.q.bias:"
        ),
        "{error}"
    );
    let taken = adapters.take_replaced();
    let names: Vec<_> = taken.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
    let want = [
        ("lm_head.weight", "base_model.model.lm_head.weight"),
        ("m.0.q.bias", "base_model.model.m.0.q.base_layer.bias"),
    ];
    assert_eq!(names, want);
    assert_eq!(gpu.load_adapters(&adapters).expect("tensors on the device").weights().collect::<Vec<_>>(), [NAMES[0]]);
}
