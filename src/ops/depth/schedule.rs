//! How many tokens each layer keeps.

use crate::error::{Error, Result};

/// How the ratio falls from the first layer to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// `cos(π·p)/2 + beta`: p-MoD's progressive ratio decay.
    ShiftedCosine,
    /// `1/2 − p + beta`.
    Linear,
}

impl Curve {
    /// The curve of this name: `shifted_cosine` or `linear`.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "shifted_cosine" => Ok(Self::ShiftedCosine),
            "linear" => Ok(Self::Linear),
            _ => Err(told("kind", name, "it must be shifted_cosine or linear")),
        }
    }
}

/// What part of its candidates each layer of a model keeps. With `p = l / (layers − 1)` for layer l:
///
/// `raw = cos(π·p)/2 + beta` or `1/2 − p + beta`; the layer is routed where `raw <= skip_above`, and then keeps
/// `max(raw, floor)` of its candidates, else all.
///
/// The arithmetic is f64, as that of the authors' code, so that a ratio at `skip_above` falls on their side of it; the ratio is rounded
/// to f32 once, as [`Choose::Ratio`](super::Choose::Ratio) takes it.
///
/// ```
/// use gristmill::ops::depth::Schedule;
///
/// let layers = Schedule::new(32).layers()?;
/// assert!(!layers[7].routed && layers[8].routed);
/// assert!((layers[8].ratio - 0.8445).abs() < 1e-4 && layers[31].ratio == 0.15);
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// Source: p-MoD (arXiv 2412.04449), section 3.4, and the authors' code, where 31 stands for `layers − 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Layers of the model.
    pub layers: usize,
    /// How the ratio falls.
    pub curve: Curve,
    /// The mean ratio of the curve before it is cut.
    pub beta: f64,
    /// Layers whose ratio is above this are left alone.
    pub skip_above: f64,
    /// No routed layer keeps less.
    pub floor: f64,
}

/// What a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Tokens are skipped in this layer.
    pub routed: bool,
    /// The part of the candidates that is kept; 1 where the layer is not routed.
    pub ratio: f32,
}

fn told(name: &'static str, value: impl ToString, rule: &'static str) -> Error {
    Error::Value { op: "mod_schedule", name, value: value.to_string(), rule }
}

impl Schedule {
    /// p-MoD's: a shifted cosine with beta 0.5, layers above 0.85 left alone, floor 0.15.
    pub fn new(layers: usize) -> Self {
        Self { layers, curve: Curve::ShiftedCosine, beta: 0.5, skip_above: 0.85, floor: 0.15 }
    }

    /// Every layer of the model, from the first.
    ///
    /// # Errors
    /// Fewer than two layers; `beta` or `skip_above` not finite; `floor` outside 0 to 1; a routed layer whose ratio is above 1.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let Self { layers, curve, beta, skip_above, floor } = *self;
        if layers < 2 {
            return Err(told("layers", layers, "there must be at least 2"));
        }
        for (name, value) in [("beta", beta), ("skip_above", skip_above)] {
            if !value.is_finite() {
                return Err(told(name, value, "it must be a finite number"));
            }
        }
        if !(0.0..=1.0).contains(&floor) {
            return Err(told("floor", floor, "it must be from 0 to 1"));
        }
        let layer = |l: usize| {
            // The products first, as the authors have them.
            let raw = match curve {
                Curve::ShiftedCosine => 0.5 * (std::f64::consts::PI * l as f64 / (layers - 1) as f64).cos() + beta,
                Curve::Linear => -(l as f64 / (layers - 1) as f64) + 0.5 + beta,
            };
            if raw > skip_above {
                return Ok(Layer { routed: false, ratio: 1.0 });
            }
            let ratio = raw.max(floor);
            if ratio > 1.0 {
                return Err(told("ratio", format!("{ratio} of layer {l}"), "a layer cannot keep more than all"));
            }
            Ok(Layer { routed: true, ratio: ratio as f32 })
        };
        (0..layers).map(layer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ratios() {
        // Of a model of 32 layers, from layer 8 on, as the authors print them.
        let published = [
            0.8445, 0.8061, 0.7645, 0.7202, 0.6737, 0.6253, 0.5757, 0.5253, 0.4747, 0.4243, 0.3747, 0.3263, 0.2798,
            0.2355, 0.1939, 0.1555, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15,
        ];
        let layers = Schedule::new(32).layers().expect("a schedule");
        assert!(layers[..8].iter().all(|l| !l.routed && l.ratio == 1.0));
        for (layer, want) in layers[8..].iter().zip(published) {
            assert!(layer.routed && (layer.ratio - want).abs() < 6e-5, "{layer:?}, not {want}");
        }
    }

    #[test]
    fn a_ratio_at_the_border_is_routed() {
        // 1 − 3/20 is 0.85 in f64 and falls beside it in f32.
        let layers = Schedule { curve: Curve::Linear, ..Schedule::new(21) }.layers().expect("a schedule");
        assert_eq!((layers[2].routed, layers[3].routed, layers[3].ratio), (false, true, 0.85));
    }

    #[test]
    fn bad_numbers_are_told() {
        let good = Schedule::new(4);
        let bad = [
            Schedule::new(1),
            Schedule::new(0),
            Schedule { beta: f64::NAN, ..good },
            Schedule { skip_above: f64::INFINITY, ..good },
            Schedule { floor: -0.1, ..good },
            Schedule { floor: f64::NAN, ..good },
            Schedule { beta: 0.7, skip_above: 2.0, ..good },
        ];
        for schedule in bad {
            let told = schedule.layers().expect_err("bad numbers").to_string();
            assert!(told.starts_with("mod_schedule: "), "{told}");
        }
        assert!(Curve::parse("cosine").is_err());
        assert_eq!(Curve::parse("linear"), Ok(Curve::Linear));
    }
}
