//! Adapters: every kind on dense and low-bit bases, in shapes that hurt, and on layers of real models.

use super::linear::{DISTINCT, format};
use super::making::Making;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, WeightInput, hand};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::laid::Laid;
use crate::ops::adapter::{AdapterMerge, Kind, Merged, Order};
use crate::proof::{Attrs, Expected, Reader, Roles, Value};
use crate::reference::{self, Adapter, Array, Judged};
use crate::tensor::{Elem, Tensor};

pub(super) const OPS: &[&str] = &["adapter_merge"];

/// The cores of an MPO by role; no case has more.
const CORES: [&str; 8] = ["core.0", "core.1", "core.2", "core.3", "core.4", "core.5", "core.6", "core.7"];

/// The cores of an MPO.
fn cores<'t>(r: &Roles<'t>) -> Vec<&'t Tensor> {
    CORES.iter().map_while(|role| r.maybe(role)).collect()
}

/// The adapter that attributes and operands make, and its scale.
pub(super) fn kind<'t>(
    op: &'static str,
    a: &Reader<'_>,
    r: &Roles<'t>,
    cores: &'t [&'t Tensor],
) -> Result<(Kind<'t>, f32)> {
    let kind = match a.text("kind", "") {
        "lora" => Kind::Lora { a: r.need("lora_A")?, b: r.need("lora_B")? },
        "dora" => {
            let magnitude = r.need("lora_magnitude_vector")?;
            Kind::Dora { a: r.need("lora_A")?, b: r.need("lora_B")?, magnitude }
        }
        "bora" => {
            let name = a.text("order", "row_col");
            let Some(order) = [Order::RowCol, Order::ColRow].into_iter().find(|o| o.name() == name) else {
                let rule = "it must be row_col or col_row";
                return Err(Error::Value { op, name: "order", value: name.to_owned(), rule });
            };
            let (row, col) = (r.need("m_row")?, r.need("m_col")?);
            Kind::Bora { a: r.need("lora_A")?, b: r.need("lora_B")?, row, col, order }
        }
        "miss" => Kind::Miss { block: r.need("miss_block")? },
        "miss_mini" => Kind::MissMini { block: r.need("miss_block")? },
        "bat" => Kind::Bat { block: r.need("miss_block")? },
        "loha" => Kind::Loha {
            a1: r.need("hada_w1_a")?,
            b1: r.need("hada_w1_b")?,
            a2: r.need("hada_w2_a")?,
            b2: r.need("hada_w2_b")?,
        },
        "mpo" => Kind::Mpo { cores },
        other => {
            let rule = "it must be lora, dora, bora, miss, miss_mini, bat, loha or mpo";
            return Err(Error::Value { op, name: "kind", value: other.to_owned(), rule });
        }
    };
    Ok((kind, a.number("scale", 1.0) as f32))
}

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let cores = cores(&r);
    let (kind, scale) = kind(op, &a, &r, &cores)?;
    let y = match r.maybe_weight("y") {
        Some(y) => Merged::Weight(y),
        None => Merged::Numbers(r.need("y")?),
    };
    let op = AdapterMerge::new(r.weight("w0")?, kind, scale, y);
    hand(&a, &r, user, &op)
}

/// The relative error of one f32 operation.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// How far a factor is off for its norm's sake, of itself: see [`merged`].
pub(super) fn norm_error(n: usize, k: usize, rows: bool) -> f64 {
    let tiles = if rows { k.div_ceil(256) } else { n.div_ceil(32) };
    (32.0 * tiles as f64 + 24.0) / 2.0 * U + 9.0 * U
}

