//! Weights that are encoded on a device: the words that the host lays, for numbers that hurt; in several parts; what is told of bad input.

#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::formats::awq::{Awq, AwqVersion};
use gristmill::formats::bitnet::Bitnet;
use gristmill::formats::{Dtype, Format, Group, Packed, Part};
use gristmill::ops::linear::{Dequantize, Encode};
use gristmill::proof::{Attrs, Value};
use gristmill::{Dispatcher, Elem, Error, Tensor, Weight};
use pollster::block_on;

mod device;

use device::gpu;

fn words(w: &Weight) -> Vec<u32> {
    block_on(w.read_words()).expect("words")
}

fn numbers(gpu: &Dispatcher, w: &Weight) -> Vec<f32> {
    let y = gpu.zeros([w.n(), w.k()], Elem::F32).expect("memory");
    gpu.run(Dequantize { w, y: &y }).expect("decoded");
    block_on(y.read()).expect("numbers")
}

fn format(name: &str, numbers: &[(&str, f64)]) -> Format {
    let attrs = numbers.iter().fold(Attrs::default(), |attrs, (name, value)| attrs.with(name, *value));
    Format::parse(name, &attrs).unwrap_or_else(|e| panic!("{e}"))
}

/// Floats of 8 bits with a scale for each block of rows and columns.
fn blocks(name: &str, block: [f64; 2]) -> Format {
    let attrs = Attrs::default().with("block", Value::List(block.to_vec()));
    Format::parse(name, &attrs).unwrap_or_else(|e| panic!("{e}"))
}

fn bitnet(inverse: bool) -> Format {
    Format::Bitnet(Bitnet { scale_is_inverse: inverse })
}

/// The formats that devices encode, with their numbers, and what K must be a multiple of.
fn formats() -> Vec<(Format, usize)> {
    let mut all = vec![
        (Format::Dense, 1),
        (Format::Int8, 1),
        (Format::Q4_0, 32),
        (Format::Q4_1, 32),
        (Format::Q5_0, 32),
        (Format::Q5_1, 32),
        (Format::Q8_0, 32),
        (Format::Q2K, 256),
        (Format::Q3K, 256),
        (Format::Q4K, 256),
        (Format::Q5K, 256),
        (Format::Q6K, 256),
        (Format::Iq4Nl, 32),
        (Format::Iq4Xs, 256),
        (Format::Tq1_0, 256),
        (Format::Tq2_0, 256),
        (Format::Mxfp4, 32),
        (Format::Nvfp4, 64),
        (Format::MlxMxfp4, 32),
        (Format::MlxMxfp8, 32),
        (Format::MlxNvfp4, 32),
        (format("bnb.nf4", &[]), 64),
        (format("bnb.fp4", &[]), 64),
        (format("onnx.bnb4", &[("quant_type", 0.0), ("block", 32.0)]), 32),
        (format("onnx.nbits", &[("bits", 2.0), ("block", 32.0)]), 1),
        (format("onnx.nbits", &[("bits", 4.0), ("block", 64.0)]), 1),
        (format("onnx.nbits", &[("bits", 8.0), ("block", 128.0)]), 1),
        (format("fp8.e5m2", &[]), 1),
        (format("owq", &[("bits", 3.0)]), 32),
        (format("owq", &[("bits", 4.0)]), 8),
        (format("lut16", &[("group", 96.0)]), 1),
        (format("hqq", &[("bits", 1.0), ("group", 64.0)]), 64),
        (format("hqq", &[("bits", 2.0), ("group", 32.0)]), 32),
        (format("hqq", &[("bits", 3.0), ("group", 4096.0)]), 4096),
        (format("hqq", &[("bits", 4.0), ("group", 64.0)]), 64),
        (format("hqq", &[("bits", 8.0), ("group", 128.0)]), 128),
        (Format::Sparse24, 4),
        (format("bnb.nf4", &[("blocksize", 256.0)]), 256),
        (format("onnx.bnb4", &[("quant_type", 1.0), ("block", 32.0)]), 32),
        (format("fp8.e4m3", &[]), 1),
        (format("awq", &[("group", 128.0)]), 1),
        (format("awq", &[("group", -1.0)]), 1),
        (Format::Awq(Awq { version: AwqVersion::GemvTiled, group: Group::Of(64) }), 64),
        (format("gptq", &[("bits", 4.0), ("group", 96.0)]), 8),
        (format("gptq", &[("bits", 2.0), ("group", 32.0)]), 16),
        (format("gptq", &[("bits", 3.0), ("group", 64.0)]), 32),
        (format("gptq", &[("bits", 8.0), ("group", 32.0)]), 4),
    ];
    all.extend(
        [2.0, 3.0, 4.0, 5.0, 6.0, 8.0].map(|bits| (format("mlx.affine", &[("bits", bits), ("group", 64.0)]), 64)),
    );
    all
}

