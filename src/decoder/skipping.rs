//! Layers that some tokens skip.

use super::scratch::rows;
use super::{DecoderLayer, Judge, LayerScratch, OP, Run, Through, Tokens};
use crate::dispatch::{Dispatcher, Encoder, Recorder};
use crate::error::{Result, shape_error};
use crate::kv_cache::{Appended, Coming, KvCache, KvLayer};
use crate::ops::attention::prologue::{Angles, Turn};
use crate::ops::attention::rope::past;
use crate::ops::depth::{Choose, Combine, GRIDS, Gate, GateOf, GateOn, Route, Select, Take};
use crate::ops::norm::want_elem;
use crate::tensor::{Elem, Tensor};

/// Which tokens a layer keeps, and what becomes of the others.
#[derive(Clone, Copy, Debug)]
pub struct Router<'a> {
    /// `[C]` or `[1, C]`, any floating storage.
    pub weight: &'a Tensor,
    /// One number.
    pub bias: Option<&'a Tensor>,
    /// What is made of a score.
    pub gate: Gate,
    /// What the gate of a chosen token multiplies.
    pub gate_on: GateOn,
    /// Skipped tokens are multiplied by their gates.
    pub scale_skipped: bool,
    /// How many of the candidates go through the layer.
    pub choose: Choose,
}

impl<'a> Router<'a> {
    /// p-MoD's: the gate is `0.2·tanh + 1`, on the feed-forward layer and on skipped tokens.
    pub fn new(weight: &'a Tensor, choose: Choose) -> Self {
        Self { weight, bias: None, gate: Gate::TANH_NORM, gate_on: GateOn::Mlp, scale_skipped: true, choose }
    }
}

/// Who may skip a layer, and who does.
#[derive(Clone, Copy, Debug)]
pub struct Skipping<'a> {
    /// By what it is decided.
    pub router: Router<'a>,
    /// Which tokens may skip it. U8, `[B, T]`; all where absent.
    pub target: Option<&'a Tensor>,
    /// Which tokens are not padding, which passes unchanged. U8, `[B, T]`; all where absent.
    pub valid: Option<&'a Tensor>,
    /// The number of tokens of each sample that may skip it (targets that are valid), where the host knows it. Then there is room for as many
    /// as the fullest sample keeps, and the layer is computed for those. Else there is room for all, and where padding or a threshold
    /// keep the host from knowing, the device says for how many it is computed. Samples that keep unequal numbers follow each other, so that
    /// each is computed for its own.
    ///
    /// It is a promise. Where there are fewer candidates, and so more tokens that nobody may skip, the last tokens that find no room skip the
    /// layer; where there are more, rows are computed for nothing. The layer of a cache holds what was kept in either case, but what
    /// [`KvCache::length`] says is then wrong, and where more was promised than came, a fork may lose what it shares. Of several sequences in pages,
    /// each has pages for its own number alone: a token past those is in none.
    pub candidates: Option<&'a [usize]>,
    /// Receives 1 for each kept token, else 0. U8 or u32, `[B, T]`.
    pub keep: Option<&'a Tensor>,
    /// What stands between its ops.
    pub scratch: &'a SkippingScratch,
}

impl<'a> Skipping<'a> {
    /// Of all tokens.
    pub fn new(router: Router<'a>, scratch: &'a SkippingScratch) -> Self {
        Self { router, target: None, valid: None, candidates: None, keep: None, scratch }
    }

    /// What the host knows of the tokens that are kept, and how many they are of each sample, or at most.
    fn known(&self, batch: usize, tokens: usize) -> Result<(Known, Vec<usize>)> {
        let all = vec![tokens; batch];
        let candidates = match (self.candidates, self.target, self.valid) {
            (Some(told), ..) if told.len() != batch || told.iter().any(|n| *n > tokens) => {
                return Err(shape_error!(
                    OP,
                    "candidates are {told:?}, but there are {batch} samples of {tokens} tokens"
                ));
            }
            (Some(told), ..) => told,
            (None, None, None) => &all,
            (None, ..) => return Ok((Known::new(tokens, false, false, batch), all)),
        };
        let kept: Vec<usize> = candidates.iter().map(|n| tokens - n + self.router.choose.of(*n)).collect();
        let places = kept.iter().copied().max().unwrap_or(0);
        // Padding is no candidate, and not kept either.
        let exactly = self.valid.is_none() && !matches!(self.router.choose, Choose::Above(_));
        let alike = exactly && kept.iter().all(|n| *n == places);
        Ok((Known::new(places, exactly, alike, batch), kept))
    }
}

