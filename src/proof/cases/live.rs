//! Linear layers with live adapters: every kind and plan, rows of a batch with adapters of their own, and the layers of real models.

use super::linear::{self, DISTINCT, Row, U, U16, bounds, format, roundings};
use super::making::Making;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, WeightInput, adapter, hand};
use crate::adapters::{AdapterAttach, AdapterSet, Magnitudes, Room};
use crate::dispatch::Dispatcher;
use crate::error::Result;
use crate::formats::Format;
use crate::ops::Op as _;
use crate::ops::adapter::{Kind, Order};
use crate::ops::linear::Linear;
use crate::proof::{Attrs, Expected, Operands, Roles, Value};
use crate::reference::{self, Adapter, Array};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["adapter_linear"];
const OP: &str = OPS[0];

/// The roles of the tensors of an adapter of low rank.
macro_rules! roles {
    ($($prefix:literal),*) => {
        [$([
            concat!($prefix, "lora_A"),
            concat!($prefix, "lora_B"),
            concat!($prefix, "lora_magnitude_vector"),
            concat!($prefix, "m_row"),
            concat!($prefix, "m_col"),
        ]),*]
    };
}

/// Of the adapters of w0 in the places of their set. Kinds of other tensors stand in the first only.
const PLACES: [[&str; 5]; 8] = roles!("", "1.", "2.", "3.", "4.", "5.", "6.", "7.");
/// Of that of the second matrix.
const UP: [[&str; 5]; 1] = roles!("up.");
const OTHERS: [&str; 5] = ["miss_block", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"];

/// Both matrices: their roles, those of their sets, and of their adapters.
const MATRICES: [(&str, &str, &[[&str; 5]]); 2] = [("w0", "adapters", &PLACES), ("up", "up_adapters", &UP)];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    // Of these the sets have been made.
    for name in ["kind", "order", "pool"] {
        a.text(name, "");
    }
    a.list("scales");
    for name in ["scale", "rank", "places"] {
        a.number(name, 1.0);
    }
    let op = Linear {
        up: r.maybe_weight("up"),
        bias: r.maybe("bias"),
        residual: r.maybe("residual"),
        row_scale: r.maybe("row_scale"),
        x_scale: r.maybe("x_scale"),
        adapters: r.maybe_set("adapters"),
        up_adapters: r.maybe_set("up_adapters"),
        adapter_index: r.maybe("adapter_index"),
        activation: linear::activation(&a)?,
        ..Linear::new(r.need("x")?, r.weight("w0")?, r.need("y")?)
    };
    hand(&a, &r, user, &op)
}

fn scale_of(attrs: &Attrs, place: usize) -> f64 {
    let scale = match (attrs.0.get("scales"), attrs.0.get("scale")) {
        (Some(Value::List(list)), _) => list.get(place).copied().unwrap_or(1.0),
        (_, Some(Value::Number(scale))) => *scale,
        _ => 1.0,
    };
    f64::from(scale as f32)
}

