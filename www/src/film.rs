//! Token skipping as a film: a picture cut into patches, and those of them that each layer of a model keeps.
//!
//! Features of patches and weights of routers are made up here, by rules that are written below; nothing is trained, and layers leave
//! the features as they are. Scores, gates and choices are the device's: `mod_route` and `mod_select` of all layers, in one submission each.
//! What is timed is a whole decoder layer of the model's shape, which skips as many tokens as a layer of the film does.

use gristmill::decoder::Flavour;
use gristmill::formats::Format;
use gristmill::ops::depth::{Choose, Gate, Layer, Route, Schedule, Select};
use gristmill::proof::cases::{Case, Random, Stored, Values};
use gristmill::proof::measure::{Effort, LayerSizes, SkippedLayer};
use gristmill::proof::{AnyOp, Attrs, compare};
use gristmill::{Caps, DeviceKind, Dispatcher, Elem, Error, Tensor};

use crate::json::{list, maybe, number, object};
use crate::ran::{Of, case, wanted};

type Result<T> = std::result::Result<T, Error>;

/// Pixels of a picture's rows and columns: that of 35 mm film, three to two.
pub const PIXELS: [usize; 2] = [256, 384];

/// Pixels of a patch along each side.
const SIDE: usize = 16;

/// Patches of a picture's rows and columns.
pub const GRID: [usize; 2] = [PIXELS[0] / SIDE, PIXELS[1] / SIDE];

/// Patches, which may be skipped.
const PATCHES: usize = GRID[0] * GRID[1];

/// Tokens of text behind them, which may not.
const WORDS: usize = 32;

/// All tokens.
const TOKENS: usize = PATCHES + WORDS;

/// The layers of a model, as far as they cost something.
#[derive(Clone, Copy, Debug)]
struct Shape {
    layers: usize,
    /// Numbers of a hidden state.
    width: usize,
    heads: usize,
    /// Heads of keys and values.
    groups: usize,
    /// Numbers of a head.
    head: usize,
    /// Numbers between the matrices of the MLP.
    inner: usize,
}

/// Qwen3-0.6B.
const QWEN: Shape = Shape { layers: 28, width: 1024, heads: 16, groups: 8, head: 128, inner: 3072 };

/// What a made-up feature says of a patch.
const SAYS: [&str; 6] = ["light", "warmth", "detail", "rare", "border", "middle"];

/// What a number of a hidden state has that says nothing.
const NOISE: f32 = 0.2;

