//! Linear layers: every format in shapes that hurt, every epilogue, and the layers of real models.

use super::making::Making;
use super::{Arrays, COUNTED, Case, Fill, Input, Output, Stored, User, WeightInput, counted, hand};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::ops::linear::{Activation, Dequantize, Linear};
use crate::proof::{Attrs, Expected, Reader, Roles, Value};
use crate::reference::{self, Array};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["linear", "dequantize"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    if op == "dequantize" {
        let op = Dequantize { w: r.weight("w")?, y: r.need("y")? };
        attrs.reader("dequantize").finish()?;
        r.finish()?;
        return user(&op);
    }
    let a = attrs.reader(op);
    let activation = activation(&a)?;
    let op = Linear {
        up: r.maybe_weight("up"),
        bias: r.maybe("bias"),
        residual: r.maybe("residual"),
        row_scale: r.maybe("row_scale"),
        x_scale: r.maybe("x_scale"),
        activation,
        grids: r.maybe("grids"),
        ..Linear::new(r.need("x")?, r.weight("w")?, r.need("y")?)
    };
    hand(&a, &r, user, &op)
}

/// What is done to the sums of a layer with these attributes.
pub(super) fn activation(a: &Reader<'_>) -> Result<Activation> {
    let name = a.text("activation", "none");
    Activation::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| {
        let rule = "it must be none, relu, gelu, gelu_tanh or silu";
        Error::Value { op: "linear", name: "activation", value: name.to_owned(), rule }
    })
}

/// The relative error of one f32 operation.
pub(super) const U: f64 = 1.0 / (1u64 << 24) as f64;

/// The relative error of a number that is made f16: a device may cut off what does not fit.
pub(super) const U16: f64 = 1.0 / 1024.0;

/// How many roundings the sum of a row pays for at worst. Kernels add products of a block of 32 and then the blocks of a lane; the
/// naive lane has all blocks, one after the other. 4 more are those of the weight and of the product, and 16 the sums of lanes.
pub(super) fn roundings(k: usize) -> f64 {
    32.0 + k.div_ceil(32) as f64 + 20.0
}

pub(super) fn expected(case: &Case, arrays: &Arrays, storage: Elem) -> Result<Vec<Expected>> {
    let nothing = Array { shape: vec![0, 1], data: Vec::new() };
    let get = |role: &str| arrays.get(role).unwrap_or(&nothing);
    let w = get("w");
    let [n, k] = case.weights.first().map_or([0, 1], |w| w.shape);
    if case.op == "dequantize" {
        // The host's numbers, bit for bit.
        let want = reference::dequantize(w, n);
        return Ok(vec![Expected::exact("y", want)]);
    }
    let name = match case.attrs.0.get("activation") {
        Some(Value::Text(name)) => name.as_str(),
        _ => "none",
    };
    let x = get("x");
    let (r, x_scale) = (roundings(k), arrays.get("x_scale"));
    let rows = |of: &Array| of.data.chunks(k).map(Row::of).collect::<Vec<_>>();
    let x_rows = rows(x);
    let weights: Vec<_> = ["w", "up"].into_iter().filter_map(|role| arrays.get(role)).collect();
    let weight_rows: Vec<_> = weights.iter().map(|w| rows(w)).collect();
    let products: Vec<_> = weights.iter().map(|w| reference::matmul(x, w, n)).collect();
    let layer = reference::Linear {
        x,
        x_scale,
        w,
        up: arrays.get("up"),
        n,
        bias: arrays.get("bias"),
        residual: arrays.get("residual"),
        row_scale: arrays.get("row_scale"),
        activation: name,
    };
    // As `reference::linear`, whose products are at hand.
    let want = match products.as_slice() {
        [] => Vec::new(),
        [(sums, _), rest @ ..] => {
            reference::linear_epilogue(&layer, sums, rest.first().map(|(sums, _)| sums.as_slice()))
        }
    };
    // How far sum i of a matrix may be off, by plans that take operands as they are stored.
    let stored = |matrix: usize, i: usize| {
        let size = products[matrix].1[i];
        // Products of codes are added apart from those of a zero or bias, neither of which is larger than the rows' numbers reach.
        let reach = weight_rows.iter().map(|rows| rows[i % n % rows.len()].largest).fold(0.0, f64::max);
        let apart = if x_scale.is_some() { 4.0 * reach * x_rows[i / n].sum } else { 0.0 };
        r * U * size + 4.0 * U * apart
    };
    // And by those that make them f16, with a power of two for each row: what is stored in 16 bits or less passes as it is, other numbers are
    // rounded. What is below 2^-23 of the largest of its row may be lost. Additions are in any order, and may cut off.
    let exact = |elem: Elem| elem != Elem::F32;
    let x_elem = case.inputs.iter().find(|input| input.role == "x").map_or(storage, |input| input.stored.elem(storage));
    let halved = |matrix: usize, i: usize| {
        let weight = &case.weights[matrix];
        let x_error = if exact(x_elem) { 0.0 } else { U16 };
        let w_error = if weight.format == Format::Dense && exact(weight.dense) { 0.0 } else { U16 };
        let (x, w) = (x_rows[i / n], &weight_rows[matrix]);
        let w = w[i % n % w.len()];
        let lost = 2f64.powi(-23) * (x.largest * w.sum + w.largest * x.sum);
        products[matrix].1[i] * (x_error + w_error + x_error * w_error + 2.0 * U * (k as f64 + 20.0)) + lost
    };
    let bound = bounds(&layer, &products, stored);
    let rounded = bounds(&layer, &products, halved);
    Ok(vec![Expected { rounded, ..Expected::new("y", want, bound) }])
}

