//! The attention of a sentence: what each token sees of the others, as the kernels say it.
//!
//! Queries and keys are made up here, by rules that are written below; nothing is trained. From there on it is the device's: norm and turn
//! by `qkv_prologue`, then `attention` over values that are the identity, whose output is the weights themselves.

use gristmill::ops::attention::tables::RopeTable;
use gristmill::proof::cases::{Case, Random, Values};
use gristmill::proof::{Attrs, Expected};
use gristmill::{Dispatcher, Elem, Error};

use crate::json::{list, maybe, object, text};
use crate::ran::{Of, Ran, case, wanted};

type Result<T> = std::result::Result<T, Error>;

/// The most tokens: more would be no picture.
pub const TOKENS_MOST: usize = 32;

/// Numbers of a head.
const WIDTH: usize = 64;

/// Pairs of a head; pair i is the numbers i and i + PAIRS. It turns by `position·f_i`.
const PAIRS: usize = WIDTH / 2;

/// The first pairs, which tell positions apart.
const QUICK: usize = 8;

/// From this pair on they hardly turn within a sentence: what a token is about is there.
const SLOW: usize = PAIRS / 2;

const THETA: f64 = 10_000.0;

/// A made-up head: what its queries look for.
#[derive(Clone, Copy)]
enum Looks {
    /// Tokens of the same letters.
    Letters,
    /// Tokens so many places before.
    Place { before: f64, strength: f32 },
    /// Long tokens, whose keys are loud.
    Loud,
    /// The first token, whose key is louder than all others.
    First,
    /// What seeded matrices say.
    Random,
}

/// The heads, in the order in which they are shown.
const HEADS: [(&str, Looks); 8] = [
    ("same letters", Looks::Letters),
    ("loud words", Looks::Loud),
    ("the one before", Looks::Place { before: 1.0, strength: 16.0 }),
    ("at random", Looks::Random),
    ("the first", Looks::First),
    ("near by", Looks::Place { before: 0.0, strength: 3.0 }),
    ("the next", Looks::Place { before: -1.0, strength: 16.0 }),
    ("at random, too", Looks::Random),
];

/// How many they are.
pub const HEADS_MOST: usize = HEADS.len();

/// A sentence, and what all its maps share.
pub struct Sentence {
    /// The tokens, in small letters: capitals are letters of their own.
    pub tokens: Vec<String>,
    /// How many of the heads.
    pub heads: usize,
    /// Queries and keys turn by their position.
    pub rope: bool,
    /// A token sees itself and those before.
    pub causal: bool,
}

/// What a map may have beside.
#[derive(Clone, Default)]
pub struct Switches {
    /// Queries and keys are divided by their length, and logits are multiplied by this gain.
    pub l2: Option<f32>,
    /// Queries and keys are divided by the root of their mean square.
    pub rms: bool,
    /// How far a token sees.
    pub window: Option<u32>,
    /// Where logits end; 0: nowhere.
    pub softcap: f32,
    /// The logit of every head's sink.
    pub sink: Option<f32>,
}

/// The weights of all heads.
pub struct Map {
    /// `[heads, tokens, tokens]`: the device's, where there is one, else the host's.
    pub weights: Vec<f32>,
    /// The logarithm of the sum of exp over the logits of each row: `[heads, tokens]`.
    pub lse: Vec<f32>,
    /// What the device says of itself.
    pub device: Option<Judged>,
}

/// The device beside the host.
pub struct Judged {
    /// The largest difference between a weight of the device and that of the references, which are f64 but for the rows between the two.
    pub difference: f64,
    /// Error over bound where that is largest, of all that either kernel gave.
    pub worst: f64,
    /// The plans of the two.
    pub plans: [String; 2],
}