/// Formats whose scales have numbers that are no neighbours in whole blocks of a row, with their numbers, and what K must be a multiple of.
fn scattered() -> Vec<(Format, usize)> {
    let mut all: Vec<(Format, usize)> = [(2.0, 24.0), (3.0, 5.0), (4.0, 32.0), (4.0, -1.0), (8.0, 1.0)]
        .map(|(bits, group)| (format("group_ic", &[("bits", bits), ("group", group)]), 1))
        .into();
    // Whole columns of some rows; columns of half a row; what is neither, and in 3 bits.
    all.extend(
        [(1.0, 32.0, 1), (4.0, 64.0, 2), (8.0, 16.0, 1), (3.0, 24.0, 3)]
            .map(|(bits, group, k)| (format("hqq", &[("bits", bits), ("group", group), ("axis", 0.0)]), k)),
    );
    all.extend(
        [[128.0, 128.0], [2.0, 3.0], [16.0, 40.0], [200.0, 32.0], [7.0, 1.0]].map(|of| (blocks("fp8.e4m3", of), 1)),
    );
    all.push((blocks("fp8.e5m2", [48.0, 64.0]), 1));
    // Groups that are no blocks of 32, or end elsewhere than rows.
    all.extend([
        (format("onnx.nbits", &[("bits", 4.0), ("block", 16.0)]), 1),
        (format("gptq", &[("bits", 4.0), ("group", 48.0)]), 8),
        (format("awq", &[("group", 12.0)]), 1),
        (format("lut16", &[("group", 50.0)]), 1),
        (Format::MlxNvfp4, 16),
        (format("hqq", &[("bits", 1.0), ("group", 8.0)]), 2),
        (format("hqq", &[("bits", 3.0), ("group", 20.0)]), 5),
        (format("hqq", &[("bits", 4.0), ("group", 160.0)]), 160),
        (format("bnb.nf4", &[]), 1),
        (format("bnb.fp4", &[("blocksize", 128.0)]), 1),
        (format("onnx.bnb4", &[("quant_type", 1.0), ("block", 32.0)]), 1),
    ]);
    // Means: of all numbers, and of what is left of a group.
    all.extend([true, false].map(|inverse| (bitnet(inverse), 1)));
    all.extend([(3.0, 32.0, 8), (1.0, 16.0, 5), (2.0, -1.0, 3), (4.0, 8.0, 32), (7.0, -1.0, 8), (8.0, 1.0, 1)].map(
        |(bits, group, cols)| {
            let numbers = [("bits", bits), ("group", group), ("cols", f64::from(cols))];
            (format("bcq", &numbers), cols as usize)
        },
    ));
    all
}

/// A generator (xorshift), the same every time.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as u32
    }

    fn below(&mut self, n: u32) -> f32 {
        (self.bits() % n) as f32
    }

    /// Between −1 and 1.
    fn unit(&mut self) -> f32 {
        self.bits() as f32 / 2_147_483_648.0 - 1.0
    }
}

