//! The QKV prologue: heads of real models, and everything that it can do, in sizes that hurt.

use super::{Arrays, COUNTED, Case, Fill, Input, Output, Stored, User, codes_named, counted, hand, rope};
use crate::error::{Error, Result};
use crate::kv::{KvFormat, KvRows, Place};
use crate::ops::attention::Order;
use crate::ops::attention::prologue::{Angles, NormAxis, NormKind, Projection, Prologue, QkNorm, Start, Turn};
use crate::proof::{Attrs, Expected, Roles};
use crate::reference::{self, Array, PrologueRow, RowNorm};
use crate::tensor::{Elem, Tensor};

pub(super) const OPS: &[&str] = &["qkv_prologue"];

fn wrong(op: &'static str, name: &'static str, value: &str, rule: &'static str) -> Error {
    Error::Value { op, name, value: value.to_owned(), rule }
}

/// Rows over an output of a case.
fn rows(tensor: &Tensor, format: &str, width: usize) -> Result<KvRows> {
    match codes_named(format) {
        None => KvRows::of(tensor),
        Some(f) => KvRows::over(tensor, f, tensor.bytes() as usize / f.row_bytes(width).max(1), width),
    }
}

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let whole = |name: &str, absent: f64| a.number(name, absent) as usize;
    let (heads, groups, d, e) = (whole("heads", 1.0), whole("groups", 1.0), whole("d", 0.0), whole("e", 0.0));
    let format = a.text("kv", "dense");
    let keys = r.maybe("keys").map(|t| rows(t, format, d)).transpose()?;
    let of_values = a.text("v", format);
    let values = r.maybe("values").map(|t| rows(t, of_values, e)).transpose()?;
    let kind = match a.text("norm", "none") {
        "none" => None,
        "l2" => Some(NormKind::L2),
        "rms" => Some(NormKind::Rms),
        "layer" => Some(NormKind::Layer),
        other => return Err(wrong(op, "norm", other, "it must be none, l2, rms or layer")),
    };
    let full = a.flag("full", false);
    let (eps, offset) = (a.number("eps", 1e-6) as f32, a.number("offset", 0.0) as f32);
    let norm = kind.map(|kind| QkNorm {
        axis: if full { NormAxis::Projection } else { NormAxis::Head },
        q_weight: r.maybe("q_weight"),
        k_weight: r.maybe("k_weight"),
        q_bias: r.maybe("q_bias"),
        k_bias: r.maybe("k_bias"),
        offset,
        ..QkNorm::new(kind, eps)
    });
    let (interleaved, before_norm) = (a.flag("interleaved", false), a.flag("before_norm", false));
    let (positions, appended) = (r.maybe("positions"), a.flag("appended", false));
    let rope = match (r.maybe("cos"), r.maybe("sin")) {
        (Some(cos), Some(sin)) => {
            let angles = match positions {
                Some(positions) => Angles::Positions(positions),
                None if appended => Angles::Appended,
                None => Angles::Tokens,
            };
            Some(Turn { cos, sin, angles, interleaved, before_norm })
        }
        _ => None,
    };
    let order = |first| if first { Order::TokensFirst } else { Order::HeadsFirst };
    let from = match r.maybe("qkv") {
        Some(qkv) => Projection::Packed(qkv),
        None => Projection::Apart { q: r.maybe("q"), k: r.maybe("k"), v: r.maybe("v") },
    };
    let page = whole("page", 0.0);
    let place = match (r.maybe("table"), a.flag("tokens_place", false)) {
        (Some(table), _) => Place::Paged { table, page },
        (None, true) => Place::Tokens,
        (None, false) => Place::Heads,
    };
    let op = Prologue {
        from_order: order(!a.flag("from_heads", false)),
        q_add: r.maybe("q_add"),
        k_add: r.maybe("k_add"),
        v_add: r.maybe("v_add"),
        norm,
        value_norm: a.flag("value_norm", false).then_some(eps),
        rope,
        y: r.maybe("y"),
        order: order(a.flag("y_tokens", false)),
        keys: keys.as_ref(),
        values: values.as_ref(),
        place,
        start: r.maybe("lengths").map_or(Start::At(whole("start", 0.0)), Start::Lengths),
        cu: r.maybe("cu"),
        grids: r.maybe("grids"),
        ..Prologue::of(from, (heads, groups))
    };
    hand(&a, &r, user, &op)
}

