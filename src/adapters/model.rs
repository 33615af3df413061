//! Adapters of a whole model: those of a file on the device, and the sets of its weights.

use std::collections::BTreeMap;

use super::{AdapterAttach, AdapterScale, AdapterSet, Room};
use crate::checkpoint::{AdapterKind, Adapters};
use crate::dispatch::{Dispatcher, Encoder, Recorder};
use crate::error::{Error, Result, shape_error};
use crate::ops::Op as _;
use crate::ops::adapter::{Kind, Order};
use crate::ops::norm::number;
use crate::tensor::{Elem, Tensor};
use crate::weight::Weight;

const OP: &str = "model_adapters";

/// A kind with its tensors, which it shares.
#[derive(Clone, Debug)]
enum Owned {
    Lora([Tensor; 2]),
    Dora([Tensor; 3]),
    Bora([Tensor; 4], Order),
    Miss(Tensor),
    MissMini(Tensor),
    Bat(Tensor),
    Loha([Tensor; 4]),
}

impl Owned {
    fn of(kind: Kind<'_>) -> Option<Self> {
        let own = |tensor: &Tensor| tensor.clone();
        Some(match kind {
            Kind::Lora { a, b } => Self::Lora([a, b].map(own)),
            Kind::Dora { a, b, magnitude } => Self::Dora([a, b, magnitude].map(own)),
            Kind::Bora { a, b, row, col, order } => Self::Bora([a, b, row, col].map(own), order),
            Kind::Miss { block } => Self::Miss(own(block)),
            Kind::MissMini { block } => Self::MissMini(own(block)),
            Kind::Bat { block } => Self::Bat(own(block)),
            Kind::Loha { a1, b1, a2, b2 } => Self::Loha([a1, b1, a2, b2].map(own)),
            Kind::Mpo { .. } => return None,
        })
    }

    fn kind(&self) -> Kind<'_> {
        match self {
            Self::Lora([a, b]) => Kind::Lora { a, b },
            Self::Dora([a, b, magnitude]) => Kind::Dora { a, b, magnitude },
            Self::Bora([a, b, row, col], order) => Kind::Bora { a, b, row, col, order: *order },
            Self::Miss(block) => Kind::Miss { block },
            Self::MissMini(block) => Kind::MissMini { block },
            Self::Bat(block) => Kind::Bat { block },
            Self::Loha([a1, b1, a2, b2]) => Kind::Loha { a1, b1, a2, b2 },
        }
    }
}

/// An adapter of many weights by their names, with its tensors on a device: it can be attached and merged as often as is wanted, and the
/// host is not asked again. Cloning shares the tensors. Made by [`Dispatcher::load_adapters`], or weight by weight.
///
/// What cannot be live, as BAT or an adapter of an embedding, is merged; [`retain`](Self::retain) then takes it out of what is attached:
///
/// ```no_run
/// # fn run(gpu: &gristmill::Dispatcher, loaded: &gristmill::adapters::LoadedAdapter, base: gristmill::Weight) -> gristmill::Result<()> {
/// use gristmill::ops::adapter::AdapterMerge;
///
/// let name = "model.embed_tokens.weight";
/// let merged = gpu.weight_zeros(base.format(), gristmill::Elem::F16, [base.n(), base.k()])?;
/// if let Some((kind, scale)) = loaded.get(name) {
///     gpu.run(AdapterMerge::new(&base, kind, scale, &merged))?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoadedAdapter {
    list: BTreeMap<String, (Owned, f32)>,
}

impl LoadedAdapter {
    /// What is done to one weight more.
    ///
    /// # Errors
    /// An MPO, which no file has; a second adapter of the same weight.
    pub fn insert(&mut self, weight: &str, kind: Kind<'_>, scale: f32) -> Result<()> {
        let Some(owned) = Owned::of(kind) else {
            return Err(shape_error!(OP, "the adapter of {weight} is an MPO, whose cores AdapterMerge takes"));
        };
        if self.list.contains_key(weight) {
            return Err(shape_error!(OP, "there are two adapters of {weight}"));
        }
        self.list.insert(weight.to_owned(), (owned, scale));
        Ok(())
    }

    /// What is done to a weight, and by how much: what [`AdapterMerge`](crate::ops::adapter::AdapterMerge) and [`AdapterAttach`] take.
    pub fn get(&self, weight: &str) -> Option<(Kind<'_>, f32)> {
        self.list.get(weight).map(|(owned, scale)| (owned.kind(), *scale))
    }