/// Numbers that hurt, row by row: what a row has, is its number modulo 18.
fn hurting(n: usize, k: usize) -> Vec<f32> {
    let mut random = Random(88_172_645_463_325_252);
    let mut all = Vec::with_capacity(n * k);
    for row in 0..n {
        // A power of two from 2^-125 to 2^124.
        let scale = f32::from_bits((2 + random.bits() % 250) << 23);
        // From 1 to 2, with few digits.
        let mut peak = 1.0;
        for i in 0..k {
            if i % 32 == 0 {
                peak = 1.0 + random.below(4096) / 4096.0;
            }
            let unit = random.unit();
            all.push(match row % 18 {
                0 => 0.0,
                1 => 3.7,
                2 => -3.7,
                // As large as there are; a difference of two may not be a number.
                3 => unit * if i % 5 == 0 { 1e-14 } else { f32::MAX },
                4 => unit.abs() * f32::MAX,
                // All subnormal; some; the quotient of a scale.
                5 => f32::from_bits(random.bits() & 0x807f_ffff),
                6 => unit * 1e-37,
                7 => unit * 3e-36,
                // Ties, where the largest of a block is 127, 8, 15, 448.
                8 => {
                    if i % 32 == 5 {
                        127.0
                    } else {
                        (random.below(509) - 254.0) * 0.5
                    }
                }
                9 => {
                    if i % 32 == 3 {
                        8.0
                    } else {
                        random.below(33) * 0.5 - 8.0
                    }
                }
                10 => {
                    if i % 32 == 3 {
                        -16.0
                    } else {
                        random.below(65) * 0.5 - 16.0
                    }
                }
                11 => match i % 32 {
                    0 => 15.0,
                    1 => 0.0,
                    _ => random.below(31) * 0.5,
                },
                12 => {
                    if i % 32 == 9 {
                        448.0
                    } else {
                        (random.below(65) - 32.0) * 0.125
                    }
                }
                // Halves of steps, whose products with an inverse that is rounded are beside a tie on either side.
                13 => peak * (random.below(65) - 32.0) / 32.0 * scale,
                14 => unit * scale,
                // A narrow range far from 0.
                15 => 5.0 + unit * 0.01,
                // What is nothing beside the others, but has a sign.
                16 => {
                    if i % 5 == 0 {
                        unit * 3000.0
                    } else {
                        f32::from_bits(random.bits() & 0x8000_03ff)
                    }
                }
                // A number and its negative are the largest.
                _ => match i % 32 {
                    4 => -1.0,
                    9 => 1.0,
                    _ => unit,
                },
            });
        }
    }
    all
}

/// Neighbours of a column share a scale.
fn along_columns(format: Format) -> bool {
    matches!(format, Format::GroupIc(_)) || matches!(format, Format::Hqq(hqq) if hqq.axis == 0)
}

/// The transpose of n rows of k.
fn turned(values: &[f32], n: usize, k: usize) -> Vec<f32> {
    (0..n * k).map(|i| values[i % n * k + i / n]).collect()
}

/// The words that the host lays, and how the numbers of x are stored.
fn of_host(gpu: &Dispatcher, format: Format, x: Elem, n: usize, k: usize, values: &[f32]) -> Vec<u32> {
    let packed = match (format, x) {
        (Format::Dense, Elem::F16 | Elem::Bf16) => {
            let dtype = if x == Elem::F16 { Dtype::F16 } else { Dtype::Bf16 };
            let part = Part::new(dtype, &[n, k], x.encode(values));
            Packed::new(format, n, k, [("w".to_owned(), part)].into())
        }
        _ => Packed::encode(format, n, k, values),
    };
    let packed = packed.unwrap_or_else(|e| panic!("{format}: {e}"));
    words(&gpu.weight(&packed).expect("a weight"))
}

/// Where words differ.
fn differences(what: &str, got: &[u32], want: &[u32]) -> Option<String> {
    assert_eq!(got.len(), want.len(), "{what}");
    let wrong: Vec<usize> = (0..got.len()).filter(|i| got[*i] != want[*i]).collect();
    let told = wrong.iter().take(5).map(|i| format!("word {i}: {:08x}, host {:08x}", got[*i], want[*i]));
    let told: Vec<String> = told.collect();
    (!wrong.is_empty()).then(|| format!("{what}: {} of {} words differ: {told:?}\n", wrong.len(), got.len()))
}

/// By two devices, as one compiles one kernel at a time.
#[test]
fn codes_and_scales_are_the_hosts_bit_for_bit() {
    let all: Vec<_> = formats().into_iter().chain(scattered()).collect();
    let half = |first: usize| {
        let gpu = gpu();
        let mut failures = Vec::new();
        for (format, multiple) in all.iter().copied().skip(first).step_by(2) {
            for (n, k) in [(96, 65usize.next_multiple_of(multiple)), (32, 2100usize.next_multiple_of(multiple))] {
                let values = if along_columns(format) { turned(&hurting(k, n), k, n) } else { hurting(n, k) };
                let x = gpu.upload(&values, [n, k], Elem::F32).expect("x");
                let w = gpu.encode(&x, format).unwrap_or_else(|e| panic!("{format}: {e}"));
                let want = of_host(&gpu, format, Elem::F32, n, k, &values);
                failures.extend(differences(&format!("{format:?} [{n}, {k}]"), &words(&w), &want));
            }
        }
        failures
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut failures = half(0);
        failures.extend(other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        failures
    });
    assert!(failures.is_empty(), "{}", failures.concat());
}