impl Map {
    /// What is not numbers by the hundred.
    pub fn json(&self) -> String {
        let device = self.device.as_ref();
        object(&[
            ("difference", maybe(device.map(|d| d.difference))),
            ("worst", maybe(device.map(|d| d.worst))),
            ("plans", list(device.iter().flat_map(|d| &d.plans).map(|plan| text(plan)))),
        ])
    }
}

/// The names of the heads.
pub fn heads_json() -> String {
    list(HEADS.iter().map(|(name, _)| text(name)))
}

/// What a token is about: a seeded direction for each three letters that follow each other in it, begin and end included. Words that
/// share letters are alike, and long ones are loud.
#[inline(never)]
fn about(token: &str) -> [f32; PAIRS] {
    let letters: Vec<char> = format!("^{token}$").chars().collect();
    let mut sum = [0.0; PAIRS];
    for three in letters.windows(3) {
        let mut random = Random::new(&three.iter().collect::<String>());
        sum.iter_mut().for_each(|v| *v += random.normal() / (PAIRS as f32).sqrt());
    }
    sum
}

/// A direction of its own for each name.
#[inline(never)]
fn direction(name: &str) -> [f32; PAIRS] {
    let mut random = Random::new(name);
    std::array::from_fn(|_| random.normal() / (PAIRS as f32).sqrt())
}

/// Numbers that hardly turn.
#[inline(never)]
fn put_slow(row: &mut [f32], numbers: &[f32; PAIRS], by: f32) {
    for (i, v) in numbers.iter().enumerate() {
        let pair = SLOW + i % SLOW;
        row[pair + if i < SLOW { 0 } else { PAIRS }] += by * v;
    }
}

/// The query and the key of a token at a place, before norm and turn.
fn rows(head: usize, looks: Looks, token: &str, place: usize) -> [[f32; WIDTH]; 2] {
    let (mut q, mut k) = ([0.0; WIDTH], [0.0; WIDTH]);
    let about = about(token);
    match looks {
        Looks::Letters => [&mut q, &mut k].into_iter().for_each(|row| put_slow(row, &about, 3.6)),
        Looks::Loud => {
            put_slow(&mut q, &direction("loud"), 3.0);
            put_slow(&mut k, &direction("loud"), 3.0 * token.chars().count() as f32);
        }
        Looks::First => {
            put_slow(&mut q, &direction("first"), 5.0);
            put_slow(&mut k, &direction("first"), if place == 0 { 9.0 } else { 0.5 });
        }
        Looks::Place { before, strength } => {
            for pair in 0..QUICK {
                let frequency = THETA.powf(-(pair as f64) / PAIRS as f64);
                // q·k is the cosine of (p − t − before)·f: it is largest at t = p − before.
                let (sin, cos) = (before * frequency).sin_cos();
                q[pair] = strength.sqrt();
                (k[pair], k[pair + PAIRS]) = (strength.sqrt() * cos as f32, strength.sqrt() * sin as f32);
            }
        }
        Looks::Random => {}
    }
    // A little of seeded matrices is in every head; in one at random there is nothing else.
    let by = if matches!(looks, Looks::Random) { 4.7 } else { 1.0 };
    for (name, row) in [("query", &mut q), ("key", &mut k)] {
        let mut random = Random::new(&format!("{name} {head}"));
        let mixed =
            std::array::from_fn(|_| about.iter().map(|v| v * random.normal()).sum::<f32>() / (PAIRS as f32).sqrt());
        put_slow(row, &mixed, by);
    }
    [q, k]
}

