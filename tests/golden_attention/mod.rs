//! A golden attention that has a past, a norm of queries and keys, or a turn: the prologue puts what is new behind what is past, and
//! attention reads the rows.

use std::collections::BTreeMap;

use gristmill::ops::attention::Order;
use gristmill::ops::attention::prologue::{Angles, NormAxis, NormKind, Projection, Prologue, QkNorm, Start, Turn};
use gristmill::proof::{Attrs, Value};
use gristmill::{Dispatcher, Elem, Error, KvRows, Result, Tensor};

type Tensors = BTreeMap<String, Tensor>;

/// Whether something is to be done before attention.
pub fn is_asked(tensors: &Tensors, attrs: &Attrs) -> bool {
    tensors.keys().any(|role| role.starts_with("past_"))
        || ["qk_norm", "rope"].iter().any(|name| attrs.0.get(*name).is_some_and(|v| *v != Value::Text("none".into())))
}

fn wrong(detail: String) -> Error {
    Error::Shape { op: "attention", detail }
}

fn text(attrs: &mut Attrs, name: &str) -> String {
    match attrs.0.remove(name) {
        Some(Value::Text(text)) => text,
        _ => "none".to_owned(),
    }
}

fn number(attrs: &mut Attrs, name: &str) -> f32 {
    match attrs.0.remove(name) {
        Some(Value::Number(v)) => v as f32,
        _ => 0.0,
    }
}

/// `[B, G, P + S, width]` with the past in its place, and NaN where new rows go.
fn rows(gpu: &Dispatcher, past: Option<&Tensor>, new: &Tensor) -> Result<(Tensor, usize)> {
    let shape = new.shape();
    let [b, g, s, width] = *shape.dims() else { return Err(wrong(format!("keys or values of shape {shape}"))) };
    let p = match past {
        None => 0,
        Some(past) => match *past.shape().dims() {
            [b1, g1, p, w1] if [b1, g1, w1] == [b, g, width] && past.elem() == new.elem() => p,
            _ => return Err(wrong(format!("a past of shape {} before {shape}", past.shape()))),
        },
    };
    let size = width * new.elem().bytes();
    let mut bytes = vec![0xff; b * g * (p + s) * size];
    if let Some(past) = past {
        let past = pollster::block_on(past.read_bytes())?;
        for head in 0..b * g {
            bytes[head * (p + s) * size..][..p * size].copy_from_slice(&past[head * p * size..][..p * size]);
        }
    }
    Ok((gpu.upload_bytes(&bytes, [b, g, p + s, width], new.elem())?, p))
}

/// Replaces q, k and v by what attention reads, by the prologue's plan of this number, and takes away what the prologue has seen to. Gives
/// the keys and values that there are then, and the names of the prologue's plans.
///
/// # Errors
/// What the prologue says, or that operands do not fit each other.
pub fn before(
    gpu: &Dispatcher,
    tensors: &mut Tensors,
    attrs: &mut Attrs,
    plan: usize,
) -> Result<([Tensor; 2], Vec<String>)> {
    let mut take = |role: &str| tensors.remove(role);
    let (Some(q), Some(k), Some(v)) = (take("q"), take("k"), take("v")) else { return Err(wrong("q, k, v".into())) };
    let (past_k, past_v) = (take("past_k"), take("past_v"));
    if past_k.is_some() != past_v.is_some() {
        return Err(wrong("a past of keys or of values alone".into()));
    }
    let roles = ["q_weight", "k_weight", "q_bias", "k_bias", "cos", "sin", "positions"];
    let [q_weight, k_weight, q_bias, k_bias, cos, sin, positions] = roles.map(take);
    let kind = match text(attrs, "qk_norm").as_str() {
        "none" => None,
        "l2" => Some(NormKind::L2),
        "rms" => Some(NormKind::Rms),
        "layer" => Some(NormKind::Layer),
        other => return Err(wrong(format!("no norm is named {other}"))),
    };
    let full = text(attrs, "qk_axis") == "full";
    let (eps, offset) = (number(attrs, "qk_eps"), number(attrs, "qk_offset"));
    let norm = kind.map(|kind| QkNorm {
        axis: if full { NormAxis::Projection } else { NormAxis::Head },
        q_weight: q_weight.as_ref(),
        k_weight: k_weight.as_ref(),
        q_bias: q_bias.as_ref(),
        k_bias: k_bias.as_ref(),
        offset,
        ..QkNorm::new(kind, eps)
    });
    let rope = text(attrs, "rope");
    let interleaved = attrs.0.remove("interleaved") == Some(Value::Flag(true));
    let turn = match (rope.as_str(), &cos, &sin) {
        ("none", ..) => None,
        ("after_norm" | "before_norm", Some(cos), Some(sin)) => Some(Turn {
            cos,
            sin,
            angles: positions.as_ref().map_or(Angles::Tokens, Angles::Positions),
            interleaved,
            before_norm: rope == "before_norm",
        }),
        (other, ..) => return Err(wrong(format!("rope {other} without cos and sin"))),
    };
    let ((all_k, p), (all_v, p_v)) = (rows(gpu, past_k.as_ref(), &k)?, rows(gpu, past_v.as_ref(), &v)?);
    if p != p_v {
        return Err(wrong(format!("{p} keys and {p_v} values are past")));
    }
    let heads = |t: &Tensor| t.shape().dims().get(1).copied().unwrap_or(0);
    let tokens = |t: &Tensor| t.shape().dims().get(2).copied().unwrap_or(0);
    // Only keys and values are rounded to the storage of a cache.
    let y = gpu.zeros(q.shape(), Elem::F32)?;
    let (keys, values) = (KvRows::of(&all_k)?, KvRows::of(&all_v)?);
    let prologue = |q, k, v| Prologue {
        from_order: Order::HeadsFirst,
        norm,
        rope: turn,
        start: Start::At(p),
        ..Prologue::of(Projection::Apart { q, k, v }, (heads(&y), heads(&all_k)))
    };
    let mut ops = Vec::new();
    // Without a turn there may be other than L new keys: then they come by themselves.
    if turn.is_some() || tokens(&q) == tokens(&k) {
        let op = prologue(Some(&q), Some(&k), Some(&v));
        ops.push(Prologue { y: Some(&y), keys: Some(&keys), values: Some(&values), ..op });
    } else {
        ops.push(Prologue { y: Some(&y), ..prologue(Some(&q), None, None) });
        ops.push(Prologue { keys: Some(&keys), values: Some(&values), ..prologue(None, Some(&k), Some(&v)) });
    }
    let mut names = Vec::new();
    let mut recorder = gpu.record()?;
    for op in ops {
        names = gpu.plans(op)?.into_iter().map(|p| p.name).collect();
        recorder.run_plan(op, &names[plan.min(names.len() - 1)])?;
    }
    recorder.submit()?;
    tensors.insert("q".to_owned(), y.clone());
    tensors.insert("k".to_owned(), all_k.clone());
    tensors.insert("v".to_owned(), all_v.clone());
    Ok(([all_k, all_v], names))
}