#[test]
fn the_extreme_of_zeros_has_no_sign() {
    let gpu = gpu();
    for format in [Format::Q3K, Format::Q6K, Format::Iq4Nl, Format::Iq4Xs] {
        let values = [-0.0; 512];
        let x = gpu.upload(&values, [2, 256], Elem::F32).expect("x");
        let w = gpu.encode(&x, format).unwrap_or_else(|e| panic!("{format}: {e}"));
        let want = of_host(&gpu, format, Elem::F32, 2, 256, &values);
        assert_eq!(differences(&format.to_string(), &words(&w), &want), None);
    }
}

/// Numbers half way between two codes by the step as it is stored, whose inverse f32 does not have: a device's quotient may be on either side.
#[test]
fn halves_of_stored_steps_fall_as_on_the_host() {
    let gpu = gpu();
    let mut random = Random(77);
    let halves = |low: i32, high: i32| (2 * low..=2 * high).map(|twice| twice as f32 * 0.5).collect::<Vec<_>>();
    let middles =
        vec![-115.5, -93.5, -74.0, -57.0, -42.0, -28.5, -16.0, -4.5, 7.0, 19.0, 31.5, 45.5, 61.0, 79.0, 101.0];
    for (format, step, ends, among) in [
        // Of every 16 the first are the ends of the range, or the largest magnitude, so that the step is this.
        (Format::Q2K, 15.0 * 3.0, [3.0, 0.0], halves(0, 3)),
        (Format::Q4K, 63.0 * 3.0, [15.0, 0.0], halves(0, 15)),
        (Format::Q5K, 63.0 * 3.0, [31.0, 0.0], halves(0, 31)),
        (Format::Q3K, 32.0 * 3.0, [-4.0, 0.0], halves(-4, 3)),
        (Format::Q6K, 128.0 * 3.0, [-32.0, 0.0], halves(-32, 31)),
        (Format::Iq4Nl, 3.0, [-127.0, 0.0], middles.clone()),
        (Format::Iq4Xs, 32.0 * 3.0, [-127.0, 0.0], middles),
        (Format::MlxNvfp4, 3.0 * 64.0, [6.0, 0.0], vec![0.25, -0.75, 1.25, -1.75, 2.5, -3.5, 5.0]),
        (Format::Nvfp4, 3.0 * 64.0, [6.0, 0.0], vec![0.25, -0.75, 1.25, -1.75, 2.5, -3.5, 5.0]),
    ] {
        let (n, k) = (37, 512);
        let level = |i: usize, random: &mut Random| match i % 16 {
            end @ (0 | 1) => ends[end],
            _ => among[random.below(among.len() as u32) as usize],
        };
        let values: Vec<f32> = (0..n * k).map(|i| level(i, &mut random) * step / 1024.0).collect();
        let x = gpu.upload(&values, [n, k], Elem::F32).expect("x");
        let w = gpu.encode(&x, format).unwrap_or_else(|e| panic!("{format}: {e}"));
        let want = of_host(&gpu, format, Elem::F32, n, k, &values);
        assert_eq!(differences(&format.to_string(), &words(&w), &want), None);
    }
}