impl Shape {
    /// Rows and columns of the matrices: queries, keys and values in one; what comes out of attention; both that go into the MLP in one;
    /// and what comes out of it.
    fn matrices(&self) -> [(&'static str, [usize; 2]); 4] {
        let Self { width, heads, groups, head, inner, .. } = *self;
        [
            ("qkv", [(heads + 2 * groups) * head, width]),
            ("out", [width, heads * head]),
            ("gate and up", [2 * inner, width]),
            ("down", [width, inner]),
        ]
    }

    /// Operations of a layer over `rows` tokens: a product and a sum for each weight, and for each query and key it sees, twice.
    fn flops(&self, rows: usize) -> u64 {
        let weights: usize = self.matrices().iter().map(|(_, [n, k])| n * k).sum();
        // 32 bits, which a usize has in a browser, are too few.
        let (rows, weights, heads) = (rows as u64, weights as u64, (self.heads * self.head) as u64);
        2 * rows * weights + 4 * heads * (rows * (rows + 1) / 2)
    }

    /// Bytes of a layer's keys and values in f16.
    fn cache_bytes(&self, rows: usize) -> u64 {
        (2 * 2 * self.groups * self.head * rows) as u64
    }
}

/// The layer that is timed, and how many tokens it has for each of theirs: on a processor less of both, or nobody would wait for it.
fn timed(caps: &Caps) -> (Shape, usize) {
    let (by, fewer) = if caps.kind == DeviceKind::Cpu { (8, 4) } else { (1, 1) };
    let Shape { width, heads, groups, inner, .. } = QWEN;
    (Shape { width: width / by, heads: heads / by, groups: groups / by, inner: inner / by, ..QWEN }, fewer)
}

/// What each patch of a picture is like, by [`SAYS`]: over the picture each has the mean 0 and the deviation 1.
fn features(pixels: &[u8]) -> Vec<[f32; SAYS.len()]> {
    let patch = |p: usize| {
        let (row, column) = (p / GRID[1] * SIDE, p % GRID[1] * SIDE);
        (0..SIDE * SIDE).map(move |i| {
            let at = ((row + i / SIDE) * PIXELS[1] + column + i % SIDE) * 4;
            [0, 1, 2].map(|c| pixels.get(at + c).map_or(0.0, |v| f32::from(*v) / 255.0))
        })
    };
    let light = |[r, g, b]: [f32; 3]| 0.3 * r + 0.6 * g + 0.1 * b;
    let apart = |a: [f32; 3], b: [f32; 3]| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>();
    let each = (SIDE * SIDE) as f32;
    let colours: Vec<[f32; 3]> =
        (0..PATCHES).map(|p| patch(p).fold([0.0; 3], |sum, c| [0, 1, 2].map(|i| sum[i] + c[i] / each))).collect();
    let mut all = Vec::with_capacity(PATCHES);
    for (p, &colour) in colours.iter().enumerate() {
        let (row, column) = (p / GRID[1], p % GRID[1]);
        let spread = (patch(p).map(|c| (light(c) - light(colour)).powi(2)).sum::<f32>() / each).sqrt();
        let near = [(row > 0, p.wrapping_sub(GRID[1])), (row + 1 < GRID[0], p + GRID[1])];
        let beside = [(column > 0, p.wrapping_sub(1)), (column + 1 < GRID[1], p + 1)];
        let border = near.into_iter().chain(beside).filter(|n| n.0).map(|n| apart(colour, colours[n.1])).sum::<f32>();
        // How much of the picture has about this colour.
        let alike = colours.iter().map(|other| (-apart(colour, *other) / 0.02).exp()).sum::<f32>();
        let middle = |at: usize, of: usize| ((at as f32 + 0.5) / of as f32 - 0.5).powi(2);
        all.push([
            light(colour),
            colour[0] - colour[2],
            (spread + 0.01).ln(),
            -alike.ln(),
            (border.sqrt() + 0.02).ln(),
            -middle(row, GRID[0]) - middle(column, GRID[1]),
        ]);
    }
    for i in 0..SAYS.len() {
        let mean = all.iter().map(|f| f[i]).sum::<f32>() / PATCHES as f32;
        let deviation = (all.iter().map(|f| (f[i] - mean).powi(2)).sum::<f32>() / PATCHES as f32).sqrt();
        all.iter_mut().for_each(|f| f[i] = (f[i] - mean) / deviation.max(1e-4));
    }
    all
}

/// A seeded direction of length 1, about.
fn direction(name: &str) -> Vec<f32> {
    let mut random = Random::new(name);
    (0..QWEN.width).map(|_| random.normal() / (QWEN.width as f32).sqrt()).collect()
}

/// The hidden states, `[TOKENS, width]`: what a patch is like, each along a direction of its own, and noise. Text is noise.
fn hidden(pixels: &[u8]) -> Vec<f32> {
    let mut random = Random::new("noise");
    let mut x: Vec<f32> = (0..TOKENS * QWEN.width).map(|_| NOISE * random.normal()).collect();
    let directions = SAYS.map(direction);
    for (row, of) in x.chunks_mut(QWEN.width).zip(features(pixels)) {
        for (direction, says) in directions.iter().zip(of) {
            row.iter_mut().zip(direction).for_each(|(x, d)| *x += says * d);
        }
    }
    x
}

/// The weights of a layer's router: first borders and colours that come and go from layer to layer, then more and more what has detail, is
/// rare and in the middle, and a direction of the layer's own, where there is noise alone.
fn router(layer: usize) -> Vec<f32> {
    let (l, p) = (layer as f32, layer as f32 / (QWEN.layers - 1) as f32);
    let likes = [
        0.25 * (1.7 * l).cos(),
        0.3 * (1.3 * l + 0.5).sin(),
        0.35 + 0.45 * p,
        0.2 + 0.5 * p,
        0.5 - 0.2 * p,
        0.15 + 0.25 * p,
    ];
    let mut weight = direction(&format!("layer {layer}"));
    for (direction, by) in SAYS.map(direction).iter().zip(likes) {
        weight.iter_mut().zip(direction).for_each(|(w, d)| *w += by * d);
    }
    weight
}

/// An operand of a case in another storage than the activations.
fn stored(mut case: Case, roles: &[(&str, Elem)]) -> Case {
    for (role, elem) in roles {
        let stored = Stored::Always(*elem);
        case.inputs.iter_mut().filter(|i| i.role == *role).for_each(|i| i.stored = stored);
        case.outputs.iter_mut().filter(|o| o.role == *role).for_each(|o| o.stored = stored);
    }
    case
}

fn route_case(gate: Gate, [tokens, width]: [usize; 2]) -> Case {
    let attrs = Attrs::default().with("gate", gate.of.name()).with("alpha", f64::from(gate.alpha));
    let of_tokens = [1, tokens];
    let inputs: [Of<'_>; 2] = [("x", &[1, tokens, width]), ("weight", &[1, width])];
    case("mod_route", attrs.with("bias", f64::from(gate.bias)), &inputs, &[("score", &of_tokens), ("gate", &of_tokens)])
}

fn select_case(ratio: f32, tokens: usize) -> Case {
    let of_tokens = [1, tokens];
    let attrs = Attrs::default().with("ratio", f64::from(ratio));
    let inputs: [Of<'_>; 2] = [("score", &of_tokens), ("target", &of_tokens)];
    let case = case("mod_select", attrs, &inputs, &[("count", &[1]), ("place", &of_tokens)]);
    stored(case, &[("target", Elem::U8), ("count", Elem::U32), ("place", Elem::U32)])
}

fn targets() -> Vec<f32> {
    (0..TOKENS).map(|t| if t < PATCHES { 1.0 } else { 0.0 }).collect()
}

/// A picture that the routers of all layers have seen.
pub struct Film {
    /// `[layers, TOKENS]`: the device's, where there is one, else the host's.
    pub scores: Vec<f32>,
    /// The same of gates.
    pub gates: Vec<f32>,
    device: Option<Routed>,
}

/// What stays on the device.
struct Routed {
    scores: Tensor,
    target: Tensor,
    /// Error over bound of scores and gates where that is largest.
    worst: f64,
}

/// What the layers keep.
pub struct Kept {
    layers: Vec<Layer>,
    /// `[layers, TOKENS]`, 1 or 0.
    pub keep: Vec<u8>,
    /// Tokens of which the device says another place than the host.
    different: Option<usize>,
}

/// The case of all routers, and the values that they share.
fn routes(pixels: &[u8], alpha: f32) -> (Case, Values) {
    let by = Gate { alpha, ..Gate::TANH_NORM };
    (route_case(by, [TOKENS, QWEN.width]), Values::from([("x", hidden(pixels))]))
}

impl Film {
    /// Routes `PIXELS` of four bytes each through all layers with gates `alpha·tanh(r) + 1`, by the references alone.
    pub fn on_host(pixels: &[u8], alpha: f32) -> Result<Self> {
        let (case, mut values) = routes(pixels, alpha);
        let mut film = Self { scores: Vec::new(), gates: Vec::new(), device: None };
        for layer in 0..QWEN.layers {
            values.insert("weight", router(layer));
            let expected = case.expected(&values, Elem::F32)?;
            film.scores.extend(wanted(&expected, "score"));
            film.gates.extend(wanted(&expected, "gate"));
        }
        Ok(film)
    }

    /// The same by the device, held against the references.
    pub async fn on_device(gpu: &Dispatcher, pixels: &[u8], alpha: f32) -> Result<Self> {
        let (case, mut values) = routes(pixels, alpha);
        let by = Gate { alpha, ..Gate::TANH_NORM };
        let x = gpu.upload(&values["x"], [TOKENS, QWEN.width], Elem::F32)?;
        let weights: Vec<f32> = (0..QWEN.layers).flat_map(router).collect();
        let weights = gpu.upload(&weights, [QWEN.layers, QWEN.width], Elem::F32)?;
        let scores = gpu.zeros([QWEN.layers, TOKENS], Elem::F32)?;
        let gates = gpu.zeros([QWEN.layers, TOKENS], Elem::F32)?;
        let mut recorder = gpu.record()?;
        for layer in 0..QWEN.layers {
            let weight = weights.view(layer * QWEN.width, [QWEN.width])?;
            let score = scores.view(layer * TOKENS, [TOKENS])?;
            let gate = gates.view(layer * TOKENS, [TOKENS])?;
            let op: &dyn AnyOp = &Route { gate: Some(&gate), by, ..Route::new(&x, &weight, &score) };
            recorder.run(op)?;
        }
        recorder.submit()?;
        let mut film = Self { scores: scores.read().await?, gates: gates.read().await?, device: None };
        let mut worst = 0.0f64;
        for layer in 0..QWEN.layers {
            values.insert("weight", router(layer));
            for output in case.expected(&values, Elem::F32)? {
                let got = if output.role == "gate" { &film.gates } else { &film.scores };
                worst = worst.max(compare(&output, None, &got[layer * TOKENS..][..TOKENS], Elem::F32).worst);
            }
        }
        let target = gpu.upload(&targets(), [1, TOKENS], Elem::U8)?;
        film.device = Some(Routed { scores, target, worst });
        Ok(film)
    }

    /// What the layers keep by a schedule; by the device where it has routed.
    pub async fn kept(&self, gpu: Option<&Dispatcher>, schedule: &Schedule) -> Result<Kept> {
        let layers = Schedule { layers: QWEN.layers, ..*schedule }.layers()?;
        let places = match (gpu, &self.device) {
            (Some(gpu), Some(device)) => Some(device.places(gpu, &layers).await?),
            _ => None,
        };
        self.kept_by(layers, places)
    }

    /// What the layers keep by the references, and by these places of tokens where there are some.
    fn kept_by(&self, layers: Vec<Layer>, places: Option<Vec<f32>>) -> Result<Kept> {
        let mut keep = Vec::with_capacity(layers.len() * TOKENS);
        let mut different = 0;
        let mut values = Values::from([("target", targets())]);
        for (i, layer) in layers.iter().enumerate() {
            // A layer that skips nothing asks nobody.
            if !layer.routed {
                keep.extend([1; TOKENS]);
                continue;
            }
            let tokens = i * TOKENS..(i + 1) * TOKENS;
            values.insert("score", self.scores[tokens.clone()].to_vec());
            let expected = select_case(layer.ratio, TOKENS).expected(&values, Elem::F32)?;
            let of_host = wanted(&expected, "place");
            let place = places.as_ref().map_or(&of_host[..], |all| &all[tokens]);
            keep.extend(place.iter().map(|place| u8::from(place % 4.0 >= 2.0)));
            different += place.iter().zip(&of_host).filter(|(got, want)| got != want).count();
        }
        Ok(Kept { layers, keep, different: places.map(|_| different) })
    }

    /// Error over bound where that is largest.
    pub fn json(&self) -> String {
        object(&[("worst", maybe(self.device.as_ref().map(|d| d.worst)))])
    }
}

impl Routed {
    /// What becomes of each token in each layer, by `mod_select`, with nothing read back between them.
    async fn places(&self, gpu: &Dispatcher, layers: &[Layer]) -> Result<Vec<f32>> {
        let places = gpu.zeros([layers.len(), TOKENS], Elem::U32)?;
        let count = gpu.zeros([1], Elem::U32)?;
        let mut recorder = gpu.record()?;
        for (i, layer) in layers.iter().enumerate().filter(|(_, layer)| layer.routed) {
            let score = self.scores.view(i * TOKENS, [1, TOKENS])?;
            let place = places.view(i * TOKENS, [1, TOKENS])?;
            let select = Select::new(&score, Choose::Ratio(layer.ratio), &count);
            let op: &dyn AnyOp = &Select { target: Some(&self.target), place: Some(&place), ..select };
            recorder.run(op)?;
        }
        recorder.submit()?;
        places.read().await
    }
}

impl Kept {
    /// What each layer keeps and costs, and what all of them cost that skip nothing.
    pub fn json(&self) -> String {
        let layers = self.layers.iter().zip(self.keep.chunks(TOKENS)).map(|(layer, keep)| {
            let rows = keep.iter().filter(|k| **k == 1).count();
            let router = if layer.routed { 2 * TOKENS * QWEN.width } else { 0 };
            object(&[
                ("routed", layer.routed.to_string()),
                ("ratio", number(f64::from(layer.ratio))),
                ("rows", rows.to_string()),
                ("flops", (QWEN.flops(rows) + router as u64).to_string()),
                ("cache_bytes", QWEN.cache_bytes(rows).to_string()),
            ])
        });
        object(&[
            ("layers", list(layers)),
            ("flops", QWEN.flops(TOKENS).to_string()),
            ("cache_bytes", QWEN.cache_bytes(TOKENS).to_string()),
            ("different", self.different.map_or_else(|| "null".to_owned(), |n| n.to_string())),
        ])
    }
}

/// What the page must know of picture, tokens and layer.
pub fn shape_json(caps: &Caps) -> String {
    let (shape, fewer) = timed(caps);
    object(&[
        ("pixels", list(PIXELS.iter().map(ToString::to_string))),
        ("grid", list(GRID.iter().map(ToString::to_string))),
        ("tokens", TOKENS.to_string()),
        ("layers", QWEN.layers.to_string()),
        ("width", QWEN.width.to_string()),
        ("timed_width", shape.width.to_string()),
        ("timed_tokens", (TOKENS / fewer).to_string()),
    ])
}

/// A layer that is timed, on the device: all of it, over all tokens or over those that a router keeps.
pub struct Timed(SkippedLayer);

/// What is known of the layer before anything is skipped.
pub struct Whole {
    /// Microseconds without a router.
    pub dense_us: f64,
    /// And with one that keeps every token.
    pub routed_us: f64,
    /// Numbers of y in which the two differ, where gates are 1, and of how many.
    pub differences: [usize; 2],
}

impl Timed {
    /// A layer of the model with weights and tokens made up from a seed; its residual stream is F32, all else f16.
    pub fn new(gpu: &Dispatcher) -> Result<Self> {
        let (Shape { width, heads, groups, head, inner, .. }, fewer) = timed(gpu.caps());
        let flavour = Flavour::qwen3(heads, groups, head);
        let sizes = LayerSizes { model: "Qwen3-0.6B", flavour, width, hidden: inner, layers: QWEN.layers };
        Ok(Self(SkippedLayer::new(gpu, &sizes, Format::Dense, [TOKENS / fewer, PATCHES / fewer], Elem::F32)?))
    }

    /// Of all tokens.
    pub async fn whole(&self) -> Result<Whole> {
        let differences = self.0.differences(Choose::Ratio(1.0)).await?;
        let dense_us = self.0.time(None, &Effort::page()).await?[0];
        Ok(Whole { dense_us, routed_us: self.kept_us(1.0).await?, differences })
    }

    /// Microseconds where it keeps this part of its patches, router, selection and the layer's end included.
    pub async fn kept_us(&self, ratio: f32) -> Result<f64> {
        Ok(self.0.time(Some(Choose::Ratio(ratio)), &Effort::page()).await?[0])
    }
}

impl Whole {
    /// For the page.
    pub fn json(&self) -> String {
        let [different, of] = self.differences.map(|n| n.to_string());
        object(&[
            ("dense_us", number(self.dense_us)),
            ("routed_us", number(self.routed_us)),
            ("different", different),
            ("of", of),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grey, but for a coloured square of noise within one patch.
    fn picture(odd: usize) -> Vec<u8> {
        let mut pixels = vec![128; PIXELS[0] * PIXELS[1] * 4];
        for i in 0..SIDE * SIDE {
            let (row, column) = (odd / GRID[1] * SIDE + i / SIDE, odd % GRID[1] * SIDE + i % SIDE);
            let at = (row * PIXELS[1] + column) * 4;
            (pixels[at], pixels[at + 1]) = (255, (i * 37 % 256) as u8);
        }
        pixels
    }

    fn film(odd: usize) -> Film {
        Film::on_host(&picture(odd), 0.2).expect("a film")
    }

    fn kept(film: &Film, schedule: &Schedule) -> Kept {
        let layers = Schedule { layers: QWEN.layers, ..*schedule }.layers().expect("a schedule");
        film.kept_by(layers, None).expect("what is kept")
    }

    #[test]
    fn what_is_odd_is_what_stays() {
        let odd = 7 * GRID[1] + 5;
        let film = film(odd);
        let kept = kept(&film, &Schedule::new(QWEN.layers));
        for (layer, keep) in kept.keep.chunks(TOKENS).enumerate() {
            assert_eq!(keep[odd], 1, "in layer {layer}");
            assert!(keep[PATCHES..].iter().all(|k| *k == 1), "text is never skipped");
            let patches = keep[..PATCHES].iter().filter(|k| **k == 1).count();
            let of = kept.layers[layer];
            assert_eq!(patches, if of.routed { (PATCHES as f32 * of.ratio) as usize } else { PATCHES });
        }
        // 0.15 of 384 patches, and the text.
        assert!(kept.json().contains(r#""rows":89,"#), "{}", kept.json());
        assert!(film.gates.iter().all(|g| (0.8..=1.2).contains(g)));
    }

    #[test]
    fn costs_are_those_of_the_model() {
        // 15 728 640 weights of a layer of Qwen3-0.6B; one token sees itself.
        assert_eq!(QWEN.flops(1), 2 * 15_728_640 + 4 * 2048);
        assert_eq!(QWEN.flops(3) - 3 * 2 * 15_728_640, 6 * 4 * 2048);
        assert_eq!(QWEN.flops(1000), 2000 * 15_728_640 + 4 * 2048 * 500_500, "more than 32 bits");
        assert_eq!(QWEN.cache_bytes(1), 4096);
        let kept = kept(&film(0), &Schedule { skip_above: -1.0, ..Schedule::new(2) });
        assert!(kept.layers.iter().all(|l| !l.routed));
        let dense = format!(r#""rows":{TOKENS},"flops":{},"#, QWEN.flops(TOKENS));
        assert_eq!(kept.json().matches(&dense).count(), QWEN.layers, "nothing is skipped, and nothing is routed");
    }

    #[test]
    fn a_processor_is_spared() {
        let of = |kind| timed(&Caps { kind, ..Caps::baseline() });
        let (shape, fewer) = of(DeviceKind::Cpu);
        assert_eq!([shape.width, shape.heads, shape.groups, shape.head, shape.inner], [128, 2, 1, 128, 384]);
        assert_eq!([TOKENS % fewer, PATCHES % fewer], [0, 0]);
        let (shape, fewer) = of(DeviceKind::Discrete);
        assert_eq!((shape.width, fewer), (QWEN.width, 1));
    }
}