/// The tensors of token skipping: made once, and shared by all layers of one size.
#[derive(Debug)]
pub struct SkippingScratch {
    score: Tensor,
    gate: Tensor,
    place: Tensor,
    count: Tensor,
    starts: Tensor,
    index: Tensor,
    positions: Tensor,
    adapters: Tensor,
    grids: Tensor,
    kept: Tensor,
    added: Tensor,
}

impl SkippingScratch {
    /// For so many samples of so many tokens each, of which so many of each are kept, in layers like this one. `stream` is how the residual
    /// stream is stored.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn new(
        gpu: &Dispatcher,
        layer: &DecoderLayer<'_>,
        [samples, tokens, kept]: [usize; 3],
        stream: Elem,
    ) -> Result<Self> {
        let numbers = kept.checked_mul(layer.width()).ok_or_else(|| shape_error!(OP, "{kept} tokens of that width"))?;
        let (grids, starts) = (gpu.zeros([GRIDS, 3], Elem::U32)?, gpu.zeros([samples.saturating_add(1)], Elem::I32)?);
        let [score, gate, place, count, index, positions, adapters, kept, added] = rows(
            gpu,
            samples,
            [
                (tokens, Elem::F32),
                (tokens, Elem::F32),
                (tokens, Elem::U32),
                (1, Elem::I32),
                (kept, Elem::U32),
                (kept, Elem::I32),
                (kept, Elem::I32),
                (numbers, stream),
                (numbers, Elem::F32),
            ],
        )?;
        Ok(Self { score, gate, place, count, starts, index, positions, adapters, grids, kept, added })
    }
}

/// What the host knows of the tokens that are kept.
#[derive(Clone, Copy)]
struct Known {
    /// P: the most of a sample.
    places: usize,
    /// There are as many in the fullest sample.
    exactly: bool,
    /// There are as many in each.
    alike: bool,
    /// The rows of samples follow each other: only the device knows where each begins.
    close: bool,
}

impl Known {
    fn new(places: usize, exactly: bool, alike: bool, batch: usize) -> Self {
        // Of single tokens attention does not read the keys of those that are not there, which would come after all rows.
        Self { places, exactly, alike, close: !alike && batch > 1 && places > 1 }
    }
}

/// The sizes of a layer that is skipped: B, T, and what is known of P.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    kept: Known,
}

