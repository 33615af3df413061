//! A language model from beginning to end: a checkpoint, decoder layers, a cache, and a step that is recorded once and replayed.
//!
//! ```text
//! cargo run --release --example generate                             # a tiny model of noise, made here; checks itself
//! cargo run --release --example generate DIRECTORY 16 9707 11 1879   # 16 tokens after these three, by a Llama, Mistral, Qwen2 or Qwen3
//! ```
//!
//! The directory is as Hugging Face has it: `config.json` and safetensors, dense or in a format of few bits. Tokens are numbers: a tokenizer is another
//! library's matter, and so is sampling; the most likely token is taken.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it found")]

use std::error::Error;
use std::io::Write as _;

use gristmill::checkpoint::Checkpoint;
use gristmill::decoder::{DecoderLayer, Flavour, LayerScratch, LayerWeights, Matrix, Qkv, Tokens};
use gristmill::formats::Packed;
use gristmill::kv_cache::{Coming, KvCache, KvRoom, KvShape};
use gristmill::ops::attention::prologue::{Angles, Turn};
use gristmill::ops::attention::tables::{RopeTable, Scaling};
use gristmill::ops::linear::Linear;
use gristmill::ops::norm::RmsNorm;
use gristmill::{Dispatcher, Elem, Encoder, KvFormat, Recorder, Recording, Tensor, Weight};
use pollster::block_on;
use serde_json::{Value, json};

type Outcome<T> = std::result::Result<T, Box<dyn Error>>;

/// How the residual stream is stored, to which every layer adds: some numbers of real models outgrow f16 there. It is a small part of what moves.
const STREAM: Elem = Elem::F32;

/// How what is between ops is stored. Sums are f32 all the same.
const INNER: Elem = Elem::F16;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let gpu = block_on(Dispatcher::request())?;
    eprintln!("on {}", gpu.info().name);
    let Some((directory, numbers)) = arguments.split_first() else { return check(&gpu) };
    let numbers = numbers.iter().map(|n| n.parse()).collect::<Result<Vec<usize>, _>>()?;
    let Some((&count, prompt)) = numbers.split_first().filter(|(_, prompt)| !prompt.is_empty()) else {
        return Err("after the directory come how many tokens are wanted, and those of the prompt".into());
    };
    let config = serde_json::from_str(&std::fs::read_to_string(format!("{directory}/config.json"))?)?;
    let checkpoint = Checkpoint::open(directory)?;
    let model = Model::load(&gpu, &checkpoint, &config)?;
    let mut session = Session::new(&model, prompt.len() + count)?;
    let mut next = session.prefill(prompt)?;
    for i in 0..count {
        print!("{} ", best(&next));
        std::io::stdout().flush()?;
        if i + 1 < count {
            next = session.step(best(&next))?;
        }
    }
    println!();
    Ok(())
}

/// The weights of a layer, on the device.
struct Layer {
    norms: [Tensor; 2],
    /// Queries, keys and values with their biases, which Qwen2 has: all below each other, or three.
    qkv: Vec<(Weight, Option<Tensor>)>,
    /// The output; gate, up and down.
    matrices: [Weight; 4],
    /// Of queries and keys: Qwen3 has them.
    head_norms: Option<[Tensor; 2]>,
}

struct Model<'c> {
    gpu: Dispatcher,
    flavour: Flavour,
    layers: Vec<Layer>,
    /// Rows of tokens; it stays in its file, of which a row is decoded where its token comes.
    embedding: Packed<'c>,
    norm: Tensor,
    head: Weight,
    theta: f64,
    scaling: Scaling<'static>,
}