/// Of a row.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The largest magnitude.
    pub largest: f64,
    /// The sum of magnitudes.
    pub sum: f64,
}

impl Row {
    pub(super) fn of(row: &[f64]) -> Self {
        let largest = row.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        Self { largest, sum: row.iter().map(|v| v.abs()).sum() }
    }
}

/// The bounds of a layer whose sums may be off by `wrong(matrix, i)`; `products`: of each matrix the sums and their sizes.
pub(super) fn bounds(
    layer: &reference::Linear<'_>,
    products: &[(Vec<f64>, Vec<f64>)],
    wrong: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let n = layer.n;
    let of = |i: usize| {
        let (m, sum) = (i / n, products[0].0[i]);
        let scale = layer.x_scale.map_or(1.0, |s| s.data[m]);
        let before = sum * scale + layer.bias.map_or(0.0, |b| b.data[i % n]);
        let mut error = wrong(0, i) * scale.abs() + U * (before.abs() + (sum * scale).abs());
        let mut v = reference::activation(layer.activation, before);
        if layer.activation != "none" {
            // No activation is steeper than 1.13; exp has 3 + 2|v| ulp by the specification of WGSL, and what it goes into falls off
            // as quickly; a quotient has 2.5, and the fit of erfc 1.2e-7.
            error = 1.13 * error + U * (24.0 + 4.0 * before.abs().min(20.0)) * before.abs().min(v.abs() + 1.0);
        }
        if let Some((sums, _)) = products.get(1) {
            let (up, wrong) = (sums[i] * scale, wrong(1, i) * scale.abs());
            error = error * (up.abs() + wrong) + v.abs() * (wrong + U * up.abs());
            v *= up;
            error += U * v.abs();
        }
        if let Some(scale) = layer.row_scale {
            v *= scale.data[m];
            error = error * scale.data[m].abs() + U * v.abs();
        }
        if let Some(residual) = layer.residual {
            v += residual.data[i];
            error += U * (v.abs() + residual.data[i].abs());
        }
        error
    };
    (0..products.first().map_or(0, |(sums, _)| sums.len())).map(of).collect()
}

/// Every storage of activations.
const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];
const F32: &[Elem] = &[Elem::F32];

/// A case in the making.
struct Make(Box<Case>);

impl Making for Make {
    fn case(&mut self) -> &mut Case {
        &mut self.0
    }

    fn done(self) -> Case {
        *self.0
    }
}

impl Make {
    /// `x[m,k]` times a weight of `rows` rows that are repeated up to n.
    fn new(name: &str, m: usize, [n, k]: [usize; 2], rows: usize, format: Format) -> Self {
        let deviation = 1.0 / (k as f32).sqrt();
        let fill = Fill::Normal { mean: 0.0, deviation };
        Self(Box::new(Case {
            name: format!("linear/{name}"),
            op: "linear",
            title: format!("Linear [{n}, {k}] in {format}"),
            model: "",
            phase: "",
            attrs: Attrs::default(),
            inputs: vec![Input {
                role: "x",
                shape: vec![m, k],
                fill: Fill::Normal { mean: 0.0, deviation: 1.0 },
                stored: Stored::Activation,
            }],
            weights: vec![WeightInput { role: "w", shape: [n, k], rows, fill, format, dense: Elem::F32 }],
            outputs: vec![Output { role: "y", shape: vec![m, n], stored: Stored::Activation }],
            storages: F32.to_vec(),
            real: false,
            skew: 0,
            flops: 2 * (m * n * k) as u64,
        }))
    }