impl DecoderLayer<'_> {
    /// Records the layer with routing: scores, the selection of tokens, the layer on the kept ones alone, and its end, where every token of y is
    /// made:
    ///
    /// | token | y |
    /// |---|---|
    /// | padding | `x` |
    /// | skipped | `g·x`, or `x` without [`Router::scale_skipped`] |
    /// | kept, no target | `h + m` |
    /// | chosen | `h + g·m`, or with [`GateOn::Layer`] `x + g·(h + m − x)` |
    ///
    /// `h` is the residual stream after attention and `m` what the feed-forward layer adds. Kept tokens see each other in their order, and
    /// a window counts kept tokens; their turns are those of their own positions, which must be told
    /// ([`Angles::Positions`], `[B, T]`). The cache, the layer with this number in it, takes the kept tokens
    /// alone; nobody appends to it before. Nothing is read back. Later tokens that nobody may skip go through [`DecoderLayer::record`].
    ///
    /// Where every token is kept and gates are 1, y is that of [`DecoderLayer::record`], bit for bit where the residual stream is stored in F32
    /// and gates are on the feed-forward layer; [`GateOn::Layer`] rounds once more, `x + (h + m − x)`.
    ///
    /// With a cache it gives what [`KvCache::append`] gave, for [`KvCache::again`].
    ///
    /// Sources: as of [`crate::ops::depth`].
    ///
    /// # Errors
    /// As [`DecoderLayer::record`]; y that is x; turns without positions; tables with fewer rows than a sample without padding has tokens, those
    /// told to the cache too ([`KvCache::turn_by`]); as the ops and [`KvCache::append`]. Then nothing is recorded.
    pub fn record_routed<E: Encoder>(
        &self,
        rec: &mut Recorder<E>,
        scratch: &LayerScratch,
        tokens: &Tokens<'_>,
        skipping: &Skipping<'_>,
        mut cache: Option<(&mut KvCache, usize)>,
    ) -> Result<Option<Appended>> {
        let [batch, each] = self.tokens_of(tokens)?;
        let (kept, of_samples) = skipping.known(batch, each)?;
        let places = kept.places;
        let sizes = Sizes { batch, tokens: each, kept };
        skipping.fits(&sizes, self.width())?;
        scratch.fits(self, tokens.x.elem(), batch * places)?;
        if batch * each == 0 {
            return Ok(None);
        }
        let counts = skipping.scratch.count.view(0, [batch])?;
        // What was promised is not sure, but where all are kept whoever they are.
        let sure = skipping.candidates.is_none() || matches!(skipping.router.choose, Choose::Ratio(1.0));
        let coming = match kept {
            Known { exactly: true, .. } if sure && of_samples.iter().all(|n| *n == each) => Coming::Each(each),
            Known { exactly: true, .. } => Coming::Kept { counts: &counts, tokens: &of_samples },
            _ => Coming::Counted { counts: &counts, most: places },
        };
        let of_layer = cache.as_ref().map(|(cache, layer)| cache.layer(*layer)).transpose()?;
        // Padding may have the positions of others.
        if let Some(turn) = tokens.turn.filter(|_| skipping.valid.is_none()) {
            if let Some(rows) = turn.cos.shape().dims().first().filter(|rows| **rows < each) {
                return Err(past(OP, *rows, each - 1));
            }
            cache.iter().try_for_each(|(cache, layer)| cache.check_turns(*layer, each))?;
        }
        self.select(skipping, tokens, sizes, &mut Judge(rec))?;
        self.kept(scratch, tokens, skipping, sizes, of_layer.as_ref(), &mut Judge(rec))?;
        if let Some((cache, layer)) = &mut cache {
            cache.judge_append(rec, &(*layer..*layer + 1), coming)?;
        }
        rec.together(|rec| {
            self.select(skipping, tokens, sizes, rec)?;
            let Some((cache, layer)) = cache else {
                return self.kept(scratch, tokens, skipping, sizes, None, rec).map(|()| None);
            };
            let appended = cache.append(rec, layer..layer + 1, coming)?;
            self.kept(scratch, tokens, skipping, sizes, Some(&cache.layer(layer)?), rec)?;
            Ok(Some(appended))
        })
    }

    /// Scores, and which tokens are kept.
    fn select(&self, skipping: &Skipping<'_>, tokens: &Tokens<'_>, sizes: Sizes, run: &mut dyn Run) -> Result<()> {
        let Sizes { batch, tokens: each, kept: Known { places, exactly, close, .. } } = sizes;
        let Skipping { router, target, valid, candidates, keep, scratch: s } = *skipping;
        let [score, gate, place] = s.of_tokens(batch, each)?;
        // Only a softmax asks who the others are.
        let softmax = router.gate.of == GateOf::Softmax;
        run.op(Route {
            bias: router.bias,
            target: target.filter(|_| softmax),
            valid: valid.filter(|_| softmax),
            gate: Some(&gate),
            by: router.gate,
            ..Route::new(tokens.x, router.weight, &score)
        })?;
        let (index, count) = (s.index.view(0, [batch, places])?, s.count.view(0, [batch])?);
        let starts = s.starts(batch)?;
        let all = vec![each; batch];
        let candidates = candidates.or_else(|| (target.is_none() && valid.is_none()).then_some(&all[..]));
        run.op(Select {
            target,
            valid,
            candidates,
            keep,
            index: Some(&index),
            place: Some(&place),
            grids: Some(&s.grids).filter(|_| !exactly || close),
            starts: Some(&starts).filter(|_| close),
            ..Select::new(&score, router.choose, &count)
        })
    }

    /// The layer on the kept tokens, and its end.
    fn kept(
        &self,
        scratch: &LayerScratch,
        tokens: &Tokens<'_>,
        skipping: &Skipping<'_>,
        sizes: Sizes,
        cache: Option<&KvLayer<'_>>,
        run: &mut dyn Run,
    ) -> Result<()> {
        let Sizes { batch, tokens: each, kept: Known { places, exactly, alike, close } } = sizes;
        let (s, router) = (skipping.scratch, &skipping.router);
        let width = self.width();
        let of = |tensor: &Tensor| match close {
            true => tensor.view(0, [batch * places, width]),
            false => tensor.view(0, [batch, places, width]),
        };
        let list =
            |tensor: &Tensor| if close { tensor.view(0, [batch * places]) } else { tensor.view(0, [batch, places]) };
        let (kept, added) = (of(&s.kept)?, of(&s.added)?);
        let (index, count, starts) = (list(&s.index)?, s.count.view(0, [batch])?, s.starts(batch)?);
        let [_, gate, place] = s.of_tokens(batch, each)?;
        let (positions, adapters) = (list(&s.positions)?, list(&s.adapters)?);
        let mut h = of(&scratch.h)?;
        if places > 0 {
            let turn = match tokens.turn {
                None => None,
                Some(Turn { angles: Angles::Positions(all), .. }) if all.elements() == batch * each => {
                    want_elem(OP, "positions", all, Elem::I32, "i32")?;
                    run.op(Take { x: all, len: 1, rows: &index, y: &positions })?;
                    tokens.turn.map(|turn| Turn { angles: Angles::Positions(&positions), ..turn })
                }
                Some(_) => {
                    return Err(shape_error!(
                        OP,
                        "kept tokens turn by positions, [{batch}, {each}], which are not told"
                    ));
                }
            };
            // As positions, what belongs to a token comes with it.
            if let Some(all) = self.weights.adapter_index {
                if all.elements() != batch * each {
                    let shape = all.shape();
                    return Err(shape_error!(
                        OP,
                        "adapter_index has shape {shape}, but x has [{batch}, {each}] tokens"
                    ));
                }
                want_elem(OP, "adapter_index", all, Elem::I32, "i32")?;
                run.op(Take { x: all, len: 1, rows: &index, y: &adapters })?;
            }
            let listed = Some((&index, &kept));
            let kv_len = Some(cache.map_or(&count, |layer| &layer.lengths));
            let through = Through {
                layer: self,
                scratch,
                batch,
                each: places,
                x: tokens.x,
                listed,
                turn,
                cache,
                q_len: Some(&count).filter(|_| !alike && !close),
                starts: Some(&starts).filter(|_| close),
                kv_len,
                adapter_index: self.weights.adapter_index.map(|_| &adapters),
                grids: Some(&s.grids).filter(|_| !exactly || close),
                longest: tokens.longest,
            };
            h = through.attend(&kept, run)?;
            through.feed_forward(&h, None, &added, run)?;
        }
        run.op(Combine {
            gate_on: router.gate_on,
            scale_skipped: router.scale_skipped,
            ..Combine::new(tokens.x, &h, &added, &gate, &place, tokens.y)
        })
    }
}