/// The relative error of one f32 operation.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// How far each number of a row may be off, step by step as `reference::qkv_prologue` has them.
fn errors(x: &[f64], p: &PrologueRow<'_>) -> Vec<f64> {
    let mut row: Vec<f64> = x.iter().enumerate().map(|(i, v)| v + p.add.map_or(0.0, |add| add[i])).collect();
    // One rounding where something is added.
    let mut off: Vec<f64> = row.iter().map(|v| if p.add.is_some() { U * v.abs() } else { 0.0 }).collect();
    let turn = |row: &mut Vec<f64>, off: &mut Vec<f64>| {
        let Some((cos, sin)) = p.turn else { return };
        let half = cos.len();
        for head in 0..row.len() / p.width {
            for i in 0..half {
                let (a, b) = if p.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (a, b) = (head * p.width + a, head * p.width + b);
                // Two products, a sum; what was off before turns too.
                let of = |a: usize, b: usize, off: &[f64]| {
                    3.0 * U * ((row[a] * cos[i]).abs() + (row[b] * sin[i]).abs())
                        + off[a] * cos[i].abs()
                        + off[b] * sin[i].abs()
                };
                (off[a], off[b]) = (of(a, b, off), of(b, a, off));
            }
        }
        row.chunks_mut(p.width).for_each(|head| reference::rotate(head, cos, sin, p.interleaved));
    };
    if p.before_norm {
        turn(&mut row, &mut off);
    }
    if let Some((norm, eps)) = p.norm {
        let len = if p.full { row.len() } else { p.width };
        for part in 0..row.len() / len {
            let at = part * len..(part + 1) * len;
            let (mean, factor) = reference::statistics(&row[at.clone()], norm, eps);
            let n = len as f64;
            // The naive lane adds all one after the other.
            let r = (n + 4.0) * U;
            let sizes: f64 = row[at.clone()].iter().map(|v| v.abs()).sum();
            let offs: f64 = off[at.clone()].iter().sum();
            let mean_off = if norm == RowNorm::Layer { (r * sizes + offs) / n + U * mean.abs() } else { 0.0 };
            let (mut squares, mut squares_off) = (0.0, 0.0);
            for i in at.clone() {
                let d = row[i] - mean;
                off[i] += mean_off + U * d.abs();
                squares += d * d;
                squares_off += 2.0 * d.abs() * off[i] + off[i] * off[i];
            }
            squares_off += r * squares;
            // Half the relative error of the sum under the root; the inverse root, the quotient and what eps adds are 4 more.
            let (under, wrong) = match norm {
                RowNorm::L2 => (squares.max(eps * eps), squares_off),
                _ => (squares / n + eps, squares_off / n),
            };
            let relative = 0.5 * wrong / under.max(f64::MIN_POSITIVE) + 6.0 * U;
            for i in at {
                let h = (row[i] - mean) * factor;
                let h_off = off[i] * factor + h.abs() * relative + U * h.abs();
                let (w, b) = (p.weight[i], p.bias[i]);
                row[i] = h * w + b;
                // The weight with its offset is rounded, and the product, and the sum.
                off[i] = h_off * w.abs() + 2.0 * U * (h * w).abs() + U * h.abs() * (w.abs() + 1.0) + U * row[i].abs();
            }
        }
    }
    if !p.before_norm {
        turn(&mut row, &mut off);
    }
    off
}

/// A kind of row: queries, keys or values.
struct Kind<'a> {
    x: &'a str,
    add: &'a str,
    weight: &'a str,
    bias: &'a str,
    heads: usize,
    width: usize,
    /// Where it begins among the numbers of a packed token.
    first: usize,
}

/// The numbers of the case.
struct Numbers {
    batch: usize,
    each: usize,
    heads: usize,
    groups: usize,
    d: usize,
    e: usize,
}