    fn m(&self) -> usize {
        self.0.outputs[0].shape[0]
    }

    fn n(&self) -> usize {
        self.0.outputs[0].shape[1]
    }

    fn input(mut self, role: &'static str, shape: &[usize], stored: Stored) -> Self {
        let fill = Fill::Normal { mean: 0.0, deviation: 1.0 };
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored });
        self
    }

    fn bias(self) -> Self {
        let n = self.n();
        self.input("bias", &[n], Stored::Activation)
    }

    fn residual(self) -> Self {
        let (m, n) = (self.m(), self.n());
        self.input("residual", &[m, n], Stored::Activation)
    }

    fn row_scale(self) -> Self {
        let m = self.m();
        self.input("row_scale", &[m], Stored::Always(Elem::F32))
    }

    /// int8 codes with a scale for each row.
    fn codes(mut self) -> Self {
        self.0.inputs[0].stored = Stored::Always(Elem::I8);
        self.0.inputs[0].fill = Fill::Normal { mean: 0.0, deviation: 40.0 };
        let m = self.m();
        self.input("x_scale", &[m], Stored::Always(Elem::F32))
    }

    fn up(mut self, format: Format) -> Self {
        let up = WeightInput { role: "up", format, ..self.0.weights[0].clone() };
        self.0.weights.push(up);
        self.0.flops *= 2;
        self
    }

    fn activation(mut self, name: &str) -> Self {
        self.0.attrs = self.0.attrs.with("activation", name);
        self
    }
}

/// Formats with their numbers, and what N and K must be multiples of.
pub(super) fn formats() -> Vec<(&'static str, Format, usize, usize)> {
    let n = |name: &str, attrs: Attrs| Format::parse(name, &attrs).ok();
    let a = Attrs::default;
    let bits = |bits: f64, group: f64| a().with("bits", bits).with("group", group);
    let all: Vec<(&'static str, Option<Format>, usize, usize)> = vec![
        ("dense", n("dense", a()), 1, 1),
        ("int8", n("int8", a()), 1, 1),
        ("q4_0", n("gguf.q4_0", a()), 1, 32),
        ("q4_1", n("gguf.q4_1", a()), 1, 32),
        ("q5_0", n("gguf.q5_0", a()), 1, 32),
        ("q5_1", n("gguf.q5_1", a()), 1, 32),
        ("q8_0", n("gguf.q8_0", a()), 1, 32),
        ("q2_k", n("gguf.q2_k", a()), 1, 256),
        ("q3_k", n("gguf.q3_k", a()), 1, 256),
        ("q4_k", n("gguf.q4_k", a()), 1, 256),
        ("q5_k", n("gguf.q5_k", a()), 1, 256),
        ("q6_k", n("gguf.q6_k", a()), 1, 256),
        ("iq4_nl", n("gguf.iq4_nl", a()), 1, 32),
        ("iq4_xs", n("gguf.iq4_xs", a()), 1, 256),
        ("tq1_0", n("gguf.tq1_0", a()), 1, 256),
        ("tq2_0", n("gguf.tq2_0", a()), 1, 256),
        ("mxfp4", n("gguf.mxfp4", a()), 1, 32),
        ("nvfp4", n("gguf.nvfp4", a()), 1, 64),
        ("mlx-mxfp4", n("mlx.mxfp4", a()), 1, 32),
        ("mlx-mxfp8", n("mlx.mxfp8", a()), 1, 32),
        ("mlx-nvfp4", n("mlx.nvfp4", a()), 1, 16),
        ("awq-gemm", n("awq", a().with("group", 128.0)), 8, 1),
        ("awq-gemv", n("awq", a().with("group", 64.0).with("version", "gemv")), 1, 64),
        ("awq-gemv_fast", n("awq", a().with("group", 64.0).with("version", "gemv_fast")), 4, 64),
        ("gptq2", n("gptq", bits(2.0, 64.0)), 16, 16),
        ("gptq3", n("gptq", bits(3.0, 48.0)), 32, 32),
        ("gptq4", n("gptq", bits(4.0, 128.0)), 8, 8),
        ("gptq8", n("gptq", bits(8.0, 32.0).with("checkpoint_format", "gptq_v2")), 4, 4),
        ("group_ic", n("group_ic", bits(4.0, 32.0)), 1, 1),
        ("nf4", n("bnb.nf4", a()), 1, 1),
        ("fp4", n("bnb.fp4", a()), 1, 1),
        ("onnx-bnb4", n("onnx.bnb4", a().with("quant_type", 1.0).with("block", 32.0)), 1, 1),
        ("onnx2", n("onnx.nbits", a().with("bits", 2.0).with("block", 16.0)), 1, 1),
        ("onnx4", n("onnx.nbits", a().with("bits", 4.0).with("block", 32.0)), 1, 1),
        ("onnx8", n("onnx.nbits", a().with("bits", 8.0).with("block", 128.0)), 1, 1),
        ("mlx3", n("mlx.affine", bits(3.0, 32.0)), 1, 32),
        ("mlx4", n("mlx.affine", bits(4.0, 64.0)), 1, 64),
        ("mlx6", n("mlx.affine", bits(6.0, 128.0)), 1, 128),
        ("hqq1", n("hqq", bits(1.0, 8.0)), 8, 8),
        ("hqq3", n("hqq", bits(3.0, 20.0)), 1, 20),
        ("hqq4", n("hqq", bits(4.0, 64.0)), 2, 64),
        ("hqq4-axis0", n("hqq", bits(4.0, 64.0).with("axis", 0.0)), 64, 1),
        ("e4m3", n("fp8.e4m3", a()), 1, 1),
        ("e4m3-block", n("fp8.e4m3", a().with("block", Value::List(vec![128.0, 128.0]))), 1, 1),
        ("e5m2", n("fp8.e5m2", a()), 1, 1),
        ("bitnet", n("bitnet", a()), 4, 1),
        ("leanquant", n("leanquant", a().with("bits", 4.0)), 1, 2),
        ("owq", n("owq", a().with("bits", 3.0)), 2, 32),
        ("bcq", n("bcq", a().with("bits", 3.0).with("group", 32.0)), 32, 8),
        ("lut16", n("lut16", a().with("group", 50.0)), 1, 1),
        ("sparse24", n("sparse24", a()), 1, 4),
    ];
    let encodable =
        all.into_iter().filter_map(|(name, format, n, k)| Some((name, format.filter(Format::encodes)?, n, k)));
    encodable.collect()
}