/// Puts the adapters among the operands of a layer into sets, without memory where there is no device.
///
/// # Errors
/// As [`AdapterAttach`].
pub(super) fn attach(gpu: Option<&Dispatcher>, attrs: &Attrs, operands: &mut Operands) -> Result<()> {
    let mut sets = Vec::new();
    let r = Roles::over(OP, operands);
    for (of, name, places) in MATRICES {
        let Some(w0) = r.maybe_weight(of) else { continue };
        let mut kinds = Vec::new();
        for (place, [a, b, magnitude, row, col]) in places.iter().enumerate() {
            let low = (r.maybe(a), r.maybe(b), r.maybe(magnitude), r.maybe(row), r.maybe(col));
            let kind = match low {
                (Some(a), Some(b), None, Some(row), Some(col)) => {
                    let reader = attrs.reader(OP);
                    let first = reader.text("order", "row_col");
                    let order = if first == Order::ColRow.name() { Order::ColRow } else { Order::RowCol };
                    Kind::Bora { a, b, row, col, order }
                }
                (Some(a), Some(b), Some(magnitude), None, None) => Kind::Dora { a, b, magnitude },
                (Some(a), Some(b), None, None, None) => Kind::Lora { a, b },
                _ if place == 0 && of == "w0" && OTHERS.iter().any(|role| r.maybe(role).is_some()) => {
                    adapter::kind(OP, &attrs.reader(OP), &r, &[])?.0
                }
                _ => continue,
            };
            kinds.push((place, kind, scale_of(attrs, place) as f32));
        }
        if kinds.is_empty() {
            continue;
        }
        let reader = attrs.reader(OP);
        let rank = kinds.iter().filter_map(|(_, kind, _)| kind.live_rank()).max().unwrap_or(1);
        let last = kinds.iter().map(|(place, ..)| place + 1).max().unwrap_or(1);
        let magnitudes = kinds.iter().map(|(_, kind, _)| match kind {
            Kind::Bora { .. } => 2,
            Kind::Dora { .. } => 1,
            _ => 0,
        });
        let room = Room {
            adapters: reader.number("places", last as f64) as usize,
            rank: reader.number("rank", rank as f64) as usize,
            elem: pool_elem(attrs),
            magnitudes: [Magnitudes::None, Magnitudes::Rows, Magnitudes::Both][magnitudes.max().unwrap_or(0)],
        };
        let shape = [w0.n(), w0.k()];
        let set = gpu.map_or_else(|| AdapterSet::outline(shape, room), |gpu| gpu.adapter_set(shape, room))?;
        for (place, kind, scale) in kinds {
            let op = AdapterAttach::new(w0, kind, scale, &set, place);
            match gpu {
                Some(gpu) => gpu.run(op)?,
                None => drop(op.problem()?),
            }
        }
        sets.push((name.to_owned(), set));
    }
    let gone = |role: &str| MATRICES.iter().any(|m| m.2.concat().contains(&role)) || OTHERS.contains(&role);
    operands.tensors.retain(|role, _| !gone(role));
    operands.sets.extend(sets);
    Ok(())
}

/// How the sets of a case store adapters.
fn pool_elem(attrs: &Attrs) -> Elem {
    match attrs.0.get("pool") {
        Some(Value::Text(name)) if name == "f16" => Elem::F16,
        Some(Value::Text(name)) if name == "bf16" => Elem::Bf16,
        _ => Elem::F32,
    }
}

/// A live adapter: `y = rows ⊙ ((cols ⊙ x)·w0ᵀ + scale·((cols ⊙ x)·aᵀ)·bᵀ)`.
struct Live {
    a: Array,
    b: Array,
    scale: f64,
    /// Of rows, and by how much of themselves they are off.
    rows: Vec<(f64, f64)>,
    cols: Vec<(f64, f64)>,
}

impl Live {
    fn none([n, k]: [usize; 2]) -> Self {
        let empty = |shape: [usize; 2]| Array { shape: shape.to_vec(), data: Vec::new() };
        Self { a: empty([0, k]), b: empty([n, 0]), scale: 0.0, rows: vec![(1.0, 0.0); n], cols: vec![(1.0, 0.0); k] }
    }