/// The batch element of each token, and its place there.
fn places(n: &Numbers, cu: Option<&Array>) -> Vec<(usize, usize)> {
    let tokens = n.batch * n.each;
    let Some(cu) = cu else { return (0..tokens).map(|t| (t / n.each, t % n.each)).collect() };
    let of = |t: usize| {
        let b = cu.data.iter().rposition(|first| *first <= t as f64).unwrap_or(0).min(cu.data.len() - 2);
        (b, t - cu.data[b] as usize)
    };
    (0..tokens).map(of).collect()
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let whole = |name: &str| a.number(name, 0.0) as usize;
    let shape = case.inputs.first().map(|i| i.shape.as_slice()).unwrap_or_default();
    let (batch, each) = match *shape {
        [t, _] => (1, t),
        [b, _, l, _] => (b, l),
        [b, l, _] => (b, l),
        _ => (0, 0),
    };
    let n = Numbers { batch, each, heads: whole("heads"), groups: whole("groups"), d: whole("d"), e: whole("e") };
    let packed = n.heads * n.d + n.groups * (n.d + n.e);
    let kinds = [
        ("y", Kind { x: "q", add: "q_add", weight: "q_weight", bias: "q_bias", heads: n.heads, width: n.d, first: 0 }),
        (
            "keys",
            Kind {
                x: "k",
                add: "k_add",
                weight: "k_weight",
                bias: "k_bias",
                heads: n.groups,
                width: n.d,
                first: n.heads * n.d,
            },
        ),
        (
            "values",
            Kind {
                x: "v",
                add: "v_add",
                weight: "",
                bias: "",
                heads: n.groups,
                width: n.e,
                first: packed - n.groups * n.e,
            },
        ),
    ];
    let norm = match a.text("norm", "none") {
        "l2" => Some(RowNorm::L2),
        "rms" => Some(RowNorm::Rms),
        "layer" => Some(RowNorm::Layer),
        _ => None,
    };
    // An op takes f32.
    let (eps, offset) = (f64::from(a.number("eps", 1e-6) as f32), f64::from(a.number("offset", 0.0) as f32));
    let (full, value_norm) = (a.flag("full", false), a.flag("value_norm", false));
    let (interleaved, before_norm) = (a.flag("interleaved", false), a.flag("before_norm", false));
    let at = places(&n, arrays.get("cu"));
    let start = |b: usize| match arrays.get("lengths") {
        Some(lengths) => lengths.data[b].max(0.0) as usize,
        None => a.number("start", 0.0) as usize,
    };
    let mut all = Vec::new();
    for output in &case.outputs {
        let Some((_, kind)) = kinds.iter().find(|(role, _)| *role == output.role) else { continue };
        let mut count: usize = output.shape.iter().product();
        let format = a.text("kv", "dense");
        let format = if kind.x == "v" { a.text("v", format) } else { format };
        let codes = codes_named(format).map(|format| (format, kind.width));
        // Rows of codes are words.
        if let Some((format, width)) = codes.filter(|_| output.stored == Stored::Always(Elem::U32)) {
            count = count * 4 / format.row_bytes(width) * width;
        }
        // What nobody writes stays what it was.
        let (mut want, mut bound) = (vec![f64::NAN; count], vec![0.0; count]);
        let is_value = kind.x == "v";
        let len = kind.heads * kind.width;
        let by = |role: &str, absent: f64| -> Vec<f64> {
            match arrays.get(role) {
                Some(w) => (0..len).map(|i| w.data[i % w.data.len()]).collect(),
                None => vec![absent; len],
            }
        };
        let weight: Vec<f64> = match arrays.get(kind.weight) {
            Some(_) => by(kind.weight, 0.0).into_iter().map(|w| w + offset).collect(),
            None => vec![1.0; len],
        };
        for (t, (b, l)) in at.iter().copied().enumerate() {
            let x: Vec<f64> = match arrays.get("qkv") {
                Some(x) => x.data[t * packed + kind.first..][..len].to_vec(),
                None if a.flag("from_heads", false) => {
                    let x = &arrays[kind.x].data;
                    let head = |h: usize| ((b * kind.heads + h) * n.each + l) * kind.width;
                    (0..kind.heads).flat_map(|h| x[head(h)..][..kind.width].to_vec()).collect()
                }
                None => arrays[kind.x].data[t * len..][..len].to_vec(),
            };
            let turn = match (arrays.get("cos"), arrays.get("sin")) {
                (Some(cos), Some(sin)) if !is_value => {
                    let half = cos.shape.last().copied().unwrap_or(0);
                    let table = cos.data.len() / half.max(1);
                    let row = if a.flag("appended", false) {
                        start(b).saturating_add(l).min(table - 1)
                    } else {
                        let period = if arrays.contains_key("cu") { t } else { l };
                        let shared = cos.shape.len() == 2 && !arrays.contains_key("positions");
                        if shared { period } else { reference::table_row(cos, arrays.get("positions"), t, n.each) }
                    };
                    Some((&cos.data[row * half..][..half], &sin.data[row * half..][..half]))
                }
                _ => None,
            };
            let of_row = PrologueRow {
                width: kind.width,
                add: arrays.get(kind.add).map(|add| add.data.as_slice()),
                norm: if is_value { value_norm.then_some((RowNorm::Rms, eps)) } else { norm.map(|norm| (norm, eps)) },
                full: full && !is_value,
                weight: weight.clone(),
                bias: by(kind.bias, 0.0),
                turn,
                interleaved,
                before_norm: before_norm && norm.is_some(),
            };
            let (numbers, off) = (reference::qkv_prologue(&x, &of_row), errors(&x, &of_row));
            for h in 0..kind.heads {
                let to = if kind.x == "q" {
                    let first = if a.flag("y_tokens", false) || arrays.contains_key("cu") {
                        t * n.heads + h
                    } else {
                        (b * n.heads + h) * n.each + l
                    };
                    Some(first)
                } else {
                    let j = start(b).saturating_add(l);
                    let rows = count / kind.width;
                    let page = whole("page");
                    let cu = arrays.get("cu").map(|cu| &cu.data);
                    let sequences = cu.map_or(n.batch, |cu| cu.len() - 1);
                    // Past the last sequence.
                    if cu.is_some_and(|cu| t as f64 >= cu[sequences]) {
                        continue;
                    }
                    match arrays.get("table") {
                        Some(table) => {
                            let pages = table.shape[1];
                            let held = (rows / (page * n.groups)) as f64;
                            let page_of = (j < pages * page).then(|| table.data[b * pages + j / page]);
                            let page_of = page_of.filter(|p| (0.0..held).contains(p));
                            page_of.map(|p| (p as usize * n.groups + h) * page + j % page)
                        }
                        None => {
                            let room = rows / (sequences * n.groups);
                            let by_token = a.flag("tokens_place", false);
                            let row =
                                if by_token { (b * room + j) * n.groups + h } else { (b * n.groups + h) * room + j };
                            (j < room).then_some(row)
                        }
                    }
                };
                let Some(to) = to else { continue };
                let of = h * kind.width..(h + 1) * kind.width;
                want[to * kind.width..][..kind.width].copy_from_slice(&numbers[of.clone()]);
                bound[to * kind.width..][..kind.width].copy_from_slice(&off[of]);
            }
        }
        let mut expected = Expected::new(output.role, want, bound);
        if output.stored == Stored::Always(Elem::U32) {
            expected.codes = codes;
            coded(&mut expected);
        }
        all.push(expected);
    }
    Ok(all)
}