/// A mean of all has every number once, be they few or more than all lanes take in a turn; and a scale of it is a number, whatever they are.
#[test]
fn a_mean_of_all_has_every_number_once() {
    let gpu = gpu();
    let mut random = Random(77);
    let mut spread = |n: usize, scale: f32| (0..n).map(|_| random.unit() * scale).collect::<Vec<_>>();
    let least = f32::from_bits(1);
    let many: [(usize, usize, Vec<f32>); 9] = [
        (4, 1, vec![1.0, -2.0, 0.5, 3.0]),
        (36, 35, spread(36 * 35, 0.02)),
        (800, 700, spread(800 * 700, 3.0)),
        (8, 33, spread(8 * 33, f32::MAX)),
        (8, 33, spread(8 * 33, 1e-38)),
        (8, 33, vec![f32::MAX; 8 * 33]),
        (8, 33, vec![-least; 8 * 33]),
        (8, 33, vec![0.0; 8 * 33]),
        // Of few of them the mean is less than the least number there is, or a step.
        (8, 33, (0..8 * 33).map(|i| if i == 40 { least } else { 0.0 }).collect()),
    ];
    for (n, k, values) in many {
        for inverse in [true, false] {
            let x = gpu.upload(&values, [n, k], Elem::F32).expect("x");
            let got = words(&gpu.encode(&x, bitnet(inverse)).expect("encoded"));
            let want = of_host(&gpu, bitnet(inverse), Elem::F32, n, k, &values);
            assert_eq!(differences(&format!("[{n}, {k}], {inverse}, from {}", values[0]), &got, &want), None);
        }
    }
}

#[test]
fn numbers_of_any_storage_come_from_anywhere() {
    let gpu = gpu();
    for (format, n, k) in [
        (Format::Dense, 9, 50),
        (Format::Q4_0, 33, 96),
        (Format::Int8, 5, 77),
        (format("group_ic", &[("bits", 3.0), ("group", 4.0)]), 9, 50),
    ] {
        for elem in [Elem::F16, Elem::Bf16] {
            let values: Vec<f32> =
                hurting(n, k).iter().map(|v| elem.round(f64::from(v.clamp(-6e4, 6e4))) as f32).collect();
            for start in [0, 1, 4] {
                let padded: Vec<f32> = std::iter::repeat_n(9.0, start).chain(values.iter().copied()).collect();
                let x = gpu.upload(&padded, [padded.len()], elem).expect("x").view(start, [n, k]).expect("a view");
                let w = gpu.encode(&x, format).unwrap_or_else(|e| panic!("{format}: {e}"));
                let want = of_host(&gpu, format, elem, n, k, &values);
                assert_eq!(differences(&format!("{format} from {} at {start}", elem.name()), &words(&w), &want), None);
            }
        }
    }
}

#[test]
fn a_weight_in_parts_is_written_part_by_part() {
    let whole = gpu();
    for (format, n, k) in [
        (Format::Dense, 203, 50),
        (Format::Q4_0, 203, 288),
        (Format::Int8, 203, 99),
        (Format::Mxfp4, 203, 96),
        (Format::Q4K, 203, 256),
        (Format::Q6K, 203, 256),
        (Format::Nvfp4, 203, 64),
        (Format::Sparse24, 203, 100),
        (format("bnb.nf4", &[]), 203, 192),
        (format("awq", &[("group", 64.0)]), 200, 256),
        (format("group_ic", &[("bits", 4.0), ("group", 8.0)]), 203, 50),
        (blocks("fp8.e4m3", [4.0, 48.0]), 203, 100),
        (format("gptq", &[("bits", 4.0), ("group", 48.0)]), 200, 96),
    ] {
        let values: Vec<f32> = hurting(n, k).iter().map(|v| v.clamp(-1e4, 1e4)).collect();
        let bytes = whole.weight(&Packed::encode(format, n, k, &values).expect("packed")).expect("whole").bytes();
        // The numbers do not fit a binding either, and less often at the same rows.
        let gpu = whole.restricted(|caps| caps.storage_binding_bytes = (bytes * 2 / 3).max(16 * 4 * k as u64 + 256));
        let x = gpu.upload(&values, [n, k], Elem::F32).expect("x");
        let w = gpu.encode(&x, format).unwrap_or_else(|e| panic!("{format}: {e}"));
        let want = of_host(&gpu, format, Elem::F32, n, k, &values);
        assert_eq!(differences(&format!("{format} in parts"), &words(&w), &want), None);
    }
}