impl<'c> Model<'c> {
    fn load(gpu: &Dispatcher, checkpoint: &'c Checkpoint<'_>, config: &Value) -> Outcome<Self> {
        let size = |name: &str| config[name].as_u64().map(|n| n as usize).ok_or(format!("config.json has no {name}"));
        let heads = size("num_attention_heads")?;
        let groups = size("num_key_value_heads").unwrap_or(heads);
        let head_dim = size("head_dim").or_else(|_| Ok::<_, String>(size("hidden_size")? / heads))?;
        let eps = config["rms_norm_eps"].as_f64().ok_or("config.json has no rms_norm_eps")? as f32;
        let flavour = match config["model_type"].as_str() {
            Some("llama" | "mistral" | "qwen2") => Flavour::llama(heads, groups, head_dim),
            Some("qwen3") => Flavour::qwen3(heads, groups, head_dim),
            other => {
                return Err(format!("model_type is {other:?}, which is not among llama, mistral, qwen2, qwen3").into());
            }
        };
        // Of Mistral all layers have the window; of Qwen some, which are told apart otherwise.
        let window = match config["sliding_window"].as_u64().filter(|_| config["model_type"] == "mistral") {
            Some(tokens) => Some(u32::try_from(tokens.checked_sub(1).ok_or("sliding_window is 0")?)?),
            None if config["use_sliding_window"] == true => {
                return Err("this example does not read use_sliding_window".into());
            }
            None => None,
        };
        let rope =
            if config["rope_parameters"].is_object() { &config["rope_parameters"] } else { &config["rope_scaling"] };
        let theta = rope["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap_or(1e4);
        let unread = checkpoint
            .names()
            .find(|name| name.ends_with("o_proj.bias") || name.contains(".mlp.") && name.ends_with(".bias"));
        if let Some(name) = unread {
            return Err(format!("this example does not read {name}").into());
        }
        const QKV: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let plain = |name: &str| gpu.upload_tensor(&checkpoint.tensor(name)?);
        let weight = |name: &str| gpu.weight(&checkpoint.weight(name)?);
        let has = |name: &str| checkpoint.names().any(|there| there == name);
        let layer = |i: usize| -> gristmill::Result<Layer> {
            let at = |name: &str| format!("model.layers.{i}.{name}.weight");
            let matrix = |name: &str| weight(&at(name));
            let bias = |name: &str| format!("model.layers.{i}.{name}.bias");
            let [q, k, v] = QKV.map(|name| checkpoint.weight(&at(name)));
            let [q, k, v] = [&q?, &k?, &v?];
            let qkv = match gpu.weight_stacked(&[q, k, v]) {
                // One dispatch for all three.
                Ok(all) => vec![(all, has(&bias(QKV[0])).then(|| below(gpu, checkpoint, &QKV.map(bias))).transpose()?)],
                // They are not in one format.
                Err(gristmill::Error::Shape { .. }) => [q, k, v]
                    .into_iter()
                    .zip(QKV.map(bias))
                    .map(|(w, bias)| Ok((gpu.weight(w)?, has(&bias).then(|| plain(&bias)).transpose()?)))
                    .collect::<gristmill::Result<_>>()?,
                Err(error) => return Err(error),
            };
            let head_norms = || -> gristmill::Result<[Tensor; 2]> {
                let both = below(gpu, checkpoint, &[at("self_attn.q_norm"), at("self_attn.k_norm")])?;
                Ok([both.view(0, [head_dim])?, both.view(head_dim, [head_dim])?])
            };
            Ok(Layer {
                norms: [plain(&at("input_layernorm"))?, plain(&at("post_attention_layernorm"))?],
                qkv,
                matrices: [
                    matrix("self_attn.o_proj")?,
                    matrix("mlp.gate_proj")?,
                    matrix("mlp.up_proj")?,
                    matrix("mlp.down_proj")?,
                ],
                head_norms: flavour.qk_norm.map(|_| head_norms()).transpose()?,
            })
        };
        const EMBEDDING: &str = "model.embed_tokens.weight";
        let tied = !checkpoint.weights().any(|name| name == "lm_head.weight");
        Ok(Self {
            gpu: gpu.clone(),
            flavour: Flavour { eps, window, ..flavour },
            layers: (0..size("num_hidden_layers")?).map(layer).collect::<Result<_, _>>()?,
            embedding: checkpoint.weight(EMBEDDING)?,
            norm: plain("model.norm.weight")?,
            head: weight(if tied { EMBEDDING } else { "lm_head.weight" })?,
            theta,
            scaling: scaling(rope)?,
        })
    }

    fn width(&self) -> usize {
        self.embedding.k()
    }

    fn layer(&self, i: usize) -> DecoderLayer<'_> {
        let Layer { norms, qkv, matrices: [output, gate, up, down], head_norms } = &self.layers[i];
        let matrix = |i: usize| Matrix { bias: qkv[i].1.as_ref(), ..(&qkv[i].0).into() };
        let qkv = match qkv.len() {
            1 => Qkv::Packed(matrix(0)),
            _ => Qkv::Apart { q: matrix(0), k: matrix(1), v: matrix(2) },
        };
        let weights = LayerWeights {
            q_norm: head_norms.as_ref().map(|norms| &norms[0]),
            k_norm: head_norms.as_ref().map(|norms| &norms[1]),
            ..LayerWeights::new((&norms[0], &norms[1]), (qkv, output), [gate, up, down])
        };
        DecoderLayer { flavour: self.flavour, weights }
    }