/// What is written as codes is off by half a step of them too, and what nobody writes is told of none.
fn coded(expected: &mut Expected) {
    let Some((format, width)) = expected.codes else { return };
    expected.unknown = expected.want.iter().map(|v| v.is_nan()).collect();
    let rows = expected.want.chunks(width).zip(expected.bound.chunks_mut(width));
    for (want, bound) in rows.flat_map(|(want, bound)| want.chunks(32).zip(bound.chunks_mut(32))) {
        let most = want.iter().zip(&*bound).fold(0.0f64, |most, (v, off)| most.max(v.abs() + off));
        for (v, off) in want.iter().zip(bound) {
            // A scale is f16. One of Q4_0 is of the largest number's sign, so that its opposite ends a whole step before.
            *off += match format {
                KvFormat::Q8_0 => most * (0.51 / 127.0 + 2f64.powi(-11)) + 127.0 * 2f64.powi(-25),
                KvFormat::Q4_0 => most * (1.01 / 8.0 + 2f64.powi(-11)) + 8.0 * 2f64.powi(-25),
                _ => (v.abs() + *off) / 16.0 + 2f64.powi(-10),
            };
        }
    }
}

/// What tells one case from another.
#[derive(Clone, Copy)]
struct Spec {
    batch: usize,
    each: usize,
    heads: usize,
    groups: usize,
    d: usize,
    e: usize,
    /// Room for tokens of an element, or pages of all.
    room: usize,
    page: usize,
    table: &'static [f32],
    lengths: &'static [f32],
    cu: &'static [f32],
    start: usize,
    packed: bool,
    add: bool,
    norm: &'static str,
    full: bool,
    /// Weights: 0: none, 1: `[D]`, 2: `[H, D]` or `[H·D]`.
    weight: u32,
    bias: u32,
    offset: f64,
    value_norm: bool,
    rotary: usize,
    /// Rows of a table for positions; 0: a row a token, 1: a row a token of the batch, 2: by where it is appended.
    angles: usize,
    interleaved: bool,
    before_norm: bool,
    from_heads: bool,
    y_tokens: bool,
    tokens_place: bool,
    keys: &'static str,
    values: &'static str,
    /// Queries, keys and values that are asked for.
    wanted: [bool; 3],
}

