//! Golden decoder layers that some tokens skip: from the tensors of a checkpoint's layer to what leaves it.

use std::collections::BTreeMap;

use gristmill::decoder::{
    DecoderLayer, Flavour, LayerScratch, LayerWeights, Matrix, Qkv, Router, Skipping, SkippingScratch, Tokens,
};
use gristmill::formats::{Format, Packed};
use gristmill::ops::attention::prologue::{Angles, Turn};
use gristmill::ops::attention::tables::RopeTable;
use gristmill::ops::depth::{Choose, Gate, GateOf, GateOn};
use gristmill::proof::{Attrs, Value};
use gristmill::{Dispatcher, Elem, Error, Result, Tensor, Weight};
use pollster::block_on;

/// In the place of an op's name.
pub const LAYER: &str = "mod_layer";

type Tensors = BTreeMap<String, Tensor>;

/// The tensors of a layer by their names in a checkpoint.
struct Named<'a>(&'a Tensors);

impl<'a> Named<'a> {
    fn tensor(&self, name: &str) -> Result<&'a Tensor> {
        self.0.get(name).ok_or_else(|| Error::Shape { op: LAYER, detail: format!("{name} is missing") })
    }

    fn weight(&self, gpu: &Dispatcher, name: &str) -> Result<Weight> {
        let tensor = self.tensor(&format!("{name}.weight"))?;
        let &[n, k] = tensor.shape().dims() else {
            return Err(Error::Shape { op: LAYER, detail: format!("{name} has shape {}", tensor.shape()) });
        };
        gpu.weight(&Packed::encode(Format::Dense, n, k, &block_on(tensor.read())?)?)
    }

    fn matrix<'w>(&self, name: &str, w: &'w Weight) -> Matrix<'w>
    where
        'a: 'w,
    {
        Matrix { w, bias: self.0.get(&format!("{name}.bias")), adapters: None }
    }
}

/// Runs the layer: y and which tokens are kept. The number of candidates is told or not.
///
/// # Errors
/// A tensor that is missing, or what the layer says.
pub fn run(gpu: &Dispatcher, tensors: &Tensors, attrs: &Attrs, candidates: Option<&[usize]>) -> Result<[Tensor; 2]> {
    let named = Named(tensors);
    let a = attrs.reader(LAYER);
    let x = named.tensor("x")?;
    let &[batch, tokens, width] = x.shape().dims() else {
        return Err(Error::Shape { op: LAYER, detail: format!("x has shape {}", x.shape()) });
    };
    let heads = a.needed("heads") as usize;
    let groups = a.number("kv_heads", heads as f64) as usize;
    let head_dim = a.number("head_dim", (width / heads.max(1)) as f64) as usize;
    let flavour = Flavour { eps: a.number("eps", 1e-6) as f32, ..Flavour::llama(heads, groups, head_dim) };
    let choose = match attrs.0.get("k") {
        Some(Value::Number(_)) => Choose::Count(a.needed("k") as usize),
        _ => Choose::Ratio(a.needed("ratio") as f32),
    };
    let gate = Gate {
        of: GateOf::parse(a.text("gate", "tanh"))?,
        alpha: a.number("alpha", 0.2) as f32,
        bias: a.number("bias", 1.0) as f32,
    };
    let router = Router {
        bias: tensors.get("router.bias"),
        gate,
        gate_on: GateOn::parse(a.text("gate_on", "mlp"))?,
        scale_skipped: a.flag("scale_skipped", true),
        ..Router::new(named.tensor("router.weight")?, choose)
    };
    let theta = a.number("rope_theta", 10_000.0);
    a.finish()?;

    let names = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| format!("self_attn.{name}"));
    let attention = names.iter().map(|name| named.weight(gpu, name)).collect::<Result<Vec<_>>>()?;
    let mlp = ["gate_proj", "up_proj", "down_proj"].map(|name| named.weight(gpu, &format!("mlp.{name}")));
    let [gate, up, down] = mlp;
    let (gate, up, down) = (gate?, up?, down?);
    let matrix = |i: usize| named.matrix(&names[i], &attention[i]);
    let qkv = Qkv::Apart { q: matrix(0), k: matrix(1), v: matrix(2) };
    let norms = (named.tensor("input_layernorm.weight")?, named.tensor("post_attention_layernorm.weight")?);
    let layer = DecoderLayer { flavour, weights: LayerWeights::new(norms, (qkv, &attention[3]), [&gate, &up, &down]) };

    let positions = named.tensor("positions")?;
    let last = block_on(positions.read())?.into_iter().fold(0.0, f32::max) as usize;
    let (cos, sin) = gpu.rope_table(&RopeTable::new(theta, head_dim), last + 1, Elem::F32)?;
    let angles = Angles::Positions(positions);
    let turn = Some(Turn { cos: &cos, sin: &sin, angles, interleaved: false, before_norm: false });

    // What nobody writes shows.
    let poison = vec![0xff; x.bytes() as usize];
    let y = gpu.upload_bytes(&poison, x.shape(), x.elem())?;
    let keep = gpu.upload_bytes(&poison[..batch * tokens], [batch, tokens], Elem::U8)?;
    let scratch = LayerScratch::new(gpu, &layer, batch * tokens, x.elem(), Elem::F32)?;
    let of_skipping = SkippingScratch::new(gpu, &layer, [batch, tokens, tokens], x.elem())?;
    let skipping = Skipping {
        target: tensors.get("target"),
        valid: tensors.get("valid"),
        candidates,
        keep: Some(&keep),
        ..Skipping::new(router, &of_skipping)
    };
    let mut rec = gpu.record()?;
    layer.record_routed(&mut rec, &scratch, &Tokens { turn, ..Tokens::new(x, &y) }, &skipping, None)?;
    rec.submit()?;
    Ok([y, keep])
}