/// Any number of rows, on devices whose bindings hold some of them: the weight is that of the host, or it is told why there is none.
#[test]
fn any_rows_by_any_bindings_are_the_hosts() {
    let whole = gpu();
    let mut random = Random(9_091);
    let (mut right, mut told, mut failures) = (0, 0, Vec::new());
    for (format, multiple) in formats().into_iter().chain(scattered()) {
        let k = 65usize.next_multiple_of(multiple);
        for _ in 0..2 {
            // Some formats want rows by eights or so.
            let rows = 1 + random.below(100) as usize;
            let fits = |n: &usize| Packed::encode(format, *n, k, &vec![0.0; n * k]).is_ok();
            let Some(n) = [rows, rows.next_multiple_of(32)].into_iter().find(fits) else {
                panic!("{format}: neither {rows} rows nor a multiple of 32");
            };
            let values: Vec<f32> = hurting(n, k).iter().map(|v| v.clamp(-1e4, 1e4)).collect();
            let want = of_host(&whole, format, Elem::F32, n, k, &values);
            let most = (n * k * 4).max(want.len() * 4) as f32;
            let bytes = (most * (0.2 + random.below(100) / 100.0)) as u64 + 256;
            let gpu = whole.restricted(|caps| caps.storage_binding_bytes = bytes);
            let Ok(x) = gpu.upload(&values, [n, k], Elem::F32) else { panic!("no memory") };
            let want = match gpu.weight(&Packed::encode(format, n, k, &values).expect("packed")) {
                Ok(w) => words(&w),
                Err(_) => want,
            };
            match gpu.encode(&x, format) {
                Ok(w) => {
                    right += 1;
                    failures.extend(differences(&format!("{format:?} [{n}, {k}] by {bytes}"), &words(&w), &want));
                }
                Err(Error::Limit { .. } | Error::Value { name: "format", .. }) => told += 1,
                Err(other) => panic!("{format} [{n}, {k}] by {bytes}: {other}"),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.concat());
    assert!(2 * right > 3 * told && told > 5, "{right} encoded, {told} told");
}

#[test]
fn a_weight_of_an_impossible_shape_is_refused_before_memory_is_taken() {
    let gpu = gpu();
    for (format, shape) in [
        (Format::Q4_0, [1, 1 << 62]),
        (Format::Q4_0, [1 << 40, 32]),
        // Its rows are no multiple of 256: all of them would take 1.6 TB.
        (Format::Q4K, [4_000_000_000, 100]),
    ] {
        let told = gpu.weight_zeros(format, Elem::F32, shape).expect_err("no weight").to_string();
        assert!(shape.iter().any(|size| told.contains(&size.to_string())), "{told}");
    }
    // A row that the host would need gigabytes for, on a device that could bind it.
    let told = gpu.weight_zeros(Format::Q4_0, Elem::F32, [8, 4_000_000_000]).expect_err("no weight").to_string();
    assert_eq!(told, "weight_zeros: k = 4000000000, but a row must have at most 2^28 numbers");
}

#[test]
fn what_stood_in_a_weight_is_gone_and_zeros_are_zeros() {
    let gpu = gpu();
    let told = gpu.weight_zeros(Format::Dense, Elem::I8, [2, 8]).expect_err("no floats").to_string();
    assert_eq!(told, "weight_zeros: dense is stored as i8, but must be f32, f16 or bf16");
    for (format, n, k) in [(Format::Q5_1, 7, 96), (format("bnb.nf4", &[]), 5, 128), (Format::Dense, 3, 5)] {
        let w = gpu.weight_zeros(format, Elem::F32, [n, k]).expect("zeros");
        assert!(numbers(&gpu, &w).iter().all(|v| *v == 0.0), "{format}");
        let last = hurting(n, k);
        for values in [hurting(n, k).into_iter().rev().collect(), last.clone()] {
            let x = gpu.upload(&values, [n, k], Elem::F32).expect("x");
            gpu.run(Encode { x: &x, w: &w }).expect("encoded");
        }
        assert_eq!(differences(&format.to_string(), &words(&w), &of_host(&gpu, format, Elem::F32, n, k, &last)), None);
    }
}

#[test]
fn a_number_that_is_not_finite_hurts_its_row_alone() {
    let gpu = gpu();
    let all = [(Format::Int8, 77), (Format::Q8_0, 96), (Format::Q4_1, 96), (Format::Q4K, 256), (Format::Q6K, 256)];
    for (format, k) in all.into_iter().chain([(format("fp8.e4m3", &[]), 33)]) {
        let mut values: Vec<f32> = (0..9 * k).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0).collect();
        let right = Packed::encode(format, 9, k, &values).expect("finite").decode();
        (values[2 * k + 5], values[6 * k + 1]) = (f32::NAN, f32::INFINITY);
        let x = gpu.upload(&values, [9, k], Elem::F32).expect("x");
        let got = numbers(&gpu, &gpu.encode(&x, format).expect("encoded"));
        for row in (0..9).filter(|row| ![2, 6].contains(row)) {
            assert_eq!(got[row * k..][..k], right[row * k..][..k], "{format}, row {row}");
        }
    }
}

#[test]
fn what_cannot_be_encoded_is_told() {
    let gpu = gpu();
    let x = |n: usize, k: usize| gpu.zeros([n, k], Elem::F32).expect("x");
    let told = |x: &Tensor, format| gpu.encode(x, format).expect_err("it is told").to_string();
    let lean = format("leanquant", &[("bits", 4.0)]);
    assert_eq!(told(&x(4, 256), lean), "leanquant: there is no published rule for encoding");
    assert_eq!(told(&x(3, 40), Format::Q8_0), "gguf.q8_0: K = 40 is not a multiple of 32");
    assert_eq!(told(&x(20, 64), format("awq", &[("group", 32.0)])), "awq: N = 20 is not a multiple of 8");
    // Rows that share a scale, and do not fit a binding, or lie in several parts.
    let hqq = format("hqq", &[("bits", 8.0), ("group", 64.0), ("axis", 0.0)]);
    let small = |bytes| gpu.restricted(|caps| caps.storage_binding_bytes = bytes);
    let told_by = |gpu: &Dispatcher, n, k, format| {
        let x = gpu.zeros([n, k], Elem::F16).expect("x");
        gpu.encode(&x, format).expect_err("it is told").to_string()
    };
    assert_eq!(
        told_by(&small(24 << 10), 128, 128, hqq),
        "encode: needs 32768 of storage_binding_bytes, but there are 24576"
    );
    let parts = "it is in several parts, and rows of more than one share a scale";
    assert_eq!(told_by(&small(8 << 10), 128, 128, hqq), format!("weight_zeros: format = hqq, but {parts}"));
    let nf4 = format("bnb.nf4", &[]);
    assert_eq!(told_by(&small(8 << 10), 256, 100, nf4), format!("weight_zeros: format = bnb.nf4, but {parts}"));
    assert_eq!(told(&x(0, 64), Format::Q8_0), "weight_zeros: n = 0, but it must be at least 1 and fit 32 bits");
    assert_eq!(
        told(&gpu.zeros([64], Elem::F32).expect("x"), Format::Q8_0),
        "encode: x has shape [64], but a weight has two dimensions"
    );
    let w = gpu.weight_zeros(Format::Q8_0, Elem::F32, [4, 64]).expect("zeros");
    let told = |x: &Tensor, w: &Weight| gpu.run(Encode { x, w }).expect_err("it is told").to_string();
    assert_eq!(told(&x(4, 32), &w), "encode: x has shape [4, 32], but w is [4, 64]");
    let codes = gpu.zeros([4, 64], Elem::I8).expect("codes");
    assert_eq!(told(&codes, &w), "encode: x is stored as i8, but must be f32, f16 or bf16");
    // A checkpoint's weight with one scale, which no encoder makes.
    let mut parts = Packed::encode(Format::Int8, 4, 64, &[1.0; 256]).expect("packed").parts().clone();
    parts.insert("weight_scale".into(), Part::new(Dtype::F32, &[1], vec![0; 4]));
    let one = gpu.weight(&Packed::new(Format::Int8, 4, 64, parts).expect("one scale")).expect("a weight");
    assert_eq!(told(&x(4, 64), &one), "encode: w = int8, but one scale serves all of it");
    // And one in the same format, but with a side list.
    let mut parts = Packed::encode(Format::Q8_0, 4, 64, &[1.0; 256]).expect("packed").parts().clone();
    for name in ["sparse.row", "sparse.col"] {
        parts.insert(name.into(), Part::new(Dtype::I32, &[1], vec![0; 4]));
    }
    parts.insert("sparse.value".into(), Part::new(Dtype::F32, &[1], vec![0; 4]));
    let sparse = gpu.weight(&Packed::new(Format::Q8_0, 4, 64, parts).expect("a side list")).expect("a weight");
    assert_eq!(told(&x(4, 64), &sparse), "encode: w = gguf.q8_0, but to some of its rows a side list is added");
}