    /// The adapter of these roles, where there is one.
    fn of(case: &Case, arrays: &Arrays, w0: &Array, n: usize, place: usize, roles: &[&str; 5]) -> Option<Self> {
        let k = w0.shape[1];
        let get = |role: &str| arrays.get(role);
        let scale = scale_of(&case.attrs, place);
        let given = match (get(roles[0]), get(roles[1])) {
            (Some(a), Some(b)) => Adapter::Lora { a, b },
            _ if place > 0 => return None,
            _ => match (get("miss_block"), get("hada_w1_a")) {
                (Some(block), _) => Adapter::Miss { block },
                (_, Some(a1)) => {
                    Adapter::Loha { a1, b1: get("hada_w1_b")?, a2: get("hada_w2_a")?, b2: get("hada_w2_b")? }
                }
                _ => return None,
            },
        };
        let (a, b) = reference::low_rank(&given, [n, k])?;
        let mut live = Self { a, b, scale, ..Self::none([n, k]) };
        let [magnitude, row, col] = [2, 3, 4].map(|i| get(roles[i]));
        if magnitude.is_none() && row.is_none() {
            return Some(live);
        }
        // Norms are those of a merge.
        let whole = Array { shape: vec![n, k], data: reference::dequantize(w0, n) };
        let terms = live.a.shape[0];
        let mut v = reference::adapter_merge(&whole, &given, scale, U, (terms + 1) as f64 * U);
        let rows_first = case.attrs.0.get("order") != Some(&Value::Text(Order::ColRow.name().to_owned()));
        for rows in [rows_first, !rows_first] {
            let Some(m) = (if rows { magnitude.or(row) } else { col }) else { continue };
            let error = adapter::norm_error(n, k, rows);
            let factors = reference::magnitude_factors(&v, k, m, rows, U, error);
            v = reference::magnitudes(&v, k, m, rows, U, error);
            *(if rows { &mut live.rows } else { &mut live.cols }) = factors;
        }
        Some(live)
    }
}

/// The adapters of a matrix, and of each row of x which it has; the last is none.
fn lives(
    case: &Case,
    arrays: &Arrays,
    m: usize,
    places: &[[&str; 5]],
    w0: &Array,
    n: usize,
) -> (Vec<Live>, Vec<usize>) {
    let none = || Live::none([n, w0.shape[1]]);
    let of = |(place, roles): (usize, &[&str; 5])| Live::of(case, arrays, w0, n, place, roles).unwrap_or_else(none);
    let mut all: Vec<Live> = places.iter().enumerate().map(of).collect();
    all.push(none());
    let index = arrays.get("adapter_index");
    let which = |m: usize| {
        let i = index.map_or(0.0, |index| index.data[m]);
        if i >= 0.0 && i < places.len() as f64 { i as usize } else { places.len() }
    };
    let which = (0..m).map(which).collect();
    (all, which)
}