pub(super) fn format(name: &str) -> Format {
    formats().into_iter().find(|(n, ..)| *n == name).map_or(Format::Dense, |(_, format, ..)| format)
}

/// This number, and whole numbers of steps from −9 to 9.
const fn small_floats(largest: f32, step: f32) -> [f32; 96] {
    let mut all = [largest; 96];
    let mut i = 1;
    while i < 96 {
        all[i] = (i as f32 % 19.0 - 9.0) * step;
        i += 1;
    }
    all
}

/// Rows of a large weight that are not repeated: a multiple of what formats want together, but of no tile, so that a kernel that takes
/// another tile's rows is found out.
pub(super) const DISTINCT: usize = 136;

/// N, K and name of the layers of a model.
type Layers = &'static [(usize, usize, &'static str)];

const MODELS: [(&str, &str, Layers); 3] = [
    ("llama3-8b", "Llama-3-8B", &[(4096, 4096, "q"), (1024, 4096, "kv"), (14336, 4096, "gate"), (4096, 14336, "down")]),
    (
        "qwen3-0.6b",
        "Qwen3-0.6B",
        &[(2048, 1024, "q"), (1024, 1024, "kv"), (1024, 2048, "o"), (3072, 1024, "gate"), (1024, 3072, "down")],
    ),
    (
        "gemma3-4b",
        "Gemma-3-4B",
        &[(2048, 2560, "q"), (1024, 2560, "kv"), (2560, 2048, "o"), (10240, 2560, "gate"), (2560, 10240, "down")],
    ),
];