/// The weight that the operands of a case make, and how far that of a kernel may be off.
///
/// A sum of R products pays for R + 1 roundings of its magnitudes at most, whatever order they are added in. A norm's squares are added
/// by a lane, by its team, and by slices: no term is rounded more than 32 times for each tile of a slice, 16 times for teams and slices
/// and 8 times for the rest; half of that is the root's, which is right within 4 roundings itself, and a quotient within 5.
fn merged(case: &Case, arrays: &Arrays) -> Judged {
    let nothing = Array { shape: vec![0, 1], data: Vec::new() };
    let get = |role: &str| arrays.get(role).unwrap_or(&nothing);
    let [n, k] = case.weights[0].shape;
    let w0 = Array { shape: vec![n, k], data: reference::dequantize(get("w0"), n) };
    let text = |name: &str| match case.attrs.0.get(name) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let scale = match case.attrs.0.get("scale") {
        Some(Value::Number(scale)) => f64::from(*scale as f32),
        _ => 1.0,
    };
    let cores: Vec<&Array> = CORES.iter().map_while(|role| arrays.get(role)).collect();
    let (adapter, terms) = match text("kind") {
        "miss" | "miss_mini" => (Adapter::Miss { block: get("miss_block") }, 1),
        "bat" => (Adapter::Bat { block: get("miss_block") }, get("miss_block").shape[1] + 1),
        "loha" => {
            let [a1, b1, a2, b2] = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"].map(get);
            (Adapter::Loha { a1, b1, a2, b2 }, 2 * b1.shape[0] + 3)
        }
        "mpo" => {
            let bonds = cores.iter().map(|c| c.shape[3] + 1).sum();
            (Adapter::Mpo { cores: &cores }, bonds)
        }
        _ => (Adapter::Lora { a: get("lora_A"), b: get("lora_B") }, get("lora_A").shape[0]),
    };
    let mut w = reference::adapter_merge(&w0, &adapter, scale, U, (terms + 1) as f64 * U);
    let mut step = |role: &str, rows: bool| {
        if let Some(m) = arrays.get(role) {
            w = reference::magnitudes(&w, k, m, rows, U, norm_error(n, k, rows));
        }
    };
    step("lora_magnitude_vector", true);
    let order = if text("order") == "col_row" {
        [("m_col", false), ("m_row", true)]
    } else {
        [("m_row", true), ("m_col", false)]
    };
    order.into_iter().for_each(|(role, rows)| step(role, rows));
    w
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let Judged { data, error } = merged(case, arrays);
    // A weight that is written is what the host's encoder makes of the same f32 numbers: of those that are rounded once, to f32.
    if let Some(y) = case.weights.iter().find(|w| w.role == "y") {
        let values: Vec<f32> = data.iter().map(|v| *v as f32).collect();
        let words = Laid::words(&y.of(&values, y.shape[0])?)?;
        return Ok(vec![Expected::exact("y", reference::encode(&words))]);
    }
    Ok(vec![Expected::new("y", data, error)])
}