const PLAIN: Spec = Spec {
    batch: 2,
    each: 3,
    heads: 4,
    groups: 2,
    d: 64,
    e: 64,
    room: 7,
    page: 0,
    table: &[],
    lengths: &[],
    cu: &[],
    start: 2,
    packed: true,
    add: false,
    norm: "none",
    full: false,
    weight: 0,
    bias: 0,
    offset: 0.0,
    value_norm: false,
    rotary: 0,
    angles: 0,
    interleaved: false,
    before_norm: false,
    from_heads: false,
    y_tokens: false,
    tokens_place: false,
    keys: "dense",
    values: "dense",
    wanted: [true; 3],
};

fn case(name: &str, s: Spec) -> Case {
    let input = |role, shape: &[usize], fill, stored| Input { role, shape: shape.to_vec(), fill, stored };
    let normal = |deviation| Fill::Normal { mean: 0.0, deviation };
    let (f32s, i32s) = (Stored::Always(Elem::F32), Stored::Always(Elem::I32));
    let tokens = s.batch * s.each;
    let ragged = !s.cu.is_empty();
    let lead = if ragged { vec![tokens] } else { vec![s.batch, s.each] };
    let with = |last: usize| [lead.as_slice(), &[last]].concat();
    let mut inputs = Vec::new();
    if s.packed {
        let whole = s.heads * s.d + s.groups * (s.d + s.e);
        inputs.push(input("qkv", &with(whole), normal(1.0), Stored::Activation));
    }
    for (i, (role, heads, width)) in
        [("q", s.heads, s.d), ("k", s.groups, s.d), ("v", s.groups, s.e)].into_iter().enumerate()
    {
        if !s.packed && s.wanted[i] {
            let shape = if s.from_heads { vec![s.batch, heads, s.each, width] } else { with(heads * width) };
            inputs.push(input(role, &shape, normal(1.0), Stored::Activation));
        }
        if s.add && s.wanted[i] {
            let role = ["q_add", "k_add", "v_add"][i];
            inputs.push(input(role, &[heads * width], normal(0.5), Stored::Activation));
        }
        if i < 2 && s.norm != "none" {
            let shape = |by: u32| match (by, s.full) {
                (1, false) => vec![width],
                (_, true) => vec![heads * width],
                _ => vec![heads, width],
            };
            if s.weight > 0 {
                let fill = Fill::Normal { mean: 1.0 - s.offset as f32, deviation: 0.2 };
                inputs.push(input(["q_weight", "k_weight"][i], &shape(s.weight), fill, Stored::Activation));
            }
            if s.bias > 0 {
                inputs.push(input(["q_bias", "k_bias"][i], &shape(s.bias), normal(0.2), f32s));
            }
        }
    }
    if s.rotary > 0 {
        let rows = match s.angles {
            0 => vec![if ragged { tokens } else { s.each }],
            1 => vec![s.batch, s.each],
            2 => vec![s.room.max(8)],
            p => vec![p],
        };
        let shape = [rows.as_slice(), &[s.rotary / 2]].concat();
        inputs.push(input("cos", &shape, Fill::Uniform(-1.0, 1.0), f32s));
        inputs.push(input("sin", &shape, Fill::Uniform(-1.0, 1.0), f32s));
        if s.angles > 2 {
            inputs.push(input("positions", &lead, Fill::Uniform(-1.4, s.angles as f32 + 0.4), i32s));
        }
    }
    for (role, values) in [("lengths", s.lengths), ("cu", s.cu)] {
        if !values.is_empty() {
            inputs.push(input(role, &[values.len()], Fill::These(values), i32s));
        }
    }
    let sequences = if ragged { s.cu.len() - 1 } else { s.batch };
    if !s.table.is_empty() {
        inputs.push(input("table", &[sequences, s.table.len() / sequences], Fill::These(s.table), i32s));
    }
    let mut outputs = Vec::new();
    if s.wanted[0] {
        let shape = match (ragged, s.y_tokens) {
            (true, _) => vec![tokens, s.heads, s.d],
            (false, true) => vec![s.batch, s.each, s.heads, s.d],
            (false, false) => vec![s.batch, s.heads, s.each, s.d],
        };
        outputs.push(Output { role: "y", shape, stored: Stored::Activation });
    }
    let rows = if s.page > 0 { s.room * s.page } else { s.room * sequences } * s.groups;
    for (role, wanted, width, format) in [("keys", s.wanted[1], s.d, s.keys), ("values", s.wanted[2], s.e, s.values)] {
        let (shape, stored) = match codes_named(format) {
            None => (vec![rows, width], Stored::Activation),
            Some(f) => (vec![f.bytes(rows, width) / 4], Stored::Always(Elem::U32)),
        };
        if wanted {
            outputs.push(Output { role, shape, stored });
        }
    }
    let mut attrs = Attrs::default();
    for (name, number) in
        [("heads", s.heads), ("groups", s.groups), ("d", s.d), ("e", s.e), ("start", s.start), ("page", s.page)]
    {
        attrs = attrs.with(name, number as f64);
    }
    for (name, on) in [
        ("full", s.full),
        ("value_norm", s.value_norm),
        ("interleaved", s.interleaved),
        ("before_norm", s.before_norm),
        ("appended", s.angles == 2),
        ("from_heads", s.from_heads),
        ("y_tokens", s.y_tokens),
        ("tokens_place", s.tokens_place),
    ] {
        attrs = attrs.with(name, on);
    }
    attrs = attrs.with("norm", s.norm).with("offset", s.offset).with("kv", s.keys).with("v", s.values);
    let numbers = tokens * (s.heads * s.d + s.groups * (s.d + s.e));
    Case {
        name: format!("qkv_prologue/{name}"),
        op: OPS[0],
        title: name.replace('-', " "),
        model: "",
        phase: "",
        attrs,
        inputs,
        weights: Vec::new(),
        outputs,
        storages: vec![Elem::F32],
        real: false,
        skew: 0,
        flops: numbers as u64 * 6,
    }
}

