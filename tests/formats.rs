//! Weight formats on the CPU: the golden `dequantize` cases, what errors say, encoding, and that no file makes a codec panic.
//!
//! Runs the files of `tests/golden/dequantize` and of every directory in `GRISTMILL_GOLDEN=dir[:dir]`, one named test each; of `linear` cases
//! only that their weights are accepted, or not. No GPU is needed.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by it, and says why")]

mod golden_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use golden_file::{Compare, attrs_of, packed_of, part_of};
use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::proof::{Attrs, Value};
use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::tensor::SafeTensors;

type Parts = BTreeMap<String, Part<'static>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let files = match golden_file::all() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("formats: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = vec![
        Trial::test("every_format_and_error_is_among_our_files", every_format_and_error_is_among_our_files),
        Trial::test("errors_name_format_tensor_rule_and_values", errors_name_format_tensor_rule_and_values),
        Trial::test("numbers_are_judged_when_a_weight_is_made", numbers_are_judged_when_a_weight_is_made),
        Trial::test("what_cannot_be_encoded_is_an_error", what_cannot_be_encoded_is_an_error),
        Trial::test("codes_that_only_pad_are_not_read", codes_that_only_pad_are_not_read),
    ];
    for name in ENCODED {
        trials.push(Trial::test(format!("encode/{name}"), move || encode(name)));
    }
    for (name, path) in files {
        let op = name.split('/').next().unwrap_or_default().to_owned();
        if op == "dequantize" {
            let (garbled, file) = (format!("garbled/{name}"), path.clone());
            trials.push(Trial::test(name, move || golden(&path)));
            trials.push(Trial::test(garbled, move || garble(&file)));
        } else if op == "linear" {
            trials.push(Trial::test(name, move || of_linear(&path)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

// ---- golden files

/// A case as it stands in its file.
struct File {
    attrs: Attrs,
    compare: Compare,
    expect_error: Option<String>,
    parts: Parts,
    want: Option<Vec<f32>>,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failed> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let meta = header.metadata().as_ref().ok_or("no __metadata__")?;
        let field = |name: &str| meta.get(name).map(String::as_str).ok_or_else(|| Failed::from(format!("no {name}")));
        let (mut parts, mut want) = (Parts::new(), None);
        for (role, view) in file.tensors() {
            if role == "expect.w" {
                want =
                    Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
            } else if !role.starts_with("expect.") {
                let part = part_of(&role, &view)?;
                parts.insert(role, part);
            }
        }
        Ok(Self {
            attrs: attrs_of(field("attrs")?)?,
            compare: Compare::of(field("compare")?)?,
            expect_error: meta.get("expect_error").cloned(),
            parts,
            want,
        })
    }

    /// One of the project's own.
    fn own(name: &str) -> Result<Self, Failed> {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/dequantize/{name}.safetensors")))
    }

    fn size(&self, name: &str) -> usize {
        match self.attrs.0.get(name) {
            Some(Value::Number(v)) => *v as usize,
            _ => 0,
        }
    }

    fn format(&self) -> Result<Format, gristmill::Error> {
        match self.attrs.0.get("format") {
            Some(Value::Text(name)) => Format::parse(name, &self.attrs),
            _ => Format::parse("", &self.attrs),
        }
    }

    fn packed(&self) -> Result<Packed<'static>, gristmill::Error> {
        packed_of(&self.attrs, self.parts.clone())
    }
}

fn golden(path: &Path) -> Result<(), Failed> {
    let file = File::read(path)?;
    if let Some(reason) = &file.expect_error {
        return match file.packed() {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("no error, though {reason}").into()),
        };
    }
    let (packed, want) = (file.packed()?, file.want.as_deref().ok_or("no expect.w")?);
    let got = packed.decode();
    file.compare.check("w", &got, want)?;
    // Rows by themselves, last first, into a place that held something else.
    let mut row = vec![f32::NAN; packed.k()];
    for n in (0..packed.n()).rev() {
        packed.decode_row(n, &mut row)?;
        let all = &got[n * packed.k()..][..packed.k()];
        if row.iter().zip(all).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(format!("row {n} by itself differs").into());
        }
    }
    if packed.decode_row(packed.n(), &mut row).is_ok() || packed.decode_row(0, &mut row[1..]).is_ok() {
        return Err("a row that is not there is decoded".into());
    }
    let name = packed.format();
    if name.encodes() && !packed.parts().keys().any(|role| role.starts_with("sparse.")) {
        again(name, &got, &packed)?;
    }
    Ok(())
}