impl Sentence {
    /// Queries and keys of all heads, `[1, tokens, heads·WIDTH]`, to what attention reads: `[1, heads, tokens, WIDTH]`.
    fn prologue(&self, switches: &Switches) -> Result<(Case, Values)> {
        let (l, h) = (self.tokens.len(), self.heads);
        let (mut q, mut k) = (Vec::new(), Vec::new());
        for (place, token) in self.tokens.iter().enumerate() {
            for (head, (_, looks)) in HEADS.iter().enumerate().take(h) {
                let [of_q, of_k] = rows(head, *looks, token, place);
                q.extend(of_q);
                k.extend(of_k);
            }
        }
        let norm = if switches.l2.is_some() {
            "l2"
        } else if switches.rms {
            "rms"
        } else {
            "none"
        };
        let sizes = [("heads", h), ("groups", h), ("d", WIDTH), ("e", WIDTH)];
        let attrs = sizes.into_iter().fold(Attrs::default(), |attrs, (name, n)| attrs.with(name, n as f64));
        let (flat, split, table) = ([1, l, h * WIDTH], [1, h, l, WIDTH], [l, PAIRS]);
        let mut inputs: Vec<Of<'_>> = vec![("q", &flat), ("k", &flat)];
        let mut values = Values::from([("q", q), ("k", k)]);
        if self.rope {
            inputs.extend([("cos", &table[..]), ("sin", &table[..])]);
            let turns = RopeTable::new(THETA, WIDTH).rows((0..l).map(|p| p as f64))?;
            values.extend([("cos", turns.cos), ("sin", turns.sin)]);
        }
        Ok((case("qkv_prologue", attrs.with("norm", norm), &inputs, &[("y", &split), ("keys", &split)]), values))
    }

    /// Weights from these queries and keys.
    fn attention(&self, switches: &Switches, q: Vec<f32>, k: Vec<f32>) -> (Case, Values) {
        let (l, h) = (self.tokens.len(), self.heads);
        let mut attrs = Attrs::default().with("causal", self.causal).with("softcap", f64::from(switches.softcap));
        if let Some(far) = switches.window {
            attrs = attrs.with("window_left", f64::from(far)).with("window_right", f64::from(far));
        }
        let (rows, square) = ([1, h, l, WIDTH], [1, h, l, l]);
        let mut inputs: Vec<Of<'_>> = vec![("q", &rows), ("k", &rows), ("v", &square)];
        // What is multiplied by the identity is left as it is: y is the weights.
        let identity = (0..h * l * l).map(|i| if i / l % l == i % l { 1.0 } else { 0.0 }).collect();
        let mut values = Values::from([("q", q), ("k", k), ("v", identity)]);
        let heads = [h];
        if let Some(gain) = switches.l2 {
            inputs.push(("gain", &[1]));
            values.insert("gain", vec![gain]);
        }
        if let Some(sink) = switches.sink {
            inputs.push(("sinks", &heads));
            values.insert("sinks", vec![sink; h]);
        }
        (case("attention", attrs, &inputs, &[("y", &square), ("lse", &[1, h, l])]), values)
    }

    /// Weights and lse by the references.
    fn expected(&self, switches: &Switches) -> Result<Vec<Expected>> {
        let (prologue, values) = self.prologue(switches)?;
        let rows = prologue.expected(&values, Elem::F32)?;
        let (attention, values) = self.attention(switches, wanted(&rows, "y"), wanted(&rows, "keys"));
        attention.expected(&values, Elem::F32)
    }

    /// The map by the references alone.
    pub fn on_host(&self, switches: &Switches) -> Result<Map> {
        let expected = self.expected(switches)?;
        Ok(Map { weights: wanted(&expected, "y"), lse: wanted(&expected, "lse"), device: None })
    }