const EACH: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];
const ONE: &[Elem] = &[Elem::F32];
const APART: Spec = Spec { packed: false, ..PLAIN };
const RMS: Spec = Spec { norm: "rms", weight: 1, rotary: 64, ..PLAIN };
const FULL: Spec = Spec { full: true, ..RMS };
const ODD: Spec = Spec { d: 33, e: 31, rotary: 26, ..RMS };
const PAGED: Spec = Spec { page: 4, room: 6, table: &[3.0, 5.0, 1.0, 0.0], lengths: &[2.0, 3.0], angles: 2, ..RMS };
const RAGGED: Spec =
    Spec { batch: 1, each: 9, cu: &[0.0, 4.0, 4.0, 5.0, 9.0], lengths: &[1.0, 2.0, 0.0, 3.0], angles: 2, ..RMS };
const CODED: Spec = Spec { d: 80, e: 33, ..RMS };
const TABLE: &[f32] = &[3.0, 5.0, 1.0, 0.0, 2.0, -1.0, 4.0, 6.0];

/// What it can do: name, numbers, storages, and what begins before operands.
const ABLE: &[(&str, Spec, &[Elem], usize)] = &[
    ("split", PLAIN, EACH, 0),
    ("split-skewed", PLAIN, EACH, 1),
    ("apart", Spec { add: true, tokens_place: true, y_tokens: true, ..APART }, EACH, 0),
    ("apart-heads-first", Spec { from_heads: true, rotary: 48, angles: 1, ..APART }, ONE, 0),
    (
        "apart-all-at-once",
        Spec { add: true, rotary: 64, angles: 9, lengths: &[1.0, 4.0], ..Spec { norm: "rms", ..APART } },
        EACH,
        0,
    ),
    ("queries-only", Spec { wanted: [true, false, false], norm: "l2", ..APART }, ONE, 0),
    ("keys-and-values-only", Spec { wanted: [false, true, true], norm: "l2", rotary: 64, ..APART }, ONE, 0),
    ("values-only", Spec { wanted: [false, false, true], value_norm: true, ..APART }, ONE, 0),
    ("rms-then-turn", RMS, EACH, 0),
    ("rms-offset-by-head", Spec { offset: 1.0, weight: 2, bias: 1, ..RMS }, ONE, 0),
    ("turn-then-rms", Spec { before_norm: true, ..RMS }, ONE, 0),
    ("layer-by-head", Spec { norm: "layer", weight: 2, bias: 2, add: true, ..RMS }, ONE, 0),
    ("l2", Spec { norm: "l2", weight: 0, value_norm: true, ..RMS }, ONE, 0),
    ("full-rms", FULL, EACH, 0),
    ("full-layer", Spec { norm: "layer", bias: 1, add: true, d: 33, e: 31, rotary: 26, ..FULL }, ONE, 0),
    ("full-l2-turned-before", Spec { norm: "l2", weight: 0, before_norm: true, rotary: 16, ..FULL }, ONE, 0),
    ("full-interleaved", Spec { interleaved: true, before_norm: true, d: 12, e: 20, rotary: 10, ..FULL }, ONE, 0),
    ("full-and-values", Spec { value_norm: true, ..FULL }, ONE, 0),
    ("layer-and-values", Spec { norm: "layer", value_norm: true, ..RMS }, ONE, 0),
    ("full-layer-and-values", Spec { norm: "layer", value_norm: true, ..FULL }, ONE, 0),
    ("odd", ODD, EACH, 0),
    ("odd-interleaved", Spec { interleaved: true, ..ODD }, ONE, 0),
    ("d1", Spec { d: 1, e: 3, rotary: 0, ..RMS }, ONE, 0),
    ("d127", Spec { d: 127, e: 129, rotary: 126, heads: 3, groups: 1, ..RMS }, EACH, 1),
    ("d512", Spec { d: 512, e: 8, rotary: 512, interleaved: true, ..RMS }, ONE, 0),
    ("d1000", Spec { d: 1000, e: 1000, rotary: 500, heads: 2, groups: 2, ..RMS }, ONE, 0),
    ("appended", Spec { angles: 2, lengths: &[0.0, 3.0], ..RMS }, ONE, 0),
    ("no-room", Spec { angles: 2, lengths: &[-1.0, 5.0], ..RMS }, ONE, 0),
    ("last-start", Spec { start: u32::MAX as usize, ..RMS }, ONE, 0),
    ("positions", Spec { angles: 17, ..RMS }, ONE, 4),
    ("paged", PAGED, EACH, 0),
    ("paged-without-a-page", Spec { table: &[3.0, -1.0, 9.0, 0.0], ..PAGED }, ONE, 0),
    ("ragged", RAGGED, EACH, 0),
    ("ragged-paged", Spec { page: 4, room: 7, table: TABLE, tokens_place: false, ..RAGGED }, ONE, 0),
    ("ragged-rows-of-tables", Spec { angles: 0, lengths: &[], ..RAGGED }, ONE, 0),
    ("ragged-and-of-no-sequence", Spec { cu: &[0.0, 4.0, 4.0, 5.0, 7.0], ..RAGGED }, ONE, 0),
    ("full-q8_0", Spec { keys: "q8_0", values: "q8_0", ..FULL }, ONE, 0),
    ("q8_0-and-q4_0", Spec { keys: "q8_0", values: "q4_0", ..CODED }, ONE, 0),
    ("q4_0-and-e4m3", Spec { keys: "q4_0", values: "e4m3", ..CODED }, ONE, 0),
    ("e4m3-and-q8_0", Spec { keys: "e4m3", values: "q8_0", ..CODED }, ONE, 0),
    ("q4_0-and-dense", Spec { keys: "q4_0", ..CODED }, ONE, 0),
];