/// Formats for which what has been encoded is encoded again to the same values: there the scale is that of the largest code.
const STABLE: [&str; 9] =
    ["dense", "gguf.q4_0", "gguf.q5_0", "gguf.q8_0", "gguf.mxfp4", "gguf.tq1_0", "gguf.tq2_0", "bnb.nf4", "bnb.fp4"];

/// Decoded numbers can be encoded, and in the formats where that holds, are then what they were.
fn again(format: Format, values: &[f32], packed: &Packed<'_>) -> Result<(), Failed> {
    if values.iter().any(|v| !v.is_finite()) {
        return Ok(());
    }
    let once = Packed::encode(format, packed.n(), packed.k(), values)?.decode();
    let twice = Packed::encode(format, packed.n(), packed.k(), &once)?.decode();
    if STABLE.contains(&format.name()) {
        Compare::Exact.check("encoded twice", &twice, &once)?;
    }
    Ok(())
}

/// The weight of a `linear` case is accepted, unless the fault of the case is in it.
fn of_linear(path: &Path) -> Result<(), Failed> {
    let mut file = File::read(path)?;
    let known = ["none", "relu", "gelu", "gelu_tanh", "silu"];
    let activation = file.attrs.0.remove("activation");
    file.attrs.0.remove("act_bits");
    let elsewhere = [
        activation.is_some_and(|a| !known.iter().any(|k| a == Value::from(*k))),
        file.parts.remove("x").is_none_or(|x| x.shape.get(1) != Some(&file.size("k"))),
        file.parts.remove("b").is_some_and(|b| b.shape != [file.size("n")]),
    ];
    match (file.packed(), &file.expect_error) {
        (Ok(_), Some(reason)) if !elsewhere.contains(&true) => Err(format!("no error, though {reason}").into()),
        (Err(error), None) => Err(error.into()),
        _ => Ok(()),
    }
}

fn every_format_and_error_is_among_our_files() -> Result<(), Failed> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dequantize");
    let (mut formats, mut errors, mut bytes) = (BTreeSet::new(), 0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        bytes += std::fs::metadata(&path)?.len();
        let file = File::read(&path)?;
        match file.expect_error {
            None => _ = formats.insert(file.format()?.name()),
            Some(_) => errors += 1,
        }
    }
    let missing: Vec<_> = Format::NAMES.iter().filter(|(name, _)| !formats.contains(name)).collect();
    if !missing.is_empty() || errors < 4 || bytes > 700_000 {
        return Err(format!("{missing:?} have no file; {errors} errors; {bytes} bytes").into());
    }
    Ok(())
}

// ---- errors