    /// The numbers of tokens, in order.
    fn embed(&self, tokens: &[usize]) -> gristmill::Result<Vec<f32>> {
        let mut all = vec![0.0; tokens.len() * self.width()];
        for (row, token) in all.chunks_exact_mut(self.width()).zip(tokens) {
            self.embedding.decode_row(*token, row)?;
        }
        Ok(all)
    }
}

/// Tensors of a file, one after the other in one buffer.
fn below(gpu: &Dispatcher, checkpoint: &Checkpoint<'_>, names: &[String]) -> gristmill::Result<Tensor> {
    let all = names.iter().map(|name| checkpoint.tensor(name)).collect::<gristmill::Result<Vec<_>>>()?;
    let (bytes, count) =
        (all.iter().map(|t| t.bytes).collect::<Vec<_>>().concat(), all.iter().map(|t| t.shape[0]).sum());
    gpu.upload_tensor(&gristmill::checkpoint::Tensor { bytes: &bytes, shape: &[count], ..all[0] })
}

/// How the frequencies of the rotary embedding are changed.
fn scaling(config: &Value) -> Outcome<Scaling<'static>> {
    let number = |name: &str| config[name].as_f64().ok_or(format!("rope_scaling has no {name}"));
    match config["rope_type"].as_str().or(config["type"].as_str()) {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear { factor: number("factor")? }),
        Some("llama3") => Ok(Scaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: number("original_max_position_embeddings")?,
        }),
        Some(other) => Err(format!("this example does not read rope_scaling of the type {other}").into()),
    }
}

/// What a conversation needs beside the model.
struct Session<'m> {
    model: &'m Model<'m>,
    cache: KvCache,
    cos: Tensor,
    sin: Tensor,
    /// One token, its logits, and the step that makes the ones of the other: recorded once.
    x: Tensor,
    logits: Tensor,
    step: Recording,
}

impl<'m> Session<'m> {
    fn new(model: &'m Model<'m>, room: usize) -> Outcome<Self> {
        let (gpu, Flavour { groups, head_dim, .. }) = (&model.gpu, model.flavour);
        let table = RopeTable { scaling: model.scaling, ..RopeTable::new(model.theta, head_dim) };
        let (cos, sin) = gpu.rope_table(&table, room, Elem::F32)?;
        let shape = KvShape {
            layers: model.layers.len(),
            batch: 1,
            groups,
            d: head_dim,
            e: head_dim,
            keys: KvFormat::F16,
            values: KvFormat::F16,
        };
        let mut cache =
            KvCache::new(gpu, shape, KvRoom::Paged { page: 16, pages: room.div_ceil(16), each: room.div_ceil(16) })?;
        cache.turn_by(room);
        let x = gpu.zeros([1, 1, model.width()], STREAM)?;
        let logits = gpu.zeros([1, model.head.n()], Elem::F32)?;
        let scratch = LayerScratch::new(gpu, &model.layer(0), 1, STREAM, INNER)?;
        // What is the same for each token is kept: the layers, but not that the cache has grown.
        let step = gpu.keep(|rec| through(model, rec, (&cache, &scratch), (&cos, &sin), &x, &logits))?;
        Ok(Self { model, cache, cos, sin, x, logits, step })
    }

    /// All tokens of a prompt at once; the logits after the last.
    fn prefill(&mut self, prompt: &[usize]) -> Outcome<Vec<f32>> {
        let (model, gpu) = (self.model, &self.model.gpu);
        let x = gpu.upload(&model.embed(prompt)?, [1, prompt.len(), model.width()], STREAM)?;
        let scratch = LayerScratch::new(gpu, &model.layer(0), prompt.len(), STREAM, INNER)?;
        let mut rec = gpu.record()?;
        self.cache.append(&mut rec, 0..model.layers.len(), Coming::Each(prompt.len()))?;
        through(model, &mut rec, (&self.cache, &scratch), (&self.cos, &self.sin), &x, &self.logits)?;
        rec.submit()?;
        Ok(block_on(self.logits.read())?)
    }

