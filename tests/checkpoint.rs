//! Readers of checkpoints: which tensors are which weight, what errors say, and that no file makes a reader panic or take memory. Every file is
//! made here. No GPU is needed.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by it, and says why")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use gristmill::checkpoint::{AdapterKind, Checkpoint, Kind, Meta, describe};
use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::proof::{Attrs, Value};
use safetensors::SafeTensors;

// ---- memory, counted for each thread

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(less: usize, more: usize) {
    // A thread that ends may have lost its counters.
    let _ = LIVE.try_with(|live| {
        live.set(live.get().saturating_sub(less).saturating_add(more));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a while.
        count(0, size);
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(old, layout, size) };
        count(layout.size(), 0);
        new
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MIB: usize = 1 << 20;

/// What `work` gives, and the most memory that it had at once.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().saturating_sub(before))
}

// ---- files

/// Numbers that are the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A tensor of a safetensors file: name, dtype, shape, bytes.
type Named = (String, &'static str, Vec<usize>, Vec<u8>);

fn named(name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Named {
    (name.to_owned(), dtype, shape.to_vec(), bytes)
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn i32s(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// A file of this header and these bytes.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn safetensors(tensors: &[Named]) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{\"__metadata__\":{\"format\":\"pt\"}"), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let (from, to) = (data.len(), data.len() + bytes.len());
        let name = serde_json::to_string(name).expect("a name");
        write!(header, ",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}")
            .expect("it is memory");
        data.extend_from_slice(bytes);
    }
    header.push('}');
    with_header(&header, &data)
}

/// The tensors of a weight under the names that a file has them by.
fn parts_as(weight: &Packed<'_>, names: &[(&str, &str, &'static str)]) -> Vec<Named> {
    let part = |role: &str| weight.part(role).unwrap_or_else(|| panic!("{role} of {}", weight.format()));
    names.iter().map(|(role, name, dtype)| named(name, dtype, &part(role).shape, part(role).bytes.to_vec())).collect()
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// A GGUF file; each tensor is a name, ne, the type's number, its bytes.
struct Gguf {
    version: u32,
    /// A name, the number of its type, the bytes of its value.
    metadata: Vec<(&'static str, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    alignment: usize,
    /// Offsets that are not what they should be.
    offsets: BTreeMap<usize, u64>,
}

impl Gguf {
    fn new(tensors: Vec<(&str, Vec<u64>, u32, Vec<u8>)>) -> Self {
        let mut arch = Vec::new();
        text(&mut arch, b"llama");
        let mut words = Vec::new();
        words.extend(8u32.to_le_bytes());
        words.extend(2u64.to_le_bytes());
        text(&mut words, b"<s>");
        text(&mut words, b"mill");
        Self {
            version: 3,
            metadata: vec![
                ("general.architecture", 8, arch),
                ("llama.block_count", 4, 2u32.to_le_bytes().to_vec()),
                ("tokenizer.ggml.tokens", 9, words),
                ("llama.rope.freq_base", 6, 1e4f32.to_le_bytes().to_vec()),
                ("tokenizer.ggml.add_bos_token", 7, vec![1]),
            ],
            tensors: tensors.into_iter().map(|(name, ne, kind, bytes)| (name.to_owned(), ne, kind, bytes)).collect(),
            alignment: 32,
            offsets: BTreeMap::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (name, kind, value) in &self.metadata {
            text(&mut out, name.as_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        let mut data = Vec::new();
        for (at, (name, ne, kind, bytes)) in self.tensors.iter().enumerate() {
            text(&mut out, name.as_bytes());
            out.extend((ne.len() as u32).to_le_bytes());
            out.extend(ne.iter().flat_map(|d| d.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(self.offsets.get(&at).copied().unwrap_or(data.len() as u64).to_le_bytes());
            data.extend_from_slice(bytes);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(data);
        out
    }
}

type FileSet = BTreeMap<String, Cow<'static, [u8]>>;

fn files(list: &[(&str, &[u8])]) -> FileSet {
    list.iter().map(|(name, bytes)| ((*name).to_owned(), Cow::Owned(bytes.to_vec()))).collect()
}

/// The error of a file says all of these.
fn says(bytes: Vec<u8>, words: &[&str]) {
    let error = Checkpoint::from_bytes(bytes).err().unwrap_or_else(|| panic!("no error, but {words:?}")).to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect()
}

fn number(v: impl Into<f64>) -> Value {
    Value::Number(v.into())
}

// ---- groups of tensors

/// A weight as a file has it.
struct Case {
    name: &'static str,
    config: &'static str,
    tensors: Vec<Named>,
    weight: Packed<'static>,
}

fn encoded(format: &str, attrs: &Attrs, n: usize, k: usize) -> Packed<'static> {
    let format = Format::parse(format, attrs).unwrap_or_else(|e| panic!("{e}"));
    Packed::encode(format, n, k, &values(n * k)).unwrap_or_else(|e| panic!("{e}"))
}

fn packed(
    format: &str,
    attrs: Attrs,
    n: usize,
    k: usize,
    parts: &[(&str, Dtype, &[usize], Vec<u8>)],
) -> Packed<'static> {
    let format = Format::parse(format, &attrs).unwrap_or_else(|e| panic!("{e}"));
    let parts =
        parts.iter().map(|(role, dtype, shape, bytes)| ((*role).to_owned(), Part::new(*dtype, shape, bytes.clone())));
    Packed::new(format, n, k, parts.collect()).unwrap_or_else(|e| panic!("{e}"))
}

/// Halves of moderate size.
fn halves(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).flat_map(|_| [random.next() as u8, 0x20 | (random.next() as u8 & 0x9f)]).collect()
}

const GPTQ: &str = r#"{"model_type":"llama","quantization_config":{"quant_method":"gptq","bits":4,"group_size":16,
    "desc_act":true,"sym":true,"checkpoint_format":"gptq"}}"#;
const AWQ: &str =
    r#"{"quantization_config":{"quant_method":"awq","bits":4,"group_size":16,"version":"gemm","zero_point":true}}"#;
const MLX: &str = r#"{"quantization":{"group_size":32,"bits":4,"m.p":{"group_size":64,"bits":8},"m.x":{"mode":"mxfp4","bits":4,"group_size":32}},
    "quantization_config":{"group_size":32,"bits":4}}"#;
const FP8: &str = r#"{"quantization_config":{"quant_method":"fp8","weight_block_size":[16,16]}}"#;

fn bnb(case: &'static str, nested: bool) -> Case {
    let (n, k) = (6, 32);
    let encoded = encoded("bnb.nf4", &Attrs::default(), n, k);
    let table: Vec<f32> = {
        let codes = (0..8u8).map(|i| (2 * i) << 4 | (2 * i + 1)).collect();
        packed(
            "bnb.nf4",
            Attrs::default(),
            1,
            16,
            &[("packed", Dtype::U8, &[8, 1], codes), ("absmax", Dtype::F32, &[1], f32s(&[1.0]))],
        )
        .decode()
    };
    let codes = encoded.part("packed").expect("codes").bytes.to_vec();
    let absmax = encoded.part("absmax").expect("scales").clone();
    let state = if nested {
        r#"{"quant_type":"nf4","blocksize":64,"dtype":"bfloat16","shape":[6,32],"nested_blocksize":256,"nested_dtype":"float32","nested_offset":0.25}"#
    } else {
        r#"{"quant_type":"nf4","blocksize":64,"dtype":"bfloat16","shape":[6,32]}"#
    };
    let mut tensors = vec![
        named("m.q.weight", "U8", &[n * k / 2, 1], codes.clone()),
        named("m.q.weight.quant_map", "F32", &[16], f32s(&table)),
        named("m.q.weight.quant_state.bitsandbytes__nf4", "U8", &[state.len()], state.into()),
    ];
    let weight = if nested {
        let (first, map) = (vec![3u8, 200, 255], f32s(&values(256)));
        tensors.push(named("m.q.weight.absmax", "U8", &[3], first.clone()));
        tensors.push(named("m.q.weight.nested_absmax", "F32", &[1], f32s(&[2.0])));
        tensors.push(named("m.q.weight.nested_quant_map", "F32", &[256], map.clone()));
        packed(
            "bnb.nf4",
            Attrs::default(),
            n,
            k,
            &[
                ("packed", Dtype::U8, &[n * k / 2, 1], codes),
                ("absmax_u8", Dtype::U8, &[3], first),
                ("map", Dtype::F32, &[256], map),
                ("absmax2", Dtype::F32, &[1], f32s(&[2.0])),
                ("offset", Dtype::F32, &[1], f32s(&[0.25])),
            ],
        )
    } else {
        tensors.push(named("m.q.weight.absmax", "F32", &absmax.shape, absmax.bytes.to_vec()));
        encoded
    };
    Case { name: case, config: "", tensors, weight }
}

fn cases() -> Vec<Case> {
    let mut random = Random(7);
    let mut cases = vec![bnb("bitsandbytes nf4", false), bnb("bitsandbytes nf4, nested", true)];
    let mut add = |name, config, tensors, weight| cases.push(Case { name, config, tensors, weight });

    // Dense, beside a configuration that does not speak of it.
    let dense = encoded("dense", &Attrs::default(), 3, 5);
    add("dense", GPTQ, parts_as(&dense, &[("w", "m.q.weight", "F32")]), dense);

    let (n, k) = (16, 32);
    let (codes, zeros, scales) = (random.bytes(n * k / 2), random.bytes(2 * n / 2), halves(&mut random, 2 * n));
    let awq = [
        ("qweight", Dtype::I32, &[k, n / 8][..], codes.clone()),
        ("qzeros", Dtype::I32, &[2, n / 8], zeros.clone()),
        ("scales", Dtype::F16, &[2, n], scales.clone()),
    ];
    let weight = packed("awq", Attrs::default().with("group", 16.0), n, k, &awq);
    let names = [("qweight", "m.q.qweight", "I32"), ("qzeros", "m.q.qzeros", "I32"), ("scales", "m.q.scales", "F16")];
    add("awq", AWQ, parts_as(&weight, &names), weight.clone());
    add("awq without a configuration", "", parts_as(&weight, &names), weight);

    let gptq = |order: Option<Vec<i32>>, version: &str| {
        let attrs = Attrs::default().with("bits", 4.0).with("group", 16.0).with("checkpoint_format", version);
        let shapes = [[k / 8, n], [2, n / 8], [2, n]];
        let mut parts = vec![
            ("qweight", Dtype::I32, &shapes[0][..], codes.clone()),
            ("qzeros", Dtype::I32, &shapes[1], zeros.clone()),
            ("scales", Dtype::F16, &shapes[2], scales.clone()),
        ];
        let each = [k];
        parts.extend(order.map(|order| ("g_idx", Dtype::I32, &each[..], i32s(order))));
        packed("gptq", attrs, n, k, &parts)
    };
    let ordered = [&names[..], &[("g_idx", "m.q.g_idx", "I32")]].concat();
    let jumps = gptq(Some((0..32).map(|k| (k * 7 / 3) % 2).collect()), "gptq");
    add("gptq, act-order", GPTQ, parts_as(&jumps, &ordered), jumps.clone());
    add("gptq without a configuration", "", parts_as(&jumps, &ordered), jumps);
    let plain = gptq(Some((0..32).map(|k| k / 16).collect()), "gptq");
    // An order that says nothing is left out.
    add("gptq, plain order", GPTQ, parts_as(&plain, &ordered), gptq(None, "gptq"));
    let second = gptq(None, "gptq_v2");
    let config =
        r#"{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":16,"checkpoint_format":"gptq_v2"}}"#;
    add("gptq v2", config, parts_as(&second, &names), second.clone());
    // AutoRound's own packing has zeros as they are, those of its names that say gptq one less; Python's JSON has numbers that JSON has not.
    let config = r#"{"time_step_limit":[0.0,Infinity,-Infinity,NaN],"quantization_config":{"quant_method":"auto-round","bits":4,
        "group_size":16,"sym":false,"packing_format":"auto_round:exllamav2","dampening":NaN}}"#;
    add("auto-round", config, parts_as(&second, &names), second);
    let config = r#"{"quantization_config":{"quant_method":"auto-round","bits":4,"group_size":16,"packing_format":"auto_round:auto_gptq"}}"#;
    let first = gptq(None, "gptq");
    add("auto-round as gptq", config, parts_as(&first, &names), first);

    let mlx = |mode: &str, bits: u32, group: u32, base: &str, biases: bool| {
        let mut attrs = Attrs::default();
        if biases {
            attrs = attrs.with("bits", f64::from(bits)).with("group", f64::from(group));
        }
        if mode == "mlx.affine" {
            let weight = encoded(mode, &attrs, 4, 128);
            let names = [
                ("w", format!("{base}.weight"), "U32"),
                ("scales", format!("{base}.scales"), "F32"),
                ("biases", format!("{base}.biases"), "F32"),
            ];
            let names: Vec<_> = names.iter().map(|(role, name, dtype)| (*role, name.as_str(), *dtype)).collect();
            return (parts_as(&weight, &names), weight);
        }
        let mut random = Random(u64::from(bits + group));
        let (words, scales) = (random.bytes(4 * 128 * bits as usize / 8), random.bytes(4 * 128 / group as usize));
        let (width, groups) = (128 * bits as usize / 32, 128 / group as usize);
        let parts = [("w", Dtype::U32, &[4, width][..], words), ("scales", Dtype::U8, &[4, groups], scales)];
        let weight = packed(mode, attrs, 4, 128, &parts);
        let names = [("w", format!("{base}.weight"), "U32"), ("scales", format!("{base}.scales"), "U8")];
        let names: Vec<_> = names.iter().map(|(role, name, dtype)| (*role, name.as_str(), *dtype)).collect();
        (parts_as(&weight, &names), weight)
    };
    let (tensors, weight) = mlx("mlx.affine", 4, 32, "m.q", true);
    add("mlx", MLX, tensors, weight);
    let (tensors, weight) = mlx("mlx.affine", 8, 64, "m.p", true);
    add("mlx, a layer of its own", MLX, tensors, weight);
    let (tensors, weight) = mlx("mlx.mxfp4", 4, 32, "m.x", false);
    add("mlx mxfp4", MLX, tensors.clone(), weight.clone());
    add("mlx mxfp4 without a configuration", "", tensors, weight);
    let (tensors, weight) = mlx("mlx.affine", 8, 64, "m.gate", true);
    let config = r#"{"quantization":{"group_size":32,"bits":4,"mode":"mxfp4","m.gate":{"group_size":64,"bits":8}}}"#;
    add("mlx, a gate beside mxfp4", config, tensors.clone(), weight.clone());
    let config = r#"{"quantization":{"group_size":32,"bits":4,"m.gate":{"bits":8}}}"#;
    add("mlx, a group that is not said", config, tensors, weight);
    let (tensors, weight) = mlx("mlx.nvfp4", 4, 16, "m.q", false);
    add("mlx nvfp4", r#"{"quantization":{"group_size":16,"bits":4,"mode":"nvfp4"}}"#, tensors, weight);
    let (tensors, weight) = mlx("mlx.mxfp8", 8, 32, "m.q", false);
    add("mlx mxfp8", r#"{"quantization":{"group_size":32,"bits":8,"mode":"mxfp8"}}"#, tensors, weight);

    let mut attrs = Attrs::default();
    let rows = encoded("fp8.e4m3", &attrs, 4, 8);
    let scale = rows.part("weight_scale").expect("a scale").bytes.to_vec();
    let weight = ("weight", "m.q.weight", "F8_E4M3");
    add(
        "fp8, a scale for each row",
        "",
        parts_as(&rows, &[weight, ("weight_scale", "m.q.weight_scale", "F32")]),
        rows.clone(),
    );
    let mut flat = parts_as(&rows, &[weight]);
    flat.push(named("m.q.weight_scale", "F32", &[4], scale));
    add("fp8, scales in one dimension", r#"{"quantization_config":{"quant_method":"fbgemm_fp8"}}"#, flat, rows.clone());
    let codes = rows.part("weight").expect("codes").bytes.to_vec();
    let one = [("weight", Dtype::U8, &[4, 8][..], codes), ("weight_scale", Dtype::F32, &[1], f32s(&[0.5]))];
    let one = packed("fp8.e5m2", Attrs::default(), 4, 8, &one);
    let mut tensors = parts_as(&one, &[("weight", "m.q.weight", "F8_E5M2")]);
    // 0.5 in bf16, without a dimension.
    tensors.push(named("m.q.weight_scale", "BF16", &[], vec![0x00, 0x3f]));
    add("fp8, one scale in bf16", "", tensors, one);
    attrs.0.insert("block".into(), Value::List(vec![16.0, 16.0]));
    let blocks = encoded("fp8.e4m3", &attrs, 20, 40);
    add("fp8, blocks", FP8, parts_as(&blocks, &[weight, ("weight_scale", "m.q.weight_scale_inv", "F32")]), blocks);

    let int8 = encoded("int8", &Attrs::default(), 4, 8);
    let names = [("weight", "m.q.weight", "I8"), ("weight_scale", "m.q.weight_scale", "F32")];
    add("int8", "", parts_as(&int8, &names), int8.clone());
    let codes = int8.part("weight").expect("codes").bytes.to_vec();
    let largest = [127.0, 254.0, 63.5, 1.0];
    let scales = [
        ("weight", Dtype::I8, &[4, 8][..], codes.clone()),
        ("weight_scale", Dtype::F32, &[4, 1], f32s(&largest.map(|v: f32| v / 127.0))),
    ];
    let mut tensors = vec![named("m.q.weight", "I8", &[4, 8], codes), named("m.q.SCB", "F32", &[4], f32s(&largest))];
    tensors.push(named("m.q.weight_format", "U8", &[], vec![0]));
    add("int8 of bitsandbytes", "", tensors, packed("int8", Attrs::default(), 4, 8, &scales));

    for (name, config, inverse) in [
        ("bitnet", r#"{"quantization_config":{"quant_method":"bitnet"}}"#, true),
        (
            "bitnet, offline",
            r#"{"quantization_config":{"quant_method":"bitnet","linear_class":"autobitlinear","quantization_mode":"offline"}}"#,
            false,
        ),
    ] {
        let parts =
            [("weight", Dtype::U8, &[2, 8][..], random.bytes(16)), ("weight_scale", Dtype::F32, &[1], f32s(&[0.5]))];
        let weight = packed("bitnet", Attrs::default().with("scale_is_inverse", inverse), 8, 8, &parts);
        let mut tensors = parts_as(&weight, &[("weight", "m.q.weight", "U8")]);
        tensors.push(named("m.q.weight_scale", "BF16", &[1], vec![0x00, 0x3f]));
        add(name, config, tensors, weight);
    }

    let mut attrs = Attrs::default().with("bits", 4.0).with("group", 16.0);
    attrs.0.insert("axis".into(), number(1.0));
    let parts = [
        ("W_q", Dtype::U8, &[8, 16][..], random.bytes(128)),
        ("scale", Dtype::F16, &[16, 1], halves(&mut random, 16)),
        ("zero", Dtype::F16, &[16, 1], halves(&mut random, 16)),
    ];
    let hqq = packed("hqq", attrs, 8, 32, &parts);
    let mut tensors =
        parts_as(&hqq, &[("W_q", "m.q.W_q", "U8"), ("scale", "m.q.scale", "F16"), ("zero", "m.q.zero", "F16")]);
    let shape = [8i64, 32].iter().flat_map(|v| v.to_le_bytes()).collect();
    tensors.push(named("m.q.shape", "I64", &[2], shape));
    let config = r#"{"quantization_config":{"quant_method":"hqq","quant_config":{"weight_quant_params":{"nbits":4,"group_size":16,"axis":1}}}}"#;
    add("hqq by its configuration", config, tensors.clone(), hqq.clone());
    for (name, v) in [("nbits", 4), ("group_size", 16), ("axis", 1)] {
        tensors.push(named(&format!("m.q.{name}"), "I32", &[], i32s([v])));
    }
    add("hqq by its tensors", "", tensors, hqq);

    let parts = [
        ("quant_grid", Dtype::F16, &[4, 8][..], halves(&mut random, 32)),
        ("weight_codes", Dtype::U8, &[4, 5], vec![0x73; 20]),
    ];
    let weight = packed("leanquant", Attrs::default().with("bits", 3.0), 4, 10, &parts);
    add(
        "leanquant",
        "",
        parts_as(&weight, &[("quant_grid", "m.q.quant_grid", "F16"), ("weight_codes", "m.q.weight_codes", "U8")]),
        weight,
    );

    let parts = [
        ("bWeight", Dtype::I32, &[16, 2, 3][..], random.bytes(384)),
        ("alpha", Dtype::F32, &[2, 4, 3], f32s(&values(24))),
    ];
    let weight =
        packed("bcq", Attrs::default().with("bits", 3.0).with("group", 16.0).with("cols", 8.0), 64, 16, &parts);
    add("bcq", "", parts_as(&weight, &[("bWeight", "m.q.bWeight", "I32"), ("alpha", "m.q.alpha", "F32")]), weight);
    cases
}

fn of_case(case: &Case) -> Vec<(&'static str, Vec<u8>)> {
    let mut tensors = case.tensors.clone();
    // Beside each weight stands a tensor that is none.
    tensors.push(named("m.norm.weight", "F32", &[2], vec![0; 8]));
    let mut list = vec![("model.safetensors", safetensors(&tensors))];
    if !case.config.is_empty() {
        list.push(("config.json", case.config.into()));
    }
    list
}

fn file_set(list: &[(&'static str, Vec<u8>)]) -> FileSet {
    list.iter().map(|(name, bytes)| ((*name).to_owned(), Cow::Owned(bytes.clone()))).collect()
}

#[test]
fn every_group_is_the_weight_that_it_was_made_of() {
    for case in cases() {
        let checkpoint =
            Checkpoint::from_files(file_set(&of_case(&case))).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let names: Vec<&str> = checkpoint.weights().collect();
        let &[name] = &names[..] else { panic!("{}: the weights are {names:?}", case.name) };
        assert!(name.starts_with("m.") && name.ends_with(".weight"), "{}: {name}", case.name);
        let weight = checkpoint.weight(name).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        // Groups that follow from shapes alone are called all where there is one.
        assert_eq!(
            (weight.format(), weight.n(), weight.k()),
            (case.weight.format(), case.weight.n(), case.weight.k()),
            "{}",
            case.name
        );
        let same = weight.decode().iter().zip(case.weight.decode()).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{}: the values differ", case.name);
        let largest = weight.parts().values().max_by_key(|part| part.bytes.len()).expect("parts");
        assert!(matches!(largest.bytes, Cow::Borrowed(_)), "{}: the codes are copied", case.name);

        let description = describe(&checkpoint);
        assert_eq!(description.rows.len(), 2, "{}: {description}", case.name);
        assert!(case.name != "dense" || description.to_string().contains("dense f32"), "{description}");
        let row = description.rows.iter().find(|row| row.name == name).expect("a row");
        assert_eq!(row.kind, Kind::Weight(weight.format()), "{}", case.name);
        assert_eq!(
            (row.tensors.len(), &row.shape[..]),
            (case.tensors.len(), &[weight.n(), weight.k()][..]),
            "{}",
            case.name
        );
        let bytes: usize = case.tensors.iter().map(|(.., bytes)| bytes.len()).sum();
        assert_eq!(row.bytes, bytes as u64, "{}", case.name);
        let text = description.to_string();
        assert!(
            text.contains(name) && text.contains(weight.format().name()) && text.contains("1 weights of"),
            "{text}"
        );
    }
}

#[test]
fn a_group_that_contradicts_its_configuration_is_an_error() {
    let find = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("{name}"));
    let with = |name: &str, config: &str| {
        let list = [&of_case(&find(name))[..1], &[("config.json", config.as_bytes().to_vec())]].concat();
        Checkpoint::from_files(file_set(&list)).err().map(|e| e.to_string())
    };
    let mut silent = Vec::new();
    for (name, config, words) in [
        (
            "gptq v2",
            GPTQ.replace("\"bits\":4", "\"bits\":8"),
            &["m.q.qweight", "quantization_config", "bits=8", "scales", "[1, 16]"][..],
        ),
        ("gptq v2", GPTQ.replace(":16", ":8"), &["m.q.qweight", "group=8", "scales", "[2, 16]", "[4, 16]"]),
        ("gptq v2", GPTQ.replace("\"bits\":4", "\"bits\":5"), &["m.q.qweight", "bits = 5"]),
        ("gptq v2", GPTQ.replace("\"bits\":4", "\"bits\":\"four\""), &["m.q.qweight", "bits = four"]),
        ("gptq v2", GPTQ.replace("\"gptq\"}", "\"marlin\"}"), &["m.q.qweight", "checkpoint_format = marlin"]),
        ("gptq v2", AWQ.to_owned(), &["m.q.qweight", "awq", "qzeros", "[2, 2]", "[1, 16]"]),
        ("gptq, act-order", GPTQ.replace("true,\"sym", "false,\"sym"), &["m.q.qweight", "desc_act = false", "g_idx"]),
        ("gptq, act-order", GPTQ.replace(":16", ":-7"), &["m.q.qweight", "group_size = -7"]),
        ("gptq, act-order", GPTQ.replace(":16", ":8"), &["m.q.qweight", "group_size", "[2, 16]", "4 groups"]),
        ("awq", AWQ.replace("\"bits\":4", "\"bits\":3"), &["m.q.qweight", "bits = 3", "awq has 4"]),
        ("awq", AWQ.replace("gemm", "gemv"), &["m.q.qweight", "gemv", "qzeros"]),
        ("awq", AWQ.replace("gemm", "gem"), &["m.q.qweight", "version = gem"]),
        ("awq", GPTQ.to_owned(), &["m.q.qweight", "gptq", "bits=4"]),
        ("mlx", MLX.replace("\"bits\":4,\"m.p\"", "\"bits\":8,\"m.p\""), &["m.q.weight", "bits=8", "scales", "[4, 4]"]),
        ("mlx", MLX.replace("\"m.p\":{\"group_size\":64,\"bits\":8}", "\"m.q\":false"), &["m.q.weight", "m.q = false"]),
        ("mlx mxfp4", MLX.replace("mxfp4", "fp5"), &["m.x.weight", "mode = fp5"]),
        (
            "mlx mxfp4",
            MLX.replace("\"bits\":4,\"group_size\":32}}", "\"bits\":8,\"group_size\":32}}"),
            &["m.x.weight", "bits = 8", "mxfp4"],
        ),
        ("fp8, blocks", FP8.replace("16,16", "8,16"), &["m.q.weight", "block=8x16", "[2, 3]", "[3, 3]"]),
        ("fp8, blocks", FP8.replace("16,16", "16"), &["m.q.weight", "weight_block_size = [16]"]),
    ] {
        let error = with(name, &config).unwrap_or_default();
        if let Some(word) = words.iter().find(|word| !error.contains(**word)) {
            silent.push(format!("{name}, {config}: {error:?} does not say {word:?}"));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
    let mut tiled = find("int8 of bitsandbytes");
    tiled.tensors.pop();
    tiled.tensors.push(named("m.q.weight_format", "U8", &[], vec![3]));
    let error = Checkpoint::from_files(file_set(&of_case(&tiled))).expect_err("tiles").to_string();
    assert!(error.contains("m.q.weight_format = [3], but only [0], which is rows, is read"), "{error}");
    for (dtype, bytes) in [("F32", 4), ("I8", 1)] {
        let mut case = find("gptq v2");
        case.tensors.push(named("m.q.weight", dtype, &[1, 1], vec![0; bytes]));
        let error = Checkpoint::from_files(file_set(&of_case(&case))).expect_err("two formats").to_string();
        assert!(error.contains("m.q.weight is there in two formats"), "{error}");
    }
    let mut case = find("hqq by its tensors");
    case.tensors.extend(find("bcq").tensors);
    let error = Checkpoint::from_files(file_set(&of_case(&case))).expect_err("two formats").to_string();
    assert!(error.contains("m.q.weight is there in two formats"), "{error}");
    // A tensor of the group is not there, or another.
    let mut case = find("gptq v2");
    case.tensors.retain(|(name, ..)| name != "m.q.scales");
    let error = Checkpoint::from_files(file_set(&of_case(&case))).expect_err("scales are missing").to_string();
    assert!(error.contains("m.q.qweight") && error.contains("m.q.scales is missing"), "{error}");
    for (find, put, words) in [
        ("[6,32]", "[6,33]", &["m.q.weight", "packed", "[96, 1]"][..]),
        ("\"nf4\"", "\"fp4\"", &["m.q.weight", "quant_type = fp4"]),
        ("\"blocksize\":64", "\"blocksize\":32", &["m.q.weight", "absmax", "[3]", "[6]"]),
        ("{", "[", &["m.q.weight", "quant_state", "JSON"]),
    ] {
        let mut case = bnb("", false);
        case.tensors[2].3 = String::from_utf8_lossy(&case.tensors[2].3).replacen(find, put, 1).into_bytes();
        case.tensors[2].2 = vec![case.tensors[2].3.len()];
        let error = Checkpoint::from_files(file_set(&of_case(&case))).expect_err(put).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let mut case = bnb("", false);
    case.tensors[1].3[6] ^= 0x10;
    let error = Checkpoint::from_files(file_set(&of_case(&case))).expect_err("another table").to_string();
    assert!(error.contains("m.q.weight.quant_map[1] = "), "{error}");
}

#[test]
fn what_is_not_recognised_is_plain_tensors() {
    // Bits and groups of MLX do not follow from shapes; a scale of the wrong shape, where nothing says that it is one.
    for name in ["mlx", "int8", "hqq by its tensors", "gptq without a configuration"] {
        let mut case = cases().into_iter().find(|case| case.name == name).expect("a case");
        case.config = "";
        if name != "mlx" {
            let scale = case.tensors.iter_mut().find(|(name, ..)| name.contains("scale")).expect("a scale");
            scale.2 = vec![1, 1, scale.2.iter().product::<usize>()];
        }
        let checkpoint = Checkpoint::from_files(file_set(&of_case(&case))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let plain = |kind| matches!(kind, Kind::Plain(_) | Kind::Weight(Format::Dense));
        assert!(describe(&checkpoint).rows.iter().all(|row| plain(row.kind)), "{name}");
        assert_eq!(describe(&checkpoint).rows.len(), case.tensors.len() + 1, "{name}");
        let first = &case.tensors[0];
        let tensor = checkpoint.tensor(&first.0).expect("it is there");
        assert_eq!((tensor.shape, tensor.bytes), (&first.2[..], &first.3[..]), "{name}");
    }
}

// ---- GGUF

/// The types: number, name, elements, bytes.
const TYPES: &[(u32, &str, usize, usize)] = &[
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (10, "q2_k", 256, 84),
    (11, "q3_k", 256, 110),
    (12, "q4_k", 256, 144),
    (13, "q5_k", 256, 176),
    (14, "q6_k", 256, 210),
    (20, "iq4_nl", 32, 18),
    (23, "iq4_xs", 256, 136),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
];

#[test]
fn every_type_of_gguf_is_its_format() {
    let mut random = Random(3);
    for version in [2, 3] {
        for (number, name, elements, bytes) in TYPES {
            let (n, k) = (3, 2 * elements);
            let data = random.bytes(n * 2 * bytes);
            let mut file = Gguf::new(vec![
                ("blk.0.attn_norm.weight", vec![5], 0, vec![0; 20]),
                ("blk.0.attn_q.weight", vec![k as u64, n as u64], *number, data.clone()),
                ("output.weight", vec![4, 2], 30, vec![0; 16]),
            ]);
            file.version = version;
            let checkpoint = Checkpoint::from_bytes(file.bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let weight = checkpoint.weight("blk.0.attn_q.weight").unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((weight.format().name(), weight.n(), weight.k()), (format!("gguf.{name}").as_str(), n, k));
            let part = weight.part("blocks").expect("blocks");
            assert!(matches!(part.bytes, Cow::Borrowed(_)) && *part.bytes == *data, "{name}");
            assert_eq!(weight.decode().len(), n * k);
            assert_eq!(checkpoint.tensor("blk.0.attn_q.weight").map(|t| t.stored), Ok(*name));
            assert_eq!(checkpoint.weights().collect::<Vec<_>>(), ["blk.0.attn_q.weight", "output.weight"]);
            assert_eq!(checkpoint.weight("output.weight").map(|w| w.format()), Ok(Format::Dense));
            let text = describe(&checkpoint).to_string();
            for word in [
                &format!("GGUF version {version}"),
                "general.architecture = llama",
                "[2 values]",
                &format!("gguf.{name}"),
                "3 x ",
            ] {
                assert!(text.contains(word), "{text} does not say {word}");
            }
        }
    }
    let checkpoint =
        Checkpoint::from_bytes(Gguf::new(vec![("a", vec![4, 2, 3], 1, vec![0; 48])]).bytes()).expect("it is right");
    assert_eq!(checkpoint.tensor("a").map(|t| t.shape.to_vec()), Ok(vec![3, 2, 4]));
    assert_eq!(checkpoint.metadata()[1], ("llama.block_count".to_owned(), Meta::Unsigned(2)));
    let error = checkpoint.weight("a").expect_err("three dimensions").to_string();
    assert!(error.contains("[3, 2, 4]") && error.contains("two dimensions"), "{error}");
    assert!(checkpoint.weight("b").expect_err("not there").to_string().contains("there is no tensor b"));
}

#[test]
fn blocks_that_no_format_reads_are_listed_and_an_error_when_asked_for() {
    for (number, name, elements, bytes) in [
        (9, "q8_1", 32, 36),
        (15, "q8_k", 256, 292),
        (16, "iq2_xxs", 256, 66),
        (17, "iq2_xs", 256, 74),
        (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50),
        (21, "iq3_s", 256, 110),
        (22, "iq2_s", 256, 82),
        (29, "iq1_m", 256, 56),
        (41, "q1_0", 128, 18),
    ] {
        let file = Gguf::new(vec![("a.weight", vec![elements, 2], number, vec![0; 2 * bytes])]).bytes();
        let checkpoint = Checkpoint::from_bytes(file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(describe(&checkpoint).rows[0].kind, Kind::Plain(name));
        let error = checkpoint.weight("a.weight").expect_err(name).to_string();
        assert!(error.contains("a.weight") && error.contains(name), "{error}");
    }
    // A scale beside the blocks must not be lost.
    for (scale, right) in [(1.0, true), (0.5, false)] {
        let tensors = vec![("a.weight", vec![64, 1], 40, vec![0; 36]), ("a.scale", vec![1], 0, f32s(&[scale]))];
        let checkpoint = Checkpoint::from_bytes(Gguf::new(tensors).bytes()).expect("it is right");
        assert_eq!(checkpoint.weight("a.weight").is_ok(), right);
    }
}

#[test]
fn errors_of_gguf_name_tensor_rule_and_value() {
    let one = || Gguf::new(vec![("a", vec![32, 2], 2, vec![0; 36]), ("b", vec![8], 0, vec![0; 32])]);
    let made = |change: &dyn Fn(&mut Gguf)| {
        let mut file = one();
        change(&mut file);
        file.bytes()
    };
    let whole = one().bytes();
    assert!(Checkpoint::from_bytes(whole.clone()).is_ok());
    // Cut anywhere; what is left of the last tensor's padding may go.
    for size in 0..whole.len() {
        says(whole[..size].to_vec(), &["checkpoint: "]);
    }
    says(whole[..whole.len() - 1].to_vec(), &["tensor b", "past the end of the file"]);
    says(whole[..50].to_vec(), &["truncated"]);
    says(made(&|f| f.version = 1), &["version 1"]);
    says(made(&|f| f.version = 4), &["version 4"]);
    says(made(&|f| f.version = 3u32.swap_bytes()), &["big-endian"]);
    says(made(&|f| f.tensors[0].2 = 4), &["tensor a", "unknown type 4"]);
    says(made(&|f| f.tensors[0].2 = 99), &["tensor a", "unknown type 99"]);
    says(made(&|f| f.tensors[0].1 = vec![33, 2]), &["tensor a", "rows of 33", "32"]);
    says(made(&|f| f.tensors[0].1 = vec![1 << 40, 1 << 40]), &["tensor a", "more elements"]);
    says(made(&|f| f.tensors[1].1 = vec![1 << 62]), &["tensor b", "more bytes"]);
    says(made(&|f| f.tensors[1].1 = vec![1; 5]), &["tensor b", "5 dimensions"]);
    says(made(&|f| f.tensors[1].0 = "a".into()), &["tensor a is there twice"]);
    says(made(&|f| f.tensors[1].0 = String::new()), &["a name of 0 bytes"]);
    says(made(&|f| f.tensors[1].0 = "x".repeat(5000)), &["a name of 5000 bytes"]);
    says(made(&|f| f.offsets = [(1, 32)].into()), &["tensor b overlaps"]);
    says(made(&|f| f.offsets = [(1, 33)].into()), &["tensor b", "offset 33", "alignment"]);
    says(made(&|f| f.offsets = [(1, 1 << 40)].into()), &["tensor b", "past the end"]);
    says(made(&|f| f.offsets = [(1, u64::MAX - 31)].into()), &["tensor b", "more than this machine can count"]);
    let meta =
        |name: &'static str, kind: u32, value: Vec<u8>| made(&move |f| f.metadata.push((name, kind, value.clone())));
    says(meta("llama.block_count", 4, vec![0; 4]), &["metadata llama.block_count is there twice"]);
    says(meta("x", 13, vec![]), &["metadata x", "unknown type 13"]);
    says(meta("x", 7, vec![2]), &["metadata x", "a switch is 2"]);
    says(meta("x", 8, [8u64.to_le_bytes(), [0xff; 8]].concat()), &["metadata x", "not UTF-8"]);
    says(meta("x", 8, u64::MAX.to_le_bytes().to_vec()), &["metadata x", "truncated", "18446744073709551615"]);
    says(meta("", 7, vec![0]), &["a name of metadata has 0 bytes"]);
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    says(meta("x", 9, array(9, 1)), &["metadata x", "array of the unknown type 9"]);
    says(meta("x", 9, array(10, 1 << 61)), &["metadata x", "an array of 2305843009213693952"]);
    says(meta("x", 9, array(4, 1 << 40)), &["metadata x", "truncated"]);
    says(meta("x", 9, array(8, 1 << 40)), &["metadata x", "an array of 1099511627776 texts"]);
    says(meta("general.alignment", 4, 24u32.to_le_bytes().to_vec()), &["general.alignment = 24"]);
    says(meta("general.alignment", 8, vec![0; 8]), &["general.alignment = "]);
    let split = |no: u8, count: u16| {
        made(&|f| {
            let count = count.to_le_bytes().to_vec();
            f.metadata.extend([("split.no", 2, vec![no, 0]), ("split.count", 2, count)]);
        })
    };
    says(split(1, 3), &["is part 2 of 3 of a split file", "its name must end with -00002-of-00003.gguf"]);
    says(split(3, 3), &["split.no = 3, but split.count = 3"]);
    says(split(0, 5000), &["split.count = 5000, but at most 4096"]);
    says(meta("split.count", 2, vec![3, 0]), &["split.count = 3, but there is no split.no"]);
    says(meta("split.count", 6, 3f32.to_le_bytes().to_vec()), &["split.count = 3, but it must be a whole number"]);
    assert!(Checkpoint::from_bytes(split(0, 1)).is_ok(), "the one part of a file is the file");
    // Counts that no file has.
    for (at, words) in [(8, "a name of 0 bytes"), (16, "pieces of metadata")] {
        let mut file = whole.clone();
        file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        says(file, &[words]);
    }
    // Another alignment, and a text that is not kept.
    let mut file = one();
    file.alignment = 64;
    file.metadata.push(("general.alignment", 4, 64u32.to_le_bytes().to_vec()));
    let mut licence = Vec::new();
    text(&mut licence, &[b'x'; 100_000]);
    file.metadata.push(("general.license", 8, licence));
    let checkpoint = Checkpoint::from_bytes(file.bytes()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(checkpoint.metadata().last().map(|(_, v)| v.clone()), Some(Meta::LongText(100_000)));
}

// ---- safetensors

#[test]
fn errors_of_safetensors_name_tensor_rule_and_value() {
    let right = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2,2],"data_offsets":[8,16]}}"#;
    let whole = with_header(right, &[0; 16]);
    assert!(Checkpoint::from_bytes(whole.clone()).is_ok());
    for size in 0..whole.len() {
        says(whole[..size].to_vec(), &["checkpoint: "]);
    }
    says(whole[..whole.len() - 1].to_vec(), &["tensor b", "ends at 16", "past the end of the file"]);
    says(whole[..60].to_vec(), &["truncated"]);
    says(with_header(right, &[0; 17]), &["its tensors have 16 bytes, but 17 follow"]);
    for (find, put, words) in [
        ("\"F32\"", "\"F33\"", &["tensor a", "unknown dtype F33"][..]),
        ("\"F32\"", "\"f32\"", &["tensor a", "unknown dtype f32"]),
        ("[8,16]", "[4,12]", &["tensor b overlaps"]),
        ("[8,16]", "[12,20]", &["tensor b leaves a gap"]),
        ("[8,16]", "[16,8]", &["tensor b", "[16, 8]"]),
        ("[8,16]", "[8,20]", &["tensor b", "12 bytes", "[2, 2]", "are 8"]),
        ("[8,16]", "[8,16,24]", &["tensor b", "more than 2"]),
        ("[8,16]", "[8]", &["tensor b", "[8]"]),
        ("[2,2]", "[4294967296,4294967296]", &["tensor b", "more elements"]),
        ("[2,2]", "[9223372036854775808]", &["tensor b", "more bytes"]),
        ("[2,2]", "[99999999999999999999]", &["tensor b", "99999999999999999999"]),
        ("[2,2]", "[-2,2]", &["tensor b", "-2"]),
        ("[2,2]", "[2.0,2]", &["tensor b", "2.0"]),
        ("[2,2]", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", &["tensor b", "more than 16"]),
        ("\"b\"", "\"a\"", &["tensor a is there twice"]),
        ("\"b\"", "\"\\u0061\"", &["tensor a is there twice"]),
        ("\"b\"", "\"\"", &["a name of 0 bytes"]),
        ("\"shape\":[2,2],", "", &["tensor b", "no shape"]),
        ("\"dtype\":\"F16\",", "", &["tensor b", "no dtype"]),
        (",\"data_offsets\":[8,16]", "", &["tensor b", "no data_offsets"]),
        ("\"dtype\":\"F16\"", "\"dtype\":\"F16\",\"dtype\":\"F16\"", &["tensor b", "dtype occurs twice"]),
        ("\"dtype\":\"F16\"", "\"dtype\":\"F16\",\"more\":1", &["tensor b", "unknown member more"]),
        ("{\"a\"", "{\"__metadata__\":{\"x\":1},\"a\"", &["JSON"]),
        ("{\"a\"", "{\"__metadata__\":{},\"__metadata__\":{},\"a\"", &["__metadata__ occurs twice"]),
        ("}}", "}} x", &["something follows"]),
        ("{\"a\"", "[\"a\"", &["neither GGUF nor safetensors"]),
    ] {
        assert!(right.contains(find), "{find}");
        let header = if find == "}}" { format!("{right} x") } else { right.replacen(find, put, 1) };
        says(with_header(&header, &[0; 16]), words);
    }
    for length in [100_000_001, 1 << 32, u64::MAX] {
        let mut file = whole.clone();
        file[..8].copy_from_slice(&length.to_le_bytes());
        says(file, &[&length.to_string(), "100000000"]);
    }
    says(vec![], &["neither"]);
}

/// The worst headers that fit: their readers keep within their memory, whatever they say.
#[test]
fn headers_of_any_kind_take_bounded_memory() {
    let mut list = String::from("{\"a\":{\"dtype\":\"U8\",\"shape\":[");
    list.push_str(&"0,".repeat(8 * MIB));
    let mut many = String::from("{");
    for i in 0..900_000 {
        write!(many, "\"{i}\":{{\"dtype\":\"F32\",\"shape\":[0,1],\"data_offsets\":[0,0]}},").expect("it is memory");
    }
    // As many groups as fit.
    let (mut groups, mut data) = (String::from("{"), Vec::new());
    for i in 0..60_000 {
        let (from, middle, to) = (5 * i, 5 * i + 1, 5 * i + 5);
        write!(
            groups,
            "\"{i}.weight\":{{\"dtype\":\"I8\",\"shape\":[1,1],\"data_offsets\":[{from},{middle}]}},\
             \"{i}.weight_scale\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{middle},{to}]}},"
        )
        .expect("it is memory");
        data.extend([0; 5]);
    }
    groups.pop();
    groups.push('}');
    let long = format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "x".repeat(20 * MIB));
    let escaped = format!("{{\"__metadata__\":{{\"a\":\"\\n{}\"}}}}", "x".repeat(20 * MIB));
    let pieces = format!("{{\"__metadata__\":{{{}\"a\":\"\"}}}}", "\"a\":\"\",".repeat(MIB));
    let deep = format!("{{\"a\":{}", "[".repeat(20 * MIB));
    for (name, header, right) in [
        ("list", list, false),
        ("many", many, false),
        ("groups", groups, true),
        ("long", long, true),
        ("escaped", escaped, false),
        ("pieces", pieces, false),
        ("deep", deep, false),
    ] {
        let file = with_header(&header, if name == "groups" { &data } else { &[] });
        let (result, peak) = peak(|| Checkpoint::from_bytes(&file[..]).map(|c| c.weights().count()));
        assert_eq!(result.is_ok(), right, "{name}: {result:?}");
        assert!(peak < 64 * MIB, "{name}: {} MiB", peak / MIB);
    }
    // Configurations and indices too.
    let file = safetensors(&[named("a", "F32", &[1], vec![0; 4])]);
    let (config, index) =
        (format!("{{\"quantization_config\":[{}0]}}", "0,".repeat(500_000)), format!("{{\"a\":{}", "[".repeat(MIB)));
    let (result, most) = peak(|| {
        Checkpoint::from_files(files(&[("model.safetensors", &file), ("config.json", config.as_bytes())])).map(drop)
    });
    assert!(result.is_ok() && most < 64 * MIB, "{result:?}, {} MiB", most / MIB);
    let (result, most) =
        peak(|| Checkpoint::from_files(files(&[("model.safetensors.index.json", index.as_bytes())])).map(drop));
    assert!(result.is_err() && most < 8 * MIB, "{result:?}, {} MiB", most / MIB);
    let large = vec![b' '; MIB + 1];
    let error = Checkpoint::from_files(files(&[("model.safetensors", &file), ("config.json", &large)]))
        .expect_err("large")
        .to_string();
    assert!(error.contains("config.json") && error.contains("1048577"), "{error}");
}

// ---- several files

fn shards() -> FileSet {
    let index = r#"{"metadata":{"total_size":40},"weight_map":{"m.q.weight":"b.safetensors","m.q.weight_scale":"a.safetensors","n":"a.safetensors"}}"#;
    files(&[
        ("model.safetensors.index.json", index.as_bytes()),
        (
            "a.safetensors",
            &safetensors(&[
                named("n", "F32", &[2], vec![1; 8]),
                named("m.q.weight_scale", "F32", &[2], f32s(&[1.0, 2.0])),
            ]),
        ),
        ("b.safetensors", &safetensors(&[named("m.q.weight", "I8", &[2, 3], vec![1, 2, 3, 4, 5, 6])])),
        ("config.json", b"{\"model_type\":\"llama\"}"),
    ])
}

#[test]
fn shards_are_one_checkpoint() {
    let checkpoint = Checkpoint::from_files(shards()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["m.q.weight", "m.q.weight_scale", "n"]);
    assert_eq!(checkpoint.weight("m.q.weight").map(|w| w.decode()), Ok(vec![1.0, 2.0, 3.0, 8.0, 10.0, 12.0]));
    assert!(describe(&checkpoint).to_string().starts_with("safetensors in 2 files\n"));

    let wrong = |change: &dyn Fn(&mut FileSet), words: &[&str]| {
        let mut files = shards();
        change(&mut files);
        let error = Checkpoint::from_files(files).expect_err("an error").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error:?} does not say {words:?}");
    };
    let index = |find: &'static str, put: &'static str| {
        move |files: &mut FileSet| {
            let text = files.get_mut("model.safetensors.index.json").expect("an index");
            let new = String::from_utf8_lossy(text).replacen(find, put, 1);
            assert_ne!(new.as_bytes(), &**text, "{find}");
            *text = Cow::Owned(new.into_bytes());
        }
    };
    wrong(&|files| drop(files.remove("b.safetensors")), &["index.json", "b.safetensors, which is not there"]);
    wrong(&index("\"n\":\"a", "\"n\":\"b"), &["tensor n", "to be in b.safetensors", "is in a.safetensors"]);
    wrong(&index("\"n\":", "\"o\":"), &["tensor o", "is in no file"]);
    wrong(&index("\"n\":", "\"m.q.weight\":\"b.safetensors\",\"n\":"), &["tensor m.q.weight", "is there twice"]);
    wrong(&index("\"a.saf", "\"../a.saf"), &["../a.safetensors", "is no name of a file"]);
    wrong(&index("\"a.saf", "\"/a.saf"), &["is no name of a file"]);
    wrong(&index("weight_map", "weights"), &["has no weight_map"]);
    wrong(&index("\"weight_map\":{", "\"weight_map\":{},\"weight_map\":{"), &["weight_map occurs twice"]);
    wrong(
        &|files| {
            drop(files.insert("b.safetensors".into(), Cow::Owned(safetensors(&[named("n", "U8", &[1], vec![0])]))))
        },
        &["tensor n is there twice", "a.safetensors", "b.safetensors"],
    );
    wrong(&|files| drop(files.insert("b.safetensors".into(), Cow::Borrowed(b"12345678{}"))), &["b.safetensors: "]);
    let config = r#"{"quantization_config":{"quant_method":"bitnet"}}"#;
    let bits = safetensors(&[named("m.q.weight", "U8", &[2, 3], vec![1, 2, 3, 4, 5, 6])]);
    wrong(
        &|files| {
            files.insert("config.json".into(), Cow::Borrowed(config.as_bytes()));
            files.insert("b.safetensors".into(), Cow::Owned(bits.clone()));
        },
        &["b.safetensors: tensor m.q.weight contradicts quantization_config (bitnet)", "weight_scale", "[2, 1]"],
    );
}

/// A GGUF file in three parts: what is said of the model is in the first, which has no tensor.
fn split_gguf() -> FileSet {
    let part = |no: u8, tensors: Vec<(&str, Vec<u64>, u32, Vec<u8>)>| {
        let mut file = Gguf::new(tensors);
        file.metadata.truncate(if no == 0 { file.metadata.len() } else { 0 });
        file.metadata.extend([
            ("split.no", 2, vec![no, 0]),
            ("split.count", 2, vec![3, 0]),
            ("split.tensors.count", 5, 3i32.to_le_bytes().to_vec()),
        ]);
        file.bytes()
    };
    files(&[
        ("m-q-00001-of-00003.gguf", &part(0, vec![])),
        (
            "m-q-00002-of-00003.gguf",
            &part(1, vec![("b.weight", vec![2, 1], 0, f32s(&[1.0, 2.0])), ("c", vec![1], 0, f32s(&[3.0]))]),
        ),
        ("m-q-00003-of-00003.gguf", &part(2, vec![("a.weight", vec![1, 2], 0, f32s(&[4.0, 5.0]))])),
    ])
}

#[test]
fn a_gguf_file_in_parts_is_one_checkpoint() {
    let is_whole = |checkpoint: Checkpoint<'_>, how: &str| {
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a.weight", "b.weight", "c"], "{how}");
        assert_eq!(checkpoint.weight("b.weight").map(|w| w.decode()), Ok(vec![1.0, 2.0]), "{how}");
        assert_eq!(checkpoint.weight("a.weight").map(|w| w.decode()), Ok(vec![4.0, 5.0]), "{how}");
        // What the first part says, once.
        let said: Vec<&str> = checkpoint.metadata().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(said.iter().filter(|name| **name == "split.no").count(), 1, "{how}: {said:?}");
        assert!(said.contains(&"general.architecture"), "{how}: {said:?}");
        assert!(describe(&checkpoint).to_string().starts_with("GGUF version 3 in 3 files\n"), "{how}");
    };
    is_whole(Checkpoint::from_files(split_gguf()).unwrap_or_else(|e| panic!("{e}")), "in memory");
    let place = Place::new("split");
    for (name, bytes) in &split_gguf() {
        place.write(name, bytes);
    }
    for path in split_gguf().keys().map(|name| place.0.join(name)).chain([place.0.clone()]) {
        is_whole(Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}")), &path.display().to_string());
    }

    let wrong = |change: &dyn Fn(&mut FileSet), words: &[&str]| {
        let mut files = split_gguf();
        change(&mut files);
        let error = Checkpoint::from_files(files).expect_err("an error").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error:?} does not say {words:?}");
    };
    let [first, second, third] = [1, 2, 3].map(|no| format!("m-q-0000{no}-of-00003.gguf"));
    wrong(&|files| drop(files.remove(&third)), &[&*first, "is part 1 of 3, but", &*third, "is not there"]);
    wrong(&|files| drop(files.remove(&first)), &["has 2 checkpoints", &*second]);
    wrong(
        &|files| drop(files.insert(third.clone(), files[&second].clone())),
        &[&*third, "says that it is part 2 of 3, but its name says part 3 of 3"],
    );
    let whole = Gguf::new(vec![("a.weight", vec![1, 2], 0, vec![0; 8])]).bytes();
    wrong(&|files| drop(files.insert(third.clone(), whole.clone().into())), &[&*third, "says that it is whole"]);
    wrong(&|files| drop(files.insert("n-00002-of-00003.gguf".into(), whole.clone().into())), &["has 2 checkpoints"]);
    wrong(&|files| drop(files.insert(second.clone(), Cow::Borrowed(b"GGUF"))), &[&*second, "is truncated"]);
    let change = |name: &str, find: &[u8], put: &[u8]| {
        let mut files = split_gguf();
        let mut bytes = files[name].to_vec();
        let at = bytes.windows(find.len()).position(|w| w == find).unwrap_or_else(|| panic!("no {find:?}"));
        bytes[at..at + put.len()].copy_from_slice(put);
        files.insert(name.to_owned(), bytes.into());
        Checkpoint::from_files(files).expect_err("an error").to_string()
    };
    let error = change(&third, b"a.weight", b"b.weight");
    assert!(error.contains("tensor b.weight is there twice") && error.contains(&second), "{error}");
    let mut count = b"split.tensors.count".to_vec();
    count.extend([5, 0, 0, 0]);
    let error = change(&first, &[&count[..], &[3]].concat(), &[&count[..], &[4]].concat());
    assert!(error.contains("split.tensors.count = 4, but its 3 parts have 3"), "{error}");
}

/// A directory of its own, which goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gristmill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_and_directories_are_opened() {
    let place = Place::new("checkpoint");
    let error = Checkpoint::open(&place.0).expect_err("empty").to_string();
    assert!(error.contains("no .safetensors and no .gguf"), "{error}");
    let gguf = Gguf::new(vec![("a.weight", vec![2, 1], 0, vec![0; 8])]).bytes();
    let one = place.write("one.gguf", &gguf);
    assert_eq!(Checkpoint::open(&place.0).map(|c| c.names().count()), Ok(1));
    assert_eq!(Checkpoint::open(&one).map(|c| c.weight("a.weight").is_ok()), Ok(true));
    place.write("two.gguf", &gguf);
    let error = Checkpoint::open(&place.0).expect_err("two").to_string();
    assert!(error.contains("one.gguf and two.gguf"), "{error}");
    for (name, bytes) in &shards() {
        place.write(name, bytes);
    }
    let index = place.0.join("model.safetensors.index.json");
    for path in [&place.0, &index] {
        assert_eq!(Checkpoint::open(path).map(|c| c.names().count()), Ok(3), "{path:?}");
    }
    assert_eq!(Checkpoint::open(place.0.join("b.safetensors")).map(|c| c.names().count()), Ok(1));
    // Of a pipe nobody would ever write the end.
    #[cfg(unix)]
    {
        let pipe = place.0.join("pipe.gguf");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let error = Checkpoint::open(&pipe).expect_err("a pipe").to_string();
        assert!(error.contains("pipe.gguf") && error.contains("is not a file"), "{error}");
    }
    let empty = place.write("empty.gguf", b"");
    for (path, word) in [(&empty, "neither"), (&place.0.join("none.gguf"), "is not there")] {
        let error = Checkpoint::open(path).expect_err(word).to_string();
        assert!(error.contains(word) && error.contains(&path.display().to_string()), "{error}");
    }
}

/// A file of this length, which begins so and is a hole elsewhere.
fn sparse(place: &Place, name: &str, begin: &[u8], length: u64) -> PathBuf {
    let path = place.write(name, begin);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
    file.set_len(length).expect("a hole");
    path
}

#[test]
fn large_files_take_little_memory() {
    let place = Place::new("large");
    let (n, k) = (1u64 << 17, 1u64 << 13);
    let bytes = n * k * 2;
    let header = format!(r#"{{"a.weight":{{"dtype":"BF16","shape":[{n},{k}],"data_offsets":[0,{bytes}]}}}}"#);
    let begin = with_header(&header, &[]);
    let one = sparse(&place, "a.safetensors", &begin, begin.len() as u64 + bytes);
    let mut gguf = Gguf::new(vec![("a.weight", vec![k, n], 1, vec![])]).bytes();
    gguf.resize(gguf.len().next_multiple_of(32), 0);
    let two = sparse(&place, "a.gguf", &gguf, gguf.len() as u64 + bytes);
    for path in [one, two] {
        let (result, peak) = peak(|| {
            let checkpoint = Checkpoint::open(&path)?;
            let weight = checkpoint.weight("a.weight")?;
            let mut row = vec![1.0; k as usize];
            weight.decode_row(n as usize - 1, &mut row)?;
            Ok::<_, gristmill::Error>((weight.bytes() as u64, row[7], describe(&checkpoint).to_string().len()))
        });
        let (have, last, _) = result.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((have, last), (bytes, 0.0));
        assert!(peak < MIB, "{path:?}: {peak} bytes");
    }
    // Headers of gigabytes: as said by the file, and as made of spaces or of empty texts.
    let gigabytes = 3u64 << 30;
    let mut begin = gigabytes.to_le_bytes().to_vec();
    begin.push(b'{');
    let one = sparse(&place, "header.safetensors", &begin, gigabytes + 8);
    let mut gguf = Gguf::new(vec![]);
    gguf.metadata.push(("x", 9, [&8u32.to_le_bytes()[..], &(1u64 << 27).to_le_bytes()].concat()));
    let two = sparse(&place, "header.gguf", &gguf.bytes(), gigabytes);
    let mut count = Gguf::new(vec![]).bytes();
    count[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes());
    let three = sparse(&place, "count.gguf", &count, gigabytes);
    for path in [one, two, three] {
        let (result, peak) = peak(|| Checkpoint::open(&path).map(drop));
        assert!(result.is_err(), "{path:?}");
        assert!(peak < MIB, "{path:?}: {peak} bytes");
    }
}

// ---- adapters

/// What an adapter must be read as: the weight's name, the kind, the scale, the rank, its roles and their shapes.
type Want<'a> = (&'a str, AdapterKind, f64, usize, &'a [(&'a str, &'a [usize])]);

struct AdapterFile {
    name: &'static str,
    config: String,
    tensors: Vec<Named>,
    want: Vec<Want<'static>>,
}

impl AdapterFile {
    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("adapter_model.safetensors", safetensors(&self.tensors)),
            ("adapter_config.json", self.config.clone().into_bytes()),
        ]
    }
}

/// A tensor of a module as PEFT calls it.
fn peft(name: &str, shape: &[usize]) -> Named {
    let numbers = values(shape.iter().product());
    named(&format!("base_model.model.{name}"), "F32", shape, f32s(&numbers))
}

fn lora_config(more: &str) -> String {
    format!(r#"{{"peft_type":"LORA","r":4,"lora_alpha":10,"target_modules":["q_proj","emb"],"bias":"none"{more}}}"#)
}

const Q: &str = "m.0.q_proj.weight";
const LORA: &[(&str, &[usize])] = &[("lora_A", &[4, 8]), ("lora_B", &[6, 4])];
const DORA: &[(&str, &[usize])] = &[("lora_A", &[4, 8]), ("lora_B", &[6, 4]), ("lora_magnitude_vector", &[6])];

fn adapter_files() -> Vec<AdapterFile> {
    let lora = || vec![peft("m.0.q_proj.lora_A.weight", &[4, 8]), peft("m.0.q_proj.lora_B.weight", &[6, 4])];
    let dora = |end: &str| [lora(), vec![peft(&format!("m.0.q_proj.lora_magnitude_vector{end}"), &[6])]].concat();
    let file = |name, config: String, tensors, want| AdapterFile { name, config, tensors, want };
    let kind = |peft_type: &str, more: &str| {
        format!(r#"{{"peft_type":"{peft_type}","r":4,"target_modules":".*q_proj"{more}}}"#)
    };
    vec![
        file("lora", lora_config(""), lora(), vec![(Q, AdapterKind::Lora, 2.5, 4, LORA)]),
        file(
            "what is empty is not set",
            lora_config(r#","layer_replication":[],"target_parameters":[],"alora_invocation_tokens":[]"#),
            lora(),
            vec![(Q, AdapterKind::Lora, 2.5, 4, LORA)],
        ),
        file("rslora", lora_config(r#","use_rslora":true"#), lora(), vec![(Q, AdapterKind::Lora, 5.0, 4, LORA)]),
        file("dora", lora_config(r#","use_dora":true"#), dora(""), vec![(Q, AdapterKind::Dora, 2.5, 4, DORA)]),
        file(
            "dora with .weight",
            lora_config(r#","use_dora":true,"use_rslora":null"#),
            dora(".weight"),
            vec![(Q, AdapterKind::Dora, 2.5, 4, DORA)],
        ),
        file(
            "patterns",
            // The first that matches is meant; a name is of whole parts.
            lora_config(
                r#","rank_pattern":{"proj":9,"^m.1.q_proj":2,"1.q_proj":3,"q_proj":4},"alpha_pattern":{"^q_proj":1,"1\\.q_proj":7.5}"#,
            ),
            [lora(), vec![peft("m.1.q_proj.lora_A.weight", &[2, 3]), peft("m.1.q_proj.lora_B.weight", &[5, 2])]]
                .concat(),
            vec![
                (Q, AdapterKind::Lora, 2.5, 4, LORA),
                ("m.1.q_proj.weight", AdapterKind::Lora, 3.75, 2, &[("lora_A", &[2, 3]), ("lora_B", &[5, 2])]),
            ],
        ),
        file(
            "patterns that are regular expressions",
            lora_config(
                r#","rank_pattern":{"_proj":9,"q_pro":9,"m\\.[1-9]\\..*":2},"alpha_pattern":{"(k|q)_proj":7.5,".*":1}"#,
            ),
            [lora(), vec![peft("m.1.q_proj.lora_A.weight", &[2, 3]), peft("m.1.q_proj.lora_B.weight", &[5, 2])]]
                .concat(),
            vec![
                (Q, AdapterKind::Lora, 1.875, 4, LORA),
                ("m.1.q_proj.weight", AdapterKind::Lora, 3.75, 2, &[("lora_A", &[2, 3]), ("lora_B", &[5, 2])]),
            ],
        ),
        file(
            "inputs first",
            lora_config(r#","fan_in_fan_out":true"#).replace("q_proj", "c_fc"),
            vec![peft("m.0.c_fc.lora_A.weight", &[4, 8]), peft("m.0.c_fc.lora_B.weight", &[6, 4])],
            vec![("m.0.c_fc.weight", AdapterKind::Lora, 2.5, 4, &[("lora_A", &[4, 6]), ("lora_B", &[8, 4])])],
        ),
        file(
            "an embedding, and what is replaced",
            lora_config(r#","modules_to_save":["lm_head"]"#),
            vec![
                peft("m.emb.lora_embedding_A", &[4, 11]),
                peft("m.emb.lora_embedding_B", &[5, 4]),
                peft("lm_head.weight", &[11, 5]),
            ],
            vec![("m.emb.weight", AdapterKind::Lora, 2.5, 4, &[("lora_A", &[4, 5]), ("lora_B", &[11, 4])])],
        ),
        file(
            "loha",
            kind("LOHA", r#","alpha":6"#),
            ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"]
                .iter()
                .map(|role| peft(&format!("m.0.q_proj.{role}"), if role.ends_with('a') { &[6, 4] } else { &[4, 8] }))
                .collect(),
            vec![(
                Q,
                AdapterKind::Loha,
                1.5,
                4,
                &[("hada_w1_a", &[6, 4]), ("hada_w1_b", &[4, 8]), ("hada_w2_a", &[6, 4]), ("hada_w2_b", &[4, 8])],
            )],
        ),
        file(
            "miss",
            kind("MISS", r#","init_weights":true,"mini_r":1"#),
            vec![peft("m.0.q_proj.miss_block", &[4, 6])],
            vec![(Q, AdapterKind::Miss, 1.0, 4, &[("miss_block", &[4, 6])])],
        ),
        file(
            "miss, mini",
            kind("MISS", r#","init_weights":"mini","mini_r":3"#),
            vec![peft("m.0.q_proj.miss_block", &[4, 3])],
            vec![(Q, AdapterKind::MissMini, 1.0, 4, &[("miss_block", &[4, 3])])],
        ),
        file(
            "bone, bat",
            kind("BONE", r#","init_weights":"bat""#).replace("\"r\":4", "\"r\":2"),
            vec![peft("m.0.q_proj.bone_block", &[3, 2, 2])],
            vec![(Q, AdapterKind::Bat, 1.0, 2, &[("miss_block", &[3, 2, 2])])],
        ),
    ]
}

/// A LoRA of GGUF: A, B, and those of the embedding, whose b is in blocks.
fn gguf_adapter(alpha: f32) -> Gguf {
    let mut file = Gguf::new(vec![
        ("blk.0.attn_q.weight.lora_a", vec![8, 4], 0, f32s(&values(32))),
        ("blk.0.attn_q.weight.lora_b", vec![4, 6], 1, vec![0x3c; 48]),
        ("token_embd.weight.lora_a", vec![32, 5], 0, f32s(&values(160))),
        ("token_embd.weight.lora_b", vec![32, 3], 8, {
            let row = |scale: u16| [&scale.to_le_bytes()[..], &(0..32u8).collect::<Vec<_>>()].concat();
            [row(0x3c00), row(0x4000), row(0x3800)].concat()
        }),
    ]);
    for (name, value) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let mut bytes = Vec::new();
        text(&mut bytes, value.as_bytes());
        file.metadata.push((name, 8, bytes));
    }
    file.metadata.push(("adapter.lora.alpha", 6, alpha.to_le_bytes().to_vec()));
    file
}

/// A model that all of the adapters fit.
fn adapted_model() -> Checkpoint<'static> {
    let tensors = [
        ("m.0.q_proj.weight", [6, 8]),
        ("m.0.c_fc.weight", [8, 6]),
        ("m.1.q_proj.weight", [5, 3]),
        ("m.emb.weight", [11, 5]),
        ("lm_head.weight", [11, 5]),
        ("blk.0.attn_q.weight", [6, 8]),
        ("token_embd.weight", [5, 3]),
    ];
    let tensors: Vec<Named> =
        tensors.iter().map(|(name, [n, k])| named(name, "F32", &[*n, *k], f32s(&values(n * k)))).collect();
    Checkpoint::from_bytes(safetensors(&tensors)).expect("a model")
}

fn numbers(part: &Part<'_>) -> Vec<f32> {
    assert_eq!(part.dtype, Dtype::F32);
    part.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn adapters_of_peft_are_what_they_were_made_of() {
    let base = adapted_model();
    for file in adapter_files() {
        let name = file.name;
        let checkpoint = Checkpoint::from_files(file_set(&file.files())).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(checkpoint.is_adapter() && !base.is_adapter());
        let mut adapters = checkpoint.adapters().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(adapters.iter().count(), file.want.len(), "{name}");
        for (weight, kind, scale, rank, roles) in &file.want {
            let adapter = adapters.get(weight).unwrap_or_else(|| panic!("{name}: no {weight}"));
            assert_eq!((adapter.kind, adapter.scale, adapter.rank), (*kind, *scale, *rank), "{name}");
            assert_eq!(adapter.roles().collect::<Vec<_>>(), roles.iter().map(|(role, _)| *role).collect::<Vec<_>>());
            for (role, shape) in *roles {
                let part = adapter.tensor(role).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(&part.shape[..], *shape, "{name}: {role}");
                assert_eq!(adapter.stored(role), Some(("f32", shape.to_vec())));
                // The same numbers as in the file, or their transpose.
                let all = values(shape.iter().product());
                let turned = name == "inputs first" || name.starts_with("an embedding");
                let want: Vec<f32> = match *shape {
                    &[n, k] if turned => (0..n * k).map(|i| all[i % k * n + i / k]).collect(),
                    _ => all,
                };
                assert_eq!(numbers(&part), want, "{name}: {role}");
            }
            assert!(adapter.tensor("lora_C").is_err());
        }
        let replaced: Vec<_> = adapters.replaced().collect();
        let saved = name.starts_with("an embedding");
        assert_eq!(replaced, if saved { vec![("lm_head.weight", "base_model.model.lm_head.weight")] } else { vec![] });
        let shown = adapters.to_string();
        for (weight, kind, ..) in &file.want {
            assert!(shown.contains(weight) && shown.contains(kind.name()), "{shown}");
        }
        adapters.fit(&base).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn an_adapter_of_gguf_is_what_it_was_made_of() {
    for (alpha, scale, wide) in [(6.0, 1.5, 0.1875), (0.0, 1.0, 1.0)] {
        let checkpoint = Checkpoint::from_bytes(gguf_adapter(alpha).bytes()).expect("a file");
        assert!(checkpoint.is_adapter());
        let mut adapters = checkpoint.adapters().expect("adapters");
        adapters.fit(&adapted_model()).unwrap_or_else(|e| panic!("{e}"));
        let q = adapters.get("blk.0.attn_q.weight").expect("q");
        assert_eq!((q.kind, q.scale, q.rank), (AdapterKind::Lora, scale, 4));
        assert_eq!(numbers(&q.tensor("lora_A").expect("A")), values(32));
        assert_eq!(q.stored("lora_B"), Some(("f16", vec![6, 4])));
        let embedding = adapters.get("token_embd.weight").expect("the embedding");
        assert_eq!((embedding.scale, embedding.rank), (wide, 32));
        assert_eq!(numbers(&embedding.tensor("lora_B").expect("B")), values(160));
        // From q8_0, and turned: codes 0, 1, … with scales 1, 2, 1/2.
        let a = embedding.tensor("lora_A").expect("A");
        assert_eq!((&a.shape[..], embedding.stored("lora_A")), (&[32, 3][..], Some(("q8_0", vec![32, 3]))));
        let want: Vec<f32> = (0..96).map(|i| (i / 3) as f32 * [1.0, 2.0, 0.5][i % 3]).collect();
        assert_eq!(numbers(&a), want);
    }
}

/// An adapter of PEFT in memory.
fn of_peft(config: String, tensors: &[Named]) -> Checkpoint<'static> {
    let set = [("adapter_model.safetensors", safetensors(tensors)), ("adapter_config.json", config.into_bytes())];
    Checkpoint::from_files(file_set(&set)).unwrap_or_else(|e| panic!("{e}"))
}

/// A model of f32 numbers, by names and shapes.
fn model(tensors: &[(&str, &[usize])]) -> Checkpoint<'static> {
    let tensors: Vec<Named> =
        tensors.iter().map(|(name, shape)| named(name, "F32", shape, f32s(&values(shape.iter().product())))).collect();
    Checkpoint::from_bytes(safetensors(&tensors)).expect("a model")
}

/// PEFT saves an embedding or a head that it has adapted as it was, beside the factors, and with `bias` = `all` all biases.
#[test]
fn what_peft_saves_of_the_base_is_no_replacement_unless_it_differs() {
    let base = model(&[("lm_head.weight", &[11, 5]), ("m.0.q_proj.weight", &[6, 8]), ("m.0.q_proj.bias", &[6])]);
    let bf16s = |v: &[f32]| v.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>();
    let head = |rows: usize, copy: Named| {
        vec![peft("lm_head.lora_A.weight", &[4, 5]), peft("lm_head.lora_B.weight", &[rows, 4]), copy]
    };
    let bias = |numbers: &[f32]| {
        vec![
            peft("m.0.q_proj.lora_A.weight", &[4, 8]),
            peft("m.0.q_proj.lora_B.weight", &[6, 4]),
            named("base_model.model.m.0.q_proj.base_layer.bias", "F32", &[6], f32s(numbers)),
        ]
    };
    let of_head = "base_model.model.lm_head.base_layer.weight";
    let of_bias = "base_model.model.m.0.q_proj.base_layer.bias";
    for (what, tensors, want) in [
        ("the base", head(11, peft("lm_head.base_layer.weight", &[11, 5])), None),
        ("in other storage", head(11, named(of_head, "BF16", &[11, 5], bf16s(&values(55)))), None),
        (
            "other numbers",
            head(11, named(of_head, "F32", &[11, 5], f32s(&[0.5; 55]))),
            Some(("lm_head.weight", of_head)),
        ),
        ("resized", head(12, peft("lm_head.base_layer.weight", &[12, 5])), Some(("lm_head.weight", of_head))),
        ("a bias as it was", bias(&values(6)), None),
        ("a trained bias", bias(&[0.25; 6]), Some(("m.0.q_proj.bias", of_bias))),
    ] {
        let file = of_peft(lora_config("").replace("emb", "lm_head"), &tensors);
        let mut adapters = file.adapters().unwrap_or_else(|e| panic!("{what}: {e}"));
        adapters.fit(&base).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(adapters.replaced().collect::<Vec<_>>(), Vec::from_iter(want), "{what}");
        assert_eq!(adapters.iter().count(), 1, "{what}");
    }
    // A head that is tied in the base is in the file alone.
    let file =
        of_peft(lora_config("").replace("emb", "lm_head"), &head(11, peft("lm_head.base_layer.weight", &[11, 5])));
    let mut adapters = file.adapters().expect("adapters");
    adapters.fit(&model(&[("m.embed_tokens.weight", &[11, 5])])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adapters.replaced().collect::<Vec<_>>(), [("lm_head.weight", of_head)]);
    // And one whose vocabulary was resized, which PEFT saves by its own name.
    let lora = vec![peft("m.0.q_proj.lora_A.weight", &[4, 8]), peft("m.0.q_proj.lora_B.weight", &[6, 4])];
    let file = of_peft(lora_config(""), &[lora, vec![peft("lm_head.weight", &[12, 5])]].concat());
    let mut adapters = file.adapters().expect("adapters");
    let tied = model(&[("m.0.q_proj.weight", &[6, 8]), ("m.embed_tokens.weight", &[11, 5])]);
    adapters.fit(&tied).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adapters.replaced().count(), 1);
    let error = adapters.fit(&model(&[("m.0.q_proj.weight", &[6, 8])])).expect_err("no embedding").to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
    // Of packed codes the numbers cannot be the same, and the shape must do.
    let blocks =
        Packed::encode(Format::Q8_0, 11, 32, &values(11 * 32)).expect("a weight").parts()["blocks"].bytes.to_vec();
    let packed = Gguf::new(vec![("lm_head.weight", vec![32, 11], 8, blocks)]);
    let packed = Checkpoint::from_bytes(packed.bytes()).expect("a model");
    let tensors = [
        peft("lm_head.lora_A.weight", &[4, 32]),
        peft("lm_head.lora_B.weight", &[11, 4]),
        peft("lm_head.base_layer.weight", &[11, 32]),
    ];
    let file = of_peft(lora_config("").replace("emb", "lm_head"), &tensors);
    let mut adapters = file.adapters().expect("adapters");
    adapters.fit(&packed).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adapters.replaced().count(), 0);
    // What is replaced has the shape of what it replaces, but for the rows of a vocabulary.
    let lora = || vec![peft("m.0.q_proj.lora_A.weight", &[4, 8]), peft("m.0.q_proj.lora_B.weight", &[6, 4])];
    for (tensor, told) in [
        (peft("lm_head.weight", &[12, 5]), None),
        (peft("lm_head.weight", &[11, 6]), Some("lm_head.weight is [11, 6], but that of the base is [11, 5]")),
        (peft("m.0.q_proj.bias", &[7]), Some("m.0.q_proj.bias is [7], but that of the base is [6]")),
    ] {
        let file = of_peft(lora_config(""), &[lora(), vec![tensor]].concat());
        let error = file.adapters().expect("adapters").fit(&base).err().map(|e| e.to_string());
        assert_eq!(error.is_some(), told.is_some(), "{error:?}");
        assert!(error.unwrap_or_default().contains(told.unwrap_or_default()), "{told:?}");
    }
}

/// Rows of the vocabulary of Qwen3 and rank 64: 39 MB, which must be turned.
#[test]
fn a_large_embedding_is_turned_in_the_memory_that_it_takes() {
    let (n, r) = (151_936, 64);
    let numbers: Vec<f32> = (0..n * r).map(|i| (i % 8191) as f32).collect();
    let tensors = [
        named("base_model.model.m.emb.lora_embedding_A", "F32", &[r, n], f32s(&numbers)),
        named("base_model.model.m.emb.lora_embedding_B", "F32", &[5, r], f32s(&values(5 * r))),
    ];
    let file = of_peft(lora_config("").replace("\"r\":4", "\"r\":64"), &tensors);
    let adapters = file.adapters().unwrap_or_else(|e| panic!("{e}"));
    let (part, peak) = peak(|| adapters.get("m.emb.weight").expect("an adapter").tensor("lora_B").expect("B"));
    assert_eq!(&part.shape[..], [n, r]);
    let at = |row: usize, column: usize| part.bytes[(row * r + column) * 4..][..4].to_vec();
    for (row, column) in [(0, 0), (1, 0), (n - 1, r - 1), (77_777, 13)] {
        assert_eq!(at(row, column), numbers[column * n + row].to_le_bytes(), "{row}, {column}");
    }
    assert!(peak < n * r * 4 + MIB, "{peak} bytes");
}

#[test]
fn the_weights_of_gpt_2_have_inputs_first_and_its_embeddings_have_not() {
    let base = || model(&[("h.0.c_attn.weight", &[6, 18]), ("h.0.c_proj.weight", &[6, 6]), ("wte.weight", &[11, 6])]);
    let linear = || model(&[("h.0.c_attn.weight", &[18, 6]), ("h.0.c_proj.weight", &[6, 6]), ("wte.weight", &[11, 6])]);
    let tensors = || {
        vec![
            peft("h.0.c_attn.lora_A.weight", &[4, 6]),
            peft("h.0.c_attn.lora_B.weight", &[18, 4]),
            peft("h.0.c_proj.lora_A.weight", &[4, 6]),
            peft("h.0.c_proj.lora_B.weight", &[6, 4]),
            peft("wte.lora_embedding_A", &[4, 11]),
            peft("wte.lora_embedding_B", &[6, 4]),
        ]
    };
    let config = |flag: bool| {
        let names = r#""c_attn","c_proj","wte""#;
        lora_config(&format!(r#","fan_in_fan_out":{flag}"#)).replace(r#""q_proj","emb""#, names)
    };
    let turned = |n: usize, k: usize| (0..n * k).map(|i| values(n * k)[i % k * n + i / k]).collect::<Vec<f32>>();
    // PEFT saves the flag of the module that it came to last, so that it says nothing of a model that has both kinds.
    for (flag, base, inputs_first) in
        [(true, base(), true), (false, base(), true), (false, linear(), false), (true, linear(), false)]
    {
        let file = of_peft(config(flag), &tensors());
        let mut adapters = file.adapters().unwrap_or_else(|e| panic!("{flag}: {e}"));
        adapters.fit(&base).unwrap_or_else(|e| panic!("{flag} {inputs_first}: {e}"));
        for (module, n, k) in [("h.0.c_attn", 18, 6), ("h.0.c_proj", 6, 6)] {
            let adapter = adapters.get(&format!("{module}.weight")).expect("an adapter");
            let of = |role: &str| numbers(&adapter.tensor(role).expect("a tensor"));
            let want = if inputs_first { (turned(4, n), turned(k, 4)) } else { (values(4 * k), values(n * 4)) };
            assert_eq!((of("lora_A"), of("lora_B")), want, "{module}, {flag}");
        }
        let wte = adapters.get("wte.weight").expect("an adapter");
        assert_eq!(wte.stored("lora_B"), Some(("f32", vec![11, 4])));
    }
}

fn architecture_is(file: &mut Gguf, name: &str) {
    file.metadata.retain(|(name, ..)| *name != "general.architecture");
    let mut bytes = Vec::new();
    text(&mut bytes, name.as_bytes());
    file.metadata.push(("general.architecture", 8, bytes));
}

/// PEFT's names and GGUF's, either way.
#[test]
fn adapters_have_the_names_of_the_base_where_one_is_gguf() {
    let of_gguf = |architecture: &str| {
        let mut file = Gguf::new(vec![
            ("blk.3.attn_q.weight", vec![8, 6], 0, f32s(&values(48))),
            ("blk.3.ffn_down.weight", vec![8, 6], 0, f32s(&values(48))),
            ("output.weight", vec![5, 11], 0, f32s(&values(55))),
        ]);
        architecture_is(&mut file, architecture);
        Checkpoint::from_bytes(file.bytes()).expect("a model")
    };
    let names = r#""q_proj","down_proj","lm_head""#;
    let of = |modules: &[(&str, usize, usize)]| {
        let pair = |(module, n, k): &(&str, usize, usize)| {
            [peft(&format!("{module}.lora_A.weight"), &[4, *k]), peft(&format!("{module}.lora_B.weight"), &[*n, 4])]
        };
        modules.iter().flat_map(pair).collect::<Vec<_>>()
    };
    let (q, down) = ("model.layers.3.self_attn.q_proj", "model.layers.3.mlp.down_proj");
    let all = [of(&[(q, 6, 8), (down, 6, 8)]), vec![peft("lm_head.weight", &[12, 5])]].concat();
    let file = of_peft(lora_config("").replace(r#""q_proj","emb""#, names), &all);
    let mut adapters = file.adapters().expect("adapters");
    let told = adapters.fit(&of_gguf("llama")).expect_err("rows in another order").to_string();
    let rule =
        "model.layers.3.self_attn.q_proj.weight is blk.3.attn_q.weight of the base, and rows of q and k of llama";
    assert!(told.contains(rule), "{told}");
    assert!(adapters.get(&format!("{q}.weight")).is_some(), "nothing has changed");
    adapters.fit(&of_gguf("qwen3")).unwrap_or_else(|e| panic!("{e}"));
    let weights: Vec<_> = adapters.iter().map(|adapter| adapter.weight.as_str()).collect();
    assert_eq!(weights, ["blk.3.attn_q.weight", "blk.3.ffn_down.weight"]);
    assert!(adapters.get("blk.3.attn_q.weight").is_some());
    assert_eq!(adapters.replaced().collect::<Vec<_>>(), [("output.weight", "base_model.model.lm_head.weight")]);
    // Of a Llama what does not turn.
    let file = of_peft(lora_config("").replace(r#""q_proj","emb""#, names), &of(&[(down, 6, 8)]));
    file.adapters().expect("adapters").fit(&of_gguf("llama")).unwrap_or_else(|e| panic!("{e}"));
    // The other way round.
    let base = model(&[("model.layers.0.self_attn.q_proj.weight", &[6, 8]), ("model.embed_tokens.weight", &[5, 3])]);
    for (architecture, fits) in [("qwen3", true), ("llama", false)] {
        let mut file = gguf_adapter(1.0);
        architecture_is(&mut file, architecture);
        let file = Checkpoint::from_bytes(file.bytes()).expect("a file");
        let mut adapters = file.adapters().expect("adapters");
        assert_eq!(adapters.fit(&base).map_err(|e| e.to_string()).is_ok(), fits, "{architecture}");
        assert_eq!(adapters.get("model.layers.0.self_attn.q_proj.weight").is_some(), fits);
        assert_eq!(adapters.get("model.embed_tokens.weight").is_some(), fits);
    }
}

/// What llama.cpp takes.
#[test]
fn an_adapter_of_gguf_may_lack_its_alpha_and_have_norms() {
    let mut file = gguf_adapter(1.0);
    file.metadata.retain(|(name, ..)| *name != "adapter.lora.alpha");
    file.tensors.push(("blk.0.attn_norm.weight".into(), vec![8], 0, f32s(&values(8))));
    let checkpoint = Checkpoint::from_bytes(file.bytes()).expect("a file");
    let adapters = checkpoint.adapters().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adapters.get("blk.0.attn_q.weight").expect("q").scale, 1.0);
    assert_eq!(adapters.replaced().collect::<Vec<_>>(), [("blk.0.attn_norm.weight", "blk.0.attn_norm.weight")]);
}

#[test]
fn errors_of_adapters_name_tensor_rule_and_value() {
    let lora = || vec![peft("m.0.q_proj.lora_A.weight", &[4, 8]), peft("m.0.q_proj.lora_B.weight", &[6, 4])];
    let with = |more: Vec<Named>| [lora(), more].concat();
    let plain = || lora_config("");
    let miss = |init: &str| format!(r#"{{"peft_type":"MISS","r":4,"init_weights":{init}}}"#);
    let error = |config: String, tensors: &[Named]| {
        let set = [("adapter_model.safetensors", safetensors(tensors)), ("adapter_config.json", config.into_bytes())];
        let checkpoint = Checkpoint::from_files(file_set(&set)).map_err(|e| e.to_string());
        checkpoint.and_then(|c| match c.adapters().and_then(|mut a| a.fit(&adapted_model())) {
            Ok(()) => panic!("no error"),
            Err(e) => Err::<(), _>(e.to_string()),
        })
    };
    let b = "tensor base_model.model.m.0.q_proj.lora_B.weight";
    for (config, tensors, words) in [
        (
            plain(),
            vec![lora().remove(0)],
            &["adapter_model.safetensors", "m.0.q_proj", "lora_B of lora is missing"][..],
        ),
        (
            plain(),
            vec![lora().remove(0), peft("m.0.q_proj.lora_B.weight", &[6, 3])],
            &[b, "it has rank 3, but the rank is 4"],
        ),
        (
            plain(),
            vec![lora().remove(0), peft("m.0.q_proj.lora_B.weight", &[6, 4, 1])],
            &[b, "[6, 4, 1]", "2 dimensions"],
        ),
        (plain(), vec![lora().remove(0), peft("m.0.q_proj.lora_B.weight", &[0, 4])], &[b, "none 0"]),
        (
            plain(),
            vec![lora().remove(0), named("base_model.model.m.0.q_proj.lora_B.weight", "I8", &[6, 4], vec![0; 24])],
            &[b, "stored as i8"],
        ),
        (plain().replace("\"r\":4", "\"r\":5"), lora(), &["lora_A.weight", "it has rank 4, but the rank is 5"]),
        (plain().replace("10", "NaN"), lora(), &["adapter_config.json", "lora_alpha = NaN is not a finite number"]),
        (plain().replace("10", "1e999"), lora(), &["adapter_config.json", "lora_alpha = inf is not a finite number"]),
        (plain().replace(r#""lora_alpha":10,"#, ""), lora(), &["adapter_config.json", "lora_alpha is missing"]),
        (plain().replace("\"r\":4", "\"r\":-4"), lora(), &["r = -4 is no rank"]),
        (plain().replace("LORA", "LOKR"), lora(), &["peft_type = LOKR"]),
        (plain().replace("q_proj", "k_proj"), lora(), &["m.0.q_proj is none of target_modules, which are k_proj, emb"]),
        (lora_config(r#","use_dora":true"#), lora(), &["lora_magnitude_vector of dora is missing"]),
        (
            lora_config(r#","use_dora":true"#),
            with(vec![peft("m.0.q_proj.lora_magnitude_vector", &[5])]),
            &["lora_magnitude_vector: it is of 5, but the others are of 6"],
        ),
        (
            lora_config(r#","use_dora":true,"fan_in_fan_out":true"#).replace("q_proj", "c_fc"),
            vec![
                peft("m.0.c_fc.lora_A.weight", &[4, 8]),
                peft("m.0.c_fc.lora_B.weight", &[6, 4]),
                peft("m.0.c_fc.lora_magnitude_vector", &[6]),
            ],
            &["m.0.c_fc", "norms of columns"],
        ),
        (
            with_embedding_dora(),
            vec![
                peft("m.emb.lora_embedding_A", &[4, 11]),
                peft("m.emb.lora_embedding_B", &[5, 4]),
                peft("m.emb.lora_magnitude_vector", &[5]),
            ],
            &["m.emb", "norms of columns"],
        ),
        (lora_config(r#","init_lora_weights":"pissa_niter_4""#), lora(), &["init_lora_weights = pissa_niter_4"]),
        (lora_config(r#","init_lora_weights":"OLoRA""#), lora(), &["init_lora_weights = OLoRA"]),
        (
            plain().replace("LORA", "LOHA").replace("lora_alpha", "alpha").replacen(
                '{',
                r#"{"init_weights":"abba","#,
                1,
            ),
            lora(),
            &["init_weights = abba"],
        ),
        (lora_config(r#","layer_replication":[[0,1]]"#), lora(), &["layer_replication"]),
        (
            lora_config(r#","rank_pattern":{".*q_proj(?=x)":3}"#),
            lora(),
            &["rank_pattern", ".*q_proj(?=x) is no regular expression that is read"],
        ),
        (lora_config(r#","rank_pattern":{"q_proj":1.5}"#), lora(), &["rank_pattern: q_proj = 1.5 is no rank"]),
        (lora_config(r#","alpha_pattern":{"q_proj":"x"}"#), lora(), &["alpha_pattern: q_proj = x"]),
        (lora_config(r#","alpha_pattern":[1]"#), lora(), &["alpha_pattern: it is [1]"]),
        (lora_config(r#","r":4"#), lora(), &["r: it occurs twice"]),
        (
            plain(),
            with(vec![peft("m.0.q_proj.lora_C.weight", &[1])]),
            &["1 tensors are no part of a lora adapter", "lora_C"],
        ),
        (plain(), with(vec![peft("m.0.q_proj.lora_B.bias", &[6])]), &["no part of a lora adapter", "lora_B.bias"]),
        (
            plain(),
            with(vec![named("m.0.q_proj.lora_A.weight", "F32", &[4, 8], vec![0; 128])]),
            &["are the same of one adapter"],
        ),
        (plain(), vec![peft("lm_head.weight", &[11, 5])], &["has no adapter"]),
        (miss("true"), vec![peft("m.0.q_proj.miss_block", &[4, 5])], &["for [5, any], but the weight is [6, 8]"]),
        (miss(r#""mini""#), vec![peft("m.0.q_proj.miss_block", &[4, 4])], &["4 does not divide N = 6"]),
        (miss(r#""bat""#), vec![peft("m.0.q_proj.miss_block", &[3, 4, 3])], &["blocks are 4 x 3"]),
        (
            miss(r#""bat""#).replace("\"r\":4", "\"r\":3"),
            vec![peft("m.0.q_proj.miss_block", &[2, 3, 3])],
            &["3 does not divide K = 8"],
        ),
        (miss(r#""star""#), vec![peft("m.0.q_proj.miss_block", &[4, 6])], &["init_weights = star"]),
        (
            plain(),
            with(vec![
                peft("m.7.q_proj.lora_A.weight", &[4, 8]),
                peft("m.7.q_proj.lora_B.weight", &[6, 4]),
                peft("other.bias", &[6]),
            ]),
            &["2 of 3 names match no weight of the base: other.bias, m.7.q_proj.weight"],
        ),
    ] {
        let error = error(config, &tensors).err().unwrap_or_default();
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        assert!(error.starts_with("adapter_"), "{error}");
    }

    let error = |file: Gguf| {
        let checkpoint = Checkpoint::from_bytes(file.bytes()).unwrap_or_else(|e| panic!("{e}"));
        checkpoint.adapters().map(|a| a.to_string()).expect_err("no error").to_string()
    };
    assert!(error(gguf_adapter(f32::NAN)).contains("adapter.lora.alpha = NaN, but must be a finite number"));
    let mut file = gguf_adapter(1.0);
    file.tensors.remove(1);
    assert!(error(file).contains("blk.0.attn_q.weight: lora_B of lora is missing"));
    let mut file = gguf_adapter(1.0);
    file.tensors[1].1 = vec![3, 8];
    assert!(error(file).contains("tensor blk.0.attn_q.weight.lora_b: it has rank 3, but the rank is 4"));
    let mut file = gguf_adapter(1.0);
    file.tensors[0].0 = "blk.0.attn_q.weight".into();
    assert!(error(file).contains("1 tensors are no part of a lora adapter: blk.0.attn_q.weight"));
    assert!(error(Gguf::new(vec![])).contains("has no general.type"));
    let error = adapted_model().adapters().map(|a| a.to_string()).expect_err("no error").to_string();
    assert!(error.contains("has no adapter_config.json beside it"), "{error}");
}

fn with_embedding_dora() -> String {
    lora_config(r#","use_dora":true"#)
}

#[test]
fn an_adapter_beside_a_model_is_not_the_model() {
    let file = &adapter_files()[0];
    let mut set = file_set(&file.files());
    // Alone it is found in its directory; a model comes first, and is none of it.
    assert!(Checkpoint::from_files(set.clone()).expect("an adapter").is_adapter());
    set.insert("optimizer.safetensors".into(), Cow::Owned(safetensors(&[named("a", "F32", &[1], vec![0; 4])])));
    assert!(Checkpoint::from_files(set.clone()).expect("an adapter").is_adapter());
    set.insert("model.safetensors".into(), Cow::Owned(safetensors(&[named("a", "F32", &[1], vec![0; 4])])));
    assert!(!Checkpoint::from_files(set).expect("a model").is_adapter());
}

// ---- files that are almost right

/// Numbers that readers trip over.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    31,
    32,
    255,
    1 << 16,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 61,
    u64::MAX / 2,
    u64::MAX - 31,
    u64::MAX,
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let near = if random.below(3) > 0 { bytes.len().min(400) } else { bytes.len() };
    let at = random.below(near);
    match random.below(9) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        3 => bytes.truncate(at),
        // A count or an offset.
        4 => {
            let (edge, size) = (EDGES[random.below(EDGES.len())], if random.below(2) > 0 { 8 } else { 4 });
            let end = bytes.len().min(at + size);
            let size = end - at;
            bytes[at..end].copy_from_slice(&edge.to_le_bytes()[..size]);
        }
        // A number of a text.
        5 | 6 => {
            let digits = |at: &usize| bytes.get(*at).is_some_and(u8::is_ascii_digit);
            if let Some(from) = (at..bytes.len()).find(digits) {
                let to = (from..bytes.len()).find(|at| !digits(at)).unwrap_or(bytes.len());
                let edge = EDGES[random.below(EDGES.len())].to_string();
                bytes.splice(from..to, edge.into_bytes());
            }
        }
        // A piece twice, or in another place.
        7 => {
            let size = random.below(80).min(bytes.len() - at);
            let piece = bytes[at..at + size].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        _ => {
            let size = random.below(40).min(bytes.len() - at);
            bytes.drain(at..at + size);
        }
    }
}

/// The length before a header is made right again, so that what is in the header comes to be judged.
fn mend(bytes: &mut [u8], data: usize) {
    if let Some(header) = bytes.len().checked_sub(8 + data) {
        bytes[..8].copy_from_slice(&(header as u64).to_le_bytes());
    }
}

/// All that can be asked of a checkpoint.
fn use_all(files: FileSet) -> Result<usize, String> {
    let checkpoint = Checkpoint::from_files(files).map_err(|e| e.to_string())?;
    let mut size = describe(&checkpoint).to_string().len();
    for name in checkpoint.names().chain(checkpoint.weights()) {
        if let Ok(weight) = checkpoint.weight(name) {
            assert!(weight.n() > 0 && weight.k() > 0);
            if weight.k() < MIB {
                let mut row = vec![0.0; weight.k()];
                weight.decode_row(weight.n() - 1, &mut row).map_err(|e| e.to_string())?;
            }
            size += weight.bytes();
        }
    }
    for name in checkpoint.names() {
        size += checkpoint.tensor(name).map_err(|e| e.to_string())?.bytes.len();
    }
    if checkpoint.is_adapter() {
        let mut adapters = checkpoint.adapters().map_err(|e| e.to_string())?;
        size += adapters.to_string().len();
        for adapter in adapters.iter() {
            for role in adapter.roles() {
                size += adapter.tensor(role).map_err(|e| format!("an adapter that is listed: {e}"))?.bytes.len();
            }
        }
        adapters.fit(&checkpoint).err().map(|e| e.to_string().len());
    }
    // What is listed can be had.
    for name in checkpoint.weights() {
        match checkpoint.weight(name).map(drop).map_err(|e| e.to_string()) {
            Err(e) if !e.contains("a scale of its own") => return Err(format!("a weight that is listed: {e}")),
            _ => {}
        }
    }
    Ok(size)
}

/// Of a file of safetensors that we read, the format's own reader says the same.
fn as_the_crate_reads(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes) else { return };
    if bytes.starts_with(b"GGUF") {
        return;
    }
    let theirs = SafeTensors::deserialize(bytes).unwrap_or_else(|e| panic!("read here, but elsewhere {e}"));
    assert_eq!(theirs.len(), checkpoint.names().count());
    for name in checkpoint.names() {
        let (ours, theirs) = (checkpoint.tensor(name).expect("a tensor"), theirs.tensor(name).expect("a tensor"));
        assert_eq!(ours.stored, theirs.dtype().to_string().to_lowercase());
        assert_eq!((ours.shape, ours.bytes), (theirs.shape(), theirs.data()));
    }
}

/// Files that are right, each with the number of bytes behind its header if it is safetensors.
fn right_files() -> Vec<(FileSet, &'static str, usize)> {
    let mut all = Vec::new();
    for case in cases() {
        let data = 8 + case.tensors.iter().map(|(.., bytes)| bytes.len()).sum::<usize>();
        all.push((file_set(&of_case(&case)), "model.safetensors", data));
        if !case.config.is_empty() {
            all.push((file_set(&of_case(&case)), "config.json", 0));
        }
    }
    for file in adapter_files() {
        let data = 8 + file.tensors.iter().map(|(.., bytes)| bytes.len()).sum::<usize>();
        all.push((file_set(&file.files()), "adapter_model.safetensors", data));
        all.push((file_set(&file.files()), "adapter_config.json", 0));
    }
    all.push((shards(), "model.safetensors.index.json", 0));
    all.push((shards(), "a.safetensors", 16));
    all.push((split_gguf(), "m-q-00001-of-00003.gguf", 0));
    all.push((split_gguf(), "m-q-00003-of-00003.gguf", 0));
    // Half of the draws are GGUF's.
    let types = TYPES
        .iter()
        .map(|(number, name, elements, bytes)| (*name, vec![*elements as u64, 2], *number, vec![1; 2 * bytes]));
    let mut file = Gguf::new(types.collect());
    file.tensors.push(("a.scale".into(), vec![1], 0, vec![0; 4]));
    let adapter = gguf_adapter(2.0).bytes();
    let small = Gguf::new(vec![("a.weight", vec![4, 2], 1, vec![0; 16]), ("b", vec![3], 24, vec![0; 3])]);
    for at in 0..all.len() {
        let file = match at % 4 {
            0 | 2 => small.bytes(),
            1 => file.bytes(),
            _ => adapter.clone(),
        };
        all.push((files(&[("model.gguf", &file)]), "model.gguf", 0));
    }
    all
}

#[test]
fn no_file_makes_a_reader_panic_or_take_memory() {
    let right = right_files();
    for (files, name, _) in &right {
        use_all(files.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    // The same draws each time, unless more are asked for.
    let draws = std::env::var("GRISTMILL_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000u64);
    let (mut read, mut wrong) = (0, 0);
    for draw in 0..draws {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (draw + 1));
        random.next();
        let (files, name, data) = &right[random.below(right.len())];
        let mut files = files.clone();
        let mut bytes = files.get(*name).map(|bytes| bytes.to_vec()).unwrap_or_default();
        for _ in 0..1 + random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        if *data > 0 && random.below(4) > 0 {
            mend(&mut bytes, *data);
        }
        files.insert((*name).to_owned(), Cow::Owned(bytes.clone()));
        let (result, peak) = peak(|| catch_unwind(AssertUnwindSafe(|| use_all(files))));
        let result = result.unwrap_or_else(|_| panic!("draw {draw} of {name} panics"));
        assert!(peak < 10 * MIB, "draw {draw} of {name}: {peak} bytes");
        match result {
            Ok(_) => read += 1,
            Err(error) => {
                wrong += 1;
                assert!(error.contains(": ") && !error.contains("that is listed"), "draw {draw} of {name}: {error}");
                assert!(error.len() < 4000 && error.contains('.'), "draw {draw} of {name}: {error}");
            }
        }
        if name.ends_with(".safetensors") {
            let same = catch_unwind(|| as_the_crate_reads(&bytes));
            assert!(same.is_ok(), "draw {draw} of {name}: the format's own reader disagrees");
        }
    }
    // Most are found out; some changes are of numbers that nobody can judge.
    eprintln!("{draws} files: {read} read, {wrong} errors");
    assert!(read > draws / 50 && wrong > draws / 3, "{read} read, {wrong} errors");
}