/// One fault: what is done to a good file, and words that the error must have.
type Fault = (&'static str, fn(&mut File), &'static [&'static str]);

fn part<'a>(file: &'a mut File, name: &str) -> &'a mut Part<'static> {
    file.parts.get_mut(name).unwrap_or_else(|| panic!("the file has no {name}"))
}

fn reshape(file: &mut File, name: &str, shape: &[usize]) {
    let part = part(file, name);
    part.shape = shape.to_vec();
    let bytes = part.shape.iter().product::<usize>() * part.dtype.bytes();
    part.bytes.to_mut().resize(bytes, 0);
}

fn set(file: &mut File, name: &str, value: impl Into<Value>) {
    file.attrs.0.insert(name.to_owned(), value.into());
}

fn put_index(file: &mut File, name: &str, at: usize, index: i32) {
    part(file, name).bytes.to_mut()[4 * at..4 * at + 4].copy_from_slice(&index.to_le_bytes());
}

const FAULTS: &[Fault] = &[
    ("dense-sp1-n3-k33", |f| set(f, "format", "int3.magic"), &["format", "int3.magic"]),
    ("dense-sp1-n3-k33", |f| set(f, "format", true), &["format", "name"]),
    ("dense-sp1-n3-k33", |f| set(f, "bits", 4.0), &["dense", "bits"]),
    ("dense-sp1-n3-k33", |f| set(f, "n", 0.0), &["dense", "N = 0"]),
    ("dense-sp1-n3-k33", |f| set(f, "k", 1e18), &["dense", "N = 3", "K = 1000000000000000000"]),
    ("dense-sp1-n3-k33", |f| reshape(f, "w", &[3, 32]), &["dense", "w ", "[3, 32]", "[3, 33]"]),
    ("dense-sp1-n3-k33", |f| part(f, "w").dtype = Dtype::I32, &["dense", "w ", "i32", "f32"]),
    ("dense-sp1-n3-k33", |f| _ = part(f, "w").bytes.to_mut().pop(), &["dense", "w ", "395 bytes", "[3, 33]"]),
    ("dense-sp1-n3-k33", |f| part(f, "w").shape = vec![usize::MAX, 8], &["dense", "w ", "396 bytes"]),
    ("dense-sp1-n3-k33", |f| _ = f.parts.remove("w"), &["dense", "w is missing"]),
    ("dense-sp1-n3-k33", |f| _ = f.parts.remove("sparse.col"), &["dense", "sparse.col is missing"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.col", 0, 33), &["dense", "sparse.col[0] = 33", "33"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.row", 0, 3), &["dense", "sparse.row[0] = 3", "3"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.row", 0, -1), &["dense", "sparse.row[0] = -1"]),
    ("dense-sp1-n3-k33", |f| reshape(f, "sparse.value", &[2]), &["dense", "sparse.value", "[2]", "[1]"]),
    ("dense-n5-k1-random", |f| _ = f.parts.insert("v".into(), f.parts["w"].clone()), &["dense", "tensor v"]),
    ("gguf_q4_k-n1-k256-edge", |f| set(f, "k", 300.0), &["gguf.q4_k", "K = 300", "256"]),
    ("gguf_q4_0-n1-k32-edge", |f| reshape(f, "blocks", &[1, 17]), &["gguf.q4_0", "blocks", "[1, 17]", "[1, 18]"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "version", "marlin"), &["awq", "version", "marlin", "gemm"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "bits", 8.0), &["awq", "bits = 8", "4"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "n", 9.0), &["awq", "N = 9", "8"]),
    ("awq-g32-n8-k64-edge", |f| _ = f.attrs.0.remove("group"), &["awq", "group", "missing"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", 0.0), &["awq", "group = 0"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", -2.0), &["awq", "group = -2"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", 32.5), &["awq", "group = 32.5"]),
    ("awq-g32-n8-k64-edge", |f| reshape(f, "scales", &[1, 8]), &["awq", "scales", "[1, 8]", "[2, 8]"]),
    ("awq-gemv-g64-n8-k256-edge", |f| reshape(f, "qzeros", &[8, 0]), &["awq", "qzeros", "[8, 0]", "at least 1"]),
    ("awq-gemv_fast-g64-n8-k256-edge", |f| set(f, "k", 96.0), &["awq", "K = 96", "64"]),
    ("awq-gemv_fast-g64-n8-k256-edge", |f| reshape(f, "scales", &[3, 8]), &["awq", "scales", "[3, 8]", "at least 4"]),
    (
        "gptq-b2-g32-v2-n16-k64-edge",
        |f| set(f, "checkpoint_format", "marlin"),
        &["gptq", "checkpoint_format", "marlin"],
    ),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| set(f, "bits", 5.0), &["gptq", "bits = 5"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| set(f, "k", 65.0), &["gptq", "K·bits = 130", "32"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| put_index(f, "g_idx", 5, 2), &["gptq", "g_idx[5] = 2", "2"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| put_index(f, "g_idx", 5, -7), &["gptq", "g_idx[5] = -7"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| _ = f.parts.remove("qzeros"), &["gptq", "qzeros is missing"]),
    ("mlx_affine-b4-g32-n3-k64-random", |f| set(f, "bits", 7.0), &["mlx.affine", "bits = 7"]),
    ("mlx_affine-b4-g32-n3-k64-random", |f| set(f, "group", 16.0), &["mlx.affine", "group = 16"]),
    (
        "mlx_affine-b4-g32-n3-k64-random",
        |f| reshape(f, "biases", &[3, 1]),
        &["mlx.affine", "biases", "[3, 1]", "[3, 2]"],
    ),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "axis", 2.0), &["hqq", "axis = 2"]),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "bits", 5.0), &["hqq", "bits = 5"]),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "group", 7.0), &["hqq", "N·K = 240", "7"]),
    ("hqq-b2-g32-n16-k48-edge", |f| set(f, "n", 3.0), &["hqq", "N·K = 144", "32"]),
    ("hqq-b2-g32-n16-k48-edge", |f| set(f, "n", 4.0), &["hqq", "6 rows", "4"]),
    ("bitnet-n4-k33-edge", |f| set(f, "n", 10.0), &["bitnet", "N = 10", "4"]),
    ("bitnet-n4-k33-edge", |f| set(f, "scale_is_inverse", 1.0), &["bitnet", "scale_is_inverse"]),
    (
        "fp8_e4m3-row-n1-k33-edge",
        |f| reshape(f, "weight_scale", &[7, 1]),
        &["fp8.e4m3", "weight_scale", "[7, 1]", "[1]"],
    ),
    ("fp8_e4m3-row-n1-k33-edge", |f| set(f, "block", 128.0), &["fp8.e4m3", "block", "128"]),
    (
        "fp8_e4m3-row-n1-k33-edge",
        |f| _ = f.attrs.0.insert("block".into(), Value::List(vec![0.0, 8.0])),
        &["fp8.e4m3", "block = [0, 8]"],
    ),
    (
        "int8-zero-n5-k70-random",
        |f| reshape(f, "weight_zero_point", &[1]),
        &["int8", "weight_zero_point", "[1]", "[5, 1]"],
    ),
    ("bnb_nf4-n1-k33-edge", |f| reshape(f, "absmax", &[2]), &["bnb.nf4", "absmax", "[2]", "[1]"]),
    ("bnb_nf4-n1-k33-edge", |f| set(f, "blocksize", 0.0), &["bnb.nf4", "blocksize = 0"]),
    ("bnb_fp4-nested-n5-k64-edge", |f| reshape(f, "map", &[16]), &["bnb.fp4", "map", "[16]", "[256]"]),
    ("bnb_fp4-nested-n5-k64-edge", |f| _ = f.parts.remove("offset"), &["bnb.fp4", "offset is missing"]),
    ("onnx_bnb4-b16-n1-k33-edge", |f| set(f, "quant_type", 2.0), &["onnx.bnb4", "quant_type = 2"]),
    ("onnx_nbits-f32h-n3-k100-random", |f| set(f, "block", 24.0), &["onnx.nbits", "block = 24"]),
    ("onnx_nbits-f32h-n3-k100-random", |f| set(f, "bits", 3.0), &["onnx.nbits", "bits = 3"]),
    (
        "onnx_nbits-f32h-n3-k100-random",
        |f| reshape(f, "B", &[3, 3, 16]),
        &["onnx.nbits", "B ", "[3, 3, 16]", "[3, 4, 16]"],
    ),
    ("leanquant-b3-n1-k66-edge", |f| set(f, "k", 67.0), &["leanquant", "K = 67", "2"]),
    ("leanquant-b3-n1-k66-edge", |f| set(f, "bits", 4.0), &["leanquant", "quant_grid", "[1, 8]", "[1, 16]"]),
    ("owq-n2-k32-random", |f| put_index(f, "outlieridx", 0, 32), &["owq", "outlieridx[0] = 32", "32"]),
    (
        "owq-n2-k32-random",
        |f| (0..2).for_each(|at| put_index(f, "outlieridx", at, 3)),
        &["owq", "outlieridx[1] = 3", "twice"],
    ),
    ("owq-n2-k32-random", |f| set(f, "n", 3.0), &["owq", "N = 3", "2"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "cols", 8.0), &["bcq", "K = 33", "8"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "cols", 0.0), &["bcq", "cols = 0"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "group", 5.0), &["bcq", "N = 32", "5"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "bits", 0.0), &["bcq", "bits = 0"]),
    ("group_ic-b3-gall1-n3-k40-random", |f| reshape(f, "qzeros", &[1, 3]), &["group_ic", "qzeros", "[1, 3]", "[1, 4]"]),
    ("lut16-n3-k33-random", |f| reshape(f, "table", &[2, 16]), &["lut16", "table", "[2, 16]", "[16] or [3, 16]"]),
    ("sparse24-n3-k36-random", |f| set(f, "k", 38.0), &["sparse24", "K = 38", "4"]),
];

fn errors_name_format_tensor_rule_and_values() -> Result<(), Failed> {
    for (at, (name, fault, words)) in FAULTS.iter().enumerate() {
        let mut file = File::own(name)?;
        file.packed()?;
        fault(&mut file);
        let said = match file.packed() {
            Ok(_) => return Err(format!("fault {at} of {name}: no error; expected {words:?}").into()),
            Err(error) => error.to_string(),
        };
        if let Some(word) = words.iter().find(|word| !said.contains(**word)) {
            return Err(format!("fault {at} of {name}: `{said}` does not say `{word}`").into());
        }
    }
    Ok(())
}

/// Numbers may come from elsewhere than [`Format::parse`].
fn numbers_are_judged_when_a_weight_is_made() -> Result<(), Failed> {
    use gristmill::formats::{Group, awq::Awq, bnb::Bnb, hqq::Hqq, mlx_affine::MlxAffine, onnx::OnnxNbits};
    let wrong = [
        Format::Awq(Awq { group: Group::Of(0), ..Awq::default() }),
        Format::BnbNf4(Bnb { blocksize: 0, blocksize2: 0 }),
        Format::Hqq(Hqq { bits: 0, ..Hqq::default() }),
        Format::MlxAffine(MlxAffine { bits: 32, group: 0 }),
        Format::OnnxNbits(OnnxNbits { bits: 0, block: 0 }),
    ];
    for format in wrong {
        if Packed::new(format, 8, 64, Parts::new()).is_ok() || Packed::encode(format, 8, 64, &[0.0; 512]).is_ok() {
            return Err(format!("{format:?} is accepted").into());
        }
    }
    Ok(())
}

/// What stands in places that nothing is said of makes no difference.
fn codes_that_only_pad_are_not_read() -> Result<(), Failed> {
    let mut file = File::own("leanquant-b3-n1-k66-edge")?;
    let before = file.packed()?.decode();
    part(&mut file, "weight_codes").bytes.to_mut().iter_mut().for_each(|byte| *byte |= 0x88);
    Compare::Exact.check("unused bits", &file.packed()?.decode(), &before)?;

    let mut file = File::own("onnx_nbits-f32h-n3-k100-random")?;
    let before = file.packed()?.decode();
    // Of the fourth block of 16 bytes only four codes, 2 bytes, are of K = 100.
    for row in part(&mut file, "B").bytes.to_mut().chunks_exact_mut(64) {
        row[50..].fill(0xff);
    }
    Compare::Exact.check("codes beyond K", &file.packed()?.decode(), &before)
}

// ---- encoding

const ENCODED: [&str; 17] = [
    "dense",
    "int8",
    "gguf.q4_0",
    "gguf.q4_1",
    "gguf.q5_0",
    "gguf.q5_1",
    "gguf.q8_0",
    "gguf.tq1_0",
    "gguf.tq2_0",
    "gguf.mxfp4",
    "bnb.nf4",
    "bnb.fp4",
    "onnx.bnb4",
    "mlx.affine",
    "fp8.e4m3",
    "fp8.e5m2",
    "fp8.e4m3 in blocks",
];

/// Numbers as in weights, in the same order each time: of all magnitudes, with zeros, outliers, and groups of one value.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let mut values: Vec<f32> = (0..count).map(|_| (0..6).map(|_| random.unit() - 0.5).sum::<f32>() * 0.02).collect();
    for group in values.chunks_mut(32) {
        match random.below(12) {
            0 => group.fill(0.0),
            1 => group.fill(-0.37),
            2 => group.iter_mut().for_each(|v| *v = v.abs() + 1.0),
            3 => group.iter_mut().for_each(|v| *v *= 1e3),
            4 => group.iter_mut().for_each(|v| *v *= 1e-3),
            5 => group[random.below(group.len())] = 3.0,
            _ => {}
        }
    }
    values
}

fn attrs(list: &[(&str, f64)]) -> Attrs {
    list.iter().fold(Attrs::default(), |attrs, (name, value)| attrs.with(name, *value))
}

/// No value is further from what it was than the rule of the format allows: half a step, a whole one where the code is at its end, and
/// what the rounding of the scale to f16 adds.
fn encode(name: &str) -> Result<(), Failed> {
    let many = match name {
        "mlx.affine" => [2., 3., 4., 5., 6., 8.]
            .iter()
            .flat_map(|b| [32., 64., 128.].map(|g| attrs(&[("bits", *b), ("group", g)])))
            .collect(),
        "onnx.bnb4" => (0..2).map(|t| attrs(&[("quant_type", f64::from(t)), ("block", 32.)])).collect(),
        "fp8.e4m3 in blocks" => {
            let mut attrs = Attrs::default();
            attrs.0.insert("block".into(), Value::List(vec![2.0, 48.0]));
            vec![attrs]
        }
        _ => vec![Attrs::default()],
    };
    let (n, k) = (37, 512);
    for (seed, attrs) in (1..).zip(&many) {
        let format = Format::parse(name.split(' ').next().unwrap_or_default(), attrs)?;
        let values = values(n * k, seed);
        let packed = Packed::encode(format, n, k, &values)?;
        let got = packed.decode();
        for (i, (v, got)) in values.iter().zip(&got).enumerate() {
            let bound = bound(name, &packed, &values, i);
            let (v, got) = (f64::from(*v), f64::from(*got));
            if got.is_nan() || (got - v).abs() > bound + 1e-7 * v.abs() {
                return Err(format!("{format:?}: {v} at {i} came back as {got}; the bound is {bound}").into());
            }
        }
        again(format, &got, &packed)?;
        // The smallest numbers, and the largest that f32 has.
        for extreme in [1e-45f32, 1e-38, f32::MAX] {
            let values: Vec<f32> = (0..512).map(|i| extreme * (1.0 - i as f32 / 300.0)).collect();
            let packed = Packed::encode(format, 1, 512, &values)?;
            if packed.decode().iter().any(|v| v.is_nan()) {
                return Err(format!("{format:?}: {extreme} makes NaN").into());
            }
        }
    }
    Ok(())
}

/// How far value i may be from what it was.
fn bound(name: &str, packed: &Packed<'_>, values: &[f32], i: usize) -> f64 {
    let f = f64::from;
    let group = |size: usize| &values[i / size * size..][..size];
    let amax = |values: &[f32]| values.iter().fold(0.0f64, |most, v| most.max(f(*v).abs()));
    let least = |values: &[f32]| values.iter().fold(f64::INFINITY, |m, v| m.min(f(*v)));
    let most = |values: &[f32]| values.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f(*v)));
    let number = |name: &str, i: usize| {
        let bytes = &packed.part(name).unwrap_or_else(|| panic!("no {name}")).bytes[4 * i..];
        f(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let v = f(values[i]);
    // Half a unit in the last place of f16, relative, and half its smallest subnormal.
    let (ulp16, tiny16) = (2f64.powi(-11), 2f64.powi(-25));
    let nearest = |table: &[f32; 16], block: usize| {
        let scale = number("absmax", i / block);
        // Division and products are in f32.
        table.iter().map(|entry| (f(*entry) * scale - v).abs()).fold(f64::INFINITY, f64::min) + scale * 1e-6
    };
    match name {
        "dense" => 0.0,
        "int8" => amax(&values[i / 512 * 512..][..512]) / 127.0 * 0.5001,
        "gguf.q4_0" | "gguf.q5_0" => {
            let half = if name == "gguf.q4_0" { 8.0 } else { 16.0 };
            let (all, d) = (amax(group(32)), amax(group(32)) / half);
            let step = if v.abs() > (half - 1.0) * d { 1.0 } else { 0.5001 };
            step * d + all * ulp16 + half * tiny16
        }
        "gguf.q4_1" | "gguf.q5_1" => {
            let codes = if name == "gguf.q4_1" { 15.0 } else { 31.0 };
            let (low, range) = (least(group(32)), most(group(32)) - least(group(32)));
            range / codes * 0.5001 + (range + low.abs()) * ulp16 + (codes + 1.0) * tiny16
        }
        "gguf.q8_0" => amax(group(32)) * (0.5001 / 127.0 + ulp16) + 127.0 * tiny16,
        "gguf.tq1_0" | "gguf.tq2_0" => amax(group(256)) * (0.5001 + ulp16) + tiny16,
        "gguf.mxfp4" => {
            let scale = 2f64.powi((amax(group(32)).log2().floor() as i32).max(-125) - 2);
            match v.abs() / scale {
                0.0..2.0 => 0.25 * scale,
                2.0..4.0 => 0.5 * scale,
                4.0..6.0 => scale,
                _ => v.abs() - 6.0 * scale,
            }
        }
        "bnb.nf4" => nearest(&nf4(), 64),
        "bnb.fp4" => nearest(&fp4(), 64),
        "onnx.bnb4" => nearest(&nf4(), 32).max(nearest(&fp4(), 32)),
        "mlx.affine" => {
            let words = packed.part("scales").map_or(1, |s| s.shape[1]);
            let (scale, bias) = (number("scales", i * words / 512), number("biases", i * words / 512));
            let Format::MlxAffine(numbers) = packed.format() else { panic!("another format") };
            // The edge is put on a code by a change of the scale, which may leave up to one code too few at the other end.
            let beyond = (v - bias) / scale - f64::from((1 << numbers.bits) - 1);
            scale.abs() * (if beyond > 0.5 { beyond.min(1.0) } else { 0.5 }) * 1.0001 + bias.abs() * 1e-6
        }
        "fp8.e4m3" => v.abs() * 0.0626 + number("weight_scale", i / 512) * 2f64.powi(-10),
        "fp8.e5m2" => v.abs() * 0.126 + number("weight_scale", i / 512) * 2f64.powi(-17),
        "fp8.e4m3 in blocks" => {
            v.abs() * 0.0626 + number("weight_scale", i / 1024 * 11 + i % 512 / 48) * 2f64.powi(-10)
        }
        other => panic!("no bound for {other}"),
    }
}

/// The tables as the formats' page in `tests/golden/FORMAT.md` has them: a decode of every code with scale 1.
fn table(name: &str) -> [f32; 16] {
    let codes: Vec<u8> = (0..8).map(|i| (2 * i) << 4 | (2 * i + 1)).collect();
    let parts = Parts::from([
        ("packed".to_owned(), Part::new(Dtype::U8, &[8, 1], codes)),
        ("absmax".to_owned(), Part::new(Dtype::F32, &[1], 1f32.to_le_bytes().to_vec())),
    ]);
    let decoded = Format::parse(name, &Attrs::default()).and_then(|format| Packed::new(format, 1, 16, parts));
    let decoded = decoded.unwrap_or_else(|error| panic!("{error}")).decode();
    std::array::from_fn(|i| decoded[i])
}

fn nf4() -> [f32; 16] {
    table("bnb.nf4")
}

fn fp4() -> [f32; 16] {
    table("bnb.fp4")
}

fn what_cannot_be_encoded_is_an_error() -> Result<(), Failed> {
    let none = Attrs::default();
    let q4_0 = Format::parse("gguf.q4_0", &none)?;
    let mlx = Format::parse("mlx.affine", &attrs(&[("bits", 3.), ("group", 32.)]))?;
    let wrong = [
        Packed::encode(q4_0, 1, 33, &[0.0; 33]),
        Packed::encode(mlx, 3, 33, &[0.0; 99]),
        Packed::encode(q4_0, 1, 64, &[0.0; 32]),
        Packed::encode(q4_0, usize::MAX, 2, &[0.0; 32]),
        Packed::encode(q4_0, 0, 32, &[]),
        Packed::encode(q4_0, 1, 32, &[f32::NAN; 32]),
        Packed::encode(q4_0, 1, 32, &[f32::INFINITY; 32]),
        Packed::encode(Format::parse("gguf.q4_k", &none)?, 1, 256, &[0.0; 256]),
    ];
    if let Some(at) = wrong.iter().position(Result::is_ok) {
        return Err(format!("number {at} is encoded").into());
    }
    // Those that say they have a rule are those that are tested.
    let said: BTreeSet<&str> = ENCODED.iter().filter_map(|name| name.split(' ').next()).collect();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dequantize"))? {
        if let Ok(format) = File::read(&entry?.path())?.format() {
            if format.encodes() != said.contains(format.name()) {
                return Err(format!("{format} says encodes() = {}", format.encodes()).into());
            }
        }
    }
    Ok(())
}