const F32: &[Elem] = &[Elem::F32];
const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];

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
    /// A base of `rows` rows that are repeated up to n, and an adapter of this kind and rank.
    fn new(name: &str, kind: &str, [n, k]: [usize; 2], rank: usize, base: Format) -> Self {
        let deviation = 1.0 / (k as f32).sqrt();
        let fill = Fill::Normal { mean: 0.0, deviation };
        let rows = if n * k > 1 << 20 { DISTINCT } else { n };
        let mut made = Self(Box::new(Case {
            name: format!("adapter_merge/{name}"),
            op: "adapter_merge",
            title: format!("{kind} of rank {rank} on [{n}, {k}] in {base}"),
            model: "",
            phase: "",
            attrs: Attrs::default().with("kind", kind),
            inputs: Vec::new(),
            weights: vec![WeightInput { role: "w0", shape: [n, k], rows, fill, format: base, dense: Elem::F32 }],
            outputs: vec![Output { role: "y", shape: vec![n, k], stored: Stored::Activation }],
            storages: F32.to_vec(),
            real: false,
            skew: 0,
            flops: (2 * rank * n * k) as u64,
        }));
        // The product once; and of a norm squares, their sum, and what a number is multiplied with.
        let norm = 3 * (n * k) as u64;
        let of = |rank: usize| Fill::Normal { mean: 0.0, deviation: 0.3 / (rank as f32).sqrt() };
        let one = Fill::Normal { mean: 0.0, deviation: 1.0 };
        match kind {
            "lora" | "dora" | "bora" => {
                made = made.input("lora_A", &[rank, k], of(k)).input("lora_B", &[n, rank], one).scale(2.0);
                if kind == "dora" {
                    made = made.input("lora_magnitude_vector", &[n], one);
                    made.0.flops += norm;
                }
                if kind == "bora" {
                    made = made.input("m_row", &[n], one).input("m_col", &[k], one);
                    made.0.flops += 2 * norm;
                }
            }
            "miss" => made = made.input("miss_block", &[rank, n], of(k)),
            "miss_mini" => made = made.input("miss_block", &[rank, n / 3], of(k)),
            "bat" => made = made.input("miss_block", &[n / rank, rank, rank], of(rank)),
            "loha" => {
                for (role, shape, fill) in [
                    ("hada_w1_a", [n, rank], one),
                    ("hada_w1_b", [rank, k], of(rank)),
                    ("hada_w2_a", [n, rank], one),
                    ("hada_w2_b", [rank, k], of(rank)),
                ] {
                    made = made.input(role, &shape, fill);
                }
                made = made.scale(0.5);
                made.0.flops *= 2;
            }
            _ => {}
        }
        made
    }

    /// An MPO of cores `[r, N, K, r']`.
    fn mpo(name: &str, cores: &[[usize; 4]]) -> Self {
        let all = |at: usize| cores.iter().map(|c| c[at]).product::<usize>();
        let rank = cores.iter().map(|c| c[3]).max().unwrap_or(1);
        let mut made = Self::new(name, "mpo", [all(1), all(2)], rank, Format::Dense).scale(0.7);
        for (role, core) in CORES.iter().zip(cores) {
            let deviation = 1.0 / (core[3] as f32).sqrt();
            made = made.input(role, core, Fill::Normal { mean: 0.0, deviation });
        }
        made
    }

    fn input(mut self, role: &'static str, shape: &[usize], fill: Fill) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored: Stored::Activation });
        self
    }

    fn base(mut self, fill: Fill) -> Self {
        self.0.weights[0].fill = fill;
        self
    }

    /// Adapters are stored so, whatever y is.
    fn stored(mut self, elem: Elem) -> Self {
        self.0.inputs.iter_mut().for_each(|i| i.stored = Stored::Always(elem));
        self
    }

    fn scale(self, scale: f64) -> Self {
        self.attr("scale", scale)
    }

    fn order(self, order: Order) -> Self {
        self.attr("order", order.name())
    }

    /// Into a weight in this format. The numbers of the adapter must be such that one f32 rounding makes them.
    fn into(mut self, format: Format) -> Self {
        let WeightInput { shape, rows, fill, .. } = self.0.weights[0];
        self.0.outputs.clear();
        self.0.weights.push(WeightInput { role: "y", shape, rows, fill, format, dense: Elem::F16 });
        self
    }

    fn real(mut self, model: &'static str) -> Case {
        (self.0.model, self.0.phase, self.0.real) = (model, "merge", true);
        self.0.storages = vec![Elem::F16];
        *self.0
    }
}