impl Skipping<'_> {
    /// There is room for so many.
    fn fits(&self, sizes: &Sizes, width: usize) -> Result<()> {
        let Sizes { batch, tokens, kept: Known { places, .. } } = *sizes;
        let s = self.scratch;
        let rooms = [
            (&s.score, batch * tokens),
            (&s.count, batch),
            (&s.index, batch * places),
            (&s.kept, batch * places * width),
        ];
        match rooms.into_iter().find(|(have, need)| *need > have.elements()) {
            None => Ok(()),
            Some((have, need)) => {
                let have = have.elements();
                Err(shape_error!(
                    OP,
                    "{batch} samples of {tokens} tokens that keep up to {places} want {need} numbers, but the scratch of skipping has room for {have}"
                ))
            }
        }
    }
}

impl SkippingScratch {
    /// Where the rows of samples begin that follow each other.
    fn starts(&self, samples: usize) -> Result<Tensor> {
        self.starts.view(0, [samples + 1])
    }

    /// Scores, gates and places.
    fn of_tokens(&self, batch: usize, tokens: usize) -> Result<[Tensor; 3]> {
        let of = |tensor: &Tensor| tensor.view(0, [batch, tokens]);
        Ok([of(&self.score)?, of(&self.gate)?, of(&self.place)?])
    }
}