    /// Leaves out the weights of which it is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.list.retain(|name, _| keep(name));
    }

    /// The weights that it changes.
    pub fn weights(&self) -> impl Iterator<Item = &str> {
        self.list.keys().map(String::as_str)
    }

    /// The largest rank: what a set must have room for.
    pub fn rank(&self) -> usize {
        self.list.values().filter_map(|(owned, _)| owned.kind().live_rank()).max().unwrap_or(0)
    }
}

impl Dispatcher {
    /// Puts the adapters of a file on the device.
    ///
    /// # Errors
    /// Tensors that the file has in the place of whole tensors of the base, and that nobody has taken
    /// ([`Adapters::take_replaced`](crate::checkpoint::Adapters::take_replaced)): they are listed. As [`LoadedAdapter::insert`]; a tensor
    /// that cannot be read, no memory, or a lost device.
    pub fn load_adapters(&self, adapters: &Adapters<'_>) -> Result<LoadedAdapter> {
        adapters.none_replaced(OP)?;
        let mut loaded = LoadedAdapter::default();
        for adapter in adapters.iter() {
            let tensor = |role: &str| -> Result<Tensor> {
                let part = adapter.tensor(role)?;
                let Some(elem) = Elem::of(part.dtype).filter(|elem| elem.is_float()) else {
                    return Err(shape_error!(OP, "{role} of {} is not of floating numbers", adapter.weight));
                };
                self.upload_bytes(&part.bytes, &part.shape[..], elem)
            };
            let (weight, scale) = (adapter.weight.as_str(), adapter.scale as f32);
            let low = || Ok::<_, Error>((tensor("lora_A")?, tensor("lora_B")?));
            match adapter.kind {
                AdapterKind::Lora => {
                    let (a, b) = low()?;
                    loaded.insert(weight, Kind::Lora { a: &a, b: &b }, scale)?;
                }
                AdapterKind::Dora => {
                    let ((a, b), magnitude) = (low()?, tensor("lora_magnitude_vector")?);
                    loaded.insert(weight, Kind::Dora { a: &a, b: &b, magnitude: &magnitude }, scale)?;
                }
                AdapterKind::Miss => {
                    loaded.insert(weight, Kind::Miss { block: &tensor("miss_block")? }, scale)?;
                }
                AdapterKind::MissMini => {
                    loaded.insert(weight, Kind::MissMini { block: &tensor("miss_block")? }, scale)?;
                }
                AdapterKind::Bat => {
                    loaded.insert(weight, Kind::Bat { block: &tensor("miss_block")? }, scale)?;
                }
                AdapterKind::Loha => {
                    let (a1, b1) = (tensor("hada_w1_a")?, tensor("hada_w1_b")?);
                    let (a2, b2) = (tensor("hada_w2_a")?, tensor("hada_w2_b")?);
                    loaded.insert(weight, Kind::Loha { a1: &a1, b1: &b1, a2: &a2, b2: &b2 }, scale)?;
                }
            }
        }
        Ok(loaded)
    }
}

/// What is in a place.
#[derive(Clone, Debug)]
struct Occupant {
    adapter: LoadedAdapter,
    factor: f32,
}

/// The live adapters of a model: a set for each of its weights by name, and adapters that are attached to the same place of all of them, replaced,
/// scaled and taken away between two steps, as recorded work. Memory of its own is had when a weight is added.
///
/// Whatever is put into a place, every weight is told, in a dispatch or two each: of those that an adapter leaves alone a word is written. So what a
/// place holds never depends on what was recorded before and perhaps not submitted, and an error leaves nothing recorded.
///
/// ```no_run
/// # async fn run() -> gristmill::Result<()> {
/// use gristmill::adapters::{ModelAdapters, Room};
/// use gristmill::checkpoint::Checkpoint;
/// use gristmill::Dispatcher;
///
/// let gpu = Dispatcher::request().await?;
/// # let (model, file): (Checkpoint<'static>, Checkpoint<'static>) = todo!();
/// let mut live = ModelAdapters::new(Room { adapters: 8, ..Room::new(64) });
/// let name = "model.layers.0.self_attn.q_proj.weight";
/// let q = gpu.weight(&model.weight(name)?)?;
/// live.add(&gpu, name, &q)?;
///
/// let mut adapters = file.adapters()?;
/// adapters.fit(&model)?;
/// for (name, tensor) in adapters.take_replaced() {
///     let whole = file.tensor(tensor)?; // takes the place of `name`
/// }
/// let adapter = gpu.load_adapters(&adapters)?;
/// let mut recorder = gpu.record()?;
/// live.attach(&mut recorder, 0, &adapter, 1.0)?;
/// // Linear { adapters: live.get(name), … }
/// recorder.submit()?;
/// # Ok(())
/// # }
/// ```
///
/// It is no `Clone`: two would write the same sets, each by what it knows of them.
#[derive(Debug)]
pub struct ModelAdapters {
    room: Room,
    weights: BTreeMap<String, (Weight, AdapterSet)>,
    places: BTreeMap<usize, Occupant>,
}