/// The bytes of angles and of rows of the cache beyond one for each token.
pub(super) fn unmoved_bytes(case: &Case, storage: Elem) -> u64 {
    let Some([lead @ .., _]) = case.inputs.first().map(|i| i.shape.as_slice()) else { return 0 };
    let tokens: usize = lead.iter().product();
    let a = case.attrs.reader(case.op);
    let number = |name| a.number(name, 0.0) as usize;
    let format = |name| codes_named(a.text(name, "dense"));
    let elem = storage.bytes();
    let rows = tokens * number("groups");
    let cache = |output: &Output| {
        let (width, of) = match output.role {
            "keys" => (number("d"), format("kv")),
            "values" => (number("e"), format("v")),
            _ => return 0,
        };
        let written = of.map_or(rows * width * elem, |of| of.bytes(rows, width));
        (output.stored.elements(&output.shape) * output.stored.elem(storage).bytes()).saturating_sub(written)
    };
    (rope::unread_angles(case, tokens) + case.outputs.iter().map(cache).sum::<usize>()) as u64
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let llama = Spec { heads: 32, groups: 8, d: 128, e: 128, rotary: 128, ..PLAIN };
    let qwen = Spec { heads: 16, norm: "rms", weight: 1, ..llama };
    let gemma = Spec { heads: 8, groups: 4, d: 256, e: 256, rotary: 256, norm: "rms", weight: 1, offset: 1.0, ..llama };
    let olmo = Spec { heads: 16, groups: 16, norm: "rms", weight: 1, full: true, ..llama };
    for (name, model, of, keys) in [
        ("llama3-8b", "Llama-3-8B", llama, "dense"),
        ("llama3-8b-q8_0", "Llama-3-8B", llama, "q8_0"),
        ("qwen3-0.6b", "Qwen3-0.6B", qwen, "dense"),
        ("gemma3-4b", "Gemma-3-4B", gemma, "dense"),
        ("olmo2-1b", "OLMo-2-1B", olmo, "dense"),
    ] {
        for (phase, each) in [("decode", 1), ("prefill", 512)] {
            let lengths: &[f32] = if each == 1 { &[511.0] } else { &[0.0] };
            let (batch, room, angles) = (1, 512, 2);
            let spec = Spec { batch, each, room, angles, lengths, keys, values: keys, y_tokens: true, ..of };
            let made = case(&format!("{name}-{phase}"), spec);
            all.push(Case { model, phase, real: true, storages: vec![Elem::F16], title: keys.into(), ..made });
        }
    }
    for (name, spec, storages, skew) in ABLE {
        let mut made = case(name, *spec);
        (made.phase, made.storages, made.skew) = ("what it can do", storages.to_vec(), *skew);
        all.push(made);
    }
    let mut ends = case("positions-past-both-ends", Spec { angles: 17, ..RMS });
    let past = Fill::These(&[-1.0, 0.0, 16.0, 17.0, i32::MIN as f32]);
    ends.inputs.iter_mut().filter(|i| i.role == "positions").for_each(|i| i.fill = past);
    all.push(Case { phase: "positions that the table has not", ..ends });
    for (name, fill) in [
        ("values-of-0", Fill::Constant(0.0)),
        // Their mean square is about eps.
        ("values-of-1e-3", Fill::Normal { mean: 0.0, deviation: 1e-3 }),
    ] {
        let mut made = case(name, Spec { wanted: [false, false, true], value_norm: true, ..APART });
        made.inputs.iter_mut().filter(|i| i.role == "v").for_each(|i| i.fill = fill);
        all.push(Case { phase: "values of which eps is much", ..made });
    }
    // What 32 bits hold of it is 0.
    let far = case("start-past-32-bits", RMS);
    all.push(Case { attrs: far.attrs.clone().with("start", 2f64.powi(32)), phase: "no room", ..far });
    let mut counting = case("counted", Spec { batch: 1, each: 33, room: 40, ..RMS });
    counting.inputs.push(counted(COUNTED[0]));
    all.push(Case { phase: "rows that the device counts", ..counting });
    for (name, fill) in [
        ("special", Fill::Special),
        ("values-of-1e4", Fill::Normal { mean: 0.0, deviation: 1e4 }),
        ("zeros", Fill::Constant(0.0)),
    ] {
        let mut made = case(name, Spec { heads: 4, groups: 4, ..apart_of(RMS) });
        made.inputs.iter_mut().filter(|i| ["q", "k", "v"].contains(&i.role)).for_each(|i| i.fill = fill);
        all.push(Case {
            phase: "values that hurt",
            storages: if fill == Fill::Special { vec![Elem::F32] } else { EACH.to_vec() },
            ..made
        });
    }
    all
}

/// The same by projections that are apart, heads first, so that a row of an input is a row of a head.
fn apart_of(spec: Spec) -> Spec {
    Spec { packed: false, from_heads: true, ..spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_cache_to_which_nothing_is_appended_are_not_moved() {
        let cases = cases();
        let bytes = |name: &str| {
            let case = cases.iter().find(|case| case.name == format!("qkv_prologue/llama3-8b-{name}"));
            case.map(|case| case.bytes(Elem::F16))
        };
        // Queries of 32 heads in and out, keys and values of 8 in; the angles of a token, and its length.
        let token = |cache: u64| (2 * 32 + 2 * 8) * 128 * 2 + 2 * 8 * cache + 2 * 64 * 4;
        assert_eq!(bytes("decode"), Some(token(128 * 2) + 4));
        assert_eq!(bytes("q8_0-decode"), Some(token(4 * 34) + 4));
        assert_eq!(bytes("prefill"), Some(512 * token(128 * 2) + 4));
        assert_eq!(bytes("q8_0-prefill"), Some(512 * token(4 * 34) + 4));
    }
}