    /// The map by the device, beside the references.
    pub async fn on_device(&self, gpu: &Dispatcher, switches: &Switches) -> Result<Map> {
        let (prologue, values) = self.prologue(switches)?;
        let (first, [q, k]) = Ran::new(gpu, &prologue, &values, ["y", "keys"]).await?;
        let (attention, values) = self.attention(switches, q, k);
        let (second, [weights, lse]) = Ran::new(gpu, &attention, &values, ["y", "lse"]).await?;
        let expected = self.expected(switches)?;
        let want = expected.iter().filter(|e| e.role == "y").flat_map(|e| &e.want);
        let difference = weights.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs());
        // NaN is the largest.
        let difference = difference.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most });
        let device = Judged { difference, worst: first.worst.max(second.worst), plans: [first.plan, second.plan] };
        Ok(Map { weights, lse, device: Some(device) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(words: &str) -> Sentence {
        let tokens = words.split_whitespace().map(str::to_owned).collect();
        Sentence { tokens, heads: HEADS.len(), rope: true, causal: true }
    }

    fn map(sentence: &Sentence, switches: &Switches) -> Map {
        sentence.on_host(switches).expect("a map")
    }

    /// The token that gets the most of row `row` of head `head`.
    fn most(sentence: &Sentence, map: &Map, head: usize, row: usize) -> usize {
        let l = sentence.tokens.len();
        let weights = &map.weights[(head * l + row) * l..][..l];
        (0..l).max_by(|a, b| weights[*a].total_cmp(&weights[*b])).expect("a token")
    }

    #[test]
    fn heads_do_what_their_names_say() {
        let s = sentence("a miller took the grain that the millers had");
        let plain = map(&s, &Switches::default());
        assert!(
            [3, 6].contains(&most(&s, &plain, 0, 6)) && most(&s, &plain, 0, 3) == 3,
            "the same word, wherever it is"
        );
        assert!(
            plain.weights[7 * 9 + 1] > 5.0 * plain.weights[7 * 9 + 5],
            "millers is more like miller than like that"
        );
        assert_eq!(most(&s, &plain, 1, 8), 7, "the longest");
        for row in 1..9 {
            assert_eq!((most(&s, &plain, 2, row), most(&s, &plain, 4, row)), (row - 1, 0));
        }
    }

    #[test]
    fn without_turns_places_are_all_alike() {
        let mut s = sentence("a b a b a b a b");
        (s.rope, s.causal) = (false, false);
        let map = map(&s, &Switches::default());
        for row in map.weights[2 * 64..3 * 64].chunks(8) {
            assert!(row.iter().all(|w| (w - 0.125).abs() < 0.08), "{row:?}");
        }
    }

    #[test]
    fn switches_change_the_map_as_their_formulas_say() {
        let s = sentence("the miller mills the grain and waters a mill");
        let l = s.tokens.len();
        let sum = |map: &Map, row: usize| map.weights[row * l..][..l].iter().sum::<f32>();
        let window = map(&s, &Switches { window: Some(2), ..Switches::default() });
        for row in 0..l {
            let seen = window.weights[row * l..][..l].iter().filter(|w| **w > 0.0).count();
            assert_eq!(seen, (row + 1).min(3));
            assert!((sum(&window, row) - 1.0).abs() < 1e-6);
        }
        let sunk = map(&s, &Switches { sink: Some(4.0), ..Switches::default() });
        for row in 0..l {
            let sink = (4.0 - sunk.lse[row]).exp();
            assert!(sink > 0.0 && (sum(&sunk, row) + sink - 1.0).abs() < 1e-5, "{row}");
        }
        // Of two logits within ±1, weights differ by e² at most.
        let capped = map(&s, &Switches { softcap: 1.0, ..Switches::default() });
        let normed = map(&s, &Switches { l2: Some(1.0), ..Switches::default() });
        for map in [capped, normed] {
            for (i, row) in map.weights.chunks(l).enumerate() {
                let seen = &row[..i % l + 1];
                let (low, high) = seen.iter().fold((1.0f32, 0.0f32), |(low, high), w| (low.min(*w), high.max(*w)));
                assert!(high / low <= 1.0001 * 1.0f32.exp().powi(2), "{row:?}");
            }
        }
    }

    #[test]
    fn one_token_sees_itself() {
        let map = map(&sentence("mill"), &Switches { rms: true, ..Switches::default() });
        assert_eq!(map.weights, [1.0; HEADS.len()]);
        assert_eq!(map.json(), r#"{"difference":null,"worst":null,"plans":[]}"#);
    }
}