/// The formats in which they are timed.
const TIMED: [(&str, &str); 9] = [
    ("f32", "dense"),
    ("f16", "dense"),
    ("q8_0", "q8_0"),
    ("q4_0", "q4_0"),
    ("q4_k", "q4_k"),
    ("q6_k", "q6_k"),
    ("awq-128", "awq-gemm"),
    ("nf4", "nf4"),
    ("mxfp4", "mxfp4"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (model, title, layers) in MODELS {
        for (n, k, layer) in layers {
            for m in [1, 4, 16, 128, 512] {
                for (name, of) in TIMED {
                    let made = Make::new(&format!("{model}-{layer}-{name}-m{m}"), m, [*n, *k], DISTINCT, format(of));
                    let made = made.dense(if name == "f32" { Elem::F32 } else { Elem::F16 });
                    all.push(made.storages(&[Elem::F16]).real(title, if m <= 8 { "decode" } else { "prefill" }));
                }
            }
        }
    }
    let of = |base: usize, multiple: usize| base.next_multiple_of(multiple);
    for (name, format, n, k) in formats() {
        // Decoded, then by the kernels for few rows and for many.
        let shape = [of(37, n), of(101, k)];
        let mut decoded = Make::new(&format!("{name}-numbers"), 1, shape, shape[0], format);
        decoded.0.name = format!("dequantize/{name}");
        decoded.0.op = "dequantize";
        decoded.0.inputs.clear();
        decoded.0.outputs[0].shape = shape.to_vec();
        all.push(decoded.hurts("bit for bit"));
        let few = [of(33, n), of(260, k)];
        all.push(Make::new(&format!("{name}-m1"), 1, few, few[0], format).hurts("one row"));
        let codes = [of(20, n), of(75, k)];
        all.push(Make::new(&format!("{name}-codes-m3"), 3, codes, codes[0], format).codes().hurts("int8 activations"));
        let many = [of(70, n), of(99, k)];
        all.push(
            Make::new(&format!("{name}-m19"), 19, many, many[0], format)
                .bias()
                .hurts("rows of a tile that are not there"),
        );
    }
    // Rows that share scales, where a few stand for all.
    for name in ["group_ic", "bcq", "e4m3-block"] {
        let made = Make::new(&format!("{name}-repeated"), 3, [256, 128], 128, format(name));
        all.push(made.hurts("rows that are repeated"));
    }
    let q4 = format("q4_0");
    // Rows that the device counts: by tiles, by lanes, and few.
    for (m, grids) in [33, 2].into_iter().zip(COUNTED) {
        let mut made = Make::new(&format!("counted-m{m}"), m, [70, 96], 70, format("q8_0"));
        made.0.inputs.push(counted(grids));
        all.push(made.hurts("rows that the device counts"));
    }
    let dense = Format::Dense;
    for m in [2, 3, 5, 8, 9, 33, 65, 128, 130] {
        all.push(Make::new(&format!("q4_0-rows-{m}"), m, [67, 96], 67, q4).storages(FLOATS).hurts("numbers of rows"));
    }
    for activation in ["relu", "gelu", "gelu_tanh", "silu"] {
        for m in [1, 20] {
            let wide = Fill::Normal { mean: 0.0, deviation: 4.0 };
            let made = Make::new(&format!("{activation}-m{m}"), m, [66, 64], 66, dense).bias();
            all.push(made.activation(activation).fill("x", wide).storages(FLOATS).hurts("an activation"));
            let made = Make::new(&format!("{activation}-gated-m{m}"), m, [66, 96], 66, q4).up(format("q8_0"));
            all.push(made.activation(activation).residual().row_scale().hurts("two matrices in different formats"));
        }
    }
    for m in [1, 7, 40] {
        let made = Make::new(&format!("all-m{m}"), m, [130, 352], 130, q4).up(q4).bias().residual().row_scale();
        all.push(made.activation("silu").storages(FLOATS).hurts("every epilogue together"));
    }
    for m in [1, 6, 70] {
        for (name, w, up) in [("", "q4_0", "q4_k"), ("-rows", "int8", "int8")] {
            let made =
                Make::new(&format!("all-codes{name}-m{m}"), m, [68, 512], 68, format(w)).codes().up(format(up)).bias();
            all.push(
                made.residual()
                    .row_scale()
                    .activation("silu")
                    .storages(FLOATS)
                    .hurts("every epilogue on int8 activations"),
            );
        }
    }
    for name in ["int8", "q4_0", "q8_0", "q4_k", "q6_k", "awq-gemm", "mlx3", "bitnet"] {
        let (_, format, n, k) = formats().into_iter().find(|(of, ..)| *of == name).unwrap_or(("", dense, 1, 1));
        for (m, shape) in [(1, [of(33, n), of(260, k)]), (21, [of(66, n), of(130, k)])] {
            all.push(
                Make::new(&format!("{name}-codes-m{m}"), m, shape, shape[0], format).codes().hurts("int8 activations"),
            );
        }
    }
    let large = Fill::Normal { mean: 0.0, deviation: 1e4 };
    for m in [1, 20] {
        all.push(
            Make::new(&format!("large-m{m}"), m, [64, 512], 64, q4)
                .fill("x", large)
                .storages(FLOATS)
                .hurts("activations of 1e4"),
        );
        all.push(
            Make::new(&format!("special-m{m}"), m, [36, 160], 36, q4)
                .fill("x", Fill::Special)
                .hurts("NaN, infinities, zeros"),
        );
        all.push(Make::new(&format!("long-m{m}"), m, [9, 14_340], 9, dense).hurts("a long row, few outputs"));
        let signs = format("bcq");
        let made = Make::new(&format!("long-gated-m{m}"), m, [32, 28_672], 32, signs).up(signs);
        all.push(made.hurts("a long row of each of two matrices, whose numbers are loops"));
        all.push(
            Make::new(&format!("skew-m{m}"), m, [64, 64], 64, q4)
                .bias()
                .residual()
                .row_scale()
                .skew(1)
                .storages(FLOATS)
                .hurts("operands that begin anywhere"),
        );
    }
    for elem in FLOATS {
        let made = Make::new(&format!("dense-{}", elem.name()), 9, [67, 130], 67, dense).dense(*elem);
        all.push(made.storages(FLOATS).hurts("dense weights"));
        let mut decoded = Make::new("", 1, [5, 77], 5, dense).dense(*elem);
        decoded.0.name = format!("dequantize/dense-{}", elem.name());
        decoded.0.op = "dequantize";
        decoded.0.inputs.clear();
        decoded.0.outputs[0].shape = vec![5, 77];
        all.push(decoded.storages(FLOATS).hurts("bit for bit"));
    }
    for m in [2, 17] {
        let mut made = Make::new(&format!("special-weight-m{m}"), m, [39, 45], 39, dense).dense(Elem::Bf16);
        made.0.weights[0].fill = Fill::Special;
        all.push(made.hurts("NaN, infinities, zeros in a weight, each in its row"));
    }
    // What f16 cannot hold, though the sums are numbers: large, small, and larger all the time.
    let normal = |deviation| Fill::Normal { mean: 0.0, deviation };
    for (name, k, of) in [("huge", 4096, normal(1e6)), ("tiny", 128, normal(1e-6)), ("growing", 160, Fill::Growing)] {
        // Stored in f16, x could not be huge.
        let storages = if name == "huge" { &[Elem::F32, Elem::Bf16] } else { FLOATS };
        let mut made = Make::new(&format!("{name}-m20"), 20, [9, k], 9, dense).fill("x", of).storages(storages);
        made.0.weights[0].fill = of;
        all.push(made.hurts("numbers past the range of f16"));
    }
    // Powers of two of blocks at the ends of their range: the least, which f32 has not, and one of the largest.
    const LEAST: &[f32] =
        &[f32::MIN_POSITIVE * 2.0, f32::MIN_POSITIVE * -3.0, 0.0, f32::MIN_POSITIVE, f32::MIN_POSITIVE * 1.5];
    for (name, of_w, of_x) in [("least", Fill::These(LEAST), 1e36), ("largest", normal(1e37), 1e-33)] {
        for m in [1, 20] {
            let mut made =
                Make::new(&format!("{name}-power-m{m}"), m, [9, 96], 9, format("mxfp4")).fill("x", normal(of_x));
            made.0.weights[0].fill = of_w;
            all.push(made.hurts("powers of two at the ends of their range"));
        }
    }
    // Small floats without an exponent, and around the least that has one. All rows share a scale, which the first number sets: its own row
    // would hide them.
    const E4M3: [f32; 96] = small_floats(448.0, 1.0 / 512.0);
    const E5M2: [f32; 96] = small_floats(57344.0, 1.0 / 65536.0);
    let shared = Attrs::default().with("block", Value::List(vec![128.0, 128.0]));
    for (name, of_w) in [("e4m3", &E4M3), ("e5m2", &E5M2)] {
        let Ok(format) = Format::parse(&format!("fp8.{name}"), &shared) else { continue };
        for m in [1, 20] {
            let mut made = Make::new(&format!("{name}-small-m{m}"), m, [3, 32], 3, format);
            made.0.weights[0].fill = Fill::These(of_w);
            all.push(made.hurts("floats of 8 bits without an exponent"));
        }
    }
    all.push(Make::new("no-rows", 0, [64, 64], 64, q4).hurts("nothing to do"));
    all.push(Make::new("one-number", 1, [1, 1], 1, dense).hurts("one number"));
    all.push(Make::new("one-column", 33, [33, 1], 33, dense).hurts("K of 1"));
    all
}