/// Shapes that hurt: kind, N, K and rank. Ranks around the 8 that lie in workgroup memory together, tiles that are not whole, blocks around 32
/// columns, and one along both.
const ODD: &[(&str, usize, usize, usize)] = &[
    ("lora", 1, 1, 1),
    ("lora", 33, 31, 3),
    ("lora", 129, 33, 8),
    ("lora", 31, 127, 9),
    ("lora", 3, 513, 17),
    ("lora", 70, 256, 64),
    ("loha", 33, 31, 3),
    ("loha", 31, 127, 9),
    ("loha", 70, 256, 64),
    ("miss", 33, 31, 3),
    ("miss", 31, 127, 9),
    ("miss", 70, 256, 64),
    ("dora", 33, 31, 3),
    ("dora", 129, 300, 16),
    ("dora", 5, 8230, 4),
    ("bat", 6, 9, 3),
    ("bat", 64, 96, 32),
    ("bat", 48, 144, 48),
    ("bat", 100, 50, 50),
    ("bat", 7, 40, 1),
    ("miss_mini", 66, 100, 7),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let dense = Format::Dense;
    for (model, title, n, k) in
        [("llama3-8b-q", "Llama-3-8B", 4096, 4096), ("qwen3-0.6b-gate", "Qwen3-0.6B", 3072, 1024)]
    {
        for (base, name) in [("dense", "f16"), ("q4_0", "q4_0"), ("nf4", "nf4")] {
            for kind in ["lora", "dora", "bora"] {
                for rank in [16, 64] {
                    let made = Make::new(&format!("{model}-{kind}-r{rank}-{name}"), kind, [n, k], rank, format(base));
                    all.push(made.dense(Elem::F16).real(title));
                }
            }
        }
    }
    // Of factors that are all the same the delta is exact, and of magnitudes of 0 nothing is left, so that one rounding tells all codes.
    let constant = Fill::Constant(0.125);
    for into in ["q4_0", "q8_0", "q4_k", "q6_k", "nf4", "mxfp4", "int8", "e4m3-block", "group_ic"] {
        for kind in ["lora", "dora"].into_iter().take(if into == "q4_0" || into == "int8" { 2 } else { 1 }) {
            let name = format!("llama3-8b-q-{kind}-r16-f16-into-{into}");
            let made = Make::new(&name, kind, [4096, 4096], 16, dense).dense(Elem::F16).into(format(into));
            let made = made.fill("lora_A", constant).fill("lora_B", constant);
            all.push(made.fill("lora_magnitude_vector", Fill::Constant(0.0)).real("Llama-3-8B"));
        }
    }
    // Deltas of one number, and of one product of f16, in tiles and slabs: scales of 1, 2, 4 and 8 lanes, of a row, of words that two rows
    // share, with super-scales of a word and of half a one, of numbers anywhere; bases of numbers and in few bits.
    for (into, n, k) in [
        ("q4_0", 35, 256),
        ("q8_0", 33, 608),
        ("q4_0", 35, 288),
        ("mxfp4", 70, 384),
        ("mxfp4", 35, 96),
        ("nf4", 35, 320),
        ("mlx3", 35, 320),
        ("awq-gemm", 32, 384),
        ("q4_k", 35, 512),
        ("q2_k", 19, 256),
        ("q6_k", 35, 512),
        ("q3_k", 33, 256),
        ("nvfp4", 35, 320),
        ("mlx-nvfp4", 7, 96),
        ("tq2_0", 19, 512),
        ("sparse24", 19, 300),
        ("group_ic", 70, 97),
        ("hqq4-axis0", 64, 66),
        ("bitnet", 36, 97),
        ("bcq", 96, 104),
        ("e4m3-block", 130, 200),
        ("awq-gemv_fast", 32, 128),
        ("onnx2", 19, 100),
        ("nf4", 35, 97),
        ("int8", 35, 97),
        ("int8", 19, 250),
        ("int8", 19, 300),
        ("e4m3", 3, 31),
        ("dense", 19, 301),
    ] {
        for kind in ["miss", "lora"] {
            let made = Make::new(&format!("{kind}-{n}x{k}-into-{into}"), kind, [n, k], 1, dense);
            let made = if kind == "lora" { made.stored(Elem::F16) } else { made };
            all.push(made.into(format(into)).hurts("a merge into few bits"));
        }
    }
    for (base, into) in [("q4_0", "q8_0"), ("q6_k", "q4_0"), ("q4_k", "q4_k"), ("q6_k", "q6_k"), ("owq", "mxfp4")] {
        let made = Make::new(&format!("lora-{base}-into-{into}"), "lora", [34, 512], 1, format(base));
        all.push(made.stored(Elem::F16).into(format(into)).hurts("from few bits into few bits"));
    }
    for (kind, n, k, rank) in ODD {
        let mut made = Make::new(&format!("{kind}-{n}x{k}-r{rank}"), kind, [*n, *k], *rank, dense);
        if matches!(*kind, "lora" | "dora") {
            made = made.storages(FLOATS);
        }
        all.push(made.hurts("odd shapes"));
    }
    for order in [Order::RowCol, Order::ColRow] {
        for (n, k) in [(33, 31), (700, 264)] {
            let made = Make::new(&format!("bora-{n}x{k}-{}", order.name()), "bora", [n, k], 5, dense).order(order);
            all.push(made.storages(FLOATS).hurts("both orders"));
        }
    }
    for (name, cores) in [
        ("mpo-1", &[[1, 33, 35, 1]][..]),
        ("mpo-2", &[[1, 5, 7, 4], [4, 6, 11, 1]]),
        ("mpo-5", &[[1, 2, 3, 2], [2, 3, 2, 5], [5, 2, 2, 3], [3, 1, 4, 2], [2, 3, 3, 1]]),
    ] {
        all.push(Make::mpo(name, cores).storages(if cores.len() == 2 { FLOATS } else { F32 }).hurts("chains of cores"));
    }
    for (name, n, k) in [
        ("q4_0", 35, 288),
        ("nf4", 35, 97),
        ("q6_k", 35, 512),
        ("int8", 35, 97),
        ("owq", 34, 96),
        ("hqq4-axis0", 64, 66),
    ] {
        for kind in ["lora", "dora", "bora"] {
            let made = Make::new(&format!("{kind}-{name}"), kind, [n, k], 4, format(name));
            all.push(made.hurts("a base in few bits"));
        }
    }
    all.push(Make::new("bat-q4_0", "bat", [96, 192], 48, format("q4_0")).hurts("a base in few bits"));
    for elem in [Elem::F16, Elem::Bf16] {
        let made = Make::new(&format!("dora-{}", elem.name()), "dora", [67, 130], 6, dense).dense(elem);
        all.push(made.stored(elem).storages(FLOATS).hurts("narrow storage"));
    }
    for kind in ["lora", "dora", "bora", "miss", "loha"] {
        let made = Make::new(&format!("{kind}-skew"), kind, [40, 64], 8, dense).skew(1);
        all.push(made.storages(FLOATS).hurts("operands that begin anywhere"));
    }
    // Rows of a weight and of b that are 0, infinite and NaN in turn.
    let special = Make::new("dora-special", "dora", [50, 45], 4, dense).base(Fill::Special).dense(Elem::Bf16);
    all.push(special.hurts("NaN, infinities, zeros in a base, each in its row"));
    let zeros = Fill::Constant(0.0);
    for kind in ["dora", "bora"] {
        let made = Make::new(&format!("{kind}-zeros"), kind, [37, 45], 4, dense).base(zeros).fill("lora_B", zeros);
        all.push(made.hurts("norms of 0"));
    }
    // The adapter takes the base away, all but a thousandth: rows of b are −1, and so is each number of the base, but for a little.
    let one = Make::new("dora-cancels", "dora", [33, 300], 1, dense).base(Fill::Uniform(0.999, 1.001)).scale(1.0);
    let one = one.fill("lora_A", Fill::Constant(1.0)).fill("lora_B", Fill::Constant(-1.0));
    all.push(one.hurts("an adapter that nearly takes the base away"));
    let large = Fill::Normal { mean: 0.0, deviation: 1e4 };
    all.push(Make::new("dora-large", "dora", [20, 100], 3, dense).base(large).hurts("numbers of 1e4"));
    all
}