    /// One token more.
    fn step(&mut self, token: usize) -> Outcome<Vec<f32>> {
        self.x.write(&self.model.embed(&[token])?)?;
        let mut rec = self.model.gpu.record()?;
        self.cache.append(&mut rec, 0..self.model.layers.len(), Coming::Each(1))?;
        rec.replay(&self.step)?;
        rec.submit()?;
        Ok(block_on(self.logits.read())?)
    }
}

/// Tokens through all layers, in place, and the logits after the last.
fn through<E: Encoder>(
    model: &Model<'_>,
    rec: &mut Recorder<E>,
    (cache, scratch): (&KvCache, &LayerScratch),
    (cos, sin): (&Tensor, &Tensor),
    x: &Tensor,
    logits: &Tensor,
) -> gristmill::Result<()> {
    let turn = Turn { cos, sin, angles: Angles::Appended, interleaved: false, before_norm: false };
    let tokens = Tokens { turn: Some(turn), ..Tokens::new(x, x) };
    for i in 0..model.layers.len() {
        model.layer(i).record(rec, scratch, &tokens, Some(&cache.layer(i)?))?;
    }
    let last = x.view(x.elements() - model.width(), [1, model.width()])?;
    let normed = model.gpu.zeros([1, model.width()], INNER)?;
    rec.run(RmsNorm { weight: Some(&model.norm), eps: model.flavour.eps, ..RmsNorm::new(&last, &normed) })?;
    rec.run(Linear::new(&normed, &model.head, logits))
}

/// The most likely token.
fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or_default()
}

/// A tiny Qwen3 of noise: what comes of its tokens one by one is what comes of them all at once.
fn check(gpu: &Dispatcher) -> Outcome<()> {
    let config = json!({
        "model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    });
    let mut shapes = vec![("model.embed_tokens".to_owned(), vec![100, 64]), ("model.norm".to_owned(), vec![64])];
    for i in 0..2 {
        let of_layer = [
            ("input_layernorm", vec![64]),
            ("post_attention_layernorm", vec![64]),
            ("self_attn.q_norm", vec![16]),
            ("self_attn.k_norm", vec![16]),
            ("self_attn.q_proj", vec![64, 64]),
            ("self_attn.k_proj", vec![32, 64]),
            ("self_attn.v_proj", vec![32, 64]),
            ("self_attn.o_proj", vec![64, 64]),
            ("mlp.gate_proj", vec![96, 64]),
            ("mlp.up_proj", vec![96, 64]),
            ("mlp.down_proj", vec![64, 96]),
        ];
        shapes.extend(of_layer.map(|(name, shape)| (format!("model.layers.{i}.{name}"), shape)));
    }
    let checkpoint = Checkpoint::from_bytes(noise(&shapes))?;
    let model = Model::load(gpu, &checkpoint, &config)?;
    let tokens: Vec<usize> = (0..20).map(|i| i * 37 % 100).collect();
    let at_once = Session::new(&model, 20)?.prefill(&tokens)?;
    let mut session = Session::new(&model, 20)?;
    let mut one_by_one = session.prefill(&tokens[..3])?;
    for token in &tokens[3..] {
        one_by_one = session.step(*token)?;
    }
    let apart = at_once.iter().zip(&one_by_one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let size = at_once.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
    println!("20 tokens, at once or one by one: logits up to {size:.2}, {apart:.1e} apart");
    // Neither of these is so where a logit is NaN.
    let alike = at_once.iter().zip(&one_by_one).all(|(a, b)| (a - b).abs() <= size / 100.0);
    if !(size > 0.0 && at_once.len() == 100 && alike) {
        return Err("they are further apart than rounding to f16 explains".into());
    }
    Ok(())
}

/// A file of bf16 numbers, and one matrix of f32: matrices about 0, norms about 1.
fn noise(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut bytes, mut state) = (serde_json::Map::new(), Vec::new(), 1_u32);
    for (name, shape) in shapes {
        let begin = bytes.len();
        let (mean, spread) = if shape.len() == 1 { (1.0, 0.5) } else { (0.0, (6.0 / shape[1] as f32).sqrt()) };
        let (elem, dtype) =
            if name == "model.layers.1.self_attn.v_proj" { (Elem::F32, "F32") } else { (Elem::Bf16, "BF16") };
        for _ in 0..shape.iter().product() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let v = mean + spread * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0);
            bytes.extend(elem.encode(&[v]));
        }
        header.insert(
            format!("{name}.weight"),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, bytes.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(bytes);
    file
}