// ---- any bytes

/// xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// A size that hurts.
fn size(random: &mut Random, was: usize) -> usize {
    match random.below(8) {
        0 => 0,
        1 => was.saturating_sub(1),
        2 => was.saturating_add(1),
        3 => was.saturating_mul(2),
        4 => was / 2,
        5 => usize::MAX >> random.below(64),
        6 => 1 << random.below(63),
        _ => random.below(300),
    }
}

/// Whatever is done to a file: a weight or an error, never a panic. A weight then decodes.
fn garble(path: &Path) -> Result<(), Failed> {
    // By the file's own name: the same everywhere.
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut random =
        Random(name.bytes().fold(0x9e37_79b9_7f4a_7c15, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)) | 1);
    for _ in 0..150 {
        let mut file = File::read(path)?;
        for _ in 0..=random.below(3) {
            mutate(&mut file, &mut random);
        }
        let Ok(packed) = file.packed() else { continue };
        let mut row = vec![0.0; packed.k()];
        for n in [0, packed.n() / 2, packed.n() - 1] {
            packed.decode_row(n, &mut row)?;
        }
    }
    Ok(())
}

fn mutate(file: &mut File, random: &mut Random) {
    let names: Vec<String> = file.parts.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = &names[random.below(names.len())];
    match random.below(10) {
        // A number of the format, or N or K.
        0 | 1 => {
            let numbers: Vec<String> = file.attrs.0.keys().cloned().collect();
            let number = &numbers[random.below(numbers.len())];
            let value = match file.attrs.0.get(number) {
                Some(Value::Number(v)) => Value::Number(match random.below(4) {
                    0 => f64::NAN,
                    1 => -1.0,
                    2 => f64::from(i32::MAX),
                    _ => size(random, *v as usize) as f64,
                }),
                Some(Value::List(list)) => Value::List(list.iter().map(|v| size(random, *v as usize) as f64).collect()),
                other => other.cloned().unwrap_or(Value::Flag(true)),
            };
            file.attrs.0.insert(number.clone(), value);
        }
        // A shape alone.
        2 => {
            let shape = &mut part(file, name).shape;
            if !shape.is_empty() {
                let at = random.below(shape.len());
                shape[at] = size(random, shape[at]);
            }
        }
        // A shape and the bytes that it says.
        3 | 4 => {
            let mut shape = part(file, name).shape.clone();
            let at = random.below(shape.len());
            if let Some(dimension) = shape.get_mut(at) {
                *dimension = size(random, *dimension).min(4096);
                if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_some_and(|n| n < 1 << 20) {
                    reshape(file, name, &shape);
                }
            }
        }
        5 => {
            let bytes = part(file, name).bytes.to_mut();
            bytes.truncate(random.below(bytes.len() + 1));
        }
        6 => {
            let dtypes = [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::U16, Dtype::I8, Dtype::U8];
            part(file, name).dtype = dtypes[random.below(dtypes.len())];
        }
        7 => _ = file.parts.remove(name),
        // Any bytes: all but indices must be accepted.
        _ => {
            for byte in part(file, name).bytes.to_mut() {
                *byte = random.next() as u8;
            }
        }
    }
}