impl ModelAdapters {
    /// Of no weight yet.
    pub fn new(room: Room) -> Self {
        Self { room, weights: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// A weight that can have adapters; its set.
    ///
    /// # Errors
    /// As [`Dispatcher::adapter_set`]; a name that is there already.
    pub fn add(&mut self, gpu: &Dispatcher, name: &str, w: &Weight) -> Result<&AdapterSet> {
        if self.weights.contains_key(name) {
            return Err(shape_error!(OP, "there are two weights {name}"));
        }
        let set = gpu.adapter_set([w.n(), w.k()], self.room)?;
        Ok(&self.weights.entry(name.to_owned()).or_insert((w.clone(), set)).1)
    }

    /// The set of a weight.
    pub fn get(&self, name: &str) -> Option<&AdapterSet> {
        self.weights.get(name).map(|(_, set)| set)
    }

    /// The bytes of all sets.
    pub fn bytes(&self) -> u64 {
        self.weights.values().map(|(_, set)| set.bytes()).sum()
    }

    /// Puts an adapter into a place of every weight that it changes, each by its own scale times `factor`. What was there before is gone, of
    /// other weights too.
    ///
    /// # Errors
    /// Names that match no weight, all of them; what [`AdapterAttach`] and [`Recorder::run`] say of one. Then nothing is recorded.
    pub fn attach<E: Encoder>(
        &mut self,
        recorder: &mut Recorder<E>,
        place: usize,
        adapter: &LoadedAdapter,
        factor: f32,
    ) -> Result<()> {
        let missing: Vec<&str> = adapter.weights().filter(|name| !self.weights.contains_key(*name)).collect();
        if !missing.is_empty() {
            let (some, all) = (missing.len(), adapter.list.len());
            return Err(shape_error!(OP, "{some} of {all} names match no weight: {}", missing.join(", ")));
        }
        self.put(recorder, place, Some(Occupant { adapter: adapter.clone(), factor }))
    }

    /// Another factor for the adapter that was last recorded into a place, submitted or not, which is attached anew.
    ///
    /// # Errors
    /// A place that is not there, or empty; a factor that is not finite, or makes the scale of a weight so. Then nothing is recorded.
    pub fn scale<E: Encoder>(&mut self, recorder: &mut Recorder<E>, place: usize, factor: f32) -> Result<()> {
        let Some(Occupant { adapter, .. }) = self.places.get(&place).cloned() else {
            self.place(place)?;
            return Err(shape_error!(OP, "place {place} is empty"));
        };
        self.put(recorder, place, Some(Occupant { adapter, factor }))
    }

    /// Takes the adapter in a place away; an empty place stays empty.
    ///
    /// # Errors
    /// A place that is not there, or what [`Recorder::run`] says. Then nothing is recorded.
    pub fn detach<E: Encoder>(&mut self, recorder: &mut Recorder<E>, place: usize) -> Result<()> {
        self.put(recorder, place, None)
    }

    /// The factor of the adapter that was last recorded into a place, where there is one.
    pub fn factor(&self, place: usize) -> Option<f32> {
        self.places.get(&place).map(|occupant| occupant.factor)
    }

    fn place(&self, place: usize) -> Result<()> {
        if place < self.room.adapters {
            return Ok(());
        }
        let rule = "it must be less than the adapters that there is room for";
        Err(Error::Value { op: OP, name: "place", value: place.to_string(), rule })
    }

    /// Records what is in a place of every weight from now on.
    fn put<E: Encoder>(&mut self, recorder: &mut Recorder<E>, place: usize, what: Option<Occupant>) -> Result<()> {
        self.place(place)?;
        if let Some(Occupant { factor, .. }) = what {
            number(OP, "factor", factor, |_| true, "it must be a finite number")?;
        }
        recorder.together(|recorder| {
            for (name, (w0, set)) in &self.weights {
                let one = what.as_ref().and_then(|of| Some((of.adapter.get(name)?, of.factor)));
                let Some(((kind, scale), factor)) = one else {
                    recorder.run(AdapterScale { set, place, scale: None })?;
                    continue;
                };
                let op = AdapterAttach::new(w0, kind, scale * factor, set, place);
                let problem = op.problem().map_err(|error| shape_error!(OP, "the adapter of {name}: {error}"))?;
                recorder.run_any(&problem, &op.operands())?;
            }
            Ok(())
        })?;
        match what {
            Some(occupant) => self.places.insert(place, occupant),
            None => self.places.remove(&place),
        };
        Ok(())
    }
}