pub(super) fn expected(case: &Case, arrays: &Arrays, storage: Elem) -> Result<Vec<Expected>> {
    let nothing = Array { shape: vec![0, 1], data: Vec::new() };
    let x = arrays.get("x").unwrap_or(&nothing);
    let [n, k] = case.weights.first().map_or([0, 1], |w| w.shape);
    let m = x.data.len() / k;
    let name = match case.attrs.0.get("activation") {
        Some(Value::Text(name)) => name.as_str(),
        _ => "none",
    };
    // Adapters are rounded into the set: each product of a and b pays for both.
    let e = if pool_elem(&case.attrs) == Elem::F32 { 0.0 } else { pool_elem(&case.attrs).unit_roundoff() };
    let x_elem = case.inputs.iter().find(|i| i.role == "x").map_or(storage, |i| i.stored.elem(storage));
    let (mut sums, mut stored, mut halved) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (role, _, places)) in MATRICES.iter().enumerate() {
        let Some(w0) = arrays.get(role) else { continue };
        let (lives, which) = lives(case, arrays, m, places, w0, n);
        let mut turned = x.clone();
        for (row, live) in turned.data.chunks_mut(k).zip(which.iter().map(|i| &lives[*i])) {
            row.iter_mut().zip(&live.cols).for_each(|(x, c)| *x *= c.0);
        }
        let (base, sizes) = reference::matmul(&turned, w0, n);
        let x_rows: Vec<Row> = turned.data.chunks(k).map(Row::of).collect();
        let w_rows: Vec<Row> = w0.data.chunks(k).map(Row::of).collect();
        let reach = w_rows.iter().map(|row| row.largest).fold(0.0, f64::max);
        let has_cols = lives.iter().any(|live| live.cols.iter().any(|c| *c != (1.0, 0.0)));
        let weight = &case.weights[i];
        let x_error = if x_elem == Elem::F32 || has_cols { U16 } else { 0.0 };
        let w_error = if weight.format == Format::Dense && weight.dense != Elem::F32 { 0.0 } else { U16 };
        let (mut all, mut of_stored, mut of_halved) = (Vec::new(), Vec::new(), Vec::new());
        for (row, live) in which.iter().map(|i| &lives[*i]).enumerate() {
            let x = &turned.data[row * k..][..k];
            let ranks = live.a.shape[0];
            let outputs = reference::adapter_linear(x, &base[row * n..][..n], &live.a, &live.b, live.scale);
            // The largest error of a factor of columns, which stands in every product.
            let col_error = live.cols.iter().map(|c| c.1).fold(0.0, f64::max);
            for (col, (sum, size)) in outputs.into_iter().enumerate() {
                let at = row * n + col;
                let (c, row_error) = live.rows[col];
                all.push(c * sum);
                let apart =
                    if case.inputs.iter().any(|i| i.role == "x_scale") { 4.0 * reach * x_rows[row].sum } else { 0.0 };
                let r = roundings(k);
                // Beside the roundings of both sums: the scale, the rank's product and the addition to the base.
                let of_delta = ((r + ranks as f64 + 6.0) * U + 2.0 * e + e * e) * size;
                let factors = (row_error + col_error + 3.0 * U) * (sizes[at] + size);
                let first = r * U * sizes[at] + 4.0 * U * apart;
                of_stored.push(c.abs() * (first + of_delta + factors));
                let (of_x, of_w) = (x_rows[row], w_rows[col % w_rows.len()]);
                let lost = 2f64.powi(-23) * (of_x.largest * of_w.sum + of_w.largest * of_x.sum);
                let rounded = x_error + w_error + x_error * w_error + 2.0 * U * (k as f64 + 20.0);
                of_halved.push(c.abs() * (sizes[at] * rounded + lost + of_delta + factors));
            }
        }
        sums.push((all, Vec::new()));
        stored.push(of_stored);
        halved.push(of_halved);
    }
    let layer = reference::Linear {
        x,
        x_scale: arrays.get("x_scale"),
        w: arrays.get("w0").unwrap_or(&nothing),
        up: arrays.get("up"),
        n,
        bias: arrays.get("bias"),
        residual: arrays.get("residual"),
        row_scale: arrays.get("row_scale"),
        activation: name,
    };
    let want = match sums.as_slice() {
        [] => Vec::new(),
        [(of_w, _), rest @ ..] => reference::linear_epilogue(&layer, of_w, rest.first().map(|(up, _)| up.as_slice())),
    };
    let bound = bounds(&layer, &sums, |matrix, i| stored[matrix][i]);
    let rounded = bounds(&layer, &sums, |matrix, i| halved[matrix][i]);
    Ok(vec![Expected { rounded, ..Expected::new("y", want, bound) }])
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
    /// A layer of a base in this format.
    fn new(name: &str, m: usize, [n, k]: [usize; 2], base: Format) -> Self {
        let fill = Fill::Normal { mean: 0.0, deviation: 1.0 / (k as f32).sqrt() };
        let rows = if n * k > 1 << 20 { DISTINCT } else { n };
        let x = Fill::Normal { mean: 0.0, deviation: 1.0 };
        Self(Box::new(Case {
            name: format!("{OP}/{name}"),
            op: OP,
            title: format!("Linear [{n}, {k}] in {base} with live adapters"),
            model: "",
            phase: "",
            attrs: Attrs::default(),
            inputs: vec![Input { role: "x", shape: vec![m, k], fill: x, stored: Stored::Activation }],
            weights: vec![WeightInput { role: "w0", shape: [n, k], rows, fill, format: base, dense: Elem::F32 }],
            outputs: vec![Output { role: "y", shape: vec![m, n], stored: Stored::Activation }],
            storages: F32.to_vec(),
            real: false,
            skew: 0,
            flops: 2 * (m * n * k) as u64,
        }))
    }

    fn sizes(&self) -> [usize; 3] {
        let [n, k] = self.0.weights[0].shape;
        [self.0.inputs[0].shape[0], n, k]
    }

    fn input(mut self, role: &'static str, shape: &[usize], fill: Fill, stored: Stored) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored });
        self
    }

    /// An adapter of low rank with these roles.
    fn low(mut self, kind: &str, rank: usize, [a, b, magnitude, row, col]: [&'static str; 5]) -> Self {
        let [m, n, k] = self.sizes();
        let normal = |deviation: f32| Fill::Normal { mean: 0.0, deviation };
        let one = normal(1.0);
        self.0.flops += 2 * (m * rank * (n + k)) as u64;
        self = self.input(a, &[rank, k], normal(0.3 / (k as f32).sqrt()), Stored::Activation);
        self = self.input(b, &[n, rank], one, Stored::Activation);
        match kind {
            "dora" => self.input(magnitude, &[n], one, Stored::Activation),
            "bora" => self.input(row, &[n], one, Stored::Activation).input(col, &[k], one, Stored::Activation),
            _ => self,
        }
    }

    /// One adapter of this kind.
    fn kind(mut self, kind: &str, rank: usize) -> Self {
        let [_, n, k] = self.sizes();
        self.0.attrs = self.0.attrs.with("kind", kind);
        let of = |rank: usize| Fill::Normal { mean: 0.0, deviation: 0.3 / (rank as f32).sqrt() };
        let one = Fill::Normal { mean: 0.0, deviation: 1.0 };
        match kind {
            "none" => self,
            "miss" => self.input("miss_block", &[rank, n], of(k), Stored::Activation),
            "miss_mini" => self.input("miss_block", &[rank, n / 3], of(k), Stored::Activation),
            "loha" => self
                .input("hada_w1_a", &[n, rank], one, Stored::Activation)
                .input("hada_w1_b", &[rank, k], of(rank), Stored::Activation)
                .input("hada_w2_a", &[n, rank], one, Stored::Activation)
                .input("hada_w2_b", &[rank, k], of(k), Stored::Activation),
            _ => self.scale(2.0).low(kind, rank, PLACES[0]),
        }
    }

    /// Adapters in some places, and which each row has.
    fn many(mut self, adapters: &[(usize, &str, usize)], index: &'static [f32]) -> Self {
        let ([m, n, k], plain) = (self.sizes(), self.0.flops);
        for (place, kind, rank) in adapters {
            self = self.low(kind, *rank, PLACES[*place]);
        }
        // A row has one of them, or none.
        let rank_of = |row: usize| {
            let of = index[row % index.len()];
            adapters.iter().find(|(place, ..)| *place as f32 == of).map_or(0, |(.., rank)| *rank)
        };
        self.0.flops = plain + (0..m).map(|row| 2 * (rank_of(row) * (n + k)) as u64).sum::<u64>();
        let scales: Vec<f64> = (0..PLACES.len()).map(|i| 1.0 + 0.5 * i as f64).collect();
        self.0.attrs = self.0.attrs.with("scales", scales).with("places", PLACES.len() as f64);
        self.input("adapter_index", &[m], Fill::These(index), Stored::Always(Elem::I32))
    }

    fn bias(self) -> Self {
        let [_, n, _] = self.sizes();
        self.input("bias", &[n], Fill::Normal { mean: 0.0, deviation: 1.0 }, Stored::Activation)
    }

    fn residual(self) -> Self {
        let [m, n, _] = self.sizes();
        self.input("residual", &[m, n], Fill::Normal { mean: 0.0, deviation: 1.0 }, Stored::Activation)
    }

    /// int8 codes with a scale for each row.
    fn codes(mut self) -> Self {
        self.0.inputs[0].stored = Stored::Always(Elem::I8);
        self.0.inputs[0].fill = Fill::Normal { mean: 0.0, deviation: 40.0 };
        let m = self.0.inputs[0].shape[0];
        self.input("x_scale", &[m], Fill::Normal { mean: 0.0, deviation: 1.0 }, Stored::Always(Elem::F32))
    }

    /// A second matrix with an adapter.
    fn up(mut self, kind: &str, rank: usize) -> Self {
        let up = WeightInput { role: "up", ..self.0.weights[0].clone() };
        self.0.weights.push(up);
        self.0.flops *= 2;
        self.attr("activation", "silu").low(kind, rank, UP[0])
    }

    fn scale(self, scale: f64) -> Self {
        self.attr("scale", scale)
    }

    fn real(mut self, model: &'static str) -> Case {
        let [m, ..] = self.sizes();
        (self.0.model, self.0.real) = (model, true);
        self.0.phase = if m <= 8 { "decode" } else { "prefill" };
        self.0.storages = vec![Elem::F16];
        self.dense(Elem::F16).attr("pool", "f16").done()
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (model, title, n, k) in
        [("llama3-8b-q", "Llama-3-8B", 4096, 4096), ("qwen3-0.6b-gate", "Qwen3-0.6B", 3072, 1024)]
    {
        for (base, name) in [("dense", "f16"), ("q4_0", "q4_0"), ("nf4", "nf4")] {
            for m in [1, 16, 512] {
                let made = Make::new(&format!("{model}-{name}-none-m{m}"), m, [n, k], format(base));
                all.push(made.kind("none", 0).real(title));
                for (kind, rank) in [("lora", 16), ("lora", 64), ("dora", 16), ("dora", 64), ("bora", 16), ("bora", 64)]
                {
                    let name = format!("{model}-{name}-{kind}-r{rank}-m{m}");
                    all.push(Make::new(&name, m, [n, k], format(base)).kind(kind, rank).real(title));
                }
            }
            // One for each of eight rows, and one for all.
            for (count, name) in [(1, format!("{model}-{name}-one-m8")), (8, format!("{model}-{name}-eight-m8"))] {
                let adapters: Vec<_> = (0..count).map(|i| (i, "lora", 16)).collect();
                let index: &[f32] = if count == 1 { &[0.0] } else { &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] };
                all.push(Make::new(&name, 8, [n, k], format(base)).many(&adapters, index).real(title));
            }
        }
    }
    let dense = Format::Dense;
    for (m, n, k, rank) in [(1, 33, 65, 1), (5, 130, 31, 3), (17, 3, 129, 9)] {
        let made = Make::new(&format!("lora-{m}x{n}x{k}-r{rank}"), m, [n, k], dense).kind("lora", rank).bias();
        all.push(made.storages(FLOATS).hurts("odd shapes"));
    }
    for (pool, base, m, n, k) in [("f16", "q4_0", 2, 35, 288), ("bf16", "nf4", 19, 70, 97), ("f16", "q6_k", 8, 35, 512)]
    {
        let made = Make::new(&format!("dora-{base}-{pool}-m{m}"), m, [n, k], format(base)).kind("dora", 6);
        all.push(
            made.attr("pool", pool).attr("rank", 16.0).residual().hurts("a base in few bits, a narrow pool, more room"),
        );
    }
    for (order, m) in [(Order::RowCol, 3), (Order::ColRow, 33)] {
        let made = Make::new(&format!("bora-{}-m{m}", order.name()), m, [37, 70], dense).kind("bora", 5);
        all.push(made.attr("order", order.name()).storages(FLOATS).hurts("factors of rows and columns"));
    }
    let few: &[f32] = &[2.0, -1.0, 7.0, 0.0, 8.0, 1.0];
    let long: &[f32] = &[0.0, 0.0, 0.0, 2.0, 7.0, 7.0, -5.0, 2.0, 3.0, 100.0, 1.0, 0.0, 0.0];
    for (m, index) in [(6, few), (13, long)] {
        // Place 3 is empty, and 8 and 100 are past the last.
        let adapters = [(0, "lora", 16), (1, "dora", 1), (2, "lora", 7), (7, "dora", 20)];
        let made = Make::new(&format!("many-m{m}"), m, [45, 300], format("nf4")).many(&adapters, index).bias();
        all.push(made.attr("pool", "f16").hurts("each row has its own adapter"));
    }
    let adapters = [(0, "bora", 4), (1, "lora", 3), (2, "dora", 2)];
    let made = Make::new("many-bora", 7, [21, 66], dense).many(&adapters, &[1.0, 0.0, 2.0, 0.0, -1.0]);
    all.push(made.fill("x", Fill::NanRows).hurts("factors of columns in some rows, NaN in others"));
    for m in [3, 18] {
        let made = Make::new(&format!("codes-m{m}"), m, [35, 96], format("q8_0")).kind("dora", 5).codes();
        all.push(made.hurts("int8 activations"));
    }
    let made = Make::new("codes-bora", 2, [35, 96], format("int8")).kind("bora", 5).codes();
    all.push(made.hurts("int8 activations with factors of columns"));
    for m in [2, 17] {
        let made = Make::new(&format!("gated-m{m}"), m, [33, 64], format("q4_0")).kind("lora", 4).up("dora", 9);
        all.push(made.hurts("two matrices with an adapter each"));
    }
    let made = Make::new("sliced", 12, [20, 600], format("nf4")).kind("bora", 5).bias();
    all.push(made.hurts("tiles by slices of K, factors of columns"));
    let made = Make::new("sliced-gated", 10, [20, 640], format("q4_0")).kind("lora", 3).up("dora", 5);
    all.push(made.hurts("tiles by slices of K, two matrices"));
    all.push(Make::new("owq-bora", 2, [34, 96], format("owq")).kind("bora", 3).hurts("numbers beside the codes"));
    all.push(Make::new("miss", 2, [33, 70], dense).kind("miss", 12).hurts("a block along K"));
    all.push(Make::new("miss_mini", 11, [66, 100], dense).kind("miss_mini", 7).hurts("a block along both"));
    all.push(Make::new("loha", 3, [21, 34], dense).kind("loha", 3).hurts("a product of two"));
    let made = Make::new("long", 1, [7, 4100], format("int8")).kind("dora", 33).attr("rank", 64.0);
    all.push(made.hurts("a long row"));
    // One row, whose terms the dispatch makes itself.
    let adapters = [(0, "lora", 16), (1, "dora", 7)];
    for (index, name) in [(&[1.0], "second"), (&[-1.0], "no")] {
        let made = Make::new(&format!("one-{name}"), 1, [45, 300], format("nf4")).many(&adapters, index).residual();
        all.push(made.attr("pool", "f16").hurts("one row with an index"));
    }
    let made = Make::new("one-bora", 1, [21, 66], dense).kind("bora", 4).fill("x", Fill::NanRows);
    all.push(made.hurts("one row, NaN in it, with factors of columns"));
    all.push(Make::new("one-miss", 1, [33, 70], dense).kind("miss", 12).hurts("one row, a block along K"));
    let made = Make::new("one-gated", 1, [33, 64], format("q4_0")).kind("lora", 9).up("dora", 4);
    all.push(made.hurts("one row, two matrices with adapters of different ranks"));
    let made = Make::new("one-codes", 1, [70, 544], format("q8_0")).kind("dora", 20).codes().bias();
    all.push(made.hurts("one row of int8 activations"));
    let made = Make::new("skew", 4, [40, 64], dense).kind("bora", 8).skew(1).storages(FLOATS);
    all.push(made.hurts("operands that begin anywhere"));
    let made = Make::new("f16", 40, [72, 64], dense).kind("dora", 8).dense(Elem::F16).attr("pool", "f16");
    all.push(made.storages(&[Elem::F16]).hurts("tiles of 16 bits"));
    all
}
